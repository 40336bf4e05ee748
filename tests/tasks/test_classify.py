"""The objective of fine-tuning: what the loss is, what is random in it, and what a step keeps in place."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import scaled

from fsfm_jax import losses
from fsfm_jax.models.antispoof import AntiSpoofSpec
from fsfm_jax.models.classifier import Classifier, ClassifierSpec
from fsfm_jax.models.vit import Size
from fsfm_jax.tasks.classify import ClassifyTask, ContrastSpec, FocalSpec, SphereSpec
from fsfm_jax.tasks.normalisation import Statistics, normalise

STATISTICS = Statistics((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
TINY = dict(size=Size(16, 2, 2, 8), image_size=16, dtype=jnp.float32, remat="none")
PLAIN = ClassifyTask(
    ClassifierSpec(classes=2, pooling="mean_patches", drop_path=0.0, **TINY), 2, 0.1, True, STATISTICS
)  # fmt: skip
SPOOF = ClassifyTask(
    AntiSpoofSpec(norm_over="tokens", drop_path=0.0, dropout=0.5, **TINY), 2, 0.0, False, STATISTICS
)  # fmt: skip


def batch(cutmix=False, ratio=1.0, box=(0, 0, 0, 0), erase=(0, 0, 0, 0), size=4) -> dict:
    images = np.random.default_rng(0).integers(0, 256, (size, 16, 16, 3), np.uint8)
    return {
        "image": images, "label": np.arange(size) % 2, "erase": np.tile(np.array(erase), (size, 1)),
        "mix_cutmix": np.full(size, cutmix), "mix_ratio": np.full(size, ratio, np.float32),
        "mix_box": np.tile(np.array(box), (size, 1)),
    }  # fmt: skip


def parameters_of(task) -> dict:
    return scaled(jax.eval_shape(task.init, jax.random.key(0)))


@pytest.fixture(scope="module")
def parameters():
    """Parameters of the plain task with a head that says something."""
    return parameters_of(PLAIN)


@pytest.fixture(scope="module")
def loss(parameters):
    """`loss(batch, seed)` of the plain task."""
    compiled = jax.jit(lambda rows, key: PLAIN.loss(parameters, {}, rows, PLAIN.denominators(rows), key)[0])
    return lambda rows, seed=0: float(compiled(rows, jax.random.key(seed)))


@jax.jit
def _log_probabilities(parameters, images):
    return jax.nn.log_softmax(Classifier(PLAIN.model).apply({"params": parameters}, images, False).logits)


def log_probabilities(parameters, images: np.ndarray) -> np.ndarray:
    return np.asarray(_log_probabilities(parameters, images))


def normalised(rows: dict) -> np.ndarray:
    return np.asarray(jax.jit(normalise, static_argnums=1)(rows["image"], STATISTICS))


def test_loss_is_the_mean_over_images_against_smoothed_labels(parameters, loss):
    rows = batch()
    logs = log_probabilities(parameters, normalised(rows))
    targets = np.where(np.arange(4)[:, None] % 2 == np.arange(2), 0.95, 0.05)
    assert loss(rows) == pytest.approx(-np.mean(np.sum(targets * logs, axis=1)), rel=1e-5)


def test_the_focal_loss_takes_the_place_of_cross_entropy(parameters):
    task = dataclasses.replace(PLAIN, mixed=False, smoothing=0.0, focal=FocalSpec(2.0, (0.25, 0.75)))
    rows = batch()
    total, terms = jax.jit(lambda r: task.loss(parameters, {}, r, task.denominators(r), jax.random.key(0)))(rows)
    picked = log_probabilities(parameters, normalised(rows))[np.arange(4), np.arange(4) % 2]
    expected = -np.mean(np.array([0.25, 0.75] * 2) * (1 - np.exp(picked)) ** 2 * picked)
    assert terms.keys() == {"focal"} and float(total) == pytest.approx(expected, rel=1e-5)


def test_mixup_mixes_images_and_targets_with_the_partner(parameters, loss):
    rows = batch(ratio=0.7)
    images = normalised(rows)
    logs = log_probabilities(parameters, 0.7 * images + 0.3 * images[::-1])
    own = np.where(np.arange(4)[:, None] % 2 == np.arange(2), 0.95, 0.05)
    expected = -np.mean(np.sum((0.7 * own + 0.3 * own[::-1]) * logs, axis=1))
    assert loss(rows) == pytest.approx(expected, rel=1e-5)


def test_cutmix_counts_the_pixels_of_its_box(parameters, loss):
    rows = batch(cutmix=True, ratio=0.123, box=(4, 8, 8, 8))  # a quarter of 16 x 16
    images = normalised(rows)
    mixed = images.copy()
    mixed[:, 4:12, 8:16] = images[::-1, 4:12, 8:16]
    logs = log_probabilities(parameters, mixed)
    own = np.where(np.arange(4)[:, None] % 2 == np.arange(2), 0.95, 0.05)
    expected = -np.mean(np.sum((0.75 * own + 0.25 * own[::-1]) * logs, axis=1))
    assert loss(rows) == pytest.approx(expected, rel=1e-5)


def test_erased_boxes_are_noise_that_the_key_decides(loss):
    rows = batch(erase=(0, 0, 16, 16))
    assert loss(rows, 1) == loss(rows, 1) != loss(rows, 2)
    assert loss(batch(), 1) == loss(batch(), 2)


def test_without_erasing_boxes_are_left_alone(parameters, loss):
    rows = batch(erase=(0, 0, 16, 16))
    task = dataclasses.replace(PLAIN, erased=False)
    found = jax.jit(lambda r, key: task.loss(parameters, {}, r, task.denominators(r), key)[0])(rows, jax.random.key(1))
    assert float(found) == pytest.approx(loss(batch()), rel=1e-6) != loss(rows, 1)


def test_drop_path_and_dropout_draw_from_the_key():
    task = dataclasses.replace(PLAIN, model=dataclasses.replace(PLAIN.model, drop_path=0.5), mixed=False)
    for random in (task, SPOOF):
        tree, rows = parameters_of(random), batch(size=8)
        compiled = jax.jit(lambda key, t=random, p=tree, r=rows: t.loss(p, {}, r, t.denominators(r), key)[0])
        values = [float(compiled(jax.random.key(seed))) for seed in (0, 0, 1)]
        assert values[0] == values[1] != values[2]
        run = jax.jit(random.log_probabilities)
        again = run(tree, rows["image"])
        np.testing.assert_array_equal(again, run(tree, rows["image"]))
        np.testing.assert_allclose(np.exp(again).sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("kind", losses.CONTRASTS)
def test_the_contrast_is_added_under_its_name(kind):
    model = dataclasses.replace(PLAIN.model, reduction=2)
    task = dataclasses.replace(PLAIN, model=model, mixed=False, contrast=ContrastSpec(0.3, 0.1, 1, kind))
    tree, rows = parameters_of(task), batch(size=6)

    @jax.jit
    def run(tree, rows):
        contrast = Classifier(model).apply({"params": tree}, normalise(rows["image"], STATISTICS), False).contrast
        contrast = losses.CONTRASTS[kind](contrast, rows["label"], 1, 0.1).mean()
        return *task.loss(tree, {}, rows, task.denominators(rows), jax.random.key(0)), contrast

    total, terms, contrast = run(tree, rows)
    assert terms.keys() == {"cross_entropy", kind, "open_units"}
    np.testing.assert_allclose(total, terms["cross_entropy"] + 0.3 * terms[kind], rtol=1e-6)
    np.testing.assert_allclose(terms[kind], contrast, rtol=1e-5)


def test_losses_of_unit_features_are_added_under_their_names(parameters):
    model = dataclasses.replace(PLAIN.model, unit_features=True)
    task = dataclasses.replace(PLAIN, model=model, mixed=False, sphere=SphereSpec(0.5, 0.1))
    rows = batch(size=6)

    # As the first of two micro-batches: it has half of each mean.
    @jax.jit
    def run(rows):
        counts = jax.tree.map(lambda count: 2 * count, task.denominators(rows))
        found = Classifier(model).apply({"params": parameters}, normalise(rows["image"], STATISTICS), False)
        return *task.loss(parameters, {}, rows, counts, jax.random.key(0)), found

    total, terms, found = run(rows)
    z = np.asarray(found.features, np.float64)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-6)
    head = jax.tree.map(np.asarray, parameters["head"])
    np.testing.assert_allclose(found.logits, z @ head["kernel"] + head["bias"], rtol=0, atol=1e-5)
    square = np.array([[np.sum((a - b) ** 2) for a in z] for b in z])
    alike = [square[i, j] for i in range(6) for j in range(i) if (i - j) % 2 == 0]
    even = np.log(np.mean([np.exp(-2 * square[i, j]) for i in range(6) for j in range(i)]))
    assert terms.keys() == {"cross_entropy", "uniformity", "alignment"}
    np.testing.assert_allclose([terms["uniformity"], terms["alignment"]], [even / 2, np.mean(alike) / 2], rtol=1e-5)
    expected = terms["cross_entropy"] + 0.5 * terms["uniformity"] + 0.1 * terms["alignment"]
    np.testing.assert_allclose(total, expected, rtol=1e-6)


def test_a_step_leaves_unit_columns_in_the_anti_spoofing_classifier_only():
    moved = parameters_of(SPOOF)
    kernel = np.asarray(jax.jit(SPOOF.constrain)(moved)["classifier"]["kernel"])
    np.testing.assert_allclose(np.linalg.norm(kernel, axis=1), 1, rtol=1e-6)
    assert PLAIN.constrain(moved) is moved
