"""Steps that are not finite: what they leave as it was, and who is to blame."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from networks import scaled
from roots import BATCH, Roots, bad, good, program

from fsfm_jax import partition
from fsfm_jax.models.vit import Size
from fsfm_jax.optim.ema import moving_average
from fsfm_jax.train.state import TrainState
from fsfm_jax.train.suspects import SuspectImages, Suspects


def same(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


def moving(state: TrainState) -> tuple:
    """What a step is to move."""
    return state.params, state.optimizer, state.target.params


# What one row is made of.
FAULTS = {"both": -1.0, "gradient": 0.0, "loss": 1000.0, "input": np.nan}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    ("parts", "devices", "cadence"),
    [(1, 1, "optimizer_step"), (2, 1, "micro_step"), (2, 8, "optimizer_step")],
)
def test_a_step_that_is_skipped_leaves_every_bit_and_counts(parts, devices, cadence, fault):
    step, state, placed = program("skip_step", parts, devices, cadence)
    state, metrics = step(state, placed(good(0)))
    assert metrics["skipped"] == 0
    # The row of the first micro-batch, and of the last.
    for row in (0, BATCH - 1):
        after, metrics = step(state, placed(bad(1, row, FAULTS[fault])))
        assert metrics["skipped"] == 1 and same(moving(after), moving(state))
        assert (int(after.step), int(after.target.count)) == (2, 2 * (parts if cadence == "micro_step" else 1))
        assert np.isfinite(metrics["loss"]).all() == (fault == "gradient")
    # The next one is the step that it would have been, at its own place in the schedules.
    fresh = state._replace(step=after.step, target=state.target._replace(count=after.target.count))
    one, other = (moving(step(start, placed(good(2)))[0]) for start in (after, fresh))
    assert same(one, other) and not same(one, moving(state))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_run_that_is_to_stop_keeps_the_parameters_that_failed(fault):
    step, state, placed = program("stop", 1, 1)
    state, _ = step(state, placed(good(0)))
    assert int(state.step) == 1
    after, metrics = step(state, placed(bad(1, 5, FAULTS[fault])))
    assert np.isfinite(metrics["gradient_norm"]) == (fault == "loss") and "skipped" not in metrics
    # The loop has begun another step before it knows; it must not move anything either.
    for batch in (good(2), bad(3, 1, -1.0), good(4)):
        assert same((after.params, after.target.params), (state.params, state.target.params))
        assert int(after.step) == 1 and bool(after.failed)
        after, _ = step(after, placed(batch))


def test_released_skipping_counts_micro_batches_and_looks_at_the_loss_alone():
    step, state, placed = program("skip", 2, 1)
    after, metrics = step(state, placed(bad(0, 0, -1.0)))  # the first of two: the gradients of the second count
    np.testing.assert_array_equal(metrics["skipped"], [1, 0])
    assert not same(moving(after), moving(state)) and np.isfinite(after.params["w"]).all()
    after, metrics = step(state, placed(bad(0, 1, -1.0)))
    np.testing.assert_array_equal(metrics["skipped"], [0, 1])
    assert same(moving(after), moving(state))
    after, metrics = step(state, placed(bad(0, 1, 0.0)))
    assert not metrics["skipped"].any() and not np.isfinite(after.params["w"]).any()


def searched(batch, number=1, devices=8, parts=2):
    asked = []

    def record(position):
        asked.append(position)
        return f"face {position}.png"

    mesh = partition.make_mesh(jax.devices()[:devices])
    _, state, _ = program("stop", parts, devices)
    search = Suspects(Roots(), parts, mesh, record)
    return search(number, state, batch), asked


def test_images_to_blame_have_a_position_and_a_name():
    batch = bad(0, 3, -1.0)
    batch["x"][14, 2] = np.inf
    found, asked = searched(batch, number=3)
    # Two steps of 16 lie before.
    assert (found.first, found.last) == (32, 47) and asked == [35, 46]
    names = ("agreement", "projection", "root", "x of the batch")
    assert found.images == {35: ("root",), 46: names}
    assert f"not finite alone: 35 (face 35.png: root), 46 (face 46.png: {', '.join(names)})" in str(found)
    assert found.to_json()["images"][1] == {"position": 46, "record": "face 46.png", "not_finite": [*names]}


def test_without_an_image_to_blame_and_with_all_of_them_none_is_named():
    found, asked = searched(good(0))
    assert found.images == {} and not asked and "each alone is finite" in str(found)
    found, asked = searched({"x": -good(0)["x"]})
    assert len(found.images) == BATCH and not asked and "look for the cause in the parameters" in str(found)
    images, records = {place: ("root",) for place in range(7)}, {place: f"face {place}" for place in range(7)}
    many = SuspectImages(0, 99, images, records)
    assert str(many).endswith("4 (face 4: root) and 2 more")


def test_positions_are_those_of_the_host_that_loaded_them(monkeypatch):
    """The second of two hosts: it has every other example, and its rows are the second half of the global batch."""
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    half = BATCH // 2
    others = {"x": good(0)["x"][:half], "row": np.arange(0, BATCH, 2, dtype=np.int32)}

    def to_global(rows, mesh):
        return {name: jnp.concatenate([others[name], value]) for name, value in rows.items()}

    monkeypatch.setattr(partition, "to_global", to_global)
    mine = {"x": good(1)["x"][:half]}
    mine["x"][3] = -1.0
    others["x"][2] = -1.0
    found, asked = searched(mine, number=2, devices=1)
    assert asked == [16 + 4, 16 + 7] == list(found.images) and (found.first, found.last) == (16, 31)


def test_a_pretraining_image_of_nans_is_named():
    task = reference.task(
        size=Size(16, 1, 2, 8), pixel_width=16, pixel_depth=1, pixel_heads=2, rep_depth=1, rep_heads=2,
        projection_hidden=16, projection_features=8,
    )  # fmt: skip
    generator = np.random.default_rng(0)
    mask = generator.random((BATCH, 16)).argsort(axis=1) >= 4
    batch = {"image": generator.normal(size=(BATCH, 32, 32, 3)).astype(np.float32), "mask": mask, "region_mask": mask}
    batch["image"][6] = np.nan
    batch["region_mask"] = mask & (np.arange(BATCH) % 2 == 1)[:, None]  # half of them have no region: no error
    params = scaled(jax.eval_shape(task.init, jax.random.key(0)))
    state = TrainState(0, params, None, moving_average(None, task.target_part).init(params), jax.random.key(0), False)
    mesh = partition.make_mesh(jax.devices()[:1])
    found = Suspects(task, 2, mesh, str)(1, state, batch)
    assert found.images.keys() == {6}
    # Without a region there is no error of it.
    assert {"agreement", "image of the batch", "masked", "projection"} <= {*found.images[6]} <= {
        "agreement", "image of the batch", "instance", "masked", "projection",
    }  # fmt: skip


def test_what_a_step_finds_does_not_depend_on_devices_and_micro_batches():
    found = []
    # On one device nothing gathers alone.
    for parts, devices, per_image in ((1, 1, True), (2, 1, True), (1, 8, False), (2, 8, True)):
        step, state, placed = program("stop", parts, devices, per_image=per_image)
        _, metrics = step(state, placed(good(0)))
        found.append([metrics[name] for name in ("feature_std", "target_cosine", "target_distance", "target_moved")])
    np.testing.assert_allclose(found[1:], np.broadcast_to(found[0], (len(found) - 1, 4)), rtol=1e-5)
