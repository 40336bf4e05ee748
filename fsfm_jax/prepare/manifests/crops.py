"""Ready-made face crops in the layouts of the released code of FSFM: with parsing maps, or labelled by folder."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from fsfm_jax.data.folder import IMAGES, MAP_SUFFIX, PARSING_MAPS, list_photos
from fsfm_jax.prepare.manifests.classes import FAKE_REAL, REAL, says_real
from fsfm_jax.prepare.manifests.download import Download
from fsfm_jax.prepare.manifests.listing import RELEASED_SUFFIXES, Listing, folders, frame_of, tree, without_suffix
from fsfm_jax.prepare.manifests.manifest import DataSet, Item, Request, Walk

SPLITS = ("train", "val", "test")
FAKE_WORD = "fake"
# As file names begin, and as the data set calls them.
METHODS = {name.lower(): name for name in ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")}
DIFF_PARTS = {f"{part}_subsets": part for part in ("val", "test")}

LAYOUT_PARSED = """\
images/NAME.png            face crops of 224x224; they are the split train
parsing_maps/NAME.npy      parsing class of each pixel
train/images/..., ...      or any of train/, val/ and test/, each with images/ and parsing_maps/
"""
LAYOUT_FRAMES = """\
train/fake_four/Deepfakes_000_003_frame_12.png     any of train/, val/ and test/; classes are folders fake... and
train/real_youtube/youtube_000_frame_12.png        real...; a video is what stands before _frame_
test_subsets/T2I/test/fake/...                     or, of DiFF, val_subsets/ and test_subsets/
"""


def walk_parsed(request: Request) -> Walk:
    """List the splits train, val and test, or train only, without labels.

    Raises:
      WrongDownload: photos and parsing maps do not pair up; the message names ten and counts all.
    """
    download = Download(request, "cropped_and_parsed", LAYOUT_PARSED, any_of=(IMAGES, *SPLITS))
    places = {split: split for split in SPLITS if (download.root / split).is_dir()}
    if (download.root / IMAGES).is_dir():
        if places:
            raise download.wrong(f"it has both {IMAGES} and {', '.join(places)}", "keep one of the two layouts")
        places = {"train": ""}
    splits = {}
    for split, place in places.items():
        try:
            photos = list_photos(download.root / place)
        except (FileNotFoundError, ValueError) as error:
            raise download.wrong(str(error)) from error
        splits[split] = Listing(partial(_items_with_maps, f"{place}/" if place else "", photos))
    return download.walk(splits)


def _items_with_maps(below: str, photos: list[str]) -> Iterator[Item]:
    for name in photos:
        video, frame = frame_of(f"{below}{IMAGES}/{name}")
        parsing_map = f"{below}{PARSING_MAPS}/{without_suffix(name)}{MAP_SUFFIX}"
        yield Item(f"{below}{IMAGES}/{name}", video, frame=frame, parsing_map=parsing_map)


def _frame_places(root: Path) -> dict[str, str]:
    """Return the folder of each split."""
    places = {split: split for split in SPLITS if (root / split).is_dir()}
    for folder, part in DIFF_PARTS.items():
        for condition in folders(root / folder):
            if (root / folder / condition / part).is_dir():
                places[f"{part}_{condition.lower()}"] = f"{folder}/{condition}/{part}"
    return places


def walk_frames(request: Request) -> Walk:
    """List the splits train, val and test, or those of DiFF such as test_t2i. A prefix fake or real gives the class.

    The id of a video is the path before `_frame_`, its class folder included.
    """
    download = Download(request, "cropped_frames", LAYOUT_FRAMES, any_of=(*SPLITS, *DIFF_PARTS))
    splits = {}
    for split, place in _frame_places(download.root).items():
        labels = {}
        for name in folders(download.root / place):
            if says_real(name) == name.lower().startswith(FAKE_WORD):
                raise download.wrong(f"{place}/{name} is neither a class fake... nor real...")
            labels[name] = REAL if says_real(name) else 1 - REAL
            if next(tree(download.root, f"{place}/{name}", RELEASED_SUFFIXES), None) is None:
                raise download.wrong(f"{place}/{name} has no photos", "fill or remove it")
        missing = [FAKE_REAL[label] for label in range(len(FAKE_REAL)) if label not in labels.values()]
        download.count(f"classes of {place}", len(FAKE_REAL), len(FAKE_REAL) - len(missing), missing)
        if labels:
            splits[split] = Listing(partial(_frame_items, download.root, place, labels))
    if not splits:
        raise download.wrong("it has no folders of classes")
    return download.walk(splits, FAKE_REAL, REAL)


def _frame_items(root: Path, place: str, labels: dict[str, int]) -> Iterator[Item]:
    for folder, label in labels.items():
        for path in tree(root, f"{place}/{folder}", RELEASED_SUFFIXES):
            video, frame = frame_of(path)
            method = "" if label == REAL else _method(folder, path.rpartition("/")[2])
            yield Item(path, video.removeprefix(f"{place}/"), label, method, frame=frame)


def _method(folder: str, name: str) -> str:
    """Return the manipulation that the file name starts with, or that of the folder (fake_DeepFakeDetection)."""
    of_name = METHODS.get(name.partition("_")[0].lower())
    of_folder = folder.partition("_")[2]
    return of_name or METHODS.get(of_folder.lower(), "" if of_folder == "four" else of_folder)


CROPPED = (
    DataSet(
        name="cropped_and_parsed",
        about="the released pretraining data of FSFM: face crops with parsing maps",
        layout=LAYOUT_PARSED,
        walk=walk_parsed,
        cropped=True,
        parsed=True,
    ),
    DataSet(
        name="cropped_frames",
        about="face crops of frames in the layout of the released fine-tuning data of FSFM",
        layout=LAYOUT_FRAMES,
        walk=walk_frames,
        cropped=True,
    ),
)
