"""A decoded photo, before its transparency and its colours are converted."""

from dataclasses import dataclass, replace

import numpy as np

from fsfm_jax.prepare.media import colours
from fsfm_jax.prepare.media.unusable import Unusable

ROWS = 512  # mixed at once: sums of a photo of 100 megapixels would take gigabytes
BACKGROUND = 255  # white: what a page shows behind a transparent picture


@dataclass(frozen=True)
class Picture:
    """Pixels of a photo, upright.

    Attributes:
      image: `[H, W, 3] uint8` RGB.
      alpha: `[H, W] uint8`, 0 = transparent; None if all of it is opaque.
      profile: ICC colour profile.
      signal: colour primaries and transfer characteristics, as in ITU-T H.273.
      notes: remarks for the report, a phrase each.
    """

    image: np.ndarray
    alpha: np.ndarray | None = None
    profile: bytes | None = None
    signal: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()

    def in_srgb(self) -> "Picture":
        """Convert to sRGB; pixels in sRGB stay the same. An HDR signal takes precedence over a profile."""
        image, note = self.image, ""
        if self.signal is not None and (self.signal[1] in colours.TRANSFERS or self.profile is None):
            image, note = colours.by_signal(self.image, self.signal)
        elif self.profile is not None:
            image, note = colours.by_profile(self.image, self.profile)
        return replace(self, image=image, notes=self.notes + ((note,) if note else ()))

    def opaque(self) -> "Picture":
        """Blend the picture with white, if any of it is transparent.

        Raises:
          Unusable: "transparent", if all of it is: its pixels were never meant to be seen.
        """
        if self.alpha is None:
            return self
        lowest, highest = int(self.alpha.min()), int(self.alpha.max())
        if highest == 0:
            raise Unusable("transparent", "every pixel is transparent: there is nothing to be seen")
        if lowest == 255:
            return replace(self, alpha=None)
        parts = [
            _on_background(self.image[at : at + ROWS], self.alpha[at : at + ROWS])
            for at in range(0, len(self.image), ROWS)
        ]
        notes = (*self.notes, "transparent parts shown on white")
        return replace(self, image=np.concatenate(parts), alpha=None, notes=notes)


def _on_background(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None].astype(np.uint32)
    return ((image * share + BACKGROUND * (255 - share) + 127) // 255).astype(np.uint8)
