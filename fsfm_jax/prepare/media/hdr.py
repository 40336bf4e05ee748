"""High dynamic range to ordinary video: HLG and PQ of ITU-R BT.2100 to 8-bit sRGB, the same curve for every frame.

    1. Light of the display in cd/m2: PQ as BT.2100 defines it; HLG as on a display of 1000 cd/m2, whose system gamma is
       1.2: `L = 1000 * Y ** 0.2 * E` with the scene light `E` and its luminance `Y` (0.2627, 0.6780, 0.0593).
    2. The largest of R, G and B, over the 203 cd/m2 of diffuse white (BT.2408), becomes `0.8 x` up to diffuse white,
       and `0.8 + 0.8 u / (1 + c u)` of `u = x - 1` above it, with the `c` that takes the peak of 1000 cd/m2 to 1
       (Reinhard's curve as a shoulder). R, G and B are scaled alike, so hues stay.
    3. Primaries of BT.2020 to those of BT.709, clipped; then the curve of sRGB.
"""

import numpy as np

HLG, PQ = 18, 16  # numbers of transfer functions in ITU-T H.273
PEAK, WHITE = 1000.0, 203.0  # cd/m2
WHITE_TO = 0.8  # linear light that diffuse white gets, 231 of 255
LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)
# BT.2087: from BT.2020 to BT.709, linear light.
TO_709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
STEPS = 4096  # of the tables of inputs and of outputs


def tone_mapped(image: np.ndarray, transfer: int) -> np.ndarray:
    """Map `[H, W, 3] uint16` R'G'B' of BT.2020, full range, with the transfer `HLG` or `PQ`, to `[H, W, 3] uint8`."""
    light = np.empty(image.shape, np.float32)
    table = _light(transfer)
    for row in range(0, len(image), 64):  # in strips that stay in the cache
        part = table[image[row : row + 64] >> 4]
        if transfer == HLG:
            part *= np.maximum(part @ LUMINANCE, 1e-6)[..., None] ** 0.2
        part /= WHITE / PEAK
        brightest = part.max(axis=2, keepdims=True)
        part *= _compress(brightest) / np.maximum(brightest, 1e-6)
        light[row : row + 64] = part @ TO_709.T
    return _srgb()[(np.clip(light, 0, 1) * (STEPS - 1) + 0.5).astype(np.uint16)]


def _light(transfer: int) -> np.ndarray:
    """Return `[STEPS] float32`: scene light of HLG, or light of PQ over `PEAK`, for equal steps of the signal."""
    signal = np.linspace(0, 1, STEPS)
    if transfer == HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12).astype(np.float32)
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    root = signal ** (1 / m2)
    light = 10000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    return (np.minimum(light, PEAK) / PEAK).astype(np.float32)


def _compress(x: np.ndarray) -> np.ndarray:
    """Map light over diffuse white to 0..1: 1 gives `WHITE_TO`, and the peak gives 1."""
    above = np.maximum(x - 1, 0)
    most = PEAK / WHITE - 1
    bend = (WHITE_TO * most / (1 - WHITE_TO) - 1) / most
    return WHITE_TO * np.minimum(x, 1) + WHITE_TO * above / (1 + bend * above)


def _srgb() -> np.ndarray:
    """Return sRGB values `[STEPS] uint8` for equal steps of linear light."""
    light = np.linspace(0, 1, STEPS)
    curve = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(255 * curve).astype(np.uint8)
