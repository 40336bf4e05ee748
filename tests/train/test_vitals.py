"""Watched numbers against ones worked out by hand, and what they cost in messages between devices."""

import jax.numpy as jnp
import numpy as np
import pytest
from roots import WIDTH, good, program

from fsfm_jax.compile_check.hlo import Module
from fsfm_jax.compile_check.program import collectives
from fsfm_jax.data.sources import open_mixture
from fsfm_jax.data.views import WHOLE
from fsfm_jax.train import vitals


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def spread(rows):
    return vitals.of_images({"projection": jnp.asarray(rows), "agreement": jnp.zeros(rows.shape[:-1])})["feature_std"]


def test_spread_of_features():
    rows = unit(np.random.default_rng(0).normal(size=(2, 4000, 32)).astype(np.float32))
    assert spread(rows) == pytest.approx(1, abs=0.01)
    # All one point: nothing but rounding.
    assert spread(np.broadcast_to(rows[0, 0], (4000, 32))) < 1e-3
    # Half of them at one end of one axis, half at the other: its deviation is 1, that of the 31 others 0.
    poles = np.zeros((2, 10, 32), np.float32)
    poles[0, :, 5], poles[1, :, 5] = 1, -1
    assert spread(poles) == pytest.approx(32**0.5 / 32, rel=1e-6)
    # Lengths do not matter; zeros are one point; a NaN is not passed over.
    assert spread(rows * np.arange(1, 4001, dtype=np.float32)[:, None]) == pytest.approx(float(spread(rows)), rel=1e-5)
    assert spread(np.zeros((10, 32), np.float32)) == 0
    rows[1, 7, 3] = np.nan
    assert np.isnan(spread(rows))


def test_cosines_are_averaged_over_images_and_half_precision_is_summed_in_single():
    rows = {"projection": jnp.ones((2, 3, 4)), "agreement": jnp.array([[1.0, 0.5, 0.0], [-1.0, 1.0, 0.0]])}
    assert vitals.of_images(rows)["target_cosine"] == pytest.approx(0.25)
    assert vitals.of_images({}) == {}
    rows = jnp.asarray(np.random.default_rng(0).normal(size=(1000, 4)) + 1, jnp.bfloat16)
    found = vitals.of_images({"projection": rows, "agreement": jnp.ones(1000, jnp.bfloat16)})
    exact = unit(np.asarray(rows, np.float64)).std(axis=0).mean() * 2
    assert found["target_cosine"] == 1 and found["feature_std"] == pytest.approx(exact, rel=1e-5)


def test_distances_of_the_target():
    def tree(vector, scalar, corner):
        return {"a": jnp.array([vector]), "b": jnp.float32(scalar), "c": jnp.array([[corner, 12.0], [0.0, 0.0]])}

    found = vitals.of_target(tree([3.0, 4.0], 2.0, 5.0), tree([3.0, 4.0], 0.0, 0.0), tree([0.0, 4.0], 3.0, 84.0))
    # The target is (3, 4, 12) or 13 long, and 2 and 5 away. Its vectors were 5 long, and went 3 and 3; the matrix went,
    # too, and is not asked.
    assert found == {"target_distance": pytest.approx(29**0.5 / 13), "target_moved": pytest.approx(18**0.5 / 5)}
    assert vitals.of_target({}, {}, {}) == {}


@pytest.mark.parametrize("per_image", [True, False])
def test_rows_are_summed_over_devices_once_a_step(per_image):
    """Squares, rows and cosines are one message, however many micro-batches there are, and no row is sent."""
    sums = {}
    for parts in (1, 2):
        step, state, placed = program("stop", parts, 8, per_image=per_image)
        module = Module.parse(step.lower(state, placed(good(0))).compile().as_text())
        found = collectives(module, 8)
        assert {one.kind for one in found} == {"all-reduce"}
        carried = [
            times for _, instruction, times in module.everywhere() if instruction.op.startswith("all-reduce")
            for shape in instruction.shapes if shape.elements == 2 * WIDTH + 1
        ]  # fmt: skip
        sums[parts] = sum(carried), sum(one.count for one in found)
    assert sums[1][0] == sums[2][0] == 1
    if per_image:
        assert sums[1] == sums[2]


def test_an_example_is_found_again_by_its_position():
    from fsfm_jax.data.masking import MaskSpec
    from fsfm_jax.data.photo import decode_image
    from fsfm_jax.data.stream import Stream, StreamSpec, order

    sources = open_mixture("samples:train@0.5,synthetic:32@0.5")
    spec = StreamSpec(3, 4, 16, WHOLE, MaskSpec("random", 0.75, "image", "exact"), 4, False, 0, 1)
    examples = order(sources, spec.seed)
    for host in (0, 1):
        stream = Stream(sources, spec, 2, host, 2)
        rows = next(stream)["image"]
        stream.close()
        for index, image in enumerate(rows):
            example = examples[2 * 4 + host + 2 * index]
            np.testing.assert_array_equal(image, decode_image(example["image"], example["source"]))
            assert example["source"]
