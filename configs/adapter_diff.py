"""Unseen diffusion forgery with FS-Adapter on a frozen encoder of FS-VFM, trained on Deepfakes of FaceForensics++ c23.

    python -m fsfm_jax.prepare.build --dataset=ffpp_deepfakes --input=DOWNLOAD --output=data/ffpp_deepfakes
    python -m fsfm_jax.main --config=configs/adapter_diff.py:vitb --workdir=runs/adapter_diff_vitb

The variant begins with a size: `vits` (84,578 parameters are trained), `vitb` (335,042; the default) or `vitl`
(594,178). Optional words follow: `cached` (features are computed once: minutes instead of hours, but no augmentation),
`linear-probe`, `layer-norm`, `bias`, `lora` or `released` (see `adapt` in fsfm_jax/config/adapter.py). `init` is the
--workdir of the pretraining run, or an official checkpoint with its statistics next to it. Hardware: one accelerator;
the papers used two GPUs with 128 images each (ViT-L: 512). Cost: not known. Measured: not run.

`:vitl,linear-probe-r1` is the linear probe with the settings of branch R1 of the released code: two GPUs with 128
images each, 50 epochs, a rate of 1e-2 for 256 images, no weight decay. For ViT-L `linear-probe` has another batch and
rate. For ViT-S and ViT-B the settings of R1 are unknown. For every size `linear-probe` uses batch, duration and rate
of FS-Adapter, a choice of this project:

    python -m fsfm_jax.main --config=configs/adapter_diff.py:vitl,linear-probe-r1 --workdir=runs/probe_diff_vitl
"""

from fsfm_jax.config import adapter, finetune
from fsfm_jax.config.recipes import SIZES, split_size

SETTINGS = {
    "vits": {"batch": 256, "duration": "60 epochs", "rate": 1e-2, "contrast": 0.01},
    "vitb": {"batch": 256, "duration": "50 epochs", "rate": 1e-2, "contrast": 0.05},
    "vitl": {"batch": 1024, "duration": "50 epochs", "rate": 5e-3, "contrast": 0.1},
}


def get_config(variant=""):
    size, words = split_size(variant)
    c = finetune.finetune()
    c.init = f"runs/pretrain_{size}"
    c.data.train, c.data.validation = "data/ffpp_deepfakes:train", "data/ffpp_deepfakes:val"
    c.model.size = SIZES[size]
    c.report.layout = "diff"
    return adapter.adapt(c, **SETTINGS[size], variant=words)
