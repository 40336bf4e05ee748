"""Celeb-DF v1, v2 and ++: deepfake videos of celebrities, for testing.

The split `test` is the authors' list of test videos. YouTube-real is part of it for v1 alone: the released
preprocessing of FSFM leaves it out of v2 and ++.
"""

import re
from collections import Counter
from collections.abc import Iterator
from functools import partial

from fsfm_jax.prepare.manifests.classes import FAKE_REAL, REAL
from fsfm_jax.prepare.manifests.download import Download, path_inside, read_lines
from fsfm_jax.prepare.manifests.listing import FRAMES, Listing, without_suffix
from fsfm_jax.prepare.manifests.manifest import DataSet, Item, Request, Walk, WrongDownload
from fsfm_jax.prepare.sampling import describe_spacing

LIST = "List_of_testing_videos.txt"
SYNTHESIS, CELEB, YOUTUBE = "Celeb-synthesis", "Celeb-real", "YouTube-real"
LABELS = {SYNTHESIS: 1 - REAL, CELEB: REAL, YOUTUBE: REAL}
# Videos in the list, by label, from the papers; no count is published for v1.
EXPECTED = {"celebdf_v1": {}, "celebdf_v2": {1 - REAL: 340, REAL: 178}, "celebdf_pp": {REAL: 178}}
SCENARIOS = ("FaceSwap", "FaceReenact", "TalkingFace")  # folders that Celeb-DF++ alone has

LAYOUT = """\
Celeb-real/id0_0000.mp4
YouTube-real/00000.mp4
Celeb-synthesis/id0_id16_0000.mp4
List_of_testing_videos.txt            lines such as "1 Celeb-real/id0_0000.mp4"; 1 = real
"""
LAYOUT_PP = """\
Celeb-real/id0_0000.mp4
YouTube-real/00000.mp4
Celeb-synthesis/FaceSwap/BlendFace/...mp4     likewise FaceReenact and TalkingFace, 22 methods
List_of_testing_videos.txt                    lines such as "1 Celeb-real/id0_0000.mp4"; 1 = real
"""


def _read_list(download: Download) -> dict[str, int]:
    """Read the label of each listed video, in the order of the list."""
    labels: dict[str, int] = {}
    for number, line in read_lines(download.root / LIST):
        where = f"{download.root / LIST}, line {number}"
        matched = re.fullmatch(r"([01])\s+(\S.*)", line)
        folder = matched[2].split("/")[0] if matched else ""
        if folder not in LABELS:
            raise WrongDownload(f'{where}: expected a line such as "1 {CELEB}/id0_0000.mp4", found {line!r}')
        if int(matched[1]) != LABELS[folder]:
            raise WrongDownload(f"{where}: expected label {LABELS[folder]} for {folder} (1 = real), found {line!r}")
        labels[path_inside(matched[2], where)] = LABELS[folder]
    return labels


def walk(request: Request, name: str, layout: str, youtube: bool) -> Walk:
    """Make one split `test` of the listed videos, with or without those of YouTube-real."""
    download = Download(request, name, layout, needed=(LIST, CELEB, SYNTHESIS))
    has_scenarios = any((download.root / SYNTHESIS / scenario).is_dir() for scenario in SCENARIOS)
    if has_scenarios != (name == "celebdf_pp"):
        other = "celebdf_pp" if has_scenarios else "celebdf_v2 or celebdf_v1"
        state = "has" if has_scenarios else "has none of"
        raise download.wrong(f"{SYNTHESIS} {state} the folders {', '.join(SCENARIOS)}", f"it looks like {other}")
    labels = _read_list(download)
    listed = Counter(labels.values())
    for label, expected in EXPECTED[name].items():
        download.count(f"{FAKE_REAL[label]} videos in {LIST}", expected, listed[label])
    wanted = [path for path in labels if youtube or not path.startswith(f"{YOUTUBE}/")]
    lost = [path for path in wanted if not (download.root / path).is_file()]
    download.missing(f"videos of {LIST}", len(wanted), lost)
    there = sorted(set(wanted) - set(lost))
    if not there:
        raise download.wrong(f"none of the {len(wanted)} videos of {LIST} is there")

    def items() -> Iterator[Item]:
        for path in there:
            yield Item(path, without_suffix(path), labels[path], _method(path), sampling=describe_spacing(FRAMES))

    return download.walk({"test": Listing(items)}, FAKE_REAL, REAL)


def _method(path: str) -> str:
    """Return the folders of a synthesised video below Celeb-synthesis (FaceSwap/BlendFace), or that name if none."""
    first, *between, _ = path.split("/")
    return "" if LABELS[first] == REAL else "/".join(between) or first


def _data_set(name: str, title: str, layout: str, youtube: bool) -> DataSet:
    about = f"{title} (University at Albany, Ocean University of China): the test list, 32 frames of each video"
    return DataSet(name, about, layout, partial(walk, name=name, layout=layout, youtube=youtube))


CELEBDF = (
    _data_set("celebdf_v1", "Celeb-DF v1", LAYOUT, youtube=True),
    _data_set("celebdf_v2", "Celeb-DF v2", LAYOUT, youtube=False),
    _data_set("celebdf_pp", "Celeb-DF++", LAYOUT_PP, youtube=False),
)
