"""Rules of fine-tuning by parameter path: layer-wise learning rates and weight decay.

Both are ordered rules for `optimizer.by_rule`, for trees with a pretrained ViT as `encoder` and heads next to it.
"""

Rules = tuple[tuple[str, float], ...]


def layer_rate_rules(depth: int, decay: float) -> Rules:
    """Return rules for the factor `decay ** (depth + 1 - layer)` of the learning rate (BEiT; MAE, appendix A.1).

    Layer 0 is everything before the first block, and layer `i + 1` is block `i`. Layer `depth + 1` is the final norm
    and the heads, with factor 1. Decay 0 trains only this last layer; decay 1 gives all layers the same rate. Any other
    parameter of the encoder matches no rule, and `by_rule` raises an error.

    Raises:
      ValueError: if `decay` is outside [0, 1].
    """
    if not 0 <= decay <= 1:
        raise ValueError(f"optimizer.layer_decay: expected a factor between 0 and 1; found {decay}")
    return (
        (r"encoder/(cls_token|reg_token|pos_embed|patch_embed/.*|pre_norm/.*)", decay ** (depth + 1)),
        *((rf"encoder/block_{index:02d}/.*", decay ** (depth - index)) for index in range(depth)),
        (r"encoder/norm/.*|(?!encoder/).*", 1.0),
    )


def weight_decay_rules(decay: float) -> Rules:
    """Return rules with `decay` for matrices and 0 for biases, norms, layer scale, class token, registers, positions.

    Pretraining differs: it decays the class token.
    """
    positions = r"encoder/(cls_token|reg_token|pos_embed|block_\d+/attn/relative_positions/table)"
    return ((positions, 0.0), (r".*/(bias|scale)", 0.0), (".*", decay))
