"""Unseen diffusion forgery, ViT-L/16 of FS-VFM, trained on the Deepfakes part of FaceForensics++ c23.

    python -m fsfm_jax.prepare.build --dataset=ffpp_deepfakes --input=DOWNLOAD --output=data/ffpp_deepfakes
    python -m fsfm_jax.main --config=configs/finetune_diff_vitl.py --workdir=runs/finetune_diff_vitl

`init` is the --workdir of the pretraining run (`configs/pretrain_vitl.py`) or an official checkpoint with its
statistics beside it. Variants follow a colon: `:scratch`, `:released` (see `vary` in
fsfm_jax/config/finetune.py). Evaluate with `configs/eval_diff.py`. Hardware: one accelerator; the papers used two GPUs with
32 images each. Cost: not known. Measured: not run here.
"""

from fsfm_jax.config import finetune


def get_config(variant=""):
    c = finetune.finetune()
    c.init = "runs/pretrain_vitl"
    c.data.train, c.data.validation = "data/ffpp_deepfakes:train", "data/ffpp_deepfakes:val"
    c.model.size = "vit_l16"
    c.optimizer.base_learning_rate, c.optimizer.layer_decay, c.optimizer.weight_decay = 5e-5, 0.9, 0.05
    c.report.layout = "diff"
    return finetune.vary(c, variant)
