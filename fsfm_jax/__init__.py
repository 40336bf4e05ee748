"""FSFM / FS-VFM in JAX: face security from self-supervised pretraining on real faces.

The public interface, described on the page docs/python.md and typed in `__init__.pyi`. Importing this costs no start of
JAX: what a name stands for is loaded when the name is used.
"""

import importlib

__version__ = "1.0.0"
__all__ = [
    "Detector", "Encoder", "Masks", "Parser", "crfr_p", "crfr_r", "fasking_i", "frp", "load_detector", "load_encoder",
    "load_parser", "random",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"{__name__}.apps.public"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
