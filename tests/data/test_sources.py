import json
import pickle
import shutil
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from prepared import records_of_faces
from tensorflow_datasets.proto import tf_example_pb2

from fsfm_jax import records, regions
from fsfm_jax.data import photo, sources
from fsfm_jax.data.folder import FolderSource
from fsfm_jax.data.masking import MaskSpec
from fsfm_jax.data.photo import decode_image, encode_png
from fsfm_jax.data.sources import open_mixture, open_source
from fsfm_jax.data.statistics import Card, PixelSums, SplitStatistics, read_card
from fsfm_jax.data.stream import StreamSpec, load_example
from fsfm_jax.data.views import WHOLE

ROOT = Path(__file__).parents[2]
KEYS = {records.IMAGE, records.PARSING_MAP, records.REGION_BITS, records.SOURCE}


def face(seed: int, index: int, size: int = 224) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([seed, index])
    blocks = rng.integers(0, 256, (16, 16, 3), np.uint8), rng.integers(0, 11, (16, 16), np.uint8)
    return tuple(np.repeat(np.repeat(block, size // 16, 0), size // 16, 1) for block in blocks)


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> Path:
    """Splits train (7 faces in shards of 3, 3, 1) and heldout (2)."""
    directory = tmp_path_factory.mktemp("records") / "faces"
    splits = {}
    for seed, (split, count) in enumerate((("train", 7), ("heldout", 2))):
        drawn = [face(seed, index) for index in range(count)]
        splits[split] = [
            (encode_png(image, 1), parsing_map, f"{split} {index}") for index, (image, parsing_map) in enumerate(drawn)
        ]
    records_of_faces(directory, splits, per_shard=3)
    return directory


@pytest.fixture
def copied(packed, tmp_path) -> Path:
    return Path(shutil.copytree(packed, tmp_path / "copied"))


@pytest.fixture
def stub_faces(monkeypatch):
    monkeypatch.setattr("fsfm_jax.data.drawing.synthetic_face", face)


def same(left: dict, right: dict) -> bool:
    return left.keys() == right.keys() and all(np.array_equal(left[key], right[key]) for key in left)


def check_example(example: dict) -> None:
    assert set(example) == KEYS
    assert type(example[records.IMAGE]) is bytes and type(example[records.SOURCE]) is str
    parsing_map, bits = example[records.PARSING_MAP], example[records.REGION_BITS]
    assert parsing_map.shape == (224, 224) and parsing_map.dtype == np.uint8 and parsing_map.max() <= 10
    assert bits.shape == (196,) and bits.dtype == np.uint16
    np.testing.assert_array_equal(bits, regions.patch_bits(parsing_map, 16))
    assert decode_image(example[records.IMAGE], "a").shape == (224, 224, 3)


# Pixel statistics.


def test_pixel_sums_are_those_of_numpy_pooled_exactly_for_sets_of_unequal_size():
    image = np.random.default_rng(0).integers(0, 256, (31, 17, 3), np.uint8)
    sums, flat = PixelSums.of(image), image.reshape(-1, 3).astype(object)
    assert sums == PixelSums(31 * 17, tuple(flat.sum(0)), tuple((flat**2).sum(0)))
    assert all(type(value) is int for value in (sums.pixels, *sums.total, *sums.squares))
    mean, std = sums.mean_std()
    np.testing.assert_allclose(mean, (image / 255).mean((0, 1)), rtol=1e-13)
    np.testing.assert_allclose(std, (image / 255).std((0, 1)), rtol=1e-13)
    rng = np.random.default_rng(1)
    images = [rng.integers(low, low + 60, (height, 9, 3), np.uint8) for low, height in ((0, 5), (190, 50), (90, 1))]
    pooled = PixelSums()
    for image in images:
        pooled = pooled + PixelSums.of(image)
    assert pooled == PixelSums.of(np.concatenate(images))
    assert pooled == sum(reversed([PixelSums.of(image) for image in images]), PixelSums())
    mean_of_means = np.mean([PixelSums.of(image).mean_std()[0] for image in images], 0)
    assert not np.allclose(pooled.mean_std()[0], mean_of_means, rtol=0.1)


def test_deviation_keeps_its_digits_where_floats_would_not():
    # 10**15 pixels of value 255 and one of 254: the deviation is 1/255 * sqrt(n) / (n + 1).
    count = 10**15
    sums = PixelSums(count + 1, (255 * count + 254,) * 3, (255**2 * count + 254**2,) * 3)
    np.testing.assert_allclose(sums.mean_std()[1], np.sqrt(count) / (count + 1) / 255, rtol=1e-12)
    assert PixelSums(4, (40,) * 3, (400,) * 3).mean_std() == ((10 / 255,) * 3, (0.0,) * 3)
    with pytest.raises(ValueError, match="mean of pixels: .* found none"):
        PixelSums().mean_std()


def test_card_round_trip(tmp_path):
    sums = PixelSums(2**70, (1, 2**70, 3 * 2**70), (1, 2**71, 10 * 2**70))  # beyond 64 bits
    split = SplitStatistics((3, 3, 1), 12345, "ab" * 32, "png", sums, "0.1.0")
    card = Card("faces", {"train": split, "heldout": split})
    (tmp_path / records.CARD_FILE).write_text(card.as_text())
    assert read_card(tmp_path) == card and split.examples == 7


# Records.


@pytest.mark.parametrize("spec", ["records", "samples:heldout", "synthetic:1"])
def test_a_photo_is_checked_once(packed, monkeypatch, spec):
    """From the record to the batch; a drawn one need not be."""
    source, checked, read_header = open_source(str(packed) if spec == "records" else spec), [], photo.read_header

    def noted(data, name):
        checked.append(name)
        return read_header(data, name)

    monkeypatch.setattr(photo, "read_header", noted)
    mask = MaskSpec("crfr_p", 0.75, "image", "exact")
    loaded = load_example(StreamSpec(0, 1, 16, WHOLE, mask, 1, False, 0, 0), source[0] | {records.POSITION: 0})
    assert loaded[records.IMAGE].shape == (224, 224, 3)
    assert len(checked) == (spec != "synthetic:1")


def test_records_give_what_was_written(packed):
    for seed, (split, count) in enumerate((("train", 7), ("heldout", 2))):
        source = open_source(f"{packed}:{split}")
        assert source.name == f"faces:{split}" and len(source) == count
        for index in range(count):
            example, (image, parsing_map) = source[index], face(seed, index)
            check_example(example)
            np.testing.assert_array_equal(decode_image(example[records.IMAGE], "a"), image)
            np.testing.assert_array_equal(example[records.PARSING_MAP], parsing_map)
            assert example[records.SOURCE] == f"{split} {index}"
        assert source.pixel_sums == sum((PixelSums.of(face(seed, i)[0]) for i in range(count)), PixelSums())
        assert source.fingerprint == read_card(packed).splits[split].fingerprint
    assert same(open_source(str(packed))[6], open_source(f"{packed}:train")[6])


@pytest.mark.parametrize("spec", ["records", "samples:heldout", "synthetic:9:4"])
def test_sources_can_be_pickled_and_indexed_within_bounds(packed, spec):
    source = open_source(str(packed) if spec == "records" else spec)
    before = source[1]
    other = pickle.loads(pickle.dumps(source))
    assert (other.name, other.fingerprint, len(other)) == (source.name, source.fingerprint, len(source))
    assert other.pixel_sums == source.pixel_sums
    assert same(other[1], before) and same(other[np.int64(1)], before) and not same(other[0], before)
    for index in (-1, len(source)):
        with pytest.raises(IndexError, match=f"{source.name}: example {index} of {len(source)}"):
            source[index]
    assert len(list(source)) == len(source)


def test_reads_in_threads_equal_serial_reads(packed):
    serial = [open_source(str(packed))[index] for index in range(7)]
    source = open_source(str(packed))  # its files are not opened yet
    order = np.random.default_rng(0).integers(0, 7, 300).tolist()
    with ThreadPoolExecutor(8) as pool:
        for index, example in zip(order, pool.map(source.__getitem__, order), strict=True):
            assert same(example, serial[index])


def shard(directory: Path, index: int) -> Path:
    return directory / f"faces-train.array_record-0000{index}-of-00003"


def test_bad_bytes_on_disk_are_told_with_data_set_index_and_file(copied):
    content = bytearray(shard(copied, 1).read_bytes())
    middle = content.rindex(b"IEND")  # within the photo of the shard's last example
    content[middle - 100] ^= 1
    shard(copied, 1).write_bytes(bytes(content))
    source = open_source(str(copied))
    assert source[6][records.SOURCE] == "train 6"
    with pytest.raises(ValueError) as caught:
        source[5]
    text = str(caught.value)
    assert "data set faces:train, example 5 in " in text and str(shard(copied, 1)) in text
    assert "hash mismatch" in text and "copy that file again" in text


@pytest.mark.parametrize("content", [b"", b"0" * 100_000])
def test_shard_that_is_no_shard_is_told(copied, content):
    shard(copied, 2).write_bytes(content)
    with pytest.raises(ValueError, match="data set faces:train, example 6 in .*00002-of-00003: cannot be read"):
        open_source(str(copied))[6]


def put(name: str, value: bytes):
    return lambda feature: feature[name].bytes_list.value.__setitem__(0, value)


@pytest.mark.parametrize("spoil, text", [
        (put(records.IMAGE, encode_png(face(0, 6)[0], 1)[:-5]), "photo train 6: truncated"),
        (lambda feature: feature.__delitem__(records.IMAGE), ""),
        (put(records.PARSING_MAP, bytes(50176)), "Error -3 while decompressing"),
        (put(records.PARSING_MAP, zlib.compress(bytes(10**8))), "parsing_map: expected 50176 numbers, found 50177"),
        (put(records.PARSING_MAP, zlib.compress(bytes(50175) + b"\x0b")), r"parsing_map: expected 0..10, found 0..11"),
        (lambda feature: feature[records.REGION_BITS].int64_list.value.pop(),
         "region_bits: expected 196 values, found 195"),
        (lambda feature: feature[records.REGION_BITS].int64_list.value.__setitem__(0, 70000),
         r"region_bits: expected 0\.\.2047, found [0-9]+\.\.70000"),
        (put(records.SOURCE, b"\xff"), "can't decode"),
        (None, ""),
    ])  # fmt: skip
def test_record_that_is_not_an_example_is_told(packed, copied, spoil, text):
    example = tf_example_pb2.Example.FromString(open_source(str(packed))._records[6])
    if spoil:
        spoil(example.features.feature)
    record = example.SerializeToString() if spoil else b"\xff\xff\xff"
    shard(copied, 2).unlink()
    writer = ArrayRecordWriter(str(shard(copied, 2)), "group_size:1,uncompressed")
    writer.write(record)
    writer.close()
    with pytest.raises(ValueError, match=f"faces:train, example 6 in .*00002-of-00003: cannot be read .*{text}"):
        open_source(str(copied))[6]


# What is not a data set.


def test_what_is_no_finished_data_set_is_told(tmp_path, copied):
    with pytest.raises(FileNotFoundError, match=r"no data set at .*faces; make one with python -m fsfm_jax.prepare"):
        open_source(str(tmp_path / "faces"))
    with pytest.raises(FileNotFoundError, match=r"no data set at sampels; .* samples\[:train\|:heldout\]"):
        open_source("sampels")
    (copied / records.CARD_FILE).unlink()
    with pytest.raises(ValueError, match="has no fsfm_card.json: not a data set of fsfm_jax, or its copy is not"):
        open_source(str(copied))
    with pytest.raises(ValueError, match="is a folder of photos; make records of it first: python -m "):
        open_source(str(sources.SAMPLES))


def test_unknown_split_lists_the_known_ones(packed):
    with pytest.raises(ValueError, match="no split 'trian', its splits are heldout, train; did you mean 'train'?"):
        open_source(f"{packed}:trian")
    with pytest.raises(ValueError, match="no split 'zzz', its splits are heldout, train$"):
        open_source(f"{packed}:zzz")
    with pytest.raises(ValueError, match="no split 'held_out', its splits are heldout, train; did you mean 'heldout'?"):
        open_source("samples:held_out")


def test_records_of_schema_version_1_are_read_as_before(copied, packed):
    # They have photos with maps, and nothing that came later.
    card = json.loads((copied / records.CARD_FILE).read_text())
    for name in ("class_names", "real", "image_size", "parsing_maps", "prepared"):
        del card[name]
    for split in card["splits"].values():
        for name in ("class_counts", "items", "dropped", "noted"):
            del split[name]
    (copied / records.CARD_FILE).write_text(json.dumps({**card, "schema_version": 1}))
    old, new = open_source(str(copied)), open_source(str(packed))
    assert len(old) == len(new) and same(old[3], new[3]) and old.fingerprint == new.fingerprint
    assert read_card(copied).class_names == () and read_card(copied).splits["train"].dropped == {}


@pytest.mark.parametrize("change, text", [
        ({"schema_version": records.SCHEMA_VERSION + 1}, "schema version 3, this fsfm_jax reads up to 2; update"),
        ({"schema_version": "1"}, "schema version '1'"),
        ({"splits": {"train": {"examples": 7}}}, "not the card of a data set of fsfm_jax .KeyError: 'pixels'"),
        ({"splits": 3}, "not the card of a data set"),
        (None, "not the card of a data set of fsfm_jax .JSONDecodeError"),
    ])  # fmt: skip
def test_cards_that_cannot_be_read(copied, change, text):
    card = copied / records.CARD_FILE
    card.write_text("{" if change is None else json.dumps({**json.loads(card.read_text()), **change}))
    with pytest.raises(ValueError, match=text) as caught:
        open_source(str(copied))
    assert str(card) in str(caught.value)


@pytest.mark.parametrize(("change", "text"), [
        ({"pixels": True}, "pixels: 'True'"),
        ({"pixels": 1.5}, "pixels: '1.5'"),
        ({"fingerprint": 3}, "fingerprint: '3'"),
        ({"class_counts": [1.5]}, r"class_counts: '\[1.5\]'"),
        ({"dropped": {"no_face": "many"}}, "dropped: .*many"),
        ({"dropped": ["no_face"]}, "dropped: "),
        ({"shard_lengths": [-1, 8]}, "impossible pixel sums or shard lengths"),
        ({"pixel_sum": [1, 2]}, "impossible pixel sums or shard lengths"),
        ({"pixel_sum": [1, 1, 10**30]}, "impossible pixel sums or shard lengths"),
    ])  # fmt: skip
def test_entries_of_a_split_are_what_they_are(copied, change, text):
    path = copied / records.CARD_FILE
    card = json.loads(path.read_text())
    card["splits"]["train"] |= change
    path.write_text(json.dumps(card))
    with pytest.raises(ValueError, match=f"not the card of a data set of fsfm_jax .TypeError: {text}"):
        read_card(copied)


def test_incomplete_copy_is_told(copied):
    shard(copied, 1).unlink()
    with pytest.raises(FileNotFoundError, match="1 of 3 files are missing, first .*00001-of-00003; copy"):
        open_source(str(copied))
    info = json.loads((copied / "dataset_info.json").read_text())
    next(split for split in info["splits"] if split["name"] == "train")["shardLengths"] = ["7"]
    (copied / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(ValueError, match=r"its card lists shards of \[3, 3, 1\] examples, .* of \[7\]"):
        open_source(str(copied))
    (copied / "features.json").unlink()
    with pytest.raises(FileNotFoundError, match="1 of 2 files are missing, first .*features.json"):
        open_source(str(copied))


# Bundled and synthetic faces.


def test_nothing_is_imported_because_metadata_name_it(copied):
    # TFDS would import `antigravity`, which opens a browser.
    path = copied / "features.json"
    content = json.loads(path.read_text())
    content["pythonClassName"] = "antigravity.Features"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="features.json: python_class_name: .* found 'antigravity.Features'"):
        open_source(str(copied))
    assert "antigravity" not in sys.modules


def test_samples_are_split_into_nineteen_and_five():
    every, train, heldout = (open_source(f"samples{split}") for split in ("", ":train", ":heldout"))
    assert (len(every), len(train), len(heldout)) == (24, 19, 5)
    names = [[source[index][records.SOURCE] for index in range(len(source))] for source in (every, train, heldout)]
    assert names[2] == [f"mit_faceapi_sample{part}.png" for part in ("2_1", "6_1", "6_2", "6_3", "6_4")]
    assert sorted(names[1] + names[2]) == names[0] and not set(names[1]) & set(names[2])
    assert (every.name, heldout.name) == ("samples", "samples:heldout")
    for index in range(24):
        check_example(every[index])
    assert train.pixel_sums + heldout.pixel_sums == every.pixel_sums
    assert len({every.fingerprint, train.fingerprint, heldout.fingerprint}) == 3
    assert every.fingerprint == open_source("samples").fingerprint


def test_folder_fingerprint_covers_names_photos_maps_and_order(tmp_path):
    shutil.copytree(sources.SAMPLES, tmp_path / "faces")
    photos = ["mit_faceapi_sample1_1.png", "mit_faceapi_sample1_2.png"]

    def fingerprint(names=photos):
        return FolderSource(tmp_path / "faces", "any", names).fingerprint

    prints = [fingerprint(), fingerprint(photos[::-1]), fingerprint(photos[:1])]
    image, other = (tmp_path / "faces" / "images" / name for name in photos)
    image.write_bytes(other.read_bytes())
    prints.append(fingerprint())
    parsing_map = tmp_path / "faces" / "parsing_maps" / "mit_faceapi_sample1_2.npy"
    labels = np.load(parsing_map)
    labels[0, 100, 100] ^= 1
    np.save(parsing_map, labels)
    prints.append(fingerprint())
    assert len(set(prints)) == 5


def test_synthetic_faces_are_a_function_of_seed_and_index_and_their_fingerprint_of_the_drawing(stub_faces, monkeypatch):
    source = open_source("synthetic:20:3")
    assert source.name == "synthetic:20:3" and len(source) == 20
    for index in (0, 19):
        example, (image, parsing_map) = source[index], face(3, index)
        check_example(example)
        np.testing.assert_array_equal(decode_image(example[records.IMAGE], "a"), image)
        np.testing.assert_array_equal(example[records.PARSING_MAP], parsing_map)
        assert example[records.SOURCE] == f"synthetic:20:3 face {index}"
    assert same(source[7], open_source("synthetic:20:3")[7])
    assert open_source("synthetic:20").name == "synthetic:20:0"
    specs = ("synthetic:20:3", "synthetic:21:3", "synthetic:20:4")
    assert len({open_source(spec).fingerprint for spec in specs}) == 3
    before = open_source("synthetic:20:3").fingerprint
    assert source.fingerprint == before
    monkeypatch.setattr("fsfm_jax.data.drawing.synthetic_face", lambda seed, index, size: face(seed + 1, index, size))
    assert open_source("synthetic:20:3").fingerprint != before


def test_synthetic_sums_cover_the_first_256_faces_and_are_remembered(monkeypatch):
    drawn = []

    def grey(seed, index, size):
        drawn.append(index)
        return np.full((size, size, 3), index % 256, np.uint8), np.zeros((size, size), np.uint8)

    monkeypatch.setattr("fsfm_jax.data.drawing.synthetic_face", grey)
    source = open_source("synthetic:1000")
    assert drawn == []
    assert source.pixel_sums.pixels == 256 * 224**2
    assert source.pixel_sums.total == (sum(range(256)) * 224**2,) * 3
    assert drawn == list(range(256))
    assert open_source("synthetic:3").pixel_sums.total == (3 * 224**2,) * 3


# The words by which data is asked for.


def test_split_is_told_from_the_colons_of_a_path(packed, tmp_path):
    assert sources.path_and_split("gs://bucket/faces") == ("gs://bucket/faces", "train")
    assert sources.path_and_split("gs://bucket/faces:heldout") == ("gs://bucket/faces", "heldout")
    assert sources.path_and_split("a:b/faces") == ("a:b/faces", "train")
    with_colon = tmp_path / "run:faces"
    shutil.copytree(packed, with_colon)
    assert open_source(str(with_colon)).name == "faces:train"
    assert open_source(f"{with_colon}:heldout").name == "faces:heldout"


@pytest.mark.parametrize(("specs", "expected"), [
        (["", ":", ":train", "faces:", "faces:train[:10%]", "faces::train"], r"a records directory PATH\[:SPLIT"),
        (["synthetic", "synthetic:", "synthetic:0", "synthetic:9:x", "synthetic:9:1:2"], "synthetic:COUNT.* such as"),
    ])  # fmt: skip
def test_malformed_specs(specs, expected):
    for spec in specs:
        with pytest.raises(ValueError, match=f"expected {expected}"):
            open_source(spec)


def test_mixture_with_and_without_weights_and_paths_with_an_at_sign(packed, tmp_path):
    def told(text):
        return [(source.name, weight) for source, weight in open_mixture(text)]

    assert told("samples") == [("samples", None)]
    assert told(f"{packed}:heldout, synthetic:9:1,samples:train") == [
        ("faces:heldout", None), ("synthetic:9:1", None), ("samples:train", None)
    ]  # fmt: skip
    assert told(f"{packed}@3, samples:train@0.5") == [("faces:train", 3.0), ("samples:train", 0.5)]
    home = tmp_path / "me@home"
    shutil.copytree(packed, home / "faces")
    assert [weight for _, weight in open_mixture(f"{home}/faces")] == [None]
    assert [weight for _, weight in open_mixture(f"{home}/faces@2")] == [2.0]


@pytest.mark.parametrize("text, complaint", [
        ("samples@1,synthetic:9", "expected a weight for every data set or for none, found none for synthetic:9"),
        ("samples@0", "weight '0' of samples: expected a positive number"),
        ("samples@-1", "weight '-1' of samples: expected a positive number"),
        ("samples@nan", "weight 'nan'"),
        ("samples@inf", "weight 'inf'"),
        ("samples@much", "weight 'much'"),
        ("samples@", "weight ''"),
        ("samples,,synthetic:9", "found an entry without a data set"),
        ("@2", "found an entry without a data set"),
    ])  # fmt: skip
def test_malformed_mixtures(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        open_mixture(text)
