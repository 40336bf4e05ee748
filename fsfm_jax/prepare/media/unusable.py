"""Photos, videos and frames that cannot be used, and why.

They are told of and passed over: a download of a million files has broken ones, and a broken file must not end
the run. Everything that reads raw media raises `Unusable` for what is wrong with the file, and nothing else.
"""

REASONS = {
    "unreadable": "the file cannot be opened or read: gone, no permission, or not a regular file",
    "empty_file": "the file has no bytes",
    "unknown_format": "the content is of no supported format, whatever the file is called",
    "unsupported_format": "a photo or document of a known format that is not read",
    "unsupported_pixels": "the pixels are of a kind that is no photo, such as floating point numbers",
    "truncated": "the end of the photo is missing",
    "damaged": "the decoder cannot make a picture of the data",
    "too_large": "more pixels or bytes than will be decoded",
    "no_pixels": "the width or the height is zero",
    "not_opened": "no picture stream can be opened in the video, as when its index is missing",
    "no_frames": "the video has no frames",
    "frame_missing": "the video ends before this frame, although its container promises it",
    "other_files": "the HDF5 file refers to frames that are not stored in it as plain data",
    "unsupported_frame": "the HDF5 frame is not a colour picture of 8 bits",
    "crashed": "the process that decodes the file died, twice",
    "forbidden": "the decoder tried what its sandbox does not allow, such as to open another file",
    "transparent": "every pixel of the photo is transparent",
    "all_black": "the picture has no pixel that is not black",
}


class Unusable(ValueError):
    """A photo, video or frame that cannot be used.

    `reason` is one of `REASONS`; the text is one sentence with what was found. It does not name the file, which the
    caller knows best.
    """

    def __init__(self, reason: str, detail: str):
        if reason not in REASONS:
            raise KeyError(f"reason {reason!r}: expected one of {', '.join(REASONS)}")
        # Both are arguments of the exception, so that it survives the way between processes.
        super().__init__(reason, detail)
        self.reason = reason

    def __str__(self) -> str:
        return self.args[1]
