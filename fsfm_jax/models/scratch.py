"""The initial weights of fine-tuning without pretraining, as the released code draws them.

They follow timm's ViT. Pretraining differs: it draws matrices Xavier-uniform.
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
    # The official code truncates at +-2, a hundred standard deviations, which never happens by chance. But its draws
    # use the inverse error function. About once in 2**24 draws the argument is exactly -1 and the weight becomes -2,
    # which affects a few weights of a ViT-B. This is a rounding error and not part of the method; it is left out.
    return DEVIATION * jax.random.normal(key, value.shape, value.dtype)


def _convolution(key, value, params):
    """Draw weight or bias from U(+-1/sqrt(fan in)), PyTorch's default, which the released code does not reset."""
    bound = params[PATCH_KERNEL].shape[0] ** -0.5
    return jax.random.uniform(key, value.shape, value.dtype, -bound, bound)


def _constant(number):
    return lambda key, value, params: jnp.full(value.shape, number, value.dtype)


# The first rule that matches a path applies.
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
    """Draw fresh parameters of a fine-tuned network as the released code does; a pure function.

    Matrices, class token and positions are normal with standard deviation 0.02; positions are not sine and cosine.
    Biases are 0; norms have scale 1 and bias 0. Weight and bias of the patch embedding are uniform between -1/sqrt(P)
    and 1/sqrt(P). Relative positions are 0. Heads and layer scale keep the values of `params`.

    Args:
      params: parameters of a `Classifier` or an `AntiSpoof` network; only the values of heads and layer scale are used.
      key: typed key. Each parameter uses a random stream derived from its path, independent of other parameters.

    Raises:
      ValueError: if no rule covers some parameters; the message lists all of them.
    """
    flat = flatten_dict(params, sep="/")
    rules = {path: next((rule for pattern, rule in _RULES if re.fullmatch(pattern, path)), None) for path in flat}
    uncovered = sorted(path for path, rule in rules.items() if rule is None)
    if uncovered:
        raise ValueError(
            f"from scratch: no initialisation rule matches these parameters: {', '.join(uncovered)}; "
            "add a rule for them to fsfm_jax/models/scratch.py"
        )
    return unflatten_dict({path: rules[path](_stream(key, path), value, flat) for path, value in flat.items()}, sep="/")


def _stream(key: jax.Array, path: str) -> jax.Array:
    """Return the random key of a parameter by path.

    It folds in a digest, because one step for each letter of 150 paths takes a minute to compile.
    """
    digest = hashlib.sha256(path.encode()).digest()
    for start in (0, 4):
        key = jax.random.fold_in(key, int.from_bytes(digest[start : start + 4], "little"))
    return key
