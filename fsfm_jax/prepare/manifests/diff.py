"""DiFF: photos of faces made by diffusion models under four conditions, for validation and testing.

The real photos of a part are the same in all its conditions.
"""

from collections.abc import Iterator
from functools import partial

from fsfm_jax.prepare.manifests.classes import FAKE_REAL, REAL
from fsfm_jax.prepare.manifests.download import Download
from fsfm_jax.prepare.manifests.listing import RELEASED_SUFFIXES, Listing, tree
from fsfm_jax.prepare.manifests.manifest import DataSet, Item, Request, Walk

PARTS = ("val", "test")
CONDITIONS = ("T2I", "I2I", "FS", "FE")
REAL_FOLDERS = ("DiFF_real/{part}", "real/{part}", "{part}/DiFF_real", "{part}/real")

LAYOUT = """\
test/I2I/LoRA/id_0224/lora_001_000.png     likewise T2I, FS, FE: condition / method / ...; likewise val/
DiFF_real/test/...                         the real photos (or real/test, test/DiFF_real, test/real); likewise val
"""


def _real_folder(download: Download, part: str) -> str:
    places = [place.format(part=part) for place in REAL_FOLDERS]
    there = [place for place in places if next(_photos(download, place), None) is not None]
    if len(there) != 1:
        found = f"real photos in {' and '.join(there)}" if there else "no real photos"
        raise download.wrong(
            f"it has {found} for {part}", f"put the real photos of {part} into one of {', '.join(places)}"
        )
    return there[0]


def _photos(download: Download, place: str) -> Iterator[str]:
    return tree(download.root, place, RELEASED_SUFFIXES) if (download.root / place).is_dir() else iter(())


def walk(request: Request) -> Walk:
    """List splits such as `test_t2i`; each photo is its own video, with its path as id."""
    download = Download(request, "diff", LAYOUT, any_of=PARTS)

    def items(condition: str, real: str) -> Iterator[Item]:
        for path in _photos(download, condition):
            inside = path.removeprefix(f"{condition}/")
            yield Item(path, path, 1 - REAL, inside.split("/")[0] if "/" in inside else "")
        for path in _photos(download, real):
            yield Item(path, path, REAL)

    splits = {}
    for part in PARTS:
        conditions = [condition for condition in CONDITIONS if next(_photos(download, f"{part}/{condition}"), None)]
        missing = [condition for condition in CONDITIONS if condition not in conditions]
        download.count(f"conditions with photos in {part}/", len(CONDITIONS), len(conditions), missing)
        if conditions:
            real = _real_folder(download, part)
            for condition in conditions:
                splits[f"{part}_{condition.lower()}"] = Listing(partial(items, f"{part}/{condition}", real))
    if not splits:
        raise download.wrong(f"no photos in {', '.join(f'{part}/{name}' for part in PARTS for name in CONDITIONS)}")
    return download.walk(splits, FAKE_REAL, REAL)


DIFF = DataSet(
    name="diff",
    about="DiFF, Diffusion Facial Forgery (Shandong University): four conditions, val and test",
    layout=LAYOUT,
    walk=walk,
)
