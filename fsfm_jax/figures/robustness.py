"""The plot of a robustness report: AUC over the strength of each corruption, a line for each data set."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fsfm_jax.figures import plot
from fsfm_jax.figures.comparison import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3  # plots side by side
MARKERS = "os^vDPX*"
CHANCE = 50.0


class Line(NamedTuple):
    """The line of a data set in a plot, `[K]` each, in percent: AUC and its interval; NaN if undefined."""

    values: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


class Panel(NamedTuple):
    """One plot: its title, its K tick labels, and its lines by data set."""

    title: str
    ticks: Sequence[str]
    lines: Mapping[str, Line]


def plot_robustness(title: str, panels: Sequence[Panel]) -> "Figure":
    """Plot all panels with one AUC scale; a data set has the same colour in every panel.

    Raises:
      ValueError: if there is no panel, more data sets than COLOURS, or a number that is not within 0 to 100.
    """
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    if not panels or len(names) > len(COLOURS):
        raise ValueError(
            f"expected at least 1 panel and at most {len(COLOURS)} data sets; found {len(panels)} and {len(names)}"
        )
    numbers = np.array([n for panel in panels for line in panel.lines.values() for part in line for n in part])
    known = numbers[np.isfinite(numbers)]
    if known.size and (known.min() < 0 or known.max() > 100):
        raise ValueError(f"AUC: expected percent, found {known.min():g} to {known.max():g}")
    # The limit is a multiple of ten, with space below the lowest line.
    bottom = max(0, 10 * math.floor((min(CHANCE, *known) - 2) / 10))
    columns = min(len(panels), COLUMNS)
    rows = -(-len(panels) // columns)
    figure = plot.make_figure(2.7 * columns + 0.3, 1.9 * rows + 0.6 + 0.07 * len(names), title)
    plots = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for number, (axes, panel) in enumerate(zip(plots, panels, strict=False)):
        _plot_panel(axes, panel, dict(zip(names, COLOURS, strict=False)))
        plot.style(axes, "", "AUC, %" if number % columns == 0 else "")
        axes.set_ylim(bottom, 100)
    for axes in plots[len(panels) :]:
        axes.remove()
    _add_legend(figure, names)
    return figure


def _plot_panel(axes: "Axes", panel: Panel, colours: Mapping[str, str]) -> None:
    places = np.arange(len(panel.ticks))
    axes.axhline(CHANCE, color=plot.GREY, linewidth=1, linestyle="--")
    for number, (name, line) in enumerate(panel.lines.items()):
        look = {"color": colours[name], "clip_on": False}
        axes.fill_between(places, line.low, line.high, alpha=0.15, linewidth=0, color=colours[name])
        axes.plot(places, line.values, marker=MARKERS[number % len(MARKERS)], markersize=4, linewidth=1.4, **look)
    axes.set_title(plot.cut(panel.title, 2.4), fontsize=plot.POINTS, color=plot.INK, loc="left")
    axes.set_xticks(places, list(panel.ticks))


def _add_legend(figure: "Figure", names: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    entries = [
        (Line2D([], [], color=COLOURS[number], marker=MARKERS[number % len(MARKERS)], markersize=4), name)
        for number, name in enumerate(names)
    ]
    entries.append((Line2D([], [], color=plot.GREY, linewidth=1, linestyle="--"), "chance"))
    below = {"loc": "outside lower left", "bbox_to_anchor": None, "ncols": COLUMNS, "borderaxespad": 0.8}
    plot.add_legend(figure, entries, 2.0, **below)
