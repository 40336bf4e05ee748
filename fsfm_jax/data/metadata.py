"""Validate the TensorFlow Datasets files in a folder of records before TFDS reads them.

TFDS trusts these files: it imports any module that a feature names, reads any path that a name or template gives, and
accepts every number. In an untrusted folder, all of this must be what `prepare` writes.
"""

import json
import os
import re

from fsfm_jax.data.regular_file import check_regular, read_regular

FEATURES, INFO = "features.json", "dataset_info.json"
MAX_BYTES = 1 << 24
MAX_DEPTH = 12  # nesting of objects and lists; features have 8
LONGEST = 10_000  # characters of a text
# The features that we write; other features of TFDS may read files and create objects.
FEATURE_CLASS = re.compile(
    r"tensorflow_datasets\.core\.features\."
    r"(tensor_feature\.Tensor|scalar\.Scalar|image_feature\.Image|class_label_feature\.ClassLabel|text_feature\.Text|"
    r"features_dict\.FeaturesDict)"
)
# Keys of a feature's class, in the current form and in that of old versions, which is refused.
CLASS, OLD_CLASS = ("python_class_name",), ("type", "proto_cls")
MODULES = ("module_name", "config_name")
# Names of data sets, splits and features are parts of file names.
NAME = re.compile(r"[A-Za-z][\w-]{0,199}")
VERSION = re.compile(r"\d{1,4}\.\d{1,4}\.\d{1,4}")
TEMPLATE = re.compile(r"([\w-]|\.(?!\.)|\{(DATASET|SPLIT|FILEFORMAT|SHARD_X_OF_Y|SHARD_INDEX|NUM_SHARDS)\})+", re.ASCII)
FILE_FORMAT = "array_record"
# Largest values of numbers, which JSON may store as text.
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
    """Refuse metadata that `prepare` would not have written in `directory`, which may be in an object store.

    Raises:
      FileNotFoundError: one of the two files is missing.
      ValueError: the files are not JSON, have a foreign feature, a module, a path or an impossible number, or the
        folder holds a pipe or a device.
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
        raise ValueError(f"{path}: expected JSON, found other content ({str(error)[:200]}); copy it again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected an object, found {type(content).__name__}; copy it again")
    return content


def _plain_key(key: str) -> str:
    """Return a key in snake case, since protocol buffers accept both `shardLengths` and `shard_lengths`."""
    return re.sub(r"(?<=[a-z])[A-Z]", lambda letter: "_" + letter[0].lower(), key)


def _check_values(path: os.PathLike, content: dict) -> None:
    """Check every entry at every level."""
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
            raise _refusal(path, key, f"a text of at most {LONGEST} characters", value)
        if not isinstance(value, dict | list):
            _check_text(path, key, value)


def _check_text(path: os.PathLike, key: str, value: str | bool | int) -> None:
    named = isinstance(value, str)
    if key in CLASS and not (named and FEATURE_CLASS.fullmatch(value)):
        raise _refusal(path, key, "a feature of tensorflow_datasets that prepare writes", value)
    if key in OLD_CLASS and named and "." in value:
        raise _refusal(path, key, "no class in the format of old versions", value)
    if key in MODULES and value:
        raise _refusal(path, key, "none", value)
    if key == "filepath_template" and not (named and TEMPLATE.fullmatch(value)):
        raise _refusal(path, key, "names of files in this folder", value)


def _check_number(path: os.PathLike, key: str, value: object) -> None:
    for one in value if isinstance(value, list) else [value]:
        # In Python a bool is an int, so refuse it. A dimension of -1 is unspecified.
        whole = type(one) is int or (isinstance(one, str) and re.fullmatch(r"-?[0-9]{1,19}", one, re.ASCII))
        least = -1 if key == "dimensions" else 0
        if not whole or not least <= int(one) <= NUMBERS[key]:
            raise _refusal(path, key, f"whole numbers from {least} to {NUMBERS[key]}", one)


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
            raise _refusal(path, "name of a split", "distinct names of letters, digits, - and _", name)
        names.add(name)
        for key, kind in (("filepath_template", str), ("shard_lengths", list)):
            if key in entries and not isinstance(entries[key], kind):
                raise _refusal(path, key, f"a {'text' if kind is str else 'list'}", entries[key])


def _entries(path: os.PathLike, content: object, allowed: set[str]) -> dict:
    """Return the entries of an object by plain keys; refuse unknown and repeated keys."""
    if not isinstance(content, dict):
        raise _refusal(path, "splits", "objects", content)
    entries = {_plain_key(key): value for key, value in content.items()}
    unknown = sorted(entries.keys() - allowed)
    if unknown or len(entries) < len(content):
        raise _refusal(path, "entries", f"some of {', '.join(sorted(allowed))}, each once", ", ".join(content))
    return entries


def _check_features(path: os.PathLike, content: dict) -> None:
    """Check the features; their names become names of label files."""
    outer = content.get("featuresDict", content.get("features_dict", {}))
    features = outer.get("features", {}) if isinstance(outer, dict) else outer
    if not isinstance(features, dict):
        raise _refusal(path, "features", "an object", features)
    for name in features:
        if not NAME.fullmatch(name):
            raise _refusal(path, "name of a feature", "letters, digits, - and _", name)


def _refusal(path: os.PathLike, key: str, expected: str, found: object) -> ValueError:
    return ValueError(
        f"{path}: {key}: expected {expected}, found {str(found)[:100]!r}; use only data sets made by `prepare`"
    )
