"""Names of the encoder arrays in the published files of base models, and the other contents of these files.

No file contains the epsilon of its norms. We use the one of training: 1e-6 for ViT, DeiT, DINO, MAE and BEiT v2. The
configuration next to a Hugging Face file is ignored (1e-12 by default). This changes the output of a norm for a token
of variance v by a factor of 1 - 1e-6/(2v): float32 rounding noise for tokens of variance 1, and 0.5% at v = 1e-4.
"""

import dataclasses
import re
from collections.abc import Iterable

from fsfm_jax.weights.base_rows import (
    BEITV2,
    DINOV2,
    DINOV2_REGISTERS,
    DINOV3,
    DINOV3_GATED,
    HUGGING_FACE_CLIP,
    MARLIN,
    OPENAI,
    PERCEPTION_ENCODER,
    TIMM,
    VIT,
)

_INDEX = re.compile(r"(?<=\.)(0|[1-9][0-9]?)(?=\.)")  # a block's, in the one form that PyTorch writes


@dataclasses.dataclass(frozen=True)
class Naming:
    """The names in the files of one base.

    Attributes:
      rows: name in the file -> our path. `{i}` is a block's index; `:0`, `:1` and `:2` behind a path are the thirds for
        query, key and value, which the file holds apart. `{every}` in a path: each block has this array.
      skipped: pattern of whole names -> why they are not used.
      prefixes: may precede a name, in this order, and are removed before it is looked up.
      wrappers: keys below which a .pth may have the network.
      flat_tokens: whether the class token is `[D]` and the positions are `[T, D]`.
      tubelets: whether the patch embedding is also a convolution over time.
      no_patch_bias, no_key_bias: whether such a network lacks this bias, which is zero in ours then.
      no_attention_bias: whether a file may have no bias of queries, keys and values, since it is zero.
      folded_positions: whether a file may have positions of the patches alone, that of the class token being in it.
      optional: pattern of our paths that a file may lack; the encoder lacks them then as well.
      mark: pattern of a name that tells files of this base from others whose encoder has the same names; "": none.
    """

    rows: dict[str, str]
    skipped: dict[str, str]
    prefixes: tuple[str, ...] = ("module.",)
    wrappers: tuple[str, ...] = ("model", "state_dict")
    flat_tokens: bool = False
    tubelets: bool = False
    no_patch_bias: bool = False
    no_key_bias: bool = False
    no_attention_bias: bool = False
    folded_positions: bool = False
    optional: str = ""
    mark: str = ""

    def bare(self, name: str) -> str:
        """Return `name` without its prefixes."""
        for prefix in self.prefixes:
            name = name.removeprefix(prefix)
        return name

    def our_path(self, name: str) -> str | None:
        """Return our path for a name in the file, with `:0` to `:2` appended for a third; None without a row."""
        name = self.bare(name)
        index = _INDEX.search(name)
        row = None if "{" in name else self.rows.get(_INDEX.sub("{i}", name, count=1))
        return row.replace("{i}", f"{int(index[0]):02d}") if row and index else row

    def marks(self, names: Iterable[str]) -> bool:
        """Return whether `names` are from a file of this base and not of another with the same encoder."""
        return not self.mark or any(re.fullmatch(self.mark, self.bare(name)) for name in names)

    def reason_to_skip(self, name: str) -> str | None:
        """Return why an array of this name is not used; None if the name is unknown."""
        name = self.bare(name)
        return next((reason for pattern, reason in self.skipped.items() if re.fullmatch(pattern, name)), None)


# A network with one of these arrays has another architecture, even if all other arrays fit.
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
    """Return the feature that this name shows and our encoder lacks; None if the name shows none."""
    return next((reason for pattern, reason in REFUSED.items() if re.fullmatch(pattern, name)), None)


_POOLER = {r"pooler\..*": "the pooler of Hugging Face, a layer over the class token behind the encoder"}
_CLASSIFIER = {
    r"(head|classifier)\..*": "the classifier of ImageNet",
    r"pre_logits\..*": "the layer before the classifier of ImageNet",
    r"fc_norm\..*": "the norm between pooling and the classifier of ImageNet",
}
_BESIDE_IMAGES = {
    r"visual\.proj|visual_projection\..*": "the projection to where images meet text",
    r"positional_embedding|text_projection(\..*)?|(transformer|token_embedding|ln_final|text_model)\..*": (
        "the text encoder"
    ),
    r"logit_scale": "the temperature of the contrast between images and text",
}
_MASK_TOKEN = {r"(embeddings\.)?mask_token": "the mask token of pretraining"}
_DINOV3 = {
    **_MASK_TOKEN,
    r"rope_embed\.periods": "the periods of the rotary positions, computed in float32; files have them in bfloat16",
    r"blocks\.\d+\.attn\.qkv\.bias_mask": "the mask that keeps the bias of the keys at zero",
    r"local_cls_norm\..*": "the norm for small crops in pretraining",
}

NAMINGS = {
    "supervised": Naming(VIT, _CLASSIFIER | _POOLER, ("module.", "vit.")),
    # Hugging Face publishes DeiT without distillation as a plain ViT.
    "deit": Naming(VIT, _CLASSIFIER | _POOLER, ("module.", "vit.", "deit.")),
    "mae": Naming(
        VIT, {r"mask_token|decoder[_.].*": "the decoder of MAE"} | _CLASSIFIER | _POOLER, ("module.", "vit."),
    ),
    # No classifier is skipped: a network with one may have been trained with labels afterwards.
    "dino": Naming(
        VIT, {r"head\..*": "the projection head of DINO"} | _POOLER, ("module.", "backbone.", "vit."),
        ("model", "state_dict", "teacher"),
    ),
    "clip": Naming(
        OPENAI | HUGGING_FACE_CLIP,
        _BESIDE_IMAGES | {
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
        MARLIN, {r"decoder\..*|enc_dec_proj\..*": "the decoder of MARLIN"}, ("module.", "marlin."),
        tubelets=True, no_key_bias=True,
    ),
    "dinov2": Naming(DINOV2, _MASK_TOKEN | _CLASSIFIER, ("module.", "dinov2.")),
    "dinov2_reg": Naming(
        DINOV2_REGISTERS, _MASK_TOKEN | _CLASSIFIER, ("module.", "dinov2_with_registers."), folded_positions=True,
        mark=r"(embeddings\.)?(register_tokens|reg_token)",
    ),
    "dinov3": Naming(DINOV3, _DINOV3, ("module.", "model."), no_key_bias=True, no_attention_bias=True),
    "dinov3_plus": Naming(DINOV3_GATED, _DINOV3, ("module.", "model."), no_key_bias=True, no_attention_bias=True),
    "beitv2": Naming(
        BEITV2,
        {
            r"(embeddings\.)?mask_token|lm_head\..*|cls_pt_.*": "the masked modelling of BEiT v2",
            r"(.*\.)?relative_position_index": "the numbers of the displacements, no parameter",
            r"pooler\..*": "the norm between pooling and the classifier of ImageNet",
        } | _CLASSIFIER,
        # Fine-tuned ones and those of transformers have the norm behind pooling alone.
        ("module.", "beit."), no_key_bias=True, optional=r"encoder/norm/(scale|bias)",
    ),
    "farl": Naming(
        OPENAI,
        _BESIDE_IMAGES | {
            r"visual\.((lm_transformer|ln_lm|lm_head)\..*|mask_token)": "the masked modelling of FaRL",
        },
        flat_tokens=True, no_patch_bias=True,
    ),
    "pe_core": Naming(
        PERCEPTION_ENCODER,
        _BESIDE_IMAGES | {
            r"(visual\.)?attn_pool\..*": "the pooling by attention, which is left out",
            r"head\..*": "the projection to where images meet text",
        },
        flat_tokens=True, no_patch_bias=True, mark=r"(visual\.)?attn_pool\..*",
    ),
}  # fmt: skip
