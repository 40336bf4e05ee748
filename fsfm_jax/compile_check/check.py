"""Compiling one step for a slice: what comes of it, whether it fits or not."""

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

# XLA's word on stderr for an array that all devices rebuild to split it in another way.
REBUILT = "[SPMD] Involuntary full rematerialization"
# Copies of the gradient from which on it is reduced again. Other sums may have as many numbers as a parameter.
TWICE = 1.5
_UNITS = {"K": 2**10, "M": 2**20, "G": GIB, "T": 2**40}
_AMOUNT = r"([\d.]+)([KMGT])"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What compiling a step for a slice gave. All numbers are of one device and one call.

    Attributes:
      images: that a device takes in a call.
      needed: bytes in memory; None where the compiler refused without saying how many.
      available: bytes that a program may use; None of simulated devices.
      figures: None if it does not fit.
      rebuilt: arrays that the compiler could split in another way only by rebuilding them everywhere.
      rooflines: empty of simulated devices.
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
        """Whether the compiler found room for everything."""
        return self.figures is not None

    @property
    def micro_batch(self) -> float:
        """Images that a device takes at once."""
        return self.images / self.step.parts

    @property
    def flops_ratio(self) -> float | None:
        """Compiled over model FLOPs."""
        return None if self.figures is None else self.figures.flops / (self.images * self.step.model_flops)

    def defects(self) -> list[str]:
        """What should not be there, in sentences."""
        found, figures = [], self.figures
        if self.rebuilt:
            found.append(f"{self.rebuilt} arrays are rebuilt whole on every device to be split anew")
        if figures is None:
            return found
        if self.step.fsdp is False and figures.gathered_parameters:
            found.append(f"{figures.gathered_parameters} parameters are gathered although partition.fsdp is off")
        if self.step.trained and len(self.on.devices) > 1 and figures.gradient_copies > TWICE:
            found.append(f"each gradient is reduced {figures.gradient_copies:.3g} times a step; once is enough")
        if figures.unknown_loops:
            found.append(f"loops {', '.join(figures.unknown_loops)} are counted as one pass: their number is not known")
        return found


def check(step: Step, on: Slice) -> Outcome:
    """Compiles a step; one that does not fit is an outcome, every other error of the compiler is raised."""
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
    """Bytes that a program would need, from what the TPU compiler says when it gives up; None if it does not."""
    for pattern in (rf"Used {_AMOUNT} of", rf"requires? (?:for [\w ]+)?\({_AMOUNT}\)", rf"temporaries \({_AMOUNT}\)"):
        found = re.search(pattern, error)
        if found:
            return float(found[1]) * _UNITS[found[2]]
    return None


@contextlib.contextmanager
def capture_stderr() -> Iterator[list[str]]:
    """What the process, XLA's C++ included, writes to stderr inside; the list has the text afterwards.

    It is passed on in the end, without the compiler's words on what is counted here.
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
