"""The counter-based random numbers: SplitMix64 as published, uniform, and independent streams."""

import math

import numpy as np

from fsfm_jax.data import counter_random
from fsfm_jax.data.counter_random import bits, integers, words

ALL = 2**64 - 1


def splitmix64(state: int, count: int) -> list[int]:
    """SplitMix64 in plain Python, from its publication."""
    found = []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & ALL
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & ALL
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & ALL
        found.append(z ^ (z >> 31))
    return found


def test_mixing_a_counter_is_splitmix64_as_published():
    assert splitmix64(1234567, 3) == [6457827717110365317, 3203168211198807973, 9817491932198370423]
    for seed in (0, 1234567, ALL):
        state = np.uint64(seed) + np.arange(1, 9, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        assert counter_random._mix(state).tolist() == splitmix64(seed, 8)


def test_streams_of_other_seeds_purposes_and_positions_are_others():
    positions = np.array([0, 1, 2, 5, 2**31, 2**40])
    streams = {
        (seed, purpose): bits(seed, purpose, positions, 8)
        for seed in (0, 1, 0x5EED, 2**32 - 1, 2**63)
        for purpose in ("region", "patches", "correction", "queue", "crop")
    }
    # 1200 numbers of 64 bits: one would come twice by chance with 1200 ** 2 / 2 ** 65 < 1e-13.
    together = np.concatenate([stream.ravel() for stream in streams.values()])
    assert len(np.unique(together)) == together.size == 1200
    np.testing.assert_array_equal(bits(1, "region", positions, 8), streams[1, "region"])


def test_one_row_is_drawn_as_those_of_a_batch():
    """An image must not be given other numbers alone than in a batch, nor others than before."""
    for seed in (0, 1, 2**32 - 1, 2**64 - 1):
        for position in (0, 7, np.int64(12345), 2**40, 2**63 - 1, -1):
            for count in (1, 41, 256, 300):
                wanted = bits(seed, "crop", np.array([position]), count)[0]
                found = words(seed, "crop", position, count)
                assert found.dtype == np.uint64
                np.testing.assert_array_equal(found, wanted)


def test_integers_are_uniform_and_in_range():
    for high in (1, 2, 6, 100):
        found = integers(0, "region", np.arange(60_000), high)
        assert found.dtype == np.int64 and found.min() == 0 and found.max() == high - 1
        share = np.bincount(found) / found.size
        error = math.sqrt((1 - 1 / high) / high / found.size)
        np.testing.assert_allclose(share, 1 / high, rtol=0, atol=5 * error)


def test_the_streams_stay_what_they_are():
    # Written down: another number here is another stream of masks for everybody who goes on with a run.
    assert bits(1, "patches", np.array([0, 5]), 2).tolist() == [
        [12372197260147825763, 16694536630876534576],
        [1317348505342650442, 13750613576468871822],
    ]
    assert integers(0, "region", np.arange(12), 6).tolist() == [1, 4, 0, 2, 0, 4, 5, 5, 4, 0, 0, 0]
