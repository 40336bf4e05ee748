"""How the faces of a labelled source were made: what published numbers of one data set differ by."""

import dataclasses
from typing import Any

from fsfm_jax.data.statistics import Card

COMPRESSIONS = ("c23", "c40", "raw")  # of FaceForensics++, whose variants are called so
COMPRESSION = {"ffpp_originals": "c23"}  # of data sets whose variants are something else
READY, DRAWN = "none", "drawn"


@dataclasses.dataclass(frozen=True)
class Provenance:
    """What is known about the faces of one split; None is not known.

    Attributes:
      detector: name of the face detector; READY: ready-made crops; DRAWN: faces that were drawn.
      detector_version: with the version of its library.
      scale: side of a crop over that of the detector's box.
      image_size: side of the stored crops in pixels; 0: each has its own size.
      frames: the rule by which frames of a video were taken.
      compression: of the videos or photos as they were released.
      encoding: of the stored crops.
      items: photos and videos that were looked at.
      dropped: how often a face was not kept, by reason.
      shortfalls: what the download lacked, a sentence each.
    """

    detector: str | None = None
    detector_version: str | None = None
    scale: float | None = None
    image_size: int | None = None
    frames: str | None = None
    compression: str | None = None
    encoding: str | None = None
    items: int | None = None
    dropped: dict[str, int] | None = None
    shortfalls: tuple[str, ...] = ()

    @classmethod
    def from_card(cls, card: Card, split: str) -> "Provenance":
        """Read what the card of a records directory says about a split; older cards say less."""
        said, statistics = card.prepared, card.splits[split]
        options = _entry(said, "options", dict) or {}
        dataset, variant = _entry(said, "dataset", str), _entry(said, "variant", str)
        counted = statistics.items > 0  # 0 is what is written for cards that did not count
        return cls(
            detector=_entry(options, "detector", str),
            detector_version=_entry(said, "detector", str),
            scale=_entry(options, "scale", int | float),
            image_size=card.image_size or 0,
            frames=_entry(said, "frames", str),
            compression=variant if variant in COMPRESSIONS else COMPRESSION.get(dataset or ""),
            encoding=statistics.image_encoding,
            items=statistics.items if counted else None,
            dropped=dict(statistics.dropped) if counted else None,
            shortfalls=tuple(_entry(said, "shortfalls", list) or ()),
        )


def provenance_of(source: object) -> Provenance:
    """What a source says about its faces; nothing is known of one that says nothing."""
    return getattr(source, "provenance", Provenance())


def _entry(said: dict, name: str, kind: Any) -> Any:
    """An entry of a card, which anybody may have written; None if it is absent or of another kind."""
    value = said.get(name)
    return value if isinstance(value, kind) else None
