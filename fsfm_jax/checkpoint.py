"""Saving and restoring a run: the only file that knows Orbax.

A checkpoint has two items: `state`, the arrays, and `run`, a JSON text of everything that must be the same
for the continuation to be the same run (see `train/loop.py`). Orbax writes into a temporary folder and
renames it, so a checkpoint that is visible is whole.
"""

import dataclasses
import itertools
import json
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, EveryNSteps, LatestN

STATE, RUN = "state", "run"
# How often this process has asked for an interruption.
_ASKED = itertools.count(1)


@dataclasses.dataclass(frozen=True)
class Retention:
    """Which checkpoints are kept: the `latest` ones, and every one at a multiple of `every` steps (0: none)."""

    latest: int
    every: int


def _storable(state: Any) -> Any:
    """Typed keys as their integers, which is how they are written."""
    return jax.tree.map(
        lambda x: jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x, state
    )


def _keys_back(stored: Any, like: Any) -> Any:
    def back(value, leaf):
        return jax.random.wrap_key_data(value) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else value

    return jax.tree.map(back, stored, like)


class _Manager(ocp.CheckpointManager):
    """Orbax's manager, except that it leaves the cluster's notices to `Checkpoints.preempted`."""

    def reached_preemption(self, step: int) -> bool:
        # It would ask at each save, by the number of the step: the count of questions would be lost.
        return False


class Checkpoints:
    """The checkpoints of one working directory."""

    def __init__(self, directory: str, retention: Retention, asynchronous: bool = True):
        """Opens `directory`, creating it; leftovers of an interrupted save are removed."""
        keep = [LatestN(retention.latest)]
        if retention.every:
            keep.append(EveryNSteps(retention.every))
        self.directory = epath.Path(directory)
        self._manager = _Manager(
            self.directory.absolute() if "://" not in directory else self.directory,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=AnyPreservationPolicy(keep),
                enable_async_checkpointing=asynchronous,
                cleanup_tmp_directories=True,
            ),
            # Written out so that a reopened directory can tell shapes before it restores.
            item_handlers={STATE: ocp.StandardCheckpointHandler(), RUN: ocp.JsonCheckpointHandler()},
        )

    def latest_step(self) -> int | None:
        return self._manager.latest_step()

    def steps(self) -> list[int]:
        return sorted(self._manager.all_steps())

    def save(self, state: Any, run: dict) -> None:
        """Saves `state`, which has a `step`, in the background; at most one save is in flight.

        Raises:
          Whatever the save before this one ran into in the background (disk full, bucket gone).
        """
        step = int(state.step)
        self._manager.check_for_errors()
        if step in self._manager.all_steps():
            return
        args = ocp.args.Composite(**{STATE: ocp.args.StandardSave(_storable(state)), RUN: ocp.args.JsonSave(run)})
        self._manager.save(step, args=args, force=True)

    def delete(self, step: int) -> None:
        """Removes the checkpoint of `step`."""
        self._manager.delete(step)

    def wait(self) -> None:
        """Returns when everything saved is on disk; raises what a background save raised."""
        self._manager.wait_until_finished()
        self._manager.check_for_errors()

    def preempted(self) -> bool:
        """Whether the cluster announced an interruption, or any of several hosts got SIGTERM.

        Every host must ask equally often: all of them are told at the same question, the first that none of them has
        asked yet, and at that one only. Questions are counted over all runs of the process. With the numbers of steps
        instead, a notice would be lost that comes before the first step of a continuation, or between two runs.
        """
        return ocp.utils.reached_preemption(next(_ASKED))

    def close(self) -> None:
        self._manager.close()

    def run(self, step: int) -> dict:
        """The `run` item of the checkpoint at `step`."""
        return self._manager.restore(step, args=ocp.args.Composite(**{RUN: ocp.args.JsonRestore()}))[RUN]

    def restore(self, step: int, like: Any) -> Any:
        """The state at `step`, with the shapes, types and shardings of `like`.

        Raises:
          ValueError: parameters missing, unknown or of another shape or type; all of them are named.
        """
        abstract = jax.tree.map(
            lambda a, x: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=x.sharding),
            jax.eval_shape(_storable, like),
            like,
        )
        self._check_leaves(step, abstract)
        args = ocp.args.Composite(**{STATE: ocp.args.StandardRestore(abstract)})
        stored = self._manager.restore(step, args=args)[STATE]
        return _keys_back(stored, like)

    def _check_leaves(self, step: int, abstract: Any) -> None:
        """Orbax casts types silently and names shapes one at a time; this names every difference at once."""
        saved = _flat(self._manager.item_metadata(step)[STATE])
        wanted = _flat(abstract)
        complaints = [f"{name}: not in the checkpoint" for name in wanted.keys() - saved.keys()]
        complaints += [f"{name}: only in the checkpoint" for name in saved.keys() - wanted.keys()]
        for name in wanted.keys() & saved.keys():
            have, want = saved[name], wanted[name]
            if tuple(have.shape) != tuple(want.shape) or np.dtype(have.dtype) != np.dtype(want.dtype):
                complaints.append(
                    f"{name}: {np.dtype(have.dtype)}{list(have.shape)} saved, "
                    f"{np.dtype(want.dtype)}{list(want.shape)} expected"
                )
        if complaints:
            shown = "\n  ".join(sorted(complaints)[:20])
            raise ValueError(
                f"the checkpoint {self.directory / str(step)} is of another model or optimizer; {len(complaints)} "
                f"of {len(wanted)} arrays differ:\n  {shown}\n"
                "Use the configuration it was made with, or another --workdir."
            )


def saved_parameters(directory: str, step: int | None = None) -> tuple[dict, dict]:
    """Parameters and `run` item of the last checkpoint in `directory`, or that of `step`, as NumPy arrays.

    Nothing else is read.

    Raises:
      FileNotFoundError: no checkpoint there.
    """
    parts, run = saved_parts(directory, ("params",), step)
    return parts["params"], run


def saved_parts(directory: str, names: tuple[str, ...], step: int | None = None) -> tuple[dict, dict]:
    """Parts of the state by name, and the `run` item, of the last checkpoint in `directory` or that of `step`.

    Arrays are NumPy's; nothing else is read. A part that the state does not have is left out.

    Raises:
      FileNotFoundError: no checkpoint there.
    """
    path = epath.Path(directory)
    options = ocp.CheckpointManagerOptions(read_only=True)
    handlers = {STATE: ocp.PyTreeCheckpointHandler(), RUN: ocp.JsonCheckpointHandler()}
    with ocp.CheckpointManager(
        path.absolute() if "://" not in directory else path, options=options, item_handlers=handlers
    ) as manager:
        step = manager.latest_step() if step is None else step
        if step is None or step not in manager.all_steps():
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


def _flat(tree: Any) -> dict[str, Any]:
    """Leaves by path name; attribute and dictionary access look the same, as they do once stored."""
    tree = getattr(tree, "tree", tree)
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: hasattr(x, "shape"))
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def same_json(value: Any) -> Any:
    """`value` as it comes back from JSON, for comparing with a restored `run`."""
    return json.loads(json.dumps(value))
