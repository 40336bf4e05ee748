"""Decode frames of a video file to `[H, W, 3] uint8` RGB with FFmpeg.

The first bytes must be those of a known container, only the reader of that container is allowed, and no other file.
One thread, no hardware and no clock: the same file gives the same pixels, whichever frames are read.
"""

import collections
import itertools
import math
from dataclasses import replace

import numpy as np

from fsfm_jax.prepare.media.container import START_LENGTH, VIDEO_SUFFIXES, Container, container_of
from fsfm_jax.prepare.media.decoding import Decoded, Decoding
from fsfm_jax.prepare.media.frame_picture import Pictures, shape_of
from fsfm_jax.prepare.media.libav import OpenedStream
from fsfm_jax.prepare.media.raw_file import File
from fsfm_jax.prepare.media.timeline import MAX_FRAMES, Timeline, read_timeline
from fsfm_jax.prepare.media.unusable import Unusable

__all__ = ["START_LENGTH", "VIDEO_SUFFIXES", "VideoFile", "container_of"]
TRIED = 4  # frames that are decoded to see whether they have the time stamps of their packets
EARLIER = 2  # key frames further back that are tried where decoding from one does not give the frame


class VideoFile:
    """An open video, read from its start to its end.

    Attributes:
      count: number of frames, found by reading through the packets of the file without decoding them.
      rate: average number of frames a second, None where the file tells none.

    Frames are numbered in the order they are shown, and one that cannot be decoded keeps its number. Only where time
    stamps cannot be trusted, frames are numbered as they come out of the decoder, all of which are decoded to count
    them. A stored rotation and the shape of pixels are applied. Frames whose size changes on the way are scaled to that
    of the first. A damaged frame is refused, and so are those that build on it, up to the next key frame.
    """

    def __init__(self, file: File, container: Container):
        """Raise `Unusable`: "unreadable", "not_opened", "no_frames" or "too_large"."""
        self._opened = OpenedStream(file, container)
        try:
            told = _promised_frames(self._opened)
            self._timeline, packets = read_timeline(self._opened)
            self._decoding = Decoding(self._opened)
            self._ahead: collections.deque[Decoded] = collections.deque()  # decoded already, and not passed yet
            self._next = 0  # the smallest index that can be read
            self._passed = 0  # frames that have left the decoder, or the time stamp of the last
            self.count = self._count(packets)
            self.rate = _rate(self._opened, self._timeline)
            if not self._ahead:
                raise Unusable("no_frames", _why_none(told, packets))
            self._pictures = Pictures(shape_of(self._ahead[0].frame, self._opened.stream.sample_aspect_ratio))
            self._notes = self._opened.notes + _less_than_told(told, packets, self.count, self._opened)
        except BaseException:
            self.close()
            raise

    @property
    def notes(self) -> tuple[str, ...]:
        """Return remarks for the report on the file and the frames read so far, a phrase each."""
        return self._notes + self._pictures.notes

    def read(self, index: int) -> np.ndarray:
        """Return frame `index` (from 0) as `[H, W, 3] uint8` RGB; each index must be larger than the one before.

        Raises:
          Unusable: "frame_missing", "damaged" or "too_large".
          ValueError: that frame has been passed already.
        """
        if index < self._next:
            raise ValueError(f"frame {index}: expected {self._next} or later, since a video is read forward only")
        if index >= self.count:
            raise Unusable("frame_missing", f"expected a frame below {self.count}, found {index}")
        self._next = index + 1
        found = self._read_by_number(index) if self._timeline is None else self._read_by_time(self._timeline, index)
        if found is None and self._timeline is None:
            raise Unusable(
                "frame_missing",
                f"expected frame {index} of {self.count}, found that the video ends after {self._passed} frames",
            )
        if found is None or not found.sound:
            raise Unusable("damaged", f"frame {index} of {self.count} is damaged, or builds on one that is")
        return self._pictures.picture(found.frame)

    def close(self) -> None:
        """Close the file; nothing can be read any more."""
        self._opened.close()

    def _count(self, packets: int) -> int:
        """Return the number of frames, and go to the first one."""
        if self._timeline is not None:
            # A timeline is worth something if the frames have the time stamps of the packets.
            self._jump(self._timeline, 0)
            tried = self._timeline.shown[:TRIED]
            while len(self._ahead) < len(tried) and (decoded := self._decoding.next()) is not None:
                if decoded.frame.pts is None or decoded.frame.pts >= tried[0]:
                    self._ahead.append(decoded)
            if [decoded.frame.pts for decoded in self._ahead] == tried:
                return len(self._timeline.shown)
            self._timeline = None
        count = packets  # of an AVI: one for each frame, as far as they can be decoded
        if self._opened.container.format.name != "avi":
            self._decoding.start()
            count = 0
            while count < MAX_FRAMES and self._decoding.next() is not None:
                count += 1
        self._decoding.start()
        self._passed = 0
        self._ahead = collections.deque(itertools.islice(iter(self._decoding.next, None), 1))
        return count

    def _read_by_number(self, index: int) -> Decoded | None:
        while (decoded := self._take()) is not None:
            self._passed += 1
            if self._passed > index:
                return decoded
        return None

    def _read_by_time(self, timeline: Timeline, index: int) -> Decoded | None:
        key, jumped = timeline.key_of(index), False
        if timeline.keys[key].shown > self._passed:
            self._jump(timeline, key)
            jumped = True
        found, good = self._until(timeline.shown[index], timeline.keys[key].shown if jumped else None)
        for earlier in range(key - 1, max(key - 1 - EARLIER, -1), -1):
            if found is not None or not jumped:
                return found
            self._jump(timeline, earlier)
            found, good = self._until(timeline.shown[index], timeline.keys[earlier].shown)
        if found is None and jumped and not good:
            # The key frames of the container are wrong: from here on everything is decoded from the start.
            self._timeline = replace(timeline, keys=timeline.keys[:1])
            self._jump(timeline, 0)
            found, _ = self._until(timeline.shown[index], None)
        return found

    def _jump(self, timeline: Timeline, key: int) -> None:
        self._ahead.clear()
        self._passed = timeline.keys[key].shown - 1
        self._decoding.jump(timeline.keys[key])

    def _until(self, stamp: int, key: int | None) -> tuple[Decoded | None, bool]:
        """Return the frame with that time stamp, and whether decoding began, if at `key`, with a key frame."""
        good = key is None
        while (decoded := self._take()) is not None:
            shown = decoded.frame.pts
            if shown is None or (key is not None and shown < key):
                continue
            if not good and not (shown == key and decoded.frame.key_frame):
                return None, False
            good = True
            if shown > stamp:
                self._ahead.append(decoded)
                return None, good
            self._passed = shown
            if shown == stamp:
                return decoded, good
        return None, good

    def _take(self) -> Decoded | None:
        return self._ahead.popleft() if self._ahead else self._decoding.next()


def _rate(opened: OpenedStream, timeline: Timeline | None) -> float | None:
    told = opened.stream.average_rate or opened.stream.guessed_rate
    rate = float(told) if told and 0 < told < math.inf else None
    if timeline is not None and len(timeline.shown) > 1:
        measured = (len(timeline.shown) - 1) / float((timeline.shown[-1] - timeline.shown[0]) * opened.stream.time_base)
        if rate is None or not 0.5 < rate / measured < 2:  # an AVI that leaves out frames tells its smallest step
            return measured
    return rate


def _promised_frames(opened: OpenedStream) -> int:
    """Return the number of frames in the container's header, 0 if unknown."""
    if opened.container.format.name.startswith("mov"):
        return sum(not entry.is_discard for entry in opened.stream.index_entries) if opened.stream.frames else 0
    return opened.stream.frames


def _less_than_told(told: int, packets: int, count: int, opened: OpenedStream) -> tuple[str, ...]:
    mov = opened.container.format.name.startswith("mov")
    if told > packets if mov else opened.is_cut():
        said = f"{count} of {told} frames are there" if told > count else f"only its first {count} frames are there"
        return (f"the file is cut: {said}",)
    if mov and told > count:
        return (f"only {count} of {told} frames can be decoded",)
    return (f"the container tells {told} frames, found {count}",) if told and told != count and not mov else ()


def _why_none(told: int, packets: int) -> str:
    if told and not packets:
        return f"the file is cut: none of its {told} frames is whole"
    return "no frame can be decoded"
