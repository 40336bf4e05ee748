"""Deepfake detection, ViT-B/16 of FS-VFM, trained on FaceForensics++ c23.

    python -m fsfm_jax.prepare.build --dataset=ffpp_all --input=DOWNLOAD --output=data/ffpp_all
    python -m fsfm_jax.main --config=configs/finetune_dfd_vitb.py --workdir=runs/finetune_dfd_vitb

`init` is the --workdir of the pretraining run (`configs/pretrain_vitb.py`). Hardware: one accelerator; the papers
used two GPUs with 32 images each. Cost: not known. Measured: not run here.
"""

from configs import common


def get_config():
    c = common.finetune()
    c.init = "runs/pretrain_vitb"
    c.model.size = "vit_b16"
    c.optimizer.base_learning_rate, c.optimizer.layer_decay, c.optimizer.weight_decay = 0.0002, 0.6, 0.03
    return c
