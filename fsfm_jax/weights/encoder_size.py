"""Recognise the size of an encoder from its arrays alone."""

import math
import re
from collections.abc import Mapping
from typing import Any

import jax
from flax.traverse_util import flatten_dict

from fsfm_jax.models.relative import TABLE, table_grid
from fsfm_jax.models.style import Style
from fsfm_jax.models.vit import SIZES, Size

SHOWN = 20


def recognise_size(params: dict, sizes: Mapping[str, Size] = SIZES) -> str:
    """Return the name of the size with the width, depth and patch size of `params["encoder"]`.

    The arrays do not show the number of heads: queries, keys and values of all heads are concatenated. So `sizes` must
    be those of the network's family (`models.bases`), which all differ in shape; the first matching row is used.

    Raises:
      ValueError: there is no such size, or no patch embedding to recognise it by; the message says what was found.
    """
    encoder = params.get("encoder", {})
    kernel = encoder.get("patch_embed", {}).get("kernel")
    if kernel is None or kernel.ndim != 2:
        raise ValueError("the size cannot be recognised: there is no encoder/patch_embed/kernel [P, D]")
    pixels, width = kernel.shape
    depth = sum(re.fullmatch(r"block_\d+", name) is not None for name in encoder)
    for name, size in sizes.items():
        if (size.width, size.depth, size.pixels) == (width, depth, pixels):
            return name
    known = "; ".join(f"{name} {size.width}, {size.depth}, {size.patch_size}" for name, size in sizes.items())
    raise ValueError(
        f"no known size has width {width}, {depth} blocks and patches of {pixels} numbers "
        f"({math.sqrt(pixels / 3):.4g} by {math.sqrt(pixels / 3):.4g} pixels); known (width, blocks, patch): {known}"
    )


def position_grid(params: dict, size: Size, style: Style) -> int | None:
    """Return the rows of the grid of learnt positions, absolute or relative; None if the encoder learnt none.

    Rounded down, and at least 1, where `check_shapes` will complain.
    """
    encoder = params["encoder"]
    if style.relative:
        table = encoder.get("block_00", {}).get("attn", {}).get("relative_positions", {}).get(TABLE)
        return 1 if table is None else table_grid(len(table))
    if "pos_embed" not in encoder:
        return None
    return max(math.isqrt(max(encoder["pos_embed"].size // size.width - style.class_token, 0)), 1)


def check_shapes(params: dict, expected: Any, what: str) -> None:
    """Compare parameters with the shapes that a network would have.

    Args:
      expected: a tree of shapes, as from `jax.eval_shape`.
      what: names the parameters in the error.

    Raises:
      ValueError: missing, unknown or differently shaped arrays; up to 20 are named.
    """
    found, wanted = (
        {path: tuple(leaf.shape) for path, leaf in flatten_dict(tree, sep="/").items()} for tree in (params, expected)
    )
    complaints = [
        f"{path}: {_text(found.get(path))} found, {_text(wanted.get(path))} expected"
        for path in sorted(found.keys() | wanted.keys())
        if found.get(path) != wanted.get(path)
    ]
    if complaints:
        more = [f"and {len(complaints) - SHOWN} more"] if len(complaints) > SHOWN else []
        raise ValueError(
            f"{what}: {len(complaints)} arrays are not those of the network:\n  "
            + "\n  ".join(complaints[:SHOWN] + more)
        )


def shapes_of(network: Any, *inputs: Any) -> Any:
    """Return the shapes of a module's fresh parameters, without computing them."""
    return jax.eval_shape(lambda: network.init(jax.random.key(0), *inputs))["params"]


def _text(shape: tuple[int, ...] | None) -> str:
    return "nothing" if shape is None else str(list(shape))
