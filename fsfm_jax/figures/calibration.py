"""The plot of a calibration: reliability diagrams above the counts of their bins."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fsfm_jax.figures import plot
from fsfm_jax.metrics.calibration import Reliability

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_reliability(path: str | Path, title: str, diagrams: Mapping[str, Reliability]) -> None:
    """Write `plot_reliability` as PNG.

    Raises:
      ValueError: see `plot_reliability`.
      OSError: if the file cannot be written.
    """
    plot.save(path, plot_reliability(title, diagrams))


def plot_reliability(title: str, diagrams: Mapping[str, Reliability]) -> "Figure":
    """Plot the observed share of each bin against its mean probability, and below it the bins' counts.

    A calibrated detector lies on the diagonal. Points below it are overconfident. Bins without examples have no point.

    diagrams: up to four diagrams by their names in the legend, such as "raw: ECE 5.2 %".

    Raises:
      ValueError: if there is no diagram, or more than four.
    """
    if not 0 < len(diagrams) <= len(plot.COLOURS):
        raise ValueError(f"diagrams: expected one to {len(plot.COLOURS)}, found {', '.join(diagrams) or 'none'}")
    figure = plot.make_figure(5, 5.6, title)
    shares, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    shares.plot([0, 1], [0, 1], color=plot.GREY, linewidth=1, linestyle="--")
    entries = []
    for (name, diagram), colour, marker in zip(diagrams.items(), plot.COLOURS, plot.MARKERS, strict=False):
        filled = diagram.counts > 0
        across, up = diagram.predicted[filled], diagram.observed[filled]
        (line,) = shares.plot(across, up, color=colour, marker=marker, clip_on=False, zorder=3)
        entries.append((line, name))
        counts.stairs(diagram.counts, np.append(diagram.low, diagram.high[-1]), color=colour, linewidth=1.5)
    plot.style(shares, "", "observed share")
    plot.style(counts, "mean probability of the bin", "examples")
    shares.set(xlim=(0, 1), ylim=(0, 1))
    counts.set_ylim(bottom=0)
    counts.yaxis.set_major_formatter("{x:,.0f}")
    counts.locator_params(axis="y", nbins=3, integer=True)
    plot.add_legend(shares, entries, 4)
    return figure
