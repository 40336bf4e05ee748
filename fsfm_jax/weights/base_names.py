"""How the published files of base models name the arrays of their encoders: facts, one table for each base.

The names of MARLIN and MCF are those that their public code writes, and Hugging Face's those that transformers writes;
the files themselves were not at hand.

No file says the epsilon of its norms. Ours is that of training, 1e-6 for ViT, DeiT, DINO and MAE, whatever the
configuration beside a file of Hugging Face says (1e-12 by default). That changes what a norm makes of a token of
variance v by a factor of 1 - 1e-6/(2v): rounding noise of float32 for tokens of variance 1, and 0.5% at v = 1e-4.
"""

import dataclasses
import re

from fsfm_jax.weights.names import CLASSIFIER

_INDEX = re.compile(r"(?<=\.)(0|[1-9][0-9]?)(?=\.)")  # a block's, in the one form that PyTorch writes


@dataclasses.dataclass(frozen=True)
class Naming:
    """The names in the files of one base.

    Attributes:
      rows: name in the file -> our path. `{i}` is a block's index; `:0`, `:1` and `:2` behind a path are the thirds for
        query, key and value, which the file holds apart.
      skipped: pattern of whole names -> why they are not used.
      prefixes: may stand in front of a name, in this order, and are taken off before it is looked up.
      wrappers: keys below which a .pth may have the network.
      flat_tokens: whether the class token is `[D]` and the positions are `[T, D]`.
      tubelets: whether the patch embedding is a convolution over time, too.
      no_patch_bias, no_key_bias: what such a network does not have and ours has, so that it is zero.
    """

    rows: dict[str, str]
    skipped: dict[str, str]
    prefixes: tuple[str, ...] = ("module.",)
    wrappers: tuple[str, ...] = ("model", "state_dict")
    flat_tokens: bool = False
    tubelets: bool = False
    no_patch_bias: bool = False
    no_key_bias: bool = False

    def bare(self, name: str) -> str:
        """`name` without what may stand in front of it."""
        for prefix in self.prefixes:
            name = name.removeprefix(prefix)
        return name

    def our_path(self, name: str) -> str | None:
        """Our path of a name in the file, `:0` to `:2` behind it for a third; None for a name that is not a row."""
        name = self.bare(name)
        index = _INDEX.search(name)
        row = None if "{" in name else self.rows.get(_INDEX.sub("{i}", name, count=1))
        return row.replace("{i}", f"{int(index[0]):02d}") if row and index else row

    def reason_to_skip(self, name: str) -> str | None:
        """Why an array of this name is not used; None if nothing is known about it."""
        name = self.bare(name)
        return next((reason for pattern, reason in self.skipped.items() if re.fullmatch(pattern, name)), None)


# A network with one of these is another one, even if all the rest would fit.
REFUSED = {
    r"(.*\.)?(dist_token|head_dist\..*|distillation_(token|classifier\..*))": "a second token before the patches, as a "
    "distilled DeiT; take the file without distillation",
    r"(.*\.)?(reg_token|register_tokens)": "register tokens between the class token and the patches",
    r".*\.(ls[12]\.gamma|gamma_[12]|lambda_[12]|layer_scale[12]\..*)": "layer scale on the branches of each block",
    r".*\.attn\.[qk]_norm\..*": "norms of queries and keys",
    r".*(rel_pos|relative_position).*": "relative positions in the attention",
    r"(.*\.)?norm_pre\..*": "a norm before the blocks, as CLIP under timm's names; take the file of Hugging Face",
    r"(.*\.)?projector\.projection_head\..*": "the projector of FSFM; set model.base to fsfm",
}


def refusal(name: str) -> str | None:
    """What a network with an array of this name has that our encoder has not; None if the name says nothing."""
    return next((reason for pattern, reason in REFUSED.items() if re.fullmatch(pattern, name)), None)


# The names of timm, which most others have, too.
TIMM = {theirs: ours for ours, theirs in CLASSIFIER.rows.items() if ours.startswith("encoder/")}
_POOLER = {r"pooler\..*": "the pooler of Hugging Face, a layer over the class token behind the encoder"}
_CLASSIFIER = {
    r"(head|classifier)\..*": "the classifier of ImageNet",
    r"pre_logits\..*": "the layer before the classifier of ImageNet",
    r"fc_norm\..*": "the norm between pooling and the classifier of ImageNet",
}


def _modules(modules: dict[str, str], kernel: str = "kernel") -> dict[str, str]:
    """Weight and bias of each module, by its name in the file -> ours."""
    return {
        f"{theirs}.{leaf}": f"encoder/{ours}/{ours_leaf}"
        for theirs, ours in modules.items()
        for leaf, ours_leaf in (("weight", kernel), ("bias", "bias"))
    }


def _thirds(theirs: str, layers: tuple[str, str, str] = ("q_proj", "k_proj", "v_proj")) -> dict[str, str]:
    """Query, key and value of each block, which the file holds apart."""
    return {
        f"{theirs}.{layer}.{leaf}": f"encoder/block_{{i}}/attn/qkv/{ours}:{place}"
        for place, layer in enumerate(layers)
        for leaf, ours in (("weight", "kernel"), ("bias", "bias"))
    }


_OPENAI = {
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
_HUGGING_FACE_CLIP = {
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
_HUGGING_FACE_VIT = {
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
_VIT = TIMM | _HUGGING_FACE_VIT
_MARLIN = {
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

NAMINGS = {
    "supervised": Naming(_VIT, _CLASSIFIER | _POOLER, ("module.", "vit.")),
    # Without distillation, Hugging Face has DeiT as a plain ViT.
    "deit": Naming(_VIT, _CLASSIFIER | _POOLER, ("module.", "vit.", "deit.")),
    "mae": Naming(
        _VIT, {r"mask_token|decoder[_.].*": "the decoder of MAE"} | _CLASSIFIER | _POOLER, ("module.", "vit."),
    ),
    # No classifier is skipped: the network behind it may have been trained with labels since.
    "dino": Naming(
        _VIT, {r"head\..*": "the projection head of DINO"} | _POOLER, ("module.", "backbone.", "vit."),
        ("model", "state_dict", "teacher"),
    ),
    "clip": Naming(
        _OPENAI | _HUGGING_FACE_CLIP,
        {
            r"visual\.proj|visual_projection\..*": "the projection to where images meet text",
            r"positional_embedding|text_projection(\..*)?|(transformer|token_embedding|ln_final|text_model)\..*": (
                "the text encoder"
            ),
            r"logit_scale": "the temperature of the contrast between images and text",
            r"embeddings\.position_ids": "the numbers of the positions, no parameter",
            r"input_resolution|context_length|vocab_size": "a setting, no parameter",
        },
        ("module.", "vision_model."), flat_tokens=True, no_patch_bias=True,
    ),
    "mcf": Naming(
        TIMM,
        {
            r"mask_token|decoder_.*": "the decoder of MCF",
            r"fc\..*": "the projector of MCF",
            r"predictor\..*": "the predictor of MCF",
            r"target_encoder\..*": "the momentum encoder of MCF; its online encoder is taken",
            r"perceptual_loss\..*": "the network of MCF's perceptual loss",
        },
        ("module.", "online_encoder."),
    ),
    "marlin": Naming(
        _MARLIN, {r"decoder\..*|enc_dec_proj\..*": "the decoder of MARLIN"}, ("module.", "marlin."),
        tubelets=True, no_key_bias=True,
    ),
}  # fmt: skip
