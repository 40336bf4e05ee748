"""From the `loss` fields of a fine-tuning to what its task minimises."""

from ml_collections import ConfigDict

from fsfm_jax import losses
from fsfm_jax.config.fields import one_of
from fsfm_jax.optim import tuning
from fsfm_jax.tasks.classify import ContrastSpec, FocalSpec, SphereSpec


def resolve_contrast(c: ConfigDict, real: int) -> ContrastSpec | None:
    """Return the contrastive loss of FS-Adapter; None: none.

    Raises:
      ValueError: an unknown kind, or a weight where there is no adapter.
    """
    kind = one_of("loss.contrast_kind", c.loss.contrast_kind, (*losses.CONTRASTS, "none"))
    if not c.loss.contrast or kind == "none":
        return None
    if c.tuning.method != tuning.ADAPTER:
        raise ValueError("loss.contrast: only FS-Adapter has features for it; set tuning.method or loss.contrast to 0")
    return ContrastSpec(c.loss.contrast, c.loss.temperature, real, kind)


def resolve_focal(c: ConfigDict, classes: int, real: int, mixed: bool) -> FocalSpec | None:
    """Return the focal loss; None: cross-entropy. `mixed`: whether images are mixed in pairs.

    Raises:
      ValueError: labels that are smoothed or mixed, of which the focal loss is not defined.
    """
    gamma, alpha = c.loss.focusing, c.loss.alpha
    if not gamma and alpha is None:
        return None
    soft = [name for name, on in (("loss.smoothing", c.loss.smoothing), ("mix.probability", mixed)) if on]
    if soft:
        raise ValueError(
            f"{'loss.focusing' if gamma else 'loss.alpha'}: the focal loss is of labels that are neither smoothed nor "
            f"mixed; set {' and '.join(soft)} to 0, or loss.focusing to 0 and loss.alpha to None"
        )
    weights = None if alpha is None else tuple(1 - alpha if label == real else alpha for label in range(classes))
    return FocalSpec(gamma, weights)


def resolve_sphere(c: ConfigDict, mixed: bool) -> SphereSpec | None:
    """Return the losses of features of unit length; None: none. `mixed`: whether images are mixed in pairs.

    Raises:
      ValueError: features of another length, a network that has features of its own, or labels that are mixed.
    """
    if c.model.unit_features and (c.model.network != "classifier" or c.tuning.method == tuning.ADAPTER):
        other = "an adapter" if c.model.network == "classifier" else f"model.network {c.model.network}"
        raise ValueError(
            f"model.unit_features: the features of {other} are scaled in its own way; set it to False, or use the "
            "classifier without an adapter"
        )
    weights = {name: c.loss[name] for name in ("uniformity", "alignment") if c.loss[name]}
    if weights and not c.model.unit_features:
        raise ValueError(
            f"loss.{next(iter(weights))}: it is of features of length 1; set model.unit_features to True, or it to 0"
        )
    if c.loss.alignment and mixed:
        raise ValueError(
            "loss.alignment: a mixed image is of no single class; set mix.probability to 0, or loss.alignment to 0"
        )
    return SphereSpec(c.loss.uniformity, c.loss.alignment) if weights else None
