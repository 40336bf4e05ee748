"""The error for photos, videos and frames that cannot be used, with its reasons.

Such files are reported and skipped: a download of a million files has broken ones, and these must not end the run.
Every reader of raw media raises only `Unusable` for a faulty file.
"""

REASONS = {
    "unreadable": "the file cannot be opened or read: gone, no permission, or not a regular file",
    "empty_file": "the file has no bytes",
    "unknown_format": "the content has no supported format, regardless of the file name",
    "unsupported_format": "a photo or document of a known format that is not read",
    "unsupported_pixels": "the pixels are not those of a photo, such as floating point numbers",
    "truncated": "the end of the photo is missing",
    "damaged": "the decoder cannot decode the data",
    "too_large": "there are more pixels or bytes than the limit",
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
