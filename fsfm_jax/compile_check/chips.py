"""TPU slices by name, `v5e:4x4`, and what a chip of each kind can do.

Peaks are those of the system architecture pages of Google's Cloud TPU documentation (docs.cloud.google.com/tpu/docs,
pages v3, v4, v5e, v5p, v6e, tpu7x). Links of v3 and v4 are not on them: they are from "How to Scale Your Model"
(jax-ml.github.io/scaling-book, chapter on TPUs). Memory is what libtpu's compiler gives a program on one device; it
keeps some for itself.
"""

import dataclasses
import math
import os
from typing import Any

import jax

GIB = 2**30
SIMULATED = "cpu"  # cpu:8 is eight simulated devices: everything but times and memory


@dataclasses.dataclass(frozen=True)
class Chip:
    """What one chip can do.

    Attributes:
      devices: that JAX makes of a chip; two where each core is one.
      flops: peak of bfloat16 products, per second.
      hbm_gib: memory as published; `program_gib`: what a program may use on one device.
      hbm_bandwidth: bytes per second.
      ici: bytes per second that a chip can send over all of its links.
      cycle_flops: FLOPs of all matrix units in one cycle; so the clock is `flops / cycle_flops`.
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
    """FLOPs per cycle of `cores` with so many systolic arrays of `side` times `side` multipliers."""
    return cores * units * side * side * 2


# The pages give bandwidth of links in both directions together: half of it can be sent.
CHIPS = {
    "v3": Chip(2, 123e12, 32, 15.48, 900e9, 4 * 100e9, _units(2, 2, 128)),
    "v4": Chip(1, 275e12, 32, 30.75, 1200e9, 6 * 45e9, _units(2, 4, 128)),
    "v5e": Chip(1, 197e12, 16, 15.75, 819e9, 400e9 / 2, _units(1, 4, 128)),
    "v5p": Chip(1, 459e12, 95, 95.74, 2765e9, 1200e9 / 2, _units(2, 4, 128)),
    # The page of today says two matrix units, an earlier one four. The compiler plans a product of 4096 faster than two
    # units could compute it in its cycles, here and for tpu7x; so four, and the clock is 1.75 GHz.
    "v6e": Chip(1, 918e12, 32, 31.25, 1638e9, 800e9 / 2, _units(1, 4, 256)),
    "tpu7x": Chip(2, 2307e12, 192, 94.75, 7380e9, 1200e9 / 2, _units(2, 4, 256)),
}


# How the compiler is to see the chips of a kind, where it would not by itself: on real ones of v4 JAX makes both cores
# one device, and refuses meshes of anything else.
_SEEN_AS = {"v4": {"chip_config_name": "megacore"}}


@dataclasses.dataclass(frozen=True)
class Slice:
    """Chips that belong together.

    Attributes:
      name: `v5e:4x4`.
      chip: None for simulated devices.
      devices: those of JAX, on which a program can be compiled.
    """

    name: str
    chip: Chip | None
    devices: tuple[Any, ...]

    @property
    def chips(self) -> int:
        """Number of chips; of simulated ones each device is one."""
        return len(self.devices) // (1 if self.chip is None else self.chip.devices)

    @property
    def hosts(self) -> int:
        """Processes that a run on it has."""
        return len({device.process_index for device in self.devices})


def parse(name: str) -> tuple[str, int]:
    """Kind and number of chips of a slice: `v5e:4x4` -> `("v5e", 16)`, `cpu:8` -> `("cpu", 8)`.

    Raises:
      ValueError: another kind, or a shape that is not one.
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
    """The slice of a name, from the TPU compiler or, of `cpu:N`, from JAX's CPU devices.

    Raises:
      ValueError: a name that `parse` refuses, a shape that the compiler does not know, or no TPU compiler.
    """
    kind, chips = parse(name)
    if kind == SIMULATED:
        found = jax.devices(SIMULATED)
        if chips > len(found):
            raise ValueError(f"--topology: {name} needs jax_num_cpu_devices of at least {chips}; found {len(found)}")
        return Slice(name, None, tuple(found[:chips]))
    return Slice(name, CHIPS[kind], _describe(name))


def prepare_environment(devices: int) -> None:
    """Lets the TPU compiler run where there is no TPU; to be called before JAX makes its first array.

    It would otherwise ask the cloud's metadata server what machine this is, for minutes. `devices`: simulated ones.
    """
    os.environ["JAX_PLATFORMS"] = SIMULATED
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    # Nothing is run, so that several compilers do not take a chip from each other.
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    jax.config.update("jax_platforms", SIMULATED)
    jax.config.update("jax_num_cpu_devices", devices)
    # What comes from the cache was not compiled: no time, and no warnings of the partitioner.
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
                "there is no TPU compiler here: pip install --require-hashes -r requirements/tpu.lock, in an "
                "environment of its own"
            ) from error
        raise ValueError(f"--topology: the TPU compiler did not start for {name}: {said}") from error
