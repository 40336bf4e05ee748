"""Convert photos to sRGB by their ICC profile, or by the colour signal of HEIC, AVIF and PNG.

Networks are trained on sRGB. A profile equivalent to sRGB changes no pixel.
"""

import io

import numpy as np
from PIL import Image, ImageCms

from fsfm_jax.text import plain

SAME = 4  # grey levels between a profile and sRGB that are taken for rounding of the profile's curves
ROWS = 512  # converted at once, which bounds the memory
MODES = {"RGB": "RGB", "GRAY": "L"}
PROBES = np.stack(np.meshgrid(*[np.arange(0, 256, 51)] * 3, indexing="ij"), -1).reshape(1, -1, 3).astype(np.uint8)

# Numbers of ITU-T H.273. The matrices lead to linear BT.709, from BT.2087 and SMPTE EG 432-1.
TRANSFERS = {16: "PQ", 18: "HLG"}
PRIMARIES = {
    9: ("BT.2020", ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187))),
    12: ("Display P3", ((1.2249, -0.2247, 0.0), (-0.0420, 1.0419, 0.0), (-0.0197, -0.0786, 1.0979))),
}
REFERENCE_WHITE = 203.0  # cd/m2, of HDR pictures by BT.2408
KNEE = 0.6  # share of the reference white above which highlights are compressed


def by_profile(image: np.ndarray, profile: bytes) -> tuple[np.ndarray, str]:
    """Convert `[H, W, 3] uint8` to sRGB by an ICC profile; returns it with a note, "" if it was sRGB already."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = opened.profile.xcolor_space.strip()
        if space not in MODES:
            return image, f"taken without its {plain(space)} colour profile"
        name = plain(" ".join((opened.profile.profile_description or "an unnamed profile").split()))[:60]
        to = ImageCms.createProfile("sRGB")
        flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        transform = ImageCms.buildTransform(opened, to, MODES[space], "RGB", intent, flags)
        probes = PROBES if space == "RGB" else np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, 2)
        changed = _transform(probes, transform, MODES[space]).astype(int) - probes
        if np.abs(changed).max() <= SAME:
            return image, ""
        return _transform(image, transform, MODES[space]), f"colours converted from {name} to sRGB"
    # LittleCMS refuses damaged profiles, and Pillow raises several types for that.
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError):
        return image, "taken as sRGB: the colour profile is damaged"


def _transform(image: np.ndarray, transform: ImageCms.ImageCmsTransform, mode: str) -> np.ndarray:
    pixels = image if mode == "RGB" else np.ascontiguousarray(image[..., 0])
    parts = [Image.fromarray(pixels[start : start + ROWS]) for start in range(0, len(pixels), ROWS)]
    return np.concatenate([np.asarray(ImageCms.applyTransform(part, transform)) for part in parts])


def by_signal(image: np.ndarray, signal: tuple[int, int]) -> tuple[np.ndarray, str]:
    """Convert `[H, W, 3] uint8` to sRGB by primaries and transfer characteristics; returns it with a note or "".

    HDR (PQ, HLG) is tone-mapped: up to 0.6 of the reference white brightness stays, highlights above are compressed.
    """
    primaries, transfer = signal
    name, matrix = PRIMARIES.get(primaries, ("", np.eye(3)))
    if transfer not in TRANSFERS and not name:
        return image, ""
    codes = np.arange(256) / 255
    light = {16: _of_pq, 18: _of_hlg}.get(transfer, _of_srgb)(codes).astype(np.float32)
    matrix = np.asarray(matrix, np.float32).T
    strips = range(0, len(image), ROWS)
    done = np.concatenate([_map(light[image[at : at + ROWS]] @ matrix, transfer in TRANSFERS) for at in strips])
    if transfer in TRANSFERS:
        return done, f"HDR ({TRANSFERS[transfer]}) tone-mapped"
    return done, f"colours converted from {name} to sRGB"


def _map(linear: np.ndarray, bright: bool) -> np.ndarray:
    """Convert linear BT.709, 1 = reference white, to sRGB of 8 bits."""
    linear = np.maximum(linear, 0)
    if bright:
        brightest = np.maximum(linear.max(2, keepdims=True), np.float32(1e-6))
        room = 1 - KNEE
        above = KNEE + room * (1 - np.exp(-(np.maximum(brightest, KNEE) - KNEE) / room))
        linear = linear * np.where(brightest > KNEE, above, brightest) / brightest
    linear = np.minimum(linear, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * encoded).astype(np.uint8)


def _of_srgb(code: np.ndarray) -> np.ndarray:
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)


def _of_pq(code: np.ndarray) -> np.ndarray:
    """Decode SMPTE ST 2084 (PQ) to light in units of the reference white."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    root = code ** (1 / m2)
    return 10_000 / REFERENCE_WHITE * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)


def _of_hlg(code: np.ndarray) -> np.ndarray:
    """Decode BT.2100 HLG for a display of 1000 cd/m2, with its system gamma of 1.2 applied to each channel."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    return 1000 / REFERENCE_WHITE * scene**1.2
