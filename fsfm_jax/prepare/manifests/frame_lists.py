"""Ready-made frames of face anti-spoofing with the lists of few-shot face anti-spoofing (Huang et al., ECCV 2022).

    txt/SET_{real,fake}_{train,test,shot}.txt    one path below frame/ a line
    frame/SET/{train,test}/{real,fake}/...       the frames

The lists make the splits, not the folders: a list of training may name frames of a folder `test`.
"""

import re
from collections.abc import Iterator
from functools import partial

from fsfm_jax.prepare.manifests.classes import ATTACK_BONA_FIDE, REAL
from fsfm_jax.prepare.manifests.download import Download, path_inside, read_lines
from fsfm_jax.prepare.manifests.listing import Listing
from fsfm_jax.prepare.manifests.manifest import NO_FRAME, DataSet, Item, Request, Walk

PARTS = ("train", "test", "shot")
SHOTS = 5  # frames of each class that are used of a list `shot`
WORDS = ("fake", "real")  # by label
SETS = {
    "mcio_frames": ("msu", "casia", "replay", "oulu", "celeb"),
    "wcs_frames": ("wmca", "cefa", "surf"),
}
ONLY_TRAIN = ("celeb",)  # never tested on
# Which video and frame a file name stands for; a name that fits none is a photo of its own.
FRAME_NAMES = {
    "mcio_frames": (re.compile(r"(?P<video>.+)_frame(?P<frame>[01])\.png"),),
    "wcs_frames": (
        re.compile(r"(?P<video>(?:wmca|cefa)/.+)_(?P<frame>\d\d)\.jpg"),
        re.compile(r"(?P<video>surf/.+)_color_(?P<frame>\d+)\.jpg"),
    ),
}

LAYOUT = """\
txt/{first}_real_train.txt    likewise fake; likewise test and shot; likewise {others}
frame/{first}/train/real/...  the frames; paths in the lists are below frame/
"""


def _layout(name: str) -> str:
    first, *others = SETS[name]
    return LAYOUT.format(first=first, others=", ".join(others))


def _read_split(download: Download, one: str, part: str) -> dict[str, int]:
    """Label of each frame of a split."""
    labels: dict[str, int] = {}
    for label, word in enumerate(WORDS):
        place = f"txt/{one}_{word}_{part}.txt"
        if not (download.root / place).is_file():
            raise download.wrong(f"it has no {place}, but the list of the other class")
        paths = [
            path_inside(line, f"{download.root / place}, line {number}")
            for number, line in read_lines(download.root / place)
        ]
        for path in paths[: SHOTS if part == "shot" else None]:
            if labels.setdefault(path, label) != label:
                raise download.wrong(f"{path} is listed both as real and as fake of {one} {part}")
            if part == "test" and path.endswith("_frame0.png"):
                # The lists of testing name the first frame of a video alone; both are tested.
                labels.setdefault(path.removesuffix("0.png") + "1.png", label)
    return labels


def _item(name: str, path: str, label: int) -> Item:
    for pattern in FRAME_NAMES[name]:
        if matched := pattern.fullmatch(path):
            return Item(f"frame/{path}", matched["video"], label, frame=int(matched["frame"]))
    return Item(f"frame/{path}", path, label, frame=NO_FRAME)


def _items(name: str, labels: dict[str, int]) -> Iterator[Item]:
    return (_item(name, path, labels[path]) for path in sorted(labels))


def walk(request: Request, name: str) -> Walk:
    """Split such as `msu_train`, `msu_test` and `msu_shot` (five frames of each class)."""
    download = Download(request, name, _layout(name), needed=("txt", "frame"))
    splits = {}
    for one in SETS[name]:
        for part in ("train",) if one in ONLY_TRAIN else PARTS:
            if not any((download.root / f"txt/{one}_{word}_{part}.txt").is_file() for word in WORDS):
                download.count(f"lists txt/{one}_{{fake,real}}_{part}.txt", len(WORDS), 0)
                continue
            labels = _read_split(download, one, part)
            lost = [path for path in sorted(labels) if not (download.root / "frame" / path).is_file()]
            download.missing(f"frames of {one} {part}", len(labels), lost)
            there = {path: labels[path] for path in labels.keys() - set(lost)}
            if there:
                splits[f"{one}_{part}"] = Listing(partial(_items, name, there))
    if not splits:
        raise download.wrong(f"none of the frames of its lists is in frame/ (sets {', '.join(SETS[name])})")
    return download.walk(splits, ATTACK_BONA_FIDE, REAL)


FRAME_LISTS = (
    DataSet(
        name="mcio_frames",
        about="MSU, CASIA, Replay, OULU and CelebA-Spoof as face crops with the lists of few-shot face anti-spoofing",
        layout=_layout("mcio_frames"),
        walk=partial(walk, name="mcio_frames"),
        cropped=True,
    ),
    DataSet(
        name="wcs_frames",
        about="WMCA, CeFA and SURF as frames with the lists of few-shot face anti-spoofing",
        layout=_layout("wcs_frames"),
        walk=partial(walk, name="wcs_frames"),
        cropped=True,
        black_borders=True,
    ),
)
