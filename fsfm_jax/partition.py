"""Where arrays live: one `data` axis over all devices, state replicated or sharded along it (FSDP)."""

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "data"


def make_mesh(devices: list | None = None) -> Mesh:
    """A one-dimensional mesh over `devices`, by default all devices of all processes."""
    devices = jax.devices() if devices is None else devices
    # Auto is written out: under jax's default, Explicit, every operation would have to name its sharding.
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Batches are split along their first axis."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def state_shardings(abstract_state: Any, mesh: Mesh, fsdp: bool, fsdp_min_size: int) -> Any:
    """A sharding for every leaf of a state.

    Data parallel: all replicated. FSDP: a leaf of at least `fsdp_min_size` elements is split along its longest
    axis that the number of devices divides; parameters, moments and target alike, so each device holds its
    share of all three and the compiler gathers a layer's weights where it uses them.
    """

    def place(leaf) -> NamedSharding:
        axes = [axis for axis, length in enumerate(leaf.shape) if length % mesh.size == 0]
        if not fsdp or leaf.size < fsdp_min_size or not axes:
            return replicated(mesh)
        longest = max(axes, key=lambda axis: leaf.shape[axis])
        return NamedSharding(mesh, PartitionSpec(*[AXIS if axis == longest else None for axis in range(leaf.ndim)]))

    return jax.tree.map(place, abstract_state)


def to_global(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Each process's rows of a batch as one array over all devices."""
    sharding = batch_sharding(mesh)
    return {name: jax.make_array_from_process_local_data(sharding, rows) for name, rows in batch.items()}
