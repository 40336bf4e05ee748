"""The picture of a comparison: what was trained of a network against what it found, drawn with OpenCV alone."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from fsfm_jax.figures.panel import BLACK, GREY, LINES, WHITE, Colour, save

# The first four are told apart also by the colour-blind; the last eight are darker ones of the first eight.
_BRIGHT: tuple[Colour, ...] = (*LINES, (200, 180, 60), (40, 40, 190), (90, 170, 200), (140, 140, 140))
COLOURS: tuple[Colour, ...] = (*_BRIGHT, *((b // 2, g // 2, r // 2) for b, g, r in _BRIGHT))
# Corners of the markers on a circle of radius 1, to the right and up; the first is a circle.
_TURN = np.linspace(0, 2 * np.pi, 24, endpoint=False)
SHAPES = (
    np.stack([np.cos(_TURN), np.sin(_TURN)], axis=1),
    np.array([(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)]),
    np.array([(0, 1.15), (-1, -0.7), (1, -0.7)]),
    np.array([(0, -1.15), (-1, 0.7), (1, 0.7)]),
    np.array([(0, 1.25), (-1, 0), (0, -1.25), (1, 0)]),
    np.array([(-0.4, -1.1), (0.4, -1.1), (0.4, -0.4), (1.1, -0.4), (1.1, 0.4), (0.4, 0.4), (0.4, 1.1), (-0.4, 1.1),
              (-0.4, 0.4), (-1.1, 0.4), (-1.1, -0.4), (-0.4, -0.4)]),
)  # fmt: skip
WIDTH, HEIGHT = 420, 340  # pixels of a plot
LEFT, RIGHT, ABOVE, BELOW = 78, 22, 58, 56  # beside, above and below it
ROW, MARGIN, RADIUS = 22, 14, 7  # of the legend, of its edges, of a marker
STEPS = (1, 2, 5)
MOST_STEPS = 6  # between the ends of the vertical axis
SMALL, LARGE = 0.45, 0.55
SHIFT = 4  # OpenCV takes corners in sixteenths of a pixel


class Point(NamedTuple):
    """A cell: parameters that were trained, at least one, and its mean AUC in percent, with its deviation if known."""

    model: str
    tuning: str
    trained: int
    value: float
    deviation: float | None


class Axes(NamedTuple):
    """A plot with a logarithmic horizontal axis from 10^low to 10^high and the `marks` of its vertical one."""

    low: int
    high: int
    marks: tuple[float, ...]

    def pixel(self, trained: float, value: float) -> tuple[float, float]:
        """Column and row of a point, counted from the left and upper edge of the plot."""
        across = (math.log10(trained) - self.low) / (self.high - self.low)
        up = (value - self.marks[0]) / (self.marks[-1] - self.marks[0])
        return across * WIDTH, (1 - up) * HEIGHT


def make_axes(points: Sequence[Point]) -> Axes:
    """The axes that hold all points and their deviations: whole powers of ten, and round numbers within 0 to 100.

    Raises:
      ValueError: no points, one without a trained parameter, or an AUC that is not within 0 to 100.
    """
    if not points:
        raise ValueError("points: expected some, found none")
    for point in points:
        if point.trained < 1 or not 0 <= point.value <= 100:
            raise ValueError(f"points: expected a trained parameter or more and an AUC in percent, found {point}")
    powers = [math.log10(point.trained) for point in points]
    low, high = math.floor(min(powers)), math.ceil(max(powers))
    least = max(0.0, min(point.value - (point.deviation or 0) for point in points))
    most = min(100.0, max(point.value + (point.deviation or 0) for point in points))
    # A hair above or below a mark is on it.
    sizes = (step * 10.0**power for power in range(-1, 2) for step in STEPS)
    size = next(size for size in sizes if math.ceil(most / size - 1e-9) - math.floor(least / size + 1e-9) <= MOST_STEPS)
    first, last = math.floor(least / size + 1e-9), math.ceil(most / size - 1e-9)
    if first == last:
        first, last = (first, last + 1) if first * size < 100 else (first - 1, last)
    return Axes(low, max(high, low + 1), tuple(round(size * number, 6) for number in range(first, last + 1)))


def power_text(power: int) -> str:
    """10^power as the axis has it: `1`, `10`, `100`, `1 k`, ..., `100 M`, `1 G`."""
    unit = min(power // 3, 3)
    return f"{10 ** (power - 3 * unit)} {' kMG'[unit]}".strip()


def draw_comparison(
    path: Path, panels: Mapping[str, Sequence[Point]], models: Sequence[str], tunings: Sequence[str]
) -> bool:
    """Writes a PNG, a plot for each task by its title; False if there is no point and nothing was written.

    A model keeps its colour and a tuning its shape, in the order of `models` and `tunings`, whichever points are there.
    The legend stands to the right of the plots, where no point can be. A task without points has no plot.

    Raises:
      ValueError: more models than COLOURS or more tunings than SHAPES, or a point that `make_axes` refuses.
      OSError: the file cannot be written.
    """
    if len(models) > len(COLOURS) or len(tunings) > len(SHAPES):
        most = f"{len(COLOURS)} models and {len(SHAPES)} tunings"
        raise ValueError(f"expected at most {most}, found {len(models)} and {len(tunings)}")
    looks = {(m, t): (COLOURS[i], SHAPES[j]) for i, m in enumerate(models) for j, t in enumerate(tunings)}
    plots = [_plot(title, points, looks) for title, points in panels.items() if points]
    if not plots:
        return False
    legend = _legend(models, tunings)
    height = max(picture.shape[0] for picture in (*plots, legend))
    padded = [
        cv2.copyMakeBorder(picture, 0, height - picture.shape[0], 0, 0, cv2.BORDER_CONSTANT, value=WHITE)
        for picture in (*plots, legend)
    ]
    save(path, np.concatenate(padded, axis=1))
    return True


def _plot(
    title: str, points: Sequence[Point], looks: Mapping[tuple[str, str], tuple[Colour, np.ndarray]]
) -> np.ndarray:
    axes = make_axes(points)
    picture = np.full((ABOVE + HEIGHT + BELOW, LEFT + WIDTH + RIGHT, 3), 255, np.uint8)
    for power in range(axes.low, axes.high + 1):
        column = LEFT + round(axes.pixel(10.0**power, axes.marks[0])[0])
        cv2.line(picture, (column, ABOVE), (column, ABOVE + HEIGHT), GREY, 1)
        _write(picture, power_text(power), (column, ABOVE + HEIGHT + 20), align=0.5)
    for mark in axes.marks:
        row = ABOVE + round(axes.pixel(10.0**axes.low, mark)[1])
        cv2.line(picture, (LEFT, row), (LEFT + WIDTH, row), GREY, 1)
        _write(picture, f"{mark:g}", (LEFT - 10, row + 5), align=1.0)
    _write(picture, title, (LEFT, 24), LARGE)
    _write(picture, "mean AUC, %", (12, ABOVE - 12))
    _write(picture, "trained parameters", (LEFT + WIDTH // 2, ABOVE + HEIGHT + 44), align=0.5)
    places = [axes.pixel(point.trained, point.value) for point in points]
    for point, (across, _) in zip(points, places, strict=True):
        if point.deviation is not None:
            ends = [axes.pixel(1, min(max(point.value + d, axes.marks[0]), axes.marks[-1]))[1] for d in
                    (-point.deviation, point.deviation)]  # fmt: skip
            lower, upper = ((LEFT + round(across), ABOVE + round(row)) for row in ends)
            cv2.line(picture, lower, upper, looks[point.model, point.tuning][0], 1)
    for point, (across, row) in zip(points, places, strict=True):
        _marker(picture, (LEFT + across, ABOVE + row), *looks[point.model, point.tuning])
    return picture


def _legend(models: Sequence[str], tunings: Sequence[str]) -> np.ndarray:
    widest = max(_width(text, SMALL) for text in (*models, *tunings))
    rows = len(models) + len(tunings) + 1
    picture = np.full((ABOVE + ROW * rows + MARGIN, 2 * MARGIN + 4 * RADIUS + widest, 3), 255, np.uint8)
    for number, model in enumerate(models):
        row = ABOVE + ROW * number
        cv2.rectangle(picture, (MARGIN, row - RADIUS), (MARGIN + 2 * RADIUS, row + RADIUS), COLOURS[number], -1)
        _write(picture, model, (MARGIN + 4 * RADIUS, row + 5))
    for number, tuning in enumerate(tunings):
        row = ABOVE + ROW * (len(models) + 1 + number)
        _marker(picture, (MARGIN + RADIUS, row), BLACK, SHAPES[number])
        _write(picture, tuning, (MARGIN + 4 * RADIUS, row + 5))
    return picture


def _marker(picture: np.ndarray, at: tuple[float, float], colour: Colour, shape: np.ndarray) -> None:
    """A filled marker with a white rim, by which one on top of another is still seen."""
    corners = np.array(at) + RADIUS * shape * (1, -1)
    fixed = np.round(corners * 2**SHIFT).astype(np.int32)
    cv2.fillPoly(picture, [fixed], colour, cv2.LINE_AA, SHIFT)
    cv2.polylines(picture, [fixed], True, WHITE, 1, cv2.LINE_AA, SHIFT)


def _write(picture: np.ndarray, text: str, at: tuple[int, int], size: float = SMALL, align: float = 0.0) -> None:
    """Text on a line, with `at` its start (align 0), middle (0.5) or end (1)."""
    start = at[0] - round(align * _width(text, size)), at[1]
    cv2.putText(picture, text, start, cv2.FONT_HERSHEY_SIMPLEX, size, BLACK, 1, cv2.LINE_AA)


def _width(text: str, size: float) -> int:
    return cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)[0][0]
