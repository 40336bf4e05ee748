"""What a compiled program needs: memory, FLOPs, traffic, cycles and messages between devices; of one device."""

import dataclasses
import re
from collections.abc import Iterable
from typing import Any

from fsfm_jax.compile_check.hlo import Instruction, Module
from fsfm_jax.compile_check.products import product_flops

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
# No work of their own: they rename, or the work is at the other end of the pair.
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "call", "conditional", "after-all"}
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes on a device. What is aliased is counted in arguments and in outputs, and lies there once."""

    arguments: int
    outputs: int
    aliased: int
    temporaries: int
    code: int
    peak: int

    @property
    def needed(self) -> int:
        """The compiler's peak; where it gives none, the sum of the parts."""
        return self.peak or self.arguments + self.outputs - self.aliased + self.temporaries + self.code


@dataclasses.dataclass(frozen=True)
class Collective:
    """Messages of one kind that carry one type, of one call of the program.

    Attributes:
      count: instructions times how often each runs.
      bytes: of the results; of reduce-scatters what goes in.
      sent: what a device sends if the algorithm is a ring.
      group: devices that take part.
    """

    kind: str
    dtype: str
    count: int
    bytes: float
    sent: float
    group: int


@dataclasses.dataclass(frozen=True)
class Figures:
    """One call of a program on one device.

    Attributes:
      flops: of all operations: XLA's count, in which a loop is one pass, times what passes do to the products' share.
      product_flops: of matrix products, each as often as it runs.
      bytes_accessed: XLA's count of all memories, scaled as `flops`.
      hbm_bytes: operands and results of all instructions that lie in HBM; whole arrays, also where a part is read.
      cycles: the compiler's estimate of everything but messages; 0 where it gives none.
      gradient_copies: elements of gradients in reductions over those that are trained; 1 if each is reduced once.
      gathered_parameters: all-gathers that give a whole parameter, times how often they run.
      unknown_loops: loops counted as one pass because the text does not say how many they make.
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
    """Reads a `jax.stages.Compiled`; `parameters` are the shapes of those that are trained.

    Arrays of the shape `compared` may be also gathered, whatever parameter has it.
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
    """Sum of the compiler's estimates over everything that is scheduled on its own."""
    return sum(
        times * sum(int(number) for number in _CYCLES.findall(instruction.rest))
        for _, instruction, times in module.scheduled()
    )


def hbm_bytes(module: Module) -> float:
    """Bytes of operands and results in HBM over everything that is scheduled on its own."""
    total, names = 0.0, {name: module.by_name(name) for name in module.runs}
    for computation, instruction, times in module.scheduled():
        if instruction.op in _FREE or instruction.op.endswith("-start"):
            continue
        known = names[computation]
        given = [known[name] for name in instruction.operands if name in known]
        if instruction.op.endswith("-done"):  # of the pair, what arrives and what was sent
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
    """All messages, by kind and type; a part of a tuple counts as bytes, the tuple as one message."""
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
    """Devices that take part in a message, from `replica_groups`; all if it names none."""
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
    """All-gathers whose result has the shape of a parameter of two or more axes, in any order of the axes.

    A parameter of the shape `compared` cannot be told from features that are gathered, and is not counted.
    """
    whole = {_sort(shape) for shape in parameters if len(_sort(shape)) > 1} - {_sort(compared or ())}
    return sum(
        times * sum(_sort(shape.dims) in whole for shape in _message_shapes(instruction, kind))
        for instruction, kind, times in _messages(module)
        if kind == "all-gather"
    )


def _gradients(module: Module, parameters: list, devices: int) -> tuple[dict[str, int], float]:
    """Reductions that carry gradients by type, and copies of the gradient that they carry together."""
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
    """Shapes of what a message gives; the first half of an asynchronous all-gather's or permute's is what it took."""
    shapes = instruction.shapes
    if instruction.op == "all-gather-start":
        return shapes[len(shapes) // 2 :]
    if instruction.op == "collective-permute-start":
        return shapes[1:2]
    return shapes


def _share(kind: str, group: int) -> float:
    """What a ring of devices sends of each byte."""
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
