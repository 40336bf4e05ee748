"""Compute statistics of a data set (exact pixel sums), and read and write the card that stores them with the records.

Sums are Python integers, so pooled mean and standard deviation are exact and do not depend on the order of
adding. The card is written last: records without a card are unfinished.
"""

import json
import math
import os
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from etils import epath

from fsfm_jax.data.regular_file import read_regular
from fsfm_jax.records import CARD_FILE, IMAGE_SIZE, SCHEMA_VERSION, check_image

# Folder next to the shards during a build; only the builder uses its content.
UNFINISHED = "fsfm_unfinished"
MAX_CARD = 1 << 26  # largest card in bytes
BUILD = "python -m fsfm_jax.prepare.build"
Channels = tuple[int, int, int]


@dataclass(frozen=True)
class PixelSums:
    """Sums over pixels, one per channel (R, G, B), of values 0..255; `PixelSums()` is the empty sum."""

    pixels: int = 0  # number of pixels summed in each channel
    total: Channels = (0, 0, 0)
    squares: Channels = (0, 0, 0)

    @classmethod
    def of(cls, image: np.ndarray) -> "PixelSums":
        """Sum one image, `[H, W, 3] uint8`; raise ValueError for another array."""
        check_image(image)
        # Counting the 256 values first is exact and seven times faster than squaring every pixel.
        counts = [np.bincount(image[..., channel].ravel(), minlength=256) for channel in range(3)]
        values = np.arange(256)
        total, squares = (tuple(int(count @ power) for count in counts) for power in (values, values**2))
        return cls(image.shape[0] * image.shape[1], total, squares)

    @property
    def possible(self) -> bool:
        """Return whether pixels of 0..255 can have such sums."""
        return self.pixels >= 0 and all(
            0 <= total <= squares <= 255 * total and total**2 <= self.pixels * squares
            for total, squares in zip(self.total, self.squares, strict=True)
        )

    def __add__(self, other: "PixelSums") -> "PixelSums":
        if not isinstance(other, PixelSums):
            return NotImplemented
        total = tuple(a + b for a, b in zip(self.total, other.total, strict=True))
        squares = tuple(a + b for a, b in zip(self.squares, other.squares, strict=True))
        return PixelSums(self.pixels + other.pixels, total, squares)

    def mean_std(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Return mean and population standard deviation of each channel, pixels scaled to 0..1.

        Raises:
          ValueError: nothing was summed.
        """
        if self.pixels == 0:
            raise ValueError("mean of pixels: expected the sums of at least one photo, found none")
        means = [Fraction(total, 255 * self.pixels) for total in self.total]
        seconds = [Fraction(square, 255**2 * self.pixels) for square in self.squares]
        # Subtract as fractions: in floats a nearly constant channel would lose all digits.
        stds = [math.sqrt(second - mean**2) for second, mean in zip(seconds, means, strict=True)]
        return tuple(map(float, means)), tuple(stds)


@dataclass(frozen=True)
class SplitStatistics:
    """The card's entry for one split."""

    shard_lengths: tuple[int, ...]  # records of each shard, in order
    num_bytes: int  # size of all serialised records
    fingerprint: str  # SHA-256 over the SHA-256 of each record, in order; independent of sharding
    image_encoding: str  # "png", "jpeg" or "png+jpeg"
    pixel_sums: PixelSums  # over the decoded photos, as they are stored
    project_version: str  # of the fsfm_jax that wrote the split
    class_counts: tuple[int, ...] = ()  # records of each label; () = unlabelled
    items: int = 0  # number of photos and videos processed
    dropped: dict[str, int] = field(default_factory=dict)  # counts of dropped faces by reason
    noted: dict[str, int] = field(default_factory=dict)  # counts of notes on kept faces by reason

    @property
    def examples(self) -> int:
        return sum(self.shard_lengths)

    def as_json(self) -> dict:
        """Return the split's entry of the card."""
        return {
            "examples": self.examples,
            "shard_lengths": list(self.shard_lengths),
            "num_bytes": self.num_bytes,
            "fingerprint": self.fingerprint,
            "image_encoding": self.image_encoding,
            "pixels": self.pixel_sums.pixels,
            "pixel_sum": list(self.pixel_sums.total),
            "pixel_square_sum": list(self.pixel_sums.squares),
            "project_version": self.project_version,
            "class_counts": list(self.class_counts),
            "items": self.items,
            "dropped": self.dropped,
            "noted": self.noted,
        }

    @classmethod
    def from_json(cls, entry: dict) -> "SplitStatistics":
        """Read an entry of `as_json`; raise KeyError or TypeError if `entry` is malformed."""
        _check_kinds(entry, SPLIT_KINDS)
        sums = PixelSums(entry["pixels"], tuple(entry["pixel_sum"]), tuple(entry["pixel_square_sum"]))
        if len(sums.total) != 3 or len(sums.squares) != 3 or not sums.possible or min([0, *entry["shard_lengths"]]) < 0:
            raise TypeError("impossible pixel sums or shard lengths")
        return cls(
            tuple(entry["shard_lengths"]),
            entry["num_bytes"],
            entry["fingerprint"],
            entry["image_encoding"],
            sums,
            entry["project_version"],
            tuple(entry["class_counts"]),
            entry["items"],
            entry["dropped"],
            entry["noted"],
        )


@dataclass(frozen=True)
class Card:
    """The card of a records directory: its splits, its classes and how it was made."""

    name: str
    splits: dict[str, SplitStatistics]
    class_names: tuple[str, ...] = ()  # by label; () = unlabelled
    real: int | None = None  # the label of real (bona fide) faces
    image_size: int | None = IMAGE_SIZE  # None = every crop has its own size
    parsing_maps: bool = True
    prepared: dict = field(default_factory=dict)  # data set, detector, parser, options and versions, in JSON

    def as_text(self) -> str:
        """Return the card as JSON with sorted keys: the same records give the same bytes."""
        content = {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "splits": {split: statistics.as_json() for split, statistics in self.splits.items()},
            "class_names": list(self.class_names),
            "real": self.real,
            "image_size": self.image_size,
            "parsing_maps": self.parsing_maps,
            "prepared": self.prepared,
        }
        return json.dumps(content, indent=2, sort_keys=True) + "\n"


# Defaults for cards of schema version 1, which had no labels, and only photos with parsing maps.
VERSION_1_SPLIT = {"class_counts": [], "items": 0, "dropped": {}, "noted": {}}
VERSION_1_CARD = {"class_names": [], "real": None, "image_size": IMAGE_SIZE, "parsing_maps": True, "prepared": {}}


# Types of the entries of a card: a type, `[type]` for a list, `{type}` for a dict from names to that type.
SPLIT_KINDS = {
    "pixels": int, "pixel_sum": [int], "pixel_square_sum": [int], "shard_lengths": [int], "num_bytes": int,
    "fingerprint": str, "image_encoding": str, "project_version": str, "class_counts": [int], "items": int,
    "dropped": {int}, "noted": {int},
}  # fmt: skip
CARD_KINDS = {
    "name": str, "splits": {dict}, "class_names": [str], "real": int | None, "image_size": int | None,
    "parsing_maps": bool, "prepared": dict,
}  # fmt: skip


def _check_kinds(content: dict, kinds: dict) -> None:
    """Raise TypeError for an entry of another type, KeyError for a missing one."""
    for name, kind in kinds.items():
        value = content[name]
        outer, inner = (list, *kind) if type(kind) is list else (dict, *kind) if type(kind) is set else (kind, None)
        parts = [] if inner is None else value.values() if type(value) is dict else value
        # In Python a bool is an int, so refuse it explicitly.
        if not isinstance(value, outer) or (type(value) is bool and outer is not bool) or {*map(type, parts)} - {inner}:
            raise TypeError(f"{name}: {str(value)[:100]!r}")


def read_card(directory: str | os.PathLike) -> Card:
    """Read the card of a records directory.

    Raises:
      FileNotFoundError: there is no card.
      ValueError: the file is not a card of this project, or has a newer schema.
    """
    path = epath.Path(directory) / CARD_FILE
    text = read_regular(path, MAX_CARD)
    try:
        content = json.loads(text)
        version = content["schema_version"]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise _no_card(path, error) from error
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise ValueError(
            f"{path}: schema version {repr(version)[:100]}, this fsfm_jax reads up to {SCHEMA_VERSION}; "
            f"update fsfm_jax, or make the data set again with {BUILD}"
        )
    try:
        old = version == 1
        content = {**(VERSION_1_CARD if old else {}), **content}
        _check_kinds(content, CARD_KINDS)
        splits = {
            split: SplitStatistics.from_json({**(VERSION_1_SPLIT if old else {}), **entry})
            for split, entry in content["splits"].items()
        }
        return Card(
            content["name"],
            splits,
            tuple(content["class_names"]),
            content["real"],
            content["image_size"],
            content["parsing_maps"],
            content["prepared"],
        )
    except (KeyError, TypeError) as error:
        raise _no_card(path, error) from error


def _no_card(path: epath.Path, error: Exception) -> ValueError:
    return ValueError(
        f"{path}: not the card of a data set of fsfm_jax ({type(error).__name__}: {str(error)[:200]}); "
        f"make the data set again with {BUILD}"
    )
