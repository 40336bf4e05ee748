"""Cross-domain face anti-spoofing, ViT-B/16 of FS-VFM: leave one of MSU, CASIA, Replay and OULU out.

    python -m fsfm_jax.prepare.build --dataset=mcio_frames --input=DOWNLOAD --output=data/mcio_frames
    python -m fsfm_jax.main --config=configs/finetune_fas_vitb.py --workdir=runs/finetune_fas_vitb

The variant (`:M`, `:C`, `:I`, `:O`) is the data set that is left out, OULU if none is given. CelebA-Spoof is a
source in each of them; `:O,no-celeb` leaves it out, too. `init` is the --workdir of the pretraining run
(`configs/pretrain_vitb.py`). There is no validation set: the released code chooses the checkpoint on the target's
test set, which is not offered here. Hardware: one accelerator; the papers used one GPU. Cost: not known.
Measured: not run here.
"""

from configs import common


def get_config(variant="O"):
    c = common.antispoof(variant)
    c.init = "runs/pretrain_vitb"
    c.model.size = "vit_b16"
    c.optimizer.base_learning_rate, c.optimizer.weight_decay = 2.5e-05, 1e-06
    return c
