"""Cutting a split into others by shares, for data that come without splits."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

from fsfm_jax.prepare.manifests.listing import Listing
from fsfm_jax.prepare.manifests.manifest import Item, Walk

# Data sets are often drawn by a plain hash of the name; this one is of nobody else.
SALT = "fsfm_jax.shares\n"
WHOLE = 100


def parse_shares(text: str) -> dict[str, int]:
    """Parses `train=70,val=10,test=20`: names of splits with whole percentages that add up to 100.

    Raises:
      ValueError: another form.
    """
    shares = {}
    for entry in text.split(","):
        name, _, share = (part.strip() for part in entry.partition("="))
        if not name.isidentifier() or name in shares or not share.isdecimal() or not int(share):
            raise ValueError(
                f"shares: expected NAME=PERCENT,NAME=PERCENT such as train=70,val=10,test=20, found {text!r}"
            )
        shares[name] = int(share)
    if sum(shares.values()) != WHOLE:
        raise ValueError(
            f"shares: expected percentages that add up to {WHOLE}, found {sum(shares.values())} in {text!r}"
        )
    return shares


def split_of(video: str, shares: Mapping[str, int]) -> str:
    """Returns the split of a video or photo by its id: the same in whatever company, frames of a video together."""
    place = int.from_bytes(hashlib.sha256((SALT + video).encode("utf-8", "surrogateescape")).digest()[:8]) / 2**64
    end = 0.0
    for name, share in shares.items():
        end += share / WHOLE
        if place < end:
            return name
    return name


def cut(walk: Walk, shares: Mapping[str, int]) -> Walk:
    """Cuts the only split of `walk` into `shares`.

    Raises:
      ValueError: it has splits of its own, or so few items that a share would have none.
    """
    if len(walk.splits) != 1:
        raise ValueError(f"shares: expected a data set without splits, found {', '.join(walk.splits)}; leave them out")
    (whole,) = walk.splits.values()
    found = {split_of(item.video, shares) for item in whole}
    empty = [name for name in shares if name not in found]
    if empty:
        raise ValueError(f"shares: no photo or video falls to {', '.join(empty)}; add some, or leave that share out")
    return replace(walk, splits={name: Listing(partial(_of_split, whole, shares, name)) for name in shares})


def _of_split(whole: Listing, shares: Mapping[str, int], name: str) -> Iterator[Item]:
    return (item for item in whole if split_of(item.video, shares) == name)
