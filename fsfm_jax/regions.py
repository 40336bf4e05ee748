"""The 11 face-parsing classes, the 8 regions made of them, and which patches belong to a region.

Classes and order are those of the LaPa label set, which FSFM uses for parsing. A patch belongs to a region if at least
one of its pixels does, so a patch may belong to several regions. A patch belongs to the face boundary if it contains
skin and also hair or background.

Membership is stored as one `uint16` of class bits per patch: bit `c` is set if class `c` has a pixel in the patch.
Masking looks up regions in a table of 2**11 entries.
"""

import numpy as np

CLASSES = (
    "background", "skin", "right_brow", "left_brow", "right_eye", "left_eye",
    "nose", "upper_lip", "inner_mouth", "lower_lip", "hair",
)  # fmt: skip
NUM_CLASSES = len(CLASSES)
BACKGROUND, SKIN, NOSE, HAIR = 0, 1, 6, 10

# Priority order of the method: a patch of several regions is assigned to the first of them.
REGIONS = ("eyebrows", "eyes", "nose", "mouth", "boundary", "hair", "skin", "background")
REGION_CLASSES = ((2, 3), (4, 5), (6,), (7, 8, 9), (1, 10, 0), (10,), (1,), (0,))
NUM_COVERABLE = 6  # skin and background are never covered completely

# The classes after a horizontal flip, which swaps the person's left and right side.
FLIPPED_CLASS = np.array([0, 1, 3, 2, 5, 4, 6, 7, 8, 9, 10], np.uint8)

# The 19 classes of CelebAMask-HQ in the output order of BiSeNet face parsers, and the LaPa class for each. LaPa has no
# class for ears, neck, jewellery, clothes and hats; they become background. Glasses become skin, because most of their
# area is skin behind the lenses, and the eye of a pixel is unknown. So a face with glasses may have no eyes.
CELEBAMASK_CLASSES = (
    "background", "skin", "l_brow", "r_brow", "l_eye", "r_eye", "eye_g", "l_ear", "r_ear", "ear_r",
    "nose", "mouth", "u_lip", "l_lip", "neck", "neck_l", "cloth", "hair", "hat",
)  # fmt: skip
CLASS_OF_CELEBAMASK = np.array([0, 1, 3, 2, 5, 4, 1, 0, 0, 0, 6, 8, 7, 9, 0, 0, 0, 10, 0], np.uint8)


def _class_bits() -> np.ndarray:
    """Return the classes in each bit pattern, `[2**11, 11] bool`."""
    return (np.arange(2**NUM_CLASSES)[:, None] >> np.arange(NUM_CLASSES)) & 1 > 0


def _region_table() -> np.ndarray:
    holds = _class_bits()
    member = [holds[:, list(classes)].any(1) for classes in REGION_CLASSES]
    member[REGIONS.index("boundary")] = holds[:, SKIN] & (holds[:, HAIR] | holds[:, BACKGROUND])
    return np.stack(member, 1)


# [2**11, 8] bool: regions of a patch, by its class bits.
REGION_OF_BITS = _region_table()


def check_parsing_map(parsing_map: np.ndarray, size: int, name: str) -> np.ndarray:
    """Return `parsing_map` as `[size, size] uint8`; accept `[1, size, size]` and any integer type.

    Raises:
      ValueError: if size or type is wrong, or a label is outside 0..10; the message contains `name`.
    """
    flat = parsing_map[0] if parsing_map.ndim == 3 and parsing_map.shape[0] == 1 else parsing_map
    if flat.shape != (size, size):
        raise ValueError(
            f"parsing map of {name}: expected {size}x{size}, found {'x'.join(map(str, parsing_map.shape))}; "
            "parse the image at its stored size"
        )
    if flat.dtype.kind not in "iu":
        raise ValueError(f"parsing map of {name}: expected integer class labels, found {flat.dtype}")
    low, high = int(flat.min()), int(flat.max())
    if low < 0 or high >= NUM_CLASSES:
        raise ValueError(
            f"parsing map of {name}: labels {low}..{high}, expected 0..{NUM_CLASSES - 1} "
            f"({', '.join(CLASSES)}); was it made by a parser with other classes?"
        )
    return flat.astype(np.uint8)


def check_labels(parsing_map: np.ndarray) -> None:
    """Raise ValueError unless `parsing_map` is `[H, W] uint8` with labels 0..10. This takes microseconds."""
    dtype, shape = getattr(parsing_map, "dtype", type(parsing_map).__name__), getattr(parsing_map, "shape", ())
    if dtype != np.uint8 or len(shape) != 2 or 0 in shape:
        raise ValueError(f"parsing map: expected [H, W] uint8; found {list(shape)} {dtype}")
    if (highest := parsing_map.max()) >= NUM_CLASSES:
        raise ValueError(
            f"parsing map: labels up to {highest}, expected 0..{NUM_CLASSES - 1} ({', '.join(CLASSES)}); was it made "
            "by a parser with other classes?"
        )


def check_bits(bits: np.ndarray) -> None:
    """Raise ValueError unless `bits` are class bits of patches, integers `[..., N]` from 0 to `2**11 - 1`."""
    dtype, shape = getattr(bits, "dtype", np.dtype(object)), getattr(bits, "shape", ())
    if dtype.kind not in "iu" or not shape:
        raise ValueError(f"class bits: expected integers [..., N]; found {list(shape)} {dtype}")
    if bits.size and not 0 <= bits.min() <= bits.max() < 2**NUM_CLASSES:
        raise ValueError(
            f"class bits: expected 0..{2**NUM_CLASSES - 1}, a bit for each of {NUM_CLASSES} classes; found "
            f"{bits.min()}..{bits.max()}"
        )


def patch_bits(parsing_map: np.ndarray, patch_size: int) -> np.ndarray:
    """Return the class bits of every patch, `[H, W] uint8 -> [N] uint16`, patches row by row.

    It takes one map at a time, because a batch of maps exceeds the cache and is three times slower per map.

    Raises:
      ValueError: if `parsing_map` is not a valid parsing map, or is smaller than a patch.
    """
    check_labels(parsing_map)
    if not 1 <= patch_size <= min(parsing_map.shape):
        raise ValueError(f"patch size: expected 1 to {min(parsing_map.shape)} pixels of this map; found {patch_size}")
    height, width = parsing_map.shape
    rows, columns = height // patch_size, width // patch_size
    bits = np.left_shift(np.uint16(1), parsing_map.astype(np.uint16))
    bits = bits[: rows * patch_size, : columns * patch_size].reshape(rows, patch_size, columns, patch_size)
    return np.bitwise_or.reduce(np.bitwise_or.reduce(bits, axis=3), axis=1).ravel()


def membership(bits: np.ndarray) -> np.ndarray:
    """Return the regions of each patch, `[..., N] uint16 -> [..., 8, N] bool`; raise ValueError for invalid bits."""
    check_bits(bits)
    return np.moveaxis(REGION_OF_BITS[bits], -1, -2)


def flip_map(parsing_map: np.ndarray) -> np.ndarray:
    """Flip a parsing map `[H, W] uint8` horizontally and swap left and right classes; raise ValueError if invalid."""
    check_labels(parsing_map)
    return np.ascontiguousarray(FLIPPED_CLASS[parsing_map[:, ::-1]])
