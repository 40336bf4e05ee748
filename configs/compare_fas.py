"""Base models and tunings for face anti-spoofing: ViT-B, four targets of MCIO, three to five seeds each.

    python -m fsfm_jax.main --config=configs/compare_fas.py --workdir=runs/compare_fas

Data are those of `configs/finetune_fas.py:vitb`. Put the published files of the base models into `weights/`; set other
models and paths with `--config.models=`, see fsfm_jax/config/compare.py. The same command resumes an interrupted
comparison, and runs only the cells of an added model. Hardware: one accelerator. Cost: not known; 76 cells of three or
five fine-tunings. Measured: not run.

`:limited` has the protocols with limited sources, `MI2C` and `MI2O` (38 cells), `:one-to-one` the twelve with one
source (228 cells), and `:wcs` the three of WCS (57 cells). The suffix `,celeb` adds CelebA-Spoof as one more source, as
in `:wcs,celeb`:

    python -m fsfm_jax.main --config=configs/compare_fas.py:limited --workdir=runs/compare_limited
"""

from fsfm_jax.config import compare, finetune
from fsfm_jax.config.pretrain import unknown_variant

TARGETS = {"": finetune.MCIO, "limited": finetune.LIMITED, "one-to-one": finetune.ONE_TO_ONE, "wcs": finetune.WCS}


def get_config(variant=""):
    name, comma, words = variant.partition(",")
    if name not in TARGETS or (comma and words != "celeb") or (comma and not name):
        raise unknown_variant(variant, [each + end for each in TARGETS if each for end in ("", ",celeb")])
    c = compare.compare()
    c.models = (
        "FS-VFM=fsfm:runs/pretrain_vitb,MAE=mae:weights/mae_pretrain_vit_base.pth,"
        "CLIP=clip:weights/clip_vitb16.safetensors,scratch=scratch"
    )
    c.tasks, c.variant = ",".join(f"fas_{target}" for target in TARGETS[name]), words
    return c
