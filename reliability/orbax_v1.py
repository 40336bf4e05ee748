"""A rehearsal of Orbax's v1 interface: the checkpoints of `fsfm_jax.run.checkpoint`, read and written through it.

Not a part of the package. `docs/RELIABILITY.md` says what v1 lacks for taking the place of the present manager; the two
workarounds are named here where they are.
"""

from typing import Any

import jax
import numpy as np
import orbax.checkpoint as v0
import orbax.checkpoint.experimental.v1 as ocp
from etils import epath
from orbax.checkpoint.experimental.v1 import training

from fsfm_jax.run.checkpoint import RUN, STATE, Retention
from fsfm_jax.run.digests import PROMISE, complaints, last_whole, write_digests


class RunHandler(ocp.handlers.CheckpointableHandler):
    """Writes the `run` item into the file `metadata`, where the present manager looks for it.

    v1's own handler of JSON reads that name, but writes `data.json`.
    """

    def __init__(self):
        self._json = ocp.handlers.JsonHandler(filename="metadata")

    async def save(self, directory: Any, checkpointable: Any) -> Any:
        return await self._json.save(directory, checkpointable)

    async def load(self, directory: Any, abstract_checkpointable: None = None) -> Any:
        return await self._json.load(directory, abstract_checkpointable)

    async def metadata(self, directory: Any) -> None:
        return await self._json.metadata(directory)

    def is_handleable(self, checkpointable: Any) -> bool:
        return self._json.is_handleable(checkpointable)

    def is_abstract_handleable(self, abstract_checkpointable: Any) -> bool | None:
        return self._json.is_abstract_handleable(abstract_checkpointable)


class CheckpointsV1:
    """The checkpoints of one directory; the methods are those of `fsfm_jax.run.checkpoint.Checkpoints`."""

    def __init__(self, directory: str, retention: Retention, commit_file: bool = False):
        """Open `directory`, creating it.

        Args:
          commit_file: a checkpoint is complete when a file says so, as in an object store, and not by its name.
        """
        policies = training.preservation_policies
        keep = [policies.LatestN(retention.latest)]
        if retention.every:
            keep.append(policies.EveryNSteps(retention.every))
        context = ocp.Context()
        context.checkpointables.registry = ocp.handlers.local_registry()
        context.checkpointables.registry.add(RunHandler, checkpointable_name=RUN)
        if commit_file:
            context.atomicity.mode = v0.options.AtomicityMode.COMMIT_FILE
        self.directory = epath.Path(directory)
        self._remote, self._asked = commit_file, 0
        self._checkpointer = training.Checkpointer(
            self.directory,
            context=context,
            preservation_policy=policies.AnyPreservationPolicy(keep),
            # With a commit file it would delete every folder that has none, also one that is being copied.
            cleanup_tmp_directories=not commit_file,
        )
        # Workaround: at each save v1 asks for a notice by the number of the step, and no option leaves that out. The
        # answer would be lost, and the count of `preempted` with it.
        self._checkpointer._manager.reached_preemption = lambda step: False

    def steps(self) -> list[int]:
        return [found.step for found in self._checkpointer.checkpoints]

    def latest_step(self) -> int | None:
        """Return the last step whose checkpoint is whole; None if nothing was saved. ValueError if none is whole."""
        return last_whole(self.directory, self.steps(), lambda step: complaints(self.directory / str(step)))

    def save(self, stored: dict[str, Any], run: dict) -> None:
        """Save a state as it is stored, with a `step`, and wait until it is a checkpoint with its list.

        Workaround: v1 has no place between the last byte and the commit, so the list is written after that. A process
        that is killed in between leaves a checkpoint that promises a list and has none, which is damaged for its
        readers: it is passed over, and the steps since the one before are trained again.
        """
        step = int(stored["step"])
        if step in self.steps():
            return
        items = {STATE: stored, RUN: run}
        self._checkpointer.save_checkpointables(step, items, force=True, custom_metadata=PROMISE)
        self.write_list(step)

    def write_list(self, step: int) -> None:
        """Write the list of the files of a checkpoint that has none."""
        if jax.process_index() == 0:
            write_digests(self.directory / str(step), self._remote, {})

    def run(self, step: int) -> dict:
        """Return the `run` item of the checkpoint at `step`."""
        return self._checkpointer.load_checkpointables(step, {RUN: None})[RUN]

    def restore(self, step: int, like: Any = None) -> dict[str, Any]:
        """Return the state at `step` as stored, with types and shardings of `like`; NumPy arrays without it."""
        if like is None:
            described = self._checkpointer.checkpointables_metadata(step).metadata[STATE]
            like = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), described)
        return self._checkpointer.load_checkpointables(step, {STATE: like})[STATE]

    def preempted(self) -> bool:
        """Return whether the cluster announced an interruption, by the count of questions."""
        self._asked += 1
        return v0.utils.reached_preemption(self._asked)

    def close(self) -> None:
        self._checkpointer.close()
