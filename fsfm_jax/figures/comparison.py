"""The plot of a comparison: mean AUC over the number of trained parameters."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fsfm_jax.figures import plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Eight colours, and a darker version of each.
COLOURS = (
    plot.BLUE, plot.ORANGE, plot.PURPLE, plot.SKY, plot.GREEN, plot.VERMILLION, plot.GREY, "#B8A000",
    "#003E63", "#7D5700", "#7A3F62", "#1B638C", "#00523C", "#6E3000", "#3D3D3D", "#5C5000",
)  # fmt: skip
SHAPES = "os^vDP"
COLUMNS = 2  # plots side by side
ROWS, MOST_COLUMNS = 4, 3  # legend of the models: rows before another column starts, and maximum columns


class Point(NamedTuple):
    """A cell: number of trained parameters (at least 1), mean AUC in percent, standard deviation (None if unknown)."""

    model: str
    tuning: str
    trained: int
    value: float
    deviation: float | None


def draw_comparison(
    path: Path, panels: Mapping[str, Sequence[Point]], models: Sequence[str], tunings: Sequence[str]
) -> bool:
    """Write `plot_comparison` as PNG; return False, without writing, if there is no point.

    Raises:
      ValueError: see `plot_comparison`.
      OSError: if the file cannot be written.
    """
    figure = plot_comparison(panels, models, tunings)
    if figure is not None:
        plot.save(path, figure)
    return figure is not None


def plot_comparison(
    panels: Mapping[str, Sequence[Point]], models: Sequence[str], tunings: Sequence[str]
) -> "Figure | None":
    """Plot the mean AUC over trained parameters, one plot per task; return None without a point.

    Colours of models and shapes of tunings follow the order of `models` and `tunings`, also if points are missing. A
    task without points has no plot.

    Raises:
      ValueError: if there are more models than COLOURS, more tunings than SHAPES, a point without trained parameters,
        or an AUC that is not within 0 to 100.
    """
    if len(models) > len(COLOURS) or len(tunings) > len(SHAPES):
        most = f"{len(COLOURS)} models and {len(SHAPES)} tunings"
        raise ValueError(f"expected at most {most}, found {len(models)} and {len(tunings)}")
    panels = {title: points for title, points in panels.items() if points}
    for point in (point for points in panels.values() for point in points):
        if point.trained < 1 or not 0 <= point.value <= 100:
            raise ValueError(f"points: expected at least 1 trained parameter and an AUC in percent, found {point}")
    if not panels:
        return None
    columns = min(len(panels), COLUMNS)
    rows = -(-len(panels) // columns)
    figure = plot.make_figure(8, 3 * rows + 1.5, "Mean AUC over trained parameters")
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
    # This comes first, because matplotlib warns if it computes the limits of a logarithmic axis from one point.
    powers = np.log10([point.trained for point in points])
    axes.set_xlim(10 ** np.floor(powers.min()), 10 ** max(np.ceil(powers.max()), np.floor(powers.min()) + 1))
    # Error bars are clipped to 0 and 100.
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
    """Add legends below the plots: colours of the models on the left, shapes of the tunings on the right."""
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
