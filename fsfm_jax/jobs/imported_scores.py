"""Rows of a comparison from score files: detectors that are not trained here, measured on our test sets."""

import functools

from fsfm_jax.detection.comparison import IMPORTED, CellResult, Entry
from fsfm_jax.detection.facts import Facts, describe_whole
from fsfm_jax.detection.score_file import read_scores
from fsfm_jax.detection.score_match import summarise_scores
from fsfm_jax.jobs.finetune_inputs import open_tests
from fsfm_jax.resolve.compare import Plan

SHOWN = 12  # digits of a SHA-256


def import_scores(planned: Plan) -> list[Entry]:
    """Return the entries of the score files in `scores`, for each task family that shares a test set with a file.

    Raises:
      FileNotFoundError: a score file is missing.
      ValueError: a file has another format, has no known test set, or does not fit a test set.
    """
    if not planned.scores:
        return []
    tasks = {}
    for cell in planned.cells:  # all cells of a task have the same test sets
        tasks.setdefault(cell.task, cell.config)
    opened = {task: open_tests(config) for task, config in tasks.items()}
    known = {name: None for sets in opened.values() for name in sets}

    @functools.cache
    def describe(task: str, name: str) -> dict:
        return describe_whole(opened[task][name])

    entries = []
    for model, path in planned.scores.items():
        file = read_scores(path)
        strange = [name for name in file.sets if name not in known]
        if strange:
            raise ValueError(f"scores: {path}: {strange[0]!r} is no test set here; expected {', '.join(known)}")
        source = f"imported from {path}, SHA-256 {file.sha256[:SHOWN]}"
        rows = []
        for task, sets in opened.items():
            found = {
                name: summarise_scores(file.sets[name], source_of, f"scores: {path}: {name}")
                for name, source_of in sets.items()
                if name in file.sets
            }
            made = [(name, describe(task, name)) for name in found]
            result = CellResult(None, None, (found,), (Facts((), made),), False) if found else None
            rows.append(Entry(task, model, IMPORTED, tasks[task].report.layout, tuple(sets), result, source))
        families = {row.family for row in rows if row.found}
        entries += [row for row in rows if row.family in families]
    return entries

