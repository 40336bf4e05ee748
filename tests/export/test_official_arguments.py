"""Options of official files as fields, and back."""

from configs import common
from fsfm_jax.export.official_arguments import fields_of, options_of
from fsfm_jax.fields import flat, to_steps

RECIPE = {
    "epochs": 600, "warmup_epochs": 40, "blr": 1.5e-4, "lr": 2.4e-3, "min_lr": 0.0, "weight_decay": 0.05,
    "accum_iter": 4, "mask_ratio": 0.75, "norm_pix_loss": True, "weight_sfr": 0.007, "weight_cl": 0.1,
    "cl_loss": "SimSiam", "cl_sample": "all", "t_momentum": 0.996,
}  # fmt: skip


def test_the_released_recipe_is_ours():
    found, ours = fields_of(RECIPE | {"output_dir": "x", "dist_url": None}), flat(common.pretrain())
    assert found.pop("batch.accumulation") == 4 and len(found) == 13
    assert found == {name: ours[name] for name in found}  # the batch of 4096 is told by lr and blr


def test_there_and_back():
    c = common.vary(common.pretrain(), "released", 4)
    options = options_of(flat(c), lambda field, text: to_steps(text, field, 100, 100), 4, 224)
    assert {name: options[name] for name in RECIPE} == RECIPE
    assert (options["model"], options["batch_size"], options["input_size"]) == ("fsfm_vit_base_patch16", 1024, 224)


def test_values_of_another_kind_say_nothing():
    strange = {"epochs": "many", "blr": float("nan"), "accum_iter": 1.5, "norm_pix_loss": 1, "cl_loss": [], "lr": 1}
    assert fields_of(strange) == {}
    assert fields_of({"cl_loss": "Other", "mask_ratio": {"a": 1}}) == {}
