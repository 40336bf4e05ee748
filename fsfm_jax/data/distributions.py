"""Draw uniform, normal and Beta numbers from the counter stream: functions of (seed, purpose, position) only."""

import itertools
import math

import numpy as np

from fsfm_jax.data import counter_random

_TRIES = 16  # candidates of a Beta number per piece of the stream


def uniforms(seed: int, purpose: str, position: int, count: int) -> list[float]:
    """Return `count` numbers, uniform over the multiples of 2**-53 in [0, 1).

    Times a whole number n < 2**53 they stay below n, so `int(u * n)` is uniform over 0..n - 1.
    """
    words = counter_random.words(seed, purpose, position, count)
    return ((words >> np.uint64(11)).astype(np.float64) * 2.0**-53).tolist()


def between(uniform: float, low: float, high: float) -> float:
    """Map `uniform` from [0, 1) linearly to [`low`, `high`)."""
    return low + uniform * (high - low)


def log_between(uniform: float, low: float, high: float) -> float:
    """Map `uniform` as `between`, but log-uniformly: ratios r and 1 / r are equally likely."""
    return math.exp(between(uniform, math.log(low), math.log(high)))


def standard_normal(radius: float, angle: float) -> float:
    """Return an N(0, 1) number from two uniform ones (Box and Muller, 1958)."""
    return math.sqrt(-2 * math.log(1 - radius)) * math.cos(2 * math.pi * angle)


def symmetric_beta(seed: int, purpose: str, position: int, alpha: float) -> float:
    """Return a Beta(`alpha`, `alpha`) number, 0..1, by rejection: exact, no approximation of the distribution.

    alpha < 1: Joehnk's method (1964). For uniform u and v, `x = u**(1/alpha)` and `y = v**(1/alpha)` with
    x + y <= 1 give x / (x + y); at least half of the pairs are accepted.
    alpha >= 1: u is accepted if v <= (4 u (1 - u))**(alpha - 1), the density over its maximum. All are accepted
    for alpha = 1, and about sqrt(pi / (4 alpha)) of them for large alpha.
    """
    for piece in itertools.count():
        drawn = uniforms(seed, f"{purpose} {piece}", position, 2 * _TRIES)
        for u, v in zip(drawn[::2], drawn[1::2], strict=True):
            if alpha >= 1:
                if v <= (4 * u * (1 - u)) ** (alpha - 1):
                    return u
                continue
            x, y = (1 - u) ** (1 / alpha), (1 - v) ** (1 / alpha)
            if 0 < x + y <= 1:
                return x / (x + y)
    raise AssertionError("the pieces of the stream never end")
