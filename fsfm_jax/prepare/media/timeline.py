"""Read the time of each frame of a video, and the key frame to decode it from, from packets without decoding.

Frames are numbered by their time stamps, so a frame keeps its number however it is reached. Where the stamps cannot
be trusted there is no timeline, and frames are numbered in the order in which they are decoded.
"""

from bisect import bisect_right
from dataclasses import dataclass

from fsfm_jax.prepare.media.libav import OpenedStream

MAX_FRAMES = 1_000_000  # nine hours; what a file holds beyond them is not read


@dataclass(frozen=True)
class Key:
    """A packet from which decoding can start.

    Attributes:
      shown: time stamp of its frame, in units of the stream.
      decoded: time stamp of its decoding, which containers are searched by; that of the frame where there is none.
    """

    shown: int
    decoded: int


@dataclass(frozen=True)
class Timeline:
    """The frames of a video in the order in which they are shown.

    Attributes:
      shown: time stamps of the frames, ascending.
      keys: ascending; the first is where decoding starts.
    """

    shown: tuple[int, ...] | list[int]
    keys: list[Key]

    def key_of(self, index: int) -> int:
        """Return the number of the last key frame that is shown at frame `index` or before it."""
        return bisect_right(self.keys, self.shown[index], key=lambda key: key.shown) - 1


def read_timeline(opened: OpenedStream) -> tuple[Timeline | None, int]:
    """Read all packets of a video that was just opened.

    Returns:
      The timeline, or None where time stamps are missing, occur twice, or nothing is marked as a key frame; and how
      many packets there are that are whole and shown.
    """
    shown, keys, packets, trusted = [], [], 0, True
    for packet in opened.packets():
        if packets >= MAX_FRAMES:
            break
        packets += not packet.is_discard  # those outside of an edit list are decoded, but not shown
        if packet.pts is None:
            trusted = False
        elif trusted:
            if packet.is_keyframe:
                keys.append(Key(packet.pts, packet.pts if packet.dts is None else packet.dts))
            if not packet.is_discard:
                shown.append(packet.pts)
    if not trusted or not keys:
        return None, packets
    keys.sort(key=lambda key: key.shown)
    # Before the first key frame nothing can be decoded, as in a recording that begins anywhere.
    shown = sorted(stamp for stamp in shown if stamp >= keys[0].shown)
    if not shown or len(set(shown)) < len(shown) or len({key.shown for key in keys}) < len(keys):
        return None, packets
    return Timeline(shown, keys), packets
