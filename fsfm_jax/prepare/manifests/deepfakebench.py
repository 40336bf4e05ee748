"""DeepfakeBench: its face crops, exactly the frames listed in its manifests.

It publishes deepfake data sets as a folder of aligned crops and one JSON for each data set. Any data set in this format
can be prepared.
"""

import re
from collections.abc import Iterator
from functools import partial

from fsfm_jax.data.benchmark_manifest import Video, is_real, read_manifest
from fsfm_jax.prepare.manifests.classes import FAKE_REAL, REAL
from fsfm_jax.prepare.manifests.download import Download, path_inside
from fsfm_jax.prepare.manifests.listing import Listing, files, without_suffix
from fsfm_jax.prepare.manifests.manifest import NO_FRAME, DataSet, Item, Request, Walk, WrongDownload

PLACES = ("dataset_json", "preprocessing/dataset_json")

LAYOUT = """\
dataset_json/UADFV.json             {"UADFV": {"UADFV_Real": {"test": {"0000": {"label": ..., "frames": [...]}}}}}
                                    or preprocessing/dataset_json/; one file for each data set
UADFV/real/frames/0000/000.png      the crops, at the paths in the manifests
"""


def manifest_files(download: Download) -> dict[str, str]:
    """Return the paths of the manifests below the root, by name without `.json`."""
    place = next(place for place in PLACES if (download.root / place).is_dir())
    return {without_suffix(name): f"{place}/{name}" for name in files(download.root / place, (".json",))}


def read_videos(download: Download, path: str) -> list[Video]:
    """Read the videos of a manifest, with frames as paths below the root; videos without frames are noted and left out.

    Published manifests were made on Windows or on Linux: a backslash in them is a slash.

    Raises:
      WrongDownload: the manifest has another form, or a path is absolute or leaves the root by `..`.
    """
    try:
        videos = read_manifest(download.root / path)
    except ValueError as error:
        raise WrongDownload(str(error)) from error
    where = f"{download.root / path}"
    empty = [f"{video.label}/{video.name}" for video in videos if not video.frames]
    download.left_out(f"without frames in {path}", empty)
    return [
        Video(
            video.dataset, video.label, video.split, video.compression, video.name,
            tuple(path_inside(frame, where).replace("\\", "/") for frame in video.frames),
        )
        for video in videos
        if video.frames
    ]  # fmt: skip


def frame_number(path: str) -> int:
    """Return the frame number in a file name, such as 12 for `012.png`."""
    stem = without_suffix(path.rpartition("/")[2])
    return int(stem) if re.fullmatch(r"[0-9]{1,9}", stem) else NO_FRAME


def items_of(video: Video, identity: str, method: str) -> Iterator[Item]:
    """Yield one item for each frame of a video, in the order of the manifest; `method` is that of forged frames.

    Frames are numbered by their names, or by their place in the manifest where the names do not number them all.
    """
    label = REAL if is_real(video.label) else 1 - REAL
    numbers = [frame_number(path) for path in video.frames]
    if len(numbers) > 1 and (NO_FRAME in numbers or len(set(numbers)) < len(numbers)):
        numbers = list(range(len(numbers)))
    for path, number in zip(video.frames, numbers, strict=True):
        yield Item(path, identity, label, "" if label == REAL else method, frame=number)


def walk(request: Request) -> Walk:
    """List splits such as `uadfv_test` and `faceforensics_c23_test`: data set, compression if any, and split."""
    download = Download(request, "deepfakebench", LAYOUT, any_of=PLACES)
    splits: dict[str, dict[str, Item]] = {}
    origins: dict[str, tuple[str, str, str]] = {}
    for path in manifest_files(download).values():
        for video in read_videos(download, path):
            origin = video.dataset, video.compression, video.split
            name = split_name(*origin)
            if origins.setdefault(name, origin) != origin:
                raise download.wrong(f"{origins[name]} and {origin} would both be the split {name}", "rename one")
            _add(splits.setdefault(name, {}), video, path)
    if not splits:
        raise download.wrong("it has no manifests with videos", f"expected *.json in {' or '.join(PLACES)}")
    return download.walk(there(download, splits), FAKE_REAL, REAL)


def split_name(*parts: str) -> str:
    """Join names into a split name: lower case, _ for other characters; WrongDownload if no letter is first."""
    name = re.sub(r"[^a-z0-9]+", "_", "_".join(part for part in parts if part).lower()).strip("_")
    if not re.match("[a-z]", name):
        raise WrongDownload(
            f"data set {parts[0]!r}: expected a name that begins with a letter; rename it in its manifest"
        )
    return name


def _add(items: dict[str, Item], video: Video, where: str) -> None:
    """Add the frames of a video to those of a split, each once."""
    for item in items_of(video, f"{video.label}/{video.name}", video.label):
        if item.path in items:
            raise WrongDownload(
                f"{where}: the frame {item.path} is in video {items[item.path].video} and in {item.video}; it would "
                "count twice, remove it from one of them"
            )
        items[item.path] = item


def there(download: Download, splits: dict[str, dict[str, Item]]) -> dict[str, Listing]:
    """Return listings of the existing frames, and note each split that lacks some.

    Raises:
      WrongDownload: no frame exists.
    """
    found = {}
    for name, items in splits.items():
        lost = [path for path in items if not (download.root / path).is_file()]
        download.missing(f"frames of {name}", len(items), lost)
        there = [items[path] for path in sorted(items.keys() - set(lost))]
        if there:
            found[name] = Listing(partial(iter, there))
    if not found:
        first = next((path for items in splits.values() for path in items), "no frame")
        raise download.wrong(
            f"none of the frames of its manifests is there, such as {first}", "paths in manifests are below --input"
        )
    return found


DEEPFAKEBENCH = DataSet(
    name="deepfakebench",
    about="crops of DeepfakeBench (CUHK Shenzhen), or of its form, exactly as its manifests list them",
    layout=LAYOUT,
    walk=walk,
    cropped=True,
)
