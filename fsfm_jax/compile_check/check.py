"""Compilation of one step for a slice, and its outcome."""

import contextlib
import dataclasses
import os
import re
import tempfile
import time
from collections.abc import Iterator

import jax

from fsfm_jax.compile_check.chips import GIB, Slice
from fsfm_jax.compile_check.program import Figures, figures
from fsfm_jax.compile_check.roofline import Roofline, rooflines
from fsfm_jax.compile_check.steps import Step
from fsfm_jax.models.ops import trace_for

# XLA's message on stderr for an array that all devices rematerialise to reshard it.
REBUILT = "[SPMD] Involuntary full rematerialization"
# Number of gradient copies that counts as a repeated reduction. It is above 1 because other sums may have the same size
# as a parameter.
TWICE = 1.5
_UNITS = {"K": 2**10, "M": 2**20, "G": GIB, "T": 2**40}
_AMOUNT = r"([\d.]+)([KMGT])"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome of compiling a step for a slice. All numbers are per device and call.

    Attributes:
      images: images of a device in one call.
      needed: required memory in bytes; None if the compiler failed without reporting it.
      available: memory in bytes that a program may use; None for simulated devices.
      figures: figures of the compiled program; None if it does not fit.
      rebuilt: number of arrays that could only be resharded by rematerialising them on all devices.
      rooflines: performance bounds by name; empty for simulated devices.
    """

    step: Step
    on: Slice
    images: float
    seconds: float
    needed: float | None
    available: float | None
    figures: Figures | None
    rebuilt: int
    rooflines: dict[str, Roofline]

    @property
    def fits(self) -> bool:
        """Whether the program fits into memory."""
        return self.figures is not None

    @property
    def micro_batch(self) -> float:
        """Images of a device in one micro-batch."""
        return self.images / self.step.parts

    @property
    def flops_ratio(self) -> float | None:
        """Compiled FLOPs divided by model FLOPs."""
        return None if self.figures is None else self.figures.flops / (self.images * self.step.model_flops)

    def defects(self) -> list[str]:
        """Return the unexpected properties of the program, as sentences."""
        found, figures = [], self.figures
        if self.rebuilt:
            found.append(f"{self.rebuilt} arrays are rematerialised on every device to reshard them")
        if figures is None:
            return found
        if self.step.fsdp is False and figures.gathered_parameters:
            found.append(f"{figures.gathered_parameters} parameters are gathered although partition.fsdp is off")
        if self.step.trained and len(self.on.devices) > 1 and figures.gradient_copies > TWICE:
            found.append(f"each gradient is reduced {figures.gradient_copies:.3g} times per step; expected once")
        if figures.unknown_loops:
            loops = ", ".join(figures.unknown_loops)
            found.append(f"loops {loops} have an unknown number of iterations and are counted once")
        return found


def check(step: Step, on: Slice) -> Outcome:
    """Compile a step; return an outcome also if it does not fit, and raise every other error of the compiler."""
    images = step.images / len(on.devices)
    available = None if on.chip is None else on.chip.program_gib * GIB
    started = time.monotonic()
    with capture_stderr() as said, trace_for("cpu" if on.chip is None else "tpu"):
        try:
            compiled = step.lower().compile()
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            compiled, needed = None, needed_bytes(str(error))
    seconds, rebuilt = time.monotonic() - started, said[0].count(REBUILT)
    if compiled is None:
        return Outcome(step, on, images, seconds, needed, available, None, rebuilt, {})
    found = figures(compiled, step.trained, len(on.devices), step.compared)
    lines = {} if on.chip is None else rooflines(found, step.model_flops * images, images, on.chip)
    return Outcome(step, on, images, seconds, found.memory.needed, available, found, rebuilt, lines)


def needed_bytes(error: str) -> float | None:
    """Return the bytes that a program needs, from the TPU compiler's out-of-memory error; None if it has no number."""
    for pattern in (rf"Used {_AMOUNT} of", rf"requires? (?:for [\w ]+)?\({_AMOUNT}\)", rf"temporaries \({_AMOUNT}\)"):
        found = re.search(pattern, error)
        if found:
            return float(found[1]) * _UNITS[found[2]]
    return None


@contextlib.contextmanager
def capture_stderr() -> Iterator[list[str]]:
    """Capture the stderr of the process, including XLA's C++; the yielded list has the text after the block.

    The text is written to stderr at the end, without the compiler messages that are counted here.
    """
    kept, said = os.dup(2), []
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            said.append(file.read().decode(errors="replace"))
            rest = "".join(line for line in said[0].splitlines(keepends=True) if REBUILT not in line)
            os.write(2, rest.encode())
