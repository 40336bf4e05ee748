"""What stands where a run or a weight file is expected: a sentence for every place and file that nothing here reads."""

import os
import re
import stat

from fsfm_jax.text import join_first

RUN_FOLDERS = ("checkpoints", "detector", "imported")
STORES = ("gs", "s3")  # object stores that may hold checkpoints of a run
HEAD = 512  # bytes that a file is known by
SHOWN = 5
_DOWNLOAD = "download it to this machine and name the file"
_SCHEMES = {
    "hf": "it holds no runs; name weights of the Hub where a checkpoint or `init` is asked for, as "
    "hf://OWNER/REPOSITORY/FILE@REVISION, or import them first with `fsfm import`",
    "http": _DOWNLOAD,
    "https": _DOWNLOAD,
    "ftp": _DOWNLOAD,
    "file": "leave out file:// and give the path alone",
}
_KINDS = {
    stat.S_ISFIFO: "a named pipe (FIFO)", stat.S_ISSOCK: "a socket", stat.S_ISCHR: "a device", stat.S_ISBLK: "a device",
}  # fmt: skip
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the number that PyTorch before 1.6 began its files with
_SAVE_AGAIN = "with any newer PyTorch do torch.save(torch.load(FILE, map_location='cpu'), NEW_FILE), and name that"
_UNPACK = "unpack it and name the weight file in it"
_FETCH = "fetch the file again"
# First bytes -> what such a file is, and what to do.
_MAGIC = (
    (b"version https://git-lfs", "a Git LFS pointer, not the weights: run `git lfs pull` in its repository"),
    (b"/annex/objects/", "a git-annex pointer, not the weights: run `git annex get` in its repository"),
    (_LEGACY, f"in the format of PyTorch before 1.6: {_SAVE_AGAIN}"),
    (b"\x1f\x8b", f"compressed by gzip: {_UNPACK}"),
    (b"BZh", f"compressed by bzip2: {_UNPACK}"),
    (b"\xfd7zXZ\0", f"compressed by xz: {_UNPACK}"),
    (b"\x28\xb5\x2f\xfd", f"compressed by zstd: {_UNPACK}"),
    (b"7z\xbc\xaf\x27\x1c", f"a 7z archive: {_UNPACK}"),
    (b"Rar!", f"a rar archive: {_UNPACK}"),
    (b"\x89HDF", "an HDF5 file, as Keras writes; weights of PyTorch or safetensors are expected"),
    (b"\x93NUMPY", "an array of NumPy; weights of PyTorch or safetensors are expected"),
    (b"GGUF", "a GGUF file; weights of PyTorch or safetensors are expected"),
)
_TAR = (257, b"ustar")
_ZIP = b"PK\3\4"


def check_place(path: str, field: str, file: bool = False) -> None:
    """Refuse addresses that nothing here reads.

    Args:
      path: of a run's working directory or a weight file; field: names it in errors.
      file: whether a weight file is meant, which has to lie on a file system.

    Raises:
      ValueError: `hf://`, `https://` and other schemes; `gs://` and `s3://` for a weight file.
    """
    scheme, separator, _ = path.partition("://")
    if not separator or (scheme in STORES and not file):
        return
    remedy = _SCHEMES.get(scheme, "copy it to a folder of this machine and name that")
    stores = "" if file else f", and {' and '.join(f'{store}://' for store in STORES)} for runs"
    raise ValueError(f"{field}: {path}: expected a path on this machine{stores}; {scheme}:// is not read: {remedy}")


def describe_path(path: str) -> str:
    """Describe, to follow "is", what is at `path` where a weight file was expected and there is none."""
    try:
        if os.path.islink(path) and not os.path.exists(path):
            return f"a link to {os.readlink(path)}, where nothing is"
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError):
            return "not there" + _about_home(path)
        return f"not readable ({getattr(error, 'strerror', None) or error})"
    if stat.S_ISDIR(mode):
        return "a folder, not a weight file"
    kind = next((name for test, name in _KINDS.items() if test(mode)), "no regular file")
    return f"{kind}, not a weight file"


def read_as(path: str) -> str:
    """Describe, to follow "is", a regular file that is no weight file, with what to do; "" if it may be one.

    Raises:
      ValueError: the file cannot be opened.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        return f"not readable ({error.strerror})"
    if not head:
        return f"empty: {_FETCH}"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<!--")):
        return "a web page (HTML) that was saved under this name: download the file itself, not the page about it"
    if text.startswith(b"<?xml"):
        return f"an answer in XML, as servers give instead of a file: {_FETCH}"
    found = next((what for magic, what in _MAGIC if head.startswith(magic)), "")
    if not found and head[_TAR[0] :].startswith(_TAR[1]):
        found = f"a tar archive, as old versions of PyTorch and other programs write: unpack it, or {_SAVE_AGAIN}"
    if not found and not head.startswith(_ZIP) and re.fullmatch(rb"[\t\n\r -~]+", head[:64]):
        shown = head[:40].decode("ascii").split("\n")[0]
        found = f"text, not weights; it begins with {shown!r}: {_FETCH}"
    return found


def suggest_ending(path: str, kind: str) -> str:
    """Suggest the ending for a file whose content is of the other `kind`, "pth" or "safetensors"; else ""."""
    with open(path, "rb") as file:
        head = file.read(9)
    if kind == "safetensors" and head.startswith(_ZIP):
        return "in the zip format of PyTorch: rename it to end in .pth"
    if kind == "pth" and head[8:] == b"{" and head[5:8] == b"\0\0\0":
        return "in the safetensors format: rename it to end in .safetensors"
    return ""


def lacking_run(path: str) -> str:
    """Describe for an error what is at `path`, where there is no run, with the names of the runs below."""
    if not os.path.lexists(path):
        return f"nothing is there{_about_home(path)}"
    if not os.path.isdir(path):
        return f"it is {describe_path(path) if not os.path.isfile(path) else 'a file'}"
    try:
        names = sorted(os.listdir(path))
    except OSError as error:
        return f"the folder is not readable ({error.strerror})"
    if not names:
        return "the folder is empty"
    weights = [name for name in names if name.lower().endswith((".pth", ".pt", ".pth.tar", ".safetensors"))]
    if weights:
        return f"the folder has no run but weight files: name one of them, such as {os.path.join(path, weights[0])}"
    return f"the folder has no {' or '.join(RUN_FOLDERS)}, but {join_first(names, SHOWN)}"


def _about_home(path: str) -> str:
    return "; a shell does not replace ~ behind =, write $HOME" if path.startswith("~") else ""
