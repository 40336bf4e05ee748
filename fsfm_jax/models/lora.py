"""Low-rank updates of the attention's query, key and value (LoRA, Hu et al., 2022)."""

import dataclasses

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

DOWN, UP = "lora_down", "lora_up"


@dataclasses.dataclass(frozen=True)
class LoraSpec:
    """`W + (alpha / rank) down up`: `down [D, rank]` starts uniform, `up [rank, 3 D]` at zero.

    One pair serves query, key and value together, as they are one matrix here.
    """

    rank: int
    alpha: float

    def __post_init__(self):
        if self.rank < 1:
            raise ValueError(f"tuning.rank: expected at least 1; found {self.rank}")

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


def merge(params: dict, spec: LoraSpec) -> dict:
    """The same network without LoRA: `params` with each update added to the matrix that it belongs to."""
    flat = dict(flatten_dict(params, sep="/"))
    for path in [path for path in flat if path.endswith(f"/{DOWN}")]:
        layer = path.removesuffix(f"/{DOWN}")
        down, up = flat.pop(path), flat.pop(f"{layer}/{UP}")
        product = jax.numpy.matmul(down, up, precision=jax.lax.Precision.HIGHEST)
        flat[f"{layer}/kernel"] = flat[f"{layer}/kernel"] + spec.scale * product
    return unflatten_dict(flat, sep="/")
