"""Statistics of a data set: exact pixel sums, and the card beside the records that keeps them.

Sums are Python integers, so the mean and deviation of several data sets pooled are those of one data set
holding all the photos, whatever the order of adding. The card is written last: records without a card
were never finished.
"""

import json
import math
import os
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from etils import epath

from fsfm_jax.records import CARD_FILE, SCHEMA_VERSION

# Beside the shards for as long as they are being written; says which ones may be removed after a crash.
UNFINISHED_FILE = "fsfm_unfinished.json"
Channels = tuple[int, int, int]


@dataclass(frozen=True)
class PixelSums:
    """Sums over pixels, one per channel (R, G, B), of values 0..255; `PixelSums()` is the empty sum."""

    pixels: int = 0  # how many pixels were summed in each channel
    total: Channels = (0, 0, 0)
    squares: Channels = (0, 0, 0)

    @classmethod
    def of(cls, image: np.ndarray) -> "PixelSums":
        """Sums of one image, `[H, W, 3] uint8`."""
        # Counting the 256 values first is exact and seven times faster than squaring every pixel.
        counts = [np.bincount(image[..., channel].ravel(), minlength=256) for channel in range(3)]
        values = np.arange(256)
        total, squares = (tuple(int(count @ power) for count in counts) for power in (values, values**2))
        return cls(image.shape[0] * image.shape[1], total, squares)

    def __add__(self, other: "PixelSums") -> "PixelSums":
        if not isinstance(other, PixelSums):
            return NotImplemented
        total = tuple(a + b for a, b in zip(self.total, other.total, strict=True))
        squares = tuple(a + b for a, b in zip(self.squares, other.squares, strict=True))
        return PixelSums(self.pixels + other.pixels, total, squares)

    def mean_std(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Mean and population standard deviation of each channel, pixels scaled to 0..1.

        Raises:
          ValueError: nothing was summed.
        """
        if self.pixels == 0:
            raise ValueError("mean of no pixels: expected the sums of at least one photo")
        means = [Fraction(total, 255 * self.pixels) for total in self.total]
        seconds = [Fraction(square, 255**2 * self.pixels) for square in self.squares]
        # Subtracted as fractions: in floats a nearly constant channel would lose all its digits.
        stds = [math.sqrt(second - mean**2) for second, mean in zip(seconds, means, strict=True)]
        return tuple(map(float, means)), tuple(stds)


@dataclass(frozen=True)
class SplitStatistics:
    """What the card says about one split."""

    shard_lengths: tuple[int, ...]  # records of each shard, in order
    num_bytes: int  # of all serialised records
    fingerprint: str  # SHA-256 over the records in order, each after its length as 8 bytes, little endian
    image_encoding: str  # "png", "jpeg" or "png+jpeg"
    pixel_sums: PixelSums  # over the decoded photos, as they are stored
    project_version: str  # of the fsfm_jax that wrote the split

    @property
    def examples(self) -> int:
        return sum(self.shard_lengths)

    def as_json(self) -> dict:
        """The split's entry of the card."""
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
        }

    @classmethod
    def from_json(cls, entry: dict) -> "SplitStatistics":
        """Inverse of `as_json`; KeyError or TypeError if `entry` is something else."""
        sums = PixelSums(entry["pixels"], tuple(entry["pixel_sum"]), tuple(entry["pixel_square_sum"]))
        return cls(
            tuple(entry["shard_lengths"]),
            entry["num_bytes"],
            entry["fingerprint"],
            entry["image_encoding"],
            sums,
            entry["project_version"],
        )


@dataclass(frozen=True)
class Card:
    """What is known about a records directory: its name and its finished splits."""

    name: str
    splits: dict[str, SplitStatistics]

    def as_text(self) -> str:
        """The card as JSON with sorted keys: the same records give the same bytes."""
        splits = {split: statistics.as_json() for split, statistics in self.splits.items()}
        content = {"schema_version": SCHEMA_VERSION, "name": self.name, "splits": splits}
        return json.dumps(content, indent=2, sort_keys=True) + "\n"


def read_card(directory: str | os.PathLike) -> Card:
    """Reads the card of a records directory.

    Raises:
      FileNotFoundError: no card there.
      ValueError: not a card of this project, or of a newer schema.
    """
    path = epath.Path(directory) / CARD_FILE
    try:
        content = json.loads(path.read_text())
        version = content["schema_version"]
        if not isinstance(version, int) or version > SCHEMA_VERSION:
            raise ValueError(
                f"{path}: schema version {version!r}, this fsfm_jax reads up to {SCHEMA_VERSION}; "
                "update fsfm_jax, or make the data set again with python -m fsfm_jax.prepare.pack"
            )
        splits = {split: SplitStatistics.from_json(entry) for split, entry in content["splits"].items()}
        return Card(content["name"], splits)
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: not the card of a data set of fsfm_jax ({type(error).__name__}: {error}); "
            "make the data set again with python -m fsfm_jax.prepare.pack"
        ) from error
