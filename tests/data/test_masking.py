"""Masks: the official numbers, exact counts for everybody, and each strategy on cases computed by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsfm_jax import regions
from fsfm_jax.data import masking
from fsfm_jax.data.masking import (
    COUNTS,
    REGION_DRAWS,
    STRATEGIES,
    MaskSpec,
    draw_masks,
    draw_region,
    seen_patches,
)
from fsfm_jax.data.strategy import Strategy

BACKGROUND, SKIN, BROW, EYE, NOSE, LIP, HAIR = (1 << c for c in (0, 1, 2, 4, 6, 7, 10))
EYEBROWS_R, EYES_R, NOSE_R, MOUTH_R, BOUNDARY_R, HAIR_R = range(6)
SEED = 1


def spec(strategy: str, ratio: float = 0.75, region_draw: str = "image", count: str = "exact") -> MaskSpec:
    return MaskSpec(strategy, ratio, region_draw, count)


@pytest.fixture
def force(monkeypatch):
    """`force(r)`: region `r` is covered in every image; `force(array)`: region `array[position]`."""

    def force(region) -> None:
        def at(spec, positions, seed, draw_group):
            return np.full(len(positions), region) if np.ndim(region) == 0 else region[positions]

        monkeypatch.setattr(masking, "draw_region", at)

    return force


@pytest.fixture(scope="module")
def maps_bits(golden) -> np.ndarray:
    """`[27, 196] uint16`: class bits of the golden parsing maps."""
    return np.stack([regions.patch_bits(m.astype(np.uint8), 16) for m in golden("masks")["parsing_maps"]])


def row_of(*groups: tuple[int, int]) -> np.ndarray:
    """`[N] uint16`: `(bits, n)` pairs give n patches of these bits each."""
    return np.concatenate([np.full(n, bits, np.uint16) for bits, n in groups])


def many(row: np.ndarray, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """The same image at `draws` positions."""
    return np.tile(row, (draws, 1)), np.arange(draws)


def random_bits(seed: int, images: int, patches: int) -> np.ndarray:
    """Images of every kind: patches of one class or of many, few classes or all, no face at all."""
    generator = np.random.default_rng(seed)
    single = np.uint16(1) << generator.integers(0, 11, (images, patches)).astype(np.uint16)
    mixed = generator.integers(1, 2**11, (images, patches)).astype(np.uint16)
    sparse = np.where(generator.random((images, patches)) < generator.random((images, 1)), single, BACKGROUND)
    kind = generator.integers(0, 4, (images, 1))
    return np.select([kind == 0, kind == 1, kind == 2], [single, mixed, sparse], BACKGROUND).astype(np.uint16)


def assert_frequency(hidden: np.ndarray, probability: float) -> None:
    """Each column's share of True is `probability`, within 5 standard errors of a Bernoulli mean."""
    error = np.sqrt(probability * (1 - probability) / len(hidden))
    np.testing.assert_allclose(hidden.mean(0), probability, rtol=0, atol=5 * error)


# The official numbers.


def naive_claims(member: np.ndarray, covered: int) -> list[np.ndarray]:
    """Patches of the other seven regions in order, each without what the covered or an earlier one has."""
    claimed, candidates = member[covered].copy(), []
    for region in range(len(member)):
        if region != covered:
            candidates.append(member[region] & ~claimed)
            claimed |= member[region]
    return candidates


def test_sizes_of_every_stage_are_the_official_ones(golden, maps_bits, force, monkeypatch):
    official = golden("masks")
    corrected = []

    def toggle(mask, pool, count, random):
        corrected.append((mask, pool, count))
        return original(mask, pool, count, random)

    original = masking._toggle
    monkeypatch.setattr(masking, "_toggle", toggle)
    force(np.tile(np.arange(6), 27))
    draw_masks(spec("crfr_p"), np.repeat(maps_bits, 6, 0), np.arange(27 * 6), SEED, 1)
    before, pool, count = (np.concatenate(parts) for parts in zip(*corrected, strict=True))

    extreme = 0
    for index in range(27 * 6):
        image, covered = divmod(index, 6)
        member, wanted = official["region_member"][image], official["stage_pool_and_take"][image, covered]
        correction = [pool[index].sum(), count[index]]
        if member[covered].sum() >= 147:
            extreme += 1
            found = [correction]
        else:
            claims = naive_claims(member, covered)
            found = [[claim.sum(), (before[index] & claim).sum()] for claim in claims] + [correction]
        np.testing.assert_array_equal(found, wanted[: len(found)], err_msg=f"map {image}, region {covered}")
        assert np.all(wanted[len(found) :] == -1)
    assert extreme > 0


def test_counts_and_probabilities_are_the_official_ones(golden, maps_bits, force):
    official, draws = golden("masks"), int(golden("masks")["runs"])
    force(np.repeat(np.arange(6), draws))
    for image, bits in enumerate(maps_bits):
        drawn = draw_masks(spec("crfr_p"), np.tile(bits, (6 * draws, 1)), np.arange(6 * draws), SEED + image, 1)
        mask, region_mask = (array.reshape(6, draws, 196) for array in drawn)
        assert np.all(mask.sum(2) == 147)
        np.testing.assert_array_equal(official["masked_count_min"][image], 147)
        np.testing.assert_array_equal(region_mask.sum(2).min(1), official["fr_count_min"][image])
        np.testing.assert_array_equal(region_mask.sum(2).max(1), official["fr_count_max"][image])
        plain = official["fr_mask_initial"][image].sum(1) <= 147
        for covered in np.flatnonzero(plain):
            assert np.all(region_mask[covered] == official["fr_mask_initial"][image, covered])
        assert np.all(region_mask[~plain] == mask[~plain])

        # Both samples are finite: the difference of two shares of n draws has variance 2 p (1 - p) / n.
        for ours, name in ((mask, "mask_probability"), (region_mask, "fr_mask_probability")):
            found, wanted = ours.mean(1), official[name][image].astype(np.float64)
            pooled = (found + wanted) / 2
            error = np.sqrt(2 * pooled * (1 - pooled) / draws)
            # 1e-6: the golden shares are float32; it also asks for equality where nothing is random.
            assert np.all(np.abs(found - wanted) <= 5 * error + 1e-6), (image, name)

        member = official["region_member"][image]
        hidden = mask.astype(np.float32) @ member.T.astype(np.float32)  # [6, draws, 8], whole numbers
        mean, deviation = hidden.mean(1, dtype=np.float64), hidden.std(1, dtype=np.float64)
        error = np.sqrt((deviation**2 + official["group_masked_std"][image].astype(np.float64) ** 2) / draws)
        difference = np.abs(mean - official["group_masked_mean"][image])
        assert np.all(difference <= 5 * error + 1e-4), image  # 1e-4: float32 of numbers up to 196
        # Variance of a variance over n draws: (fourth central moment - variance ** 2) / n, for both samples.
        fourth = ((hidden - mean[:, None]) ** 4).mean(1)
        error = np.sqrt(2 * np.maximum(fourth - deviation**4, 0) / draws)
        difference = np.abs(deviation**2 - official["group_masked_std"][image].astype(np.float64) ** 2)
        assert np.all(difference <= 5 * error + 1e-3), image


# What holds for every mask.


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    ratio=st.one_of(st.floats(1e-4, 0.98), st.sampled_from([0.35, 0.5, 0.65, 0.75, 0.85])),
    strategy=st.sampled_from(list(STRATEGIES)),
    region_draw=st.sampled_from(REGION_DRAWS),
    grid=st.sampled_from([8, 14, 16]),
)
def test_hidden_and_seen_patches_add_up_and_the_region_is_covered_or_fills_the_mask(
    seed, ratio, strategy, region_draw, grid
):
    chosen, patches, positions = spec(strategy, ratio, region_draw), grid * grid, np.arange(9) + seed
    bits = random_bits(seed, 9, patches)
    mask, region_mask = draw_masks(chosen, bits, positions, seed, 4)
    assert mask.shape == region_mask.shape == (9, patches) and mask.dtype == region_mask.dtype == bool
    assert np.all(mask.sum(1) + seen_patches(patches, ratio) == patches)
    assert np.all(mask[region_mask])
    if strategy in ("crfr_r", "crfr_p"):
        drawn = regions.membership(bits)[np.arange(9), draw_region(chosen, positions, seed, 4)]
        extreme = drawn.sum(1) >= patches - seen_patches(patches, ratio)
        np.testing.assert_array_equal(region_mask, np.where(extreme[:, None], mask, drawn))
        assert not (region_mask & ~drawn).any()


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("region_draw", REGION_DRAWS)
def test_a_mask_does_not_depend_on_the_rest_of_its_batch(strategy, region_draw):
    # 300 images are three slices; neither their borders nor the order may show.
    chosen, bits, positions = (
        spec(strategy, 0.65, region_draw), random_bits(0, 300, 196), np.arange(1000, 1300),
    )  # fmt: skip
    order = np.random.default_rng(0).permutation(300)
    whole = draw_masks(chosen, bits, positions, SEED, 8)
    shuffled = draw_masks(chosen, bits[order], positions[order], SEED, 8)
    pieces = [draw_masks(chosen, bits[part], positions[part], SEED, 8) for part in (slice(77), slice(77, 300))]
    for index, array in enumerate(whole):
        np.testing.assert_array_equal(shuffled[index], array[order])
        np.testing.assert_array_equal(np.concatenate([piece[index] for piece in pieces]), array)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_mask_depends_on_seed_and_position(strategy):
    # Two masks are equal by chance with less than 1e-9: several groups of patches are drawn from.
    bits = np.tile(row_of((BACKGROUND, 80), (SKIN, 60), (BROW, 14), (EYE, 14), (LIP, 14), (HAIR, 14)), (50, 1))
    first = draw_masks(spec(strategy), bits, np.arange(50), SEED, 1)[0]
    again = draw_masks(spec(strategy), bits, np.arange(50), SEED, 1)[0]
    other = draw_masks(spec(strategy), bits, np.arange(50), SEED + 1, 1)[0]
    np.testing.assert_array_equal(first, again)
    assert len(np.unique(np.concatenate([first, other]), axis=0)) == 100


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("count", COUNTS)
def test_an_image_without_a_face_gets_a_mask(strategy, count):
    mask, region_mask = draw_masks(spec(strategy, count=count), *many(row_of((BACKGROUND, 196)), 3000), SEED, 1)
    assert np.all(mask.sum(1) == 147) and not region_mask.any()
    assert_frequency(mask, 0.75)


def test_an_image_without_the_drawn_region_gets_the_mask_of_frp(force):
    force(HAIR_R)
    bits, positions = many(
        row_of((BACKGROUND, 90), (SKIN | BACKGROUND, 23), (SKIN, 61), (EYE, 9), (LIP | SKIN, 13)), 50
    )
    mask, region_mask = draw_masks(spec("crfr_p"), bits, positions, SEED, 1)
    np.testing.assert_array_equal(mask, draw_masks(spec("frp"), bits, positions, SEED, 1)[0])
    assert not region_mask.any()


# The covered region.


def test_the_covered_region_is_uniform_over_six():
    drawn = draw_region(spec("crfr_p"), np.arange(60_000), SEED, 1)
    assert drawn.min() == 0 and drawn.max() == 5
    assert_frequency(drawn[:, None] == np.arange(6), 1 / 6)
    # Neighbours are independent: all 36 pairs are as frequent.
    pairs = drawn[0::2] * 6 + drawn[1::2]
    assert_frequency(pairs[:, None] == np.arange(36), 1 / 36)


def test_a_batch_shares_its_region_and_batches_differ():
    # Regions that do not overlap tell by the region mask which one was drawn.
    row = row_of((BROW, 4), (EYE, 4), (NOSE, 4), (LIP, 4), (SKIN | BACKGROUND, 4), (HAIR, 4), (BACKGROUND, 172))
    positions = np.arange(5, 5 + 16 * 60)  # begins within a group
    mask, region_mask = draw_masks(spec("crfr_p", region_draw="batch"), np.tile(row, (960, 1)), positions, SEED, 16)
    drawn = region_mask[:, :24].reshape(-1, 6, 4).all(2).argmax(1)
    assert np.all(region_mask.sum(1) == 4) and np.all(mask.sum(1) == 147)
    groups = [drawn[positions // 16 == group] for group in range(61)]
    assert all(len(set(group)) == 1 for group in groups)
    assert {group[0] for group in groups} == set(range(6))


@pytest.mark.parametrize("strategy", ["crfr_r", "crfr_p"])
def test_a_region_of_or_beyond_the_budget_is_hidden_as_far_as_it_goes(force, strategy):
    force(HAIR_R)
    mask, region_mask = draw_masks(spec(strategy), *many(row_of((HAIR, 180), (SKIN, 16)), 3000), SEED, 1)
    np.testing.assert_array_equal(mask, region_mask)
    assert np.all(mask.sum(1) == 147) and not mask[:, 180:].any()
    assert_frequency(mask[:, :180], 147 / 180)
    mask, region_mask = draw_masks(spec(strategy), *many(row_of((HAIR, 147), (SKIN, 49)), 20), SEED, 1)
    np.testing.assert_array_equal(mask, np.tile(np.arange(196) < 147, (20, 1)))
    np.testing.assert_array_equal(region_mask, mask)


# CRFR-P by hand.


def test_a_patch_counts_for_its_first_region_and_halves_round_to_even(force):
    # 16 patches, 10 hidden, nose covers 4: 6 of the other 12, share 1/2. Brow 1 -> 0.5 -> 0; eyes 3 -> 1.5
    # -> 2; mouth 5 -> 2.5 -> 2; skin 3 -> 1.5 -> 2; together the missing 6, nothing to correct.
    force(NOSE_R)
    row = row_of((NOSE | BROW, 1), (NOSE, 3), (BROW | EYE, 1), (EYE | LIP, 3), (LIP | SKIN, 5), (SKIN, 3))
    mask, region_mask = draw_masks(spec("crfr_p", 0.625), *many(row, 400), SEED, 1)
    np.testing.assert_array_equal(region_mask, np.tile(np.arange(16) < 4, (400, 1)))
    ends = np.cumsum([0, 4, 1, 3, 5, 3])
    for start, end, hidden in zip(ends, ends[1:], (4, 0, 2, 2, 2), strict=False):
        assert np.all(mask[:, start:end].sum(1) == hidden)
        assert_frequency(mask[:, start:end], hidden / (end - start))


@pytest.mark.parametrize(("hidden", "of_groups", "of_skin"), [
        # 9 hidden, share 5/12: five groups of 1 -> 0.42 -> 0, skin 7 -> 2.92 -> 3; the two that are missing come from
        # the 9 visible patches, whatever their region.
        (9, 2 / 9, 3 / 7 + 4 / 7 * 2 / 9),
        # 12 hidden, share 2/3: five groups of 1 -> 0.67 -> 1, skin 7 -> 4.67 -> 5: 14 are hidden, and 2 of the 10
        # outside the nose are uncovered again.
        (12, 8 / 10, 5 / 7 * 8 / 10),
    ])  # fmt: skip
def test_too_few_are_made_up_from_all_visible_patches_and_too_many_uncovered(force, hidden, of_groups, of_skin):
    force(NOSE_R)  # 4 of 16 patches
    row = row_of((NOSE, 4), (BROW, 1), (EYE, 1), (LIP, 1), (HAIR, 1), (BACKGROUND, 1), (SKIN, 7))
    mask, _ = draw_masks(spec("crfr_p", hidden / 16), *many(row, 6000), SEED, 1)
    assert mask[:, :4].all() and np.all(mask.sum(1) == hidden)
    assert_frequency(mask[:, 4:9], of_groups)
    assert_frequency(mask[:, 9:], of_skin)


# The other strategies.


def test_random_hides_every_patch_as_often_and_ignores_regions(maps_bits):
    bits = np.tile(maps_bits[0], (4000, 1))
    mask, region_mask = draw_masks(spec("random"), bits, np.arange(4000), SEED, 1)
    assert_frequency(mask, 0.75)
    assert not region_mask.any()
    other = draw_masks(spec("random"), np.full_like(bits, BACKGROUND), np.arange(4000), SEED, 1)[0]
    np.testing.assert_array_equal(mask, other)


def test_crfr_r_is_uniform_outside_the_covered_region(maps_bits, force):
    force(EYES_R)
    eyes = regions.membership(maps_bits[0])[EYES_R]
    mask, region_mask = draw_masks(spec("crfr_r"), np.tile(maps_bits[0], (4000, 1)), np.arange(4000), SEED, 1)
    assert 0 < eyes.sum() < 147 and np.all(region_mask == eyes) and mask[:, eyes].all()
    assert_frequency(mask[:, ~eyes], (147 - eyes.sum()) / (196 - eyes.sum()))


def test_frp_hides_the_same_share_of_every_region():
    sizes = (4, 8, 12, 16, 20, 24, 28, 84)  # multiples of 4: three quarters are whole
    classes = (BROW | HAIR, EYE | SKIN, NOSE | SKIN, LIP, SKIN | HAIR, HAIR | BACKGROUND, SKIN, BACKGROUND)
    row = row_of(*zip(classes, sizes, strict=True))
    mask, region_mask = draw_masks(spec("frp"), *many(row, 200), SEED, 1)
    hidden = np.add.reduceat(mask, np.cumsum([0, *sizes[:-1]]), axis=1, dtype=int)
    np.testing.assert_array_equal(hidden, np.tile(np.array(sizes) * 3 // 4, (200, 1)))
    assert not region_mask.any()


def test_fasking_hides_components_before_skin_before_background():
    components = [(BROW | EYE, 30), (NOSE, 30), (LIP, 30), (HAIR, 30)]
    # Background alone is enough for the 49 visible patches; a patch with any background pixel is background.
    row = row_of((BACKGROUND, 40), (BACKGROUND | HAIR, 20), (SKIN, 16), *components)
    mask, region_mask = draw_masks(spec("fasking_i"), *many(row, 4000), SEED, 1)
    assert mask[:, 60:].all() and np.all(mask.sum(1) == 147) and not region_mask.any()
    assert_frequency(mask[:, :60], 11 / 60)
    # Background and skin together are exactly enough.
    row = row_of((BACKGROUND, 30), (SKIN | HAIR, 19), *components, (HAIR, 27))
    mask, _ = draw_masks(spec("fasking_i"), *many(row, 50), SEED, 1)
    np.testing.assert_array_equal(mask, np.tile(np.arange(196) >= 49, (50, 1)))


def test_fasking_shows_components_in_random_order_once_skin_is_used_up():
    # Background and skin are 40 of the 49 visible patches; any component is enough for the rest.
    right, left = 1 << 2 | 1 << 4, 1 << 3 | 1 << 5  # brow and eye of a side are one component
    sizes, classes = (31, 31, 31, 31, 32), (right, left, NOSE, LIP, HAIR)
    row = row_of((BACKGROUND, 30), (SKIN, 10), *zip(classes, sizes, strict=True))
    mask, _ = draw_masks(spec("fasking_i"), *many(row, 5000), SEED, 1)
    assert np.all(mask.sum(1) == 147)
    shown = np.add.reduceat(~mask, np.cumsum([0, 40, *sizes[:-1]]), axis=1, dtype=int)[:, 1:] > 0
    assert np.all(shown.sum(1) == 1)
    assert_frequency(shown, 1 / 5)


# Counts that are not whole.


@pytest.mark.parametrize(
    ("ratio", "counts"),
    [(0.35, {68, 69}), (0.5, {98}), (0.65, {127, 128}), (0.75, {147}), (0.85, {166, 167})],
)
def test_released_counts_are_off_by_one_where_the_product_is_not_whole(ratio, counts, maps_bits, force):
    force(np.tile(np.arange(6), 27))
    bits, positions = np.repeat(maps_bits, 6, 0), np.arange(27 * 6)
    mask, _ = draw_masks(spec("crfr_p", ratio, count="released"), bits, positions, SEED, 1)
    assert set(mask.sum(1).tolist()) == counts
    for strategy in STRATEGIES:
        mask, region_mask = draw_masks(spec(strategy, ratio, count="released"), bits, positions, SEED, 1)
        assert set(mask.sum(1).tolist()) <= counts
        assert np.all(mask[region_mask])


def test_seen_patches_are_exact_where_floating_point_is_not_and_never_none():
    # 100 * (1 - 0.9) is 9.999... in floating point; the ratio as written leaves 10.
    assert int(100 * (1 - 0.9)) == 9
    assert seen_patches(100, 0.9) == 10
    found = [seen_patches(patches, ratio) for patches in (196, 256) for ratio in (0.35, 0.5, 0.65, 0.75, 0.85)]
    assert found == [127, 98, 68, 49, 29, 166, 128, 89, 64, 38]
    with pytest.raises(ValueError, match="mask.ratio 0.999 leaves 0 of 196 patches visible"):
        seen_patches(196, 0.999)


# Errors.


@pytest.mark.parametrize(("changes", "message"), [
        ({"strategy": "crfrp"}, "mask.strategy: expected one of random, .*found 'crfrp'"),
        ({"region_draw": "group"}, "mask.region_draw: expected one of image, batch; found 'group'"),
        ({"count": "about"}, "mask.count: expected one of exact, released; found 'about'"),
        ({"ratio": 0.0}, "mask.ratio: expected a number between 0 and 1, found 0.0"),
        ({"ratio": 1.0}, "mask.ratio: expected a number between 0 and 1, found 1.0"),
        ({"ratio": float("nan")}, "mask.ratio: .* found nan"),
    ])  # fmt: skip
def test_a_wrong_specification_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        MaskSpec(**{"strategy": "crfr_p", "ratio": 0.75, "region_draw": "image", "count": "exact", **changes})


# A strategy of one's own.


@pytest.mark.parametrize(
    "hidden, message",
    [(146, "expected 147 of 196 patches hidden, found 146"), (None, r"expected two masks \[3, 196\] bool; .* int64")],
)
def test_masks_of_a_row_that_breaks_its_promise_are_refused(monkeypatch, hidden, message):
    """Whoever trained with them would show a network patches that count as hidden."""
    wrong = np.zeros((3, 196), np.int64) if hidden is None else np.tile(np.arange(196) < hidden, (3, 1))
    monkeypatch.setitem(STRATEGIES, "wrong", Strategy(lambda faces: (wrong, faces.none), "Wrong", "Too few."))
    with pytest.raises(ValueError, match=f"mask.strategy wrong: {message}"):
        draw_masks(spec("wrong"), *many(row_of((SKIN, 196)), 3), SEED, 1)
