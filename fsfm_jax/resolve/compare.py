"""From the user's ConfigDict to the cells of a comparison: every name, recipe, size and changed field."""

import dataclasses
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ml_collections import ConfigDict

from fsfm_jax.config import adapter, compare, finetune, pretrain
from fsfm_jax.config.fields import check_fields, flat, one_of
from fsfm_jax.config.recipes import load_recipe
from fsfm_jax.models.bases import BASES, OWN
from fsfm_jax.optim import tuning
from fsfm_jax.resolve.finetune import SCRATCH
from fsfm_jax.text import did_you_mean

RUNS = "runs"
DECIDED = {name: f"the field {by}" for name, by in compare.DECIDED.items()}
DEMO = "demo"
WORDS_OF = {method: word for word, (method, *_) in adapter.COMPARATORS.items()}


class Model(NamedTuple):
    """An entry of `models`: its name in the table, a key of `models.bases.BASES`, and the field `init`."""

    name: str
    base: str
    init: str


@dataclasses.dataclass(frozen=True, eq=False)
class Cell:
    """One fine-tuning of a comparison."""

    task: str
    model: str
    tuning: str
    config: ConfigDict

    def __str__(self) -> str:
        return f"{self.task}, {self.model}, {self.tuning}"

    def folder(self, workdir: str) -> str:
        """Return the working directory of its fine-tuning."""
        return os.path.join(workdir, RUNS, slug(self.task), slug(self.model), slug(self.tuning))


@dataclasses.dataclass(frozen=True)
class Plan:
    """All cells of a comparison, its models and tunings in order, and notes that stand below the table.

    Attributes:
      scores: files with the scores of other detectors, by the name of the detector.
    """

    cells: tuple[Cell, ...]
    models: tuple[str, ...]
    tunings: tuple[str, ...]
    notes: tuple[str, ...]
    scores: Mapping[str, str]


def plan(config: ConfigDict) -> Plan:
    """Return the cells of a comparison, every name checked; what they start from and learn on is not opened.

    Raises:
      ValueError: an unknown or repeated name, two names with one folder, or a recipe, size or field that does not fit.
    """
    check_fields(config, compare.compare())
    models = _models(config.models)
    tunings = [one_of("tunings", name, tuning.TUNINGS) for name in _names("tunings", config.tunings)]
    tasks = _names("tasks", config.tasks)
    size = one_of("size", config.size, compare.SIZES)
    for task in tasks:
        family = one_of("tasks", task.partition("_")[0], compare.FAMILIES)
        if (family == "fas") != ("_" in task):
            raise ValueError(f"tasks: fas has a target, as in fas_O, and no other task has one; found {task!r}")
        if (family == DEMO) != (size == DEMO):
            raise ValueError(f"tasks: {task!r} and size {size!r} do not go together; the task demo has the size demo")
    words = _names("variant", config.variant) if config.variant else []
    changes = parse_fields("changes", config.changes, flat(finetune.finetune()), DECIDED)
    cells, left_out, reached = [], {}, {word: [] for word in words}
    unknown = [word for word in words if word not in compare.WORDS]
    if unknown:
        raise pretrain.unknown_variant(unknown[0], compare.WORDS)
    for task in tasks:
        for model in models:
            for method in tunings:
                name = f"{task}, {model.name}, {method}"
                if model.init == SCRATCH and method != tuning.FULL:
                    left_out |= {model.name: None}
                    continue
                own = [word for word in words if _has_word(task, method, word)]
                for word in own:
                    reached[word].append(name)
                cell = Cell(task, model.name, method, of_cell(name, _recipe, task, method, size, own, model))
                of_cell(name, _adjust, cell.config, model, config.seeds, changes)
                cells.append(cell)
    notes = []
    if left_out:
        others = ", ".join(method for method in tunings if method != tuning.FULL)
        notes.append(f"Left out: {', '.join(left_out)} with {others}: from scratch there is nothing worth freezing.")
    for word, names in reached.items():
        if not names:
            raise ValueError(f"variant: {word} is a variant of none of these tasks and tunings; leave it out")
        if len(names) < len(cells):
            notes.append(f"The variant {word} is of {'; '.join(names)} alone.")
    if not cells:
        raise ValueError(f"tunings: {SCRATCH} has {tuning.FULL} alone, and nothing else is compared")
    notes += [changes_note(changes)] if changes else []
    names = tuple(model.name for model in models)
    return Plan(tuple(cells), names, tuple(tunings), tuple(notes), _scores(config.scores, names))


def slug(name: str) -> str:
    """Turn `name` into a folder's name: lower case, and `_` for all but letters, digits, `-`, `.` and `_`."""
    return re.sub(r"[^a-z0-9._-]+", "_", name.lower()).strip("._")


def _names(field: str, text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise ValueError(f"{field}: expected names with commas, each once; found {text!r}")
    return names


def _models(text: str) -> list[Model]:
    models, folders = [], {}
    for entry in _names("models", text):
        name, equals, source = (part.strip() for part in entry.partition("="))
        base, colon, init = source.partition(":")
        if source == SCRATCH:
            base, colon, init = OWN, ":", SCRATCH
        if not (name and equals and colon and init) or init == SCRATCH != source or "|" in name:
            raise ValueError(f"models: expected NAME=BASE:INIT or NAME=scratch, NAME without |; found {entry!r}")
        folder = slug(name)
        if not folder or folder in folders:
            beside = f"{folders[folder]} also has the folder {folder!r}" if folder else "nothing is left for its folder"
            raise ValueError(f"models: {name}: {beside}; take another name")
        folders[folder] = name
        models.append(Model(name, one_of(f"models: {name}", base, BASES), init))
    return models


def _scores(text: str, models: Sequence[str]) -> dict[str, str]:
    """Return the files of `scores` by the names of their detectors."""
    files: dict[str, str] = {}
    for entry in _names("scores", text) if text else []:
        name, equals, path = (part.strip() for part in entry.partition("="))
        if not (name and equals and path) or "|" in name:
            raise ValueError(f"scores: expected NAME=FILE.csv, NAME without |; found {entry!r}")
        if name in files or name in models:
            raise ValueError(f"scores: {name} is the name of another row; take another one")
        files[name] = path
    return files


def parse_fields(field: str, text: str, known: Mapping, decided: Mapping[str, str]) -> dict[str, str]:
    """Parse `FIELD=VALUE; FIELD=VALUE`, as texts by name.

    Args:
      field: whose text it is, in messages.
      known: the fields that there are.
      decided: fields that are set elsewhere, and by what.

    Raises:
      ValueError: another form, a field given twice, one that is not known, or one that is decided.
    """
    fields = {}
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        name, equals, value = (part.strip() for part in entry.partition("="))
        if not equals or name in fields:
            raise ValueError(f"{field}: expected FIELD=VALUE; FIELD=VALUE with each field once; found {entry!r}")
        if name not in known:
            raise ValueError(f"{field}: there is no field {name!r}{did_you_mean(name, known)}")
        if name in decided:
            raise ValueError(f"{field}: {name} is decided by {decided[name]}; leave it out")
        fields[name] = value
    return fields


def join_fields(fields: Mapping[str, str]) -> str:
    """Return what `parse_fields` reads."""
    return "; ".join(f"{name}={value}" for name, value in fields.items())


def changes_note(changes: Mapping[str, str]) -> str:
    """Return the line below a comparison's table on fields that are changed in every cell."""
    return f"Changed in every cell: {join_fields(changes)}."


def _has_word(task: str, method: str, word: str) -> bool:
    families, frozen = compare.WORDS[word]
    return task.partition("_")[0] in families and (not frozen or method in tuning.BEHIND_THE_ENCODER)


def _recipe(task: str, method: str, size: str, words: Sequence[str], model: Model) -> ConfigDict:
    """Return the recipe of a task and tuning with its variants and test sets."""
    family, _, target = task.partition("_")
    own = [*words, *([WORDS_OF[method]] if method in WORDS_OF else [])]
    # Only these two families have a recipe from scratch of their own.
    own += [SCRATCH] if model.init == SCRATCH and family in ("dfd", "diff") else []
    kind = "finetune" if method == tuning.FULL else "adapter"
    variant = ",".join([*([size] if size != DEMO else []), *([target] if target else []), *own])
    c = load_recipe(f"{kind}_{family}" + (f":{variant}" if variant else ""))
    if not c.data.test:
        c.data.test = load_recipe(f"eval_{family}").data.sets
    return c


def _adjust(c: ConfigDict, model: Model, seeds: int, changes: dict[str, str]) -> None:
    """Set what a cell starts from, its seeds and the changed fields."""
    c.init, c.model.base = model.init, model.base
    if model.init == SCRATCH:
        c.data.statistics = "vggface2"
    c.model.size = _size_of(c.model.size, model.base)
    c.repeats = seeds or c.repeats
    change_fields(c, changes, "changes")
    if c.model.size not in BASES[model.base].sizes:
        raise ValueError(f"model.size: {model.base} is one of {', '.join(BASES[model.base].sizes)}, not {c.model.size}")
    check_fields(c, finetune.finetune())


def _size_of(own: str, base: str) -> str:
    """Return the size of a base that is as wide as `own`: its heads or patches may be others."""
    sizes, letter = BASES[base].sizes, own[: len("vit_b")]
    found = own if own in sizes else next((size for size in sizes if size.startswith(letter)), None)
    if found is None:
        raise ValueError(f"size: {base} has nothing like {own}, only {', '.join(sizes)}")
    return found


def change_fields(c: ConfigDict, changes: Mapping[str, str], field: str) -> None:
    """Set fields to values given as text; ValueError, which begins with `field`, for a text of another type."""
    for name, text in changes.items():
        *parents, leaf = name.split(".")
        node = c
        for parent in parents:
            node = node[parent]
        node[leaf] = _value(f"{field}: {name}", text, node.get_type(leaf))


def _value(name: str, text: str, kind: type) -> object:
    if kind is bool:
        return one_of(name, text, ("True", "False")) == "True"
    try:
        return kind(text)
    except ValueError as error:
        raise ValueError(f"{name}: expected a value of type {kind.__name__}; found {text!r}") from error


def of_cell(cell: Cell | str, act: Callable, *arguments: object) -> object:
    """Return what `act` returns; its ValueError or FileNotFoundError then names the cell."""
    try:
        return act(*arguments)
    except (ValueError, FileNotFoundError) as error:
        kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
        raise kind(f"{cell}: {error}") from error
