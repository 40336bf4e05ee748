"""FFIW10K, Face Forensics in the Wild: videos of several people, of whom some are forged."""

from collections.abc import Iterator
from functools import partial

from fsfm_jax.prepare.manifests.classes import FAKE_REAL, REAL
from fsfm_jax.prepare.manifests.download import Download
from fsfm_jax.prepare.manifests.listing import FRAMES, Listing, files, without_suffix
from fsfm_jax.prepare.manifests.manifest import DataSet, Item, Request, Walk
from fsfm_jax.prepare.sampling import describe_spacing

KINDS = {"source": REAL, "target": 1 - REAL}
EXPECTED = {"train": 8000, "val": 250}  # videos of each kind
INNER = ("", "videos")

LAYOUT = """\
source/train/NAME.mp4, source/val/NAME.mp4      8,000 and 250 real videos; or source/train/videos/..., ...
target/train/NAME.mp4, target/val/NAME.mp4      as many forged ones; target_mask/ is not used
"""


def _place(download: Download, kind: str, split: str) -> tuple[str, list[str]]:
    """Return the folder of the videos of a kind and split, and their names."""
    places = [f"{kind}/{split}/{inner}".rstrip("/") for inner in INNER]
    found = {place: names for place in places if (names := files(download.root / place, (".mp4",)))}
    if len(found) > 1:
        raise download.wrong(f"it has videos in {' and in '.join(found)}", "keep them in one of the two")
    return next(iter(found.items()), (places[0], []))


def walk(request: Request) -> Walk:
    """Split train and val; ids such as `source/00001`, with the method of all forged videos unknown."""
    download = Download(request, "ffiw", LAYOUT, needed=tuple(KINDS))
    splits = {}
    for split, expected in EXPECTED.items():
        found = {kind: _place(download, kind, split) for kind in KINDS}
        for place, names in found.values():
            download.count(f"videos in {place}", expected, len(names))
        if any(names for _, names in found.values()):
            splits[split] = Listing(partial(_items, found))
    if not splits:
        raise download.wrong(
            f"no .mp4 videos in {', '.join(f'{kind}/{split}' for kind in KINDS for split in EXPECTED)}"
        )
    return download.walk(splits, FAKE_REAL, REAL)


def _items(found: dict[str, tuple[str, list[str]]]) -> Iterator[Item]:
    for kind, (place, names) in found.items():
        for name in names:
            identity = f"{kind}/{without_suffix(name)}"
            yield Item(f"{place}/{name}", identity, KINDS[kind], sampling=describe_spacing(FRAMES))


FFIW = DataSet(
    name="ffiw",
    about="FFIW10K, Face Forensics in the Wild (ETH Zurich, Inception): 32 frames of each video",
    layout=LAYOUT,
    walk=walk,
)
