"""The table of downstream tasks, keyed by `model.network`, and the settings that each is made from."""

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
    """The settings that a downstream task is made from.

    Attributes:
      config: the ConfigDict of the fine-tuning run; its names of model and tuning are already checked.
      encoder: arguments that the specs of all networks share, such as `size` and `dtype`.
      classes: number of classes of the data.
      statistics: channel statistics.
      mixed: whether images are mixed in pairs. erased: whether batches have boxes to erase.
      contrast: the contrastive loss added to the task's own; None: off.
      focal: the focal loss instead of cross-entropy; None: cross-entropy.
      sphere: losses on features of unit length; None: off.
    """

    config: Any  # a ConfigDict, whose fields have no static types
    encoder: Mapping[str, Any]
    classes: int
    statistics: Statistics
    mixed: bool = False
    erased: bool = True
    contrast: ContrastSpec | None = None
    focal: FocalSpec | None = None
    sphere: SphereSpec | None = None

    def classify(self, model: ClassifierSpec | AntiSpoofSpec, task: type[ClassifyTask] = ClassifyTask) -> ClassifyTask:
        """Make a task with the network `model` and these settings."""
        smoothing = self.config.loss.smoothing
        return task(
            model, self.classes, smoothing, self.mixed, self.statistics, self.erased, self.contrast, self.focal,
            self.sphere,
        )  # fmt: skip


def make_classifier(setting: Setting) -> ClassifyTask:
    """Make a task whose network is the encoder, pooling and one linear head."""
    pooling = one_of("model.pooling", setting.config.model.pooling, POOLINGS)
    unit = setting.config.model.unit_features
    return setting.classify(
        ClassifierSpec(classes=setting.classes, pooling=pooling, unit_features=unit, **setting.encoder)
    )


def make_antispoof(setting: Setting) -> ClassifyTask:
    """Make a task whose network is the encoder, a bottleneck and a classifier with unit columns, for two classes.

    Raises:
      ValueError: the data do not have two classes.
    """
    if setting.classes != 2:
        raise ValueError(
            f"model.network: antispoof expects two classes, the data has {setting.classes}; use classifier"
        )
    model = setting.config.model
    norm_over = one_of("model.norm_over", model.norm_over, NORM_AXES)
    return setting.classify(AntiSpoofSpec(norm_over=norm_over, dropout=model.dropout, **setting.encoder))


# One row for each downstream task. Add rows before a run starts: docs/extending.md.
TASKS: dict[str, Callable[[Setting], ClassifyTask]] = {
    "classifier": make_classifier,
    "antispoof": make_antispoof,
}
