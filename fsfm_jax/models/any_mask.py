"""Pixel predictions of the online network under a mask with any number of hidden patches, from one compiled program.

`OnlineNetwork` drops hidden patches, so each number of hidden patches needs its own compiled program. Here the encoder
takes all patches, and hidden patches have weight 0 as attention keys, so no visible token sees them. The result is
equal up to the order of sums. The encoder costs as much as without a mask.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fsfm_jax.models.fsfm import ModelSpec, OnlineNetwork
from fsfm_jax.models.layers import Attention


class _Screen:
    """A substitute for `View`: all tokens stay in place, and hidden tokens are replaced by the mask token."""

    def __init__(self, mask: jax.Array):
        self._mask = mask

    def fill(self, tokens: jax.Array, mask_token: jax.Array) -> jax.Array:
        """Replace hidden tokens by the mask token, `[B, N, D]`, `[D] -> [B, N, D]`."""
        return jnp.where(self._mask[:, :, None], mask_token[None, None].astype(tokens.dtype), tokens)


def predict_pixels(spec: ModelSpec, params: Any, patches: jax.Array, mask: jax.Array) -> jax.Array:
    """Predict every patch of one image, `[1, N, P]` and `[1, N] bool -> [1, N, P]`; `spec.seen` is ignored.

    Raises:
      ValueError: if `patches` holds more than one image, since their masks may differ.
    """
    if patches.shape[0] != 1:
        raise ValueError(f"patches: expected one image, [1, N, P]; found {list(patches.shape)}")
    weight = jnp.concatenate([jnp.ones(1), 1.0 - mask[0]])  # the class token is always seen

    def weigh(call, arguments, keywords, context):
        encodes = isinstance(context.module, Attention) and context.module.path[0] == "encoder"
        if encodes and context.method_name == "__call__":
            return call(arguments[0], weight, *arguments[2:], **keywords)
        return call(*arguments, **keywords)

    def look(network: OnlineNetwork) -> jax.Array:
        tokens = network.encoder(patches)
        return network.pixel_decoder(tokens, network.mask_token[0, 0], _Screen(mask))

    with nn.intercept_methods(weigh):
        return nn.apply(look, OnlineNetwork(spec))({"params": params})
