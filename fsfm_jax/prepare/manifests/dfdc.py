"""The Deepfake Detection Challenge (DFDC) and its preview (DFDCP), for testing."""

import csv
import json
from collections.abc import Iterator

from fsfm_jax.prepare.manifests.classes import FAKE_REAL, REAL
from fsfm_jax.prepare.manifests.download import Download, path_inside
from fsfm_jax.prepare.manifests.listing import FRAMES, Listing, tree, without_suffix
from fsfm_jax.prepare.manifests.manifest import DataSet, Item, Request, Walk, WrongDownload
from fsfm_jax.prepare.sampling import describe_spacing

EXPECTED_DFDC = 5000  # test videos, from the paper
LABELS_FILES = ("labels.csv", "test/labels.csv")
DATASET_FILE = "dataset.json"
LABELS_OF_WORDS = {"real": REAL, "fake": 1 - REAL}

LAYOUT = """\
test/labels.csv          columns filename,label; 0 = real, 1 = fake
test/**/NAME.mp4         5,000 videos, in any folders below that of labels.csv
"""
LAYOUT_PREVIEW = """\
dataset.json                            {"method_A/1/NAME.mp4": {"label": "fake", "set": "test", ...}, ...}
original_videos/PERSON/NAME.mp4
method_A/PERSON/NAME.mp4, method_B/PERSON/NAME.mp4
"""


def _read_labels(download: Download, place: str) -> dict[str, int]:
    """Read our label of each file name in labels.csv."""
    path, labels = download.root / place, {}
    with open(path, newline="", encoding="utf-8-sig") as lines:
        try:
            rows = list(csv.DictReader(lines))
        except (UnicodeDecodeError, csv.Error) as error:
            raise WrongDownload(f"{path}: expected a table in UTF-8, found something else ({error})") from error
        for row in rows:
            name, label = row.get("filename"), row.get("label")
            if not name or label not in ("0", "1"):
                raise WrongDownload(f"{path}: expected columns filename and label (0 or 1), found {row}")
            if name in labels:
                raise WrongDownload(f"{path}: {name} is listed twice; keep one of the lines")
            labels[name] = REAL if label == "0" else 1 - REAL
    return labels


def walk_dfdc(request: Request) -> Walk:
    """Make one split `test`; the id of a video is its file name, which must be unique."""
    download = Download(request, "dfdc", LAYOUT, any_of=LABELS_FILES)
    place = next(place for place in LABELS_FILES if (download.root / place).is_file())
    labels = _read_labels(download, place)
    download.count(f"videos in {place}", EXPECTED_DFDC, len(labels))
    paths: dict[str, str] = {}
    unlabelled = []
    for path in tree(download.root, place.rpartition("/")[0], (".mp4",)):
        name = path.rpartition("/")[2]
        if name not in labels:
            unlabelled.append(path)
        elif paths.setdefault(name, path) != path:
            raise download.wrong(f"it has two videos {name}: {paths[name]} and {path}", "keep one of them")
    if not paths:
        raise download.wrong(f"none of the {len(labels)} videos of {place} is there")
    download.missing(f"videos of {place}", len(labels), sorted(labels.keys() - paths.keys()))
    download.left_out(f"not in {place}", unlabelled)

    def items() -> Iterator[Item]:
        for name in sorted(paths):
            yield Item(paths[name], without_suffix(name), labels[name], sampling=describe_spacing(FRAMES))

    return download.walk({"test": Listing(items)}, FAKE_REAL, REAL)


def walk_dfdcp(request: Request) -> Walk:
    """Make one split `test` of the videos whose set is `test`; the id of a video is its path."""
    download = Download(request, "dfdcp", LAYOUT_PREVIEW, needed=(DATASET_FILE,))
    path = download.root / DATASET_FILE
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise WrongDownload(f"{path}: expected JSON, found none ({error}); copy it again") from error
    if not isinstance(listed, dict) or not all(isinstance(entry, dict) and "set" in entry for entry in listed.values()):
        raise WrongDownload(f"{path}: expected an object with label and set of each video")
    labels = {}
    for video, entry in listed.items():
        if entry["set"] == "test":
            label = entry.get("label")
            if not isinstance(label, str) or label not in LABELS_OF_WORDS:
                raise WrongDownload(f"{path}: expected label real or fake of {video!r}, found {str(label)[:100]!r}")
            labels[path_inside(video, str(path))] = LABELS_OF_WORDS[label]
    lost = [video for video in sorted(labels) if not (download.root / video).is_file()]
    download.missing(f"test videos of {DATASET_FILE}", len(labels), lost)
    there = sorted(labels.keys() - set(lost))
    if not there:
        raise download.wrong(f"none of the {len(labels)} test videos of {DATASET_FILE} is there")

    def items() -> Iterator[Item]:
        for video in there:
            method = "" if labels[video] == REAL else video.split("/")[0]
            yield Item(video, without_suffix(video), labels[video], method, sampling=describe_spacing(FRAMES))

    return download.walk({"test": Listing(items)}, FAKE_REAL, REAL)


DFDC = DataSet(
    name="dfdc",
    about="Deepfake Detection Challenge (Meta): the labelled test videos, 32 frames of each",
    layout=LAYOUT,
    walk=walk_dfdc,
)
DFDCP = DataSet(
    name="dfdcp",
    about="Deepfake Detection Challenge, preview (Meta): the test videos, 32 frames of each",
    layout=LAYOUT_PREVIEW,
    walk=walk_dfdcp,
)
