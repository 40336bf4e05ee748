"""From the user's ConfigDict to the runs of an ablation: every setting, recipe, field and task."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ml_collections import ConfigDict

from fsfm_jax.config import ablate, compare, finetune
from fsfm_jax.config.fields import check_fields, flat, one_of
from fsfm_jax.config.pretrain import pretrain
from fsfm_jax.config.recipes import load_recipe
from fsfm_jax.models.bases import OWN
from fsfm_jax.resolve.compare import (
    DEMO,
    Cell,
    change_fields,
    changes_note,
    join_fields,
    of_cell,
    parse_fields,
    plan,
    slug,
)
from fsfm_jax.resolve.finetune import SCRATCH

FOLDER = "pretraining"
FINETUNE, RECIPE, INIT = "finetune.", "recipe", "init"
DECIDED = {prefix + name: "the ablation itself" for name in ablate.DECIDED for prefix in ("", FINETUNE)}
# The word for a size in the names of fine-tuning recipes; those of the demo take any small one.
SIZE_WORDS = {
    "vit_s16": "vits", "vit_b16": "vitb", "vit_l16": "vitl",
    **{name: DEMO for name in ("demo16", "tiny32", "tiny16", "tiny8")},
}  # fmt: skip


class Setting(NamedTuple):
    """An entry of `settings`: its name in the table, and the texts of the fields that it changes.

    Attributes:
      init: what its fine-tunings start from; "" is a pretraining of its own.
    """

    name: str
    recipe: str
    init: str
    pretrain: dict[str, str]
    finetune: dict[str, str]


@dataclasses.dataclass(frozen=True, eq=False)
class Trial:
    """A setting with its runs.

    Attributes:
      pretrain: configuration of its pretraining; None if it starts from what is there.
      init: where its fine-tunings start from.
      cells: one fine-tuning for each task.
    """

    name: str
    pretrain: ConfigDict | None
    init: str
    cells: tuple[Cell, ...]


class Ablation(NamedTuple):
    """All trials in the order of the table, and notes that stand below it."""

    trials: tuple[Trial, ...]
    notes: tuple[str, ...]


def plan_ablation(config: ConfigDict, workdir: str) -> Ablation:
    """Plan the runs of an ablation below `workdir`; no data is opened.

    Raises:
      ValueError: an unknown or repeated name, field or recipe, or one that does not fit.
    """
    check_fields(config, ablate.ablate())
    settings = parse_settings(config.settings, config.recipe)
    shared = parse_fields("pretrain", config.pretrain, flat(pretrain()), DECIDED)
    tuned = parse_fields("changes", config.changes, flat(finetune.finetune()), DECIDED)
    trials, notes = [], []
    for setting in settings:
        if setting.recipe == ablate.NOTHING:
            _check_given(config, setting, shared)
            size, made, init = one_of("size", config.size, compare.SIZES), None, config.init
        else:
            if config.init or config.size:
                raise ValueError("init, size: of recipe none alone; a pretraining decides them. Leave them out")
            made = of_cell(setting.name, make_pretraining, setting, shared)
            size = SIZE_WORDS[one_of(f"settings: {setting.name}: model.size", made.model.size, SIZE_WORDS)]
            made, init = (None if setting.init else made), start_of(setting, settings, workdir)
        changes = tuned | setting.finetune
        found = of_cell(setting.name, plan, _comparison(config, setting, changes, size, init))
        trials.append(Trial(setting.name, made, init, found.cells))
        # To the comparison of a setting alone its own fields are changed in every cell; to the ablation they are not.
        notes += [note for note in found.notes if note not in (*notes, changes_note(changes))]
    notes += _note("fine-tuning", tuned, {setting.name: setting.finetune for setting in settings})
    notes += _note("pretraining", shared, {setting.name: setting.pretrain for setting in settings})
    return Ablation(tuple(trials), tuple(notes))


def _note(run: str, shared: Mapping[str, str], own: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Say what is changed in every `run`, and which settings have values of their own instead."""
    others = [
        f"{name} ({', '.join(found)})" for name, fields in own.items() if (found := [k for k in fields if k in shared])
    ]
    instead = f" Settings with values of their own instead: {', '.join(others)}." if others else ""
    return [f"Changed in every {run}: {join_fields(shared)}.{instead}"] if shared else []


def parse_settings(text: str, recipe: str, decided: Mapping[str, str] = DECIDED) -> list[Setting]:
    """Parse `NAME: FIELD=VALUE; FIELD=VALUE | NAME: ...`; `recipe` is that of settings without one of their own.

    `decided` are fields that are set elsewhere, and by what.

    Raises:
      ValueError: an empty or repeated name, a field that does not exist, or one that the ablation decides.
    """
    of_pretraining, of_finetuning = flat(pretrain()), flat(finetune.finetune())
    known = {**of_pretraining, **{FINETUNE + name: value for name, value in of_finetuning.items()}}
    known |= {RECIPE: recipe, INIT: ""}
    settings, folders = [], {}
    for entry in text.split("|"):
        name, _, changes = (part.strip() for part in entry.partition(":"))
        folder = slug(name)
        if not folder or {"=", ","} & {*name} or folder in folders:
            raise ValueError(
                "settings: expected NAME: FIELD=VALUE; ... | NAME: ..., names without = and comma, and different even "
                f"as folders; found {entry.strip()!r}"
            )
        folders[folder] = name
        fields = parse_fields(f"settings: {name}", changes, known, {k: by for k, by in decided.items() if k != INIT})
        own, init = fields.pop(RECIPE, recipe), fields.pop(INIT, "")
        tuned = {key.removeprefix(FINETUNE): value for key, value in fields.items() if key.startswith(FINETUNE)}
        kept = {key: value for key, value in fields.items() if not key.startswith(FINETUNE)}
        if init and kept:
            raise ValueError(f"settings: {name}: nothing is pretrained that {', '.join(kept)} could change")
        settings.append(Setting(name, own, init, kept, tuned))
    return settings


def start_of(setting: Setting, settings: Sequence[Setting], workdir: str) -> str:
    """Return what the fine-tunings of `setting` start from: its own pretraining, that of another setting, or `init`."""
    owners = [other.name for other in settings if not other.init]
    if not setting.init or setting.init in owners:
        return os.path.join(workdir, FOLDER, slug(setting.init or setting.name))
    return setting.init


def _check_given(config: ConfigDict, setting: Setting, shared: dict[str, str]) -> None:
    if not config.init:
        raise ValueError("init: with recipe none expected a pretraining run or a weight file; found nothing")
    changed = [*shared, *setting.pretrain]
    if changed:
        raise ValueError(f"settings: {setting.name}: nothing is pretrained that {', '.join(changed)} could change")


def make_pretraining(setting: Setting, shared: dict[str, str]) -> ConfigDict:
    """Make the configuration of a setting's pretraining; ValueError for a recipe of another job."""
    c = load_recipe(setting.recipe)
    if c.job != "pretrain":
        raise ValueError(f"recipe: expected one of a pretraining, found {setting.recipe} of the job {c.job}")
    change_fields(c, shared | setting.pretrain, "settings")
    check_fields(c, pretrain())
    return c


def _comparison(config: ConfigDict, setting: Setting, changes: Mapping[str, str], size: str, init: str) -> ConfigDict:
    """Return the comparison of this setting alone: its fine-tunings are the cells."""
    c = compare.compare()
    source = SCRATCH if init == SCRATCH else f"{OWN}:{init}"
    c.models, c.tunings, c.tasks, c.size = f"{setting.name}={source}", config.tuning, config.tasks, size
    c.variant, c.seeds = config.variant, config.seeds
    c.changes = join_fields(changes)
    return c
