"""The inputs of a fine-tuning run: data sets, classes and initialisation, opened and checked against each other."""

import dataclasses
import functools
import logging
from collections.abc import Callable

from ml_collections import ConfigDict

from fsfm_jax.config.fields import one_of
from fsfm_jax.data.class_map import open_classed, open_together, parts_of
from fsfm_jax.data.class_names import parse_classes
from fsfm_jax.data.labels import LabelledSource, check_classes, check_disjoint, check_labels, open_labelled
from fsfm_jax.data.sampling import NATURAL, check_turns
from fsfm_jax.data.sources import open_mixture
from fsfm_jax.detection.sets import open_sets
from fsfm_jax.metrics.selection import SPLITS
from fsfm_jax.models.bases import BASES
from fsfm_jax.models.vit import SIZES
from fsfm_jax.resolve.finetune import SCRATCH
from fsfm_jax.tasks.normalisation import STATISTICS, Statistics
from fsfm_jax.train.identity import named_statistics
from fsfm_jax.weights.init import Pretrained, open_pretrained

LOG = logging.getLogger("fsfm_jax")


@dataclasses.dataclass(frozen=True)
class Inputs:
    """All opened inputs of a fine-tuning run.

    Attributes:
      sources: training data sets with their weights.
      validation: validation split; None if there is none.
      tests: test sets by name.
      class_names: names of the classes by index.
      real: index of the real class.
      pretrained: the pretrained encoder; None from scratch.
      statistics: mean and standard deviation of the channels.
    """

    sources: list[tuple[LabelledSource, float | None]]
    validation: LabelledSource | None
    tests: dict[str, LabelledSource]
    class_names: tuple[str, ...]
    real: int
    pretrained: Pretrained | None
    statistics: Statistics

    @property
    def examples(self) -> int:
        return sum(len(source) for source, _ in self.sources)

    @property
    def foreign(self) -> list[str]:
        """Names of the validation data sets that were not trained on; a selection there is not on the sources."""
        trained = {source.dataset for source, _ in self.sources}
        held_out = () if self.validation is None else parts_of(self.validation)
        return sorted({part.dataset for part in held_out} - trained)

    def held_out(self, rule: str) -> dict[str, LabelledSource]:
        """Return the data sets for validation during training, by the names of `metrics.selection.SPLITS`."""
        held_out = {} if self.validation is None else {SPLITS["source-validation"]: self.validation}
        if rule == "oracle":
            held_out[SPLITS["oracle"]] = next(iter(self.tests.values()))
        return held_out


def open_inputs(config: ConfigDict) -> Inputs:
    """Open all inputs that a configuration names.

    Raises:
      ValueError: the data sets do not fit each other: different classes, a missing class, a video in two splits.
      FileNotFoundError: data or the pretrained encoder is missing.
    """
    opened = _opener(config)
    sources = open_mixture(config.data.train, opened)
    training = [source for source, _ in sources]
    validation = open_together(config.data.validation, opened) if config.data.validation else None
    if config.report.selective.calibration and validation is None:
        raise ValueError("report.selective: it is fitted on data.validation, which is empty; name a validation split")
    tests = open_tests(config)
    class_names, real = check_classes([*training, *([] if validation is None else [validation]), *tests.values()])
    check_labels(training, "data.train", every_class=True)
    if config.data.sampling != NATURAL:
        check_turns(sources, config.batch.size)
    if validation is not None:
        check_labels([validation], "data.validation", every_class=False)
    held_out = [*([] if validation is None else [validation]), *tests.values()]
    for part in (part for source in held_out for part in parts_of(source)):
        for source in training:
            check_disjoint(source, part)
    for test in (part for source in tests.values() for part in parts_of(source)):
        for part in () if validation is None else parts_of(validation):
            check_disjoint(part, test)
    pretrained = None if config.init == SCRATCH else _open_pretrained(config)
    statistics = _statistics(config.data.statistics, sources, pretrained)
    return Inputs(sources, validation, tests, class_names, real, pretrained, statistics)


def open_tests(config: ConfigDict) -> dict[str, LabelledSource]:
    """Open the test sets of a configuration, by name.

    Raises:
      ValueError, FileNotFoundError: as `open_inputs`.
    """
    return open_sets(config.data.test, "data.test", _opener(config)) if config.data.test else {}


def _opener(config: ConfigDict) -> Callable[[str], LabelledSource]:
    if not config.data.classes:
        return open_labelled
    class_names, real = parse_classes(config.data.classes)
    return functools.partial(open_classed, class_names=class_names, real=real)


def _open_pretrained(config: ConfigDict) -> Pretrained:
    """Open `init` and check that its size is `model.size`; the shapes of arrays do not show the number of heads."""
    found = open_pretrained(config.init, one_of("model.base", config.model.base, BASES))
    size = found.origin["size"]
    if size != config.model.size:
        heads = f", {SIZES[size].heads} heads" if size in SIZES else ""
        wanted = SIZES[one_of("model.size", config.model.size, SIZES)]
        raise ValueError(
            f"init: {config.init} is {size}{heads}; model.size asks for {config.model.size}, {wanted.heads} heads. Set "
            f"model.size to {size}"
        )
    return found


def _statistics(name: str, sources: list, pretrained: Pretrained | None) -> Statistics:
    own = None if pretrained is None else pretrained.statistics
    if name != "init":
        chosen = named_statistics(name, sources, STATISTICS)
        if own is not None and chosen != own:
            LOG.warning("data.statistics: %s, but the pretraining saw pixels normalised otherwise: %s", name, own)
        return chosen
    if own is None:
        names = ", ".join(("records", *STATISTICS))
        missing = "there is no pretraining run" if pretrained is None else f"no file at {pretrained.origin['path']}"
        raise ValueError(f"data.statistics: {missing} to take them from; use one of {names}")
    return own
