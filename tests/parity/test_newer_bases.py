"""DINOv2, DINOv3, BEiT v2, FaRL and the Perception Encoder against timm and transformers, from files of PyTorch.

Random weights, float32; run by `make test-parity`, since these packages are not among those of `make test`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from torch_networks import GRID, TOLERANCE, WHY, drawn_images, features, randomised, to_torch, torch

timm = pytest.importorskip("timm", reason=WHY)
transformers = pytest.importorskip("transformers", reason=WHY)

from fsfm_jax.models.bases import BASES  # noqa: E402
from fsfm_jax.models.positions import resize_positions, resize_relative  # noqa: E402
from fsfm_jax.models.vit import SIZES, Encoder  # noqa: E402
from fsfm_jax.weights.base_names import NAMINGS  # noqa: E402
from fsfm_jax.weights.encoder_size import shapes_of  # noqa: E402
from fsfm_jax.weights.init import open_pretrained  # noqa: E402

TINY = dict(img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=4)
SHAPE = dict(
    hidden_size=48, intermediate_size=192, num_hidden_layers=2, num_attention_heads=4, image_size=32, patch_size=8,
)  # fmt: skip
PERCEPTION = dict(ref_feat_shape=(GRID, GRID))  # timm scales its rotary positions to this grid; here they are not


@pytest.fixture
def images() -> np.ndarray:
    return drawn_images()


def timm_tokens(network, images) -> np.ndarray:
    with torch.no_grad():
        return network.forward_features(to_torch(images)).numpy()


def closely(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


# base -> name of timm, changes, whether our final norm is in it.
TIMM = {
    "dinov2": ("vit_small_patch14_dinov2", {}, True),
    "dinov2_reg": ("vit_small_patch14_reg4_dinov2", {}, True),
    "dinov3": ("vit_small_patch16_dinov3_qkvb", {}, True),
    "dinov3 without biases": ("vit_small_patch16_dinov3", {}, True),
    "dinov3_plus": ("vit_small_plus_patch16_dinov3_qkvb", {}, True),
    "beitv2": ("beitv2_base_patch16_224", {}, False),
    "beitv2 with its last norm": ("beitv2_base_patch16_224", {"global_pool": "token"}, True),
    "pe_core": ("vit_pe_core_large_patch14_336", PERCEPTION, True),
}


@pytest.mark.parametrize("case", TIMM)
def test_the_names_of_timm(tmp_path, images, case):
    name, changes, norm = TIMM[case]
    network = randomised(timm.create_model(name, **TINY | changes))
    torch.save(network.state_dict(), tmp_path / "a.pth")
    closely(features(tmp_path / "a.pth", case.split()[0], images, norm), timm_tokens(network, images))


def perception_state(network) -> dict:
    """The names of its public code, with a text encoder beside it."""
    names = {
        "cls_token": "class_embedding", "pos_embed": "positional_embedding", "patch_embed.proj": "conv1",
        "norm_pre": "ln_pre", "norm.": "ln_post.", "blocks": "transformer.resblocks", "norm1": "ln_1", "norm2": "ln_2",
        "attn.qkv.": "attn.in_proj_", "attn.proj": "attn.out_proj", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
    }  # fmt: skip
    state = {}
    for name, tensor in network.state_dict().items():
        if not name.startswith(("attn_pool", "head")):
            for theirs, its in names.items():
                name = name.replace(theirs, its) if name.startswith(theirs) or theirs != "norm." else name
            state[f"visual.{name}"] = tensor[0] if name == "positional_embedding" else tensor
    state["visual.class_embedding"] = state["visual.class_embedding"][0, 0]
    beside = {"visual.attn_pool.probe": (1, 1, 48), "visual.proj": (48, 5), "token_embedding.weight": (9, 6)}
    beside |= {"positional_embedding": (7, 6), "transformer.resblocks.0.ln_1.bias": (6,), "logit_scale": ()}
    return state | {name: torch.ones(shape) for name, shape in beside.items()}


def test_the_perception_encoder_as_published(tmp_path, images):
    network = randomised(timm.create_model(TIMM["pe_core"][0], **TINY | PERCEPTION))
    torch.save(perception_state(network), tmp_path / "a.pt")
    closely(features(tmp_path / "a.pt", "pe_core", images), timm_tokens(network, images))


def test_rotated_keys_show_their_bias(tmp_path, images):
    network = randomised(timm.create_model(TIMM["pe_core"][0], **TINY | PERCEPTION))
    state = network.state_dict()
    without = dict(state)
    for name in [name for name in state if name.endswith("attn.qkv.bias")]:
        without[name] = state[name].clone()
        without[name][48:96] = 0
    torch.save(without, tmp_path / "a.pt")
    assert np.abs(features(tmp_path / "a.pt", "pe_core", images) - timm_tokens(network, images)).max() > 0.01


# The published file of DINOv3's own code: registers, factors and the MLP have other names, and more is beside them.
META = {"reg_token": "storage_tokens", "gamma_1": "ls1.gamma", "gamma_2": "ls2.gamma",
        "mlp.fc1_g": "mlp.w1", "mlp.fc1_x": "mlp.w2"}  # fmt: skip


@pytest.mark.parametrize("base", ["dinov3", "dinov3_plus"])
def test_dinov3_as_published(tmp_path, images, base):
    network, state = randomised(timm.create_model(TIMM[base][0], **TINY)), {}
    plain = network.state_dict()
    for name, tensor in plain.items():
        for theirs, its in (META | ({"mlp.fc2": "mlp.w3"} if base == "dinov3_plus" else {})).items():
            name = name.replace(theirs, its)
        state[name] = tensor
    for block in ("blocks.0.attn", "blocks.1.attn"):
        query, value = (state.pop(f"{block}.{part}_bias") for part in "qv")
        # That of the keys is masked, whatever it is.
        state[f"{block}.qkv.bias"] = torch.cat([query, torch.ones(48), value])
        state[f"{block}.qkv.bias_mask"] = torch.tensor([1.0, 0.0, 1.0]).repeat_interleave(48)
    state |= {"mask_token": torch.ones(1, 48), "rope_embed.periods": torch.ones(3, dtype=torch.bfloat16)}
    torch.save(state, tmp_path / "a.pth")
    closely(features(tmp_path / "a.pth", base, images), timm_tokens(network, images))


def test_on_another_grid_rotary_positions_span_the_image(tmp_path):
    images = drawn_images(56)
    network = randomised(timm.create_model(TIMM["dinov3"][0], **TINY))
    torch.save(network.state_dict(), tmp_path / "a.pth")
    closely(features(tmp_path / "a.pth", "dinov3", images), timm_tokens(network, images))


GATED = dict(SHAPE, num_register_tokens=4, use_gated_mlp=True)
HUGGING_FACE = {
    "dinov2": lambda: transformers.Dinov2Model(transformers.Dinov2Config(**SHAPE)),
    "dinov2_reg": lambda: transformers.Dinov2WithRegistersModel(
        transformers.Dinov2WithRegistersConfig(**SHAPE, num_register_tokens=4)
    ),
    "dinov3": lambda: transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**SHAPE, num_register_tokens=4)),
    "dinov3_plus": lambda: transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**GATED, hidden_act="silu")),
    "beitv2": lambda: beit(use_relative_position_bias=True, use_mask_token=True),
    "beitv2 shared": lambda: beit(use_shared_relative_position_bias=True),
    "beitv2 with its last norm": lambda: beit(use_relative_position_bias=True, use_mean_pooling=False),
}


def beit(**changes):
    return transformers.BeitModel(transformers.BeitConfig(**SHAPE, layer_norm_eps=1e-6, **changes))


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
@pytest.mark.parametrize("case", HUGGING_FACE)
def test_the_names_of_hugging_face(tmp_path, images, case, ending):
    network, path = randomised(HUGGING_FACE[case]()), tmp_path / f"model.{ending}"
    if ending == "pth":
        torch.save(network.state_dict(), path)  # names of transformers 5, which it does not write itself
    else:
        network.save_pretrained(tmp_path)
    with torch.no_grad():
        expected = network(pixel_values=to_torch(images)).last_hidden_state.numpy()
    norm = "beitv2" not in case or "norm" in case
    closely(features(path, case.split()[0], images, norm), expected)


def test_farl_is_the_image_encoder_of_clip(tmp_path, images):
    """A file as FaRL's code writes it, from a network of timm that has CLIP's wiring."""
    network = randomised(timm.create_model("vit_base_patch16_clip_quickgelu_224", **TINY))
    state = {name: tensor for name, tensor in perception_state(network).items() if "attn_pool" not in name}
    masked = ("lm_transformer.resblocks.0.ln_1.bias", "ln_lm.weight", "lm_head.bias", "mask_token")
    state |= {f"visual.{name}": torch.ones(48) for name in masked}
    torch.save({"state_dict": state, "epoch": 16}, tmp_path / "a.pth")
    closely(features(tmp_path / "a.pth", "farl", images), timm_tokens(network, images))
    found = open_pretrained(str(tmp_path / "a.pth"), "farl", {"tiny": SIZES["tiny8"]})
    assert found.report.skipped["visual.mask_token"] == "the masked modelling of FaRL"


# Published networks by our size; all arrays of timm's, without their memory, are those that we expect.
PUBLISHED = [
    ("dinov2", "vit_s14_6h", "vit_small_patch14_dinov2"), ("dinov2", "vit_b14", "vit_base_patch14_dinov2"),
    ("dinov2", "vit_l14", "vit_large_patch14_dinov2"), ("dinov2_reg", "vit_s14_6h", "vit_small_patch14_reg4_dinov2"),
    ("dinov2_reg", "vit_b14", "vit_base_patch14_reg4_dinov2"),
    ("dinov2_reg", "vit_l14", "vit_large_patch14_reg4_dinov2"),
    ("dinov3", "vit_s16_6h", "vit_small_patch16_dinov3_qkvb"), ("dinov3", "vit_b16", "vit_base_patch16_dinov3_qkvb"),
    ("dinov3", "vit_l16", "vit_large_patch16_dinov3_qkvb"),
    ("dinov3_plus", "vit_s16_6h", "vit_small_plus_patch16_dinov3_qkvb"),
    ("dinov3_plus", "vit_h16_20h", "vit_huge_plus_patch16_dinov3_qkvb"),
    ("beitv2", "vit_b16", "beitv2_base_patch16_224"), ("beitv2", "vit_l16", "beitv2_large_patch16_224"),
    ("pe_core", "vit_b16", "vit_pe_core_base_patch16_224"), ("pe_core", "vit_l14", "vit_pe_core_large_patch14_336"),
    ("clip", "vit_b16", "vit_base_patch16_clip_quickgelu_224"),
    ("clip", "vit_l14", "vit_large_patch14_clip_quickgelu_224"),
]  # fmt: skip


@pytest.mark.parametrize(("base", "size", "name"), PUBLISHED)
def test_published_networks_have_our_sizes(base, size, name):
    with torch.device("meta"):
        network = timm.create_model(name)
    shape, style = SIZES[size], BASES[base].style
    assert size in BASES[base].sizes and network.num_prefix_tokens == style.prefix
    assert network.blocks[0].attn.num_heads == shape.heads and network.blocks[0].norm1.eps == style.epsilon
    grid = network.patch_embed.grid_size[0]
    encoder = Encoder(shape, grid, jnp.float32, "none", learnt_positions=True, style=style)
    ours = shapes_of(encoder, jnp.zeros((1, grid**2, shape.pixels)))
    behind = ("head", "fc_norm", "attn_pool")
    theirs = sum(p.numel() for name, p in network.named_parameters() if not name.startswith(behind))
    # Zeros of ours that they lack, and the norm that BEiT v2 has behind pooling here.
    lacks = NAMINGS[base]
    vectors = shape.depth * lacks.no_key_bias + lacks.no_patch_bias + lacks.folded_positions + 2 * (base == "beitv2")
    assert sum(leaf.size for leaf in jax.tree.leaves(ours)) == theirs + vectors * shape.width


# Positions of another grid: each as its own library fits them.


@pytest.mark.parametrize(("old", "new"), [(37, 16), (16, 24), (24, 16), (5, 5)])
@pytest.mark.parametrize("base", ["dinov2", "dinov2_reg", "pe_core", "mae"])
def test_positions_are_resized_as_pytorch_does(base, old, new):
    table = np.random.default_rng(0).standard_normal((1, 1 + old**2, 6), np.float32)
    square = torch.from_numpy(table[0, 1:].reshape(1, old, old, 6)).permute(0, 3, 1, 2)
    resize = functools.partial(torch.nn.functional.interpolate, square)
    expected = {
        "dinov2": lambda: resize(scale_factor=((new + 0.1) / old,) * 2, mode="bicubic"),
        "dinov2_reg": lambda: resize(size=(new, new), mode="bicubic", antialias=True),
        "pe_core": lambda: resize(size=(new, new), mode="bilinear"),
        "mae": lambda: resize(size=(new, new), mode="bicubic", align_corners=False),
    }[base]()
    found = np.asarray(resize_positions(table, new, True, BASES[base].resizing))
    np.testing.assert_array_equal(found[:, 0], table[:, 0])
    if old != new:  # nobody resizes to the same grid
        expected = expected[0].permute(1, 2, 0).reshape(new * new, 6).numpy()
        np.testing.assert_allclose(found[0, 1:], expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize(("old", "new"), [(4, 7), (14, 24), (24, 14), (14, 15)])
@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence", "ignore:torch.searchsorted")  # timm's own
def test_relative_positions_are_resized_as_timm_does(old, new):
    table = np.random.default_rng(0).standard_normal(((2 * old - 1) ** 2 + 3, 4), np.float32)
    shape = (2 * new - 1) ** 2 + 3, 4
    expected = timm.layers.resize_rel_pos_bias_table(torch.from_numpy(table), (new, new), shape).numpy()
    np.testing.assert_allclose(resize_relative(table, new), expected, rtol=0, atol=2e-5)
