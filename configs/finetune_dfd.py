"""Deepfake detection with FS-VFM, trained on FaceForensics++ c23.

    python -m fsfm_jax.prepare.build --dataset=ffpp_all --input=DOWNLOAD --output=data/ffpp_all
    python -m fsfm_jax.main --config=configs/finetune_dfd.py:vitb --workdir=runs/finetune_dfd_vitb

The variant begins with a size, `vits`, `vitb` (the default) or `vitl`, optionally followed by `scratch` or `released`
(see `vary` in fsfm_jax/config/finetune.py), as in `:vitl,scratch`. `:vitb,fsfm400` is the recipe of FSFM (CVPR 2025)
for a pretraining of 400 epochs (`pretrain_vitb:fsfm400`). `init` is the --workdir of the pretraining run, or an
official checkpoint with its statistics next to it. Hardware: one accelerator; the papers used two GPUs with 32 images
each. Cost: not known. Measured: not run.

Further words select a protocol (fsfm_jax/config/protocols.py) with its test sets: `fsvfm`, the seven data sets of
FS-VFM; `c40`, trained and tested on FaceForensics++ at c40; `only-deepfakes`, trained on that manipulation and tested
on the other three; `all-but-deepfakes`, the reverse; likewise `face2face`, `faceswap` and `neuraltextures`. Prepare
their data with `--dataset=ffpp_all:c40 --output=data/ffpp_all_c40`, `--dataset=ffpp_deepfakes
--output=data/ffpp_deepfakes` and so on. No settings are published for them; they use those of FaceForensics++:

    python -m fsfm_jax.main --config=configs/finetune_dfd.py:vitb,c40 --workdir=runs/dfd_c40
    python -m fsfm_jax.main --config=configs/finetune_dfd.py:vitb,only-deepfakes --workdir=runs/dfd_deepfakes
"""

from fsfm_jax.config import finetune, protocols
from fsfm_jax.config.recipes import SIZES, split_size

# Learning rate (per 256 images), layer decay and weight decay.
RATES = {"vits": (2e-4, 0.65, 0.03), "vitb": (2e-4, 0.6, 0.03), "vitl": (5e-5, 0.9, 0.01)}
SPECIAL = {
    "vitb": {
        "fsfm400": {
            "init": "runs/pretrain_vitb_fsfm400", "optimizer.base_learning_rate": 2.5e-4,
            "optimizer.layer_decay": 0.65, "optimizer.weight_decay": 0.05,
        },
    },
}  # fmt: skip


def get_config(variant=""):
    size, words = split_size(variant)
    c = finetune.finetune()
    c.init = f"runs/pretrain_{size}"
    c.model.size = SIZES[size]
    c.optimizer.base_learning_rate, c.optimizer.layer_decay, c.optimizer.weight_decay = RATES[size]
    return finetune.vary(c, protocols.follow(c, words), SPECIAL.get(size), protocols.WORDS)
