"""The card in a Hugging Face folder: filled in with what is known, and silent about nothing."""

import json
import re

import pytest
import serialized

from fsfm_jax.export import to_torch
from fsfm_jax.export.model_card import TEMPLATE, card_of

OFFICIAL = {"kind": "pth", "path": "x.pth", "sha256": "ab" * 32, "size": "vitb16", "notes": []}
PRETRAINED = {
    "kind": "pretrained", "checkpoint": "vitb", "size": "vitb16", "image_size": 224, "architecture": "ViTModel",
    "statistics": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.25]}, "step": 7, "epochs": 2.5, "data": None,
    "config": {"duration": "600 epochs", "mask.strategy": "crfr_p"}, "config_sha256": "cd" * 32, "origin": None,
    "licence": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The folder of a detector whose run evaluated it."""
    folder = tmp_path_factory.mktemp("run")
    workdir = serialized.run(folder)
    (folder / "test").mkdir()
    (folder / "test" / "table.md").write_text("| data set | video AUC |\n| --- | --- |\n| CDFv2 | 91.44 |\n")
    paths = to_torch.convert(workdir, "huggingface", str(folder / "out"))
    return (folder / "out" / "README.md").read_text(), json.loads((folder / "out" / "fsfm_jax.json").read_text()), paths


def test_a_detector_says_what_its_outputs_mean_and_are_worth_below_a_front_of_plain_yaml(exported):
    text, said, paths = exported
    assert [path.rsplit("/", 1)[1] for path in paths][-2:] == ["README.md", "fsfm_jax.json"]
    assert "with the classes fake, real, of which real is that of real faces" in text
    assert "| frame | 0.25 | equal error | val | not known | 12.50 % |" in text and "by 1.5 for calibrated" in text
    assert "| CDFv2 | 91.44 |" in text and "Not measured**: no" not in text
    assert "the means 0.5500, 0.4200, 0.3700 and the deviations 0.2800, 0.2400, 0.2300" in text
    assert "Step 7, the last." in text and said["config_sha256"] in text
    assert "`README.md`" not in text and "README.md" in said["files"]
    front = exported[0].split("---\n")[1]
    fields = dict(line.split(": ", 1) for line in front.strip().splitlines())
    assert fields["pipeline_tag"] == "image-classification" and fields["license"].startswith("other  # choose one")
    assert "face-forgery-detection" in json.loads(fields["tags"])


def test_no_claim_is_without_a_figure_and_weights_of_the_authors_keep_their_licence():
    text = card_of(PRETRAINED, None)
    assert not re.search(r"\$\w", text) and re.search(r"\$\w", TEMPLATE.read_text())
    assert "**Not measured**" in text and "Epochs: 2.5." in text and '| `mask.strategy` | `"crfr_p"` |' in text
    assert "trained from scratch" in text and "ViTModel.from_pretrained" in text
    assert "license: other" in text and "Features. They say nothing" in text
    text = card_of(PRETRAINED | {"origin": OFFICIAL, "licence": "CC BY-NC 4.0 they stay."}, None)
    assert "license: cc-by-nc-4.0" in text and "SHA-256 `abab" in text and "CC BY-NC 4.0 they stay." in text
    calibrated = dict(class_names=["fake", "real"], real=1, score="softmax", temperature=None, thresholds=None)
    text = card_of(PRETRAINED | calibrated | {"kind": "classifier", "selection": None}, None)
    assert "**No threshold is known" in text and "**Not measured**: this run has no evaluation" in text
