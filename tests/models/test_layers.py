"""Attention and GELU with gradients of their own, against the differentiated formulas in float64."""

import collections
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import drawn, value_and_gradients
from jax import enable_x64
from networks import drawn as draw
from networks import scaled
from scipy.special import erf

from fsfm_jax.models.attention import HEADS_OF_A_GROUP, LANES, attend
from fsfm_jax.models.layers import Attention, Mlp
from fsfm_jax.models.lora import LoraSpec
from fsfm_jax.models.ops import affine, for_cpu, for_tpu, gelu, trace_for
from fsfm_jax.weights.encoder_size import shapes_of

BATCH, TOKENS, HEADS, SIZE = 2, 5, 3, 4
BIASES = [None, "of keys", "of heads"]


def drawn_bias(kind, tokens):
    """What is added to the logits: nothing, a number for each key, or one for each head, query and key."""
    shape = {None: None, "of keys": (tokens,), "of heads": (HEADS, tokens, tokens)}[kind]
    return None if shape is None else drawn(*shape, seed=1)


def joint(qkv, bias, heads):
    """`attend` on one array, `[B, T, 3 D] -> [B, T, D]`."""
    batch, tokens, width = qkv.shape
    query, key, value = qkv.reshape(batch, tokens, 3, heads, -1).transpose(2, 0, 3, 1, 4)
    return attend(query, key, value, bias).transpose(0, 2, 1, 3).reshape(batch, tokens, width // 3)


def formula(qkv, bias):
    """Attention as it is written, `[B, T, 3 D] -> [B, T, D]`."""
    batch, tokens, width = qkv.shape
    query, key, value = jnp.moveaxis(qkv.reshape(batch, tokens, 3, HEADS, -1), 2, 0)
    logits = jnp.einsum("bqhe,bkhe->bhqk", query, key) / query.shape[-1] ** 0.5
    if bias is not None:
        logits += bias[(None,) * (4 - bias.ndim)]
    # Less the largest: the same weights, and no exponential is infinite.
    weights = jnp.exp(logits - logits.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return jnp.einsum("bhqk,bkhe->bqhe", weights, value).reshape(batch, tokens, width // 3)


@pytest.mark.parametrize("biased", BIASES)
def test_attention_and_its_gradient_are_those_of_the_formula(biased):
    with enable_x64(True):
        qkv, bias = drawn(BATCH, TOKENS, 3 * HEADS * SIZE), drawn_bias(biased, TOKENS)
        ours = value_and_gradients(jax.jit(functools.partial(joint, heads=HEADS)), qkv, bias)
        plain = value_and_gradients(jax.jit(formula), qkv, bias)
    assert ours[0].dtype == np.float64 and np.abs(plain[1]).max() > 0.1
    for found, wanted in zip(jax.tree.leaves(ours), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("biased", BIASES)
def test_on_a_tpu_the_sum_over_many_keys_is_a_product(biased):
    tokens = LANES + 1
    with enable_x64(True), trace_for("tpu"):
        # Logits of up to about a thousand: the exponential of the largest alone would be infinite.
        qkv = drawn(1, tokens, 3 * HEADS * SIZE) * 20
        bias = drawn_bias(biased, tokens)
        run = jax.jit(functools.partial(value_and_gradients, functools.partial(joint, heads=HEADS)))
        text = run.lower(qkv, bias).as_text()
        ours = run(qkv, bias)
        plain = value_and_gradients(formula, qkv, bias)
    assert f"tensor<1x{HEADS}x{tokens}x8xf64>" in text  # sums as a product with ones
    for found, wanted in zip(jax.tree.leaves(ours), jax.tree.leaves(plain), strict=True):
        assert np.abs(wanted).max() > 0.1
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-11 * np.abs(wanted).max())


@pytest.mark.parametrize("biased", BIASES)
def test_attention_without_a_gradient_is_one_product_divided_by_a_sum(biased):
    with enable_x64(True):
        # As above, logits of up to about a thousand.
        qkv = drawn(BATCH, TOKENS, 3 * HEADS * SIZE) * 20
        bias = drawn_bias(biased, TOKENS)
        plain, found = jax.jit(formula)(qkv, bias), {}
        for platform in ("cpu", "gpu"):
            with trace_for(platform):
                run = jax.jit(lambda *arguments: joint(*arguments, heads=HEADS))
                found[platform] = run.lower(qkv, bias).as_text()
                np.testing.assert_allclose(run(qkv, bias), plain, rtol=0, atol=1e-13 * np.abs(plain).max())
    divided = {name: [line for line in text.splitlines() if "stablehlo.divide" in line] for name, text in found.items()}
    assert len(divided["cpu"]) == len(divided["gpu"]) == 1
    assert f"x{TOKENS}x{SIZE}xf64>" in divided["cpu"][0] and f"x{TOKENS}x{TOKENS}xf64>" in divided["gpu"][0]


def test_on_a_cpu_groups_of_heads_have_products_of_their_own():
    run = jax.jit(functools.partial(value_and_gradients, functools.partial(joint, heads=HEADS)))
    qkv, found = drawn(BATCH, TOKENS, 3 * HEADS * SIZE, dtype=np.float32), {}
    for platform in ("cpu", "gpu"):
        with trace_for(platform):
            text = run.lower(qkv, None).as_text()  # of one function: what was traced for a CPU is not used again
        products = [line.rsplit("-> ", 1)[1] for line in text.splitlines() if "dot_general" in line]
        found[platform] = collections.Counter(int(re.match(r"tensor<\d+x(\d+)x", kind)[1]) for kind in products)
    # Two products forward and four backward; three heads are a group of two and one of one.
    assert HEADS_OF_A_GROUP == 2 and HEADS == 3
    assert found == {"cpu": {2: 6, 1: 6}, "gpu": {3: 6}}


def test_the_form_is_that_of_the_default_device(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert for_tpu() and not for_cpu()
    with jax.default_device(jax.devices("cpu")[0]):
        assert for_cpu() and not for_tpu()
        with trace_for("tpu"):
            assert for_tpu() and not for_cpu()


def test_attention_by_hand():
    # One head of size one. Logits q k: a query of 0 sees both values alike, one of ln 3 with keys 0 and 1 as 1 : 3.
    qkv, run = np.float32([[[0.0, 0.0, 4.0], [np.log(3.0), 1.0, 8.0]]]), jax.jit(joint, static_argnums=2)
    np.testing.assert_allclose(run(qkv, None, 1)[0, :, 0], [6.0, 7.0], rtol=1e-6)
    # The first key counted three times: 3 : 1 and 3 : 3.
    counted = run(qkv, np.log(np.float32([3.0, 1.0])), 1)
    np.testing.assert_allclose(counted[0, :, 0], [5.0, 6.0], rtol=1e-6)


def test_a_key_with_a_weight_is_that_many_equal_keys():
    module, x = Attention(HEADS, jnp.float32), drawn(BATCH, 3, HEADS * SIZE, dtype=np.float32)
    params, x = {"params": scaled(shapes_of(module, x))}, np.asarray(x)
    folded = jax.jit(lambda x: module.apply(params, x, np.array([1, 1, 2])))(x)
    plain = np.asarray(jax.jit(module.apply)(params, x[:, [0, 1, 2, 2]]))
    np.testing.assert_allclose(folded, plain[:, :3], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("platform", "tokens"), [("cpu", TOKENS), ("tpu", LANES + 1)])
def test_attention_in_bfloat16_has_its_softmax_in_float32(platform, tokens):
    qkv = drawn(BATCH, tokens, 3 * HEADS * SIZE, dtype=jnp.bfloat16)
    with trace_for(platform):
        run = jax.jit(functools.partial(value_and_gradients, functools.partial(joint, heads=HEADS)))
        lowered = run.lower(qkv, None)
        out, gradient, _ = run(qkv, None)
    exponentials = [line for line in lowered.as_text().splitlines() if "exponential" in line]
    assert exponentials and all("xf32>" in line for line in exponentials)
    assert out.dtype == gradient.dtype == jnp.bfloat16
    plain = value_and_gradients(formula, qkv.astype(jnp.float32), None)
    # Some roundings of 1 in 256 of sums of a few terms of about 1.
    for found, wanted in zip((out, gradient), plain, strict=False):
        np.testing.assert_allclose(found.astype(jnp.float32), wanted, rtol=0, atol=8 / 256)


def test_gelu_and_its_gradient_are_those_of_the_formula():
    with enable_x64(True):
        x = np.linspace(-12.0, 12.0, 4801)
        out, gradient = value_and_gradients(gelu, x)
        plain = value_and_gradients(lambda x: x * jax.scipy.stats.norm.cdf(x), x)
        np.testing.assert_allclose(out, plain[0], rtol=0, atol=1e-14)
        np.testing.assert_allclose(gradient, plain[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype, rounding", [(jnp.float32, 2e-7), (jnp.bfloat16, 1 / 256)])
def test_gelu_is_rounded_once_in_the_type_of_its_argument(dtype, rounding):
    x = jnp.linspace(-3.0, 3.0, 601).astype(dtype)
    exact = np.asarray(x, np.float64)
    exact *= 0.5 * (1 + erf(exact / np.sqrt(2)))
    found = gelu(x)
    assert found.dtype == dtype
    # Relative: 1 + erf taken in bfloat16 would be off by a third at -3.
    np.testing.assert_allclose(np.asarray(found, np.float64), exact, rtol=rounding, atol=2e-7)


@pytest.mark.parametrize("lora", [None, LoraSpec(2, 3.0)])
def test_attention_as_a_tpu_wants_it_has_the_same_numbers(lora):
    module, x = Attention(HEADS, jnp.float32, lora), drawn(BATCH, TOKENS, HEADS * SIZE, dtype=np.float32)
    params = {"params": jax.tree.map(lambda leaf: leaf / 3, draw(shapes_of(module, x)))}

    def gradients(params, x):
        return value_and_gradients(lambda params, x: module.apply(params, x, np.arange(1, TOKENS + 1)), params, x)

    plain = gradients(params, x)
    with trace_for("tpu"):
        straight = gradients(params, x)
        text = jax.jit(lambda *arguments: module.apply(*arguments)).lower(params, x).as_text()
    # What it is for: queries, keys and values are three products, of each pair of matrices.
    together = jax.jit(module.apply).lower(params, x).as_text()
    pairs = 1 if lora is None else 2
    assert text.count("stablehlo.dot_general") == together.count("stablehlo.dot_general") + 2 * pairs
    for found, wanted in zip(jax.tree.leaves(straight), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6 * np.abs(wanted).max())


def test_affine_keeps_all_axes_but_the_last_in_both_forms():
    x, kernel, bias = (np.asarray(drawn(*shape, dtype=np.float32)) for shape in ((2, 3, 4), (4, 5), (5,)))
    for platform in ("cpu", "tpu"):
        with trace_for(platform):
            for rank in (1, 2, 3):
                part = x[(0,) * (3 - rank)]
                wanted = np.einsum("...d,df->...f", part, kernel) + bias
                found = jax.jit(lambda *arguments: affine(*arguments, jnp.float32))(part, kernel, bias)
                np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_a_gated_mlp_by_hand():
    # Width one, four hidden features: x = 2, gates 0, ln 3, -ln 3 and 0, whose SiLU is 0, 3/4 ln 3, -1/4 ln 3 and 0.
    log = np.log(3.0)
    params = {
        "fc1": {"kernel": jnp.asarray([[1.0, 2.0, 3.0, 4.0]]), "bias": jnp.asarray([0.0, 1.0, 0.0, 0.0])},
        "gate": {"kernel": jnp.zeros((1, 4)), "bias": jnp.asarray([0.0, log, -log, 0.0])},
        "fc2": {"kernel": jnp.asarray([[1.0], [10.0], [100.0], [1000.0]]), "bias": jnp.asarray([7.0])},
    }
    mlp = Mlp(jnp.float32, gated=True)
    found = jax.jit(mlp.apply)({"params": params}, np.float32([[[2.0]]]))
    # Hidden features 2, 5, 6 and 8 times those.
    np.testing.assert_allclose(found, [[[10 * 5 * 0.75 * log - 100 * 6 * 0.25 * log + 7]]], rtol=1e-6)
    shapes = jax.eval_shape(lambda: mlp.init(jax.random.key(0), jnp.zeros((1, 1, 6))))["params"]
    assert {name: leaf["kernel"].shape for name, leaf in shapes.items()} == {
        "fc1": (6, 24), "gate": (6, 24), "fc2": (24, 6),
    }  # fmt: skip
