"""VGGFace2: 3.3 million photos of 9,131 people, for pretraining."""

from collections.abc import Iterator
from pathlib import Path

from fsfm_jax.prepare.manifests.download import Download
from fsfm_jax.prepare.manifests.listing import RELEASED_SUFFIXES, Listing, files, folders
from fsfm_jax.prepare.manifests.manifest import DataSet, Item, Request, Walk

# People in each part, from the data set's paper. The photos (3,141,890 and 169,396) are not counted: listing them
# takes minutes.
EXPECTED = {"train": 8631, "test": 500}

LAYOUT = """\
train/n000002/0001_01.jpg   8,631 people
test/n000001/0001_01.jpg      500 people
"""


def walk(request: Request) -> Walk:
    """Walk one split `train` of both parts: pretraining uses all of them (FSFM supplement).

    A photo belongs to no video; its id is its path.
    """
    download = Download(request, "vggface2", LAYOUT, any_of=tuple(EXPECTED))
    for part, people in EXPECTED.items():
        download.count(f"people in {part}/", people, len(folders(download.root / part)))
    return download.walk({"train": Listing(lambda: _items(download.root))})


def _items(root: Path) -> Iterator[Item]:
    for part in EXPECTED:
        for person in folders(root / part):
            for name in files(root / part / person, RELEASED_SUFFIXES):
                path = f"{part}/{person}/{name}"
                yield Item(path, path)


VGGFACE2 = DataSet(
    name="vggface2",
    about="VGGFace2 (University of Oxford): photos for pretraining; train and test together",
    layout=LAYOUT,
    walk=walk,
    parsed=True,
)
