"""Every plot by the data, limits and texts that matplotlib is handed."""

import gc
import os
import subprocess
import sys
import weakref

import cv2
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text

from fsfm_jax.figures import plot
from fsfm_jax.figures.attention import plot_heads
from fsfm_jax.figures.calibration import draw_reliability, plot_reliability
from fsfm_jax.figures.comparison import COLOURS, SHAPES, Point, draw_comparison, plot_comparison
from fsfm_jax.figures.detection import draw_scores, plot_scores
from fsfm_jax.figures.robustness import Line, Panel, plot_robustness
from fsfm_jax.figures.scatter import plot_groups
from fsfm_jax.figures.timeline import plot_timeline
from fsfm_jax.metrics.calibration import Reliability, reliability
from fsfm_jax.metrics.scores import DEEPFAKE, Classes, Scored

# Two of each class: the curve goes (0, 0), (0, 1/2), (1/2, 1/2), (1/2, 1), (1, 1).
SCORED = Scored(np.array([0.91, 0.31, 0.61, 0.11]), np.array([1, 1, 0, 0]), DEEPFAKE)
ALONE = Scored(np.array([0.9, 0.3]), np.array([1, 1]), DEEPFAKE)
# Five bins: 1/4 of four at 0.05, nothing, nothing, 1/2 of two at 0.75, all of one at 1.
BY_HAND = reliability(
    np.array([0.05, 0.05, 0.05, 0.05, 0.7, 0.8 - 1e-9, 1.0]), np.array([0, 1, 0, 0, 0, 1, 1]), 5, "width"
)
MODELS, TUNINGS = ("one", "other"), ("full", "probe")
POINTS = [Point("one", "probe", 10_000_000, 99.0, 2.0), Point("other", "full", 1_538, 70.0, None)]
# A formula that does not parse, a line feed, text from right to left, letters that the font lacks, half a letter.
NAME = "_$\\frac{$ \n\u202e日本\U0001fae0\ud800" + "W" * 300


def texts(legend) -> list[str]:
    return [text.get_text() for text in legend.get_texts()]


def test_curves_and_histograms_of_scores_by_hand():
    swapped = Scored(SCORED.scores, ~SCORED.labels, DEEPFAKE)
    figure = plot_scores("set", {"frames": SCORED, "videos": swapped}, {"videos": 0.25})
    roc, frames, videos = figure.axes
    chance, *curves = roc.get_lines()
    np.testing.assert_array_equal(chance.get_xydata(), [[0, 0], [1, 1]])
    np.testing.assert_array_equal(curves[0].get_xydata(), [[0, 0], [0, 0.5], [0.5, 0.5], [0.5, 1], [1, 1]])
    np.testing.assert_array_equal(curves[1].get_xydata(), [[0, 0], [0.5, 0], [0.5, 0.5], [1, 0.5], [1, 1]])
    assert texts(roc.get_legend()) == ["frames: AUC 75.00 %", "videos: AUC 25.00 %"]
    assert len({line.get_color() for line in curves}) == 2 and figure.get_suptitle() == "set"
    for axes, shown in ((frames, [0.91, 0.31]), (videos, [0.61, 0.11])):
        # Filled and outlined, first the positive class; half a class is in each of two bins.
        for patch in axes.patches[:2]:
            percent, edges, _ = patch.get_data()
            np.testing.assert_allclose(edges, np.arange(41) / 40)
            np.testing.assert_array_equal(percent, 50 * np.isin(np.arange(40), [int(40 * score) for score in shown]))
        assert axes.get_xlim() == (0, 1) and axes.get_ylim()[0] == 0
    assert texts(frames.get_legend()) == ["real: 2", "fake: 2"] and not frames.get_lines()
    assert texts(videos.get_legend()) == ["real: 2", "fake: 2", "threshold 0.25"]
    np.testing.assert_array_equal(videos.get_lines()[0].get_xydata(), [[0.25, 0], [0.25, 1]])  # from bottom to top


@pytest.mark.parametrize("threshold", [1.1, -0.1, np.inf])
def test_a_threshold_outside_is_in_the_legend_only(threshold):
    for axes in (plot_scores("", {"a": SCORED}, {"a": threshold}).axes[1],
                 plot_timeline([[(0, 0.5)]], "frame", 0.5, "real", threshold).axes[0]):  # fmt: skip
        assert texts(axes.get_legend())[-1].endswith(f"threshold {threshold:.4g} (outside)")
        assert not len(axes.get_lines()[-1].get_xydata())
        assert axes.get_xlim()[1] < 1.01 and axes.get_ylim()[0] >= 0


def test_one_class_has_a_legend_and_no_curve():
    roc, histogram = plot_scores("", {"frames": ALONE}).axes
    assert not len(roc.get_lines()[1].get_xydata())
    assert texts(roc.get_legend()) == ["frames: no fake among 2 examples"]
    assert texts(histogram.get_legend()) == ["real: 2", "fake: 0"] and not histogram.patches[2].get_data()[0].any()


def test_reliability_by_hand_and_bins_of_equal_mass_keep_their_width():
    moved = BY_HAND._replace(observed=np.array([0.5, np.nan, np.nan, 0.5, 0.25]), counts=2 * BY_HAND.counts)
    shares, counts = plot_reliability("", {"raw: ECE 5.2 %": BY_HAND, "T = 1.7": moved}).axes
    diagonal, one, other = shares.get_lines()
    np.testing.assert_array_equal(diagonal.get_xydata(), [[0, 0], [1, 1]])
    # The empty bins have no point.
    np.testing.assert_allclose(one.get_xydata(), [[0.05, 0.25], [0.75, 0.5], [1, 1]])
    np.testing.assert_allclose(other.get_xydata(), [[0.05, 0.5], [0.75, 0.5], [1, 0.25]])
    assert texts(shares.get_legend()) == ["raw: ECE 5.2 %", "T = 1.7"]
    assert one.get_color() != other.get_color() and one.get_marker() != other.get_marker()
    assert shares.get_xlim() == shares.get_ylim() == counts.get_xlim() == (0, 1) and counts.get_ylim()[0] == 0
    for patch, factor in zip(counts.patches, (1, 2), strict=True):
        np.testing.assert_array_equal(patch.get_data()[0], factor * np.array([4, 0, 0, 2, 1]))
        np.testing.assert_allclose(patch.get_data()[1], np.arange(6) / 5)
    diagram = reliability(np.array([0.25, 0.5, 0.5, 0.75]), np.ones(4), 2, "mass")
    values, edges, _ = plot_reliability("", {"mass": diagram}).axes[1].patches[0].get_data()
    np.testing.assert_array_equal((values, edges[:-1], edges[1:]), (diagram.counts, diagram.low, diagram.high))


def test_cells_of_a_comparison_are_where_their_points_are_and_without_a_point_nothing_is_written(tmp_path):
    figure = plot_comparison({"dfd": POINTS, "none": [], "diff": POINTS[1:]}, MODELS, TUNINGS)
    dfd, diff = figure.axes
    assert [axes.get_title(loc="left") for axes in (dfd, diff)] == ["dfd", "diff"]
    spread, full, probe = dfd.collections
    np.testing.assert_array_equal(full.get_offsets(), [[1_538, 70]])
    np.testing.assert_array_equal(probe.get_offsets(), [[10_000_000, 99]])
    # A deviation of 2 reaches no AUC above 100.
    np.testing.assert_array_equal(spread.get_segments(), [[[10_000_000, 97], [10_000_000, 100]]])
    # A model keeps its colour where the others are missing; whole powers of ten, and no AUC above 100.
    for drawn, colour in ((full, COLOURS[1]), (probe, COLOURS[0]), (diff.collections[0], COLOURS[1])):
        assert to_hex(drawn.get_facecolor()[0]) == colour.lower()
    assert dfd.get_xlim() == (1_000, 10_000_000) and diff.get_xlim() == (1_000, 10_000)
    assert 65 < dfd.get_ylim()[0] < 70 and dfd.get_ylim()[1] == 100
    assert [texts(legend) for legend in figure.legends] == [[*MODELS], [*TUNINGS]]
    assert not draw_comparison(tmp_path / "a.png", {"dfd": []}, MODELS, TUNINGS)
    assert list(tmp_path.iterdir()) == []
    assert len(set(COLOURS)) == len(COLOURS) == 16 and len(set(SHAPES)) == len(SHAPES) == 6


def test_points_of_a_group_share_a_look_and_more_than_eighteen_groups_are_grey():
    places = np.random.default_rng(0).normal(size=(60, 2))
    groups = [f"_{number % 20}" for number in range(60)]
    figure = plot_groups("features", places, groups, "first", "second")
    (axes,), (legend,) = figure.axes, figure.legends
    assert texts(legend) == [*(f"_{number}: 3" for number in range(18)), "2 more groups: 6"]
    grey, *named = axes.collections
    np.testing.assert_array_equal(np.ma.getdata(grey.get_offsets()), places[[18, 19, 38, 39, 58, 59]])
    for number, drawn in enumerate(named):
        np.testing.assert_array_equal(np.ma.getdata(drawn.get_offsets()), places[number::20])
    assert len({(to_hex(one.get_facecolor()[0]), one.get_paths()[0].vertices.tobytes()) for one in named}) == 18


def test_heads_are_points_above_their_block():
    distance, divergence = np.array([[40.0, 60], [80, 90]]), np.array([[0.5, 1.5], [2, 3]])
    axes = plot_heads([("vitb", distance, divergence), ("mae", 2 * distance, divergence)]).axes
    for plotted, values in zip(axes, (distance, divergence, 2 * distance, divergence), strict=True):
        *heads, mean = plotted.get_lines()
        np.testing.assert_array_equal([head.get_ydata() for head in heads], values.T)
        np.testing.assert_array_equal(mean.get_xydata().T, [[1, 2], values.mean(axis=1)])
    assert axes[0].get_ylim() == axes[2].get_ylim() and axes[2].get_ylim()[1] > 180
    assert axes[2].get_legend().get_title().get_text() == "mae"


def test_what_cannot_be_printed_is_an_escape():
    for text, shown in (("_a $x$ é", "_a $x$ é"), ("\n\u202e\ud800", "\\n\\u202e\\ud800"),
                        ("日\U0001fae0", "\\u65e5\\U0001fae0"), ("", "")):  # fmt: skip
        assert plot.cut(text, 9) == shown


@pytest.mark.parametrize("inches", [0.05, 0.4, 2, 4])
def test_a_text_that_is_too_wide_loses_its_middle(inches):
    text = "".join(map(chr, range(33, 127))) * 5
    shown = plot.cut(text, inches)
    first, last = shown.split("…")
    assert text.startswith(first) and text.endswith(last) and 0 <= len(first) - len(last) <= 1
    # As wide as it may be: one letter more has no room. No letter is wider than 0.15 inches at 9 points.
    assert inches - 0.3 < plot._inches(shown, 9) <= max(inches, plot._inches("…", 9))


def test_a_text_is_written_inside_its_strip():
    canvas = np.full((34, 260, 3), 255, np.uint8)
    plot.write_text(canvas[:, 20:230], NAME, 7, (200, 0, 0))
    rows, columns = np.nonzero((canvas != 255).any(axis=2))
    assert 20 <= columns.min() < 25 and 200 < columns.max() < 230
    # As much room above the letters as below them, which the underscore and the brackets leave smaller.
    assert 4 < rows.min() < 12 and 22 < rows.max() < 31
    assert (canvas == (200, 0, 0)).all(axis=2).any()
    again = np.full_like(canvas, 255)
    plot.write_text(again[:, 20:230], plot.cut(NAME, 210 / plot.DPI, 7), 7, (200, 0, 0))
    np.testing.assert_array_equal(canvas, again)


def extreme():
    """Every plot with names that come from anywhere."""
    classes = Classes(NAME, NAME)
    yield plot_scores(NAME, {NAME: Scored(SCORED.scores, SCORED.labels, classes), "$": ALONE}, {NAME: 2.0})
    yield plot_reliability(NAME, {NAME: BY_HAND})
    models = [f"{NAME}{number}" for number in range(16)]
    yield plot_comparison({NAME: [Point(models[3], NAME, 9, 50.0, None)]}, models, [NAME])
    yield plot_groups(NAME, np.zeros((3, 2)), [NAME, "", "$"], "", "")
    yield plot_heads([(NAME, np.ones((1, 1)), np.ones((1, 1)))])
    yield plot_timeline([[(0, 0.5)]], "seconds", 0.5, NAME, 0.4)


def check_picture(path, figure):
    plot.save(path, figure)
    numbers = {label for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for label in axis.get_ticklabels()}
    for text in {*figure.findobj(Text)} - numbers:
        if text.get_visible() and text.get_text():
            box = text.get_window_extent(figure.canvas.get_renderer())
            assert box.x0 > -1 and box.x1 < figure.bbox.x1 + 1 and box.y0 > -1 and box.y1 < figure.bbox.y1 + 1, text
    data = path.read_bytes()
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert (picture.shape[1], picture.shape[0]) == tuple(figure.bbox.size.astype(int)) and picture.std() > 10
    assert b"tEXt" not in data and b"tIME" not in data  # neither version nor date


def test_names_from_anywhere_are_drawn_inside_the_picture_and_figures_are_freed(tmp_path):
    kept = []
    for figure in extreme():
        check_picture(tmp_path / "a.png", figure)
        kept.append(weakref.ref(figure))
    del figure
    gc.collect()
    assert len(kept) == 6 and all(figure() is None for figure in kept)
    for name in "ab":  # the same data give the same bytes
        draw_reliability(tmp_path / name, "set", {"raw": BY_HAND})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_matplotlib_is_imported_by_the_first_plot_whatever_screen_a_notebook_has_named():
    code = """
import os, sys
from fsfm_jax.figures import calibration, comparison, detection, plot, scatter, timeline
assert "matplotlib" not in sys.modules
plot.draw(plot.make_figure(1, 1, ""))
assert "matplotlib.pyplot" not in sys.modules and os.environ["MPLBACKEND"] == "nowhere"
"""
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"MPLBACKEND": "nowhere"}, check=True)


LONELY = Reliability(*(np.zeros(1) for _ in range(5)))


@pytest.mark.parametrize("draw, arguments, message", [
        (draw_scores, ({},), "levels: expected one to 4, found none"),
        (draw_scores, (dict.fromkeys("abcde", SCORED),), "levels: expected one to 4, found a, b, c, d, e"),
        (draw_scores, ({"a": SCORED}, {"b": 0.5}), "thresholds: expected numbers for a; found 0.5 for 'b'"),
        (draw_scores, ({"a": SCORED}, {"a": np.nan}), "thresholds: expected numbers for a; found nan for 'a'"),
        (draw_scores, ({"a": Scored([0.5, 3.0], [0, 1], DEEPFAKE)},), "scores: expected probabilities from 0 to 1"),
        (draw_reliability, ({},), "diagrams: expected one to 4, found none"),
        (draw_reliability, (dict.fromkeys("abcde", LONELY),), "diagrams: expected one to 4, found a, b, c, d, e"),
        (draw_comparison, ([POINTS[0]._replace(value=np.nan)], MODELS), "an AUC in percent, found Point"),
        (draw_comparison, ([POINTS[0]._replace(value=101)], MODELS), "an AUC in percent, found Point"),
        (draw_comparison, ([POINTS[0]._replace(trained=0)], MODELS), "expected at least 1 trained parameter"),
        (draw_comparison, (POINTS, [*"abcdefghijklmnopq"]), "at most 16 models and 6 tunings, found 17 and 2"),
    ])  # fmt: skip
def test_what_cannot_be_drawn_is_refused(tmp_path, draw, arguments, message):
    if draw is draw_comparison:
        arguments = {"dfd": arguments[0]}, arguments[1], TUNINGS
    else:
        arguments = "title", *arguments
    with pytest.raises(ValueError, match=message):
        draw(tmp_path / "a.png", *arguments)
    assert not list(tmp_path.iterdir())


def test_robustness_has_a_line_for_each_set_with_its_band_and_chance():
    line, other = Line([90.0, 80, 45], [85.0, 70, 33], [95.0, 90, 60]), Line([70.0] * 3, [np.nan] * 3, [np.nan] * 3)
    lines = {"A": line, "B": other}
    figure = plot_robustness("detector", [Panel(name, ["none", "90", "10"], lines) for name in "xyzw"])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["x", "y", "z", "w"]
    for axes in figure.axes:
        chance, *lines = axes.get_lines()
        assert set(chance.get_ydata()) == {50} and [text.get_text() for text in axes.get_xticklabels()][0] == "none"
        np.testing.assert_array_equal([drawn.get_ydata() for drawn in lines], [line.values, other.values])
        assert axes.get_ylim() == (30, 100)  # a ten below the lowest bound
        band, nothing = axes.collections
        corners = {tuple(corner) for corner in band.get_paths()[0].vertices}
        assert {(0, 85), (0, 95), (1, 70), (1, 90), (2, 33), (2, 60)} <= corners and not len(nothing.get_paths())
    (legend,) = figure.legends
    assert texts(legend) == ["A", "B", "chance"]
    with pytest.raises(ValueError, match="AUC: expected percent, found 50 to 101"):
        plot_robustness("", [Panel("x", ["none"], {"A": Line([101.0], [50.0], [100.0])})])
