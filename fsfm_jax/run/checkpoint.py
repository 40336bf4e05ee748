"""Saving and restoring a run: the only file that knows Orbax.

A checkpoint has two items: `state`, the arrays, and `run`, a JSON text of everything that must be the same
for the continuation to be the same run (see `train/loop.py`). Orbax writes into a temporary folder and
renames it, so a checkpoint that is visible was whole once. Its list of files (`digests.py`) says whether it still is,
and is asked before anything is used: TensorStore itself does not notice a changed byte in an array.
"""

import contextlib
import dataclasses
import itertools
import json
import logging
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, EveryNSteps, LatestN

from fsfm_jax.run.checkpoint_manager import Manager, is_named_unfinished, temporary_path_class, warn_of_uncommitted
from fsfm_jax.run.digests import PROMISE, complaints, damage, last_whole, set_aside
from fsfm_jax.run.disk import check_room, not_saved
from fsfm_jax.text import join_first

STATE, RUN = "state", "run"
NOT_STORED = "failed"  # a field of the state: one that has failed is never saved
# How often this process has asked for an interruption.
_ASKED = itertools.count(1)


@dataclasses.dataclass(frozen=True)
class Retention:
    """Which checkpoints are kept: the `latest` ones, and every one at a multiple of `every` steps (0: none)."""

    latest: int
    every: int


def _storable(state: Any) -> dict[str, Any]:
    """Return the fields that are written; typed keys as their integers."""
    return jax.tree.map(
        lambda x: jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x,
        {name: value for name, value in state._asdict().items() if name != NOT_STORED},
    )


def _state_back(stored: dict[str, Any], like: Any) -> Any:
    def back(value, leaf):
        return jax.random.wrap_key_data(value) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else value

    fields = {name: jax.tree.map(back, stored[name], getattr(like, name)) for name in stored}
    if NOT_STORED in like._fields:
        fields[NOT_STORED] = jnp.zeros((), bool, device=getattr(like, NOT_STORED).sharding)
    return type(like)(**fields)


class Checkpoints:
    """The checkpoints of one working directory."""

    def __init__(self, directory: str, retention: Retention, asynchronous: bool = True):
        """Open `directory`, creating it; leftovers of an interrupted save are removed.

        In an object store they are named and kept: a checkpoint that is being copied there looks the same.
        """
        keep = [LatestN(retention.latest)]
        if retention.every:
            keep.append(EveryNSteps(retention.every))
        self.directory = epath.Path(directory)
        self._verified: set[int] = set()
        place = self.directory if "://" in directory else self.directory.absolute()
        kind = temporary_path_class(place)
        self._manager = Manager(
            place,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=AnyPreservationPolicy(keep),
                enable_async_checkpointing=asynchronous,
                cleanup_tmp_directories=is_named_unfinished(kind),
                temporary_path_class=kind,
            ),
            # Written out so that a reopened directory can tell shapes before it restores.
            item_handlers={STATE: ocp.StandardCheckpointHandler(), RUN: ocp.JsonCheckpointHandler()},
        )
        if not is_named_unfinished(kind):
            warn_of_uncommitted(place, self.steps())

    def latest_step(self) -> int | None:
        """Return the last step whose checkpoint is whole; None if nothing was ever saved. All hosts must ask.

        Damaged ones after it are set aside under another name: they must neither be taken for the last one nor stand
        in the way when the run gets there again.

        Raises:
          ValueError: there are checkpoints, and none is whole.
        """
        step = last_whole(self.directory, self.steps(), self._complaints)
        damaged = [other for other in self.steps() if step is not None and other > step]
        for other in damaged:
            set_aside(self.directory / str(other))
        if damaged:
            ocp.utils.sync_global_processes("fsfm_jax:set_aside")
            self._manager.reload()
        return step

    def steps(self) -> list[int]:
        return sorted(self._manager.all_steps())

    def save(self, state: Any, run: dict) -> None:
        """Save `state`, which has a `step`, in the background; at most one save is in flight.

        NotSaved if this or the one before it, which was going on in the background, failed (disk full).
        """
        step = int(state.step)
        with self._saving():
            self._manager.check_for_errors()
            if step in self._manager.all_steps():
                return
            items = {STATE: ocp.args.StandardSave(_storable(state)), RUN: ocp.args.JsonSave(run)}
            self._manager.save(step, args=ocp.args.Composite(**items), force=True, custom_metadata=PROMISE)

    def check_room(self, state: Any) -> None:
        """Find out before training whether the disk has room for a checkpoint of `state`; NotSaved if not."""
        leaves = jax.tree.leaves(jax.eval_shape(_storable, state))
        check_room(self.directory, sum(leaf.size * leaf.dtype.itemsize for leaf in leaves), "one checkpoint")

    def delete(self, step: int) -> None:
        """Remove the checkpoint of `step`."""
        self._manager.delete(step)

    def wait(self) -> None:
        """Return when everything saved is on disk; NotSaved if a background save failed."""
        with self._saving():
            self._manager.wait_until_finished()
            self._manager.check_for_errors()

    def preempted(self) -> bool:
        """Return whether the cluster announced an interruption, or any of several hosts got SIGTERM.

        Every host must ask equally often: all of them get the notice at the same question, the first that none of them
        has asked yet, and at that one only. Questions are counted over all runs of the process. If steps were counted
        instead, a notice before the first step of a resumed run, or between two runs, would be lost.
        """
        return ocp.utils.reached_preemption(next(_ASKED))

    def close(self) -> None:
        with self._saving():
            self._manager.close()

    def run(self, step: int) -> dict:
        """Return the `run` item of the checkpoint at `step`; ValueError if that is damaged."""
        self._demand_whole(step)
        return self._manager.restore(step, args=ocp.args.Composite(**{RUN: ocp.args.JsonRestore()}))[RUN]

    def restore(self, step: int, like: Any) -> Any:
        """Return the state at `step`, with the shapes, types and shardings of `like`.

        Raises:
          ValueError: parameters missing, unknown or of another shape or type; all of them are named. Or files of it
            are missing or changed.
        """
        self._demand_whole(step)
        abstract = jax.tree.map(
            lambda a, x: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=x.sharding),
            jax.eval_shape(_storable, like),
            {name: getattr(like, name) for name in like._fields if name != NOT_STORED},
        )
        self._check_leaves(step, abstract)
        args = ocp.args.Composite(**{STATE: ocp.args.StandardRestore(abstract)})
        return _state_back(self._manager.restore(step, args=args)[STATE], like)

    @contextlib.contextmanager
    def _saving(self) -> Iterator[None]:
        """Say what a save ran into; TensorStore raises ValueErrors."""
        try:
            yield
        except (OSError, ValueError) as error:
            steps = [int(place.name) for place in self.directory.iterdir() if place.name.isdigit()]
            last = f"the last one, of step {max(steps)}, is still there" if steps else "there is none yet"
            raise not_saved(self.directory, f"a checkpoint ({last})", error) from error

    def _complaints(self, step: int) -> list[str]:
        if step in self._verified:
            return []
        found = complaints(self.directory / str(step))
        if not found:
            self._verified.add(step)
        return found

    def _demand_whole(self, step: int) -> None:
        found = self._complaints(step)
        if found:
            raise ValueError(damage(self.directory / str(step), found))

    def _check_leaves(self, step: int, abstract: Any) -> None:
        """Name every difference at once: Orbax casts types silently and names shapes one at a time."""
        saved = _flat(self._manager.item_metadata(step)[STATE])
        wanted = _flat(abstract)
        differing = [f"{name}: not in the checkpoint" for name in wanted.keys() - saved.keys()]
        differing += [f"{name}: only in the checkpoint" for name in saved.keys() - wanted.keys()]
        for name in wanted.keys() & saved.keys():
            have, want = saved[name], wanted[name]
            found, expected = (f"{np.dtype(x.dtype)}{list(x.shape)}" for x in (have, want))
            if found != expected:
                differing.append(f"{name}: {found} saved, {expected} expected")
        if differing:
            shown = join_first(sorted(differing), 20, "\n  ")
            raise ValueError(
                f"the checkpoint {self.directory / str(step)} is of another model or optimizer; {len(differing)} "
                f"of {len(wanted)} arrays differ:\n  {shown}\n"
                "Use the configuration it was made with, or another --workdir."
            )


def read_parameters(directory: str, step: int | None = None) -> tuple[dict, dict]:
    """Return parameters and `run` item of a checkpoint, as `read_parts` finds it."""
    parts, run = read_parts(directory, ("params",), step)
    return parts["params"], run


def read_parts(directory: str, names: tuple[str, ...], step: int | None = None) -> tuple[dict, dict]:
    """Read parts of the state by name, and the `run` item, of the last checkpoint in `directory` or that of `step`.

    Arrays are NumPy's; nothing else is read. A part that the state does not have is left out. All hosts must ask. A
    damaged checkpoint is passed over for the one before it, which is said, unless it is the one of `step`.

    Raises:
      FileNotFoundError: no checkpoint there.
      ValueError: none of them is whole, or that of `step` is not.
    """
    path = epath.Path(directory)
    # Orbax warns of each of the two that a reader leaves at its default.
    options = ocp.CheckpointManagerOptions(read_only=True, save_interval_steps=0, create=False)
    handlers = {STATE: ocp.PyTreeCheckpointHandler(), RUN: ocp.JsonCheckpointHandler()}
    with _reading_quietly(), ocp.CheckpointManager(
        path.absolute() if "://" not in directory else path, options=options, item_handlers=handlers
    ) as manager:
        steps = sorted(manager.all_steps())
        if step in steps and (found := complaints(path / str(step))):
            raise ValueError(damage(path / str(step), found))
        step = last_whole(path, steps, lambda each: complaints(path / str(each))) if step is None else step
        if step is None or step not in steps:
            wanted = "checkpoint" if step is None else f"checkpoint of step {step}"
            raise FileNotFoundError(f"no {wanted} in {directory}; let that run save one first")
        saved = manager.item_metadata(step)[STATE]
        tree = getattr(saved, "tree", saved)
        trees = {name: tree[name] for name in names if name in tree}
        like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), trees)
        numpy = jax.tree.map(lambda x: ocp.RestoreArgs(restore_type=np.ndarray), like)
        args = ocp.args.PyTreeRestore(like, restore_args=numpy, partial_restore=True)
        restored = manager.restore(step, args=ocp.args.Composite(**{STATE: args, RUN: ocp.args.JsonRestore()}))
    parts = {name: restored[STATE][name] for name in trees}
    # A partial restore leaves what it does not find as it was asked for, without a word.
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(parts)), "arrays were not read"
    return parts, restored[RUN]


@contextlib.contextmanager
def _reading_quietly() -> Iterator[None]:
    """Keep Orbax from warning that a checkpoint opened for reading is read-only; all other records pass."""

    def keep(record: logging.LogRecord) -> bool:
        return not ("orbax" in record.pathname and str(record.msg).startswith("Given directory is read only"))

    logger = logging.getLogger("absl")
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)


def _flat(tree: Any) -> dict[str, Any]:
    """Leave by path name; attribute and dictionary access look the same, as they do once stored."""
    tree = getattr(tree, "tree", tree)
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: hasattr(x, "shape"))
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def same_json(value: Any) -> Any:
    """Return `value` as it comes back from JSON, for comparing with a restored `run`."""
    return json.loads(json.dumps(value))
