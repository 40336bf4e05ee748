"""State dicts for timm without timm: names, order, layout, the call that builds the network, and what is refused."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import SMALLEST, classifier, drawn
from traced_once import traced_once  # noqa: F401, a fixture that is used by itself

from fsfm_jax.models.bases import BASES
from fsfm_jax.models.classifier import ClassifierSpec
from fsfm_jax.models.lora import LoraSpec
from fsfm_jax.models.style import PLAIN
from fsfm_jax.models.vit import SIZES, Encoder, Size
from fsfm_jax.weights.encoder_size import shapes_of
from fsfm_jax.weights.timm_state import classifier_state, creation, pack_pretrained

SIZE, SIDE, GRID = SMALLEST.size, SMALLEST.image_size, SMALLEST.grid
CLIP, MARLIN = BASES["clip"].style, BASES["marlin"].style
# As timm 1.0 lists them; test_exports.py in tests/parity asks timm.
BLOCK = [
    f"{part}.{leaf}"
    for part in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
    for leaf in ("weight", "bias")
]
NAMES = ["cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"]
NAMES += [f"blocks.{index}.{name}" for index in range(2) for name in BLOCK]


def encoder(learnt: bool = False, style=PLAIN) -> dict:
    network = Encoder(SIZE, GRID, jnp.float32, "none", learnt_positions=learnt, style=style)
    return {"encoder": drawn(shapes_of(network, jnp.zeros((1, GRID**2, 48))))}


def spec(**changes) -> ClassifierSpec:
    return dataclasses.replace(SMALLEST, **changes)


def test_names_come_in_the_order_of_timm_and_of_the_numbers_of_blocks():
    model = classifier_state(classifier(spec()), spec())
    assert list(model.state) == [*NAMES, "fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias"]
    of = spec(pooling="cls")
    model = classifier_state(classifier(of), of)
    assert list(model.state) == [*NAMES, "norm.weight", "norm.bias", "head.weight", "head.bias"]
    size = Size(8, 11, 2, 4)
    network = Encoder(size, GRID, jnp.float32, "none")
    params = {"encoder": drawn(shapes_of(network, jnp.zeros((1, GRID**2, 48))))}
    names = list(pack_pretrained(params, size, SIDE, "token").state)
    assert [name for name in names if name.endswith("norm1.bias")] == [f"blocks.{i}.norm1.bias" for i in range(11)]
    assert names[-2:] == ["norm.weight", "norm.bias"]


def test_the_layout_is_that_of_pytorch():
    params = classifier(spec())
    state = classifier_state(params, spec()).state
    found = params["encoder"]["patch_embed"]["kernel"]
    # Output 5, channel 2, row 1, column 3 of a patch of 4 by 4 pixels.
    assert state["patch_embed.proj.weight"].shape == (8, 3, 4, 4)
    assert state["patch_embed.proj.weight"][5, 2, 1, 3] == found[(1 * 4 + 3) * 3 + 2, 5]
    qkv = params["encoder"]["block_01"]["attn"]["qkv"]["kernel"]
    np.testing.assert_array_equal(state["blocks.1.attn.qkv.weight"], qkv.T)
    np.testing.assert_array_equal(state["head.weight"], params["head"]["kernel"].T)
    np.testing.assert_array_equal(state["fc_norm.bias"], params["fc_norm"]["bias"])
    np.testing.assert_array_equal(state["pos_embed"], params["encoder"]["pos_embed"])


def test_positions_that_are_no_parameter_are_written_out_and_a_mean_has_a_fresh_norm():
    state = pack_pretrained(encoder(), SIZE, SIDE, "token").state
    assert state["pos_embed"].shape == (1, 5, 8)
    assert not state["pos_embed"][0, 0].any()
    # Row 1, column 0: sin 0, cos 0 for the column, then sines and cosines of 1 and of 1/100 for the row.
    expected = [0, 0, 1, 1, np.sin(1), np.sin(0.01), np.cos(1), np.cos(0.01)]
    np.testing.assert_allclose(state["pos_embed"][0, 3], expected, atol=1e-7)
    learnt = encoder(learnt=True)
    np.testing.assert_array_equal(
        pack_pretrained(learnt, SIZE, SIDE, "token").state["pos_embed"], learnt["encoder"]["pos_embed"]
    )
    params = encoder() | {"projector": {"fc1": {"kernel": np.zeros((2, 2))}}}
    mean, token = (pack_pretrained(params, SIZE, SIDE, pooling).state for pooling in ("avg", "token"))
    assert list(mean) == [*NAMES, "fc_norm.weight", "fc_norm.bias"]
    assert list(token) == [*NAMES, "norm.weight", "norm.bias"]
    np.testing.assert_array_equal(mean["fc_norm.weight"], np.ones(8))
    np.testing.assert_array_equal(mean["fc_norm.bias"], np.zeros(8))
    np.testing.assert_array_equal(token["norm.weight"], params["encoder"]["norm"]["scale"])


@pytest.mark.parametrize(("of", "missing"), [
        (spec(), "lora_down: \\[8, 2\\] found, nothing expected"),
        (spec(lora=LoraSpec(3, 6.0)), "lora_down: \\[8, 2\\] found, \\[8, 3\\] expected"),
    ])
def test_updates_of_another_rank_or_none_are_not_merged(of, missing):
    with pytest.raises(ValueError, match=f"a classifier: 4 arrays .*\n  encoder/block_00/attn/qkv/{missing}"):
        classifier_state(classifier(spec(lora=LoraSpec(rank=2, alpha=6.0))), of)


def test_a_bias_before_the_norm_of_clip_is_in_the_positions():
    params = encoder(learnt=True, style=CLIP)
    model = pack_pretrained(params, SIZE, SIDE, "token", CLIP)
    names = [name for name in NAMES if name != "patch_embed.proj.bias"]
    names[3:3] = ["norm_pre.weight", "norm_pre.bias"]
    assert list(model.state) == [*names, "norm.weight", "norm.bias"]
    table, bias = params["encoder"]["pos_embed"][0], params["encoder"]["patch_embed"]["bias"]
    np.testing.assert_array_equal(model.state["pos_embed"][0, 0], table[0])
    np.testing.assert_allclose(model.state["pos_embed"][0, 1:], table[1:] + bias, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(model.state["norm_pre.weight"], params["encoder"]["pre_norm"]["scale"])


@pytest.mark.parametrize("style", [PLAIN, CLIP])
def test_arrays_are_float32_and_nobody_elses(style):
    params = jax.tree.map(lambda x: x.astype(np.float64), encoder(learnt=True, style=style))
    before = jax.tree.map(np.copy, params)
    state = pack_pretrained(params, SIZE, SIDE, "token", style).state
    for name, array in state.items():
        assert array.dtype == np.float32 and array.flags.c_contiguous and array.flags.writeable, name
        array += 1
    jax.tree.map(np.testing.assert_array_equal, params, before)
    fixed = pack_pretrained(encoder(), SIZE, SIDE, "avg").state["pos_embed"]
    fixed += 1
    assert not pack_pretrained(encoder(), SIZE, SIDE, "avg").state["pos_embed"][0, 0].any()


@pytest.mark.parametrize(("size", "name", "changes"), [
        ("vit_s16", "vit_small_patch16_224", {"num_heads": 12}),
        ("vit_s16_6h", "vit_small_patch16_224", {}),
        ("vit_b16", "vit_base_patch16_224", {}),
        ("vit_l16", "vit_large_patch16_224", {}),
        ("vit_l14", "vit_large_patch14_224", {}),
        ("vit_h14", "vit_huge_patch14_224", {}),
        ("tiny16", "vit_small_patch16_224", {"embed_dim": 48, "depth": 2, "num_heads": 4}),
        ("tiny32", "vit_small_patch16_224", {"patch_size": 32, "embed_dim": 64, "depth": 2, "num_heads": 4}),
    ])
def test_sizes_have_the_names_of_timm(size, name, changes):
    call = creation(SIZES[size], 224, "avg", 2)
    assert call == {"model_name": name, "global_pool": "avg", "num_classes": 2} | changes
    larger = creation(SIZES[size], 448, "token", 0)
    assert larger == {"model_name": name, "global_pool": "token", "num_classes": 0, "img_size": 448} | changes


def test_sizes_without_a_name_take_that_of_the_nearest_width_and_the_call_is_json():
    call = creation(Size(1000, 5, 10, 20), 240, "avg", 2)
    assert call == {
        "model_name": "vit_large_patch16_224", "global_pool": "avg", "num_classes": 2, "img_size": 240,
        "patch_size": 20, "embed_dim": 1000, "depth": 5, "num_heads": 10,
    }  # fmt: skip
    for model in (
        classifier_state(classifier(spec()), spec()),
        pack_pretrained(encoder(), SIZE, SIDE, "token"),
    ):
        assert json.loads(json.dumps(model.call)) == model.call
        assert model.call["img_size"] == SIDE and model.call["embed_dim"] == 8
    assert classifier_state(classifier(spec()), spec()).call["num_classes"] == 3


@pytest.mark.parametrize(("size", "name"), [
        ("vit_b16", "vit_base_patch16_clip_quickgelu_224"), ("vit_l14", "vit_large_patch14_clip_quickgelu_224")
    ])
def test_the_networks_of_clip(size, name):
    assert creation(SIZES[size], 224, "token", 2, CLIP) == {
        "model_name": name, "global_pool": "token", "num_classes": 2,
    }  # fmt: skip


def refused(of: ClassifierSpec) -> str:
    with pytest.raises(ValueError) as error:
        classifier_state(classifier(of), of)
    return str(error.value)


def test_what_timm_cannot_build_is_refused_with_what_to_do_instead():
    message = refused(spec(reduction=4))
    assert "FS-Adapter (tuning.reduction 4): timm has no network" in message
    assert "(official or safetensors), or serialize it: fsfm_jax.export.serialize" in message
    message = refused(spec(style=CLIP))
    assert "the base model clip or farl with the mean of the patches: its norms have the epsilon 1e-5" in message
    assert "model.pooling `cls`); otherwise serialize it" in message
    assert "the base model marlin: timm has no network" in refused(spec(style=MARLIN))
    with pytest.raises(ValueError, match="the base model marlin: timm has no network"):
        pack_pretrained(encoder(learnt=True, style=MARLIN), SIZE, SIDE, "avg", MARLIN)
    with pytest.raises(ValueError, match="the base model clip or farl with the mean"):
        pack_pretrained(encoder(learnt=True, style=CLIP), SIZE, SIDE, "avg", CLIP)
    with pytest.raises(ValueError, match="without a norm before the first block, .* found one with it.*model.base"):
        pack_pretrained(encoder(learnt=True, style=CLIP), SIZE, SIDE, "token")
    with pytest.raises(ValueError, match="with a class token, .* found one without it"):
        pack_pretrained(encoder(learnt=True, style=MARLIN), SIZE, SIDE, "token")
    with pytest.raises(ValueError, match="with a norm before the first block, as the base model clip or farl has it"):
        classifier_state(classifier(spec(pooling="cls")), spec(pooling="cls", style=CLIP))


def test_other_poolings_sizes_and_shapes_are_refused():
    with pytest.raises(ValueError, match="pooling: expected one of avg, token; found 'mean_patches'"):
        pack_pretrained(encoder(), SIZE, SIDE, "mean_patches")
    with pytest.raises(ValueError, match="model.pooling: expected one of mean_patches, cls; found 'avg'"):
        classifier_state({}, spec(pooling="avg"))
    for image_size in (0, 10):
        message = f"image size: expected a multiple of the patch size 4; found {image_size}"
        with pytest.raises(ValueError, match=message):
            pack_pretrained(encoder(), SIZE, image_size, "token")
        with pytest.raises(ValueError, match=message):
            classifier_state(classifier(spec()), spec(image_size=image_size))
    with pytest.raises(ValueError, match=r"images of 16 pixels: 1 arrays .*\n  encoder/pos_embed: \[1, 5, 8\] found"):
        pack_pretrained(encoder(learnt=True), SIZE, 16, "token")
    with pytest.raises(ValueError, match=r"fc_norm/bias: nothing found, \[8\] expected"):
        classifier_state({key: tree for key, tree in classifier(spec()).items() if key != "fc_norm"}, spec())
    with pytest.raises(ValueError, match="parameters with an encoder; found projector"):
        pack_pretrained({"projector": {}}, SIZE, SIDE, "token")
    deeper = encoder()
    deeper["encoder"]["block_02"] = deeper["encoder"]["block_01"]
    with pytest.raises(ValueError, match="encoder/block_02/.* found, nothing expected"):
        pack_pretrained(deeper, SIZE, SIDE, "token")
