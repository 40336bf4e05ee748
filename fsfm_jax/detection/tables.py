"""Results as the papers' tables: Markdown, in percent, ours beside the published numbers.

A layout is a list of columns; a column takes the summary of a data set (`metrics.summary`) and gives a number as a
fraction, or None if it is undefined. The last row is the mean over the data sets, left empty where one is undefined.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from fsfm_jax.detection import literature
from fsfm_jax.resolve.report import LAYOUTS

Summary = Mapping
UNDEFINED, EMPTY = "undefined", "–"
ORACLE_RULE = "least |FRR - FAR| on the grid k/10000"
SOURCES = {
    "dfd": "Published: FSFM, ViT-B (FSFM supplement, Tab. 1 and 3).",
    "diff": "Published: FSFM, ViT-B (FSFM supplement, Tab. 5).",
    "fas": "HTER is at the threshold of equal error on the validation split, the oracle's at one fitted to this set. "
    "Published: FSFM, ViT-B; step and threshold were chosen on the target (FSFM supplement, Tab. 2 and 4).",
    "classes": "",
}


class Column(NamedTuple):
    """One column: how its number is found, and whether the bootstrap's interval of that metric stands behind it."""

    title: str
    value: Callable[[str, Summary], float | None]
    interval: tuple[str, str] | None = None  # level and metric
    published: bool = False  # a published number or none, already in percent


def table(results: Mapping[str, Summary], layout: str, notes: Sequence[str]) -> str:
    """The table of `results` by name of the data set, with `notes` and the reasons of what is undefined below it.

    Raises:
      ValueError: another layout.
    """
    shown = columns(layout, results)
    title, count = ("images", "frame") if layout in ("diff", "classes") else ("videos", "video")
    head = ["data set", *(["frames"] if count == "video" else []), title, *(column.title for column in shown)]
    rows, levels = [head, ["---"] * len(head)], ("frame", "video") if count == "video" else ("frame",)
    for name, summary in results.items():
        sizes = [f"{summary[level]['examples']:,}" for level in levels]
        rows.append([name, *sizes, *(_cell(column, name, summary) for column in shown)])
    if len(results) > 1:
        means = [_mean([column.value(name, s) for name, s in results.items()], column.published) for column in shown]
        rows.append(["mean", *[""] * (len(head) - 1 - len(means)), *means])
    # A set's levels lack the same class, so one reason for each metric of the set will do.
    reasons = sorted({
        f"{name}: {metric} is undefined, {why}"
        for name, summary in results.items()
        for metric, why in summary["video"]["undefined"].items()
    })  # fmt: skip
    below = [note for note in (*notes, SOURCES[layout]) if note]
    return "\n".join([*(f"| {' | '.join(row)} |" for row in rows), "", "  \n".join([*below, *reasons])]) + "\n"


def ranking(level: str, metric: str) -> Callable[[str, Summary], float | None]:
    """A metric that needs no threshold."""
    return lambda name, summary: summary[level]["metrics"][metric]


def decision(level: str, rule: str, metric: str, oracle: bool = False) -> Callable[[str, Summary], float | None]:
    """A metric at the threshold of a rule, chosen on another split or (`oracle`) on this one; None without one."""

    def value(name: str, summary: Summary) -> float | None:
        for found in summary[level]["thresholds"]:
            if found["rule"].startswith(rule) and found["oracle"] == oracle:
                return found["metrics"][metric]
        return None

    return value


def columns(layout: str, results: Mapping[str, Summary]) -> list[Column]:
    """The columns of a layout; those of "classes" depend on the classes that `results` have.

    Raises:
      ValueError: another layout.
    """

    def beside(numbers: Mapping, place: int | None = None) -> Callable[[str, Summary], float | None]:
        def value(name: str, summary: Summary) -> float | None:
            found = numbers.get(name)
            return found if found is None or place is None else found[place]

        return value

    if layout == "dfd":
        return [
            Column("frame AUC", ranking("frame", "auc"), ("frame", "auc")),
            Column("video AUC", ranking("video", "auc"), ("video", "auc")),
            Column("video EER", ranking("video", "equal_error_rate")),
            Column("video balanced accuracy", decision("video", "fixed", "balanced_accuracy")),
            Column("published frame AUC", beside(literature.DEEPFAKE, 0), published=True),
            Column("published video AUC", beside(literature.DEEPFAKE, 1), published=True),
        ]
    if layout == "diff":
        return [
            Column("AUC", ranking("frame", "auc"), ("frame", "auc")),
            Column("EER", ranking("frame", "equal_error_rate")),
            Column("accuracy", decision("frame", "fixed", "accuracy")),
            Column("balanced accuracy", decision("frame", "fixed", "balanced_accuracy")),
            Column("published AUC", beside(literature.DIFFUSION), published=True),
        ]
    if layout == "fas":
        return [
            Column("HTER", decision("video", "equal error", "half_total_error_rate")),
            Column("HTER (oracle)", decision("video", ORACLE_RULE, "half_total_error_rate", oracle=True)),
            Column("AUC", ranking("video", "auc"), ("video", "auc")),
            Column("TPR at FPR 1 %", ranking("video", "tpr_at_fpr_1_percent")),
            Column("published HTER (oracle)", beside(literature.ANTI_SPOOFING, 0), published=True),
            Column("published AUC", beside(literature.ANTI_SPOOFING, 1), published=True),
        ]
    if layout == "classes":
        names = list(next(iter(results.values()))["classes"]["classes"])
        return [
            Column("accuracy", lambda name, summary: summary["classes"]["metrics"]["accuracy"]),
            *(Column(f"recall of {name}", _of_class(name, "recall")) for name in names),
            *(Column(f"AUC of {name}", _of_class(name, "auc")) for name in names),
        ]
    raise ValueError(f"report.layout: expected one of {', '.join(LAYOUTS)}; found {layout!r}")


def _of_class(name: str, metric: str) -> Callable[[str, Summary], float | None]:
    return lambda _, summary: summary["classes"]["classes"][name]["metrics"][metric]


def _cell(column: Column, name: str, summary: Summary) -> str:
    value = column.value(name, summary)
    if column.published:
        return EMPTY if value is None else f"{value:.2f}"
    if value is None:
        return UNDEFINED
    if column.interval is None:
        return f"{100 * value:.2f}"
    level, metric = column.interval
    bounds = summary[level]["intervals"][metric]
    behind = "" if bounds["low"] is None else f" ({100 * bounds['low']:.2f}–{100 * bounds['high']:.2f})"
    return f"{100 * value:.2f}{behind}"


def _mean(values: list[float | None], published_numbers: bool) -> str:
    if any(value is None for value in values):
        return EMPTY
    return f"{(1 if published_numbers else 100) * sum(values) / len(values):.2f}"
