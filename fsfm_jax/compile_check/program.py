"""The costs of a compiled program on one device: memory, FLOPs, traffic, cycles and messages between devices."""

import dataclasses
import re
from collections.abc import Iterable
from typing import Any

from fsfm_jax.compile_check.hlo import Instruction, Module
from fsfm_jax.compile_check.products import product_flops

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
# Instructions without work: they rename, or the work is counted at the other instruction of the pair.
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "call", "conditional", "after-all"}
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')


@dataclasses.dataclass(frozen=True)
class Memory:
    """Memory on a device in bytes. Aliased arrays are counted in arguments and in outputs but stored once."""

    arguments: int
    outputs: int
    aliased: int
    temporaries: int
    code: int
    peak: int

    @property
    def needed(self) -> int:
        """The compiler's peak, or the sum of the parts if it reports none."""
        return self.peak or self.arguments + self.outputs - self.aliased + self.temporaries + self.code


@dataclasses.dataclass(frozen=True)
class Collective:
    """Messages of one kind and one type in one call of the program.

    Attributes:
      count: number of messages; an instruction in a loop counts once per iteration.
      bytes: bytes of the results; for reduce-scatters, of the operands.
      sent: bytes that a device sends with a ring algorithm.
      group: number of participating devices.
    """

    kind: str
    dtype: str
    count: int
    bytes: float
    sent: float
    group: int


@dataclasses.dataclass(frozen=True)
class Figures:
    """Figures of one call of a program on one device.

    Attributes:
      flops: FLOPs of all operations. XLA counts a loop as one iteration, so its count is scaled by the ratio of the
        products' FLOPs with and without loop iterations.
      product_flops: FLOPs of matrix products, each counted as often as it runs.
      bytes_accessed: XLA's count for all memories, scaled like `flops`.
      hbm_bytes: bytes of operands and results in HBM over all instructions; an array counts whole if a part is read.
      cycles: the compiler's estimate without messages; 0 if there is none.
      gradient_copies: reduced gradient elements divided by trained parameters; 1 if each gradient is reduced once.
      gathered_parameters: number of all-gathers of a whole parameter, counted as often as they run.
      unknown_loops: loops with an unknown number of iterations, counted as one.
    """

    memory: Memory
    flops: float
    product_flops: float
    bytes_accessed: float
    hbm_bytes: float
    cycles: int
    collectives: tuple[Collective, ...]
    gradient_reductions: dict[str, int]
    gradient_copies: float
    gathered_parameters: int
    unknown_loops: tuple[str, ...]


def figures(
    compiled: Any, parameters: Iterable[tuple[int, ...]], devices: int, compared: tuple[int, ...] | None = None
) -> Figures:
    """Compute the figures of a `jax.stages.Compiled`; `parameters` are the shapes of the trained parameters.

    All-gathers of arrays with the shape `compared` are allowed, also if a parameter has this shape.
    """
    module = Module.parse(compiled.as_text())
    cost, memory = compiled.cost_analysis(), compiled.memory_analysis()
    products, once = product_flops(module)
    loops = products / once if once else 1.0
    parameters = list(parameters)
    reductions, copies = _gradients(module, parameters, devices)
    return Figures(
        memory=Memory(
            memory.argument_size_in_bytes, memory.output_size_in_bytes, memory.alias_size_in_bytes,
            memory.temp_size_in_bytes, memory.generated_code_size_in_bytes, getattr(memory, "peak_memory_in_bytes", 0),
        ),
        flops=cost["flops"] * loops,
        product_flops=products,
        bytes_accessed=cost["bytes accessed"] * loops,
        hbm_bytes=hbm_bytes(module),
        cycles=estimated_cycles(module),
        collectives=collectives(module, devices),
        gradient_reductions=reductions,
        gradient_copies=copies,
        gathered_parameters=gathered_parameters(module, parameters, compared),
        unknown_loops=module.unknown_loops,
    )  # fmt: skip


def estimated_cycles(module: Module) -> int:
    """Return the sum of the compiler's cycle estimates over all scheduled instructions."""
    return sum(
        times * sum(int(number) for number in _CYCLES.findall(instruction.rest))
        for _, instruction, times in module.scheduled()
    )


def hbm_bytes(module: Module) -> float:
    """Return the bytes of operands and results in HBM over all scheduled instructions."""
    total, names = 0.0, {name: module.by_name(name) for name in module.runs}
    for computation, instruction, times in module.scheduled():
        if instruction.op in _FREE or instruction.op.endswith("-start"):
            continue
        known = names[computation]
        given = [known[name] for name in instruction.operands if name in known]
        if instruction.op.endswith("-done"):  # the end of an asynchronous pair counts its operand and result
            sent = [known[name] for start in given for name in start.operands[:1] if name in known]
            arrived = sum(shape.bytes for shape in instruction.shapes)
            from_hbm = any(not shape.on_chip for one in sent for shape in one.shapes)
            to_hbm = any(not shape.on_chip for shape in instruction.shapes)
            total += times * arrived * (from_hbm + to_hbm)
            continue
        shapes = [*instruction.shapes, *(shape for one in given for shape in one.shapes)]
        total += times * sum(shape.bytes for shape in shapes if not shape.on_chip)
    return total


def collectives(module: Module, devices: int) -> tuple[Collective, ...]:
    """Return all messages by kind and type; a tuple is one message with the bytes of all its parts."""
    found: dict[tuple[str, str, int], list[float]] = {}
    for instruction, kind, times in _messages(module):
        group = group_size(instruction.rest, devices)
        shapes = _message_shapes(instruction, kind)
        for number, dtype in enumerate(sorted({shape.dtype for shape in shapes})):
            size = sum(shape.bytes for shape in shapes if shape.dtype == dtype)
            size *= group if kind == "reduce-scatter" else 1
            entry = found.setdefault((kind, dtype, group), [0, 0.0])
            entry[0] += times * (number == 0)
            entry[1] += times * size
    return tuple(
        Collective(kind, dtype, int(count), size, size * _share(kind, group), group)
        for (kind, dtype, group), (count, size) in sorted(found.items())
    )


def group_size(rest: str, devices: int) -> int:
    """Return the number of devices in a message from `replica_groups`; all devices if there is none."""
    iota = re.search(r"replica_groups=\[\d+,(\d+)\]", rest)
    if iota:
        return int(iota[1])
    listed = re.search(r"replica_groups=\{\{([\d,]+)\}", rest)
    if listed:
        return listed[1].count(",") + 1
    mesh = re.search(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}", rest)
    if mesh:
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", mesh[1]))
        product = 1
        for axis in re.findall(r"'(\w+)'", mesh[2]):
            product *= int(sizes[axis])
        return product
    return devices


def gathered_parameters(
    module: Module, parameters: Iterable[tuple[int, ...]], compared: tuple[int, ...] | None = None
) -> int:
    """Count all-gathers whose result has the shape of a parameter with two or more axes, in any order of axes.

    A parameter of the shape `compared` cannot be distinguished from gathered features and is not counted.
    """
    whole = {_sort(shape) for shape in parameters if len(_sort(shape)) > 1} - {_sort(compared or ())}
    return sum(
        times * sum(_sort(shape.dims) in whole for shape in _message_shapes(instruction, kind))
        for instruction, kind, times in _messages(module)
        if kind == "all-gather"
    )


def _gradients(module: Module, parameters: list, devices: int) -> tuple[dict[str, int], float]:
    """Return the number of gradient reductions by type, and the total number of gradient copies in them."""
    trained = sum(_elements(shape) for shape in parameters)
    sizes = {_elements(shape) for shape in parameters if _elements(shape) > 1}
    reductions: dict[str, int] = {}
    carried = 0.0
    for instruction, kind, times in _messages(module):
        if kind not in ("all-reduce", "reduce-scatter"):
            continue
        parts = group_size(instruction.rest, devices) if kind == "reduce-scatter" else 1
        gradients = [shape for shape in _message_shapes(instruction, kind) if shape.elements * parts in sizes]
        carried += times * parts * sum(shape.elements for shape in gradients)
        for dtype in {shape.dtype for shape in gradients}:
            reductions[dtype] = reductions.get(dtype, 0) + times
    return reductions, carried / trained if trained else 0.0


def _messages(module: Module) -> Iterable[tuple[Instruction, str, int]]:
    for _, instruction, times in module.everywhere():
        kind = instruction.op.removesuffix("-start")
        if kind in KINDS:
            yield instruction, kind, times


def _message_shapes(instruction: Instruction, kind: str) -> tuple:
    """Return the result shapes of a message; for asynchronous all-gathers and permutes without the operands."""
    shapes = instruction.shapes
    if instruction.op == "all-gather-start":
        return shapes[len(shapes) // 2 :]
    if instruction.op == "collective-permute-start":
        return shapes[1:2]
    return shapes


def _share(kind: str, group: int) -> float:
    """Return the share of each byte that a device sends in a ring."""
    if kind == "collective-permute":
        return 1.0
    return (2 if kind == "all-reduce" else 1) * (group - 1) / group


def _elements(shape: tuple[int, ...]) -> int:
    product = 1
    for length in shape:
        product *= length
    return product


def _sort(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(length for length in shape if length > 1))
