"""From a photo or video to its faces, with a detector and a parser that do as they are told."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from fsfm_jax.data.photo import encode_jpeg, encode_png
from fsfm_jax.prepare import faces as module
from fsfm_jax.prepare.crop import Detection, NoFace, Square
from fsfm_jax.prepare.example import Face
from fsfm_jax.prepare.faces import FaceMaker, Incident
from fsfm_jax.prepare.manifests.manifest import Item
from fsfm_jax.prepare.options import Options

BOX = Detection(10, 20, 29, 39, 0.5)  # 19 across: a crop of int(24.7) = 24 around (19, 29), from (7, 17)


class Detector:
    """Finds what it is told to, by the brightness of the upper left pixel."""

    version = "fake"

    def __init__(self, found: dict[int, list[Detection] | Exception]):
        self.found, self.seen = found, []

    def __call__(self, image: np.ndarray) -> list[Detection]:
        self.seen.append(image.shape)
        found = self.found[int(image[0, 0, 0])]
        if isinstance(found, Exception):
            raise found
        return found


class Parser:
    version = "fake"

    def __init__(self, error: Exception | None = None):
        self.error, self.seen = error, []

    def __call__(self, image, box, square, size):
        self.seen.append((image.shape, box, square, size))
        if self.error is not None:
            raise self.error
        return np.full((size, size), 3, np.uint8)


@pytest.fixture
def make(monkeypatch, tmp_path):
    """`make(found, **options)(item)`: the outcomes of an item."""

    def prepare(found=None, error=None, **options):
        detector, parser = Detector(found or {}), Parser(error)
        monkeypatch.setattr(module, "make_detector", lambda name: detector)
        monkeypatch.setattr(module, "make_parser", lambda name, weights: parser)
        maker = FaceMaker(Options(**{"detector": "dlib", "parser": "embedded", **options}))
        run = lambda item: list(maker(tmp_path, item))  # noqa: E731
        run.detector, run.parser = detector, parser
        return run

    return prepare


def picture(brightness: int, height: int = 60, width: int = 80) -> np.ndarray:
    image = np.random.default_rng(brightness).integers(0, 256, (height, width, 3), np.uint8)
    image[0, 0] = brightness
    return image


def write(directory: Path, name: str, image: np.ndarray) -> Item:
    (directory / name).write_bytes(encode_png(image, 1))
    return Item(name, "video of it", 1, "a method")


def test_the_best_face_is_cropped_and_parsed(make, tmp_path):
    other = Detection(40, 5, 59, 24, 0.25)
    run, image = make({7: [BOX, other]}), picture(7)
    note, face = run(write(tmp_path, "a.png", image))
    assert note == Incident("a.png", -1, "noted", "several_faces", "2 faces")
    assert (face.source, face.video, face.frame, face.label, face.method) == ("a.png", "video of it", -1, 1, "a method")
    assert face.box == (10, 20, 29, 39) and face.crop == (7, 17, 24) and face.score == 0.5
    assert run.parser.seen == [((60, 80, 3), BOX, Square(7, 17, 24), 224)]
    assert (face.parsing_map == 3).all()
    assert module.stored_pixels(face.image).shape == (224, 224, 3)


def test_what_is_stored_is_the_very_pixels_or_a_jpeg(make, tmp_path):
    image = picture(7)
    (face,) = make({7: [BOX]}, parser="none", image_size=None)(write(tmp_path, "a.png", image))
    assert face.parsing_map is None
    np.testing.assert_array_equal(module.stored_pixels(face.image), image[17:41, 7:31])
    (face,) = make({7: [BOX]}, image_encoding="jpeg")(write(tmp_path, "a.png", picture(7)))
    assert face.image.startswith(b"\xff\xd8\xff")


@pytest.mark.parametrize("found, error, reason, detail", [
        ([], None, "no_face", ""),
        ([Detection(90, 70, 99, 79, 1.0)], None, "outside", "has no pixel in a picture of 60x80"),
        ([BOX], NoFace("not one"), "not_parsed", "not one"),
        ([BOX], RuntimeError("out of order"), "failed", "RuntimeError: out of order"),
        (cv2.error("bad"), None, "failed", "error: bad"),
    ])  # fmt: skip
def test_what_is_not_kept_is_told_with_a_reason(make, tmp_path, found, error, reason, detail):
    (incident,) = make({7: found}, error)(write(tmp_path, "a.png", picture(7)))
    assert (incident.path, incident.outcome, incident.reason) == ("a.png", "dropped", reason)
    assert detail in incident.detail
    assert reason in module.REASONS


def test_a_file_that_is_gone_is_told_and_a_fault_of_ours_is_not_taken_for_one_of_the_file(make, tmp_path):
    (incident,) = make()(Item("gone.png", "gone"))
    assert (incident.outcome, incident.reason) == ("dropped", "unreadable")
    with pytest.raises(TypeError):
        make({7: [BOX]}, TypeError("a bug"))(write(tmp_path, "a.png", picture(7)))


class Video:
    """Frames whose upper left pixel is their number."""

    def __init__(self, count: int, missing=(), note=""):
        self.count, self.missing, self.notes = count, missing, (note,) if note else ()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def read(self, index: int) -> np.ndarray:
        if index in self.missing:
            raise module.Unusable("frame_missing", f"no frame {index}")
        return picture(index)


def of_video(monkeypatch, run, video: Video, sampling: str) -> tuple[list[int], list[tuple[int, str, str]]]:
    """Frames of the faces, and the incidents, of a video."""
    monkeypatch.setattr(module.HERE, "open_video", lambda path: video, raising=False)
    outcomes = run(Item("v.mp4", "v", 0, "m", sampling=sampling))
    assert all(part.source == "v.mp4" and part.video == "v" for part in outcomes if isinstance(part, Face))
    return (
        [part.frame for part in outcomes if isinstance(part, Face)],
        [(part.frame, part.outcome, part.reason) for part in outcomes if isinstance(part, Incident)],
    )


def test_frames_equally_spaced(make, monkeypatch):
    # linspace(0, 99, 5) = 0, 24.75, 49.5, 74.25, 99.
    run = make({0: [BOX], 24: [], 49: [BOX, BOX], 99: [BOX]})
    frames, incidents = of_video(monkeypatch, run, Video(100, missing=(74,)), "spaced:5")
    assert frames == [0, 49, 99]
    assert incidents == [(24, "dropped", "no_face"), (49, "noted", "several_faces"), (74, "dropped", "frame_missing")]


def test_a_pair_goes_on_to_the_next_frame_until_there_is_a_face(make, monkeypatch):
    # 20 frames: from 6, and from 6 + 10 = 16. The second chain finds nothing up to the end.
    run = make({6: [], 7: [], 8: [BOX], 16: [], 17: [], 18: [], 19: []})
    frames, incidents = of_video(monkeypatch, run, Video(20), "pair")
    assert frames == [8]
    assert incidents == [(6, "noted", "next_frame"), (19, "dropped", "no_face")]


def test_a_reservation_is_noted(make, monkeypatch):
    frames, incidents = of_video(monkeypatch, make({0: [BOX], 1: [BOX]}), Video(2, note="deinterlaced"), "all")
    assert frames == [0, 1] and incidents == [(-1, "noted", "reservation")]


def crop_item(tmp_path: Path, data: bytes) -> Item:
    (tmp_path / "crop").write_bytes(data)
    return Item("crop", "crop")


def test_crops_are_not_searched_for_faces(make, tmp_path):
    run, image = make(detector="none"), picture(7, 224, 224)
    (face,) = run(crop_item(tmp_path, data := encode_png(image, 3)))
    assert face.image == data and face.box == (-1,) * 4 and face.crop == (-1,) * 3 and math.isnan(face.score)
    assert run.detector.seen == []
    # The crop is all there is: the box is the whole of it.
    ((shape, box, square, size),) = run.parser.seen
    assert shape == (224, 224, 3) and (box.left, box.top, box.right, box.bottom) == (0, 0, 223, 223)
    assert square == Square(0, 0, 224) and size == 224


def test_a_crop_turned_by_its_exif_is_stored_upright(make, tmp_path):
    # A reader of records ignores the note, so that the pixels themselves must be turned.
    image = np.zeros((224, 224, 3), np.uint8)
    image[:112] = 200
    data = encode_jpeg(image, 95)
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x03\0\0\0\0\0\0\0"  # turned by 180 degrees
    turned = data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:]
    (kept,) = make(detector="none")(crop_item(tmp_path, data))
    (face,) = make(detector="none")(crop_item(tmp_path, turned))
    assert kept.image == data and face.image != turned
    stored = module.stored_pixels(face.image)
    assert stored[50].mean() < 5 and stored[170].mean() > 195


def test_black_borders_are_cut_off(make, tmp_path):
    image = np.zeros((50, 60, 3), np.uint8)
    image[10:30, 20:50] = 90
    options = {"detector": "none", "parser": "none", "image_size": None, "black_borders": True}
    (face,) = make(**options)(crop_item(tmp_path, encode_png(image, 1)))
    assert module.stored_pixels(face.image).shape == (20, 30, 3)
    (incident,) = make(**options)(crop_item(tmp_path, encode_png(np.zeros((9, 9, 3), np.uint8), 1)))
    assert incident.reason == "all_black"
