"""ViT-H/14: the FS-VFM recipe at a size that neither paper trained; variants at `common.vary`.

    python -m fsfm_jax.prepare.build --dataset=vggface2 --input=DOWNLOAD --output=data/vggface2
    python -m fsfm_jax.main --config=configs/pretrain_vith.py --workdir=runs/pretrain_vith
    python -m fsfm_jax.main --config=configs/pretrain_vith.py:mae --workdir=runs/pretrain_vith_mae

No recipe was published: this is the one of ViT-L with the patches of 14 pixels that the released code
foresees (256 patches, 64 of them visible). The pixel decoder is that of the other sizes.

Hardware: TPU v5e with remat and FSDP, since parameters, moments and target alone are 11 GB (2.8e9 numbers
of 4 bytes): on 16 chips a step of 4096 images has eight parts.

Cost, derived and not measured: about 710 GFLOP an image (our analytic count, which is within 2 % of those
for the other sizes). 600 epochs x 3.1 million images x 710 GFLOP = 1.32e21 FLOP. On 16 v5e chips at an
assumed 40 % of 197 TFLOP/s: 1.32e21 / (16 x 0.40 x 197e12) = 291 hours, 4660 chip-hours; what remat adds
is not counted.

To reproduce: nothing published. `fsfm400`, `ffpp` and `released` carry the settings of the other sizes
over.
Measured: not run here.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(variant: str = "") -> ConfigDict:
    c = common.pretrain()
    c.model.size = "vit_h14"
    c.model.remat = "full"
    c.batch.per_device = 32  # a guess: half of ViT-L; not compiled
    c.partition.fsdp = True
    return common.vary(c, variant, accumulation=4)
