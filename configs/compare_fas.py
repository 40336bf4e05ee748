"""Base models and tunings for face anti-spoofing: ViT-B, four targets of MCIO, three to five seeds each.

    python -m fsfm_jax.main --config=configs/compare_fas.py --workdir=runs/compare_fas

Data are those of `configs/finetune_fas.py:vitb`. `weights/` holds the published files of the base models; other models
and places with `--config.models=`, see fsfm_jax/config/compare.py. The same command goes on where it was stopped, and
an added model runs its own cells alone. Hardware: one accelerator. Cost: not known; 76 cells of three or five
fine-tunings. Measured: not run here.
"""

from fsfm_jax.config import compare


def get_config():
    c = compare.compare()
    c.models = (
        "FS-VFM=fsfm:runs/pretrain_vitb,MAE=mae:weights/mae_pretrain_vit_base.pth,"
        "CLIP=clip:weights/clip_vitb16.safetensors,scratch=scratch"
    )
    c.tasks = "fas_M,fas_C,fas_I,fas_O"
    return c
