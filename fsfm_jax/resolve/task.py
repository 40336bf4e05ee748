"""From the network fields of a fine-tuning to its task.

Apart from the rest of a fine-tuning, so that loading a detector does not load what reads training data.
"""

from typing import Any

from ml_collections import ConfigDict

from fsfm_jax.config import finetune
from fsfm_jax.config.fields import one_of
from fsfm_jax.metrics.card import MERGED
from fsfm_jax.models.adapter import CONCAT, INSERTIONS
from fsfm_jax.models.bases import BASES
from fsfm_jax.models.remat import REMATS
from fsfm_jax.models.vit import SIZES
from fsfm_jax.optim import tuning
from fsfm_jax.resolve.image_size import grid_of
from fsfm_jax.resolve.lora import resolve_lora
from fsfm_jax.resolve.networks import DTYPES
from fsfm_jax.tasks.classify import ClassifyTask
from fsfm_jax.tasks.downstream import TASKS, Setting
from fsfm_jax.tasks.normalisation import Statistics


def task_of(card: dict) -> ClassifyTask:
    """Make the task of a detector from its card, or from the `run` item of a checkpoint of its run.

    It can score only: losses have their default values.
    """
    c = finetune.finetune()
    c.update_from_flattened_dict(card["config"])
    if MERGED in card:
        c.tuning = finetune.finetune().tuning  # the network has them no longer
    classes = len(card["class_names"])
    statistics = Statistics(tuple(card["statistics"]["mean"]), tuple(card["statistics"]["std"]))
    if "image_size" in card:  # an imported one, whose configuration is that of a recipe
        c.model.image_size = card["image_size"]
    return make_task(c, classes, statistics)


def make_task(c: ConfigDict, classes: int, statistics: Statistics, **options: Any) -> ClassifyTask:
    """Make the task that `model.network` names.

    Args:
      c: the configuration of a fine-tuning.
      classes: number of classes.
      statistics: mean and standard deviation of the channels.
      options: further fields of `tasks.downstream.Setting`.

    Raises:
      ValueError: an unknown name, or a value that does not fit the network.
    """
    grid_of(c)
    adapted = c.tuning.method == tuning.ADAPTER
    insertion = one_of("tuning.insertion", c.tuning.insertion, INSERTIONS)
    encoder = dict(
        size=SIZES[c.model.size],
        image_size=c.model.image_size,
        drop_path=c.model.drop_path,
        dtype=DTYPES[one_of("model.dtype", c.model.dtype, DTYPES)],
        remat=one_of("model.remat", c.model.remat, REMATS),
        style=BASES[one_of("model.base", c.model.base, BASES)].style,
        reduction=c.tuning.reduction if adapted else None,
        insertion=insertion if adapted else CONCAT,
        lora=resolve_lora(c),
        any_grid=bool(c.augment.sizes),
    )
    make = TASKS[one_of("model.network", c.model.network, TASKS)]
    return make(Setting(c, encoder, classes, statistics, **options))
