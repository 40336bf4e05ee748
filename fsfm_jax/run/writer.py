"""The protocol of metric writers, and what a writer learns about the run when it is opened."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Writer(Protocol):
    """Takes the metrics of a run. Only process 0 has writers; an error that one raises ends the run."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Take values of step `step` (1 = first), by name.

        Once a step those of training come, with plain names such as `loss`; values of a look at validation data come
        in a call of their own, with names such as `validation/auc`, and before each save those of `run.goodput`, such
        as `goodput/share`. A value may be NaN.
        """

    def write_image(self, step: int, name: str, image: np.ndarray) -> None:
        """Take a picture `[H, W, 3] uint8`, RGB. It may show faces."""

    def flush(self) -> None:
        """Return when everything is where it can be read; called before each checkpoint is saved."""

    def close(self) -> None:
        """Flush and release all resources."""


@dataclasses.dataclass(frozen=True)
class RunInfo:
    """What a writer learns about the run that it is opened for.

    Attributes:
      workdir: working directory, on a file system or in an object store.
      first_step: steps that are done: what was written of later ones is lost and will be written again.
      last_step: of the whole run. stop_after: after which this process ends, `last_step` or earlier.
      images_per_step: over all devices.
      config: every field of the configuration by its dotted name.
    """

    workdir: str
    first_step: int
    last_step: int
    stop_after: int
    images_per_step: int
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def of_training(values: Mapping[str, float]) -> dict[str, float]:
    """Return the values of training, which have plain names; the others have files of their own (validation.jsonl)."""
    return {name: value for name, value in values.items() if "/" not in name}
