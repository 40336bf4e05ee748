"""ViT-L/16: FS-VFM, 600 epochs of VGGFace2; variants are listed at `common.vary`.

    python -m fsfm_jax.prepare.build --dataset=vggface2 --input=DOWNLOAD --output=data/vggface2
    python -m fsfm_jax.main --config=configs/pretrain_vitl.py --workdir=runs/pretrain_vitl
    python -m fsfm_jax.main --config=configs/pretrain_vitl.py:ffpp --workdir=runs/pretrain_vitl_ffpp

Hardware: the released script uses four GPUs with micro-batches of 256 images in four parts.
`batch.per_device` here is meant for TPU v5e (16 GB) with remat: on 16 chips a step of 4096 images has four
parts.

Cost, derived and not measured: 292.4 GFLOP an image (analytic count, forward and backward, target
included; computing equal mask tokens once, as this code does, leaves out about 8 % of it, remat adds up to
one online forward pass that is not counted). 600 epochs x 3.1 million images x 292.4 GFLOP = 5.4e20 FLOP.
On 16 v5e chips at an assumed 40 % of 197 TFLOP/s: 5.4e20 / (16 x 0.40 x 197e12) = 120 hours, 1920
chip-hours. On four A6000 at 18.5 TFLOP/s each (what a published MAE run of ViT-B reached): 85 days.

To reproduce: FS-VFM ViT-L (arXiv 2510.10663, its tables). `ffpp`: FSFM, supplement C, mean DfD AUC of
frames 77.43, of videos 83.15. The papers have no `fsfm400` of this size.
Measured: not run here.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = "") -> ConfigDict:
    c = common.pretrain()
    c.model.size = "vit_l16"
    c.model.remat = "full"  # without it a prototype with 64 images a v5e chip did not fit; with it 7.5 GB
    c.batch.per_device = 64
    return common.vary(c, variant, accumulation=4)
