"""Format results as the papers' tables: Markdown, in percent, with the published numbers.

A layout is a list of columns; a column maps the summary of a data set (`metrics.summary`) to a fraction, or None if it
is undefined. The last row is the mean over the data sets, left empty where a value is undefined.
A column of published numbers needs only the name of the data set. Tables of deepfakes and diffusion forgeries are
followed by a second one, with the AUC of each manipulation. The facts give the number of videos (`detection.facts`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from fsfm_jax.detection import published_numbers
from fsfm_jax.detection.published_numbers import Number
from fsfm_jax.resolve.report import LAYOUTS

Summary = Mapping
UNDEFINED, EMPTY = "undefined", "–"
SELECTIVE = "selective"  # key of a summary, see `detection.selective`
ORACLE_RULE = "least |FRR - FAR| on the grid k/10000"
OWN = "FSFM ViT-B"  # the model of the columns "published", in every table
OTHERS = ("FS-VFM ViT-L",)  # further models, which get columns if they have published numbers
# Layouts with a second table. Anti-spoofing instead has APCER by species in `metrics.json`.
BY_METHOD = ("dfd", "diff")
METHODS = (
    "Each manipulation against all real faces of its set; A includes the forged faces of every A/B. Faces of unknown "
    "manipulation are left out."
)
NOTES = {
    "dfd": f"Columns called published are of {OWN}.",
    "diff": f"Columns called published are of {OWN}.",
    "fas": "HTER uses the threshold of equal error on the validation split; HTER (oracle) fits it to the test set. "
    f"Columns called published are of {OWN}; step and threshold were chosen on the target.",
    "classes": "",
}


class Column(NamedTuple):
    """A column: how to compute its number, and the metric whose bootstrap interval is printed after it, if any."""

    title: str
    value: Callable[[str, Summary], float | None]
    interval: tuple[str, str] | None = None  # level and metric
    published: Callable[[str], tuple[Number, ...]] | None = None  # replaces `value`; takes a data set's name


def table(results: Mapping[str, Summary], layout: str, notes: Sequence[str]) -> str:
    """Return the table of `results` by data set name; `notes` and reasons for undefined values follow.

    Raises:
      ValueError: another layout.
    """
    shown = columns(layout, results)
    title, levels = ("images", ("frame",)) if layout in ("diff", "classes") else ("videos", ("frame", "video"))
    head = ["data set", *(column.title for column in shown)]
    rows = [head, ["---"] * len(head)]
    rows += [[name, *(_cell(column, name, summary) for column in shown)] for name, summary in results.items()]
    if len(results) > 1:
        rows.append(["mean", *(_mean(column, results) for column in shown)])
    # All levels of a set lack the same class, so one reason for each metric is enough.
    reasons = sorted({
        f"{name}: {metric} is undefined, {why}"
        for name, summary in results.items()
        for metric, why in summary["video"]["undefined"].items()
    })  # fmt: skip
    below = [note for note in (*notes, *sources(layout, shown, results)) if note]
    text = "\n".join([*(f"| {' | '.join(row)} |" for row in rows), "", "  \n".join([*below, *reasons])]) + "\n"
    return text + (_methods(results, title, levels) if layout in BY_METHOD else "") + _selective(results)


def _selective(results: Mapping[str, Summary]) -> str:
    """Return the section on abstention and conformal sets, empty if no summary has them."""
    rows, below = [], {}
    for name, summary in results.items():
        found = summary.get(SELECTIVE)
        if found is None:
            continue
        if "undefined" in found:
            below[f"{name}: undefined, {found['undefined']}"] = None
            continue
        kept, sets = found["abstention"], found["conformal"]
        quality = found["probabilities"][found["calibration"]]
        numbers = [quality["errors"], quality["aurc"], kept["metrics"]["coverage"], kept["metrics"]["risk"]]
        numbers += [sets["metrics"][key] for key in ("coverage", "coverage/real", "coverage/forged")]
        rows.append([name, *map(_percent, numbers), f"{sets['mean_size']:.2f}"])
        risk, bound = (f"{100 * share:g} %" for share in (kept["accepted_risk"], sets["bound"]))
        below[
            f"Fitted on {found['fitted_on']}, {found['fitted_videos']:,} videos (calibration: {found['calibration']}). "
            f"The confidence threshold keeps at most {risk} of those verdicts wrong. Sets contain the true class for "
            f"at least {bound} of {'each class' if sets['by_class'] else 'all videos'}, if the test videos are of "
            "the same kind."
        ] = None
    if not below:
        return ""
    head = ["data set", "wrong", "AURC", "with a verdict", "wrong of these", "sets with the class", "real", "forged"]
    head.append("classes in a set")
    lines = [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]] if rows else []
    return "\n".join(["", "## Abstention and conformal sets, videos, %", "", *lines, "", "  \n".join(below)]) + "\n"


def _methods(results: Mapping[str, Summary], title: str, levels: Sequence[str]) -> str:
    """Return the section with the AUC of each manipulation, empty if no set names any."""
    areas = [f"{level} AUC" for level in levels] if len(levels) > 1 else ["AUC"]
    head = ["data set", "manipulation", f"forged {title}", f"real {title}", *areas]
    rows, reasons = [head, ["---"] * len(head)], []
    for name, summary in results.items():
        # Older results have no `methods`.
        for method, found in summary.get("methods", {}).items():
            last = found[levels[-1]]
            cells = [_percent(found[level]["metrics"]["auc"]) for level in levels]
            shown = method.replace("|", "\\|")  # it may be the name of a user's folder
            rows.append([name, shown, f"{last['negatives']:,}", f"{last['positives']:,}", *cells])
            reasons += [f"{name}, {method}: auc is undefined, {why}" for why in last["undefined"].values()]
    if len(rows) == 2:
        return ""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(["", "## AUC of each manipulation, %", "", *lines, "", "  \n".join([METHODS, *reasons])]) + "\n"


def ranking(level: str, metric: str) -> Callable[[str, Summary], float | None]:
    """Return a function that reads a metric that needs no threshold."""
    return lambda name, summary: summary[level]["metrics"][metric]


def decision(level: str, rule: str, metric: str, oracle: bool = False) -> Callable[[str, Summary], float | None]:
    """Return a function that reads a metric at a rule's threshold, chosen on another split or (`oracle`) on this one.

    The function returns None if there is no such threshold.
    """

    def value(name: str, summary: Summary) -> float | None:
        for found in summary[level]["thresholds"]:
            if found["rule"].startswith(rule) and found["oracle"] == oracle:
                return found["metrics"][metric]
        return None

    return value


def columns(layout: str, results: Mapping[str, Summary]) -> list[Column]:
    """Return the columns of a layout; those of "classes" depend on the classes in `results`.

    Raises:
      ValueError: another layout.
    """

    if layout == "dfd":
        return [
            Column("frame AUC", ranking("frame", "auc"), ("frame", "auc")),
            Column("video AUC", ranking("video", "auc"), ("video", "auc")),
            Column("video EER", ranking("video", "equal_error_rate")),
            Column("video balanced accuracy", decision("video", "fixed", "balanced_accuracy")),
            *_published(results, ("frame AUC", "frame", "AUC"), ("video AUC", "video", "AUC")),
        ]
    if layout == "diff":
        return [
            Column("AUC", ranking("frame", "auc"), ("frame", "auc")),
            Column("EER", ranking("frame", "equal_error_rate")),
            Column("accuracy", decision("frame", "fixed", "accuracy")),
            Column("balanced accuracy", decision("frame", "fixed", "balanced_accuracy")),
            *_published(results, ("AUC", "frame", "AUC")),
        ]
    if layout == "fas":
        return [
            Column("HTER", decision("video", "equal error", "half_total_error_rate")),
            Column("HTER (oracle)", decision("video", ORACLE_RULE, "half_total_error_rate", oracle=True)),
            Column("AUC", ranking("video", "auc"), ("video", "auc")),
            Column("TPR at FPR 1 %", ranking("video", "tpr_at_fpr_1_percent")),
            *_published(results, ("HTER (oracle)", "video", "HTER"), ("AUC", "video", "AUC")),
        ]
    if layout == "classes":
        names = list(next(iter(results.values()))["classes"]["classes"])
        return [
            Column("accuracy", lambda name, summary: summary["classes"]["metrics"]["accuracy"]),
            *(Column(f"recall of {name}", _of_class(name, "recall")) for name in names),
            *(Column(f"AUC of {name}", _of_class(name, "auc")) for name in names),
        ]
    raise ValueError(f"report.layout: expected one of {', '.join(LAYOUTS)}; found {layout!r}")


def sources(layout: str, shown: Iterable[Column], names: Iterable[str]) -> list[str]:
    """Return the notes below a table: on its layout, and on the sources of published numbers for these data sets."""
    names = list(names)
    numbers = [number for column in shown if column.published for name in names for number in column.published(name)]
    return [NOTES[layout], *published_numbers.legend(numbers)]


def _published(results: Iterable[str], *measures: tuple[str, str, str]) -> list[Column]:
    """Return the columns of published numbers for (title, level, metric): always `OWN`, and `OTHERS` if published."""

    def column(title: str, model: str, level: str, metric: str) -> Column:
        def published(name: str) -> tuple[Number, ...]:
            return published_numbers.of_set(model, name, level, metric)

        return Column(title, lambda name, summary: None, published=published)

    own = [column(f"published {title}", OWN, *measure) for title, *measure in measures]
    others = [column(f"{model} {title}", model, *measure) for model in OTHERS for title, *measure in measures]
    return own + [one for one in others if any(one.published(name) for name in results)]


def _of_class(name: str, metric: str) -> Callable[[str, Summary], float | None]:
    return lambda _, summary: summary["classes"]["classes"][name]["metrics"][metric]


def _cell(column: Column, name: str, summary: Summary) -> str:
    if column.published:
        return published_numbers.show(column.published(name)) or EMPTY
    value = column.value(name, summary)
    if value is None or column.interval is None:
        return _percent(value)
    level, metric = column.interval
    bounds = summary[level]["intervals"][metric]
    behind = "" if bounds["low"] is None else f" ({100 * bounds['low']:.2f}–{100 * bounds['high']:.2f})"
    return f"{100 * value:.2f}{behind}"


def _percent(value: float | None) -> str:
    return UNDEFINED if value is None else f"{100 * value:.2f}"


def _mean(column: Column, results: Mapping[str, Summary]) -> str:
    if column.published:
        mean = published_numbers.mean([column.published(name) for name in results])
        return EMPTY if mean is None else f"{mean:.2f}"
    values = [column.value(name, summary) for name, summary in results.items()]
    return EMPTY if None in values else f"{100 * sum(values) / len(values):.2f}"
