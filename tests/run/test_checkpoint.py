"""Checkpoints: every bit comes back, only what fits is restored, and a failed save is neither hidden nor seen."""

import errno
import logging
import os
import shutil
import tarfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec
from orbax.checkpoint._src.futures import future, signaling_client
from orbax.checkpoint.path import atomicity

from fsfm_jax import partition
from fsfm_jax.run import checkpoint
from fsfm_jax.run.checkpoint import Checkpoints, Retention, read_parameters, read_parts, same_json
from fsfm_jax.run.checkpoint_manager import LISTED, Manager
from fsfm_jax.run.disk import NotSaved
from fsfm_jax.train.state import TrainState
from reliability.orbax_v1 import CheckpointsV1

KEEP_ALL = Retention(latest=100, every=0)


class State(NamedTuple):
    step: Any
    params: Any
    moments: Any
    key: Any


def arrays(step: int) -> dict[str, np.ndarray]:
    """Values that a conversion would change: NaN with a payload, -0, the smallest subnormal, odd bfloat16."""
    generator = np.random.default_rng(step)
    kernel = generator.standard_normal((16, 6)).astype(np.float32)
    kernel.view(np.uint32)[0, :4] = 0x7FC12345, 0x80000000, 0x00000001, 0xFF800000
    half = generator.integers(0, 2**16, 8, np.uint16).view(jnp.bfloat16)
    return {"kernel": kernel, "half": half, "count": np.int32(step), "words": np.uint32([2**32 - 1, step])}


def make(step: int, sharding=None, **changes) -> State:
    a = {name: jax.device_put(value, sharding) for name, value in (arrays(step) | changes).items()}
    key = jax.random.wrap_key_data(jax.device_put(np.uint32([7, step]), sharding))
    params = {"block_00": {"kernel": a["kernel"], "half": a["half"]}}
    return State(jax.device_put(np.int32(step), sharding), params, (a["count"], a["words"]), key)


def like(state: State) -> State:
    """Shapes, types and shardings only, as a run that starts again has them."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)


def raw(state: State) -> list[tuple]:
    """Names, types and bytes of all leaves; keys by their integers."""

    def data(leaf):
        return jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf

    named = jax.tree_util.tree_leaves_with_path(state)
    return [(str(path), str(x.dtype), x.shape, np.asarray(data(x)).tobytes()) for path, x in named]


@pytest.fixture
def opened(tmp_path):
    """Opens `tmp_path / "checkpoints"`, as often as asked; all are closed in the end."""
    every = []

    def open_it(retention: Retention = KEEP_ALL) -> Checkpoints:
        every.append(Checkpoints(str(tmp_path / "checkpoints"), retention))
        return every[-1]

    yield open_it
    for checkpoints in every:
        checkpoints.close()


def test_state_and_run_come_back_bit_for_bit(opened):
    state = make(3)
    run = {"step": 3, "config": {"mask.ratio": 0.1, "seed": 2**40}, "data": [{"fingerprint": "ä", "weight": None}]}
    first = opened()
    assert first.latest_step() is None and first.steps() == []
    first.save(state, run)
    first.wait()
    again = opened()
    assert again.latest_step() == 3
    restored = again.restore(3, like(state))
    assert raw(restored) == raw(state)
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    assert restored.key.dtype == state.key.dtype
    assert again.run(3) == run == same_json(run)


def test_reading_parameters_gives_no_warning_of_orbax_and_keeps_those_of_others(opened, tmp_path, caplog):
    checkpoints, logger = opened(), logging.getLogger("absl")
    checkpoints.save(make(1), {})
    checkpoints.wait()
    with caplog.at_level(logging.WARNING, "absl"):
        logger.addHandler(caplog.handler)  # absl's logger does not hand records on
        try:
            read_parameters(str(tmp_path / "checkpoints"))
            logger.warning("ours")
        finally:
            logger.removeHandler(caplog.handler)
    assert {record.getMessage() for record in caplog.records} == {"ours"}


def test_a_saved_state_is_that_of_its_time_and_saving_a_step_again_leaves_the_first(opened):
    # The step donates its state: the save may not read arrays that the next step has already overwritten.
    checkpoints = opened()
    for step in (1, 2, 3):
        state = make(step)
        checkpoints.save(state, {"step": step})
        jax.tree.map(lambda x: x.delete(), state)
    checkpoints.wait()
    for step in (1, 2, 3):
        assert raw(checkpoints.restore(step, like(make(step)))) == raw(make(step))
        assert checkpoints.run(step) == {"step": step}
    checkpoints.save(make(1), {"of": "the second"})
    checkpoints.wait()
    assert checkpoints.steps() == [1, 2, 3] and checkpoints.run(1) == {"step": 1}


def test_orbax_has_its_own_clock_and_log_again_when_all_is_closed(tmp_path):
    def seen():
        return future.time, signaling_client.time, list(logging.getLogger("absl").filters)

    own = seen()
    assert own[:2] == (time, time)
    first, second = (Checkpoints(str(tmp_path / name), KEEP_ALL) for name in "ab")
    first.close()
    first.close()
    # A clock that is put right while one is open ends no save.
    assert {clock.time for clock in seen()[:2]} == {time.monotonic} and len(seen()[2]) == len(own[2]) + 1
    second.close()
    assert seen() == own
    with pytest.raises(TypeError):
        Manager(tmp_path, nonsense=True)
    assert seen() == own


@pytest.mark.parametrize(("retention", "kept"), [(Retention(2, 3), [3, 6, 7, 8]), (Retention(1, 0), [8])])
def test_the_latest_and_every_so_many_steps_are_kept(opened, tmp_path, retention, kept):
    checkpoints = opened(retention)
    for step in range(1, 9):
        checkpoints.save(make(step), {})
    checkpoints.wait()
    checkpoints.close()
    assert opened(retention).steps() == kept
    assert sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir()) == kept


def test_every_difference_is_named_at_once(opened):
    checkpoints = opened()
    checkpoints.save(make(1), {})
    checkpoints.wait()
    wanted = like(make(1))
    other = jax.ShapeDtypeStruct((16, 5), np.float32, sharding=wanted.step.sharding)
    double = jax.ShapeDtypeStruct((2,), np.int32, sharding=wanted.step.sharding)
    wanted = wanted._replace(
        params={"block_00": {"kernel": other}, "block_01": {"kernel": other}}, moments=(wanted.moments[0], double)
    )
    with pytest.raises(ValueError) as error:
        checkpoints.restore(1, wanted)
    text = str(error.value)
    assert "checkpoints/1 is of another model or optimizer; 4 of 6 arrays differ" in text
    assert text.splitlines()[1:-1] == [
        "  moments/1: uint32[2] saved, int32[2] expected",
        "  params/block_00/half: only in the checkpoint",
        "  params/block_00/kernel: float32[16, 6] saved, float32[16, 5] expected",
        "  params/block_01/kernel: not in the checkpoint",
    ]
    assert text.splitlines()[-1] == "Use the configuration it was made with, or another --workdir."


def test_a_checkpoint_of_eight_devices_is_restored_on_one_and_the_reverse(opened):
    eight, one = partition.make_mesh(), partition.make_mesh(jax.devices()[:1])
    split = NamedSharding(eight, PartitionSpec("data", None))

    def shardings(mesh):
        places = partition.state_shardings(like(make(0)), mesh, fsdp=True, fsdp_min_size=64)
        assert (places.params["block_00"]["kernel"] == split) == (mesh is eight)
        return places

    # Steps 1 and 2, each restored where the other was saved.
    checkpoints = opened()
    for step, mesh in ((1, eight), (2, one)):
        checkpoints.save(jax.device_put(make(step), shardings(mesh)), {})
    checkpoints.wait()
    for step, mesh in ((1, one), (2, eight)):
        places = shardings(mesh)
        wanted = jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), like(make(0)), places)
        restored = checkpoints.restore(step, wanted)
        assert raw(restored) == raw(make(step))
        jax.tree.map(lambda x, s: np.testing.assert_(x.sharding.is_equivalent_to(s, x.ndim)), restored, places)


class Disk:
    """Fails in the background once it is full: at the end, when no other thread is still writing."""

    full = False


@pytest.fixture
def disk(monkeypatch) -> Disk:
    disk, original = Disk(), ocp.JsonCheckpointHandler.finalize

    def finalize(handler, directory):
        if disk.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(handler, directory)

    monkeypatch.setattr(ocp.JsonCheckpointHandler, "finalize", finalize)
    return disk


def test_a_failed_background_save_is_told_and_leaves_the_last_good_one(opened, disk, tmp_path, caplog):
    checkpoints = opened(Retention(1, 0))
    checkpoints.save(make(1), {"step": 1})
    checkpoints.wait()
    disk.full = True
    checkpoints.save(make(2), {"step": 2})
    last, found = r"\(the last one, of step 1, is still there\)", r"No space left on device \(.* GB are free there\)"
    with pytest.raises(NotSaved, match=f"expected to write a checkpoint {last}; found: .*{found}"):
        checkpoints.wait()
    assert "Traceback" not in caplog.text
    disk.full = False
    # What the failed save left behind is no checkpoint, and it is gone once the directory is used again.
    leftovers = {path.name for path in (tmp_path / "checkpoints").iterdir()} - {"1"}
    assert len(leftovers) == 1 and leftovers.pop().startswith("2.")
    again = opened(Retention(2, 0))
    assert again.steps() == [1] and again.latest_step() == 1
    assert raw(again.restore(1, like(make(1)))) == raw(make(1)) and again.run(1) == {"step": 1}
    again.save(make(3), {})
    again.wait()
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["1", "3"]


def test_a_failed_background_save_is_told_by_the_next_save_at_the_latest(opened, disk):
    # As the loop does it: nobody waits, the next save comes some time later.
    checkpoints = opened()
    disk.full = True
    checkpoints.save(make(1), {})
    with pytest.raises(NotSaved, match=r"\(there is none yet\); found: .*No space left on device"):
        checkpoints.save(make(2), {})
    disk.full = False
    checkpoints.save(make(3), {})
    checkpoints.wait()
    assert checkpoints.steps() == [3]


def test_whether_a_state_has_failed_is_not_stored(tmp_path):
    class Failing(NamedTuple):
        step: Any
        params: Any
        failed: Any

    state = Failing(jnp.int32(3), {"a": jnp.ones(2)}, jnp.bool_(False))
    checkpoints = Checkpoints(str(tmp_path), KEEP_ALL)
    checkpoints.save(state, {})
    checkpoints.wait()
    assert read_parts(str(tmp_path), Failing._fields)[0].keys() == {"step", "params"}
    back = checkpoints.restore(3, like(state))
    checkpoints.close()
    assert isinstance(back, Failing) and int(back.step) == 3 and not back.failed and back.failed.dtype == bool


def as_stored(state: State) -> dict[str, Any]:
    """The fields of a state by name, with its key as integers."""
    return state._asdict() | {"key": jax.random.key_data(state.key)}


def test_v1_reads_checkpoints_of_version_0_1_bit_for_bit(tmp_path):
    with tarfile.open(Path(__file__).parents[1] / "golden" / "former" / "runs.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    folder = str(tmp_path / "pretrain" / "checkpoints")
    expected, run = read_parts(folder, TrainState._fields)
    rehearsed = CheckpointsV1(folder, KEEP_ALL)
    assert rehearsed.latest_step() == 2 and rehearsed.run(2) == run
    found = rehearsed.restore(2)
    rehearsed.close()
    assert len(jax.tree.leaves(found)) > 100 and raw(found) == raw(expected)


def test_v1_writes_what_is_read_today_and_asks_for_notices_by_their_count_alone(opened, tmp_path, monkeypatch):
    asked: list[int] = []
    # A notice that all hosts are told of at question 2.
    monkeypatch.setattr(multihost_utils, "reached_preemption_sync_point", lambda n: asked.append(n) or n == 2)
    rehearsed = CheckpointsV1(str(tmp_path / "checkpoints"), Retention(1, 2))
    assert not rehearsed.preempted()
    for step in (2, 3, 4, 5):
        rehearsed.save(as_stored(make(step)), {"step": step})
    assert rehearsed.preempted() and asked == [1, 2]
    rehearsed.close()
    today = opened()
    assert today.steps() == [2, 4, 5] and today.latest_step() == 5 and today.run(5) == {"step": 5}
    assert raw(today.restore(5, like(make(5)))) == raw(make(5))
    # Killed between the commit and the list.
    (tmp_path / "checkpoints" / "5" / "digests.json").unlink()
    assert opened().latest_step() == 4 and (tmp_path / "checkpoints" / "5.damaged").exists()


def upload(folder: Path, place: Path, without: str = "") -> None:
    """Copies files as an object store has them: no empty folders, other times, one file not yet there."""
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != without):
        target = place / file.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        os.utime(target, (1e9, 1e9))


def in_object_store(place: Path) -> Checkpoints:
    """Opens a local folder with the rules of an object store: complete is what has its commit file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "temporary_path_class", lambda _: LISTED[atomicity.CommitFileTemporaryPath])
        return Checkpoints(str(place), KEEP_ALL)


@pytest.mark.parametrize("without", ["commit_success.txt", "_CHECKPOINT_METADATA", "digests.json", "manifest.ocdbt"])
def test_a_partial_copy_in_an_object_store_is_neither_used_nor_deleted(opened, tmp_path, without, caplog):
    checkpoints = opened()
    for step in (1, 2):
        checkpoints.save(make(step), {"step": step})
    checkpoints.wait()
    bucket = tmp_path / "bucket"
    upload(tmp_path / "checkpoints" / "1", bucket / "1")
    upload(tmp_path / "checkpoints" / "2", bucket / "2", without)
    (bucket / "notes").mkdir()
    (bucket / "notes" / "of_mine.txt").write_text("kept")
    files = sum(path.is_file() for path in bucket.rglob("*"))
    rehearsed = CheckpointsV1(str(bucket), KEEP_ALL, commit_file=True)
    stored = as_stored(make(1))
    assert rehearsed.latest_step() == 1 and raw(rehearsed.restore(1, like(stored))) == raw(stored)
    rehearsed.close()
    with caplog.at_level(logging.WARNING, "fsfm_jax"):
        remote = in_object_store(bucket)
    assert remote.latest_step() == 1 and raw(remote.restore(1, like(make(1)))) == raw(make(1))
    assert sum(path.is_file() for path in bucket.rglob("*")) == files
    assert ("2 is not used: it has no commit_success.txt" in caplog.text) == (without == "commit_success.txt")
    # A run that gets to that step again replaces what is there, and its copy on a disk is a checkpoint.
    remote.save(make(2), {"step": 2})
    remote.close()
    upload(bucket / "2", tmp_path / "back" / "2")
    back = Checkpoints(str(tmp_path / "back"), KEEP_ALL)
    assert back.latest_step() == 2 and raw(back.restore(2, like(make(2)))) == raw(make(2))
    back.close()
