"""Low-rank updates of the linear maps of a block (LoRA, Hu et al., 2022)."""

import dataclasses

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

DOWN, UP = "lora_down", "lora_up"
# Of a block: query, key and value, as they are one matrix here; the map behind attention; all maps of the MLP.
PROJECTIONS = QKV, PROJ, MLP = "qkv", "proj", "mlp"


@dataclasses.dataclass(frozen=True)
class LoraSpec:
    """`W + (alpha / rank) down up`: `down [I, rank]` starts uniform, `up [rank, O]` at zero (section 4.1).

    Attributes:
      projections: which maps of a block have an update of their own, of `PROJECTIONS` (section 7.1).
      blocks: which blocks, 0 = first; None: all.
    """

    rank: int
    alpha: float
    projections: tuple[str, ...] = (QKV,)
    blocks: tuple[int, ...] | None = None

    def __post_init__(self):
        if self.rank < 1:
            raise ValueError(f"tuning.rank: expected at least 1; found {self.rank}")

    def in_block(self, index: int) -> "LoraSpec | None":
        """What block `index` has of it; None: nothing."""
        return self if self.blocks is None or index in self.blocks else None

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


def update_of(lora: LoraSpec | None, projection: str) -> LoraSpec | None:
    """What the maps `projection` of a block have of its updates; None: nothing."""
    return lora if lora is not None and projection in lora.projections else None


def merge(params: dict, spec: LoraSpec) -> dict:
    """The same network without LoRA: `params` with each update added to the matrix that it belongs to."""
    flat = dict(flatten_dict(params, sep="/"))
    for path in [path for path in flat if path.endswith(f"/{DOWN}")]:
        layer = path.removesuffix(f"/{DOWN}")
        down, up = flat.pop(path), flat.pop(f"{layer}/{UP}")
        product = jax.numpy.matmul(down, up, precision=jax.lax.Precision.HIGHEST)
        flat[f"{layer}/kernel"] = flat[f"{layer}/kernel"] + spec.scale * product
    return unflatten_dict(flat, sep="/")
