"""The files of TensorFlow Datasets in a folder of records, checked before TFDS reads them.

TFDS takes them for its own: it imports whatever module a feature names, reads whatever path a name or a template gives,
and believes every number. In an untrusted folder all of it must be what `prepare` writes.
"""

import json
import os
import re

from fsfm_jax.data.regular_file import check_regular, read_regular

FEATURES, INFO = "features.json", "dataset_info.json"
MAX_BYTES = 1 << 24
MAX_DEPTH = 12  # of objects and lists within each other; features have 8
LONGEST = 10_000  # letters of a text
# Ours; every other feature of TFDS may read files and build things of its own.
FEATURE_CLASS = re.compile(
    r"tensorflow_datasets\.core\.features\."
    r"(tensor_feature\.Tensor|scalar\.Scalar|image_feature\.Image|class_label_feature\.ClassLabel|text_feature\.Text|"
    r"features_dict\.FeaturesDict)"
)
# Names of the class of a feature, in the present form and in that of old versions, which is not read.
CLASS, OLD_CLASS = ("python_class_name",), ("type", "proto_cls")
MODULES = ("module_name", "config_name")
# A data set, a split and a feature are parts of file names.
NAME = re.compile(r"[A-Za-z][\w-]{0,199}")
VERSION = re.compile(r"\d{1,4}\.\d{1,4}\.\d{1,4}")
TEMPLATE = re.compile(r"([\w-]|\.(?!\.)|\{(DATASET|SPLIT|FILEFORMAT|SHARD_X_OF_Y|SHARD_INDEX|NUM_SHARDS)\})+", re.ASCII)
FILE_FORMAT = "array_record"
# The largest value of the numbers, which JSON may hold as text.
NUMBERS = {
    "shard_lengths": 1 << 40, "num_bytes": 1 << 62, "download_size": 1 << 62, "num_shards": 1 << 20,
    "dimensions": 1 << 20, "num_classes": 1 << 16,
}  # fmt: skip
SPLIT_ENTRIES = {"name", "shard_lengths", "num_bytes", "filepath_template", "num_shards"}
INFO_ENTRIES = {
    "name", "version", "splits", "file_format", "module_name", "config_name", "description", "citation",
    "download_size", "disable_shuffling", "release_notes",
}  # fmt: skip


def check_metadata(directory: os.PathLike) -> None:
    """Refuses metadata that `prepare` would not have written in `directory`, which may be of an object store.

    Raises:
      FileNotFoundError: one of the two files is missing.
      ValueError: no JSON, a feature that is not ours, a module, a path, a number that cannot be, or a pipe or device
        in the folder.
    """
    check_regular(directory)
    for name in (FEATURES, INFO):
        path = directory / name
        content = _read(path)
        _check_values(path, content)
        if name == INFO:
            _check_info(path, content)
        else:
            _check_features(path, content)


def _read(path: os.PathLike) -> dict:
    data = read_regular(path, MAX_BYTES)
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected JSON, found something else ({str(error)[:200]}); copy it again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected an object, found {type(content).__name__}; copy it again")
    return content


def _plain_key(key: str) -> str:
    """A key in the spelling of protocol buffers, which take `shardLengths` and `shard_lengths`."""
    return re.sub(r"(?<=[a-z])[A-Z]", lambda letter: "_" + letter[0].lower(), key)


def _check_values(path: os.PathLike, content: dict) -> None:
    """Checks every entry, wherever it is."""
    todo: list[tuple[str, object, int]] = [("", content, 0)]
    while todo:
        key, value, depth = todo.pop()
        if depth > MAX_DEPTH:
            raise _refusal(path, key, f"at most {MAX_DEPTH} levels", "more")
        if key in NUMBERS:
            _check_number(path, key, value)
        elif isinstance(value, dict):
            todo += [(_plain_key(name), inner, depth + 1) for name, inner in value.items()]
        elif isinstance(value, list):
            todo += [(key, inner, depth + 1) for inner in value]
        elif not isinstance(value, str | bool) or (isinstance(value, str) and len(value) > LONGEST):
            raise _refusal(path, key, f"a text of at most {LONGEST} letters", value)
        if not isinstance(value, dict | list):
            _check_text(path, key, value)


def _check_text(path: os.PathLike, key: str, value: str | bool | int) -> None:
    named = isinstance(value, str)
    if key in CLASS and not (named and FEATURE_CLASS.fullmatch(value)):
        raise _refusal(path, key, "a feature of tensorflow_datasets that prepare writes", value)
    if key in OLD_CLASS and named and "." in value:
        raise _refusal(path, key, "no class in the form of old versions", value)
    if key in MODULES and value:
        raise _refusal(path, key, "none", value)
    if key == "filepath_template" and not (named and TEMPLATE.fullmatch(value)):
        raise _refusal(path, key, "names of files in this folder", value)


def _check_number(path: os.PathLike, key: str, value: object) -> None:
    for one in value if isinstance(value, list) else [value]:
        # A truth value is a whole number to Python; a dimension of -1 is left open.
        whole = type(one) is int or (isinstance(one, str) and re.fullmatch(r"-?[0-9]{1,19}", one, re.ASCII))
        least = -1 if key == "dimensions" else 0
        if not whole or not least <= int(one) <= NUMBERS[key]:
            raise _refusal(path, key, f"whole numbers of {least} to {NUMBERS[key]}", one)


def _check_info(path: os.PathLike, content: dict) -> None:
    info = _entries(path, content, INFO_ENTRIES)
    for key, pattern, expected in (
        ("name", NAME, "letters, digits, - and _"),
        ("version", VERSION, "a version such as 1.0.0"),
        ("file_format", re.compile(FILE_FORMAT), FILE_FORMAT),
    ):
        if key in info and not (isinstance(info[key], str) and pattern.fullmatch(info[key])):
            raise _refusal(path, key, expected, info[key])
    splits = info.get("splits", [])
    if not isinstance(splits, list):
        raise _refusal(path, "splits", "a list", splits)
    names = set()
    for split in splits:
        entries = _entries(path, split, SPLIT_ENTRIES)
        name = entries.get("name")
        if not (isinstance(name, str) and NAME.fullmatch(name)) or name in names:
            raise _refusal(path, "name of a split", "different ones of letters, digits, - and _", name)
        names.add(name)
        for key, kind in (("filepath_template", str), ("shard_lengths", list)):
            if key in entries and not isinstance(entries[key], kind):
                raise _refusal(path, key, f"a {'text' if kind is str else 'list'}", entries[key])


def _entries(path: os.PathLike, content: object, allowed: set[str]) -> dict:
    """The entries of an object by plain keys; a key that prepare does not write is refused, and so is one twice."""
    if not isinstance(content, dict):
        raise _refusal(path, "splits", "objects", content)
    entries = {_plain_key(key): value for key, value in content.items()}
    unknown = sorted(entries.keys() - allowed)
    if unknown or len(entries) < len(content):
        raise _refusal(path, "entries", f"some of {', '.join(sorted(allowed))}, each once", ", ".join(content))
    return entries


def _check_features(path: os.PathLike, content: dict) -> None:
    """A feature's name is that of a file with its labels."""
    outer = content.get("featuresDict", content.get("features_dict", {}))
    features = outer.get("features", {}) if isinstance(outer, dict) else outer
    if not isinstance(features, dict):
        raise _refusal(path, "features", "an object", features)
    for name in features:
        if not NAME.fullmatch(name):
            raise _refusal(path, "name of a feature", "letters, digits, - and _", name)


def _refusal(path: os.PathLike, key: str, expected: str, found: object) -> ValueError:
    return ValueError(
        f"{path}: {key}: expected {expected}, found {str(found)[:100]!r}; take data sets of `prepare` only"
    )
