"""Writes the predictions of an evaluation as scores that join the results of DeepfakeBench.

    python -m fsfm_jax.export.benchmark_scores --predictions=runs/eval/predictions/UADFV.csv --output=UADFV.csv

CSV in UTF-8 with a row for each frame, in the order of the predictions:

    path,label,score
    UADFV/real/frames/0000/000.png,0,0.0132

`path` is that of the manifest with slashes, `label` is 1 for forged and 0 for real faces, and `score` is the
probability of being forged, with every digit: the numbers that DeepfakeBench has. Its own results are a pickle, which
is a program; none is written or read here.
"""

import csv
import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags

from fsfm_jax import command
from fsfm_jax.detection.prediction_file import read_predictions
from fsfm_jax.run.whole_file import whole_file

FORMATS = ("deepfakebench",)
NAMES = ("path", "label", "score")
NEEDED = ("source", "class", "forged")  # columns of predictions
LABELS = {"real": 0, "fake": 1}


def format_scores(columns: Mapping[str, np.ndarray]) -> str:
    """Return the CSV of predictions, `[N]` each; see the top of this file.

    Raises:
      ValueError: columns that are missing, classes other than fake and real, or several frames of one file.
    """
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        raise ValueError(f"expected predictions of an evaluation, found no column {', '.join(missing)}")
    paths, classes, scores = (columns[name].tolist() for name in NEEDED)
    if other := sorted({*classes} - {*LABELS}):
        raise ValueError(f"expected the classes fake and real, found {', '.join(map(str, other))}")
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise ValueError(
            f"expected one row for each photo, found several of {twice}; DeepfakeBench has frames as files"
        )
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(NAMES)
    # Floats are written by `repr`, the shortest digits that make the same number again.
    writer.writerows(zip(paths, [LABELS[name] for name in classes], scores, strict=True))
    return text.getvalue()


def write_scores(predictions: str, output: str) -> int:
    """Write `output` from a file of predictions, CSV or Parquet, and return the number of its rows.

    Raises:
      ValueError: `output` is there already, or predictions that `format_scores` or `read_predictions` refuses.
      OSError: a file that cannot be read or written.
    """
    if Path(output).exists():
        raise ValueError(f"--output: {output} is there already; remove it or choose another place")
    columns = read_predictions(Path(predictions))
    try:
        content = format_scores(columns)
    except ValueError as error:
        raise ValueError(f"{predictions}: {error}") from error
    with whole_file(output) as file:
        file.write(content.encode())
    return len(columns[NEEDED[0]])


def define_flags() -> None:
    # Not when imported: flags are shared by the whole process, and other programs have an --output too.
    flags.DEFINE_enum("format", FORMATS[0], FORMATS, "What to write.")
    flags.DEFINE_string("predictions", None, "File that an evaluation wrote, predictions/NAME.csv or .parquet.")
    flags.DEFINE_string("output", None, "CSV to write.")


def main(arguments: list[str]) -> None:
    """Run the command line."""
    chosen: Any = flags.FLAGS
    if len(arguments) > 1 or None in (chosen.predictions, chosen.output):
        raise app.UsageError("expected --predictions=FILE and --output=FILE, and nothing else")
    try:
        rows = write_scores(chosen.predictions, chosen.output)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"{chosen.output}: {rows:,} scores")


if __name__ == "__main__":
    command.start(sys.modules[__name__], sys.argv[1:])
