"""Images/s of a detector in each runtime and in int8 on this machine's CPU, measured in turns.

    python -m benchmarks.runtimes [--sizes=vit_s16,vit_b16] [--batches=1,16,32] [--rounds=5] [--threads=1]

Parameters are drawn, since speed does not depend on them. In each round every way scores the same images for a second,
so that other programs slow all of them alike. Images per second of CPU time hardly depend on other programs. Ratios are
of the same round, to `onnx int8 dynamic`: what ONNX Runtime's own `quantize_dynamic` makes of the fused network. Needs
the packages of requirements/onnx.lock, and OpenVINO. Writes benchmarks/results/runtimes.json.
"""

import dataclasses
import functools
import os
import tempfile
import time
from collections.abc import Callable

import jax
import numpy as np
from absl import app, flags

from benchmarks.masks import write_results
from fsfm_jax.config import finetune
from fsfm_jax.config.fields import flat
from fsfm_jax.resolve.task import task_of
from fsfm_jax.weights import onnx_file
from fsfm_jax.weights.onnx_fusion import fuse
from fsfm_jax.weights.onnx_int8 import measure, quantise

BASE = "onnx int8 dynamic"
WAYS = ("jax", "onnx", "openvino", "onnx fused", "openvino fused", BASE, "onnx int8", "openvino int8")
CALIBRATION = 4  # images; ranges do not change the speed
SECONDS = 1.0  # of calls in a turn, at least

_SIZES = flags.DEFINE_list("sizes", ["vit_s16", "vit_b16"], "Sizes of the network.")
_BATCHES = flags.DEFINE_list("batches", ["1", "16", "32"], "Images at a time.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Measured turns, after one that is not.")
_THREADS = flags.DEFINE_integer("threads", 1, "Of ONNX Runtime and OpenVINO; JAX takes all.")
_WAYS = flags.DEFINE_list("ways", list(WAYS), "Which ways to measure.")

Score = Callable[[np.ndarray], object]


@dataclasses.dataclass(frozen=True)
class Network:
    """A network in each form: its task and parameters, and models in ONNX."""

    task: object
    params: dict
    models: dict[str, bytes]


def make_network(size: str) -> Network:
    """Make a network of drawn parameters, converted, fused and quantised."""
    card = {
        "config": dict(flat(finetune.finetune())) | {"model.size": size, "model.dtype": "float32"},
        "class_names": ["fake", "real"], "real": 1, "statistics": {"mean": [0.5] * 3, "std": [0.25] * 3},
    }  # fmt: skip
    task, random = task_of(card), np.random.default_rng(0)

    def draw(path, leaf):
        scale = leaf.shape[0] ** -0.5 if path[-1].key == "kernel" else 0.02
        return (random.normal(size=leaf.shape) * scale + (path[-1].key == "scale")).astype(np.float32)

    params = jax.tree_util.tree_map_with_path(draw, jax.eval_shape(task.init, jax.random.key(0)))
    whole, _ = onnx_file.convert(task, params)
    fused = fuse(whole)
    side = task.model.image_size
    images = random.integers(0, 256, (CALIBRATION, side, side, 3), np.uint8)
    int8 = quantise(fused, measure(fused, images))
    return Network(task, params, {"": whole, "fused": fused, "int8": int8, "int8 dynamic": dynamic(fused)})


def dynamic(content: bytes) -> bytes:
    """Quantise a model with ONNX Runtime's own tool and its defaults."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in ("before.onnx", "after.onnx")]
        with open(paths[0], "wb") as file:
            file.write(content)
        quantize_dynamic(*paths, weight_type=QuantType.QInt8)
        with open(paths[1], "rb") as file:
            return file.read()


def open_way(network: Network, way: str) -> Score:
    """Open what scores images in one of `WAYS`."""
    runtime, _, form = way.partition(" ")
    if runtime == "jax":
        score = functools.partial(jax.jit(network.task.log_probabilities), jax.device_put(network.params))
        return lambda images: np.asarray(score(images))
    content = network.models[form]
    if runtime == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = _THREADS.value
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return lambda images: session.run(None, {"images": images})
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": _THREADS.value}
    return core.compile_model(core.read_model(content), "CPU", settings | {"PERFORMANCE_HINT": "LATENCY"})


def measure_ways(ways: dict[str, Score], images: np.ndarray) -> dict[str, dict[str, list[float]]]:
    """Measure images per second and per second of CPU time of each way, one number for each round."""
    found = {way: {"wall": [], "cpu": []} for way in ways}
    for number in range(_ROUNDS.value + 1):
        for way, score in ways.items():
            given = [images] if way.startswith("openvino") else images
            score(given)  # the threads of the way before still spin for some milliseconds
            calls, before = 0, (time.perf_counter(), time.process_time())
            while time.perf_counter() - before[0] < SECONDS:
                score(given)
                calls += 1
            seconds = time.perf_counter() - before[0], time.process_time() - before[1]
            if number:
                found[way]["wall"].append(calls * len(images) / seconds[0])
                found[way]["cpu"].append(calls * len(images) / seconds[1])
        print(f"round {number} of {_ROUNDS.value}", flush=True)
    return found


def summarise(found: dict[str, dict[str, list[float]]]) -> list[dict]:
    """Return a row for each way: medians, and its ratio to `BASE` in the same round with the least and largest."""
    rows = []
    for way, numbers in found.items():
        row = {"way": way, **{f"images/s {kind}": f"{np.median(n):.2f}" for kind, n in numbers.items()}}
        if BASE in found:
            ratios = np.array(numbers["cpu"]) / np.array(found[BASE]["cpu"])
            row["ratio of CPU time"] = f"{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})"
        rows.append(row)
    return rows


def main(arguments: list[str]) -> None:
    rows, loads = [], [os.getloadavg()[0]]
    for size in _SIZES.value:
        network = make_network(size)
        ways = {way: open_way(network, way) for way in _WAYS.value}
        side = network.task.model.image_size
        for batch in map(int, _BATCHES.value):
            images = np.random.default_rng(1).integers(0, 256, (batch, side, side, 3), np.uint8)
            rows += [{"size": size, "batch": batch, **row} for row in summarise(measure_ways(ways, images))]
            loads.append(os.getloadavg()[0])
    settings = {"rounds": _ROUNDS.value, "threads": _THREADS.value, "load": [round(load, 1) for load in loads]}
    write_results("runtimes", settings, rows)


if __name__ == "__main__":
    app.run(main)
