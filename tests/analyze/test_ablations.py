"""Plots of ablations by the points that they hold, from tables as the job writes them."""

import json

import cv2
import pytest

from fsfm_jax.analyze.ablations import axes_of, draw_ablation_table
from fsfm_jax.config.recipes import load_recipe
from fsfm_jax.detection.ablation import HEAD
from fsfm_jax.figures.sweep import Point, Sweep, plot_sweeps
from fsfm_jax.resolve.ablate import parse_settings

WEIGHTS = "0.001 and 0.1", "0.007 and 0.1", "0.01 and 0.1", "0.007 and 0.01"


def table(path, *rows):
    path.write_text("\n".join([",".join(HEAD), *rows]) + "\n")
    return str(path)


def test_each_weight_has_an_axis_on_which_the_other_is_the_usual_one(tmp_path):
    means = dict(zip(WEIGHTS, (70, 82.5, 81, 79), strict=True))
    rows = [f"{name},dfd,video AUC,{mean},0.5,3," for name, mean in means.items()]
    draw_ablation_table(table(tmp_path / "table.csv", *rows), str(tmp_path))
    region, identity = json.loads((tmp_path / "ablation.json").read_text())
    assert region["across"] == "weight of the region loss (ID 0.1)"
    assert [(p["place"], p["mean"]) for p in region["points"]] == [(0.001, 70), (0.007, 82.5), (0.01, 81)]
    assert identity["across"] == "weight of the ID loss (region 0.007)"
    assert [(p["place"], p["mean"], p["deviation"]) for p in identity["points"]] == [(0.01, 79, 0.5), (0.1, 82.5, 0.5)]
    assert cv2.imread(str(tmp_path / "ablation.png")).std() > 5


@pytest.mark.parametrize("variant, across, places", [
        ("ratio", "setting", [0.35, 0.5, 0.65, 0.75, 0.85]),
        ("size", "millions of parameters", [22, 86, 303]),
        ("data", "millions of images", [0.1, 0.6, 3.3]),
        ("weights", "weight of the region loss (ID 0.1)", [0.001, 0.007, 0.01, 0.1]),
    ])  # fmt: skip
def test_the_settings_of_the_recipes_are_quantities(variant, across, places):
    axes, numeric = axes_of(names_of(variant))
    assert numeric and axes[0][0] == across and [*axes[0][1].values()] == places


def test_settings_that_are_no_quantities_stand_in_their_order():
    axes, numeric = axes_of(names_of("masking"))
    assert not numeric and [*axes[0][1].values()] == [0, 1, 2, 3, 4] and [*axes[0][1]][-1] == "CRFR-P"


def names_of(variant) -> list[str]:
    c = load_recipe(f"ablate_fsfm:{variant}")
    return [setting.name for setting in parse_settings(c.settings, c.recipe)]


def test_published_numbers_are_rings_beside_ours_and_marks_are_no_part_of_them(tmp_path):
    rows = ["S,dfd,video AUC,,,,80.20", "B,dfd,video AUC,81.5,,1,82.31ᵃ 81.0ᵗ", "L,dfd,video AUC,,,,"]
    (sweep,) = draw_ablation_table(table(tmp_path / "table.csv", *rows), str(tmp_path))
    assert [(p.place, p.mean, p.published) for p in sweep.points] == [(22, None, 80.2), (86, 81.5, 82.31)]
    figure = plot_sweeps("title", [sweep, Sweep("b", "x", [Point("1", 1.0, 5.0), Point("20", 20.0, 6.0)], True)])
    rings, dots = figure.axes[0].get_lines()
    assert rings.get_xydata().tolist() == [[22, 80.2], [86, 82.31]] and dots.get_xydata().tolist() == [[86, 81.5]]
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["here", "published"]
    assert [axes.get_xscale() for axes in figure.axes] == ["linear", "log"]


@pytest.mark.parametrize("rows, text", [
        ((), "expected at least one measured or published number, found none"),
        (("S,dfd,AUC,,,,",), "expected at least one measured or published number, found none"),
        (("S,dfd,AUC,many,,,",), "line 2: expected numbers in percent"),
        (("S,dfd,AUC,101,,,",), "line 2: .*expected a mean in percent, found 101"),
        (("S,dfd",), "line 2: expected numbers in percent"),
    ])  # fmt: skip
def test_a_table_without_numbers_says_so(rows, text, tmp_path):
    with pytest.raises(ValueError, match=f"--table=.*table.csv: {text}"):
        draw_ablation_table(table(tmp_path / "table.csv", *rows), str(tmp_path))


def test_another_table_is_refused(tmp_path):
    (tmp_path / "other.csv").write_text("model,mean\n")
    with pytest.raises(ValueError, match="expected the table.csv of an ablation, with .*; found model, mean"):
        draw_ablation_table(str(tmp_path / "other.csv"), str(tmp_path))
