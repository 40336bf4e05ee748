"""Error rates of presentation attack detection, as ISO/IEC 30107-3 defines them.

The positive class is bona fide: an attack with `score >= threshold` passes as bona fide.
"""

import numpy as np

from fsfm_jax.metrics import binary
from fsfm_jax.metrics.scores import Scored
from fsfm_jax.metrics.value import Value, mean, undefined


def apcer_by_species(scored: Scored, species: np.ndarray, threshold: float) -> dict[str, Value]:
    """Return the attack presentation classification error rate: the share of attacks that pass, by species.

    species: `[N] str`, the attack instrument of each example, "" for bona fide.

    Raises:
      ValueError: if `species` has another length, an attack has no species, or a bona fide example has one.
    """
    species = np.asarray(species)
    if species.shape != scored.labels.shape:
        raise ValueError(f"species: expected shape {scored.labels.shape} as the labels, found {species.shape}")
    wrong = (species == "") != scored.labels
    if wrong.any():
        place = int(np.argmax(wrong))
        kind = scored.classes.positive if scored.labels[place] else scored.classes.negative
        raise ValueError(
            f'species: expected a name for each {scored.classes.negative} and "" for each {scored.classes.positive}; '
            f"found {str(species[place])!r} for the {kind} at position {place}"
        )
    attacks = ~scored.labels
    names, index = np.unique(species[attacks], return_inverse=True)
    passed = np.bincount(index, scored.scores[attacks] >= threshold, minlength=len(names))
    total = np.bincount(index, minlength=len(names))
    return {str(name): Value(float(p / n)) for name, p, n in zip(names, passed, total, strict=True)}


def apcer(scored: Scored, species: np.ndarray, threshold: float) -> Value:
    """Return the APCER of the worst species, which the standard reports instead of the mean over species."""
    rates = apcer_by_species(scored, species, threshold)
    return max(rates.values(), key=float) if rates else undefined(scored.missing)


def bpcer(scored: Scored, threshold: float) -> Value:
    """Return the bona fide presentation classification error rate: the share of bona fide examples rejected."""
    return binary.false_negative_rate(scored, threshold)


def acer(scored: Scored, species: np.ndarray, threshold: float) -> Value:
    """Return the mean of APCER (worst species) and BPCER; the standard has dropped it, papers still report it.

    With a single species it equals the half total error rate.
    """
    return mean(apcer(scored, species, threshold), bpcer(scored, threshold))
