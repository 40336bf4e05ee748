"""The 11 face-parsing classes, the 8 regions made of them, and which patches belong to a region.

Classes and order are those of the LaPa label set that FSFM parses faces into. A patch belongs to a region as
soon as one of its pixels does, so a patch may belong to several. The face boundary is defined on the
patch: it holds skin and, beside it, hair or background.

Membership is kept as one `uint16` of class bits per patch: bit `c` is set when class `c` has a pixel
there. Everything that masking asks about regions is a look-up in a table of 2**11 entries.
"""

import numpy as np

CLASSES = (
    "background", "skin", "right_brow", "left_brow", "right_eye", "left_eye",
    "nose", "upper_lip", "inner_mouth", "lower_lip", "hair",
)  # fmt: skip
NUM_CLASSES = len(CLASSES)
BACKGROUND, SKIN, NOSE, HAIR = 0, 1, 6, 10

# Priority order of the method: a patch of several regions counts for the first of them.
REGIONS = ("eyebrows", "eyes", "nose", "mouth", "boundary", "hair", "skin", "background")
REGION_CLASSES = ((2, 3), (4, 5), (6,), (7, 8, 9), (1, 10, 0), (10,), (1,), (0,))
NUM_COVERABLE = 6  # skin and background are never covered completely

# What a horizontal flip does to the classes: the person's right side becomes the left one.
FLIPPED_CLASS = np.array([0, 1, 3, 2, 5, 4, 6, 7, 8, 9, 10], np.uint8)

# The 19 classes of CelebAMask-HQ in the order in which BiSeNet face parsers give them, and ours for each. LaPa has no
# class for ears, neck, jewellery, clothes and hats: background. Glasses are skin: most of what their outline holds is
# skin behind the lenses, and which eye a pixel belongs to cannot be known. So a face with glasses may have no eyes.
CELEBAMASK_CLASSES = (
    "background", "skin", "l_brow", "r_brow", "l_eye", "r_eye", "eye_g", "l_ear", "r_ear", "ear_r",
    "nose", "mouth", "u_lip", "l_lip", "neck", "neck_l", "cloth", "hair", "hat",
)  # fmt: skip
CLASS_OF_CELEBAMASK = np.array([0, 1, 3, 2, 5, 4, 1, 0, 0, 0, 6, 8, 7, 9, 0, 0, 0, 10, 0], np.uint8)


def _class_bits() -> np.ndarray:
    """`[2**11, 11] bool`: which classes each bit pattern holds."""
    return (np.arange(2**NUM_CLASSES)[:, None] >> np.arange(NUM_CLASSES)) & 1 > 0


def _region_table() -> np.ndarray:
    holds = _class_bits()
    member = [holds[:, list(classes)].any(1) for classes in REGION_CLASSES]
    member[REGIONS.index("boundary")] = holds[:, SKIN] & (holds[:, HAIR] | holds[:, BACKGROUND])
    return np.stack(member, 1)


# [2**11, 8] bool: regions of a patch, by its class bits.
REGION_OF_BITS = _region_table()


def check_parsing_map(parsing_map: np.ndarray, size: int, name: str) -> np.ndarray:
    """Returns `parsing_map` as `[size, size] uint8`; `[1, size, size]` of any integer type is taken too.

    Raises:
      ValueError: wrong size, a type that is not integer, or a label outside 0..10; `name` is in the text.
    """
    flat = parsing_map[0] if parsing_map.ndim == 3 and parsing_map.shape[0] == 1 else parsing_map
    if flat.shape != (size, size):
        raise ValueError(
            f"parsing map of {name}: expected {size}x{size}, found {'x'.join(map(str, parsing_map.shape))}; "
            "parse the image at the size it is stored at"
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
    """Refuses what is not a parsing map `[H, W] uint8` with labels 0..10; ValueError. Takes microseconds."""
    dtype, shape = getattr(parsing_map, "dtype", type(parsing_map).__name__), getattr(parsing_map, "shape", ())
    if dtype != np.uint8 or len(shape) != 2 or 0 in shape:
        raise ValueError(f"parsing map: expected [H, W] uint8; found {list(shape)} {dtype}")
    if (highest := parsing_map.max()) >= NUM_CLASSES:
        raise ValueError(
            f"parsing map: labels up to {highest}, expected 0..{NUM_CLASSES - 1} ({', '.join(CLASSES)}); was it made "
            "by a parser with other classes?"
        )


def check_bits(bits: np.ndarray) -> None:
    """Refuses what are not class bits `[..., N]` of patches, integers below `2**11`; ValueError."""
    dtype, shape = getattr(bits, "dtype", np.dtype(object)), getattr(bits, "shape", ())
    if dtype.kind not in "iu" or not shape:
        raise ValueError(f"class bits: expected integers [..., N]; found {list(shape)} {dtype}")
    if bits.size and not 0 <= bits.min() <= bits.max() < 2**NUM_CLASSES:
        raise ValueError(
            f"class bits: expected 0..{2**NUM_CLASSES - 1}, a bit for each of {NUM_CLASSES} classes; found "
            f"{bits.min()}..{bits.max()}"
        )


def patch_bits(parsing_map: np.ndarray, patch_size: int) -> np.ndarray:
    """Class bits of every patch, `[H, W] uint8 -> [N] uint16`, patches row by row.

    One map at a time on purpose: a batch of maps does not fit the cache and is three times slower each.

    Raises:
      ValueError: another kind of map, or a map that is smaller than a patch.
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
    """Which of the eight regions each patch belongs to, `[..., N] uint16 -> [..., 8, N] bool`; ValueError."""
    check_bits(bits)
    return np.moveaxis(REGION_OF_BITS[bits], -1, -2)


def flip_map(parsing_map: np.ndarray) -> np.ndarray:
    """Mirrors a parsing map, `[H, W] uint8`, left to right, exchanging the left and right classes; ValueError."""
    check_labels(parsing_map)
    return np.ascontiguousarray(FLIPPED_CLASS[parsing_map[:, ::-1]])
