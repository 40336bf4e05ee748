"""Names of arrays in published files of base models -> our paths: one table for each naming scheme.

The names of MARLIN, MCF, FaRL and BEiT v2's pretraining are those that their public code writes. Hugging Face's names
are those that transformers writes. The files themselves were not available. `base_names.Naming` explains the rows.
"""

from fsfm_jax.weights.names import CLASSIFIER

# The names of timm, which most other libraries use as well.
TIMM = {theirs: ours for ours, theirs in CLASSIFIER.rows.items() if ours.startswith("encoder/")}


def _modules(modules: dict[str, str], kernel: str = "kernel") -> dict[str, str]:
    """Return the rows of the weight and bias of each module: its name in the file -> our path."""
    return {
        f"{theirs}.{leaf}": f"encoder/{ours}/{ours_leaf}"
        for theirs, ours in modules.items()
        for leaf, ours_leaf in (("weight", kernel), ("bias", "bias"))
    }


def _thirds(theirs: str, layers: tuple[str, str, str] = ("q_proj", "k_proj", "v_proj")) -> dict[str, str]:
    """Return the rows of query, key and value of each block, which the file stores separately."""
    return {
        f"{theirs}.{layer}.{leaf}": f"encoder/block_{{i}}/attn/qkv/{ours}:{place}"
        for place, layer in enumerate(layers)
        for leaf, ours in (("weight", "kernel"), ("bias", "bias"))
    }


OPENAI = {
    "visual.class_embedding": "encoder/cls_token",
    "visual.positional_embedding": "encoder/pos_embed",
    "visual.conv1.weight": "encoder/patch_embed/kernel",
    "visual.transformer.resblocks.{i}.attn.in_proj_weight": "encoder/block_{i}/attn/qkv/kernel",
    "visual.transformer.resblocks.{i}.attn.in_proj_bias": "encoder/block_{i}/attn/qkv/bias",
    **_modules({
        "visual.transformer.resblocks.{i}.attn.out_proj": "block_{i}/attn/proj",
        "visual.transformer.resblocks.{i}.mlp.c_fc": "block_{i}/mlp/fc1",
        "visual.transformer.resblocks.{i}.mlp.c_proj": "block_{i}/mlp/fc2",
    }),
    **_modules({
        "visual.ln_pre": "pre_norm",
        "visual.transformer.resblocks.{i}.ln_1": "block_{i}/norm1",
        "visual.transformer.resblocks.{i}.ln_2": "block_{i}/norm2",
        "visual.ln_post": "norm",
    }, "scale"),
}  # fmt: skip
HUGGING_FACE_CLIP = {
    "embeddings.class_embedding": "encoder/cls_token",
    "embeddings.position_embedding.weight": "encoder/pos_embed",
    "embeddings.patch_embedding.weight": "encoder/patch_embed/kernel",
    **_thirds("encoder.layers.{i}.self_attn"),
    **_modules({
        "encoder.layers.{i}.self_attn.out_proj": "block_{i}/attn/proj",
        "encoder.layers.{i}.mlp.fc1": "block_{i}/mlp/fc1",
        "encoder.layers.{i}.mlp.fc2": "block_{i}/mlp/fc2",
    }),
    **_modules({
        "pre_layrnorm": "pre_norm",  # so spelt
        "encoder.layers.{i}.layer_norm1": "block_{i}/norm1",
        "encoder.layers.{i}.layer_norm2": "block_{i}/norm2",
        "post_layernorm": "norm",
    }, "scale"),
}  # fmt: skip
HUGGING_FACE_VIT = {
    "embeddings.cls_token": "encoder/cls_token",
    "embeddings.position_embeddings": "encoder/pos_embed",
    **_modules({"embeddings.patch_embeddings.projection": "patch_embed"}),
    **_modules({"layernorm": "norm"}, "scale"),
    # As files are published and `save_pretrained` writes them.
    **_thirds("encoder.layer.{i}.attention.attention", ("query", "key", "value")),
    **_modules({
        "encoder.layer.{i}.attention.output.dense": "block_{i}/attn/proj",
        "encoder.layer.{i}.intermediate.dense": "block_{i}/mlp/fc1",
        "encoder.layer.{i}.output.dense": "block_{i}/mlp/fc2",
    }),
    # As the `state_dict` of transformers 5 has them in memory.
    **_thirds("layers.{i}.attention"),
    **_modules({
        "layers.{i}.attention.o_proj": "block_{i}/attn/proj",
        "layers.{i}.mlp.fc1": "block_{i}/mlp/fc1",
        "layers.{i}.mlp.fc2": "block_{i}/mlp/fc2",
    }),
    **_modules({
        f"{layer}.{{i}}.layernorm_{theirs}": f"block_{{i}}/{ours}"
        for layer in ("encoder.layer", "layers")
        for theirs, ours in (("before", "norm1"), ("after", "norm2"))
    }, "scale"),
}  # fmt: skip
VIT = TIMM | HUGGING_FACE_VIT
MARLIN = {
    "encoder.patch_embedding.projection.weight": "encoder/patch_embed/kernel",
    "encoder.patch_embedding.projection.bias": "encoder/patch_embed/bias",
    "encoder.pos_embedding.emb": "encoder/pos_embed",
    "encoder.blocks.{i}.attn.qkv.weight": "encoder/block_{i}/attn/qkv/kernel",
    "encoder.blocks.{i}.attn.q_bias": "encoder/block_{i}/attn/qkv/bias:0",
    "encoder.blocks.{i}.attn.v_bias": "encoder/block_{i}/attn/qkv/bias:2",
    **_modules({
        "encoder.blocks.{i}.attn.proj": "block_{i}/attn/proj",
        "encoder.blocks.{i}.mlp.layers.0.linear": "block_{i}/mlp/fc1",
        "encoder.blocks.{i}.mlp.layers.1.linear": "block_{i}/mlp/fc2",
    }),
    **_modules({
        "encoder.blocks.{i}.norm1": "block_{i}/norm1",
        "encoder.blocks.{i}.norm2": "block_{i}/norm2",
        "encoder.norm": "norm",
    }, "scale"),
}  # fmt: skip


def _layer_scale(first: str, second: str) -> dict[str, str]:
    """Return the rows of the layer scale of the two branches of each block."""
    return {first: "encoder/block_{i}/ls1/scale", second: "encoder/block_{i}/ls2/scale"}


def _without(rows: dict[str, str], *ours: str) -> dict[str, str]:
    """Return `rows` without those to the paths `ours`, which such a network does not have."""
    return {theirs: path for theirs, path in rows.items() if path.partition(":")[0] not in ours}


# Query and value of each block in timm's networks whose keys have no bias.
_NO_KEY_BIAS = {
    "blocks.{i}.attn.q_bias": "encoder/block_{i}/attn/qkv/bias:0",
    "blocks.{i}.attn.v_bias": "encoder/block_{i}/attn/qkv/bias:2",
}
DINOV2 = {
    **TIMM,  # and of DINOv2's public code
    **_layer_scale("blocks.{i}.ls1.gamma", "blocks.{i}.ls2.gamma"),
    "embeddings.cls_token": "encoder/cls_token",
    "embeddings.position_embeddings": "encoder/pos_embed",
    **_modules({"embeddings.patch_embeddings.projection": "patch_embed"}),
    # As files are published, and as the `state_dict` of transformers 5 has them in memory.
    **_thirds("encoder.layer.{i}.attention.attention", ("query", "key", "value")),
    **_thirds("encoder.layer.{i}.attention"),
    **_modules({
        "encoder.layer.{i}.attention.output.dense": "block_{i}/attn/proj",
        "encoder.layer.{i}.attention.o_proj": "block_{i}/attn/proj",
        "encoder.layer.{i}.mlp.fc1": "block_{i}/mlp/fc1",
        "encoder.layer.{i}.mlp.fc2": "block_{i}/mlp/fc2",
    }),
    **_modules({
        "encoder.layer.{i}.norm1": "block_{i}/norm1",
        "encoder.layer.{i}.norm2": "block_{i}/norm2",
        "layernorm": "norm",
    }, "scale"),
    **_layer_scale("encoder.layer.{i}.layer_scale1.lambda1", "encoder.layer.{i}.layer_scale2.lambda1"),
}  # fmt: skip
DINOV2_REGISTERS = {
    **DINOV2,
    **dict.fromkeys(("register_tokens", "reg_token", "embeddings.register_tokens"), "encoder/reg_token"),
}
DINOV3 = {
    **_without(TIMM, "encoder/pos_embed"),
    **_NO_KEY_BIAS,
    **dict.fromkeys(("storage_tokens", "reg_token", "embeddings.register_tokens"), "encoder/reg_token"),
    **_layer_scale("blocks.{i}.ls1.gamma", "blocks.{i}.ls2.gamma"),  # DINOv3's public code
    **_layer_scale("blocks.{i}.gamma_1", "blocks.{i}.gamma_2"),  # timm
    "embeddings.cls_token": "encoder/cls_token",
    **_modules({"embeddings.patch_embeddings": "patch_embed"}),
    **_thirds("layer.{i}.attention"),
    **_modules({
        "layer.{i}.attention.o_proj": "block_{i}/attn/proj",
        "layer.{i}.mlp.up_proj": "block_{i}/mlp/fc1",
        "layer.{i}.mlp.down_proj": "block_{i}/mlp/fc2",
    }),
    **_modules({"layer.{i}.norm1": "block_{i}/norm1", "layer.{i}.norm2": "block_{i}/norm2"}, "scale"),
    **_layer_scale("layer.{i}.layer_scale1.lambda1", "layer.{i}.layer_scale2.lambda1"),
}  # fmt: skip
DINOV3_GATED = {
    **{row: path for row, path in DINOV3.items() if not row.startswith("blocks.{i}.mlp.fc1.")},
    **_modules({
        "blocks.{i}.mlp.w1": "block_{i}/mlp/gate",
        "blocks.{i}.mlp.w2": "block_{i}/mlp/fc1",
        "blocks.{i}.mlp.w3": "block_{i}/mlp/fc2",
        "blocks.{i}.mlp.fc1_g": "block_{i}/mlp/gate",
        "blocks.{i}.mlp.fc1_x": "block_{i}/mlp/fc1",
        "layer.{i}.mlp.gate_proj": "block_{i}/mlp/gate",
    }),
}  # fmt: skip
_TABLE = "encoder/block_{i}/attn/relative_positions/table"
BEITV2 = {
    **{row: path for row, path in _without(VIT, "encoder/pos_embed").items() if row != "blocks.{i}.attn.qkv.bias"},
    **_NO_KEY_BIAS,
    **_layer_scale("blocks.{i}.gamma_1", "blocks.{i}.gamma_2"),
    "blocks.{i}.attn.relative_position_bias_table": _TABLE,
    **{
        row: path
        for layer in ("encoder.layer", "layers")
        for row, path in _layer_scale(f"{layer}.{{i}}.lambda_1", f"{layer}.{{i}}.lambda_2").items()
    },
    "encoder.layer.{i}.attention.attention.relative_position_bias.relative_position_bias_table": _TABLE,
    "layers.{i}.relative_position_bias.relative_position_bias_table": _TABLE,
    # Pretraining shares one table among the blocks; fine-tuning gives each block a copy.
    **dict.fromkeys((
        "rel_pos_bias.relative_position_bias_table",
        "encoder.relative_position_bias.relative_position_bias_table",
        "shared_position_bias.relative_position_bias_table",
    ), _TABLE.replace("{i}", "{every}")),
}  # fmt: skip
PERCEPTION_ENCODER = {
    **OPENAI,
    **_without(TIMM, "encoder/patch_embed/bias"),
    **_modules({"norm_pre": "pre_norm"}, "scale"),
}
