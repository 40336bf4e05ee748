"""FSFM / FS-VFM in JAX: face security from self-supervised pretraining on real faces.

The public interface, described on the page docs/python.md. Importing this costs no start of JAX: what a name stands for
is loaded when the name is used.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fsfm_jax.apps.public import (
        Detector,
        Encoder,
        Masks,
        Parser,
        crfr_p,
        crfr_r,
        fasking_i,
        frp,
        load_detector,
        load_encoder,
        load_parser,
        random,
    )

__version__ = "0.2.0"
__all__ = [
    "Detector", "Encoder", "Masks", "Parser", "crfr_p", "crfr_r", "fasking_i", "frp", "load_detector", "load_encoder",
    "load_parser", "random",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    from fsfm_jax.apps import public

    return getattr(public, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
