"""Rows of pictures with titles above, a label below each row and a note at the end."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fsfm_jax import records
from fsfm_jax.data.resizing import resize_whole
from fsfm_jax.figures.plot import save_pixels, write_text

CELL, GAP, HEADER, LABEL = records.IMAGE_SIZE, 6, 34, 24
PAPER, INK, FAINT = (255, 255, 255), (30, 30, 30), (110, 110, 110)
LARGE, SMALL = 7, 6  # points


class Row(NamedTuple):
    """A row of pictures `[S, S, 3] uint8` RGB, drawn 224 pixels wide, and a text below one of them.

    under: index of the column where the text starts.
    """

    pictures: Sequence[np.ndarray]
    label: str
    under: int = 0


def write_gallery(path: str, titles: Sequence[str], rows: Sequence[Row], note: str = "") -> None:
    """Write a gallery as PNG.

    Raises:
      ValueError: if the number of pictures in a row differs from the number of titles, or a picture is not square.
      OSError: if the file cannot be written.
    """
    height = HEADER + len(rows) * (CELL + LABEL) + LABEL
    canvas = np.full((height, len(titles) * (CELL + GAP) + GAP, 3), PAPER, np.uint8)
    for column, title in enumerate(titles):
        left = GAP + column * (CELL + GAP)
        write_text(canvas[:HEADER, left : left + CELL], title, LARGE, INK)
    for number, row in enumerate(rows):
        top = HEADER + number * (CELL + LABEL)
        for column, (_, picture) in enumerate(zip(titles, row.pictures, strict=True)):
            if picture.ndim != 3 or picture.shape[0] != picture.shape[1]:
                raise ValueError(f"pictures: expected [S, S, 3], found {list(picture.shape)}")
            picture = picture if picture.shape[0] == CELL else resize_whole(picture, CELL)
            left = GAP + column * (CELL + GAP)
            canvas[top : top + CELL, left : left + CELL] = picture
        write_text(canvas[top + CELL : top + CELL + LABEL, GAP + row.under * (CELL + GAP) :], row.label, SMALL, FAINT)
    write_text(canvas[-LABEL:, GAP:], note, SMALL, FAINT)
    try:
        save_pixels(path, canvas)
    except OSError as error:
        raise OSError(
            f"cannot write the picture {path} ({error}); check that the folder exists and that the disk has space"
        ) from error
