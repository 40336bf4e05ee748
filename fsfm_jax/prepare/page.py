"""Write the readable page of a data set: its content, what was dropped, and how it was made."""

import json

from fsfm_jax.data.statistics import Card, SplitStatistics
from fsfm_jax.prepare import faces
from fsfm_jax.prepare.media import unusable

PAGE_FILE = "README.md"
REASONS = {**unusable.REASONS, **faces.REASONS}


def page(card: Card, contact_sheets: dict[str, str]) -> str:
    """Return the card of a data set as a Markdown page; `contact_sheets` are the picture files by split."""
    parts = [f"# {card.name}", _summary(card)]
    for split, statistics in card.splits.items():
        parts += [f"## Split {split}", _split(statistics, card), f"![random faces of {split}]({contact_sheets[split]})"]
    parts += ["## How it was made", _how_to_make(card), "## How to read it", _reading(card)]
    return "\n\n".join(parts) + "\n"


def _summary(card: Card) -> str:
    size = f"{card.image_size} x {card.image_size} pixels" if card.image_size else "their own size"
    lines = [f"Face crops of {size}, {'with' if card.parsing_maps else 'without'} parsing maps."]
    if card.class_names:
        real = "none of them is known to be real" if card.real is None else f"real faces are label {card.real}"
        names = ", ".join(f"{label} = {name}" for label, name in enumerate(card.class_names))
        lines.append(f"Labels: {names}; {real}.")
    else:
        lines.append("No labels.")
    shortfalls = card.prepared["shortfalls"]
    if shortfalls:
        lines += ["", "**Made of an incomplete download:**", ""] + [f"- {sentence}" for sentence in shortfalls]
    return "\n".join(lines)


def _split(statistics: SplitStatistics, card: Card) -> str:
    mean, std = (", ".join(f"{value:.4f}" for value in part) for part in statistics.pixel_sums.mean_std())
    rows = [
        ("faces", f"{statistics.examples:,}"),
        *((f"of them {name}", f"{n:,}") for name, n in zip(card.class_names, statistics.class_counts, strict=True)),
        ("photos and videos processed", f"{statistics.items:,}"),
        ("shards", f"{len(statistics.shard_lengths):,}"),
        ("size", f"{statistics.num_bytes / 1e6:,.1f} MB"),
        ("bytes a face", f"{statistics.num_bytes / statistics.examples:,.0f}"),
        ("mean of R, G, B in 0..1", mean),
        ("standard deviation", std),
        ("fingerprint", f"`{statistics.fingerprint}`"),
    ]
    table = ["| what | value |", "|---|---|"] + [f"| {what} | {value} |" for what, value in rows]
    return "\n".join(table + _reasons("Not kept", statistics.dropped) + _reasons("Kept, with a note", statistics.noted))


def _reasons(title: str, counts: dict[str, int]) -> list[str]:
    if not counts:
        return ["", f"{title}: none."]
    rows = [f"| {reason} | {counts[reason]:,} | {REASONS[reason]} |" for reason in sorted(counts)]
    return ["", f"{title}:", "", "| reason | how often | meaning |", "|---|---|---|", *rows]


def _how_to_make(card: Card) -> str:
    rows = [
        f"| {name} | {json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value or '-'} |"
        for name, value in sorted(card.prepared.items())
        if name != "shortfalls"
    ]
    return "\n".join(["| what | value |", "|---|---|", *rows])


def _reading(card: Card) -> str:
    split = next(iter(card.splits))
    return (
        "```python\nimport tensorflow_datasets as tfds\n\n"
        f'source = tfds.builder_from_directory("PATH").as_data_source("{split}")\n'
        'print(len(source), source[0]["image"].shape)\n```\n\n'
        "`fsfm_report_*.jsonl` list every photo, video or frame that was dropped, with the reason."
    )
