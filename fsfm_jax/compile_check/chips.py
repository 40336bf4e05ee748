"""TPU slices by name, such as `v5e:4x4`, and the performance figures of each kind of chip.

Peaks are from the system architecture pages of Google's Cloud TPU documentation (docs.cloud.google.com/tpu/docs,
pages v3, v4, v5e, v5p, v6e, tpu7x). The link bandwidths of v3 and v4 are from "How to Scale Your Model"
(jax-ml.github.io/scaling-book, chapter on TPUs), because those pages lack them. Memory is the amount that libtpu's
compiler gives to a program on one device; it reserves the rest.
"""

import dataclasses
import math
import os
from typing import Any

import jax

GIB = 2**30
SIMULATED = "cpu"  # cpu:8 is eight simulated devices, without times and memory limits


@dataclasses.dataclass(frozen=True)
class Chip:
    """Performance figures of one chip.

    Attributes:
      devices: JAX devices per chip; two if each core is a device.
      flops: peak FLOP/s of bfloat16 products.
      hbm_gib: published memory in GiB.
      program_gib: memory in GiB that a program may use on one device.
      hbm_bandwidth: memory bandwidth in bytes per second.
      ici: bytes per second that a chip can send over all of its links.
      cycle_flops: FLOPs of all matrix units per cycle; the clock is `flops / cycle_flops`.
    """

    devices: int
    flops: float
    hbm_gib: float
    program_gib: float
    hbm_bandwidth: float
    ici: float
    cycle_flops: int

    @property
    def clock(self) -> float:
        """Cycles per second."""
        return self.flops / self.cycle_flops


def _units(cores: int, units: int, side: int) -> int:
    """Return the FLOPs per cycle of `cores` cores with `units` systolic arrays of `side` x `side` multipliers each."""
    return cores * units * side * side * 2


# The pages give the bandwidth of links for both directions together; half of it is for sending.
CHIPS = {
    "v3": Chip(2, 123e12, 32, 15.48, 900e9, 4 * 100e9, _units(2, 2, 128)),
    "v4": Chip(1, 275e12, 32, 30.75, 1200e9, 6 * 45e9, _units(2, 4, 128)),
    "v5e": Chip(1, 197e12, 16, 15.75, 819e9, 400e9 / 2, _units(1, 4, 128)),
    "v5p": Chip(1, 459e12, 95, 95.74, 2765e9, 1200e9 / 2, _units(2, 4, 128)),
    # The current page says two matrix units, an earlier version four. For a product of size 4096 the compiler plans
    # fewer cycles than two units need, here and for tpu7x. So there are four units, and the clock is 1.75 GHz.
    "v6e": Chip(1, 918e12, 32, 31.25, 1638e9, 800e9 / 2, _units(1, 4, 256)),
    "tpu7x": Chip(2, 2307e12, 192, 94.75, 7380e9, 1200e9 / 2, _units(2, 4, 256)),
}


# Compiler options for kinds of chips whose default differs from real chips. On v4 JAX combines both cores into one
# device, and rejects other meshes.
_SEEN_AS = {"v4": {"chip_config_name": "megacore"}}


@dataclasses.dataclass(frozen=True)
class Slice:
    """A slice: chips that are connected to each other.

    Attributes:
      name: name such as `v5e:4x4`.
      chip: kind of chip; None for simulated devices.
      devices: JAX devices for which a program can be compiled.
    """

    name: str
    chip: Chip | None
    devices: tuple[Any, ...]

    @property
    def chips(self) -> int:
        """Number of chips; each simulated device counts as one."""
        return len(self.devices) // (1 if self.chip is None else self.chip.devices)

    @property
    def hosts(self) -> int:
        """Number of hosts, which is the number of processes of a run."""
        return len({device.process_index for device in self.devices})


def parse(name: str) -> tuple[str, int]:
    """Parse the kind and number of chips of a slice: `v5e:4x4` -> `("v5e", 16)`, `cpu:8` -> `("cpu", 8)`.

    Raises:
      ValueError: if kind or shape is invalid.
    """
    kind, _, shape = name.partition(":")
    known = ", ".join((*CHIPS, SIMULATED))
    if kind not in (*CHIPS, SIMULATED):
        raise ValueError(f"--topology: expected KIND:SHAPE with a kind of {known}, such as v5e:4x4; found {name!r}")
    sides = shape.split("x")
    if not all(side.isdecimal() and int(side) for side in sides):
        raise ValueError(f"--topology: expected chips along each axis, such as v5e:4x4; found {name!r}")
    return kind, math.prod(int(side) for side in sides)


def open_slice(name: str) -> Slice:
    """Open the slice `name` from the TPU compiler or, for `cpu:N`, from JAX's CPU devices.

    Raises:
      ValueError: if `parse` rejects the name, the compiler does not know the shape, or there is no TPU compiler.
    """
    kind, chips = parse(name)
    if kind == SIMULATED:
        found = jax.devices(SIMULATED)
        if chips > len(found):
            raise ValueError(f"--topology: {name} needs jax_num_cpu_devices of at least {chips}; found {len(found)}")
        return Slice(name, None, tuple(found[:chips]))
    return Slice(name, CHIPS[kind], _describe(name))


def prepare_environment(devices: int) -> None:
    """Prepare the environment so that the TPU compiler runs without a TPU; call this before JAX makes its first array.

    Without it the compiler queries the cloud's metadata server for minutes. `devices` is the number of simulated ones.
    """
    os.environ["JAX_PLATFORMS"] = SIMULATED
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    # Nothing runs on a chip, so several compilers may load the library at once.
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    jax.config.update("jax_platforms", SIMULATED)
    jax.config.update("jax_num_cpu_devices", devices)
    # A cached program was not compiled, so it would have no compile time and no warnings of the partitioner.
    jax.config.update("jax_enable_compilation_cache", False)


def _describe(name: str) -> tuple[Any, ...]:
    from jax.experimental import topologies

    seen_as = _SEEN_AS.get(parse(name)[0], {})
    try:
        return tuple(topologies.get_topology_desc(platform="tpu", topology_name=name, **seen_as).devices)
    except (RuntimeError, ValueError, NotImplementedError, ImportError) as error:
        said = (str(error) or repr(error)).splitlines()[0]
        if "INVALID_ARGUMENT" in said:
            raise ValueError(f"--topology: the TPU compiler does not know {name}: {said}") from error
        if "not installed" in said:
            raise ValueError(
                "there is no TPU compiler in this environment; create a new one and run "
                "pip install --require-hashes -r requirements/tpu.lock"
            ) from error
        raise ValueError(f"--topology: the TPU compiler did not start for {name}: {said}") from error
