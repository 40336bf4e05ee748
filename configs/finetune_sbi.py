"""Deepfake detection trained without forgeries: real faces of FaceForensics++ c23 and self-blended copies of them.

    python -m fsfm_jax.prepare.build --dataset=ffpp_originals:splits --input=DOWNLOAD --output=data/ffpp_real
    python -m fsfm_jax.main --config=configs/finetune_sbi.py:vitb --workdir=runs/finetune_sbi_vitb

The variant begins with a size, `vits`, `vitb` (the default) or `vitl`, optionally followed by `scratch` (without
pretraining) and `fsvfm` (the seven test sets of FS-VFM instead of the four of FSFM), as in `:vitl,fsvfm`. `init` is as
in `finetune_dfd`. Prepare the test sets as for `eval_dfd`, and `ffpp_all` for FaceForensics++ itself.

Self-blended images are from Shiohara and Yamasaki, "Detecting Deepfakes with Self-Blended Images" (CVPR 2022), who
train an EfficientNet-B4. They do not use encoders of FSFM and FS-VFM, and no numbers are published for them. The
settings are combined by this project from

- the SBI paper: only real videos of the train split, pairs of a face and its blend in a batch, plain cross-entropy, and
  the same number of faces: 25 epochs of 32 frames per video equal its 100 epochs of 8;
- FS-VFM, as in `finetune_dfd`: optimizer, learning rate, layer decay, weight decay, drop path, batch;
- this project: no random crop, RandAugment, erasing, mixup or CutMix, because they cut off or hide boundaries, or
  create new ones in real faces. So evaluation also uses the whole face.

Validation uses fixed blends of the val split, so the step is selected without forgeries. Hardware: one accelerator.
Cost: not run. Measured: not run.
"""

from fsfm_jax.config import evaluate, finetune, pretrain, protocols
from fsfm_jax.config.recipes import SIZES, split_size

# Learning rate (per 256 images), layer decay and weight decay of `finetune_dfd`.
RATES = {"vits": (2e-4, 0.65, 0.03), "vitb": (2e-4, 0.6, 0.03), "vitl": (5e-5, 0.9, 0.01)}
TESTS = {"FFpp": "ffpp_all:test"}
WORDS = ("scratch", protocols.SUITE)


def get_config(variant=""):
    size, words = split_size(variant)
    unknown = next((word for word in words.split(",") if word and word not in WORDS), None)
    if unknown:
        raise pretrain.unknown_variant(unknown, WORDS)
    c = finetune.finetune()
    c.init, c.model.size, c.duration = f"runs/pretrain_{size}", SIZES[size], "25 epochs"
    c.optimizer.base_learning_rate, c.optimizer.layer_decay, c.optimizer.weight_decay = RATES[size]
    c.data.train = "blended:data/ffpp_real:train"
    c.data.validation = "blended:data/ffpp_real:val"
    c.data.test = evaluate.sets(TESTS | (protocols.FSVFM if protocols.SUITE in words else protocols.FSFM))
    c.augment.crop, c.augment.rand_augment, c.augment.erase = False, "none", 0.0
    c.mix.probability, c.loss.smoothing = 0.0, 0.0
    c.evaluation.transform = "resize"  # the whole face, as in training
    return finetune.vary(c, "scratch" if "scratch" in words else "")
