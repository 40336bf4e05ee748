"""WMCA, CASIA-SURF CeFA and CASIA-SURF: face anti-spoofing, of which the colour pictures are used.

Those of CASIA show a face on black and need no detector; the black borders are cut off.
"""

import csv
import re
from collections.abc import Iterator
from functools import partial

from fsfm_jax.prepare.manifests.classes import ATTACK_BONA_FIDE, REAL
from fsfm_jax.prepare.manifests.download import Download, path_inside, read_lines
from fsfm_jax.prepare.manifests.listing import RELEASED_SUFFIXES, Listing, files, folders, tree, without_suffix
from fsfm_jax.prepare.manifests.manifest import NO_FRAME, DataSet, Item, Request, Walk, WrongDownload
from fsfm_jax.prepare.sampling import chains, describe_spacing

FRAMES = 10  # of a video of WMCA and CeFA, in the protocol of few-shot face anti-spoofing

WMCA_NAME = re.compile(r"\d+_\d+_\d+_(\d+)_\d+")
WMCA_TYPES = {"0": "", "2": "fake face", "3": "photo"}  # further ones go by their number
WMCA_PARTS = ("train", "dev", "eval", "test")

CEFA_NAME = re.compile(r"[123]_(\d{3})_\d_\d_([1-4])")
CEFA_MASK = re.compile(r"[12]_\d{3}(_\d){5}")  # the 3D masks, a part of its own that is not used
CEFA_ATTACKS = {"1": "", "2": "cloth", "3": "photo", "4": "screen"}
CEFA_COLOUR = ("profile", "color")
CEFA_PEOPLE = {"train": range(0, 200), "dev": range(200, 300), "test": range(300, 500)}  # of each of 3 ethnicities
EXPECTED_CEFA = {"train": 2400, "dev": 1200, "test": 2400}  # videos: 3 ethnicities, 4 of each person

SURF_LISTS = {"train": "train_list.txt", "val": "val_private_list.txt", "test": "test_private_list.txt"}
# Photos in each list, from the authors' description of the protocol.
EXPECTED_SURF = {"train": 29266, "val": 9608, "test": 57710}

LAYOUT_WMCA = """\
31.01.18/035_01_000_0_01.hdf5     colour recordings: client_session_presenter_type_instrument; type 0 is bona fide
train/..., dev/..., eval/...      sort them into these folders to have splits; otherwise all are the split test
"""
LAYOUT_CEFA = """\
.../1_223_1_1_1/profile/0001.jpg   ethnicity_person_device_session_attack, in any folders; attack 1 is bona fide
                                   (or color/ instead of profile/)
"""
LAYOUT_SURF = """\
train_list.txt          lines such as "Training/real_part/P/real.rssdk/color/91.jpg .../depth/... .../ir/... 1"
val_private_list.txt    lines such as "Val/0007/007243-color.jpg ... ... 1"; 1 = real
test_private_list.txt   likewise
Training/, Val/, Testing/
"""


def walk_wmca(request: Request) -> Walk:
    """Split `test`, or one of each of the folders train, dev, eval and test; 10 frames of each recording."""
    download = Download(request, "wmca", LAYOUT_WMCA)
    parts = [part for part in folders(download.root) if part in WMCA_PARTS]
    places = {part: part for part in parts} or {"test": ""}
    splits = {}
    for split, place in places.items():
        items, seen = [], {}
        for path in tree(download.root, place, (".hdf5", ".h5")):
            date_and_name = "/".join(path.split("/")[-2:])
            if seen.setdefault(date_and_name, path) != path:
                raise download.wrong(
                    f"{seen[date_and_name]} and {path} are the same recording",
                    "--input has several channels: use the folder of the colour recordings (RGB)",
                )
            matched = WMCA_NAME.fullmatch(without_suffix(path.rpartition("/")[2]))
            if not matched:
                raise download.wrong(f"{path} is not named client_session_presenter_type_instrument", "remove it")
            method = WMCA_TYPES.get(matched[1], f"type {matched[1]}")
            label = 1 - REAL if method else REAL
            items.append(Item(path, without_suffix(path), label, method, sampling=describe_spacing(FRAMES)))
        download.count(f"parts with recordings: {split}", 1, min(len(items), 1))
        if items:
            splits[split] = items
    if not splits:
        raise download.wrong("it has no .hdf5 recordings", "the colour recordings are archives of .hdf5 files")
    return download.walk(splits, ATTACK_BONA_FIDE, REAL)


def _cefa_videos(download: Download, below: str = "", depth: int = 0) -> Iterator[str]:
    """List folders that hold a folder of colour frames, up to four levels down, by name."""
    for name in folders(download.root / below):
        path = f"{below}/{name}" if below else name
        if any((download.root / path / colour).is_dir() for colour in CEFA_COLOUR):
            yield path
        elif depth < 4:
            yield from _cefa_videos(download, path, depth + 1)


def walk_cefa(request: Request) -> Walk:
    """Split train, dev and test, by person; 10 equally spaced frames of each video. The 3D masks are not used.

    The frames are photos already; `Item.frame` is the number in their name.
    """
    download = Download(request, "casia_cefa", LAYOUT_CEFA)
    videos: dict[str, list[str]] = {split: [] for split in CEFA_PEOPLE}
    strays = []
    for path in _cefa_videos(download):
        name = path.rpartition("/")[2]
        if CEFA_MASK.fullmatch(name):
            continue
        matched = CEFA_NAME.fullmatch(name)
        split = next((split for split in videos if matched and int(matched[1]) in CEFA_PEOPLE[split]), None)
        (videos[split] if split else strays).append(path)
    if not any(videos.values()):
        problem = "no folder is named as a video" if strays else "it has no folders profile or color"
        raise download.wrong(problem, "videos without a label in their name cannot be used" if strays else "")
    for split, found in videos.items():
        download.count(f"videos of {split}", EXPECTED_CEFA[split], len(found))
    download.left_out("not named ethnicity_person_device_session_attack", strays)

    def items(split: str) -> Iterator[Item]:
        for video in videos[split]:
            colour = next(name for name in CEFA_COLOUR if (download.root / video / name).is_dir())
            method = CEFA_ATTACKS[CEFA_NAME.fullmatch(video.rpartition("/")[2])[2]]
            names = sorted(files(download.root / video / colour, RELEASED_SUFFIXES), key=_number_first)
            for chain in chains(describe_spacing(FRAMES), len(names)):
                name = names[chain.start]
                label = 1 - REAL if method else REAL
                yield Item(f"{video}/{colour}/{name}", video, label, method, frame=_number(name))

    there = [split for split, found in videos.items() if found]
    return download.walk({split: Listing(partial(items, split)) for split in there}, ATTACK_BONA_FIDE, REAL)


def _number(name: str) -> int:
    stem = without_suffix(name)
    return int(stem) if stem.isdecimal() else NO_FRAME


def _number_first(name: str) -> tuple[int, str]:
    # Frames in the order of time: 91.jpg before 101.jpg.
    return _number(name), name


def _read_surf_list(download: Download, name: str) -> dict[str, int]:
    """Label of each colour photo of a list."""
    labels: dict[str, int] = {}
    for number, line in read_lines(download.root / name):
        where = f"{download.root / name}, line {number}"
        try:
            fields = next(csv.reader([line], delimiter=" "))
        except csv.Error as error:
            raise WrongDownload(f"{where}: expected paths and a label, found {line[:100]!r}... ({error})") from error
        if len(fields) != 4 or fields[3] not in ("0", "1"):
            raise WrongDownload(f"{where}: expected three paths (colour, depth, infrared) and 0 or 1, found {line!r}")
        path, label = path_inside(fields[0], where), REAL if fields[3] == "1" else 1 - REAL
        told = {"real_part": REAL, "fake_part": 1 - REAL}.get(path.split("/")[1] if "/" in path else "")
        if told is not None and told != label:
            raise WrongDownload(
                f"{where}: expected label {int(told == REAL)} of that folder (1 = real), found {line!r}"
            )
        labels[path] = label
    return labels


def _surf_item(path: str, label: int) -> Item:
    """Make the item of a photo: of a recording in Training, or on its own where the names are anonymised."""
    video, _, name = path.rpartition("/")
    recording, _, channel = video.rpartition("/")
    if channel != "color":
        return Item(path, path, label)
    method = "" if label == REAL else recording.rpartition("/")[2].removesuffix(".rssdk")
    return Item(path, recording, label, method, frame=_number(name))


def walk_surf(request: Request) -> Walk:
    """Split train, val and test, of the lists that are there; all photos of them."""
    download = Download(request, "casia_surf", LAYOUT_SURF, needed=(SURF_LISTS["train"],))
    splits = {}
    for split, name in SURF_LISTS.items():
        labels = _read_surf_list(download, name) if (download.root / name).is_file() else {}
        download.count(f"photos in {name}", EXPECTED_SURF[split], len(labels))
        lost = {path for path in labels if not (download.root / path).is_file()}
        download.missing(f"photos of {name}", len(labels), sorted(lost))
        there = sorted(labels.keys() - lost)
        if there:
            splits[split] = Listing(partial(_surf_items, there, labels))
    if not splits:
        raise download.wrong("none of the photos of its lists is there", "unpack Training, Val and Testing into it")
    return download.walk(splits, ATTACK_BONA_FIDE, REAL)


def _surf_items(paths: list[str], labels: dict[str, int]) -> Iterator[Item]:
    return (_surf_item(path, labels[path]) for path in paths)


WCS = (
    DataSet("wmca", "WMCA (Idiap): colour recordings, 10 frames of each", LAYOUT_WMCA, walk_wmca),
    DataSet(
        name="casia_cefa",
        about="CASIA-SURF CeFA (Chinese Academy of Sciences): 10 colour frames of each video",
        layout=LAYOUT_CEFA,
        walk=walk_cefa,
        cropped=True,
        black_borders=True,
    ),
    DataSet(
        name="casia_surf",
        about="CASIA-SURF (Chinese Academy of Sciences): all colour photos",
        layout=LAYOUT_SURF,
        walk=walk_surf,
        cropped=True,
        black_borders=True,
    ),
)
