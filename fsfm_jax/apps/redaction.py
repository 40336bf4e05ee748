"""Results without names: paths become salted digests, and what was read out of a file becomes a general sentence."""

import dataclasses
import hashlib
import os
import re
import secrets

from fsfm_jax.apps.reading import REASONS, Miss
from fsfm_jax.apps.verdict import Verdict
from fsfm_jax.prepare.media import unusable

SALT_BYTES, DIGEST_BYTES = 16, 8
# The only note with words of a file: the description of its colour profile.
PROFILE = re.compile("colours converted from .* to sRGB")


class Redaction:
    """Redacts the verdicts of one command.

    The salt is drawn at random and kept nowhere. So a file has one name in all results of a command and another one in
    those of the next, and nobody can find out by trying names whether a file was among them.
    """

    def __init__(self):
        self._salt = secrets.token_bytes(SALT_BYTES)

    def name(self, path: str) -> str:
        """Return the name that stands for a path, such as "file-0f3c2a9b5d7e8142"."""
        digest = hashlib.blake2b(os.fsencode(path), digest_size=DIGEST_BYTES, key=self._salt)
        return f"file-{digest.hexdigest()}"

    def redact(self, verdict: Verdict) -> Verdict:
        """Return a verdict without the path, the words of other programs and the words of the file; numbers stay."""
        return dataclasses.replace(
            verdict,
            path=self.name(verdict.path),
            detail=_general(verdict.reason, verdict.detail),
            notes=tuple(PROFILE.sub("colours converted to sRGB", note) for note in verdict.notes),
            misses=tuple(Miss(miss.frame, miss.reason, _general(miss.reason, miss.detail)) for miss in verdict.misses),
        )


def _general(reason: str, detail: str) -> str:
    """Return what the reason means; where a verdict is withheld, the detail itself, which has only numbers."""
    return (unusable.REASONS | REASONS).get(reason, detail)
