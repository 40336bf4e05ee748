"""Decoded frames of one video stream, from its start or from a key frame."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import av

from fsfm_jax.prepare.media.libav import FAILURES, OpenedStream
from fsfm_jax.prepare.media.timeline import Key

LOST = 1000  # packets after which a search for a key frame is given up


@dataclass(frozen=True)
class Decoded:
    """A frame, and whether the decoder met no error since the key frame that it builds on."""

    frame: av.VideoFrame
    sound: bool


class Decoding:
    """A decoder of a stream whose position can be moved."""

    def __init__(self, opened: OpenedStream):
        self._opened = opened
        self._frames: Iterator[Decoded] = iter(())

    def start(self) -> None:
        """Go to the start of the file, with a new decoder."""
        self._opened.rewind()
        self._frames = self._decode(self._opened.packets())

    def jump(self, key: Key) -> None:
        """Go to a key frame, and decode the stream from its packet on."""
        try:
            self._opened.container.seek(key.decoded, stream=self._opened.stream)
            found = self._from(key, LOST)
        except FAILURES:
            found = None
        if found is None:  # the container cannot be searched: its packets are read up to there, undecoded
            self._opened.rewind()
            found = self._from(key, None)
        self._frames = self._decode(found or iter(()))

    def next(self) -> Decoded | None:
        """Return the next frame in display order; None at the end."""
        return next(self._frames, None)

    def _from(self, key: Key, limit: int | None) -> Iterator[av.Packet] | None:
        packets = self._opened.packets()
        for number, packet in enumerate(packets):
            if packet.pts == key.shown and packet.is_keyframe:
                return itertools.chain([packet], packets)
            if limit is not None and number >= limit:
                break
        return None

    def _decode(self, packets: Iterator[av.Packet]) -> Iterator[Decoded]:
        codec, sound = self._opened.stream.codec_context, True
        for packet in itertools.chain(packets, [None]):  # at None it hands out what it has left
            try:
                frames = codec.decode(packet)
            except FAILURES:
                sound = False
                continue
            for frame in frames:
                sound = not frame.is_corrupt and (sound or frame.key_frame)
                yield Decoded(frame, sound)
