"""Class names: those of the benchmarks, and which of a user's own classes is the real one."""

from fsfm_jax.prepare.manifests.manifest import WrongDownload
from fsfm_jax.text import did_you_mean

FAKE_REAL = ("fake", "real")  # deepfake and diffusion forgery detection, in the order of the released code of FSFM
ATTACK_BONA_FIDE = ("attack", "bona_fide")  # face anti-spoofing
REAL = 1  # index of the real class in both

REAL_NAMES = ("real", "reals", "bona_fide", "bonafide", "live", "genuine", "original", "originals", "pristine")
REAL_PREFIX = "real_"


def says_real(name: str) -> bool:
    """Whether the name of a class says that its faces are real: one of `REAL_NAMES`, or it starts with `real_`."""
    plain = name.lower().replace("-", "_").replace(" ", "_")
    return plain in REAL_NAMES or plain.startswith(REAL_PREFIX)


def real_label(names: tuple[str, ...], wanted: str) -> int | None:
    """The label of the real class: `wanted` if given, else that whose name says so, else None.

    Raises:
      WrongDownload: no class of the name `wanted`, or several that say they are real.
    """
    if wanted:
        if wanted not in names:
            hint = did_you_mean(wanted, names)
            raise WrongDownload(f"real class: expected one of {', '.join(names)}, found {wanted!r}{hint}")
        return names.index(wanted)
    real = [label for label, name in enumerate(names) if says_real(name)]
    if len(real) > 1:
        found = ", ".join(names[label] for label in real)
        raise WrongDownload(f"real class: expected one class whose name says real, found {found}; say which is meant")
    return real[0] if real else None
