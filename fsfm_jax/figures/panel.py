"""A plot of the unit square with a title, a legend and axes, drawn with OpenCV alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from fsfm_jax.run import workdir

Colour = tuple[int, int, int]

# Colours are blue, green, red as OpenCV has them.
BLACK, GREY, WHITE = (40, 40, 40), (205, 205, 205), (255, 255, 255)
# Told apart also by the colour-blind: blue, orange, green, purple.
LINES: tuple[Colour, ...] = ((190, 90, 30), (30, 120, 220), (60, 140, 60), (150, 50, 130))

SIZE = 320  # pixels between 0 and 1
LEFT, RIGHT, BELOW = 80, 30, 48
TITLE, ROW, GAP = 30, 18, 32  # heights of the title, of a row of the legend, and between the legend and the plot
EDGE = 4  # free pixels beside the longest text
FRACTIONS = ("0", "0.25", "0.5", "0.75", "1")
# Upper ends of an axis whose quarters are short numbers.
ENDS = (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10)


class Panel(NamedTuple):
    """A plot that curves can be drawn into."""

    picture: np.ndarray  # [H, W, 3] uint8
    top: int  # row of the upper edge of the plot
    height: int  # pixels from there to the lower edge

    def pixels(self, across: np.ndarray, up: np.ndarray) -> np.ndarray:
        """Places of points of the unit square, `[N], [N] -> [N, 2] int32`, column and row."""
        columns, rows = LEFT + np.asarray(across) * SIZE, self.top + (1 - np.asarray(up)) * self.height
        return np.round(np.stack([columns, rows], axis=1)).astype(np.int32)

    def curve(self, across: np.ndarray, up: np.ndarray, colour: Colour, width: int = 2) -> None:
        """Joins the points `[N], [N]` by straight lines."""
        cv2.polylines(self.picture, [self.pixels(across, up)], False, colour, width, cv2.LINE_AA)

    def points(self, across: np.ndarray, up: np.ndarray, colour: Colour, radius: int = 3) -> None:
        """A filled circle at each point `[N], [N]`."""
        for point in self.pixels(across, up).tolist():
            cv2.circle(self.picture, point, radius, colour, cv2.FILLED, cv2.LINE_AA)

    def vertical(self, across: float, colour: Colour) -> None:
        """A line from the lower to the upper edge, one pixel wide."""
        lower, upper = self.pixels([across, across], [0, 1]).tolist()
        cv2.line(self.picture, lower, upper, colour, 1)

    def steps(self, edges: np.ndarray, heights: np.ndarray, colour: Colour) -> None:
        """The outline of a histogram; edges: `[K + 1]`, heights: `[K]`."""
        across = np.repeat(edges, 2)
        up = np.concatenate(([0], np.repeat(heights, 2), [0]))
        cv2.polylines(self.picture, [self.pixels(across, up)], False, colour, 2)


def end_of_axis(highest: float) -> float:
    """The least round number that is not below `highest`, which is above 0."""
    power = 10.0 ** np.floor(np.log10(highest))
    return next(end * power for end in ENDS if end * power >= highest or end == ENDS[-1])


def make_panel(
    title: str,
    across: str,
    up: str,
    legend: Sequence[tuple[str, Colour]],
    rows: int,
    marks: Sequence[str] = FRACTIONS,
    height: int = SIZE,
) -> Panel:
    """An empty plot whose horizontal axis goes from 0 to 1; the legend stands above it, where no curve can run.

    across, up: names of the axes. legend: text and colour of each curve; `rows` leaves room for that many, so that
    panels side by side are aligned. marks: texts along the vertical axis at equal distances, from its lower end to its
    upper. height: pixels of the plot.
    """
    top = (TITLE if title else 0) + ROW * rows + GAP
    panel = Panel(np.full((top + height + BELOW, LEFT + SIZE + RIGHT, 3), 255, np.uint8), top, height)
    picture = panel.picture
    for text, at in zip(FRACTIONS, np.linspace(0, 1, len(FRACTIONS)), strict=True):
        panel.vertical(at, GREY)
        ((column, row),) = panel.pixels([at], [0]).tolist()
        _write(picture, text, (column, row + 16), align=0.5)
    for text, at in zip(marks, np.linspace(0, 1, len(marks)), strict=True):
        left, right = panel.pixels([0, 1], [at, at]).tolist()
        cv2.line(picture, left, right, GREY, 1)
        _write(picture, text, (LEFT - 6, left[1] + 5), align=1.0)
    _write(picture, title, (LEFT, 22), 1.2)
    for row, (text, colour) in enumerate(legend):
        base = (TITLE if title else 0) + ROW * (row + 1)
        cv2.line(picture, (LEFT, base - 5), (LEFT + 14, base - 5), colour, 3)
        _write(picture, text, (LEFT + 20, base), colour=colour)
    _write(picture, up, (12, top - 12))
    _write(picture, across, (LEFT + SIZE // 2, top + height + 36), align=0.5)
    return panel


def save(path: str | Path, picture: np.ndarray) -> None:
    """Writes a PNG; picture: `[H, W, 3] uint8`, blue, green, red.

    Raises:
      OSError: the file cannot be written.
    """
    done, data = cv2.imencode(".png", picture)
    assert done, path
    with workdir.whole(path) as file:
        file.write(data.tobytes())


def _write(
    picture: np.ndarray, text: str, at: tuple[int, int], size: float = 1.0, colour: Colour = BLACK, align: float = 0.0
) -> None:
    """Text on a line, with `at` its start (align 0), middle (0.5) or end (1); what is too long is cut off by dots."""
    most = picture.shape[1] - (at[0] if align == 0 else 0) - EDGE
    shown = text
    while _width(shown, size) > most:
        text = text[:-1]
        shown = f"{text}..."
    cv2.putText(
        picture, shown, (at[0] - round(align * _width(shown, size)), at[1]), cv2.FONT_HERSHEY_PLAIN, size, colour, 1,
        cv2.LINE_AA,
    )  # fmt: skip


def _width(text: str, size: float) -> int:
    return cv2.getTextSize(text, cv2.FONT_HERSHEY_PLAIN, size, 1)[0][0]
