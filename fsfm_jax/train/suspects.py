"""Which images of a batch are to blame for a loss that is not finite: each is inspected alone, once it has happened."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from fsfm_jax import partition
from fsfm_jax.tasks.base import Batch, Task
from fsfm_jax.train.state import TrainState, named_key
from fsfm_jax.train.step import split_batch

# Names in a message; the file of alarms has up to NAMED_IN_FILE.
NAMED, NAMED_IN_FILE = 5, 100
_ROW = "row"


@dataclasses.dataclass(frozen=True)
class SuspectImages:
    """What became of a search.

    Attributes:
      first, last: positions of the batch in the stream of examples.
      images: the names of non-finite values: terms of the loss, rows or arrays of the batch, by position.
      records: source of each of the first `NAMED_IN_FILE` images, by position.
    """

    first: int
    last: int
    images: dict[int, tuple[str, ...]]
    records: dict[int, str]

    def __str__(self) -> str:
        """Return a sentence."""
        whole, bad = self.last - self.first + 1, len(self.images)
        place = f"Its {whole} images are at positions {self.first} to {self.last} of the stream"
        if not bad:
            return f"{place}, and each alone is finite: it is the sum over them that is not, or their gradient"
        if bad == whole:
            return f"{place}, and none of them alone is finite: look for the cause in the parameters"
        shown = [
            f"{position} ({self.records[position]}: {', '.join(names)})"
            for position, names in list(self.images.items())[:NAMED]
        ]
        more = f" and {bad - NAMED} more" if bad > NAMED else ""
        return f"{place}; not finite alone: {', '.join(shown)}{more}"

    def to_json(self) -> dict:
        named = [
            {"position": position, "record": record, "not_finite": list(self.images[position])}
            for position, record in self.records.items()
        ]
        return {"positions": [self.first, self.last], "not_finite_images": len(self.images), "images": named}


class Suspects:
    """Looks for images whose own loss, or whose own values, are not finite."""

    def __init__(self, task: Task, parts: int, mesh: Mesh, record: Callable[[int], str]):
        """Set `parts`, the micro-batches of a step, and `record`, which describes the example at a stream position."""
        self._mesh, self._record = mesh, record
        look = functools.partial(_look, task, parts)
        self._look = jax.jit(look, out_shardings=partition.replicated(mesh))

    def __call__(self, number: int, state: TrainState, rows: dict[str, np.ndarray]) -> SuspectImages:
        """Look at the batch of step `number` (1 = first) with the parameters of `state`; every process has to.

        Args:
          rows: this process's rows of the batch.
        """
        host, hosts = jax.process_index(), jax.process_count()
        mine = len(next(iter(rows.values())))
        # Which row of the global batch is which position is known where it was loaded.
        places = {_ROW: np.arange(host, mine * hosts, hosts, dtype=np.int32)}
        key = jax.random.fold_in(named_key(state.key, "step"), number - 1)
        placed = (partition.to_global(part, self._mesh) for part in (rows, places))
        found = self._look(state.params, state.target.params, *placed, key)
        finite = jax.device_get(found)
        order, first = finite.pop(_ROW), (number - 1) * mine * hosts
        images = {}
        for row in np.argsort(order):
            names = tuple(sorted(name for name, good in finite.items() if not good[row]))
            if names:
                images[first + int(order[row])] = names
        all_bad = len(images) == mine * hosts
        named = [] if all_bad else list(images)[:NAMED_IN_FILE]
        records = {position: self._record(position) for position in named}
        return SuspectImages(first, first + mine * hosts - 1, images, records)


def _look(task: Task, parts: int, params: Any, target: Any, batch: Batch, places: Batch, key: jax.Array) -> dict:
    """Return whether each image alone has finite terms and values, `[B] bool` by name, and the rows' places."""

    def alone(image: Batch, key: jax.Array) -> dict[str, jax.Array]:
        one = jax.tree.map(lambda x: x[None], image)
        _, terms = task.loss(params, target, one, task.denominators(one), key)
        return {name: jnp.isfinite(term).all() for name, term in terms.items()}

    def micro(_, numbered):
        index, images = numbered
        return None, jax.vmap(alone, in_axes=(0, None))(images, jax.random.fold_in(key, index))

    _, finite = jax.lax.scan(micro, None, (jnp.arange(parts), split_batch(batch, parts)))
    # [A, B / A] -> [B]: micro-batch a has rows a, a + A, ...
    found = {name: good.swapaxes(0, 1).reshape(-1) for name, good in finite.items()}
    for name, values in batch.items():
        if jnp.issubdtype(values.dtype, jnp.floating):
            found[f"{name} of the batch"] = jnp.isfinite(values).all(axis=tuple(range(1, values.ndim)))
    return found | places
