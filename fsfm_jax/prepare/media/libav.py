"""Open one video stream of a local file with FFmpeg through PyAV: one demuxer, one thread, no other file.

FFmpeg also reads playlists that make it open other files and network addresses. Here it never opens anything: it gets
the bytes of one file from Python, and all other requests are refused.
"""

import io
import os
import re
from collections.abc import Iterator

import av
from av.stream import Discard, Disposition

from fsfm_jax.prepare.media.container import Container
from fsfm_jax.prepare.media.photo_file import MAX_PIXELS, check_size
from fsfm_jax.prepare.media.raw_file import File
from fsfm_jax.prepare.media.unusable import Unusable

# What PyAV raises for a file; both of its own and what Python has for the same.
FAILURES = (av.FFmpegError, OSError, MemoryError, ValueError)
BUFFER = 1 << 16  # bytes that are read at once
# Tags of a file may be in any encoding. PyAV 19 reads them all and has lost the option.
ANY_TAGS = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
COVERS = Disposition.attached_pic | Disposition.timed_thumbnails

av.logging.set_level(None)  # `Unusable` reports once what is wrong with a file


class OpenedStream:
    """The video stream of a file; a context for demuxing and decoding.

    Attributes:
      container, stream: those of PyAV.
      length: bytes of the file.
      notes: remarks for the report on the choice of the stream.
    """

    def __init__(self, file: File, kind: Container):
        """Raise `Unusable`: "unreadable", "not_opened" or "too_large"."""
        try:
            self._file = _Bytes(file)
        except OSError as error:
            raise Unusable("unreadable", f"the file cannot be read: {error.strerror}") from error
        self._kind = kind
        try:
            self.length = os.fstat(self._file.fileno()).st_size
            self.container, self.stream, self.notes = self._open()
        except BaseException:
            self._file.close()
            raise

    def _open(self):
        self._file.seek(0)
        container = _open_container(self._file, self._kind)
        try:
            return container, *_chosen(container, self._kind)
        except BaseException:
            container.close()
            raise

    def rewind(self) -> None:
        """Open the same file again, with a new decoder. Raise `Unusable` as the first time."""
        self.container.close()
        self.container, self.stream, self.notes = self._open()

    def packets(self) -> Iterator[av.Packet]:
        """Yield the complete, non-empty packets of the stream from the current position of the container."""
        try:
            for packet in self.container.demux(self.stream):
                if not packet.size:  # the decoder would take it for the end
                    continue
                if packet.is_corrupt and packet.pos is not None and packet.pos + packet.size >= self.length:
                    continue  # what a cut file ends with
                yield packet
        except FAILURES:
            return  # what was read until then is what the file holds

    def is_cut(self) -> bool:
        """Return whether the outermost box of an AVI or Matroska file is longer than the file."""
        start = os.pread(self._file.fileno(), 64, 0)  # leaves the file position, which FFmpeg uses, unchanged
        if self._kind.demuxer == "avi":
            return int.from_bytes(start[4:8], "little") + 8 > self.length
        return self._kind.demuxer == "matroska" and _segment_end(start) > self.length

    def close(self) -> None:
        """Close the file."""
        self.container.close()
        self._file.close()


class _Bytes(io.FileIO):
    """A file for FFmpeg, which asks for impossible places of damaged ones; PyAV would print what is raised."""

    def __init__(self, file: File):
        super().__init__(file, closefd=not isinstance(file, int))
        self.name = "a video"  # PyAV wants one; that of the file is an instruction to FFmpeg, as "concat:a"

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Seek as `io.FileIO` does, but return a negative number if there is no such place."""
        try:
            return super().seek(offset, whence)
        except (OSError, OverflowError):
            return -1

    def read(self, size: int = -1) -> bytes:
        """Read as `io.FileIO` does, but return nothing where the disk fails."""
        try:
            return super().read(size)
        except OSError:
            return b""


def _refuse(url: str, flags: int, options: dict):
    raise PermissionError(f"{url!r}: a video may not open other files")


def _open_container(file, kind: Container):
    options = {
        # FFmpeg tries a few frames to learn what a stream is. Larger ones than are read must still tell their size.
        "max_pixels": str(4 * MAX_PIXELS),
        "threads": "1",
        "format_whitelist": kind.demuxer,
        "protocol_whitelist": "",
    }
    try:
        container = av.open(file, "r", kind.demuxer, options, buffer_size=BUFFER, io_open=_refuse, **ANY_TAGS)
    except FAILURES as error:
        raise Unusable("not_opened", _why_closed(file, kind)) from error
    if kind.demuxer in ("avi", "mpegvideo"):
        # To make up the time stamps that these lack, FFmpeg would read the file to its end, into memory.
        container.flags &= ~av.container.Flags.gen_pts.value
    return container


def _why_closed(file, kind: Container) -> str:
    if kind.demuxer == "mov" and "moov" not in _atoms(file):
        return f"this {kind.name} file is cut: its index (moov) is missing; copy or download it again"
    return f"no picture stream can be opened in this {kind.name} file: its header is damaged or cut off"


def _atoms(file) -> list[str]:
    """Return the names of the atoms of a file in MP4 or QuickTime, at most 1,000."""
    names, at = [], 0
    length = os.fstat(file.fileno()).st_size
    while at + 8 <= length and len(names) < 1000:
        head = os.pread(file.fileno(), 16, at)
        size = int.from_bytes(head[:4], "big")
        size = int.from_bytes(head[8:16], "big") if size == 1 else size
        names.append(head[4:8].decode("latin-1"))
        if size < 8:
            break
        at += size
    return names


def _segment_end(start: bytes) -> int:
    """Return where the segment of a Matroska file ends, 0 if unknown (RFC 8794: sizes of 1 to 8 bytes)."""

    def size(at: int) -> tuple[int, int]:
        length = 9 - start[at].bit_length() if start[at : at + 1] else 9
        value = int.from_bytes(start[at : at + length], "big") & ((1 << 7 * length) - 1)
        return at + length, -1 if value == (1 << 7 * length) - 1 else value

    at, header = size(4)
    if start[at + header : at + header + 4] != b"\x18\x53\x80\x67":
        return 0
    at, segment = size(at + header + 4)
    return 0 if segment < 0 else at + segment


def _chosen(container, kind: Container):
    """Return the stream to read, and notes: prefer default streams, then the one with most pixels."""
    streams = [stream for stream in container.streams.video if not stream.disposition & COVERS]
    if not streams:
        if container.streams.video or container.streams.audio:
            raise Unusable("not_opened", f"no video in this {kind.name} file, only {_others(container)}")
        raise Unusable("not_opened", f"no picture stream can be found in this {kind.name} file")
    known = [stream for stream in streams if stream.codec_context is not None]
    if not known:
        codec = _codec(container)
        raise Unusable("not_opened", f"the codec of the video in this {kind.name} file, {codec}, is unknown")
    best = min(known, key=_rank)
    codec = best.codec_context
    if not codec.width or not codec.height:
        raise Unusable("not_opened", f"the size of the pictures in this {kind.name} file cannot be found")
    check_size(codec.height, codec.width)
    for stream in container.streams:
        if stream.index != best.index:
            stream.discard = Discard.all
    codec.thread_count = 1
    codec.options = {"max_pixels": str(MAX_PIXELS)}
    notes = (f"1 of {len(streams)} video streams read, of {codec.width}x{codec.height}",) if len(streams) > 1 else ()
    return best, notes


def _codec(container) -> str:
    """Return FFmpeg's description of the codec of the first video stream, such as "'xyz1 / 0x317A7978'"."""
    av.logging.set_level(av.logging.INFO)  # without, what is asked for is not written
    try:
        found = re.search(r"Video: \w+ \(([ -~]{1,40}?)\)", container.dumps_format())
    finally:
        av.logging.set_level(None)
    return repr(found[1]) if found else "without a name"


def _rank(stream) -> tuple[bool, int, int]:
    codec = stream.codec_context
    return not stream.disposition & Disposition.default, -codec.width * codec.height, stream.index


def _others(container) -> str:
    audio, covers = container.streams.audio, container.streams.video
    return " and ".join(["sound"] * bool(audio) + ["a cover picture"] * bool(covers))
