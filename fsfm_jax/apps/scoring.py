"""Scores many files with full batches: crops of several files share one; verdicts come in the order of the files."""

import collections
from collections.abc import Iterable, Iterator

import numpy as np

from fsfm_jax.apps.reading import Reading
from fsfm_jax.apps.verdict import DecisionRule, Verdict, decide
from fsfm_jax.detection.predictor import Predictor

MOST_WAITING = 256  # files; those without a face fill no batch, and would wait behind one with a face


def score_readings(
    predictor: Predictor, rule: DecisionRule, readings: Iterable[Reading | None]
) -> Iterator[tuple[Reading, Verdict]]:
    """Yield what `predictor` says of each file, in order.

    Holds the crops of as many files as fill a batch; a file's verdict comes when its last crop is scored. Where
    `readings` has None, or `MOST_WAITING` files wait, a batch is scored that is not full.
    """
    waiting: collections.deque[Reading] = collections.deque()  # not told of yet
    queued: collections.deque[np.ndarray] = collections.deque()  # crops without a score
    scores: collections.deque[np.ndarray] = collections.deque()  # of crops of the files that wait, in order

    def ready() -> Iterator[tuple[Reading, Verdict]]:
        while waiting and len(waiting[0].crops) <= len(scores):
            reading = waiting.popleft()
            rows = [scores.popleft() for _ in reading.crops]
            table = np.array(rows).reshape(len(rows), len(predictor.class_names))
            yield reading, decide(predictor, rule, reading, table)

    def score(count: int) -> None:
        scores.extend(predictor.log_probabilities(np.stack([queued.popleft() for _ in range(count)])))

    for reading in readings:
        if reading is not None:
            waiting.append(reading)
            queued.extend(crop.pixels for crop in reading.crops)
        while len(queued) >= predictor.batch:
            score(predictor.batch)
        if queued and (reading is None or len(waiting) >= MOST_WAITING):
            score(len(queued))
        yield from ready()
    if queued:
        score(len(queued))
    yield from ready()
