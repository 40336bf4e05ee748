"""The table of downstream tasks: what the field `model.network` names, and what each of them is made from."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from fsfm_jax.config.fields import one_of
from fsfm_jax.models.antispoof import NORM_AXES, AntiSpoofSpec
from fsfm_jax.models.classifier import POOLINGS, ClassifierSpec
from fsfm_jax.tasks.classify import ClassifyTask, ContrastSpec, FocalSpec, SphereSpec
from fsfm_jax.tasks.normalisation import Statistics


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a downstream task is made from.

    Attributes:
      config: the ConfigDict of the fine-tuning; its names of model and tuning are checked.
      encoder: arguments that the spec of every network has, such as `size` and `dtype`.
      classes: how many the data have.
      statistics: of the channels.
      mixed: whether images are mixed in pairs. erased: whether batches have boxes to erase.
      contrast: the contrastive loss added to the task's own; None: none.
      focal: the focal loss in the place of cross-entropy; None: cross-entropy.
      sphere: losses of features of unit length; None: none.
    """

    config: Any  # the types of its fields are known when it runs
    encoder: Mapping[str, Any]
    classes: int
    statistics: Statistics
    mixed: bool = False
    erased: bool = True
    contrast: ContrastSpec | None = None
    focal: FocalSpec | None = None
    sphere: SphereSpec | None = None

    def classify(self, model: ClassifierSpec | AntiSpoofSpec, task: type[ClassifyTask] = ClassifyTask) -> ClassifyTask:
        """A task with the network `model` and everything else as it was set."""
        smoothing = self.config.loss.smoothing
        return task(
            model, self.classes, smoothing, self.mixed, self.statistics, self.erased, self.contrast, self.focal,
            self.sphere,
        )  # fmt: skip


def make_classifier(setting: Setting) -> ClassifyTask:
    """One linear head behind the encoder, whose tokens are pooled."""
    pooling = one_of("model.pooling", setting.config.model.pooling, POOLINGS)
    unit = setting.config.model.unit_features
    return setting.classify(
        ClassifierSpec(classes=setting.classes, pooling=pooling, unit_features=unit, **setting.encoder)
    )


def make_antispoof(setting: Setting) -> ClassifyTask:
    """A bottleneck and unit columns behind the encoder, for two classes.

    Raises:
      ValueError: the data have more classes.
    """
    if setting.classes != 2:
        raise ValueError(
            f"model.network: antispoof tells two classes apart, the data has {setting.classes}; use classifier"
        )
    model = setting.config.model
    norm_over = one_of("model.norm_over", model.norm_over, NORM_AXES)
    return setting.classify(AntiSpoofSpec(norm_over=norm_over, dropout=model.dropout, **setting.encoder))


# One row for each downstream task; a row can be added before a run is started: docs/extending.md.
TASKS: dict[str, Callable[[Setting], ClassifyTask]] = {
    "classifier": make_classifier,
    "antispoof": make_antispoof,
}
