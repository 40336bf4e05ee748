"""Record how the faces of a labelled source were made, since published numbers depend on it."""

import dataclasses
from typing import Any

from fsfm_jax.data.statistics import Card

COMPRESSIONS = ("c23", "c40", "raw")  # names of FaceForensics++ variants that are compressions
COMPRESSION = {"ffpp_originals": "c23"}  # compression of data sets whose variants mean something else
READY, DRAWN = "none", "drawn"


@dataclasses.dataclass(frozen=True)
class Provenance:
    """The known origin of the faces of one split; None is not known.

    Attributes:
      detector: name of the face detector; READY: ready-made crops; DRAWN: faces that were drawn.
      detector_version: detector with the version of its library.
      scale: side of a crop over that of the detector's box.
      image_size: side of the stored crops in pixels; 0: each has its own size.
      frames: the rule that selected the frames of a video.
      compression: compression of the released videos or photos.
      encoding: encoding of the stored crops.
      items: number of photos and videos processed.
      dropped: counts of dropped faces by reason.
      shortfalls: parts missing from the download, a sentence each.
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
        """Read the provenance of a split from the card of a records directory; older cards have fewer entries."""
        said, statistics = card.prepared, card.splits[split]
        options = _entry(said, "options", dict) or {}
        dataset, variant = _entry(said, "dataset", str), _entry(said, "variant", str)
        counted = statistics.items > 0  # cards that did not count have 0
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
    """Return the provenance of a source, with all fields None if it has none."""
    return getattr(source, "provenance", Provenance())


def _entry(said: dict, name: str, kind: Any) -> Any:
    """Return an entry of an untrusted card; None if it is absent or of another type."""
    value = said.get(name)
    return value if isinstance(value, kind) else None
