"""Points in the plane, coloured by their group."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fsfm_jax.figures import plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = (plot.BLUE, plot.VERMILLION, plot.GREEN, plot.PURPLE, plot.ORANGE, plot.SKY)
SHAPES = "os^"


def plot_groups(title: str, places: np.ndarray, groups: Sequence[str], across: str, up: str) -> "Figure":
    """Plot a point for each row of `places [n, 2]` in the colour and marker of its group.

    The first eighteen groups in order of appearance are named; the others are grey.

    across, up: labels of the axes, which have equal scales and no tick labels.
    """
    names = list(dict.fromkeys(groups))
    numbers = {name: number for number, name in enumerate(names)}
    looks = [(colour, shape) for shape in SHAPES for colour in COLOURS]
    of_group = np.array([numbers[group] for group in groups])
    figure = plot.make_figure(7, 5, title)
    axes = figure.subplots()
    size = float(np.clip(4000 / max(len(places), 1), 6, 30))
    entries = []
    others = of_group >= len(looks)
    if others.any():
        grey = axes.scatter(*places[others].T, size, plot.FAINT, linewidths=0)
    for number, (colour, shape) in enumerate(looks[: len(names)]):
        chosen = of_group == number
        drawn = axes.scatter(*places[chosen].T, size, colour, marker=shape, alpha=0.8, linewidths=0)
        entries.append((drawn, f"{names[number]}: {np.count_nonzero(chosen):,}"))
    if others.any():
        entries.append((grey, f"{len(names) - len(looks)} more groups: {np.count_nonzero(others):,}"))
    plot.style(axes, across, up)
    axes.tick_params(length=0, labelbottom=False, labelleft=False)
    axes.set_aspect("equal", adjustable="datalim")
    beside = {"loc": "outside right upper", "bbox_to_anchor": None, "markerscale": (30 / size) ** 0.5}
    plot.add_legend(figure, entries, 1.5, **beside)
    return figure
