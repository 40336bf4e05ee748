"""What a decoder made of a photo, before its transparency and its colours are dealt with."""

from dataclasses import dataclass, replace

import numpy as np

from fsfm_jax.prepare.media import colours
from fsfm_jax.prepare.media.unusable import Unusable

BACKGROUND = 255  # white: what a page shows behind a transparent picture


@dataclass(frozen=True)
class Picture:
    """Pixels of a photo, upright.

    Attributes:
      image: `[H, W, 3] uint8` RGB.
      alpha: `[H, W] uint8`, 0 = transparent; None if all of it is opaque.
      profile: ICC colour profile.
      signal: colour primaries and transfer characteristics, as in ITU-T H.273.
      notes: what a reader of a result must know, a phrase each.
    """

    image: np.ndarray
    alpha: np.ndarray | None = None
    profile: bytes | None = None
    signal: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()

    def in_srgb(self) -> "Picture":
        """The picture in sRGB; the same pixels if that is what they are. A signal of HDR counts more than a profile."""
        image, note = self.image, ""
        if self.signal is not None and (self.signal[1] in colours.TRANSFERS or self.profile is None):
            image, note = colours.by_signal(self.image, self.signal)
        elif self.profile is not None:
            image, note = colours.by_profile(self.image, self.profile)
        return replace(self, image=image, notes=self.notes + ((note,) if note else ()))

    def opaque(self) -> "Picture":
        """The picture on white, if any of it is transparent.

        Raises:
          Unusable: "transparent", if all of it is: what lies below was never meant to be seen.
        """
        if self.alpha is None:
            return self
        lowest, highest = int(self.alpha.min()), int(self.alpha.max())
        if highest == 0:
            raise Unusable("transparent", "every pixel is transparent: there is nothing to be seen")
        if lowest == 255:
            return replace(self, alpha=None)
        # In place on one copy: a photo of 100 megapixels has 300 MB.
        image = self.image.copy()
        rows, columns = np.nonzero(self.alpha < 255)
        share = self.alpha[rows, columns, None].astype(np.uint32)
        mixed = self.image[rows, columns] * share + BACKGROUND * (255 - share)
        image[rows, columns] = (mixed + 127) // 255
        return replace(self, image=image, alpha=None, notes=(*self.notes, "transparent parts shown on white"))
