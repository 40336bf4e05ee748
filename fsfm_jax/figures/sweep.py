"""Plots of sweeps: results over a varied quantity such as a loss weight, a mask ratio or the model size."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fsfm_jax.figures import plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 2  # plots side by side
WIDEST = 12  # maximum characters of a setting's tick label


@dataclasses.dataclass(frozen=True)
class Point:
    """A setting: its place on the axis, and in percent the measured and the published result, if known.

    Raises:
      ValueError: if a number is not within 0 to 100.
    """

    setting: str
    place: float
    mean: float | None
    deviation: float | None = None
    published: float | None = None

    def __post_init__(self):
        for number in (self.mean, self.published):
            if number is not None and not 0 <= number <= 100:
                raise ValueError(f"{self.setting}: expected a mean in percent, found {number:g}")


@dataclasses.dataclass(frozen=True)
class Sweep:
    """One plot.

    Attributes:
      title: the measured quantity.
      across: label of the horizontal axis.
      points: the points in the order of their places.
      numeric: whether places are values of one quantity; otherwise they only separate the settings.
    """

    title: str
    across: str
    points: Sequence[Point]
    numeric: bool


def plot_sweeps(title: str, sweeps: Sequence[Sweep]) -> "Figure":
    """Plot each sweep: dots for measured means with standard deviations, rings for published numbers.

    The axis is logarithmic if all values are positive and the largest is at least ten times the smallest.

    Raises:
      ValueError: if there is nothing to plot.
    """
    if not sweeps:
        raise ValueError("sweeps: expected at least one with a mean or a published number, found none")
    columns = min(len(sweeps), COLUMNS)
    rows = -(-len(sweeps) // columns)
    figure = plot.make_figure(4 * columns + 1, 3 * rows + 0.8, title)
    plots = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, sweep in zip(plots, sweeps, strict=False):
        _plot_sweep(axes, sweep)
    for axes in plots[len(sweeps) :]:
        axes.remove()
    return figure


def _plot_sweep(axes: "Axes", sweep: Sweep) -> None:
    entries = []
    published = [(point.place, point.published) for point in sweep.points if point.published is not None]
    if published:
        line = {"linestyle": "--"} if sweep.numeric else {"linestyle": "none"}
        ring = {"marker": "o", "markersize": 9, "markerfacecolor": "none", "markeredgecolor": plot.VERMILLION}
        (drawn,) = axes.plot(*zip(*published, strict=True), color=plot.FAINT, linewidth=1, zorder=4, **line, **ring)
        entries.append((drawn, "published"))
    ours = [(point.place, point.mean) for point in sweep.points if point.mean is not None]
    if ours:
        line = {"linestyle": "-"} if sweep.numeric else {"linestyle": "none"}
        (drawn,) = axes.plot(
            *zip(*ours, strict=True), color=plot.BLUE, linewidth=1, marker="o", markersize=5, **line, zorder=3
        )
        entries.insert(0, (drawn, "here"))
    for point in sweep.points:
        if point.mean is not None and point.deviation is not None:
            low, high = max(point.mean - point.deviation, 0), min(point.mean + point.deviation, 100)
            axes.vlines(point.place, low, high, color=plot.BLUE, linewidth=1.2)
    places = [point.place for point in sweep.points]
    if sweep.numeric and min(places) > 0 and max(places) >= 10 * min(places):
        axes.set_xscale("log")
    plot.style(axes, sweep.across, "%")
    names = [point.setting for point in sweep.points]
    short = names if sweep.numeric else [n if len(n) <= WIDEST else f"{n[: WIDEST - 1]}…" for n in names]
    slanted = {} if len(names) < 4 else {"rotation": 30, "ha": "right"}
    axes.set_xticks(places, [f"{place:g}" for place in places] if sweep.numeric else short, **slanted)
    axes.minorticks_off()
    plot.add_legend(axes, entries, 1, sweep.title, ncols=2)
