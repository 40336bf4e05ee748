"""List folders in an order that depends only on names, one folder at a time, without following link loops.

Only names are read, no file is opened. Hidden entries and the `__MACOSX` folders of unpacked archives are skipped.
Links are followed. Unreadable entries (a dangling link, a pipe, a folder without permission) are listed like files, so
that the reader reports them. Names that are not UTF-8 are as `os.fsdecode` returns them.
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from fsfm_jax.prepare.manifests.manifest import NO_FRAME, Item
from fsfm_jax.prepare.media.photo_file import PHOTO_SUFFIXES
from fsfm_jax.prepare.media.video import VIDEO_SUFFIXES
from fsfm_jax.prepare.sampling import PHOTO, describe_spacing

# File types in the releases of data sets with a fixed layout. A stray TIFF is not one of their photos.
RELEASED_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
MEDIA_SUFFIXES = PHOTO_SUFFIXES + VIDEO_SUFFIXES
# Photos and videos that are not read: to pass them over in silence would lose them.
UNREADABLE_SUFFIXES = (
    ".jp2", ".j2k", ".jxl", ".jxr", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".psd", ".exr",
    ".svg", ".mpg", ".mpeg", ".3gp",
)  # fmt: skip
FRAMES = 32  # of a labelled video, as in the released preprocessing of FSFM for deepfake detection
PRETRAINING_FRAMES = 128  # of an unlabelled video, as in the FSFM supplement

FRAME_SEPARATOR = "_frame_"
_NOT_LISTED = ("__MACOSX",)


class Listing:
    """Items that are listed anew each time they are iterated over."""

    def __init__(self, make: Callable[[], Iterator[Item]]):
        """Set `make`, which starts a listing and gives the same items each time."""
        self._make = make

    def __iter__(self) -> Iterator[Item]:
        return self._make()


def entries(folder: Path) -> list[os.DirEntry]:
    """Return the entries of a folder, sorted by name, without hidden ones.

    Raises:
      OSError: the folder cannot be listed.
    """
    try:
        with os.scandir(folder) as listed:
            found = [entry for entry in listed if not entry.name.startswith(".") and entry.name not in _NOT_LISTED]
    except OSError as error:
        raise type(error)(
            error.errno, f"the folder cannot be listed ({error.strerror}); allow reading it or remove it", str(folder)
        ) from error
    return sorted(found, key=lambda entry: entry.name)


def is_folder(entry: os.DirEntry) -> bool:
    """Return whether an entry is a folder or a link to one; False for a link loop."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def folders(folder: Path) -> list[str]:
    """Return the names of the folders in a folder; none if it does not exist or cannot be listed (see `survey`)."""
    return [entry.name for entry in _list(folder) if is_folder(entry)]


def files(folder: Path, suffixes: tuple[str, ...]) -> list[str]:
    """Return the names of the files in a folder that end in one of `suffixes`; none as for `folders`."""
    return [entry.name for entry in _list(folder) if _is_wanted(entry, suffixes)]


def _list(folder: Path) -> list[os.DirEntry]:
    try:
        return entries(folder) if folder.is_dir() else []
    except OSError:
        return []


def tree(root: Path, below: str, suffixes: tuple[str, ...]) -> Iterator[str]:
    """Yield paths below `root` of the files in folder `below` ("" = the root) and all its folders, by name.

    A folder that cannot be listed is yielded as its own path.
    """
    return _tree(root, below, suffixes, ())


def _tree(root: Path, below: str, suffixes: tuple[str, ...], above: tuple) -> Iterator[str]:
    try:
        status = os.stat(root / below)
        folder = (status.st_dev, status.st_ino)
        # A link to a folder above would loop, and its content is already listed.
        found = [] if folder in above else entries(root / below)
    except OSError:
        if not below:
            raise
        yield below
        return
    for entry in found:
        path = f"{below}/{entry.name}" if below else entry.name
        if is_folder(entry):
            yield from _tree(root, path, suffixes, (*above, folder))
        elif _is_wanted(entry, suffixes):
            yield path


def _is_wanted(entry: os.DirEntry, suffixes: tuple[str, ...]) -> bool:
    return entry.name.lower().endswith(suffixes) and not is_folder(entry)


def media(root: Path, below: str) -> Iterator[str]:
    """Yield paths below `root` of the photos and videos in folder `below` and its folders, by name.

    Kinds that are not read are among them; `survey` names them.
    """
    return tree(root, below, MEDIA_SUFFIXES + UNREADABLE_SUFFIXES)


def without_suffix(path: str) -> str:
    """Return the path without the suffix of its name."""
    return os.path.splitext(path)[0]


def frame_of(path: str) -> tuple[str, int]:
    """Return video and frame of a photo: `VIDEO_frame_INDEX.png` is frame INDEX of VIDEO, any other its own video.

    The video is what stands before the first `_frame_` of the file name, as in the released evaluation of FSFM.
    """
    folder, slash, name = path.rpartition("/")
    video, separator, rest = without_suffix(name).partition(FRAME_SEPARATOR)
    if not separator or not video:
        return path, NO_FRAME
    return f"{folder}{slash}{video}", int(rest) if re.fullmatch(r"[0-9]+", rest) else NO_FRAME


def media_item(path: str, frames: int, **fields) -> Item:
    """Make the item of a photo or video; `frames` frames of a video are used.

    A video has the id of its path with suffix, since two may differ in that alone.
    """
    if path.lower().endswith(VIDEO_SUFFIXES):
        return Item(path, path, sampling=describe_spacing(frames), **fields)
    video, frame = frame_of(path)
    return Item(path, video, frame=frame, sampling=PHOTO, **fields)
