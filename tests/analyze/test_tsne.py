"""t-SNE: affinities by hand, its gradient against autodiff, its objective against scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.manifold import TSNE

from fsfm_jax.analyze import tsne
from fsfm_jax.analyze.features import principal_components


def clusters() -> np.ndarray:
    random = np.random.default_rng(3)
    return np.concatenate([random.normal(size=(20, 6)) + 4 * random.normal(size=6) for _ in range(3)])


@pytest.mark.parametrize("scale", [1, 1e-15, 1e15])
def test_affinities_of_three_points_by_hand(scale):
    # A row with two neighbours at different distances has the shares 3/4 and 1/4 for the nearer and the farther one if
    # their entropy is asked for, wherever they are.
    perplexity = np.exp(-0.75 * np.log(0.75) - 0.25 * np.log(0.25))
    found = tsne.affinities(scale * np.array([[0.0], [1.0], [3.0]]), perplexity)
    conditional = np.array([[0, 3, 1], [3, 0, 1], [1, 3, 0]]) / 4
    np.testing.assert_allclose(found, (conditional + conditional.T) / 6, atol=1e-12)


def test_affinities_have_the_perplexity_and_do_not_depend_on_rows_at_once(monkeypatch):
    points = clusters()
    whole = tsne.affinities(points, 10)
    np.testing.assert_allclose([whole.sum(), np.abs(whole - whole.T).max(), np.trace(whole)], [1, 0, 0], atol=1e-12)
    monkeypatch.setattr(tsne, "ROWS", 7)
    np.testing.assert_allclose(tsne.affinities(points, 10), whole, rtol=1e-9)
    squared = tsne._squared_distances(points, points)
    rows = tsne._neighbours(squared, 0, 10)
    entropy = -(rows * np.log(np.where(rows > 0, rows, 1))).sum(axis=1)
    np.testing.assert_allclose(np.exp(entropy), 10, rtol=1e-9)


def test_the_gradient_is_that_of_the_divergence():
    points = clusters()[:9]
    joint, places = tsne.affinities(points, 3), np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)

    def objective(at):
        # Without square roots there is no corner at a point itself.
        weights = 1 / (1 + jnp.sum((at[:, None] - at[None]) ** 2, axis=-1)) * (1 - jnp.eye(9, dtype=np.float32))
        shares = weights / jnp.sum(weights) + jnp.eye(9, dtype=np.float32)
        return jnp.sum(joint.astype(np.float32) * -jnp.log(shares))

    found = np.asarray(tsne.gradient(jnp.asarray(joint, np.float32), jnp.asarray(places)))
    np.testing.assert_allclose(found, np.asarray(jax.grad(objective)(jnp.asarray(places))), rtol=1e-4, atol=1e-6)
    step = 1e-4 * found / np.linalg.norm(found)
    slope = (tsne.divergence(joint, places + step) - tsne.divergence(joint, places - step)) / 2e-4
    assert slope == pytest.approx(float(np.linalg.norm(found)), rel=1e-2)  # a difference of float32 places


def test_the_objective_is_that_of_scikit_learn_and_as_low():
    points = clusters()
    start = principal_components(points)
    start = start / start[:, 0].std() * 1e-4
    theirs = TSNE(perplexity=10, method="exact", init=start, random_state=0)
    places = theirs.fit_transform(points)
    joint = tsne.affinities(points, 10)
    # Their perplexities are right to 1e-5, and the divergence that they tell is that before the last step.
    assert tsne.divergence(joint, places) == pytest.approx(theirs.kl_divergence_, rel=1e-3)
    ours = tsne.divergence(joint, tsne.embed(points, start, 10))
    assert ours == pytest.approx(theirs.kl_divergence_, rel=1e-2)


def test_equal_points_are_no_trouble():
    points = np.repeat(clusters()[:3], 4, axis=0)
    assert np.isfinite(tsne.embed(points, principal_components(points), 3)).all()


@pytest.mark.parametrize("points, perplexity, text", [
        (np.zeros((5001, 1)), 30, "at most 5000 points, found 5001; lower --images or use --method=pca"),
        (np.zeros((5, 2)), 4, "a perplexity of 1 to less than 4, found 4"),
        (np.full((5, 2), np.nan), 2, "finite features, found NaN"),
    ])  # fmt: skip
def test_what_cannot_be_embedded_says_so(points, perplexity, text):
    with pytest.raises(ValueError, match=text):
        tsne.affinities(points, perplexity)
