"""Deepfake-Eval-2024: videos and photos that circulated in 2024, labelled by hand.

Files whose ground truth is "Unknown" are not used. The forgery methods are unknown.
"""

import csv
from collections import Counter
from collections.abc import Iterator
from functools import partial

from fsfm_jax.prepare.manifests.classes import FAKE_REAL, REAL
from fsfm_jax.prepare.manifests.download import Download, path_inside
from fsfm_jax.prepare.manifests.listing import FRAMES, Listing
from fsfm_jax.prepare.manifests.manifest import DataSet, Item, Request, Walk, WrongDownload
from fsfm_jax.prepare.sampling import PHOTO, describe_spacing

VIDEOS, IMAGES = "videos", "images"
FOLDERS = {VIDEOS: "video-data", IMAGES: "image-data"}
TABLES = {
    kind: (f"{word}-metadata-publish.csv", f"{word}-metadata-publish-with-links.csv")
    for kind, word in ((VIDEOS, "video"), (IMAGES, "image"))
}
NAME, SPLIT = "Filename", "Finetuning Set"
TRUTHS = {VIDEOS: "Video Ground Truth", IMAGES: "Ground Truth"}
LABELS = {"real": REAL, "fake": 1 - REAL, "unknown": None}
SPLITS = ("train", "test")
EXPECTED = {VIDEOS: None, IMAGES: 1975}  # rows; the README gives videos in hours alone
LOST_NAME = "#NAME?"  # a spreadsheet's replacement for a name that begins with -

LAYOUT = """\
video-metadata-publish.csv      columns Filename, Video Ground Truth (Fake, Real, Unknown), Finetuning Set (train, test)
video-data/NAME.mp4             the videos
image-metadata-publish.csv      columns Filename, Ground Truth, Finetuning Set
image-data/NAME.jpg             the photos; metadata may also be ...-publish-with-links.csv
"""


def _read_table(download: Download, name: str, kind: str) -> tuple[dict[str, dict[str, int]], int]:
    """Read labels by path in each split, and the number of rows of the table."""
    path, labels, seen, damaged = download.root / name, {split: {} for split in SPLITS}, Counter(), []
    needed = (NAME, TRUTHS[kind], SPLIT)
    try:
        with open(path, newline="", encoding="utf-8-sig") as lines:
            rows = list(csv.DictReader(lines, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise WrongDownload(f"{path}: expected a table in UTF-8, found something else ({error})") from error
    for number, row in enumerate(rows, start=1):
        file, truth, split = (row.get(column) for column in needed)
        where = f"{path}, row {number}"
        if not file or (truth or "").lower() not in LABELS or (split or "").lower() not in SPLITS:
            raise WrongDownload(
                f"{where}: expected columns {', '.join(needed)} with Fake, Real or Unknown and train or test, found "
                f"{file!r}, {truth!r}, {split!r}"
            )
        if file == LOST_NAME:
            damaged.append(f"row {number}")
            continue
        seen[file] += 1
        if seen[file] > 1:
            raise WrongDownload(f"{where}: {file} is listed twice; keep one of the rows")
        if LABELS[truth.lower()] is not None:
            labels[split.lower()][f"{FOLDERS[kind]}/{path_inside(file, where)}"] = LABELS[truth.lower()]
    download.left_out(f"their names are {LOST_NAME} in {name}", damaged)
    return labels, len(rows)


def walk(request: Request) -> Walk:
    """List the authors' splits train and test; the id of a video is its path."""
    kind = request.variant or VIDEOS
    download = Download(request, "deepfake_eval", LAYOUT, needed=(FOLDERS[kind],))
    name = next((name for name in TABLES[kind] if (download.root / name).is_file()), None)
    if name is None:
        raise download.wrong(f"it has none of {', '.join(TABLES[kind])}")
    labels, rows = _read_table(download, name, kind)
    download.count(f"rows in {name}", EXPECTED[kind], rows)
    splits = {}
    for split, listed in labels.items():
        lost = [path for path in sorted(listed) if not (download.root / path).is_file()]
        download.missing(f"{kind} of {split} in {name}", len(listed), lost)
        there = {path: listed[path] for path in sorted(listed.keys() - set(lost))}
        if there:
            splits[split] = Listing(partial(_items, there, PHOTO if kind == IMAGES else describe_spacing(FRAMES)))
    if not splits:
        raise download.wrong(f"none of the {kind} of {name} is in {FOLDERS[kind]}/")
    return download.walk(splits, FAKE_REAL, REAL)


def _items(labels: dict[str, int], sampling: str) -> Iterator[Item]:
    return (Item(path, path, label, sampling=sampling) for path, label in labels.items())


DEEPFAKE_EVAL = DataSet(
    name="deepfake_eval",
    about="Deepfake-Eval-2024 (TrueMedia.org, University of Washington): in the wild, of known ground truth",
    layout=LAYOUT,
    walk=walk,
    variants=(VIDEOS, IMAGES),
)
