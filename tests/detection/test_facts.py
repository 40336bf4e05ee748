"""The facts below every table: from cards of records and detectors, and "not known" for what nothing says."""

import json

import numpy as np
import pytest

from fsfm_jax.data.class_map import open_classed
from fsfm_jax.data.labels import open_labelled
from fsfm_jax.data.provenance import Provenance, provenance_of
from fsfm_jax.data.statistics import Card, PixelSums, SplitStatistics
from fsfm_jax.detection import facts
from fsfm_jax.metrics.card import Carded

OPTIONS = {"detector": "dlib", "scale": 1.3}
PREPARED = {
    "dataset": "ffpp_all", "variant": "c40", "options": OPTIONS, "detector": "dlib 19.24.6", "frames": "32",
    "shortfalls": [],
}  # fmt: skip


def card(prepared: dict, image_size: int | None = None, items: int = 4, **dropped: int) -> Card:
    split = SplitStatistics((6,), 1, "f" * 64, "png+jpeg", PixelSums(), "1", (3, 3), items, dropped)
    return Card("ffpp", {"test": split}, ("fake", "real"), 1, image_size, False, prepared)


class Source:
    """A labelled source as far as facts need it."""

    name, fingerprint = "ffpp:test", "f" * 64

    def __init__(self, provenance: Provenance):
        self.provenance = provenance


class Detector(Carded):
    name = "runs/dfd"

    def __init__(self, **card):
        self.card = {"selection": {"rule": "last", "label": "Step 7, the last."}} | card


def lines_of(source: object, frames=(0, 1, 2, 0, 1, 2), counts=(3, 3)) -> dict[str, str]:
    said = facts.describe_set(source, np.array(frames), np.array(counts))
    text = facts.block(facts.Facts([], [("A", json.loads(json.dumps(said)))]))
    return dict(line.removeprefix("- ").split(": ", 1) for line in text.splitlines()[2:])


def test_a_set_says_what_its_card_says():
    found = lines_of(Source(Provenance.from_card(card(PREPARED, no_face=1200, failed=1), "test")), counts=(2, 4))
    assert found == {
        "tested on (fingerprint)": "ffpp:test (ffffffffffff)",
        "scored": "2 videos, 6 frames",
        "frames a video": "2 to 4 (--frames=32)",
        "face crop": "dlib (dlib 19.24.6), 1.3 times its box, crops of their own size",
        "compression": "c40, crops stored as PNG+JPEG",
        "faces not kept": "failed 1, no_face 1,200 (of 4 photos and videos)",
    }


@pytest.mark.parametrize(("changed", "line", "text"), [
    ({"variant": "v2"}, "compression", "not known, crops stored as PNG+JPEG"),
    ({"dataset": "ffpp_originals", "variant": "splits"}, "compression", "c23, crops stored as PNG+JPEG"),
    ({"frames": "as the data set's rule says"}, "frames a video", "3 (the data set's own rule)"),
    ({"options": {"detector": "none", "scale": 1.3}}, "face crop", "ready-made crops of their own size"),
    ({"options": 5, "frames": 5}, "face crop", "not known, crops of their own size"),
    ({"shortfalls": ["3 videos are missing"]}, "faces not kept", "none (of 4 photos and videos), the download was incomplete"),  # noqa: E501
])  # fmt: skip
def test_a_card_that_says_less_or_something_else(changed, line, text):
    assert lines_of(Source(Provenance.from_card(card(PREPARED | changed), "test")))[line] == text


def test_what_nothing_says_is_not_known():
    """Neither a card of the first version, which counted nothing, nor a source without a card is guessed about."""
    old = lines_of(
        Source(Provenance.from_card(card({}, image_size=224, items=0), "test")), frames=[-1] * 6, counts=[1] * 6
    )
    assert old == {
        "tested on (fingerprint)": "ffpp:test (ffffffffffff)", "scored": "6 photos", "frames a video": "1, photos",
        "face crop": "not known, crops of 224 pixels", "compression": "not known, crops stored as PNG+JPEG",
        "faces not kept": "not known",
    }  # fmt: skip
    none = lines_of(Source(Provenance()))
    assert {none[name] for name in ("face crop", "compression", "faces not kept")} == {"not known"}
    assert provenance_of(open_labelled("blended:samples")) == Provenance()
    # A set in the classes of another detector keeps what is known of it.
    drawn = lines_of(open_classed("fake=forged:blend:6:2:1", ("fake", "real"), 1))
    assert drawn["face crop"] == "none, drawn faces of 224 pixels" and drawn["faces not kept"] == "none"
    assert drawn["compression"] == "JPEG of quality 60 to 80"


def test_a_detector_says_what_its_card_says():
    weights = {"head": {"bias": np.zeros(2, np.float32)}}
    known = Detector(config={"seed": 4, "evaluation.transform": "resize"}, all_fields={"data.train": "a|b"}, step=7)
    said = facts.describe_detector(known, weights, "resize_center", 224)
    assert len(said["weights_sha256"]) == 64 and said["selection"]["rule"] == "last" and said["step"] == 7
    assert facts.block(facts.Facts([("runs/dfd", said)], [])) == (
        f"## Facts\n\n- detector: runs/dfd\n- weights, SHA-256: {said['weights_sha256'][:12]}\n"
        "- trained on: a\\|b\n- seed of the training: 4\n- selection: Step 7, the last.\n"
        "- picture that the network sees: resize_center to 224 pixels; the detector was selected and calibrated with "
        "resize\n"
    )
    serialized = Detector(artifact={"sha256": "a" * 64}, data={"train": "b"}, input={"transform": "resize"})
    said = facts.describe_detector(serialized, None, "resize", 224)
    text = facts.block(facts.Facts([("x.jax", said)], []))
    assert "aaaaaaaaaaaa (of the file)\n- trained on: b\n- seed of the training: not known\n" in text
    assert text.endswith(": resize to 224 pixels\n")


def test_what_is_shared_is_said_once():
    said = [("A", {"seed": 0}), ("B", {"seed": 1}), ("C", {"seed": 0}), ("A", {"seed": 0})]
    detectors = [(name, fact | {"selection": {"label": "The last."}}) for name, fact in said]
    text = facts.block(facts.join([facts.Facts(detectors[:2], []), facts.Facts(detectors[2:], [])]))
    assert "- seed of the training: A, C: 0; B: 1\n- selection: The last.\n" in text and "- detector" not in text
    assert facts.block(facts.Facts([], [])) == ""
    # Sentences that differ have a line each.
    long = [(name, {"selection": {"label": f"Step {name}; looked at: X."}}) for name in "AB"]
    lines = "- selection:\n  - A: Step A; looked at: X.\n  - B: Step B; looked at: X.\n"
    assert lines in facts.block(facts.Facts(long, []))


def test_results_from_before_have_the_facts_that_they_have():
    level = {"examples": 8}
    content = {
        "checkpoint": "runs/old", "detector": {"config": {"seed": 2}}, "selection": {"label": "Step 3."},
        "data": {"A": {"frame": level, "video": {"examples": 2}, "dataset": "mine:test"}},
    }  # fmt: skip
    text = facts.block(facts.read(content))
    for line in (
        "detector: runs/old", "weights, SHA-256: not known", "seed of the training: 2", "selection: Step 3.",
        "tested on (fingerprint): mine:test", "scored: 2 videos, 8 frames", "face crop: not known",
        "frames a video: not known", "faces not kept: not known",
    ):  # fmt: skip
        assert f"- {line}\n" in text
