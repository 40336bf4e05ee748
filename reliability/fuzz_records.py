"""Untrusted data sets and tables, as targets of the fuzzer: records, their files and cards, predictions, scores."""

import functools
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np

from fsfm_jax import records, regions
from fsfm_jax.data.labels import LabelledRecords
from fsfm_jax.data.metadata import FEATURES, INFO
from fsfm_jax.data.photo import encode_png
from fsfm_jax.data.sources import STORED, RecordSource
from fsfm_jax.data.statistics import Card, PixelSums, SplitStatistics, read_card
from fsfm_jax.detection.prediction_file import read_predictions, write_predictions
from fsfm_jax.detection.score_file import read_scores
from fsfm_jax.prepare.example import Face
from fsfm_jax.prepare.finish import finish
from fsfm_jax.prepare.manifests.manifest import Item, Walk
from fsfm_jax.prepare.options import GIVEN, NONE, Options
from fsfm_jax.prepare.plan import lay_down
from fsfm_jax.prepare.shard import build_shard
from fsfm_jax.prepare.workplace import claim
from reliability.fuzz_judge import Target
from reliability.fuzz_media import placed

METADATA = (FEATURES, INFO)


@functools.cache
def _data_set() -> dict[str, bytes]:
    """Make the files of a data set of two faces, by name."""
    side = records.IMAGE_SIZE
    photo = encode_png(np.full((side, side, 3), 90, np.uint8), 9)
    parsing_map = (np.arange(side * side) // side * regions.NUM_CLASSES // side).astype(np.uint8).reshape(side, side)
    face = Face(photo, parsing_map, "a.png", "a.png", -1, 0, "")
    walk = Walk({"train": [Item("a.png", "a.png", 0), Item("b.png", "b.png", 1)]}, ("real", "fake"), 0)
    options = Options(detector=NONE, parser=GIVEN, class_names=("real", "fake"))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "faces")
        with claim(folder):
            jobs = lay_down(walk, 2, None, folder, {}).jobs(Path(place), folder, "faces")
            for job in jobs:
                build_shard(job, options, lambda root, item: iter([face]))
            finish(folder, "faces", jobs, options, 0, {"shortfalls": []})
        kept = (*METADATA, records.CARD_FILE)
        return {
            path.name: path.read_bytes()
            for path in sorted(folder.iterdir())
            if path.name in kept or ".array_record" in path.name
        }


def _shard_name() -> str:
    return next(name for name in _data_set() if "array_record" in name)


@functools.cache
def _record() -> bytes:
    """Return one record as it is stored in the shard."""
    with tempfile.TemporaryDirectory() as place:
        source = _with(Path(place), {})
        return source._records[0]


def _with(folder: Path, changed: dict[str, bytes]) -> RecordSource:
    """Open the data set in `folder` with other bytes in some of its files."""
    directory = folder / "faces"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for name, data in (_data_set() | changed).items():
        (directory / name).write_bytes(data)
    return RecordSource(directory)


class _Opened(RecordSource):
    """A data set of the one record that it is given."""

    def __init__(self, record: bytes):
        self.name, self._records, self._files, self._ends = "faces", [record], ["faces"], [1]
        self._features = STORED


class _Labelled(LabelledRecords):
    """The same with labels."""

    def __init__(self, record: bytes):
        self.name, self._records, self._length = "faces", [record], 1


def _read_record(data: bytes, folder: Path) -> None:
    try:
        example = _Opened(data)[0]
        assert example[records.PARSING_MAP].shape == (records.IMAGE_SIZE,) * 2
    finally:
        example = _Labelled(data)[0]
        assert type(example[records.VIDEO]) is str and type(example[records.LABEL]) is int


def _read_shard(data: bytes, folder: Path) -> None:
    source = _with(folder, {_shard_name(): data})
    for index in range(len(source)):
        source[index]


def _read_metadata(data: bytes, folder: Path) -> None:
    name = METADATA[data[:1] > b"\x7f"]
    source = _with(folder, {name: data[1:]})
    for index in range(len(source)):
        source[index]


def _metadata() -> list[bytes]:
    return [bytes([255 * place]) + _data_set()[name] for place, name in enumerate(METADATA)]


def _read_card(data: bytes, folder: Path) -> None:
    placed(data, folder, records.CARD_FILE)
    card = read_card(folder)
    assert card.as_text() and all(type(name) is str for name in card.class_names)
    for statistics in card.splits.values():
        assert statistics.examples >= 0
        sums = statistics.pixel_sums + PixelSums()
        if sums.pixels:
            sums.mean_std()


def _cards() -> list[bytes]:
    split = SplitStatistics((2, 1), 99, "f" * 64, "png", PixelSums(3, (1, 2, 3), (1, 4, 9)), "1.0", (2, 1), 3)
    card = Card("faces", {"train": split}, ("real", "fake"), 0, None, False, {"dataset": "folder"})
    old = {key: value for key, value in json.loads(Card("old", {"train": split}).as_text()).items()}
    return [card.as_text().encode(), json.dumps(old | {"schema_version": 1}).encode()]


def _predictions() -> list[bytes]:
    columns = {"video": ["a", 'b "c"'], "label": np.array([0, 1]), "score": np.array([0.25, 1e-9])}
    found = []
    for first, suffix in enumerate((".csv", ".parquet")):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"table{suffix}")
            write_predictions(path, columns)
            found.append(bytes([255 * first]) + path.read_bytes())
    return found


def _read_predictions(data: bytes, folder: Path) -> None:
    suffix = (".csv", ".parquet")[data[:1] > b"\x7f"]
    columns = read_predictions(placed(data[1:], folder, f"table{suffix}"))
    assert len({len(values) for values in columns.values()}) == 1


def _scores() -> list[bytes]:
    framed = 'dataset,video,frame,label,fake\nA,"a, b",0,fake,0.9\nA,"a, b",1,fake,1e-9\nB,007,-1,real,.25\n'
    return [framed.encode(), "real,label,video,dataset\r\n0.75,real,\u00e4,A\r\n".encode("utf-8-sig")]


def _read_scores(data: bytes, folder: Path) -> None:
    for found in read_scores(str(placed(data, folder, "scores.csv"))).sets.values():
        assert len(found.videos) == len(found.real) == len(found.scores) > 0
        assert np.all((found.scores >= 0) & (found.scores <= 1))


JSON_WORDS = (b"null", b"true", b"-1", b"1e999", b"NaN", b"[]", b"{}", b'""', b"9" * 30, b'"\\ud800"', b"[[[[[[[[")
CARD_WORDS = tuple(f'"{name}"'.encode() for name in (
    "schema_version", "splits", "train", "shard_lengths", "pixels", "pixel_sum", "pixel_square_sum", "class_names",
    "real", "image_size", "parsing_maps", "prepared", "class_counts", "dropped", "noted", "items", "fingerprint",
))  # fmt: skip
FEATURE_WORDS = (b'"pythonClassName": ', b'"tensorflow_datasets.core.features.image_feature.Image"', b'"this.that"',
                 b'"antigravity.x"', b'"protoCls"', b'"content"', b'"type"', b'"shape"', b'"dimensions"', b'"encoding"',
                 b'"shardLengths"', b'"filepathTemplate"', b'"moduleName"', b'"fileFormat"', b'"name": "../../evil"',
                 b'"/etc/passwd"', b'"{DATASET}/../{SPLIT}"', b'["-5"]', b'[-5]', b'["18446744073709551616"]',
                 b'"shard_lengths"', b'"num_shards"', b'"numClasses"', b'"splits"', b'"version"')  # fmt: skip
TARGETS = (
    Target("record", _read_record, (ValueError,), lambda: [_record()], (b"image", b"parsing_map", b"region_bits")),
    Target("shard", _read_shard, (ValueError,), lambda: [_data_set()[_shard_name()]], (), 1 << 17),
    Target("metadata", _read_metadata, (ValueError, FileNotFoundError), _metadata, JSON_WORDS + FEATURE_WORDS, 1 << 13),
    Target("card", _read_card, (ValueError,), _cards, JSON_WORDS + CARD_WORDS),
    Target("predictions", _read_predictions, (ValueError,), _predictions, (b'"', b",", b"\r\n", b"PAR1", b"\0")),
    Target("scores", _read_scores, (ValueError,), _scores, (b'"', b",", b"\r\n", b"\xef\xbb\xbf", b"fake", b"1e999")),
)  # fmt: skip
