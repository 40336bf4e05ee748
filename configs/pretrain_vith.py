"""ViT-H/14: the FS-VFM recipe at a size that neither paper trained.

Variants are listed at `vary` in fsfm_jax/config/pretrain.py.

    python -m fsfm_jax.prepare.build --dataset=vggface2 --input=DOWNLOAD --output=data/vggface2
    python -m fsfm_jax.main --config=configs/pretrain_vith.py --workdir=runs/pretrain_vith
    python -m fsfm_jax.main --config=configs/pretrain_vith.py:mae --workdir=runs/pretrain_vith_mae

No recipe was published. This is the recipe of ViT-L with the 14-pixel patches of the released code
(256 patches, 64 of them visible). The pixel decoder is that of the other sizes.

Hardware: TPU v5e with remat and FSDP, because parameters, moments and target take 11 GB (2.8e9 numbers
of 4 bytes): on 16 chips a step of 4096 images has eight micro-batches. Compiled for v5e:4x4, micro-batches of 32 images
need 8.5 of 15.75 GiB, including a whole gradient on each chip.

Cost, estimated and not measured: 663 GFLOP per image (analytic count), and 11 % more for the recomputation by
remat. The TPU compiler estimates 129 images/s per v5e chip, 44 % of its peak: 600 epochs
x 3.1 million images / 129 = 4000 chip-hours, 250 hours on 16 chips.

To reproduce: nothing published. `fsfm400`, `ffpp` and `released` use the settings of the other sizes.
Measured: not run here.
"""

from ml_collections import ConfigDict

from fsfm_jax.config import pretrain


def get_config(variant: str = "") -> ConfigDict:
    c = pretrain.pretrain()
    c.model.size = "vit_h14"
    c.model.remat = "full"
    c.batch.per_device = 32
    c.partition.fsdp = True
    return pretrain.vary(c, variant, accumulation=4)
