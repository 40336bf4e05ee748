"""Low-rank updates of the linear maps of a block (LoRA, Hu et al., 2022)."""

import dataclasses

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

DOWN, UP = "lora_down", "lora_up"
# The maps of a block: query, key and value, which are one matrix here; the map after attention; all maps of the MLP.
PROJECTIONS = QKV, PROJ, MLP = "qkv", "proj", "mlp"


@dataclasses.dataclass(frozen=True)
class LoraSpec:
    """Low-rank updates `W + (alpha / rank) down up` (section 4.1).

    `down [I, rank]` starts uniform and `up [rank, O]` at zero.

    Attributes:
      rank: inner width of the update, at least 1.
      alpha: numerator of the update's scale.
      projections: maps of a block that have an update, from `PROJECTIONS` (section 7.1).
      blocks: indices of the blocks with updates, 0 = first; None: all blocks.
    """

    rank: int
    alpha: float
    projections: tuple[str, ...] = (QKV,)
    blocks: tuple[int, ...] | None = None

    def __post_init__(self):
        if self.rank < 1:
            raise ValueError(f"tuning.rank: expected at least 1; found {self.rank}")

    def in_block(self, index: int) -> "LoraSpec | None":
        """Return the specification for block `index`; None if the block has no update."""
        return self if self.blocks is None or index in self.blocks else None

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


def update_of(lora: LoraSpec | None, projection: str) -> LoraSpec | None:
    """Return `lora` if it updates the maps `projection` of a block, else None."""
    return lora if lora is not None and projection in lora.projections else None


def merge(params: dict, spec: LoraSpec) -> dict:
    """Return `params` with each low-rank update added to its matrix: the same network without LoRA."""
    flat = dict(flatten_dict(params, sep="/"))
    for path in [path for path in flat if path.endswith(f"/{DOWN}")]:
        layer = path.removesuffix(f"/{DOWN}")
        down, up = flat.pop(path), flat.pop(f"{layer}/{UP}")
        product = jax.numpy.matmul(down, up, precision=jax.lax.Precision.HIGHEST)
        flat[f"{layer}/kernel"] = flat[f"{layer}/kernel"] + spec.scale * product
    return unflatten_dict(flat, sep="/")
