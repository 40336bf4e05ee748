"""Cross-domain face anti-spoofing, ViT-S/16 of FS-VFM: leave one data set of MCIO or WCS out.

    python -m fsfm_jax.prepare.build --dataset=mcio_frames --input=DOWNLOAD --output=data/mcio_frames
    python -m fsfm_jax.main --config=configs/finetune_fas_vits.py:O --workdir=runs/fas_vits_O

The variant is the data set that is left out, `:M`, `:C`, `:I` or `:O` (OULU if none is given), `:wmca`, `:cefa` or
`:surf`; words behind it change the protocol, such as `:O,no-celeb,5-shot` (see `antispoof` in
fsfm_jax/config/finetune.py). Five seeds are run one after the other and end in a table of mean and deviation. The released
code chooses the step on the target's test set: `:O,oracle`. `init` is the --workdir of the pretraining run
(`configs/pretrain_vits.py`) or an official checkpoint with its statistics beside it. Hardware: one accelerator; the
papers used one GPU. Cost: not known. Measured: not run here.
"""

from fsfm_jax.config import finetune


def get_config(variant="O"):
    c = finetune.antispoof(variant)
    c.init = "runs/pretrain_vits"
    c.model.size = "vit_s16"
    c.optimizer.base_learning_rate, c.optimizer.weight_decay = 2.5e-5, 1e-6
    return c
