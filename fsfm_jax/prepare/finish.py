"""Finish a build: make a data set with metadata, report, pictures and card from finished shards.

Every step can be repeated, so a run killed in between ends with the same files when it is resumed. The card is written
last: records without a card are never read.
"""

import hashlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import tensorflow_datasets as tfds
from tensorflow_datasets.core.dataset_info import DatasetIdentity

import fsfm_jax
from fsfm_jax import records
from fsfm_jax.data.statistics import UNFINISHED, Card, PixelSums, SplitStatistics
from fsfm_jax.prepare.contact_sheet import write_contact_sheet
from fsfm_jax.prepare.example import features
from fsfm_jax.prepare.options import Options
from fsfm_jax.prepare.page import PAGE_FILE, page
from fsfm_jax.prepare.shard import ShardJob, ShardResult, sync

TFDS_VERSION = "1.0.0"  # required by TFDS; `records.SCHEMA_VERSION` versions the content


def report_file(split: str) -> str:
    """Return the file name of a split's list of dropped and noted items, one JSON object a line."""
    return f"fsfm_report_{split}.jsonl"


def contact_sheet_file(split: str) -> str:
    """Return the file name of the picture of random faces of a split."""
    return f"fsfm_contact_sheet_{split}.png"


def finish(directory: Path, name: str, jobs: Sequence[ShardJob], options: Options, real: int | None, prepared: dict):
    """Make a data set of the finished shards `jobs` and return its card.

    Raises:
      ValueError: a split has no face.
    """
    by_split: dict[str, list[ShardJob]] = {}
    for job in jobs:
        by_split.setdefault(job.split, []).append(job)
    splits = {split: _statistics(shards, options) for split, shards in by_split.items()}
    for split, statistics in splits.items():
        _join([job.incidents for job in by_split[split]], directory / report_file(split))
        if not statistics.examples:
            raise ValueError(
                f"split {split}: expected faces, found none in {statistics.items} photos and videos, dropped: "
                f"{_counts(statistics.dropped)}; {directory / report_file(split)} names each"
            )
    card = Card(name, splits, options.class_names, real, options.image_size, options.parsing_maps, prepared)
    _write_metadata(directory, card)
    for split in splits:
        write_contact_sheet(directory, split, card, directory / contact_sheet_file(split))
    _write(directory / PAGE_FILE, page(card, {split: contact_sheet_file(split) for split in splits}))
    _write(directory / records.CARD_FILE, card.as_text())
    shutil.rmtree(directory / UNFINISHED)
    return card


def _counts(reasons: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items())) or "nothing"


def _statistics(jobs: Sequence[ShardJob], options: Options) -> SplitStatistics:
    results = [ShardResult.read(job.result) for job in jobs]
    digest = hashlib.sha256()
    for job in jobs:
        digest.update(job.digests.read_bytes())
    labels = sum((result.labels for result in results), Counter())
    return SplitStatistics(
        shard_lengths=tuple(result.examples for result in results),
        num_bytes=sum(result.num_bytes for result in results),
        fingerprint=digest.hexdigest(),
        image_encoding="+".join(sorted({kind for result in results for kind in result.encodings}, reverse=True)),
        pixel_sums=sum((result.pixel_sums for result in results), PixelSums()),
        project_version=fsfm_jax.__version__,
        class_counts=tuple(labels[str(label)] for label in range(len(options.class_names))),
        items=sum(result.items for result in results),
        dropped=dict(sum((result.dropped for result in results), Counter())),
        noted=dict(sum((result.noted for result in results), Counter())),
    )


def _join(parts: Sequence[Path], whole: Path) -> None:
    partial = _partial(whole)
    with open(partial, "wb") as out:
        for part in parts:
            with open(part, "rb") as file:
                shutil.copyfileobj(file, out)
    sync(partial)
    partial.replace(whole)


def _write(path: Path, text: str) -> None:
    partial = _partial(path)
    partial.write_text(text, encoding="utf-8")
    sync(partial)
    partial.replace(path)


def _partial(path: Path) -> Path:
    # In the folder of unfinished files, which is on the same file system.
    return path.parent / UNFINISHED / (path.name + ".partial")


def _write_metadata(directory: Path, card: Card) -> None:
    """Write the files that TFDS reads, `dataset_info.json` and `features.json`, for all splits of `card`."""
    encodings = {split.image_encoding for split in card.splits.values()}
    identity = DatasetIdentity(
        name=card.name, version=tfds.core.Version(TFDS_VERSION), data_dir=str(directory), module_name=""
    )
    encoding = encodings.pop() if len(encodings) == 1 else "png+jpeg"
    info = tfds.core.DatasetInfo(
        builder=identity, features=features(encoding, card.image_size, card.parsing_maps, card.class_names)
    )
    info.set_file_format("array_record")
    info.set_splits(
        tfds.core.splits.SplitDict(
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=list(statistics.shard_lengths),
                num_bytes=statistics.num_bytes,
                filename_template=tfds.core.ShardedFileTemplate(
                    data_dir=str(directory), dataset_name=card.name, split=split, filetype_suffix="array_record"
                ),
            )
            for split, statistics in sorted(card.splits.items())
        )
    )
    with tempfile.TemporaryDirectory(dir=directory / UNFINISHED) as aside:
        info.write_to_directory(aside)
        for path in sorted(Path(aside).iterdir()):
            sync(path)
            path.replace(directory / path.name)
