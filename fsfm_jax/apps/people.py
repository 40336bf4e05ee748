"""The people of a file, each with all of their faces and a verdict of their own.

In a photo each face is a person. In a video faces are followed from frame to frame (`tracks`); whoever leaves and comes
back may be counted twice.
"""

import dataclasses

import numpy as np

from fsfm_jax.apps.persons import number_persons
from fsfm_jax.apps.reading import VIDEO, Reading
from fsfm_jax.apps.tracks import group
from fsfm_jax.apps.verdict import DecisionRule, Verdict, decide
from fsfm_jax.metrics.card import Carded


@dataclasses.dataclass(frozen=True)
class Person:
    """Somebody in a file.

    Attributes:
      faces: indices into the crops of the reading, in the order of the frames; at most one of a frame.
      verdict: on these faces alone, by the same rule as the file's; `deciding` is an index into `faces`.
    """

    faces: tuple[int, ...]
    verdict: Verdict


def find_people(
    carded: Carded, rule: DecisionRule, reading: Reading, log_probabilities: np.ndarray, frames: int
) -> list[Person]:
    """The people of a file in the order of their first faces.

    Args:
      log_probabilities: `[n, C]`, of the crops.
      frames: how many the file has that were asked for, which a verdict needs a share of.
    """
    found, alone = [], dataclasses.replace(rule, persons=False)
    for faces in _by_person(reading):
        own = dataclasses.replace(
            reading, crops=tuple(reading.crops[index] for index in faces), misses=(), found=(), notes=(), asked=frames
        )  # fmt: skip
        found.append(Person(tuple(faces), decide(carded, alone, own, log_probabilities[faces])))
    return found


def _by_person(reading: Reading) -> list[list[int]]:
    """The indices of the crops of each person."""
    if reading.kind != VIDEO:
        return [[index] for index in range(len(reading.crops))]
    return list(group(number_persons(reading)).values())
