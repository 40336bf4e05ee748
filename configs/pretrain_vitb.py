"""ViT-B/16: FS-VFM, 600 epochs of VGGFace2. Variants are listed at `vary` in fsfm_jax/config/pretrain.py.

    python -m fsfm_jax.prepare.build --dataset=vggface2 --input=DOWNLOAD --output=data/vggface2
    python -m fsfm_jax.main --config=configs/pretrain_vitb.py --workdir=runs/pretrain_vitb
    python -m fsfm_jax.main --config=configs/pretrain_vitb.py:fsfm400 --workdir=runs/pretrain_vitb_fsfm400

Hardware: FSFM used four RTX A6000 with micro-batches of 256 images in four parts. `batch.per_device` here
is chosen for TPU v5e (16 GB) without remat: on 16 chips a step of 4096 images has eight micro-batches. Compiled
for v5e:4x4, micro-batches of 32 images need 4.4 of 15.75 GiB. 128 also fit, but the compiler estimates them as slower.

Cost, estimated and not measured: 103.9 GFLOP per image (analytic count, forward and backward, target
included, equal mask tokens computed once). The TPU compiler estimates 787 images/s per
v5e chip, 41 % of its peak: 600 epochs x 3.1 million images / 787 = 657 chip-hours, 41 hours on 16 chips;
400 epochs 27 hours. On four A6000 at 18.5 TFLOP/s each (what a published MAE run reached): 30 days.

To reproduce: FS-VFM ViT-B (arXiv 2510.10663, its tables). `fsfm400`: FSFM, supplement Tab. 3, fine-tuned
on FF++ c23, video AUC in %: CDFv2 91.44, DFDC 83.47, DFDCp 89.71, WDF 86.96. `ffpp`: supplement C, mean
DfD AUC of frames 76.39, of videos 82.31.
Measured: not run here.
"""

from ml_collections import ConfigDict

from fsfm_jax.config import pretrain


def get_config(variant: str = "") -> ConfigDict:
    c = pretrain.pretrain()
    c.model.size = "vit_b16"
    c.batch.per_device = 32
    return pretrain.vary(c, variant, accumulation=4)
