"""Layer norm in the form of each platform: its numbers, its parameters, and the gradient that is written by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradients import drawn, value_and_gradients
from jax import enable_x64

from fsfm_jax.models.ops import layer_norm, normalise, trace_for

WIDTH, EPSILON = 12, 0.1


def formula(x, scale, bias):
    deviation = x - x.mean(axis=-1, keepdims=True)
    variance = (deviation**2).mean(axis=-1, keepdims=True)
    plain = deviation / jnp.sqrt(variance + EPSILON)
    return jnp.einsum("...d,d->...d", plain, scale) + jnp.broadcast_to(bias, x.shape)


@pytest.mark.parametrize("shape", [(WIDTH,), (5, WIDTH), (2, 3, WIDTH)])
def test_the_gradient_is_that_of_the_formula(shape):
    with enable_x64(True):
        arguments = np.asarray(drawn(*shape)) + 1, drawn(WIDTH, seed=1), drawn(WIDTH, seed=2)
        ours = value_and_gradients(lambda *three: normalise(*three, EPSILON), *arguments)
        plain = value_and_gradients(formula, *arguments)
    for found, wanted in zip(ours, plain, strict=True):
        assert found.dtype == np.float64 and np.abs(wanted).max() > 0.1
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-14 * WIDTH)


def test_a_layer_norm_by_hand():
    # Mean 3, variance 16: -1 and 1, less a little for the epsilon.
    module = layer_norm(jnp.float32, "norm", 9.0)
    params = {"params": {"scale": np.float32([5.0, 10.0]), "bias": np.float32([1.0, 2.0])}}
    np.testing.assert_allclose(jax.jit(module.apply)(params, np.float32([[-1.0, 7.0]])), [[1 - 4, 2 + 8]], rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_every_platform_has_the_same_parameters_and_numbers(dtype):
    x, found, shapes = drawn(2, 3, WIDTH, dtype=dtype), [], []
    scale, bias = (drawn(WIDTH, seed=seed, dtype=np.float32) for seed in (1, 2))
    params = {"params": {"scale": scale, "bias": bias}}
    for platform in ("cpu", "gpu", "tpu"):
        with trace_for(platform):
            module = layer_norm(dtype, "norm", EPSILON)
            shapes.append(jax.tree.map(jnp.shape, jax.eval_shape(module.init, jax.random.key(0), x)))
            found.append(value_and_gradients(lambda params, x, module=module: module.apply(params, x), params, x))
            by_hand = "custom_vjp_call" in str(jax.make_jaxpr(module.apply)(params, x))
        assert by_hand == (platform == "cpu")  # whose compiler needs it
    assert shapes[0] == shapes[1] == shapes[2] == jax.tree.map(jnp.shape, params)
    # Sums of six terms of up to about 10, each rounded to 8 bits or to 24.
    bound = 6 * 10 * float(jnp.finfo(dtype).eps)
    for other in found[1:]:
        for one, two in zip(jax.tree.leaves(found[0]), jax.tree.leaves(other), strict=True):
            assert one.dtype == two.dtype
            np.testing.assert_allclose(*(np.asarray(x, np.float32) for x in (one, two)), rtol=0, atol=bound)


# The result is rounded to 8 bits or to 24; values are below 5. In one pass, which a CPU never takes, the statistics add
# a few roundings of 8**2 / 2**24; in float32 they are taken in two, since those of 100**2 would be seen.
@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
@pytest.mark.parametrize(("dtype", "mean", "rounding"), [(jnp.bfloat16, 0.0, 2**-8), (jnp.bfloat16, 8.0, 2**-8),
                                                         (jnp.float32, 100.0, 1e-5)])  # fmt: skip
def test_a_layer_norm_is_as_good_as_its_argument(dtype, mean, rounding, platform):
    x = (np.asarray(drawn(64, 768, dtype=np.float32)) + np.float32(mean)).astype(dtype)
    with trace_for(platform):
        module = layer_norm(dtype, "norm")
        found = jax.jit(lambda x: module.apply(module.init(jax.random.key(0), x), x))(x)
    assert found.dtype == dtype
    exact = np.asarray(x, np.float64)
    exact = (exact - exact.mean(-1, keepdims=True)) / np.sqrt(exact.var(-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(np.asarray(found, np.float64), exact, rtol=rounding, atol=1e-4)
