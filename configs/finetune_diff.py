"""Unseen diffusion forgery with FS-VFM, trained on the Deepfakes part of FaceForensics++ c23.

    python -m fsfm_jax.prepare.build --dataset=ffpp_deepfakes --input=DOWNLOAD --output=data/ffpp_deepfakes
    python -m fsfm_jax.main --config=configs/finetune_diff.py:vitb --workdir=runs/finetune_diff_vitb

The variant begins with a size, `vits`, `vitb` (the default) or `vitl`, optionally followed by `scratch` or `released`
(see `vary` in fsfm_jax/config/finetune.py), as in `:vitl,scratch`. `init` is the --workdir of the pretraining run, or
an official checkpoint with its statistics next to it. Evaluate with `eval_diff`. Hardware: one accelerator; the papers
used two GPUs with 32 images each. Cost: not known. Measured: not run here.

`:vitb,fsfm400` is the released recipe for FSFM pretrained for 400 epochs on VGGFace2. `:vitb,cvpr` is that of the CVPR
paper: pretrained on the originals of FaceForensics++, statistics of ImageNet, 50 epochs. The paper selects the detector
for a subset of DiFF on the validation part of this subset, so it needs one run per subset:
`--config.data.validation=data/diff:val_t2i --config.data.test=T2I=data/diff:test_t2i`. The label of the selection then
states that the step was chosen on validation faces of the target.
"""

from fsfm_jax.config import finetune
from fsfm_jax.config.recipes import SIZES, split_size

# Learning rate (per 256 images), layer decay and weight decay.
RATES = {"vits": (5e-5, 0.95, 0.05), "vitb": (5e-5, 0.9, 0.03), "vitl": (5e-5, 0.9, 0.05)}
SPECIAL = {
    "vitb": {
        "fsfm400": {"init": "runs/pretrain_vitb_fsfm400", "optimizer.base_learning_rate": 1e-4},
        "cvpr": {
            "init": "runs/pretrain_vitb_ffpp", "duration": "50 epochs", "data.statistics": "imagenet",
            "batch.size": 256, "batch.per_device": 256, "optimizer.base_learning_rate": 5e-4,
            "optimizer.layer_decay": 0.65, "optimizer.weight_decay": 0.05,
        },
    },
}  # fmt: skip


def get_config(variant=""):
    size, words = split_size(variant)
    c = finetune.finetune()
    c.init = f"runs/pretrain_{size}"
    c.data.train, c.data.validation = "data/ffpp_deepfakes:train", "data/ffpp_deepfakes:val"
    c.model.size = SIZES[size]
    c.optimizer.base_learning_rate, c.optimizer.layer_decay, c.optimizer.weight_decay = RATES[size]
    c.report.layout = "diff"
    return finetune.vary(c, words, SPECIAL.get(size))
