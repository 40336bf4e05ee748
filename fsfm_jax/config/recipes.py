"""Recipes by name: shipped with the package, or files of your own; and the size that a variant begins with.

`pretrain_vitb`, `finetune_dfd:vitl,scratch` and `my/recipe.py:words` are all valid names.
"""

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from fsfm_jax.text import did_you_mean

PACKAGE = Path(__file__).parents[1]
# In an installed wheel recipes are in the package, in a checkout in a folder at its top.
FOLDERS = (PACKAGE / "recipes", PACKAGE.parent / "configs")
# The recipes of the papers' sizes: word of a variant -> model.size.
SIZES = {"vits": "vit_s16", "vitb": "vit_b16", "vitl": "vit_l16"}
DEFAULT_SIZE = "vitb"
# Recipes of several sizes.
FAMILIES = (
    *(f"{kind}_{task}" for kind in ("finetune", "adapter") for task in ("dfd", "diff", "fas")),
    "finetune_sbi", "finetune_gend",
)  # fmt: skip
# Files of former versions, one for each size.
FORMER = re.compile(r"((?:finetune|adapter)_(?:dfd|diff|fas))_(vit[sbl])")
CONFIG_FLAGS = ("config",)


def list_shipped() -> dict[str, Path]:
    """Return the files of all recipes of this version by name."""
    folder = next((folder for folder in FOLDERS if folder.is_dir()), None)
    if folder is None:
        raise FileNotFoundError(f"recipes: expected the folder {FOLDERS[0]}; install the package again")
    return {path.stem: path for path in sorted(folder.glob("*.py")) if path.stem != "__init__"}


def find_recipe(name: str) -> Path:
    """Return the file of a recipe, given its path or the name of a shipped one, without a variant.

    Raises:
      FileNotFoundError: there is neither; the text has the nearest name, or the new spelling of a former one.
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
    """Load a recipe written NAME or NAME:VARIANT.

    Raises:
      FileNotFoundError: there is no such recipe.
      ValueError: it has no such variant, or its file is no Python.
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
      options: names of the options that take a recipe.

    Raises:
      FileNotFoundError: there is no such recipe.
    """
    named, value_follows = [], False
    spelt = {dashes + option for option in options for dashes in ("-", "--")}
    for argument in arguments:
        flag, equals, text = argument.partition("=")
        if value_follows or (equals and flag in spelt):
            flag, text = ("", argument) if value_follows else (f"{flag}=", text)
            recipe, colon, variant = text.partition(":")
            # A path that is not there is for whoever opens it to refuse, unless it was a recipe of a former version.
            if not is_path(recipe) or FORMER.fullmatch(Path(recipe).stem):
                recipe = find_recipe(recipe)
            argument = f"{flag}{recipe}{colon}{variant}"
        value_follows = not value_follows and not equals and argument in spelt
        named.append(argument)
    return named


def is_path(name: str) -> bool:
    """Whether a recipe is named by a file and not by its name alone."""
    return Path(name).parent != Path() or name.endswith(".py")


def split_size(variant: str) -> tuple[str, str]:
    """Split `vitl,scratch` into its size and the rest; without a size it is `vitb`."""
    first, _, rest = variant.partition(",")
    return (first, rest) if first in SIZES else (DEFAULT_SIZE, variant)
