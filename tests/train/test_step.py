"""What must not change the result of a step: accumulation, devices, and where the state lives."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from flax.traverse_util import flatten_dict, unflatten_dict
from networks import scaled

from fsfm_jax import partition
from fsfm_jax.models.classifier import ClassifierSpec
from fsfm_jax.models.vit import Size
from fsfm_jax.optim import tuning
from fsfm_jax.optim.ema import frozen, moving_average
from fsfm_jax.optim.optimizer import OPTIMIZERS, OptimizerSpec, by_rule, make_optimizer
from fsfm_jax.run.checkpoint import Checkpoints, Retention
from fsfm_jax.tasks.classify import ClassifyTask, ContrastSpec, SphereSpec
from fsfm_jax.train.state import TrainState
from fsfm_jax.train.step import StepSpec, make_step, split_batch

SMALL = dict(
    size=Size(16, 1, 2, 8), pixel_width=16, pixel_depth=1, pixel_heads=2, rep_depth=1, rep_heads=2,
    projection_hidden=16, projection_features=8,
)  # fmt: skip
RULES = ((r".*/(bias|scale)", 0.0), (".*", 0.05))

# With an epsilon above every gradient Adam's steps are in proportion to it. Those of the recipes magnify the rounding
# of a gradient that is nearly 0, as a single number of a bias has here and there.
EVEN = make_optimizer(OptimizerSpec(0.9, 0.95, 1.0, RULES, 1.0))
BATCH, WIDTH = 16, 16


def small_task(kind="ncs", **changes):
    return reference.task(loss=dataclasses.replace(reference.OFFICIAL_LOSS, kind=kind), **SMALL, **changes)


@dataclasses.dataclass(frozen=True)
class Maps:
    """Squared errors of a few maps with the names of a network's, compiled in no time: where the network is not the
    point."""

    def init(self, key):
        shapes = {
            "block_00/attn/qkv/kernel": (WIDTH, 3 * WIDTH), "block_00/mlp/fc1/kernel": (WIDTH, 2 * WIDTH),
            "block_00/mlp/fc2/kernel": (2 * WIDTH, WIDTH), "head/kernel": (WIDTH, 8), "head/bias": (8,),
        }  # fmt: skip
        return unflatten_dict({path: jnp.zeros(shape) for path, shape in shapes.items()}, sep="/")

    def target_part(self, params):
        return {"head": params["head"]}

    def denominators(self, batch):
        return {"error": jnp.float32(len(batch["x"]))}

    def constrain(self, params):
        return params

    def loss(self, params, target, batch, denominators, key):
        block = params["block_00"]
        query, key, value = jnp.split(batch["x"] @ block["attn"]["qkv"]["kernel"], 3, axis=1)
        hidden = jnp.tanh((query + key * value) @ block["mlp"]["fc1"]["kernel"]) @ block["mlp"]["fc2"]["kernel"]
        error = hidden @ params["head"]["kernel"] + params["head"]["bias"][None] - batch["y"]
        error = jnp.sum(error**2) / denominators["error"]
        return error, {"error": error}


def make_maps(seed=0):
    generator = np.random.default_rng(seed)
    return {name: generator.normal(size=(BATCH, n)).astype(np.float32) for name, n in (("x", WIDTH), ("y", 8))}


def make_batch(seed=0):
    generator = np.random.default_rng(seed)
    mask = generator.random((BATCH, 16)).argsort(axis=1) >= 4
    # Region sizes differ a lot between images, so that a mean of ratios is not the ratio of sums.
    region = mask & (generator.random((BATCH, 16)) < generator.random((BATCH, 1)) ** 3)
    image = generator.normal(size=(BATCH, 32, 32, 3)).astype(np.float32)
    return {"image": image, "mask": mask, "region_mask": region}


@functools.cache
def initial_state(task, optimizer=EVEN, trained=".*"):
    """A state at step 0 on the host, of drawn parameters: those of the task take seconds to compile."""
    update = moving_average(lambda count: jnp.zeros(()), task.target_part)

    @jax.jit
    def init(params):
        moments = optimizer.init(tuning.split(params, trained)[0])
        return TrainState(jnp.int32(0), params, moments, update.init(params), None, jnp.bool_(False))

    return jax.device_get(init(scaled(jax.eval_shape(task.init, jax.random.key(0)))))


def placed_step(
    task, devices, fsdp=False, accumulation=1, ratio="global_batch", cadence="optimizer_step", local=False,
    replicas=None, reduce_dtype=jnp.float32, optimizer=EVEN, trained=".*",
):  # fmt: skip
    """A step for the first `devices`, jitted, their mesh, and the state at step 0 where it lives."""
    mesh = partition.make_mesh(jax.devices()[:devices], replicas)
    update = moving_average(lambda count: 0.1 / (1 + count), task.target_part)
    state = initial_state(task, optimizer, trained)._replace(key=jax.random.key(7))
    shardings = partition.state_shardings(state, mesh, fsdp, 16)
    state = jax.device_put(state, shardings)
    spec = StepSpec(accumulation, ratio, cadence, "stop", reduce_dtype)
    alone = partition.batch_sharding(mesh) if local else None
    gather = functools.partial(partition.gather, mesh=mesh, fsdp=fsdp)
    scatter = functools.partial(partition.scatter, mesh=mesh, fsdp=fsdp, fsdp_min_size=16)
    step = make_step(
        task, optimizer, update, lambda s: 0.1 * (1 + s), spec, trained, local=alone, gather=gather, scatter=scatter
    )
    placed = shardings, partition.replicated(mesh)
    step = jax.jit(step, in_shardings=(shardings, partition.batch_sharding(mesh)), out_shardings=placed)
    return step, mesh, state


def run(task, devices, steps=3, make=make_batch, **options):
    """The states after each step, and its loss."""
    step, mesh, state = placed_step(task, devices, **options)
    states, losses = [], []
    for number in range(steps):
        state, metrics = step(state, partition.to_global(make(number), mesh))
        states.append(state)
        losses.append(np.mean(metrics["loss"]))
    return states, np.array(losses)


def relative(one, other):
    """Largest difference of any array, relative to that array's norm."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return max(
        np.linalg.norm(np.asarray(a) - np.asarray(b)) / max(np.linalg.norm(np.asarray(a)), 1e-12) for a, b in pairs
    )


@pytest.fixture(scope="module")
def single():
    """Steps of whole batches on one device."""
    return run(small_task(), 1)


@pytest.fixture(scope="module")
def released():
    """As the released code has it on one device: ratios of each micro-batch, and a target that each of them moves."""
    return run(small_task(), 1, accumulation=2, ratio="micro_batch", cadence="micro_step")


def test_devices_that_gather_alone_over_micro_batches_give_the_numbers_of_the_whole_batch_on_one(single):
    """With a state that is split over the four devices of each replica."""
    (*_, state), losses = run(small_task(), 8, accumulation=2, fsdp=True, local=True, replicas=2)
    np.testing.assert_allclose(losses, single[1], rtol=1e-6)
    for part in ("params", "target", "optimizer"):
        assert relative(getattr(single[0][-1], part), getattr(state, part)) < 1e-6
    for tree in (state.params, state.optimizer[1].mu, state.target.params):
        kernel = tree["encoder"]["block_00"]["mlp"]["fc1"]["kernel"]
        assert {shard.data.shape for shard in kernel.addressable_shards} == {(16, 16)}


def test_devices_that_gather_alone_have_the_released_ratios_and_target_of_one(single, released):
    (*_, one), losses = released
    (*_, state), alone = run(
        small_task(), 8, accumulation=2, ratio="micro_batch", cadence="micro_step", local=True, replicas=2
    )
    np.testing.assert_allclose(alone, losses, rtol=1e-6)
    for part in ("params", "target", "optimizer"):
        assert relative(getattr(one, part), getattr(state, part)) < 1e-5
        assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(getattr(state, part)))
    # Same images and weights as those of the whole batch; only the region ratios differ, and they weigh 0.007.
    assert abs(losses[0] / single[1][0] - 1) > 1e-5


def test_target_moves_per_micro_step_on_request(released):
    state, start = released[0][0], initial_state(small_task())
    assert int(state.target.count) == 2
    # A move towards the old parameters, from which the target started, and one towards the new ones.
    rate = 0.1 / 2
    old, new, target = (t["encoder"]["cls_token"] for t in (start.params, state.params, state.target.params))
    np.testing.assert_allclose(target, old + rate * (new - old), rtol=1e-5, atol=1e-8)


def check_sharded_and_resumed(folder, task, make=make_batch, **options):
    """Two steps on one device and on eight that split everything, and the second once more from a checkpoint."""
    one = {name: value for name, value in options.items() if name not in ("local", "replicas")}
    (*_, one), losses = run(task, 1, steps=2, make=make, **one)
    step, mesh, state = placed_step(task, 8, fsdp=True, **options)
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)
    first, second = (partition.to_global(make(number), mesh) for number in (0, 1))
    state, early = step(state, first)
    checkpoints = Checkpoints(str(folder), Retention(1, 0), asynchronous=False)
    checkpoints.save(state, {})
    straight, late = step(state, second)
    resumed, _ = step(checkpoints.restore(1, like), second)
    checkpoints.close()
    assert any(not leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(straight.optimizer))
    for a, b in zip(jax.tree.leaves(straight._replace(key=0)), jax.tree.leaves(resumed._replace(key=0)), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    np.testing.assert_allclose([np.mean(m["loss"]) for m in (early, late)], losses, rtol=1e-6)
    # Newton and Schulz magnify the rounding of the smallest singular values, by 3.4 in each of five steps at most.
    for part in ("params", "optimizer"):
        assert relative(getattr(one, part), getattr(straight, part)) < 1e-5
    return straight


# AdamW is that of every other test.
@pytest.mark.parametrize("name", sorted(OPTIMIZERS.keys() - {"adamw"}))
def test_every_optimizer_is_sharded_and_resumed_alike(tmp_path, name):
    optimizer = make_optimizer(OptimizerSpec(0.9, 0.95, 1e-8, RULES, 1.0, name=name))
    check_sharded_and_resumed(tmp_path, Maps(), make_maps, optimizer=optimizer)


# The settings of the papers' ablations; negatives come from all devices, so that these do not gather alone.
@pytest.mark.parametrize(
    ("kind", "changes", "options"),
    [
        (
            "infonce", {"reconstructs": False, "target_view": "other_visible", "rep_decoded": "neither"},
            {"accumulation": 2},
        ),
        ("ncs", {"target_view": "masked", "rep_decoded": "regressed"}, {"local": True}),
    ],
    ids=["4a, no pixels, negatives", "4b"],
)  # fmt: skip
def test_every_ablation_is_sharded_and_resumed_alike(tmp_path, kind, changes, options):
    def make(seed):
        generator = np.random.default_rng(seed + 100)
        other = generator.random((BATCH, 16)).argsort(axis=1) >= 4
        view = generator.normal(size=(BATCH, 32, 32, 3)).astype(np.float32)
        return make_batch(seed) | {"other_mask": other, "target_image": view}

    check_sharded_and_resumed(tmp_path, small_task(kind, **changes), make, **options)


# A tuning of a part, of FS-Adapter within its blocks and of GenD; losses over pairs of images, which devices share.
@pytest.mark.parametrize(
    ("model", "losses", "method", "moving"),
    [
        (
            {"reduction": 4, "insertion": "parallel"}, {"contrast": ContrastSpec(0.5, 0.1, 1, "real_fake")},
            tuning.ADAPTER, "adapter|projector|head",
        ),
        # Of a sum that is not near 0, whose last digits would be lost.
        ({"unit_features": True}, {"sphere": SphereSpec(0.1, 0.3)}, "layer_norm", "norm|head"),
    ],
    ids=["adapter", "unit features"],
)  # fmt: skip
def test_a_trained_part_is_sharded_and_resumed_alike_and_moves_alone(tmp_path, model, losses, method, moving):
    spec = ClassifierSpec(
        size=Size(16, 1, 2, 8), image_size=32, classes=2, pooling="mean_patches", drop_path=0.0, dtype=jnp.float32,
        remat="none", **model,
    )  # fmt: skip
    task = ClassifyTask(spec, 2, 0.0, False, reference.IDENTITY, erased=False, **losses)

    def make(seed):
        # Classes of one size would leave a bias that starts at 0 with the rounding noise of a gradient that is 0.
        labels = np.random.default_rng(seed).permutation(np.arange(BATCH) % 3 // 2).astype(np.int32)
        return {"image": make_batch(seed)["image"], "label": labels}

    rule = tuning.TUNINGS[method]
    last = check_sharded_and_resumed(tmp_path, task, make, trained=rule)
    first = initial_state(task, trained=rule)
    before, after = (flatten_dict(state.params, sep="/") for state in (first, last))
    moved = {path for path, array in before.items() if not np.array_equal(array, after[path])}
    assert moved == {path for path in before if re.search(moving, path)} and len(moved) < len(before)


def test_gradients_summed_in_bfloat16_are_rounded_to_it():
    (exact, _), (rounded, _) = (
        run(Maps(), 8, steps=1, make=make_maps, local=True, reduce_dtype=dtype) for dtype in (jnp.float32, jnp.bfloat16)
    )
    worst = relative(*(jax.tree.leaves(state.optimizer[1].mu) for (state,) in (exact, rounded)))
    # Eight numbers rounded to 8 bits, and seven sums of them; the clipping that follows scales both alike.
    assert 1e-4 < worst < 8 * 2**-8


@pytest.mark.parametrize("local", [False, True])
def test_fsdp_splits_gradients_as_their_parameters(local):
    # The results would be split all the same, but each device might have added up whole gradients until then.
    step, mesh, state = placed_step(Maps(), 8, fsdp=True, accumulation=2, local=local)
    text = step.lower(state, partition.to_global(make_maps(), mesh)).as_text()
    split = sum(not leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(state.params))
    constraints = [line for line in text.splitlines() if "sdy.sharding_constraint" in line and '{"data"}' in line]
    assert len(constraints) == split == 4  # all but a bias of 8


def test_a_frozen_target_stays_bit_for_bit():
    params = {"a": np.random.default_rng(0).normal(size=9).astype(np.float32)}
    update = frozen(lambda params: params)
    moved = update.update({"a": params["a"] + 1}, update.init(params))
    assert int(moved.count) == 1
    np.testing.assert_array_equal(moved.params["a"], params["a"])


def test_micro_batches_are_strided():
    batch = {"x": np.arange(6)}
    np.testing.assert_array_equal(split_batch(batch, 2)["x"], [[0, 2, 4], [1, 3, 5]])


def test_decay_rules_are_those_of_the_reference_and_an_uncovered_parameter_is_named(golden):
    from fsfm_jax.models.vit import SIZES
    from fsfm_jax.weights.names import official_name

    arrays = golden("schedules")
    prefix = "groups/fsfm_vit_small_patch16/"
    official = dict(zip(arrays[prefix + "names"], arrays[prefix + "weight_decay_add_weight_decay"], strict=True))
    spec = reference.model_spec(
        size=SIZES["vit_s16"], image_size=224, seen=49, pixel_width=512, pixel_depth=8, pixel_heads=16, rep_heads=16,
        projection_hidden=4096, projection_features=256,
    )  # fmt: skip
    params = jax.eval_shape(dataclasses.replace(reference.task(), model=spec).init, jax.random.key(0))
    decay = by_rule(params, ((r".*/(bias|scale)", 0.0), (".*", 0.05)))
    flat = jax.tree_util.tree_flatten_with_path(decay)[0]
    ours = {official_name("/".join(key.key for key in path)): value for path, value in flat}
    trained = {name: value for name, value in official.items() if not np.isnan(value)}  # NaN: a fixed table
    assert ours == trained
    assert sum(value > 0 for value in ours.values()) == 99
    with pytest.raises(ValueError, match="matches b/bias"):
        by_rule({"a": {"kernel": 1}, "b": {"bias": 2}}, ((".*/kernel", 0.1),))
