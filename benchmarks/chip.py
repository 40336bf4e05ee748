"""What `benchmarks.gpu` and `benchmarks.tpu_chip` measure on the accelerator of this machine.

Each measurement is a row; the file is written after every row, so nothing is lost if the machine is taken away. A row
that fails, such as one out of memory, has its error. No row starts after the time is up.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks.masks import RESULTS, machine
from fsfm_jax.compile_check.chips import CHIPS
from fsfm_jax.config.recipes import load_recipe
from fsfm_jax.detection.prediction import Scorer
from fsfm_jax.jobs import finetune_program, pretrain
from fsfm_jax.models import flops
from fsfm_jax.models.attention import attend
from fsfm_jax.models.ops import trace_for
from fsfm_jax.partition import make_mesh
from fsfm_jax.resolve.finetune import resolve_finetuning
from fsfm_jax.resolve.pretrain import resolve_pretraining
from fsfm_jax.resolve.report import EvaluationSpec
from fsfm_jax.tasks.normalisation import STATISTICS
from fsfm_jax.train.program import Program

LOG = logging.getLogger(__name__)
PIXELS = STATISTICS["vggface2"]
EXAMPLES = 10**6
# Peak FLOP/s of bfloat16 products with float32 sums, without sparsity, by a word of the device's name. GPUs: NVIDIA's
# data sheets, of the SXM module where there are several. TPUs: as in the compile check.
PEAKS = {
    "B200": 2250e12, "H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "A6000": 155e12,
    "v6 lite": CHIPS["v6e"].flops, "v5 lite": CHIPS["v5e"].flops, "v5": CHIPS["v5p"].flops, "v4": CHIPS["v4"].flops,
}  # fmt: skip
# Batch, heads, tokens and head size of the attentions of ViT-B: target, online encoder and pixel decoder.
ATTENTIONS = {"197 tokens": (64, 12, 197, 64), "50 tokens": (64, 12, 50, 64), "pixel decoder": (64, 16, 197, 32)}
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "jax-cuda13-plugin", "jax-cuda12-plugin", "libtpu")
SETTLING, AT_LEAST = 3, 5  # steps before the clock starts, and steps that are timed at least

PRECISIONS = (("float32", "highest"), ("float32", "default"), ("bfloat16", "default"))  # networks and their products
TUNED = {"fine-tuning": "finetune_dfd:vitb", "FS-Adapter": "adapter_dfd:vitb"}

_MINUTES = flags.DEFINE_float("minutes", 10, "No measurement starts later.", lower_bound=0)
_SIZES = flags.DEFINE_list("sizes", ["vitb", "vits", "vitl"], "Sizes, in this order, of configs/pretrain_SIZE.py.")
_SECONDS = flags.DEFINE_float("seconds", 3, "Seconds of steps in a row, after compiling.", lower_bound=0)
_ANYWHERE = flags.DEFINE_bool("anywhere", False, "Also run on other devices, to try the program.")


def start(platform: str, name: str, measure: Callable[["Report", list[str], float], None]) -> None:
    """Run a program: `measure(report, sizes, seconds)` on a machine with `platform`, into results/NAME.json."""
    logging.getLogger("absl").setLevel(logging.INFO)
    if jax.default_backend() != platform and not _ANYWHERE.value:
        raise app.UsageError(
            f"expected a {platform.upper()}; JAX found {jax.devices()[0].device_kind}. Install its packages from "
            "requirements/, or try the program with --anywhere"
        )
    report = Report(RESULTS / f"{name}.json", _MINUTES.value)
    measure(report, _SIZES.value, _SECONDS.value)
    print(f"{len(report.rows)} rows in {report.path}")


def peak_flops(kind: str) -> float | None:
    """Return peak FLOP/s of a device by `device_kind`; None for a device that is not in the table."""
    return next((peak for word, peak in PEAKS.items() if word in kind), None)


class Report:
    """Rows of measurements, kept in a file."""

    def __init__(self, path: Path, minutes: float):
        """Write to `path`; no row starts after `minutes`."""
        self.path, self.rows = path, []
        self._end = time.monotonic() + 60 * minutes
        path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, section: str, what: str, measure: Callable[[], dict]) -> bool:
        """Measure a row and write the file; return whether the row has figures."""
        left, started = self._end - time.monotonic(), time.monotonic()
        found = {"error": "not measured: the time was up"}
        if left > 0:
            try:
                found = measure()
            except (RuntimeError, ValueError, ImportError) as error:
                found = {"error": (str(error).strip() or repr(error)).splitlines()[0][:200]}
        seconds = round(time.monotonic() - started, 1)
        self.rows.append({"section": section, "what": what, **found, "seconds of the row": seconds})
        LOG.info("%s, %s: %s", section, what, found)
        text = json.dumps({"machine": describe_machine(), "rows": self.rows}, indent=1, ensure_ascii=False)
        self.path.write_text(text + "\n")
        return "error" not in found


def describe_machine() -> dict:
    """Return devices, versions and flags that speed depends on."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    device = jax.devices()[0]
    return machine() | versions | {
        "devices": f"{jax.device_count()} x {device.device_kind}", "platform": device.platform,
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
    }  # fmt: skip


def clock(step: Callable[[], object], seconds: float) -> float:
    """Return seconds of one call, the mean over at least `AT_LEAST` calls that take `seconds` together."""
    for _ in range(SETTLING):
        jax.block_until_ready(step())
    started, calls = time.perf_counter(), 0
    while calls < AT_LEAST or time.perf_counter() - started < seconds:
        result = step()
        calls += 1
        if calls % AT_LEAST == 0:  # steps run ahead of Python; a few at a time keep the clock honest
            jax.block_until_ready(result)
    jax.block_until_ready(result)
    return (time.perf_counter() - started) / calls


def drawn_batch(program: Program, seen: int = 0) -> dict[str, np.ndarray]:
    """Return a batch of random pixels in the program's shapes; masks leave `seen` patches visible; labels are 0."""
    random, batch = np.random.default_rng(0), {}
    for name, like in program.batch_like().items():
        if like.dtype == np.bool_ and len(like.shape) == 2:
            batch[name] = random.random(like.shape).argsort(axis=1) >= (seen if name == "mask" else like.shape[1] - 12)
        elif like.dtype == np.uint8:
            batch[name] = random.integers(0, 256, like.shape, np.uint8)
        else:
            batch[name] = np.zeros(like.shape, like.dtype)
    return batch


def pretraining(recipe: str, per_device: int, seconds: float, **fields: object) -> dict:
    """Measure train steps of a recipe with one micro-batch of `per_device` images."""
    config = load_recipe(recipe)
    size = per_device * jax.device_count()
    config.batch.size, config.batch.per_device, config.batch.accumulation = size, per_device, None
    config.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
    resolved = resolve_pretraining(config, EXAMPLES, jax.device_count())
    program = pretrain.make_program(resolved, PIXELS)
    batch = drawn_batch(program, resolved.model.seen)
    return _train(program, batch, size, flops.pretraining(resolved.model), seconds)


def fine_tuning(recipe: str, per_device: int, seconds: float, **fields: object) -> dict:
    """Measure train steps of a fine-tuning recipe, full or with an adapter."""
    resolved = _resolve(recipe, per_device, fields)
    program = finetune_program.make_program(resolved)
    cost = flops.finetuning(resolved.task.model, resolved.trained, bool(resolved.cache))
    return _train(program, drawn_batch(program), per_device * jax.device_count(), cost, seconds)


def inference(recipe: str, per_device: int, seconds: float, **fields: object) -> dict:
    """Measure the scoring of batches by the detector of a fine-tuning recipe."""
    task, size = _resolve(recipe, per_device, fields).task, per_device * jax.device_count()
    scorer = Scorer(task, EvaluationSpec("resize", size, 1), make_mesh())
    started = time.perf_counter()
    score = scorer.lower_step().compile()
    compiled = time.perf_counter() - started
    params = scorer.place(jax.jit(task.init)(jax.random.key(0)))
    side = task.model.image_size
    images = np.random.default_rng(0).integers(0, 256, (size, side, side, 3), np.uint8)
    images = jax.device_put(images, score.input_shardings[0][1])
    return _figures(clock(lambda: score(params, images), seconds), size, flops.detector(task.model), score, compiled)


def attention(shape: Sequence[int], form: str, seconds: float) -> dict:
    """Measure one attention in bfloat16, forward and backward, `[B, H, T, E]`; `form` is `ours`, `xla` or `cudnn`."""
    random = np.random.default_rng(0)
    arrays = [jnp.asarray(random.normal(size=shape), jnp.bfloat16) for _ in range(3)]

    def mixed(query, key, value):
        if form == "ours":
            return attend(query, key, value, None)
        swapped = (jnp.swapaxes(each, 1, 2) for each in (query, key, value))
        return jnp.swapaxes(jax.nn.dot_product_attention(*swapped, implementation=form), 1, 2)

    both = jax.jit(jax.grad(lambda *arrays: jnp.sum(mixed(*arrays).astype(jnp.float32) ** 2), argnums=(0, 1, 2)))
    return {"microseconds": round(1e6 * clock(lambda: both(*arrays), seconds), 1)}


def precision(dtype: str, products: str) -> dict:
    """Compare loss and gradients of a small pretraining network with those of the CPU in float32.

    `dtype` is that of the network, `products` the precision of its matrix products ("highest" or "default").
    """

    cpu, chip = jax.devices("cpu")[0], jax.devices()[0]

    def compute(device: jax.Device, dtype: str, products: str) -> tuple[float, dict]:
        config = load_recipe("pretrain_demo")
        config.batch.size = config.batch.per_device = 8
        config.model.dtype = dtype
        resolved = resolve_pretraining(config, EXAMPLES, 1)
        program = pretrain.make_program(resolved, PIXELS, make_mesh([cpu]))
        task, batch = program.task, drawn_batch(program, resolved.model.seen)
        with jax.default_device(cpu), trace_for("cpu"):
            params = jax.device_get(jax.jit(task.init)(jax.random.key(0)))
        with jax.default_device(device), jax.default_matmul_precision(products), trace_for(device.platform):
            arguments = params, task.target_part(params), batch, task.denominators(batch), jax.random.key(1)
            (loss, _), gradients = jax.jit(jax.value_and_grad(task.loss, has_aux=True))(*arguments)
        return float(loss), jax.device_get(gradients)

    expected_loss, expected = compute(cpu, "float32", "highest")
    loss, found = compute(chip, dtype, products)
    norm = np.sqrt(sum(np.sum(np.square(leaf, dtype=np.float64)) for leaf in jax.tree.leaves(expected)))
    apart = jax.tree.map(lambda a, b: np.sum(np.square(a - b, dtype=np.float64)), expected, found)
    return {
        "relative difference of the loss": f"{abs(loss - expected_loss) / abs(expected_loss):.1e}",
        "difference of the gradient over its norm": f"{np.sqrt(sum(jax.tree.leaves(apart))) / norm:.1e}",
    }


def _resolve(recipe: str, per_device: int, fields: dict):
    config, size = load_recipe(recipe), per_device * jax.device_count()
    config.batch.size, config.batch.per_device, config.batch.accumulation = size, per_device, None
    config.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
    return resolve_finetuning(config, EXAMPLES, 2, 1, PIXELS, jax.device_count())


def _train(program: Program, batch: dict[str, np.ndarray], images: int, cost: float, seconds: float) -> dict:
    started = time.perf_counter()
    step = program.compile_step()
    compiled = time.perf_counter() - started
    state, rows = [program.initial_state(0)], program.to_device(batch)

    def once() -> object:
        state[0], metrics = step(state[0], rows)
        return metrics

    return _figures(clock(once, seconds), images, cost, step, compiled)


def _figures(seconds: float, images: int, cost: float, step: jax.stages.Compiled, compiled: float) -> dict:
    """Return the figures of `step`, with `images` images that cost `cost` FLOPs each."""
    peak, memory = peak_flops(jax.devices()[0].device_kind), step.memory_analysis()
    used = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    rate = images / seconds / jax.device_count()
    return {
        "images/s a device": round(rate, 1), "ms a step": round(1e3 * seconds, 2), "compile s": round(compiled, 1),
        "GiB by the compiler": round(used / 2**30, 2),
        "MFU": None if peak is None else round(rate * cost / peak, 3),
    }  # fmt: skip
