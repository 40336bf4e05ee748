"""The whole check on simulated devices: what it counts, what it says, and how it ends."""

import contextlib
import dataclasses
import io
import json
import math
import os
from pathlib import Path

import jax
import pytest
from bars import ROOM, grown, measured
from ml_collections import ConfigDict
from tuning import FINETUNING, PRETRAINING, changed, dotted

from configs import pretrain_demo
from fsfm_jax.compile_check import __main__, check, report, steps
from fsfm_jax.compile_check.chips import CHIPS, GIB, Slice, open_slice
from fsfm_jax.config import evaluate, finetune
from fsfm_jax.config.recipes import load_recipe
from fsfm_jax.models.vit import SIZES, Size

EXAMPLES = 1000
# A plain masked autoencoder compiles in half the time.
TINY = {
    **PRETRAINING, "batch.size": 16, "batch.per_device": 16, "duration": "1 epochs", "model.size": "tiny32",
    "model.instance_discrimination": False, "mask.strategy": "random",
}  # fmt: skip
DETECTOR = {
    **FINETUNING, "duration": "1 epochs", "optimizer.warmup": "0 steps", "evaluation.batch": 16, "model.size": "tiny32",
    "batch.per_device": 16, "augment.erase": 0.0, "mix.probability": 0.0, "tuning.method": "fs_adapter",
    "loss.contrast": 0.1,
}  # fmt: skip


def pretraining(**fields) -> ConfigDict:
    return changed(pretrain_demo.get_config(), TINY | dotted(fields))


def fine_tuning(**fields) -> ConfigDict:
    return changed(finetune.finetune(), DETECTOR | dotted(fields))


def checked(config: ConfigDict, devices: int, detector: ConfigDict | None = None) -> check.Outcome:
    on = open_slice(f"cpu:{devices}")
    return check.check(steps.step_of("tiny", config, on, EXAMPLES, detector), on)


@pytest.fixture(scope="module", autouse=True)
def shallow():
    """One block instead of two: what is tested is the check."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "tiny32", Size(64, 1, 4, 32))
        yield


@pytest.fixture(scope="module")
def by_devices(shallow):
    """The same step on 4 devices and, of two micro-batches, on 8."""
    return {4: checked(pretraining(), 4), 8: checked(pretraining(batch__per_device=1), 8)}


def test_messages_do_not_multiply_with_devices_and_micro_batches_and_reduce_each_gradient_once(by_devices):
    figures = {devices: outcome.figures.collectives for devices, outcome in by_devices.items()}
    found = {devices: [(c.kind, c.dtype, c.count) for c in messages] for devices, messages in figures.items()}
    assert found[4] == found[8] and found[4]
    # A micro-batch more tells its loss and two terms.
    assert sum(c.bytes for c in figures[8]) - sum(c.bytes for c in figures[4]) == 3 * 4
    for outcome in by_devices.values():
        assert outcome.figures.gradient_copies == pytest.approx(1, abs=0.01)
        assert set(outcome.figures.gradient_reductions) == {"f32"}
        assert outcome.figures.gathered_parameters == 0 and outcome.rebuilt == 0 and not outcome.defects()


BARS = json.loads((Path(__file__).parent / "bars.json").read_text())


def test_a_step_takes_no_more_flops_messages_or_memory_than_before(by_devices):
    assert grown(measured(report.to_json(by_devices[4])), BARS["tiny on cpu:4"]) == []


def test_a_block_of_the_published_method_takes_no_more_flops_than_before(monkeypatch):
    # ViT-B with one block in each network, traced and not compiled; see tests/tpu for the recipes as they are.
    config = changed(load_recipe("pretrain_vitb"), {"model.pixel_depth": 1, "model.rep_depth": 1})
    monkeypatch.setitem(SIZES, config.model.size, dataclasses.replace(SIZES[config.model.size], depth=1))
    lowered = steps.step_of("vitb", config, open_slice("cpu:4"), 10**6).lower()
    assert grown({"flops": lowered.cost_analysis()["flops"]}, BARS["a block of ViT-B on cpu:4"]) == []


def test_what_has_grown_by_more_than_two_in_a_hundred_is_named():
    found = measured({"needed_bytes": 300, "figures": {"flops": 102, "product_flops": 103, "collectives": [
        {"kind": "all-gather", "dtype": "f32", "count": 1, "bytes": 64.0}]}})  # fmt: skip
    assert ROOM == 1.02
    assert grown(found, {"flops": 100, "product_flops": 100, "memory": 400, "all-gather bf16 bytes": 64}) == [
        "all-gather f32 bytes: at most 1.02 x 0 expected, 64 found",
        "all-gather f32 count: at most 1.02 x 0 expected, 1 found",
        "product_flops: at most 1.02 x 100 expected, 103 found",
    ]


def test_compiled_flops_are_the_models_and_elementwise_work(by_devices):
    for devices, outcome in by_devices.items():
        count = 16 / devices * outcome.step.model_flops
        # What the count leaves out: the mask token's embedding, three products of widths 64 and 16, of which the
        # compiler multiplies one vector with one other without calling it a product.
        assert count + 2 * 64 * 16 <= outcome.figures.product_flops <= count + outcome.step.parts * 3 * 2 * 64 * 16
        # XLA's own count has products, as often as they run, and everything else. In so small a network norms, softmax
        # and the optimizer are a good part of it.
        assert outcome.figures.product_flops < outcome.figures.flops < 2 * outcome.figures.product_flops


def test_accumulation_does_the_same_work_in_more_passes(by_devices):
    whole, parts = by_devices.values()
    assert (whole.step.parts, whole.images) == (1, 4)
    assert (parts.step.parts, parts.micro_batch, parts.images) == (2, 1, 2)
    # All products are in the loop. Half the images have half of them, but for embedding the mask token: in both passes,
    # or in one where the compiler takes that out of the loop.
    more = parts.figures.product_flops - whole.figures.product_flops / 2
    assert 0 <= more <= 1.5 * 3 * 2 * 64 * 16
    assert parts.figures.unknown_loops == ()


def test_fsdp_gathers_parameters_and_holds_a_share_of_the_state():
    fields = {"partition__fsdp": True, "partition__fsdp_min_size": 64, "model__instance_discrimination": True}
    outcome = checked(pretraining(**fields, batch__per_device=1), 8)
    assert outcome.step.parts == 2 and outcome.figures.gradient_copies == pytest.approx(1, abs=0.05)
    whole, share = outcome.step.state_bytes
    assert outcome.figures.gathered_parameters > 0
    assert outcome.defects() == [] and outcome.rebuilt == 0
    # Weights go to the images, never the other way.
    kinds = {one.kind for one in outcome.figures.collectives}
    assert {"all-gather"} < kinds <= {"all-gather", "all-reduce", "reduce-scatter"}
    assert outcome.figures.memory.arguments == pytest.approx(outcome.step.held_bytes, rel=0.01)
    assert outcome.step.held_bytes == share + outcome.step.batch_bytes and share < 0.25 * whole
    # The same without FSDP would be a defect.
    (*_, defect) = dataclasses.replace(outcome, step=dataclasses.replace(outcome.step, fsdp=False)).defects()
    assert "parameters are gathered although partition.fsdp is off" in defect


def test_state_is_what_the_program_takes(by_devices):
    outcome = by_devices[8]
    assert outcome.step.batch_bytes == 2 * (224 * 224 * 3 + 2 * 49)  # two images with two masks on each device
    assert outcome.figures.memory.arguments == pytest.approx(outcome.step.held_bytes, rel=0.01)
    # The new state lies where the old one was.
    assert outcome.figures.memory.aliased == pytest.approx(outcome.step.state_bytes[0], rel=0.01)


def test_fine_tuning_an_adapter_and_evaluating_are_checked_too():
    adapter = checked(fine_tuning(), 2)
    looked = checked(changed(evaluate.evaluate(), {"evaluation.batch": 16}), 2, fine_tuning())
    assert adapter.step.parts == 1 and adapter.images == looked.images == 8
    # Bottleneck, projector and head: two maps of 64 and 16 without biases, 16 x 16 and 16, 128 x 2 and 2.
    assert sum(map(math.prod, adapter.step.trained)) == 2 * 64 * 16 + 16 * 17 + 129 * 2 and looked.step.trained == ()
    # The similarities of 16 images with 16 numbers, and their gradients, are no part of the count.
    count = 8 * adapter.step.model_flops
    assert count <= adapter.figures.product_flops <= count + 3 * 2 * 16 * 16 * 16
    assert looked.figures.product_flops == 8 * looked.step.model_flops < count
    # The loss gathers [16, 16] features: as many as the projector's kernel has numbers, and in its shape.
    assert adapter.step.compared == (16, 16) and not adapter.defects()
    assert "no messages between devices" in report.describe(looked)


def test_an_evaluation_needs_a_detector_and_a_batch_has_to_divide():
    with pytest.raises(ValueError, match="an evaluation needs a detector: pass its fine-tuning recipe with --detector"):
        checked(evaluate.evaluate(), 2)
    with pytest.raises(ValueError, match="batch.size: 16 images do not divide among 3 devices; use 18 or 15"):
        checked(pretraining(), 3)


def test_findings_are_json_and_text(by_devices):
    outcome = by_devices[4]
    found = json.loads(json.dumps(report.to_json(outcome)))
    assert (found["chips"], found["images_per_step"], found["images_at_once"], found["fits"]) == (4, 16, 4, True)
    assert found["figures"]["memory"]["temporaries"] == outcome.figures.memory.temporaries
    assert found["rooflines"] == {} and found["chip"] is None and found["versions"]["jax"] == jax.__version__
    text = report.describe(outcome)
    assert "tiny on cpu:4 (4 simulated devices): 16 images per step, micro-batches of 4 images per device, 1" in text
    assert "gradients: reductions" in text and "DEFECT" not in text


class Refused:
    """What a compiler says no to."""

    def __init__(self, message: str):
        self._message = message

    def compile(self):
        raise jax.errors.JaxRuntimeError(self._message)


def refused(
    message: str, images: int = 32, fsdp: bool | None = False, remat: str | None = "none", batch_bytes: int = 0
) -> check.Outcome:
    on = Slice("v5e:2x2", CHIPS["v5e"], tuple(jax.devices()[:4]))
    step = steps.Step(
        "large", lambda: Refused(message), 4 * images, 1, 1e9, ((8, 8),), None, batch_bytes,
        (2 * GIB, GIB // 2), remat, fsdp,
    )
    return check.check(step, on)


def test_what_does_not_fit_is_an_outcome_with_a_remedy_and_other_errors_are_raised():
    said = "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (34.00G) "
    outcome = refused(said + "exceeds available HBM (15.75G).")
    assert not outcome.fits and outcome.needed == 34 * GIB and outcome.defects() == []
    assert "DOES NOT FIT: needs 34.00 GiB, 18.25 GiB more than a device's 15.75 GiB" in report.describe(outcome)
    # 2 GiB of state and one for each image.
    assert report.remedy(outcome, (32, 16, 8)).split("; ") == [
        "batch.per_device=8 with 4 micro-batches should need 10.00 GiB",
        "use a stronger model.remat than none (full stores no activations of a block)",
        "partition.fsdp=True reduces the state on a device from 2.00 GiB to 0.50 GiB",
    ]
    assert json.loads(json.dumps(report.to_json(outcome)))["figures"] is None
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        refused("INTERNAL: a defect")


def test_remedies_that_were_taken_are_not_offered_and_images_that_fill_the_memory_named():
    outcome = refused("RESOURCE_EXHAUSTED: Used 17.00G of 15.75G hbm.", fsdp=True, remat="full")
    # Half a gibibyte of state is left on a device; 16 images need the half of 16.5 and it.
    assert report.remedy(outcome, (32, 16)) == "batch.per_device=16 with 2 micro-batches should need 8.75 GiB"
    assert report.remedy(refused("RESOURCE_EXHAUSTED", fsdp=None, remat=None), ()) == "reduce evaluation.batch"
    # 9 of the 15.75 GiB are images and 2 state: 7 for 32 images at once, of which 4.75 leave 21.7.
    outcome = refused("RESOURCE_EXHAUSTED: Used 18.00G of 15.75G hbm.", batch_bytes=9 * GIB, remat="full")
    first, second, _ = report.remedy(outcome, (32, 16)).split("; ")
    assert first == "batch.per_device=16 with 2 micro-batches should need 14.50 GiB"
    assert second == (
        "reduce batch.size or use more chips (the images of a step take 9.00 GiB on a device, twice that with "
        "micro-batches)"
    )


def test_what_the_compiler_would_need():
    for said, gibibytes in (("Used 20.33G of 15.75G hbm. Exceeded hbm capacity by 4.58G", 20.33),
                            ("HLO temporaries (1536.00M) exceeds", 1.5)):  # fmt: skip
        assert check.needed_bytes(said) == pytest.approx(gibibytes * GIB)
    assert check.needed_bytes("out of memory") is None


def test_what_xla_writes_to_stderr_is_counted_and_kept_from_the_user(capfd):
    with check.capture_stderr() as said:
        os.write(2, f"E0000 {check.REBUILT}. The compiler cannot go\n".encode())
        os.write(2, b"another word\n")
    assert said[0].count(check.REBUILT) == 1
    assert capfd.readouterr().err == "another word\n"


def test_recipes_of_a_size_are_found_with_their_evaluations():
    large = changed(pretrain_demo.get_config(), {"model.size": "vit_l16"})
    found = {name: (c.job, None if tuned is None else tuned.model.size)
             for name, c, tuned in steps.family(large)}  # fmt: skip
    assert list(found) == [
        "pretrain_vitl", "finetune_dfd:vitl", "finetune_diff:vitl", "finetune_fas:vitl", "finetune_gend:vitl",
        "finetune_sbi:vitl", "adapter_dfd:vitl", "adapter_diff:vitl", "adapter_fas:vitl",
        "eval_dfd of finetune_dfd:vitl", "eval_diff of finetune_diff:vitl", "eval_fas of finetune_fas:vitl",
    ]  # fmt: skip
    assert found["eval_fas of finetune_fas:vitl"] == ("evaluate", "vit_l16")
    assert found["pretrain_vitl"] == ("pretrain", None)


def test_all_goes_on_after_a_recipe_that_does_not_fit_the_slice(monkeypatch):
    recipes = [("one", pretraining(batch__size=15, batch__per_device=15), None), ("other", fine_tuning(), None)]
    monkeypatch.setattr(__main__, "family", lambda config: iter(recipes))
    monkeypatch.setattr(__main__, "check", lambda step, on: refused("RESOURCE_EXHAUSTED"))
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        found = __main__.run("mine", pretraining(), open_slice("cpu:2"), EXAMPLES, everything=True)
    assert [(one["config"], one["fits"], "error" in one) for one in found] == [
        ("large", False, False), ("one", False, True), ("large", False, False),
    ]  # fmt: skip
    assert "one on cpu:2: batch.size: 15 images do not divide among 2 devices" in said.getvalue()


def test_the_search_compiles_smaller_batches(monkeypatch):
    on = Slice("v5e:2x2", CHIPS["v5e"], tuple(jax.devices()[:4]))
    tried = []

    def pretend(step, where):
        tried.append(step.images / 4 / step.parts)
        return refused(f"RESOURCE_EXHAUSTED: Used {2 + 4 * tried[-1]:.2f}G of 15.75G hbm", int(tried[-1]))

    monkeypatch.setattr(__main__, "check", pretend)
    with contextlib.redirect_stdout(io.StringIO()):
        (found,) = __main__.run("mine", pretraining(batch__size=32), on, EXAMPLES, search=True)
    # The stand-in never fits, so all that should fit by proportion are tried down to one image.
    assert found["search"]["largest"] is None and tried == [8, 2, 1]
