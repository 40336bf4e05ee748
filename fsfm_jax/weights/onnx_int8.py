"""Quantise the matrix products of an ONNX model to int8, with activation ranges from calibration images.

Each matrix has a scale per column, and each activation has one scale that is fixed in the file. So the score of an
image does not depend on the rest of its batch, as it would with ranges from the batch (`DynamicQuantizeLinear`).
Norms, softmax, attention, the patch embedding and the classifier stay in float32.

Products are written as whole numbers (`QuantizeLinear`, `MatMulInteger`) and not as pairs of `QuantizeLinear` and
`DequantizeLinear`: ONNX Runtime 1.32 joins product, scale and bias of the first form to one operation, and computes the
second form in float32 where a bias follows.

Weights have 7 bits, from -64 to 64: processors without VNNI add pairs of products in 16 bits, where 255 * 127 * 2 does
not fit and is cut off silently. With 7 bits every processor gives the same sum.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from fsfm_jax.weights.onnx_fusion import Graph

LARGEST = 64  # of a weight
STEPS = 255  # between the least and the largest activation
LEAST_OUTPUTS = 32  # a classifier has fewer, and is quick
ONE = "one"  # the name of a 1 that no runtime folds away, see `quantise`
PART = 8  # images whose activations are held at a time


class Measured(NamedTuple):
    """The calibration of a product: the range of its input, and how much int8 changes its output.

    Attributes:
      error: the norm of the change divided by the norm of the output.
    """

    low: float
    high: float
    error: float


def quantise_matrix(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Round each column of `[I, O] float32` to whole numbers of at most `LARGEST`: int8 `[I, O]` and scales `[O]`."""
    scale = np.abs(matrix).max(axis=0) / LARGEST
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    return np.rint(matrix / scale).astype(np.int8), scale


def choose_steps(low: float, high: float) -> tuple[np.float32, np.uint8]:
    """Return the scale and zero point with which `STEPS` steps cover `low` to `high`, and 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32((high - low) / STEPS or 1.0)
    return scale, np.uint8(np.clip(np.rint(-low / scale), 0, STEPS))


def measure(content: bytes, images: np.ndarray) -> dict[str, Measured]:
    """Measure the products of a fused model that can be quantised, on `[n, S, S, 3] uint8`, n >= 1.

    Returns:
      By the name of the product's output. The ranges are over all images, the error over the first `PART`.
    """
    import onnx
    import onnxruntime

    model = onnx.load_from_string(content)
    products = {node.output[0]: (node.input[0], matrix) for node, matrix in _products(Graph(model))}
    taken = sorted({name for name, _ in products.values()})
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in taken)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feed, ranges, first = session.get_inputs()[0].name, {}, {}
    for start in range(0, len(images), PART):
        found = dict(zip(taken, session.run(taken, {feed: images[start : start + PART]}), strict=True))
        first = first or found
        for name, rows in found.items():
            low, high = ranges[name] if name in ranges else (0.0, 0.0)
            ranges[name] = min(low, float(rows.min())), max(high, float(rows.max()))
    return {
        given: Measured(*ranges[name], _error(first[name].reshape(-1, len(matrix)), matrix, *ranges[name]))
        for given, (name, matrix) in products.items()
    }


def _error(rows: np.ndarray, matrix: np.ndarray, low: float, high: float) -> float:
    (scale, zero), (whole, scales) = choose_steps(low, high), quantise_matrix(matrix)
    steps = np.clip(np.rint(rows / scale) + zero, 0, STEPS) - zero
    exact = rows @ matrix
    change = (steps * scale).astype(np.float32) @ (whole * scales) - exact
    return float(np.linalg.norm(change) / max(np.linalg.norm(exact), 1e-30))


def quantise(content: bytes, measured: Mapping[str, Measured]) -> bytes:
    """Quantise the products of a fused model that `measured` names; all others stay in float32.

    ONNX Runtime recognises the scale of a product by the multiplication of both scales, which it would compute
    beforehand if both were constants. So the first is multiplied by a 1 that is made from the number of pixels.
    """
    import onnx
    from onnx import helper

    graph = Graph(onnx.load_from_string(content))
    images = graph.model.graph.input[0].name
    ones = [
        helper.make_node("Size", [images], [f"{ONE}_pixels"]),
        helper.make_node("Min", [f"{ONE}_pixels", graph.put(f"{ONE}_most", np.array(1, np.int64))], [f"{ONE}_whole"]),
        helper.make_node("Cast", [f"{ONE}_whole"], [ONE], to=onnx.TensorProto.FLOAT),
    ]
    made: dict[str, list[Any]] = {}
    for node, matrix in _products(graph):
        taken, given = node.input[0], node.output[0]
        if given not in measured:
            continue
        whole, scales = quantise_matrix(matrix)
        step, zero = choose_steps(measured[given].low, measured[given].high)
        weights = [graph.put(f"{given}_weights", whole), graph.put(f"{given}_scales", scales)]
        steps = [graph.put(f"{given}_step", step), graph.put(f"{given}_zero", np.array(zero))]
        made[given] = [
            helper.make_node("QuantizeLinear", [taken, *steps], [f"{given}_uint8"]),
            helper.make_node("MatMulInteger", [f"{given}_uint8", weights[0], steps[1]], [f"{given}_whole"]),
            helper.make_node("Cast", [f"{given}_whole"], [f"{given}_float"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Mul", [ONE, steps[0]], [f"{given}_first"]),
            helper.make_node("Mul", [f"{given}_first", weights[1]], [f"{given}_both"]),
            helper.make_node("Mul", [f"{given}_float", f"{given}_both"], [given]),
        ]
    graph.set_nodes(ones + [new for node in graph.model.graph.node for new in made.get(node.output[0], [node])])
    graph.drop_unused()
    return graph.model.SerializeToString()


def _products(graph: Graph) -> list[tuple[Any, np.ndarray]]:
    """Return the products with a constant matrix, in order, without the patch embedding and the classifier."""
    found = [
        (node, graph.constants[node.input[1]])
        for node in graph.model.graph.node
        if node.op_type == "MatMul" and node.input[1] in graph.constants and graph.constants[node.input[1]].ndim == 2
    ]
    return [(node, matrix) for node, matrix in found[1:] if matrix.shape[1] >= LEAST_OUTPUTS]
