"""Augment a face crop on the host for training: colour, crop, flip, RandAugment, and the box to erase.

Every draw is a function of (seed, position in the stream). It does not depend on hosts, workers or batch size, and an
image that occurs again later in the stream is augmented differently.
"""

import dataclasses

import numpy as np

from fsfm_jax.data.boxes import NOTHING, CropSpec, EraseSpec, check_probability, draw_crop, draw_erased
from fsfm_jax.data.distributions import uniforms
from fsfm_jax.data.rand_augment import RandAugmentSpec, apply_operations, draw_operations
from fsfm_jax.data.resizing import INTERPOLATIONS, resize_box, resize_whole
from fsfm_jax.data.saturation import SaturationSpec, draw_factor, scale_saturation
from fsfm_jax.records import check_image


@dataclasses.dataclass(frozen=True)
class AugmentSpec:
    """The parts of the training transform, in order of application; None leaves a part out.

    Deepfake detection and diffusion forgery: crop, flip, RandAugment and erasing. Anti-spoofing: saturation and flip.

    Attributes:
      size: side of the result in pixels, >= 1.
      interpolation: filter of the random crop and of operations that move pixels. The recipe asks for `bicubic`; so
        does the released code, but it runs `bilinear`. Without a crop the image is resized bicubically.
      saturation: colour jitter of the face crop, applied first.
      crop: random resized crop; None resizes the whole image.
      flip: probability of the mirror image, 0..1.
      rand_augment: RandAugment on the resized image.
      erase: the box that the device fills with noise after normalisation.
    """

    size: int = 224
    interpolation: str = "bicubic"
    saturation: SaturationSpec | None = None
    crop: CropSpec | None = None
    flip: float = 0.5
    rand_augment: RandAugmentSpec | None = None
    erase: EraseSpec | None = None

    def __post_init__(self):
        if not isinstance(self.size, int) or self.size < 1:
            raise ValueError(f"augment.size: expected a whole number of pixels, at least 1; found {self.size!r}")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"augment.interpolation: expected one of {', '.join(INTERPOLATIONS)}; found {self.interpolation!r}"
            )
        check_probability("augment.flip", self.flip)


def augment(spec: AugmentSpec, image: np.ndarray, position: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Augment one face crop for training.

    Args:
      image: `[H, W, 3] uint8`, RGB, any size; it is not changed.
      position: position of the image in the stream.
      seed: draws with other seeds are independent.

    Returns:
      image `[size, size, 3] uint8` and the box to erase `[4] int32`: top, left, height, width in pixels of the
      result, all zero for none.

    Raises:
      ValueError: the image has another shape or dtype.
    """
    check_image(image)
    if spec.saturation is not None:
        image = scale_saturation(image, draw_factor(spec.saturation, position, seed), spec.saturation.overflow)
    if spec.crop is None:
        image = resize_whole(image, spec.size)
    else:
        box = draw_crop(spec.crop, *image.shape[:2], position, seed)
        image = resize_box(image, box, spec.size, spec.interpolation)
    if uniforms(seed, "augment flip", position, 1)[0] < spec.flip:
        image = np.ascontiguousarray(image[:, ::-1])
    if spec.rand_augment is not None:
        operations = draw_operations(spec.rand_augment, position, seed)
        image = apply_operations(operations, image, spec.interpolation, spec.rand_augment.fill)
    erased = NOTHING if spec.erase is None else draw_erased(spec.erase, spec.size, position, seed)
    return image, np.array(erased, np.int32)
