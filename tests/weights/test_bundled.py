"""Weights under the name `small`: how they are made, found, rounded and refused, and what answers made with them say.

Most tests have stand-ins, made here of the runs of version 0.1. The last one is about the files that are released.
"""

import base64
import contextlib
import hashlib
import json
import os
import shutil
import tarfile
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import predicting
import pytest
from absl import app
from flax.traverse_util import flatten_dict
from traced_once import traced_once  # noqa: F401, a fixture that is used by itself

import fsfm_jax
from fsfm_jax.apps import predict, readers, serve
from fsfm_jax.apps.detect_answer import answer_detection
from fsfm_jax.apps.mask_answer import answer_face
from fsfm_jax.apps.reading import FaceReader, Settings
from fsfm_jax.apps.ticket import Ticket
from fsfm_jax.apps.verdict import choose_rule
from fsfm_jax.detection.encoder import open_encoder
from fsfm_jax.detection.opener import Unsaid, open_detector
from fsfm_jax.detection.saved import open_saved
from fsfm_jax.export import from_torch, serialize, to_torch
from fsfm_jax.weights import bundled
from fsfm_jax.weights.init import open_pretrained
from fsfm_jax.weights.run_reader import open_reconstruction, open_run
from supply import small

GOLDEN = Path(__file__).parents[1] / "golden"
PHOTO = Path(fsfm_jax.__file__).parent / "data" / "samples" / "pd_nasa_astronaut.jpg"
FILES = [name for part in (bundled.ENCODER, bundled.DETECTOR) for name in (part, f"{part}.json")]
ABOUT = {
    "trained_on": "portraits of nobody", "licence": "Apache-2.0", "cost": "", "sources": [["faces", "drawn", "CC0"]],
    "may_have_seen": ["forged", "blend", "samples"], "validation": "faces of others",
    "names": {"others: swap": "swapped faces"},
}  # fmt: skip
SAID = (
    "this is a small demonstration detector, and its verdicts are no evidence; it was trained on portraits of nobody; "
    "measured AUC over images (50 % is guessing): swapped faces 51.3 %, faces:test undefined"
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A pretraining, and a detector with what an evaluation found of it."""
    folder = tmp_path_factory.mktemp("runs")
    with tarfile.open(GOLDEN / "former" / "runs.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    test = folder / "finetune_whole" / "test"
    test.mkdir()
    level = {"metrics": {"auc": None}, "positives": 7, "negatives": 9}
    methods = {"swap": {"frame": level | {"metrics": {"auc": 0.5129}}}}
    found = {"others": {"frame": level, "methods": methods}, f"{folder}/faces:test": {"frame": level, "methods": {}}}
    (test / "metrics.json").write_text(json.dumps({"data": found}))
    (test / "table.md").write_text(f"| data set | AUC |\n| --- | --- |\n| {folder}/faces:test | undefined |\n")
    return folder


@pytest.fixture(scope="module")
def made(runs, tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """The folder of the stand-ins, and their digests."""
    folder = tmp_path_factory.mktemp("weights") / "small"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small, "FACES", 2)
        patch.setattr(small, "_check_pair", lambda *_: None)  # this detector started from a run that was not kept
        return folder, small.make_weights(str(runs / "pretrain"), str(runs / "finetune_whole"), folder, ABOUT)


@pytest.fixture
def own(made, monkeypatch, tmp_path) -> Path:
    """A build with these weights, in a copy that may be changed, and an empty current folder."""
    folder = tmp_path / "package"
    shutil.copytree(made[0], folder)
    monkeypatch.setattr(bundled, "FOLDER", folder)
    monkeypatch.setattr(bundled, "DIGESTS", made[1])
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return folder


def rounded_once(found: dict, wanted: dict, int8: bool) -> None:
    """float16: half a unit in the last of 11 bits at most, and below 2^-14 half a step of 2^-24.

    int8: half a 127th of the largest weight of the same output, and three roundings of float32.
    """
    found, wanted = flatten_dict(found, sep="/"), flatten_dict(wanted, sep="/")
    assert found.keys() == wanted.keys()
    for name, array in found.items():
        assert array.dtype == np.float32 and array.shape == wanted[name].shape
        exact = np.abs(wanted[name].astype(np.float64))
        most = np.maximum(exact * 2.0**-11, 2.0**-25)
        if int8 and name.endswith("kernel"):  # [in, out]
            most = exact.max(axis=0) * (1 / 254 + 3 * 2.0**-24)
        assert (np.abs(array.astype(np.float64) - wanted[name]) <= most).all(), name
    assert any((array != wanted[name]).any() for name, array in found.items())  # and they are rounded


def test_every_opener_knows_the_name_and_arrays_are_those_of_the_runs_rounded_once(own, runs):
    run, detector = open_run(str(runs / "pretrain")), open_saved(str(runs / "finetune_whole"))
    rounded_once(open_detector("small", Unsaid()).params, detector.params, int8=False)
    decoding = open_reconstruction("small")
    parts = ("encoder", "mask_token", "pixel_decoder")
    rounded_once(decoding.params, {name: run.params[name] for name in parts}, int8=True)
    for encoder in (open_pretrained("small").params["encoder"], open_encoder("small", Unsaid()).params):
        jax.tree.map(np.testing.assert_array_equal, encoder, decoding.params["encoder"])
    assert decoding.config.loss.normalise_pixels == run.config.loss.normalise_pixels
    crops = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    encoder = fsfm_jax.load_encoder("small")
    np.testing.assert_array_equal(encoder(crops), fsfm_jax.load_encoder()(crops))
    assert (encoder.name, fsfm_jax.load_detector().name, fsfm_jax.load_detector("small").name) == ("small",) * 3
    with pytest.raises(ValueError, match="--checkpoint: small is exported already: its files lie in .*package"):
        to_torch.convert("small", "timm", str(own / "again"))


def test_a_conversion_of_the_detector_says_what_it_is_as_well(own, tmp_path):
    path = str(tmp_path / "detector.jax")
    serialize.serialize(open_detector("small", Unsaid()), path, platforms=("cpu",))
    from_torch.convert([str(own / bundled.DETECTOR)], str(tmp_path / "run"))
    again = to_torch.convert(str(tmp_path / "run"), "timm", str(tmp_path / "again.pth"))[0]
    for checkpoint in (path, tmp_path / "run", again):
        assert fsfm_jax.load_detector(checkpoint).warnings[0] == SAID


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_was_changed_or_is_missing_is_refused_by_its_name(own, name):
    load = fsfm_jax.load_encoder if name.startswith("encoder") else fsfm_jax.load_detector
    other = fsfm_jax.load_detector if load is fsfm_jax.load_encoder else fsfm_jax.load_encoder
    content = (own / name).read_bytes()
    (own / name).write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
    with pytest.raises(ValueError, match=f"small: .*/{name}: expected the SHA-256 {bundled.DIGESTS[name]} of the file"):
        load("small")
    (own / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"small: .*/{name} is missing. Install fsfm_jax again"):
        load()
    other()


def test_what_is_called_small_here_is_not_taken_for_the_weights_of_the_package_nor_they_for_it(own, runs, monkeypatch):
    Path("small").symlink_to(runs / "finetune_whole")
    for load in (fsfm_jax.load_detector, fsfm_jax.load_encoder, open_pretrained, open_reconstruction):
        with pytest.raises(ValueError, match="and there is /.*/here/small. Write ./small for what is there"):
            load("small")
    crops = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    theirs, ours = fsfm_jax.load_detector("./small").score(crops), fsfm_jax.load_detector().score(crops)
    np.testing.assert_array_equal(theirs, fsfm_jax.load_detector(Path("small")).score(crops))
    assert (theirs != ours).any()
    # Nothing is read for any other checkpoint.
    monkeypatch.setattr(bundled, "FOLDER", None)
    assert bundled.resolve_name("./small", bundled.DETECTOR) == "./small"


class Reader(FaceReader):
    """Reads in this process, in the place of `readers.Readers`."""

    def __init__(self, settings: Settings, *_, first: None):
        super().__init__(settings)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def read_all(self, paths):
        return map(self.read, paths)


def test_prediction_without_a_checkpoint_says_what_judges(own, monkeypatch, capsys):
    monkeypatch.setattr(readers, "Worker", contextlib.nullcontext)
    monkeypatch.setattr(readers, "Readers", Reader)
    assert predicting.command(monkeypatch, [PHOTO], checkpoint=None, json="found.json") == 0
    told = capsys.readouterr()
    assert told.err == f"{bundled.USED}\n" and f"WARNING: {SAID}" in told.out.splitlines()
    content = json.loads(Path("found.json").read_text())
    assert content["detector"] == "small" and content["warnings"][0] == SAID and content["files"][0]["score"]
    assert predicting.command(monkeypatch, [PHOTO], checkpoint="small") == 0
    told = capsys.readouterr()
    assert told.err == "" and f"WARNING: {SAID}" in told.out.splitlines()


@pytest.fixture
def opened(monkeypatch, tmp_path):
    """Opens the site of a page with some flags."""
    usual = dict(
        checkpoint=None, pretrained="", classes="", statistics="", norm_over="", dtype="", threshold="equal_error",
        seconds=60.0, detector="blazeface", detector_size=None, faces="all", frames=3, least_frames=0.25,
        least_confidence=None, places=1, limit_mb=1, token="", require_signature=None, runtime="",
    )  # fmt: skip
    monkeypatch.setattr(serve, "Readers", lambda *given: None)
    return lambda **changes: serve.open_site(SimpleNamespace(**usual | changes))


def test_the_page_without_a_checkpoint_detects_and_reconstructs_and_says_with_what(own, runs, opened, capsys):
    site = opened()
    assert capsys.readouterr().out == f"{bundled.USED}\n"
    assert (site.predictor.name, site.masker.name) == ("small", "small")
    reading = FaceReader(Settings(224, "resize", "blazeface", parser="embedded")).read(str(PHOTO))
    told = answer_detection(site.predictor, choose_rule(site.predictor), reading, Ticket())
    assert told["warnings"][0] == f"{SAID[0].upper()}{SAID[1:]}."
    face = base64.b64decode(answer_face(reading)["face"])
    found = site.masker.answer_masks(face, "crfr_p", 0.75, 0)
    theirs = opened(checkpoint="", pretrained=str(runs / "pretrain"))
    assert theirs.predictor is None and theirs.masker.name == "pretrain" and capsys.readouterr().out == ""
    assert found["true_contrast"] is False  # this run predicts pixels as they are
    drawn = theirs.masker.answer_masks(face, "crfr_p", 0.75, 0)
    assert found["mask"] == drawn["mask"] and found["reconstruction"] not in (None, drawn["reconstruction"])
    # Who names a detector is not shown another's reconstructions.
    assert opened(checkpoint=str(runs / "finetune_whole")).masker.run is None


def test_a_build_without_weights_says_so_and_the_page_draws_masks_alone(monkeypatch, opened, capsys):
    monkeypatch.setattr(bundled, "DIGESTS", {})
    for load in (fsfm_jax.load_detector, fsfm_jax.load_encoder):
        with pytest.raises(FileNotFoundError, match="small: this build of fsfm_jax has no weights of its own; name"):
            load()
    monkeypatch.setattr(predict, "flags", SimpleNamespace(FLAGS=SimpleNamespace(checkpoint=None)))
    with pytest.raises(app.UsageError, match="expected --checkpoint=WORKDIR_OR_FILE; this build of fsfm_jax has no"):
        predict.main(["predict", "photo.jpg"])
    site = opened()
    assert site.predictor is None and site.masker.run is None
    assert "this build of fsfm_jax has no weights of its own: the page draws masks alone" in capsys.readouterr().out


def test_the_files_name_no_folder_of_the_machine_that_made_them_and_the_card_has_what_was_measured(made, runs):
    folder, digests = made
    assert digests == {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}
    assert "/tmp/w/former" in json.dumps(open_saved(str(runs / "finetune_whole")).card["origin"])
    for name in (*FILES[1::2], small.CARD):
        text = (folder / name).read_text()
        assert "/tmp" not in text and str(runs) not in text, name
    text = (folder / small.CARD).read_text()
    for part in ("license: apache-2.0", "portraits of nobody", "| faces | drawn | CC0 |", "Cost: not known",
                 "| faces:test | undefined |", "**Not evidence.**", "On 2 faces",
                 "The detector is stored in float16, the encoder in int8"):  # fmt: skip
        assert part in text, part
    text = (folder / f"{bundled.DETECTOR}.json").read_text()
    assert '"split": "faces of others"' in text and '"split": "forged' not in text
    said = json.loads(text)["demonstration"]
    assert said["measured"][0] == {"name": "swapped faces", "auc": 0.5129, "real": 7, "forged": 9}
    assert 0 < said["rounding"]["score_difference"] < 1e-3 and 0 < said["rounding"]["feature_difference"] < 0.1
    assert small.without_folders("blended:/a/b/x:train,real=/a/y@0.5 https://a.b/c/d data/z 1/2") == (
        "blended:x:train,real=y@0.5 https://a.b/c/d data/z 1/2"
    )
    assert small.without_folders({"seen": "/ab+/cd/ef", "data": ["/a/b"]}) == {"seen": "/ab+/cd/ef", "data": ["b"]}


def test_what_may_not_be_part_of_the_package_is_not_written(runs, tmp_path, monkeypatch):
    detector, folder = str(runs / "finetune_whole"), tmp_path / "weights"
    imported = str(tmp_path / "official")
    from_torch.convert([str(GOLDEN / "checkpoint-599.pth")], imported, "vggface2", pixel_heads=4, rep_heads=4)
    with pytest.raises(ValueError, match="CC BY-NC 4.0 and stay so .* They cannot be part of the package"):
        small.make_weights(imported, detector, folder, ABOUT)
    with pytest.raises(ValueError, match="data.train with only samples; found blend, forged in 'forged:blend:24'. If"):
        small.make_weights(str(runs / "pretrain"), detector, folder, ABOUT | {"may_have_seen": ["samples"]})
    with pytest.raises(ValueError, match="from step 2 of pretrain, as --encoder is; found step 4 of pretrain_whole"):
        small.make_weights(str(runs / "pretrain"), detector, folder, ABOUT)
    with pytest.raises(ValueError, match="--decoder: expected a pretraining run of fsfm_jax; found a detector"):
        small.make_weights(detector, detector, folder, ABOUT)
    monkeypatch.setattr(small, "_check_pair", lambda *_: None)
    monkeypatch.setattr(small, "_rounding", lambda *_: {"score_difference": 0.0, "feature_difference": 0.0})
    monkeypatch.setattr(bundled, "MAX_BYTES", 100_000)
    with pytest.raises(ValueError, match=r"at most 100,000 bytes in all; found \d{3},\d{3} \(.*encoder.safetensors \d"):
        small.make_weights(str(runs / "pretrain"), detector, folder, ABOUT)
    assert not folder.exists()


def test_digests_are_written_into_the_table_of_the_module(tmp_path):
    module = tmp_path / "module.py"
    module.write_text(small.MODULE.read_text())
    for digests in ({"b": "1", "a": "0"}, {"c": "2"}):
        small.write_digests(module, digests)
        rows = "".join(f'    "{name}": "{digest}",\n' for name, digest in sorted(digests.items()))
        text = module.read_text()
        assert f"\nDIGESTS: dict[str, str] = {{\n{rows}}}\n" in text and text.count("DIGESTS:") == 1
    module.write_text("DIGESTS = {}\n")
    with pytest.raises(ValueError, match="expected exactly one table DIGESTS, found 0"):
        small.write_digests(module, {})


def test_the_released_files_are_whole_small_and_say_what_they_are():
    """They come with the repository: this test, the page about Python and the wheel's are red without them."""
    assert bundled.is_built_in(), "python -m supply.small --encoder=RUN --detector=RUN makes the files; commit them"
    assert {*bundled.DIGESTS} == {*FILES}
    assert {path.name for path in bundled.FOLDER.iterdir()} == {*FILES, small.CARD}
    assert sum(path.stat().st_size for path in bundled.FOLDER.iterdir()) <= bundled.MAX_BYTES == 10_000_000
    detector = open_detector("small", Unsaid())
    said = detector.demonstration
    assert "public domain" in said.trained_on and said.licence == "Apache-2.0" and said.measured
    assert detector.thresholds("frame") and detector.thresholds("video") and detector.temperature
    assert open_encoder("small", Unsaid()).image_size == detector.task.model.image_size
    for name in FILES[1::2]:
        table = json.loads((bundled.FOLDER / name).read_text())
        assert small.without_folders(table) == table, name
        assert len(base64.b64decode(table.get("seen") or "", validate=True)) % 8 == 0
    text = (bundled.FOLDER / small.CARD).read_text()
    assert small.without_folders(text) == text
    assert os.path.getsize(bundled.FOLDER / small.CARD) > 2000 and "Not measured" not in text
