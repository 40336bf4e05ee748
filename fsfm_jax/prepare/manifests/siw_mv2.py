"""SiW-Mv2: live faces and fourteen kinds of attack as videos, with the lists of its first protocol."""

import re
from collections import Counter
from functools import partial

from fsfm_jax.prepare.manifests.classes import ATTACK_BONA_FIDE, REAL
from fsfm_jax.prepare.manifests.download import Download, read_lines
from fsfm_jax.prepare.manifests.listing import Listing, tree, without_suffix
from fsfm_jax.prepare.manifests.manifest import DataSet, Item, Request, Walk, WrongDownload
from fsfm_jax.prepare.media.video import VIDEO_SUFFIXES
from fsfm_jax.prepare.sampling import describe_spacing

FRAMES = 10  # of a video, as of the other recordings of anti-spoofing with many frames
LIVE, SPOOF = "Live", "Spoof"
# Folder of each kind, by the beginning of the names in the lists.
KINDS = {
    "Makeup_Co": "Makeup_Cosmetic", "Makeup_Im": "Makeup_Impersonation", "Makeup_Ob": "Makeup_Obfuscation",
    "Mask_Mann": "Mannequin", "Mask_Silicone": "Silicone", "Paper": "Print", "Replay": "Replay",
    "Partial_Funnyeye": "Partial_FunnyeyeGlasses", "Partial_Paperglass": "Partial_PaperGlasses",
    "Partial_Eye": "Partial_Eye", "Partial_Mouth": "Partial_Mouth", "Mask_Half": "Mask_HalfMask",
    "Mask_Paper": "Mask_PaperMask", "Mask_Trans": "Mask_TransparentMask",
}  # fmt: skip
EXPECTED = {LIVE: 785, SPOOF: 915}  # videos
PLACES = ("", "pro_3_text/")
LISTS = {split: (f"{split}list_live.txt", f"{split}list_all.txt") for split in ("train", "test")}
NAME = re.compile(r"([A-Za-z_]+)_\d+")

LAYOUT = """\
Live/Live_1.mp4                            785 videos
Spoof/Makeup_Cosmetic/Makeup_Co_5.mp4      915 videos in 14 folders, one for each kind of attack
trainlist_live.txt, trainlist_all.txt      names of live and of spoof videos, one a line, such as Makeup_Co_5
testlist_live.txt, testlist_all.txt        likewise; from pro_3_text of the authors' repository, here or in pro_3_text/
"""


def _read_names(download: Download, name: str, live: bool) -> list[str]:
    """Read the names in a list, each once; those of training are repeated there to balance the kinds."""
    place = next((place + name for place in PLACES if (download.root / (place + name)).is_file()), None)
    if place is None:
        raise download.wrong(f"it has no {name}", "copy the lists from pro_3_text of the authors' repository")
    names = {}
    for number, line in read_lines(download.root / place):
        kind = matched[1] if (matched := NAME.fullmatch(line)) else ""
        if kind not in KINDS and kind != LIVE or (kind == LIVE) != live:
            wanted = f"{LIVE}_1" if live else f"one of {', '.join(KINDS)} and a number"
            raise WrongDownload(f"{download.root / place}, line {number}: expected {wanted}, found {line!r}")
        names[line] = None
    return list(names)


def _videos(download: Download) -> dict[str, str]:
    """Return the path of each video by its name in lower case without suffix."""
    paths: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for part in EXPECTED:
        for path in tree(download.root, part, VIDEO_SUFFIXES):
            counts[part] += 1
            name = without_suffix(path.rpartition("/")[2]).lower()
            if paths.setdefault(name, path) != path:
                raise download.wrong(f"{paths[name]} and {path} have the same name", "keep one of them")
    for part, expected in EXPECTED.items():
        download.count(f"videos in {part}/", expected, counts[part])
    return paths


def walk(request: Request) -> Walk:
    """Split train and test of the first protocol, in which all kinds of attack are known; methods are the folders."""
    download = Download(request, "siw_mv2", LAYOUT, needed=(LIVE, SPOOF))
    listed = {
        split: [*_read_names(download, live, True), *_read_names(download, spoof, False)]
        for split, (live, spoof) in LISTS.items()
    }
    if both := sorted({*listed["train"]} & {*listed["test"]}):
        raise download.wrong(
            f"{', '.join(both[:3])} of its lists are both in train and in test", "copy the lists again"
        )
    paths, splits = _videos(download), {}
    for split, names in listed.items():
        lost = [name for name in names if name.lower() not in paths]
        download.missing(f"videos of {split}", len(names), lost)
        items = sorted(
            (_item(name, paths[name.lower()]) for name in set(names) - set(lost)), key=lambda item: item.path
        )
        if items:
            splits[split] = Listing(partial(iter, items))
    if not splits:
        raise download.wrong("none of the videos of its lists is there")
    known = {name.lower() for names in listed.values() for name in names}
    download.left_out("in no list", [path for name, path in sorted(paths.items()) if name not in known])
    return download.walk(splits, ATTACK_BONA_FIDE, REAL)


def _item(name: str, path: str) -> Item:
    kind = NAME.fullmatch(name)[1]
    method = "" if kind == LIVE else KINDS[kind]
    return Item(path, without_suffix(path), 1 - REAL if method else REAL, method, sampling=describe_spacing(FRAMES))


SIW_MV2 = DataSet(
    name="siw_mv2",
    about="SiW-Mv2 (Michigan State University): 10 frames of each video, the first protocol",
    layout=LAYOUT,
    walk=walk,
)
