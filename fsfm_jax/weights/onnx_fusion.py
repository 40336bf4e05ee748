"""Fuse the output of jax2onnx into the operators LayerNormalization, Gelu and MatMul of ONNX.

A converted layer norm is thirty operations, with mean and variance copied to the size of the tokens. A runtime computes
the single operator in one pass. Callers of `fuse` compare scores before and after. A pattern that does not match
exactly is left unchanged.
"""

from typing import Any

import numpy as np

# Operations that change no number, only its shape.
_SHAPES = ("Expand", "Reshape", "Identity")


class Graph:
    """The nodes of a model by their outputs, and its constants as arrays.

    Attributes:
      model: an `onnx.ModelProto`, changed by `replace` and `put`.
    """

    def __init__(self, model: Any):
        from onnx import numpy_helper

        self.model, self._helper = model, numpy_helper
        self.constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
        self.makers = {name: node for node in model.graph.node for name in node.output}

    def maker(self, name: str, operator: str, past: tuple[str, ...] = ()) -> Any:
        """Return the node whose output is `name`, if it is an `operator`; operators of `past` are skipped."""
        node = self.makers.get(name)
        while node is not None and node.op_type in past:
            node = self.makers.get(node.input[0])
        return node if node is not None and node.op_type == operator else None

    def constant_of(self, node: Any) -> tuple[np.ndarray | None, str]:
        """Return the constant among the two inputs of `node`, or None, and the name of the other input."""
        for own, other in ((0, 1), (1, 0)):
            if node.input[own] in self.constants:
                return self.constants[node.input[own]], node.input[other]
        return None, ""

    def put(self, name: str, array: np.ndarray) -> str:
        """Add a constant and return its name."""
        self.constants[name] = array
        self.model.graph.initializer.append(self._helper.from_array(array, name))
        return name

    def replace(self, node: Any, operator: str, inputs: list[str], **attributes: Any) -> None:
        """Replace `node` by another operation, whose first output keeps its name."""
        from onnx import helper

        node.CopyFrom(helper.make_node(operator, inputs, [node.output[0]], name=node.name, **attributes))

    def drop_unused(self) -> None:
        """Remove nodes and constants that lead to no output."""
        graph, wanted, kept = self.model.graph, {one.name for one in self.model.graph.output}, []
        for node in reversed(graph.node):
            if wanted & set(node.output):
                kept.append(node)
                wanted |= set(node.input)
        self.set_nodes(kept[::-1])
        unused = [place for place, one in enumerate(graph.initializer) if one.name not in wanted]
        for place in reversed(unused):
            del graph.initializer[place]
        del graph.value_info[:]  # not needed, and it names removed values

    def set_nodes(self, nodes: list[Any]) -> None:
        """Put `nodes` in place of those of the model."""
        copies = [type(one).FromString(one.SerializeToString()) for one in nodes]  # nodes are freed with their list
        del self.model.graph.node[:]
        self.model.graph.node.extend(copies)


def fuse(content: bytes) -> bytes:
    """Fuse layer norms, GELU and products with a constant matrix of a model, whose scores stay the same."""
    import onnx

    graph = Graph(onnx.load_from_string(content))
    for node in graph.model.graph.node:
        if node.op_type == "Add":
            _flatten_bias(graph, node)
            _fuse_norm(graph, node)
        elif node.op_type == "Mul":
            _fuse_gelu(graph, node)
        elif node.op_type == "Gemm":
            _fuse_product(graph, node)
    graph.drop_unused()
    return graph.model.SerializeToString()


def _flatten_bias(graph: Graph, node: Any) -> None:
    """Reshape a bias `[1, D]` to `[D]`, which ONNX Runtime adds in the same pass as a quantised product."""
    for place, name in enumerate(node.input):
        if name in graph.constants and graph.constants[name].ndim == 2 and len(graph.constants[name]) == 1:
            node.input[place] = graph.put(f"{node.output[0]}_row", graph.constants[name][0])


def _fuse_norm(graph: Graph, node: Any) -> None:
    """Fuse (x - mean) * (1 / sqrt(variance + eps) * scale) + bias, mean and variance over the last axis."""
    bias, scaled = graph.constant_of(node)
    product = graph.maker(scaled, "Mul") if bias is not None else None
    if product is None:
        return
    for centred, factor in (tuple(product.input), tuple(product.input)[::-1]):
        difference, weighted = graph.maker(centred, "Sub"), graph.maker(factor, "Mul")
        if difference is None or weighted is None:
            continue
        scale, inverse = graph.constant_of(weighted)
        epsilon, width = _variance(graph, inverse, difference.input[0])
        if scale is None or epsilon is None or not scale.size == bias.size == width:
            continue
        mean = graph.maker(difference.input[1], "Div", _SHAPES)
        if mean is None or not _is_mean(graph, mean, "ReduceSum", difference.input[0]):
            continue
        # Quantisers of others call the scale of a tensor TENSOR_scale.
        names = [graph.put(f"{node.output[0]}_norm_{name}", array.reshape(-1).astype(np.float32))
                 for name, array in (("scale", scale), ("bias", bias))]  # fmt: skip
        graph.replace(node, "LayerNormalization", [difference.input[0], *names], axis=-1, epsilon=epsilon)
        return


def _variance(graph: Graph, inverse: str, of: str) -> tuple[float | None, int]:
    """Return epsilon and width of 1 / sqrt(variance + epsilon) over the last axis of `of`; None if it is not that."""
    one = graph.maker(inverse, "Div")
    root = graph.maker(one.input[1], "Sqrt") if one is not None else None
    added = graph.maker(root.input[0], "Add") if root is not None else None
    if added is None or not np.array_equal(graph.constants.get(one.input[0], 0), 1):
        return None, 0
    epsilon, variance = graph.constant_of(added)
    mean = graph.maker(variance, "Div", _SHAPES)
    squares = graph.maker(mean.input[0], "ReduceSumSquare", _SHAPES) if mean is not None else None
    centred = graph.maker(squares.input[0], "Sub") if squares is not None else None
    if epsilon is None or epsilon.size != 1 or centred is None or centred.input[0] != of:
        return None, 0
    width = graph.constants.get(mean.input[1])
    return (None, 0) if width is None or width.size != 1 else (float(epsilon.item()), int(width.item()))


def _is_mean(graph: Graph, mean: Any, operator: str, of: str) -> bool:
    total = graph.maker(mean.input[0], operator, _SHAPES)
    return total is not None and total.input[0] == of


def _fuse_gelu(graph: Graph, node: Any) -> None:
    """Fuse x * (0.5 * (1 + erf(x / sqrt(2))))."""
    for value, factor in (tuple(node.input), tuple(node.input)[::-1]):
        half = graph.maker(factor, "Mul")
        steps = [(half, 0.5, "Add"), (None, 1.0, "Erf")]
        for place, (_, number, following) in enumerate(steps):
            found, other = graph.constant_of(half) if half is not None else (None, "")
            half = graph.maker(other, following) if found is not None and np.array_equal(found, number) else None
            if half is None:
                break
            if place == 1:
                inner = graph.maker(half.input[0], "Mul")
                found, other = graph.constant_of(inner) if inner is not None else (None, "")
                if other == value and found.size == 1 and abs(found.item() - 0.5**0.5) < 1e-6:
                    graph.replace(node, "Gelu", [value])
                    return


def _fuse_product(graph: Graph, node: Any) -> None:
    """Replace a Gemm without transposition and without addend by a MatMul."""
    said = {one.name: one.i if one.name.startswith("trans") else one.f for one in node.attribute}
    added = graph.constants.get(node.input[2]) if len(node.input) > 2 else np.zeros(())
    nothing = said.get("beta") == 0 or (added is not None and not added.any())
    if nothing and said.get("alpha", 1) == 1 and not said.get("transA") and not said.get("transB"):
        graph.replace(node, "MatMul", list(node.input[:2]))
