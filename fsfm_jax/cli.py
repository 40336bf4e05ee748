"""The command line `fsfm`: one program for every step from photos to verdicts."""

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from fsfm_jax import __version__, command
from fsfm_jax.config.fields import did_you_mean
from fsfm_jax.config.options import refuse


@dataclass(frozen=True)
class Command:
    """A subcommand.

    Attributes:
      modules: whose `define_flags` and `main` it runs; of several the one that has the --format asked for.
      about: a line of `fsfm --help`.
      examples: lines that work when typed.
    """

    modules: tuple[str, ...]
    about: str
    examples: tuple[str, ...]


COMMANDS = {
    "prepare": Command(
        ("fsfm_jax.prepare.build",),
        "find, crop and parse the faces of photos, videos or a known data set",
        ("fsfm prepare --dataset=photos --input=photos --output=data/mine", "fsfm prepare --list"),
    ),
    "train": Command(
        ("fsfm_jax.main",),
        "pretrain, fine-tune, compare or ablate with a recipe; resumes where it stopped",
        (
            "fsfm train --config=pretrain_vitb --workdir=runs/pretrain_vitb --config.data.train=data/mine",
            "fsfm train --config=finetune_dfd:vitb --workdir=runs/dfd --config.init=runs/pretrain_vitb",
        ),
    ),
    "evaluate": Command(
        ("fsfm_jax.main",),
        "score labelled data sets with a detector and write tables",
        ("fsfm evaluate --config=eval_dfd --workdir=runs/eval --config.checkpoint=runs/dfd",),
    ),
    "predict": Command(
        ("fsfm_jax.apps.predict",),
        "say of photos and videos whether their faces are real or forged",
        ("fsfm predict photo.jpg", "fsfm predict --checkpoint=runs/dfd photo.jpg video.mp4 --json=scores.json",
         "fsfm predict --checkpoint=runs/dfd --parquet=results FOLDER"),
    ),
    "serve": Command(
        ("fsfm_jax.apps.serve",),
        "open a local web page for detection and masking",
        ("fsfm serve --checkpoint=runs/dfd",),
    ),
    "analyze": Command(
        ("fsfm_jax.analyze.__main__",),
        "draw masks, reconstructions, attention, heat maps and features; measure robustness",
        (
            "fsfm analyze attention --checkpoint=runs/pretrain_vitb --output=figures",
            "fsfm analyze robustness --checkpoint=runs/dfd --data=CDFv2=data/celebdf_v2:test --output=runs/robustness",
        ),
    ),
    "import": Command(
        ("fsfm_jax.export.from_torch",),
        "turn an official or other PyTorch weight file into a working directory",
        ("fsfm import checkpoint-599.pth --output=runs/official",),
    ),
    "export": Command(
        ("fsfm_jax.export.to_torch", "fsfm_jax.export.serialize", "fsfm_jax.export.quantise",
         "fsfm_jax.export.benchmark_scores"),
        "write weights for PyTorch, timm or Hugging Face, one file for JAX or ONNX (int8), scores for DeepfakeBench",
        (
            "fsfm export --checkpoint=runs/dfd --format=timm --output=dfd.pth",
            "fsfm export --checkpoint=runs/dfd --format=jax --output=dfd.jax",
            "fsfm export --checkpoint=runs/dfd --format=onnx-int8 --data=data/ffpp:val --output=dfd.onnx",
            "fsfm export --checkpoint=runs/dfd --format=huggingface --output=exports/dfd --push=OWNER/NAME",
            "fsfm export --format=deepfakebench --predictions=runs/eval/predictions/UADFV.csv --output=UADFV.csv",
        ),
    ),
    "sign": Command(
        ("fsfm_jax.export.sign",),
        "sign a detector, an encoder or an export with a key",
        ("fsfm sign runs/dfd --key=key.pem", "fsfm sign exports/dfd exports/vitb.safetensors --key=key.pem"),
    ),
    "verify": Command(
        ("fsfm_jax.export.verify",),
        "verify that a detector, an encoder or an export is what a key signed",
        ("fsfm verify runs/dfd --key=pub.pem",),
    ),
    "compile-check": Command(
        ("fsfm_jax.compile_check.__main__",),
        "compile a recipe for a TPU slice that is not here: memory, FLOPs, estimated speed",
        ("fsfm compile-check --config=pretrain_vitl --topology=v5e:4x4",),
    ),
}
EXIT_CODES = """\
exit codes:
  0    done
  1    failed; the last line says why and what to do
  2    the command line is wrong
  3    predict: some files have no score
  75   stopped as asked, everything is saved; run the same command again
  130  interrupted with Ctrl-C
  141  the reader of the output has closed it, as `| head` does
  143  terminated (SIGTERM)"""


def describe() -> str:
    """Return the text of `fsfm --help`."""
    width = max(map(len, COMMANDS))
    lines = ["usage: fsfm COMMAND --option=value ...", "", "commands:"]
    lines += [f"  {name:{width}}  {command.about}" for name, command in COMMANDS.items()]
    lines += ["", "`fsfm COMMAND --help` has examples and options; `fsfm --version` the version.", "", EXIT_CODES]
    return "\n".join(lines)


def choose(chosen: Command, arguments: Sequence[str]) -> str:
    """Return the module that a command runs."""
    usual, *others = chosen.modules
    asked = next((text.partition("=")[2] for text in arguments if text.startswith("--format=")), "")
    return next((name for name in others if asked in importlib.import_module(name).FORMATS), usual)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `fsfm`; ends the process with the exit code of the command."""
    command.one_line_interrupts()
    name, *rest = (sys.argv[1:] if arguments is None else list(arguments)) or ["--help"]
    if name in ("--help", "-h", "help"):
        command.run(lambda: command.say(describe()))
    if name == "--version":
        command.run(lambda: command.say(f"fsfm_jax {__version__}"))
    if name not in COMMANDS:
        refuse(f"fsfm: there is no command {name!r}{did_you_mean(name, COMMANDS)}; see fsfm --help")
    chosen = COMMANDS[name]
    command.start(importlib.import_module(choose(chosen, rest)), rest, f"fsfm {name}", chosen.examples)


if __name__ == "__main__":
    main()
