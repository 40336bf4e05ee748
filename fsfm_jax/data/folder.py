"""Read face photos from a folder in the layout of the official FSFM pretraining data.

    images/NAME.png           face crop of 224x224 (.png, .jpg, .jpeg or .webp)
    parsing_maps/NAME.npy     parsing class of each pixel, `[1, 224, 224] int8` or `[224, 224]`

This suits a few thousand photos. Pack more into records first, which read faster and store their
statistics (`python -m fsfm_jax.prepare.build`).
"""

import hashlib
import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np

from fsfm_jax import records, regions
from fsfm_jax.data.array_file import read_numbers
from fsfm_jax.data.photo import check_photo, decode_image
from fsfm_jax.data.statistics import PixelSums

IMAGES, PARSING_MAPS = "images", "parsing_maps"
PHOTO_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
MAP_SUFFIX = ".npy"
MAX_MAP = 8 * records.IMAGE_SIZE**2  # bytes: a number has at most eight
SHOWN = 10  # files named in an error; all of them are counted


class Offenders:
    """The problems of a folder: the first ten messages, and the count of all."""

    def __init__(self):
        self.count = 0
        self._first: list[str] = []

    def add(self, complaint: str) -> None:
        self.count += 1
        if self.count <= SHOWN:
            self._first.append(complaint)

    def __str__(self) -> str:
        more = [f"... and {self.count - SHOWN} more"] if self.count > SHOWN else []
        return "".join(f"\n  {line}" for line in self._first + more)


def list_photos(directory: str | os.PathLike) -> list[str]:
    """List the file names of the photos of a folder, sorted by stem; each has its parsing map.

    Only names are read and stored, some hundred bytes a photo. Hidden files are skipped.

    Raises:
      FileNotFoundError: the folder or one of its two sub-folders is missing.
      ValueError: there are no photos, or names do not pair up; the message names ten and counts all.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise FileNotFoundError(f"no folder at {directory}; expected one with {IMAGES}/ and {PARSING_MAPS}/")
    for folder in (IMAGES, PARSING_MAPS):
        if not (directory / folder).is_dir():
            raise FileNotFoundError(
                f"{directory} has no folder {folder}; expected {IMAGES}/NAME.png and {PARSING_MAPS}/NAME{MAP_SUFFIX}"
            )
    photos, offenders = {}, Offenders()
    for name in _names(directory / IMAGES):
        stem, suffix = os.path.splitext(name)
        if suffix.lower() not in PHOTO_SUFFIXES:
            offenders.add(f"{IMAGES}/{name} is not a photo ({', '.join(PHOTO_SUFFIXES)}): remove it")
        elif stem in photos:
            offenders.add(f"{IMAGES}/{name} and {IMAGES}/{photos[stem]} share one name: rename one")
        else:
            photos[stem] = name
    maps = set()
    for name in _names(directory / PARSING_MAPS):
        stem, suffix = os.path.splitext(name)
        if suffix != MAP_SUFFIX:
            offenders.add(f"{PARSING_MAPS}/{name} is not a parsing map ({MAP_SUFFIX}): remove it")
        else:
            maps.add(stem)
    for stem in sorted(photos.keys() - maps):
        missing = f"{PARSING_MAPS}/{stem}{MAP_SUFFIX}"
        offenders.add(f"{IMAGES}/{photos[stem]} has no parsing map ({missing}): parse it or remove it")
    for stem in sorted(maps - photos.keys()):
        offenders.add(f"{PARSING_MAPS}/{stem}{MAP_SUFFIX} has no photo in {IMAGES}: add one or remove it")
    if offenders.count:
        raise ValueError(
            f"{directory}: expected every photo to have one parsing map and every parsing map one photo, "
            f"found {offenders.count} unmatched files:{offenders}"
        )
    if not photos:
        raise ValueError(f"{directory}/{IMAGES} is empty; expected photos ({', '.join(PHOTO_SUFFIXES)})")
    return [photos[stem] for stem in sorted(photos)]


def read_photo(directory: str | os.PathLike, photo: str) -> bytes:
    """Return the bytes of a photo file, unchecked."""
    return (Path(directory) / IMAGES / photo).read_bytes()


def read_parsing_map(directory: str | os.PathLike, photo: str) -> np.ndarray:
    """Read the parsing map of a photo of the folder, `[224, 224] uint8`; raise as `load_parsing_map`."""
    return load_parsing_map(Path(directory) / PARSING_MAPS / (os.path.splitext(photo)[0] + MAP_SUFFIX))


def load_parsing_map(path: Path) -> np.ndarray:
    """Read the parsing map in a NumPy file, `[224, 224] uint8`.

    Raises:
      ValueError: the file is not an array, or not a parsing map of the right size and classes.
    """
    try:
        loaded = read_numbers(path, MAX_MAP)
    except (ValueError, OSError) as error:
        raise ValueError(
            f"parsing map {path}: cannot be read as an array: {error}; parse the photo again"
        ) from error
    return regions.check_parsing_map(loaded, records.IMAGE_SIZE, str(path))


class FolderSource:
    """A folder of photos as a random-access source; files are read on access."""

    def __init__(self, directory: str | os.PathLike, name: str, photos: Iterable[str] | None = None):
        """Take all photos of `directory`, or those whose file names are in `photos`, in that order."""
        self.name = name
        self._directory = str(directory)
        self._photos = tuple(list_photos(directory) if photos is None else photos)

    def __len__(self) -> int:
        return len(self._photos)

    def __getitem__(self, index: int) -> dict:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name}: example {index} of {len(self)}")
        photo = self._photos[index]
        parsing_map, data = read_parsing_map(self._directory, photo), read_photo(self._directory, photo)
        check_photo(data, photo)
        return {
            records.IMAGE: data,
            records.PARSING_MAP: parsing_map,
            records.REGION_BITS: regions.patch_bits(parsing_map, records.BITS_PATCH_SIZE),
            records.SOURCE: photo,
        }

    @cached_property
    def pixel_sums(self) -> PixelSums:
        """Sums over all photos, decoded once on first use."""
        photos = ((name, read_photo(self._directory, name)) for name in self._photos)
        return sum((PixelSums.of(decode_image(data, name)) for name, data in photos), PixelSums())

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over names, photos and parsing maps in order."""
        digest = hashlib.sha256()
        for photo in self._photos:
            parsing_map = read_parsing_map(self._directory, photo)
            for part in (photo.encode(), read_photo(self._directory, photo), parsing_map.tobytes()):
                digest.update(len(part).to_bytes(8, "little"))
                digest.update(part)
        return digest.hexdigest()


def _names(directory: Path) -> list[str]:
    # Sorted, since the listing order differs between file systems.
    with os.scandir(directory) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith("."))
