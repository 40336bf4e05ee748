"""Fine-tuned official files: their logits come out, and whatever is no detector is refused by name."""

import hashlib
import json
import re
import struct
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from official_weights import SIZES, VGGFACE2, write, write_statistics
from torch_archive import code, number

from fsfm_jax.detection.official_network import ReleasedDetector, read_detector
from fsfm_jax.models.antispoof import AntiSpoof, AntiSpoofSpec
from fsfm_jax.models.classifier import Classifier, ClassifierSpec
from fsfm_jax.models.vit import SIZES as ALL_SIZES
from fsfm_jax.models.vit import Size
from fsfm_jax.tasks.normalisation import Statistics

GIVEN = Statistics((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
OWN = Statistics(tuple(VGGFACE2["mean"]), tuple(VGGFACE2["std"]))
NAMES = ("fake", "real")
CLASSIFIERS = {"plain_gp": "mean_patches", "plain_cls": "cls"}


def classifier_state(golden, kind: str = "plain_gp") -> dict[str, np.ndarray]:
    return reference.state_dict(golden("finetune_tiny"), f"{kind}/state/")


def antispoof_state(golden, kind: str = "fas_plain") -> dict[str, np.ndarray]:
    return reference.state_dict(golden("fas_tiny"), f"{kind}/state_before/")


def detector(path: str, names=NAMES, real: int = 1, statistics=GIVEN, sizes=SIZES) -> ReleasedDetector:
    return read_detector(path, names, real, statistics, sizes)


def logits(found: ReleasedDetector, images: np.ndarray) -> np.ndarray:
    """Logits of normalised images, from nothing but what was read."""
    shared = dict(
        size=SIZES[found.size], image_size=found.image_size, drop_path=0.0, dtype=jnp.float32, remat="none",
        reduction=found.reduction,
    )  # fmt: skip
    if found.network == "antispoof":
        norm_over = "tokens" if found.reduction is None else "features"
        network = AntiSpoof(AntiSpoofSpec(norm_over=norm_over, dropout=0.5, **shared))
    else:
        network = Classifier(ClassifierSpec(classes=len(found.class_names), pooling=found.pooling, **shared))
    run = jax.jit(lambda params, images: network.apply({"params": params}, images, train=False).logits)
    return np.asarray(run(found.params, reference.images(images)))


# From a file to its logits.


@pytest.mark.parametrize("name", ["checkpoint-min_val_loss.pth", "a.safetensors"])
@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_a_classifier_of_a_file_has_the_official_logits(tmp_path, golden, kind, name):
    arrays = golden("finetune_tiny")
    path = write(tmp_path / name, classifier_state(golden, kind), epoch=9)
    found = detector(path)
    np.testing.assert_allclose(logits(found, arrays["in/images"]), arrays[f"{kind}/logits"], rtol=0, atol=2e-5)
    assert (found.network, found.pooling, found.image_size) == ("classifier", CLASSIFIERS[kind], 32)
    assert (found.class_names, found.real, found.statistics) == (NAMES, 1, GIVEN)
    sha256 = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    expected = {"path": path, "sha256": sha256, "size": "golden", "notes": []}
    expected |= {"kind": "pth", "epoch": 9} if name.endswith("pth") else {"kind": "safetensors"}
    assert found.origin == expected == json.loads(json.dumps(found.origin))


@pytest.mark.parametrize("key", ["state_dict", None])
def test_an_antispoofing_network_of_a_file_has_the_official_logits(tmp_path, golden, key):
    arrays = golden("fas_tiny")
    # The official code computes these with NumPy and stores them as NumPy's numbers.
    numpy = {name: number(struct.pack("<d", value)) for name, value in (("best_model_EER", 0.05), ("threshold", 0.625))}
    more = {"epoch": 100, "valid_arg": [number(struct.pack("<d", 0.1)), 0.2], **numpy} if key else {}
    found = detector(
        write(tmp_path / "casia_vit_0_shot_checkpoint_run_0.pth.tar", antispoof_state(golden), key, **more)
    )
    np.testing.assert_allclose(logits(found, arrays["in/images"]), arrays["fas_plain/logits"][:, 0], rtol=0, atol=2e-5)
    assert (found.network, found.pooling, found.image_size) == ("antispoof", None, 32)
    said = {name: found.origin.get(name) for name in ("epoch", "threshold")}
    assert said == ({"epoch": 100, "threshold": 0.625} if key else {"epoch": None, "threshold": None})


def test_a_threshold_that_is_no_number_is_left_out(tmp_path, golden):
    for value in (float("nan"), "0.5", None, True):
        path = write(tmp_path / "a.pth.tar", antispoof_state(golden), "state_dict", threshold=value, epoch=code(True))
        assert not {"threshold", "epoch"} & detector(path).origin.keys()


def test_more_classes_and_half_precision(tmp_path, golden):
    state = classifier_state(golden)
    state["head.weight"] = np.concatenate([state["head.weight"]] * 2).astype(np.float16)
    state["head.bias"] = np.concatenate([state["head.bias"]] * 2)
    names = ("real", "swap", "edit", "whole")
    found = detector(write(tmp_path / "a.pth", state), names, 0)
    assert found.params["head"]["kernel"].shape == (48, 4) and found.params["head"]["kernel"].dtype == np.float32
    assert (found.class_names, found.real) == (names, 0)
    assert found.origin["notes"] == ["1 arrays were float16 and became float32"]


def test_sizes_of_the_table_are_recognised(tmp_path, golden):
    state = classifier_state(golden)
    state["patch_embed.proj.weight"] = np.zeros((48, 3, 16, 16), np.float32)
    found = detector(write(tmp_path / "a.pth", state), sizes=ALL_SIZES)
    assert found.size == "tiny16" and found.image_size == 64  # 4 by 4 patches of 16
    with pytest.raises(ValueError, match=r"checkpoint: .*a.pth: no known size has width 48, 2 blocks .*16 by 16"):
        detector(write(tmp_path / "a.pth", state), sizes={"other": Size(48, 3, 4, 16)})


# Statistics.


def test_statistics_beside_the_file_win_and_without_any_the_choice_is_named(tmp_path, golden):
    path = write(tmp_path / "a.pth", classifier_state(golden))
    with pytest.raises(ValueError, match=f"checkpoint: {path}: expected channel st.* set official.statistics .* vgg"):
        detector(path, statistics=None)
    write_statistics(tmp_path)
    found = detector(path)
    assert found.statistics == OWN
    note = "normalised by pretrain_ds_mean_std.txt in the folder of the file, not by the given statistics"
    assert found.origin["notes"] == [note]
    for given in (None, OWN):
        found = detector(path, statistics=given)
        assert found.statistics == OWN and found.origin["notes"] == []
    write_statistics(tmp_path, "{}")
    with pytest.raises(ValueError, match="pretrain_ds_mean_std.txt: mean: expected three numbers"):
        detector(path)


# What is refused.


@pytest.mark.parametrize(("names", "real", "message"), [
        (("fake", "real", "other"), 1, r"3 outputs in head/bias for .* fake, real, other; found shape \[2\]"),
        (("real",), 0, r"1 outputs in head/bias for the class names real; found shape \[2\]"),
        (("real", "real"), 0, "expected distinct class names .*; found real, real and 0"),
        (NAMES, 2, "and the index of the real one among them; found fake, real and 2"),
        (NAMES, -1, "found fake, real and -1"),
        ((), 0, "found  and 0"),
    ])  # fmt: skip
def test_class_names_have_to_fit_the_outputs(tmp_path, golden, names, real, message):
    path = write(tmp_path / "a.pth", classifier_state(golden))
    with pytest.raises(ValueError, match=message) as error:
        detector(path, names, real)
    assert str(error.value).startswith(f"checkpoint: {path}: ")


def test_pretrained_networks_and_files_of_another_place_or_name_are_refused(tmp_path, golden):
    path = write(tmp_path / "a.pth", reference.state_dict(golden("pretrain_tiny"), "online/"))
    message = f"checkpoint: {path}: expected a detector, found a pretrained network, which has no classifier. "
    message += "Fine-tune it first, with "
    with pytest.raises(ValueError, match=re.escape(f"{message}init={path}")):
        detector(path)
    with pytest.raises(ValueError, match=r"checkpoint: .* is no weight file; expected a name that ends in \.pth, \.pt"):
        detector(str(tmp_path))
    with pytest.raises(ValueError, match="checkpoint: gs://bucket/a.pth: expected a path on this machine; gs:// is"):
        detector("gs://bucket/a.pth")


# FS-Adapter.


@pytest.mark.parametrize(("kind", "network"), [("adapter", "classifier"), ("fas_adapter", "antispoof")])
def test_an_adapter_of_a_file_has_the_official_logits(tmp_path, golden, kind, network):
    state = classifier_state(golden, kind) if network == "classifier" else antispoof_state(golden, kind)
    arrays = golden("finetune_tiny" if network == "classifier" else "fas_tiny")
    found = detector(write(tmp_path / "a.pth", state))
    assert (found.network, found.reduction) == (network, 4)
    np.testing.assert_allclose(logits(found, arrays["in/images"]), arrays[f"{kind}/logits"], rtol=0, atol=2e-5)
    unused = [note for note in found.origin["notes"] if note.startswith("not used: backbone.vit.head.")]
    assert len(unused) == (2 if network == "antispoof" else 0)


def test_a_bottleneck_that_cannot_be_is_refused(tmp_path, golden):
    state = classifier_state(golden, "adapter")
    state["adapter.linear1.weight"] = np.zeros((13, 48), np.float32)
    with pytest.raises(ValueError, match=r"linear1.weight: expected a bottleneck that divides 48; .*\[48, 13\]"):
        detector(write(tmp_path / "a.pth", state))
    del state["adapter.linear1.weight"]
    with pytest.raises(ValueError, match="adapter.linear1.weight: .* found no such array"):
        detector(write(tmp_path / "b.pth", state))


@pytest.mark.parametrize(("name", "shape", "message"), [
        ("head.weight", (2, 40), r"head/kernel: \[40, 2\] found, \[48, 2\] expected"),
        ("head.weight", None, r"head/kernel: nothing found, \[48, 2\] expected"),
        ("head.bias", None, r"in head/bias for the class names fake, real; found no such array"),
        ("head.bias", (2, 1), r"in head/bias for the class names fake, real; found shape \[2, 1\]"),
        ("fc_norm.bias", None, r"fc_norm/bias: nothing found, \[48\] expected"),
        ("norm.bias", (48,), r"encoder/norm/bias: \[48\] found, nothing expected"),
        ("pos_embed", None, r"expected pos_embed \(learned positions\), found no such array"),
        ("pos_embed", (1, 18, 48), r"encoder/pos_embed: \[1, 18, 48\] found, \[1, 17, 48\] expected"),
        ("blocks.1.norm2.bias", None, r"encoder/block_01/norm2/bias: nothing found"),
        ("patch_embed.proj.weight", None, r"no encoder/patch_embed/kernel"),
        ("mask_token", (1, 1, 48), "1 of 33 names are not known in a fine-tuned classifier: mask_token$"),
    ])  # fmt: skip
def test_arrays_that_do_not_fit_are_named(tmp_path, golden, name, shape, message):
    state = classifier_state(golden)
    state.pop(name, None)
    if shape is not None:
        state[name] = np.zeros(shape, np.float32)
    path = write(tmp_path / "a.pth", state)
    with pytest.raises(ValueError, match=message) as error:
        detector(path)
    assert path in str(error.value)


def test_nan_is_refused_with_the_name_and_the_bottleneck_may_be_named_once(tmp_path, golden):
    state = antispoof_state(golden)
    once = {name: array for name, array in state.items() if ".bottleneck_layer.0." not in name}
    assert detector(write(tmp_path / "a.pth", once)).params["embedder"]["bias"].shape == (512,)
    name = "backbone.vit.blocks.1.mlp.fc1.bias"
    state[name] = np.where(np.arange(192) == 7, np.float32(np.nan), state[name])
    with pytest.raises(ValueError, match=f"{name} has 1 of 192 values that are not finite"):
        detector(write(tmp_path / "a.pth.tar", state, "state_dict"))
