"""Names and types at the two borders of the data: the example on disk and the batch on the host.

On disk (TensorFlow Datasets features in ArrayRecord files, one record per group, so that reading at
random stays fast):

| feature       | stored as                      | meaning                                                        |
|---------------|--------------------------------|----------------------------------------------------------------|
| `image`       | PNG or JPEG bytes              | face crop, `[224, 224, 3] uint8`, RGB, or of its own size      |
| `parsing_map` | zlib of `[224, 224] uint8`     | parsing class of each pixel (`regions.CLASSES`); may be absent |
| `region_bits` | `[196] uint16`                 | class bits of each 16x16 patch, row by row; may be absent      |
| `source`      | text                           | path of the photo or video, below the root of the download     |
| `video`       | text                           | id of the video, unique within the split; of a photo its own   |
| `frame`       | int32                          | number of the frame in its video, -1 for a photo               |
| `label`       | int64                          | index into the class names of the card, -1 without label       |
| `method`      | text                           | manipulation or attack in the data set's words, "" for real    |
| `box`         | `[4] int32`                    | detector's box in the source: left, top, right, bottom; or -1  |
| `crop`        | `[3] int32`                    | the crop in the source: x, y, size; or -1                      |
| `score`       | float32                        | the detector's score, NaN if there was none                    |

Data sets of schema version 1 have the first four only.

In memory a batch is a dict of arrays under the keys below.
"""

import numpy as np

SCHEMA_VERSION = 2
IMAGE_SIZE = 224
BITS_PATCH_SIZE = 16  # the patch size for which `region_bits` is stored; others are computed from the map

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

# Further keys of a batch.
MASK = "mask"  # [B, N] bool, True = hidden from the online encoder
REGION_MASK = "region_mask"  # [B, N] bool, True = patch of the region that is covered completely
OTHER_MASK = "other_mask"  # [B, N] bool, an independent mask of the same image, for one ablation
POSITION = "position"  # [B] int64, place in the endless stream: every random choice is a function of it

# File beside the shards that says what the TFDS metadata has no place for.
CARD_FILE = "fsfm_card.json"


def check_image(image: np.ndarray) -> None:
    """Refuses what is not a picture `[H, W, 3] uint8` with at least one pixel; ValueError."""
    dtype, shape = _kind(image)
    if dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
        raise ValueError(f"image: expected [H, W, 3] uint8 with pixels; found {list(shape)} {dtype}")


def check_images(images: np.ndarray, side: int | None = None) -> None:
    """Refuses what are not pictures `[n, H, W, 3] uint8`, n from 0 on, H and W `side` if that is given; ValueError."""
    dtype, shape = _kind(images)
    wanted = shape[1:3] if side is None else (side, side)
    if dtype != np.uint8 or len(shape) != 4 or shape[1:] != (*wanted, 3) or 0 in shape[1:]:
        expected = "[n, H, W, 3]" if side is None else f"[n, {side}, {side}, 3]"
        raise ValueError(f"images: expected {expected} uint8, pixels 0..255; found {list(shape)} {dtype}")


def _kind(array: np.ndarray) -> tuple[object, tuple[int, ...]]:
    """Type and shape, without a copy of what may lie on a device; a list has neither."""
    return getattr(array, "dtype", type(array).__name__), tuple(getattr(array, "shape", ()))
