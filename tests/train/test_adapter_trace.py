"""Runs of the official FS-Adapter engine through our train step, and what stays untouched by it."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from flax.traverse_util import flatten_dict

from fsfm_jax.models.classifier import ClassifierSpec
from fsfm_jax.models.vit import Size
from fsfm_jax.optim import ema, tuning
from fsfm_jax.optim.layer_decay import weight_decay_rules
from fsfm_jax.optim.optimizer import OptimizerSpec, make_optimizer
from fsfm_jax.optim.schedules import warmup_cosine
from fsfm_jax.tasks.classify import ClassifyTask, ContrastSpec
from fsfm_jax.train.state import TrainState, init_state
from fsfm_jax.train.step import StepSpec, make_step
from fsfm_jax.weights.names import CLASSIFIER_ADAPTER, finetuned_from_official, finetuned_to_official

SIZE = Size(48, 2, 4, 8)
TRAINED = tuning.TUNINGS[tuning.ADAPTER]


@pytest.fixture(scope="module")
def run(golden):
    """The official run repeated: its arrays, metrics of each step, first and last state, the step's program."""
    start = golden("finetune_tiny")
    arrays = reference.state_dict(start, "adapter/trace/")
    c = json.loads(str(arrays["config_json"]))
    epochs, micro_steps = arrays["labels"].shape[:2]
    parts = c["accum_iter"]
    spec = ClassifierSpec(SIZE, 32, 2, "mean_patches", 0.0, jnp.float32, "none", reduction=4)
    contrast = ContrastSpec(c["weight_cl"], c["temperature"], c["real_class_index"])
    task = ClassifyTask(spec, 2, 0.1, False, reference.IDENTITY, erased=False, contrast=contrast)
    optimizer = make_optimizer(OptimizerSpec(*c["betas"], 1e-8, weight_decay_rules(c["weight_decay"]), c["clip_grad"]))
    update = ema.frozen(task.target_part)

    def learning_rate(number):
        return warmup_cosine(number * parts / micro_steps, c["lr"], c["min_lr"], c["warmup_epochs"], c["epochs"])

    params = finetuned_from_official(reference.state_dict(start, "adapter/state/"), CLASSIFIER_ADAPTER)
    part = tuning.split(params, TRAINED)[0]
    key, failed = jax.random.key(0), jnp.bool_(False)
    state = TrainState(jnp.int32(0), params, optimizer.init(part), update.init(params), key, failed)
    fresh = jax.eval_shape(functools.partial(
        init_state, task=task, optimizer=optimizer, target=update, trained=TRAINED
    ), jnp.uint32(0))  # fmt: skip
    assert tuning.count(fresh.optimizer) == tuning.count(state.optimizer)
    spec = StepSpec(parts, "global_batch", "optimizer_step", "stop")
    step = jax.jit(make_step(task, optimizer, update, learning_rate, spec, TRAINED))
    images, rows, first = reference.images(arrays["images"]), [], state
    for number in range(epochs * micro_steps // parts):
        places = [divmod(number * parts + micro, micro_steps) for micro in range(parts)]
        # The step takes micro-batch a from rows a, a + A, ...
        batch = {
            "image": np.stack([images[place] for place in places], 1).reshape(-1, 32, 32, 3),
            "label": np.stack([arrays["labels"][place] for place in places], 1).reshape(-1).astype(np.int32),
        }
        state, metrics = step(state, batch)
        rows.append(jax.device_get(metrics))
    return arrays, rows, first, state, step


def test_every_step_has_the_official_losses_rate_and_gradient_norm(run):
    arrays, rows, *_ = run
    # Among the batches are one without a real face and one with a single one.
    reals = (arrays["labels"].reshape(-1, 4) == 1).sum(axis=1)
    assert {0, 1} <= set(reals.tolist()) and len(rows) == 6
    for ours, official in (("loss", "loss"), ("cross_entropy", "cls_loss"), ("real_anchor", "con_loss")):
        found = np.concatenate([row[ours] for row in rows])
        np.testing.assert_allclose(found, arrays[official], rtol=1e-5, atol=1e-9, err_msg=ours)
    assert all(((0 < row["open_units"]) & (row["open_units"] <= 1)).all() for row in rows)
    arrays, rows, *_ = run
    np.testing.assert_allclose([row["learning_rate"] for row in rows], arrays["lr"][::2], rtol=1e-5, atol=1e-9)
    norms = arrays["grad_norm"]
    np.testing.assert_allclose([row["gradient_norm"] for row in rows], norms[np.isfinite(norms)], rtol=1e-4)


def test_final_parameters_are_the_official_ones(run, golden):
    arrays, _, first, last, _ = run
    ours = finetuned_to_official(jax.device_get(last.params), CLASSIFIER_ADAPTER, 8)
    before = finetuned_to_official(jax.device_get(first.params), CLASSIFIER_ADAPTER, 8)
    final = reference.state_dict(arrays, "final/")
    assert final.keys() == {name for name in ours if name.startswith(("adapter.", "projector.", "head."))}
    for name, official in final.items():
        np.testing.assert_allclose(ours[name], official, rtol=0, atol=1e-4, err_msg=name)
        assert np.linalg.norm(ours[name] - official) < 0.1 * np.linalg.norm(official - before[name]), name


def test_frozen_parameters_keep_every_bit_and_have_no_moments(run):
    _, _, first, last, _ = run
    frozen = [flatten_dict(tuning.split(state.params, TRAINED)[1], sep="/") for state in (first, last)]
    assert len(frozen[0]) == 30 and frozen[0].keys() == frozen[1].keys()
    for path, value in frozen[0].items():
        assert np.asarray(value).tobytes() == np.asarray(frozen[1][path]).tobytes(), path
    trained = tuning.count(tuning.split(first.params, TRAINED)[0])
    # Adam's two moments and its count.
    assert tuning.count(last.optimizer) == 2 * trained + 1


def test_no_gradient_of_what_is_frozen_is_computed(run):
    arrays, _, first, _, step = run
    batch = {"image": reference.images(arrays["images"])[0, 0], "label": arrays["labels"][0, 0].astype(np.int32)}
    text = str(jax.make_jaxpr(step)(first, batch))
    forward = text.count("dot_general")
    # 2 blocks of 4 products and 2 of attention, and the patches: 13 in the encoder, forward alone. The adapter, its
    # projector, the head and the similarities are 5 forward; backward each has at most two more.
    assert 18 <= forward <= 13 + 3 * 5
