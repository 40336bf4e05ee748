"""Users' own folders: photos and videos in a folder for each class, or all together without labels.

A photo named `VIDEO_frame_INDEX.png` is a frame of a video; any other photo is its own video. Hidden files, and files
that are not photos or videos, are skipped.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from fsfm_jax.prepare.manifests.classes import real_label
from fsfm_jax.prepare.manifests.download import Download
from fsfm_jax.prepare.manifests.listing import (
    FRAMES,
    MEDIA_SUFFIXES,
    PRETRAINING_FRAMES,
    Listing,
    files,
    folders,
    media,
    media_item,
)
from fsfm_jax.prepare.manifests.manifest import DataSet, Item, Request, Walk
from fsfm_jax.text import utf8

SPLITS = ("train", "val", "test")

LAYOUT = """\
CLASS/...             photos and videos, in any folders below; at least two classes; they are the split train
train/CLASS/...       or any of train/, val/ and test/, each with a folder for each class
"""
LAYOUT_PHOTOS = """\
...                   photos and videos, in any folders
"""


def walk(request: Request) -> Walk:
    """List the splits train, val and test, or train only. The real class is `Request.real`, or found by its name.

    The name of a class that is not real becomes the method of its items.
    """
    download = Download(request, "folder", LAYOUT)
    names = folders(download.root)
    splits = [split for split in SPLITS if split in names]
    if splits and len(splits) != len(names):
        others = [name for name in names if name not in SPLITS]
        raise download.wrong(
            f"next to {', '.join(splits)} it has {', '.join(others)}", "move them into one of the splits"
        )
    places = {split: split for split in splits} or {"train": ""}
    for place in {"", *places.values()}:
        if loose := files(download.root / place, MEDIA_SUFFIXES):
            raise download.wrong(f"{place or 'it'} has files of no class, such as {loose[0]}", "move them into a class")
    of_split = {split: folders(download.root / place) for split, place in places.items()}
    class_names = tuple(sorted({name for found in of_split.values() for name in found}))
    if len(class_names) < 2:
        found = f"one class, {class_names[0]}" if class_names else "no folders of classes"
        raise download.wrong(f"it has {found}", "for photos without labels use --dataset=photos")
    for split, place in places.items():
        for name in of_split[split]:
            if next(media(download.root, f"{place}/{name}" if place else name), None) is None:
                raise download.wrong(f"{place}/{name}".lstrip("/") + " has no photos or videos", "fill or remove it")
        missing = [name for name in class_names if name not in of_split[split]]
        download.count(f"classes of {split}", len(class_names), len(of_split[split]), missing)
    if foreign := [name for name in class_names if utf8(name) != name]:
        raise download.wrong(f"expected names of classes in UTF-8, found {utf8(foreign[0])}", "rename that folder")
    real = real_label(class_names, request.real)
    splits = {
        split: Listing(partial(_items, download.root, place, class_names, real))
        for split, place in places.items()
        if of_split[split]
    }
    return download.walk(splits, class_names, real)


def _items(root: Path, place: str, class_names: tuple[str, ...], real: int | None) -> Iterator[Item]:
    for label, name in enumerate(class_names):
        below = f"{place}/{name}" if place else name
        if (root / below).is_dir():
            method = "" if real is None or label == real else name
            for path in media(root, below):
                yield media_item(path, FRAMES, label=label, method=method)


def walk_photos(request: Request) -> Walk:
    """Make one split `train` of everything below the root, without labels."""
    download = Download(request, "photos", LAYOUT_PHOTOS)
    if next(media(download.root, ""), None) is None:
        raise download.wrong("it has no photos or videos", f"expected one of {', '.join(MEDIA_SUFFIXES)}")
    return download.walk(
        {"train": Listing(lambda: (media_item(path, PRETRAINING_FRAMES) for path in media(download.root, "")))}
    )


FOLDERS = (
    DataSet("folder", "your own: a folder of photos and videos for each class", LAYOUT, walk),
    DataSet(
        "photos", "your own: photos and videos without labels, for pretraining", LAYOUT_PHOTOS, walk_photos, parsed=True
    ),
)
