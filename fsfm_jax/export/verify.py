"""Verify a signature: whether a detector, an encoder or an export is what the holder of a key signed.

    python -m fsfm_jax.export.verify runs/dfd --key=pub.pem
    python -m fsfm_jax.export.verify exports/dfd.safetensors --key=pub.pem

Every file that is missing, changed or not in the signed list is named, with exit code 1. To load nothing else, use
--require_signature of predict and serve: files may change after this command. Needs the extra `sign`. See
docs/weights.md.
"""

import sys
from typing import Any

from absl import app, flags

from fsfm_jax import command
from fsfm_jax.weights.signature import read_public_key
from fsfm_jax.weights.signed_files import verify_files


def define_flags() -> None:
    # Not when imported: flags are shared by the whole process.
    flags.DEFINE_string("key", "", "PEM file of the signer's public key.")


def main(arguments: list[str]) -> None:
    """Run the command line."""
    chosen: Any = flags.FLAGS
    if len(arguments) < 2 or not chosen.key:
        raise app.UsageError("expected PATH ... and --key=PUBLIC_KEY")
    command.run(lambda: _verify(arguments[1:], chosen.key))


def _verify(paths: list[str], key_path: str) -> None:
    key = read_public_key(key_path, "--key")
    for path in paths:
        files = verify_files(path, key)
        command.say(f"{path}: all {len(files.names)} files are as they were signed")


if __name__ == "__main__":
    command.start(sys.modules[__name__], sys.argv[1:])
