"""The five masking strategies, on class bits of patches, for a whole batch at once.

| name        | what is hidden                                                                              |
|-------------|---------------------------------------------------------------------------------------------|
| `random`    | patches drawn uniformly (MAE)                                                               |
| `fasking_i` | facial components first; background and skin stay visible (after MARLIN, for images)        |
| `frp`       | the same share of every facial region                                                       |
| `crfr_r`    | one random region completely, the rest uniformly                                            |
| `crfr_p`    | one random region completely, every other region in proportion (FSFM; default)              |

Every draw is a pure function of (seed, position in the stream), so a mask does not depend on hosts,
workers or batch size. There is no loop over patches or images: a strategy is one sort of
(region, random number, patch) per image, in slices of a batch that stay in the processor's cache.
"""

import dataclasses
from fractions import Fraction

import numpy as np

from fsfm_jax import regions
from fsfm_jax.data import counter_random

STRATEGIES = ("random", "fasking_i", "frp", "crfr_r", "crfr_p")
REGION_DRAWS = ("image", "batch")
COUNTS = ("exact", "released")

_SLICE = 128  # images per slice: 200 kB of sort keys
_NO_REGION = regions.NUM_COVERABLE  # row of the claim table in which no region is covered
_COVERED = 0  # group of the covered region's patches; region r has group r + 1
_GROUPS = len(regions.REGIONS) + 1

# MARLIN's queue of what stays visible: background, skin, then the components in random order.
_KEPT_FIRST = ((0,), (1,))
_COMPONENTS = ((2, 4), (3, 5), (6,), (7, 8, 9), (10,))


@dataclasses.dataclass(frozen=True)
class MaskSpec:
    """How masks are drawn.

    Attributes:
      strategy: one of `STRATEGIES`.
      ratio: share of hidden patches, 0 < ratio < 1.
      region_draw: the covered region is drawn per `image` (the paper) or once per `batch` (released code).
      count: `exact` hides N - K patches always; `released` repeats the truncations of the released code, where
        the count may be off by one when ratio * N is not whole.
    """

    strategy: str
    ratio: float
    region_draw: str
    count: str

    def __post_init__(self):
        for field, allowed in (("strategy", STRATEGIES), ("region_draw", REGION_DRAWS), ("count", COUNTS)):
            if getattr(self, field) not in allowed:
                raise ValueError(f"mask.{field}: expected one of {', '.join(allowed)}; found {getattr(self, field)!r}")
        if not 0 < self.ratio < 1:
            raise ValueError(f"mask.ratio: expected a number between 0 and 1, found {self.ratio}")


def seen_patches(patches: int, ratio: float) -> int:
    """Patches that stay visible, `floor(N (1 - ratio))` in exact arithmetic of the ratio as written.

    Raises:
      ValueError: nothing would be visible, or nothing hidden.
    """
    seen = int(patches * (1 - Fraction(str(ratio))))
    if not 0 < seen < patches:
        raise ValueError(f"mask.ratio {ratio} leaves {seen} of {patches} patches visible; choose another ratio")
    return seen


def draw_masks(
    spec: MaskSpec, bits: np.ndarray, positions: np.ndarray, seed: int, draw_group: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draws one mask per image.

    Args:
      bits: `[B, N] uint16`, class bits of the patches.
      positions: `[B] int64`, positions of the images in the stream.
      seed: draws with other seeds are independent.
      draw_group: with `region_draw="batch"`, images `k * draw_group ... (k + 1) * draw_group - 1` of the stream
        share the covered region.

    Returns:
      mask `[B, N] bool`, True = hidden, and region_mask `[B, N] bool`, the completely covered region, a subset
      of mask (empty for strategies without one and for images that lack the region).

    Raises:
      ValueError: bits or positions of another kind or shape.
    """
    regions.check_bits(bits)
    positions = np.asarray(positions)
    if bits.ndim != 2 or positions.shape != bits.shape[:1] or positions.dtype.kind not in "iu":
        raise ValueError(
            f"masks: expected bits [B, N] and integer positions [B]; found {list(bits.shape)}, "
            f"{list(positions.shape)} {positions.dtype}"
        )
    pieces = [
        _draw_slice(spec, bits[i : i + _SLICE], positions[i : i + _SLICE], seed, draw_group)
        for i in range(0, len(bits), _SLICE)
    ]
    return np.concatenate([p[0] for p in pieces]), np.concatenate([p[1] for p in pieces])


def draw_region(spec: MaskSpec, positions: np.ndarray, seed: int, draw_group: int) -> np.ndarray:
    """The region to cover for each image, `[B] int64`: uniform over the six coverable regions."""
    keys = positions if spec.region_draw == "image" else positions // draw_group
    return counter_random.integers(seed, "region", keys, regions.NUM_COVERABLE)


def _draw_slice(spec, bits, positions, seed, draw_group):
    images, patches = bits.shape
    seen = seen_patches(patches, spec.ratio)
    # The hidden patches to reach: whole, or the product that the released code truncates at every use.
    budget = np.float32(patches - seen if spec.count == "exact" else spec.ratio * patches)
    first = counter_random.bits(seed, "patches", positions, patches)
    second = counter_random.bits(seed, "correction", positions, patches)
    nothing = np.zeros((images, patches), bool)

    if spec.strategy == "random":
        return _toggle(nothing, ~nothing, np.full(images, int(budget)), second), nothing
    if spec.strategy == "fasking_i":
        visible = _fasking_visible(bits, seen, counter_random.bits(seed, "queue", positions, len(_COMPONENTS)))
        surplus = visible.sum(1) - (patches - int(budget))
        return ~_toggle(visible, visible, surplus, second), nothing

    if spec.strategy == "frp":
        region = np.full(images, _NO_REGION)
    else:
        region = draw_region(spec, positions, seed, draw_group)
    group = _CLAIM[region[:, None], bits]
    covered = group == _COVERED
    missing = np.trunc(budget - covered.sum(1, dtype=np.float32)).astype(np.int64)
    # The covered region alone reaches the budget: it is hidden as far as the budget goes, nothing else is.
    extreme = missing <= 0
    if spec.strategy == "crfr_r":
        mask, pool = covered, ~covered
    else:
        mask = _proportional(group, np.maximum(missing, 0), first)
        missing = np.trunc(budget - mask.sum(1, dtype=np.float32)).astype(np.int64)
        pool = np.where((missing > 0)[:, None], ~mask, mask & ~covered)
    pool = np.where(extreme[:, None], covered, pool)
    mask = _toggle(mask, pool, np.abs(missing), second)
    return mask, np.where(extreme[:, None], mask, covered)


def _claim_table() -> np.ndarray:
    """`[7, 2**11] uint8`: group of a patch by covered region and class bits; the first region in order wins."""
    member = regions.REGION_OF_BITS
    table = np.empty((regions.NUM_COVERABLE + 1, len(member)), np.uint8)
    for covered in range(len(table)):
        free = member.copy()
        if covered != _NO_REGION:
            free[:, covered] = False
        table[covered] = free.argmax(1) + 1
        if covered != _NO_REGION:
            table[covered, member[:, covered]] = _COVERED
    return table


_CLAIM = _claim_table()


def _proportional(group: np.ndarray, missing: np.ndarray, random: np.ndarray) -> np.ndarray:
    """Hides the covered group and the same share of every other, `[B, N] bool`.

    Share = missing / (N - covered); of a group of n patches `round(n * share)` are hidden, halves to even,
    all in float32 as in the released code.
    """
    images, patches = group.shape
    row = np.arange(images)[:, None]
    size = np.bincount((row * _GROUPS + group).ravel(), minlength=images * _GROUPS).reshape(images, _GROUPS)
    share = missing.astype(np.float32) / np.maximum(patches - size[:, _COVERED], 1).astype(np.float32)
    take = np.rint(size.astype(np.float32) * share[:, None]).astype(np.int64)
    take[:, _COVERED] = size[:, _COVERED]
    order, sorted_group = _sorted_patches(group, random)
    start = np.cumsum(size, axis=1) - size
    last = (start + take)[row, sorted_group]
    mask = np.empty((images, patches), bool)
    mask[row, order] = np.arange(patches) < last
    return mask


def _toggle(mask: np.ndarray, pool: np.ndarray, count: np.ndarray, random: np.ndarray) -> np.ndarray:
    """Flips `count [B]` random patches among `pool [B, N]` in `mask [B, N]`."""
    mask = mask.copy()
    todo = np.flatnonzero(count > 0)
    if len(todo):
        order, _ = _sorted_patches((~pool[todo]).astype(np.uint8), random[todo])
        flipped = np.zeros((len(todo), mask.shape[1]), bool)
        flipped[np.arange(len(todo))[:, None], order] = np.arange(mask.shape[1]) < count[todo, None]
        mask[todo] ^= flipped
    return mask


def _sorted_patches(group: np.ndarray, random: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Patches of each image by group, in random order inside a group: their indices and their groups."""
    patches = group.shape[1]
    # One integer per patch - 4 bits group, 48 random, 12 index - sorts several times faster than an argsort.
    keys = group.astype(np.uint64) << np.uint64(60)
    keys |= (random >> np.uint64(16)) << np.uint64(12)
    keys |= np.arange(patches, dtype=np.uint64)
    keys.sort(axis=1)
    return (keys & np.uint64(0xFFF)).astype(np.int64), (keys >> np.uint64(60)).astype(np.int64)


def _fasking_visible(bits: np.ndarray, seen: int, random: np.ndarray) -> np.ndarray:
    """At least `seen` visible patches: whole classes in the order of the queue until there are enough."""
    visible = np.zeros(bits.shape, bool)
    shuffled = random.argsort(axis=1)
    wanted = np.array([sum(1 << c for c in classes) for classes in (*_KEPT_FIRST, *_COMPONENTS)], np.uint16)
    for turn in range(len(wanted)):
        kept = turn < len(_KEPT_FIRST)
        classes = np.full(len(bits), wanted[turn]) if kept else wanted[len(_KEPT_FIRST) + shuffled[:, turn - 2]]
        open_rows = visible.sum(1) < seen
        visible |= ((bits & classes[:, None]) > 0) & open_rows[:, None]
    return visible
