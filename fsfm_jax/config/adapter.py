"""Recipes that keep the encoder frozen: FS-Adapter of FS-VFM, and what it is compared with."""

from collections.abc import Iterable

from ml_collections import ConfigDict

from fsfm_jax.config import finetune, pretrain

# Rates of the comparators for deepfakes and diffusion (per 256 images) and for anti-spoofing: ours, by rule of thumb;
# None: that of FS-Adapter. Nothing is published for them with these encoders.
COMPARATORS = {
    "linear-probe": ("linear_probe", None, None),
    "layer-norm": ("layer_norm", 1e-3, 1e-4),
    "bias": ("bias", 1e-3, 1e-4),
    "lora": ("lora", 1e-3, 1e-4),
}
VARIANTS = (*COMPARATORS, "cached", "released")
# The linear probe of ViT-L as the branch R1 of the released code has it, for deepfakes and for diffusion. Settings of
# other sizes are not known.
R1, R1_SIZE = "linear-probe-r1", "vit_l16"
R1_BATCH, R1_DURATION, R1_RATE = 256, "50 epochs", 1e-2


def adapt(
    c: ConfigDict, batch: int, duration: str, rate: float, contrast: float, variant: str, also: Iterable[str] = ()
) -> ConfigDict:
    """Turns a recipe of deepfake or diffusion forgery detection into that of FS-Adapter, or of a comparator.

    | variant        | what it is                                                                                 |
    |----------------|--------------------------------------------------------------------------------------------|
    | `linear-probe` | the head alone, at batch, duration and rate of FS-Adapter (ours)                           |
    | `linear-probe-r1` | the head alone, as the released code's branch R1 trains it; ViT-L                       |
    | `layer-norm`   | scales and biases of the norms, and the head                                               |
    | `bias`         | every bias, and the head (BitFit)                                                          |
    | `lora`         | low-rank updates of query, key and value, and the head                                     |
    | `cached`       | features are computed once, so nothing changes an image: no augmentation, no mixing        |
    | `released`     | the released code's: bilinear resampling, losses that are not finite skip their batch, and |
    |                | faces are contrasted within each of its two GPUs                                           |

    Several are separated by commas. The released scripts are given a layer decay of 0, which leaves the last layer's
    rate alone: the same as one rate for what is trained. `also` are words that the recipe has taken off already, for
    the message.

    Raises:
      ValueError: another variant, or one that another size has.
    """
    c.batch.size = c.batch.per_device = batch
    c.duration = duration
    c.optimizer.base_learning_rate, c.optimizer.layer_decay, c.optimizer.weight_decay = rate, 1.0, 0.0
    c.tuning.method, c.loss.contrast = "fs_adapter", contrast
    for word in filter(None, variant.split(",")):
        if word == "released":
            c.augment.interpolation, c.nonfinite, c.batch.accumulation = "bilinear", "skip", 2
        elif word == R1:
            _probe_as_r1(c)
        else:
            _word(c, word, 0, (*VARIANTS, R1, *also))
    return c


def adapt_antispoof(variant: str, rate: float, decay: float, contrast: float) -> ConfigDict:
    """FS-Adapter for anti-spoofing: the target and words of `finetuning.antispoof`, and those of `adapt`.

    24 real and 24 fake faces of each source a step, three seeds; the pooled token alone is embedded and scaled.

    Raises:
      ValueError: a first word that is no target, or another word behind it.
    """
    words = variant.split(",")
    own = [word for word in words[1:] if word in VARIANTS and word != "released"]
    known = (*own, *finetune.ANTISPOOF_VARIANTS)
    unknown = [word for word in words[1:] if word not in known]
    if unknown:
        raise pretrain.unknown_variant(unknown[0], (*finetune.ANTISPOOF_VARIANTS, *COMPARATORS, "cached"))
    c = finetune.antispoof(",".join(word for word in words if word not in own))
    c.repeats = 3
    c.batch.size = c.batch.per_device = 2 * c.batch.size
    c.model.norm_over = "features"
    c.optimizer.base_learning_rate, c.optimizer.weight_decay = rate, decay
    c.tuning.method, c.loss.contrast = "fs_adapter", contrast
    for word in own:
        _word(c, word, 1, VARIANTS)
    return c


def _probe_as_r1(c: ConfigDict) -> None:
    """Sets what the branch R1 does; augmentation, mixing and drop path are those of every recipe of these tasks."""
    if c.model.size != R1_SIZE:
        raise ValueError(
            f"variant: {R1} is of vitl alone, found model.size {c.model.size}; its settings for other sizes are not "
            "known. linear-probe has ours"
        )
    _word(c, "linear-probe", 0, ())
    c.batch.size = c.batch.per_device = R1_BATCH
    c.duration, c.optimizer.base_learning_rate = R1_DURATION, R1_RATE


def _word(c: ConfigDict, word: str, task: int, known: Iterable[str]) -> None:
    """Applies a variant; `task` is 0 for deepfakes and diffusion, 1 for anti-spoofing. `known` is for the message."""
    if word == "cached":
        c.features.cache = "runs/features"
        c.augment.crop, c.augment.flip, c.augment.rand_augment = False, 0.0, "none"
        c.augment.erase = c.augment.saturation = c.mix.probability = c.model.drop_path = 0.0
        return
    if word not in COMPARATORS:
        raise pretrain.unknown_variant(word, known)
    method, *rates = COMPARATORS[word]
    c.tuning.method, c.loss.contrast = method, 0.0
    if rates[task] is not None:
        c.optimizer.base_learning_rate = rates[task]
