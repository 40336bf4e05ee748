"""How faces are made of photos and videos: everything that the bytes of a record depend on, besides its source."""

import json
from dataclasses import asdict, dataclass

from fsfm_jax import records
from fsfm_jax.prepare.crop import SCALE

IMAGE_ENCODINGS = ("keep", "jpeg")
NONE, GIVEN = "none", "given"


@dataclass(frozen=True)
class Options:
    """Settings of a build, in types that JSON has.

    Raises:
      ValueError: settings that do not go together.
    """

    detector: str  # name of a detector, or "none": the photos are face crops already
    parser: str  # name of a parser, "given": parsing maps come with the photos, or "none": records without maps
    class_names: tuple[str, ...] = ()
    parser_weights: str = ""
    scale: float = SCALE  # side of the crop over that of the detector's box
    image_size: int | None = records.IMAGE_SIZE  # None: crops keep their own size
    image_encoding: str = "keep"  # "keep": PNG, and crops that are PNG or JPEG already stay as they are; or "jpeg"
    black_borders: bool = False  # crops lie on black, which is cut off

    def __post_init__(self):
        if self.image_encoding not in IMAGE_ENCODINGS:
            raise ValueError(f"image_encoding: expected {' or '.join(IMAGE_ENCODINGS)}, found {self.image_encoding!r}")
        if self.image_size is not None and self.image_size < 1:
            raise ValueError(f"image_size: expected at least 1 pixel, found {self.image_size}")
        if self.parsing_maps and self.image_size != records.IMAGE_SIZE:
            raise ValueError(
                f"image_size: expected {records.IMAGE_SIZE} for records with parsing maps, found "
                f"{self.image_size or 'native'}; leave it out, or use --parser=none"
            )
        if not 0.5 <= self.scale <= 5:
            raise ValueError(f"scale: expected 0.5 to 5 times the detector's box, found {self.scale}")

    @property
    def parsing_maps(self) -> bool:
        """Whether records have parsing maps."""
        return self.parser != NONE

    def as_text(self) -> str:
        """The options as JSON; `from_text` reads them."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> "Options":
        """Inverse of `as_text`."""
        content = json.loads(text)
        return cls(**{**content, "class_names": tuple(content["class_names"])})
