"""Deepfake detection, ViT-L/16 of FS-VFM, trained on FaceForensics++ c23.

    python -m fsfm_jax.prepare.build --dataset=ffpp_all --input=DOWNLOAD --output=data/ffpp_all
    python -m fsfm_jax.main --config=configs/finetune_dfd_vitl.py --workdir=runs/finetune_dfd_vitl

`init` is the --workdir of the pretraining run (`configs/pretrain_vitl.py`) or an official checkpoint with its
statistics beside it. Variants follow a colon: `:scratch`, `:released` (see `vary` in
fsfm_jax/config/finetune.py). Hardware: one accelerator; the papers used two GPUs with 32 images each. Cost: not known.
Measured: not run here.
"""

from fsfm_jax.config import finetune


def get_config(variant=""):
    c = finetune.finetune()
    c.init = "runs/pretrain_vitl"
    c.model.size = "vit_l16"
    c.optimizer.base_learning_rate, c.optimizer.layer_decay, c.optimizer.weight_decay = 5e-5, 0.9, 0.01
    return finetune.vary(c, variant)
