"""The channel statistics that the official code writes next to its weight files."""

import json
import os

from fsfm_jax.tasks.normalisation import Statistics

STATISTICS_FILE = "pretrain_ds_mean_std.txt"
MAX_LINE = 10_000  # characters


def statistics_beside(path: str) -> Statistics | None:
    """Return the statistics in the folder of a weight file, None if there are none.

    The official code adds a line at each start and reads the first one, as we do. It silently uses the numbers of
    VGGFace2 where the file is missing; here the caller decides.

    Raises:
      ValueError: a first line that is not `{"mean": [r, g, b], "std": [r, g, b]}` with numbers for pixels in 0..1.
    """
    beside = os.path.join(os.path.dirname(path), STATISTICS_FILE)
    if os.path.lexists(beside) and not os.path.isfile(beside):
        raise ValueError(f"{beside}: expected a file; found a folder, a named pipe or a link to nothing")
    try:
        with open(beside, encoding="utf-8") as file:
            line = file.readline(MAX_LINE)
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise ValueError(f"{beside}: no text: {error}") from error
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{beside}: the first line is no JSON: {line[:100]!r}") from error
    if not isinstance(content, dict):
        raise ValueError(f'{beside}: expected {{"mean": [r, g, b], "std": [r, g, b]}}; found {line[:100]!r}')
    values = {name: _triple(beside, name, content.get(name)) for name in ("mean", "std")}
    for name, triple in values.items():
        if any(1 < value <= 255 for value in triple):
            raise ValueError(
                f"{beside}: {name}: {list(triple)} is on a scale of 0..255; divide it by 255, pixels are 0..1 here"
            )
        # Neither an infinity nor NaN is between two numbers.
        if not all((0 <= value if name == "mean" else 0 < value) and value <= 1 for value in triple):
            wanted = "0 to 1" if name == "mean" else "more than 0, up to 1"
            raise ValueError(f"{beside}: {name}: expected numbers from {wanted}; found {list(triple)}")
    return Statistics(*(tuple(map(float, triple)) for triple in values.values()))


def _triple(path: str, name: str, value: object) -> list[int | float]:
    if type(value) is not list or len(value) != 3 or not all(type(number) in (int, float) for number in value):
        raise ValueError(f"{path}: {name}: expected three numbers, red, green, blue; found {str(value)[:100]}")
    return value
