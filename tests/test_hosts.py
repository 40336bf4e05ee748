"""Several hosts, as processes with their own devices: they do what one does, and are stopped and continued together."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import light_compiling
import numpy as np
import portpicker
import pytest
from tuning import PRETRAINING

from fsfm_jax.run.checkpoint import read_parts
from fsfm_jax.train.state import TrainState

ROOT = Path(__file__).parent.parent
LAST, SAVE_EVERY, TOLD_AT, TOLD_HOST = 8, 4, 5, 1
# One device takes four turns for a batch, four take one. The run is longer than the test: it draws no picture.
FIELDS = {
    **PRETRAINING, "batch.per_device": 2, "duration": f"{2 * LAST} steps", "checkpoint.every": f"{SAVE_EVERY} steps",
    "checkpoint.keep_latest": 9, "optimizer.base_learning_rate": 1e-3, "optimizer.warmup": "2 steps",
}  # fmt: skip
SPLIT = {"partition.fsdp": True, "partition.fsdp_min_size": 4000}
# A host of a cluster. It does its tasks in turn, the last one as the command line does, and notes the rows of batches.
HOST = """
import functools, hashlib, json, os, signal, sys, time
import jax
from absl import app, flags

port, folder, hosts, host, devices, last, tasks = json.loads(sys.argv[1])
jax.config.update("jax_num_cpu_devices", devices)
if hosts > 1:
    jax.distributed.initialize(f"localhost:{port}", hosts, host)

from configs import pretrain_demo
from fsfm_jax import main
from fsfm_jax.jobs import pretrain
from fsfm_jax.train.program import Program

rows, told, compiled = [], None, []

def tell():
    # JAX looks once a second whether there was a signal.
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(3)

class Noted(pretrain.Stream):
    def __next__(self):
        if told == [host, len(rows)]:
            tell()
        batch = super().__next__()
        whole = [b"".join(batch[key][row].tobytes() for key in sorted(batch)) for row in range(len(batch["image"]))]
        rows.append([hashlib.sha256(row).hexdigest() for row in whole])
        return batch

pretrain.Stream = Noted

@functools.cache
def compile_step(program, compile_step=Program.compile_step):
    step = compile_step(program)
    # Gloo waits 30 seconds for the slowest host, whose compiler may have had less of the processor.
    compiled.append(program)
    open(f"{folder}/compiled-{len(compiled)}-{host}", "w").close()
    while not all(os.path.exists(f"{folder}/compiled-{len(compiled)}-{other}") for other in range(hosts)):
        time.sleep(0.02)
    return step

# Each process compiles for itself: once for all of its runs.
pretrain.make_program = functools.cache(pretrain.make_program)
Program.compile_step = compile_step

for task in tasks[:-1]:
    flags.FLAGS.mark_as_parsed()  # grain reads a flag
    config = pretrain_demo.get_config()
    config.update_from_flattened_dict(task["fields"])
    pretrain.run(config, task["workdir"], str(last))
    with open(f"{task['workdir']}/rows-{hosts}-{host}.json", "w") as file:
        json.dump(rows, file)
    rows.clear()
told = tasks[-1]["told"]
if told == [host, -1]:
    tell()
flags.FLAGS.unparse_flags()
flags.mark_flags_as_required(["config", "workdir"])
sys.argv = ["main", "--config=configs/pretrain_demo.py", f"--workdir={tasks[-1]['workdir']}", f"--stop_after={last}"]
sys.argv += [f"--config.{name}={value}" for name, value in tasks[-1]["fields"].items()]
app.run(main.main)
"""


def task(workdir: Path, told: tuple[int, int] | None = None, **fields) -> dict:
    """A run in `workdir`; host `told[0]` gets SIGTERM before its batch number `told[1]`; at its start if -1."""
    return {"workdir": str(workdir), "told": told, "fields": {**FIELDS, **fields}}


def start(hosts: int, devices: int, *tasks: dict) -> list[subprocess.Popen]:
    """`hosts` processes with `devices` each, which do `tasks` together."""
    port, folder = portpicker.pick_unused_port(), tempfile.mkdtemp(dir=Path(tasks[0]["workdir"]).parent)
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", **light_compiling.ENVIRONMENT}
    return [
        subprocess.Popen(
            [sys.executable, "-c", HOST, json.dumps([port, folder, hosts, host, devices, LAST, tasks])],
            cwd=ROOT, stderr=subprocess.PIPE, text=True, env=environment,
        )
        for host in range(hosts)
    ]  # fmt: skip


def finish(processes: list[subprocess.Popen], code: int) -> str:
    """What the first process said; all of them must end with `code`."""
    said = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [code] * len(said), "\n".join(text[-2000:] for text in said)
    return said[0]


def saved_steps(workdir: Path) -> list[int]:
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit())


def stored(workdir: Path, step: int) -> dict[str, np.ndarray]:
    """Every array of a checkpoint, by name."""
    parts, _ = read_parts(str(workdir / "checkpoints"), TrainState._fields, step)
    assert parts.keys() == {*TrainState._fields} - {"failed"}
    leaves = jax.tree_util.tree_flatten_with_path(parts)[0]
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def curve(workdir: Path, name: str = "loss") -> np.ndarray:
    """A metric of every step up to the last one, `[LAST]`."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, LAST + 1))
    return np.array([line[name] for line in lines])


def rows(workdir: Path, hosts: int) -> list[list[list[str]]]:
    """The rows of each step's batch, host by host; a row is a digest of photo and masks."""
    each = [json.loads((workdir / f"rows-{hosts}-{host}.json").read_text()) for host in range(hosts)]
    return list(zip(*each, strict=True))


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """The working directories of these runs, and below `said` what the stopped ones said:

    split       two processes of two devices each with FSDP, undisturbed
    told        two with FSDP, one of which gets SIGTERM, and again two with the same command
    one         one process with one device
    on_one      one that goes on from a checkpoint of `split`
    on_two      two with two devices each that go on from it, without FSDP
    early       two that go on from it, one of which gets SIGTERM before the first step
    """
    root = tmp_path_factory.mktemp("hosts")
    found = {name: root / name for name in ("split", "told", "one", "on_one", "on_two", "early")}
    for name in ("split", "told", "one"):
        found[name].mkdir()
    told = task(found["told"], **SPLIT)
    first = start(2, 2, task(found["split"], **SPLIT), told | {"told": (TOLD_HOST, TOLD_AT)})
    said = {"told": finish(first, 75)}
    found["told_at"] = saved_steps(found["told"])
    for name in ("on_one", "on_two", "early"):
        shutil.copytree(found["split"], found[name])
        shutil.rmtree(found[name] / "checkpoints" / str(LAST))
    two = start(2, 2, told, task(found["on_two"]), task(found["early"], told=(1, -1)))
    one = start(1, 1, task(found["one"]), task(found["on_one"]))
    said |= {"early": finish(two, 75)}
    finish(one, 0)
    return found | {"said": said}


def test_hosts_share_the_batches_of_one_host_without_overlap(runs):
    alone = [batch for (batch,) in rows(runs["one"], 1)]
    # The loader takes batches of its own accord only: those of the steps, in their order.
    assert [len(batch) for batch in alone] == [PRETRAINING["batch.size"]] * LAST
    assert len({row for batch in alone[:2] for row in batch}) == 2 * PRETRAINING["batch.size"]
    for folder, first in (("split", 0), ("on_two", SAVE_EVERY)):
        shares = rows(runs[folder], 2)
        assert len(shares) == LAST - first
        for share, whole in zip(shares, alone[first:], strict=True):
            # Hosts take turns in the stream: every row once, none twice.
            assert list(share) == [whole[host::2] for host in range(2)]


@pytest.mark.parametrize("name", ["loss", "masked", "region", "instance", "gradient_norm"])
def test_hosts_learn_what_one_host_learns(runs, name):
    # Sums in another order differ by 1e-7, and at this learning rate eight steps do not make more of it. The term
    # "instance" is a sum of cosines and near zero: there it is the absolute difference.
    alone, relative = curve(runs["one"], name), name != "instance"
    assert np.ptp(alone) > 1e-2
    for folder in ("split", "on_two", "on_one"):
        found = curve(runs[folder], name)
        np.testing.assert_allclose(found, alone, rtol=1e-6 * relative, atol=1e-6 * (not relative), err_msg=folder)


def test_a_host_that_is_told_to_stop_stops_all_of_them_with_everything_saved(runs):
    ((first, stopped_at),) = [runs["told_at"]]
    assert first == SAVE_EVERY and TOLD_AT < stopped_at < LAST
    message = f"Stopped after step {stopped_at} of {2 * LAST} by SIGTERM; the same command goes on from there"
    assert message in runs["said"]["told"]
    # Continued, they read the batches that were left and no others.
    assert len(rows(runs["told"], 2)) == LAST - stopped_at


def test_hosts_that_go_on_do_what_undisturbed_hosts_do_bit_for_bit(runs):
    ours, theirs = (stored(runs[folder], LAST) for folder in ("told", "split"))
    assert ours.keys() == theirs.keys() and sum("params" in name for name in ours) > 100
    for name, array in ours.items():
        assert array.tobytes() == theirs[name].tobytes(), name
    np.testing.assert_array_equal(curve(runs["told"]), curve(runs["split"]))


def test_a_host_told_to_stop_before_the_first_step_of_a_continuation_is_heard(runs):
    # The notice counts questions, not steps, or it would wait for a step that has long been done.
    assert f"Stopped after step {SAVE_EVERY} of {2 * LAST} by SIGTERM" in runs["said"]["early"]
    assert saved_steps(runs["early"]) == [SAVE_EVERY]
