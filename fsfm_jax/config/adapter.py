"""Recipes with few trained encoder weights or none: FS-Adapter of FS-VFM and the methods it is compared with."""

from collections.abc import Iterable

from ml_collections import ConfigDict

from fsfm_jax.config import finetune, pretrain

# Learning rates of the comparators: for deepfakes and diffusion (per 256 images), then for anti-spoofing. We chose them
# by rule of thumb, because none are published for these encoders. None: the rate of FS-Adapter.
COMPARATORS = {
    "linear-probe": ("linear_probe", None, None),
    "layer-norm": ("layer_norm", 1e-3, 1e-4),
    "bias": ("bias", 1e-3, 1e-4),
    "lora": ("lora", 1e-3, 1e-4),
}
VARIANTS = (*COMPARATORS, "cached", "released")
# The linear probe of ViT-L in branch R1 of the released code, for deepfakes and diffusion. Settings for other sizes are
# not known.
R1, R1_SIZE = "linear-probe-r1", "vit_l16"
R1_BATCH, R1_DURATION, R1_RATE = 256, "50 epochs", 1e-2


def adapt(
    c: ConfigDict, batch: int, duration: str, rate: float, contrast: float, variant: str, also: Iterable[str] = ()
) -> ConfigDict:
    """Turn a recipe for deepfake or diffusion forgery detection into one for FS-Adapter or a comparator.

    | variant        | what it is                                                                                 |
    |----------------|--------------------------------------------------------------------------------------------|
    | `linear-probe` | trains the head only, with batch, duration and rate of FS-Adapter (our choice)             |
    | `linear-probe-r1` | trains the head only, as branch R1 of the released code does; ViT-L only                |
    | `layer-norm`   | trains the scales and biases of the norms, and the head                                    |
    | `bias`         | trains every bias, and the head (BitFit)                                                   |
    | `lora`         | trains low-rank updates of query, key and value, and the head                              |
    | `cached`       | computes features once, hence without augmentation and mixing                              |
    | `released`     | behaves as the released code: bilinear resampling, batches with a non-finite loss are      |
    |                | skipped, and faces are contrasted within each of its two GPUs                              |

    Separate several variants with commas. The released scripts set a layer decay of 0, which keeps the rate of the
    last layer only. This equals one rate for all trained parameters.

    Args:
      also: words that the recipe has already removed from `variant`; the error message lists them.

    Raises:
      ValueError: the variant is unknown, or the model has another size than the variant needs.
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
    """Return the FS-Adapter recipe for anti-spoofing; `variant` has the words of `finetune.antispoof` and of `adapt`.

    Each step has 24 real and 24 fake faces of each source. There are three seeds. Only the pooled token is embedded and
    scaled.

    Raises:
      ValueError: the first word is no target, or a later word is unknown.
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
    """Apply the settings of branch R1; augmentation, mixing and drop path stay as in every recipe of these tasks."""
    if c.model.size != R1_SIZE:
        raise ValueError(
            f"variant: {R1} is of vitl alone, found model.size {c.model.size}; its settings for other sizes are not "
            "known. linear-probe has ours"
        )
    _word(c, "linear-probe", 0, ())
    c.batch.size = c.batch.per_device = R1_BATCH
    c.duration, c.optimizer.base_learning_rate = R1_DURATION, R1_RATE


def _word(c: ConfigDict, word: str, task: int, known: Iterable[str]) -> None:
    """Apply a variant; `task` is 0 for deepfakes and diffusion, 1 for anti-spoofing. Errors list `known`."""
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
