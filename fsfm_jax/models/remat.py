"""The choice of activations that are stored for the backward pass; the others are recomputed in it."""

from collections.abc import Callable

import flax.linen as nn
import jax

NONE, ATTENTION, DOTS, FULL = "none", "attention", "dots", "full"
# What each costs in time and saves in memory is measured in docs/SCALING.md.
REMATS = {
    NONE: "keeps everything",
    ATTENTION: "computes attention weights again, from queries and keys",
    DOTS: "keeps the results of the linear maps only",
    FULL: "keeps the input of each block only",
}


def rematerialise_block(block: type[nn.Module], remat: str) -> type[nn.Module]:
    """Return `block` wrapped for the strategy `remat`, one of `REMATS`.

    Raises:
      ValueError: if `remat` is not one of `REMATS`.
    """
    if remat not in REMATS:
        raise ValueError(f"model.remat: expected one of {', '.join(REMATS)}; found {remat!r}")
    if remat == DOTS:
        # Products with weights have no batch dimensions; the products inside attention have.
        return nn.remat(block, policy=jax.checkpoint_policies.dots_with_no_batch_dims_saveable)
    return nn.remat(block) if remat == FULL else block


def rematerialise_attention(attend: Callable, remat: str) -> Callable:
    """Return `attend`, wrapped to recompute its activations if `remat` is `attention`."""
    return jax.checkpoint(attend) if remat == ATTENTION else attend
