"""Sharding of arrays over a mesh `replica` x `data`; the state is replicated, or sharded along `data` (FSDP).

`data` is the axis within a slice, whose chips have fast links. `replica` connects slices over the data-centre network.
Batches are split along both axes. The state is never split along `replica`, so only the sum of gradients crosses the
slow network, once per optimizer step.
"""

from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

REPLICA, DATA = "replica", "data"


def make_mesh(devices: list | None = None, replicas: int | None = None) -> Mesh:
    """Return a mesh `[replicas, devices / replicas]` over `devices`, by default all devices of all processes.

    `replicas` None means one replica per slice, or one if the devices have no slices. For machines with several GPUs
    and a slow network between them, set `replicas` to the number of machines.

    Raises:
      ValueError: if `replicas` does not divide the number of devices, or differs from the number of slices.
    """
    devices = jax.devices() if devices is None else devices
    slices = len({_slice_of(device) for device in devices})
    replicas = slices if replicas is None else replicas
    if slices > 1 and replicas != slices:
        raise ValueError(
            f"partition.replicas: expected {slices}, one for each slice, or None; found {replicas}"
        )
    if replicas < 1 or len(devices) % replicas:
        raise ValueError(f"partition.replicas: expected a divisor of {len(devices)} devices; found {replicas}")
    each = len(devices) // replicas
    # Auto is explicit here because JAX's default, Explicit, requires every operation to name its sharding.
    types = (AxisType.Auto, AxisType.Auto)
    if slices == 1:
        return jax.make_mesh((replicas, each), (REPLICA, DATA), axis_types=types, devices=devices)
    # `jax.make_mesh` does not support several slices.
    placed = mesh_utils.create_hybrid_device_mesh((1, each), (replicas, 1), devices, allow_split_physical_axes=True)
    return Mesh(placed, (REPLICA, DATA), axis_types=types)


def _slice_of(device: Any) -> int:
    """Return the slice index of a TPU chip; 0 for other devices."""
    return getattr(device, "slice_index", 0)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Return the sharding of batches: split along the first axis over all devices."""
    return NamedSharding(mesh, PartitionSpec((REPLICA, DATA)))


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding that keeps the whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def state_shardings(abstract_state: Any, mesh: Mesh, fsdp: bool, fsdp_min_size: int) -> Any:
    """Return a sharding for every leaf of a state.

    Without `fsdp` all leaves are replicated. With `fsdp` a leaf of at least `fsdp_min_size` elements is split along its
    longest axis that is divisible by the number of devices of a replica. This holds for parameters, moments and target,
    so each device holds its share of all three.
    """
    return jax.tree.map(lambda leaf: _place(leaf, mesh, fsdp_min_size) if fsdp else replicated(mesh), abstract_state)


def _place(leaf: Any, mesh: Mesh, min_size: int) -> NamedSharding:
    """Return the sharding of one leaf under FSDP, which depends only on its shape."""
    axes = [axis for axis, length in enumerate(leaf.shape) if length % mesh.shape[DATA] == 0]
    if leaf.size < min_size or not axes:
        return replicated(mesh)
    longest = max(axes, key=lambda axis: leaf.shape[axis])
    return NamedSharding(mesh, PartitionSpec(*[DATA if axis == longest else None for axis in range(leaf.ndim)]))


def gather(tree: Any, mesh: Mesh, fsdp: bool) -> Any:
    """Gather a sharded `tree` so that every device holds it whole; return `tree` unchanged without `fsdp`.

    Without this constraint the compiler splits activations like the weights and communicates activations instead.
    """
    return jax.lax.with_sharding_constraint(tree, replicated(mesh)) if fsdp else tree


def scatter(tree: Any, mesh: Mesh, fsdp: bool, fsdp_min_size: int) -> Any:
    """Shard sums over devices like their parameters in `state_shardings`; return `tree` unchanged without `fsdp`."""
    if not fsdp:
        return tree
    places = jax.tree.map(lambda leaf: _place(leaf, mesh, fsdp_min_size), tree)
    return jax.lax.with_sharding_constraint(tree, places)


def to_global(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Combine the rows that each process has of a batch into global arrays over all devices."""
    sharding = batch_sharding(mesh)
    return {name: jax.make_array_from_process_local_data(sharding, rows) for name, rows in batch.items()}
