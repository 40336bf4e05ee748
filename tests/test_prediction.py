"""Scores of a data set: the same on any number of devices and for any batch, each example once, and the file."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fsfm_jax import partition, records
from fsfm_jax.data.photo import encode_png
from fsfm_jax.models.classifier import ClassifierSpec
from fsfm_jax.models.vit import Size
from fsfm_jax.prediction import EvaluationSpec, compiled_scorer, predict
from fsfm_jax.tasks.classify import ClassifyTask
from fsfm_jax.tasks.normalisation import Statistics

IDENTITY = Statistics((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
MODEL = ClassifierSpec(Size(16, 1, 2, 8), 16, 2, "mean_patches", 0.0, jnp.float32, False)
TASK = ClassifyTask(MODEL, 2, 0.0, False, IDENTITY)


class Noise:
    """Random pictures with labels, two frames to a video."""

    name, class_names, real = "noise:test", ("fake", "real"), 1

    def __init__(self, count: int):
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> dict:
        image = np.random.default_rng(index).integers(0, 256, (18, 20, 3), np.uint8)
        return {
            records.IMAGE: encode_png(image, 1), records.LABEL: index // 2 % 2, records.VIDEO: f"v{index // 2}",
            records.FRAME: index % 2, records.METHOD: "" if index // 2 % 2 else "noise", records.SOURCE: f"{index}.png",
        }  # fmt: skip


@pytest.fixture(scope="module")
def params():
    tree = jax.jit(TASK.init)(jax.random.key(0))
    # The fresh head is so small that all scores are one half.
    return {**tree, "head": jax.tree.map(lambda x: 1e5 * x, tree["head"])}


def scores(params, count: int, batch: int, devices: int):
    mesh = partition.make_mesh(jax.devices()[:devices])
    placed = jax.device_put(params, partition.replicated(mesh))
    return predict(compiled_scorer(TASK, mesh), placed, Noise(count), 16, EvaluationSpec("resize", batch), mesh)


def test_scores_do_not_depend_on_devices_or_batch(params):
    one = scores(params, 19, 8, 1)
    assert np.ptp(one.score) > 0.05
    for batch, devices in ((8, 8), (24, 8), (16, 2)):
        other = scores(params, 19, batch, devices)
        # One forward pass in float32; products of 16 terms in another order.
        np.testing.assert_allclose(other.probabilities, one.probabilities, rtol=0, atol=1e-5)
        np.testing.assert_array_equal(other.sources, one.sources)


def test_every_row_is_that_of_its_example(params):
    found = scores(params, 5, 8, 8)
    np.testing.assert_array_equal(found.labels, [0, 0, 1, 1, 0])
    assert list(found.videos) == ["v0", "v0", "v1", "v1", "v2"] and list(found.frames) == [0, 1, 0, 1, 0]
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(found.score, found.probabilities[:, 1])


def test_a_batch_that_does_not_divide_is_refused(params):
    with pytest.raises(ValueError, match="evaluation.batch: 12 images do not divide among 8 devices"):
        scores(params, 5, 12, 8)


def test_the_file_has_a_row_for_each_frame_with_all_digits(params, tmp_path):
    found = scores(params, 5, 8, 8)
    found.write(tmp_path / "predictions.csv")
    rows = list(csv.DictReader((tmp_path / "predictions.csv").read_text().splitlines()))
    assert [float(row["score"]) for row in rows] == [float(value) for value in found.score]
    assert rows[0] | {"score": ""} == {
        "dataset": "noise:test", "video": "v0", "frame": "0", "label": "0", "method": "noise", "score": "",
        "source": "0.png",
    }  # fmt: skip
