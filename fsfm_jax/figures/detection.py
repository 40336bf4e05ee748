"""The picture of a detector on a data set: ROC curve and histogram of the scores, drawn with OpenCV alone."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fsfm_jax.figures.panel import BLACK, LINES, Panel, end_of_axis, make_panel, save
from fsfm_jax.metrics import binary
from fsfm_jax.metrics.curve import roc
from fsfm_jax.metrics.scores import Scored

BINS = 40
POSITIVE, NEGATIVE = (60, 140, 60), (50, 60, 200)  # blue, green, red as OpenCV has them


def draw_scores(
    path: str | Path, title: str, levels: Mapping[str, Scored], thresholds: Mapping[str, float] | None = None
) -> None:
    """Writes a PNG: the ROC curves of all levels in one panel, then a histogram of the scores of each level.

    A level with one class only has no curve; its legend says so.

    levels: up to four, such as frames and videos; scores are probabilities. thresholds: by level, a vertical line in
    its histogram, or a note in its legend if it is not between 0 and 1.

    Raises:
      ValueError: no level or more than four, scores that are not probabilities, or a threshold that is NaN or of no
        level.
      OSError: the file cannot be written.
    """
    thresholds = {} if thresholds is None else thresholds
    if not 0 < len(levels) <= len(LINES):
        raise ValueError(f"levels: expected one to {len(LINES)}, found {', '.join(levels) or 'none'}")
    for name, threshold in thresholds.items():
        if name not in levels or np.isnan(threshold):
            raise ValueError(f"thresholds: expected numbers for {', '.join(levels)}; found {threshold} for {name!r}")
    for scored in levels.values():
        binary.check_probabilities(scored.scores)
    rows = max(len(levels), 3 if thresholds else 2)
    panels = [_roc_panel(title, levels, rows)]
    panels += [_histogram_panel(name, scored, thresholds.get(name), rows) for name, scored in levels.items()]
    save(path, np.concatenate([panel.picture for panel in panels], axis=1))


def _roc_panel(title: str, levels: Mapping[str, Scored], rows: int) -> Panel:
    areas = {name: binary.auc(scored) for name, scored in levels.items()}
    texts = [f"{name}: {area.reason or f'AUC {100 * area.value:.2f} %'}" for name, area in areas.items()]
    legend = list(zip(texts, LINES, strict=False))
    panel = make_panel(title, "false positive rate", "true positive rate", legend, rows)
    for (_, colour), scored in zip(legend, levels.values(), strict=True):
        if not scored.missing:
            across, up, _ = roc(scored.curve, drop_collinear=True)
            panel.curve(across, up, colour)
    return panel


def _histogram_panel(name: str, scored: Scored, threshold: float | None, rows: int) -> Panel:
    classes = ((scored.labels, POSITIVE, scored.classes.positive), (~scored.labels, NEGATIVE, scored.classes.negative))
    legend = [(f"{label}: {np.count_nonzero(of_class):,}", colour) for of_class, colour, label in classes]
    if threshold is not None:
        outside = "" if 0 <= threshold <= 1 else " (outside)"
        legend.append((f"threshold {threshold:.4g}{outside}", BLACK))
    shares = [
        (np.histogram(scored.scores[of_class], BINS, (0, 1))[0] / np.count_nonzero(of_class), colour)
        for of_class, colour, _ in classes
        if of_class.any()
    ]
    end = end_of_axis(max(share.max() for share, _ in shares))
    marks = [f"{100 * end * quarter / 4:.3g} %" for quarter in range(5)]
    title, across = f"scores of {name}", f"probability of {scored.classes.positive}"
    panel = make_panel(title, across, "share of the class", legend, rows, marks)
    if threshold is not None and 0 <= threshold <= 1:
        panel.vertical(threshold, BLACK)
    for share, colour in shares:
        panel.steps(np.arange(BINS + 1) / BINS, share / end, colour)
    return panel

