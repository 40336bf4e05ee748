"""Cross-domain face anti-spoofing with FS-Adapter on a frozen ViT-L/16 of FS-VFM: leave one data set out.

    python -m fsfm_jax.prepare.build --dataset=mcio_frames --input=DOWNLOAD --output=data/mcio_frames
    python -m fsfm_jax.main --config=configs/adapter_fas_vitl.py:O --workdir=runs/adapter_fas_vitl_O

1,640,194 parameters are trained. The first word of the variant is the data set that is left out, and words behind it
change the protocol as in `configs/finetune_fas_vitl.py`; others are `cached`, `linear-probe`, `layer-norm`, `bias` and
`lora` (see `adapt` in fsfm_jax/config/adapter.py). Three seeds, one after the other. Hardware: one accelerator; papers used
one GPU. Cost: not known. Measured: not run here.
"""

from fsfm_jax.config import adapter


def get_config(variant="O"):
    c = adapter.adapt_antispoof(variant, rate=1e-3, decay=1e-7, contrast=0.2)
    c.init = "runs/pretrain_vitl"
    c.model.size = "vit_l16"
    return c
