"""Detectors: where windows lie, what the network's outputs mean, how two detectors are joined, and real pictures."""

import functools
import os
from pathlib import Path

import cv2
import dlib
import numpy as np
import pytest
from PIL import Image

from fsfm_jax.prepare import tflite
from fsfm_jax.prepare.crop import Detection, square_of
from fsfm_jax.prepare.detect import blazeface, yunet
from fsfm_jax.prepare.detect import detector as module
from fsfm_jax.prepare.detect.blazeface import BlazeFace, Face, distinct, edges_of, overlap, view, windows
from fsfm_jax.prepare.detect.detector import Bounded, DlibAndBlazeFace, make_detector
from fsfm_jax.prepare.detect.dlib_hog import DlibHog

SAMPLES = Path(module.__file__).parents[2] / "data" / "samples"
CROPS = sorted(SAMPLES.glob("mit_faceapi_sample*.jpg"))
ASTRONAUT, GROUP = SAMPLES / "pd_nasa_astronaut.jpg", SAMPLES / "mit_faceapi_group6.jpg"
BADGE = SAMPLES / "negative" / "neg_badge_dlib_false_positive.jpg"
NAMES = ["dlib", "blazeface", "dlib+blazeface"]


def picture(path: Path) -> np.ndarray:
    return np.array(Image.open(path).convert("RGB"))


@pytest.fixture(scope="module")
def detectors():
    return {name: make_detector(name) for name in NAMES}


@pytest.fixture(scope="module")
def found_in(detectors):
    """`found_in(name, path)`: what a detector finds in a picture, which it is shown once."""
    return functools.cache(lambda name, path: tuple(detectors[name](picture(path))))


@pytest.fixture(scope="module")
def network():
    return BlazeFace()


def holds(box: Detection, point: tuple[float, float]) -> bool:
    return box.left <= point[0] <= box.right and box.top <= point[1] <= box.bottom


# Windows


@pytest.mark.parametrize(("height", "width", "found"), [
        (1, 1, [(0, 0, 1)]),
        (319, 318, [(-1, 0, 319), (0, 0, 160), (79, 0, 160), (158, 0, 160)]),
        (200, 600, [(0, -200, 600), (0, -50, 300), (150, -50, 300), (300, -50, 300)]),
    ])  # fmt: skip
def test_windows_by_hand(height, width, found):
    listed = list(windows(height, width))
    assert listed[: len(found)] == found
    if height != 319:
        assert listed == found
    else:
        # Three columns in each of three rows: 319 - 160 is split into two steps of 79.5, 79 to the even side.
        assert [y for _, y, _ in listed[1:]] == [0] * 3 + [80] * 3 + [159] * 3


@pytest.mark.parametrize(("height", "width"), [(1080, 1920), (2048, 777), (640, 641)])
def test_half_a_window_always_lies_in_one_window(height, width):
    by_side = {}
    for x, y, side in windows(height, width):
        by_side.setdefault(side, []).append((x, y))
    assert len(by_side) == 3
    for side, starts in by_side.items():
        half = side // 2 - 1  # starts are rounded
        for length, axis in ((width, 0), (height, 1)):
            ends = {start[axis] for start in starts}
            for low in range(0, length - half):
                assert any(end <= low and low + half <= end + side for end in ends), (side, axis, low)


def test_a_view_is_scaled_and_black_outside():
    image = np.arange(1, 65, dtype=np.uint8).reshape(8, 8, 1).repeat(3, 2)
    shown = view(image, -8, -4, 16)  # eight times: the picture is at rows 32..95, columns 64..127
    assert shown.shape == (128, 128, 3) and not shown[:32].any() and not shown[96:].any() and not shown[:, :64].any()
    np.testing.assert_array_equal(shown[32:96, 64:, 0], image[:, :, 0].repeat(8, 0).repeat(8, 1))
    assert not view(image, 8, 0, 16).any() and not view(image, 0, -16, 16).any()
    halved = view(np.full((256, 256, 3), 7, np.uint8), 0, 0, 256)
    np.testing.assert_array_equal(halved, np.full((128, 128, 3), 7, np.uint8))


# BlazeFace


def test_anchors_and_overlaps_by_hand():
    assert blazeface.ANCHORS.shape == (16 * 16 * 2 + 8 * 8 * 6, 2)
    np.testing.assert_array_equal(blazeface.ANCHORS[[0, 1, 2, 32, 512, 518, 560]], [
        [4, 4], [4, 4], [12, 4], [4, 12], [8, 8], [24, 8], [8, 24],
    ])  # fmt: skip
    boxes = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [2, 0, 4, 2], [0, 0, 1, 4.0]])
    np.testing.assert_allclose(overlap(boxes[0], boxes), [1, 1 / 7, 0, 2 / 6])
    assert overlap(np.zeros(4), np.zeros((1, 4)))[0] == 0


def test_of_overlapping_faces_the_surest_is_kept_and_its_box_becomes_that_of_dlib():
    points = np.zeros((6, 2))
    faces = [
        Face(np.array(box, float), points, score)
        for box, score in (((0, 0, 10, 10), 0.6), ((1, 0, 11, 10), 0.9), ((50, 0, 60, 10), 0.7))
    ]
    assert [face.score for face in distinct(faces)] == [0.9, 0.7]
    points = np.array([[40, 50], [60, 50], [50, 60], [50, 81], [0, 0], [0, 0]], float)
    # Width 0.96 of 100 around (50, (50 + 81) / 2 - 3.5).
    box = Face(np.array([1, 2, 101, 102.0]), points, 0.8).detection()
    assert box == Detection(2, 14, 98, 110, 0.8)


# Read off an enlarged picture.
EYES, MOUTH = np.array([[203.7, 100.8], [246.5, 103.7]]), (223.5, 138, 155)  # x and the rows from lip to lip
FACE = (225.0, 125.0)


@pytest.mark.parametrize("side", [180, 250, 512, 700])
@pytest.mark.parametrize("mirrored", [False, True])
def test_points_are_where_they_are_seen(network, side, mirrored):
    image, start = picture(ASTRONAUT), (225 - side // 2, 125 - side // 2)
    boxes, points, scores = network._outputs(image, *start, side, mirrored)
    first = scores.argmax()
    assert scores[first] > 0.75
    # The network is shown `side` pixels as 128, and is right to two and a half of these; half a cell would be four.
    near = 2.5 * side / 128
    assert np.abs(points[first][:2] - EYES).max() < near
    assert abs(points[first][3, 0] - MOUTH[0]) < near and MOUTH[1] - near < points[first][3, 1] < MOUTH[2] + near
    # The nose is between the eyes; the ears are outside of them, each on its own side.
    assert points[first][4, 0] < points[first][0, 0] < points[first][2, 0] < points[first][1, 0] < points[first][5, 0]
    assert (boxes[first][:2] < points[first][:4].min(0)).all() and (points[first][:4].max(0) < boxes[first][2:]).all()


def test_a_mirrored_look_is_a_look_at_the_mirrored_picture(network):
    image = picture(ASTRONAUT)[60:188, 150:278]
    boxes, points, scores = network._outputs(np.ascontiguousarray(image[:, ::-1]), 0, 0, 128)
    again_boxes, again_points, again_scores = network._outputs(image, 0, 0, 128, True)
    np.testing.assert_array_equal(again_scores, scores)
    np.testing.assert_allclose(
        again_boxes, np.stack([128 - boxes[:, 2], boxes[:, 1], 128 - boxes[:, 0], boxes[:, 3]], 1)
    )
    np.testing.assert_allclose(again_points[:, 0], (128, 0) + points[:, 1] * (-1, 1))
    np.testing.assert_allclose(again_points[:, 5], (128, 0) + points[:, 4] * (-1, 1))


def test_inside_finds_the_face_of_the_box_only(network, found_in):
    image = picture(GROUP)
    for box in found_in("dlib", GROUP):
        face = network.inside(image, edges_of(box))
        assert face is not None and holds(box, face.points[2])
    assert network.inside(image, np.array([200, 300, 260, 360.0])) is None


# dlib


def test_dlib_is_dlib_upsampled_once(found_in):
    for path in (ASTRONAUT, GROUP, CROPS[0]):
        boxes, scores, _ = dlib.get_frontal_face_detector().run(picture(path), 1)
        wanted = [
            Detection(box.left(), box.top(), box.right(), box.bottom(), score)
            for box, score in zip(boxes, scores, strict=True)
        ]
        assert [*found_in("dlib", path)] == wanted == sorted(wanted, key=lambda box: -box.score)
    assert found_in("dlib", ASTRONAUT)[0].left == 175  # 179 without upsampling
    assert DlibHog(upsampled=False)(picture(ASTRONAUT))[0].left == 179


# Pictures of every size


class Scripted:
    """A detector with given boxes that remembers what it was shown."""

    name, version = "scripted", "1"

    def __init__(self, *boxes: Detection):
        self.boxes, self.seen = list(boxes), []

    def __call__(self, image):
        self.seen.append(image)
        return list(self.boxes)


def test_a_picture_up_to_the_limit_is_passed_on_and_a_larger_one_shrunk():
    detector, image = Scripted(Detection(1, 2, 3, 4, 0.5)), np.zeros((2048, 30, 3), np.uint8)
    assert Bounded(detector)(image) == [Detection(1, 2, 3, 4, 0.5)]
    assert detector.seen[0] is image
    detector = Scripted(Detection(0, 0, 9, 9, 0.5), Detection(-4, 100, 2047, 511, 0.1))
    image = np.zeros((1024, 4096, 3), np.uint8)
    image[::2] = 100  # rows of 0 and 100 average to 50
    # Pixels 0..9 of the small picture are pixels 0..19 of the large one.
    assert Bounded(detector)(image) == [Detection(0, 0, 19, 19, 0.5), Detection(-8, 200, 4095, 1023, 0.1)]
    np.testing.assert_array_equal(detector.seen[0], np.full((512, 2048, 3), 50, np.uint8))
    assert "2048" in Bounded(detector).version and Bounded(detector).name == "scripted"
    detector = Scripted(Detection(0, 0, 0, 0, 0.5))
    assert Bounded(detector)(np.zeros((1, 8192, 3), np.uint8)) == [Detection(0, 0, 3, 0, 0.5)]
    assert detector.seen[0].shape == (1, 2048, 3)
    # A thread of a picture keeps a pixel.
    detector = Scripted(Detection(0, 0, 0, 0, 0.5))
    assert Bounded(detector)(np.zeros((8192, 1, 3), np.uint8)) == [Detection(0, 0, 0, 3, 0.5)]
    assert detector.seen[0].shape == (2048, 1, 3)


def test_what_is_no_picture_is_refused():
    for image in (np.zeros((9, 9)), np.zeros((9, 9, 3)), np.zeros((9, 9, 4), np.uint8), np.zeros((0, 9, 3), np.uint8)):
        with pytest.raises(ValueError, match=r"expected a picture \[H, W, 3\] uint8, found \[[09], 9"):
            Bounded(Scripted())(image)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 1), (5, 500), (500, 5), (1, 3000), (60, 60)])
def test_pictures_without_a_face_have_none(detectors, name, shape):
    for image in (
        np.full((*shape, 3), 128, np.uint8),
        np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8),
    ):
        assert detectors[name](image) == []


def test_a_view_into_a_picture_and_a_grey_photo_are_taken(detectors):
    turned = picture(ASTRONAUT)[:, ::-1]
    assert not turned.flags.c_contiguous
    for detector in detectors.values():
        assert detector(turned) == detector(turned.copy()) != []
        assert holds(detector(np.array(Image.open(ASTRONAUT).convert("L").convert("RGB")))[0], FACE)


# dlib and BlazeFace together


class ScriptedNetwork:
    """Stands for BlazeFace: given faces, and which boxes it confirms."""

    def __init__(self, faces=(), confirms=()):
        self.found, self.confirms, self.asked = list(faces), list(confirms), []

    def faces(self, image):
        return self.found

    def confirm(self, image, box, least):
        self.asked.append((tuple(box), least))
        return "a face" if tuple(box) in self.confirms else None


def face_at(left: int, top: int, score: float) -> Face:
    """A face whose box in dlib's manner is 96 pixels wide and starts at (left, top)."""
    middle = np.array([left + 48, top + 48 + 3.5])
    return Face(np.array([0, 0, 100, 100.0]), np.tile(middle, (6, 1)), score)


def together(plain: Scripted, upsampled: Scripted, network: ScriptedNetwork) -> DlibAndBlazeFace:
    detector = DlibAndBlazeFace.__new__(DlibAndBlazeFace)  # without loading the models
    detector._looks, detector._network = (plain, upsampled), network
    return detector


IMAGE = np.zeros((9, 9, 3), np.uint8)


def test_faces_of_both_come_first_then_those_of_blazeface_alone():
    plain = Scripted(Detection(300, 300, 396, 396, 1.5), Detection(2, 0, 98, 96, 0.25))
    upsampled, network = Scripted(), ScriptedNetwork([face_at(600, 0, 0.9), face_at(0, 0, 0.8)], [(300, 300, 396, 396)])
    assert together(plain, upsampled, network)(IMAGE) == [
        Detection(300, 300, 396, 396, 2.5), Detection(2, 0, 98, 96, 1.25), Detection(600, 0, 696, 96, 0.9),
    ]  # fmt: skip
    assert upsampled.seen == []
    # What BlazeFace saw by itself is not asked for again.
    assert network.asked == [((300, 300, 396, 396), blazeface.AGREED)]


def test_upsampling_is_for_pictures_where_nothing_was_confirmed():
    plain, upsampled = Scripted(Detection(0, 0, 90, 90, 0.1)), Scripted(Detection(5, 5, 50, 50, 0.5))
    network = ScriptedNetwork(confirms=[(5, 5, 50, 50)])
    assert together(plain, upsampled, network)(IMAGE) == [Detection(5, 5, 50, 50, 1.5)]
    assert together(plain, upsampled, ScriptedNetwork())(IMAGE) == []
    assert together(Scripted(), Scripted(), ScriptedNetwork([face_at(7, 7, 0.8)]))(IMAGE) == [
        Detection(7, 7, 103, 103, 0.8)
    ]


# Real pictures


@pytest.mark.parametrize("name", NAMES)
def test_each_crop_of_the_samples_has_one_face_in_its_middle(found_in, name):
    assert len(CROPS) == 19
    for path in CROPS:
        height, width, _ = picture(path).shape
        found = found_in(name, path)
        assert len(found) == 1 and holds(found[0], (width / 2, height / 2)), path.name


@pytest.mark.parametrize("name", NAMES)
def test_all_four_faces_of_the_group_are_found(found_in, name):
    found = found_in(name, GROUP)
    noses = [(96, 180), (203, 138), (340, 130), (424, 120)]  # read off the picture, to about 8 pixels
    assert len(found) == 4
    assert sorted([sum(holds(box, nose) for box in found) for nose in noses]) == [1, 1, 1, 1]
    assert [box.score for box in found] == sorted((box.score for box in found), reverse=True)


def test_the_badges_that_dlib_takes_for_faces_are_none(found_in):
    assert DlibHog(upsampled=False)(picture(BADGE)) and len(found_in("dlib", ASTRONAUT)) == 2
    for name in ("blazeface", "dlib+blazeface"):
        assert found_in(name, BADGE) == () and len(found_in(name, ASTRONAUT)) == 1


def test_a_face_too_small_for_dlib_is_found(detectors):
    # A face of about 25 pixels; dlib needs 40.
    small = cv2.resize(picture(ASTRONAUT), (140, 140), interpolation=cv2.INTER_AREA)
    assert detectors["dlib"](small) == []
    for name in ("blazeface", "dlib+blazeface"):
        (box,) = detectors[name](small)
        assert holds(box, (FACE[0] * 140 / 512, FACE[1] * 140 / 512))


def test_crops_are_about_those_of_dlib(found_in):
    def crop(box, image):
        square = square_of(box, *image.shape[:2])
        return np.array([square.x, square.y, square.x + square.size, square.y + square.size], float)

    overlaps = {"blazeface": [], "dlib+blazeface": []}
    for path in [*CROPS, ASTRONAUT]:
        image = picture(path)
        paper = crop(found_in("dlib", path)[0], image)
        for name, values in overlaps.items():
            values.append(overlap(paper, crop(found_in(name, path)[0], image)[None])[0])
    # dlib's own boxes with and without upsampling overlap by 0.80 (median of portraits).
    for values in overlaps.values():
        assert np.median(values) > 0.8 and min(values) > 0.6


def test_every_frame_of_the_clip_has_one_face_and_the_same_one_again(detectors):
    clip, frames = cv2.VideoCapture(str(SAMPLES / "pd_nasa_astronaut_pan.mp4")), []
    while True:
        read, frame = clip.read()
        if not read:
            break
        frames.append(np.ascontiguousarray(frame[:, :, ::-1]))
    assert len(frames) == 45
    found = [detectors["dlib+blazeface"](frame) for frame in frames]
    assert [len(boxes) for boxes in found] == [1] * 45
    assert make_detector("dlib+blazeface")(frames[20]) == found[20]


# Names


@pytest.mark.parametrize("name", NAMES)
def test_a_detector_says_what_it_is(detectors, name):
    assert detectors[name].name == name and name in module.DETECTORS
    for part, word in (("dlib", f"dlib {dlib.__version__} HOG"), ("blazeface", "BlazeFace short range")):
        assert (word in detectors[name].version) == (part in name.split("+"))


def test_opening_a_model_hides_the_lines_of_litert_and_no_other(monkeypatch, capfd):
    class Narrating(tflite.Interpreter):
        def allocate_tensors(self):
            os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\nours\n")
            super().allocate_tensors()

    monkeypatch.setattr(tflite, "Interpreter", Narrating)
    tflite.TfliteModel("selfie_segmentation.tflite")
    os.write(2, b"later\n")
    assert capfd.readouterr().err == "ours\nlater\n"


@pytest.mark.parametrize(("name", "message"), [
        ("dlibb", "'dlibb': expected one of dlib, .*did you mean 'dlib'?"),
        ("blazeface+dlib", "did you mean"),
        ("yunet", "did you mean 'yunet:FILE'?"),
        ("", r"detector '': expected one of dlib, blazeface, dlib\+blazeface, yunet:FILE$"),
        ("dlib:x", "expected one of"),
    ])  # fmt: skip
def test_an_unknown_name_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        make_detector(name)


def test_yunet_without_its_file_says_what_to_bring(tmp_path):
    with pytest.raises(FileNotFoundError, match="face_detection_yunet_.*nothing is downloaded.*--detector=yunet:FILE"):
        make_detector(f"yunet:{tmp_path / 'missing.onnx'}")
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(ValueError, match="cannot load .*text.onnx"):
        make_detector(f"yunet:{tmp_path / 'text.onnx'}")


def test_yunet_is_given_bgr_and_its_faces_become_boxes(tmp_path, monkeypatch):
    class Fake:
        def __init__(self, model, config, size, *rest):
            assert model == str(tmp_path / "yunet.onnx") and config == "" and rest == (0.7, 0.3, 1000)

        def setInputSize(self, size):  # noqa: N802
            self.size = size

        def detect(self, image):
            assert self.size == (60, 40) and image.shape == (40, 60, 3) and tuple(image[0, 0]) == (3, 2, 1)
            # Eyes 100 apart; the mouth 100 below their middle.
            face = [9, 9, 9, 9, 0, 0, 100, 0, 50, 50, 30, 100, 70, 100]
            return 1, np.array([[*face, 0.8], [*face, 0.9]], np.float32) if image[0, 1, 0] == 3 else None

    monkeypatch.setattr(yunet.cv2, "FaceDetectorYN", type("FaceDetectorYN", (), {"create": Fake}))
    (tmp_path / "yunet.onnx").write_bytes(b"model")
    detector = make_detector(f"yunet:{tmp_path / 'yunet.onnx'}")
    assert "yunet.onnx sha256 9372c470eeadd5ec" in detector.version  # sha256 of b"model"
    image = np.full((40, 60, 3), (1, 2, 3), np.uint8)
    first, second = detector(image)
    # 1.108 * 200 = 221.6 wide, around (50, 50 - 0.036 * 221.6 = 42.02).
    assert first == Detection(-61, -69, 161, 153, pytest.approx(0.9)) and second.score == pytest.approx(0.8)
    image[0, 1] = 0
    assert detector(image) == []
