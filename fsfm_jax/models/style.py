"""In what the vision transformers of published base models differ from each other."""

import dataclasses

GELUS = ("erf", "quick")


@dataclasses.dataclass(frozen=True)
class Style:
    """Wiring of an encoder; the defaults are those of FSFM, MAE, DINO and timm's ViT.

    Attributes:
      class_token: whether a class token stands before the patches. Without one the encoder's output is `[B, N, D]`.
      pre_norm: whether the embedded tokens pass a norm before the first block (CLIP).
      gelu: one of `GELUS`; `quick` is `x sigmoid(1.702 x)` (OpenAI's CLIP).
      epsilon: of the norms of the encoder.
    """

    class_token: bool = True
    pre_norm: bool = False
    gelu: str = "erf"
    epsilon: float = 1e-6

    def __post_init__(self):
        if self.gelu not in GELUS:
            raise ValueError(f"gelu: expected one of {', '.join(GELUS)}; found {self.gelu!r}")


PLAIN = Style()
