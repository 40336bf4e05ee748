"""The pretraining job: data, task, state and loop put together, and the picture at its end."""

import functools
import logging
import os
from importlib import metadata

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from fsfm_jax import config as configuration
from fsfm_jax import partition
from fsfm_jax.analyze import reconstruction
from fsfm_jax.checkpoint import Checkpoints, same_json
from fsfm_jax.data.sources import open_mixture, open_source
from fsfm_jax.data.statistics import PixelSums
from fsfm_jax.data.stream import Stream
from fsfm_jax.optim import ema, schedules
from fsfm_jax.optim.optimizer import make_optimizer
from fsfm_jax.report import METRICS_FILE, Reporter, Silent
from fsfm_jax.tasks.pretrain import PretrainTask, Statistics
from fsfm_jax.train.loop import train
from fsfm_jax.train.state import init_state
from fsfm_jax.train.step import make_step

LOG = logging.getLogger("fsfm_jax")
PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def target_update(run: configuration.Pretraining, task: PretrainTask) -> ema.TargetUpdate:
    """The target's update rule of a resolved run."""
    s = run.schedule
    if s.target_frozen:
        return ema.frozen(task.target_part)
    rate = functools.partial(target_rate_of, s)
    return ema.moving_average(rate, task.target_part)


def target_rate_of(s: configuration.Schedule, count: jax.Array) -> jax.Array:
    """1 - momentum at update `count`."""
    return schedules.target_rate(count, s.momentum, s.target_total, s.target_warmup, s.target_warmup_momentum)


def learning_rate_of(s: configuration.Schedule, step: jax.Array) -> jax.Array:
    return schedules.warmup_cosine(step, s.peak, s.floor, s.warmup, s.total)


def run(config: ConfigDict, workdir: str, stop_after: str = "") -> None:
    """Pretrains in `workdir`, going on from its last checkpoint if there is one, and draws the result.

    Raises:
      ValueError: a configuration, data set or checkpoint that does not fit; see the message.
      NonFinite: a loss term that is NaN or infinite.
    """
    sources = open_mixture(config.data.train)
    examples = sum(len(source) for source, _ in sources)
    resolved = configuration.resolve_pretraining(config, examples, jax.device_count(), stop_after)
    statistics = _statistics(config.data.statistics, sources)
    task = PretrainTask(resolved.model, resolved.loss, statistics)
    mesh = partition.make_mesh()
    optimizer, update = make_optimizer(resolved.optimizer), target_update(resolved, task)
    learning_rate = functools.partial(learning_rate_of, resolved.schedule)

    init = functools.partial(init_state, task=task, optimizer=optimizer, target=update)
    seed = jnp.uint32(resolved.seed)
    abstract = jax.eval_shape(init, seed)
    shardings = partition.state_shardings(abstract, mesh, resolved.fsdp, resolved.fsdp_min_size)
    like = jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), abstract, shardings)
    create = jax.jit(init, out_shardings=shardings)

    identity = same_json({
        "config": configuration.binding_fields(config),
        "data": [{"fingerprint": s.fingerprint, "examples": len(s), "weight": w} for s, w in sources],
        "statistics": {"mean": statistics.mean, "std": statistics.std},
    })  # fmt: skip
    checkpoints = Checkpoints(os.path.join(workdir, "checkpoints"), resolved.retention)
    try:
        first = checkpoints.latest_step()
        if first is None:
            state, first = create(seed), 0
        else:
            check_same_run(checkpoints.run(first), identity, workdir)
            state = checkpoints.restore(first, like)
        _announce(resolved, sources, like, first)

        step = make_step(task, optimizer, update, learning_rate, resolved.step)
        placed = shardings, partition.replicated(mesh)
        step = jax.jit(step, donate_argnums=0, in_shardings=(shardings, partition.batch_sharding(mesh)), out_shardings=placed)
        stream = Stream(sources, resolved.stream, first, jax.process_index(), jax.process_count())
        reporter = _reporter(workdir, first, resolved)

        def write(number: int, values: dict[str, float]) -> None:
            if resolved.model.instance_discrimination:
                updates = number * resolved.schedule.target_total // resolved.schedule.total
                values = {**values, "momentum": 1 - float(target_rate_of(resolved.schedule, updates - 1))}
            reporter.write(number, values)

        def described(number: int) -> dict:
            return {
                **identity,
                "step": number,
                "examples_seen": number * resolved.stream.global_batch,
                "all_fields": same_json(configuration.flat(config)),
                "data_path": config.data.train,
                "versions": {name: metadata.version(name) for name in PACKAGES},
            }

        try:
            state = train(
                state, step, stream, functools.partial(partition.to_global, mesh=mesh), checkpoints, described,
                write, resolved.loop,
            )  # fmt: skip
        finally:
            stream.close()
            reporter.close()
        saved = checkpoints.directory / str(int(state.step))
        LOG.info("saved %s", saved)
        if int(state.step) < resolved.loop.steps:
            print(f"Stopped after step {int(state.step)} of {resolved.loop.steps}; the same command goes on from {saved}.")
            return
        untrained = create(seed).params
        figure = os.path.join(workdir, "reconstruction.png")
        faces = open_source(resolved.figure_data)
        error = reconstruction.draw(
            figure, faces, resolved.figure_faces, task, resolved.stream.mask, resolved.seed, untrained, state.params
        )
        print(f"Masked loss on {error.faces} held-out faces: {error.before:.3f} untrained, {error.after:.3f} trained.")
        print(f"Checkpoint: {saved}")
        print(f"Picture:    {figure}")
    finally:
        checkpoints.close()


def _statistics(name: str, sources) -> Statistics:
    if name == "records":
        return Statistics(*sum((source.pixel_sums for source, _ in sources), PixelSums()).mean_std())
    named = configuration.STATISTICS
    return named[configuration.one_of("data.statistics", name, ("records", *named))]


def check_same_run(saved: dict, identity: dict, workdir: str) -> None:
    """Refuses to continue a run with another model, recipe or data set, naming what differs.

    Raises:
      ValueError: with every differing field, saved and asked for.
    """
    have, want = configuration.flat(saved["config"]), configuration.flat(identity["config"])
    changed = [
        f"{name}: {have.get(name, 'absent')} saved, {want.get(name, 'absent')} asked for"
        for name in sorted(have.keys() | want.keys())
        if have.get(name, object()) != want.get(name, object())
    ]
    if saved["data"] != identity["data"]:
        counts = [[entry["examples"] for entry in run["data"]] for run in (saved, identity)]
        changed.append(f"data.train: another data set ({counts[0]} images saved, {counts[1]} asked for)")
    elif saved["statistics"] != identity["statistics"]:
        changed.append("data.statistics: other normalisation constants")
    if changed:
        raise ValueError(
            f"{workdir} holds step {saved['step']} of a different run:\n  " + "\n  ".join(changed)
            + "\nTake another --workdir, or the configuration of that run."
        )


def _reporter(workdir: str, first: int, resolved: configuration.Pretraining) -> Reporter | Silent:
    if jax.process_index():
        return Silent()
    path = os.path.join(workdir, METRICS_FILE)
    return Reporter(path, first, resolved.loop.stop_after, resolved.stream.global_batch)


def _announce(resolved: configuration.Pretraining, sources, like, first: int) -> None:
    parameters = sum(leaf.size for leaf in jax.tree.leaves(like.params))
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    LOG.info("%s; %d device(s) of kind %s", versions, jax.device_count(), jax.devices()[0].device_kind)
    for source, weight in sources:
        LOG.info("data: %s, %d images, weight %s", source.name, len(source), weight)
    LOG.info(
        "model: %.1f million parameters; batch %d in %d part(s); step %d of %d",
        parameters / 1e6, resolved.stream.global_batch, resolved.step.accumulation, first, resolved.loop.steps,
    )  # fmt: skip
