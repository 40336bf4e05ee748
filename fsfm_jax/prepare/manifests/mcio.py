"""The raw videos of MSU-MFSD, CASIA-FASD, Replay-Attack and OULU-NPU, and CelebA-Spoof: face anti-spoofing.

Videos give two frames ("pair"). Which are bona fide is read off their names, by the rules of the released
preprocessing of FSFM.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from fsfm_jax.prepare.manifests.classes import ATTACK_BONA_FIDE, REAL
from fsfm_jax.prepare.manifests.download import Download, read_lines
from fsfm_jax.prepare.manifests.listing import RELEASED_SUFFIXES, Listing, files, folders, without_suffix
from fsfm_jax.prepare.manifests.manifest import DataSet, Item, Request, Walk, WrongDownload
from fsfm_jax.prepare.sampling import PAIR

# Videos of each split as (attacks, bona fide), from the papers: 8 videos of each of 15 + 20 people, 12 of each of
# 20 + 30, ..., 90 of each of 20 + 20.
EXPECTED = {
    "msu_mfsd": {"train": (90, 30), "test": (120, 40)},
    "casia_fasd": {"train": (180, 60), "test": (270, 90)},
    "replay_attack": {"train": (300, 60), "devel": (300, 60), "test": (400, 80)},
    "oulu_npu": {"train": (1440, 360), "test": (1440, 360)},
}

LAYOUT_MSU = """\
scene01/real/real_client001_android_SD_scene01.mp4                  70 videos (.mp4 and .mov)
scene01/attack/attack_client001_android_SD_ipad_video_scene01.mp4  210 videos
train_sub_list.txt, test_sub_list.txt                              numbers of the clients, one a line
"""
LAYOUT_CASIA = """\
train_release/1/1.avi     people 1 to 20, videos 1 to 8 and HR_1 to HR_4 of each
test_release/1/HR_1.avi   people 1 to 30, likewise
"""
LAYOUT_REPLAY = """\
train/real/client001_session01_webcam_authenticate_adverse_1.mov
train/attack/fixed/attack_highdef_client001_session01_highdef_photo_adverse.mov   likewise attack/hand
devel/..., test/...                                                              likewise; enroll/ is not used
"""
LAYOUT_OULU = """\
Train_files/1_1_01_1.avi   phone_session_person_kind; kind 1 is bona fide
Test_files/1_1_36_1.avi    Dev_files/ is not used
"""
LAYOUT_CELEBA = """\
Data/train/4980/live/000184.jpg     likewise Data/train/4980/spoof
Data/test/5000/spoof/494405.png     likewise; NAME_BB.txt is not used
"""
CASIA_ATTACKS = {
    **dict.fromkeys(("1", "2", "HR_1"), ""),
    **dict.fromkeys(("3", "4", "HR_2"), "warped photo"),
    **dict.fromkeys(("5", "6", "HR_3"), "cut photo"),
    **dict.fromkeys(("7", "8", "HR_4"), "video"),
}
OULU_KINDS = {"1": "", "2": "print", "3": "print", "4": "replay", "5": "replay"}
OULU_FOLDERS = {"train": "Train_files", "test": "Test_files"}


def _item(path: str, video: str, method: str) -> Item:
    """Make the item of a video; those without an attack are bona fide."""
    return Item(path, video, REAL if not method else 1 - REAL, method, sampling=PAIR)


def _finish(download: Download, name: str, splits: dict[str, list[Item]]) -> Walk:
    """Check the counts of videos and return their walk."""
    for split, expected in EXPECTED[name].items():
        found = Counter(item.label for item in splits.get(split, ()))
        for label, number in enumerate(expected):
            download.count(f"{ATTACK_BONA_FIDE[label]} videos of {split}", number, found[label])
    there = {split: items for split, items in splits.items() if items}
    if not there:
        raise download.wrong("no videos where they are expected")
    return download.walk(there, ATTACK_BONA_FIDE, REAL)


def _clients(path: Path) -> set[int]:
    """Read client numbers of a list; some copies write them as 1.0000000e+00."""
    clients = set()
    for number, line in read_lines(path):
        try:
            clients.add(int(float(line)))
        except (ValueError, OverflowError) as error:
            raise WrongDownload(f"{path}, line {number}: expected the number of a client, found {line!r}") from error
    return clients


def walk_msu(request: Request) -> Walk:
    """Split train and test, by client. The id of a video is its path, since the suffix differs."""
    lists = {split: f"{split}_sub_list.txt" for split in ("train", "test")}
    download = Download(request, "msu_mfsd", LAYOUT_MSU, needed=("scene01/real", "scene01/attack", *lists.values()))
    clients = {split: _clients(download.root / name) for split, name in lists.items()}
    if both := clients["train"] & clients["test"]:
        raise download.wrong(f"clients {sorted(both)} are in {' and in '.join(lists.values())}")
    splits, strays = {split: [] for split in lists}, []
    for kind in ("attack", "real"):
        for name in files(download.root / "scene01" / kind, (".mp4", ".mov")):
            matched = re.fullmatch(r"(real|attack)_client(\d+)_[a-z]+_[A-Z]+_(?:(\w+)_)?scene01", without_suffix(name))
            split = next((split for split in lists if matched and int(matched[2]) in clients[split]), None)
            if split is None or matched[1] != kind or (kind == "attack") != bool(matched[3]):
                strays.append(f"scene01/{kind}/{name}")
            else:
                path = f"scene01/{kind}/{name}"
                splits[split].append(_item(path, path, matched[3] or ""))
    download.left_out("in no list or not named as expected", strays)
    return _finish(download, "msu_mfsd", splits)


def walk_casia(request: Request) -> Walk:
    """Split train and test; ids such as `1/HR_1`."""
    parts = {"train": "train_release", "test": "test_release"}
    download = Download(request, "casia_fasd", LAYOUT_CASIA, needed=tuple(parts.values()))
    splits, strays = {split: [] for split in parts}, []
    for split, part in parts.items():
        for person in folders(download.root / part):
            for name in files(download.root / part / person, (".avi",)):
                kind = without_suffix(name)
                if kind in CASIA_ATTACKS:
                    item = _item(f"{part}/{person}/{name}", f"{person}/{kind}", CASIA_ATTACKS[kind])
                    splits[split].append(item)
                else:
                    strays.append(f"{part}/{person}/{name}")
    download.left_out("not named 1 to 8 or HR_1 to HR_4", strays)
    return _finish(download, "casia_fasd", splits)


def walk_replay(request: Request) -> Walk:
    """Split train, devel and test; ids such as `attack/hand/NAME`, methods such as `highdef_photo`."""
    download = Download(request, "replay_attack", LAYOUT_REPLAY, needed=("train/real", "train/attack", "test"))
    splits, strays = {split: [] for split in EXPECTED["replay_attack"]}, []
    for split, items in splits.items():
        for place in ("attack/fixed", "attack/hand", "real"):
            for name in files(download.root / split / place, (".mov",)):
                path = f"{split}/{place}/{name}"
                matched = re.match(r"attack_([a-z]+)_client\d+_session\d+_[a-z]+_([a-z]+)_", name)
                if (place == "real") == bool(matched):
                    strays.append(path)
                else:
                    method = f"{matched[1]}_{matched[2]}" if matched else ""
                    items.append(_item(path, f"{place}/{without_suffix(name)}", method))
    download.left_out("not named as expected", strays)
    return _finish(download, "replay_attack", splits)


def walk_oulu(request: Request) -> Walk:
    """Split train and test; ids such as `1_1_01_1`."""
    download = Download(request, "oulu_npu", LAYOUT_OULU, needed=tuple(OULU_FOLDERS.values()))
    splits, strays = {split: [] for split in OULU_FOLDERS}, []
    for split, part in OULU_FOLDERS.items():
        # Some unpackers put the archive Train_files into a folder of the same name.
        place = f"{part}/{part}" if (download.root / part / part).is_dir() else part
        for name in files(download.root / place, (".avi",)):
            kind = re.fullmatch(r"\d+_\d+_\d+_([1-5])", without_suffix(name))
            if kind:
                splits[split].append(_item(f"{place}/{name}", without_suffix(name), OULU_KINDS[kind[1]]))
            else:
                strays.append(f"{place}/{name}")
    download.left_out("not named phone_session_person_kind", strays)
    return _finish(download, "oulu_npu", splits)


def walk_celeba(request: Request) -> Walk:
    """Split train and test of photos, each its own video; the kind of attack is not told apart."""
    parts = {"train": "Data/train", "test": "Data/test"}
    download = Download(request, "celeba_spoof", LAYOUT_CELEBA, any_of=tuple(parts.values()))

    def items(part: str) -> Iterator[Item]:
        for person in folders(download.root / part):
            for kind, label in (("spoof", 1 - REAL), ("live", REAL)):
                for name in files(download.root / part / person / kind, RELEASED_SUFFIXES):
                    path = f"{part}/{person}/{kind}/{name}"
                    yield Item(path, path, label, "" if label == REAL else kind)

    splits = {split: Listing(lambda part=part: items(part)) for split, part in parts.items()}
    there = {split: listing for split, listing in splits.items() if next(iter(listing), None) is not None}
    download.count(
        "parts with photos", len(parts), len(there), [parts[split] for split in splits.keys() - there.keys()]
    )
    if not there:
        raise download.wrong("no photos where they are expected")
    return download.walk(there, ATTACK_BONA_FIDE, REAL)


MCIO = (
    DataSet("msu_mfsd", "MSU-MFSD (Michigan State University): two frames of each video", LAYOUT_MSU, walk_msu),
    DataSet(
        "casia_fasd", "CASIA-FASD (Chinese Academy of Sciences): two frames of each video", LAYOUT_CASIA, walk_casia
    ),
    DataSet("replay_attack", "Replay-Attack (Idiap): two frames of each video", LAYOUT_REPLAY, walk_replay),
    DataSet("oulu_npu", "OULU-NPU (University of Oulu): two frames of each video", LAYOUT_OULU, walk_oulu),
    DataSet("celeba_spoof", "CelebA-Spoof (CUHK MMLab): photos", LAYOUT_CELEBA, walk_celeba),
)
