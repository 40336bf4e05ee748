"""Signed detectors, encoders and exports: which files are signed, where the signature is, how signed bytes are opened.

| what                                         | files                                 | signature          |
|----------------------------------------------|---------------------------------------|--------------------|
| a weight file or a serialized detector       | `FILE`, and next to it `FILE.json`     | `FILE.sig`         |
| an official file                             | `FILE`, and next to it its statistics  | `FILE.sig`         |
| the folder of an export, or its weight file  | all of the folder                     | `FOLDER/model.sig` |
| the working directory of a fine-tuning       | all of its folder `detector`          | `detector.sig`     |
| the working directory that an import made    | all of its folder `imported`          | `imported.sig`     |

`open_signed` copies the files to a private folder while it computes their digests, and loaders read the copy. So the
verified bytes are the loaded bytes, even if the files change meanwhile. Only a process of the same user, or root, can
change the copy.
"""

import contextlib
import dataclasses
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from fsfm_jax.run.foreign_file import RUN_FOLDERS
from fsfm_jax.run.whole_file import whole_file
from fsfm_jax.text import join_first, plain
from fsfm_jax.weights import bundled, signature
from fsfm_jax.weights.export_file import CARD
from fsfm_jax.weights.official_file import kind_of
from fsfm_jax.weights.official_statistics import STATISTICS_FILE

FIELD = "--require_signature"
SUFFIX, IN_FOLDER = ".sig", "model.sig"
CHUNK = 1 << 22  # bytes
GROWING, *FINISHED = RUN_FOLDERS
MISSING, CHANGED, EXTRA = "missing", "changed (SHA-256)", "not in the signed list"


@dataclasses.dataclass(frozen=True)
class SignedFiles:
    """The files that one signature covers.

    Attributes:
      path: as the user named it. place: of the signature.
      folder: that names are relative to. names: of the files, sorted, with "/" between parts.
      opens: what is opened, relative to the folder that `folder` is in or is copied to.
    """

    path: str
    place: str
    folder: str
    names: tuple[str, ...]
    opens: str


def find_files(path: str) -> SignedFiles:
    """Find the files that a signature of `path` covers, by the table above.

    Raises:
      FileNotFoundError: nothing there.
      ValueError: an address, the weights of the package, or a run that has no detector yet.
    """
    if path == bundled.NAME or "://" in path:
        raise ValueError(
            f"{path}: expected a file or folder of this machine; weights of the package and addresses have a digest "
            "and no signature. Copy the files to this machine, and name that place"
        )
    path = os.path.normpath(path)
    if os.path.isfile(path):
        folder, name = os.path.split(path)
        if not os.path.isfile(f"{path}.json") and os.path.isfile(os.path.join(folder, CARD)):
            return _of_folder(path, folder or os.curdir, name)
        beside = [f"{name}.json"]
        if kind_of(name) is not None and not os.path.isfile(f"{path}.json"):
            beside = [STATISTICS_FILE]
        names = [name, *(one for one in beside if os.path.lexists(os.path.join(folder, one)))]
        return SignedFiles(path, path + SUFFIX, folder or os.curdir, tuple(sorted(names)), name)
    if not os.path.isdir(path):
        raise FileNotFoundError(f"{path}: expected a file, an export or a working directory; nothing is there")
    for part in FINISHED:
        folder = os.path.join(path, part)
        if os.path.isdir(folder):
            place = os.path.join(path, part + SUFFIX)
            return SignedFiles(path, place, path, tuple(f"{part}/{name}" for name in _walk(folder)), "")
    if os.path.isdir(os.path.join(path, GROWING)):
        raise ValueError(
            f"{path}: expected a finished detector, an import or an export; this is a run whose checkpoints still "
            "change. Export it, and name the export"
        )
    return _of_folder(path, path, "")


def write_signature(path: str, key: Any) -> SignedFiles:
    """Sign the files of `path` with a key of `signature.read_private_key`, in place of an older signature.

    Raises:
      ValueError, OSError: as `find_files`, or nothing to sign.
    """
    files = find_files(path)
    if not files.names:
        raise ValueError(f"{path}: expected files to sign; the folder is empty")
    digests = {name: _take(os.path.join(files.folder, name), None) for name in files.names}
    content = signature.sign_digests(os.path.basename(os.path.abspath(files.path)), digests, key)
    with whole_file(files.place) as file:
        file.write(content)
    return files


def verify_files(path: str, key: Any) -> SignedFiles:
    """Verify that `path` is what the holder of a key signed, file by file; raises as `open_signed`."""
    files = find_files(path)
    _compare(files, _read_signature(files, key), None)
    return files


@contextlib.contextmanager
def open_signed(checkpoint: str | None, key_path: str) -> Iterator[str]:
    """Yield a private copy of a checkpoint whose bytes are the signed ones, and delete it afterwards.

    Args:
      checkpoint: None stands for the weights of the package, which are refused.
      key_path: of the public key.

    Raises:
      FileNotFoundError: no such file, or it has no signature.
      ValueError: a signature of another key or list, or a file that is missing, changed or not in the list; each is
        named.
      ModuleNotFoundError: the extra `sign` is not installed.
    """
    key = signature.read_public_key(key_path, FIELD)
    files = find_files(bundled.NAME if checkpoint is None else checkpoint)
    listed = _read_signature(files, key)
    with tempfile.TemporaryDirectory(prefix="fsfm_jax_signed_") as private:  # mode 0700
        copy = os.path.join(private, os.path.basename(os.path.abspath(files.folder)))
        _compare(files, listed, copy)
        yield os.path.join(copy, files.opens) if files.opens else copy


def restore_paths(value: Any, copy: str, path: str) -> Any:
    """Return JSON in which the path of a copy is replaced by that of its original."""
    if isinstance(value, str):
        return path + value[len(copy) :] if value == copy or value.startswith(copy + os.sep) else value
    if isinstance(value, list):
        return [restore_paths(one, copy, path) for one in value]
    if isinstance(value, dict):
        return {name: restore_paths(one, copy, path) for name, one in value.items()}
    return value


def _of_folder(path: str, folder: str, opens: str) -> SignedFiles:
    names = tuple(name for name in _walk(folder) if name != IN_FOLDER)
    return SignedFiles(path, os.path.join(folder, IN_FOLDER), folder, names, opens)


def _walk(folder: str) -> list[str]:
    """Return the sorted names of all files and links below a folder, links to folders included."""
    found = []
    for place, folders, names in os.walk(folder, onerror=_raise):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        found += [os.path.relpath(os.path.join(place, name), folder) for name in (*names, *links)]
    return sorted(name.replace(os.sep, "/") for name in found)


def _raise(error: OSError) -> None:
    raise error


def _read_signature(files: SignedFiles, key: Any) -> dict[str, str]:
    try:
        with _open_regular(files.place) as file:
            content = file.read(signature.MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{files.path}: expected the signature {files.place}; there is none. It is unsigned: get the signature "
            f"from its maker, or sign it with `fsfm sign {files.path} --key=KEY` if you vouch for it"
        ) from error
    if len(content) > signature.MAX_BYTES:
        raise ValueError(f"{files.place}: expected a signature of at most {signature.MAX_BYTES} bytes; found more")
    return signature.verify_digests(content, key, files.place)


def _compare(files: SignedFiles, listed: Mapping[str, str], copy: str | None) -> None:
    """Compare every file with the list, and copy it to `copy`; one error names all files that differ."""
    wrong = {name: EXTRA for name in files.names if name not in listed}
    for name, digest in sorted(listed.items()):
        target = None if copy is None else os.path.join(copy, name)
        try:
            if _take(os.path.join(files.folder, name), target) != digest:
                wrong[name] = CHANGED
        except (FileNotFoundError, NotADirectoryError):
            wrong[name] = MISSING
    if wrong:
        told = [f"{plain(name)}: {what}" for name, what in sorted(wrong.items())]
        raise ValueError(
            f"{files.path}: not what was signed in {files.place}: {join_first(told, between='; ')}. Get the files from "
            "their maker again, or sign them anew if the changes are yours"
        )


def _take(path: str, target: str | None) -> str:
    """Return the SHA-256 of a file, in hexadecimal; the same bytes are written to `target`, if given."""
    digest = hashlib.sha256()
    with contextlib.ExitStack() as opened:
        file = opened.enter_context(_open_regular(path))
        out = None
        if target is not None:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            out = opened.enter_context(open(target, "xb"))
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            if out is not None:
                out.write(chunk)
    return digest.hexdigest()


def _open_regular(path: str) -> BinaryIO:
    """Open a regular file; a pipe would block, and is refused with ValueError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{path}: expected a regular file; found a folder, a pipe or a device. Remove it")
    return os.fdopen(descriptor, "rb")
