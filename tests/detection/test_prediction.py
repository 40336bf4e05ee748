"""Scores of a data set: the same on any number of devices and for any batch, each example once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from noise import Noise

from fsfm_jax import partition
from fsfm_jax.detection.prediction import Predictions, Scorer
from fsfm_jax.metrics.scores import Classes
from fsfm_jax.models.classifier import ClassifierSpec
from fsfm_jax.models.vit import Size
from fsfm_jax.resolve.report import EvaluationSpec
from fsfm_jax.tasks.classify import ClassifyTask
from fsfm_jax.tasks.normalisation import Statistics

IDENTITY = Statistics((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
MODEL = ClassifierSpec(Size(16, 1, 2, 8), 16, 2, "mean_patches", 0.0, jnp.float32, "none")
TASK = ClassifyTask(MODEL, 2, 0.0, False, IDENTITY)


@pytest.fixture(scope="module")
def params():
    tree = jax.jit(TASK.init)(jax.random.key(0))
    # The fresh head is so small that all scores are one half.
    return {**tree, "head": jax.tree.map(lambda x: 1e5 * x, tree["head"])}


def scores(params, count: int, batch: int, devices: int) -> Predictions:
    scorer = Scorer(TASK, EvaluationSpec("resize", batch, 2), partition.make_mesh(jax.devices()[:devices]))
    return scorer(scorer.place(params), Noise(count))


def test_scores_do_not_depend_on_devices_or_batch(params):
    one = scores(params, 19, 8, 1)
    assert np.ptp(one.binary_scores().scores) > 0.05
    for batch, devices in ((8, 8), (24, 8), (16, 2)):
        other = scores(params, 19, batch, devices)
        # One forward pass in float32; products of 16 terms in another order.
        np.testing.assert_allclose(other.log_probabilities, one.log_probabilities, rtol=0, atol=1e-5)
        np.testing.assert_array_equal(other.sources, one.sources)


def test_every_row_is_that_of_its_example(params):
    found = scores(params, 5, 8, 8)
    np.testing.assert_array_equal(found.labels, [0, 0, 1, 1, 0])
    assert list(found.videos) == ["v0", "v0", "v1", "v1", "v2"] and list(found.frames) == [0, 1, 0, 1, 0]
    np.testing.assert_allclose(np.exp(found.log_probabilities).sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(found.binary_scores().labels, [False, False, True, True, False])
    np.testing.assert_array_equal(found.binary_scores().scores, found.probabilities()[:, 1])


def test_a_batch_that_does_not_divide_and_weights_that_give_no_number_are_refused(params):
    with pytest.raises(ValueError, match="evaluation.batch: 12 images do not divide among 8 devices"):
        scores(params, 5, 12, 8)
    broken = {**params, "head": jax.tree.map(lambda x: x * np.nan, params["head"])}
    with pytest.raises(ValueError, match="noise:test: 5 of 5 scores are non-finite, the first for 0.png. Check the"):
        scores(broken, 5, 8, 8)


def predictions(log_probabilities, labels, names=("fake", "real"), real=1, **columns) -> Predictions:
    count = len(labels)
    return Predictions(
        "set", np.array(log_probabilities, np.float32), names, real, np.array(labels),
        columns.get("videos", np.array([f"v{k}" for k in range(count)])), columns.get("frames", np.zeros(count, int)),
        columns.get("methods", np.array([""] * count)), np.array([f"{k}.png" for k in range(count)]),
    )  # fmt: skip


def test_scores_near_one_stay_apart_temperature_divides_the_logits_and_losses_are_of_the_labels():
    # As float32 probabilities both would be exactly 1.
    found = predictions(np.log([[1e-9, 1], [1e-10, 1]]), [1, 1]).binary_scores()
    assert found.scores[0] < found.scores[1] < 1
    np.testing.assert_allclose(1 - found.scores, [1e-9, 1e-10], rtol=1e-6)
    found = predictions(np.log([[0.8, 0.2], [0.5, 0.5]]), [0, 1])
    # Odds of 4 become odds of 2 at T = 2.
    np.testing.assert_allclose(found.probabilities(2.0), [[2 / 3, 1 / 3], [0.5, 0.5]], rtol=1e-6)
    found = predictions(np.log([[0.8, 0.2], [0.25, 0.75]]), [0, 0])
    np.testing.assert_allclose(found.losses, -np.log([0.8, 0.25]), rtol=1e-6)


def test_real_is_found_by_name_and_videos_are_means_of_their_frames():
    table = np.log([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]])
    found = predictions(table, [0, 2], ("real", "deepfake", "spoof"), 0)
    np.testing.assert_allclose(found.binary_scores().scores, [0.7, 0.1], rtol=1e-6)
    scores = found.binary_scores()
    assert scores.classes == Classes("real", "forged") and list(scores.labels) == [True, False]
    two = predictions(np.log([[0.7, 0.3]]), [0], ("bona_fide", "attack"), 0)
    assert two.binary_scores().classes == Classes("bona fide", "attack") and two.species is not None
    assert found.species is None
    table = np.log([[0.4, 0.6], [0.2, 0.8], [0.9, 0.1]])
    found = predictions(table, [1, 1, 0], videos=np.array(["a", "a", "b"]), frames=np.array([0, 1, 0]))
    np.testing.assert_allclose(found.by_video().scores, [0.7, 0.1], rtol=1e-6)


def test_columns_of_the_file():
    found = predictions(np.log([[0.8, 0.2]]), [0], methods=np.array(["swap"]))
    columns = found.columns(2.0)
    names = ["dataset", "video", "frame", "label", "class", "method", "score", "forged", "calibrated", "source"]
    assert list(columns) == names
    assert columns["class"][0] == "fake" and columns["method"][0] == "swap"
    found = [columns[name][0] for name in ("score", "forged", "calibrated")]
    np.testing.assert_allclose(found, [0.2, 0.8, 1 / 3], rtol=1e-6)
    three = predictions(np.log([[0.7, 0.2, 0.1]]), [0], ("real", "deepfake", "spoof"), 0).columns(None)
    np.testing.assert_allclose(three["forged"], [0.3], rtol=1e-6)
    assert "calibrated" not in three and [n for n in three if n.startswith("probability/")] == [
        "probability/real", "probability/deepfake", "probability/spoof",
    ]  # fmt: skip
