"""Which activations of a block are kept for the backward pass, and which are computed again there."""

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
    """`block` as `remat`, one of `REMATS`, has it.

    Raises:
      ValueError: another name.
    """
    if remat not in REMATS:
        raise ValueError(f"model.remat: expected one of {', '.join(REMATS)}; found {remat!r}")
    if remat == DOTS:
        # Products of activations with weights; those of activations with each other have a batch dimension.
        return nn.remat(block, policy=jax.checkpoint_policies.dots_with_no_batch_dims_saveable)
    return nn.remat(block) if remat == FULL else block


def rematerialise_attention(attend: Callable, remat: str) -> Callable:
    """The function from queries, keys and values to the mixed values, as `remat` has it."""
    return jax.checkpoint(attend) if remat == ATTENTION else attend
