"""Deepfake detection that trains only layer norms, on features of unit length, as GenD does; FaceForensics++ c23.

    python -m fsfm_jax.prepare.build --dataset=ffpp_all --input=DOWNLOAD --output=data/ffpp_all
    python -m fsfm_jax.main --config=configs/finetune_gend.py:vitl --workdir=runs/finetune_gend_vitl

The variant begins with a size, `vits`, `vitb` (the default) or `vitl`, optionally followed by a protocol of
`configs/finetune_dfd.py`, as in `:vitl,fsvfm`. `:vitl,clip` is the network of the paper: CLIP ViT-L/14 with its class
token as the feature; `init` is then OpenAI's file from Hugging Face.

GenD is Yermakov et al., "Deepfake Detection that Generalizes Across Benchmarks" (WACV 2026, arXiv 2508.06248). The
paper and its public settings give: scale and bias of every norm and a linear head are trained, and features are scaled
to length 1. The loss is `cross-entropy + 0.5 uniformity + 0.1 alignment`, minimised with AdamW at 3e-4 for batches of
512, without weight decay, over cosines of 10 epochs down to 1e-6. Differences: one cosine over 30 epochs instead of
three; only flips, without shifts, rotations, blur, JPEG or colour changes of single faces; validation on
FaceForensics++ instead of other data sets; crops from `prepare`. The paper does not use encoders of FSFM and FS-VFM,
and no numbers are published for them. Hardware: one accelerator. Cost: not known. Measured: not run.
"""

from fsfm_jax.config import finetune, protocols
from fsfm_jax.config.pretrain import unknown_variant
from fsfm_jax.config.recipes import SIZES, split_size

CLIP = "clip"


def get_config(variant=""):
    size, words = split_size(variant)
    c = finetune.finetune()
    c.init, c.model.size, c.duration = f"runs/pretrain_{size}", SIZES[size], "30 epochs"
    c.batch.size = c.batch.per_device = 512
    c.tuning.method, c.model.unit_features, c.model.drop_path = "layer_norm", True, 0.0
    c.loss.uniformity, c.loss.alignment, c.loss.smoothing = 0.5, 0.1, 0.0
    c.augment.crop, c.augment.rand_augment, c.augment.erase, c.mix.probability = False, "none", 0.0, 0.0
    c.evaluation.transform = "resize"  # the whole face, as in training
    c.optimizer.base_learning_rate, c.optimizer.warmup = 1.5e-4, "0 steps"  # 3e-4 for batches of 512
    c.optimizer.layer_decay, c.optimizer.weight_decay = 1.0, 0.0
    rest = protocols.follow(c, words)
    if rest == CLIP and size == "vitl":
        c.model.base, c.model.size, c.model.pooling = "clip", "vit_l14", "cls"
        c.init = "weights/clip_vitl14.safetensors"
    elif rest:
        raise unknown_variant(rest, (*protocols.WORDS, CLIP) if size == "vitl" else protocols.WORDS)
    return c
