"""Open random-access sources of faces from data set specs.

    PATH[:SPLIT]                a records directory (`prepare.build`); the split is `train` if none is given
    samples[:train|:heldout]    the 24 bundled faces, or 19 and 5 of them
    synthetic:COUNT[:SEED]      procedural faces, drawn on demand; the seed is 0 if none is given

A mixture is a comma-separated list of these, with `@WEIGHT` after each or after none. Sources can be
pickled and read from several threads. They return the encoded photo; the reader decodes it.
"""

import math
import os
import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Protocol

import tensorflow_datasets as tfds
from etils import epath

from fsfm_jax import records
from fsfm_jax.data.drawing import SyntheticSource
from fsfm_jax.data.example import DAMAGE, parse
from fsfm_jax.data.folder import IMAGES, PARSING_MAPS, FolderSource, list_photos
from fsfm_jax.data.metadata import FEATURES, INFO, check_metadata
from fsfm_jax.data.photo import check_photo
from fsfm_jax.data.provenance import Provenance
from fsfm_jax.data.statistics import BUILD, UNFINISHED, PixelSums, read_card
from fsfm_jax.text import did_you_mean, plain

SAMPLES = Path(__file__).parent / "samples" / "pretrain"
# All faces of two of the photographs, so that no training face was taken at the same moment.
HELD_OUT_SAMPLES = frozenset(f"mit_faceapi_sample{part}.png" for part in ("2_1", "6_1", "6_2", "6_3", "6_4"))
FORMS = "a records directory PATH[:SPLIT], samples[:train|:heldout] or synthetic:COUNT[:SEED]"
STORED = (records.IMAGE, records.PARSING_MAP, records.REGION_BITS, records.SOURCE)
SPLIT_PATTERN = re.compile(r"[A-Za-z]\w*")


class Source(Protocol):
    """The interface of a source of faces; `grain.MapDataset.source` takes one.

    An example is a dict: `records.IMAGE` bytes of a photo that `check_photo` accepted, `records.PARSING_MAP`
    `[224, 224] uint8` (perhaps read-only), `records.REGION_BITS` `[196] uint16`, `records.SOURCE` text for messages.
    """

    name: str
    fingerprint: str  # differs when the examples or their order differ
    pixel_sums: PixelSums

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict: ...


def open_source(spec: str) -> Source:
    """Open the data set that `spec` names; the forms are listed at the top of this file.

    Raises:
      ValueError: the spec is malformed, the split is unknown, or the folder is not a finished data set.
      FileNotFoundError: the folder or a shard of it does not exist.
    """
    spec = spec.strip()
    head, colon, tail = spec.partition(":")
    if head == "synthetic":
        return _open_synthetic(spec)
    if head == "samples":
        return _open_samples(tail if colon else None)
    path, split = path_and_split(spec)
    return RecordSource(path, split)


def open_mixture(text: str, opened=open_source) -> list[tuple[Source, float | None]]:
    """Open comma-separated specs, all `SPEC` or all `SPEC@WEIGHT`; the weight is None if not given.

    `opened` opens one spec; labelled sources have their own opener (`data.labels`).

    Raises:
      ValueError: an entry is empty, a weight is not a positive number, or only some entries have weights.
    """
    entries = [_spec_and_weight(entry.strip(), text) for entry in text.split(",")]
    bare = [spec for spec, weight in entries if weight is None]
    if bare and len(bare) < len(entries):
        raise ValueError(
            f"data {text!r}: expected a weight for every data set or for none, "
            f"found none for {', '.join(bare)}; write SPEC@WEIGHT"
        )
    return [(opened(spec), weight) for spec, weight in entries]


class RecordSource:
    """One split of a records directory; a read takes about 150 microseconds."""

    def __init__(self, directory: str | os.PathLike, split: str = "train", features: Sequence[str] = STORED):
        """Open a split; `features` are the features of its examples, names of `records.FEATURES`."""
        path = epath.Path(directory)
        _check_directory(path)
        card = read_card(path)
        if split not in card.splits:
            raise ValueError(
                f"data set {path}: no split {split!r}, its splits are {', '.join(sorted(card.splits))}"
                f"{did_you_mean(split, card.splits)}"
            )
        if not card.parsing_maps or card.image_size != records.IMAGE_SIZE:
            raise ValueError(
                f"data set {path}: expected crops of {records.IMAGE_SIZE}x{records.IMAGE_SIZE} with parsing maps, "
                f"found {card.image_size or 'their own size'}, {'with' if card.parsing_maps else 'without'} maps; "
                f"make it with {BUILD} --image_size={records.IMAGE_SIZE} --parser=embedded"
            )
        statistics = card.splits[split]
        self.name, self._features = f"{card.name}:{split}", tuple(features)
        self.fingerprint, self.pixel_sums = statistics.fingerprint, statistics.pixel_sums
        self.provenance = Provenance.from_card(card, split)
        builder = open_builder(path, split, statistics.shard_lengths)
        self._files = [os.fspath(file) for file in builder.info.splits[split].filepaths]
        self._ends = list(accumulate(statistics.shard_lengths))
        # Parsed below, since the general deserializer of TFDS takes twice the time.
        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        self._records = builder.as_data_source(split, deserialize_method=raw)

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> dict:
        """Read one example.

        Raises:
          ValueError: the record is damaged; the message names data set, index and file.
        """
        return self.read(index, self._features)

    def read(self, index: int, features: Sequence[str]) -> dict:
        """Read some features of one example; raise ValueError if the record is damaged."""
        _check_index(self, index)
        try:
            example = parse(self._records[index], features)
            if records.IMAGE in example:
                check_photo(example[records.IMAGE], example[records.SOURCE])
            return example
        except DAMAGE as error:
            raise ValueError(
                f"data set {self.name}, example {index} in {self._files[bisect_right(self._ends, index)]}: "
                f"cannot be read ({one_line(error)}); copy that file again, or make the data set with {BUILD}"
            ) from error


def open_builder(path: epath.Path, split: str, lengths: tuple[int, ...]) -> tfds.core.DatasetBuilder:
    """Open the records of a split through TFDS, after validating the metadata in their folder.

    Args:
      lengths: number of examples in each shard, from the card.

    Raises:
      FileNotFoundError: metadata or shards are missing.
      ValueError: `prepare` would not have written the metadata, or they contradict the card.
    """
    _check_present(path, [os.fspath(path / file) for file in (INFO, FEATURES)])
    check_metadata(path)
    try:
        builder = tfds.builder_from_directory(path)
        found = builder.info.splits[split]
        suffix, told, files = builder.info.file_format.file_suffix, found.shard_lengths, found.filepaths
    except Exception as error:  # TFDS does not validate its input: garbage may raise any error
        raise ValueError(
            f"data set {path}: {INFO} and {FEATURES} do not describe its split {split} "
            f"({type(error).__name__}: {one_line(error)}); copy them again, or make it with {BUILD}"
        ) from error
    if suffix != "array_record" or not told:
        raise ValueError(
            f"data set {path}: expected {INFO} to describe shards of array_record, found {len(told)} of {suffix}; "
            f"make it with {BUILD}"
        )
    if tuple(told) != lengths:
        raise ValueError(
            f"data set {path}: its card lists shards of {list(lengths)} examples, dataset_info.json of {told}; "
            f"copy the folder again, or make it with {BUILD}"
        )
    # The metadata are valid; also check that the shards they name are in this folder.
    outside = [os.fspath(file) for file in files if file.parent not in (path, path.expanduser())]
    if outside:
        raise ValueError(f"data set {path}: expected shards in this folder, found {outside[0]!r}; make it with {BUILD}")
    _check_present(path, [os.fspath(file) for file in files])
    return builder


def one_line(error: Exception) -> str:
    """Return the text of a foreign error on one line."""
    return plain(" ".join(str(error).split())[:500])


def _check_index(source: Source, index: int) -> None:
    if not 0 <= index < len(source):
        raise IndexError(f"{source.name}: example {index} of {len(source)}")


def _check_directory(path: epath.Path) -> None:
    """Raise an error unless `path` is a directory with a card."""
    if not path.is_dir():
        raise FileNotFoundError(
            f"no data set at {path}; make one with {BUILD} --dataset=NAME --input=FOLDER --output={path}. "
            f"Expected {FORMS}"
        )
    if (path / records.CARD_FILE).exists():
        return
    if (path / UNFINISHED).exists():
        raise ValueError(f"data set {path} is unfinished, its build was interrupted; run {BUILD} again to resume it")
    if (path / IMAGES).is_dir() and (path / PARSING_MAPS).is_dir():
        raise ValueError(
            f"{path} is a folder of photos; make records of it first: "
            f"{BUILD} --dataset=cropped_and_parsed --input={path} --output=DIRECTORY"
        )
    raise ValueError(
        f"{path} has no {records.CARD_FILE}: not a data set of fsfm_jax, or its copy is not complete; "
        f"copy it again or make one with {BUILD}"
    )


def _check_present(path: epath.Path, files: list[str]) -> None:
    missing = [file for file in files if not epath.Path(file).exists()]
    if missing:
        raise FileNotFoundError(
            f"data set {path}: {len(missing)} of {len(files)} files are missing, first {missing[0]}; "
            f"copy the folder again, or make it with {BUILD}"
        )


def _open_synthetic(spec: str) -> SyntheticSource:
    match = re.fullmatch(r"synthetic:(\d+)(?::(\d+))?", spec)
    if not match or int(match[1]) == 0:
        raise ValueError(
            f"data {spec!r}: expected synthetic:COUNT[:SEED] with COUNT at least 1, such as synthetic:1000"
        )
    return SyntheticSource(int(match[1]), int(match[2] or 0))


def _open_samples(split: str | None) -> FolderSource:
    photos = list_photos(SAMPLES)
    choices = {
        None: photos,
        "train": [photo for photo in photos if photo not in HELD_OUT_SAMPLES],
        "heldout": [photo for photo in photos if photo in HELD_OUT_SAMPLES],
    }
    if split not in choices:
        raise ValueError(
            f"data samples: no split {split!r}, its splits are heldout, train"
            f"{did_you_mean(split, ('heldout', 'train'))}; plain samples means both"
        )
    return FolderSource(SAMPLES, "samples" if split is None else f"samples:{split}", choices[split])


def path_and_split(spec: str) -> tuple[str, str]:
    """Split `PATH[:SPLIT]` into path and split; the colon of `gs://` and colons before a slash belong to the path."""
    path, colon, split = spec.rpartition(":")
    if not colon or "/" in split or Path(spec).is_dir():
        path, split = spec, "train"
    if not path or path.endswith(":") or not SPLIT_PATTERN.fullmatch(split):
        raise ValueError(f"data {spec!r}: expected {FORMS}; a split is a name such as train")
    return path, split


def _spec_and_weight(entry: str, text: str) -> tuple[str, float | None]:
    spec, at, weight = entry.rpartition("@")
    if not at or "/" in weight:  # an @ within a path
        spec, weight = entry, None
    if not spec:
        raise ValueError(f"data {text!r}: found an entry without a data set; expected SPEC[@WEIGHT],...")
    if weight is None:
        return spec, None
    try:
        value = float(weight)
    except ValueError:
        value = math.nan
    if not (0 < value < math.inf):
        raise ValueError(f"data {text!r}: weight {weight!r} of {spec}: expected a positive number")
    return spec, value
