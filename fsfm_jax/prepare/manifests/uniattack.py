"""UniAttackData and UniAttackData+: physical and digital attacks on the same people, as photos with lists of labels.

A photo is its own video. The names say nothing: kinds of attack are known for UniAttackData+ alone, as codes.
"""

import re
from collections import Counter
from functools import partial

from fsfm_jax.prepare.manifests.classes import ATTACK_BONA_FIDE, REAL
from fsfm_jax.prepare.manifests.download import Download, path_inside, read_lines
from fsfm_jax.prepare.manifests.listing import Listing
from fsfm_jax.prepare.manifests.manifest import DataSet, Item, Request, Walk, WrongDownload

PROTOCOLS = ("p1", "p2.1", "p2.2")
PARTS = ("train", "dev", "test")
# Photos of dev, from the rules of the challenge.
EXPECTED_DEV = {"p1": 6000, "p2.1": 5006, "p2.2": 4200}
LINE = re.compile(r"(\S.*\S)\s+([01])")

PLUS_PARTS = ("train", "val", "test")
PLUS_PLACES = ("", "phase1/")
PLUS_LINE = re.compile(r"(\S.*\S)\s+(\d+)_(\d+)_(\d+)")
LIVE_CODE = ("0", "0", "0")

LAYOUT = """\
p1/train_label.txt      lines such as "p1/train/000001.jpg 1"; say with --real=1 or --real=0 which number is live
p1/train/000001.jpg     the photos; likewise dev_label.txt with dev/; likewise p2.1/ and p2.2/
p1/test_label.txt       with test/, if you have the labels of test
"""
LAYOUT_PLUS = """\
Protocol-train.txt          lines such as "Data-train/20445.png 2_1_0"; 0_0_0 is live; or phase1/Protocol-train.txt
Data-train/20445.png        the photos; likewise val, test
"""


def _labels(download: Download, protocol: str, part: str, live: str) -> dict[str, int]:
    """Read the label of each photo of a list, by its path below the root."""
    place, labels = f"{protocol}/{part}_label.txt", {}
    for number, line in read_lines(download.root / place):
        where = f"{download.root / place}, line {number}"
        matched = LINE.fullmatch(line)
        if not matched:
            raise WrongDownload(
                f'{where}: expected a path and 0 or 1, such as "{protocol}/{part}/000001.jpg 1", found {line!r}'
            )
        path = path_inside(matched[1], where)
        # Paths begin with the folder of the protocol in some copies of the lists, and within it in others.
        path = path if path.startswith(f"{protocol}/") else f"{protocol}/{path}"
        if labels.setdefault(path, label := REAL if matched[2] == live else 1 - REAL) != label:
            raise WrongDownload(f"{where}: {path} is listed both as live and as an attack; remove one of the lines")
    return labels


def walk(request: Request) -> Walk:
    """Split train, dev and, if its labels are there, test, of a protocol."""
    protocol = request.variant or PROTOCOLS[0]
    download = Download(request, "uniattackdata", LAYOUT, needed=(f"{protocol}/train_label.txt",))
    if request.real not in ("0", "1"):
        raise WrongDownload(
            f"real class: expected --real=0 or --real=1, the label of live faces in its lists, found {request.real!r}. "
            "The rules of the challenge say 0, its winners 1: check some photos of train_label.txt"
        )
    splits = {}
    for part in PARTS:
        there = (download.root / protocol / f"{part}_label.txt").is_file()
        labels = _labels(download, protocol, part, request.real) if there else {}
        if part == "dev":
            download.count(f"photos in {protocol}/dev_label.txt", EXPECTED_DEV[protocol], len(labels))
        if part == "train" or labels:
            _check_both(download, f"{protocol}/{part}_label.txt", labels)
        splits |= _there(download, part, [Item(path, path, label) for path, label in sorted(labels.items())])
    return _finish(download, splits)


def walk_plus(request: Request) -> Walk:
    """Split train, val and test, of the lists that have labels; methods such as `2/1/0`, from the most general on."""
    lists = {part: [f"{place}Protocol-{part}.txt" for place in PLUS_PLACES] for part in PLUS_PARTS}
    download = Download(request, "uniattackdata_plus", LAYOUT_PLUS, any_of=tuple(lists["train"]))
    splits = {}
    for part, places in lists.items():
        place = next((place for place in places if (download.root / place).is_file()), "")
        lines = read_lines(download.root / place) if place else []
        download.count(f"lists {places[0]}", 1, min(len(lines), 1))
        matches = [PLUS_LINE.fullmatch(line) for _, line in lines]
        if lines and not any(matches):
            download.left_out(f"it has no labels such as 2_1_0: {place}", [f"split {part}"])
            continue
        codes: dict[str, tuple[str, ...]] = {}
        for (number, line), matched in zip(lines, matches, strict=True):
            where = f"{download.root / place}, line {number}"
            if not matched:
                raise WrongDownload(
                    f'{where}: expected a path and a code, such as "Data-{part}/1.png 2_1_0", found {line!r}'
                )
            if codes.setdefault(path_inside(matched[1], where), code := matched.groups()[1:]) != code:
                raise WrongDownload(f"{where}: {matched[1]} is listed with two codes; remove one of the lines")
        items = [
            Item(path, path, REAL, "") if code == LIVE_CODE else Item(path, path, 1 - REAL, "/".join(code))
            for path, code in sorted(codes.items())
        ]
        splits |= _there(download, part, items)
    return _finish(download, splits)


def _check_both(download: Download, place: str, labels: dict[str, int]) -> None:
    if len(found := Counter(labels.values())) < len(ATTACK_BONA_FIDE):
        names = ", ".join(ATTACK_BONA_FIDE[label] for label in found) or "no line"
        raise download.wrong(f"{place} has {names} alone", "copy it again")


def _there(download: Download, part: str, items: list[Item]) -> dict[str, Listing]:
    lost = {item.path for item in items if not (download.root / item.path).is_file()}
    download.missing(f"photos of {part}", len(items), sorted(lost))
    there = [item for item in items if item.path not in lost]
    return {part: Listing(partial(iter, there))} if there else {}


def _finish(download: Download, splits: dict[str, Listing]) -> Walk:
    if not splits:
        raise download.wrong("none of the photos of its lists is there", "unpack the archives of its parts into it")
    return download.walk(splits, ATTACK_BONA_FIDE, REAL)


UNIATTACK = (
    DataSet(
        name="uniattackdata",
        about="UniAttackData (Chinese Academy of Sciences): physical and digital attacks, one of its protocols",
        layout=LAYOUT,
        walk=walk,
        variants=PROTOCOLS,
    ),
    DataSet(
        name="uniattackdata_plus",
        about="UniAttackData+ (Chinese Academy of Sciences): more of both, as released for the challenge of 2025",
        layout=LAYOUT_PLUS,
        walk=walk_plus,
    ),
)
