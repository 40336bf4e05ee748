"""Untrusted ONNX files: bytes written by hand after the wire format, without the package onnx."""

import pytest

from fsfm_jax.weights import onnx_structure
from fsfm_jax.weights.onnx_structure import check_structure


def whole(value: int) -> bytes:
    """A whole number as protobuf writes it, seven bits a byte."""
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + whole(value >> 7)


def field(number: int, value: bytes | str | int) -> bytes:
    """A field of a message: key, and a whole number or a length with its bytes."""
    if isinstance(value, int):
        return whole(number << 3) + whole(value)
    data = value.encode() if isinstance(value, str) else value
    return whole(number << 3 | 2) + whole(len(data)) + data


def node(operator: str, domain: str = "", more: bytes = b"") -> bytes:
    return field(1, field(1, "a") + field(2, "b") + field(4, operator) + (field(7, domain) if domain else b"") + more)


def model(graph: bytes, domain: str = "", more: bytes = b"") -> bytes:
    return field(1, 10) + field(8, field(1, domain) + field(2, 23)) + field(7, graph) + more


TENSOR = field(1, 2) + field(2, 1) + field(8, "w") + field(9, b"\0" * 8)
FUNCTION = field(25, field(1, "Twice") + field(10, "ours") + field(7, field(4, "Add")))


def test_arithmetic_with_numbers_in_the_file_is_accepted():
    attribute = field(5, field(1, "axis") + field(3, 1) + field(20, 2))
    check_structure("x", model(node("MatMul") + node("Softmax", "ai.onnx", attribute) + field(5, TENSOR)))
    check_structure("x", model(node("Twice", "ours"), "ours", FUNCTION))


@pytest.mark.parametrize(("content", "text"), [
    (model(field(5, TENSOR + field(13, field(1, "location") + field(2, "/etc/passwd")))), "numbers in another file"),
    # The same key in an encoding that no writer uses: a search for its usual bytes would not find it.
    (model(field(5, TENSOR + b"\xea\x00\x00")), "numbers in another file"),
    (model(field(5, TENSOR + field(14, 1))), "numbers in another file"),
    (model(node("Add", more=field(5, field(1, "t") + field(5, TENSOR + field(14, 1))))), "numbers in another file"),
    (model(node("Add", more=field(5, field(1, "body") + field(6, node("Add"))))), "field 6 in a attribute"),
    (model(b"", more=field(25, field(7, field(4, "Loop")))), "a function named"),
    (model(node("Add"), more=field(20, b"")), "field 20 in a model"),
    (model(node("Loop")), "found 'Loop'"),
    (model(node("MatMul", "com.microsoft")), "com.microsoft.MatMul"),
    (model(node("Add"), "com.evil"), "the domain com.evil"),
    (model(node("Other", "ours"), "ours", FUNCTION), "ours.Other"),
    (model(node("Add", more=field(4, "If"))), "found 'If'"),  # the operator twice
    (model(field(1, field(1, "a"))), "a node without operator"),
    (model(node("Add"))[:-1], "a node in it is cut off|a graph in it is cut off|a model in it is cut off"),
    (b"onnx", "expected ONNX; a model in it is cut off or damaged"),
    (b"\xff" * 40, "expected ONNX; a model in it is cut off or damaged"),
])  # fmt: skip
def test_anything_else_is_refused_by_its_name(content, text):
    with pytest.raises(ValueError, match=text):
        check_structure("x", content)


def test_the_number_of_operations_is_bounded(monkeypatch):
    monkeypatch.setattr(onnx_structure, "MAX_NODES", 2)
    check_structure("x", model(node("Add") * 2))
    with pytest.raises(ValueError, match="expected at most 2 operations, as fsfm_jax writes them; found more"):
        check_structure("x", model(node("Add") * 3))
