import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsfm_jax.prepare.sampling import ALL, PAIR, PHOTO, chains, describe_spacing


@pytest.mark.parametrize(("number", "count", "frames"), [
        (4, 10, [0, 3, 6, 9]),
        (4, 11, [0, 3, 6, 10]),  # 0, 3 1/3, 6 2/3, 10
        (5, 4, [0, 1, 2, 3]),  # 0, 3/4, 6/4, 9/4, 3
        (32, 3, [0, 1, 2]),
        (32, 1, [0]),
        (3, 2, [0, 1]),  # 0, 1/2, 1
        (1, 100, [0]),
        (2, 100, [0, 99]),
        (8, 300, [0, 42, 85, 128, 170, 213, 256, 299]),  # 299/7 = 42.71, 85.43, 128.14, 170.86, 213.57, 256.29
    ])  # fmt: skip
def test_spaced_frames(number, count, frames):
    assert [list(chain) for chain in chains(describe_spacing(number), count)] == [[frame] for frame in frames]


def test_all_frames():
    assert [list(chain) for chain in chains(ALL, 3)] == [[0], [1], [2]]


@pytest.mark.parametrize(("count", "expected"), [
        (1, [range(0, 1)]),
        (2, [range(0, 1), range(1, 2)]),
        (5, [range(0, 2), range(2, 5)]),
        (6, [range(0, 3), range(3, 6)]),
        (7, [range(6, 7)]),  # the second would be 6 + 3 = 9
        (8, [range(6, 8)]),  # 6 + 4 = 10
        (12, [range(6, 12)]),  # 6 + 6 = 12, one behind the last
        (13, [range(6, 12), range(12, 13)]),
        (100, [range(6, 56), range(56, 100)]),
        (1001, [range(6, 506), range(506, 1001)]),
    ])  # fmt: skip
def test_pair_of_frames(count, expected):
    assert list(chains(PAIR, count)) == expected


@pytest.mark.parametrize("sampling", [ALL, PAIR, describe_spacing(4)])
@pytest.mark.parametrize("count", [0, -1])
def test_video_without_frames_gives_none(sampling, count):
    assert list(chains(sampling, count)) == []


@settings(deadline=None)
@given(st.one_of(st.sampled_from([ALL, PAIR]), st.integers(1, 400).map(describe_spacing)), st.integers(1, 3000))
def test_frames_ascend_and_no_frame_is_in_two_chains(sampling, count):
    frames = [frame for chain in chains(sampling, count) for frame in chain]
    assert frames and all(len(chain) for chain in chains(sampling, count))
    assert 0 <= frames[0] and frames[-1] < count
    assert all(before < after for before, after in zip(frames, frames[1:], strict=False))


@settings(deadline=None)
@given(st.integers(2, 400), st.integers(1, 3000))
def test_spaced_frames_reach_from_the_first_to_the_last(number, count):
    frames = [chain.start for chain in chains(describe_spacing(number), count)]
    assert len(frames) == min(number, count)
    assert frames[0] == 0 and frames[-1] == count - 1
    if number >= count:
        assert frames == list(range(count))
    else:
        steps = [after - before for before, after in zip(frames, frames[1:], strict=False)]
        assert max(steps) - min(steps) <= 1


@pytest.mark.parametrize("sampling", [PHOTO, "every", "spaced", "spaced:", "spaced:0", "spaced:-3", "spaced:2.5", ""])
def test_unknown_words_are_refused(sampling):
    with pytest.raises(ValueError, match="expected all, pair or spaced:N"):
        chains(sampling, 10)


@pytest.mark.parametrize("count", [0, -2])
def test_no_frames_cannot_be_asked_for(count):
    with pytest.raises(ValueError, match=f"expected at least 1 frame per video, found {count}"):
        describe_spacing(count)
