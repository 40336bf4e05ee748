"""ViT-L/16: FS-VFM, 600 epochs of VGGFace2. Variants are listed at `vary` in fsfm_jax/config/pretrain.py.

    python -m fsfm_jax.prepare.build --dataset=vggface2 --input=DOWNLOAD --output=data/vggface2
    python -m fsfm_jax.main --config=configs/pretrain_vitl.py --workdir=runs/pretrain_vitl
    python -m fsfm_jax.main --config=configs/pretrain_vitl.py:ffpp --workdir=runs/pretrain_vitl_ffpp

Hardware: the released script uses four GPUs with micro-batches of 256 images in four parts.
`batch.per_device` here is chosen for TPU v5e (16 GB) without remat: on 16 chips a step of 4096 images has
eight micro-batches. Compiled for v5e:4x4, micro-batches of 32 images need 10.5 of 15.75 GiB.

Cost, estimated and not measured: 265.7 GFLOP per image (analytic count, forward and backward, target
included, equal mask tokens computed once). The TPU compiler estimates 362 images/s per
v5e chip, 49 % of its peak: 600 epochs x 3.1 million images / 362 = 1430 chip-hours, 89 hours on 16 chips.
On four A6000 at 18.5 TFLOP/s each (what a published MAE run of ViT-B reached): 77 days.

To reproduce: FS-VFM ViT-L (arXiv 2510.10663, its tables). `ffpp`: FSFM, supplement C, mean DfD AUC of
frames 77.43, of videos 83.15. The papers have no `fsfm400` of this size.
Measured: not run here.
"""

from ml_collections import ConfigDict

from fsfm_jax.config import pretrain


def get_config(variant: str = "") -> ConfigDict:
    c = pretrain.pretrain()
    c.model.size = "vit_l16"
    c.batch.per_device = 32
    return pretrain.vary(c, variant, accumulation=4)
