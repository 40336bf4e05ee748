"""Recipes by name, shipped with the package or your own files, and the size at the start of a variant.

`pretrain_vitb`, `finetune_dfd:vitl,scratch` and `my/recipe.py:words` are all valid names.
"""

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from fsfm_jax.text import did_you_mean

PACKAGE = Path(__file__).parents[1]
# An installed wheel has the recipes in the package; a checkout has them in a top-level folder.
FOLDERS = (PACKAGE / "recipes", PACKAGE.parent / "configs")
# Sizes in the papers: word of a variant -> model.size.
SIZES = {"vits": "vit_s16", "vitb": "vit_b16", "vitl": "vit_l16"}
DEFAULT_SIZE = "vitb"
# Recipes that exist in several sizes.
FAMILIES = (
    *(f"{kind}_{task}" for kind in ("finetune", "adapter") for task in ("dfd", "diff", "fas")),
    "finetune_sbi", "finetune_gend",
)  # fmt: skip
# Recipe files of versions before 1.0, one for each size.
FORMER = re.compile(r"((?:finetune|adapter)_(?:dfd|diff|fas))_(vit[sbl])")
CONFIG_FLAGS = ("config",)


def list_shipped() -> dict[str, Path]:
    """Return the files of all recipes of this version by name."""
    folder = next((folder for folder in FOLDERS if folder.is_dir()), None)
    if folder is None:
        raise FileNotFoundError(f"recipes: expected the folder {FOLDERS[0]}; install the package again")
    return {path.stem: path for path in sorted(folder.glob("*.py")) if path.stem != "__init__"}


def find_recipe(name: str) -> Path:
    """Return the file of a recipe, given its path or the name of a shipped recipe, without a variant.

    Raises:
      FileNotFoundError: neither exists; the message suggests the nearest name, or the new spelling of an old one.
    """
    path = Path(name)
    if path.is_file():
        return path
    stem = path.name.removesuffix(".py")
    if former := FORMER.fullmatch(stem):
        spelt = str(path).replace(stem, former[1])
        raise FileNotFoundError(f"config: {name} is spelt {spelt}:{former[2]} since version 1.0")
    known = list_shipped()
    if path.parent == Path() and stem in known:
        return known[stem]
    raise FileNotFoundError(
        f"config: expected a file, or one of the recipes {', '.join(known)}; found no {name}{did_you_mean(stem, known)}"
    )


def load_recipe(text: str) -> ConfigDict:
    """Load the recipe NAME or NAME:VARIANT.

    Raises:
      FileNotFoundError: the recipe does not exist.
      ValueError: the recipe has no such variant, or its file is not a Python file.
    """
    name, colon, variant = text.partition(":")
    path = find_recipe(name)
    spec = importlib.util.spec_from_file_location(f"recipe_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"config: expected a file that ends in .py, found {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(variant) if colon else module.get_config()


def name_files(arguments: Sequence[str], options: Sequence[str] = CONFIG_FLAGS) -> list[str]:
    """Return command-line arguments with the recipe of each `--config=NAME[:VARIANT]` replaced by its file.

    Args:
      options: names of the options whose value is a recipe.

    Raises:
      FileNotFoundError: a recipe does not exist.
    """
    named, value_follows = [], False
    spelt = {dashes + option for option in options for dashes in ("-", "--")}
    for argument in arguments:
        flag, equals, text = argument.partition("=")
        if value_follows or (equals and flag in spelt):
            flag, text = ("", argument) if value_follows else (f"{flag}=", text)
            recipe, colon, variant = text.partition(":")
            # The code that opens a path reports a missing file; only names of old recipes are handled here.
            if not is_path(recipe) or FORMER.fullmatch(Path(recipe).stem):
                recipe = find_recipe(recipe)
            argument = f"{flag}{recipe}{colon}{variant}"
        value_follows = not value_follows and not equals and argument in spelt
        named.append(argument)
    return named


def is_path(name: str) -> bool:
    """Return whether a recipe is given as a file path and not as a name."""
    return Path(name).parent != Path() or name.endswith(".py")


def split_size(variant: str) -> tuple[str, str]:
    """Split `vitl,scratch` into its size and the rest; the default size is `vitb`."""
    first, _, rest = variant.partition(",")
    return (first, rest) if first in SIZES else (DEFAULT_SIZE, variant)
