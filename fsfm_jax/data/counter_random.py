"""Draw random numbers as a function of (seed, purpose, position): a SplitMix64 stream per image.

NumPy's generators must be built one by one, which costs more than the masks that they feed. SplitMix64
(Steele, Lea, Flood, OOPSLA 2014) is a counter hashed by a bijection, so a batch of streams is plain
vectorised arithmetic. It is not cryptographically secure.
"""

import functools
import zlib

import numpy as np

_WORD = 2**64 - 1
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
# Multiples of the SplitMix64 increment, which the first numbers of a stream are hashed from.
_STEPS = np.arange(1, 257, dtype=np.uint64) * _GOLDEN
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def _mix(state: np.ndarray) -> np.ndarray:
    """Apply SplitMix64's finaliser, `uint64 -> uint64`, a bijection."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(_FIRST)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(_SECOND)
    return state ^ (state >> np.uint64(31))


def _mix_word(state: int) -> int:
    """Apply `_mix` to one number: for few numbers Python is faster than NumPy."""
    state = (state ^ (state >> 30)) * _FIRST & _WORD
    state = (state ^ (state >> 27)) * _SECOND & _WORD
    return state ^ (state >> 31)


@functools.lru_cache(256)
def _stream_start(seed: int, purpose: str) -> int:
    return _mix_word((seed + zlib.crc32(purpose.encode()) * int(_GOLDEN)) & _WORD)


def words(seed: int, purpose: str, position: int, count: int) -> np.ndarray:
    """Return the row of `bits` for one position, `[count] uint64`, in a third of the time."""
    start = _mix_word(_stream_start(int(seed), purpose) ^ _mix_word((int(position) * int(_GOLDEN)) & _WORD))
    steps = _STEPS[:count] if count <= len(_STEPS) else np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
    return _mix(np.uint64(start) + steps)


def bits(seed: int, purpose: str, positions: np.ndarray, count: int) -> np.ndarray:
    """Return random bits, `[B, count] uint64`; row `b` depends on `positions[b]` only, not on the batch."""
    stream = np.array([(seed + zlib.crc32(purpose.encode()) * int(_GOLDEN)) % 2**64], np.uint64)
    start = _mix(_mix(stream) ^ _mix(positions.astype(np.uint64) * _GOLDEN))
    return _mix(start[:, None] + np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN)


def integers(seed: int, purpose: str, positions: np.ndarray, high: int) -> np.ndarray:
    """Return `[B] int64`, uniform over 0..high - 1 (bias below high / 2**32)."""
    top = bits(seed, purpose, positions, 1)[:, 0] >> np.uint64(32)
    return ((top * np.uint64(high)) >> np.uint64(32)).astype(np.int64)
