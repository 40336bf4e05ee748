"""Signatures of a list of files: one key vouches for the name and SHA-256 of each.

A signature is a JSON file in the format of OpenSSF Model Signing v1.0. It is a Sigstore bundle without certificate and
log. Its DSSE envelope holds an in-toto statement with the list. Keys are PEM files of elliptic curves. Nothing here
uses the network. The package `cryptography` does the arithmetic, and is imported when a key is read.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from fsfm_jax.text import join_first, plain

INSTALL = "pip install 'fsfm-jax[sign]'"
MAKE_KEY = "openssl ecparam -name prime256v1 -genkey -noout -out key.pem; openssl ec -in key.pem -pubout -out pub.pem"
MAX_BYTES = 16 << 20  # of a signature; the list of a large checkpoint has some thousand files of 200 bytes each
MAX_KEY = 64 << 10
HASHES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}  # curve -> hash that it signs
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD, STATEMENT = "application/vnd.in-toto+json", "https://in-toto.io/Statement/v1"
PREDICATE = "https://model_signing/signature/v1.0"
SERIALIZATION = {"method": "files", "hash_type": "sha256"}  # one digest for each file


def read_private_key(path: str, field: str) -> Any:
    """Read the key that signs, of an elliptic curve of `HASHES`, from a PEM file without password.

    Args:
      field: names it in errors, such as "--key".

    Raises:
      ModuleNotFoundError: `cryptography` is not installed; the message names the extra.
      FileNotFoundError: no such file. ValueError: no such key.
    """
    serialization, ec = _library(field)
    text = _read_key(path, field)
    try:
        key = serialization.load_pem_private_key(text, None)
    except (ValueError, TypeError) as error:  # TypeError: it has a password
        raise ValueError(
            f"{field}: {path}: expected a private key in PEM without a password; it cannot be read "
            f"({plain(str(error))[:200]}). Make one with: {MAKE_KEY}"
        ) from error
    _check_curve(path, field, key, ec.EllipticCurvePrivateKey)
    return key


def read_public_key(path: str, field: str) -> Any:
    """Read the key that verifies, from a PEM file; arguments and errors as of `read_private_key`."""
    serialization, ec = _library(field)
    text = _read_key(path, field)
    try:
        key = serialization.load_pem_public_key(text)
    except ValueError as error:
        found = "a private key, which must stay secret" if b"PRIVATE KEY" in text else "something else"
        raise ValueError(
            f"{field}: {path}: expected a public key in PEM, found {found}. Make it of the private one with: "
            "openssl ec -in key.pem -pubout -out pub.pem"
        ) from error
    _check_curve(path, field, key, ec.EllipticCurvePublicKey)
    return key


def sign_digests(name: str, digests: Mapping[str, str], key: Any) -> bytes:
    """Sign a list of files and return the bytes of the signature.

    Args:
      name: of the whole, for people. digests: SHA-256 in hexadecimal by file name. key: of `read_private_key`.
    """
    listed = sorted(digests.items())
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": _digest_all([digest for _, digest in listed])}}],
        "predicateType": PREDICATE,
        "predicate": {
            "serialization": SERIALIZATION | {"allow_symlinks": False},
            "resources": [{"name": name, "algorithm": "sha256", "digest": digest} for name, digest in listed],
        },
    }
    payload = json.dumps(statement, indent=1).encode()
    signed = key.sign(_encode(payload), _algorithm(key))
    envelope = {
        "payload": base64.b64encode(payload).decode(), "payloadType": PAYLOAD,
        "signatures": [{"sig": base64.b64encode(signed).decode(), "keyid": ""}],
    }  # fmt: skip
    material = {"publicKey": {"hint": _name_key(key.public_key())}, "tlogEntries": []}
    bundle = {"mediaType": BUNDLE, "verificationMaterial": material, "dsseEnvelope": envelope}
    return (json.dumps(bundle, indent=1) + "\n").encode()


def verify_digests(content: bytes, key: Any, where: str) -> dict[str, str]:
    """Verify a signature and return the list that was signed: SHA-256 in hexadecimal by file name.

    The names are relative and never lead out of their folder.

    Args:
      content: the bytes of the signature. key: of `read_public_key`. where: names the signature in errors.

    Raises:
      ValueError: the signature is malformed, of another key or of another list, or the list is malformed.
    """
    from cryptography.exceptions import InvalidSignature

    payload, signed, hint = _open_bundle(content, where)
    try:
        key.verify(signed, _encode(payload), _algorithm(key))
    except InvalidSignature as error:
        wanted = _name_key(key)
        if hint != wanted:
            raise ValueError(
                f"{where}: the signature is of another key: expected {wanted[:16]}, found {plain(str(hint))[:16]}. "
                "Name the signer's public key, if you trust the signer"
            ) from error
        raise ValueError(f"{where}: the signed list was changed after it was signed; do not use these files") from error
    return _read_list(payload, where)


def _library(field: str) -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{field}: {error}; {INSTALL}") from error
    return serialization, ec


def _read_key(path: str, field: str) -> bytes:
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_KEY + 1)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{field}: {path}: expected a key in PEM; there is no such file") from error
    if len(text) > MAX_KEY:
        raise ValueError(f"{field}: {path}: expected a key in PEM; found a file of more than {MAX_KEY} bytes")
    return text


def _check_curve(path: str, field: str, key: Any, kind: type) -> None:
    curve = key.curve.name if isinstance(key, kind) else f"a key of type {type(key).__name__.lstrip('_')}"
    if curve not in HASHES:
        raise ValueError(
            f"{field}: {path}: expected an elliptic curve of {', '.join(HASHES)}; found {curve}. Make a key with: "
            f"{MAKE_KEY}"
        )


def _algorithm(key: Any) -> Any:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.ECDSA(getattr(hashes, HASHES[key.curve.name])())


def _name_key(key: Any) -> str:
    """Return the SHA-256 of a public key in PEM, by which a signature names its key."""
    from cryptography.hazmat.primitives import serialization as form

    text = key.public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(text).hexdigest()


def _encode(payload: bytes) -> bytes:
    """Return the bytes to sign: the payload with its type and both lengths (DSSE v1, pre-authentication encoding)."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD), PAYLOAD.encode(), len(payload), payload)


def _digest_all(digests: list[str]) -> str:
    return hashlib.sha256(b"".join(map(bytes.fromhex, digests))).hexdigest()


def _open_bundle(content: bytes, where: str) -> tuple[bytes, bytes, object]:
    """Return the payload, its signature and the name of the key; none of them is trusted yet."""
    try:
        bundle = json.loads(content)
        material, envelope = bundle["verificationMaterial"], bundle["dsseEnvelope"]
        if (bundle["mediaType"], envelope["payloadType"]) != (BUNDLE, PAYLOAD):
            raise ValueError("another type")
        (one,) = envelope["signatures"]
        payload, signed = (base64.b64decode(text, validate=True) for text in (envelope["payload"], one["sig"]))
        return payload, signed, material["publicKey"]["hint"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error) as error:
        raise ValueError(
            f"{where}: expected a signature by a key, as `fsfm sign` and OpenSSF's model_signing write it; found "
            "something else or a damaged one"
        ) from error


def _read_list(payload: bytes, where: str) -> dict[str, str]:
    """Return the list of a statement with a valid signature. Its form is checked, because a key can sign anything."""
    try:
        statement = json.loads(payload)
        (subject,), predicate = statement["subject"], statement["predicate"]
        form = {name: predicate["serialization"][name] for name in SERIALIZATION}
        pairs = [(one["name"], one["digest"], one["algorithm"]) for one in predicate["resources"]]
        kinds = (statement["_type"], statement["predicateType"], form, {kind for *_, kind in pairs})
        listed = {name: digest for name, digest, _ in pairs}
        bad = [str(name) for name in listed if not _is_inside(name)]
        fits = kinds == (STATEMENT, PREDICATE, SERIALIZATION, {"sha256"}) and len(listed) == len(pairs)
        fits = fits and subject["digest"]["sha256"] == _digest_all([digest for _, digest, _ in pairs])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{where}: expected the SHA-256 of each file; the signed list has another form") from error
    if bad:
        raise ValueError(f"{where}: expected names of files inside the folder; found {plain(join_first(bad))}")
    if not fits:
        raise ValueError(f"{where}: expected the SHA-256 of each file; the signed list has another form")
    return listed


def _is_inside(name: object) -> bool:
    """Return whether a name is that of a file below its folder, in its only spelling."""
    if type(name) is not str or not name or "\0" in name or "\\" in name:
        return False
    return not {"", ".", ".."} & {*name.split("/")}
