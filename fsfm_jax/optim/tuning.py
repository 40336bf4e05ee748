"""Which parameters of a network are trained: named rules by path, and the tree taken apart and put together again.

What a rule leaves out is frozen: no gradient of it is computed, the optimizer has no state of it, and it keeps every
bit.
"""

import re
from typing import Any

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

FULL, ADAPTER, LORA = "full", "fs_adapter", "lora"
_HEAD = r"(head|embedder|classifier)/.*"

# Whole paths; what is new for the task is always trained.
TUNINGS = {
    FULL: r".*",
    # FS-Adapter (FS-VFM): the bottleneck behind the encoder, or those in its blocks. The pooled features' norm stays at
    # scale 1 and bias 0.
    ADAPTER: rf"(encoder/block_\d+/)?adapter/.*|projector/.*|{_HEAD}",
    # The head alone, on normed features.
    "linear_probe": _HEAD,
    # Scale and bias of every layer norm.
    "layer_norm": rf"(.*/)?(fc_|pre_)?norm\d?/(scale|bias)|{_HEAD}",
    # BitFit (Ben Zaken et al., 2022): every bias.
    "bias": rf".*/bias|{_HEAD}",
    # LoRA (Hu et al., 2022): low-rank updates of the maps that have some.
    LORA: rf".*/lora_(down|up)|{_HEAD}",
}
# Those that leave the encoder as it is, FS-Adapter unless it is in the blocks: its features can be computed once.
BEHIND_THE_ENCODER = (ADAPTER, "linear_probe")


def split(params: dict, trained: str) -> tuple[dict, dict]:
    """The part of a tree whose paths `trained` matches as a whole, and the rest; both may be empty."""
    flat = flatten_dict(params, sep="/")
    chosen = {path: value for path, value in flat.items() if re.fullmatch(trained, path)}
    rest = {path: value for path, value in flat.items() if path not in chosen}
    return unflatten_dict(chosen, sep="/"), unflatten_dict(rest, sep="/")


def join(trained: Any, frozen: Any) -> dict:
    """The tree of which `split` made the two parts."""
    return unflatten_dict(flatten_dict(trained, sep="/") | flatten_dict(frozen, sep="/"), sep="/")


def count(params: Any) -> int:
    """Numbers in a tree of arrays or shapes."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
