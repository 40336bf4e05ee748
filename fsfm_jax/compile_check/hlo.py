"""The text of a compiled program: its computations, how often each runs, and the shapes in it.

XLA's own cost analysis counts the body of a loop once. Here every instruction comes with the number of times that it
runs in one call of the program.
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
    """Type, lengths, and whether it lies on the chip (memory space 1), not in HBM."""

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
    """One line: `%name = SHAPES op(operands), attributes`."""

    name: str
    op: str
    result: str
    rest: str
    root: bool

    @functools.cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """What it gives; of a tuple each part."""
        return shapes_of(self.result)

    @functools.cached_property
    def operands(self) -> tuple[str, ...]:
        """Names of what it is given."""
        inside = _until_closed(self.rest)
        return tuple(re.findall(r"%([\w.$-]+)", inside)) or tuple(
            part.strip().split(" ")[-1] for part in inside.split(",") if part.strip()
        )

    def attribute(self, name: str) -> str | None:
        """The computation that an attribute such as `body` or `calls` names."""
        found = re.search(rf"\b{name}=%?([\w.$-]+)", self.rest)
        return found[1] if found else None

    @property
    def op_name(self) -> str:
        """Where in the traced program it comes from."""
        found = re.search(r'op_name="([^"]*)"', self.rest)
        return found[1] if found else ""


@dataclasses.dataclass(frozen=True)
class Module:
    """A program. `unknown_loops` run so often as nobody knows; they are counted as one pass."""

    computations: dict[str, tuple[Instruction, ...]]
    entry: str

    @classmethod
    def parse(cls, text: str) -> "Module":
        """Reads what `compiled.as_text()` says; ValueError if there is no entry computation."""
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
            raise ValueError("the program's text has no ENTRY computation; this XLA writes it in a way not known here")
        return cls({name: tuple(lines) for name, lines in computations.items()}, entry)

    def by_name(self, computation: str) -> dict[str, Instruction]:
        """The instructions of a computation."""
        return {instruction.name: instruction for instruction in self.computations[computation]}

    @functools.cached_property
    def runs(self) -> dict[str, int]:
        """How often each computation that instructions are scheduled from runs: the entry, and bodies of loops.

        Of a conditional every branch counts, as if it were taken.
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
        """Loops whose number of passes the text does not show; each is counted as one pass."""
        loops = [i for name in self.runs for i in self.computations[name] if i.op == "while"]
        return tuple(loop.name for loop in loops if self.trips(loop) is None)

    def trips(self, loop: Instruction) -> int | None:
        """Passes of a loop that counts from 0: what XLA noted, or the constant its counter is compared with."""
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
        """Every instruction that runs on its own, with its computation and how often it runs."""
        for name, times in self.runs.items():
            for instruction in self.computations[name]:
                yield name, instruction, times

    def everywhere(self) -> Iterator[tuple[str, Instruction, int]]:
        """As `scheduled`, and what is inside of fusions and asynchronous calls."""

        def inside(name: str, times: int) -> Iterator[tuple[str, Instruction, int]]:
            for instruction in self.computations[name]:
                yield name, instruction, times
                called = instruction.attribute("calls")
                if called is not None:
                    yield from inside(called, times)

        for name, times in self.runs.items():
            yield from inside(name, times)


def shapes_of(text: str) -> tuple[Shape, ...]:
    """All shapes in a text, `f32[128,384]{1,0:T(8,128)S(1)}`; of types that are not known none."""
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
    """The part of a text that its first bracket encloses, brackets included."""
    depth = 0
    for position, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return text[: position + 1]
    return text


def _until_closed(text: str) -> str:
    """What stands before the bracket that closes what is open at the start of a text."""
    return _in_brackets("(" + text)[1:-1]
