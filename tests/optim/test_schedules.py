"""Schedules against the official values at every micro-step."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fsfm_jax.optim.schedules import target_rate, warmup_cosine

LR_CASES = ["pretrain_vitb", "pretrain_400e", "finetune_dfd", "finetune_adapter", "no_warmup", "short"]


@pytest.mark.parametrize("case", LR_CASES)
def test_learning_rate_equals_the_official_one(golden, case):
    arrays = golden("schedules")
    c, values = json.loads(str(arrays[f"lr/{case}/config_json"])), arrays[f"lr/{case}/values"]
    epoch, step = np.indices(values.shape)
    # The official rate changes on micro-steps that begin an accumulation and is kept in between.
    epochs = epoch + step // c["accum"] * c["accum"] / c["steps"]
    rate = functools.partial(
        warmup_cosine, peak=c["lr"], floor=c["min_lr"], warmup=c["warmup_epochs"], total=c["epochs"]
    )
    ours = jax.jit(jax.vmap(rate))(epochs.ravel())
    # float32 cosine: 2 ulp of its argument, times the peak.
    np.testing.assert_allclose(ours, values.ravel(), rtol=2e-6, atol=1e-6 * c["lr"])
    if c["warmup_epochs"]:
        assert ours[0] == 0


@pytest.mark.parametrize(("name", "base", "total", "warmup", "start"), [
        ("m0.996_e3_n2", 0.996, 6, 0, 0.0), ("m0.996_e600_n7", 0.996, 4200, 0, 0.0), ("m0.99_e5_n13", 0.99, 65, 0, 0.0),
        ("m0.9_e4_n5", 0.9, 20, 0, 0.0), ("warm_e6_n4_w2", 0.99, 24, 8, 0.5),
    ])  # fmt: skip
def test_momentum_equals_the_official_one(golden, name, base, total, warmup, start):
    official = golden("schedules")[f"momentum/{name}"]
    rates = jax.jit(jax.vmap(lambda t: target_rate(t, base, total, warmup, start)))(jnp.arange(total))
    np.testing.assert_allclose(rates, 1 - official, rtol=3e-6, atol=1e-7 * (1 - min(base, start or base)))


def test_the_last_steps_of_a_long_run_still_move_the_target():
    # 1 - m itself would round to 0 in float32 here; the half-angle form does not.
    total = 450_000
    rate = float(target_rate(jnp.asarray(total - 1), 0.996, total))
    exact = 0.004 * np.cos(0.5 * np.pi * (total - 1) / total) ** 2
    assert rate > 0
    np.testing.assert_allclose(rate, exact, rtol=0.1)  # the angle itself is a float32
