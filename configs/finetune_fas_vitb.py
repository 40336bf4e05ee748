"""Cross-domain face anti-spoofing, ViT-B/16 of FS-VFM: leave one data set of MCIO or WCS out.

    python -m fsfm_jax.prepare.build --dataset=mcio_frames --input=DOWNLOAD --output=data/mcio_frames
    python -m fsfm_jax.main --config=configs/finetune_fas_vitb.py:O --workdir=runs/fas_vitb_O

The variant is the data set that is left out, `:M`, `:C`, `:I` or `:O` (OULU if none is given), `:wmca`, `:cefa` or
`:surf`; words behind it change the protocol, such as `:O,no-celeb,5-shot` (see `antispoof` in
fsfm_jax/config/finetune.py). Five seeds are run one after the other and end in a table of mean and deviation. The released
code chooses the step on the target's test set: `:O,oracle`. `fsfm400` is the rate of
FSFM (CVPR 2025), for a pretraining of 400 epochs. `init` is the --workdir of the pretraining run
(`configs/pretrain_vitb.py`) or an official checkpoint with its statistics beside it. Hardware: one accelerator; the
papers used one GPU. Cost: not known. Measured: not run here.
"""

from fsfm_jax.config import finetune


def get_config(variant="O"):
    words = variant.split(",")
    c = finetune.antispoof(",".join(word for word in words if word != "fsfm400"))
    fsfm = "fsfm400" in words
    c.init = "runs/pretrain_vitb_fsfm400" if fsfm else "runs/pretrain_vitb"
    c.model.size = "vit_b16"
    c.optimizer.base_learning_rate, c.optimizer.weight_decay = 1e-4 if fsfm else 2.5e-5, 1e-6
    return c
