"""The features of base models against timm and transformers, from files that PyTorch has written.

Random weights, float32; run by `make test-parity`, since these packages are not among those of `make test`.
"""

import warnings

import numpy as np
import pytest
from torch_networks import GRID, TOLERANCE, WHY, drawn_images, features, randomised, to_torch, torch

vision_transformer = pytest.importorskip("timm.models.vision_transformer", reason=WHY)
transformers = pytest.importorskip("transformers", reason=WHY)

from fsfm_jax.weights.base_still import sinusoid  # noqa: E402
from fsfm_jax.weights.init import open_pretrained  # noqa: E402


@pytest.fixture
def images() -> np.ndarray:
    return drawn_images()


def timm_network(**changes):
    shape = dict(img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=4, num_classes=10)
    return randomised(vision_transformer.VisionTransformer(**shape | changes))


def timm_tokens(network, images):
    with torch.no_grad():
        return network.forward_features(to_torch(images)).numpy()


@pytest.mark.parametrize(("base", "key"), [("supervised", None), ("deit", "model"), ("mae", "model"), ("dino", None)])
def test_the_names_of_timm(tmp_path, images, base, key):
    network = timm_network(num_classes=0 if base in ("mae", "dino") else 10)
    state = network.state_dict()
    torch.save(state if key is None else {key: state}, tmp_path / "a.pth")
    np.testing.assert_allclose(features(tmp_path / "a.pth", base, images), timm_tokens(network, images), atol=TOLERANCE)


def test_a_checkpoint_of_dino(tmp_path, images):
    student, teacher = timm_network(num_classes=0), timm_network(num_classes=0)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter += 1
    states = {
        "student": {f"module.backbone.{name}": tensor for name, tensor in student.state_dict().items()},
        "teacher": {f"backbone.{name}": tensor for name, tensor in teacher.state_dict().items()},
    }
    torch.save(states | {"epoch": 3, "dino_loss": {"center": torch.zeros(1, 8)}}, tmp_path / "a.pth")
    found = features(tmp_path / "a.pth", "dino", images)
    np.testing.assert_allclose(found, timm_tokens(teacher, images), atol=TOLERANCE)


def test_the_number_of_heads_changes_the_features(tmp_path, images):
    network = timm_network(num_heads=6)
    torch.save(network.state_dict(), tmp_path / "a.pth")
    expected = timm_tokens(network, images)
    np.testing.assert_allclose(features(tmp_path / "a.pth", "supervised", images, heads=6), expected, atol=TOLERANCE)
    assert np.abs(features(tmp_path / "a.pth", "supervised", images, heads=12) - expected).max() > 1e-2


SHAPE = dict(
    hidden_size=48, intermediate_size=192, num_hidden_layers=2, num_attention_heads=4, image_size=32, patch_size=8,
)  # fmt: skip
# base -> the class in which Hugging Face publishes it.
HUGGING_FACE = {
    "supervised": (transformers.ViTForImageClassification, transformers.ViTConfig),
    "deit": (transformers.ViTForImageClassification, transformers.ViTConfig),
    "dino": (transformers.ViTModel, transformers.ViTConfig),
    "mae": (transformers.ViTMAEForPreTraining, transformers.ViTMAEConfig),
}


def hugging_face_network(base: str, **changes):
    kind, config = HUGGING_FACE[base]
    decoder = dict(decoder_hidden_size=24, decoder_num_hidden_layers=1, decoder_num_attention_heads=2)
    return randomised(kind(config(**SHAPE | changes | (decoder if base == "mae" else {}))))


def hugging_face_tokens(network, images):
    """Tokens behind the last norm, all of them and in their order."""
    vit = getattr(network, "vit", network)
    if vit.config.model_type == "vit_mae":
        # It leaves tokens out and shuffles the rest; the plain ViT with its weights does neither.
        config = transformers.ViTConfig(**SHAPE, layer_norm_eps=vit.config.layer_norm_eps)
        plain = transformers.ViTModel(config, add_pooling_layer=False).eval()
        plain.load_state_dict(vit.state_dict())
        vit = plain
    with torch.no_grad():
        return vit(pixel_values=to_torch(images)).last_hidden_state.numpy()


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
@pytest.mark.parametrize("base", HUGGING_FACE)
def test_the_names_of_hugging_face(tmp_path, images, base, ending):
    network, path = hugging_face_network(base, layer_norm_eps=1e-6), tmp_path / f"model.{ending}"
    if ending == "pth":
        torch.save(network.state_dict(), path)  # names of transformers 5, which it does not write itself
        assert any(".q_proj." in name for name in network.state_dict())
    else:
        network.save_pretrained(tmp_path)
    expected = hugging_face_tokens(network, images)
    np.testing.assert_allclose(features(path, base, images), expected, atol=TOLERANCE)


def test_a_distilled_deit_is_refused(tmp_path):
    network = transformers.DeiTForImageClassification(transformers.DeiTConfig(**SHAPE))
    network.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="deit.embeddings.distillation_token: .* a second token before the patches"):
        open_pretrained(str(tmp_path / "model.safetensors"), "deit")


def test_the_epsilon_of_hugging_face_is_noise_on_tokens_of_variance_one_and_no_less(tmp_path, images):
    def difference(scale, **changes):
        """Of all features, if the tokens before the blocks have about this standard deviation."""
        network = hugging_face_network("dino", **changes)
        with torch.no_grad():
            network.embeddings.cls_token /= network.embeddings.cls_token.std()
            for parameter in network.embeddings.parameters():
                parameter *= scale
        torch.save(network.state_dict(), tmp_path / "a.pth")
        return np.abs(features(tmp_path / "a.pth", "dino", images) - hugging_face_tokens(network, images)).max()

    assert transformers.ViTConfig().layer_norm_eps == transformers.ViTMAEConfig().layer_norm_eps == 1e-12
    # The first norm differs by 1e-6/(2 v) of numbers up to 4: 2e-6 at variance v = 1, and 2e-2 at v = 1e-4.
    assert difference(1.0) < TOLERANCE
    assert 5e-3 < difference(0.01) < 5e-2
    assert difference(0.01, layer_norm_eps=1e-6) < TOLERANCE


def clip_config(kind, **changes):
    return kind(**SHAPE | dict(projection_dim=16) | changes)


def clip_tokens(vision, images):
    """Tokens before the last norm, and the class token behind it."""
    with torch.no_grad():
        out = vision(pixel_values=to_torch(images))
    return out.last_hidden_state.numpy(), out.pooler_output.numpy()


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_the_image_encoder_of_clip(tmp_path, images, ending):
    vision = randomised(transformers.CLIPVisionModel(clip_config(transformers.CLIPVisionConfig)))
    path = tmp_path / f"model.{ending}"
    if ending == "pth":
        torch.save(vision.state_dict(), path)
    else:
        vision.save_pretrained(tmp_path)
    tokens, pooled = clip_tokens(vision, images)
    np.testing.assert_allclose(features(path, "clip", images, final_norm=False), tokens, atol=TOLERANCE)
    np.testing.assert_allclose(features(path, "clip", images)[:, 0], pooled, atol=TOLERANCE)


def test_clip_with_its_text_encoder(tmp_path, images):
    text = dict(
        hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, vocab_size=64,
        max_position_embeddings=8,
    )  # fmt: skip
    config = transformers.CLIPConfig(
        text_config=text, vision_config=clip_config(dict), projection_dim=16
    )
    network = randomised(transformers.CLIPModel(config))
    network.save_pretrained(tmp_path)
    _, pooled = clip_tokens(network.vision_model, images)
    found = features(tmp_path / "model.safetensors", "clip", images)[:, 0]
    np.testing.assert_allclose(found, pooled, atol=TOLERANCE)


def test_quick_gelu_is_not_the_exact_one(tmp_path, images):
    exact = randomised(transformers.CLIPVisionModel(clip_config(transformers.CLIPVisionConfig, hidden_act="gelu")))
    torch.save(exact.state_dict(), tmp_path / "a.pth")
    _, pooled = clip_tokens(exact, images)
    assert np.abs(features(tmp_path / "a.pth", "clip", images)[:, 0] - pooled).max() > 1e-3


def test_a_video_network_on_a_still_picture(tmp_path, images):
    config = transformers.VideoMAEConfig(
        image_size=32, patch_size=8, num_frames=2, tubelet_size=2, hidden_size=48, num_hidden_layers=2,
        num_attention_heads=4, intermediate_size=192, layer_norm_eps=1e-5, use_mean_pooling=False,
    )  # fmt: skip
    network = randomised(transformers.VideoMAEModel(config))
    state, source = {}, network.state_dict()
    for leaf in ("weight", "bias"):
        state[f"encoder.patch_embedding.projection.{leaf}"] = source[f"embeddings.patch_embeddings.projection.{leaf}"]
        state[f"encoder.norm.{leaf}"] = source[f"layernorm.{leaf}"]
        for index in range(2):
            block, layer = f"encoder.blocks.{index}", f"encoder.layer.{index}"
            state[f"{block}.norm1.{leaf}"] = source[f"{layer}.layernorm_before.{leaf}"]
            state[f"{block}.norm2.{leaf}"] = source[f"{layer}.layernorm_after.{leaf}"]
            state[f"{block}.attn.proj.{leaf}"] = source[f"{layer}.attention.output.dense.{leaf}"]
            state[f"{block}.mlp.layers.0.linear.{leaf}"] = source[f"{layer}.intermediate.dense.{leaf}"]
            state[f"{block}.mlp.layers.1.linear.{leaf}"] = source[f"{layer}.output.dense.{leaf}"]
    for index in range(2):
        own = {
            name.rsplit("attention.", 1)[1]: tensor
            for name, tensor in source.items()
            if name.startswith(f"encoder.layer.{index}.attention.attention.")
        }
        thirds = [own[f"{part}.weight"] for part in ("query", "key", "value")]
        state[f"encoder.blocks.{index}.attn.qkv.weight"] = torch.cat(thirds)
        # One parameter under the one or the other name, by the release of transformers.
        for letter, part in (("q", "query"), ("v", "value")):
            bias = own[f"{letter}_bias"] if f"{letter}_bias" in own else own[f"{part}.bias"]
            state[f"encoder.blocks.{index}.attn.{letter}_bias"] = bias
    state["encoder.pos_embedding.emb"] = torch.from_numpy(sinusoid(8 * GRID * GRID, 48)[None])
    torch.save(state, tmp_path / "a.pt")
    still = to_torch(images)[:, None].repeat(1, 2, 1, 1, 1)  # [B, T, 3, H, W], both frames alike
    with torch.no_grad():
        expected = network(pixel_values=still).last_hidden_state.numpy()
    np.testing.assert_allclose(features(tmp_path / "a.pt", "marlin", images), expected, atol=TOLERANCE)


def test_a_program_is_refused_as_one(tmp_path):
    with warnings.catch_warnings():
        # PyTorch discourages TorchScript, in which CLIP is published.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "ViT-B-16.pt")
    with pytest.raises(ValueError, match=r"ViT-B-16.pt is a program \(TorchScript\), as OpenAI publishes CLIP"):
        open_pretrained(str(tmp_path / "ViT-B-16.pt"), "clip")
