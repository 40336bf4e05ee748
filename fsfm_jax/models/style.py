"""The differences in architecture between the vision transformers of published base models."""

import dataclasses

from fsfm_jax.models.rotary import Rotary

GELUS = ("erf", "quick")


@dataclasses.dataclass(frozen=True)
class Style:
    """Wiring of an encoder; the defaults are those of FSFM, MAE, DINO and timm's ViT.

    Attributes:
      class_token: whether a class token stands before the patches. Without one the encoder's output is `[B, N, D]`.
      pre_norm: whether the embedded tokens pass a norm before the first block (CLIP).
      gelu: one of `GELUS`; `quick` is `x sigmoid(1.702 x)` (OpenAI's CLIP).
      epsilon: epsilon of the encoder's layer norms.
      registers: number of tokens without a position between class token and patches (DINOv2).
      layer_scale: initial value of the D learnt factors of each branch of a block (CaiT, DINOv2); None: no factors.
      positions: whether an absolute position is added to the patches and the class token; False in DINOv3 and BEiT v2.
      rotary: rotary positions of queries and keys (DINOv3, Perception Encoder); None: no rotary positions.
      relative: whether each block adds to its logits a bias that depends on the displacement of patches (BEiT v2).
      gated: whether the MLP is SwiGLU (Shazeer, 2020), as in the larger DINOv3 models; `gelu` is then not used.
    """

    class_token: bool = True
    pre_norm: bool = False
    gelu: str = "erf"
    epsilon: float = 1e-6
    registers: int = 0
    layer_scale: float | None = None
    positions: bool = True
    rotary: Rotary | None = None
    relative: bool = False
    gated: bool = False

    def __post_init__(self):
        if self.gelu not in GELUS:
            raise ValueError(f"gelu: expected one of {', '.join(GELUS)}; found {self.gelu!r}")
        if self.registers < 0 or (self.registers and not self.class_token):
            raise ValueError(f"registers: expected 0, or more with a class token; found {self.registers}")
        if self.relative and self.prefix != 1:
            raise ValueError(
                "relative: expected a class token and no registers, since the table has rows for a class token alone; "
                f"found {self.prefix} tokens before the patches"
            )

    @property
    def prefix(self) -> int:
        """The number of tokens before the patches."""
        return int(self.class_token) + self.registers


PLAIN = Style()
