"""The types that a walker makes from a download: the photos and videos of each split, and the shortfalls.

A walker only lists. It opens no photo and no video, and yields its items one by one, since the largest data
set has 3.3 million of them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from fsfm_jax.prepare.sampling import PHOTO

UNLABELLED = -1
NO_FRAME = -1


@dataclass(frozen=True, slots=True)
class Item:
    """One photo or video."""

    path: str  # below the root of the download, with forward slashes
    video: str  # id of the video within the split; of a photo that belongs to none its own
    label: int = UNLABELLED  # index into the class names
    method: str = ""  # manipulation or attack, in the data set's own words; "" for real faces and where unknown
    frame: int = NO_FRAME  # of a photo that is a frame of a video: which one
    sampling: str = PHOTO  # which frames to take, in the words of `sampling`
    parsing_map: str = ""  # path of a ready-made parsing map (.npy), below the root


@dataclass(frozen=True)
class Walk:
    """The result of a walker.

    `splits` are listed on iteration, each in an order that depends only on names; iterating twice gives the
    same items.
    """

    splits: dict[str, Iterable[Item]]
    class_names: tuple[str, ...] = ()  # by label; () = unlabelled
    real: int | None = None  # the label of real (bona fide) faces
    shortfalls: tuple[str, ...] = ()  # what the complete data set has and this folder has not, one sentence each


@dataclass(frozen=True)
class Request:
    """The user's request to a walker."""

    root: Path
    variant: str = ""  # one of the data set's variants
    real: str = ""  # name of the real class, for data sets whose classes are the user's own


@dataclass(frozen=True)
class DataSet:
    """A data set that can be prepared.

    `walk` raises `WrongDownload` when the folder is not this data set at all: a folder or list is missing without
    which the splits or labels cannot be known. Missing files are listed in `Walk.shortfalls`.
    """

    name: str
    about: str  # one line: what it is and where it comes from
    layout: str  # the expected folders, a few lines, shown when the download is wrong
    walk: Callable[[Request], Walk]
    variants: tuple[str, ...] = ()  # the first is the default
    cropped: bool = False  # the photos are face crops already
    parsed: bool = False  # used for pretraining, which needs parsing maps
    black_borders: bool = False  # crops lie on black, which is cut off


class WrongDownload(ValueError):
    """The folder is not the requested data set."""
