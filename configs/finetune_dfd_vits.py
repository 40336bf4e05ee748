"""Deepfake detection, ViT-S/16 of FS-VFM, trained on FaceForensics++ c23.

    python -m fsfm_jax.prepare.build --dataset=ffpp_all --input=DOWNLOAD --output=data/ffpp_all
    python -m fsfm_jax.main --config=configs/finetune_dfd_vits.py --workdir=runs/finetune_dfd_vits

`init` is the --workdir of the pretraining run (`configs/pretrain_vits.py`) or an official checkpoint with its
statistics beside it. Variants follow a colon: `:scratch`, `:released` (see `vary` in
fsfm_jax/config/finetune.py). Hardware: one accelerator; the papers used two GPUs with 32 images each. Cost: not known.
Measured: not run here.
"""

from fsfm_jax.config import finetune


def get_config(variant=""):
    c = finetune.finetune()
    c.init = "runs/pretrain_vits"
    c.model.size = "vit_s16"
    c.optimizer.base_learning_rate, c.optimizer.layer_decay, c.optimizer.weight_decay = 2e-4, 0.65, 0.03
    return finetune.vary(c, variant)
