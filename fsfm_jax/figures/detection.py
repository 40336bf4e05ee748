"""The plot of a detector on a data set: ROC curves and histograms of the scores."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fsfm_jax.figures import plot
from fsfm_jax.metrics import binary
from fsfm_jax.metrics.curve import roc
from fsfm_jax.metrics.scores import Scored

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS = 40
POSITIVE, NEGATIVE = plot.GREEN, plot.VERMILLION
WIDTHS = (3, 2, 1.4, 1)  # decreasing, so that curves that coincide stay visible


def draw_scores(
    path: str | Path, title: str, levels: Mapping[str, Scored], thresholds: Mapping[str, float] | None = None
) -> None:
    """Write `plot_scores` as PNG.

    Raises:
      ValueError: see `plot_scores`.
      OSError: if the file cannot be written.
    """
    plot.save(path, plot_scores(title, levels, thresholds))


def plot_scores(title: str, levels: Mapping[str, Scored], thresholds: Mapping[str, float] | None = None) -> "Figure":
    """Plot the ROC curves of all levels, and next to them a histogram of the scores of each level.

    A level with only one class has no curve; its legend says so.

    levels: up to four, such as frames and videos; scores are probabilities.
    thresholds: thresholds by level, drawn as a vertical line in the histogram, or noted in its legend if outside 0..1.

    Raises:
      ValueError: if there is no level or more than four, scores are not probabilities, or a threshold is NaN or has an
        unknown level.
    """
    thresholds = {} if thresholds is None else thresholds
    if not 0 < len(levels) <= len(plot.COLOURS):
        raise ValueError(f"levels: expected one to {len(plot.COLOURS)}, found {', '.join(levels) or 'none'}")
    for name, threshold in thresholds.items():
        if name not in levels or np.isnan(threshold):
            raise ValueError(f"thresholds: expected numbers for {', '.join(levels)}; found {threshold} for {name!r}")
    for scored in levels.values():
        binary.check_probabilities(scored.scores)
    figure = plot.make_figure(8, max(4.2, 2.4 * len(levels)), title)
    grid = figure.add_gridspec(len(levels), 2)
    _plot_roc(figure.add_subplot(grid[:, 0]), levels)
    for row, (name, scored) in enumerate(levels.items()):
        _plot_histogram(figure.add_subplot(grid[row, 1]), name, scored, thresholds.get(name))
    return figure


def _plot_roc(axes: "Axes", levels: Mapping[str, Scored]) -> None:
    axes.plot([0, 1], [0, 1], color=plot.GREY, linewidth=1, linestyle="--")
    entries = []
    for (name, scored), colour, width in zip(levels.items(), plot.COLOURS, WIDTHS, strict=False):
        across, up, _ = ([], [], []) if scored.missing else roc(scored.curve, drop_collinear=True)
        (line,) = axes.plot(across, up, color=colour, linewidth=width, clip_on=False, zorder=3)
        area = binary.auc(scored)
        entries.append((line, f"{name}: {area.reason or f'AUC {100 * area.value:.2f} %'}"))
    plot.style(axes, "false positive rate", "true positive rate")
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", anchor="N")
    plot.add_legend(axes, entries, 3)


def _plot_histogram(axes: "Axes", name: str, scored: Scored, threshold: float | None) -> None:
    classes = ((scored.labels, POSITIVE, scored.classes.positive), (~scored.labels, NEGATIVE, scored.classes.negative))
    entries = []
    for of_class, colour, label in classes:
        counts, edges = np.histogram(scored.scores[of_class], BINS, (0, 1))
        percent = 100 * counts / max(counts.sum(), 1)
        outline = axes.stairs(percent, edges, color=colour, fill=True, alpha=0.3)
        axes.stairs(percent, edges, color=colour, linewidth=1.5)
        entries.append((outline, f"{label}: {np.count_nonzero(of_class):,}"))
    if threshold is not None:
        entries.append(plot.add_threshold(axes, threshold, upright=True))
    plot.style(axes, f"probability of {scored.classes.positive}", "% of the class")
    axes.set(xlim=(0, 1))
    axes.set_ylim(bottom=0)
    plot.add_legend(axes, entries, 1.6, title=f"scores of {name}", ncols=2)
