"""Options of official files as fields, and back."""

import pytest

from fsfm_jax.config import pretrain
from fsfm_jax.config.fields import flat, horizon_of, to_steps
from fsfm_jax.weights.official_arguments import fields_of, options_of

RECIPE = {
    "epochs": 600, "warmup_epochs": 40, "blr": 1.5e-4, "lr": 2.4e-3, "min_lr": 0.0, "weight_decay": 0.05,
    "accum_iter": 4, "mask_ratio": 0.75, "norm_pix_loss": True, "weight_sfr": 0.007, "weight_cl": 0.1,
    "cl_loss": "SimSiam", "cl_sample": "all", "t_momentum": 0.996,
}  # fmt: skip


def test_the_released_recipe_is_ours_there_and_back():
    found, ours = fields_of(RECIPE | {"output_dir": "x", "dist_url": None}), flat(pretrain.pretrain())
    assert found.pop("batch.accumulation") == 4 and len(found) == 13
    assert found == {name: ours[name] for name in found}  # the batch of 4096 is told by lr and blr
    c = pretrain.vary(pretrain.pretrain(), "released", 4)
    options = options_of(flat(c), lambda field, text: to_steps(text, field, 100, 100), 4, 224)
    assert {name: options[name] for name in RECIPE} == RECIPE
    assert (options["model"], options["batch_size"], options["input_size"]) == ("fsfm_vit_base_patch16", 1024, 224)


@pytest.mark.parametrize(("said", "batch", "base"), [
    ({"lr": 2.4e-3, "blr": 1.5e-4}, 4096, 1.5e-4),
    ({"lr": 2.4e-3, "blr": 1e-3}, 4096, 1.5e-4),  # started with --lr: blr is the default
    ({"lr": 2.4e-3}, 4096, 1.5e-4),
    ({"blr": 1.5e-4}, 4096, 1.5e-4),
    ({"lr": 2.4e-3, "blr": 1.5e-4, "world_size": None}, 4096, 1.5e-4),  # as far as it is known
    ({"lr": 2.4e-3, "world_size": 0}, None, None),
])  # fmt: skip
def test_the_batch_is_that_of_all_processes(said, batch, base):
    found = fields_of({"batch_size": 256, "accum_iter": 4, "world_size": 4} | said)
    assert found.get("batch.size") == batch
    assert found.get("optimizer.base_learning_rate") == (None if base is None else pytest.approx(base, rel=1e-12))


def test_a_run_that_ends_before_its_schedule_says_how_long_that_is():
    snapshot = flat(pretrain.vary(pretrain.pretrain(), "snapshot", 4))
    options = options_of(snapshot, lambda field, text: to_steps(text, field, 100, 100), 4, 224)
    assert (snapshot["duration"], options["epochs"]) == ("600 epochs", 800)
    assert horizon_of(fields_of(options)) == horizon_of(snapshot) == "800 epochs"


def test_values_of_another_kind_say_nothing_and_a_loss_of_one_s_own_is_refused():
    strange = {"epochs": "many", "blr": float("nan"), "accum_iter": 1.5, "norm_pix_loss": 1, "cl_loss": [], "lr": 1}
    assert fields_of(strange) == {}
    assert fields_of({"cl_loss": "Other", "mask_ratio": {"a": 1}}) == {}
    c = flat(pretrain.pretrain()) | {"loss.kind": "mine"}
    with pytest.raises(ValueError, match=r"loss.kind of an official file: expected one of .*ncs.*; found 'mine'"):
        options_of(c, lambda field, text: 1.0, 4, 224)
