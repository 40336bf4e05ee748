"""The plots of a study: the AUC of each arm on each source with its interval, and the pretraining losses."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fsfm_jax.figures import plot
from fsfm_jax.metrics.area import Area

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 2  # plots side by side
WIDEST = 0.8  # share of the distance between two sources over which the arms are spread
SMOOTHED = 20  # steps per point of a learning curve


def draw_study(path: Path, areas: Sequence[Area]) -> bool:
    """Write the plot as PNG; return False, without writing, if there is nothing to draw.

    Raises:
      OSError: if the file cannot be written.
    """
    tasks = list(dict.fromkeys(area.task for area in areas))
    if not tasks:
        return False
    arms = list(dict.fromkeys(area.arm for area in areas))
    rows = -(-len(tasks) // COLUMNS)
    figure = plot.make_figure(4.6 * min(len(tasks), COLUMNS) + 0.6, 3.1 * rows + 0.7, "AUC of each initialisation")
    axes = figure.subplots(rows, min(len(tasks), COLUMNS), squeeze=False).ravel()
    for panel, task in zip(axes, tasks, strict=False):
        _plot_task(panel, task, [area for area in areas if area.task == task], arms)
    for panel in axes[len(tasks) :]:
        panel.remove()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=plot.POINTS)
    plot.save(path, figure)
    return True


def _plot_task(axes: "Axes", task: str, areas: Sequence[Area], arms: Sequence[str]) -> None:
    sources = list(dict.fromkeys((area.control, area.source) for area in areas))
    axes.axhline(50, color=plot.GREY, linewidth=0.8, zorder=0)
    colours = [*plot.COLOURS, plot.GREEN, plot.VERMILLION, plot.INK, plot.GREY]
    tried = [arm for arm in arms if any(area.arm == arm for area in areas)]
    for number, arm in enumerate(arms):
        # When the colours repeat, the markers change.
        marker = plot.MARKERS[(number + number // len(colours)) % len(plot.MARKERS)]
        if arm not in tried:
            axes.errorbar([], [], fmt=marker, markersize=4, color=colours[number % len(colours)], label=arm)
            continue
        own = [area for area in areas if area.arm == arm]
        offset = min(0.12, WIDEST / len(tried)) * (tried.index(arm) - (len(tried) - 1) / 2)
        across = [sources.index((area.control, area.source)) + offset for area in own]
        means = [100 * area.auc for area in own]
        below = [100 * (area.auc - area.low) for area in own]
        above = [100 * (area.high - area.auc) for area in own]
        axes.errorbar(
            across, means, yerr=[below, above], fmt=marker, markersize=4,
            linewidth=1, color=colours[number % len(colours)], label=arm,
        )  # fmt: skip
    names = [f"control:\n{name}" if control else name.replace("_", "\n") for control, name in sources]
    axes.set_xticks(range(len(sources)), names, fontsize=plot.POINTS - 2)
    axes.set_xlim(-0.6, len(sources) - 0.4)
    axes.set_ylim(0, 103)
    axes.set_title(task, loc="left", fontsize=plot.POINTS)
    axes.set_ylabel("image AUC (%)", fontsize=plot.POINTS)


def draw_curves(path: Path, curves: Mapping[str, Sequence[tuple[int, float]]]) -> bool:
    """Write the masked loss of each pretraining over its steps as PNG; return False, without writing, if there is none.

    Each point is the mean of `SMOOTHED` steps. Random masks are easier than masks of whole regions, so losses under
    different masks are not comparable.

    Raises:
      OSError: if the file cannot be written.
    """
    if not any(curves.values()):
        return False
    figure = plot.make_figure(5.2, 3.2, "Pretraining loss")
    axes = figure.subplots()
    for number, (arm, points) in enumerate(curves.items()):
        parts = [points[start : start + SMOOTHED] for start in range(0, len(points), SMOOTHED)]
        across = [part[-1][0] for part in parts]
        up = [sum(value for _, value in part) / len(part) for part in parts]
        axes.plot(across, up, color=plot.COLOURS[number % len(plot.COLOURS)], linewidth=1.2, label=arm)
    plot.style(axes, "step", "loss of hidden patches")
    axes.legend(frameon=False, fontsize=plot.POINTS)
    plot.save(path, figure)
    return True
