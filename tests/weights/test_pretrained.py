"""Where fine-tuning starts from: runs of ours, official files and files like them, and what is refused."""

import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import reference
from flax.traverse_util import flatten_dict
from official_weights import SIZES, VGGFACE2, write, write_statistics
from torch_archive import archive
from traced_once import traced_once  # noqa: F401, a fixture that is used by itself

from fsfm_jax.models import vit
from fsfm_jax.models.bases import BASES
from fsfm_jax.models.classifier import Classifier, ClassifierSpec, initialise
from fsfm_jax.models.layers import sincos_positions
from fsfm_jax.run.checkpoint import Checkpoints, Retention
from fsfm_jax.tasks.normalisation import Statistics
from fsfm_jax.weights.encoder_size import recognise_size
from fsfm_jax.weights.init import open_pretrained
from fsfm_jax.weights.names import official_name

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = {"online": GOLDEN / "checkpoint-599.pth", "target": GOLDEN / "checkpoint-te-599.pth"}


@pytest.fixture
def state(golden) -> dict[str, np.ndarray]:
    """The official state dict of a small online network."""
    return reference.state_dict(golden("pretrain_tiny"), "online/")


@pytest.fixture
def masked_autoencoder(state) -> dict[str, np.ndarray]:
    """Names of MAE: encoder and pixel decoder, whose mask token has the decoder's width."""
    kept = {name: array for name, array in state.items() if not name.startswith(("pro", "pre", "rep"))}
    return kept | {"mask_token": np.zeros((1, 1, 32), np.float32)}


def opened(path, sizes=SIZES, base="fsfm"):
    return open_pretrained(str(path), base, sizes)


def fresh(pooling: str = "mean_patches") -> dict:
    spec = ClassifierSpec(SIZES["golden"], 32, 2, pooling, 0.0, jnp.float32, "none")
    shapes = jax.eval_shape(lambda: Classifier(spec).init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False))
    return jax.tree.map(lambda leaf: np.full(leaf.shape, 7, np.float32), shapes["params"])


# Files.


@pytest.mark.parametrize("network", FILES)
def test_every_number_of_an_official_file_arrives(golden, network):
    expected = golden("checkpoint_expect")
    found = opened(FILES[network])
    flat = flatten_dict(found.params, sep="/")
    names = {path: "pos_embed" if path == "encoder/pos_embed" else official_name(path) for path in flat}
    dropped = {"decoder_pos_embed", "rep_decoder_pos_embed"}
    assert set(names.values()) == set(map(str, expected[f"{network}/__names__"])) - dropped
    norms = dict(zip(expected[f"{network}/__names__"], expected[f"{network}/__norm__"], strict=True))
    for path, array in flat.items():
        assert type(array) is np.ndarray and array.dtype == np.float32 and array.flags.c_contiguous
        np.testing.assert_allclose(np.linalg.norm(array.astype(np.float64)), norms[names[path]], rtol=1e-6)
        if f"{network}/{names[path]}" in expected:  # tensors of up to 256 numbers: vectors and tokens
            assert array.ndim == 1 or array.shape[:2] == (1, 1)
            np.testing.assert_array_equal(array, expected[f"{network}/{names[path]}"], err_msg=path)
    assert found.statistics is None
    assert set(found.report.loaded) == set(names.values())
    assert set(found.report.skipped) == dropped & set(map(str, expected[f"{network}/__names__"]))


@pytest.mark.parametrize(("network", "notes"), [
        ("online", ["not used: decoder_pos_embed, rep_decoder_pos_embed"]),
        ("target", ["the target network of pretraining: it has no predictor", "not used: rep_decoder_pos_embed"]),
    ])  # fmt: skip
def test_the_origin_says_what_was_read(network, notes):
    path = FILES[network]
    expected = {
        "kind": "pth", "path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "size": "golden",
        "epoch": 599, "notes": notes,
    }  # fmt: skip
    origin = opened(path).origin
    assert origin == expected == json.loads(json.dumps(origin))


@pytest.mark.parametrize("name", ["a.pth", "a.pt", "a.pth.tar", "a.PTH", "a.safetensors", "bare.pth"])
def test_all_kinds_of_files_give_the_same_parameters(tmp_path, golden, state, name):
    found = opened(write(tmp_path / name, state, None if name == "bare.pth" else "model"))
    flat = flatten_dict(found.params, sep="/")
    expected = flatten_dict(reference.parameters(golden("pretrain_tiny"), "online/"), sep="/")
    assert flat.keys() == expected.keys() | {"encoder/pos_embed"}
    for path, array in expected.items():
        np.testing.assert_array_equal(flat[path], array, err_msg=path)
    np.testing.assert_array_equal(flat["encoder/pos_embed"], state["pos_embed"])
    assert found.origin["kind"] == ("safetensors" if name == "a.safetensors" else "pth")
    assert "epoch" not in found.origin and flat["encoder/cls_token"].flags.writeable


@pytest.mark.parametrize("pooling", ["mean_patches", "cls"])
@pytest.mark.parametrize("kind", ["online", "target", "masked_autoencoder"])
def test_a_classifier_starts_from_any_of_them(tmp_path, golden, state, masked_autoencoder, kind, pooling):
    if kind == "target":
        state = reference.state_dict(golden("pretrain_tiny"), "target/")
    elif kind == "masked_autoencoder":
        state = masked_autoencoder
    state["pos_embed"] = state["pos_embed"] + 1  # those of the file count, not those that could be computed
    found = opened(write(tmp_path / "a.pth", state), base="mae" if kind == "masked_autoencoder" else "fsfm")
    params, report = initialise(found.params, fresh(pooling), grid=4)
    assert len(report.loaded) == 28 + 2 * (pooling == "cls")
    np.testing.assert_array_equal(params["encoder"]["pos_embed"], state["pos_embed"])
    weight = state["blocks.1.mlp.fc2.weight"]
    np.testing.assert_array_equal(params["encoder"]["block_01"]["mlp"]["fc2"]["kernel"], weight.T)
    assert "the target network of pretraining: it has no predictor" not in found.origin["notes"] or kind == "target"


def test_an_encoder_without_positions_has_the_computed_ones(tmp_path, state):
    del state["pos_embed"]
    found = opened(write(tmp_path / "a.safetensors", state))
    params, report = initialise(found.params, fresh(), grid=4)
    np.testing.assert_array_equal(params["encoder"]["pos_embed"], sincos_positions(48, 4)[None])
    assert "encoder/pos_embed" in report.loaded


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_other_floating_point_types_become_float32_with_a_note_and_integers_are_refused(tmp_path, state, ending):
    state["norm.weight"] = state["norm.weight"].astype(np.float16)
    state["norm.bias"] = state["norm.bias"].astype(ml_dtypes.bfloat16)
    state["cls_token"] = state["cls_token"].astype(np.float64)
    state["mask_token"] = state["mask_token"].astype(np.float64)
    found = opened(write(tmp_path / f"a.{ending}", state))
    for leaf, name in (("scale", "norm.weight"), ("bias", "norm.bias")):
        assert found.params["encoder"]["norm"][leaf].dtype == np.float32
        np.testing.assert_array_equal(found.params["encoder"]["norm"][leaf], state[name].astype(np.float32))
    counts = (1, "bfloat16"), (1, "float16"), (2, "float64")
    assert found.origin["notes"][-3:] == [f"{count} arrays were {kind} and became float32" for count, kind in counts]
    state["norm.bias"] = np.zeros(48, np.int64)
    with pytest.raises(ValueError, match="norm.bias has the dtype int64; expected one of float16, bfloat16, float32"):
        opened(write(tmp_path / f"b.{ending}", state))


# What a file may not hold.


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_values_that_are_not_finite_are_refused_with_their_name(tmp_path, state, ending, value):
    name = "decoder_blocks.1.mlp.fc1.weight"  # also where fine-tuning does not look
    state[name] = state[name].astype(np.float64)
    state[name][3, 4] = value
    path = write(tmp_path / f"a.{ending}", state)
    with pytest.raises(ValueError, match=rf"{path}: {name} has 1 of 4096 values that are not finite in float32"):
        opened(path)


def test_unknown_names_are_listed_up_to_ten(tmp_path, state):
    state |= {f"memory.{index:02d}": np.zeros(1, np.float32) for index in range(12)}
    total = len(state) - 2  # without the positions of the decoders
    listed = ", ".join(f"memory.{index:02d}" for index in range(10))
    path = write(tmp_path / "a.pth", state)
    with pytest.raises(
        ValueError,
        match=rf"{path}: 12 of {total} names are not known in a pretrained network: {listed} and 2 more$",
    ):
        opened(path)


@pytest.mark.parametrize("name", [
    "blocks.00.norm1.weight", "blocks.\u0660.norm1.weight", "blocks.{i}.norm1.weight", "module.cls_token",
    f"blocks.{'9' * 5000}.norm1.weight",
])  # fmt: skip
def test_a_parameter_has_one_name_only(tmp_path, state, name):
    # Each of these, read carelessly, is block 0 a second time, or a block that no table has.
    state[name] = state["blocks.0.norm1.weight"] + 1
    with pytest.raises(ValueError, match=re.escape(f"names are not known in a pretrained network: {name[:100]}")):
        opened(write(tmp_path / "a.pth", state))


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("cls_token", (1, 48), r"encoder: 1 arrays .*\n  cls_token: \[1, 48\] found, \[1, 1, 48\] expected"),
        ("pos_embed", (17, 48), r"pos_embed: \[17, 48\] found, \[1, 17, 48\] expected"),
        ("pos_embed", (1, 16, 48), r"pos_embed: \[1, 16, 48\] found, \[1, 10, 48\] expected"),
        ("pos_embed", (1, 17, 0), r"pos_embed: \[1, 17, 0\] found, \[1, 2, 48\] expected"),
        ("patch_embed.proj.weight", (48, 192), r"expected a convolution \[D, 3, p, p\]; found \[48, 192\]"),
        ("patch_embed.proj.weight", (48, 12, 4, 4), r"expected a convolution .* found \[48, 12, 4, 4\]"),
        ("blocks.0.attn.qkv.weight", (48, 144), r"attn/qkv/kernel: \[144, 48\] found, \[48, 144\] expected"),
        ("blocks.1.mlp.fc1.bias", None, r"block_01/mlp/fc1/bias: nothing found, \[192\] expected"),
        ("norm.bias", None, r"norm/bias: nothing found, \[48\] expected"),
    ],
)  # fmt: skip
def test_arrays_of_another_shape_are_named(tmp_path, state, name, shape, message):
    del state[name]
    if shape is not None:
        state[name] = np.zeros(shape, np.float32)
    path = write(tmp_path / "a.safetensors", state)
    with pytest.raises(ValueError, match=message) as error:
        opened(path)
    assert path in str(error.value)


def test_a_gap_between_blocks_is_named(tmp_path, state):
    moved = {name.replace("blocks.1.", "blocks.7.", name.startswith("blocks.")): a for name, a in state.items()}
    with pytest.raises(ValueError, match=r"24 arrays .*\n.*block_01/attn/proj/bias: nothing found") as error:
        opened(write(tmp_path / "a.pth", moved))
    assert str(error.value).endswith("and 4 more")


def test_fine_tuned_networks_are_no_start(tmp_path, golden):
    for place, what in (
        ("finetune_tiny/plain_gp/state/", "a fine-tuned classifier"),
        ("finetune_tiny/plain_cls/state/", "a fine-tuned classifier"),
        ("finetune_tiny/adapter/state/", "a fine-tuned classifier with FS-Adapter"),
        ("fas_tiny/fas_plain/state_before/", "a fine-tuned network of face anti-spoofing"),
    ):
        file, prefix = place.split("/", 1)
        path = write(tmp_path / "a.pth.tar", reference.state_dict(golden(file), prefix), "state_dict")
        expected = f"init: {path} holds {what}; fine-tuning starts from a pretrained network, take the file"
        with pytest.raises(ValueError, match=re.escape(expected)):
            opened(path)


def test_a_base_has_to_be_known_named_and_that_of_the_file(tmp_path, state, masked_autoencoder):
    ours, mae = write(tmp_path / "a.pth", state), write(tmp_path / "b.pth", masked_autoencoder)
    other = write(tmp_path / "c.safetensors", {"conv1.weight": np.zeros(3, np.float32)})
    for path, base, text in (
        (ours, "vit", "model.base: expected one of fsfm, supervised, .*; found 'vit'"),
        (mae, "fsfm", r"no network of FSFM: .* with model.base: supervised, deit, mae, dino, cli"),
        (ours, "mae", r"expected the encoder of mae; .* the projector of FSFM; set model.base to f"),
        (other, "fsfm", r"no vision transformer with the names of FSFM.*; found conv1.weight$"),
    ):
        with pytest.raises(ValueError, match=text):
            opened(path, base=base)


@pytest.mark.parametrize(("content", "message"), [
        ({"optimizer": {}, "epoch": 3}, "expected a network under model or state_dict, .* none: optimizer, epoch"),
        ({"model": {}}, "or nothing but tensors; found nothing"),
        ({"model": {"a": 1}}, "these are none: a$"),
        ({"model": {}, "state_dict": {}}, "it has both model and state_dict; which of them is meant"),
        ([1], "expected the weights of a network; found a list"),
    ])  # fmt: skip
def test_other_content_of_a_torch_file_is_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        opened(archive(tmp_path / "a.pth", content, {}))


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="init: .*gone.pth is not there$"):
        opened(tmp_path / "gone.pth")
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(FileNotFoundError, match="init: .*folder.pth is a folder, not a weight file"):
        opened(tmp_path / "folder.pth")
    with pytest.raises(FileNotFoundError, match="init: no run at .*gone .nothing is there.; expected the --workdir"):
        opened(tmp_path / "gone")
    (tmp_path / "weights.bin").write_bytes(b"PK\3\4")
    with pytest.raises(ValueError, match=r"init: .*weights.bin is a file; expected a --workdir, or .* \.pth, \.pt, "):
        opened(tmp_path / "weights.bin")


# Sizes.


def test_a_size_is_recognised_by_width_depth_and_patch_and_the_base_decides_the_heads():
    for name, size in vit.SIZES.items():
        encoder = {"patch_embed": {"kernel": np.empty((3 * size.patch_size**2, size.width), np.float32)}}
        encoder |= {f"block_{index:02d}": {} for index in range(size.depth)}
        assert recognise_size({"encoder": encoder}, {name: size}) == name
        deeper = vit.Size(size.width, size.depth + 1, size.heads, size.patch_size)
        assert recognise_size({"encoder": encoder}, {"deeper": deeper, "same": size}) == "same"
    small = {"patch_embed": {"kernel": np.empty((768, 384), np.float32)}} | {f"block_{i:02d}": {} for i in range(12)}
    heads = {
        base: vit.SIZES[recognise_size({"encoder": small}, {name: vit.SIZES[name] for name in BASES[base].sizes})].heads
        for base in ("fsfm", "supervised", "deit", "dino", "marlin")
    }
    assert heads == {"fsfm": 12, "supervised": 6, "deit": 6, "dino": 6, "marlin": 6}


@pytest.mark.parametrize("base", BASES)
def test_the_sizes_of_one_base_are_told_apart_by_what_the_arrays_show(base):
    # Otherwise the first of two rows would win without a word: heads leave no trace.
    sizes = {name: vit.SIZES[name] for name in BASES[base].sizes}
    assert len({(size.width, size.depth, size.patch_size) for size in sizes.values()}) == len(sizes)


def test_an_unknown_size_is_described(state, tmp_path):
    path = write(tmp_path / "a.pth", state)
    with pytest.raises(
        ValueError,
        match=rf"init: {path}: no known size has width 48, 2 blocks and patches of 192 numbers \(8 by 8 pixels\); "
        r"known \(width, blocks, patch\): vit_s16 384, 12, 16; vit_b16 768, 12, 16; .*tiny16 48, 2, 16$",
    ):
        open_pretrained(path, sizes={name: vit.SIZES[name] for name in BASES["fsfm"].sizes if name != "tiny8"})
    with pytest.raises(ValueError, match=r"no encoder/patch_embed/kernel \[P, D\]"):
        recognise_size({"encoder": {"cls_token": np.zeros(3)}})


# Runs.


class State(NamedTuple):
    step: jax.Array
    params: dict


def run(workdir: Path, params: dict, job: str = "pretrain", size: str = "golden") -> str:
    """A working directory with one checkpoint."""
    checkpoints = Checkpoints(str(workdir / "checkpoints"), Retention(1, 0), asynchronous=False)
    saved = {"config": {"job": job, "model.size": size}, "step": 30, "statistics": VGGFACE2}
    checkpoints.save(State(jnp.int32(30), jax.tree.map(jnp.asarray, params)), saved)
    checkpoints.wait()
    checkpoints.close()
    return str(workdir)


def test_the_grid_is_that_of_the_images_that_were_pretrained_and_statistics_lie_beside(tmp_path, golden, state):
    write_statistics(tmp_path)
    found = opened(write(tmp_path / "a.pth", state))
    assert found.grid == 4  # of its positions: 32 pixels in patches of 8
    assert found.statistics == Statistics(tuple(VGGFACE2["mean"]), tuple(VGGFACE2["std"]))
    del state["pos_embed"]
    assert opened(write(tmp_path / "b.pth", state)).grid == 224 // 8
    assert opened(run(tmp_path / "run", reference.parameters(golden("pretrain_tiny"), "online/"))).grid == 224 // 8


def test_a_run_of_ours_is_a_start(tmp_path, golden):
    params = reference.parameters(golden("pretrain_tiny"), "online/")
    workdir = run(tmp_path / "run", params)
    found = opened(workdir)
    assert found.origin == {
        "kind": "run", "path": workdir, "sha256": None, "size": "golden", "step": 30, "notes": [],
    }  # fmt: skip
    assert found.statistics == Statistics(tuple(VGGFACE2["mean"]), tuple(VGGFACE2["std"]))
    flat, expected = flatten_dict(found.params, sep="/"), flatten_dict(params, sep="/")
    assert flat.keys() == expected.keys()
    for path, array in expected.items():
        np.testing.assert_array_equal(flat[path], array, err_msg=path)


def test_a_run_says_its_size_and_job_itself(tmp_path, golden):
    # Arrays of these two look the same; the heads are those that the run had.
    sizes = {"first": SIZES["golden"], "second": dataclasses.replace(SIZES["golden"], heads=2)}
    params = reference.parameters(golden("pretrain_tiny"), "online/")
    workdir = run(tmp_path / "run", params, size="second")
    assert opened(workdir, sizes).origin["size"] == "second"
    with pytest.raises(ValueError, match="init: .*run has model.size 'second'; known are first$"):
        opened(workdir, {"first": sizes["first"]})
    wider = {"second": dataclasses.replace(SIZES["golden"], patch_size=4)}
    with pytest.raises(ValueError, match=r"run, taken for second, part encoder: 1 arrays .*\n  patch_embed/kernel"):
        opened(workdir, wider)
    with pytest.raises(ValueError, match="run is no weight file, but a run with model.base fsfm; found mae"):
        opened(workdir, sizes, "mae")
    workdir = run(tmp_path / "other_run", params, job="finetune")
    with pytest.raises(ValueError, match="init: .*run holds a run of job 'finetune'; expected one of pretrain"):
        opened(workdir)
