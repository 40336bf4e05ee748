"""What a configuration will run on the accelerator, ready to be compiled for devices that are not here."""

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

OF = " of "  # between the names of an evaluation and of the fine-tuning whose detector it looks with
CLASSES, REAL = 2, 1  # of data sets that name none: fake and real


@dataclasses.dataclass(frozen=True)
class Step:
    """A train step, or the scoring of a batch.

    Attributes:
      name: of its configuration.
      lower: traces it for the slice.
      images: of one call, on all devices.
      parts: micro-batches of one call.
      model_flops: per image, what the method needs.
      trained: shapes of the parameters that are trained; none of an evaluation.
      compared: shape of the features that the loss compares between all images at once, which devices have to gather
        for it; None of other losses.
      batch_bytes: of the images of a step on one device, before anything is computed of them.
      state_bytes: of parameters, moments and target on one device, and those that FSDP would leave there.
      remat, fsdp: as configured; None of an evaluation, which has neither.
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
        """What lies on a device however few images it takes at once: the state, and the images of the whole step."""
        return self.state_bytes[1 if self.fsdp else 0] + self.batch_bytes


def step_of(name: str, config: ConfigDict, on: Slice, examples: int, detector: ConfigDict | None = None) -> Step:
    """The step of a configuration for `examples` training images on a slice.

    Nothing is opened: two classes, unless the configuration names them, and named statistics. An evaluation scores
    with the network of the fine-tuning configuration `detector`.

    Raises:
      ValueError: a field that is at odds with another or with the slice, or a job without a step.
    """
    job = one_of("config.job", config.job, ("pretrain", "finetune", "evaluate"))
    if job == "evaluate":
        return _evaluation(name, config, on, detector)
    return {"pretrain": _pretraining, "finetune": _finetuning}[job](name, config, on, examples)


def with_micro_batch(config: ConfigDict, per_device: int) -> ConfigDict:
    """A copy of a training configuration whose devices take at most so many images at once."""
    changed = config.copy_and_resolve_references()
    changed.batch.per_device, changed.batch.accumulation = per_device, None
    return changed


def micro_batches(config: ConfigDict, devices: int) -> tuple[int, ...]:
    """Numbers of images that a device may take at once in a step of `batch.size`, the largest first."""
    share = config.batch.size // devices
    return tuple(share // parts for parts in range(1, share + 1) if share % parts == 0)


def family(config: ConfigDict) -> Iterator[tuple[str, ConfigDict, ConfigDict | None]]:
    """All recipes of the size of a training configuration, by name; an evaluation with that of its detector.

    Raises:
      ValueError: a size that no recipe of the papers has.
    """
    size = config.model.size
    jobs = ("pretrain_", "finetune_", "adapter_", "eval_")
    names = [name for name in list_shipped() if name.startswith(jobs)]
    word = next((word for word, of in SIZES.items() if of == size), "")
    # The recipes for all sizes take theirs as the first word of the variant.
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
        raise ValueError("an evaluation looks with a detector: name its recipe, --detector=FILE.py")
    # The batches of its training have no part in this, and need not divide among the devices.
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
    # A typed key has two numbers of four bytes.
    size = 8 if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf.dtype.itemsize
    return math.prod(shape) * size
