"""Erasing and mixing on the device: the released numbers, pairs of the global batch, noise where it belongs."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fsfm_jax.tasks.mixing import fill_erased, kept_share, mix_images, mix_targets

CASES = ["mixup_0.3", "mixup_0.85", "cutmix_inside", "cutmix_clipped", "cutmix_empty", "lam_one"]


@jax.jit
def mixed(images, labels, use_cutmix, ratio, box):
    kept = kept_share(use_cutmix, ratio, box, *images.shape[1:3])
    return mix_images(images, use_cutmix, ratio, box), mix_targets(labels, 2, 0.1, kept), kept


targets = jax.jit(mix_targets, static_argnums=(1, 2))
erased = jax.jit(fill_erased)


def box_of(edges: np.ndarray) -> np.ndarray:
    """Top, left, height, width from first and last rows and columns."""
    top, bottom, left, right = edges.tolist()
    return np.array([top, left, bottom - top, right - left], np.int32)


@pytest.mark.parametrize("case", CASES)
def test_batches_and_targets_are_the_released_ones(golden, case):
    numbers = golden("augment")
    use_cutmix = numbers[f"mix/{case}/use_cutmix"]
    box = box_of(numbers[f"mix/{case}/box_yl_yh_xl_xh"]) if use_cutmix else np.zeros(4, np.int32)
    images = numbers["mix/x"].transpose(0, 2, 3, 1)
    ratio = np.float32(numbers[f"mix/{case}/lam_given"])
    found, soft, _ = mixed(images, numbers["mix/y"].astype(np.int32), use_cutmix, ratio, box)
    assert found.dtype == soft.dtype == jnp.float32
    wanted = numbers[f"mix/{case}/x"].transpose(0, 2, 3, 1)
    if use_cutmix or ratio == 1:
        np.testing.assert_array_equal(found, wanted)  # values are only moved
    # Sums of two products of numbers up to 4.
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)
    np.testing.assert_allclose(soft, numbers[f"mix/{case}/y"], rtol=0, atol=2e-7)


def test_cutmix_counts_the_pixels_that_it_took(golden):
    table = golden("augment")["mix/bbox_table_lam_cy_cx_yl_yh_xl_xh_lamcorrected"]
    share = jax.jit(lambda ratio, box: kept_share(jnp.bool_(True), ratio, box, 224, 224))
    for row in table:
        np.testing.assert_allclose(share(np.float32(row[0]), box_of(row[3:7])), row[7], rtol=0, atol=1e-7)


def test_targets_are_the_released_ones(golden):
    numbers = golden("augment")
    for ratio, wanted in zip((0, 0.25, 0.5, 1), numbers["mix/targets"], strict=True):
        found = targets(numbers["mix/y"].astype(np.int32), 2, 0.1, np.float32(ratio))
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-7)


def test_targets_worked_out_by_hand():
    labels = np.array([0, 1], np.int32)
    found = targets(labels, 2, 0.1, np.float32(0.3))
    np.testing.assert_allclose(found, [[0.32, 0.68], [0.68, 0.32]], rtol=0, atol=2e-7)
    # Four classes, smoothing 0.2: 0.85 for the label and 0.05 for each class.
    found = targets(np.array([3, 1, 0], np.int32), 4, 0.2, np.float32(0.75))
    own = np.full((3, 4), 0.05)
    own[[0, 1, 2], [3, 1, 0]] = 0.85
    np.testing.assert_allclose(found, 0.75 * own + 0.25 * own[::-1], rtol=0, atol=2e-7)
    np.testing.assert_allclose(np.sum(found, 1), 1, rtol=0, atol=5e-7)


@pytest.fixture(scope="module")
def batch():
    return np.random.default_rng(0).normal(size=(16, 12, 10, 3)).astype(np.float32), np.arange(16, dtype=np.int32) % 2


def test_pairs_are_those_of_the_global_batch_on_any_number_of_devices(batch):
    images, labels = batch
    mesh = jax.sharding.Mesh(np.array(jax.devices()).reshape(8), ("data",))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    for use_cutmix, ratio in ((True, 0.5), (False, 0.25)):
        choice = np.bool_(use_cutmix), np.float32(ratio), np.array([2, 3, 4, 5], np.int32)
        alone = mixed(images, labels, *choice)
        spread = mixed(jax.device_put(images, split), jax.device_put(labels, split), *choice)
        for one, many in zip(alone, spread, strict=True):
            np.testing.assert_allclose(one, many, rtol=0, atol=1e-6)
        wanted = images.copy()
        if use_cutmix:
            wanted[:, 2:6, 3:8] = images[::-1, 2:6, 3:8]
        else:
            wanted = 0.25 * images + 0.75 * images[::-1]
        np.testing.assert_allclose(alone[0], wanted, rtol=0, atol=1e-6)
        assert float(alone[2]) == pytest.approx(1 - 20 / 120 if use_cutmix else 0.25, abs=1e-7)


def test_mixing_twice_the_same_way_undoes_cutmix_and_keeps_the_mean_of_mixup(batch):
    images, labels = batch
    box = np.array([0, 0, 12, 4], np.int32)
    once, *_ = mixed(images, labels, np.bool_(True), np.float32(0), box)
    twice, *_ = mixed(once, labels, np.bool_(True), np.float32(0), box)
    assert (np.asarray(once) != images).any()
    np.testing.assert_array_equal(twice, images)
    blended, soft, _ = mixed(images, labels, np.bool_(False), np.float32(0.3), np.zeros(4, np.int32))
    np.testing.assert_allclose(np.mean(blended, 0), images.mean(0), rtol=0, atol=1e-6)
    np.testing.assert_allclose(np.mean(soft, 0), [0.5, 0.5], rtol=0, atol=1e-6)


def test_only_erased_boxes_become_noise(batch):
    images, _ = batch
    boxes = np.zeros((16, 4), np.int32)
    boxes[0], boxes[3], boxes[5], boxes[6] = (1, 2, 3, 4), (0, 0, 12, 10), (4, 4, 0, 5), (4, 4, 5, 0)
    found = np.asarray(erased(images, boxes, jax.random.key(0)))
    changed = (found != images).all(-1)
    assert not (changed ^ (found != images).any(-1)).any()  # all channels of a pixel or none
    wanted = np.zeros((16, 12, 10), bool)
    wanted[0, 1:4, 2:6] = wanted[3] = True
    np.testing.assert_array_equal(changed, wanted)


def test_the_noise_is_standard_normal_per_value_and_follows_the_key(batch):
    images, _ = batch
    boxes = np.tile(np.array([0, 0, 12, 10], np.int32), (16, 1))
    noise = [np.asarray(erased(images, boxes, jax.random.key(seed))) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(noise[0], noise[1])
    assert (noise[0] != noise[2]).mean() > 0.999
    values = noise[0].ravel()
    assert abs(values.mean()) < 5 / math.sqrt(values.size) and abs(values.var() - 1) < 5 * math.sqrt(2 / values.size)
    # No two images, channels or rows share their noise: all numbers differ (two of 5760 rarely agree in 24 bits).
    assert len(np.unique(values)) > 0.99 * values.size
