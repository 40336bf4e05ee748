"""YouTube Faces: the frames of 3,425 videos of 1,595 people, for pretraining."""

from collections.abc import Iterator
from pathlib import Path

from fsfm_jax.prepare.manifests.download import Download
from fsfm_jax.prepare.manifests.listing import RELEASED_SUFFIXES, Listing, files, folders, without_suffix
from fsfm_jax.prepare.manifests.manifest import NO_FRAME, DataSet, Item, Request, Walk

FRAMES = "frame_images_DB"
EXPECTED = {"people": 1595, "videos": 3425}  # from the data set's page

LAYOUT = """\
frame_images_DB/Alicia_Witt/5/5.2247.jpg   person / video / video.frame.jpg; 1,595 people, 3,425 videos
frame_images_DB/Alicia_Witt.labeled_faces.txt   not used
"""


def walk(request: Request) -> Walk:
    """Walk one split `train` of all frames; the id of a video is `person/video`."""
    download = Download(request, "youtubefaces", LAYOUT, needed=(FRAMES,))
    people = folders(download.root / FRAMES)
    videos = sum(len(folders(download.root / FRAMES / person)) for person in people)
    download.count(f"people in {FRAMES}/", EXPECTED["people"], len(people))
    download.count(f"videos in {FRAMES}/", EXPECTED["videos"], videos)
    return download.walk({"train": Listing(lambda: _items(download.root))})


def _items(root: Path) -> Iterator[Item]:
    for person in folders(root / FRAMES):
        for video in folders(root / FRAMES / person):
            for name in files(root / FRAMES / person / video, RELEASED_SUFFIXES):
                number = without_suffix(name).rpartition(".")[2]
                frame = int(number) if number.isdecimal() else NO_FRAME
                yield Item(f"{FRAMES}/{person}/{video}/{name}", f"{person}/{video}", frame=frame)


YOUTUBEFACES = DataSet(
    name="youtubefaces",
    about="YouTube Faces (Tel Aviv University): frames of videos for pretraining",
    layout=LAYOUT,
    walk=walk,
    parsed=True,
)
