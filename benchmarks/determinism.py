"""Measure the reproducibility of a run: repeated, and with other devices, micro-batches and memory settings.

    python -m benchmarks.determinism [--steps=30]

The run is a tiny pretraining of both networks in float32 on eight simulated CPU devices, always with the same batches.
Each variant is compared with one device and one micro-batch: the largest difference of a parameter divided by the
largest parameter, and the relative difference of the last loss. Repeating a variant, also with other loader processes,
must give the same bytes. The results go to benchmarks/results/determinism.json.
"""

import dataclasses
from typing import Any

import jax
import numpy as np
from absl import app, flags

from benchmarks.masks import write_results
from configs import pretrain_demo
from fsfm_jax import partition
from fsfm_jax.data.sources import open_mixture
from fsfm_jax.data.stream import Stream
from fsfm_jax.jobs.pretrain import make_program
from fsfm_jax.resolve.pretrain import resolve_pretraining
from fsfm_jax.tasks.normalisation import STATISTICS

FIELDS = {
    "data.train": "synthetic:64", "data.statistics": "vggface2", "data.threads": 1, "batch.size": 16,
    "model.size": "tiny16", "model.pixel_width": 16, "model.pixel_depth": 1, "model.pixel_heads": 2,
    "model.rep_depth": 1, "model.rep_heads": 2, "model.projection_hidden": 16, "model.projection_features": 8,
    "model.dtype": "float32", "optimizer.warmup": "5 steps", "checkpoint.every": "1000 steps",
}  # fmt: skip
DEVICES = 8

_STEPS = flags.DEFINE_integer("steps", 30, "Steps of each run.", lower_bound=1)


@dataclasses.dataclass(frozen=True)
class End:
    """The result of a run."""

    params: list[np.ndarray]
    loss: float

    def same(self, other: "End") -> bool:
        """Return whether all bits are equal."""
        pairs = zip(self.params, other.params, strict=True)
        return self.loss == other.loss and all(a.tobytes() == b.tobytes() for a, b in pairs)

    def apart(self, other: "End") -> tuple[float, float]:
        """Return the largest parameter difference over the largest parameter, and the relative loss difference."""
        pairs = list(zip(self.params, other.params, strict=True))
        largest = max(np.abs(a).max() for a, _ in pairs)
        return float(max(np.abs(a - b).max() for a, b in pairs) / largest), abs(self.loss - other.loss) / self.loss


def trained(devices: int, per_device: int, steps: int, **fields: Any) -> End:
    """Run on `devices` devices with micro-batches of `per_device` images per device, and return the result."""
    config = pretrain_demo.get_config()
    changes = {name.replace("__", "."): value for name, value in fields.items()}
    config.update_from_flattened_dict(
        FIELDS | {"batch.per_device": per_device, "duration": f"{steps} steps"} | changes
    )
    sources = open_mixture(config.data.train)
    resolved = resolve_pretraining(config, sum(len(source) for source, _ in sources), devices, "")
    mesh = partition.make_mesh(jax.devices()[:devices])
    program = make_program(resolved, STATISTICS["vggface2"], mesh)
    state, step = program.initial_state(resolved.seed), program.compile_step()
    stream = Stream(sources, resolved.stream, 0, 0, 1)
    try:
        for _ in range(steps):
            state, metrics = step(state, program.to_device(next(stream)))
    finally:
        stream.close()
    return End([np.asarray(leaf) for leaf in jax.tree.leaves(state.params)], float(np.mean(metrics["loss"])))


def main(arguments: list[str]) -> None:
    steps = _STEPS.value
    first = trained(1, 16, steps)
    rows = []
    for what, again in (
        ("the same run again", trained(1, 16, steps)),
        ("with two loader processes", trained(1, 16, steps, data__workers=2)),
        ("with three loader threads", trained(1, 16, steps, data__threads=3)),
    ):
        rows.append((what, first, again))
    for what, end in (
        ("2 devices", trained(2, 8, steps)),
        ("8 devices", trained(8, 2, steps)),
        ("8 devices with FSDP", trained(8, 2, steps, partition__fsdp=True, partition__fsdp_min_size=1)),
        ("1 device, 4 parts in turn", trained(1, 4, steps)),
        ("1 device, remat=full", trained(1, 16, steps, model__remat="full")),
        ("1 device, bfloat16 products", trained(1, 16, steps, model__dtype="bfloat16")),
    ):
        rows.append((what, first, end))
    table = []
    for what, one, other in rows:
        params, loss = one.apart(other)
        bits = "yes" if one.same(other) else "no"
        table.append({"what": what, "the same bits": bits, "parameters apart": f"{params:.1e}", "loss": f"{loss:.1e}"})
    write_results("determinism", {"steps": steps, "simulated devices": DEVICES}, table)


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", DEVICES)
    app.run(main)
