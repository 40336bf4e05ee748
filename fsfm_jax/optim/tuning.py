"""Named rules that select the trained parameters by path; splitting and joining of parameter trees.

All other parameters are frozen: they get no gradient and no optimizer state, and stay bit-identical.
"""

import re
from typing import Any

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

FULL, ADAPTER, LORA = "full", "fs_adapter", "lora"
_HEAD = r"(head|embedder|classifier)/.*"

# Patterns match full paths. Parts that are new for the task are always trained.
TUNINGS = {
    FULL: r".*",
    # FS-Adapter (FS-VFM): the bottleneck after the encoder, or those in its blocks. The norm of pooled features stays
    # at scale 1 and bias 0.
    ADAPTER: rf"(encoder/block_\d+/)?adapter/.*|projector/.*|{_HEAD}",
    # The head alone, on normed features.
    "linear_probe": _HEAD,
    # Scale and bias of every layer norm.
    "layer_norm": rf"(.*/)?(fc_|pre_)?norm\d?/(scale|bias)|{_HEAD}",
    # BitFit (Ben Zaken et al., 2022): every bias.
    "bias": rf".*/bias|{_HEAD}",
    # LoRA (Hu et al., 2022): all low-rank updates.
    LORA: rf".*/lora_(down|up)|{_HEAD}",
}
# Tunings with an unchanged encoder, whose features can be computed once (FS-Adapter unless it is in the blocks).
BEHIND_THE_ENCODER = (ADAPTER, "linear_probe")


def split(params: dict, trained: str) -> tuple[dict, dict]:
    """Split a tree into the paths that the pattern `trained` fully matches, and the rest; both may be empty."""
    flat = flatten_dict(params, sep="/")
    chosen = {path: value for path, value in flat.items() if re.fullmatch(trained, path)}
    rest = {path: value for path, value in flat.items() if path not in chosen}
    return unflatten_dict(chosen, sep="/"), unflatten_dict(rest, sep="/")


def join(trained: Any, frozen: Any) -> dict:
    """Join the two parts that `split` returned."""
    return unflatten_dict(flatten_dict(trained, sep="/") | flatten_dict(frozen, sep="/"), sep="/")


def count(params: Any) -> int:
    """Return the number of elements in a tree of arrays or shapes."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
