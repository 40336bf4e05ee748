"""The command `fsfm predict` with the flags of a test."""

from types import SimpleNamespace

import pytest

from fsfm_jax.apps import predict

DEFAULTS = dict(
    threshold="equal_error", faces="largest", frames=3, detector="blazeface", scale=1.3, crop_size=None, transform="",
    detector_size=None, least_frames=0.25, least_confidence=None, json="", csv="", explain="", parquet="", watch=None,
    redact=False, require_signature=None, runtime="", workers=1, seconds=60.0, batch=4, dtype="", classes="",
    statistics="", norm_over="",
)  # fmt: skip


def command(monkeypatch, arguments, **changes) -> int:
    """The exit code of the command."""
    monkeypatch.setattr(predict, "flags", SimpleNamespace(FLAGS=SimpleNamespace(**DEFAULTS | changes)))
    with pytest.raises(SystemExit) as ended:
        predict.main(["predict", *map(str, arguments)])
    return ended.value.code
