"""Miniature downloads of empty files: walkers look at names alone."""

from pathlib import Path

import pytest

from fsfm_jax.prepare.manifests.manifest import Item, Request, Walk
from fsfm_jax.prepare.manifests.registry import find


class Miniature:
    """A download below `root`."""

    def __init__(self, root: Path):
        self.root = root
        root.mkdir()

    def add(self, *paths: str, text: str = "") -> "Miniature":
        """Makes files, by default empty."""
        for path in paths:
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text(text, encoding="utf-8")
        return self

    def walk(self, name: str, root: Path | None = None, real: str = "") -> Walk:
        """Walks the download, or another folder, as the data set `NAME[:VARIANT]`."""
        data_set, variant = find(name)
        return data_set.walk(Request(root or self.root, variant, real))


def listed(walk: Walk, split: str) -> list[Item]:
    """The items of a split, which are the same when listed again, and one of each path and frame."""
    items = list(walk.splits[split])
    assert items == list(walk.splits[split])
    assert len({item.path for item in items}) == len(items)
    return items


@pytest.fixture
def miniature(tmp_path) -> Miniature:
    """An empty download."""
    return Miniature(tmp_path / "download")


@pytest.fixture(name="listed")
def listed_fixture():
    """`listed(walk, split)`: the items of a split."""
    return listed
