"""WildDeepfake: faces of 224x224 from internet videos, already cropped; the test part."""

from collections.abc import Iterator

from fsfm_jax.prepare.manifests.classes import FAKE_REAL, REAL
from fsfm_jax.prepare.manifests.download import Download
from fsfm_jax.prepare.manifests.listing import RELEASED_SUFFIXES, Listing, files, tree, without_suffix
from fsfm_jax.prepare.manifests.manifest import NO_FRAME, DataSet, Item, Request, Walk

# The folder of each class, in the spellings that are about.
FOLDERS = (
    ("fake_test", "fake test", "test/fake"),
    ("real_test", "real test", "test/real"),
)

LAYOUT = """\
fake_test/0/.../1/25.png      the archives of fake_test, each unpacked into a folder of its own: folders of face
real_test/0/.../7/3.png       photos, one folder a sequence, FRAME.png (or test/fake and test/real)
"""


def walk(request: Request) -> Walk:
    """Walk one split `test`; a video is a folder of photos, its id the path of that folder."""
    download = Download(request, "wilddeepfake", LAYOUT, any_of=tuple(place for places in FOLDERS for place in places))
    folders_of_labels = []
    for label, places in enumerate(FOLDERS):
        there = [place for place in places if (download.root / place).is_dir()]
        if len(there) != 1:
            found = f"has both {' and '.join(there)}" if there else f"has none of {', '.join(places)}"
            raise download.wrong(f"it {found}")
        if next(tree(download.root, there[0], RELEASED_SUFFIXES), None) is None:
            packed = files(download.root / there[0], (".tar.gz", ".tgz", ".tar", ".zip"))
            raise download.wrong(f"{there[0]} has no photos", "unpack its archives first" if packed else "")
        folders_of_labels.append((label, there[0]))

    def items() -> Iterator[Item]:
        for label, folder in folders_of_labels:
            for path in tree(download.root, folder, RELEASED_SUFFIXES):
                video, _, name = path.rpartition("/")
                stem = without_suffix(name)
                yield Item(path, video, label, frame=int(stem) if stem.isdecimal() else NO_FRAME)

    return download.walk({"test": Listing(items)}, FAKE_REAL, REAL)


WILDDEEPFAKE = DataSet(
    name="wilddeepfake",
    about="WildDeepfake (Fudan University): ready-made face crops, the test part",
    layout=LAYOUT,
    walk=walk,
    cropped=True,
)
