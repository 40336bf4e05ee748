"""The picture of a calibration: reliability diagrams above the counts of their bins, drawn with OpenCV alone."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fsfm_jax.figures.panel import LINES, Colour, make_panel, save
from fsfm_jax.metrics.calibration import Reliability

COUNTS_HEIGHT = 110
DIAGONAL = (150, 150, 150)
RADIUS = 4


def draw_reliability(path: str | Path, title: str, diagrams: Mapping[str, Reliability]) -> None:
    """Writes a PNG: the observed share of each bin against its mean probability, below it the bins' counts.

    A calibrated detector lies on the diagonal, points below it are too sure of the event. Bins without examples have no
    point.

    diagrams: up to four, by their names in the legend, such as "raw: ECE 5.2 %".

    Raises:
      ValueError: no diagram, or more than four.
      OSError: the file cannot be written.
    """
    if not 0 < len(diagrams) <= len(LINES):
        raise ValueError(f"diagrams: expected one to {len(LINES)}, found {', '.join(diagrams) or 'none'}")
    legend = list(zip(diagrams, LINES, strict=False))
    coloured = [(diagrams[name], colour) for name, colour in legend]
    save(path, np.concatenate([_shares(title, legend, coloured), _counts(coloured)], axis=0))


def _shares(title: str, legend: list[tuple[str, Colour]], diagrams: list[tuple[Reliability, Colour]]) -> np.ndarray:
    panel = make_panel(title, "mean probability of the bin", "observed share", legend, len(legend))
    panel.curve([0, 1], [0, 1], DIAGONAL, width=1)
    for diagram, colour in diagrams:
        filled = diagram.counts > 0
        across, up = diagram.predicted[filled], diagram.observed[filled]
        panel.curve(across, up, colour)
        panel.points(across, up, colour, RADIUS)
    return panel.picture


def _counts(diagrams: list[tuple[Reliability, Colour]]) -> np.ndarray:
    highest = max(int(diagram.counts.max()) for diagram, _ in diagrams)
    panel = make_panel("", "probability", "examples", [], 0, ("0", "", f"{highest:,}"), COUNTS_HEIGHT)
    for diagram, colour in diagrams:
        panel.steps(np.append(diagram.low, diagram.high[-1]), diagram.counts / highest, colour)
    return panel.picture
