"""Rules of fine-tuning by parameter path: smaller learning rates towards the input, and what is decayed.

Both are ordered rules for `optimizer.by_rule`, over trees that hold a pretrained ViT as `encoder` and their heads
beside it.
"""

Rules = tuple[tuple[str, float], ...]


def layer_rate_rules(depth: int, decay: float) -> Rules:
    """Factor `decay ** (depth + 1 - layer)` of the learning rate (BEiT; MAE, appendix A.1).

    Layer 0 is everything before the first block, layer `i + 1` is block `i`, and layer `depth + 1` is the rest:
    final norm and heads, with factor 1. Decay 0 lets only those learn; 1 treats all layers alike. A parameter of
    the encoder that is none of these matches no rule, which `by_rule` reports.

    Raises:
      ValueError: a decay outside [0, 1].
    """
    if not 0 <= decay <= 1:
        raise ValueError(f"optimizer.layer_decay: expected a factor between 0 and 1; found {decay}")
    return (
        (r"encoder/(cls_token|reg_token|pos_embed|patch_embed/.*|pre_norm/.*)", decay ** (depth + 1)),
        *((rf"encoder/block_{index:02d}/.*", decay ** (depth - index)) for index in range(depth)),
        (r"encoder/norm/.*|(?!encoder/).*", 1.0),
    )


def weight_decay_rules(decay: float) -> Rules:
    """`decay` for matrices; none for biases, norms, layer scale, class token, registers and learnt positions.

    Pretraining is different: there the class token is decayed.
    """
    positions = r"encoder/(cls_token|reg_token|pos_embed|block_\d+/attn/relative_positions/table)"
    return ((positions, 0.0), (r".*/(bias|scale)", 0.0), (".*", decay))
