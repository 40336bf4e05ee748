"""Reading files for scoring: the crops are those of the preparation, and every file that has none says why."""

import dataclasses
import json

import numpy as np
import pytest
import videos
from PIL import Image
from videos import CLIP

from fsfm_jax.apps.reading import MOST_CROPS, FaceReader, Settings
from fsfm_jax.data.photo import encode_png
from fsfm_jax.data.resizing import for_evaluation
from fsfm_jax.prepare.crop import Detection, cut, square_of
from fsfm_jax.prepare.detect.detector import make_detector
from fsfm_jax.prepare.media.photo_file import read_photo
from fsfm_jax.prepare.media.photo_format import PHOTO_FORMATS

SAMPLES = CLIP.parent
GROUP = SAMPLES / "mit_faceapi_group6.jpg"
SETTINGS = Settings(side=32, detector="blazeface", frames=3)


@pytest.fixture(scope="module")
def reader() -> FaceReader:
    return FaceReader(SETTINGS)


class Stand_in:
    """A detector that sees the same boxes everywhere."""

    def __init__(self, *boxes):
        self.boxes = [Detection(*box) for box in boxes]

    def __call__(self, image):
        return self.boxes


def with_boxes(*boxes, **settings) -> FaceReader:
    made = FaceReader(dataclasses.replace(SETTINGS, detector="none", **settings))
    made._detector = Stand_in(*boxes)
    return made


def test_a_photo_gives_the_crop_of_the_preparation_as_an_evaluation_sees_it(reader):
    path = SAMPLES / "pd_nasa_astronaut.jpg"
    image = read_photo(path).image
    (box,) = make_detector("blazeface")(image)
    square = square_of(box, *image.shape[:2])
    found = reader.read(str(path))
    assert (found.kind, found.reason, found.size, found.misses) == ("photo", "", image.shape[:2], ())
    (crop,) = found.crops
    assert crop.box == (box.left, box.top, box.right, box.bottom)
    assert crop.square == (square.x, square.y, square.size)
    np.testing.assert_array_equal(crop.pixels, for_evaluation("resize_center", cut(image, square, None), 32))
    stored = FaceReader(dataclasses.replace(SETTINGS, crop_size=224)).read(str(path))
    np.testing.assert_array_equal(
        stored.crops[0].pixels, for_evaluation("resize_center", cut(image, square, 224), 32)
    )


def test_notes_of_a_photo_reach_the_reading_and_its_content_decides(tmp_path):
    photo = Image.open(SAMPLES / "pd_nasa_astronaut.jpg").resize((64, 64))
    photo.save(tmp_path / "clip.gif", save_all=True, append_images=[photo.rotate(90)])
    (tmp_path / "clip.gif").rename(tmp_path / "clip.mp4")
    found = with_boxes((8, 8, 39, 39, 1.0)).read(str(tmp_path / "clip.mp4"))
    assert (found.kind, found.notes, len(found.crops)) == ("photo", ("first of 2 frames",), 1)


def test_a_small_face_in_a_large_photo_needs_a_larger_search_which_the_sentence_says(tmp_path):
    face = Image.open(SAMPLES / "pd_nasa_astronaut.jpg").resize((96, 96), Image.Resampling.LANCZOS)
    photo = Image.new("RGB", (2600, 400), (120, 130, 110))
    photo.paste(face, (1600, 300))
    photo.save(tmp_path / "photo.png", compress_level=1)
    small = FaceReader(SETTINGS).read(str(tmp_path / "photo.png"))
    assert (small.reason, small.detail) == (
        "no_face",
        "the detector found no face; 2600x400 pixels were searched at 2048x315 (--detector_size=2048): raise it for "
        "small faces",
    )
    (crop,) = FaceReader(dataclasses.replace(SETTINGS, detector_size=8192)).read(str(tmp_path / "photo.png")).crops
    left, top, right, bottom = crop.box
    assert 1600 <= left < right <= 1696 and 300 <= top < bottom <= 396


def test_a_video_gives_equally_spaced_frames_and_how_fast_they_run(reader):
    found = reader.read(str(CLIP))
    assert [crop.frame for crop in found.crops] == [0, 22, 44]  # linspace(0, 44, 3)
    assert (found.kind, found.rate, found.size) == ("video", 15.0, (256, 256))


def test_the_largest_the_surest_or_all_faces(tmp_path):
    path = tmp_path / "photo"
    path.write_bytes(encode_png(np.zeros((100, 100, 3), np.uint8), 1))
    boxes = (0, 0, 9, 9, 5.0), (20, 20, 59, 59, 1.0), (60, 0, 79, 19, 3.0), (200, 200, 240, 240, 9.0)
    lefts = {
        faces: [crop.box[0] for crop in with_boxes(*boxes, faces=faces).read(str(path)).crops]
        for faces in ("largest", "surest", "all")
    }
    # The last box lies outside of the picture.
    assert lefts == {"largest": [20], "surest": [0], "all": [20, 60, 0]}
    for faces in lefts:  # what the detector found is told, whatever is taken
        assert with_boxes(*boxes, faces=faces).read(str(path)).found == ((0, 3),)


def test_ready_made_crops_are_not_searched(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (60, 50, 3), np.uint8)
    path = tmp_path / "crop.png"
    path.write_bytes(encode_png(image, 1))
    (crop,) = FaceReader(dataclasses.replace(SETTINGS, detector="none")).read(str(path)).crops
    np.testing.assert_array_equal(crop.pixels, for_evaluation("resize_center", image, 32))
    assert crop.box == (0, 0, 49, 59) and np.isnan(crop.sureness)


def test_with_a_parser_there_are_maps_of_the_whole_crop():
    settings = dataclasses.replace(SETTINGS, side=224, transform="resize", parser="embedded")
    (crop,) = FaceReader(settings).read(str(SAMPLES / "pd_nasa_astronaut.jpg")).crops
    assert crop.parsing_map.shape == (224, 224) and set(np.unique(crop.parsing_map)) >= {0, 1, 2, 4, 6, 10}


def test_what_holds_no_face_says_why(reader, tmp_path):
    files = {
        "plain.png": (encode_png(np.full((64, 64, 3), 90, np.uint8), 1), "photo", "no_face"),
        "page.jpg": (b"<html><script>alert(1)</script></html>", "", "unknown_format"),
        "text.jpg": (b"hello world", "", "unknown_format"),
        "xl.jpg": (b"\xff\x0a", "", "unsupported_format"),
        "cut.jpg": (GROUP.read_bytes()[:4000], "photo", "truncated"),
        "empty.mp4": (b"", "", "empty_file"),
        "cut.mp4": (videos.mp4()[:600], "video", "not_opened"),
        "recording.hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(600), "", "unknown_format"),
        "grey.avi": (videos.avi(), "video", "no_face"),
    }
    for name, (content, kind, reason) in files.items():
        (tmp_path / name).write_bytes(content)
        reading = reader.read(str(tmp_path / name))
        assert not reading.crops and reading.detail and (reading.kind, reading.reason) == (kind, reason), name
        if reading.reason == "unknown_format":
            page = "; it is an HTML page: download the file itself" if name == "page.jpg" else ""
            assert reading.detail == f"neither a photo ({PHOTO_FORMATS}) nor a video{page}"
    assert (reader.read(str(tmp_path)).kind, reader.read(str(tmp_path)).reason) == ("", "unreadable")


def test_a_video_with_a_damaged_end_keeps_the_frames_before_it(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(videos.with_damaged_end(5))
    found = with_boxes((8, 8, 39, 39, 1.0)).read(str(path))  # frames 0, 9, 19; the last five are damaged
    assert [crop.frame for crop in found.crops] == [0, 9] and not found.reason
    assert [(miss.frame, miss.reason) for miss in found.misses] == [(19, "damaged")]
    assert found.notes == ("only 2 of 3 frames could be read",)


def test_a_crowd_does_not_fill_the_memory(tmp_path, monkeypatch):
    path = tmp_path / "video.avi"
    path.write_bytes(videos.avi())
    monkeypatch.setattr("fsfm_jax.apps.reading.MOST_CROPS", 70)
    crowd = with_boxes(*[(i % 40, 2, i % 40 + 9, 11, 1.0) for i in range(100)], faces="all", frames=5)
    found = crowd.read(str(path))
    assert len(found.crops) == 64 and [miss.reason for miss in found.misses] == ["too_many"]
    assert found.found == ((0, 100),)
    few = with_boxes(*[(i, 2, i + 9, 11, 1.0) for i in range(20)], faces="all", frames=3, frame_faces=2)
    assert [crop.frame for crop in few.read(str(path)).crops] == [0, 0, 9, 9, 19, 19]
    assert MOST_CROPS == 4096


def test_a_failing_detector_costs_one_frame(tmp_path):
    path = tmp_path / "video.avi"
    path.write_bytes(videos.avi())
    reader = with_boxes((8, 8, 39, 39, 1.0))
    calls = []

    def sometimes(image):
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("no memory for this")
        return [Detection(8, 8, 39, 39, 1.0)]

    reader._detector = sometimes
    found = reader.read(str(path))
    assert [crop.frame for crop in found.crops] == [0, 19]
    assert [(miss.frame, miss.reason) for miss in found.misses] == [(9, "failed")]
    assert "no memory for this" in found.misses[0].detail


@pytest.mark.parametrize("changes, text", [
        ({"transform": "crop"}, "transform: expected one of resize, resize_center; found 'crop'"),
        ({"faces": "two"}, "faces: expected one of largest, surest, all; found 'two'"),
        ({"frames": 0}, "frames: expected 1 to 1024 of each video; found 0"),
        ({"scale": 9.0}, "scale: expected 0.5 to 5 times the detector's box; found 9.0"),
        ({"frame_faces": 65}, "frame_faces: expected 1 to 64 of each frame; found 65"),
        ({"crop_size": 0}, "crop_size: expected at least 1 pixel; found 0"),
        ({"detector_size": 63}, "detector_size: expected 64 to 16384 pixels; found 63"),
        ({"parser": "embedded"}, "expected resize to that; found resize_center to 32"),
    ])  # fmt: skip
def test_settings_that_do_not_fit_are_refused(changes, text):
    with pytest.raises(ValueError, match=text):
        dataclasses.replace(SETTINGS, **changes)
    assert Settings(**json.loads(json.dumps(dataclasses.asdict(SETTINGS)))) == SETTINGS



