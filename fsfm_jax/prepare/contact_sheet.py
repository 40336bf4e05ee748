"""Draw random faces of a split, each next to its parsing map, to check a data set at a glance."""

from pathlib import Path

import cv2
import numpy as np
import tensorflow_datasets as tfds

from fsfm_jax import records
from fsfm_jax.data.photo import READ_FLAGS, encode_png
from fsfm_jax.data.statistics import Card

FACES, COLUMNS, CELL, GAP, LABEL, LETTER = 48, 8, 112, 4, 14, 8  # pixels, but for the first two
# One colour for each class of `regions.CLASSES`; colours of adjacent regions differ.
PALETTE = np.array(
    [
        [40, 40, 44], [226, 178, 148], [122, 80, 40], [176, 120, 60], [70, 150, 230], [40, 90, 190],
        [240, 214, 90], [214, 70, 90], [250, 250, 250], [160, 40, 70], [80, 140, 90],
    ],
    np.uint8,
)  # fmt: skip
MAP_SHARE = 0.6  # opacity of the map's colour over the grey photo


def write_contact_sheet(directory: Path, split: str, card: Card, path: Path) -> None:
    """Draw up to 48 faces of a split into a PNG; the same data set gives the same picture."""
    source = tfds.builder_from_directory(directory).as_data_source(
        split, decoders={records.IMAGE: tfds.decode.SkipDecoding()}
    )
    count = min(FACES, len(source))
    chosen = np.sort(np.random.default_rng(0).choice(len(source), count, replace=False))
    cells = [_cell(source[int(index)], card) for index in chosen]
    columns = min(COLUMNS, count)
    blank = np.full_like(cells[0], 255)
    cells += [blank] * (-count % columns)
    rows = [np.concatenate(cells[start : start + columns], axis=1) for start in range(0, len(cells), columns)]
    path.write_bytes(encode_png(np.concatenate(rows), 9))


def _cell(example: dict, card: Card) -> np.ndarray:
    """Draw one face, its map next to it, and a line of text below, `[H, W, 3] uint8`."""
    photo = cv2.imdecode(np.frombuffer(example[records.IMAGE], np.uint8), READ_FLAGS)
    photo = cv2.resize(photo, (CELL, CELL), interpolation=cv2.INTER_AREA)
    parts = [photo, _over(photo, example[records.PARSING_MAP])] if card.parsing_maps else [photo]
    gap = np.full((CELL, GAP, 3), 255, np.uint8)
    strip = np.concatenate([part for pair in ((part, gap) for part in parts) for part in pair], axis=1)
    text = np.full((LABEL + GAP, strip.shape[1], 3), 255, np.uint8)
    label = int(example[records.LABEL])
    words = card.class_names[label] if label >= 0 else Path(_text(example[records.SOURCE])).stem
    cv2.putText(
        text,
        _ascii(words)[-(strip.shape[1] // LETTER) :],
        (0, LABEL - 3),
        cv2.FONT_HERSHEY_PLAIN,
        0.8,
        (60, 60, 60),
        1,
        cv2.LINE_AA,
    )
    return np.concatenate([strip, text])


def _over(photo: np.ndarray, parsing_map: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    colours = cv2.resize(PALETTE[parsing_map], (CELL, CELL), interpolation=cv2.INTER_AREA)
    return cv2.addWeighted(colours, MAP_SHARE, grey, 1 - MAP_SHARE, 0)


def _text(value) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _ascii(words: str) -> str:
    # OpenCV draws question marks for other characters.
    return words.encode("ascii", "replace").decode()
