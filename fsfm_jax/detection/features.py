"""Cache pooled features of a frozen encoder on disk: compute them once per image, then run the head alone.

A set of features is two files in the folder of the cache:

    DIGEST.npy     `[n, D] float32`, one row per example of a data set
    DIGEST.json    a description of their inputs, and the checksum of the rows

The digest covers everything that the values depend on: the encoder's parameters and wiring, the statistics, the
transform and the data set. Runs, seeds and tunings can therefore share a folder.
The digest leaves out the batch size, which only changes rounding.
"""

import dataclasses
import hashlib
import json
import logging
import os
import time
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from fsfm_jax import records
from fsfm_jax.data.feature_stream import FEATURES, feature_batches
from fsfm_jax.data.label_stream import details_of
from fsfm_jax.data.labels import LabelledSource
from fsfm_jax.detection.prediction import (
    Predictions,
    Sweep,
    check_finite,
    gather,
    image_batches,
    predictions_of,
)
from fsfm_jax.models.style import PLAIN
from fsfm_jax.resolve.report import EvaluationSpec
from fsfm_jax.run.checkpoint import same_json
from fsfm_jax.run.whole_file import whole_file
from fsfm_jax.tasks.classify import ClassifyTask

LOG = logging.getLogger("fsfm_jax")
FIRST_FIELDS = ("class_token", "pre_norm", "gelu", "epsilon")  # fields of `Style` in the first format
FORMAT = 1  # raise it when new code computes other features with the same encoder
ENCODER = ("encoder", "fc_norm")  # the parameters that features depend on
WHAT = "Pooled features of a frozen encoder, [examples, width] float32, one row per example of the data set."


class FeatureCache:
    """A folder of the features that one encoder computes of data sets; missing ones are computed and stored."""

    def __init__(self, folder: str, task: ClassifyTask, params: dict, spec: EvaluationSpec, mesh: Mesh):
        """Make a cache in `folder`; `params` has the encoder of the task's network and is copied.
        `spec.transform` is not used.

        Raises:
          ValueError: the folder is not on a local file system, or the batch is not a multiple of the device count.
        """
        if "://" in folder:
            raise ValueError(f"features.cache: expected a local folder, as files are memory-mapped; found {folder}")
        self._folder, self._task, self._spec = folder, task, spec
        self._sweep = Sweep(task, ClassifyTask.pool_images, records.IMAGE, spec.batch, mesh)
        # A copy on the host: training donates the arrays of its state.
        placed = self._sweep.place({name: params[name] for name in ENCODER if name in params})
        self._encoder = jax.tree.map(np.array, placed)
        self._about = _about(task, self._encoder)
        self._opened: dict[str, np.ndarray] = {}

    def of(self, source: LabelledSource, transform: str) -> np.ndarray:
        """Return features of all examples of `source` after `transform`, `[n, D] float32`, memory-mapped.

        They are computed if the folder lacks them. A file that is damaged, truncated or of another shape or dtype is
        computed again, with a warning.

        Raises:
          ValueError: a photo cannot be decoded, or a feature is non-finite; then nothing is stored.
        """
        about = self._describe(source, transform)
        name = _digest(about)
        if not self._find(name, about):
            self._compute(name, about, source)
        return self._opened[name]

    def prepare(self, wanted: Iterable[tuple[LabelledSource, str]]) -> None:
        """Find or compute the features of sources with their transforms, and log how many were found."""
        wanted = {_digest(self._describe(*one)): one for one in wanted}
        found = [name for name, one in wanted.items() if self._find(name, self._describe(*one))]
        counts = [sum(len(wanted[name][0]) for name in names) for names in (wanted, found)]
        LOG.info(
            "features of %d images, computed once: no augmentation, mixing or drop path; %d of them found in %s",
            *counts, self._folder,
        )  # fmt: skip
        for source, transform in wanted.values():
            self.of(source, transform)

    def key(self, source: LabelledSource, transform: str) -> str:
        """Return the file name for a source and a transform, without the suffix."""
        return _digest(self._describe(source, transform))

    def _describe(self, source: LabelledSource, transform: str) -> dict:
        data = {"data": source.name, "fingerprint": source.fingerprint, "examples": len(source)}
        return same_json(self._about | data | {"transform": transform})

    def _find(self, name: str, about: dict) -> bool:
        """Return whether every host has the features; all hosts return the same."""
        if name in self._opened:
            return True
        found = self._open(name, about)
        # Computing needs every host, so all hosts compute if one lacks the file.
        if jax.process_count() > 1:
            known = multihost_utils.process_allgather(np.array(found is not None))
            found = found if known.all() else None
        if found is not None:
            self._opened[name] = found
        return found is not None

    def _compute(self, name: str, about: dict, source: LabelledSource) -> None:
        started = time.monotonic()
        batches = image_batches(source, about["transform"], self._task.model.image_size, self._spec)
        found, _ = self._sweep(self._sweep.place(self._encoder), batches, len(source))
        check_finite(source, found, "features", "the encoder's weights")
        # Other hosts keep the gathered values, so they need not wait for the file.
        self._opened[name] = found
        if jax.process_index() == 0:
            self._write(name, about, found)
            self._opened[name] = np.lib.format.open_memmap(self._path(name, "npy"), mode="r")
        LOG.info("features of %s: %d images in %.0f s", source.name, len(source), time.monotonic() - started)

    def _path(self, name: str, ending: str) -> str:
        return os.path.join(self._folder, f"{name}.{ending}")

    def _open(self, name: str, about: dict) -> np.ndarray | None:
        path = self._path(name, "npy")
        try:
            with open(self._path(name, "json"), encoding="utf-8") as file:
                card = json.load(file)
            values = np.lib.format.open_memmap(path, mode="r")
        except FileNotFoundError:  # the JSON is written last: without it the rows may be incomplete
            return None
        except (ValueError, EOFError) as error:
            LOG.warning("features.cache: %s cannot be read (%s); it is computed again", path, error)
            return None
        shape = (about["examples"], self._task.model.size.width)
        if values.shape != shape or values.dtype != np.float32:
            wrong = f"expected {list(shape)} float32, found {list(values.shape)} {values.dtype}"
        elif card != _card(about, values):
            wrong = "its description or its checksum does not match"
        else:
            return values
        LOG.warning("features.cache: %s is damaged (%s); it is computed again", path, wrong)
        return None

    def _write(self, name: str, about: dict, values: np.ndarray) -> None:
        os.makedirs(self._folder, exist_ok=True)
        text = json.dumps(_card(about, values), indent=1).encode()
        with whole_file(self._path(name, "npy")) as file:
            np.save(file, values)
        with whole_file(self._path(name, "json")) as file:
            file.write(text)


class FeatureScorer:
    """A `Scorer` that reads features from a cache instead of encoding photos; the head is compiled once."""

    def __init__(self, task: ClassifyTask, spec: EvaluationSpec, mesh: Mesh, cache: FeatureCache):
        """Make a scorer; all scored parameters must share the encoder of `cache`. Raise ValueError as `Scorer`."""
        self._spec, self._cache = spec, cache
        self._sweep = Sweep(task, ClassifyTask.log_probabilities_of_features, FEATURES, spec.batch, mesh)
        self._details: dict[str, dict[int, tuple]] = {}

    def place(self, params: Any) -> Any:
        """Return the parameters behind the encoder, as arrays on every device of the mesh."""
        return self._sweep.place({name: part for name, part in params.items() if name not in ENCODER})

    def __call__(self, params: Any, source: LabelledSource) -> Predictions:
        """Score all examples of `source`; `params` come from `place`.

        Raises:
          ValueError: as `FeatureCache.of`, or a score is non-finite.
        """
        features, key = self._cache.of(source, self._spec.transform), self._cache.key(source, self._spec.transform)
        if key not in self._details:  # a set is scored often, its details are read once
            own = range(jax.process_index(), len(source), jax.process_count())
            self._details[key] = gather({index: details_of(source[index]) for index in own})
        batches = feature_batches(features, self._spec.batch, jax.process_index(), jax.process_count())
        scores, _ = self._sweep(params, batches, len(source))
        return predictions_of(source, scores, self._details[key])


def _about(task: ClassifyTask, encoder: dict) -> dict:
    """Return what the features of an encoder depend on, as JSON."""
    model, digest = task.model, hashlib.sha256()
    for path, value in sorted(flatten_dict(encoder, sep="/").items()):
        digest.update(f"{path} {value.dtype} {value.shape}\n".encode())
        digest.update(np.ascontiguousarray(value))
    return {
        "format": FORMAT,
        "encoder": digest.hexdigest(),
        "size": dataclasses.asdict(model.size),
        # Add later fields only where they differ from the default, so that older cached features stay valid.
        "style": {
            name: value for name, value in dataclasses.asdict(model.style).items()
            if name in FIRST_FIELDS or value != getattr(PLAIN, name)
        },
        "image_size": model.image_size,
        "pooling": model.pooling,
        "dtype": jnp.dtype(model.dtype).name,
        "statistics": dataclasses.asdict(task.statistics),
    }


def _digest(about: dict) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _card(about: dict, values: np.ndarray) -> dict:
    return {"what": WHAT, **about, "sha256": hashlib.sha256(np.ascontiguousarray(values)).hexdigest()}
