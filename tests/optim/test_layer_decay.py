"""Learning rates and decays by path against the official groups, and the optimizers of fine-tuning by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from fsfm_jax.optim.layer_decay import layer_rate_rules, weight_decay_rules
from fsfm_jax.optim.optimizer import OptimizerSpec, by_rule, make_optimizer
from fsfm_jax.optim.schedules import constant, warmup_cosine
from fsfm_jax.weights.names import CLASSIFIER, our_path

NETWORKS = {"vit_base_patch16_global_pool": 12, "vit_base_patch16_cls_token": 12, "vit_large_patch16_global_pool": 24}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("decay", ["0.75", "0.65", "0.6", "0"])
def test_every_parameter_has_the_official_rate_and_decay(golden, network, decay):
    arrays = golden("schedules")
    paths = [our_path(str(name), CLASSIFIER) for name in arrays[f"groups/{network}/names"]]
    tree = unflatten_dict(dict.fromkeys(paths, 0.0), sep="/")
    rules = layer_rate_rules(NETWORKS[network], float(decay)), weight_decay_rules(0.05)
    for found, name in zip((by_rule(tree, r) for r in rules), ("lr_scale", "weight_decay"), strict=True):
        flat = flatten_dict(found, sep="/")
        official = arrays[f"groups/{network}/lrd_{decay}/{name}"]
        np.testing.assert_allclose([flat[path] for path in paths], official, rtol=1e-12, err_msg=name)


def test_rates_by_hand():
    rules = layer_rate_rules(2, 0.5)
    tree = {
        "encoder": {"pos_embed": 0, "block_00": {"norm1": {"bias": 0}}, "block_01": {"attn": {"qkv": {"kernel": 0}}}},
        "adapter": {"linear1": {"kernel": 0}},
        "classifier": {"kernel": 0},
    }
    assert by_rule(tree, rules) == {
        "encoder": {
            "pos_embed": 0.125,
            "block_00": {"norm1": {"bias": 0.25}},
            "block_01": {"attn": {"qkv": {"kernel": 0.5}}},
        },
        "adapter": {"linear1": {"kernel": 1.0}},
        "classifier": {"kernel": 1.0},
    }


def test_a_part_of_the_encoder_that_is_in_no_layer_is_an_error():
    # A block more than the rules were made for, and a part that they do not know.
    tree = {"encoder": {"block_02": {"norm1": {"bias": 0}}, "register": 0, "cls_token": 0}, "head": {"bias": 0}}
    with pytest.raises(ValueError, match="covers encoder/block_02/norm1/bias, encoder/register;"):
        by_rule(tree, layer_rate_rules(2, 0.5))


@pytest.mark.parametrize("decay", [-0.1, 1.5])
def test_a_decay_outside_its_range_is_refused(decay):
    with pytest.raises(ValueError, match=f"layer_decay: .* found {decay}"):
        layer_rate_rules(2, decay)


# Three steps of the optimizers against their definitions in float64.

GRADIENTS = np.random.default_rng(0).normal(size=(3, 2, 5)).astype(np.float32)
START = np.random.default_rng(1).normal(size=(2, 5)).astype(np.float32)
RATES = (0.1, 0.02, 0.05)


def by_hand(decay: str, decays, factors) -> np.ndarray:
    """Both rows after three steps; row r has decay `decays[r]` and learning rates scaled by `factors[r]`."""
    p, first, second = START.astype(float), 0.0, 0.0
    decays, factors = (np.array(x)[:, None] for x in (decays, factors))
    for t, (g, rate) in enumerate(zip(GRADIENTS.astype(float), RATES, strict=True), 1):
        if decay == "coupled":
            g = g + decays * p
        first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g
        step = first / (1 - 0.9**t) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
        p = p - rate * factors * (step + (decays * p if decay == "decoupled" else 0))
    return p


def run(spec: OptimizerSpec) -> np.ndarray:
    optimizer = make_optimizer(spec)
    params = {"a": START[0], "b": START[1]}
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, gradient, rate):
        updates, state = optimizer.update(gradient, state, params)
        return jax.tree.map(lambda p, u: p - rate * u, params, updates), state

    for gradient, rate in zip(GRADIENTS, RATES, strict=True):
        params, state = step(params, state, {"a": gradient[0], "b": gradient[1]}, rate)
    return np.stack([params["a"], params["b"]])


DECAYS = (("a", 0.3), ("b", 0.0))
FACTORS = (("b", 1.0), ("a", 0.25))


@pytest.mark.parametrize("decay", ["decoupled", "coupled"])
def test_three_steps_equal_the_definition(decay):
    plain = run(OptimizerSpec(0.9, 0.999, 1e-8, DECAYS, None, decay))
    np.testing.assert_allclose(plain, by_hand(decay, (0.3, 0.0), (1.0, 1.0)), rtol=0, atol=2e-6)
    scaled = run(OptimizerSpec(0.9, 0.999, 1e-8, DECAYS, None, decay, FACTORS))
    np.testing.assert_allclose(scaled, by_hand(decay, (0.3, 0.0), (0.25, 1.0)), rtol=0, atol=2e-6)
    assert np.abs(by_hand("decoupled", (0.3, 0.0), (1, 1)) - by_hand("coupled", (0.3, 0.0), (1, 1))).max() > 1e-2


def test_without_clipping_a_large_gradient_keeps_its_length():
    def moment(clip_norm):
        optimizer = make_optimizer(OptimizerSpec(0.9, 0.999, 1e-8, ((".*", 0.0),), clip_norm))
        params = {"a": jnp.zeros(4)}
        _, state = optimizer.update({"a": jnp.full(4, 10.0)}, optimizer.init(params), params)
        (moments,) = [part for part in state if hasattr(part, "mu")]
        return float(jnp.linalg.norm(moments.mu["a"]))

    np.testing.assert_allclose([moment(None), moment(1.0)], [2.0, 0.1], rtol=1e-6)


def test_pretraining_keeps_the_structure_of_its_optimizer_state():
    # Checkpoints of earlier runs depend on it: clipping, moments, decay.
    optimizer = make_optimizer(OptimizerSpec(0.9, 0.95, 1e-8, ((".*", 0.05),), 1.0))
    names = [type(part).__name__ for part in optimizer.init({"a": jnp.zeros(3)})]
    assert names == ["EmptyState", "ScaleByAdamState", "EmptyState"]


def test_an_unknown_kind_of_decay_is_refused():
    with pytest.raises(ValueError, match="optimizer.decay: expected one of decoupled, coupled; found 'l2'"):
        make_optimizer(OptimizerSpec(0.9, 0.999, 1e-8, ((".*", 0.0),), None, "l2"))


def test_scaling_the_rate_scales_peak_and_floor():
    # The official engine hands each group its factor times the scheduled rate, the floor included.
    steps = jnp.array([0.0, 0.5, 1.5, 3.0])
    schedule = jax.vmap(lambda s: warmup_cosine(s, 1e-3, 1e-4, 1.0, 3.0))(steps)
    scaled = jax.vmap(lambda s: warmup_cosine(s, 0.25e-3, 0.25e-4, 1.0, 3.0))(steps)
    np.testing.assert_allclose(scaled, 0.25 * schedule, rtol=1e-6)


def test_a_constant_rate_is_one_float_at_every_step():
    rates = jax.jit(jax.vmap(lambda step: constant(step, 2.5e-5)))(jnp.arange(4, dtype=jnp.int32))
    assert rates.dtype == jnp.float32
    np.testing.assert_allclose(rates, 2.5e-5, rtol=1e-6)
