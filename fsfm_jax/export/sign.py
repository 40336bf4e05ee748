"""Sign a detector, an encoder or an export: one key vouches for the SHA-256 of each of its files.

    python -m fsfm_jax.export.sign runs/dfd --key=key.pem
    python -m fsfm_jax.export.sign exports/dfd.safetensors --key=key.pem

The signature is in the format of OpenSSF Model Signing and is next to the files. An older one is replaced. The key is
an elliptic curve in PEM without a password. Nothing is sent anywhere. Needs the extra `sign`. See docs/weights.md.
"""

import sys
from typing import Any

from absl import app, flags

from fsfm_jax import command
from fsfm_jax.weights.signature import read_private_key
from fsfm_jax.weights.signed_files import write_signature


def define_flags() -> None:
    # Not when imported: flags are shared by the whole process.
    flags.DEFINE_string("key", "", "PEM file of the private key that signs.")


def main(arguments: list[str]) -> None:
    """Run the command line."""
    chosen: Any = flags.FLAGS
    if len(arguments) < 2 or not chosen.key:
        raise app.UsageError("expected PATH ... and --key=PRIVATE_KEY")
    command.run(lambda: _sign(arguments[1:], chosen.key))


def _sign(paths: list[str], key_path: str) -> None:
    key = read_private_key(key_path, "--key")
    for path in paths:
        files = write_signature(path, key)
        command.say(f"{files.place}: the signature of {len(files.names)} files")


if __name__ == "__main__":
    command.start(sys.modules[__name__], sys.argv[1:])
