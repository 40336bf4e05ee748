"""Names and types of the data: the example on disk and the batch on the host.

On disk (TensorFlow Datasets features in ArrayRecord files, one record per group for fast random access):

| feature       | stored as                      | meaning                                                        |
|---------------|--------------------------------|----------------------------------------------------------------|
| `image`       | PNG or JPEG bytes              | face crop, `[224, 224, 3] uint8`, RGB, or of another size      |
| `parsing_map` | zlib of `[224, 224] uint8`     | parsing class of each pixel (`regions.CLASSES`); may be absent |
| `region_bits` | `[196] uint16`                 | class bits of each 16x16 patch, row by row; may be absent      |
| `source`      | text                           | path of the photo or video, below the root of the download     |
| `video`       | text                           | id of the video, unique in the split; each photo has its own   |
| `frame`       | int32                          | number of the frame in its video, -1 for a photo               |
| `label`       | int64                          | index into the class names of the card, -1 without label       |
| `method`      | text                           | manipulation or attack in the data set's words, "" for real    |
| `box`         | `[4] int32`                    | detector's box in the source: left, top, right, bottom; or -1  |
| `crop`        | `[3] int32`                    | the crop in the source: x, y, size; or -1                      |
| `score`       | float32                        | the detector's score, NaN if there was none                    |

Data sets of schema version 1 have only the first four. To add a feature, add a line here, a row to `FEATURES` and a
field to `prepare.example.Face`.

In memory a batch is a dict of arrays under the keys below.
"""

from typing import Any, NamedTuple

import numpy as np

from fsfm_jax.regions import NUM_CLASSES

SCHEMA_VERSION = 2
IMAGE_SIZE = 224
BITS_PATCH_SIZE = 16  # patch size of the stored `region_bits`; for other sizes they are computed from the map

# Features of a stored example.
IMAGE = "image"
PARSING_MAP = "parsing_map"
REGION_BITS = "region_bits"
SOURCE = "source"
VIDEO = "video"
FRAME = "frame"
LABEL = "label"
METHOD = "method"
BOX = "box"
CROP = "crop"
SCORE = "score"

PATCHES = (IMAGE_SIZE // BITS_PATCH_SIZE) ** 2
PICTURE, TEXT, CLASS, COMPRESSED = "picture", "text", "class", "compressed"


class Feature(NamedTuple):
    """How a feature is stored.

    Attributes:
      form: a NumPy type, or PICTURE, TEXT, CLASS (the index of a class name), COMPRESSED (uint8 numbers by zlib).
      shape: shape of the array.
      below: exclusive upper bound of the values, whose lower bound is 0; None: no bounds.
    """

    form: Any
    shape: tuple[int, ...] = ()
    below: int | None = None


FEATURES = {
    IMAGE: Feature(PICTURE),
    PARSING_MAP: Feature(COMPRESSED, (IMAGE_SIZE, IMAGE_SIZE), NUM_CLASSES),
    REGION_BITS: Feature(np.uint16, (PATCHES,), 1 << NUM_CLASSES),
    SOURCE: Feature(TEXT),
    VIDEO: Feature(TEXT),
    FRAME: Feature(np.int32),
    LABEL: Feature(CLASS),
    METHOD: Feature(TEXT),
    BOX: Feature(np.int32, (4,)),
    CROP: Feature(np.int32, (3,)),
    SCORE: Feature(np.float32),
}

# Further keys of a batch.
POSITION = "position"  # [B] int64, position in the endless stream; every random choice is a function of it
# Keys of pretraining.
MASK = "mask"  # [B, N] bool, True = hidden from the online encoder
REGION_MASK = "region_mask"  # [B, N] bool, True = patch of the completely masked region
OTHER_MASK = "other_mask"  # [B, N] bool, an independent mask of the target's image, for one ablation
TARGET_IMAGE = "target_image"  # [B, S, S, 3] uint8, the target network's view if it differs from the online view
TARGET_BITS = "target_bits"  # [B, N] uint16, class bits of that view's patches, until masks are drawn
# Keys of fine-tuning.
SELF_BLEND = "self_blend"  # in examples only: the random settings of the blend
ERASE = "erase"  # [B, 4] int32, the box that is filled with noise
MIX_CUTMIX = "mix_cutmix"  # [B] bool, True = CutMix (boxes), False = Mixup (weights)
MIX_RATIO = "mix_ratio"  # [B] float32, share of each image's own content
MIX_BOX = "mix_box"  # [B, 4] int32, the box that comes from the other image

# File next to the shards for information that TFDS metadata cannot hold.
CARD_FILE = "fsfm_card.json"


def check_image(image: np.ndarray) -> None:
    """Raise ValueError unless `image` is `[H, W, 3] uint8` with at least one pixel."""
    dtype, shape = _kind(image)
    if dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
        raise ValueError(f"image: expected [H, W, 3] uint8 with pixels; found {list(shape)} {dtype}")


def check_images(images: np.ndarray, side: int | None = None) -> None:
    """Raise ValueError unless `images` are `[n, H, W, 3] uint8` with n >= 0; H and W equal `side` if it is given."""
    dtype, shape = _kind(images)
    wanted = shape[1:3] if side is None else (side, side)
    if dtype != np.uint8 or len(shape) != 4 or shape[1:] != (*wanted, 3) or 0 in shape[1:]:
        expected = "[n, H, W, 3]" if side is None else f"[n, {side}, {side}, 3]"
        raise ValueError(f"images: expected {expected} uint8, pixels 0..255; found {list(shape)} {dtype}")


def _kind(array: np.ndarray) -> tuple[object, tuple[int, ...]]:
    """Return type and shape without copying an array from a device; a list gives its class name and ()."""
    return getattr(array, "dtype", type(array).__name__), tuple(getattr(array, "shape", ()))
