"""The files of TensorFlow Datasets beside the shards, looked at before TFDS reads them.

TFDS takes them for its own: it imports whatever module a feature names, and reads whatever path a template gives. In
the folder of a stranger both must be what `prepare` writes.
"""

import json
import os
import re

FEATURES, INFO = "features.json", "dataset_info.json"
MAX_BYTES = 1 << 24
FEATURE_CLASS = re.compile(r"tensorflow_datasets\.core\.features\.\w+\.\w+")
# Names of the class of a feature, in the present form and in that of old versions, which is not read.
CLASS, OLD_CLASS = ("pythonClassName", "python_class_name"), ("type", "proto_cls")
MODULES = ("moduleName", "module_name", "configName", "config_name")
TEMPLATES = ("filepathTemplate", "filepath_template")
TEMPLATE = re.compile(r"[\w{}.-]+")


def check_metadata(directory: os.PathLike) -> None:
    """Refuses metadata that lead out of the folder `directory`, which may be of an object store.

    Raises:
      FileNotFoundError: one of the two files is missing.
      ValueError: no JSON, a class that is none of TFDS's features, a module, or files that are elsewhere.
    """
    for name in (FEATURES, INFO):
        path = directory / name
        data = path.read_bytes()
        if len(data) > MAX_BYTES:
            raise ValueError(f"{path}: expected at most {MAX_BYTES} bytes, found {len(data)}; copy it again")
        try:
            content = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"{path}: expected JSON, found something else ({str(error)[:200]}); copy it again"
            ) from error
        if not isinstance(content, dict):
            raise ValueError(f"{path}: expected an object, found {type(content).__name__}; copy it again")
        todo = [content]
        while todo:
            part = todo.pop()
            if isinstance(part, dict):
                for key, value in part.items():
                    _check_entry(path, key, value)
            todo += [
                item for item in (part.values() if isinstance(part, dict) else part) if isinstance(item, dict | list)
            ]


def _check_entry(path: os.PathLike, key: str, value: object) -> None:
    named = isinstance(value, str)
    if key in CLASS and not (named and FEATURE_CLASS.fullmatch(value)):
        expected = "a feature of tensorflow_datasets"
    elif key in OLD_CLASS and named and "." in value:
        expected = "no class in the form of old versions"
    elif key in MODULES and value:
        expected = "none"
    elif key in TEMPLATES and not (named and TEMPLATE.fullmatch(value)):
        expected = "names of files in this folder"
    else:
        return
    raise ValueError(
        f"{path}: {key}: expected {expected}, found {str(value)[:100]!r}; take data sets of `prepare` only"
    )
