"""Cross-domain face anti-spoofing with FS-Adapter on a frozen ViT-S/16 of FS-VFM: leave one data set out.

    python -m fsfm_jax.prepare.build --dataset=mcio_frames --input=DOWNLOAD --output=data/mcio_frames
    python -m fsfm_jax.main --config=configs/adapter_fas_vits.py:O --workdir=runs/adapter_fas_vits_O

477,794 parameters are trained. The first word of the variant is the data set that is left out, and words behind it
change the protocol as in `configs/finetune_fas_vits.py`; others are `cached`, `linear-probe`, `layer-norm`, `bias` and
`lora` (see `adapt` in fsfm_jax/config/adapter.py). Three seeds, one after the other. Hardware: one accelerator; papers used
one GPU. Cost: not known. Measured: not run here.
"""

from fsfm_jax.config import adapter


def get_config(variant="O"):
    c = adapter.adapt_antispoof(variant, rate=5e-2, decay=1e-6, contrast=0.1)
    c.init = "runs/pretrain_vits"
    c.model.size = "vit_s16"
    return c
