"""A parser for the text of a compiled program: its computations, how often each runs, and its shapes.

XLA's cost analysis counts the body of a loop once. Here every instruction has the number of times that it runs in one
call of the program.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator

BYTES = {
    "pred": 1, "s4": 0.5, "u4": 0.5, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2, "s32": 4, "u32": 4,
    "f32": 4, "s64": 8, "u64": 8, "f64": 8, "c64": 8,
}  # fmt: skip
_HEAD = re.compile(r"^(ENTRY )?%?([\w.$-]+) (?:\(.*)?\{$")
_NAME = re.compile(r"^\s+(ROOT )?%?([\w.$-]+) = ")
_SHAPE = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\](?:\{([^}]*)\})?")
_CALL = re.compile(r"\s*([a-z][\w-]*)\(")


@dataclasses.dataclass(frozen=True)
class Shape:
    """A shape: type, axis lengths, and whether it is stored on the chip (memory space 1) and not in HBM."""

    dtype: str
    dims: tuple[int, ...]
    on_chip: bool

    @property
    def elements(self) -> int:
        return math.prod(self.dims)

    @property
    def bytes(self) -> float:
        return self.elements * BYTES[self.dtype]


@dataclasses.dataclass(frozen=True)
class Instruction:
    """An instruction, one line of the text: `%name = SHAPES op(operands), attributes`."""

    name: str
    op: str
    result: str
    rest: str
    root: bool

    @functools.cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """The shapes of its result; one for each part of a tuple."""
        return shapes_of(self.result)

    @functools.cached_property
    def operands(self) -> tuple[str, ...]:
        """The names of its operands."""
        inside = _until_closed(self.rest)
        return tuple(re.findall(r"%([\w.$-]+)", inside)) or tuple(
            part.strip().split(" ")[-1] for part in inside.split(",") if part.strip()
        )

    def attribute(self, name: str) -> str | None:
        """Return the computation named by an attribute such as `body` or `calls`."""
        found = re.search(rf"\b{name}=%?([\w.$-]+)", self.rest)
        return found[1] if found else None

    @property
    def op_name(self) -> str:
        """Its origin in the traced program."""
        found = re.search(r'op_name="([^"]*)"', self.rest)
        return found[1] if found else ""


@dataclasses.dataclass(frozen=True)
class Module:
    """A compiled program. `unknown_loops` have an unknown number of iterations and are counted once."""

    computations: dict[str, tuple[Instruction, ...]]
    entry: str

    @classmethod
    def parse(cls, text: str) -> "Module":
        """Parse `compiled.as_text()`; raise ValueError if there is no entry computation."""
        computations, entry, lines = {}, None, None
        for line in text.splitlines():
            head = _HEAD.match(line)
            if head:
                lines = computations[head[2]] = []
                entry = head[2] if head[1] else entry
            elif line.startswith("}"):
                lines = None
            elif lines is not None:
                instruction = _instruction(line)
                if instruction is not None:
                    lines.append(instruction)
        if entry is None:
            raise ValueError("program text: expected an ENTRY computation, found none; this XLA version is unsupported")
        return cls({name: tuple(lines) for name, lines in computations.items()}, entry)

    def by_name(self, computation: str) -> dict[str, Instruction]:
        """Return the instructions of a computation by name."""
        return {instruction.name: instruction for instruction in self.computations[computation]}

    @functools.cached_property
    def runs(self) -> dict[str, int]:
        """How often each scheduled computation runs: the entry, and the bodies of loops.

        Every branch of a conditional is counted as taken.
        """
        runs: dict[str, int] = {}

        def visit(name: str, times: int) -> None:
            runs[name] = runs.get(name, 0) + times
            for instruction in self.computations[name]:
                if instruction.op == "while":
                    visit(instruction.attribute("body"), times * (self.trips(instruction) or 1))
                elif instruction.op == "call":
                    visit(instruction.attribute("to_apply"), times)
                elif instruction.op == "conditional":
                    branches = re.search(r"branch_computations=\{([^}]*)\}", instruction.rest)
                    names = re.findall(r"[\w.$-]+", branches[1]) if branches else [
                        instruction.attribute("true_computation"), instruction.attribute("false_computation")
                    ]  # fmt: skip
                    for branch in names:
                        visit(branch, times)

        visit(self.entry, 1)
        return runs

    @functools.cached_property
    def unknown_loops(self) -> tuple[str, ...]:
        """Loops whose number of iterations is not in the text; each is counted as one iteration."""
        loops = [i for name in self.runs for i in self.computations[name] if i.op == "while"]
        return tuple(loop.name for loop in loops if self.trips(loop) is None)

    def trips(self, loop: Instruction) -> int | None:
        """Return the iterations of a loop: XLA's annotation, or the bound of a counter from 0; None if unknown."""
        noted = re.search(r'known_trip_count":\{"n":"(\d+)"', loop.rest)
        if noted:
            return int(noted[1])
        found = self.by_name(loop.attribute("condition"))
        (root,) = [instruction for instruction in found.values() if instruction.root]
        bounds = [found[name] for name in root.operands if name in found and found[name].op == "constant"]
        if root.op != "compare" or "direction=LT" not in root.rest or len(bounds) != 1:
            return None
        return int(_until_closed(bounds[0].rest))

    def scheduled(self) -> Iterator[tuple[str, Instruction, int]]:
        """Yield every scheduled instruction, with its computation and how often it runs."""
        for name, times in self.runs.items():
            for instruction in self.computations[name]:
                yield name, instruction, times

    def everywhere(self) -> Iterator[tuple[str, Instruction, int]]:
        """Yield as `scheduled`, and also the instructions inside fusions and asynchronous calls."""

        def inside(name: str, times: int) -> Iterator[tuple[str, Instruction, int]]:
            for instruction in self.computations[name]:
                yield name, instruction, times
                called = instruction.attribute("calls")
                if called is not None:
                    yield from inside(called, times)

        for name, times in self.runs.items():
            yield from inside(name, times)


def shapes_of(text: str) -> tuple[Shape, ...]:
    """Return all shapes in a text, such as `f32[128,384]{1,0:T(8,128)S(1)}`; skip unknown types."""
    return tuple(
        Shape(dtype, tuple(int(length) for length in dims.split(",") if length), "S(1)" in (layout or ""))
        for dtype, dims, layout in _SHAPE.findall(text)
        if dtype in BYTES
    )


def _instruction(line: str) -> Instruction | None:
    name = _NAME.match(line)
    if name is None:
        return None
    start = name.end()
    end = start + len(_in_brackets(line[start:])) if line[start] == "(" else start + len(line[start:].split(" ", 1)[0])
    call = _CALL.match(line, end)
    if call is None:
        return None
    return Instruction(name[2], call[1], line[start:end], line[call.end() :], bool(name[1]))


def _in_brackets(text: str) -> str:
    """Return the part of a text enclosed by its first bracket, brackets included."""
    depth = 0
    for position, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return text[: position + 1]
    return text


def _until_closed(text: str) -> str:
    """Return the text before the bracket that closes the one opened before the text."""
    return _in_brackets("(" + text)[1:-1]
