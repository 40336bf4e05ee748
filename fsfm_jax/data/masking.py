"""Draw masks with the masking strategies, from class bits of patches, for a whole batch at once.

`STRATEGIES` at the end of this file has a row for each; nothing else in the package uses their names.

Every draw is a pure function of (seed, position in the stream), so a mask does not depend on hosts,
workers or batch size. There is no loop over patches or images: a strategy is one sort of
(region, random number, patch) per image, in slices of a batch that fit into the processor's cache.
"""

import dataclasses
from fractions import Fraction

import numpy as np

from fsfm_jax import regions
from fsfm_jax.data import counter_random
from fsfm_jax.data.strategy import Faces, Strategy

REGION_DRAWS = ("image", "batch")
COUNTS = ("exact", "released")

_SLICE = 128  # images per slice: 200 kB of sort keys
MOST_PATCHES = 1 << 12  # patches of an image; the sort keys have 12 bits for them
_NO_REGION = regions.NUM_COVERABLE  # row of the claim table in which no region is covered
_COVERED = 0  # group of the covered region's patches; region r has group r + 1
_GROUPS = len(regions.REGIONS) + 1

# MARLIN's order of visible classes: background, skin, then the components in random order.
_KEPT_FIRST = ((0,), (1,))
_COMPONENTS = ((2, 4), (3, 5), (6,), (7, 8, 9), (10,))


@dataclasses.dataclass(frozen=True)
class MaskSpec:
    """How masks are drawn.

    Attributes:
      strategy: a key of `STRATEGIES`.
      ratio: share of hidden patches, 0 < ratio < 1.
      region_draw: the covered region is drawn per `image` (the paper) or once per `batch` (released code).
      count: `exact` always hides N - K patches; `released` repeats the truncations of the released code, whose
        count may be off by one if ratio * N is not an integer.
    """

    strategy: str
    ratio: float
    region_draw: str
    count: str
    # Part of the spec, so that loader processes get rows that were added in the main process.
    row: Strategy = dataclasses.field(init=False, compare=False, repr=False)

    def __post_init__(self):
        for field, allowed in (("strategy", STRATEGIES), ("region_draw", REGION_DRAWS), ("count", COUNTS)):
            if getattr(self, field) not in allowed:
                raise ValueError(f"mask.{field}: expected one of {', '.join(allowed)}; found {getattr(self, field)!r}")
        if not 0 < self.ratio < 1:
            raise ValueError(f"mask.ratio: expected a number between 0 and 1, found {self.ratio}")
        object.__setattr__(self, "row", STRATEGIES[self.strategy])


def seen_patches(patches: int, ratio: float) -> int:
    """Return the number of visible patches, `floor(N (1 - ratio))` in exact arithmetic on the ratio as written.

    Raises:
      ValueError: no patch would be visible or none hidden, or there are more patches than masks can be drawn for.
    """
    if patches > MOST_PATCHES:
        raise ValueError(f"masks: expected at most {MOST_PATCHES} patches of an image; found {patches}")
    seen = int(patches * (1 - Fraction(str(ratio))))
    if not 0 < seen < patches:
        raise ValueError(f"mask.ratio {ratio} leaves {seen} of {patches} patches visible; choose another ratio")
    return seen


def draw_masks(
    spec: MaskSpec, bits: np.ndarray, positions: np.ndarray, seed: int, draw_group: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one mask per image.

    Args:
      bits: `[B, N] uint16`, class bits of the patches.
      positions: `[B] int64`, positions of the images in the stream.
      seed: draws with other seeds are independent.
      draw_group: with `region_draw="batch"`, images `k * draw_group ... (k + 1) * draw_group - 1` of the stream
        share the covered region.

    Returns:
      mask `[B, N] bool`, True = hidden, and region_mask `[B, N] bool`, the completely covered region, a subset
      of mask (empty for strategies without one, and for images that lack the region).

    Raises:
      ValueError: bits or positions have another shape or dtype.
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
    """Draw the region to cover for each image, `[B] int64`: uniform over the six coverable regions."""
    keys = positions if spec.region_draw == "image" else positions // draw_group
    return counter_random.integers(seed, "region", keys, regions.NUM_COVERABLE)


def covered_names(spec: MaskSpec, positions: np.ndarray, seed: int, draw_group: int) -> list[str]:
    """Return the name of the region to cover for each image, for captions; "" for strategies that cover none."""
    if not spec.row.covers_region:
        return [""] * len(positions)
    return [regions.REGIONS[region] for region in draw_region(spec, positions, seed, draw_group)]


def _draw_slice(spec, bits, positions, seed, draw_group):
    patches = bits.shape[1]
    seen = seen_patches(patches, spec.ratio)
    budget = np.float32(patches - seen if spec.count == "exact" else spec.ratio * patches)
    region = draw_region(spec, positions, seed, draw_group) if spec.row.covers_region else None
    mask, covered = spec.row.draw(Faces(bits, region, seen, budget, seed, positions))
    if (mask.shape, mask.dtype, covered.shape, covered.dtype) != (bits.shape, bool) * 2:
        raise ValueError(
            f"mask.strategy {spec.strategy}: expected two masks {list(bits.shape)} bool; found {list(mask.shape)} "
            f"{mask.dtype} and {list(covered.shape)} {covered.dtype}"
        )
    hidden = _count(mask)
    if spec.count == "exact" and (hidden != patches - seen).any():
        wrong = hidden[hidden != patches - seen][0]
        raise ValueError(
            f"mask.strategy {spec.strategy}: expected {patches - seen} of {patches} patches hidden, found {wrong}"
        )
    return mask, covered


def _draw_random(faces):
    return _toggle(faces.none, ~faces.none, np.full(len(faces.bits), int(faces.budget)), _second(faces)), faces.none


def _draw_fasking_i(faces):
    visible = _fasking_visible(faces.bits, faces.seen, faces.random("queue", len(_COMPONENTS)))
    surplus = _count(visible).astype(np.int64) - (faces.bits.shape[1] - int(faces.budget))
    return ~_toggle(visible, visible, surplus, _second(faces)), faces.none


def _draw_frp(faces):
    return _cover(faces, np.full(len(faces.bits), _NO_REGION), proportional=True)


def _draw_crfr_r(faces):
    return _cover(faces, faces.region, proportional=False)


def _draw_crfr_p(faces):
    return _cover(faces, faces.region, proportional=True)


def _cover(faces: Faces, region: np.ndarray, proportional: bool) -> tuple[np.ndarray, np.ndarray]:
    """Hide `region [B]` completely, then the missing number of others: the same share of every region, or any."""
    group = _CLAIM[region[:, None], faces.bits]
    covered = group == _COVERED
    missing = _missing(faces, covered)
    # If the covered region alone exceeds the budget, only the budget's number of its patches is hidden.
    extreme = missing <= 0
    if proportional:
        mask = _proportional(group, np.maximum(missing, 0), faces.random("patches", group.shape[1]))
        missing = _missing(faces, mask)
        pool = np.where((missing > 0)[:, None], ~mask, mask & ~covered)
    else:
        mask, pool = covered, ~covered
    pool = np.where(extreme[:, None], covered, pool)
    mask = _toggle(mask, pool, np.abs(missing), _second(faces))
    return mask, np.where(extreme[:, None], mask, covered)


def _second(faces: Faces) -> np.ndarray:
    return faces.random("correction", faces.bits.shape[1])


def _missing(faces: Faces, mask: np.ndarray) -> np.ndarray:
    return np.trunc(faces.budget - _count(mask).astype(np.float32)).astype(np.int64)


def _count(mask: np.ndarray) -> np.ndarray:
    """Count per row, `[B, N] bool -> [B] uint16`; as bytes, since NumPy counts rows of booleans four times slower."""
    return mask.view(np.uint8).sum(1, dtype=np.uint16)


def _claim_table() -> np.ndarray:
    """Return `[7, 2**11] uint8`: group of a patch by covered region and class bits; the first region in order wins."""
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
    """Hide the covered group and the same share of every other, `[B, N] bool`.

    Share = missing / (N - covered). A group of n patches loses `round(n * share)`, rounding half to even,
    all in float32 as in the released code.
    """
    images, patches = group.shape
    row = np.arange(images)[:, None]
    size = np.bincount((row * _GROUPS + group).ravel(), minlength=images * _GROUPS).reshape(images, _GROUPS)
    share = missing.astype(np.float32) / np.maximum(patches - size[:, _COVERED], 1).astype(np.float32)
    take = np.rint(size.astype(np.float32) * share[:, None]).astype(np.int64)
    take[:, _COVERED] = size[:, _COVERED]
    order, sorted_group = _sort_patches(group, random)
    start = np.cumsum(size, axis=1) - size
    last = (start + take)[row, sorted_group]
    mask = np.empty((images, patches), bool)
    mask[row, order] = np.arange(patches) < last
    return mask


def _toggle(mask: np.ndarray, pool: np.ndarray, count: np.ndarray, random: np.ndarray) -> np.ndarray:
    """Flip `count [B]` random patches among `pool [B, N]` in `mask [B, N]`."""
    mask = mask.copy()
    todo = np.flatnonzero(count > 0)
    if len(todo):
        order, _ = _sort_patches((~pool[todo]).astype(np.uint8), random[todo])
        flipped = np.zeros((len(todo), mask.shape[1]), bool)
        flipped[np.arange(len(todo))[:, None], order] = np.arange(mask.shape[1]) < count[todo, None]
        mask[todo] ^= flipped
    return mask


def _sort_patches(group: np.ndarray, random: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sort the patches of each image by group, in random order within a group; return their indices and groups."""
    patches = group.shape[1]
    # One integer per patch - 4 bits group, 48 random, 12 index - sorts several times faster than an argsort.
    keys = group.astype(np.uint64) << np.uint64(60)
    keys |= (random >> np.uint64(16)) << np.uint64(12)
    keys |= np.arange(patches, dtype=np.uint64)
    keys.sort(axis=1)
    return (keys & np.uint64(0xFFF)).astype(np.int64), (keys >> np.uint64(60)).astype(np.int64)


def _fasking_visible(bits: np.ndarray, seen: int, random: np.ndarray) -> np.ndarray:
    """Return at least `seen` visible patches: whole classes in queue order until there are enough."""
    visible = np.zeros(bits.shape, bool)
    shuffled = random.argsort(axis=1)
    wanted = np.array([sum(1 << c for c in classes) for classes in (*_KEPT_FIRST, *_COMPONENTS)], np.uint16)
    for turn in range(len(wanted)):
        kept = turn < len(_KEPT_FIRST)
        classes = np.full(len(bits), wanted[turn]) if kept else wanted[len(_KEPT_FIRST) + shuffled[:, turn - 2]]
        open_rows = visible.sum(1) < seen
        visible |= ((bits & classes[:, None]) > 0) & open_rows[:, None]
    return visible


STRATEGIES = {
    "random": Strategy(_draw_random, "Random", "Hides patches drawn uniformly from the whole image, as in MAE."),
    "fasking_i": Strategy(
        _draw_fasking_i, "Fasking-I",
        "Shows background first, then skin, then whole facial components in random order, until enough is visible; "
        "a surplus is hidden at random (after MARLIN).",
    ),
    "frp": Strategy(_draw_frp, "FRP", "Hides the same share of every region; no region is covered completely."),
    "crfr_r": Strategy(
        _draw_crfr_r, "CRFR-R",
        "Covers one random region completely (eyebrows, eyes, nose, mouth, boundary or hair), then hides patches drawn "
        "uniformly from the rest.",
        covers_region=True,
    ),
    "crfr_p": Strategy(
        _draw_crfr_p, "CRFR-P",
        "Covers one random region completely (eyebrows, eyes, nose, mouth, boundary or hair), then hides the same "
        "share of every other region (FSFM).",
        covers_region=True,
    ),
}  # fmt: skip
DEFAULT = "crfr_p"  # strategy shown in galleries and on the page
