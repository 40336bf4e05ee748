"""Divide a split into several by shares, for data without splits."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

from fsfm_jax.prepare.manifests.listing import Listing
from fsfm_jax.prepare.manifests.manifest import Item, Walk

# A salt, so that the split is independent of data sets that were sampled by a plain hash of the name.
SALT = "fsfm_jax.shares\n"
WHOLE = 100


def parse_shares(text: str) -> dict[str, int]:
    """Parse `train=70,val=10,test=20`: names of splits with whole percentages that add up to 100.

    Raises:
      ValueError: the text has another form.
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
    """Return the split of a video or photo, by its id alone; frames of a video stay together."""
    place = int.from_bytes(hashlib.sha256((SALT + video).encode("utf-8", "surrogateescape")).digest()[:8]) / 2**64
    end = 0.0
    for name, share in shares.items():
        end += share / WHOLE
        if place < end:
            return name
    return name


def cut(walk: Walk, shares: Mapping[str, int]) -> Walk:
    """Divide the only split of `walk` into `shares`.

    Raises:
      ValueError: the walk has several splits, or so few items that a share would be empty.
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
