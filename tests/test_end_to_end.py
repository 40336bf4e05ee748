"""The job as a user starts it: interrupted in every way and continued, and given what it cannot use."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from event_files import read_events
from prepared import records_of_folder
from tuning import changed, dotted

from configs import pretrain_demo
from fsfm_jax.figures.picture_file import read_picture
from fsfm_jax.jobs import pretrain
from fsfm_jax.run.checkpoint import read_parts
from fsfm_jax.train.outcome import NonFinite

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "fsfm_jax" / "data" / "samples" / "pretrain"
STEPS, SAVE_EVERY = 60, 7
# The demo made tiny. Fixed statistics, so that runs on other data compile to the same program.
FIELDS = {
    "data.train": "samples:train", "data.statistics": "vggface2", "data.threads": 1, "batch.size": 8,
    "batch.per_device": 4, "model.size": "tiny16", "model.pixel_width": 16, "model.pixel_depth": 1,
    "model.rep_depth": 1,
    "model.projection_hidden": 16, "model.projection_features": 8, "optimizer.base_learning_rate": 0.15,
    "optimizer.warmup": "2 steps", "duration": f"{STEPS} steps", "checkpoint.every": f"{SAVE_EVERY} steps",
    "checkpoint.keep_latest": 3, "figure.faces": 2,
}  # fmt: skip


def tiny_config(**changes):
    return changed(pretrain_demo.get_config(), FIELDS | dotted(changes))


def start(workdir, *arguments, **changes):
    """The command line of the README as a process of its own, with one device."""
    fields = FIELDS | dotted(changes)
    command = [sys.executable, "-m", "fsfm_jax.main", "--config=configs/pretrain_demo.py", f"--workdir={workdir}"]
    command += [f"--config.{name}={value}" for name, value in fields.items()] + list(arguments)
    command += ["--config.writers=console,jsonl,tensorboard"]
    return subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env={**os.environ, "JAX_PLATFORMS": "cpu"}
    )


def finish(process, code=0):
    _, errors = process.communicate(timeout=300)
    assert process.returncode == code, errors[-3000:]
    return errors


def interrupt(process, workdir, number, after):
    """Sends signal `number` when a checkpoint later than step `after` is whole and a later step is done."""
    path = Path(workdir) / "metrics.jsonl"
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        saved = saved_steps(workdir)
        if saved and path.exists():
            done = [json.loads(line)["step"] for line in path.read_text().splitlines()[:-1]]
            if done and saved[-1] > after and done[-1] > saved[-1]:
                process.send_signal(number)
                break
        time.sleep(0.005)
    return process


def saved_steps(workdir):
    return sorted(int(path.name) for path in (Path(workdir) / "checkpoints").glob("*") if path.name.isdigit())


def stored(workdir, step):
    """Every array of a checkpoint, by name."""
    with ocp.StandardCheckpointer() as reader:
        tree = reader.restore((Path(workdir) / "checkpoints" / str(step) / "state").absolute())
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run that nobody disturbed: its folder and what it said."""
    workdir = tmp_path_factory.mktemp("straight")
    return workdir, finish(start(workdir))


def test_a_run_says_what_it_does_and_learns(straight):
    workdir, said = straight
    last = [line for line in said.splitlines() if line.startswith(f"step {STEPS}/{STEPS}")][-1]
    for part in ("img/s", "loss ", "masked ", "region ", "instance ", "lr ", "ema 1.0000", "left"):
        assert part in last
    assert said.rstrip().splitlines()[-1] == f"Picture: {workdir}/reconstruction.png"
    assert (workdir / "reconstruction.png").read_bytes().startswith(b"\x89PNG")
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    masked = [row["masked"] for row in rows]
    # Batches of eight differ by about 0.15: ten of them by 0.05.
    assert np.mean(masked[-10:]) < np.mean(masked[:10]) - 0.2


def test_killed_and_continued_is_byte_for_byte_the_undisturbed_run(straight, tmp_path):
    process = interrupt(start(tmp_path), tmp_path, signal.SIGKILL, after=0)
    finish(process, -signal.SIGKILL)
    killed_at = saved_steps(tmp_path)
    assert killed_at and killed_at[-1] % SAVE_EVERY == 0 and killed_at[-1] < STEPS
    # Once more, politely this time: it saves where it is, and says by its exit code that it wants to be started again.
    process = interrupt(start(tmp_path), tmp_path, signal.SIGTERM, after=killed_at[-1])
    assert "by SIGTERM; the same command goes on" in finish(process, os.EX_TEMPFAIL)
    assert killed_at[-1] < saved_steps(tmp_path)[-1] < STEPS
    finish(start(tmp_path))
    ours, theirs = stored(tmp_path, STEPS), stored(straight[0], STEPS)
    assert ours.keys() == theirs.keys()
    # 2 of: step, key, moments' and target's counts; weights of online network, two moments, target.
    assert sum("params" in name for name in ours) > 100
    for name, array in ours.items():
        assert array.tobytes() == theirs[name].tobytes(), name
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    scalars, pictures = read_events(tmp_path / "tensorboard")
    for name in ("loss", "masked", "learning_rate", "gradient_norm", "images_per_second"):
        assert [step for step, _ in scalars[name]] == list(range(1, STEPS + 1)), name
    losses = [value for _, value in scalars["loss"]]
    np.testing.assert_allclose(losses, [row["loss"] for row in rows], rtol=1e-6)
    ((step, picture),) = pictures["reconstruction"]
    assert step == STEPS and np.array_equal(picture, read_picture(str(tmp_path / "reconstruction.png")))


def test_an_ablation_without_pixels_ends_as_if_it_had_not_been_stopped(tmp_path, caplog):
    changes = {
        "loss__masked_weight": 0.0, "loss__region_weight": 0.0, "model__target_view": "4b",
        "data__augment_target": "colour",
    }  # fmt: skip
    config = tiny_config(duration="4 steps", horizon="9 steps", checkpoint__every="2 steps", **changes)
    caplog.set_level("INFO", "fsfm_jax")
    for folder, ends in (("straight", [""]), ("stopped", ["2", ""])):
        for stop_after in ends:
            pretrain.run(config, str(tmp_path / folder), stop_after)
    ours, theirs = (stored(tmp_path / folder, 4) for folder in ("stopped", "straight"))
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        assert array.tobytes() == theirs[name].tobytes() and np.isfinite(array.astype(np.float64)).all(), name
    rows = [json.loads(line) for line in (tmp_path / "stopped" / "metrics.jsonl").read_text().splitlines()]
    # Half of 1 + cos(pi 1 / 7): the rate of the last step, 3 of 9 with two of warm-up.
    assert [row["step"] for row in rows] == [1, 2, 3, 4] and "instance" in rows[-1]
    peak = config.optimizer.base_learning_rate * 8 / 256
    assert rows[-1]["learning_rate"] == pytest.approx(peak * (1 + np.cos(np.pi / 7)) / 2, rel=1e-6)
    assert not (tmp_path / "straight" / "reconstruction.png").exists() and "masked" not in rows[-1]
    assert "so no pixels are predicted" in caplog.text


def test_a_finished_run_only_draws_again(straight, tmp_path):
    shutil.copytree(straight[0], tmp_path / "copy")
    (tmp_path / "copy" / "reconstruction.png").unlink()
    before = saved_steps(tmp_path / "copy")
    pretrain.run(tiny_config(), str(tmp_path / "copy"))
    assert (tmp_path / "copy" / "reconstruction.png").exists()
    assert saved_steps(tmp_path / "copy") == before


@pytest.mark.parametrize(("changes", "message"), [
        ({"model__size": "demo16"}, r"model.size: tiny16 saved, demo16 asked for"),
        ({"data__train": "samples:heldout,synthetic:14"}, r"another data set \(\[19\] images saved, \[5, 14\]"),
    ])  # fmt: skip
def test_another_run_in_the_same_folder_is_refused(straight, changes, message):
    before = saved_steps(straight[0])
    with pytest.raises(ValueError, match=message):
        pretrain.run(tiny_config(**changes), str(straight[0]))
    assert saved_steps(straight[0]) == before


def test_the_first_batch_again_and_again_is_another_run(straight, tmp_path):
    config = tiny_config(data__repeat_batch=True)
    pretrain.run(config, str(tmp_path), "2")
    rows, others = (
        [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()[:2]]
        for folder in (tmp_path, straight[0])
    )
    # The learning rate of the first step is zero: the second has the same weights, and here the same batch.
    assert rows[0] == pytest.approx(rows[1], rel=1e-6) and abs(others[0] - others[1]) > 1e-3
    with pytest.raises(ValueError, match=r"data.repeat_batch: True saved, False asked for"):
        pretrain.run(tiny_config(), str(tmp_path))
    # A run from before there was such a field goes on.
    assert "data.repeat_batch" not in read_parts(str(straight[0] / "checkpoints"), ("step",))[1]["config"]


def test_mistakes_on_the_command_line_are_one_clear_line(tmp_path):
    # A folder each: two at once in one are another mistake.
    data = start(tmp_path / "a", data__train="/nowhere")
    size, field = start(tmp_path / "b", model__size="tiny61"), start(tmp_path / "c", "--config.mask.ration=0.5")
    for process, code, text in ((data, 1, "no data set at /nowhere"), (size, 2, "did you mean 'tiny16'")):
        said = finish(process, code)
        assert text in said.splitlines()[-1] and said.splitlines()[-1].startswith("error: ")
        assert "Traceback" not in said
    said = finish(field, 2)
    assert "did you mean" in said and "ratio" in said


def test_a_loss_that_is_not_finite_stops_after_the_last_good_checkpoint(tmp_path):
    # Parameters of 1e15, as the first step leaves them, can be squared and summed, but not carried through two layers.
    config = tiny_config(
        optimizer__base_learning_rate=1e17, checkpoint__every="1 steps", optimizer__warmup="0 steps",
        model__instance_discrimination=False,
    )  # fmt: skip
    with pytest.raises(NonFinite, match=r"step (\d+): .*masked.* not finite .* Nothing of this step was sav") as error:
        pretrain.run(config, str(tmp_path))
    bad = int(str(error.value).split(":")[0].removeprefix("step "))
    steps = saved_steps(tmp_path)
    assert steps and max(steps) < bad
    for name, array in stored(tmp_path, max(steps)).items():
        assert np.isfinite(array.astype(np.float64)).all(), name


def test_a_damaged_record_is_named_and_costs_no_step(tmp_path):
    records_of_folder(tmp_path / "records", SAMPLES, faces_per_shard=6)
    shard = sorted((tmp_path / "records").glob("*.array_record*"))[2]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 0xFF
    shard.write_bytes(content)
    config = tiny_config(data__train=str(tmp_path / "records"), checkpoint__every="1000 steps")
    with pytest.raises(ValueError, match=rf"faces:train, example \d+ in .*{shard.name}: cannot be read"):
        pretrain.run(config, str(tmp_path / "run"))
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    # Everything trained before the bad batch is in the checkpoint.
    assert saved_steps(tmp_path / "run")[-1] == len(rows)
