"""A search for the largest micro-batch of a device with few compilations."""

from collections.abc import Callable, Sequence

# A function from a micro-batch size to whether it fits and the bytes that it needs, None if unknown.
Need = tuple[bool, float | None]


def by_proportion(
    choices: Sequence[int], images: float, needed: float, state: float, available: float
) -> int | None:
    """Predict the largest choice that fits, if memory beyond the state is proportional to images; None if none fits.

    `images` images need `needed` bytes, and `state` of these do not depend on the images.
    """
    each = max(needed - state, 0.0) / images
    return max((choice for choice in choices if state + choice * each <= available), default=None)


def largest_fitting(
    choices: Sequence[int], first: int, needs: Callable[[int], Need], state: float, available: float
) -> tuple[int | None, dict[int, Need]]:
    """Return the largest of `choices` that fits (None if none does), and the result of each one tried.

    `first`, one of them, is measured first. Next comes the predicted largest one, and then its neighbours until one
    fits and the next larger one does not. `needs` compiles a choice.
    """
    choices, tried = sorted(choices), {}
    # Bounds of the search (largest known to fit, smallest known not to fit), and the next choice.
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
