import hashlib
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from fsfm_jax import records, regions
from fsfm_jax.data import folder
from fsfm_jax.data.photo import decode_image, encode_jpeg, encode_png
from fsfm_jax.data.sources import RecordSource
from fsfm_jax.data.statistics import UNFINISHED_FILE, PixelSums, read_card
from fsfm_jax.prepare import pack, writer

ROOT = Path(__file__).parents[2]


def face(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A random photo and parsing map, both of 16x16 blocks of 14."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (16, 16, 3), np.uint8), rng.integers(0, 11, (16, 16), np.uint8)
    return tuple(np.repeat(np.repeat(block, 14, 0), 14, 1) for block in blocks)


def make_folder(directory: Path, names: list[str]) -> Path:
    """A folder in the official layout; the face of `names[i]` is `face(i)`."""
    for part in (folder.IMAGES, folder.PARSING_MAPS):
        (directory / part).mkdir(parents=True)
    for seed, name in enumerate(names):
        image, parsing_map = face(seed)
        done, encoded = cv2.imencode(Path(name).suffix, image[..., ::-1])
        assert done
        (directory / folder.IMAGES / name).write_bytes(encoded.tobytes())
        np.save(directory / folder.PARSING_MAPS / f"{Path(name).stem}.npy", parsing_map[None].astype(np.int8))
    return directory


@pytest.fixture
def faces(tmp_path) -> Path:
    # Numbers without leading zeros: the order is by name, "10" before "2", whatever the disk says.
    return make_folder(tmp_path / "faces", [f"{number}.png" for number in (2, 10, 1, 30, 4)])


ORDER = (2, 1, 0, 3, 4)  # seeds of "1", "10", "2", "30", "4"


def digests(directory: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(directory.iterdir())}


def test_round_trip_of_bytes_maps_bits_and_names(faces, tmp_path):
    pack.pack(faces, tmp_path / "out", "faces", examples_per_shard=2)
    source = RecordSource(tmp_path / "out")
    assert len(source) == 5
    for index, (seed, name) in enumerate(zip(ORDER, ("1", "10", "2", "30", "4"), strict=True)):
        example, (image, parsing_map) = source[index], face(seed)
        assert example[records.SOURCE] == f"{name}.png"
        assert example[records.IMAGE] == (faces / folder.IMAGES / f"{name}.png").read_bytes()
        np.testing.assert_array_equal(decode_image(example[records.IMAGE], name), image)
        np.testing.assert_array_equal(example[records.PARSING_MAP], parsing_map)
        assert example[records.PARSING_MAP].dtype == np.uint8
        np.testing.assert_array_equal(example[records.REGION_BITS], regions.patch_bits(parsing_map, 16))
        assert example[records.REGION_BITS].dtype == np.uint16


def test_tfds_reads_it_without_tensorflow(faces, tmp_path):
    pack.pack(faces, tmp_path / "out", "faces", examples_per_shard=2)
    builder = tfds.builder_from_directory(tmp_path / "out")
    assert builder.info.name == "faces"
    assert builder.info.splits["train"].shard_lengths == [2, 2, 1]
    assert builder.info.features[records.IMAGE].encoding_format == "png"
    examples = list(builder.as_data_source("train"))
    for seed, example in zip(ORDER, examples, strict=True):
        image, parsing_map = face(seed)
        np.testing.assert_array_equal(example[records.IMAGE], image)
        np.testing.assert_array_equal(example[records.PARSING_MAP], parsing_map)
        np.testing.assert_array_equal(example[records.REGION_BITS], regions.patch_bits(parsing_map, 16))
    assert examples[1][records.SOURCE] == b"10.png"
    assert "tensorflow" not in sys.modules


def test_same_input_gives_same_bytes(faces, tmp_path):
    for run in ("a", "b"):
        pack.pack(faces, tmp_path / run, "faces", examples_per_shard=2)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert set(digests(tmp_path / "a")) == {
        "dataset_info.json", "features.json", records.CARD_FILE,
        *(f"faces-train.array_record-0000{shard}-of-00003" for shard in range(3)),
    }  # fmt: skip


def test_fingerprint_depends_on_content_and_not_on_sharding(faces, tmp_path):
    first = pack.pack(faces, tmp_path / "a", "faces", examples_per_shard=2)
    sharded = pack.pack(faces, tmp_path / "b", "faces", examples_per_shard=4)
    assert sharded.fingerprint == first.fingerprint and sharded.shard_lengths == (4, 1)
    parsing_map = np.load(faces / folder.PARSING_MAPS / "30.npy")
    parsing_map[0, 0, 0] = (parsing_map[0, 0, 0] + 1) % 11
    np.save(faces / folder.PARSING_MAPS / "30.npy", parsing_map)
    assert pack.pack(faces, tmp_path / "c", "faces", examples_per_shard=2).fingerprint != first.fingerprint


def test_card_holds_exact_pixel_sums(faces, tmp_path):
    pack.pack(faces, tmp_path / "out", "faces", examples_per_shard=2)
    entry = json.loads((tmp_path / "out" / records.CARD_FILE).read_text())
    pixels = np.stack([face(seed)[0] for seed in range(5)]).astype(object)
    split = entry["splits"]["train"]
    assert entry["schema_version"] == records.SCHEMA_VERSION and entry["name"] == "faces"
    assert split["pixels"] == 5 * 224 * 224
    assert split["pixel_sum"] == [pixels[..., channel].sum() for channel in range(3)]
    assert split["pixel_square_sum"] == [(pixels[..., channel] ** 2).sum() for channel in range(3)]
    assert split["examples"] == 5 and split["shard_lengths"] == [2, 2, 1] and split["image_encoding"] == "png"
    mean, std = read_card(tmp_path / "out").splits["train"].pixel_sums.mean_std()
    scaled = pixels.astype(np.float64) / 255
    np.testing.assert_allclose(mean, scaled.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, scaled.std((0, 1, 2)), rtol=1e-12)


def test_bundled_samples_pack(tmp_path):
    samples = ROOT / "fsfm_jax" / "data" / "samples" / "pretrain"
    statistics = pack.pack(samples, tmp_path / "out", "samples")
    images = [cv2.imread(str(path))[..., ::-1] for path in sorted((samples / folder.IMAGES).iterdir())]
    assert statistics.examples == 24
    mean, std = statistics.pixel_sums.mean_std()
    np.testing.assert_allclose(mean, np.stack(images).mean((0, 1, 2)) / 255, rtol=1e-9)
    np.testing.assert_allclose(std, np.stack(images).std((0, 1, 2)) / 255, rtol=1e-9)


def test_what_is_kept_and_what_becomes_png(tmp_path):
    faces = make_folder(tmp_path / "faces", ["a.png", "b.jpg", "c.webp"])
    grey = np.repeat(face(3)[0][..., :1], 3, 2)
    (faces / folder.IMAGES / "d.png").write_bytes(cv2.imencode(".png", grey[..., 0])[1].tobytes())
    np.save(faces / folder.PARSING_MAPS / "d.npy", face(3)[1])  # without the leading 1, and uint8
    statistics = pack.pack(faces, tmp_path / "out", "faces")
    source = RecordSource(tmp_path / "out")
    files = [(faces / folder.IMAGES / name).read_bytes() for name in ("a.png", "b.jpg", "c.webp", "d.png")]
    stored = [source[index][records.IMAGE] for index in range(4)]
    assert stored[:2] == files[:2]
    assert [data[:4] for data in stored] == [b"\x89PNG", b"\xff\xd8\xff\xe0", b"\x89PNG", b"\x89PNG"]
    for file, data in zip(files, stored, strict=True):
        np.testing.assert_array_equal(decode_image(data, "a"), decode_image(file, "a"))
    np.testing.assert_array_equal(source[3][records.PARSING_MAP], face(3)[1])
    assert statistics.image_encoding == "png+jpeg"
    assert statistics.pixel_sums == sum((PixelSums.of(decode_image(data, "a")) for data in stored), PixelSums())
    # TFDS decodes both encodings in one split, the grey photo as three channels.
    examples = list(tfds.builder_from_directory(tmp_path / "out").as_data_source("train"))
    np.testing.assert_array_equal(examples[3][records.IMAGE], grey)
    np.testing.assert_array_equal(examples[1][records.IMAGE], decode_image(files[1], "b"))


def test_jpeg_encoding(tmp_path):
    faces = make_folder(tmp_path / "faces", ["a.png", "b.jpg"])
    statistics = pack.pack(faces, tmp_path / "out", "faces", image_encoding="jpeg")
    stored = [RecordSource(tmp_path / "out")[index][records.IMAGE] for index in range(2)]
    assert stored[0] == encode_jpeg(face(0)[0], pack.JPEG_QUALITY)
    assert stored[1] == (faces / folder.IMAGES / "b.jpg").read_bytes()
    assert statistics.image_encoding == "jpeg"
    # The statistics are those of the stored photo, not of the one it was made from.
    assert statistics.pixel_sums == sum((PixelSums.of(decode_image(data, "a")) for data in stored), PixelSums())
    with pytest.raises(ValueError, match="image_encoding: expected keep or jpeg, found 'webp'"):
        pack.pack(faces, tmp_path / "other", "faces", image_encoding="webp")


def test_second_split_joins_and_leaves_the_first_alone(faces, tmp_path):
    others = make_folder(tmp_path / "others", ["x.jpg"])
    pack.pack(faces, tmp_path / "out", "faces", examples_per_shard=2)
    before = digests(tmp_path / "out")
    pack.pack(others, tmp_path / "out", "faces", split="heldout")
    after = digests(tmp_path / "out")
    assert {name for name in before if after[name] != before[name]} == {
        "dataset_info.json", "features.json", records.CARD_FILE
    }  # fmt: skip
    assert len(RecordSource(tmp_path / "out", "train")) == 5
    assert RecordSource(tmp_path / "out", "heldout")[0][records.SOURCE] == "x.jpg"
    builder = tfds.builder_from_directory(tmp_path / "out")
    assert set(builder.info.splits) == {"train", "heldout"}
    assert builder.info.features[records.IMAGE].encoding_format is None
    with pytest.raises(ValueError, match="expected the data set 'other', found 'faces'"):
        pack.pack(others, tmp_path / "out", "other", split="third")


def test_finished_split_is_not_overwritten(faces, tmp_path):
    pack.pack(faces, tmp_path / "out", "faces")
    before = digests(tmp_path / "out")
    with pytest.raises(FileExistsError, match="holds a finished split 'train' already"):
        pack.pack(faces, tmp_path / "out", "faces")
    assert digests(tmp_path / "out") == before


def test_other_folders_are_not_written_into(faces, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not empty and holds no data set"):
        pack.pack(faces, tmp_path / "photos", "faces")
    with pytest.raises(FileExistsError, match="is a file"):
        pack.pack(faces, tmp_path / "photos" / "holiday.txt", "faces")
    assert digests(tmp_path / "photos") == {"holiday.txt": hashlib.sha256(b"mine").hexdigest()}


@pytest.mark.parametrize("arguments", [{"name": "Faces-2"}, {"split": "../train"}, {"split": ""}])
def test_names_that_are_no_file_names(faces, tmp_path, arguments):
    with pytest.raises(ValueError, match="expected lower-case letters, digits and _"):
        pack.pack(faces, tmp_path / "out", **{"name": "faces", **arguments})
    with pytest.raises(ValueError, match="examples_per_shard: expected at least 1, found 0"):
        pack.pack(faces, tmp_path / "out", "faces", examples_per_shard=0)
    assert not (tmp_path / "out").exists()


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder at .*nowhere; expected one with images/"):
        pack.pack(tmp_path / "nowhere", tmp_path / "out", "faces")
    (tmp_path / "faces" / folder.IMAGES).mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="has no folder parsing_maps; expected images/NAME.png"):
        pack.pack(tmp_path / "faces", tmp_path / "out", "faces")
    (tmp_path / "faces" / folder.PARSING_MAPS).mkdir()
    with pytest.raises(ValueError, match="images is empty; expected photos"):
        pack.pack(tmp_path / "faces", tmp_path / "out", "faces")
    assert not (tmp_path / "out").exists()


def test_all_names_are_checked_before_anything_is_written(faces, tmp_path):
    (faces / folder.PARSING_MAPS / "10.npy").unlink()
    (faces / folder.IMAGES / "30.png").unlink()
    (faces / folder.IMAGES / "1.jpg").write_bytes(b"")
    (faces / folder.IMAGES / "notes.txt").write_bytes(b"")
    (faces / folder.PARSING_MAPS / "4.txt").write_bytes(b"")
    (faces / folder.IMAGES / ".DS_Store").write_bytes(b"")
    with pytest.raises(ValueError) as caught:
        pack.pack(faces, tmp_path / "out", "faces")
    text = str(caught.value)
    assert "found 5 that do not fit" in text
    for complaint in (
        "images/10.png has no parsing map (parsing_maps/10.npy)",
        "parsing_maps/30.npy has no photo",
        "images/1.png and images/1.jpg share one name",
        "images/notes.txt is not a photo",
        "parsing_maps/4.txt is not a parsing map",
    ):
        assert complaint in text
    assert "DS_Store" not in text and not (tmp_path / "out").exists()


def test_order_is_that_of_the_stems_whatever_the_suffix(tmp_path):
    # By whole names "a-b.png" would come before "a.jpg".
    faces = make_folder(tmp_path / "faces", ["b.png", "a-b.png", "a.jpg", "B.png"])
    assert folder.list_photos(faces) == ["B.png", "a.jpg", "a-b.png", "b.png"]


def test_ten_offenders_are_named_and_all_counted(tmp_path):
    faces = make_folder(tmp_path / "faces", [])
    for number in range(23):
        (faces / folder.IMAGES / f"{number:02}.png").touch()
    with pytest.raises(ValueError, match="found 23 that do not fit") as caught:
        folder.list_photos(faces)
    assert str(caught.value).count("has no parsing map") == 10 and "09.png" in str(caught.value)
    assert str(caught.value).endswith("... and 13 more") and "10.png" not in str(caught.value)


def damage(faces: Path, kind: str) -> None:
    """Spoils the photo or map of "30"."""
    photo, parsing_map = faces / folder.IMAGES / "30.png", faces / folder.PARSING_MAPS / "30.npy"
    labels = np.load(parsing_map)
    spoilt = {
        "photo cut off": lambda: photo.write_bytes(photo.read_bytes()[:-100]),
        "photo of another size": lambda: photo.write_bytes(encode_png(np.zeros((256, 224, 3), np.uint8), 1)),
        "no photo": lambda: photo.write_bytes(b"hello"),
        "damaged": lambda: photo.write_bytes(photo.read_bytes()[:60] + bytes(8) + photo.read_bytes()[68:]),
        "map of another size": lambda: np.save(parsing_map, labels[:, :112]),
        "map of other classes": lambda: np.save(parsing_map, labels + np.int8(11)),
        "map of floats": lambda: np.save(parsing_map, labels.astype(np.float32)),
        "map cut off": lambda: parsing_map.write_bytes(parsing_map.read_bytes()[:-100]),
        "map empty": lambda: parsing_map.write_bytes(b""),
        "map pickled": lambda: np.save(parsing_map, np.array([{"a": 1}], object), allow_pickle=True),
    }
    spoilt[kind]()


@pytest.mark.parametrize(
    "kind, text",
    [
        ("photo cut off", "photo 30.png: cut off"),
        ("photo of another size", "photo 30.png: expected 224x224, found 256x224 .* preparing the faces"),
        ("no photo", "photo 30.png: expected PNG, JPEG or WebP"),
        ("damaged", "photo 30.png: (damaged|PNG decoder failed)"),
        ("map of another size", r"parsing map of .*30.npy: expected 224x224, found 1x112x224"),
        ("map of other classes", r"parsing map of .*30.npy: labels \d+..\d+, expected 0..10"),
        ("map of floats", "parsing map of .*30.npy: expected integer class labels, found float32"),
        ("map cut off", "parsing map .*30.npy: numpy cannot read it"),
        ("map empty", "parsing map .*30.npy: numpy cannot read it"),
        ("map pickled", "parsing map .*30.npy: numpy cannot read it"),
    ],
)
def test_damaged_files_are_told_by_name(faces, tmp_path, kind, text):
    damage(faces, kind)
    with pytest.raises(ValueError, match="found 1 that cannot be used") as caught:
        pack.pack(faces, tmp_path / "out", "faces", examples_per_shard=2)
    assert caught.match(text)
    with pytest.raises(ValueError, match="is unfinished"):
        RecordSource(tmp_path / "out")


def test_one_run_tells_of_all_damaged_files_and_the_next_finishes(faces, tmp_path):
    whole = pack.pack(faces, tmp_path / "whole", "faces", examples_per_shard=2)
    kept = {path: path.read_bytes() for path in sorted(faces.glob("*/*"))}
    (faces / folder.IMAGES / "1.png").write_bytes(b"hello")
    damage(faces, "map cut off")
    (faces / folder.IMAGES / "4.png").write_bytes(kept[faces / folder.IMAGES / "4.png"][:-4])
    with pytest.raises(ValueError, match="expected 5 whole .* found 3 that cannot be used") as caught:
        pack.pack(faces, tmp_path / "out", "faces", examples_per_shard=1)
    assert [name in str(caught.value) for name in ("1.png", "30.npy", "4.png", "10.png")] == [True] * 3 + [False]
    for path, data in kept.items():
        path.write_bytes(data)
    assert pack.pack(faces, tmp_path / "out", "faces", examples_per_shard=2) == whole
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


KILLED = """
import os, sys
import numpy as np
from fsfm_jax.data.folder import read_parsing_map, read_photo
from fsfm_jax.prepare import writer
faces, out, where = sys.argv[1:]
if where != "adding":
    setattr(writer, where, lambda *_: os._exit(9))
with writer.SplitWriter(out, "faces", "train", examples_per_shard=1) as split:
    for name in ("1.png", "10.png", "2.png"):
        split.add(read_photo(faces, name), read_parsing_map(faces, name), name)
    if where == "adding":
        os._exit(9)
"""


@pytest.mark.parametrize("where", ["adding", "_write_metadata", "_write_card"])
def test_killed_run_is_recognised_and_the_next_one_starts_over(faces, tmp_path, where):
    out, whole = tmp_path / "out", tmp_path / "whole"
    command = [sys.executable, "-c", KILLED, str(faces), str(out), where]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 9
    left = set(digests(out))
    assert UNFINISHED_FILE in left and records.CARD_FILE not in left
    assert f"faces-train.array_record-00000{writer.PARTIAL_SUFFIX if where == 'adding' else '-of-00003'}" in left
    with pytest.raises(ValueError, match=r"is unfinished: .* run python -m fsfm_jax.prepare.pack again"):
        RecordSource(out)
    # Fewer shards than before: nothing of the killed run may stay.
    for directory in (out, whole):
        pack.pack(faces, directory, "faces", examples_per_shard=4)
    assert digests(out) == digests(whole)


def test_error_while_writing_leaves_no_card(faces, tmp_path):
    with pytest.raises(KeyError), writer.SplitWriter(tmp_path / "out", "faces", "train", 2) as split:
        split.add(encode_png(face(0)[0], 1), face(0)[1], "a")
        raise KeyError
    assert split.statistics is None and not (tmp_path / "out" / records.CARD_FILE).exists()
    with (
        pytest.raises(ValueError, match="split train got no examples"),
        writer.SplitWriter(tmp_path / "out", "faces", "train", 2),
    ):
        pass
    assert not (tmp_path / "out" / records.CARD_FILE).exists()


def test_two_writers_do_not_share_a_folder(tmp_path):
    image, parsing_map = face(0)
    with writer.SplitWriter(tmp_path / "out", "faces", "train", 2) as first:
        first.add(encode_png(image, 1), parsing_map, "a")
        second = writer.SplitWriter(tmp_path / "out", "faces", "train", 2)
        with pytest.raises(FileExistsError, match="another process is writing records here"):
            second.__enter__()
    assert len(RecordSource(tmp_path / "out")) == 1


def test_writer_takes_only_what_any_reader_decodes(tmp_path):
    image, parsing_map = face(0)
    with writer.SplitWriter(tmp_path / "out", "faces", "train", 2) as split:
        for data in (
            cv2.imencode(".webp", image)[1].tobytes(),
            cv2.imencode(".png", image[..., 0])[1].tobytes(),
        ):
            with pytest.raises(ValueError, match="photo a: expected PNG or JPEG with three channels of 8 bits"):
                split.add(data, parsing_map, "a")
        with pytest.raises(ValueError, match="parsing map of a: labels"):
            split.add(encode_png(image, 1), parsing_map + np.uint8(20), "a")
        split.add(encode_png(image, 1), parsing_map, "b")
    assert len(RecordSource(tmp_path / "out")) == 1  # a refused photo leaves nothing behind


def test_command_line(faces, tmp_path):
    command = [sys.executable, "-W", "error", "-m", "fsfm_jax.prepare.pack", f"--input={faces}"]
    command += [f"--output={tmp_path / 'My-Faces'}", "--examples_per_shard=2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    card = read_card(tmp_path / "My-Faces")
    statistics = card.splits["train"]
    assert card.name == "my_faces"
    assert "my_faces, split train: 5 examples in 3 shards" in done.stdout
    assert statistics.fingerprint in done.stdout and str(tmp_path / "My-Faces") in done.stdout
    assert f"{statistics.pixel_sums.mean_std()[0][0]:.4f}" in done.stdout
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 1 and "Traceback" not in again.stderr
    assert "FileExistsError:" in again.stderr and "finished split 'train'" in again.stderr


def test_neither_jax_nor_tensorflow_is_imported():
    code = (
        "import sys, fsfm_jax.prepare.pack, fsfm_jax.data.sources\n"
        "print({'jax', 'flax', 'torch', 'tensorflow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
