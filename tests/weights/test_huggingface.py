"""Hugging Face folders without transformers: names, the moved mask token, configurations, files, and refusals."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from flax.traverse_util import flatten_dict
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import SMALLEST, WIRINGS, classifier, drawn
from traced_once import traced_once  # noqa: F401, a fixture that is used by itself

from fsfm_jax.models.bases import BASES
from fsfm_jax.models.classifier import ClassifierSpec
from fsfm_jax.models.fsfm import OnlineNetwork
from fsfm_jax.models.style import PLAIN
from fsfm_jax.models.vit import Encoder
from fsfm_jax.tasks.normalisation import Statistics
from fsfm_jax.weights import huggingface, safetensors_file
from fsfm_jax.weights.base_file import open_base
from fsfm_jax.weights.encoder_size import shapes_of
from fsfm_jax.weights.huggingface import classifier_model, read_pretrained, write
from fsfm_jax.weights.huggingface_config import mask_ratio
from fsfm_jax.weights.plain_arrays import base_named

SIZE, SIDE, GRID = SMALLEST.size, SMALLEST.image_size, SMALLEST.grid
STATISTICS = Statistics((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
CLASSES = ("real", "fake")
PRETRAINING = reference.model_spec(
    size=SIZE, image_size=SIDE, seen=1, pixel_width=12, pixel_depth=1, pixel_heads=3, rep_depth=1,
    projection_hidden=4, projection_features=4, remat="full", dtype=jnp.bfloat16,
)  # fmt: skip


@pytest.fixture(scope="module")
def pretrained() -> dict:
    patches = jnp.zeros((1, PRETRAINING.patches, SIZE.pixels))
    return drawn(shapes_of(OnlineNetwork(PRETRAINING), patches, jnp.zeros((1, 4), bool)))


def spec(**changes) -> ClassifierSpec:
    return dataclasses.replace(SMALLEST, **{"classes": len(CLASSES), **changes})


def encoder(style) -> dict:
    network = Encoder(SIZE, GRID, jnp.float32, "none", learnt_positions=True, style=style)
    return {"encoder": drawn(shapes_of(network, jnp.zeros((1, GRID**2, 48))))}


BLOCK = {
    f"{part}.{leaf}"
    for part in (
        "layernorm_before", "attention.attention.query", "attention.attention.key", "attention.attention.value",
        "attention.output.dense", "layernorm_after", "intermediate.dense", "output.dense",
    )
    for leaf in ("weight", "bias")
}  # fmt: skip


def vit_names(prefix: str) -> set[str]:
    """As published: without what stands behind the blocks."""
    projection = "embeddings.patch_embeddings.projection"
    names = {"embeddings.cls_token", "embeddings.position_embeddings", f"{projection}.weight", f"{projection}.bias"}
    names |= {f"encoder.layer.{index}.{name}" for index in range(2) for name in BLOCK}
    return {prefix + name for name in names}


def pair(module: str) -> set[str]:
    return {f"{module}.weight", f"{module}.bias"}


def test_the_names_of_an_encoder_and_pictures_are_prepared_with_our_statistics(pretrained):
    model = read_pretrained(pretrained, PRETRAINING, STATISTICS, decoder=False)
    assert model.architecture == "ViTModel" and model.config["model_type"] == "vit"
    assert model.state.keys() == vit_names("") | pair("layernorm")
    qkv = pretrained["encoder"]["block_01"]["attn"]["qkv"]
    layer = "encoder.layer.1.attention.attention"
    for place, part in enumerate(("query", "key", "value")):
        third = slice(8 * place, 8 * place + 8)
        np.testing.assert_array_equal(model.state[f"{layer}.{part}.weight"], qkv["kernel"][:, third].T)
        np.testing.assert_array_equal(model.state[f"{layer}.{part}.bias"], qkv["bias"][third])
    found = pretrained["encoder"]["patch_embed"]["kernel"]
    assert model.state["embeddings.patch_embeddings.projection.weight"][5, 2, 1, 3] == found[(1 * 4 + 3) * 3 + 2, 5]
    np.testing.assert_allclose(model.state["embeddings.position_embeddings"][0, 2, :4], np.array([
        np.sin(1), np.sin(0.01), np.cos(1), np.cos(0.01)
    ]), atol=1e-7)  # row 0, column 1  # fmt: skip
    assert model.preprocessor == {
        "image_processor_type": "ViTImageProcessor", "do_convert_rgb": True, "do_resize": True,
        "size": {"height": 8, "width": 8}, "resample": 3, "do_rescale": True, "rescale_factor": 1 / 255,
        "do_normalize": True, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.25, 0.3],
    }  # fmt: skip


def test_the_names_and_configuration_of_a_masked_autoencoder(pretrained):
    model = read_pretrained(pretrained, PRETRAINING, STATISTICS, decoder=True)
    assert model.architecture == "ViTMAEForPreTraining" and model.config["architectures"] == [model.architecture]
    decoder = {"decoder.mask_token", "decoder.decoder_pos_embed"} | pair("decoder.decoder_embed")
    decoder |= {f"decoder.decoder_layers.0.{name}" for name in BLOCK}
    decoder |= pair("decoder.decoder_norm") | pair("decoder.decoder_pred")
    assert model.state.keys() == vit_names("vit.") | pair("vit.layernorm") | decoder
    assert model.state["decoder.decoder_pred.weight"].shape == (48, 12)
    # Row 1, column 0: zero and one for the column, then sines and cosines of 1, 10000**(-1/3) and 10000**(-2/3).
    angles = 10000 ** (-np.arange(3) / 3)
    expected = np.concatenate([np.zeros(3), np.ones(3), np.sin(angles), np.cos(angles)])
    np.testing.assert_allclose(model.state["decoder.decoder_pos_embed"][0, 3], expected, atol=1e-7)
    assert model.config == {
        "architectures": ["ViTMAEForPreTraining"], "model_type": "vit_mae", "hidden_size": 8, "intermediate_size": 32,
        "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_act": "gelu", "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0, "layer_norm_eps": 1e-6, "image_size": 8, "patch_size": 4,
        "num_channels": 3, "dtype": "float32", "qkv_bias": True, "decoder_hidden_size": 12,
        "decoder_intermediate_size": 48, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 3,
        "mask_ratio": 0.75, "norm_pix_loss": True,
    }  # fmt: skip


def test_the_mask_token_passes_the_map_to_the_decoder_and_is_rounded_once(pretrained):
    params = pretrained | {"mask_token": np.arange(8, dtype=np.float32)[None, None]}
    params["pixel_decoder"] = params["pixel_decoder"] | {"embed": {
        "kernel": np.eye(8, 12, dtype=np.float32) * 2, "bias": np.full(12, 0.5, np.float32)
    }}  # fmt: skip
    token = read_pretrained(params, PRETRAINING, STATISTICS, decoder=True).state["decoder.mask_token"]
    assert token.dtype == np.float32
    np.testing.assert_array_equal(token, [[[0.5, 2.5, 4.5, 6.5, 8.5, 10.5, 12.5, 14.5, 0.5, 0.5, 0.5, 0.5]]])
    # 1 + 2**-24 + 2**-24 is 1 + 2**-23, but each step of float32 rounds to 1.
    kernel = np.zeros((8, 12), np.float32)
    kernel[:, 0] = [1, 2**-24, 0, 0, 0, 0, 0, 0]
    embed = {"kernel": kernel, "bias": np.full(12, 2**-24, np.float32)}
    params = pretrained | {"mask_token": np.ones((1, 1, 8), np.float32)}
    params["pixel_decoder"] = params["pixel_decoder"] | {"embed": embed}
    token = read_pretrained(params, PRETRAINING, STATISTICS, decoder=True).state["decoder.mask_token"]
    assert token[0, 0, 0] == 1 + 2**-23


@settings(deadline=None)
@given(st.integers(1, 2048).flatmap(lambda patches: st.tuples(st.integers(1, patches), st.just(patches))))
def test_the_ratio_leaves_the_patches_that_were_seen(numbers):
    seen, patches = numbers
    assert int(patches * (1 - mask_ratio(seen, patches))) == seen  # what transformers computes
    assert 0 <= mask_ratio(seen, patches) < 1 and mask_ratio(49, 196) == 0.75


def test_the_names_and_configuration_of_classifiers():
    of = spec(pooling="cls")
    model = classifier_model(classifier(of), of, STATISTICS, CLASSES)
    assert model.architecture == "ViTForImageClassification" and model.config["model_type"] == "vit"
    assert model.state.keys() == vit_names("vit.") | pair("vit.layernorm") | pair("classifier")
    mean = classifier_model(classifier(spec()), spec(), STATISTICS, CLASSES)
    assert mean.architecture == "BeitForImageClassification" and mean.config["model_type"] == "beit"
    keys = {f"beit.encoder.layer.{index}.attention.attention.key.bias" for index in range(2)}
    assert mean.state.keys() == (vit_names("beit.") | pair("beit.pooler.layernorm") | pair("classifier")) - keys
    config = mean.config
    assert config["id2label"] == {"0": "real", "1": "fake"} and config["label2id"] == {"real": 0, "fake": 1}
    assert config["problem_type"] == "single_label_classification"
    assert config["use_mean_pooling"] and config["use_absolute_position_embeddings"]
    assert not config["use_relative_position_bias"] and not config["use_shared_relative_position_bias"]
    assert config["layer_scale_init_value"] == 0 and config["drop_path_rate"] == 0.1
    assert config["layer_norm_eps"] == 1e-6


@pytest.mark.parametrize("decoder", [False, True])
def test_what_is_written_is_read_as_the_same_encoder(tmp_path, pretrained, decoder):
    model = read_pretrained(pretrained, PRETRAINING, STATISTICS, decoder)
    write(model, tmp_path / "new" / "folder")
    found = open_base(str(tmp_path / "new" / "folder" / "model.safetensors"), "mae", "init").params
    found, expected = (flatten_dict(tree["encoder"], sep="/") for tree in (found, pretrained))
    assert found.keys() == expected.keys() | {"pos_embed"}
    for path, array in expected.items():
        np.testing.assert_array_equal(found[path], array, err_msg=path)


def test_a_folder_has_three_files_of_json_and_numbers_and_interrupted_does_not_load(tmp_path, monkeypatch):
    model = classifier_model(classifier(spec()), spec(), STATISTICS, ("real", "gef\u00e4lscht"))
    write(model, tmp_path)
    write(model, tmp_path)  # again, over itself
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.json", "preprocessor_config.json", "model.safetensors"
    }
    assert json.loads((tmp_path / "config.json").read_text(encoding="utf-8")) == model.config
    assert json.loads((tmp_path / "preprocessor_config.json").read_text()) == model.preprocessor
    tensors, metadata = safetensors_file.read(tmp_path / "model.safetensors")
    assert metadata == {"format": "pt"} and tensors.keys() == model.state.keys()
    for name, array in model.state.items():
        np.testing.assert_array_equal(tensors[name], array)

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(huggingface.safetensors_file, "write", full)
    with pytest.raises(OSError, match="no space left"):
        write(model, tmp_path)
    assert not (tmp_path / "config.json").exists()


def test_arrays_are_float32_and_nobody_elses(pretrained):
    before = jax.tree.map(np.copy, pretrained)
    state = read_pretrained(pretrained, PRETRAINING, STATISTICS, decoder=True).state
    for name, array in state.items():
        assert array.dtype == np.float32 and array.flags.c_contiguous and array.flags.writeable, name
        array += 1
    jax.tree.map(np.testing.assert_array_equal, pretrained, before)
    again = read_pretrained(pretrained, PRETRAINING, STATISTICS, decoder=True).state
    for name in ("vit.embeddings.position_embeddings", "decoder.decoder_pos_embed"):
        assert not again[name][0, 0].any()


def refused(of: ClassifierSpec, names=CLASSES) -> str:
    with pytest.raises(ValueError) as error:
        classifier_model(classifier(of), of, STATISTICS, names)
    return str(error.value)


def test_what_transformers_cannot_load_is_refused_with_what_to_do_instead(pretrained):
    message = refused(spec(reduction=4))
    assert "FS-Adapter (tuning.reduction 4): transformers has no network" in message
    assert "(official or safetensors), or serialize it: fsfm_jax.export.serialize" in message
    for style in (BASES[base].style for base in WIRINGS if BASES[base].style != PLAIN):
        message = refused(spec(style=style))
        assert f"the base model {base_named(style)} is no plain ViT" in message
        assert "serialize it instead: fsfm_jax.export.serialize" in message
        with pytest.raises(ValueError, match=f"the base model {base_named(style)} is no plain ViT; .*serialize it"):
            read_pretrained(encoder(style), PRETRAINING, STATISTICS, False, style)
        with pytest.raises(ValueError, match="found one with.*these parameters belong to another base model"):
            read_pretrained(encoder(style), PRETRAINING, STATISTICS, decoder=False)
    with pytest.raises(ValueError, match="model.pooling: expected one of mean_patches, cls; found 'avg'"):
        classifier_model({}, spec(pooling="avg"), STATISTICS, CLASSES)


def test_names_have_to_fit_the_classes():
    for names in ((), ("real",), ("real", "real"), ("real", "fake", "other")):
        message = refused(spec(), names)
        assert "class names: expected 2 different ones" in message
        assert message.endswith(f"found {', '.join(names) or 'none'}")


def test_a_decoder_that_is_not_there_or_another_is_refused(pretrained):
    alone = {"encoder": pretrained["encoder"]}
    with pytest.raises(ValueError, match="mask_token and pixel_decoder not found, .* export the encoder alone"):
        read_pretrained(alone, PRETRAINING, STATISTICS, decoder=True)
    assert read_pretrained(alone, PRETRAINING, STATISTICS, decoder=False).state
    other = dataclasses.replace(PRETRAINING, pixel_depth=2)
    with pytest.raises(ValueError, match=r"the pixel decoder: 12 arrays .*\n  pixel_decoder/block_01/attn/proj"):
        read_pretrained(pretrained, other, STATISTICS, decoder=True)
    with pytest.raises(ValueError, match="parameters with an encoder; found none"):
        read_pretrained({}, PRETRAINING, STATISTICS, decoder=False)
