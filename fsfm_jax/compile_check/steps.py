"""The program that a configuration runs on the accelerator, prepared for compilation for absent devices."""

import dataclasses
import math
from collections.abc import Callable, Iterator

import jax
from ml_collections import ConfigDict

from fsfm_jax import partition
from fsfm_jax.compile_check.chips import Slice
from fsfm_jax.config.fields import one_of
from fsfm_jax.config.recipes import FAMILIES, SIZES, list_shipped, load_recipe
from fsfm_jax.data.class_names import parse_classes
from fsfm_jax.detection.prediction import Scorer
from fsfm_jax.jobs import finetune_program, pretrain
from fsfm_jax.losses import KINDS
from fsfm_jax.models import flops
from fsfm_jax.optim import tuning
from fsfm_jax.resolve import pretrain as configuration
from fsfm_jax.resolve.finetune import resolve_finetuning
from fsfm_jax.resolve.report import resolve_report
from fsfm_jax.tasks.normalisation import STATISTICS

OF = " of "  # between the names of an evaluation and of the fine-tuning of its detector
CLASSES, REAL = 2, 1  # fake and real, for configurations without class names


@dataclasses.dataclass(frozen=True)
class Step:
    """A train step, or the scoring of a batch.

    Attributes:
      name: name of its configuration.
      lower: function that traces the step for the slice.
      images: images of one call on all devices.
      parts: micro-batches of one call.
      model_flops: FLOPs of the method per image.
      trained: shapes of the trained parameters; empty for an evaluation.
      compared: shape of the features that the loss compares between all images, which devices must gather; None for
        other losses.
      batch_bytes: bytes of the input images of a step on one device.
      state_bytes: bytes of parameters, moments and target on one device, as configured and with FSDP.
      remat, fsdp: as configured; None for an evaluation, which has neither.
    """

    name: str
    lower: Callable[[], jax.stages.Lowered]
    images: int
    parts: int
    model_flops: float
    trained: tuple[tuple[int, ...], ...]
    compared: tuple[int, int] | None
    batch_bytes: int
    state_bytes: tuple[int, int]
    remat: str | None
    fsdp: bool | None

    @property
    def held_bytes(self) -> int:
        """Bytes on a device that do not depend on the micro-batch: the state, and the images of the whole step."""
        return self.state_bytes[1 if self.fsdp else 0] + self.batch_bytes


def step_of(name: str, config: ConfigDict, on: Slice, examples: int, detector: ConfigDict | None = None) -> Step:
    """Return the step of a configuration for `examples` training images on a slice.

    No file is opened, so there are two classes unless the configuration names them, and statistics must be given by
    name. An evaluation uses the network of the fine-tuning configuration `detector`.

    Raises:
      ValueError: if fields conflict with each other or with the slice, or the job has no step.
    """
    job = one_of("config.job", config.job, ("pretrain", "finetune", "evaluate"))
    if job == "evaluate":
        return _evaluation(name, config, on, detector)
    return {"pretrain": _pretraining, "finetune": _finetuning}[job](name, config, on, examples)


def with_micro_batch(config: ConfigDict, per_device: int) -> ConfigDict:
    """Return a copy of a training configuration with micro-batches of at most `per_device` images per device."""
    changed = config.copy_and_resolve_references()
    changed.batch.per_device, changed.batch.accumulation = per_device, None
    return changed


def micro_batches(config: ConfigDict, devices: int) -> tuple[int, ...]:
    """Return the possible micro-batch sizes of a device for `batch.size`, the largest first."""
    share = config.batch.size // devices
    return tuple(share // parts for parts in range(1, share + 1) if share % parts == 0)


def family(config: ConfigDict) -> Iterator[tuple[str, ConfigDict, ConfigDict | None]]:
    """Yield all recipes of the model size of a training configuration by name; evaluations with their detector's.

    Raises:
      ValueError: if no recipe of the papers has this size.
    """
    size = config.model.size
    jobs = ("pretrain_", "finetune_", "adapter_", "eval_")
    names = [name for name in list_shipped() if name.startswith(jobs)]
    word = next((word for word, of in SIZES.items() if of == size), "")
    # Recipes for all sizes take the size as the first word of the variant.
    sized = [f"{name}:{word}" if name in FAMILIES and word else name for name in names]
    found = {name: load_recipe(name) for name in sized}
    mine = {name: c for name, c in found.items() if c.job != "evaluate" and c.model.size == size}
    for job in ("pretrain_", "finetune_", "adapter_"):
        yield from ((name, c, None) for name, c in mine.items() if name.startswith(job))
    for name in (name for name in found if name.startswith("eval_")):
        for other in (other for other in mine if other == f"finetune_{name.removeprefix('eval_')}:{word}"):
            yield f"{name}{OF}{other}", found[name], mine[other]


def _pretraining(name: str, config: ConfigDict, on: Slice, examples: int) -> Step:
    resolved = configuration.resolve_pretraining(config, examples, len(on.devices))
    mesh = partition.make_mesh(list(on.devices), resolved.replicas)
    program = pretrain.make_program(resolved, _statistics(config), mesh)
    cost, rows = flops.pretraining(resolved.model), resolved.stream.global_batch // resolved.step.accumulation
    compared = None
    if resolved.model.instance_discrimination and KINDS[resolved.loss.kind].compares_images:
        compared = rows, resolved.model.projection_features
    return _training(name, config, resolved, program, cost, tuning.TUNINGS[tuning.FULL], compared)


def _finetuning(name: str, config: ConfigDict, on: Slice, examples: int) -> Step:
    resolved = _resolve_finetuning(config, on, examples)
    program = finetune_program.make_program(resolved, partition.make_mesh(list(on.devices), resolved.replicas))
    cost = flops.finetuning(resolved.task.model, resolved.trained, bool(resolved.cache))
    model, compared = resolved.task.model, None
    if resolved.task.contrast is not None:
        rows = resolved.stream.global_batch // resolved.step.accumulation
        compared = rows, model.size.width // model.reduction
    if resolved.task.sphere is not None:
        compared = resolved.stream.global_batch // resolved.step.accumulation, model.size.width
    return _training(name, config, resolved, program, cost, resolved.trained, compared)


def _resolve_finetuning(config: ConfigDict, on: Slice, examples: int):
    classes, real = CLASSES, REAL
    if config.data.classes:
        names, real = parse_classes(config.data.classes)
        classes = len(names)
    return resolve_finetuning(config, examples, classes, real, _statistics(config), len(on.devices))


def _training(name: str, config: ConfigDict, resolved, program, cost: float, trained: str, compared) -> Step:
    part, _ = tuning.split(program.like.params, trained)

    def state_bytes(fsdp: bool) -> int:
        shardings = partition.state_shardings(program.like, program.mesh, fsdp, resolved.fsdp_min_size)
        return sum(jax.tree.leaves(jax.tree.map(_bytes, program.like, shardings)))

    return Step(
        name=name,
        lower=program.lower_step,
        images=resolved.stream.global_batch,
        parts=resolved.step.accumulation,
        model_flops=cost,
        trained=tuple(leaf.shape for leaf in jax.tree.leaves(part)),
        compared=compared,
        batch_bytes=sum(_bytes(leaf, leaf.sharding) for leaf in program.batch_like().values()),
        state_bytes=(state_bytes(False), state_bytes(True)),
        remat=config.model.remat,
        fsdp=resolved.fsdp,
    )


def _evaluation(name: str, config: ConfigDict, on: Slice, detector: ConfigDict | None) -> Step:
    if detector is None:
        raise ValueError("an evaluation needs a detector: pass its fine-tuning recipe with --detector=FILE.py")
    # The training batches are not used here, so the devices need not divide them.
    tuned = detector.copy_and_resolve_references()
    tuned.batch.size = tuned.batch.per_device = 2 * len(on.devices)
    task = _resolve_finetuning(tuned, on, 10**9).task
    spec = resolve_report(config, detector.evaluation.transform).evaluation
    scorer = Scorer(task, spec, partition.make_mesh(list(on.devices)))
    params = jax.eval_shape(task.init, jax.random.key(0))
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(params))
    images = spec.batch // len(on.devices) * task.model.image_size**2 * 3
    cost = flops.detector(task.model)
    return Step(name, scorer.lower_step, spec.batch, 1, cost, (), None, images, (size, size), None, None)


def _statistics(config: ConfigDict):
    named = config.data.statistics
    return STATISTICS[named if named in STATISTICS else "vggface2"]


def _bytes(leaf: jax.ShapeDtypeStruct, sharding: jax.sharding.Sharding) -> int:
    shape = sharding.shard_shape(leaf.shape)
    # A typed key is two 4-byte numbers.
    size = 8 if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf.dtype.itemsize
    return math.prod(shape) * size
