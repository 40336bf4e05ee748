"""Where arrays live: a mesh of `replica` x `data`, state replicated or sharded along `data` (FSDP).

`data` is the axis within a slice, whose chips are joined by fast links; `replica` joins slices over the data centre's
network. Batches are split along both. The state is never split along `replica`: what crosses the slow network is the
sum of the gradients, once per optimizer step, and nothing else.
"""

from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

REPLICA, DATA = "replica", "data"


def make_mesh(devices: list | None = None, replicas: int | None = None) -> Mesh:
    """A mesh `[replicas, devices / replicas]` over `devices`, by default all devices of all processes.

    `replicas` None means one for each slice that the devices are of, which is one where there are no slices. Machines
    with several GPUs and a slower network between them are also replicas, if asked for.

    Raises:
      ValueError: replicas that the devices do not divide among, or that are not the slices.
    """
    devices = jax.devices() if devices is None else devices
    slices = len({_slice_of(device) for device in devices})
    replicas = slices if replicas is None else replicas
    if slices > 1 and replicas != slices:
        raise ValueError(f"partition.replicas: expected {slices}, one for each slice, or nothing; found {replicas}")
    if replicas < 1 or len(devices) % replicas:
        raise ValueError(f"partition.replicas: {len(devices)} devices do not divide among {replicas} replicas")
    each = len(devices) // replicas
    # Auto is written out: under jax's default, Explicit, every operation would have to name its sharding.
    types = (AxisType.Auto, AxisType.Auto)
    if slices == 1:
        return jax.make_mesh((replicas, each), (REPLICA, DATA), axis_types=types, devices=devices)
    # `jax.make_mesh` refuses several slices.
    placed = mesh_utils.create_hybrid_device_mesh((1, each), (replicas, 1), devices, allow_split_physical_axes=True)
    return Mesh(placed, (REPLICA, DATA), axis_types=types)


def _slice_of(device: Any) -> int:
    """The slice of a TPU chip; other devices have none."""
    return getattr(device, "slice_index", 0)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Batches are split along their first axis, over all devices."""
    return NamedSharding(mesh, PartitionSpec((REPLICA, DATA)))


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def state_shardings(abstract_state: Any, mesh: Mesh, fsdp: bool, fsdp_min_size: int) -> Any:
    """A sharding for every leaf of a state.

    Data parallel: all replicated. FSDP: a leaf of at least `fsdp_min_size` elements is split along its longest
    axis that the number of devices of a replica divides; parameters, moments and target alike, so each device holds
    its share of all three.
    """
    return jax.tree.map(lambda leaf: _place(leaf, mesh, fsdp_min_size) if fsdp else replicated(mesh), abstract_state)


def _place(leaf: Any, mesh: Mesh, min_size: int) -> NamedSharding:
    """The sharding of one leaf under FSDP; a function of its shape alone."""
    axes = [axis for axis, length in enumerate(leaf.shape) if length % mesh.shape[DATA] == 0]
    if leaf.size < min_size or not axes:
        return replicated(mesh)
    longest = max(axes, key=lambda axis: leaf.shape[axis])
    return NamedSharding(mesh, PartitionSpec(*[DATA if axis == longest else None for axis in range(leaf.ndim)]))


def gather(tree: Any, mesh: Mesh, fsdp: bool) -> Any:
    """`tree` of a state as `state_shardings` places it, whole on every device; data parallel it is `tree`.

    Left to itself the compiler splits activations as it finds the weights split, and sends them around instead.
    """
    return jax.lax.with_sharding_constraint(tree, replicated(mesh)) if fsdp else tree


def scatter(tree: Any, mesh: Mesh, fsdp: bool, fsdp_min_size: int) -> Any:
    """Sums over devices, each kept where `state_shardings` has its parameter; data parallel it is `tree`."""
    if not fsdp:
        return tree
    places = jax.tree.map(lambda leaf: _place(leaf, mesh, fsdp_min_size), tree)
    return jax.lax.with_sharding_constraint(tree, places)


def to_global(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Each process's rows of a batch as one array over all devices."""
    sharding = batch_sharding(mesh)
    return {name: jax.make_array_from_process_local_data(sharding, rows) for name, rows in batch.items()}
