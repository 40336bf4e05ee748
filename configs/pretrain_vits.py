"""ViT-S/16: FS-VFM, 600 epochs of VGGFace2. Variants are listed at `vary` in fsfm_jax/config/pretrain.py.

    python -m fsfm_jax.prepare.build --dataset=vggface2 --input=DOWNLOAD --output=data/vggface2
    python -m fsfm_jax.main --config=configs/pretrain_vits.py --workdir=runs/pretrain_vits
    python -m fsfm_jax.main --config=configs/pretrain_vits.py:ffpp --workdir=runs/pretrain_vits_ffpp

Hardware: the released script uses four GPUs with micro-batches of 512 images in two parts.
`batch.per_device` here is chosen for TPU v5e (16 GB) without remat: on 16 chips a step of 4096 images has
eight micro-batches, which need 2.5 of 15.75 GiB. Larger ones fit, but were estimated as slower for ViT-B
(docs/SCALING.md).

Cost, estimated and not measured: 50.7 GFLOP per image (analytic count, forward and backward, target included,
equal mask tokens computed once). The TPU compiler estimates 1134 images/s per v5e chip,
29 % of its peak (12 heads of 32, and the pixel decoder of the larger models): 600 epochs x 3.1 million
images / 1134 = 455 chip-hours, 28 hours on 16 chips. On four A6000 at 18.5 TFLOP/s each (what a published
MAE run of ViT-B reached): 15 days.

To reproduce: FS-VFM ViT-S (arXiv 2510.10663, its tables). `ffpp`: FSFM, supplement C, mean DfD AUC of
frames 74.80, of videos 80.20. The papers have no `fsfm400` of this size.
Measured: not run here.
"""

from ml_collections import ConfigDict

from fsfm_jax.config import pretrain


def get_config(variant: str = "") -> ConfigDict:
    c = pretrain.pretrain()
    c.model.size = "vit_s16"
    c.batch.per_device = 32
    return pretrain.vary(c, variant, accumulation=2)
