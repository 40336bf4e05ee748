"""Cross-domain face anti-spoofing with FS-Adapter on a frozen encoder of FS-VFM: leave one data set out.

    python -m fsfm_jax.prepare.build --dataset=mcio_frames --input=DOWNLOAD --output=data/mcio_frames
    python -m fsfm_jax.main --config=configs/adapter_fas.py:vitb,O --workdir=runs/adapter_fas_vitb_O

The variant is a size, `vits` (477,794 parameters are trained), `vitb` (1,119,938; the default) or `vitl` (1,640,194),
then the left-out data set or a protocol with fewer sources, then optional words as in `finetune_fas`. Further words are
`cached`, `linear-probe`, `layer-norm`, `bias` and `lora` (see `adapt` in fsfm_jax/config/adapter.py), as in
`:vitl,O,cached`. Three seeds run one after the other. Hardware: one accelerator; the papers used one GPU. Cost: not
known. Measured: not run here.
"""

from fsfm_jax.config import adapter
from fsfm_jax.config.recipes import SIZES, split_size

SETTINGS = {
    "vits": {"rate": 5e-2, "decay": 1e-6, "contrast": 0.1},
    "vitb": {"rate": 5e-2, "decay": 5e-5, "contrast": 0.1},
    "vitl": {"rate": 1e-3, "decay": 1e-7, "contrast": 0.2},
}


def get_config(variant="O"):
    size, words = split_size(variant)
    c = adapter.adapt_antispoof(words or "O", **SETTINGS[size])
    c.init = f"runs/pretrain_{size}"
    c.model.size = SIZES[size]
    return c
