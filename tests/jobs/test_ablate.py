"""The ablation: a small one from end to end, stopped and resumed; what its settings are; what it refuses."""

import csv
import json
from pathlib import Path

import cv2
import pytest
from comparing import CHANGES, Counted, Stopped, aucs
from tuning import PRETRAINING, changed, draw_nothing

from fsfm_jax.config import ablate as template
from fsfm_jax.config.fields import flat
from fsfm_jax.config.recipes import load_recipe
from fsfm_jax.detection import ablation
from fsfm_jax.jobs import ablate, cells, pretrain
from fsfm_jax.resolve.ablate import plan_ablation

SETTINGS = "random: mask.strategy=random; finetune.seed=5 | CRFR-P 50: mask.ratio=0.5"
# Pixels alone: half the arrays to compile for.
TEXTS = {"pretrain": PRETRAINING | {"model.instance_discrimination": False}, "changes": CHANGES}


def tiny(**fields):
    """Two settings of the demo that take seconds."""
    texts = {name: "; ".join(f"{field}={value}" for field, value in of.items()) for name, of in TEXTS.items()}
    base = {"settings": SETTINGS, "recipe": "pretrain_demo", "tasks": "demo", **texts}
    return changed(template.ablate(), base | fields)


def noted(run, folders):
    """`run` that notes its folders."""
    return lambda config, workdir: (folders.append(Path(workdir).name), run(config, workdir))


@pytest.fixture(scope="module")
def ablated(tmp_path_factory):
    """The folder of an ablation, what its two commands fine-tuned and pretrained, and the table between them."""
    workdir, calls, tables = tmp_path_factory.mktemp("ablated"), [], []
    for stop_at in (1, None):
        with pytest.MonkeyPatch.context() as patch:
            tuned, made = Counted(stop_at), []
            draw_nothing(patch)
            patch.setattr(ablate.finetune, "run", tuned)
            patch.setattr(ablate.pretrain, "run", noted(pretrain.run, made))
            if stop_at is None:
                ablate.run(tiny(), str(workdir))
            else:
                with pytest.raises(Stopped):
                    ablate.run(tiny(), str(workdir))
        calls.append((made, tuned.folders))
        tables.append((workdir / "table.md").read_text())
    return workdir, calls, tables


def test_a_stopped_ablation_goes_on_with_what_is_left(ablated):
    workdir, calls, (between, _) = ablated
    assert calls == [
        (["random", "crfr-p_50"], ["demo/random/full"]),
        ([], ["demo/crfr-p_50/full"]),
    ]
    assert between.splitlines()[3] == "| CRFR-P 50 |  |  |"
    saved = json.loads((workdir / "pretraining/random/cell.json").read_text())
    assert (saved["mask.strategy"], saved["mask.ratio"], saved["duration"]) == ("random", 0.75, "2 steps")
    tuned = json.loads((workdir / "runs/demo/crfr-p_50/full/cell.json").read_text())
    assert tuned["init"] == str(workdir / "pretraining/crfr-p_50") and tuned["seed"] == 0


def test_the_table_has_the_means_over_the_sets(ablated):
    workdir, _, (_, text) = ablated
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert lines[0] == ["setting", "demo frame AUC", "demo video AUC"]
    rows = list(csv.DictReader((workdir / "table.csv").read_text().splitlines()))
    for line, name in zip(lines[2:], ("random", "CRFR-P 50"), strict=True):
        found = aucs(workdir, f"demo/{'random' if name == 'random' else 'crfr-p_50'}/full")
        mean = (found["A"] + found["B"]) / 2
        assert line[0] == name and line[2] == f"{mean:.2f}"
        (row,) = [row for row in rows if (row["setting"], row["metric"]) == (name, "video AUC")]
        assert float(row["mean"]) == pytest.approx(mean, rel=1e-12) and row["published"] == ""
    assert cv2.imread(str(workdir / "ablation.png")) is not None


def test_published_numbers_stand_beside_ours_and_empty_cells_stay_empty():
    entry = ablation.Entry("dfd", "0.75", "full", "dfd", ("A",), None)
    text = ablation.table(["0.75", "0.5"], [entry], {"0.75": {("dfd", "video AUC"): "82.31 ᴾ"}}, ["A note."])
    assert text.splitlines()[:4] == [
        "| setting | dfd frame AUC | dfd video AUC | published dfd video AUC |",
        "| --- | --- | --- | --- |",
        "| 0.75 |  |  | 82.31 ᴾ |",
        "| 0.5 |  |  | – |",
    ]
    assert text.endswith("  \nA note.\n")


def test_the_recipes_name_published_rows_and_nonsense_is_refused(tmp_path):
    for variant in ("ratio", "size"):
        c = load_recipe(f"ablate_fsfm:{variant}")
        settings = [trial.name for trial in plan_ablation(c, "").trials]
        published, sources = ablation.find_published(c.published, settings)
        assert [*published] == settings and sources == ["Published: FSFM supplement, Tab. 6."]
    assert published["L"] == {
        ("dfd", "frame AUC"): "77.43", ("dfd", "video AUC"): "83.15", ("fas", "HTER"): "16.23", ("fas", "AUC"): "93.13",
    }  # fmt: skip
    assert ablation.find_published(load_recipe("ablate_fsfm:masking").published, ["CRFR-P"]) == ({}, [])
    assert ablation.find_published(c.published, ["small"]) == ({}, [])
    for text, said in (("fsfm-supp/6", "expected PAPER/TABLE/ABLATION"), ("fsfm/6/ratio", "expected a published")):
        with pytest.raises(ValueError, match=f"published: {said}"):
            ablate.run(tiny(published=text), str(tmp_path))


def test_the_table_of_a_recipe_starts_with_the_published_rows(tmp_path, monkeypatch):
    for name in ("_check_pretraining", "_check_finetuning"):
        monkeypatch.setattr(ablate, name, lambda c: None)
    monkeypatch.setattr(ablate, "run_all", lambda runs, write: write({}))
    ablate.run(load_recipe("ablate_fsfm:size"), str(tmp_path))
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert lines[0].startswith("| setting | dfd frame AUC | published dfd frame AUC |")
    assert lines[4] == "| L |  | 77.43 |  | 83.15 |  | 16.23 |  | 93.13 |"
    assert lines[-1] == "Published: FSFM supplement, Tab. 6."
    assert "L,fas,HTER,,,,16.23" in (tmp_path / "table.csv").read_text()


def test_what_fails_leaves_its_row_empty_and_the_others_run(tmp_path, monkeypatch):
    seen = []

    def fail(config, workdir):
        if config.mask.strategy == "random":
            raise FloatingPointError("step 3: not finite. More.")

    def tuned(config, workdir):
        seen.append(Path(workdir).parts[-2])
        raise ValueError("no detector here")

    monkeypatch.setattr(ablate.pretrain, "run", fail)
    monkeypatch.setattr(ablate.finetune, "run", tuned)
    for folder in ("random", "crfr-p_50"):
        (tmp_path / "pretraining" / folder).mkdir(parents=True)
    monkeypatch.setattr(ablate, "_check_finetuning", lambda c: None)
    with pytest.raises(cells.CellsFailed, match=r"3 of 4 cells failed(.|\n)*random, full: random, pretraining failed"):
        ablate.run(tiny(), str(tmp_path))
    assert seen == ["crfr-p_50"]
    text = (tmp_path / "table.md").read_text()
    assert "Failed: random, pretraining: step 3: not finite." in text and "| CRFR-P 50 |  |  |" in text


def test_settings_of_fine_tuning_alone_start_from_what_is_there(tmp_path):
    fields = {"settings": "a | b: finetune.model.drop_path=0.25", "recipe": "none", "pretrain": "", "size": "demo"}
    trials = plan_ablation(tiny(init=str(tmp_path), **fields), "w").trials
    configs = [flat(trial.cells[0].config) for trial in trials]
    assert [trial.pretrain for trial in trials] == [None, None]
    assert {name for name in configs[0] if configs[0][name] != configs[1][name]} == {"model.drop_path"}
    assert configs[0]["init"] == str(tmp_path) and configs[1]["model.drop_path"] == 0.25


def test_notes_say_what_every_run_has_and_which_settings_differ(tmp_path):
    instead = "Settings with values of their own instead:"
    assert plan_ablation(load_recipe("ablate_fsfm:data"), "").notes == (
        "Changed in every pretraining: data.train=data/ffpp_originals; duration=400 epochs. "
        f"{instead} YTF 0.6M (data.train), VGGFace2 3.3M (data.train).",
    )
    c = load_recipe("ablate_adapter:insertion")
    assert plan_ablation(c, "").notes == ()
    c.changes = "batch.size=8;tuning.insertion=add"
    assert plan_ablation(c, "").notes == (
        f"Changed in every fine-tuning: batch.size=8; tuning.insertion=add. {instead} added (tuning.insertion), "
        "parallel in blocks (tuning.insertion), sequential in blocks (tuning.insertion).",
    )


@pytest.mark.parametrize(("fields", "text"), [
        ({"settings": ""}, "settings: expected NAME: FIELD=VALUE"),
        ({"settings": "a | A"}, "different even as folders; found 'A'"),
        ({"settings": "a=b"}, "names without = and comma"),
        ({"settings": "a: mask.rato=0.5"}, "there is no field 'mask.rato'; did you mean 'mask.ratio'"),
        ({"settings": "a: mask.ratio=half"}, "a: settings: mask.ratio: expected a value of type float; found 'half'"),
        ({"settings": "a: finetune.init=b"}, "finetune.init is decided by the ablation itself"),
        ({"settings": "a: recipe=finetune_demo"}, "expected one of a pretraining, found finetune_demo of"),
        ({"recipe": "none"}, "init: with recipe none expected a pretraining run"),
        ({"recipe": "none", "init": "x", "pretrain": ""}, "nothing is pretrained that mask.strategy could change"),
        ({"size": "demo"}, "init, size: of recipe none alone"),
        ({"tasks": "dfd"}, "random: tasks: 'dfd' and size 'demo' do not go together"),
    ])  # fmt: skip
def test_what_does_not_fit_is_refused_with_its_place(fields, text, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=text.replace("(", r"\(")):
        plan_ablation(tiny(**fields), str(tmp_path))
