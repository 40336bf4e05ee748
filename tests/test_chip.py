"""The measurements of an accelerator: rows survive failures and the end of the time, and figures are what they say."""

import json

import jax
import numpy as np
import pytest

from benchmarks import chip


def test_rows_are_written_at_once_failures_are_rows_and_nothing_starts_late(tmp_path, monkeypatch):
    report = chip.Report(tmp_path / "new" / "chip.json", minutes=1)
    assert report.add("a", "good", lambda: {"images/s a device": 3.0})

    def too_large():
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory\nmore lines")

    assert not report.add("a", "too large", too_large)
    monkeypatch.setattr(chip.time, "monotonic", lambda: 1e12)
    assert not report.add("a", "late", lambda: pytest.fail("started after the end"))
    content = json.loads((tmp_path / "new" / "chip.json").read_text())
    found = [(row["what"], row.get("images/s a device"), row.get("error")) for row in content["rows"]]
    memory, late = "RESOURCE_EXHAUSTED: out of memory", "not measured: the time was up"
    assert found == [("good", 3.0, None), ("too large", None, memory), ("late", None, late)]
    assert content["machine"]["platform"] == "cpu" and content["machine"]["jax"] == jax.__version__


def test_peaks_are_found_by_the_names_that_jax_gives_to_devices():
    names = {
        "NVIDIA H200": 989e12, "NVIDIA A100-SXM4-80GB": 312e12, "NVIDIA L4": 121e12, "NVIDIA L40S": 362e12,
        "TPU v6 lite": 918e12, "TPU v5 lite": 197e12, "TPU v5": 459e12, "TPU v5p": 459e12, "TPU v4": 275e12,
    }  # fmt: skip
    assert {name: chip.peak_flops(name) for name in names} == names
    assert chip.peak_flops("cpu") is None


def test_the_clock_counts_steps_after_those_that_settle(monkeypatch):
    now, calls = [0.0], []

    def step():
        calls.append(now[0])
        now[0] += 0.5 if len(calls) > chip.SETTLING else 100.0  # the first ones compile
        return np.zeros(1)

    monkeypatch.setattr(chip.time, "perf_counter", lambda: now[0])
    assert chip.clock(step, seconds=4.0) == pytest.approx(0.5)
    assert len(calls) == chip.SETTLING + 8


def test_figures_of_a_step_follow_from_its_seconds(monkeypatch):
    step = jax.jit(lambda x: x * 2).lower(np.zeros(1024, np.float32)).compile()
    monkeypatch.setattr(chip, "peak_flops", lambda kind: 1e6)
    found = chip._figures(0.5, images=80 * jax.device_count(), cost=2500.0, step=step, compiled=1.234)
    # 80 images in half a second are 160 a second, of 2,500 FLOPs each, of a million.
    assert (found["images/s a device"], found["ms a step"], found["MFU"]) == (160.0, 500.0, 0.4)
    assert found["compile s"] == 1.2 and found["GiB by the compiler"] == 0.0


@pytest.mark.parametrize("form", ["ours", "xla"])
def test_the_forms_of_attention_run(form):
    assert chip.attention((2, 2, 5, 4), form, 0.0)["microseconds"] > 0
