"""The common style of plots and their output, with matplotlib's objects and without its global state.

matplotlib is imported inside the functions, so programs without plots do not wait for it.
"""

import bisect
import contextlib
import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fsfm_jax.data.photo import encode_png
from fsfm_jax.run import workdir
from fsfm_jax.text import plain

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend
    from matplotlib.lines import Line2D

# The palette of Okabe and Ito (2008) for colour-blind readers, without yellow, which is too faint on white.
BLUE, ORANGE, PURPLE, SKY, GREEN, VERMILLION = "#0072B2", "#E69F00", "#CC79A7", "#56B4E9", "#009E73", "#D55E00"
INK, GREY, FAINT = "#262626", "#8C8C8C", "#DDDDDD"
# Markers and line styles, because colours are hard to distinguish in black-and-white print.
COLOURS, MARKERS = (BLUE, ORANGE, PURPLE, SKY), "os^D"

DPI = 150
FONT, POINTS = "DejaVu Sans", 9  # this font is part of matplotlib
PNG_COMPRESSION = 6
LONGEST = 200  # maximum characters of a text that is measured


def make_figure(width: float, height: float, title: str) -> "Figure":
    """Make an empty figure of `width` by `height` inches; `title` may be untrusted."""
    _import_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure((width, height), DPI, facecolor="white", layout="constrained")
    look = {"x": 0.01, "ha": "left", "fontsize": POINTS + 1, "color": INK, "weight": "bold"}
    figure.suptitle(cut(title, 0.9 * width - 0.5, POINTS + 1), **look)
    return figure


def _import_matplotlib() -> None:
    """Import matplotlib and ignore a backend from the environment that is not installed.

    A notebook passes the name of its backend to the programs that it starts, whose Python may lack this package.
    """
    if "matplotlib" in sys.modules:
        return
    screen = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if screen is not None:
            os.environ["MPLBACKEND"] = screen
    if screen:
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = screen


def style(axes: "Axes", across: str, up: str) -> None:
    """Label the axes and apply the common style."""
    axes.set_xlabel(cut(across, 3), fontsize=POINTS, color=INK)
    axes.set_ylabel(cut(up, 3), fontsize=POINTS, color=INK)
    axes.tick_params(which="both", labelsize=POINTS - 1, color=GREY, labelcolor=INK, labelfontfamily=FONT)
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)


def add_legend(
    owner: "Axes | Figure", entries: Sequence[tuple["Artist", str]], inches: float, title: str = "", **place
) -> "Legend":
    """Add a legend without a frame, by default above the axes where it hides no curve.

    Args:
      owner: axes or figure that gets the legend.
      entries: drawn artists and their texts, which may be untrusted.
      inches: maximum width of a text; longer texts are cut.
      title: title of the legend, which may be untrusted.
      place: `loc`, `ncols` and other keyword arguments of matplotlib's legend.
    """
    place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2, "borderpad": 0} | place
    legend = owner.legend(
        [artist for artist, _ in entries], [cut(text, inches, POINTS - 1) for _, text in entries], frameon=False,
        fontsize=POINTS - 1, labelcolor=INK, title=cut(title, inches) or None, title_fontsize=POINTS - 1,
        alignment="left", handlelength=1.4, columnspacing=1.2, **place,
    )  # fmt: skip
    legend.get_title().set(color=INK, weight="bold")
    return legend


def add_threshold(axes: "Axes", threshold: float, upright: bool) -> tuple["Line2D", str]:
    """Draw a line at a threshold on an axis of scores in 0..1, unless it is outside; return the line and its label."""
    inside = 0 <= threshold <= 1
    data = ([threshold, threshold], [0, 1]) if inside else ([], [])
    along = axes.get_xaxis_transform() if upright else axes.get_yaxis_transform()
    (line,) = axes.plot(
        *(data if upright else data[::-1]), transform=along, color=INK, linewidth=1, linestyle="--", clip_on=False
    )
    return line, f"threshold {threshold:.4g}{'' if inside else ' (outside)'}"


def cut(text: str, inches: float, points: float = POINTS) -> str:
    """Escape untrusted text, and replace its middle by an ellipsis if it is wider than `inches`.

    Characters that are not printable or not in the font are escaped.
    """
    shown = _escape(text if len(text) <= LONGEST else f"{text[: LONGEST // 2]}…{text[-LONGEST // 2 :]}")
    if _inches(shown, points) <= inches:
        return shown
    shorter = range(1, len(shown))
    fits = bisect.bisect_right(shorter, inches, key=lambda keep: _inches(_without_middle(shown, keep), points))
    return _without_middle(shown, fits)


def _without_middle(text: str, keep: int) -> str:
    return f"{text[: keep - keep // 2]}…{text[len(text) - keep // 2 :]}"


def _escape(text: str) -> str:
    return "".join(c if ord(c) in _letters() else c.encode("unicode_escape").decode() for c in plain(text))


@functools.cache
def _letters() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont(FONT)).get_charmap())


def _inches(text: str, points: float) -> float:
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties

    font = FontProperties(family=FONT, size=points)
    return RendererAgg(1, 1, DPI).get_text_width_height_descent(text, font, ismath=False)[0] / DPI


def write_text(canvas: np.ndarray, text: str, points: float, colour: tuple[int, int, int]) -> None:
    """Write a line of untrusted text into a strip `[H, W, 3] uint8` RGB, left-aligned and vertically centred."""
    _import_matplotlib()
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties

    height, width = canvas.shape[:2]
    renderer = RendererAgg(width, height, DPI)
    font = FontProperties(family=FONT, size=points)
    # Letters extend about 0.73 of the font size above the baseline.
    base = (height + 0.73 * points * DPI / 72) / 2
    renderer.draw_text(renderer.new_gc(), 0, base, cut(text, width / DPI, points), font, 0)
    ink = np.asarray(renderer.buffer_rgba())[..., 3:] / 255
    canvas[:] = np.round((1 - ink) * canvas + ink * np.array(colour))


def draw(figure: "Figure") -> np.ndarray:
    """Render a figure as `[H, W, 3] uint8` RGB."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        # Names may contain a dollar sign, which would start a formula, or TeX commands.
        text.set(parse_math=False, usetex=False, fontfamily=FONT)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def save(path: str | Path, figure: "Figure") -> None:
    """Write a figure as PNG to a file or an object store; equal figures give equal bytes.

    Raises:
      OSError: if the file cannot be written.
    """
    save_pixels(path, draw(figure))


def save_pixels(path: str | Path, picture: np.ndarray) -> None:
    """Write `picture [H, W, 3] uint8` RGB as PNG to a file or an object store.

    Raises:
      OSError: if the file cannot be written.
    """
    data = encode_png(np.ascontiguousarray(picture), PNG_COMPRESSION)
    with workdir.whole(path) as file:
        file.write(data)
