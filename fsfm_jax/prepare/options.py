"""The settings that turn photos and videos into faces: everything that a record depends on, besides its source."""

import json
from dataclasses import asdict, dataclass

from fsfm_jax import records
from fsfm_jax.prepare.crop import SCALE

IMAGE_ENCODINGS = ("keep", "jpeg")
NONE, GIVEN = "none", "given"


@dataclass(frozen=True)
class Options:
    """The settings of a build, in JSON types.

    Raises:
      ValueError: the settings are not compatible.
    """

    detector: str  # name of a detector, or "none": the photos already are face crops
    parser: str  # name of a parser, "given": parsing maps come with the photos, or "none": records without maps
    class_names: tuple[str, ...] = ()
    parser_weights: str = ""
    scale: float = SCALE  # side of the crop divided by that of the detector's box
    image_size: int | None = records.IMAGE_SIZE  # None: crops keep their own size
    image_encoding: str = "keep"  # "keep": PNG, but existing PNG or JPEG crops stay unchanged; or "jpeg"
    black_borders: bool = False  # whether to cut off black borders of crops

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
        """Return whether records have parsing maps."""
        return self.parser != NONE

    def as_text(self) -> str:
        """Return the options as JSON; `from_text` reads them."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> "Options":
        """Read options from the JSON of `as_text`."""
        content = json.loads(text)
        return cls(**{**content, "class_names": tuple(content["class_names"])})
