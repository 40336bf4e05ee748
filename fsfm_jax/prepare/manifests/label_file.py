"""Users' own photos and videos, with a label file for each split."""

import re
from collections.abc import Iterator
from functools import partial

from fsfm_jax.prepare.manifests.classes import real_label
from fsfm_jax.prepare.manifests.download import Download, path_inside, read_lines
from fsfm_jax.prepare.manifests.listing import (
    FRAMES,
    MEDIA_SUFFIXES,
    UNREADABLE_SUFFIXES,
    Listing,
    files,
    media_item,
    without_suffix,
)
from fsfm_jax.prepare.manifests.manifest import DataSet, Item, Request, Walk, WrongDownload

CLASSES_FILE = "classes.txt"
# The path may contain spaces and commas; the text after the last run of them is the label.
LINE = re.compile(r"(.*[^\s,])[\s,]+([^\s,]+)")
MAX_CLASSES = 10_000  # a larger label is a mistake

LAYOUT = """\
train.txt, test.txt, ...    a split each: lines such as "some folder/photo.png 1"; labels from 0; space, tab or comma
classes.txt                 optional: names of the classes, one a line, in the order of their labels
...                         photos and videos, at the paths in the lists
"""


def _read_labels(download: Download, name: str) -> dict[str, int]:
    """Read the label of each path of a list, in order."""
    labels: dict[str, int] = {}
    for number, line in read_lines(download.root / name):
        where = f"{download.root / name}, line {number}"
        matched = LINE.fullmatch(line)
        if not matched or not re.fullmatch(r"[0-9]+", matched[2]) or int(matched[2]) >= MAX_CLASSES:
            raise WrongDownload(f'{where}: expected a path and a label, such as "photo.png 1", found {line!r}')
        path, label = path_inside(matched[1], where), int(matched[2])
        if not path.lower().endswith(MEDIA_SUFFIXES + UNREADABLE_SUFFIXES):
            raise WrongDownload(f"{where}: expected a photo or video ({', '.join(MEDIA_SUFFIXES)}), found {path!r}")
        if path in labels:
            raise WrongDownload(f"{where}: {path!r} is listed twice; remove one of the lines")
        labels[path] = label
    return labels


def walk(request: Request) -> Walk:
    """Make a split for each list; the real class is `Request.real`, or found by its name in classes.txt."""
    download = Download(request, "label_file", LAYOUT)
    lists = [name for name in files(download.root, (".txt",)) if name != CLASSES_FILE]
    if not lists:
        raise download.wrong("it has no lists such as train.txt")
    labels = {name: _read_labels(download, name) for name in lists}
    if empty := [name for name in lists if not labels[name]]:
        raise download.wrong(f"{', '.join(empty)} has no lines", "fill or remove it")
    highest = max(max(one.values()) for one in labels.values())
    class_names = tuple(str(label) for label in range(highest + 1))
    if (download.root / CLASSES_FILE).is_file():
        class_names = tuple(line for _, line in read_lines(download.root / CLASSES_FILE))
        if len(set(class_names)) != len(class_names):
            raise download.wrong(f"{CLASSES_FILE} names a class twice")
        if highest >= len(class_names):
            raise download.wrong(f"{CLASSES_FILE} names {len(class_names)} classes, the lists have label {highest}")
    real = real_label(class_names, request.real)

    def items(name: str, lost: frozenset[str]) -> Iterator[Item]:
        for path, label in labels[name].items():
            if path not in lost:
                method = "" if real is None or label == real else class_names[label]
                yield media_item(path, FRAMES, label=label, method=method)

    splits = {}
    for name in lists:
        lost = frozenset(path for path in labels[name] if not (download.root / path).is_file())
        download.left_out(
            f"files of {name} of a kind that is not read",
            [path for path in labels[name] if path.lower().endswith(UNREADABLE_SUFFIXES)],
        )
        download.missing(f"files of {name}", len(labels[name]), sorted(lost))
        if len(lost) < len(labels[name]):
            splits[without_suffix(name)] = Listing(partial(items, name, lost))
    if not splits:
        raise download.wrong("none of the files of its lists is there", "paths in the lists are below --input")
    return download.walk(splits, class_names, real)


LABEL_FILE = DataSet("label_file", "your own: photos and videos with a list of labels for each split", LAYOUT, walk)
