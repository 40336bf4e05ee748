"""Numbers that only the released code computes this way, so that its tables can be compared with."""

import numpy as np

from fsfm_jax.metrics import binary, curve
from fsfm_jax.metrics.scores import Scored
from fsfm_jax.metrics.value import Value, undefined


def loss_averaged_over_batches(losses: np.ndarray, batch_size: int) -> float:
    """Plain mean of the batch means, by which fine-tuning selects: a short last batch counts as much as a full one.

    losses: `[N]`, cross-entropy of each example in reading order.
    """
    losses = np.asarray(losses, np.float64)
    return float(np.mean([losses[start : start + batch_size].mean() for start in range(0, len(losses), batch_size)]))


def auc_averaged_over_batches(scored: Scored, batch_size: int) -> Value:
    """The "AUC" of fine-tuning's validation: AUC within each batch, averaged with the batch sizes as weights.

    It is not the AUC of the set and changes with the order of the examples; for that use `binary.auc`. Undefined as
    soon as one batch has one class only.
    """
    total = 0.0
    for number, start in enumerate(range(0, len(scored), batch_size), 1):
        part = slice(start, start + batch_size)
        batch = Scored(scored.scores[part], scored.labels[part], scored.classes)
        area = binary.auc(batch)
        if area.reason:
            return undefined(f"batch {number}: {area.reason}")
        total += area.value * len(batch)
    return Value(total / len(scored))


def true_positive_rate_at(scored: Scored, false_positive_rate: float) -> Value:
    """True positive rate at the last point with at most the given rate of the ROC curve without collinear points.

    Tied scores can take the point away at which the rate would be reached; then this is less than
    `binary.true_positive_rate_at`. Without ties both agree.

    Raises:
      ValueError: the given rate is not in [0, 1].
    """
    binary.check_rate("false_positive_rate", false_positive_rate)
    if scored.missing:
        return undefined(scored.missing)
    false_positive, true_positive, _ = curve.roc(scored.curve, drop_collinear=True)
    return Value(float(true_positive[np.count_nonzero(false_positive <= false_positive_rate) - 1]))
