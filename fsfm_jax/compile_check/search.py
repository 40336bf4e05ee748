"""The largest number of images that a device can take at once, found with few compilations."""

from collections.abc import Callable, Sequence

# Whether a number of images fits, and the bytes that it needs; None if the compiler does not say.
Need = tuple[bool, float | None]


def by_proportion(
    choices: Sequence[int], images: float, needed: float, state: float, available: float
) -> int | None:
    """The largest choice that should fit, if what is needed beyond the state grows in proportion; None if none does.

    `images` need the bytes `needed`, of which `state` are there without any.
    """
    each = max(needed - state, 0.0) / images
    return max((choice for choice in choices if state + choice * each <= available), default=None)


def largest_fitting(
    choices: Sequence[int], first: int, needs: Callable[[int], Need], state: float, available: float
) -> tuple[int | None, dict[int, Need]]:
    """The largest of `choices` that fits, None if none does, and what was found of each that was tried.

    `first`, one of them, is measured first. Then the one that should be the largest is tried, and its neighbours until
    one fits and the next larger does not. `needs` compiles one.
    """
    choices, tried = sorted(choices), {}
    # The largest known to fit, the smallest known not to, the next to try.
    low, high, guess = -1, len(choices), choices.index(first)
    while high - low > 1:
        images = choices[guess]
        tried[images] = needs(images)
        fits, needed = tried[images]
        low, high = (guess, high) if fits else (low, guess)
        best = (low + high) // 2
        if needed is not None:
            expected = by_proportion(choices, images, needed, state, available)
            best = -1 if expected is None else choices.index(expected)
        guess = min(max(best, low + 1), high - 1)
    return (None if low < 0 else choices[low]), tried
