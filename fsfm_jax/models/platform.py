"""For which platform a network is traced: a few forms of the same numbers suit one of CPU, GPU and TPU.

The choice is part of the key of JAX's caches of traced, lowered and compiled functions: what was traced for one
platform is never used for another.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax

_PLATFORM = jax.make_user_context(default_value=None)
# JAX's names of kinds of GPU in lowering and export; both have one form.
_GPUS = ("cuda", "rocm")


@contextlib.contextmanager
def traced_for(platform: str) -> Iterator[None]:
    """What is traced inside is for `platform`, one of jax's names, instead of the one that this process computes on."""
    with _PLATFORM("gpu" if platform in _GPUS else platform):
        yield


def for_each(platforms: tuple[str, ...], function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` in the form of each of `platforms`, "cuda" and not "gpu"; where it is lowered for decides which runs.

    Without it, a function that is exported for other platforms carries the form of the platform it was traced on.
    """

    def form(platform: str) -> Callable[..., Any]:
        def traced(*arguments: Any) -> Any:
            with traced_for(platform):
                return function(*arguments)

        return traced

    on_gpus = form("gpu")  # one function, so that it is traced once
    forms = {platform: on_gpus if platform in _GPUS else form(platform) for platform in platforms}
    return lambda *arguments: jax.lax.platform_dependent(*arguments, **forms)


def for_tpu() -> bool:
    """Whether what is traced now is for a TPU."""
    return _platform() == "tpu"


def for_cpu() -> bool:
    """Whether what is traced now is for a CPU."""
    return _platform() == "cpu"


def _platform() -> str:
    """That of `traced_for`, of `jax.default_device`, which is in the keys of the caches too, or of the process."""
    device = jax.config.jax_default_device
    if _PLATFORM.value is not None or device is None:
        return _PLATFORM.value or jax.default_backend()
    return device if isinstance(device, str) else device.platform
