"""What the C library does with memory that a step on the CPU gives back.

XLA asks for the temporary memory of a step anew in every step. glibc returns it to the system in between, and the
system hands it out again page by page, filled with zeros: a tenth of the time of a training step.
"""

import ctypes
import importlib.metadata
import importlib.util
import sys

import jax

# Parameters of mallopt in glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


def accelerated() -> bool:
    """Whether JAX has the plugin of an accelerator, whose steps do not run in this process's memory."""
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return bool(plugins) or importlib.util.find_spec("libtpu") is not None


def keep_freed_memory() -> bool:
    """Makes freed memory stay for the next step; returns whether it does.

    To be called before JAX starts its backend. The process then stays as large as it once was, and a step on the CPU
    is over when its call is. Does nothing where an accelerator computes, and without glibc.
    """
    if accelerated() or not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    # Never a mapping of its own for a large array, never anything back. This holds for the pool of the main thread
    # alone, so steps have to run in it.
    kept = all([library.mallopt(_MMAP_MAX, 0), library.mallopt(_TRIM_THRESHOLD, _NEVER)])
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    return kept
