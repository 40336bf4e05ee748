"""What a continuation must share with its run, and what may differ and is said."""

import logging
import types

import jax
import pytest

from fsfm_jax.config import finetune, pretrain
from fsfm_jax.config.fields import WHEN_ABSENT, flat
from fsfm_jax.train import identity as run_identity
from fsfm_jax.train.identity import description, list_changes, machine, read_state

IDENTITY = {"config": {"seed": 1}, "data": [], "statistics": {}}


def saved(**changes) -> dict:
    versions = {name: run_identity.metadata.version(name) for name in run_identity.PACKAGES}
    return {**IDENTITY, "step": 3, "versions": versions, "machine": machine()} | changes


class Kept:
    """The checkpoints of a run that has saved one."""

    def __init__(self, item: dict):
        self.item = item

    def latest_step(self) -> int:
        return 3

    def run(self, step: int) -> dict:
        return self.item

    def restore(self, step: int, like: object) -> object:
        return like


def test_nothing_is_said_where_nothing_differs_and_another_run_is_refused(caplog):
    program = types.SimpleNamespace(like="the state")
    assert read_state(Kept(saved()), program, IDENTITY, "runs/a") == "the state" and caplog.records == []
    with pytest.raises(ValueError, match="runs/a holds step 3 of a different run:\n  seed: 1 saved, 2 asked for"):
        read_state(Kept(saved()), None, IDENTITY | {"config": {"seed": 2}}, "runs/a")


def test_other_versions_and_machines_are_said_and_gone_on_with(caplog):
    item = saved(versions=saved()["versions"] | {"jax": "0.1"}, machine=machine() | {"devices": 99, "cores": 200})
    found = read_state(Kept(item), types.SimpleNamespace(like="the state"), IDENTITY, "runs/a")
    (record,) = caplog.records
    assert found == "the state" and record.levelno == logging.WARNING
    assert record.getMessage() == (
        "From step 3 on the last bits may be others than where it began: "
        f"jax 0.1 is {jax.__version__} now; devices 99 is {jax.device_count()} now; "
        f"cores 200 is {machine()['cores']} now"
    )


def test_checkpoints_from_before_say_nothing_of_their_machine_and_cores_count_on_cpus_alone(monkeypatch):
    item = saved()
    del item["machine"]
    assert list_changes(item) == []
    device = types.SimpleNamespace(platform="tpu", device_kind="TPU v5 lite")
    monkeypatch.setattr(run_identity.jax, "devices", lambda: [device])
    assert machine() == {"devices": jax.device_count(), "hosts": 1, "kind": "TPU v5 lite", "cores": None}


@pytest.mark.parametrize("now, same", [("1 epoch", True), ("1epochs", True), ("2 epochs", False), ("1 step", False)])
def test_a_duration_spelt_otherwise_is_the_same(now, same):
    item, identity = saved(config={"duration": "1 epochs"}), IDENTITY | {"config": {"duration": now}}
    if same:
        assert read_state(Kept(item), types.SimpleNamespace(like="the state"), identity, "runs/a") == "the state"
    else:
        with pytest.raises(ValueError, match=f"duration: 1 epochs saved, {now} asked for"):
            read_state(Kept(item), None, identity, "runs/a")


def test_a_run_from_before_a_field_goes_on_with_what_it_did_then_and_with_nothing_else():
    program, now = types.SimpleNamespace(like="the state"), {"seed": 1} | WHEN_ABSENT
    for config in ({"seed": 1}, now, {"seed": 1, "optimizer.name": "adamw"}):
        item = saved(config=config)
        assert read_state(Kept(item), program, IDENTITY | {"config": now}, "runs/a") == "the state"
        with pytest.raises(ValueError, match="run:\n  optimizer.name: adamw saved, lion asked for\nTake"):
            read_state(Kept(item), program, IDENTITY | {"config": now | {"optimizer.name": "lion"}}, "runs/a")
    # Each is a field, and its value then is its default now.
    templates = [flat(pretrain.pretrain()), flat(finetune.finetune())]
    for name, value in WHEN_ABSENT.items():
        assert {fields[name] for fields in templates if name in fields} == {value}, name


def test_the_run_item_has_versions_and_machine():
    config = run_identity.ConfigDict({"seed": 1})
    item = description(IDENTITY, config, 3, 8)
    assert item["machine"] == machine() and item["versions"] == saved()["versions"] and item["examples_seen"] == 24
