"""A finished detector: its parameters, and a card that describes its scores.

A fine-tuning run saves it in `WORKDIR/detector`, a checkpoint whose `run` item is the card:

    class_names, real    class names by index, and the index of the real class
    statistics           channel mean and standard deviation of its input pixels
    step, selection      the step of the run, and a sentence on how that step was chosen
    calibration          temperature and thresholds from a validation split, or null
    seen                 hashes of its training videos (`detection.video_overlap`)
    image_size           side of its images in pixels, if it differs from that of the records
    config, origin, ...  the recipe, the origin of its pretraining, versions
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from jax.experimental import multihost_utils

from fsfm_jax.metrics.card import Carded
from fsfm_jax.tasks.classify import ClassifyTask

FOLDER = "detector"
REPEATS = "seed_{}"  # folder of one seed of a run with several


@dataclasses.dataclass(frozen=True)
class Detector(Carded):
    """A network with its parameters and its card.

    Attributes:
      name: the path it was opened from, used in messages.
    """

    name: str
    task: ClassifyTask
    params: Any
    card: dict


def digest_parameters(params: Mapping) -> str:
    """Return the SHA-256 of all parameters by name, dtype, shape and bytes, in hexadecimal.

    A run and its exports hold the same parameters, so their digests are equal. Parameters sharded over hosts are
    gathered, so all hosts must call this function.
    """
    digest = hashlib.sha256()
    for name, leaf in sorted(flatten_dict(params, sep="/").items()):
        if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
            leaf = multihost_utils.process_allgather(leaf, tiled=True)
        array = np.asarray(leaf)
        digest.update(f"{name} {array.dtype} {list(array.shape)}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
