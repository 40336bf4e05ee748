"""Compile a recipe for a TPU slice without a TPU, and report memory, cost and bottleneck.

    pip install --require-hashes -r requirements/tpu.lock
    python -m fsfm_jax.compile_check --config=configs/pretrain_vitl.py --topology=v5e:4x4

Any field can be changed as for a run: `--config.batch.per_device=64`. `--search` finds the largest micro-batch of a
device. `--all` compiles every recipe of the same model size, including evaluations. `--output` writes a JSON file.
`--topology=cpu:8` uses simulated devices, which need no TPU compiler but have no memory limits and no times.

Data and checkpoints are not read and need not exist. The exit code is 1 if a program does not fit.
"""

import json
import os
import sys

from absl import app, flags
from absl import logging as absl_logging
from ml_collections import ConfigDict, config_flags

from fsfm_jax import command
from fsfm_jax.compile_check.check import Outcome, check
from fsfm_jax.compile_check.chips import SIMULATED, Slice, open_slice, parse, prepare_environment
from fsfm_jax.compile_check.report import describe, remedy, to_json
from fsfm_jax.compile_check.search import largest_fitting
from fsfm_jax.compile_check.steps import OF, family, micro_batches, step_of, with_micro_batch

RECIPE_OPTIONS = ("config", "detector")
_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Configuration file, FILE.py or FILE.py:VARIANT.", lock_config=True
)
_DETECTOR = config_flags.DEFINE_config_file(
    "detector", None, "Fine-tuning configuration of the detector that an evaluation uses.", lock_config=True
)
_TOPOLOGY = flags.DEFINE_string("topology", None, "TPU slice such as v5e:4x4, or cpu:8 for simulated devices.")
_EXAMPLES = flags.DEFINE_integer("examples", 3_100_000, "Number of training images; only affects durations.", 1)
_ALL = flags.DEFINE_bool("all", False, "Check every recipe of the model size of --config, without its changed fields.")
_SEARCH = flags.DEFINE_bool("search", False, "Find the largest micro-batch that fits on a device.")
_OUTPUT = flags.DEFINE_string("output", "", "Output file for the results, as JSON.")


def run(
    name: str, config: ConfigDict, on: Slice, examples: int, search: bool = False, everything: bool = False,
    detector: ConfigDict | None = None,
) -> list[dict]:  # fmt: skip
    """Check a configuration, or with `everything` all recipes of its size, print the results, and return them as JSON.

    Raises:
      ValueError: if a configuration does not suit the slice. With `everything` this is part of the results instead.
    """
    if not everything:
        return [_check(name, config, on, examples, search, detector)]
    found = []
    for other, recipe, tuned in [(name, config, detector), *family(config)]:
        if other == name and found:
            continue
        try:
            found.append(_check(other, recipe, on, examples, search and recipe.job != "evaluate", tuned))
        except ValueError as error:
            print(f"{other} on {on.name}: {error}", flush=True)
            found.append({"config": other, "topology": on.name, "fits": False, "error": str(error)})
    return found


def _check(
    name: str, config: ConfigDict, on: Slice, examples: int, search: bool, detector: ConfigDict | None
) -> dict:
    outcome = check(step_of(name, config, on, examples, detector), on)
    print(describe(outcome), flush=True)
    choices = () if config.job == "evaluate" else micro_batches(config, len(on.devices))
    if not outcome.fits:
        print(f"  to make room: {remedy(outcome, choices)}", flush=True)
    found = to_json(outcome)
    if search and choices and outcome.available is not None:
        found["search"] = _search_sizes(name, config, on, examples, outcome, choices)
    return found


def _search_sizes(
    name: str, config: ConfigDict, on: Slice, examples: int, outcome: Outcome, choices: tuple[int, ...]
) -> dict:
    def needs(images: int) -> tuple[bool, float | None]:
        if images == outcome.micro_batch:
            return outcome.fits, outcome.needed
        other = check(step_of(name, with_micro_batch(config, images), on, examples), on)
        print(describe(other), flush=True)
        return other.fits, other.needed

    first = round(outcome.micro_batch)
    best, tried = largest_fitting(choices, first, needs, outcome.step.held_bytes, outcome.available)
    fits = "no micro-batch fits" if best is None else f"the largest micro-batch that fits has {best} images per device"
    print(f"  search: {fits}", flush=True)
    return {"largest": best, "tried": {str(images): need for images, need in tried.items()}}


def _name(flag: str) -> str:
    """Shorten a configuration flag, `FOLDER/NAME.py:VARIANT` -> `NAME:VARIANT`."""
    path, colon, variant = flags.FLAGS[flag].config_filename.partition(":")
    return os.path.splitext(os.path.basename(path))[0] + colon + variant


def main(arguments: list[str]) -> None:
    if len(arguments) > 1:
        raise app.UsageError(f"unexpected arguments {arguments[1:]}; write options as --name=value")
    absl_logging.set_verbosity(absl_logging.WARNING)
    try:
        kind, devices = parse(_TOPOLOGY.value)
        prepare_environment(devices if kind == SIMULATED else 1)
        name = _name("config") + (OF + _name("detector") if _DETECTOR.value is not None else "")
        on = open_slice(_TOPOLOGY.value)
        found = run(name, _CONFIG.value, on, _EXAMPLES.value, _SEARCH.value, _ALL.value, _DETECTOR.value)
    except ValueError as error:
        sys.exit(f"error: {error}")
    if _OUTPUT.value:
        with open(_OUTPUT.value, "w", encoding="utf-8") as file:
            file.write(json.dumps(found, indent=1) + "\n")
    sys.exit(0 if all(one["fits"] for one in found) else 1)


if __name__ == "__main__":
    command.start(sys.modules[__name__], sys.argv[1:])
