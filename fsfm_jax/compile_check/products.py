"""FLOPs of the matrix products in a compiled program, each counted as often as it runs."""

import math
import re
from collections.abc import Iterable

from fsfm_jax.compile_check.hlo import Instruction, Module

_PARTS = re.compile(r"dim_labels=(\w+)_(\w+)->(\w+)")


def product_flops(module: Module) -> tuple[float, float]:
    """Return the FLOPs of all products in one call, and the same with every loop counted as one iteration."""
    total = once = 0.0
    for computation, instruction, times in module.everywhere():
        if instruction.op in ("dot", "convolution"):
            flops = _flops(instruction, module.by_name(computation))
            total, once = total + times * flops, once + flops
    return total, once


def _flops(instruction: Instruction, names: dict[str, Instruction]) -> float:
    left, right = (names[name].shapes[0].dims for name in instruction.operands[:2])
    (result,) = instruction.shapes
    if instruction.op == "dot":
        contracted = _numbers(instruction.rest, "lhs_contracting_dims")
        return 2.0 * result.elements * math.prod(left[axis] for axis in contracted)
    return 2.0 * _multiply_adds(instruction.rest, left, right, result.dims)


def _multiply_adds(rest: str, left: Iterable[int], right: Iterable[int], result: Iterable[int]) -> int:
    """Count the multiply-adds of a convolution without padding.

    The TPU compiler writes batched products as convolutions whose windows are mostly padding.
    """
    inputs, kernel, output = _PARTS.search(rest).groups()
    left, right, result = (
        dict(zip(labels, dims, strict=True))
        for labels, dims in ((inputs, left), (kernel, right), (output, result))
    )
    count = right["i"] * result["b"] * result["f"]
    for axis in (label for label in output if label.isdecimal()):
        index = sorted(label for label in output if label.isdecimal()).index(axis)
        count *= _valid(rest, index, left[axis], right[axis], result[axis])
    return count


def _valid(rest: str, index: int, length: int, window: int, outputs: int) -> int:
    """Count the pairs of output and window position, along one axis, that meet an element and not padding."""
    stride, low = _window(rest, "stride", index, 1), _window(rest, "pad", index, 0)
    left_dilation, right_dilation = _window(rest, "lhs_dilate", index, 1), _window(rest, "rhs_dilate", index, 1)
    found = 0
    for place in range(window):
        start = place * right_dilation - low
        # Outputs whose position, start + stride * output, is a multiple of the dilation and inside the array.
        for output in range(outputs):
            position = start + stride * output
            found += position % left_dilation == 0 and 0 <= position // left_dilation < length
    return found


def _window(rest: str, name: str, index: int, absent: int) -> int:
    found = re.search(rf"window=\{{[^}}]*\b{name}=([\w-]+)", rest)
    if found is None:
        return absent
    # Padding is written as LOW_HIGH for each axis; the high side follows from the number of outputs.
    return int(found[1].split("x")[index].split("_")[0])


def _numbers(rest: str, name: str) -> tuple[int, ...]:
    found = re.search(rf"{name}=\{{([\d,]*)\}}", rest)
    return tuple(int(number) for number in found[1].split(",") if number) if found else ()
