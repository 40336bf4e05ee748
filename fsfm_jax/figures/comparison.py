"""The plot of a comparison: how many parameters of a network were trained against what it found."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fsfm_jax.figures import plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The first eight and a darker one of each.
COLOURS = (
    plot.BLUE, plot.ORANGE, plot.PURPLE, plot.SKY, plot.GREEN, plot.VERMILLION, plot.GREY, "#B8A000",
    "#003E63", "#7D5700", "#7A3F62", "#1B638C", "#00523C", "#6E3000", "#3D3D3D", "#5C5000",
)  # fmt: skip
SHAPES = "os^vDP"
COLUMNS = 2  # plots side by side
ROWS, MOST_COLUMNS = 4, 3  # of models in the legend: rows before a further column is taken, and columns with room


class Point(NamedTuple):
    """A cell: parameters that were trained, at least one, and its mean AUC in percent, with its deviation if known."""

    model: str
    tuning: str
    trained: int
    value: float
    deviation: float | None


def draw_comparison(
    path: Path, panels: Mapping[str, Sequence[Point]], models: Sequence[str], tunings: Sequence[str]
) -> bool:
    """Write `plot_comparison` as PNG; False if there is no point and nothing was written.

    Raises:
      ValueError: see `plot_comparison`. OSError: the file cannot be written.
    """
    figure = plot_comparison(panels, models, tunings)
    if figure is not None:
        plot.save(path, figure)
    return figure is not None


def plot_comparison(
    panels: Mapping[str, Sequence[Point]], models: Sequence[str], tunings: Sequence[str]
) -> "Figure | None":
    """Plot the mean AUC over the trained parameters, one plot for each task by its title; None without a point.

    A model keeps its colour and a tuning its shape, in the order of `models` and `tunings`, whichever points are there.
    A task without points has no plot.

    Raises:
      ValueError: more models than COLOURS or more tunings than SHAPES, no trained parameter, or an AUC that is not
        within 0 to 100.
    """
    if len(models) > len(COLOURS) or len(tunings) > len(SHAPES):
        most = f"{len(COLOURS)} models and {len(SHAPES)} tunings"
        raise ValueError(f"expected at most {most}, found {len(models)} and {len(tunings)}")
    panels = {title: points for title, points in panels.items() if points}
    for point in (point for points in panels.values() for point in points):
        if point.trained < 1 or not 0 <= point.value <= 100:
            raise ValueError(f"points: expected a trained parameter or more and an AUC in percent, found {point}")
    if not panels:
        return None
    columns = min(len(panels), COLUMNS)
    rows = -(-len(panels) // columns)
    figure = plot.make_figure(8, 3 * rows + 1.5, "What is trained, and what it finds")
    plots = figure.subplots(rows, columns, squeeze=False).ravel()
    colours, shapes = dict(zip(models, COLOURS, strict=False)), dict(zip(tunings, SHAPES, strict=False))
    for axes, (title, points) in zip(plots, panels.items(), strict=False):
        _plot_task(axes, title, points, colours, shapes)
    for axes in plots[len(panels) :]:
        axes.remove()
    _add_legends(figure, colours, shapes)
    return figure


def _plot_task(
    axes: "Axes", title: str, points: Sequence[Point], colours: Mapping[str, str], shapes: Mapping[str, str]
) -> None:
    from matplotlib.ticker import EngFormatter

    axes.set_xscale("log")
    # First of all: matplotlib warns of a logarithmic axis that it finds limits for around one point.
    powers = np.log10([point.trained for point in points])
    axes.set_xlim(10 ** np.floor(powers.min()), 10 ** max(np.ceil(powers.max()), np.floor(powers.min()) + 1))
    # A deviation reaches no AUC below 0 or above 100.
    spread = [
        (point.trained, max(point.value - point.deviation, 0), min(point.value + point.deviation, 100), point.model)
        for point in points
        if point.deviation is not None
    ]
    if spread:
        across, low, high, model = zip(*spread, strict=True)
        axes.vlines(across, low, high, [colours[name] for name in model], linewidth=1.2)
    for tuning, shape in shapes.items():
        chosen = [(point.trained, point.value, colours[point.model]) for point in points if point.tuning == tuning]
        if chosen:
            across, up, colour = zip(*chosen, strict=True)
            axes.scatter(across, up, 64, colour, marker=shape, edgecolors="white", clip_on=False, zorder=3)
    plot.style(axes, "trained parameters", "mean AUC, %")
    axes.set_title(plot.cut(title, 3), fontsize=plot.POINTS, color=plot.INK, loc="left")
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, 0), min(high, 100))
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.minorticks_off()


def _add_legends(figure: "Figure", colours: Mapping[str, str], shapes: Mapping[str, str]) -> None:
    """Below the plots: colours of the models to the left, shapes of the tunings to the right."""
    from matplotlib.lines import Line2D

    models = [("s", colour, name) for name, colour in colours.items()]
    tunings = [(shape, plot.INK, name) for name, shape in shapes.items()]
    columns = min(MOST_COLUMNS, -(-len(models) // ROWS))
    for title, side, looks, ncols in (("model", "left", models, columns), ("tuning", "right", tunings, 1)):
        entries = [
            (Line2D([], [], color=colour, marker=marker, markersize=7, linestyle=""), name)
            for marker, colour, name in looks
        ]
        below = {"loc": f"outside lower {side}", "bbox_to_anchor": None, "ncols": ncols}
        plot.add_legend(figure, entries, 1.4, title, **below)
