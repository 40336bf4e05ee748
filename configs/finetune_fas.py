"""Cross-domain face anti-spoofing with FS-VFM: train without one data set of MCIO or WCS and test on it.

    python -m fsfm_jax.prepare.build --dataset=mcio_frames --input=DOWNLOAD --output=data/mcio_frames
    python -m fsfm_jax.main --config=configs/finetune_fas.py:vitb,O --workdir=runs/fas_vitb_O

The variant is a size, `vits`, `vitb` (the default) or `vitl`, then the left-out data set, `M`, `C`, `I`, `O` (the
default, OULU), `wmca`, `cefa` or `surf`. Further words change the protocol, such as `:vitl,O,no-celeb,5-shot` (see
`antispoof` in fsfm_jax/config/finetune.py). Five seeds run one after the other, and a table shows mean and standard
deviation. The released code selects the step on the target's test set: `:vitb,O,oracle`. `:vitb,O,fsfm400` has the rate
of FSFM (CVPR 2025), for a pretraining of 400 epochs. `init` is the --workdir of the pretraining run, or an official
checkpoint with its statistics next to it. Hardware: one accelerator; the papers used one GPU. Cost: not known.
Measured: not run.

Protocols with fewer sources replace the target: `MI2C` and `MI2O` train only on MSU and Replay (limited sources), `M2C`
and eleven others on one data set. They do not use CelebA-Spoof, and neither does WCS. `celeb` adds it, from
`mcio_frames`: `:vitb,wmca,celeb`. No steps and rates are published for them; they use those of the full protocols:

    python -m fsfm_jax.main --config=configs/finetune_fas.py:vitb,MI2C --workdir=runs/fas_vitb_MI2C
"""

from fsfm_jax.config import finetune
from fsfm_jax.config.recipes import SIZES, split_size

# Learning rate (per 256 images) and weight decay.
RATES = {"vits": (2.5e-5, 1e-6), "vitb": (2.5e-5, 1e-6), "vitl": (1e-5, 1e-5)}
FSFM400, FSFM400_RATE = "fsfm400", 1e-4


def get_config(variant="O"):
    size, words = split_size(variant)
    words = (words or "O").split(",")
    fsfm400 = size == "vitb" and FSFM400 in words
    c = finetune.antispoof(",".join(word for word in words if not (fsfm400 and word == FSFM400)))
    c.init = f"runs/pretrain_{size}_{FSFM400}" if fsfm400 else f"runs/pretrain_{size}"
    c.model.size = SIZES[size]
    c.optimizer.base_learning_rate, c.optimizer.weight_decay = RATES[size]
    if fsfm400:
        c.optimizer.base_learning_rate = FSFM400_RATE
    return c
