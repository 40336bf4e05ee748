"""Check the contents of an ONNX file before a runtime reads it, from its bytes alone and without the package onnx.

A runtime is not made for untrusted files. It opens other files that a tensor names, accepts operators of other domains,
and runs loops. So a file is accepted only if every field of every message is one that `convert` and `quantise` write,
every number is in the file, and every operator is arithmetic of our networks. The runtime parses the same bytes
afterwards. A field that occurs twice is checked twice, so it does not matter which of the two the runtime uses.
"""

from collections.abc import Iterator
from typing import NamedTuple

STANDARD = ("", "ai.onnx")  # two names of the domain of the ONNX standard
MAX_NODES = 50_000  # ViT-H with a quantised matrix in each product has 6,000
OPERATORS = frozenset(
    "Abs Add And Cast CastLike Ceil Clip Concat Constant ConstantOfShape Conv Cos DequantizeLinear Div Dropout "
    "DynamicQuantizeLinear Einsum Equal Erf Exp Expand Flatten Floor Gather GatherElements GatherND Gelu Gemm "
    "Greater GreaterOrEqual Identity LayerNormalization Less LessOrEqual Log LogSoftmax MatMul MatMulInteger Max "
    "Min Mul Neg Not Or Pad Pow QuantizeLinear Range Reciprocal ReduceMax ReduceMean ReduceMin ReduceSum "
    "ReduceSumSquare Relu Reshape Shape Sigmoid Sin Size Slice Softmax Split Sqrt Squeeze Sub Sum Tanh Tile "
    "Transpose Unsqueeze Where".split()
)
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class _Message(NamedTuple):
    """The fields of a message that are accepted, by number: `plain` ones, and those that are messages of `inner`."""

    plain: frozenset[int]
    inner: dict[int, str]


# Numbers are those of onnx.proto. All others are refused: external_data (13) and data_location (14) of a tensor,
# graphs inside attributes (6, 11), sparse tensors, training information, segments.
_MESSAGES = {
    "model": _Message(frozenset((1, 2, 3, 4, 5, 6, 14)), {7: "graph", 8: "operator set", 25: "function"}),
    "graph": _Message(frozenset((2, 10, 11, 12, 13, 16)), {1: "node", 5: "tensor"}),
    "function": _Message(frozenset((1, 4, 5, 6, 8, 10, 12, 13, 14)), {7: "node", 9: "operator set"}),
    "operator set": _Message(frozenset((1, 2)), {}),
    "node": _Message(frozenset((1, 2, 3, 4, 6, 7, 8, 9)), {5: "attribute"}),
    "attribute": _Message(frozenset((1, 2, 3, 4, 7, 8, 9, 13, 20, 21)), {5: "tensor", 10: "tensor"}),
    "tensor": _Message(frozenset((1, 2, 4, 5, 7, 8, 9, 10, 11, 12, 16)), {}),
}
_ELSEWHERE = {13: "numbers in another file", 14: "numbers in another file"}  # fields of a tensor
_NAME, _DOMAIN = 1, 10  # of a function
_OPERATOR, _OF_DOMAIN = 4, 7  # of a node
_SET_DOMAIN = 1  # of an operator set


class _Found(NamedTuple):
    """The operators, functions and domains that are found in a file."""

    operators: set[tuple[str, str]]  # domain and operator of each node
    functions: set[tuple[str, str]]  # domain and name of each function in the file
    domains: set[str]  # of the operator sets


def check_structure(path: str, content: bytes) -> None:
    """Refuse an ONNX model that is not arithmetic on numbers in this file.

    Args:
      path: its name in messages.
      content: the whole file.

    Raises:
      ValueError: the bytes are not ONNX, or have numbers in another file, other operators or messages, or more than
        `MAX_NODES` nodes.
    """
    found, nodes = _Found(set(), set(), set()), 0
    todo = [("model", memoryview(content))]
    while todo:
        kind, data = todo.pop()
        nodes += kind == "node"
        if nodes > MAX_NODES:
            raise ValueError(f"{path}: expected at most {MAX_NODES:,} operations, as fsfm_jax writes them; found more")
        texts: dict[int, list[str]] = {}
        for number, value in _fields(path, kind, data):
            accepted = _MESSAGES[kind]
            if number in accepted.inner and isinstance(value, memoryview):
                todo.append((accepted.inner[number], value))
            elif number not in accepted.plain:
                what = _ELSEWHERE.get(number) if kind == "tensor" else None
                raise ValueError(
                    f"{path}: expected a model whose numbers are all in this file, without loops; found "
                    f"{what or f'field {number}'} in a {kind}. Not a detector of fsfm_jax"
                )
            elif kind in ("node", "function", "operator set") and isinstance(value, memoryview):
                texts.setdefault(number, []).append(bytes(value[:1000]).decode("utf-8", "replace"))
        _gather(kind, texts, found)
    _check_operators(path, found)


def _gather(kind: str, texts: dict[int, list[str]], found: _Found) -> None:
    # Every combination, because a parser uses the last of a field that occurs twice.
    if kind == "node":
        pairs = [(d, name) for d in texts.get(_OF_DOMAIN, [""]) for name in texts.get(_OPERATOR, [""])]
        found.operators.update(pairs)
    elif kind == "function":
        found.functions.update((d, name) for d in texts.get(_DOMAIN, [""]) for name in texts.get(_NAME, [""]))
    elif kind == "operator set":
        found.domains.update(texts.get(_SET_DOMAIN, []))


def _check_operators(path: str, found: _Found) -> None:
    own = {domain for domain, _ in found.functions}
    foreign = {f"the domain {d}" for d in found.domains if d not in STANDARD and d not in own}
    foreign |= {f"a function named {name}" for domain, name in found.functions if domain in STANDARD}
    foreign |= {
        f"{domain}.{name}" if domain else name or "a node without operator"
        for domain, name in found.operators - found.functions
        if domain not in STANDARD or name not in OPERATORS
    }
    if foreign:
        raise ValueError(
            f"{path}: expected operators of a vision transformer; found {', '.join(sorted(foreign))[:300]!r}. Do not "
            "run this file unless you know who made it; if it is yours, export the detector again with this version"
        )


def _fields(path: str, kind: str, data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the number and value of each field of a message; a value that is not read is 0."""
    at = 0
    while at < len(data):
        key, at = _varint(path, kind, data, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(path, kind, data, at)
            yield number, value
            continue
        if wire == _BYTES:
            length, at = _varint(path, kind, data, at)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise _broken(path, kind)
        if not number or length > len(data) - at:
            raise _broken(path, kind)
        yield number, data[at : at + length] if wire == _BYTES else 0
        at += length


def _varint(path: str, kind: str, data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for place in range(10):
        if at >= len(data):
            break
        byte, at = data[at], at + 1
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at
    raise _broken(path, kind)


def _broken(path: str, kind: str) -> ValueError:
    return ValueError(f"{path}: expected ONNX; a {kind} in it is cut off or damaged. It is another file: copy it again")
