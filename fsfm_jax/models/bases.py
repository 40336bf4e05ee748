"""The base models that fine-tuning may start from, by name, and how each differs from FSFM's ViT."""

import dataclasses

from fsfm_jax.models.positions import BILINEAR, RELEASED, Resizing
from fsfm_jax.models.rotary import CENTRED, COUNTED, Rotary
from fsfm_jax.models.style import PLAIN, Style

OWN = "fsfm"


@dataclasses.dataclass(frozen=True)
class Base:
    """A family of published encoders.

    Attributes:
      style: the wiring of its encoder.
      sizes: names in `vit.SIZES` that its files may have. The arrays do not show the number of heads, so the family
        is needed to identify a size.
      statistics: name of the channel statistics used in training; None: a file next to the weights names them.
      resizing: how the authors resize absolute positions to another grid than that of the file.
    """

    style: Style
    sizes: tuple[str, ...]
    statistics: str | None
    resizing: Resizing = RELEASED


_STANDARD = ("vit_s16_6h", "vit_b16", "vit_l16")  # heads of 64
_CLIP = Style(pre_norm=True, gelu="quick", epsilon=1e-5)
_DINOV2 = ("vit_s14_6h", "vit_b14", "vit_l14")
# DINOv3's keys have no bias: its public code masks the bias in training.
_DINOV3 = Rotary(100.0, CENTRED, columns_first=False, neighbours=False, key_bias=False)
_PERCEPTION = Rotary(10000.0, COUNTED, columns_first=True, neighbours=True, key_bias=True)

BASES = {
    # Encoders of this project, including masked autoencoders, and the official files of FSFM and FS-VFM.
    OWN: Base(
        PLAIN, ("vit_s16", "vit_b16", "vit_l16", "vit_h14", "mini16", "demo16", "tiny32", "tiny16", "tiny8"), None
    ),
    # timm's `augreg` weights and similar ones; their norms have epsilon 1e-6.
    "supervised": Base(PLAIN, _STANDARD, "inception"),
    "deit": Base(PLAIN, _STANDARD, "imagenet"),
    "mae": Base(PLAIN, (*_STANDARD, "vit_h14"), "imagenet"),
    "dino": Base(PLAIN, _STANDARD, "imagenet"),
    # OpenAI's weights. Retrained CLIP models may use the exact GELU, which the arrays do not show.
    "clip": Base(_CLIP, ("vit_b16", "vit_l14"), "clip"),
    "mcf": Base(PLAIN, ("vit_b16",), "imagenet"),
    # PyTorch's default epsilon; pixels are only divided by 255.
    "marlin": Base(Style(class_token=False, epsilon=1e-5), _STANDARD, "unit"),
    # The files have 37 x 37 patches. The model without registers was evaluated with an offset, the one with registers
    # with antialiasing. timm antialiases both; transformers uses no offset.
    "dinov2": Base(Style(layer_scale=1e-5), _DINOV2, "imagenet", Resizing(offset=0.1)),
    "dinov2_reg": Base(Style(registers=4, layer_scale=1e-5), _DINOV2, "imagenet", Resizing(antialias=True)),
    # The weights trained on web photos; those trained on satellite images use other statistics.
    "dinov3": Base(
        Style(epsilon=1e-5, registers=4, layer_scale=1e-5, positions=False, rotary=_DINOV3), _STANDARD, "imagenet"
    ),
    # ViT-S+, ViT-L+ and ViT-H+.
    "dinov3_plus": Base(
        Style(epsilon=1e-5, registers=4, layer_scale=1e-5, positions=False, rotary=_DINOV3, gated=True),
        ("vit_s16_6h", "vit_l16", "vit_h16_20h"), "imagenet",
    ),
    # The initial layer scale is that of ViT-B; ViT-L has 1e-5.
    "beitv2": Base(Style(layer_scale=0.1, positions=False, relative=True), ("vit_b16", "vit_l16"), "imagenet"),
    # CLIP's image encoder, trained on captioned faces and with masked patches.
    "farl": Base(_CLIP, ("vit_b16",), "clip"),
    # PE core without its attention pooling. Files of size B have 14 x 14 patches, those of S and L 24 x 24.
    "pe_core": Base(
        Style(pre_norm=True, epsilon=1e-5, rotary=_PERCEPTION), ("vit_s16_6h", "vit_b16", "vit_l14"), "inception",
        Resizing(BILINEAR),
    ),
}  # fmt: skip
