"""Records of folders with photos and parsing maps: what is stored, the card, what is refused, the command line."""

import dataclasses
import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from prepared import digests, records_of_folder
from videos import CLIP, avi_that_tells

import fsfm_jax
from fsfm_jax import records, regions
from fsfm_jax.data import folder
from fsfm_jax.data.photo import decode_image, encode_jpeg, encode_png
from fsfm_jax.data.sources import RecordSource
from fsfm_jax.data.statistics import UNFINISHED, PixelSums, read_card
from fsfm_jax.prepare import preparation
from fsfm_jax.prepare.faces import JPEG_QUALITY
from fsfm_jax.prepare.manifests.registry import find
from fsfm_jax.text import utf8

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "fsfm_jax" / "data" / "samples"


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


def report(directory: Path, split: str = "train") -> list[dict]:
    return [json.loads(line) for line in (directory / f"fsfm_report_{split}.jsonl").read_text().splitlines()]


def test_round_trip_of_bytes_maps_bits_and_names(faces, tmp_path):
    card = records_of_folder(tmp_path / "out", faces, faces_per_shard=2)
    source = RecordSource(tmp_path / "out")
    assert len(source) == 5 and read_card(tmp_path / "out") == card and card.name == "faces"
    assert (card.prepared["dataset"], card.prepared["parser"]) == ("cropped_and_parsed", "given")
    assert (card.class_names, card.real, card.parsing_maps) == ((), None, True)
    split = card.splits["train"]
    assert split.pixel_sums == sum((PixelSums.of(face(seed)[0]) for seed in ORDER), PixelSums())
    assert (split.examples, split.shard_lengths, split.image_encoding) == (5, (2, 2, 1), "png")
    for index, (seed, name) in enumerate(zip(ORDER, ("1", "10", "2", "30", "4"), strict=True)):
        example, (image, parsing_map) = source[index], face(seed)
        assert example[records.SOURCE] == f"images/{name}.png"
        assert example[records.IMAGE] == (faces / folder.IMAGES / f"{name}.png").read_bytes()
        np.testing.assert_array_equal(decode_image(example[records.IMAGE], name), image)
        np.testing.assert_array_equal(example[records.PARSING_MAP], parsing_map)
        assert example[records.PARSING_MAP].dtype == np.uint8
        np.testing.assert_array_equal(example[records.REGION_BITS], regions.patch_bits(parsing_map, 16))
        assert example[records.REGION_BITS].dtype == np.uint16


def test_tfds_reads_it_without_tensorflow(faces, tmp_path):
    records_of_folder(tmp_path / "out", faces, faces_per_shard=2)
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
        # Neither labelled, nor found by a detector, nor a frame of a video.
        assert example[records.LABEL] == -1 and example[records.FRAME] == -1 and example[records.METHOD] == b""
        assert list(example[records.BOX]) == [-1] * 4 and list(example[records.CROP]) == [-1] * 3
        assert np.isnan(example[records.SCORE])
    assert examples[1][records.SOURCE] == b"images/10.png"
    assert "tensorflow" not in sys.modules


def test_same_input_gives_same_bytes_and_a_fingerprint_that_does_not_depend_on_sharding(faces, tmp_path):
    for run in ("a", "b"):
        records_of_folder(tmp_path / run, faces, faces_per_shard=2)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert set(digests(tmp_path / "a")) == {
        "dataset_info.json", "features.json", "README.md", "fsfm_report_train.jsonl", "fsfm_contact_sheet_train.png",
        records.CARD_FILE, *(f"faces-train.array_record-0000{shard}-of-00003" for shard in range(3)),
    }  # fmt: skip
    assert not (tmp_path / "a" / UNFINISHED).exists()
    first = read_card(tmp_path / "a").splits["train"]
    sharded = records_of_folder(tmp_path / "c", faces, faces_per_shard=4).splits["train"]
    assert sharded.fingerprint == first.fingerprint and sharded.shard_lengths == (4, 1)
    parsing_map = np.load(faces / folder.PARSING_MAPS / "30.npy")
    parsing_map[0, 0, 0] = (parsing_map[0, 0, 0] + 1) % 11
    np.save(faces / folder.PARSING_MAPS / "30.npy", parsing_map)
    changed = records_of_folder(tmp_path / "d", faces, faces_per_shard=2).splits["train"]
    assert changed.fingerprint != first.fingerprint


def test_what_is_kept_and_what_becomes_png(tmp_path):
    faces = make_folder(tmp_path / "faces", ["a.png", "b.jpg", "c.webp"])
    grey = np.repeat(face(3)[0][..., :1], 3, 2)
    (faces / folder.IMAGES / "d.png").write_bytes(cv2.imencode(".png", grey[..., 0])[1].tobytes())
    np.save(faces / folder.PARSING_MAPS / "d.npy", face(3)[1])  # without the leading 1, and uint8
    statistics = records_of_folder(tmp_path / "out", faces).splits["train"]
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
    statistics = records_of_folder(tmp_path / "out", faces, image_encoding="jpeg").splits["train"]
    stored = [RecordSource(tmp_path / "out")[index][records.IMAGE] for index in range(2)]
    assert stored[0] == encode_jpeg(face(0)[0], JPEG_QUALITY)
    assert stored[1] == (faces / folder.IMAGES / "b.jpg").read_bytes()
    assert statistics.image_encoding == "jpeg"
    # The statistics are those of the stored photo, not of the one it was made from.
    assert statistics.pixel_sums == sum((PixelSums.of(decode_image(data, "a")) for data in stored), PixelSums())
    with pytest.raises(ValueError, match="image_encoding: expected keep or jpeg, found 'webp'"):
        records_of_folder(tmp_path / "other", faces, image_encoding="webp")


def test_crops_of_another_size_are_resized_with_the_maps_size(tmp_path):
    faces = make_folder(tmp_path / "faces", ["a.png"])
    large = np.kron(face(0)[0], np.ones((2, 2, 1), np.uint8))
    (faces / folder.IMAGES / "a.png").write_bytes(encode_png(large, 1))
    records_of_folder(tmp_path / "out", faces)
    stored = decode_image(RecordSource(tmp_path / "out")[0][records.IMAGE], "a")
    # Within a block of one colour nothing changes; bicubic reaches two pixels over its edge.
    inside = np.s_[4:10, 4:10]
    np.testing.assert_array_equal(stored[inside], face(0)[0][inside])


def test_labels_and_native_sizes(tmp_path):
    root = tmp_path / "in"
    for label, (name, size) in enumerate((("fake", 40), ("fake", 50), ("real", 64))):
        (root / name).mkdir(parents=True, exist_ok=True)
        image = np.full((size, size, 3), 60 * label, np.uint8)
        (root / name / f"{label}.png").write_bytes(encode_png(image, 1))
    card = records_of_folder(tmp_path / "out", root, "folder", detector="none")
    assert card.class_names == ("fake", "real") and card.real == 1 and card.image_size is None
    assert card.splits["train"].class_counts == (2, 1) and not card.parsing_maps
    builder = tfds.builder_from_directory(tmp_path / "out")
    assert builder.info.features[records.LABEL].names == ["fake", "real"]
    assert records.PARSING_MAP not in builder.info.features
    found = list(builder.as_data_source("train"))
    assert [int(example[records.LABEL]) for example in found] == [0, 0, 1]
    assert [example[records.IMAGE].shape for example in found] == [(40, 40, 3), (50, 50, 3), (64, 64, 3)]
    page = (tmp_path / "out" / "README.md").read_text()
    assert "0 = fake, 1 = real; real faces are label 1" in page and "| of them fake | 2 |" in page
    with pytest.raises(ValueError, match="expected crops of 224x224 with parsing maps, found their own size, without"):
        RecordSource(tmp_path / "out")


def test_a_run_that_is_finished_stays_as_it_is(faces, tmp_path, monkeypatch):
    first = records_of_folder(tmp_path / "out", faces)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    # An upgrade of the package and of its libraries does not make it another data set.
    monkeypatch.setattr(fsfm_jax, "__version__", "99.0")
    monkeypatch.setattr(preparation, "version", lambda library: "99.0")
    assert records_of_folder(tmp_path / "out", faces) == first
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before
    with pytest.raises(ValueError, match="was started as another data set:\n  faces_per_shard: 4096 then, 2 now"):
        records_of_folder(tmp_path / "out", faces, faces_per_shard=2)
    (faces / folder.IMAGES / "30.png").unlink()
    (faces / folder.PARSING_MAPS / "30.npy").unlink()
    with pytest.raises(ValueError, match="was started as another data set:\n  items_digest: '.*' then"):
        records_of_folder(tmp_path / "out", faces)


def test_other_folders_are_not_written_into(faces, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not empty and holds no data set"):
        records_of_folder(tmp_path / "photos", faces)
    with pytest.raises(FileExistsError, match="is a file"):
        records_of_folder(tmp_path / "photos" / "holiday.txt", faces)
    assert digests(tmp_path / "photos") == {"holiday.txt": hashlib.sha256(b"mine").hexdigest()}


@pytest.mark.parametrize("settings, text", [
        ({"image_size": "99999x"}, "image_size: expected a number of pixels or native, found '99999x'"),
        ({"image_size": "256"}, "image_size: expected 224 for records with parsing maps, found 256"),
        ({"image_size": "native"}, "image_size: expected 224 for records with parsing maps, found native"),
        ({"frames": "many"}, "frames: expected a number or all, found 'many'"),
        ({"frames": "0"}, "frames: expected at least 1 frame per video, found 0"),
        ({"scale": 9.0}, "scale: expected 0.5 to 5 times"),
        ({"dataset": "photos", "parser": "given"}, "parser: photos has no ready-made parsing maps"),
    ])  # fmt: skip
def test_settings_that_do_not_fit(faces, tmp_path, settings, text):
    with pytest.raises(ValueError, match=text):
        records_of_folder(tmp_path / "out", faces, **settings)
    assert not (tmp_path / "out").exists()


def test_missing_folder_and_impossible_name(faces, tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder at .*nowhere; expected the download of cropped_and_parsed"):
        records_of_folder(tmp_path / "out", tmp_path / "nowhere")
    command = [sys.executable, "-m", "fsfm_jax.prepare.build", "--dataset=cropped_and_parsed", f"--input={faces}"]
    done = subprocess.run([*command, f"--output={tmp_path / '2_faces'}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and not (tmp_path / "2_faces").exists()
    assert done.stderr.splitlines()[-1] == (
        "error: name of the data set '2_faces': expected lower-case letters, digits and _, a letter first; "
        "give one with --name"
    )


@pytest.mark.parametrize("spoil, reason, text", [
        (lambda photo, _: photo.write_bytes(photo.read_bytes()[:-100]), "truncated", ""),
        (lambda photo, _: photo.write_bytes(b"hello"), "unknown_format", ""),
        (lambda photo, _: photo.write_bytes((d := photo.read_bytes())[:60] + bytes(8) + d[68:]), "damaged", ""),
        (lambda _, path: np.save(path, np.load(path)[:, :112]), "bad_map", "expected 224x224, found 1x112x224"),
        (lambda _, path: np.save(path, np.load(path) + np.int8(11)), "bad_map", "expected 0..10"),
        (lambda _, path: np.save(path, np.load(path).astype(np.float32)), "bad_map", "class labels, found float32"),
        (lambda _, path: path.write_bytes(path.read_bytes()[:-100]), "bad_map", "cannot be read as an array"),
        (lambda _, path: np.save(path, np.array([{"a": 1}], object)), "bad_map", "cannot be read as an array"),
    ])  # fmt: skip
def test_damaged_files_are_passed_over_and_listed(faces, tmp_path, spoil, reason, text):
    """Those of "30"."""
    spoil(faces / folder.IMAGES / "30.png", faces / folder.PARSING_MAPS / "30.npy")
    card = records_of_folder(tmp_path / "out", faces, faces_per_shard=2)
    assert card.splits["train"].dropped == {reason: 1} and card.splits["train"].items == 5
    assert card.splits["train"].shard_lengths == (2, 1, 1)
    (found,) = report(tmp_path / "out")
    assert found["path"] == "images/30.png" and found["reason"] == reason and found["outcome"] == "dropped"
    assert text in found["detail"]
    kept = [RecordSource(tmp_path / "out")[index][records.SOURCE] for index in range(4)]
    assert kept == [f"images/{name}.png" for name in ("1", "10", "2", "4")]
    assert f"| {reason} | 1 |" in (tmp_path / "out" / "README.md").read_text()


def test_a_shard_may_stay_empty_but_a_split_may_not(faces, tmp_path):
    for name in ("1", "10"):
        (faces / folder.IMAGES / f"{name}.png").write_bytes(b"hello")
    card = records_of_folder(tmp_path / "out", faces, faces_per_shard=2)
    assert card.splits["train"].shard_lengths == (0, 2, 1)
    source = RecordSource(tmp_path / "out")
    assert [source[index][records.SOURCE] for index in range(3)] == [f"images/{name}.png" for name in ("2", "30", "4")]
    assert len(list(tfds.builder_from_directory(tmp_path / "out").as_data_source("train"))) == 3
    for name in ("2", "30", "4"):
        (faces / folder.IMAGES / f"{name}.png").write_bytes(b"")
    with pytest.raises(ValueError, match="found none in 5 photos and videos, dropped: 3 empty_file, 2 unknown_"):
        records_of_folder(tmp_path / "none", faces)
    assert len(report(tmp_path / "none")) == 5
    with pytest.raises(ValueError, match="is unfinished, .* run python -m fsfm_jax.prepare.build again"):
        RecordSource(tmp_path / "none")


def _animation() -> bytes:
    file = io.BytesIO()
    photo = Image.open(SAMPLES / "pd_nasa_astronaut.jpg")
    photo.save(file, "GIF", save_all=True, append_images=[photo.rotate(90)])
    return file.getvalue()


def everything_that_can_be_wrong(root: Path) -> dict[str, tuple[str, int]]:
    """A folder of raw photos and videos; returns reason and number of incidents by path ("" = nothing is wrong)."""
    root.mkdir()
    astronaut = (SAMPLES / "pd_nasa_astronaut.jpg").read_bytes()
    size = np.zeros(2, ">u4") + 30_000
    bomb = encode_png(np.zeros((8, 8, 3), np.uint8), 9)
    flat = np.full((120, 160, 3), 128, np.uint8)
    files = {
        "a good photo.jpg": (astronaut, "", 0),
        "b bomb.png": (bomb[:16] + size.tobytes() + bomb[24:], "too_large", 1),
        "c cut.jpg": (astronaut[: len(astronaut) // 2], "truncated", 1),
        "d empty.png": (b"", "empty_file", 1),
        "e no face.png": (encode_png(flat, 1), "no_face", 1),
        "f not a photo.jpg": (b"hello world", "unknown_format", 1),
        "g several faces.jpg": ((SAMPLES / "mit_faceapi_group6.jpg").read_bytes(), "several_faces", 1),
        # 20 frames, none with a face, and 7 that the container only promises.
        "h lies.avi": (avi_that_tells(27), "no_face", 20),
        "i cut.mp4": (CLIP.read_bytes()[:5000], "not_opened", 1),
        "j empty.mp4": (b"", "empty_file", 1),
        "k not a video.mp4": (b"ffconcat version 1.0\nfile a.mp4\n", "unknown_format", 1),
        "l \u00fcml\u00e4ut \u4eba.jpg": (astronaut, "", 0),
        os.fsdecode(b"m caf\xe9.jpg"): (astronaut, "", 0),
        "n line\nbreak.png": (b"", "empty_file", 1),
        "o photo.mp4": (astronaut, "", 0),
        "p animation.gif": (_animation(), "reservation", 1),
        "r.jxl": (b"\xff\x0a", "unsupported_format", 1),
        os.fsdecode(b"u caf\xe9.png"): (b"", "empty_file", 1),
    }
    for name, (data, _, _) in files.items():
        (root / name).write_bytes(data)
    os.mkfifo(root / "s pipe.jpg")
    (root / "t gone.jpg").symlink_to(root / "nothing.jpg")
    files |= {"s pipe.jpg": (b"", "unreadable", 1), "t gone.jpg": (b"", "unreadable", 1)}
    return {utf8(name): (reason, count) for name, (_, reason, count) in files.items()}


def test_a_folder_of_everything_that_can_be_wrong(tmp_path):
    expected = everything_that_can_be_wrong(tmp_path / "raw")
    # dlib alone takes the emblem on the good photo for a second face.
    settings = {"detector": "dlib+blazeface", "frames": "all", "faces_per_shard": 3}
    with pytest.raises(ValueError, match=r"\.jxl, which is not read: 1: r\.jxl.*\n.*--allow_incomplete"):
        records_of_folder(tmp_path / "out", tmp_path / "raw", "photos", **settings)
    card = records_of_folder(tmp_path / "out", tmp_path / "raw", "photos", **settings, allow_incomplete=True)
    found = report(tmp_path / "out")
    lies = "h lies.avi"
    (promise,) = [entry for entry in found if entry["reason"] == "reservation" and entry["path"] == lies]
    assert promise["detail"] == "the container tells 27 frames, found 20"
    found = [entry for entry in found if entry is not promise]
    told = {name: [entry["reason"] for entry in found if entry["path"] == name] for name in expected}
    assert told == {name: [reason] * count for name, (reason, count) in expected.items()}
    assert [entry["path"] for entry in found] == sorted(entry["path"] for entry in found)
    noted = ("several_faces", "reservation")
    assert all(entry["outcome"] == ("noted" if entry["reason"] in noted else "dropped") for entry in found)
    assert [entry["detail"] for entry in found if entry["reason"] == "reservation"] == ["first of 2 frames"]
    statistics = card.splits["train"]
    assert statistics.items == len(expected) and statistics.noted == {"several_faces": 1, "reservation": 2}
    assert sum(statistics.dropped.values()) == len(found) - 2
    source = RecordSource(tmp_path / "out")
    kept = [source[index][records.SOURCE] for index in range(len(source))]
    good = ["a good photo.jpg", "g several faces.jpg", "l \u00fcml\u00e4ut \u4eba.jpg", "m caf\\xe9.jpg"]
    assert kept == [*good, "o photo.mp4", "p animation.gif"]
    (again,) = [records_of_folder(tmp_path / "out", tmp_path / "raw", "photos", **settings, allow_incomplete=True)]
    assert again == card


def test_an_incomplete_download_stops_the_build_unless_that_is_allowed_and_on_the_card(faces, tmp_path, monkeypatch):
    spec, _ = find("cropped_and_parsed")
    short = dataclasses.replace(
        spec,
        walk=lambda request: dataclasses.replace(spec.walk(request), shortfalls=("photos: expected 9, found 5",)),
    )
    monkeypatch.setattr(preparation, "find", lambda name: (short, ""))
    with pytest.raises(ValueError, match="cropped_and_parsed:\n  photos: expected 9, found 5\nadd the missing parts"):
        records_of_folder(tmp_path / "out", faces)
    assert not (tmp_path / "out").exists()
    card = records_of_folder(tmp_path / "out", faces, allow_incomplete=True)
    assert card.prepared["shortfalls"] == ["photos: expected 9, found 5"]
    page = (tmp_path / "out" / "README.md").read_text()
    assert "**Made of an incomplete download:**\n\n- photos: expected 9, found 5" in page
    (faces / folder.PARSING_MAPS / "10.npy").unlink()
    (faces / folder.IMAGES / "30.png").unlink()
    with pytest.raises(ValueError, match="10.png"):
        records_of_folder(tmp_path / "other", faces)
    assert not (tmp_path / "other").exists()


def test_command_line(faces, tmp_path):
    command = [sys.executable, "-W", "error", "-m", "fsfm_jax.prepare.build", "--dataset=cropped_and_parsed"]
    command += [f"--input={faces}", f"--output={tmp_path / 'My-Faces'}", "--faces_per_shard=2", "--workers=1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert read_card(tmp_path / "My-Faces").name == "my_faces"
    assert "my_faces, split train: 5 faces of 5 photos and videos in 3 shards" in done.stdout
    assert "not kept: none" in done.stdout and f"{tmp_path / 'My-Faces'}/README.md" in done.stdout
    # Another process, and not that of the test: the same bytes.
    records_of_folder(tmp_path / "here", faces, faces_per_shard=2)
    here = {name.replace("faces", "my_faces", 1): digest for name, digest in digests(tmp_path / "here").items()}
    shards = [name for name in here if "array_record" in name]
    assert len(shards) == 3 and all(digests(tmp_path / "My-Faces")[name] == here[name] for name in shards)
    with pytest.raises(ValueError, match="was started as another data set:(?s:.*)'scale': 1.3"):
        records_of_folder(tmp_path / "here", faces, faces_per_shard=2, scale=1.5)


def test_listing_names_every_choice_and_neither_jax_nor_tensorflow_is_imported():
    code = (
        "import atexit, runpy, sys, fsfm_jax.data.sources\n"
        "atexit.register(lambda: print({'jax', 'flax', 'torch', 'tensorflow'} & set(sys.modules)))\n"
        "sys.argv = ['build', '--list']\n"
        "runpy.run_module('fsfm_jax.prepare.build', run_name='__main__', alter_sys=True)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    for word in ("vggface2", "ffpp_all", "celebdf_v2", "oulu_npu", "cropped_and_parsed", "dlib", "embedded", "farl"):
        assert f"  {word} " in done.stdout
    assert done.stdout.endswith("\nset()\n")
