"""Read the options of `fsfm_jax.main`: a wrong option prints one sentence and exits with code 2."""

import importlib.util
import inspect
import os
import re
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from absl import flags
from ml_collections import ConfigDict

from fsfm_jax.config.fields import flat
from fsfm_jax.text import did_you_mean, plain

WRONG_USE = 2  # exit code
_OVERRIDE = re.compile(r"-{1,2}(?:no)?config\.([^=]+)(?:=(.*))?", re.DOTALL)
_ILLEGAL = re.compile(r"flag --(\S+?)=(.*?): (.*)", re.DOTALL)
_REQUIRED = {"config": "--config=FILE.py is missing, such as --config=configs/pretrain_vitb.py"}
_REQUIRED["workdir"] = "--workdir=FOLDER is missing: where checkpoints, metrics and pictures are written"


def refuse(sentence: str) -> NoReturn:
    """Exit with code 2 after writing `sentence` to stderr."""
    print(plain(f"error: {sentence}"), file=sys.stderr)
    sys.exit(WRONG_USE)


def read_options(arguments: list[str], options: flags.FlagValues = flags.FLAGS) -> list[str]:
    """Parse the command line into `options` and return the arguments that are left.

    A wrong field, value or configuration file ends the process with one sentence and exit code 2.

    Raises:
      UnrecognizedFlagError: an option does not exist.
    """
    try:
        left = options(arguments)
    except flags.UnrecognizedFlagError as error:
        if not error.flagname.startswith("config."):
            raise
        refuse(_explain(error, arguments))
    except Exception as error:  # a configuration file is a program and may raise anything
        refuse(_explain(error, arguments))
    if len(left) > 1:
        refuse(f"unexpected arguments {left[1:]}; options are spelt --name=value")
    config = options["config"].value
    if not isinstance(config, ConfigDict):  # ml_collections defers an error of the file until a field is read
        refuse(_explain(TypeError(f"--config: expected a ConfigDict; found {type(config).__name__}"), arguments))
    if not options["workdir"].value:
        refuse(_REQUIRED["workdir"])
    return left


def _explain(error: Exception, arguments: list[str]) -> str:
    """Describe in one sentence what is wrong with the command."""
    place = _config_of(arguments)
    if place is None:
        return _REQUIRED["config"]
    try:
        config = _load(place)
    except ValueError as wrong:
        return str(wrong)
    if not isinstance(config, ConfigDict):
        return f"--config={place}: get_config has to return a ConfigDict; found {type(config).__name__}"
    fields = flat(config)
    sections = {name.rpartition(".")[0] for name in fields} - {""}
    for name in _overridden(arguments):
        if name in sections:
            below = ", ".join(field for field in fields if field.startswith(f"{name}."))
            return f"--config.{name}: is a section; name one of its fields: {below}"
        if name not in fields:
            return f"--config.{name}: there is no such field{did_you_mean(name, fields)}"
    illegal = _ILLEGAL.fullmatch(str(error))
    if illegal is None:
        return str(error) or type(error).__name__
    name, value, reason = illegal.groups()
    if name in _REQUIRED:
        return _REQUIRED[name]
    field = name.removeprefix("config.")
    if field in fields and fields[field] is not None:
        return f"--{name}: expected a value of type {type(fields[field]).__name__}; found {value!r}"
    if "boolean" in reason:
        reason = "expected true or false"
    return f"--{name}: {reason}; found {value!r}"


def _config_of(arguments: list[str]) -> str | None:
    """Return the value of --config; None if it is missing."""
    for option, after in zip(arguments[1:], [*arguments[2:], None], strict=True):
        name, equals, value = option.partition("=")
        if name in ("-config", "--config"):
            return (value if equals else after) or None
    return None


def _overridden(arguments: list[str]) -> Iterable[str]:
    """Return the dotted names of the fields that the command sets."""
    return [found[1] for found in map(_OVERRIDE.fullmatch, arguments[1:]) if found]


def _load(place: str) -> object:
    """Return the result of `get_config` in `FILE.py` or `FILE.py:VARIANT`; ValueError says why it cannot run."""
    path, colon, variant = place.partition(":")
    if not os.path.isfile(path):
        others = [str(file) for file in Path(path).parent.glob("*.py")]
        raise ValueError(f"--config: no file at {path}{did_you_mean(str(Path(path)), others)}")
    given = [variant] if colon else []
    try:
        spec = importlib.util.spec_from_file_location("config_config", path)
        if spec is None or spec.loader is None:
            raise ValueError(f"--config={place}: expected a file that ends in .py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        signature = inspect.signature(module.get_config)
    except Exception as error:
        raise ValueError(f"--config={place}: {_show(error, path)}") from error
    try:
        signature.bind(*given)
    except TypeError as error:
        wanted = f"it has no variants; found {variant!r}" if colon else f"it has to be {path}:VARIANT ({error})"
        raise ValueError(f"--config={place}: {wanted}") from error
    try:
        return module.get_config(*given)
    except ValueError as error:
        raise ValueError(f"--config={place}: {error}") from error
    except Exception as error:
        raise ValueError(f"--config={place}: {_show(error, path)}") from error


def _show(error: Exception, path: str) -> str:
    """Describe an error of a configuration file, with its line number in that file."""
    if isinstance(error, ValueError) and str(error).startswith("--config"):
        return str(error).partition(": ")[2]
    frames = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename.endswith(path)]
    line = f", line {frames[-1]}" if frames else ""
    return f"it cannot be run ({type(error).__name__}: {error}{line})"
