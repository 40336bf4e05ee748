"""FaceForensics++ and its part Deep Fake Detection (DFD).

A video belongs to the split whose list contains its first three characters, so that a manipulated video
`AAA_BBB` follows its target AAA (released preprocessing of FSFM). FaceShifter is not used.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from fsfm_jax.data.provenance import COMPRESSIONS
from fsfm_jax.prepare.manifests.classes import FAKE_REAL, REAL
from fsfm_jax.prepare.manifests.download import Download
from fsfm_jax.prepare.manifests.listing import FRAMES, PRETRAINING_FRAMES, Listing, files, folders, without_suffix
from fsfm_jax.prepare.manifests.manifest import UNLABELLED, DataSet, Item, Request, Walk, WrongDownload
from fsfm_jax.prepare.sampling import ALL, describe_spacing

MANIPULATIONS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")
FAKE = 1 - REAL
# Videos of each kind in each split, and of DFD, from the papers of FaceForensics++ and Celeb-DF.
EXPECTED = {"train": 720, "val": 140, "test": 140}
EXPECTED_DFD = {"actors": 363, "DeepFakeDetection": 3068}

ORIGINALS, ACTORS, MANIPULATED = "original_sequences/youtube", "original_sequences/actors", "manipulated_sequences"
ALL_FRAMES, APART = "all_frames", "splits"
SPLIT_FOLDERS = ("", "splits", "dataset/splits")

LAYOUT = """\
original_sequences/youtube/c23/videos/000.mp4               1,000 videos (c23, c40 or raw)
manipulated_sequences/Deepfakes/c23/videos/000_003.mp4      likewise Face2Face, FaceSwap, NeuralTextures
train.json, val.json, test.json                             or in splits/; from dataset/splits of the FaceForensics
                                                            repository: lists of pairs such as ["071", "054"]
"""
LAYOUT_DFD = """\
original_sequences/actors/raw/videos/01__exit_phone_room.mp4                                  363 videos
manipulated_sequences/DeepFakeDetection/raw/videos/01_02__exit_phone_room__YVGY8LOK.mp4     3,068 videos
"""


@dataclass(frozen=True)
class Group:
    """The videos of one folder."""

    folder: str
    source: str  # first part of the ids of its videos
    label: int
    method: str
    sampling: str
    names: tuple[str, ...]

    def items(self, split_of: dict[str, str] | None = None, splits: tuple[str, ...] = ()) -> Iterator[Item]:
        """Yield the items of all videos, or of those in `splits`."""
        for name in self.names:
            if split_of is None or split_of.get(name[:3]) in splits:
                video = f"{self.source}/{without_suffix(name)}"
                yield Item(f"{self.folder}/{name}", video, self.label, self.method, sampling=self.sampling)


def _read_splits(download: Download) -> dict[str, str]:
    """Read the split of each three-digit video id."""
    split_of: dict[str, str] = {}
    for split in EXPECTED:
        places = [f"{folder}/{split}.json" if folder else f"{split}.json" for folder in SPLIT_FOLDERS]
        place = next((place for place in places if (download.root / place).is_file()), None)
        if place is None:
            raise download.wrong(
                f"it has no {split}.json", f"put the split files of the FaceForensics repository into {download.root}"
            )
        try:
            pairs = json.loads((download.root / place).read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise WrongDownload(
                f"{download.root / place}: expected JSON, found none ({error}); copy it again"
            ) from error
        if not isinstance(pairs, list) or not all(_is_pair(pair) for pair in pairs):
            raise WrongDownload(f'{download.root / place}: expected a list of pairs such as ["071", "054"]')
        for video in (video for pair in pairs for video in pair):
            if split_of.setdefault(video, split) != split:
                raise WrongDownload(f"{download.root / place}: video {video} is in {split_of[video]}.json too")
        download.count(f"videos in {place}", EXPECTED[split], 2 * len(pairs))
    return split_of


def _is_pair(pair) -> bool:
    return (
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(video, str) and len(video) == 3 for video in pair)
    )


def _names(download: Download, folder: str, compression: str) -> tuple[str, tuple[str, ...]]:
    """Return folder and names of the videos of one kind; no names if the compression is missing."""
    place = f"{folder}/{compression}/videos"
    return place, tuple(files(download.root / place, (".mp4",)))


def _other_compression(download: Download, folder: str, name: str) -> str:
    """Return a hint about another compression that exists, or ""."""
    found = [word for word in COMPRESSIONS if _names(download, folder, word)[1]]
    return f"it has {found[0]}: use --dataset={name}:{found[0]}" if found else ""


def _folder_of(download: Download, manipulation: str) -> str:
    """Return the folder of a manipulation, in either spelling (Deepfakes or DeepFakes)."""
    names = folders(download.root / MANIPULATED)
    spelled = [name for name in names if name.lower() == manipulation.lower()]
    if len(spelled) > 1:
        raise download.wrong(f"{MANIPULATED} has both {' and '.join(spelled)}", "keep one of them")
    return f"{MANIPULATED}/{spelled[0] if spelled else manipulation}"


def _group(download: Download, folder: str, compression: str, label: int, method: str, sampling: str) -> Group:
    place, names = _names(download, folder, compression)
    return Group(place, method or folder.rpartition("/")[2], label, method, sampling, names)


def _check(download: Download, group: Group, split_of: dict[str, str]) -> None:
    """Note missing videos of a folder, and videos that belong to no split."""
    beginnings = {name[:3] for name in group.names}
    for split, expected in EXPECTED.items():
        found = sum(split_of.get(name[:3]) == split for name in group.names)
        missing = [video for video in sorted(split_of) if split_of[video] == split and video not in beginnings]
        download.count(f"videos of {split} in {group.folder}", expected, found, missing if found else ())
    strays = [name for name in group.names if name[:3] not in split_of]
    download.left_out(f"in no split although in {group.folder}", strays)


def walk(request: Request, name: str, manipulations: tuple[str, ...], real_frames: int) -> Walk:
    """List the splits train, val and test; real videos give `real_frames` frames, manipulated ones 32."""
    download = Download(request, name, LAYOUT, needed=(ORIGINALS, MANIPULATED))
    compression = download.variant or COMPRESSIONS[0]
    groups = [_group(download, ORIGINALS, compression, REAL, "", describe_spacing(real_frames))]
    for manipulation in manipulations:
        folder = _folder_of(download, manipulation)
        groups.append(_group(download, folder, compression, FAKE, manipulation, describe_spacing(FRAMES)))
    if not groups[0].names:
        hint = _other_compression(download, ORIGINALS, name)
        raise download.wrong(f"{groups[0].folder} has no .mp4 videos", hint)
    if not any(group.names for group in groups[1:]):
        hint = _other_compression(download, _folder_of(download, manipulations[0]), name)
        raise download.wrong(f"no .mp4 videos in {', '.join(group.folder for group in groups[1:])}", hint)
    split_of = _read_splits(download)
    for group in groups:
        _check(download, group, split_of)

    def items(split: str) -> Iterator[Item]:
        for group in groups:
            yield from group.items(split_of, (split,))

    splits = {split: Listing(partial(items, split)) for split in EXPECTED}
    return download.walk(
        {split: listing for split, listing in splits.items() if any(True for _ in listing)}, FAKE_REAL, REAL
    )


def walk_originals(request: Request) -> Walk:
    """List the real videos at c23: one split `train` of train and val, which FSFM pretrains on (supplement).

    The variant `splits` keeps train, val and test separate, with fewer frames, to train detectors on real faces only.
    """
    download = Download(request, "ffpp_originals", LAYOUT, needed=(ORIGINALS,))
    spaced = describe_spacing(FRAMES if download.variant == APART else PRETRAINING_FRAMES)
    sampling = ALL if download.variant == ALL_FRAMES else spaced
    group = _group(download, ORIGINALS, "c23", UNLABELLED, "", sampling)
    if not group.names:
        raise download.wrong(f"{group.folder} has no .mp4 videos", "download the videos with compression c23")
    split_of = _read_splits(download)
    _check(download, group, split_of)
    splits = {split: (split,) for split in EXPECTED} if download.variant == APART else {"train": ("train", "val")}
    return download.walk({name: Listing(partial(group.items, split_of, parts)) for name, parts in splits.items()})


def walk_dfd(request: Request) -> Walk:
    """Make one split `test` of all videos, real and manipulated, with 32 frames each."""
    fakes = f"{MANIPULATED}/DeepFakeDetection"
    download = Download(request, "dfd", LAYOUT_DFD, needed=(ACTORS, fakes))
    compression = download.variant or "raw"
    groups = [
        _group(download, ACTORS, compression, REAL, "", describe_spacing(FRAMES)),
        _group(download, fakes, compression, FAKE, "DeepFakeDetection", describe_spacing(FRAMES)),
    ]
    for group, folder in zip(groups, (ACTORS, fakes), strict=True):
        if not group.names:
            raise download.wrong(f"{group.folder} has no .mp4 videos", _other_compression(download, folder, "dfd"))
        download.count(f"videos in {group.folder}", EXPECTED_DFD[group.source], len(group.names))
    return download.walk(
        {"test": Listing(lambda: (item for group in groups for item in group.items()))}, FAKE_REAL, REAL
    )


def _data_set(name: str, about: str, manipulations: tuple[str, ...], real_frames: int) -> DataSet:
    about = f"FaceForensics++ (TU Munich): {about}, 32 frames of each manipulated video, {real_frames} of each real one"
    make = partial(walk, name=name, manipulations=manipulations, real_frames=real_frames)
    return DataSet(name, about, LAYOUT, make, COMPRESSIONS)


FACEFORENSICS = (
    _data_set("ffpp_all", "four manipulations", MANIPULATIONS, FRAMES * len(MANIPULATIONS)),
    *(_data_set(f"ffpp_{one.lower()}", f"{one} only", (one,), FRAMES) for one in MANIPULATIONS),
    DataSet(
        name="ffpp_originals",
        about="FaceForensics++ (TU Munich): real videos at c23 for pretraining, those of train and val; or split",
        layout=LAYOUT,
        walk=walk_originals,
        variants=(f"{PRETRAINING_FRAMES}_frames", ALL_FRAMES, APART),
        parsed=True,
    ),
    DataSet(
        name="dfd",
        about="Deep Fake Detection (Google, in FaceForensics++): all videos for testing",
        layout=LAYOUT_DFD,
        walk=walk_dfd,
        variants=("raw", "c23", "c40"),
    ),
)
