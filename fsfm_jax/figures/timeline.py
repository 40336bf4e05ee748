"""The score of a video over its length."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fsfm_jax.figures import plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_timeline(
    curves: Sequence[Sequence[tuple[float, float]]], unit: str, score: float, verdict: str, threshold: float | None
) -> "Figure":
    """Plot P(real) of the faces of a video, with the score of the whole and the threshold as horizontal lines.

    Args:
      curves: for each face, positions in the video and scores.
      unit: unit of the positions, such as seconds.
      verdict: text next to the threshold in the legend. A threshold outside 0..1 is not drawn.
    """
    figure = plot.make_figure(7, 3.2, "P(real) along the video")
    axes = figure.subplots()
    places = [place for curve in curves for place, _ in curve]
    for curve in curves:
        axes.plot(*zip(*curve, strict=True), color=plot.BLUE, linewidth=1.2, marker="o", zorder=3,
                  markersize=4 if len(places) <= 60 else 2, clip_on=False)  # fmt: skip
    entries = [(axes.axhline(score, color=plot.VERMILLION, linewidth=1.5), f"score of the video: {score:.4f}")]
    if threshold is not None:
        line, note = plot.add_threshold(axes, threshold, upright=False)
        entries.append((line, f"{verdict}; {note}"))
    plot.style(axes, unit, "P(real)")
    axes.set_ylim(0, 1)
    plot.add_legend(axes, entries, 3, ncols=2)
    return figure
