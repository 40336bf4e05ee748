"""The comparison: a small one from end to end, stopped and gone on with; what its cells are; what it refuses."""

import csv
import hashlib
import json
import re
import shutil
from pathlib import Path

import cv2
import jax
import pytest
from comparing import CHANGES, Counted, Stopped, aucs
from tuning import changed, draw_nothing

from fsfm_jax import records
from fsfm_jax.config import compare as comparison
from fsfm_jax.config.fields import flat
from fsfm_jax.data.labels import open_labelled
from fsfm_jax.detection import comparison as results
from fsfm_jax.detection.facts import Facts
from fsfm_jax.detection.saved import open_saved
from fsfm_jax.jobs import cells, compare
from fsfm_jax.resolve.compare import plan, slug
from fsfm_jax.train.outcome import NonFinite

WRITTEN = ("table.md", "table.csv", "comparison.png")


def comparing(**fields):
    """A comparison of the demo's task."""
    base = dict(models="scratch=scratch", tunings="full", tasks="demo", size="demo")
    return changed(comparison.compare(), base | fields)


def tiny(init: str, **fields):
    """One that takes seconds: a pretrained model with two tunings, and one from scratch with one."""
    texts = ";".join(f"{name}={value}" for name, value in CHANGES.items())
    base = dict(models=f"Our Own=fsfm:{init},none=scratch", tunings="full,linear_probe", changes=texts)
    return comparing(**base | fields)


@pytest.fixture(scope="module")
def compared(pretrained, tmp_path_factory) -> tuple[Path, list[list[str]], list[str]]:
    """The folder of a comparison, what its two commands ran, and the table between them."""
    workdir, calls, tables = tmp_path_factory.mktemp("compared"), [], []
    for stop_at in (1, None):
        with pytest.MonkeyPatch.context() as patch:
            draw_nothing(patch)
            counted = Counted(stop_at)
            patch.setattr(compare.finetune, "run", counted)
            if stop_at is not None:
                with pytest.raises(Stopped):
                    compare.run(tiny(pretrained), str(workdir))
            else:
                compare.run(tiny(pretrained), str(workdir))
            calls.append(counted.folders)
            tables.append((workdir / "table.md").read_text())
    return workdir, calls, tables


def test_a_stopped_comparison_goes_on_with_what_is_left(compared):
    _, calls, tables = compared
    assert calls == [["demo/our_own/full"], ["demo/our_own/linear_probe", "demo/none/full"]]
    before, after = ([line for line in text.splitlines() if line.startswith("| ")][2:] for text in tables)
    assert len(before) == len(after) == 3 and before[0] == after[0]
    assert before[1] == "| Our Own | linear_probe |  |  |  |  | – |  |  | – |"
    assert before[2].startswith("| none | full |  |  |")
    assert "Left out: none with linear_probe: from scratch" in tables[0]


def test_the_table_has_what_the_cells_found(compared):
    workdir, _, (_, text) = compared
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    titles = [f"{name} {level} AUC" for level in ("frame", "video") for name in ("A", "B", "mean")]
    assert lines[0] == ["model", "tuning", "trained", "share", *titles]
    for line, cell in zip(lines[2:], ("our_own/full", "our_own/linear_probe", "none/full"), strict=True):
        found = aucs(workdir, f"demo/{cell}")
        whole = sum(leaf.size for leaf in jax.tree.leaves(open_saved(str(workdir / "runs/demo" / cell)).params))
        # The probe is a linear layer from 48 features to two classes.
        trained = 48 * 2 + 2 if "probe" in cell else whole
        assert line[2:4] == [f"{trained:,}", f"{100 * trained / whole:.3g} %"]
        frames = aucs(workdir, f"demo/{cell}", "frame")
        assert line[4:7] == [f"{value:.2f}" for value in (frames["A"], frames["B"], (frames["A"] + frames["B"]) / 2)]
        assert line[7:] == [f"{found['A']:.2f}", f"{found['B']:.2f}", f"{(found['A'] + found['B']) / 2:.2f}"]
    label = json.loads((workdir / "runs/demo/none/full/test/metrics.json").read_text())["selection"]["label"]
    assert f"\n  - demo, none, full: {label}\n" in text and "oracle" not in text.lower()


def test_the_csv_has_a_number_a_row(compared):
    workdir, *_ = compared
    rows = list(csv.DictReader((workdir / "table.csv").read_text().splitlines()))
    own = [row for row in rows if row["model"] == "Our Own" and row["tuning"] == "linear_probe"]
    assert {row["metric"] for row in own} == {"frame AUC", "video AUC", "video EER", "video balanced accuracy"}
    found = aucs(workdir, "demo/our_own/linear_probe")
    video = {row["data set"]: row for row in own if row["metric"] == "video AUC"}
    for name, value in (found | {"mean": (found["A"] + found["B"]) / 2}).items():
        assert float(video[name]["mean"]) == pytest.approx(value, rel=1e-12)
        assert (video[name]["deviation"], video[name]["seeds"], video[name]["task"]) == ("", "1", "demo")
        assert video[name]["trained parameters"] == "98" and int(video[name]["all parameters"]) > 50_000
    assert len(rows) == 3 * 3 * 4
    assert cv2.imread(str(workdir / "comparison.png")) is not None


def test_what_has_ended_is_not_run_again_and_not_taken_for_another(compared, pretrained, monkeypatch):
    workdir, *_ = compared
    before = [(workdir / name).read_bytes() for name in WRITTEN]
    counted = Counted(0)
    monkeypatch.setattr(compare.finetune, "run", counted)
    # Where and how fast it runs is free.
    free = tiny(pretrained).changes.replace("data.threads=1", "data.threads=2;alarms.divergence.action=off")
    compare.run(tiny(pretrained, changes=free), str(workdir))
    assert before[1:] == [(workdir / name).read_bytes() for name in WRITTEN[1:]]
    # A cell that ended before there were alarms, or places for an adapter, has ended.
    mark = workdir / "runs/demo/our_own/full/cell.json"
    kept, later = mark.read_text(), ("alarms.", "nonfinite_limit.", "tuning.insertion")
    old = {name: v for name, v in json.loads(kept).items() if not name.startswith(later)}
    mark.write_text(json.dumps(old))
    compare.run(tiny(pretrained), str(workdir))
    mark.write_text(kept)
    other = tiny(pretrained, changes=tiny(pretrained).changes.replace("duration=2 steps", "duration=3 steps"))
    with pytest.raises(ValueError, match="demo, Our Own, full: .*cell.json is of another .*:\n  duration: 2"):
        compare.run(other, str(workdir))
    # An added model runs its own cells alone.
    more = tiny(pretrained, models=f"{tiny(pretrained).models},more=fsfm:{pretrained}")
    with pytest.raises(Stopped):
        compare.run(more, str(workdir))
    assert [line.split(" | ")[2] for line in (workdir / "table.md").read_text().splitlines() if "| more |" in line] == [
        "", "",
    ]  # fmt: skip
    (workdir / "runs/demo/none/full/test/metrics.json").rename(workdir / "gone.json")
    with pytest.raises(FileNotFoundError, match="full has finished, but .*metrics.json is missing. Remove .*full to"):
        compare.run(tiny(pretrained), str(workdir))
    (workdir / "gone.json").rename(workdir / "runs/demo/none/full/test/metrics.json")


# What a cell may raise, and its reason below the table.
FAILURES = [
    (NonFinite("step 7: not finite (loss = nan). Look at this step's data."), "step 7: not finite (loss = nan)"),
    (ValueError("photo a.png: damaged,\n  cut off. Copy it again"), "photo a.png: damaged, cut off"),
    (PermissionError(13, "Permission denied", "x"), "PermissionError: [Errno 13] Permission denied: 'x'"),
    (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: memory"), "JaxRuntimeError: RESOURCE_EXHAUSTED: memory"),
    (KeyError("label"), "KeyError: 'label'"),
]  # fmt: skip


def test_every_failure_has_its_reason_on_a_line(tmp_path):
    def fail(error):
        raise error

    runs = [
        cells.Run(str(number), str(tmp_path / str(number)), comparing(), lambda *_, error=error: fail(error))
        for number, (error, _) in enumerate(FAILURES)
    ]
    told = []
    with pytest.raises(cells.CellsFailed, match="5 of 5 cells failed") as raised:
        cells.run_all(runs, lambda failed: told.append(cells.failure_notes(failed)))
    reasons = [reason for _, reason in FAILURES]
    assert told[-1] == [f"Failed: {number}: {reason}." for number, reason in enumerate(reasons)]
    for number, reason in enumerate(reasons):
        assert f"\n  {number}: {reason}" in str(raised.value)


# One that stops all processes of a run alike, and one that may be of one process alone.
@pytest.mark.parametrize(("error", "reason"), [FAILURES[0], FAILURES[-1]], ids=lambda value: type(value).__name__)
def test_a_cell_that_fails_leaves_the_others_their_numbers(compared, pretrained, tmp_path, monkeypatch, error, reason):
    workdir = Path(shutil.copytree(compared[0], tmp_path / "copy"))
    for cell in ("our_own/linear_probe", "none/full"):
        (workdir / "runs/demo" / cell / "cell.json").unlink()
    tried = []

    def fails(config, folder, stop_after=""):
        tried.append("/".join(Path(folder).parts[-2:]))
        if several:
            monkeypatch.setattr(cells.jax, "process_count", lambda: 2)
        if folder.endswith("linear_probe"):
            raise error

    several = False
    monkeypatch.setattr(compare.finetune, "run", fails)
    told = rf"1 of 3 cells failed and are left empty(.|\n)*demo, Our Own, linear_probe: {re.escape(reason)}"
    with pytest.raises(cells.CellsFailed, match=told):
        compare.run(tiny(pretrained), str(workdir))
    assert tried == ["our_own/linear_probe", "none/full"]
    text = (workdir / "table.md").read_text()
    assert f"- Failed: demo, Our Own, linear_probe: {reason}.\n" in text
    rows = {line.split(" | ")[1]: line for line in text.splitlines() if line.startswith("| ")}
    assert rows["linear_probe"].endswith("|  |  |  |  | – |  |  | – |")
    assert (workdir / "runs/demo/none/full/cell.json").exists() and text.count("| none | full | ") == 1
    assert next(line for line in compared[2][1].splitlines() if "| none | full |" in line) in text
    # One process of several: the others wait for it inside the cell.
    several = True
    (workdir / "runs/demo/none/full/cell.json").unlink()
    with pytest.raises(cells.CellsFailed if isinstance(error, NonFinite) else type(error)):
        compare.run(tiny(pretrained), str(workdir))


def test_everything_is_looked_at_before_anything_is_trained(pretrained, tmp_path, monkeypatch):
    monkeypatch.setattr(compare.finetune, "run", Counted(0))
    init, last = pretrained, tiny(pretrained).models
    for config, error, text in (
        (tiny(init, models=f"{last},lost=fsfm:/nowhere"), FileNotFoundError, "demo, lost, full: models: nothing is at"),
        (tiny(init, models=f"{last},mae=mae:{init}"), ValueError, "demo, mae, full: size: mae has nothing like"),
        (tiny(init, changes=f"{tiny(init).changes};loss.contrast=0.1"), ValueError, "full: loss.contrast: only FS-Ada"),
        (tiny(init, changes="data.train=forged:blend:8"), ValueError, "demo, Our Own, full: "),
    ):
        with pytest.raises(error, match=text):
            compare.run(config, str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def score_lines(spec: str, name: str, perfect: bool) -> list[str]:
    """Rows of a score file for every frame of a set: right about each, or undecided about all."""
    source = open_labelled(spec)
    lines = []
    for example in (source[index] for index in range(len(source))):
        real = example[records.LABEL] == source.real
        score = (0.1 if real else 0.9) if perfect else 0.5
        lines.append(f"{name},{example[records.VIDEO]},{example[records.FRAME]},{'real' if real else 'fake'},{score}")
    return lines


def test_scores_of_other_detectors_are_rows_of_their_own(compared, pretrained, tmp_path, monkeypatch):
    workdir = Path(shutil.copytree(compared[0], tmp_path / "copy"))
    monkeypatch.setattr(compare.finetune, "run", Counted(0))
    specs = dict(part.split("=") for part in CHANGES["data.test"].split(","))
    head, both = "dataset,video,frame,label,fake", tmp_path / "x.csv"
    both.write_text("\n".join([head, *score_lines(specs["A"], "A", True), *score_lines(specs["B"], "B", False)]))
    half = tmp_path / "e.csv"
    half.write_text("\n".join([head, *score_lines(specs["A"], "A", False)]))
    compare.run(tiny(pretrained, scores=f"Xception={both}, EfficientNet={half}"), str(workdir))
    text = (workdir / "table.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert lines[5] == "| Xception | scores |  |  | 100.00 | 50.00 | 75.00 | 100.00 | 50.00 | 75.00 |"
    assert lines[6] == "| EfficientNet | scores |  |  | 50.00 |  | – | 50.00 |  | – |"
    before = [line for line in compared[2][1].splitlines() if line.startswith("| ")]
    assert lines[:5] == before  # nothing is run for them, and nothing else changes
    digest = hashlib.sha256(both.read_bytes()).hexdigest()[:12]
    assert f"- Xception: imported from {both}, SHA-256 {digest}\n" in text
    rows = list(csv.DictReader((workdir / "table.csv").read_text().splitlines()))
    mine = {(row["data set"], row["metric"]): row for row in rows if row["model"] == "Xception"}
    assert float(mine["A", "video AUC"]["mean"]) == float(mine["A", "frame AUC"]["mean"]) == 100
    one = mine["mean", "video AUC"]
    assert (float(one["mean"]), one["trained parameters"], one["seeds"], one["trust"]) == (75, "", "1", "scores")
    assert one["source"] == f"imported from {both}, SHA-256 {digest}"
    assert {row["trust"] for row in rows if row["model"] == "Our Own"} == {""}
    with pytest.raises(FileNotFoundError, match="gone.csv"):
        compare.run(tiny(pretrained, scores=f"X={tmp_path}/gone.csv"), str(workdir))
    both.write_text("\n".join([head, *score_lines(specs["A"], "C", True)]))
    with pytest.raises(ValueError, match="scores: .*x.csv: 'C' is no test set here; expected A, B"):
        compare.run(tiny(pretrained, scores=f"X={both}"), str(workdir))
    both.write_text("\n".join([head, *score_lines(specs["A"], "A", True)[1:]]))
    with pytest.raises(ValueError, match=r"scores: .*x.csv: A: no score for 1 \(.*\) of the 16 frames"):
        compare.run(tiny(pretrained, scores=f"X={both}"), str(workdir))


def one(**fields):
    """The only cell of a comparison."""
    (cell,) = plan(comparing(**fields)).cells
    return cell


def test_a_cell_is_the_recipe_with_its_model_and_changes():
    changes = "batch.size=64; duration=2 epochs;augment.crop=False;batch.accumulation=2;mix.mixup=0.5"
    cell = one(
        models="CLIP=clip:w/clip.safetensors", tasks="diff", size="vitl", tunings="lora", seeds=3, changes=changes
    )
    c = flat(cell.config)
    assert str(cell) == "diff, CLIP, lora" and cell.folder("w") == "w/runs/diff/clip/lora"
    assert (c["init"], c["model.base"], c["model.size"]) == ("w/clip.safetensors", "clip", "vit_l14")
    assert (c["tuning.method"], c["optimizer.base_learning_rate"], c["repeats"]) == ("lora", 1e-3, 3)
    assert c["data.test"].startswith("FF_DF=data/ffpp_deepfakes:test,T2I=") and c["data.statistics"] == "init"
    assert (c["batch.size"], c["duration"], c["augment.crop"]) == (64, "2 epochs", False)
    assert (c["batch.accumulation"], c["mix.mixup"]) == (2, 0.5)
    assert one(models="D=dino:w/d.pth", tasks="dfd", size="vits").config.model.size == "vit_s16_6h"
    assert one(models="D=dinov2:w/d.pth", tasks="dfd", size="vitb").config.model.size == "vit_b14"
    scratch = flat(one(tasks="dfd", size="vitb").config)
    assert (scratch["init"], scratch["duration"], scratch["data.statistics"]) == ("scratch", "50 epochs", "vggface2")
    assert one(tasks="fas_O", size="vitb").config.data.statistics == "vggface2"
    fas = one(models="A=fsfm:runs/a", tasks="fas_O", size="vitb", tunings="bias", variant="oracle").config
    assert (fas.selection.rule, fas.repeats, fas.data.test) == ("oracle", 3, "ICM2O=data/mcio_frames:oulu_test")
    assert fas.tuning.method == "bias"


def test_a_variant_goes_where_a_recipe_has_it():
    planned = plan(comparing(models="A=fsfm:a", tasks="dfd", size="vitb", variant="cached",
                             tunings="full,fs_adapter,linear_probe,lora"))  # fmt: skip
    assert [bool(cell.config.features.cache) for cell in planned.cells] == [False, True, True, False]
    assert planned.notes == ("The variant cached is of dfd, A, fs_adapter; dfd, A, linear_probe alone.",)
    assert plan(comparing(models="A=fsfm:a,B=scratch", tunings="full,bias")).notes == (
        "Left out: B with bias: from scratch there is nothing worth freezing.",
    )


REFUSED = {
    "tuning": (dict(tunings="full,lorra"), "tunings: expected one of .*'lorra'; did you mean 'lora'"),
    "tuning twice": (dict(tunings="full,full"), "tunings: expected names with commas, each once; found 'full,full'"),
    "none": (dict(tasks=""), "tasks: expected names with commas, each once; found ''"),
    "task": (dict(tasks="dfdc"), "tasks: expected one of dfd, diff, fas, demo; found 'dfdc'; did you mean 'dfd'"),
    "target": (dict(tasks="fas", size="vitb"), "tasks: fas has a target, as in fas_O"),
    "no such target": (dict(tasks="fas_X", size="vitb"), "fas_X, scratch, full: variant: expected one of M, C, .*'X'"),
    "size": (dict(size="vitx"), "size: expected one of vits, vitb, vitl, demo; found 'vitx'"),
    "size of the demo": (dict(size="vitb"), "tasks: 'demo' and size 'vitb' do not go together"),
    "size of a base": (dict(models="C=clip:c", tasks="dfd", size="vits"), "dfd, C, full: size: clip has nothing like"),
    "model": (dict(models="A"), "models: expected NAME=BASE:INIT or NAME=scratch, .*found 'A'"),
    "no init": (dict(models="A=mae:"), "models: expected NAME=BASE:INIT .*found 'A=mae:'"),
    "scratch of a base": (dict(models="A=mae:scratch"), "models: expected NAME=BASE:INIT .*found 'A=mae:scratch'"),
    "base": (dict(models="A=clipp:w"), "models: A: expected one of .*'clipp'; did you mean 'clip'"),
    "table": (dict(models="A|B=scratch"), r"models: .* NAME without \|; found 'A\|B=scratch'"),
    "folders": (dict(models="A b=fsfm:a,a_B=fsfm:b"), "models: a_B: A b also has the folder 'a_b'; take another"),
    "no folder": (dict(models="..=scratch"), "models: ..: nothing is left for its folder"),
    "variant": (dict(variant="cachd"), "variant: expected one of cached, .*'cachd'; did you mean 'cached'"),
    "nowhere": (dict(variant="cached"), "variant: cached is a variant of none of these tasks and tunings"),
    "nothing left": (dict(tunings="lora"), "tunings: scratch has full alone, and nothing else is compared"),
    "field": (dict(changes="batch.sise=8"), "changes: there is no field 'batch.sise'; did you mean 'batch.size'"),
    "value": (dict(changes="batch.size=many"), "full: changes: batch.size: expected a value of type int; found 'many'"),
    "truth": (dict(changes="augment.crop=no"), "changes: augment.crop: expected one of True, False; found 'no'"),
    "changed size": (dict(changes="model.size=vit_l14"), "full: model.size: fsfm is one of .*, not vit_l14"),
    "range": (dict(changes="augment.flip=2"), "augment.flip: expected at least 0 and at most 1; found 2.0"),
    "form": (dict(changes="batch.size"), "changes: expected FIELD=VALUE; FIELD=VALUE with each .*found 'batch.size'"),
    "twice": (dict(changes="seed=1;seed=2"), "changes: expected FIELD=VALUE.*found 'seed=2'"),
    "scores": (dict(scores="X"), "scores: expected NAME=FILE.csv, .*found 'X'"),
    "scores of a model": (dict(scores="scratch=a.csv"), "scores: scratch is the name of another row"),
    "scores twice": (dict(scores="X=a.csv,X=b.csv"), "scores: X is the name of another row"),
    "scores in a table": (dict(scores="X|Y=a.csv"), r"scores: .* NAME without \|"),
    "decided": (dict(changes="repeats=2"), "changes: repeats is decided by the field seeds"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", REFUSED)
def test_mistakes_are_named(mistake):
    fields, text = REFUSED[mistake]
    with pytest.raises(ValueError, match=text):
        plan(comparing(**fields))


def test_what_a_run_as_a_whole_refuses(tmp_path):
    many = ",".join(f"m{number}=fsfm:a" for number in range(17))
    for config, workdir, stop, text in (
        (comparing(), str(tmp_path), "5", "--stop_after: a comparison ends with its last cell"),
        (comparing(), "gs://bucket/a", "", "--workdir: a comparison expects a folder of a file system"),
        (comparing(models=many), str(tmp_path), "", "models: the picture has 16 colours; found 17 models"),
    ):
        with pytest.raises(ValueError, match=text):
            compare.run(config, workdir, stop)


def test_folders_are_safe():
    assert [slug(name) for name in ("FS-VFM ViT/B", "../x", "MAE CRFR-P", "a..b")] == [
        "fs-vfm_vit_b", "x", "mae_crfr-p", "a..b",
    ]  # fmt: skip


def facts_of(*names: str) -> Facts:
    detector = {"selection": {"label": "Chosen."}, "seed": names[0]}
    return Facts([("", detector)], [(name, {"videos": 5, "frames": 5, "photos": True, "parts": []}) for name in names])


def entry(task: str, name: str, aucs: list[float] | None, hters: list[float | None] = (), oracle: bool = False):
    """A cell of anti-spoofing with one test set, a seed for each AUC."""
    found = None
    if aucs is not None:
        summaries = [
            {name: {"video": {
                "metrics": {"auc": auc, "tpr_at_fpr_1_percent": None},
                "thresholds": [] if hter is None else [
                    {"rule": "equal error", "oracle": False, "metrics": {"half_total_error_rate": hter}}
                ],
            }}}
            for auc, hter in zip(aucs, hters, strict=True)
        ]  # fmt: skip
        found = results.CellResult(5, 200, tuple(summaries), tuple(facts_of(name) for _ in aucs), oracle)
    return results.Entry(task, "A", "bias", "fas", (name,), found)


def test_targets_share_a_table_and_seeds_have_a_deviation(tmp_path):
    # Means of the seeds over the targets are 0.85 and 0.75: 80 with a deviation of 5, where the sets have 0 and 10.
    both = [entry("fas_M", "m", [0.8, 0.8], [0.1, None]), entry("fas_O", "o", [0.9, 0.7], [0.2, 0.4], oracle=True)]
    text = results.table(both, ["A note."])
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert lines[0] == "| model | tuning | trained | share | m HTER | o HTER | mean HTER | m AUC | o AUC | mean AUC |"
    assert lines[2] == (
        "| A | bias | 5 | 2.5 % | undefined | 30.00 ± 10.00 | – | 80.00 ± 0.00 | 80.00 ± 10.00 | 80.00 ± 5.00 |"
    )
    assert "## fas, %" in text and "- A note." in text
    ran = "fas_M, A, bias, run 1, fas_M, A, bias, run 2: m; fas_O, A, bias, run 1, fas_O, A, bias, run 2: o"
    assert f"\n- seed of the training: {ran}\n" in text and "\n- selection: Chosen.\n" in text
    assert "\n- scored: 5 photos\n" in text
    assert "(oracle), so these numbers are optimistic: A, bias." in text
    results.write_csv(tmp_path / "t.csv", both)
    lines = csv.DictReader((tmp_path / "t.csv").read_text().splitlines())
    rows = {(row["task"], row["data set"], row["metric"]): row for row in lines}
    auc, hter = rows["fas_O", "o", "AUC"], rows["fas_M", "m", "HTER"]
    assert float(auc["deviation"]) == pytest.approx(10) and auc["seeds"] == "2"
    assert hter["mean"] == hter["deviation"] == ""


def test_published_numbers_stand_below_ours_with_their_marks(tmp_path):
    summary = {level: {"metrics": {"auc": auc}, "thresholds": []} for level, auc in (("frame", 0.8), ("video", 0.9))}
    sets = ("CDFv2", "DFDC")
    found = results.CellResult(5, 200, (dict.fromkeys(sets, summary),), (facts_of(*sets),), False)
    text = results.table([results.Entry("dfd", "A", "bias", "dfd", sets, found)], [])
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert lines[2] == ["A", "bias", "5", "2.5 %", *["80.00"] * 3, *["90.00"] * 3]
    frames = {(line[0], line[1]): line[-6:-3] for line in lines[3:]}
    assert frames["FSFM ViT-B, SSL(VF2)", "published"] == ["85.05", "80.20", f"{(85.05 + 80.20) / 2:.2f}"]
    rows = {(line[0], line[1]): line[-3:] for line in lines[3:]}
    assert rows["Xception, Sup(IN)", "published"] == ["76.39", "70.62", f"{(76.39 + 70.62) / 2:.2f}"]
    assert rows["FS-VFM ViT-L, SSL(VF2)", "quotedᵃ"] == ["95.17ᵃ", "87.75ᵃ", "91.46ᵃ"]
    assert rows["FS-VFM ViT-L, SSL(VF2)", "by othersᵗ"] == ["91.99ᵗ", "86.45ᵗ", "89.22ᵗ"]
    assert "| FS-VFM ViT-L, SSL(VF2) | by othersᵗ |  |  |  |  | – | 94.42ᵗ |  | – |" in text
    # A number without a mark is the paper's own, and every mark is explained.
    for (_, kind), found_cells in rows.items():
        mark = {"published": "", "quotedᵃ": "ᵃ", "by othersᵗ": "ᵗ"}[kind]
        assert all(cell in ("", "–") or re.fullmatch(rf"\d+\.\d+{mark}", cell) for cell in found_cells)
    assert "Means of published rows are computed here" in text
    assert "Published: FSFM supplement, Tab. 3.  \nᵃ The authors' number" in text and "\nᵗ Measured by others" in text
    results.write_csv(tmp_path / "t.csv", [entry("fas_O", "ICM2O", [0.9], [0.2])])
    written = list(csv.DictReader((tmp_path / "t.csv").read_text().splitlines()))
    fsfm = [row for row in written if row["model"] == "FSFM ViT-B, SSL(VF2)"]
    assert [(r["task"], r["tuning"], r["metric"], r["mean"], r["trust"], r["source"]) for r in fsfm] == [
        ("fas", "published, oracle", metric, value, "paper", "FSFM supplement, Tab. 4")
        for metric, value in (("HTER", "7.68"), ("AUC", "97.11"))
    ]
    # Not beside drawn forgeries, whatever their sets are called.
    assert "Xception" not in results.table([results.Entry("demo", "A", "bias", "dfd", sets, found)], [])


def test_a_target_that_has_not_ended_leaves_no_mean_and_no_point():
    half = [entry("fas_M", "m", [0.8], [0.1]), entry("fas_O", "o", None)]
    (row,) = results.rows(half)["fas"]
    assert row.mean("AUC") is None and row.counts == (5, 200)
    assert "| 10.00 |  | – | 80.00 |  | – |" in results.table(half, [])
    assert compare.points(half) == {"fas: AUC": []}
    assert compare.points(half[:1]) == {"fas: AUC": [("A", "bias", 5, 80.0, None)]}
