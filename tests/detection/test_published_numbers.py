"""The file of published numbers: whole, consistent with the means that the papers print, marked, and as in README."""

import re
from decimal import Decimal
from pathlib import Path

import pytest

from fsfm_jax.detection import published_rows
from fsfm_jax.detection.published_numbers import (
    MARKS,
    MEANINGS,
    PAPER,
    QUOTED,
    THIRD_PARTY,
    find_rows,
    legend,
    mean,
    of_ablation,
    of_set,
    parse_rows,
    read_rows,
    show,
    undisputed,
)

ROOT = Path(__file__).parents[2]
README, PAGE, COMMANDS = ((ROOT / name).read_text() for name in ("README.md", "docs/published.md", "docs/reproduce.md"))
HALF = Decimal("0.005")  # an entry with two digits is at most this far from what was measured


def printed(row, column):
    return Decimal(row.numbers[column].printed)


def test_every_table_of_the_supplement_is_whole():
    """Rows and numbers of Tables 1 to 6, counted in the supplement."""
    expected = {"1": (6, 24), "2": (11, 110), "3": (18, 88), "4": (7, 70), "5": (7, 42),
                "6": (8, 32)}  # fmt: skip
    rows = [row for row in read_rows() if row.paper == "fsfm-supp"]
    assert {row.table for row in rows} == expected.keys()
    for table, counts in expected.items():
        found = [row for row in rows if row.table == table]
        assert (len(found), sum(len(row.numbers) for row in found)) == counts, table


# Tables that print a mean, its column, and the sets it is over.
FAS = ("OCI2M", "OMI2C", "OCM2I", "ICM2O")
MEANS = [
    *(("2", [f"{name}_no_celeb" for name in FAS], metric) for metric in ("video HTER", "video AUC")),
    *(("4", FAS, metric) for metric in ("video HTER", "video AUC")),
    ("5", ("T2I", "I2I", "FS", "FE"), "frame AUC"),
]
UNROUNDED = ("4", "ViT-B", "Sup(IN)", "video AUC")  # 97.4475 is printed as 97.44


@pytest.mark.parametrize(("table", "names", "metric"), MEANS)
def test_printed_means_are_those_of_their_entries(table, names, metric):
    rows = find_rows(paper="fsfm-supp", table=table)
    assert len(rows) >= 7
    for row in rows:
        entries = [printed(row, f"{name} {metric}") for name in names]
        # As a mean of the printed entries it is off by its own rounding; one is a mean of what was not rounded yet.
        bound = 2 * HALF if (table, row.model, row.setting, metric) == UNROUNDED else HALF
        assert abs(sum(entries) / len(entries) - printed(row, f"mean {metric}")) <= bound, row


@pytest.mark.parametrize("level", ["video", "frame"])
def test_printed_gaps_are_those_to_the_mean_of_fsfm(level):
    rows = [row for row in find_rows(paper="fsfm-supp", table="3") if f"CDFv2 {level} AUC" in row.numbers]
    columns = [f"{name} {level} AUC" for name in ("CDFv2", "DFDC", "DFDCp", "WDF")]
    means = {(row.model, row.setting): sum(printed(row, c) for c in columns) / 4 for row in rows}
    own = means.pop(("FSFM ViT-B", "SSL(VF2)"))
    assert len(means) == 8
    for row in rows[:-1]:
        # Two means of rounded entries, and one digit of the gap is printed.
        bound = 2 * HALF + Decimal("0.05")
        assert abs(own - means[row.model, row.setting] - printed(row, f"mean {level} gap")) <= bound, row
    assert f"mean {level} gap" not in rows[-1].numbers


def test_the_default_of_an_ablation_is_the_same_in_both_of_its_tables():
    ratio, size = (of_ablation("fsfm-supp", "6", name) for name in ("mask ratio", "model size"))
    assert [*ratio] == ["0.35", "0.50", "0.65", "0.75", "0.85"] and [*size] == ["S", "B", "L"]
    assert ratio["0.75"] == size["B"]
    assert ratio["0.75"]["dfd video AUC"] == (82.31, "82.31", PAPER, "FSFM supplement, Tab. 6")
    assert ratio["0.35"]["fas video HTER"].value == 15.84
    for table, name in (("6", "ratio"), ("4", ""), ("4", "mask ratio")):
        text = f"one of fsfm-supp/6/mask ratio, fsfm-supp/6/model size; found fsfm-supp/{table}/{name}"
        with pytest.raises(ValueError, match=text):
            of_ablation("fsfm-supp", table, name)


def test_rates_are_percentages_and_names_are_those_of_our_sets():
    for row in read_rows():
        for column, number in row.numbers.items():
            name, _, metric = column.split()
            assert metric == "cosine" or 0 <= number.value <= 100, (row, column)
            assert name.replace("-", "").replace("_", "").isalnum(), (row, column)


def test_headline_numbers():
    """Written down apart from the file, each with its source."""
    (fsfm,) = of_set("FSFM ViT-B", "CDFv2", "video", "AUC")
    assert (fsfm.value, fsfm.trust) == (91.44, PAPER)
    assert show(of_set("FSFM ViT-B", "FFpp", "frame", "AUC")) == "97.74"
    assert [number.value for number in of_set("FSFM ViT-B", "FFpp_c40", "video", "AUC")] == [95.41]
    assert show(of_set("FSFM ViT-B", "ICM2O", "video", "HTER")) == "7.68"
    assert show(of_set("FSFM ViT-B", "ICM2O_no_celeb", "video", "HTER")) == "10.02"
    assert show(of_set("FSFM ViT-B", "FE", "frame", "AUC")) == "78.98"
    # Sources that contradict each other both stand, each with its mark and with the digits that it prints.
    assert show(of_set("FS-VFM ViT-L", "CDFv2", "video", "AUC")) == "95.17ᵃ, 94.42ᵗ, 91.99ᵗ"
    assert show(of_set("FS-VFM ViT-L", "DFD", "video", "AUC")) == "97.17ᵃ, 86.51ᵗ"
    assert show(of_set("FS-VFM (unproven)", "DFDC", "video", "AUC")) == "87.8ᵗ"
    assert of_set("FS-VFM ViT-L", "WDF", "video", "AUC") == ()


def test_other_kinds_are_marked_explained_and_in_no_mean():
    assert MARKS[PAPER] == "" and all(MARKS[kind] for kind in (QUOTED, THIRD_PARTY))
    own, quoted = (find_rows(paper="fsfm-supp", table="2", trust=kind)[0] for kind in (PAPER, QUOTED))
    one, other = (row.numbers["mean video HTER"] for row in (own, quoted))
    assert (str(one), str(other)) == ("25.12", "14.40ᵃ")
    assert undisputed([one]) == 25.12 and mean([[one], [one]]) == 25.12
    for cells in ([], [[one], [other]], [[one], []], [[one], [one, one]], [[other]]):
        assert mean(cells) is None, cells
    assert legend([other, one, one]) == [
        "Published: FSFM supplement, Tab. 2.",
        f"{MEANINGS[QUOTED]}: FSFM supplement, Tab. 2, cited there from the original papers.",
    ]
    assert legend([]) == []


BLOCK = {
    "paper": "fsfm", "table": "1", "trust": "paper", "source": "s", "task": "", "about": "a",
    "columns": ["A video AUC"], "rows": [["m", "", Decimal("1.0")]],
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({}, None),
        ({"trust": "papers"}, "fsfm, 1: trust: expected one of paper, .*; did you mean 'paper'"),
        ({"paper": "fsvfm"}, "paper: expected one of fsfm, .*'fsvfm'"),
        ({"kind": "x"}, r"missing fields \[\], unknown fields \['kind'\]"),
        ({"columns": ["A AUC"]}, "expected columns 'SET LEVEL METRIC', found 'A AUC'"),
        ({"columns": ["A clip AUC"]}, "found 'A clip AUC'"),
        ({"rows": [["m", ""]]}, "expected 1 numbers, found 0"),
        ({"rows": [["m", "", 1]]}, "A video AUC: expected a number with a point or an empty text, found 1"),
        ({"rows": [["m", "", Decimal("nan")]]}, "expected a number with a point"),
        ({"rows": [["m", "", Decimal("1.0")], ["m", "", Decimal("2.0")]]}, r"\['m', ''\]: A video AUC twice: 1.0, 2.0"),
    ],
)
def test_a_file_that_says_less_is_refused(change, text):
    content = {"table": [BLOCK | change]}
    if text is None:
        (row,) = parse_rows(content)
        assert (row.oracle, row.numbers["A video AUC"]) == (False, (1.0, "1.0", PAPER, "s"))
        return
    with pytest.raises(ValueError, match=text):
        parse_rows(content)


def test_rows_beside_a_comparison():
    rows = {row.name: row for row in published_rows.find("dfd", {"video AUC": "video AUC"}, ["DFD", "CDFv2"])}
    own, released = rows["FSFM ViT-B, SSL(VF2)"], rows["FS-VFM ViT-L, SSL(VF2)"]
    assert (own.kind, own.show("CDFv2", "video AUC"), own.show("DFD", "video AUC")) == ("published", "91.44", "")
    assert own.mean(["CDFv2", "DFD"], "video AUC") == "" and own.mean(["CDFv2"], "video AUC") == "91.44"
    # The last of that name: run again by others.
    assert (released.kind, released.mean(["CDFv2", "DFD"], "video AUC")) == ("by othersᵗ", "89.25ᵗ")
    assert {"Xception, Sup(IN)", "GenD-PE", "SBI"} <= rows.keys() and "LoRA student of FS-VFM" in rows
    fas = published_rows.find("fas", {"HTER": "video HTER"}, ["ICM2O"])
    assert len(fas) == 7 and {row.kind for row in fas} == {"published, oracle"}
    assert published_rows.find("dfd", {"video AUC": "video AUC"}, ["mine"]) == []


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_readme_has_the_published_numbers():
    below = README.split("\n### Published\n", 1)[1].split("\n## ", 1)[0]
    head, _, *rows = map(cells, re.search(r"(?:^\|.*\n)+", below, re.M)[0].splitlines())
    found = [
        (show(of_set(row[0].split(",")[0], name, "video", "AUC")), shown)
        for row in rows
        for name, shown in zip(head[2:6], row[2:6], strict=True)
        if shown != "–"
    ]
    # Of a number that is disputed the authors' own stands here, with its mark, which is explained.
    assert len(found) == 7 and all(shown in known.split(", ") for known, shown in found)
    assert all(row[6] == "–" for row in rows) and re.search(rf"^{MARKS[QUOTED]} The authors' number", below, re.M)


def test_the_page_of_commands_has_the_published_numbers():
    below = COMMANDS.split("\n## Measured results\n", 1)[1].split("\n## ", 1)[0]
    table = re.search(r"(?:^\|.*\n)+", below, re.M)[0].splitlines()
    assert cells(table[0])[:5] == ["pretraining", "config", "test set", "published", "ours"]
    model, compared = "", 0
    for line in table[2:]:
        pretraining, _, name, published, ours, _ = cells(line)
        model = pretraining or model
        assert ours == "–"
        if name == "mean over DfD sets":
            row = of_ablation("fsfm-supp", "6", "model size")[model.split(",")[0][-1]]
            assert published == str(row["dfd video AUC"])
        elif name != "see the paper":
            assert published == show(of_set(model.split(",")[0], name, "video", "AUC"))
        compared += published != "–"
    assert compared >= 4 + 3 + 6
    for mark in (mark for mark in MARKS.values() if mark in "".join(table) and mark):
        assert re.search(rf"^- {mark} ", below, re.M), f"{mark} is not explained"


def test_the_page_about_published_numbers_is_right():
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(block, "docs/published.md", "exec"), {})
    for kind, mark in MARKS.items():
        assert f"| `{kind}` | {mark} |".replace("|  |", "| |") in PAGE
