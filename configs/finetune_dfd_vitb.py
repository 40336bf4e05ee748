"""Deepfake detection, ViT-B/16 of FS-VFM, trained on FaceForensics++ c23.

    python -m fsfm_jax.prepare.build --dataset=ffpp_all --input=DOWNLOAD --output=data/ffpp_all
    python -m fsfm_jax.main --config=configs/finetune_dfd_vitb.py --workdir=runs/finetune_dfd_vitb

`init` is the --workdir of the pretraining run (`configs/pretrain_vitb.py`) or an official checkpoint with its
statistics beside it. Variants follow a colon: `:scratch`, `:released` (see `vary` in
fsfm_jax/config/finetune.py). `:fsfm400` is the recipe of FSFM (CVPR 2025) for a pretraining of 400 epochs
(`configs/pretrain_vitb.py:fsfm400`). Hardware: one accelerator; the papers used two GPUs with 32 images each. Cost:
not known. Measured: not run here.
"""

from fsfm_jax.config import finetune

SPECIAL = {
    "fsfm400": {
        "init": "runs/pretrain_vitb_fsfm400", "optimizer.base_learning_rate": 2.5e-4,
        "optimizer.layer_decay": 0.65, "optimizer.weight_decay": 0.05,
    },
}  # fmt: skip


def get_config(variant=""):
    c = finetune.finetune()
    c.init = "runs/pretrain_vitb"
    c.model.size = "vit_b16"
    c.optimizer.base_learning_rate, c.optimizer.layer_decay, c.optimizer.weight_decay = 2e-4, 0.6, 0.03
    return finetune.vary(c, variant, SPECIAL)
