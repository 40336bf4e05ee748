"""From the user's ConfigDict and folders of pictures to the runs of a study."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from fsfm_jax.config import finetune, study
from fsfm_jax.config.fields import check_fields, one_of
from fsfm_jax.config.recipes import load_recipe
from fsfm_jax.prepare.manifests.listing import folders
from fsfm_jax.resolve.ablate import FINETUNE, Setting, make_pretraining, parse_settings, start_of
from fsfm_jax.resolve.compare import change_fields, of_cell, slug
from fsfm_jax.resolve.finetune import SCRATCH

REAL, FAKE, FORGED = "real", "fake", "forged"
RECORDS = "records"
FORGED_SET, CONTROL_SET = "forged", "control"
SPLITS = ("train", "val", "test")
DECIDED = {prefix + name: "the study itself" for name in study.DECIDED for prefix in ("", FINETUNE)}
SOURCES = ("real", "fake", "against", "test", "control")  # fields of a task that name sources
TASK_FIELDS = (*SOURCES, "arms")


class Source(NamedTuple):
    """A folder of pictures of one class.

    Attributes:
      folder: of the pictures. real: whether they are real. parsed: whether their records have parsing maps.
    """

    name: str
    folder: str
    real: bool
    parsed: bool


class Task(NamedTuple):
    """What a detector distinguishes: source names, see `config.study`; `against` are the real faces of the tests."""

    name: str
    real: tuple[str, ...]
    fake: tuple[str, ...]
    against: tuple[str, ...]
    test: tuple[str, ...]
    control: tuple[str, ...]
    arms: tuple[str, ...]


class Pretraining(NamedTuple):
    """One pretraining, and where it runs."""

    arm: str
    folder: str
    config: ConfigDict


class Cell(NamedTuple):
    """All seeds of an arm on a task, and where they run; `needs` is an arm that is pretrained before, or ""."""

    task: Task
    arm: str
    folder: str
    config: ConfigDict
    needs: str

    def __str__(self) -> str:
        return f"{self.task.name}, {self.arm}"


class Study(NamedTuple):
    """All runs of a study, in order, and the sources that they read, those with parsing maps first."""

    sources: Mapping[str, Source]
    pretrainings: tuple[Pretraining, ...]
    cells: tuple[Cell, ...]
    tasks: tuple[Task, ...]
    arms: tuple[str, ...]


def plan_study(config: ConfigDict, workdir: str) -> Study:
    """Plan the runs of a study below `workdir`; folders are listed, no picture is opened.

    Raises:
      ValueError: a name that is unknown or given twice, a field that does not fit, or a task without a class.
      FileNotFoundError: no such folder of pictures.
    """
    check_fields(config, study.study())
    found = find_sources(config.folder)
    settings = parse_settings(config.arms, config.pretraining, DECIDED)
    arms = tuple(setting.name for setting in settings)
    controls = _names("controls", config.controls, found)
    tasks = parse_tasks(config.tasks, found, arms) if config.tasks else make_tasks(found, controls, arms)
    kept = {name for task in tasks for name in task.control}
    reals = [name for name, source in found.items() if source.real and name not in kept]
    pretrain_on = _names("pretrain_on", config.pretrain_on, found) or tuple(reals)
    if forged := [name for name in pretrain_on if not found[name].real]:
        raise ValueError(f"pretrain_on: expected real faces, found {', '.join(forged)}")
    parsed = {*pretrain_on, *(name for task in tasks if study.BLENDED in task.fake for name in task.real)}
    needed = {name for task in tasks for key in SOURCES for name in getattr(task, key)}
    needed |= {*pretrain_on} if any(not setting.init for setting in settings) else set()
    used = [source._replace(parsed=name in parsed) for name, source in found.items() if name in needed]
    sources = {source.name: source for source in sorted(used, key=lambda source: not source.parsed)}
    pretrainings = tuple(
        Pretraining(
            setting.name, start_of(setting, settings, workdir), _pretraining(config, setting, pretrain_on, workdir)
        )
        for setting in settings
        if not setting.init
    )
    made = {one.folder: one.arm for one in pretrainings}
    cells = []
    for task in tasks:
        for setting in settings:
            if setting.name in task.arms:
                init = start_of(setting, settings, workdir)
                folder = os.path.join(workdir, "runs", slug(task.name), slug(setting.name))
                c = of_cell(
                    f"{task.name}, {setting.name}", _finetuning, config, setting, task, init, pretrain_on, workdir
                )
                cells.append(Cell(task, setting.name, folder, c, made.get(init, "")))
    return Study(sources, pretrainings, tuple(cells), tasks, arms)


def find_sources(folder: str) -> dict[str, Source]:
    """Find the folders of pictures: real/NAME, forged/NAME, and NAME/real next to NAME/fake.

    Raises:
      FileNotFoundError: no such folder. ValueError: another layout, or a name twice.
    """
    root = Path(folder)
    if not folder or not root.is_dir():
        raise FileNotFoundError(
            f"folder: expected a folder of pictures, found {folder or 'nothing'}; give one, DATA=FOLDER"
        )
    found: dict[str, Source] = {}
    for top in folders(root):
        below = folders(root / top)
        if top in (REAL, FORGED):
            places = {name: (name, top == REAL) for name in below}
        elif {REAL, FAKE} <= {*below}:
            places = {name: (f"{top}_{name}", name == REAL) for name in (REAL, FAKE)}
        else:
            raise ValueError(
                f"folder: expected {REAL}/NAME, {FORGED}/NAME, or NAME/{REAL} next to NAME/{FAKE}; found "
                f"{root / top} with {', '.join(below) or 'no folders'}"
            )
        for name, (title, real) in places.items():
            key = slug(title).replace("-", "_").replace(".", "_")
            if key in found:
                raise ValueError(
                    f"folder: {found[key].folder} and {root / top / name} have the same name {key}; rename one"
                )
            found[key] = Source(key, str(root / top / name), real, False)
    return found


def parse_tasks(text: str, sources: Mapping[str, Source], arms: Sequence[str]) -> tuple[Task, ...]:
    """Parse `NAME: real=A,B; fake=C; test=D,E; control=F; arms=X,Y | ...`.

    Raises:
      ValueError: another form, an unknown name, or a task without real or forged faces.
    """
    tasks, seen = [], set()
    for entry in text.split("|"):
        name, _, rest = (part.strip() for part in entry.partition(":"))
        fields = {}
        for pair in filter(None, (part.strip() for part in rest.split(";"))):
            key, _, value = (part.strip() for part in pair.partition("="))
            fields[one_of(f"tasks: {name}", key, TASK_FIELDS)] = value
        if not slug(name) or slug(name) in seen:
            raise ValueError(f"tasks: expected different names before the colon, found {entry.strip()!r}")
        seen.add(slug(name))
        chosen = fields.pop("arms", "")
        known = {**sources, study.BLENDED: None}
        fields["against"] = fields.get("against", "") or fields.get("real", "")
        named = {
            key: _names(f"tasks: {name}: {key}", fields.get(key, ""), known) for key in SOURCES
        }
        task = Task(name, **named, arms=_names(f"tasks: {name}: arms", chosen, arms) or tuple(arms))
        _check_task(task, sources)
        tasks.append(task)
    return tuple(tasks)


def make_tasks(sources: Mapping[str, Source], controls: Sequence[str], arms: Sequence[str]) -> tuple[Task, ...]:
    """Make the tasks of all folders.

    Each source with both classes is a task of its own; each other source of forged faces is learnt against all real
    ones and tested on all forged ones; and self-blended faces are learnt instead of all forged ones.
    """
    pairs = [
        name.removesuffix(f"_{FAKE}")
        for name, source in sources.items()
        if not source.real and _is_paired(name, sources)
    ]
    reals = tuple(name for name, source in sources.items() if source.real and name not in controls)
    forged = tuple(name for name, source in sources.items() if not source.real)
    single = [name for name in forged if not _is_paired(name, sources)]
    shared = {"control": tuple(controls), "arms": tuple(arms)}
    tasks = []
    for pair in pairs:
        real, fake = (f"{pair}_{REAL}",), (f"{pair}_{FAKE}",)
        tasks.append(Task(pair, real, fake, against=real, test=fake, **shared))
    tasks += [Task(name, reals, (name,), against=reals, test=forged, **shared) for name in single]
    tasks.append(Task(study.BLENDED, reals, (study.BLENDED,), against=reals, test=forged, **shared))
    for task in tasks:
        _check_task(task, sources)
    return tuple(tasks)


def records_of(name: str, workdir: str) -> str:
    """Return the folder of a source's records."""
    return os.path.join(workdir, RECORDS, name)


def _is_paired(name: str, sources: Mapping[str, Source]) -> bool:
    return name.endswith(f"_{FAKE}") and f"{name.removesuffix(FAKE)}{REAL}" in sources


def _check_task(task: Task, sources: Mapping[str, Source]) -> None:
    """Raise ValueError where a class is missing, or a source is given in the wrong place."""
    for key in ("real", "fake", "against", "test"):
        if not getattr(task, key):
            raise ValueError(f"tasks: {task.name}: expected sources of {key}; found none")
    for key, real in (("real", True), ("against", True), ("control", True), ("fake", False), ("test", False)):
        wrong = [name for name in getattr(task, key) if name in sources and sources[name].real != real]
        if wrong or (key != "fake" and study.BLENDED in getattr(task, key)):
            raise ValueError(f"tasks: {task.name}: {key}: {', '.join(wrong) or study.BLENDED} cannot be {key}")
    if study.BLENDED in task.fake and len(task.fake) > 1:
        raise ValueError(f"tasks: {task.name}: fake: {study.BLENDED} stands alone")
    if both := {*task.real} & {*task.control}:
        raise ValueError(
            f"tasks: {task.name}: nothing may learn from a control; found {', '.join(sorted(both))} in both"
        )


def _names(field: str, text: str, known: Iterable[str]) -> tuple[str, ...]:
    names = tuple(filter(None, (name.strip() for name in text.split(","))))
    if len({*names}) < len(names):
        raise ValueError(f"{field}: expected each name once; found {text!r}")
    return tuple(one_of(field, name, known) for name in names)


def _pretraining(config: ConfigDict, setting: Setting, sources: Sequence[str], workdir: str) -> ConfigDict:
    c = of_cell(setting.name, make_pretraining, setting, {})
    c.data.train = ",".join(records_of(name, workdir) for name in sources)
    return c


def _finetuning(
    config: ConfigDict, setting: Setting, task: Task, init: str, pretrained_on: Sequence[str], workdir: str
) -> ConfigDict:
    """Return the fine-tuning of an arm on a task.

    Half of what is learnt is real, each source of a class as often. A source that is learnt from is tested on its test
    share, any other on all its pictures.
    """
    c = load_recipe(config.finetuning)
    if c.job != "finetune":
        raise ValueError(
            f"finetuning: expected a recipe of the job finetune, found {config.finetuning} of the job {c.job}"
        )
    c.init, c.repeats, c.data.classes = init, config.seeds, f"{FAKE},{REAL}"
    if init == SCRATCH:
        c.data.statistics = "vggface2"

    def spec(name: str, split: str) -> str:
        return f"{records_of(name, workdir)}:{split}"

    blended = study.BLENDED in task.fake
    if blended:
        learnt = [f"{study.BLENDED}:{spec(name, '{}')}" for name in task.real]
    else:
        learnt = [f"{label}={spec(name, '{}')}" for label in (REAL, FAKE) for name in getattr(task, label)]
    counts = [len(task.real)] * len(task.real) + ([] if blended else [len(task.fake)] * len(task.fake))
    share = 1.0 if blended else 0.5
    c.data.train = ",".join(
        f"{one.format('train')}@{share / count:g}" for one, count in zip(learnt, counts, strict=True)
    )
    c.data.validation = ",".join(one.format("val") for one in learnt)
    seen = {*task.real, *task.fake, *pretrained_on}

    def tested(label: str, names: Sequence[str]) -> list[str]:
        return [f"{label}={spec(name, split)}" for name in names for split in (("test",) if name in seen else SPLITS)]

    reals = tested(REAL, task.against)
    c.data.test = f"{FORGED_SET}={'+'.join([*reals, *tested(FAKE, task.test)])}"
    if task.control:
        control = [f"{FAKE}={spec(name, 'test')}" for name in task.control]
        c.data.test += f",{CONTROL_SET}={'+'.join([*reals, *control])}"
    change_fields(c, setting.finetune, "arms")
    check_fields(c, finetune.finetune())
    return c
