"""Records: one split of a data set as TFDS features in ArrayRecord shards, without TensorFlow.

A folder is complete as soon as it has its card, and the card is written last. Until then the shards have
temporary names and a note (`UNFINISHED_FILE`) tells what is being written, so that what a killed run left
behind is recognised, never read, and replaced by the next run. The same input gives the same bytes.

Of `data`, the tier beside this one, only its leaves `photo` and `statistics` are imported.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Container
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.core.dataset_info import DatasetIdentity
from tensorflow_datasets.core.example_serializer import ExampleSerializer

import fsfm_jax
from fsfm_jax import records, regions
from fsfm_jax.data.photo import check_photo, decode_image
from fsfm_jax.data.statistics import UNFINISHED_FILE, Card, PixelSums, SplitStatistics, read_card

# One record per group: readers pick records at random. Photos and maps come compressed already.
WRITER_OPTIONS = "group_size:1,uncompressed"
PARTIAL_SUFFIX, ASIDE_PREFIX = ".partial", ".metadata-"
TFDS_VERSION = "1.0.0"  # TFDS asks for one; what the records hold is told by `records.SCHEMA_VERSION`
NAME_PATTERN = re.compile(r"[a-z][a-z0-9_]*")


def features(image_encoding: str) -> tfds.features.FeaturesDict:
    """The features of a record; `image_encoding` as in the card: "png", "jpeg" or "png+jpeg"."""
    size, patches = records.IMAGE_SIZE, (records.IMAGE_SIZE // records.BITS_PATCH_SIZE) ** 2
    # To TFDS no encoding means that it may differ from record to record.
    encoding = None if image_encoding == "png+jpeg" else image_encoding
    return tfds.features.FeaturesDict(
        {
            records.IMAGE: tfds.features.Image(shape=(size, size, 3), encoding_format=encoding),
            records.PARSING_MAP: tfds.features.Tensor(shape=(size, size), dtype=np.uint8, encoding="zlib"),
            records.REGION_BITS: tfds.features.Tensor(shape=(patches,), dtype=np.uint16),
            records.SOURCE: tfds.features.Text(),
        }
    )


def check_name(name: str, what: str) -> str:
    """Returns `name` if it can be part of a shard's file name; else ValueError saying `what` it was for."""
    if not NAME_PATTERN.fullmatch(name):
        raise ValueError(f"{what} {name!r}: expected lower-case letters, digits and _, a letter first; choose another")
    return name


class SplitWriter:
    """Writes one split into a directory; leaving the context without an error finishes the split.

        with SplitWriter("out", "faces", "train", examples_per_shard=8192) as writer:
            writer.add(photo_bytes, parsing_map, "0001.png")
        print(writer.statistics)

    The directory may hold other, finished splits of the same data set.
    """

    statistics: SplitStatistics | None = None  # set when the split is finished

    def __init__(self, directory: str | os.PathLike, name: str, split: str, examples_per_shard: int):
        """Checks everything that can be checked without touching the directory.

        Raises:
          ValueError: a name that cannot be a file name, or fewer than one example per shard; the directory
            holds a data set of another name.
          FileExistsError: the split is there already, or the directory holds something else.
        """
        if examples_per_shard < 1:
            raise ValueError(f"examples_per_shard: expected at least 1, found {examples_per_shard}")
        self._directory = Path(directory)
        self._name, self._split = check_name(name, "name of the data set"), check_name(split, "split")
        self._examples_per_shard = examples_per_shard
        _check_target(self._directory, name, split)
        self._features = features("png+jpeg")
        self._serializer = ExampleSerializer(self._features.get_serialized_info())
        self._shard: ArrayRecordWriter | None = None
        self._shard_lengths: list[int] = []
        self._encodings: set[str] = set()
        self._digest, self._num_bytes, self._sums = hashlib.sha256(), 0, PixelSums()

    def __enter__(self) -> "SplitWriter":
        self._directory.mkdir(parents=True, exist_ok=True)
        self._note = open(self._directory / UNFINISHED_FILE, "a+")
        try:
            # Held while writing; it goes with the process, however that ends.
            fcntl.flock(self._note, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._finished = _check_target(self._directory, self._name, self._split)
            self._note.seek(0)
            _remove_leftovers(self._directory, self._note.read(), self._finished)
            self._note.truncate(0)
            self._note.write(json.dumps({"name": self._name, "split": self._split}, sort_keys=True) + "\n")
            self._note.flush()
        except BlockingIOError as error:
            self._note.close()
            raise FileExistsError(
                f"{self._directory}: another process is writing records here; wait for it or choose another folder"
            ) from error
        except BaseException:
            self._note.close()
            raise
        return self

    def __exit__(self, error_type, error, traceback) -> None:
        try:
            if self._shard is not None:
                self._shard.close()
            if error_type is None:
                self._finish()
        finally:
            self._note.close()

    def add(self, image: bytes, parsing_map: np.ndarray, source: str) -> None:
        """Appends one record.

        Args:
          image: a whole PNG or JPEG of 224x224 with three channels of 8 bits; stored as it is.
          parsing_map: `[224, 224]` or `[1, 224, 224]` integer, classes of `regions.CLASSES`.
          source: where the face came from, for messages.

        Raises:
          ValueError: a photo or parsing map that is not as above.
        """
        header = check_photo(image, source)
        if header.encoding not in ("png", "jpeg") or not header.plain:
            raise ValueError(
                f"photo {source}: expected PNG or JPEG with three channels of 8 bits, found another kind of "
                f"{header.encoding.upper()}; decode it and store it as PNG"
            )
        parsing_map = regions.check_parsing_map(parsing_map, records.IMAGE_SIZE, source)
        sums = PixelSums.of(decode_image(image, source))
        example = {
            records.IMAGE: image,
            records.PARSING_MAP: parsing_map,
            records.REGION_BITS: regions.patch_bits(parsing_map, records.BITS_PATCH_SIZE),
            records.SOURCE: source,
        }
        encoded = self._serializer.get_tf_example(self._features.encode_example(example))
        # The order of a protobuf map is left open unless asked for.
        record = encoded.SerializeToString(deterministic=True)
        self._append(record)
        self._encodings.add(header.encoding)
        self._sums += sums

    def _append(self, record: bytes) -> None:
        if not self._shard_lengths or self._shard_lengths[-1] == self._examples_per_shard:
            if self._shard is not None:
                self._shard.close()
            self._shard = ArrayRecordWriter(str(self._partial(len(self._shard_lengths))), WRITER_OPTIONS)
            self._shard_lengths.append(0)
        self._shard.write(record)
        self._shard_lengths[-1] += 1
        self._digest.update(len(record).to_bytes(8, "little"))
        self._digest.update(record)
        self._num_bytes += len(record)

    def _partial(self, shard: int) -> Path:
        return self._directory / f"{_shard_prefix(self._name, self._split)}{shard:05d}{PARTIAL_SUFFIX}"

    def _finish(self) -> None:
        if not self._shard_lengths:
            raise ValueError(f"{self._directory}: split {self._split} got no examples; expected at least one")
        self.statistics = SplitStatistics(
            shard_lengths=tuple(self._shard_lengths),
            num_bytes=self._num_bytes,
            fingerprint=self._digest.hexdigest(),
            image_encoding="+".join(sorted(self._encodings, reverse=True)),
            pixel_sums=self._sums,
            project_version=fsfm_jax.__version__,
        )
        template = _shard_template(self._directory, self._name, self._split)
        shards = len(self._shard_lengths)
        for shard in range(shards):
            _sync(self._partial(shard))
            self._partial(shard).rename(template.sharded_filepath(shard_index=shard, num_shards=shards))
        card = Card(self._name, {**self._finished, self._split: self.statistics})
        _write_metadata(self._directory, card)
        _write_card(self._directory, card)
        (self._directory / UNFINISHED_FILE).unlink()


def _shard_prefix(name: str, split: str) -> str:
    return f"{name}-{split}.array_record-"


def _shard_template(directory: Path, name: str, split: str) -> tfds.core.ShardedFileTemplate:
    return tfds.core.ShardedFileTemplate(
        data_dir=str(directory), dataset_name=name, split=split, filetype_suffix="array_record"
    )


def _check_target(directory: Path, name: str, split: str) -> dict[str, SplitStatistics]:
    """The finished splits of `directory`; raises if `split` cannot be written there."""
    if not directory.exists():
        return {}
    if not directory.is_dir():
        raise FileExistsError(f"{directory} is a file; expected a folder to write records into")
    if (directory / records.CARD_FILE).exists():
        card = read_card(directory)
        if card.name != name:
            raise ValueError(f"{directory}: expected the data set {name!r}, found {card.name!r}; choose another folder")
        if split in card.splits:
            raise FileExistsError(
                f"{directory} holds a finished split {split!r} already; choose another folder or split, "
                "or remove that folder first"
            )
        return card.splits
    if not (directory / UNFINISHED_FILE).exists() and any(directory.iterdir()):
        raise FileExistsError(
            f"{directory} is not empty and holds no data set of fsfm_jax; choose a new or an empty folder"
        )
    return {}


def _remove_leftovers(directory: Path, note: str, finished: Container[str]) -> None:
    """Removes what the run which left `note` was writing when it was killed."""
    try:
        unfinished = json.loads(note)
        name, split = unfinished["name"], unfinished["split"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return  # killed while writing the note, before any shard
    for path in sorted(directory.iterdir()):
        # A finished split is left alone: that run was killed between its card and removing the note.
        if path.name.startswith(_shard_prefix(name, split)) and split not in finished:
            path.unlink()
        elif path.name.startswith(ASIDE_PREFIX):
            shutil.rmtree(path)


def _write_metadata(directory: Path, card: Card) -> None:
    """Writes what TFDS reads, `dataset_info.json` and `features.json`, for all splits of `card`."""
    encodings = {split.image_encoding for split in card.splits.values()}
    identity = DatasetIdentity(
        name=card.name, version=tfds.core.Version(TFDS_VERSION), data_dir=str(directory), module_name=""
    )
    info = tfds.core.DatasetInfo(
        builder=identity, features=features(encodings.pop() if len(encodings) == 1 else "png+jpeg")
    )
    info.set_file_format("array_record")
    info.set_splits(
        tfds.core.splits.SplitDict(
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=list(statistics.shard_lengths),
                num_bytes=statistics.num_bytes,
                filename_template=_shard_template(directory, card.name, split),
            )
            for split, statistics in sorted(card.splits.items())
        )
    )
    # Written aside and moved: other splits may be read meanwhile.
    with tempfile.TemporaryDirectory(dir=directory, prefix=ASIDE_PREFIX) as aside:
        info.write_to_directory(aside)
        for path in sorted(Path(aside).iterdir()):
            _sync(path)
            path.replace(directory / path.name)


def _write_card(directory: Path, card: Card) -> None:
    partial = directory / (records.CARD_FILE + PARTIAL_SUFFIX)
    partial.write_text(card.as_text())
    _sync(partial)
    partial.replace(directory / records.CARD_FILE)


def _sync(path: Path) -> None:
    """Waits until the file is on the disk, lest a power cut leaves a card beside empty shards."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
