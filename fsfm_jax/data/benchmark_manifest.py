"""Read manifests of DeepfakeBench: the frames and videos of each split, in JSON.

    {"UADFV": {"UADFV_Real": {"test": {"0000": {"label": "UADFV_Real", "frames": ["UADFV/real/frames/0000/000.png"]}}}}}

The levels are data set, label, split and video. Data sets with several compressions have one more level, such as `c23`,
between split and video. The format follows the README of DeepfakeBench ("Rearrangement") and published manifests. DF40
uses the same format.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from fsfm_jax.data.regular_file import read_regular

MOST = 1 << 30  # largest file in bytes; that of FaceForensics++ has about 1e8
REAL = re.compile(r".+[-_]real", re.IGNORECASE)
# These labels of FaceForensics++ do not end in _fake.
FAKE = re.compile(r".+[-_]fake[AB]?|FF-(DF|F2F|FS|NT|FH|SH)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Video:
    """One video of a manifest.

    Attributes:
      compression: name such as "c23"; "" if the manifest has no such level.
      frames: paths as written in the file.
    """

    dataset: str
    label: str
    split: str
    compression: str
    name: str
    frames: tuple[str, ...]


def is_real(label: str) -> bool:
    """Return whether a label means real faces: `UADFV_Real` does, `UADFV_Fake`, `DFDCP_FakeA` and `FF-DF` do not.

    Raises:
      ValueError: the label is neither real nor fake.
    """
    if REAL.fullmatch(label):
        return True
    if FAKE.fullmatch(label):
        return False
    raise ValueError(
        f"label {label!r}: expected one that ends in _real or _fake, or FF-DF, FF-F2F, FF-FS, FF-NT, FF-FH"
    )


def read_manifest(path: Path) -> list[Video]:
    """Read all videos of a manifest, in the order of the file.

    Raises:
      FileNotFoundError: the file does not exist.
      ValueError: the file is not JSON or has another form, a key is repeated, or a label is neither real nor fake.
    """
    data = read_regular(path, MOST)
    try:
        content = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_without_repeats)
        return [
            video
            for dataset, labels in _object(content, "data sets").items()
            for label, splits in _object(labels, dataset).items()
            for split, inside in _object(splits, label).items()
            for video in _videos(dataset, label, split, _object(inside, f"{label} {split}"))
        ]
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected a manifest of DeepfakeBench, found another file ({error})") from error


def _without_repeats(pairs: list[tuple[str, object]]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"expected each key once, found {twice!r} twice")
    return found


def _object(value: object, where: str) -> dict:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected an object, found {type(value).__name__}")
    return value


def _videos(dataset: str, label: str, split: str, inside: dict) -> list[Video]:
    """Return the videos of a split, of all compressions."""
    if any(isinstance(value, dict) and "frames" in value for value in inside.values()):
        levels = {"": inside}
    else:
        levels = {compression: _object(below, f"{label} {split}") for compression, below in inside.items()}
    return [
        Video(dataset, label, split, compression, name, _frames(entry, label, f"{label} {split} {name}"))
        for compression, below in levels.items()
        for name, entry in below.items()
    ]


def _frames(entry: object, label: str, where: str) -> tuple[str, ...]:
    entry = _object(entry, where)
    frames, own = entry.get("frames"), entry.get("label", label)
    if not isinstance(frames, list) or not all(isinstance(frame, str) for frame in frames):
        raise ValueError(f"{where}: expected frames, a list of paths")
    if not isinstance(own, str) or is_real(own) != is_real(label):
        raise ValueError(f"{where}: expected the label {label}, found {own!r}")
    return tuple(frames)
