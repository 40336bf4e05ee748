"""Base models and tunings for deepfakes and diffusion forgeries: ViT-B, trained on FaceForensics++ c23.

    python -m fsfm_jax.main --config=configs/compare_dfd.py --workdir=runs/compare_dfd

Data are those of `configs/finetune_dfd.py:vitb`, `finetune_diff.py:vitb`, `eval_dfd.py` and `eval_diff.py`. Put the
published files of the base models into `weights/`; set other models and paths with `--config.models=`, see
fsfm_jax/config/compare.py. The same command resumes an interrupted comparison, and runs only the cells of an added
model. `--config.variant=cached` computes features once for FS-Adapter and the linear probe: far cheaper, but without
augmentation. Hardware: one accelerator. Cost: not known; 62 fine-tunings, 12 of all parameters. Measured: not run.

`:fsvfm` covers only deepfakes, on the seven data sets of FS-VFM (31 fine-tunings). So do `:c40`, `:only-deepfakes`,
`:all-but-deepfakes` and similar words; each cell is trained and tested with that word of `configs/finetune_dfd.py`. The
table has frame and video AUC of every set. The working directory of each cell has the AUC of every manipulation:

    python -m fsfm_jax.main --config=configs/compare_dfd.py:fsvfm --workdir=runs/compare_fsvfm
"""

from fsfm_jax.config import compare, protocols
from fsfm_jax.config.pretrain import unknown_variant


def get_config(variant=""):
    if protocols.find_protocol(variant)[1]:
        raise unknown_variant(variant, protocols.WORDS)
    c = compare.compare()
    c.models = (
        "FS-VFM=fsfm:runs/pretrain_vitb,MAE=mae:weights/mae_pretrain_vit_base.pth,"
        "supervised=supervised:weights/vit_b16_augreg.safetensors,DINO=dino:weights/dino_vitbase16_pretrain.pth,"
        "CLIP=clip:weights/clip_vitb16.safetensors,scratch=scratch"
    )
    c.tasks, c.variant = "dfd" if variant else "dfd,diff", variant
    return c
