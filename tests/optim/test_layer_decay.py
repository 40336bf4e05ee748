"""Learning rates and decays by path against the official groups, and schedules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from fsfm_jax.optim.layer_decay import layer_rate_rules, weight_decay_rules
from fsfm_jax.optim.optimizer import by_rule
from fsfm_jax.optim.schedules import constant
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
        "adapter": {"linear1": {"kernel": 0}}, "classifier": {"kernel": 0},
    }  # fmt: skip
    assert by_rule(tree, rules) == {
        "encoder": {
            "pos_embed": 0.125, "block_00": {"norm1": {"bias": 0.25}}, "block_01": {"attn": {"qkv": {"kernel": 0.5}}},
        },
        "adapter": {"linear1": {"kernel": 1.0}}, "classifier": {"kernel": 1.0},
    }  # fmt: skip


def test_only_matrices_of_base_models_decay():
    leaves = (
        "cls_token", "reg_token", "pos_embed", "pre_norm/scale", "patch_embed/kernel", "block_00/ls1/scale",
        "block_00/attn/relative_positions/table", "block_00/attn/qkv/bias", "block_00/mlp/gate/kernel",
        "block_00/mlp/gate/bias",
    )  # fmt: skip
    tree = unflatten_dict({f"encoder/{leaf}": 0 for leaf in leaves}, sep="/")
    found = flatten_dict(by_rule(tree, weight_decay_rules(0.05))["encoder"], sep="/")
    assert {leaf for leaf, decay in found.items() if decay} == {"patch_embed/kernel", "block_00/mlp/gate/kernel"}
    rates = flatten_dict(by_rule(tree, layer_rate_rules(1, 0.5))["encoder"], sep="/")
    assert {leaf for leaf, rate in rates.items() if rate == 0.5} == {leaf for leaf in leaves if "block" in leaf}


def test_a_part_of_the_encoder_that_is_in_no_layer_is_an_error():
    # A block more than the rules were made for, and a part that they do not know.
    tree = {"encoder": {"block_02": {"norm1": {"bias": 0}}, "register": 0, "cls_token": 0}, "head": {"bias": 0}}
    with pytest.raises(ValueError, match="matches encoder/block_02/norm1/bias, encoder/register;"):
        by_rule(tree, layer_rate_rules(2, 0.5))
    for decay in (-0.1, 1.5):
        with pytest.raises(ValueError, match=f"layer_decay: .* found {decay}"):
            layer_rate_rules(2, decay)


def test_a_constant_rate_is_one_float_at_every_step():
    rates = jax.jit(jax.vmap(lambda step: constant(step, 2.5e-5)))(jnp.arange(4, dtype=jnp.int32))
    assert rates.dtype == jnp.float32
    np.testing.assert_allclose(rates, 2.5e-5, rtol=1e-6)
