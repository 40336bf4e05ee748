"""AdamW's state in official files: order, groups, and everything that is refused."""

import copy
from pathlib import Path

import numpy as np
import pytest

from fsfm_jax.weights import torch_file
from fsfm_jax.weights.official_optimizer import Settings, official_optimizer, parameter_groups, read_moments

FILE = "checkpoint-599.pth"


@pytest.fixture(scope="module")
def content():
    return torch_file.read(Path(__file__).parents[1] / "golden" / FILE)


def shapes(content):
    return {name: tensor.shape for name, tensor in content["model"].items()}


def test_the_order_is_that_of_the_official_optimizer(golden, content):
    plain, decayed = parameter_groups(shapes(content))
    assert [*plain, *decayed] == list(golden("checkpoint_expect")["optimizer_param_order"])
    assert {"cls_token", "mask_token", "patch_embed.proj.weight"} <= set(decayed) and len(plain) == 67


@pytest.mark.parametrize("size", ["small", "base"])
def test_the_groups_of_the_real_sizes(golden, size):
    arrays = golden("schedules")
    names, decay = (arrays[f"groups/fsfm_vit_{size}_patch16/{key}"] for key in (
        "names", "weight_decay_add_weight_decay"
    ))  # fmt: skip
    known = [tuple(int(n) for n in str(text).split("x")) for text in arrays[f"groups/fsfm_vit_{size}_patch16/shapes"]]
    plain, decayed = parameter_groups(dict(zip(map(str, names), known, strict=True)))
    assert plain == [str(name) for name, value in zip(names, decay, strict=True) if value == 0]
    assert decayed == [str(name) for name, value in zip(names, decay, strict=True) if value > 0]
    assert (len(plain), len(decayed)) == (195, 99)


def test_moments_there_and_back_of_which_there_are_none_before_the_first_step(content):
    moments = read_moments(FILE, content["optimizer"], shapes(content))
    again = official_optimizer(moments, shapes(content), Settings(1e-3, 0.9, 0.95, 1e-8, 0.05), 8)
    assert moments.count == 1 and again["state"].keys() == content["optimizer"]["state"].keys()
    for number, entry in content["optimizer"]["state"].items():
        for key, tensor in entry.items():
            assert np.asarray(tensor).tobytes() == again["state"][number][key].tobytes(), (number, key)
    for group, old in zip(again["param_groups"], content["optimizer"]["param_groups"], strict=True):
        assert {name: old[name] for name in group} == group
    fresh = official_optimizer(None, shapes(content), Settings(1e-3, 0.9, 0.95, 1e-8, 0.05), 8)
    assert fresh["state"] == {} and read_moments(FILE, fresh, shapes(content)) is None


def changed(content, change):
    optimizer = copy.copy(content["optimizer"])
    optimizer["state"] = {number: dict(entry) for number, entry in optimizer["state"].items()}
    optimizer["param_groups"] = [dict(group, params=list(group["params"])) for group in optimizer["param_groups"]]
    return change(optimizer) or optimizer


@pytest.mark.parametrize(("change", "message"), [
    (lambda o: ["state"], "expected state and param_groups"),
    (lambda o: o["param_groups"].pop() and None, "groups of 67 parameters without and 35 with weight decay"),
    (lambda o: o["param_groups"][0].update(params="all"), "groups with the numbers of their parameters"),
    (lambda o: o["param_groups"][0]["params"].__setitem__(0, 101), "a parameter is in two places"),
    (lambda o: o["state"].pop(3) and None, "moments of 102 parameters; found those of 101"),
    (lambda o: o["state"][0].pop("exp_avg") and None, "patch_embed.proj.bias: expected step, exp_avg"),
    (lambda o: o["state"][0].update(step=2), r"one number of steps; found \[1, 2\]"),
    (lambda o: o["state"][0].update(step=float("inf")), "whole number of steps; found inf"),
    (lambda o: o["state"][0].update(step=1.5), "whole number of steps; found 1.5"),
    (lambda o: o["state"][0].update(exp_avg=o["state"][3]["exp_avg"]), r"exp_avg: expected float32\[48\]"),
    (lambda o: o["state"][0].update(exp_avg=None), "found NoneType"),
])  # fmt: skip
def test_what_is_no_adamw_of_this_network_is_refused(content, change, message):
    with pytest.raises(ValueError, match=f"^{FILE}: optimizer: .*{message}"):
        read_moments(FILE, changed(content, change), shapes(content))
