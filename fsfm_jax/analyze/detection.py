"""The picture of a detector on a data set: ROC curve and histogram of the scores, drawn with OpenCV alone."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from fsfm_jax.metrics import binary
from fsfm_jax.metrics.curve import roc
from fsfm_jax.metrics.scored import Scored

SIZE, MARGIN, BINS = 320, 48, 40
BLACK, GREY = (40, 40, 40), (205, 205, 205)
POSITIVE, NEGATIVE = (60, 140, 60), (50, 60, 200)  # blue, green, red as OpenCV has them
LINES = ((190, 90, 30), (30, 120, 220))


def draw_scores(path: Path, title: str, levels: Mapping[str, Scored]) -> None:
    """Writes a PNG: the ROC curves of all levels in one panel, then a histogram of the scores of each level.

    A level with one class only has no curve; its legend says so.
    """
    panels = [_roc_panel(title, levels)] + [_histogram_panel(name, scored) for name, scored in levels.items()]
    done, data = cv2.imencode(".png", np.concatenate(panels, axis=1))
    assert done, path
    path.write_bytes(data.tobytes())


def _panel(title: str, across: str, up: str) -> np.ndarray:
    panel = np.full((SIZE + 2 * MARGIN, SIZE + 2 * MARGIN, 3), 255, np.uint8)
    for step in range(5):
        at = MARGIN + round(step * SIZE / 4)
        cv2.line(panel, (at, MARGIN), (at, MARGIN + SIZE), GREY, 1)
        cv2.line(panel, (MARGIN, at), (MARGIN + SIZE, at), GREY, 1)
        _write(panel, f"{step / 4:g}", (at - 8, MARGIN + SIZE + 16))
    _write(panel, title, (MARGIN, 20), 1.2)
    _write(panel, up, (6, MARGIN - 10))
    _write(panel, across, (MARGIN + SIZE // 2 - 4 * len(across), MARGIN + SIZE + 36))
    return panel


def _roc_panel(title: str, levels: Mapping[str, Scored]) -> np.ndarray:
    panel = _panel(title, "false positive rate", "true positive rate")
    for row, (name, scored) in enumerate(levels.items()):
        area = binary.auc(scored)
        legend = f"{name}: {area.reason}" if area.reason else f"{name}: AUC {100 * area.value:.2f} %"
        _write(panel, legend, (MARGIN + 90, MARGIN + SIZE - 16 - 18 * row), colour=LINES[row % len(LINES)])
        if not area.reason:
            across, up, _ = roc(scored.curve, drop_collinear=True)
            points = np.stack([MARGIN + across * SIZE, MARGIN + (1 - up) * SIZE], axis=1)
            cv2.polylines(panel, [np.round(points).astype(np.int32)], False, LINES[row % len(LINES)], 2, cv2.LINE_AA)
    return panel


def _histogram_panel(name: str, scored: Scored) -> np.ndarray:
    panel = _panel(f"scores of {name}", f"probability of {scored.classes.positive}", "share of the class")
    classes = ((scored.labels, POSITIVE, scored.classes.positive), (~scored.labels, NEGATIVE, scored.classes.negative))
    shares = [
        np.histogram(scored.scores[of_class], BINS, (0, 1))[0] / max(of_class.sum(), 1) for of_class, _, _ in classes
    ]
    highest = max(share.max() for share in shares)
    for row, (share, (of_class, colour, label)) in enumerate(zip(shares, classes, strict=True)):
        edges = MARGIN + np.arange(BINS + 1) * SIZE / BINS
        heights = MARGIN + SIZE - share / highest * SIZE
        steps = np.stack([np.repeat(edges, 2)[1:-1], np.repeat(heights, 2)], axis=1)
        cv2.polylines(panel, [np.round(steps).astype(np.int32)], False, colour, 2)
        _write(panel, f"{label}: {of_class.sum():,}", (MARGIN + SIZE // 2 - 40, MARGIN + 18 + 18 * row), colour=colour)
    return panel


def _write(panel: np.ndarray, text: str, at: tuple[int, int], size: float = 1.0, colour=BLACK) -> None:
    cv2.putText(panel, text, at, cv2.FONT_HERSHEY_PLAIN, size, colour, 1, cv2.LINE_AA)
