"""Protocols of deepfake detection by word: the training and test data of a detector.

| word             | training and validation                    | test                                              |
|------------------|--------------------------------------------|---------------------------------------------------|
| `fsvfm`          | (unchanged)                                | the seven data sets of FS-VFM                     |
| `c40`            | FaceForensics++ at c40                     | its test split at c40                             |
| `only-NAME`      | one manipulation of FaceForensics++        | the other three, each a set of its own            |
| `all-but-NAME`   | three manipulations of FaceForensics++     | the fourth                                        |

NAME is a key of `MANIPULATIONS`. Words combine: `c40,only-faceswap` trains and tests at c40, and `fsvfm` adds its sets.
"""

from collections.abc import Mapping
from typing import NamedTuple

from ml_collections import ConfigDict

from fsfm_jax.config import evaluate

FSFM = {"CDFv2": "celebdf_v2:test", "DFDC": "dfdc:test", "DFDCp": "dfdcp:test", "WDF": "wilddeepfake:test"}
FSVFM = FSFM | {"DFD": "dfd:test", "CDFv1": "celebdf_v1:test", "CDFpp": "celebdf_pp:test"}
# Names of the test sets. "FS" without a prefix is a set of DiFF, whose published numbers would be shown here.
MANIPULATIONS = {
    "deepfakes": "FFpp_DF", "face2face": "FFpp_F2F", "faceswap": "FFpp_FS", "neuraltextures": "FFpp_NT",
}  # fmt: skip
SUITE, C40, ONLY, BUT = "fsvfm", "c40", "only-", "all-but-"
WORDS = (SUITE, C40, *(kind + name for kind in (ONLY, BUT) for name in MANIPULATIONS))


class Protocol(NamedTuple):
    """Training folders below `data/` (empty: those of the recipe) and test sets by name."""

    train: tuple[str, ...]
    tests: Mapping[str, str]


def find_protocol(variant: str) -> tuple[Protocol, str]:
    """Return the protocol that the words of a variant name together, and the remaining words.

    Raises:
      ValueError: two words that say what is trained on.
    """
    words = [word for word in variant.split(",") if word]
    crossed = [word for word in words if word in WORDS and word.startswith((ONLY, BUT))]
    if len(crossed) > 1:
        raise ValueError(f"variant: expected one of the words {ONLY}... and {BUT}..., found {', '.join(crossed)}")
    end = f"_{C40}" if C40 in words else ""
    train, tests = ((f"ffpp_all{end}",), {f"FFpp{end}": f"ffpp_all{end}:test"}) if end else ((), {})
    for word in crossed:
        train, tests = _across(word, end)
    tests |= FSVFM if SUITE in words else {}
    return Protocol(train, tests), ",".join(word for word in words if word not in WORDS)


def _across(word: str, end: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the training folders and the test sets of `only-NAME` or `all-but-NAME`."""
    named = word.removeprefix(ONLY).removeprefix(BUT)
    others = [name for name in MANIPULATIONS if name != named]
    trained, tested = ([named], others) if word.startswith(ONLY) else (others, [named])
    tests = {f"{MANIPULATIONS[name]}{end}": f"ffpp_{name}{end}:test" for name in tested}
    return tuple(f"ffpp_{name}{end}" for name in trained), tests


def follow(c: ConfigDict, variant: str) -> str:
    """Set the data of a deepfake detection recipe to those of its protocol, and return the remaining words.

    Raises:
      ValueError: two words that say what is trained on.
    """
    protocol, rest = find_protocol(variant)
    if protocol.train:
        c.data.train = ",".join(f"data/{folder}:train" for folder in protocol.train)
        c.data.validation = ",".join(f"data/{folder}:val" for folder in protocol.train)
    if protocol.tests:
        c.data.test = evaluate.sets(protocol.tests)
    return rest
