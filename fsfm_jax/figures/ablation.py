"""The plot of an ablation: each average over the settings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fsfm_jax.figures import plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 2  # plots side by side
WIDEST = 12  # maximum characters of a setting's tick label
Spread = tuple[float, float | None]  # mean and standard deviation in percent


def draw_ablation(path: Path, panels: Mapping[str, Mapping[str, Spread]], settings: Sequence[str]) -> bool:
    """Write `plot_ablation` as PNG; return False, without writing, if there is no point.

    Raises:
      ValueError: see `plot_ablation`.
      OSError: if the file cannot be written.
    """
    figure = plot_ablation(panels, settings)
    if figure is not None:
        plot.save(path, figure)
    return figure is not None


def plot_ablation(panels: Mapping[str, Mapping[str, Spread]], settings: Sequence[str]) -> "Figure | None":
    """Plot means with standard deviations, one plot for each title; return None without a point.

    Numeric settings are placed by value and their points are connected; other settings are placed in order.

    Raises:
      ValueError: if a setting is not one of `settings`, or a mean is not within 0 to 100.
    """
    panels = {title: points for title, points in panels.items() if points}
    for name, (mean, _) in (item for points in panels.values() for item in points.items()):
        if name not in settings or not 0 <= mean <= 100:
            raise ValueError(f"points: expected a setting and a mean in percent, found {name!r} with {mean}")
    if not panels:
        return None
    columns = min(len(panels), COLUMNS)
    rows = -(-len(panels) // columns)
    figure = plot.make_figure(4 * columns + 1, 3 * rows + 0.8, "Mean score of each setting")
    plots = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (title, points) in zip(plots, panels.items(), strict=False):
        _plot_panel(axes, title, points, settings)
    for axes in plots[len(panels) :]:
        axes.remove()
    return figure


def _plot_panel(axes: "Axes", title: str, points: Mapping[str, Spread], settings: Sequence[str]) -> None:
    numbers = _numbers(settings)
    places = dict(zip(settings, numbers or range(len(settings)), strict=True))
    across, means = [places[name] for name in points], [mean for mean, _ in points.values()]
    if numbers:
        order = sorted(range(len(across)), key=across.__getitem__)
        axes.plot([across[i] for i in order], [means[i] for i in order], color=plot.GREY, linewidth=1)
    spread = [(places[name], mean, deviation) for name, (mean, deviation) in points.items() if deviation is not None]
    for place, mean, deviation in spread:
        axes.vlines(place, max(mean - deviation, 0), min(mean + deviation, 100), color=plot.BLUE, linewidth=1.2)
    axes.scatter(across, means, 48, plot.BLUE, edgecolors="white", zorder=3, clip_on=False)
    plot.style(axes, "setting", "%")
    axes.set_title(plot.cut(title, 3), fontsize=plot.POINTS, color=plot.INK, loc="left")
    names = [name if numbers or len(name) <= WIDEST else f"{name[: WIDEST - 1]}…" for name in settings]
    slanted = {} if numbers or len(settings) < 4 else {"rotation": 30, "ha": "right"}
    axes.set_xticks(list(places.values()), names, **slanted)


def _numbers(settings: Sequence[str]) -> list[float]:
    """Return the settings as numbers; empty if one is not a number."""
    try:
        return [float(name) for name in settings]
    except ValueError:
        return []
