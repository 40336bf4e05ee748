"""For which platform a network is traced: a few forms of the same numbers suit one of CPU, GPU and TPU."""

import contextlib
import contextvars
from collections.abc import Iterator

import jax

_PLATFORM = contextvars.ContextVar("platform", default=None)


@contextlib.contextmanager
def traced_for(platform: str) -> Iterator[None]:
    """What is traced inside is for `platform`, one of jax's names, instead of the one that this process computes on."""
    token = _PLATFORM.set(platform)
    try:
        yield
    finally:
        _PLATFORM.reset(token)


def for_tpu() -> bool:
    """Whether what is traced now is for a TPU."""
    return _platform() == "tpu"


def for_cpu() -> bool:
    """Whether what is traced now is for a CPU."""
    return _platform() == "cpu"


def _platform() -> str:
    return _PLATFORM.get() or jax.default_backend()
