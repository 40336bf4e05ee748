"""Published files of base models: all their names, how arrays become ours, and what is refused."""

import json
import re

import ml_dtypes
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from official_weights import tensors, write
from torch_archive import archive
from traced_once import traced_once  # noqa: F401, a fixture that is used by itself

from fsfm_jax.models.bases import BASES, OWN
from fsfm_jax.models.vit import Size
from fsfm_jax.tasks.normalisation import STATISTICS
from fsfm_jax.weights.base_names import NAMINGS
from fsfm_jax.weights.base_still import sinusoid
from fsfm_jax.weights.init import open_pretrained

WIDTH, PATCH, GRID, DEPTH = 8, 2, 3, 2
SIZES = {"tiny": Size(WIDTH, DEPTH, 2, PATCH)}
TOKENS = GRID * GRID + 1


def numbers(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Arrays of these shapes, of which no two numbers are equal."""
    total, out = 0, {}
    for name, shape in shapes.items():
        count = int(np.prod(shape))
        out[name] = ((total + np.arange(count, dtype=np.float32)) / 64 - 30).reshape(shape)
        total += count
    return out


def both(name: str, *shape: int) -> dict[str, tuple[int, ...]]:
    """Weight and bias of a layer."""
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def plain() -> dict[str, np.ndarray]:
    """timm's names, which DeiT, MAE, DINO and MCF share."""
    d, shapes = WIDTH, {"cls_token": (1, 1, WIDTH), "pos_embed": (1, TOKENS, WIDTH)}
    shapes |= both("patch_embed.proj", d, 3, PATCH, PATCH) | both("norm", d)
    for block in (f"blocks.{index}" for index in range(DEPTH)):
        shapes |= both(f"{block}.norm1", d) | both(f"{block}.attn.qkv", 3 * d, d) | both(f"{block}.attn.proj", d, d)
        shapes |= both(f"{block}.norm2", d) | both(f"{block}.mlp.fc1", 4 * d, d) | both(f"{block}.mlp.fc2", d, 4 * d)
    return numbers(shapes)


HUGGING_FACE_LAYERS = {
    "saved": ("encoder.layer", ["attention.attention.query", "attention.attention.key", "attention.attention.value"], {
        "attn.proj": "attention.output.dense", "mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense",
    }),
    "in memory": ("layers", ["attention.q_proj", "attention.k_proj", "attention.v_proj"], {
        "attn.proj": "attention.o_proj", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2",
    }),
}  # fmt: skip


def hugging_face_vit(prefix: str = "vit.", kind: str = "saved") -> dict[str, np.ndarray]:
    """The numbers of `plain` under the names of Hugging Face's ViT, in a file that it saved or as it is in memory."""
    layers, thirds, names = HUGGING_FACE_LAYERS[kind]
    names = names | {"norm1": "layernorm_before", "norm2": "layernorm_after"}
    state = {"embeddings.cls_token": plain()["cls_token"], "embeddings.position_embeddings": plain()["pos_embed"]}
    for leaf in ("weight", "bias"):
        state[f"embeddings.patch_embeddings.projection.{leaf}"] = plain()[f"patch_embed.proj.{leaf}"]
        state[f"layernorm.{leaf}"] = plain()[f"norm.{leaf}"]
        for index in range(DEPTH):
            arrays = np.split(plain()[f"blocks.{index}.attn.qkv.{leaf}"], 3)
            state |= {f"{layers}.{index}.{name}.{leaf}": a for name, a in zip(thirds, arrays, strict=True)}
            for ours, theirs in names.items():
                state[f"{layers}.{index}.{theirs}.{leaf}"] = plain()[f"blocks.{index}.{ours}.{leaf}"]
    return {f"{prefix}{name}": array for name, array in state.items()}


def openai() -> dict[str, np.ndarray]:
    d, shapes = WIDTH, {"visual.class_embedding": (WIDTH,), "visual.positional_embedding": (TOKENS, WIDTH)}
    shapes |= {"visual.conv1.weight": (d, 3, PATCH, PATCH), "visual.proj": (d, 5), "logit_scale": (1,)}
    shapes |= both("visual.ln_pre", d) | both("visual.ln_post", d)
    for block in (f"visual.transformer.resblocks.{index}" for index in range(DEPTH)):
        shapes |= {f"{block}.attn.in_proj_weight": (3 * d, d), f"{block}.attn.in_proj_bias": (3 * d,)}
        shapes |= both(f"{block}.ln_1", d) | both(f"{block}.attn.out_proj", d, d) | both(f"{block}.ln_2", d)
        shapes |= both(f"{block}.mlp.c_fc", 4 * d, d) | both(f"{block}.mlp.c_proj", d, 4 * d)
    shapes |= {"positional_embedding": (7, 6), "text_projection": (6, 5), "token_embedding.weight": (9, 6)}
    shapes |= {"transformer.resblocks.0.attn.in_proj_weight": (18, 6), "ln_final.weight": (6,)}
    return numbers(shapes)


def hugging_face(prefix: str = "vision_model.") -> dict[str, np.ndarray]:
    """CLIP as Hugging Face publishes it."""
    d, front = WIDTH, f"{prefix}embeddings"
    shapes = {f"{front}.class_embedding": (d,), f"{front}.position_embedding.weight": (TOKENS, d)}
    shapes |= {f"{front}.patch_embedding.weight": (d, 3, PATCH, PATCH), f"{front}.position_ids": (1, TOKENS)}
    shapes |= both(f"{prefix}pre_layrnorm", d) | both(f"{prefix}post_layernorm", d)
    for block in (f"{prefix}encoder.layers.{index}" for index in range(DEPTH)):
        for layer in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= both(f"{block}.self_attn.{layer}", d, d)
        shapes |= both(f"{block}.layer_norm1", d) | both(f"{block}.layer_norm2", d)
        shapes |= both(f"{block}.mlp.fc1", 4 * d, d) | both(f"{block}.mlp.fc2", d, 4 * d)
    shapes |= {"text_model.embeddings.token_embedding.weight": (9, 6), "logit_scale": (1,)}
    shapes |= {"visual_projection.weight": (5, d), "text_projection.weight": (5, 6)}
    return numbers(shapes)


def marlin(prefix: str = "encoder.") -> dict[str, np.ndarray]:
    d, shapes = WIDTH, both(f"{prefix}patch_embedding.projection", WIDTH, 3, 2, PATCH, PATCH)
    for block in (f"{prefix}blocks.{index}" for index in range(DEPTH)):
        shapes |= both(f"{block}.norm1", d) | both(f"{block}.norm2", d) | both(f"{block}.attn.proj", d, d)
        shapes |= {f"{block}.attn.qkv.weight": (3 * d, d), f"{block}.attn.q_bias": (d,), f"{block}.attn.v_bias": (d,)}
        shapes |= both(f"{block}.mlp.layers.0.linear", 4 * d, d) | both(f"{block}.mlp.layers.1.linear", d, 4 * d)
    shapes |= both(f"{prefix}norm", d) | {"decoder.mask_token": (1, 1, 4), "enc_dec_proj.weight": (4, d)}
    return numbers(shapes) | {f"{prefix}pos_embedding.emb": sinusoid(8 * GRID * GRID, d)[None]}


def mcf() -> dict[str, np.ndarray]:
    state = {f"{name}_encoder.{key}": array for name in ("target", "online") for key, array in plain().items()}
    state["target_encoder.cls_token"] = state["target_encoder.cls_token"] + 1000
    more = {"mask_token": (1, 1, 4), "decoder_embed.weight": (4, WIDTH), "decoder_blocks.0.norm1.bias": (4,)}
    more |= {"online_encoder.fc.0.weight": (6, WIDTH), "online_encoder.fc.1.num_batches_tracked": (1,)}
    return state | numbers(more | {"predictor.0.weight": (6, 6), "perceptual_loss.encoder_k.cls_token": (1, 1, 4)})


def renamed(state: dict[str, np.ndarray], **names: str) -> dict[str, np.ndarray]:
    """The same arrays under other names: each key is replaced, `__` standing for a dot."""
    changed = {}
    for name, array in state.items():
        for old, new in names.items():
            name = name.replace(old.replace("__", "."), new)
        changed[name] = array
    return changed


def scaled(first: str = "ls1.gamma", second: str = "ls2.gamma", front: str = "blocks") -> dict[str, np.ndarray]:
    """The factors of the branches of each block."""
    return numbers({f"{front}.{index}.{name}": (WIDTH,) for index in range(DEPTH) for name in (first, second)})


def without_key_bias() -> dict[str, np.ndarray]:
    """The numbers of `plain` without positions, as timm's networks have them whose keys have no bias."""
    state = {name: array for name, array in plain().items() if name != "pos_embed"}
    for block in (f"blocks.{index}.attn" for index in range(DEPTH)):
        query, _, value = np.split(state.pop(f"{block}.qkv.bias"), 3)
        state |= {f"{block}.q_bias": query, f"{block}.v_bias": value}
    return state


def dinov3(registers: str = "storage_tokens") -> dict[str, np.ndarray]:
    state = {name: array for name, array in plain().items() if name != "pos_embed"}
    return state | scaled() | numbers({registers: (1, 4, WIDTH), "mask_token": (1, WIDTH), "rope_embed.periods": (1,)})


def gated(state: dict[str, np.ndarray], gate: str, up: str, down: str = "fc2") -> dict[str, np.ndarray]:
    """`state` with a third map in each MLP, from whose numbers those of others are taken away."""
    gates = {name.replace("fc1", gate): -array for name, array in state.items() if "mlp.fc1" in name}
    return renamed(state, mlp__fc1=f"mlp.{up}", mlp__fc2=f"mlp.{down}") | gates


def dinov2_hugging_face(registers: int) -> dict[str, np.ndarray]:
    state = renamed(
        hugging_face_vit(""), layernorm_before="norm1", layernorm_after="norm2", intermediate__dense="mlp.fc1"
    )
    state = {re.sub(r"(layer\.\d)\.output\.dense", r"\1.mlp.fc2", name): array for name, array in state.items()}
    state |= scaled("layer_scale1.lambda1", "layer_scale2.lambda1", "encoder.layer")
    return state | numbers({"embeddings.register_tokens": (1, registers, WIDTH)} if registers else {})


def beitv2(shared: bool) -> dict[str, np.ndarray]:
    """Of pretraining with a table for all blocks, or fine-tuned with one for each and the norm behind pooling."""
    rows, state = (2 * GRID - 1) ** 2 + 3, without_key_bias() | scaled("gamma_1", "gamma_2")
    if shared:
        more = {"lm_head.weight": (9, WIDTH), "mask_token": (1, 1, WIDTH), "cls_pt_layers.0.attn.q_bias": (WIDTH,)}
        return state | numbers({"rel_pos_bias.relative_position_bias_table": (rows, 2)} | more)
    state = {name: array for name, array in state.items() if not name.startswith("norm.")}
    shapes = both("fc_norm", WIDTH) | {f"blocks.{i}.attn.relative_position_index": (10, 10) for i in range(DEPTH)}
    shapes |= {f"blocks.{i}.attn.relative_position_bias_table": (rows, 2) for i in range(DEPTH)}
    return state | HEAD | numbers(shapes)


def farl() -> dict[str, np.ndarray]:
    masked = {"visual.lm_transformer.resblocks.0.ln_1.bias": (6,), "visual.ln_lm.bias": (6,), "visual.mask_token": (6,)}
    return openai() | numbers(masked | both("visual.lm_head", 9, WIDTH))


def perception_encoder(published: bool) -> dict[str, np.ndarray]:
    if published:
        return openai() | numbers({"visual.attn_pool.probe": (1, 1, WIDTH)} | both("visual.attn_pool.layernorm", WIDTH))
    state = {name: array for name, array in plain().items() if name != "patch_embed.proj.bias"}
    return state | HEAD | numbers(both("norm_pre", WIDTH) | {"attn_pool.latent": (1, 1, WIDTH)})


HEAD = numbers(both("head", 10, WIDTH))
CLASSIFIER = numbers(both("classifier", 10, WIDTH))
POOLER = numbers(both("pooler.dense", WIDTH, WIDTH))
HUGGING_FACE_DECODER = numbers(
    {"decoder.mask_token": (1, 1, 4), "decoder.decoder_pos_embed": (1, TOKENS, 4)}
    | both("decoder.decoder_embed", 4, WIDTH)
    | both("decoder.decoder_layers.0.attention.attention.query", 4, 4)
)
ALONE = ("encoder/cls_token", "encoder/pos_embed", "encoder/reg_token")  # arrays of no module
STATES = {
    "supervised": lambda: plain() | HEAD | numbers(both("pre_logits.fc", WIDTH, WIDTH)),
    "deit": lambda: plain() | HEAD,
    "mae": lambda: plain() | numbers({"mask_token": (1, 1, 4), "decoder_pos_embed": (1, TOKENS, 4)}),
    "dino": lambda: plain() | numbers(both("head.mlp.0", 9, WIDTH) | {"head.last_layer.weight_g": (9, 1)}),
    "supervised hugging_face": lambda: hugging_face_vit() | CLASSIFIER,
    "supervised bare": lambda: hugging_face_vit("") | POOLER,
    "deit hugging_face": lambda: hugging_face_vit("deit.") | CLASSIFIER,
    "mae hugging_face": lambda: hugging_face_vit() | HUGGING_FACE_DECODER,
    "dino hugging_face": lambda: hugging_face_vit("", "in memory") | POOLER,
    "clip openai": openai,
    "clip hugging_face": hugging_face,
    "clip bare": lambda: {k: v for k, v in hugging_face("").items() if not k.startswith(("text", "visual", "logit"))},
    "mcf": mcf,
    "mcf bare": lambda: plain(),
    "marlin": marlin,
    "marlin module": lambda: {f"marlin.{name}": array for name, array in marlin().items()},
    "dinov2": lambda: plain() | scaled() | numbers({"mask_token": (1, WIDTH)}),
    "dinov2 hugging_face": lambda: dinov2_hugging_face(0),
    "dinov2_reg": lambda: plain() | scaled() | numbers({"register_tokens": (1, 4, WIDTH), "mask_token": (1, WIDTH)}),
    "dinov2_reg hugging_face": lambda: dinov2_hugging_face(4),
    "dinov2_reg folded": lambda: (
        plain() | scaled() | numbers({"reg_token": (1, 4, WIDTH), "pos_embed": (1, GRID * GRID, WIDTH)})
    ),
    "dinov3": dinov3,
    "dinov3 timm": lambda: without_key_bias() | scaled("gamma_1", "gamma_2") | numbers({"reg_token": (1, 4, WIDTH)}),
    "dinov3_plus": lambda: gated(dinov3(), "w1", "w2", "w3"),
    "dinov3_plus timm": lambda: gated(dinov3("reg_token"), "fc1_g", "fc1_x"),
    "beitv2": lambda: beitv2(True),
    "beitv2 tuned": lambda: beitv2(False),
    "farl": farl,
    "pe_core": lambda: perception_encoder(True),
    "pe_core timm": lambda: perception_encoder(False),
}


def opened(path, base, sizes=SIZES):
    return open_pretrained(str(path), base, sizes)


def refused(path, base, message):
    with pytest.raises(ValueError, match=message) as error:
        opened(path, base)
    assert str(error.value).startswith(f"init: {path}")


def test_every_base_has_names():
    assert NAMINGS.keys() | {OWN} == BASES.keys() == {name.split()[0] for name in STATES} | {OWN}


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
@pytest.mark.parametrize("kind", STATES)
def test_every_name_is_loaded_or_skipped_and_every_array_of_ours_has_a_source(tmp_path, kind, ending):
    base, state = kind.split()[0], STATES[kind]()
    found = opened(write(tmp_path / f"a.{ending}", state), base)
    report = found.report
    assert set(report.loaded).isdisjoint(report.skipped)
    assert set(report.loaded) | report.skipped.keys() == state.keys()
    numbers_loaded = np.concatenate([state[name].ravel() for name in report.loaded])
    ours = flatten_dict(found.params, sep="/")
    assert {array.dtype for array in ours.values()} == {np.dtype(np.float32)}
    assert all(array.flags.c_contiguous for array in ours.values())
    assert report.filled.keys() <= ours.keys()
    # Whatever no rule has touched holds numbers of the file, and together they hold each of them once.
    kept = np.concatenate([array.ravel() for path, array in ours.items() if path not in report.filled])
    if any(not reason.startswith("zeros, ") for reason in report.filled.values()):
        assert np.isin(kept, numbers_loaded).all()
    else:
        np.testing.assert_array_equal(np.sort(kept), np.sort(numbers_loaded))
    style = BASES[base].style
    shapes = {"encoder/cls_token": (1, 1, WIDTH)} if style.class_token else {}
    shapes |= {"encoder/pos_embed": (1, GRID * GRID + style.class_token, WIDTH)} if style.positions else {}
    shapes |= {"encoder/reg_token": (1, style.registers, WIDTH)} if style.registers else {}
    assert shapes == {path: array.shape for path, array in ours.items() if path in ALONE}
    assert found.grid == (GRID if style.positions or style.relative else 224 // PATCH)
    assert found.statistics == STATISTICS[BASES[base].statistics]
    origin = json.loads(json.dumps(found.origin))
    assert origin["size"] == "tiny"
    assert origin["notes"][0] == f"loaded: {len(report.loaded)} of the {len(state)} entries of the file"
    assert json.loads(json.dumps(report.to_json()))["loaded"] == sorted(report.loaded)


def test_the_two_names_of_clip_are_one_network(tmp_path):
    one, other = openai(), hugging_face()
    for index in range(DEPTH):
        layer, block = f"vision_model.encoder.layers.{index}", f"visual.transformer.resblocks.{index}"
        for leaf in ("weight", "bias"):
            thirds = np.split(one[f"{block}.attn.in_proj_{leaf}"], 3)
            other |= {f"{layer}.self_attn.{k}_proj.{leaf}": v for k, v in zip("qkv", thirds, strict=True)}
            names = {"self_attn.out_proj": "attn.out_proj", "layer_norm1": "ln_1", "layer_norm2": "ln_2"}
            for theirs, its in (names | {"mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}).items():
                other[f"{layer}.{theirs}.{leaf}"] = one[f"{block}.{its}.{leaf}"]
            other[f"vision_model.pre_layrnorm.{leaf}"] = one[f"visual.ln_pre.{leaf}"]
            other[f"vision_model.post_layernorm.{leaf}"] = one[f"visual.ln_post.{leaf}"]
    other["vision_model.embeddings.class_embedding"] = one["visual.class_embedding"]
    other["vision_model.embeddings.position_embedding.weight"] = one["visual.positional_embedding"]
    other["vision_model.embeddings.patch_embedding.weight"] = one["visual.conv1.weight"]
    trees = [
        flatten_dict(opened(write(tmp_path / f"{number}.safetensors", state), "clip").params, sep="/")
        for number, state in enumerate((one, other))
    ]
    assert trees[0].keys() == trees[1].keys() and len(trees[0]) == 4 + 4 + 12 * DEPTH
    for path, array in trees[0].items():
        np.testing.assert_array_equal(trees[1][path], array, err_msg=path)


@pytest.mark.parametrize("base", ["supervised", "deit", "mae", "dino"])
def test_the_three_names_of_a_vit_are_one_network(tmp_path, base):
    states = [plain(), *(hugging_face_vit(prefix, kind) for prefix in ("", "vit.") for kind in HUGGING_FACE_LAYERS)]
    expected, *others = (
        flatten_dict(opened(write(tmp_path / f"{number}.safetensors", state), base).params, sep="/")
        for number, state in enumerate(states)
    )
    for tree in others:
        assert tree.keys() == expected.keys() and len(tree) == 4 + 2 + 12 * DEPTH
        for path, array in expected.items():
            np.testing.assert_array_equal(tree[path], array, err_msg=path)


def test_what_hugging_face_has_beside_a_vit_is_skipped_with_its_reason(tmp_path):
    skipped = {
        kind: opened(write(tmp_path / f"{number}.pth", STATES[kind]()), kind.split()[0]).report.skipped
        for number, kind in enumerate(["supervised hugging_face", "dino hugging_face", "mae hugging_face"])
    }
    assert skipped == {
        "supervised hugging_face": dict.fromkeys(CLASSIFIER, "the classifier of ImageNet"),
        "dino hugging_face": dict.fromkeys(
            POOLER, "the pooler of Hugging Face, a layer over the class token behind the encoder"
        ),
        "mae hugging_face": dict.fromkeys(HUGGING_FACE_DECODER, "the decoder of MAE"),
    }


def test_layouts_by_hand(tmp_path):
    state = hugging_face()
    found = opened(write(tmp_path / "a.safetensors", state), "clip")
    encoder, layer = found.params["encoder"], "vision_model.encoder.layers.1.self_attn"
    for place, letter in enumerate("qkv"):
        qkv, third = encoder["block_01"]["attn"]["qkv"], slice(place * WIDTH, (place + 1) * WIDTH)
        np.testing.assert_array_equal(qkv["kernel"][:, third], state[f"{layer}.{letter}_proj.weight"].T)
        np.testing.assert_array_equal(qkv["bias"][third], state[f"{layer}.{letter}_proj.bias"])
    kernel = state["vision_model.embeddings.patch_embedding.weight"]
    # Pixel row 1, column 0, channel 2 of a patch of 2 by 2.
    np.testing.assert_array_equal(encoder["patch_embed"]["kernel"][(1 * 2 + 0) * 3 + 2], kernel[:, 2, 1, 0])
    np.testing.assert_array_equal(encoder["patch_embed"]["bias"], np.zeros(WIDTH))
    assert found.report.filled == {"encoder/patch_embed/bias": "zeros, its patch embedding has no bias"}
    assert encoder["cls_token"].shape == (1, 1, WIDTH)
    np.testing.assert_array_equal(encoder["cls_token"][0, 0], state["vision_model.embeddings.class_embedding"])
    np.testing.assert_array_equal(encoder["pos_embed"][0], state["vision_model.embeddings.position_embedding.weight"])


def test_a_video_network_on_a_still_picture_by_hand(tmp_path):
    state = marlin()
    found = opened(write(tmp_path / "a.pth", state, None), "marlin")
    encoder, kernel = found.params["encoder"], state["encoder.patch_embedding.projection.weight"]
    np.testing.assert_array_equal(encoder["patch_embed"]["kernel"][4], (kernel[:, 1, 0] + kernel[:, 1, 1])[:, 0, 1])
    np.testing.assert_array_equal(encoder["pos_embed"], state["encoder.pos_embedding.emb"][:, :9])
    expected = np.concatenate([
        state["encoder.blocks.0.attn.q_bias"], np.zeros(WIDTH), state["encoder.blocks.0.attn.v_bias"],
    ])  # fmt: skip
    np.testing.assert_array_equal(encoder["block_00"]["attn"]["qkv"]["bias"], expected)
    assert found.report.filled == {
        "encoder/patch_embed/kernel": "a still picture, repeated over the 2 frames of one tubelet: summed",
        "encoder/pos_embed": "a still picture: the rows of the first of 8 tubelets",
        "encoder/block_00/attn/qkv/bias": "zeros in the third of the key, which has no bias",
        "encoder/block_01/attn/qkv/bias": "zeros in the third of the key, which has no bias",
    }
    assert found.statistics.mean == (0, 0, 0) and found.statistics.std == (1, 1, 1)


def test_positions_that_a_video_network_leaves_out_are_computed(tmp_path):
    state = marlin()
    del state["encoder.pos_embedding.emb"]
    found = opened(write(tmp_path / "a.pth", state), "marlin")
    table = found.params["encoder"]["pos_embed"]
    assert table.shape == (1, 112 * 112, WIDTH)  # 224 pixels in patches of 2
    # Row 5, width 8: frequencies 1, 0.1, 0.01, 0.001, each as sine and cosine.
    angles = 5 * np.array([1, 0.1, 0.01, 0.001])
    np.testing.assert_allclose(table[0, 5], np.stack([np.sin(angles), np.cos(angles)], 1).ravel(), atol=1e-6)
    assert found.report.filled["encoder/pos_embed"] == "a still picture: the sinusoids of the first tubelet, computed"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (sinusoid(9, WIDTH)[None], r"positions of 8 tubelets of G by G patches, \[1, 8 G G, D\]; found \[1, 9, 8\]"),
        (sinusoid(80, WIDTH)[None], r"positions of 8 tubelets .* found \[1, 80, 8\]"),
        (sinusoid(72, WIDTH), r"positions of 8 tubelets .* found \[72, 8\]"),
        (sinusoid(72, WIDTH)[None] + np.float32(0.01), "expected the sinusoids .* differs from them by 0.01"),
    ],
)
def test_positions_that_do_not_say_which_are_those_of_a_still_picture_are_refused(tmp_path, table, message):
    state = marlin() | {"encoder.pos_embedding.emb": table}
    refused(write(tmp_path / "a.pth", state), "marlin", message)


def test_a_patch_embedding_without_time_is_no_video_network(tmp_path):
    state = marlin()
    state["encoder.patch_embedding.projection.weight"] = np.zeros((WIDTH, 3, PATCH, PATCH), np.float32)
    refused(write(tmp_path / "a.pth", state), "marlin", r"over time, rows and columns .* found \[8, 3, 2, 2\]")


def test_of_a_checkpoint_of_dino_the_teacher_is_taken(tmp_path):
    backbone = {f"backbone.{name}": array for name, array in plain().items()} | {"head.mlp.0.bias": HEAD["head.bias"]}
    student = {f"module.{name}": array + 1000 for name, array in backbone.items()}
    parts = {"student": student, "teacher": {name: array for name, array in backbone.items()}}
    flat, storages = tensors({f"{part} {name}": a for part, names in parts.items() for name, a in names.items()})
    content = {part: {name: flat[f"{part} {name}"] for name in names} for part, names in parts.items()}
    path = archive(tmp_path / "a.pth", content | {"epoch": 7, "optimizer": {"state": {}}}, storages)
    found = opened(path, "dino")
    np.testing.assert_array_equal(found.params["encoder"]["cls_token"], plain()["cls_token"])
    assert set(found.report.loaded) == {name for name in backbone if name.startswith("backbone.")}
    assert found.report.skipped == {
        **{f"student/{name}": "the student of DINO; its teacher is taken" for name in student},
        "head.mlp.0.bias": "the projection head of DINO",
        "epoch": "outside the network",
        "optimizer": "outside the network",
    }
    assert found.origin["epoch"] == 7
    refused(path, "mae", "a checkpoint of DINO, with student and teacher; set model.base to dino")


def test_of_mcf_the_online_encoder_is_taken(tmp_path):
    found = opened(write(tmp_path / "a.pth", mcf()), "mcf")
    np.testing.assert_array_equal(found.params["encoder"]["cls_token"], plain()["cls_token"])
    reason = "the momentum encoder of MCF; its online encoder is taken"
    assert {found.report.skipped[f"target_encoder.{name}"] for name in plain()} == {reason}


def test_halves_become_float32_with_a_note_and_what_is_skipped_is_not_read(tmp_path):
    state = {name: array.astype(np.float16) for name, array in hugging_face().items()}
    state["vision_model.post_layernorm.bias"] = state["vision_model.post_layernorm.bias"].astype(ml_dtypes.bfloat16)
    state["vision_model.embeddings.position_ids"] = np.arange(TOKENS)[None]
    state["logit_scale"] = np.full((), np.nan, np.float32)
    found = opened(write(tmp_path / "a.safetensors", state), "clip")
    assert found.origin["notes"][-2:] == [
        "1 arrays were bfloat16 and became float32",
        f"{len(found.report.loaded) - 1} arrays were float16 and became float32",
    ]
    scale = state["vision_model.post_layernorm.weight"].astype(np.float32)
    np.testing.assert_array_equal(found.params["encoder"]["norm"]["scale"], scale)


def test_the_summary_counts_and_gives_reasons(tmp_path):
    found = opened(write(tmp_path / "a.safetensors", openai()), "clip")
    assert found.report.summary() == [
        f"loaded: {7 + 12 * DEPTH} of the {7 + 12 * DEPTH + 7} entries of the file",
        "not used: 5, the text encoder: ln_final.weight, positional_embedding, text_projection, token_embedding.weight "
        "and 1 more",
        "not used: 1, the temperature of the contrast between images and text: logit_scale",
        "not used: 1, the projection to where images meet text: visual.proj",
        "by rule: 1, zeros, its patch embedding has no bias: encoder/patch_embed/bias",
    ]


def block(found, path: str, index: int = 1) -> np.ndarray:
    return flatten_dict(found.params["encoder"][f"block_{index:02d}"], sep="/")[path]


def test_the_three_maps_of_a_gated_mlp_by_hand(tmp_path):
    state = STATES["dinov3_plus"]()
    found = opened(write(tmp_path / "a.pth", state), "dinov3_plus")
    for ours, theirs in (("gate", "w1"), ("fc1", "w2"), ("fc2", "w3")):
        np.testing.assert_array_equal(block(found, f"mlp/{ours}/kernel"), state[f"blocks.1.mlp.{theirs}.weight"].T)
        np.testing.assert_array_equal(block(found, f"mlp/{ours}/bias"), state[f"blocks.1.mlp.{theirs}.bias"])
    assert found.report.skipped["rope_embed.periods"].startswith("the periods of the rotary positions, computed")


def test_what_dinov3_has_without_a_bias_is_zero(tmp_path):
    state = STATES["dinov3 timm"]()
    found = opened(write(tmp_path / "a.pth", state), "dinov3")
    query, value = (state[f"blocks.1.attn.{part}_bias"] for part in "qv")
    np.testing.assert_array_equal(block(found, "attn/qkv/bias"), np.concatenate([query, 0 * query, value]))
    none = {name: array for name, array in state.items() if not name.endswith(("q_bias", "v_bias"))}
    found = opened(write(tmp_path / "b.pth", none), "dinov3")
    assert not block(found, "attn/qkv/bias").any()
    assert set(found.report.filled.values()) == {"zeros, its queries, keys and values have no bias"}


def test_positions_of_the_patches_alone_get_a_row_of_zeros(tmp_path):
    state = STATES["dinov2_reg folded"]()
    found = opened(write(tmp_path / "a.pth", state), "dinov2_reg")
    table = found.params["encoder"]["pos_embed"]
    assert not table[:, 0].any()
    np.testing.assert_array_equal(table[:, 1:], state["pos_embed"])
    assert found.report.filled["encoder/pos_embed"].startswith("a row of zeros for the class token")


def test_each_block_has_a_shared_table(tmp_path):
    state = STATES["beitv2"]()
    found = opened(write(tmp_path / "a.pth", state), "beitv2")
    for index in range(DEPTH):
        table = block(found, "attn/relative_positions/table", index)
        np.testing.assert_array_equal(table, state["rel_pos_bias.relative_position_bias_table"])
    assert found.report.filled["encoder/block_01/attn/relative_positions/table"].startswith("that of all blocks, which")
    own = opened(write(tmp_path / "b.pth", STATES["beitv2 tuned"]()), "beitv2")
    assert "norm" in found.params["encoder"] and "norm" not in own.params["encoder"]
    assert (block(own, "attn/relative_positions/table", 0) != block(own, "attn/relative_positions/table", 1)).all()


def test_a_table_of_relative_positions_says_heads_and_grid(tmp_path):
    # The last has about 500 by 500 patches: what would be as large as their square is never made.
    for number, (index, shape, expected) in enumerate((
        (1, (28, 3), (28, 2)), (0, (30, 2), (28, 2)), (0, (10**6, 2), (998004, 2)),
    )):  # fmt: skip
        table = {f"blocks.{index}.attn.relative_position_bias_table": np.zeros(shape, np.float32)}
        path = write(tmp_path / f"{number}.pth", STATES["beitv2 tuned"]() | table)
        message = f"block_0{index}/attn/relative_positions/table: {list(shape)} found, {list(expected)} expected"
        refused(path, "beitv2", f"arrays .*\n  {re.escape(message)}")


# What is refused.


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dist_token", "a second token before the patches, as a distilled DeiT; take the file without"),
        ("head_dist.weight", "a second token before the patches"),
        ("deit.embeddings.distillation_token", "a second token before the patches"),
        ("distillation_classifier.weight", "a second token before the patches"),
        ("vit.embeddings.register_tokens", "register tokens between"),
        ("encoder.layer.0.layer_scale1.lambda1", "layer scale"),
        ("reg_token", "register tokens between"),
        ("register_tokens", "register tokens between"),
        ("blocks.0.ls1.gamma", "layer scale"),
        ("blocks.1.gamma_2", "layer scale"),
        ("blocks.0.attn.q_norm.weight", "norms of queries and keys"),
        ("blocks.0.attn.relative_position_bias_table", "relative positions"),
        ("norm_pre.weight", "a norm before the blocks, as CLIP under timm's names"),
        ("projector.projection_head.0.weight", "the projector of FSFM; set model.base to fsfm"),
    ],
)
def test_another_architecture_is_refused_with_its_reason(tmp_path, name, message):
    path = write(tmp_path / "a.pth", STATES["deit"]() | {name: np.zeros(WIDTH, np.float32)})
    refused(path, "deit", f"{re.escape(name)}: expected the encoder of deit; this file has {message}")


def test_all_unknown_names_are_named(tmp_path):
    unknown = [f"memory.{index:02d}" for index in range(30)]
    state = plain() | {name: np.zeros(1, np.float32) for name in unknown}
    path = write(tmp_path / "a.pth", state)
    refused(path, "dino", f"30 of {len(state)} names are not known in a file of dino: {', '.join(unknown)}$")


@pytest.mark.parametrize("name", [
    "blocks.00.norm1.bias", "blocks.{i}.norm1.bias", "blocks.\u0660.norm1.bias", "Norm.bias",
])  # fmt: skip
def test_names_are_taken_by_the_letter(tmp_path, name):
    path = write(tmp_path / "a.pth", plain() | {name: np.zeros(WIDTH, np.float32)})
    refused(path, "mae", re.escape(f"names are not known in a file of mae: {name}"))


def test_the_names_of_another_base_are_recognised(tmp_path):
    refused(write(tmp_path / "a.pth", openai()), "mae", "file of mae: .* names of clip or farl: see model.base$")
    mae = STATES["mae"]()
    refused(write(tmp_path / "b.pth", mae), "supervised", "file of supervised: .* names of mae or mcf: see model.base$")
    path = write(tmp_path / "d.pth", hugging_face_vit() | CLASSIFIER)
    expected = "2 of .* of dino: classifier.weight, classifier.bias. These are names of supervised or deit or mae: see"
    refused(path, "dino", expected)
    for number, (kind, (base, others)) in enumerate({
        "dinov2": ("dino", "dinov2"), "dinov2_reg": ("dinov2", "dinov2_reg"), "dinov3": ("dinov2_reg", "dinov3"),
        "dinov3_plus": ("dinov3", "dinov3_plus"), "beitv2": ("mae", "beitv2"), "pe_core": ("clip", "pe_core"),
        "clip openai": ("pe_core", "clip or farl"),
    }.items()):  # fmt: skip
        path = write(tmp_path / f"{number}.safetensors", STATES[kind]())
        refused(path, base, f"These are names of {others}: see model.base$")
    refused(write(tmp_path / "c.pth", HEAD), "deit", "2 of 2 names .* none of them is an array of the encoder$")


def test_two_names_of_one_array_are_refused(tmp_path):
    state = plain() | {"module.cls_token": np.zeros((1, 1, WIDTH), np.float32)}
    refused(write(tmp_path / "a.pth", state), "deit", "cls_token and module.cls_token are two names of one array")


def test_everything_that_is_missing_is_named(tmp_path):
    state = hugging_face()
    for name in ("encoder.layers.1.self_attn.k_proj.weight", "encoder.layers.0.mlp.fc1.bias", "pre_layrnorm.weight"):
        del state[f"vision_model.{name}"]
    expected = "encoder/block_00/mlp/fc1/bias, encoder/pre_norm/scale, encoder/block_01/attn/qkv/kernel (key)"
    path = write(tmp_path / "a.safetensors", state)
    refused(path, "clip", re.escape(f"3 arrays of the encoder of clip are not in the file: {expected}") + "$")


@pytest.mark.parametrize(
    ("base", "name", "missing"),
    [
        ("mae", "blocks.0.attn.qkv.bias", ("",)),
        ("supervised hugging_face", "vit.encoder.layer.0.attention.attention.key.bias", (" (key)",)),
        ("marlin", "encoder.blocks.0.attn.v_bias", (" (key)", " (value)")),
        ("marlin", "encoder.blocks.0.attn.q_bias", (" (query)", " (key)")),
        ("dinov3 timm", "blocks.0.attn.v_bias", (" (key)", " (value)")),
        ("beitv2", "blocks.0.attn.q_bias", (" (query)", " (key)")),
    ],
)
def test_zeros_stand_for_no_bias_but_that_of_the_key(tmp_path, base, name, missing):
    state, base = STATES[base](), base.split()[0]
    del state[name]
    listed = ", ".join(f"encoder/block_00/attn/qkv/bias{part}" for part in missing)
    expected = f"{len(missing)} arrays of the encoder of {base} are not in the file: {listed}"
    refused(write(tmp_path / "a.pth", state), base, re.escape(expected) + "$")


def test_query_key_and_value_are_there_once_and_alike(tmp_path):
    state, layer = hugging_face(), "vision_model.encoder.layers.0.self_attn"
    state[f"{layer}.q_proj.weight"] = np.zeros((WIDTH, WIDTH + 1), np.float32)
    refused(write(tmp_path / "a.pth", state), "clip", r"have to have one shape; found \[8, 9\], \[8, 8\], \[8, 8\]")
    state = hugging_face() | openai()
    refused(write(tmp_path / "b.pth", state), "clip", "are two names of one array; expected one of them")
    one = "visual.transformer.resblocks.0.attn.in_proj_weight"
    state = hugging_face() | {one: openai()[one]}
    refused(write(tmp_path / "c.pth", state), "clip", "query, key and value are there together and apart")


def test_a_program_is_not_run(tmp_path):
    program = {"constants.pkl": b"\x80\x02).", "code/__torch__/multimodal.py": b"class Multimodal(Module):\n  pass\n"}
    path = archive(tmp_path / "ViT-B-16.pt", b"\x80\x02c__torch__.multimodal\nMultimodal\n)\x81.", {}, **program)
    refused(path, "clip", r"is a program \(TorchScript\), .* take the same weights as the model.safetensors of openai/")


def test_numbers_and_shapes_are_checked(tmp_path):
    state = plain()
    state["norm.bias"][3] = np.nan
    path = write(tmp_path / "a.pth", state)
    with pytest.raises(ValueError, match=f"{path}: norm.bias has 1 of 8 values that are not finite"):
        opened(path, "dino")
    state = plain() | {"pos_embed": np.zeros((1, GRID * GRID, WIDTH), np.float32)}
    path = write(tmp_path / "b.pth", state)
    refused(path, "dino", r"part encoder: 1 arrays .*\n  pos_embed: \[1, 9, 8\] found, \[1, 5, 8\] expected")
    state = plain() | {"patch_embed.proj.weight": np.zeros((WIDTH, 3, PATCH, 4), np.float32)}
    refused(write(tmp_path / "c.pth", state), "dino", r"expected a convolution \[D, 3, p, p\]; found \[8, 3, 2, 4\]")
    path = write(tmp_path / "d.pth", plain())
    with pytest.raises(ValueError, match=r"no known size has width 8.*; known .*: vit_b16 768, 12, 16$"):
        open_pretrained(path, "mcf")
