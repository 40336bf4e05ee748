"""Parsers: names, what is asked of the optional packages, and where the labels land in the crop.

The packages themselves are not installed: small stand-ins check what they are given and answer with known logits.
"""

import hashlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from fsfm_jax.prepare.crop import Detection, NoFace, Square, cut
from fsfm_jax.prepare.parse import bisenet, farl
from fsfm_jax.prepare.parse import parser as parsing
from fsfm_jax.prepare.parse.bisenet import crop_of, cut_frame, frame_of, sides_by_place
from fsfm_jax.prepare.parse.parser import make_parser
from fsfm_jax.regions import CELEBAMASK_CLASSES, CLASSES

ASTRONAUT = Path(parsing.__file__).parents[2] / "data" / "samples" / "pd_nasa_astronaut.jpg"
BOX, SQUARE = Detection(175, 76, 265, 166, 1.21), Square(162, 63, 117)
SKIN, HAIR, NOSE = CLASSES.index("skin"), CLASSES.index("hair"), CLASSES.index("nose")
WEIGHTS = b"weights"


@pytest.fixture
def weights(tmp_path) -> str:
    (tmp_path / "weights.bin").write_bytes(WEIGHTS)
    return str(tmp_path / "weights.bin")


def astronaut() -> np.ndarray:
    return np.array(Image.open(ASTRONAUT).convert("RGB"))


# Names


def test_the_embedded_parser_needs_nothing():
    parser = make_parser("embedded")
    assert parser.name == "embedded" and parser.version
    with pytest.raises(ValueError, match="has its own models, found weights 'file'"):
        make_parser("embedded", "file")


def test_an_unknown_name_is_refused():
    for name, message in (("Farl", "'Farl': expected one of embedded, farl, bisenet, boxes; did you mean 'farl'?"),
                          ("", "parser '': expected one of embedded, farl, bisenet, boxes$")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            make_parser(name)
    assert list(parsing.PARSERS) == ["embedded", "farl", "bisenet", "boxes"]


@pytest.mark.parametrize(("name", "file", "package"), [
        ("farl", r"face_parsing\.farl\.lapa\.main_ema_136500_jit191\.pt", r"--no-deps pyfacer==0\.0\.5"),
        ("bisenet", r"resnet18\.onnx or resnet34\.onnx", r"pip install onnxruntime==1\.32\.0"),
    ])  # fmt: skip
def test_without_weights_or_package_it_says_what_to_bring_and_asks_nobody(name, file, package, weights, monkeypatch):
    for library in ("facer", "torch", "onnxruntime"):
        monkeypatch.setitem(sys.modules, library, None)
    for place in ("", "missing.bin", "https://example.org/weights.bin", "."):
        with pytest.raises(FileNotFoundError, match=f"parser {name}: expected .*{file}.*parser_weights=FILE.*nothing"):
            make_parser(name, place)
    with pytest.raises(RuntimeError, match=f"parser {name} needs .*{package}"):
        make_parser(name, weights)


# FaRL


class Tensor:
    """As much of a torch tensor as is used."""

    def __init__(self, values: np.ndarray):
        self.values, self.place = values, None

    def to(self, device) -> "Tensor":
        moved = Tensor(self.values)
        moved.place = device
        return moved

    def cpu(self) -> "Tensor":
        return self

    def numpy(self) -> np.ndarray:
        return self.values

    def __getitem__(self, index) -> "Tensor":
        return Tensor(self.values[index])


def torch_tensor(values) -> Tensor:
    array = np.array(values)
    # As torch: floats are float32, integers int64.
    return Tensor(array.astype(np.float32) if array.dtype.kind == "f" else array)


class Facer:
    """Stands for FaRL: skin where the crop is red, hair where it is green, else background."""

    def __init__(self, labels=farl.LABELS):
        self.labels, self.calls, self.device = labels, [], None

    def face_parser(self, name, device, **options):
        self.name, self.device, self.options = name, device, options
        return self

    def __call__(self, images: Tensor, data: dict[str, Tensor]) -> dict:
        assert images.place is self.device and all(value.place is self.device for value in data.values())
        assert images.values.dtype == np.float32 and images.values.shape[:2] == (1, 3)
        assert images.values.flags.c_contiguous and 0 <= images.values.min() and images.values.max() <= 1
        shapes = {key: (value.values.shape, value.values.dtype.name) for key, value in data.items()}
        assert shapes == {
            "rects": ((1, 4), "float32"), "points": ((1, 5, 2), "float32"), "scores": ((1,), "float32"),
            "image_ids": ((1,), "int64"),
        }  # fmt: skip
        self.calls.append((images.values, {key: value.values for key, value in data.items()}))
        logits = np.full((1, 11, *images.values.shape[2:]), -9, np.float32)
        logits[:, 0], logits[:, SKIN], logits[:, HAIR] = 0.5, images.values[:, 0], images.values[:, 1]
        return {**data, "seg": {"logits": Tensor(logits), "label_names": self.labels}}


@pytest.fixture
def facer(monkeypatch):
    """Makes `facer` and `torch` importable, and returns the parser that the first one makes."""

    def install(**options) -> Facer:
        fake, torch = Facer(**options), ModuleType("torch")
        torch.__version__, torch.threads = "2.0", []
        torch.set_num_threads = torch.threads.append
        torch.device = lambda name: SimpleNamespace(name=name, __str__=lambda: name)
        torch.cuda = SimpleNamespace(is_available=lambda: False)
        torch.tensor, torch.from_numpy = torch_tensor, Tensor
        module = ModuleType("facer")
        module.face_parser = fake.face_parser
        monkeypatch.setitem(sys.modules, "facer", module)
        monkeypatch.setitem(sys.modules, "torch", torch)
        fake.torch = torch
        return fake

    return install


def test_farl_is_loaded_from_the_file(facer, weights):
    fake = facer()
    parser = make_parser("farl", weights)
    assert (fake.name, fake.options, fake.device.name) == ("farl/lapa/448", {"model_path": weights}, "cpu")
    assert fake.torch.threads == [1]
    assert parser.name == "farl" and hashlib.sha256(WEIGHTS).hexdigest()[:16] in parser.version
    assert "pyfacer==0.0.5" in parser.version and "torch 2.0" in parser.version


def test_farl_sees_the_crop_and_points_on_the_face_in_it(facer, weights):
    fake, image = facer(), astronaut()
    make_parser("farl", weights)(image, BOX, SQUARE, 224)
    ((pixels, data),) = fake.calls
    np.testing.assert_array_equal(np.rint(pixels[0] * 255), cut(image, SQUARE, 224).transpose(2, 0, 1))
    np.testing.assert_array_equal(data["rects"], [[0, 0, 224, 224]])
    np.testing.assert_array_equal((data["scores"][0], data["image_ids"][0]), (1, 0))
    # Eyes read off an enlarged picture; the network is right to 2.5 of its pixels, each of which shows 225 / 128.
    scale = 224 / SQUARE.size
    right, left, nose, corner, other = data["points"][0]
    for found, seen in ((right, (203.7, 100.8)), (left, (246.5, 103.7))):
        assert np.abs(found - (np.array(seen) - (162, 63)) * scale).max() < 2.5 * 225 / 128 * scale
    assert right[0] < nose[0] < left[0] and corner[0] < nose[0] < other[0] and right[1] < nose[1] < corner[1]
    # From lip to lip the mouth is in the rows 138..155.
    assert (138 - 63) * scale < (corner[1] + other[1]) / 2 < (155 - 63) * scale


def test_five_points_and_frames_by_hand():
    points = np.array([[10, 20], [30, 24], [21, 30], [22, 40], [0, 20], [40, 20]], float)
    # The corners are 0.3 of the way between the eyes (20, 4) to both sides of the mouth.
    np.testing.assert_allclose(farl.five_points(points), [[10, 20], [30, 24], [21, 30], [16, 38.8], [28, 41.2]])
    # 133 wide, 16 more on each side, and 11.5 (to the even side: 12) higher.
    assert frame_of(Square(50, 60, 100)) == Square(34, 32, 133)
    assert frame_of(Square(0, 0, 1)) == Square(0, 0, 1)
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    (a, b), (c, d) = image.tolist()
    np.testing.assert_array_equal(cut_frame(image, Square(-1, 0, 3)), [[a, a, b], [c, c, d], [c, c, d]])
    np.testing.assert_array_equal(cut_frame(image, Square(1, 1, 2)), [[d, d], [d, d]])
    square = Square(5, 5, 1)
    assert frame_of(square) == square
    np.testing.assert_array_equal(crop_of(np.full((1, 64, 64), 3, np.float32), square, square, 224), 3.0)


@pytest.mark.parametrize("size", [224, 100])
def test_labels_of_farl_are_those_of_its_pixels(facer, weights, size):
    facer()
    image = np.zeros((512, 512, 3), np.uint8)
    image[:, :200] = (255, 0, 0)
    image[:, 200:240] = (0, 255, 0)
    parser = make_parser("farl", weights)
    parser._network = SimpleNamespace(inside=lambda image, box: SimpleNamespace(points=np.zeros((6, 2))))
    parsing_map = parser(image, BOX, Square(162, 63, 100), size)
    assert parsing_map.shape == (size, size) and parsing_map.dtype == np.uint8
    # Columns 162..199 of 162..261 are skin, the next 40 hair; where two meet, less than 2 pixels are blurred.
    columns = parsing_map[size // 2]
    assert (parsing_map == columns).all()
    for start, end, label in ((0, 38, SKIN), (38, 78, HAIR), (78, 100, 0)):
        low, high = round(start * size / 100) + 2, round(end * size / 100) - 2
        assert (columns[low:high] == label).all(), (start, label)


def test_farl_without_a_face_in_the_box_or_in_its_answer_or_of_another_version(facer, weights):
    facer()
    parser, image = make_parser("farl", weights), astronaut()
    with pytest.raises(NoFace, match="BlazeFace sees no face"):
        parser(image, Detection(400, 20, 480, 100, 1.0), Square(388, 8, 104), 224)
    image[:] = 0
    parser._network = SimpleNamespace(inside=lambda image, box: SimpleNamespace(points=np.zeros((6, 2))))
    with pytest.raises(NoFace, match="no skin"):
        parser(image, BOX, SQUARE, 224)
    facer(labels=["background", "neck", *farl.LABELS[2:]])
    with pytest.raises(ValueError, match="expected the classes .*'face'.*found .*'neck'"):
        make_parser("farl", weights)(astronaut(), BOX, SQUARE, 224)


# BiSeNet


class Runtime(ModuleType):
    """Stands for onnxruntime with a model whose logits are a function of the colours that it is shown."""

    def __init__(self, shape=(1, 3, 64, 64), classes=19, labels=None):
        super().__init__("onnxruntime")
        self.__version__ = "1.0"
        self.shape, self.classes, self.labels, self.shown = list(shape), classes, labels, []

    class SessionOptions:
        pass

    def InferenceSession(self, path, options, providers):  # noqa: N802
        assert options.intra_op_num_threads == options.inter_op_num_threads == 1
        assert providers == ["CPUExecutionProvider"]
        self.path = path
        return self

    def get_inputs(self):
        return [SimpleNamespace(name="input", shape=self.shape)]

    def run(self, outputs, inputs):
        (pixels,) = inputs.values()
        assert outputs is None and list(inputs) == ["input"]
        assert list(pixels.shape) == self.shape and pixels.dtype == np.float32 and pixels.flags.c_contiguous
        mean, deviation = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, :, None, None]
        colours = pixels[0] * deviation + mean
        self.shown.append(colours)
        logits = np.zeros((1, self.classes, *self.shape[2:]), np.float32)
        for channel, label in enumerate(self.labels or ()):
            logits[0, label] = colours[channel]
        logits[0, 0] = 0.5
        return [logits]


@pytest.fixture
def runtime(monkeypatch):
    """Makes `onnxruntime` importable, with one model."""

    def install(**options) -> Runtime:
        fake = Runtime(**options)
        monkeypatch.setitem(sys.modules, "onnxruntime", fake)
        return fake

    return install


SKIN_HAIR_NOSE = [CELEBAMASK_CLASSES.index(name) for name in ("skin", "hair", "nose")]


@pytest.mark.parametrize("size", [224, 60, 1])
@pytest.mark.parametrize("resolution", [512, 64, 133])
def test_each_pixel_of_the_map_is_read_at_its_place(size, resolution):
    square = Square(50, 60, 100)
    frame = frame_of(square)
    # Logits that are the coordinates in the picture of what they are about, and so linear.
    step = frame.size / resolution
    centres = (np.arange(resolution) + 0.5) * step - 0.5
    x, y = np.meshgrid(frame.x + centres, frame.y + centres)
    found = crop_of(np.stack([x, y]).astype(np.float32), frame, square, size)
    places = (np.arange(size) + 0.5) * square.size / size - 0.5
    assert found.shape == (2, size, size)
    # Places are rounded to a 32nd of a pixel.
    np.testing.assert_allclose(found[0], np.broadcast_to(square.x + places, (size, size)), atol=step / 32)
    np.testing.assert_allclose(found[1], np.broadcast_to(square.y + places[:, None], (size, size)), atol=step / 32)


@pytest.mark.parametrize("resolution", [64, 512])
def test_labels_of_bisenet_are_those_of_its_pixels(runtime, weights, resolution):
    fake = runtime(shape=(1, 3, resolution, resolution), labels=SKIN_HAIR_NOSE)
    image = np.zeros((300, 300, 3), np.uint8)
    image[:, :90], image[:, 90:], image[100:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    parser = make_parser("bisenet", weights)
    parsing_map = parser(image, BOX, Square(50, 60, 100), 200)
    assert fake.path == weights and parsing_map.shape == (200, 200) and parsing_map.dtype == np.uint8
    # Column 90 of 50..149 begins at 80 of 200, row 100 of 60..159 at 80. Between the model's pixels the change
    # is linear, so an edge is off by half of one (133 / resolution) at most, twice that in the map.
    wide = int(np.ceil(2 * 133 / resolution / 2)) + 1
    assert (parsing_map[: 80 - wide, : 80 - wide] == SKIN).all()
    assert (parsing_map[: 80 - wide, 80 + wide :] == HAIR).all()
    assert (parsing_map[80 + wide :] == NOSE).all()


def test_bisenet_is_shown_rgb_with_more_around_the_crop(runtime, weights):
    fake = runtime(labels=SKIN_HAIR_NOSE)
    image = np.zeros((300, 300, 3), np.uint8)
    image[:] = (250, 20, 60)
    image[:40] = (250, 220, 60)  # rows above 40 are outside of the crop, and 8 of the frame's 133 from row 32 on
    make_parser("bisenet", weights)(image, BOX, Square(50, 60, 100), 224)
    (colours,) = fake.shown
    np.testing.assert_allclose(colours[0], 250 / 255, atol=1e-6)
    np.testing.assert_allclose(colours[2], 60 / 255, atol=1e-6)
    bright = colours[1] > 120 / 255
    assert bright[:3].all() and not bright[5:].any()  # 8 * 64 / 133 = 3.8 rows


def test_bisenet_tells_its_file_and_where_there_is_no_skin(runtime, weights):
    runtime()
    parser = make_parser("bisenet", weights)
    assert parser.name == "bisenet" and hashlib.sha256(WEIGHTS).hexdigest()[:16] in parser.version
    assert "onnxruntime 1.0" in parser.version
    with pytest.raises(NoFace, match="no skin"):
        parser(astronaut(), BOX, SQUARE, 224)


def test_bisenet_with_other_inputs_or_classes_is_refused(runtime, weights):
    for shape in ((1, 3, "height", "width"), (1, 3, 64, 32), (1, 64, 64, 3), (3, 64, 64)):
        runtime(shape=shape)
        with pytest.raises(ValueError, match=r"expected a model with an input \[1, 3, N, N\], found \["):
            make_parser("bisenet", weights)
    runtime(classes=11)
    with pytest.raises(ValueError, match=r"expected logits \[1, 19, n, n\], found \[1, 11, 64, 64\]"):
        make_parser("bisenet", weights)(astronaut(), BOX, SQUARE, 224)


def test_the_right_of_a_person_is_on_the_left_of_the_picture():
    right_brow, left_brow, right_eye, left_eye = 2, 3, 4, 5
    as_it_is = np.array([[right_brow, 1, left_brow], [right_eye, 6, left_eye]], np.uint8)
    exchanged = np.array([[left_brow, 1, right_brow], [left_eye, 6, right_eye]], np.uint8)
    np.testing.assert_array_equal(sides_by_place(as_it_is), as_it_is)
    np.testing.assert_array_equal(sides_by_place(exchanged), as_it_is)
    # A face from the side shows one; its name is believed.
    for label in (right_eye, left_brow):
        one = np.array([[1, label], [6, 1]], np.uint8)
        np.testing.assert_array_equal(sides_by_place(one), one)


def test_sides_are_decided_in_the_map_of_bisenet(runtime, weights, monkeypatch):
    monkeypatch.setattr(bisenet, "ABOVE", 0.0)
    for labels in (("l_eye", "r_eye", "skin"), ("r_eye", "l_eye", "skin")):
        runtime(labels=[CELEBAMASK_CLASSES.index(name) for name in labels])
        image = np.zeros((300, 300, 3), np.uint8)
        image[:, :90], image[:, 110:], image[150:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
        parsing_map = make_parser("bisenet", weights)(image, BOX, Square(50, 60, 100), 100)
        assert parsing_map[10, 10] == CLASSES.index("right_eye") and parsing_map[10, 90] == CLASSES.index("left_eye")
        assert parsing_map[99, 50] == SKIN and parsing_map[10, 50] == 0
