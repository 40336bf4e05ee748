"""The fresh weights of the released fine-tuning network: where training without pretraining starts there.

They are not those of pretraining, which draws matrices Xavier-uniform: this is timm's ViT.
"""

import hashlib
import re

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from fsfm_jax.models.relative import TABLES

DEVIATION = 0.02
PATCH_KERNEL = "encoder/patch_embed/kernel"


def _keep(key, value, params):
    return value


def _normal(key, value, params):
    # Officially cut at +-2, a hundred deviations: nothing to cut. But the official draws go through the inverse error
    # function, whose argument is exactly -1 about once in 2**24 times, and come out as -2: a few weights of a ViT-B.
    # That is rounding, not method, and is left out.
    return DEVIATION * jax.random.normal(key, value.shape, value.dtype)


def _convolution(key, value, params):
    """PyTorch's default for weight and bias, which nothing resets: U(+-1/sqrt(fan in))."""
    bound = params[PATCH_KERNEL].shape[0] ** -0.5
    return jax.random.uniform(key, value.shape, value.dtype, -bound, bound)


def _constant(number):
    return lambda key, value, params: jnp.full(value.shape, number, value.dtype)


# The first rule that fits a path decides.
_RULES = (
    (r"(fc_norm|head|embedder|classifier)/.*", _keep),
    (r"encoder/(cls_token|reg_token|pos_embed)", _normal),
    (r"encoder/patch_embed/(kernel|bias)", _convolution),
    (r"encoder/block_\d+/ls\d/scale", _keep),
    (TABLES, _constant(0)),
    (r"encoder/(block_\d+/|pre_)?norm\d?/scale", _constant(1)),
    (r"encoder/(block_\d+/|pre_)?norm\d?/bias", _constant(0)),
    (r"encoder/block_\d+/(attn|mlp)/\w+/kernel", _normal),
    (r"encoder/block_\d+/(attn|mlp)/\w+/bias", _constant(0)),
)


def scratch_initialisation(params: dict, key: jax.Array) -> dict:
    """Fresh parameters of a fine-tuned network as the released code draws them; pure.

    Matrices, class token and positions (no sine and cosine) are normal with deviation 0.02, biases 0, norms 1 and
    0; the patch embedding is uniform between -1/sqrt(P) and 1/sqrt(P), weight and bias. Relative positions are 0, heads
    and layer scale stay as they are.

    Args:
      params: parameters of a `Classifier` or an `AntiSpoof` network; their values matter in the heads only.
      key: typed key. Each parameter has the stream of its path: it does not depend on what else is there.

    Raises:
      ValueError: parameters that no rule covers; all of them are named.
    """
    flat = flatten_dict(params, sep="/")
    rules = {path: next((rule for pattern, rule in _RULES if re.fullmatch(pattern, path)), None) for path in flat}
    uncovered = sorted(path for path, rule in rules.items() if rule is None)
    if uncovered:
        raise ValueError(f"from scratch: no rule says how these parameters start: {', '.join(uncovered)}")
    return unflatten_dict({path: rules[path](_stream(key, path), value, flat) for path, value in flat.items()}, sep="/")


def _stream(key: jax.Array, path: str) -> jax.Array:
    """The stream of a parameter: by a digest, since a step for each letter of 150 paths takes a minute to compile."""
    digest = hashlib.sha256(path.encode()).digest()
    for start in (0, 4):
        key = jax.random.fold_in(key, int.from_bytes(digest[start : start + 4], "little"))
    return key
