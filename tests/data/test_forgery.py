import pickle

import cv2
import numpy as np
import pytest

from fsfm_jax import records
from fsfm_jax.data import forgery
from fsfm_jax.data.forgery import (
    DOMAINS,
    FORGED,
    FRAMES,
    REAL,
    ForgedSource,
    blend_mask,
    forge,
    open_forged,
    photograph,
)
from fsfm_jax.data.photo import decode_image
from fsfm_jax.data.synthetic import synthetic_face

KINDS = ("blend", "diffusion", "print", "replay")
PAIRS = 60  # videos of each kind, and as many real ones beside them
SEED = 7


@pytest.fixture(scope="module")
def face():
    return synthetic_face(0, 1, 224)


@pytest.fixture
def grey():
    """A flat image, and a map with lips, eyes and a nose in one square."""
    parsing_map = np.ones((224, 224), np.uint8)
    parsing_map[100:140, 90:130] = np.resize((2, 3, 4, 5, 6, 7, 8, 9), (40, 40))
    return np.full((224, 224, 3), 128, np.uint8), parsing_map


def taken(image: np.ndarray, *place: int) -> np.ndarray:
    """The pixels of a camera's picture."""
    return decode_image(photograph(image, *place), "of a camera")


def decoded(example: dict) -> np.ndarray:
    return decode_image(example[records.IMAGE], example[records.SOURCE])


def roughness(image: np.ndarray) -> float:
    image = image.astype(np.float32)
    return float(np.abs(image - cv2.blur(image, (3, 3))).mean())


# Forgeries.


@pytest.mark.parametrize("kind", KINDS)
def test_a_forgery_is_a_function_of_its_arguments(face, kind):
    before = face[0].copy()
    forged = forge(kind, *face, 3, 5)
    assert forged.shape == (224, 224, 3) and forged.dtype == np.uint8
    np.testing.assert_array_equal(forged, forge(kind, *face, 3, 5))
    np.testing.assert_array_equal(face[0], before)
    for other in (before, forge(kind, *face, 3, 6), forge(kind, *face, 4, 5)):
        assert (forged != other).any()


@pytest.mark.parametrize("kind", KINDS)
def test_strength_runs_from_nothing_to_crude(face, kind):
    np.testing.assert_array_equal(forge(kind, *face, 3, 5, 0.0), face[0])
    change = [np.abs(forge(kind, *face, 3, 5, strength).astype(int) - face[0]).mean() for strength in (0.5, 1, 2)]
    assert 0 < change[0] < change[1] < change[2]


@pytest.mark.parametrize("index", range(6))
def test_a_blend_stays_within_its_mask(face, index):
    mask = blend_mask(face[1], 3, index)
    assert mask.dtype == np.float32 and mask.min() == 0 and mask.max() == 1
    changed = (forge("blend", *face, 3, index) != face[0]).any(-1)
    assert not changed[mask == 0].any()
    assert changed[mask > 0.9999].mean() > 0.9
    features = np.isin(face[1], range(2, 10))
    assert (mask == 0).mean() > 0.5 and (mask[features] > 0.5).mean() > 0.99


def test_a_blend_of_a_flat_face_is_the_mask_times_a_tone_and_a_lattice(grey):
    image, parsing_map = grey[0], np.where(grey[1] == 1, 0, grey[1])  # the inner face is all there is
    mask = blend_mask(parsing_map, 0, 0)
    inside = np.zeros((224, 224), bool)
    inside[100:140, 90:130] = True
    assert (mask[inside] > 0.98).mean() > 0.85, "the part itself is replaced"
    # Grown by 7 pixels and softened by two boxes of at most 9: no further than 7 + 2 * 4 pixels around the square.
    reach = cv2.dilate(inside.astype(np.uint8), np.ones((31, 31), np.uint8)) > 0
    assert (mask[~reach] == 0).all() and ((mask > 0) & ~inside).any()
    change = forge("blend", image, parsing_map, 0, 0).astype(float) - 128
    block = change[112:120, 104:112]  # one period, far inside
    tone, lattice = block.mean((0, 1)), block[..., 0] - block[..., 0].mean()
    assert ((np.abs(tone) >= 7.5) & (np.abs(tone) <= 14.5)).all(), "8 to 14, rounded"
    # cos(pi/8) of two waves of 6 to 9 levels, up and down.
    assert 4 * 6 * 0.923 - 1 < np.ptp(lattice) < 4 * 9 * 0.924 + 1
    expected = mask * np.tile(lattice, (28, 28))
    assert np.abs(change - expected[..., None] - mask[..., None] * tone).max() < 1.6, "three roundings by a half"


def test_parts_of_a_blend_differ_and_fall_back_on_the_whole_face(face):
    areas = {round(float(blend_mask(face[1], 0, index).mean()), 2) for index in range(20)}
    assert min(areas) < 0.25 and max(areas) > 0.35, "the inner face, and all of it"
    skin_only = np.minimum(face[1], 1)
    assert blend_mask(skin_only, 0, 0)[skin_only > 0].mean() > 0.8


def test_a_diffusion_is_smooth_with_a_lattice_that_repeats_every_eight_pixels_and_in_the_mirror(grey):
    forged = forge("diffusion", *grey, 0, 0).astype(int)
    np.testing.assert_array_equal(forged[8:], forged[:-8])
    np.testing.assert_array_equal(forged, forged[:, ::-1])
    np.testing.assert_array_equal(forged, forged.swapaxes(0, 1))
    assert forged[0, 0, 0] == forged.max() and forged[4, 4, 0] == forged.min(), "it starts with half a crest"
    assert 4 * 2.5 * 0.923 - 1 < np.ptp(forged) < 4 * 4 * 0.924 + 1, "two waves of 2.5 to 4 levels"
    assert abs(forged.mean() - 128) < 0.5, "rounding only"
    noise = np.random.default_rng(0).normal(128, 6, (224, 224, 1)).round().astype(np.uint8).repeat(3, 2)
    assert roughness(forge("diffusion", noise, noise[..., 0], 0, 0)) < 0.7 * roughness(noise)


def test_a_print_tints_and_fades_and_its_dots_are_strongest_in_the_middle_tones(grey, face):
    deviation = []
    for level in (2, 64, 128, 253):
        forged = forge("print", np.full((224, 224, 3), level, np.uint8), grey[1], 0, 0).astype(float)
        deviation.append(forged[..., 1].std())
        assert abs(forged[..., 1].mean() - level) < 1, "dots keep the mean; a flat image has no contrast to lose"
    assert deviation[0] < 1 and deviation[3] < 1 and 1 < deviation[1] < deviation[2]
    # cos u cos v has deviation 1/2; height 0.2 .. 0.3 times 0.25 * 255.
    assert 0.1 * 0.25 * 255 * 0.95 < deviation[2] < 0.15 * 0.25 * 255 * 1.05
    dots = forge("print", *grey, 0, 0).astype(int)
    np.testing.assert_array_equal(dots, dots[:, ::-1])
    np.testing.assert_array_equal(dots[4:, 4:], dots[:-4, :-4])
    assert (dots[:-4] != dots[4:]).any(), "rows along the diagonals, eight pixels apart along the sides"
    image = np.full((224, 224, 3), 60, np.uint8)
    image[:112] = 190
    forged = forge("print", image, face[1], 0, 0).astype(float)
    assert 0.85 * 130 < forged[:112, :, 1].mean() - forged[112:, :, 1].mean() < 0.97 * 130
    red, _, blue = (forged.mean((0, 1)) / 125 - 1).tolist()
    assert red * blue < 0 and 0.015 < abs(red) < 0.065, "red and blue go opposite ways"


def test_a_replay_has_bands_and_colours(grey):
    forged = forge("replay", *grey, 0, 0).astype(float) / 128
    rows = forged[..., 1].mean(1)
    assert 0.05 < np.ptp(cv2.blur(rows, (1, 9))) < 0.25, "bands of 0.04 to both sides, and moire"
    stripes = np.fft.rfft(forged[..., 1].mean(0))[42] / 112  # 224 pixels have 42 periods of 16/3
    assert abs(abs(stripes) / 0.05 - 1) < 0.1 and abs(np.angle(stripes) - np.pi * 42 / 224) < 0.1, "half a crest first"
    moire = cv2.blur(forged[..., 0] - forged[..., 2], (9, 9))
    assert moire.std() > 0.02
    red, green, blue = forged.mean((0, 1))
    assert min(abs(red - green), abs(blue - green)) > 0.005 and (red - 1) * (blue - 1) < 0


@pytest.mark.parametrize("kind", ["print", "replay", "blend"])
def test_tints_go_either_way(grey, kind):
    red = np.array([forge(kind, *grey, 0, index)[..., 0].mean() - 128 for index in range(24)])
    assert 5 <= (red > 0).sum() <= 19, "a fair coin does, but once in 600"


def test_what_cannot_be_forged_is_refused(face):
    with pytest.raises(ValueError, match="'deepfake': expected blend.diffusion or print.replay, or one of the two"):
        forge("deepfake", *face, 0, 0)
    for strength in (-1, float("nan")):
        with pytest.raises(ValueError, match="expected 0 or more, found"):
            forge("print", *face, 0, 0, strength)
    with pytest.raises(ValueError, match="found no face to blend; expected pixels of classes 1..9"):
        forge("blend", face[0], np.full_like(face[1], 10), 0, 0)


# The camera.


def test_a_camera_brings_smooth_and_rough_images_to_one_level_of_detail():
    smooth = np.full((224, 224, 3), 128, np.uint8)
    rough = np.random.default_rng(0).normal(128, 3, smooth.shape).round().astype(np.uint8)
    assert roughness(rough) > 2
    for video in range(4):
        first, second = (roughness(taken(image, 0, 0, video, 0)) for image in (smooth, rough))
        assert abs(first / second - 1) < 0.06
    levels = [roughness(taken(smooth, 0, 0, video, 0)) for video in range(12)]
    assert max(levels) > 1.4 * min(levels), "cameras differ"


def test_cameras_belong_to_their_video_and_domains_differ_as_they_say(face):
    pictures = {key: taken(face[0], 0, 0, *key) for key in ((0, 0), (0, 1), (1, 0))}
    np.testing.assert_array_equal(pictures[0, 0], taken(face[0], 0, 0, 0, 0))
    assert (pictures[0, 0] != pictures[0, 1]).any(), "noise is the frame's"
    mean = {key: picture.mean((0, 1)) for key, picture in pictures.items()}
    assert np.abs(mean[0, 0] - mean[0, 1]).max() < 4 < np.abs(mean[0, 0] - mean[1, 0]).max()
    means = [
        np.mean([taken(face[0], domain, 0, video, 0).mean((0, 1)) for video in range(8)], 0)
        for domain in range(len(DOMAINS))
    ]
    assert means[2].mean() < means[0].mean() - 10 < means[0].mean() + 10 < means[3].mean()
    red_over_blue = [mean[0] / mean[2] for mean in means]
    assert red_over_blue[3] < red_over_blue[0] < red_over_blue[2]


# The source.


def test_an_example_has_the_fields_of_a_labelled_record_whatever_kinds_are_beside_it():
    source = ForgedSource(("print", "replay"), 17, SEED, 1)
    assert (len(source), source.class_names, source.real) == (17, ("attack", "bona_fide"), 1)
    assert ForgedSource(("blend",), 1).class_names == ("fake", "real")
    fields = {records.IMAGE, records.LABEL, records.VIDEO, records.FRAME, records.METHOD, records.SOURCE}
    for index in (0, 4, 9, 16):
        example = source[index]
        assert set(example) == fields
        assert type(example[records.LABEL]) is int and type(example[records.FRAME]) is int
        assert decoded(example).shape == (224, 224, 3)
        assert example[records.VIDEO] == f"forged seed 7 video {index // 4}"
        assert example[records.SOURCE] == f"{source.name} example {index}"
        assert example[records.FRAME] == index % 4
        kind = ("print", "replay")[index // 8 % 2]
        assert example[records.METHOD] == ("" if example[records.LABEL] == REAL else kind)
    for index in (-1, 17):
        with pytest.raises(IndexError, match=f"forged:print.replay:17:7:1: example {index} of 17"):
            source[index]
    digital, physical = ForgedSource(("blend",), 8, SEED), ForgedSource(("print", "replay"), 8, SEED)
    for index in (0, 4):
        same = digital[index][records.IMAGE] == physical[index][records.IMAGE]
        assert same == (digital.labels[index] == REAL)


def test_labels_are_balanced_and_no_rule_of_the_index_tells_them():
    labels = ForgedSource(("blend",), 8 * 600, SEED).labels
    videos = labels.reshape(-1, FRAMES)
    assert (videos == videos[:, :1]).all(), "a video has one label"
    pairs = videos[:, 0].reshape(-1, 2)
    assert (pairs.sum(1) == 1).all(), "of two videos one is real"
    first = pairs[:, 0]
    for period in (1, 2, 3, 4, 8):
        for start in range(period):
            part = first[start::period]
            assert abs(part.mean() - 0.5) < 3.5 * 0.5 / np.sqrt(len(part)), (period, start)
    for lag in (1, 2, 3, 4):
        assert abs((first[lag:] == first[:-lag]).mean() - 0.5) < 3.5 * 0.5 / np.sqrt(600)
    assert (labels != ForgedSource(("blend",), 8 * 600, SEED + 1).labels).any()
    np.testing.assert_array_equal(ForgedSource(("print",), 8, SEED, 2).labels, labels[:8])


def test_sources_share_videos_when_they_share_people():
    source = ForgedSource(("blend",), 18, SEED)
    read = [source[index] for index in range(18)]
    assert source.videos.tolist() == [example[records.VIDEO] for example in read]
    assert source.methods.tolist() == [example[records.METHOD] for example in read]
    assert set(ForgedSource(("print",), 8, SEED, 3).videos) < set(source.videos)
    assert not set(ForgedSource(("blend",), 18, SEED + 1).videos) & set(source.videos)


def small(image: np.ndarray) -> np.ndarray:
    grey = cv2.resize(image.mean(-1), (24, 24), interpolation=cv2.INTER_AREA)
    return (grey - grey.mean()) / grey.std()


def test_frames_of_a_pair_of_videos_show_one_person():
    source = ForgedSource(("blend", "diffusion"), 32, SEED)
    people = [small(synthetic_face(SEED, person, 224)[0]) for person in range(4)]
    for index in range(32):
        likeness = [(small(decoded(source[index])) * person).mean() for person in people]
        assert np.argmax(likeness) == index // 8, index
    frames = [decoded(source[index]).astype(float) for index in range(4)]
    for first in range(4):
        for second in range(first):
            assert np.abs(small(frames[first]) - small(frames[second])).max() > 0.05, "the person moves"


def test_a_person_is_drawn_once(monkeypatch):
    seen = []

    def draw(seed, index, size):
        seen.append(index)
        return synthetic_face(seed, index, size)

    monkeypatch.setattr(forgery, "synthetic_face", draw)
    source = ForgedSource(("blend",), 16, 91)  # a seed that no other test has seen
    first = [source[index] for index in range(16)]
    assert seen == [0, 1]
    monkeypatch.setattr(source, "draw", None)
    assert [source[index] for index in range(16)] == first, "examples are remembered"
    first[0].clear()
    assert source[0], "a caller's dict is its own"


def test_sources_are_functions_of_their_name_and_can_be_pickled():
    source = ForgedSource(("print", "replay"), 24, SEED, 3)
    again, copied = open_forged(source.name), pickle.loads(pickle.dumps(source))
    backwards = [again[index] for index in reversed(range(0, 24, 5))][::-1]
    assert [source[index] for index in range(0, 24, 5)] == backwards == [copied[index] for index in range(0, 24, 5)]
    assert again.name == copied.name == source.name == "forged:print+replay:24:7:3"
    assert again.fingerprint == copied.fingerprint == source.fingerprint
    assert len(pickle.dumps(source)) < 2000, "what was made stays behind"
    short = [open_forged(spec) for spec in ("forged:blend:8", "forged:replay:9:3")]
    assert [(one.name, len(one)) for one in short] == [("forged:blend:8:0:0", 8), ("forged:replay:9:3:0", 9)]


def test_a_fingerprint_tells_sources_apart(monkeypatch):
    source = ForgedSource(("blend",), 8, SEED)
    others = [
        ForgedSource(("blend",), 8, SEED + 1), ForgedSource(("blend",), 8, SEED, 1), ForgedSource(("blend",), 7, SEED),
        ForgedSource(("diffusion",), 8, SEED), ForgedSource(("blend", "diffusion"), 8, SEED),
        ForgedSource(("diffusion", "blend"), 8, SEED),
    ]  # fmt: skip
    assert len({source.fingerprint, *(other.fingerprint for other in others)}) == 7
    monkeypatch.setattr(forgery, "_diffusion", lambda image, rng, strength: image.astype(np.float32))
    both = others[-2]
    assert open_forged(both.name).fingerprint == both.fingerprint, "8 faces hold no second kind"
    both = ForgedSource(("blend", "diffusion"), 16, SEED)
    before = both.fingerprint
    monkeypatch.undo()
    assert open_forged(both.name).fingerprint != before, "another way of forging"


@pytest.mark.parametrize(("spec", "message"), [
        ("forged:blend", r"expected forged:KIND\[\+KIND\]:COUNT\[:SEED\[:DOMAIN\]\], such as"),
        ("forged:blend:x", "expected forged:KIND"),
        ("forged:blend:8:0:0:0", "expected forged:KIND"),
        ("forged:blend:0", "expected a count of 1 or more and a domain 0..3, found count 0 and domain 0"),
        ("forged:blend:8:0:4", "found count 8 and domain 4"),
        ("forged:swap:8", "kinds of forgery 'swap': expected blend.diffusion or print.replay"),
        ("forged:blend+print:8", "kinds of forgery 'blend.print'"),
        ("forged:blend+blend:8", "kinds of forgery 'blend.blend'"),
        ("forged:blend+:8", "kinds of forgery 'blend.'"),
    ])  # fmt: skip
def test_a_malformed_spec_is_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        open_forged(spec)


# What does not tell the classes apart.


def area_under_curve(positive: np.ndarray, negative: np.ndarray) -> float:
    """The chance that a positive is above a negative."""
    difference = positive[:, None] - negative
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())


@pytest.fixture(scope="module")
def videos():
    """By kind: a frame of each video, as pairs of file size and picture, of forged and of real ones."""
    found, real = {}, []
    for kinds in (("blend", "diffusion"), ("print", "replay")):
        source = ForgedSource(kinds, 2 * FRAMES * PAIRS * len(kinds), SEED)
        first = np.arange(0, len(source), FRAMES)
        # Real videos are the same whatever the kinds beside them.
        real = real or [encoded_and_decoded(source[index]) for index in first[source.labels[first] == REAL]]
        forged = [source[index] for index in first[source.labels[first] == FORGED]]
        for kind in kinds:
            of_kind = [encoded_and_decoded(example) for example in forged if example[records.METHOD] == kind]
            assert len(of_kind) == PAIRS and len(real) == 2 * PAIRS
            found[kind] = of_kind, real
    return found


def encoded_and_decoded(example: dict) -> tuple[int, np.ndarray]:
    return len(example[records.IMAGE]), decoded(example)


def plain_statistics(size: int, image: np.ndarray) -> list[float]:
    red, green, blue = image.mean((0, 1)).tolist()
    return [size, len(cv2.imencode(".jpg", image)[1]), red, green, blue, red - blue, roughness(image)]


@pytest.mark.parametrize("kind", KINDS)
def test_neither_file_size_nor_colour_nor_detail_tells_a_forgery(videos, kind):
    forged, real = (np.array([plain_statistics(*video) for video in side]) for side in videos[kind])
    areas = [area_under_curve(forged[:, i], real[:, i]) for i in range(forged.shape[1])]
    # Deviation of the area when both have one distribution (Mann and Whitney), one frame of each video.
    m, n = len(forged), len(real)
    deviation = np.sqrt((m + n + 1) / (12 * m * n))
    assert np.abs(np.array(areas) - 0.5).max() < 3 * deviation, np.round(areas, 3)
