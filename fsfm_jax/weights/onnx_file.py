"""A detector as ONNX, converted by jax2onnx and compared with ours before anything is written.

Its packages are not among those of requirements.txt, with which they disagree about the version of Orbax; only examples
of jax2onnx use Orbax, so they are installed without their own requirements:

    pip install --no-deps --require-hashes --requirement requirements/onnx.lock
"""

import logging
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from fsfm_jax.models.ops import trace_for
from fsfm_jax.tasks.classify import ClassifyTask
from fsfm_jax.weights.onnx_artifact import INPUT, KIND, OUTPUT
from fsfm_jax.weights.onnx_network import INSTALL
from fsfm_jax.weights.onnx_structure import check_structure

OPSET = 23
USE = [
    "import onnxruntime",
    "session = onnxruntime.InferenceSession(FILE, providers=onnxruntime.get_available_providers())",
    f"({OUTPUT},) = session.run(None, {{'{INPUT}': images}})",
]
# Float32 in another order of summation: 1e-6 was seen with ViT-B. A wrong operation is off by more than this.
TOLERANCE = 1e-4
_PROBES = 3  # images to compare scores of


def convert(task: ClassifyTask, params: Any) -> tuple[bytes, dict]:
    """Convert to a model, `images [b, S, S, 3] uint8 -> log_probabilities [b, C] float32`, and its sidecar entries.

    Raises:
      ModuleNotFoundError: jax2onnx or onnxruntime is not installed.
      ValueError: the detector is in bfloat16, or the converted model gives other scores.
    """
    if task.model.dtype != jnp.float32:
        raise ValueError(
            f"--format=onnx: expected float32, found {np.dtype(task.model.dtype).name}, for which ONNX Runtime lacks "
            "operations on CPUs; say --dtype=float32 (scores then differ by the rounding)"
        )
    try:
        import jax2onnx
        import onnxruntime
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"--format=onnx: {error}; {INSTALL}") from error
    # It logs for every shape inside the graph that it does not record its type.
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)
    side, numpy = task.model.image_size, jax.tree.map(np.asarray, params)
    images = jax.ShapeDtypeStruct((*export.symbolic_shape("b"), side, side, 3), jnp.uint8)
    # The parameters become constants, as in `serialize`.
    # The GPU form has a plain softmax, which ONNX has as one operator; the CPU form is XLA's.
    with trace_for("gpu"):
        model = jax2onnx.to_onnx(
            lambda images: task.log_probabilities(numpy, images), [images], model_name="detector", opset=OPSET,
            input_names=[INPUT], output_names=[OUTPUT],
        )  # fmt: skip
    content, version = model.SerializeToString(), metadata.version("jax2onnx")
    check_structure("--format=onnx", content)  # Readers make the same checks.
    probes = np.random.default_rng(0).integers(0, 256, (_PROBES, side, side, 3), np.uint8)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (found,) = session.run([OUTPUT], {INPUT: probes})
    difference = float(np.abs(found - np.asarray(jax.jit(task.log_probabilities)(params, probes))).max())
    if not difference <= TOLERANCE:
        raise ValueError(
            f"--format=onnx: expected our scores of {_PROBES} random images within {TOLERANCE}; found a difference of "
            f"{difference:.3g}. The conversion is wrong; jax2onnx {version} does not know this network"
        )
    return content, {
        "kind": KIND, "platforms": ["onnxruntime"], "opset": OPSET, "ir_version": model.ir_version, "jax2onnx": version,
        "largest_difference_of_log_probabilities": difference,
    }  # fmt: skip
