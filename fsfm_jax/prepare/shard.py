"""Build one shard: a pure function of its list of items, written atomically.

Every caller (a process of the pool, a worker of Apache Beam) gets the same bytes. Unfinished files are in the folder
`UNFINISHED` of the output. A shard is done once its result exists, which is written last.
"""

import contextlib
import hashlib
import json
import os
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter

from fsfm_jax.data.photo import read_header
from fsfm_jax.data.statistics import UNFINISHED, PixelSums
from fsfm_jax.prepare.example import ExampleEncoder, Face
from fsfm_jax.prepare.faces import DROPPED, FaceMaker, Incident, stored_pixels
from fsfm_jax.prepare.manifests.manifest import Item
from fsfm_jax.prepare.options import Options
from fsfm_jax.text import utf8

# One record per group, since readers access records at random. Photos and maps are already compressed.
WRITER_OPTIONS = "group_size:1,uncompressed"
PROGRESS = "<QQ"


@dataclass(frozen=True)
class ShardJob:
    """The job for shard `index` of `total` of a split; it is small, since it is sent to another process."""

    root: str  # of the download
    directory: str  # of the records
    name: str
    split: str
    index: int
    total: int
    skip: tuple[int, ...] = ()  # positions of items at which a process has died

    def working(self, suffix: str) -> Path:
        """Return the path of an unfinished file of this shard."""
        return Path(self.directory) / UNFINISHED / f"{self.split}-{self.index:05d}{suffix}"

    @property
    def plan(self) -> Path:
        return self.working(".items.jsonl")

    @property
    def result(self) -> Path:
        return self.working(".result.json")

    @property
    def incidents(self) -> Path:
        return self.working(".incidents.jsonl")

    @property
    def digests(self) -> Path:
        return self.working(".digests")

    @property
    def progress(self) -> Path:
        return self.working(".progress")

    @property
    def records(self) -> Path:
        """Return the final path of the shard."""
        template = tfds.core.ShardedFileTemplate(
            data_dir=self.directory, dataset_name=self.name, split=self.split, filetype_suffix="array_record"
        )
        return Path(template.sharded_filepath(shard_index=self.index, num_shards=self.total))

    def is_done(self) -> bool:
        """Return whether the shard and its result exist."""
        return self.result.exists() and self.records.exists()


@dataclass
class ShardResult:
    """The statistics of a finished shard, without its incidents and digests."""

    examples: int = 0
    num_bytes: int = 0
    items: int = 0
    encodings: tuple[str, ...] = ()
    pixel_sums: PixelSums = PixelSums()
    labels: Counter = field(default_factory=Counter)  # records of each label, as text
    dropped: Counter = field(default_factory=Counter)  # by reason
    noted: Counter = field(default_factory=Counter)

    def as_text(self) -> str:
        """Return the result as JSON."""
        # Not `asdict`, which would count the entries of a Counter.
        return json.dumps({**vars(self), "pixel_sums": vars(self.pixel_sums)}, sort_keys=True)

    @classmethod
    def read(cls, path: Path) -> "ShardResult":
        """Read the result from a file."""
        content = json.loads(path.read_text())
        sums = content["pixel_sums"]
        content["pixel_sums"] = PixelSums(sums["pixels"], tuple(sums["total"]), tuple(sums["squares"]))
        for name in ("labels", "dropped", "noted"):
            content[name] = Counter(content[name])
        return cls(**content)


def read_items(path: Path) -> Iterator[Item]:
    """Yield the items of a shard, in order."""
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            yield Item(*json.loads(line))


def item_line(item: Item) -> str:
    """Return an item as a line of text; `read_items` reads it."""
    # Names that are not UTF-8 can only be written as JSON escapes.
    return json.dumps(astuple(item), ensure_ascii=any(utf8(name) != name for name in (item.path, item.video))) + "\n"


def _incident_line(incident: Incident) -> str:
    content = {name: utf8(value) if isinstance(value, str) else value for name, value in asdict(incident).items()}
    return json.dumps(content, ensure_ascii=False, sort_keys=True) + "\n"


def build_shard(job: ShardJob, options: Options, maker: FaceMaker) -> None:
    """Build a shard, unless it is done.

    Raises:
      OSError: the disk is full, or the output cannot be written.
    """
    if job.is_done():
        return
    encode = ExampleEncoder(options.image_size, options.parsing_maps, options.class_names)
    result = ShardResult()
    encodings: set[str] = set()
    # The name has the process id: a leftover process of a killed run must not write to the same file.
    partial = {
        name: job.working(f".{os.getpid()}.{name}.partial") for name in ("records", "incidents", "digests", "result")
    }
    with (
        _writer(partial["records"]) as writer,
        open(partial["incidents"], "w", encoding="utf-8") as incidents,
        open(partial["digests"], "wb") as digests,
        open(job.progress, "wb", buffering=0) as progress,
    ):
        for position, item in enumerate(read_items(job.plan)):
            mark_progress(progress.fileno(), position)
            result.items += 1
            for outcome in _outcomes(job, maker, position, item):
                mark_progress(progress.fileno(), position)
                if isinstance(outcome, Incident):
                    (result.dropped if outcome.outcome == DROPPED else result.noted)[outcome.reason] += 1
                    incidents.write(_incident_line(outcome))
                    continue
                record = encode(outcome)
                writer.write(record)
                digests.write(hashlib.sha256(record).digest())
                result.examples += 1
                result.num_bytes += len(record)
                result.labels[str(outcome.label)] += 1
                result.pixel_sums += PixelSums.of(stored_pixels(outcome.image))
                encodings.add(read_header(outcome.image, outcome.source).encoding)
    result.encodings = tuple(sorted(encodings))
    partial["result"].write_text(result.as_text())
    _publish(job, partial)


@contextlib.contextmanager
def _writer(path: Path) -> Iterator[ArrayRecordWriter]:
    writer = ArrayRecordWriter(str(path), WRITER_OPTIONS)
    try:
        yield writer
    except BaseException:
        with contextlib.suppress(RuntimeError):  # the first error matters
            writer.close()
        raise
    try:
        writer.close()
    except RuntimeError as error:
        # Writing is asynchronous, so a full disk is reported only at the end.
        raise OSError(f"{path}: cannot be written ({error}); fix this and run the same command again") from error


def mark_progress(file: int, position: int) -> None:
    """Record the current item and its process; the file's time is the time of the record."""
    os.pwrite(file, struct.pack(PROGRESS, position, os.getpid()), 0)


def read_progress(job: ShardJob) -> tuple[int, int] | None:
    """Return the position of the current item and its process; None if the shard is not in progress."""
    try:
        return struct.unpack(PROGRESS, job.progress.read_bytes())
    except (FileNotFoundError, struct.error):
        return None


def _outcomes(job: ShardJob, maker: FaceMaker, position: int, item: Item) -> Iterator[Face | Incident]:
    if position in job.skip:
        return iter([Incident(item.path, item.frame, DROPPED, "died")])
    return maker(Path(job.root), item)


def _publish(job: ShardJob, partial: dict[str, Path]) -> None:
    """Give the files their final names, the result last; each is synced to disk first."""
    for name, final in (
        ("incidents", job.incidents),
        ("digests", job.digests),
        ("records", job.records),
        ("result", job.result),
    ):
        sync(partial[name])
        partial[name].replace(final)
    job.progress.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Sync the file to disk, so that a power cut cannot leave a result with an empty shard."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
