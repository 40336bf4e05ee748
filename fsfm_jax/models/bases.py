"""The base models that fine-tuning may start from, by name: how each differs from FSFM's ViT."""

import dataclasses

from fsfm_jax.models.style import PLAIN, Style

OWN = "fsfm"


@dataclasses.dataclass(frozen=True)
class Base:
    """A family of published encoders.

    Attributes:
      style: the wiring of its encoder.
      sizes: names in `vit.SIZES` that its files may have; heads leave no trace in the arrays, so that a size is known
        by its family alone.
      statistics: name of the channel statistics that it was trained with; None: a file beside the weights says it.
    """

    style: Style
    sizes: tuple[str, ...]
    statistics: str | None


_STANDARD = ("vit_s16_6h", "vit_b16", "vit_l16")  # heads of 64

BASES = {
    # Ours, and the official files of FSFM and FS-VFM; masked autoencoders of ours, too.
    OWN: Base(PLAIN, ("vit_s16", "vit_b16", "vit_l16", "vit_h14", "demo16", "tiny32", "tiny16", "tiny8"), None),
    # timm's `augreg` weights and their like; its norms have 1e-6.
    "supervised": Base(PLAIN, _STANDARD, "inception"),
    "deit": Base(PLAIN, _STANDARD, "imagenet"),
    "mae": Base(PLAIN, (*_STANDARD, "vit_h14"), "imagenet"),
    "dino": Base(PLAIN, _STANDARD, "imagenet"),
    # OpenAI's weights. Retrainings of others may have the exact GELU, which their arrays do not show.
    "clip": Base(Style(pre_norm=True, gelu="quick", epsilon=1e-5), ("vit_b16", "vit_l14"), "clip"),
    "mcf": Base(PLAIN, ("vit_b16",), "imagenet"),
    # PyTorch's default epsilon; pixels are divided by 255 and no more.
    "marlin": Base(Style(class_token=False, epsilon=1e-5), _STANDARD, "unit"),
}
