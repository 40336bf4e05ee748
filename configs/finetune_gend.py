"""Deepfake detection that trains layer norms alone, on features of unit length, as GenD does; FaceForensics++ c23.

    python -m fsfm_jax.prepare.build --dataset=ffpp_all --input=DOWNLOAD --output=data/ffpp_all
    python -m fsfm_jax.main --config=configs/finetune_gend.py:vitl --workdir=runs/finetune_gend_vitl

The variant begins with a size, `vits`, `vitb` (the default) or `vitl`, and may go on with the protocols of
`configs/finetune_dfd.py`, as in `:vitl,fsvfm`. `:vitl,clip` starts from CLIP ViT-L/14 and classifies its class token,
the network of the paper; `init` is then OpenAI's file as Hugging Face has it.

GenD is Yermakov et al., "Deepfake Detection that Generalizes Across Benchmarks" (WACV 2026, arXiv 2508.06248). From it
and its public settings: scale and bias of every norm and a linear head are trained, features are scaled to length 1,
and `cross-entropy + 0.5 uniformity + 0.1 alignment` is minimised with AdamW at 3e-4 for batches of 512, without weight
decay, over cosines of 10 epochs down to 1e-6. What is different: one cosine over 30 epochs, not three; flips alone,
and no shifts, turns, blur, JPEG or colour of single faces; validation on FaceForensics++, not on other data sets; crops
are those of `prepare`. Encoders of FSFM and FS-VFM under this method are this project's idea: nobody has published
numbers for it. Hardware: one accelerator. Cost: not known. Measured: not run.
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
