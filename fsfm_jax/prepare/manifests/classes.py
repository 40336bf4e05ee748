"""Class names of the benchmarks, and how to find the real class among a user's own classes."""

from fsfm_jax.prepare.manifests.manifest import WrongDownload
from fsfm_jax.text import did_you_mean

FAKE_REAL = ("fake", "real")  # deepfake and diffusion forgery detection, in the order of the released code of FSFM
ATTACK_BONA_FIDE = ("attack", "bona_fide")  # face anti-spoofing
REAL = 1  # index of the real class in both

REAL_NAMES = ("real", "reals", "bona_fide", "bonafide", "live", "genuine", "original", "originals", "pristine")
REAL_PREFIX = "real_"


def says_real(name: str) -> bool:
    """Return whether a class name means real faces: one of `REAL_NAMES`, or a name that starts with `real_`."""
    plain = name.lower().replace("-", "_").replace(" ", "_")
    return plain in REAL_NAMES or plain.startswith(REAL_PREFIX)


def real_label(names: tuple[str, ...], wanted: str) -> int | None:
    """Find the label of the real class: `wanted` if given, else the class whose name means real, else None.

    Raises:
      WrongDownload: there is no class `wanted`, or several class names mean real.
    """
    if wanted:
        if wanted not in names:
            hint = did_you_mean(wanted, names)
            raise WrongDownload(f"real class: expected one of {', '.join(names)}, found {wanted!r}{hint}")
        return names.index(wanted)
    real = [label for label, name in enumerate(names) if says_real(name)]
    if len(real) > 1:
        found = ", ".join(names[label] for label in real)
        raise WrongDownload(f"real class: expected one class whose name says real, found {found}; set --real=NAME")
    return real[0] if real else None
