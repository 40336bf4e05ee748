"""Follow people through the sampled frames of a video: from the boxes of faces in each frame to a number per person.

Frames are sampled, so a person moves by a large part of a face between two of them, and shots change. A face continues
the track whose last face is near, of a similar size and of similar colours; the assignment with the least total
distance is taken (Hungarian method). What is doubtful becomes a new person: the mean over two people would hide that
one of them is forged.
"""

import math
from collections.abc import Iterable, Sequence

import cv2
import numpy as np

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels, inclusive

REACH = 1.0  # largest distance of two centres, in sides of a face; the heads of two people are further apart
GROWTH = 2.0  # largest ratio of two sides
GAP = 8  # frames without the person after which a face is somebody else; of the usual 32 a quarter
# Least cosine of `describe_colours`. Bundled samples: at least 0.99 within a shot, at most 0.74 between people of one
# photo, 0.35 in the median between photos. It tells shots apart, not people in the same light.
LIKENESS = 0.6
BINS = (8, 8, 8)
RANGES = (0, 256, 96, 160, 96, 160)  # OpenCV's L*a*b* of 8 bits; skin is within the middle quarter of a* and b*


def follow(
    frames: Sequence[Sequence[Box]],
    colours: Sequence[Sequence[np.ndarray]] | None = None,
    *,
    reach: float = REACH,
    gap: int = GAP,
) -> list[list[int]]:
    """Return the person of each face, numbered from 0 in the order of their first faces.

    Deterministic; no two faces of a frame are one person.

    Args:
      frames: the boxes of each sampled frame in their order, with an empty list for a frame without a face.
      colours: for each box a unit vector `[D] float32`, see `describe_colours`; None to go by the boxes alone.
      reach: largest distance between the centres of two faces of a person, over the mean of their sides.
      gap: most frames in a row in which a person may be missing.
    """
    from scipy.optimize import linear_sum_assignment  # half a second, which a photo should not wait for

    last: dict[int, tuple[int, int]] = {}  # by person the frame and index of their last face
    found: list[list[int]] = []
    people = 0
    for number, boxes in enumerate(frames):
        last = {person: at for person, at in last.items() if number - at[0] <= gap + 1}
        alive = sorted(last)
        cost = np.full((len(alive), len(boxes)), reach)
        for row, person in enumerate(alive):
            frame, index = last[person]
            for column, box in enumerate(boxes):
                if colours is None or float(colours[frame][index] @ colours[number][column]) >= LIKENESS:
                    cost[row, column] = min(reach, _distance(frames[frame][index], box))
        chosen = {
            int(column): alive[row]
            for row, column in zip(*linear_sum_assignment(cost), strict=True)
            if cost[row, column] < reach
        }
        persons = []
        for index in range(len(boxes)):
            if index not in chosen:
                chosen[index] = people
                people += 1
            persons.append(chosen[index])
            last[chosen[index]] = number, index
        found.append(persons)
    return found


def describe_colours(face: np.ndarray) -> np.ndarray:
    """Return the colours of a crop `[S, S, 3] uint8` RGB as a unit vector `[512] float32`, all values at least 0.

    The square roots of a histogram in CIELAB: the product of two is the Bhattacharyya coefficient, 1 for equal ones.
    """
    lab = cv2.cvtColor(face, cv2.COLOR_RGB2LAB)
    counts = cv2.calcHist([lab], [0, 1, 2], None, list(BINS), list(RANGES)).ravel()
    return np.sqrt(counts / max(float(counts.sum()), 1.0), dtype=np.float32)


def group(persons: Iterable[int]) -> dict[int, list[int]]:
    """Return by person, in their order, the indices of their faces."""
    groups: dict[int, list[int]] = {}
    for index, person in enumerate(persons):
        groups.setdefault(person, []).append(index)
    return dict(sorted(groups.items()))


def _distance(one: Box, other: Box) -> float:
    """Return the distance of two centres over the mean side; infinite if one face is much larger."""
    sides = [math.sqrt(max(box[2] - box[0], 1) * max(box[3] - box[1], 1)) for box in (one, other)]
    if max(sides) > GROWTH * min(sides):
        return math.inf
    across, down = ((one[at] + one[at + 2] - other[at] - other[at + 2]) / 2 for at in (0, 1))
    return math.hypot(across, down) / (sum(sides) / 2)
