"""Export a run as weight files for PyTorch.

    python -m fsfm_jax.export.to_torch --checkpoint=runs/vitb --format=official --output=exports/vitb
    python -m fsfm_jax.export.to_torch --checkpoint=runs/dfd --format=timm --output=exports/dfd.pth
    python -m fsfm_jax.export.to_torch --checkpoint=runs/dfd --format=safetensors --output=exports/dfd.safetensors
    python -m fsfm_jax.export.to_torch --checkpoint=runs/dfd --format=huggingface --output=exports/dfd
    python -m fsfm_jax.export.to_torch --format=huggingface --output=exports/dfd --push=OWNER/NAME
    python -m fsfm_jax.export.to_torch --checkpoint=runs/vitb --format=safetensors --decoder --output=vitb.safetensors

| format        | of a pretraining run                                     | of a detector                             |
|---------------|----------------------------------------------------------|-------------------------------------------|
| `official`    | `checkpoint-N.pth` and `checkpoint-te-N.pth`, with which | the file that the official test scripts   |
|               | official training resumes                                | read                                      |
| `timm`        | a state dict for `timm.create_model`                     | the same, with its classifier             |
| `safetensors` | the same without pickle; with --decoder the encoder and  | the same; with official names if it is no |
|               | the pixel decoder, with official names                   | network of timm                           |
| `huggingface` | a folder for `ViTModel`; with --decoder, and of a plain  | a folder for                              |
|               | masked autoencoder, for `ViTMAEForPreTraining`           | `AutoModelForImageClassification`         |

With `--push=OWNER/NAME` the folder for Hugging Face is then uploaded to a repository of the Hub, with the token of
`hf auth login`; without `--checkpoint` a folder that was exported before. Files of the repository that differ are
replaced with `--push_overwrite` alone.

Next to the weights is a JSON file with channel statistics, pooling, class names, the index of real faces, thresholds,
the configuration and its hash, and the SHA-256 of every file. With it, an export can be used wherever a run can: a
detector in prediction and evaluation, an encoder as `init` of a fine-tuning. PyTorch is not needed. Existing files are
not overwritten.
"""

import dataclasses
import json
import logging
import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import app, flags
from absl import logging as absl_logging
from flax.traverse_util import unflatten_dict

from fsfm_jax import command
from fsfm_jax.detection.detector import FOLDER, Detector
from fsfm_jax.detection.saved import open_saved
from fsfm_jax.export import hub_push, model_card, official_content, sidecar
from fsfm_jax.models.antispoof import AntiSpoofSpec
from fsfm_jax.models.bases import BASES, OWN
from fsfm_jax.weights import bundled, huggingface, safetensors_file, torch_writer
from fsfm_jax.weights.export_file import CARD, FORMATS, README
from fsfm_jax.weights.hub_address import parse_repository
from fsfm_jax.weights.names import PRETRAINING, official_state
from fsfm_jax.weights.official_statistics import STATISTICS_FILE
from fsfm_jax.weights.plain_arrays import POSITIONS, encoder_arrays, pixel_decoder_arrays
from fsfm_jax.weights.rounding import STORED, round_arrays
from fsfm_jax.weights.run_reader import OpenedRun, open_run
from fsfm_jax.weights.signature import read_private_key
from fsfm_jax.weights.signed_files import write_signature
from fsfm_jax.weights.timm_state import TimmModel, classifier_state, pack_pretrained

NETWORKS = ("online", "target")
POOLINGS = ("avg", "token")
DECODED = ("safetensors", "huggingface")  # formats that can have the pixel decoder
MODEL = "model"
EVALUATED = os.path.join("test", "table.md")  # where a fine-tuning leaves what it found


def convert(
    checkpoint: str,
    format: str,
    output: str,
    step: int | None = None,
    network: str = "online",
    pooling: str = "avg",
    decoder: bool = False,
    dtype: str = "float32",
) -> list[str]:
    """Write `output` and returns the paths of what was written.

    Args:
      checkpoint: working directory of a pretraining or fine-tuning run, or one that `from_torch` made.
      format: one of `FORMATS`. output: a folder for official and huggingface, a file (or a folder for one) for others.
      step: of a pretraining, its last by default. network: which of its networks, where the format has one.
      pooling: of a pretraining in timm's formats. decoder: whether a safetensors file or a Hugging Face folder has the
        pixel decoder of a pretraining.
      dtype: of the arrays in a safetensors file, one of `rounding.STORED`; readers here make them float32.

    Raises:
      FileNotFoundError: no such run or checkpoint.
      ValueError: a network that the format does not have, a dtype that cannot hold its numbers, or files that are there
        already.
    """
    if dtype != "float32" and format != "safetensors":
        raise ValueError(f"--dtype={dtype}: expected with --format=safetensors alone; {format} is written in float32")
    if decoder and format not in DECODED:
        raise ValueError(f"--decoder: expected with --format={' or '.join(DECODED)}; found {format}; leave it out")
    found = _open(checkpoint, step, moments=format == "official")
    said = sidecar.of_run(found) if isinstance(found, OpenedRun) else sidecar.of_detector(found)
    said = {"format": format, "checkpoint": os.path.basename(os.path.normpath(checkpoint)), **said}
    if format == "official":
        return _official(found, said, output)
    if format == "huggingface":
        said |= {"network": network}
        return _huggingface(_chosen(found, network), said, output, decoder, _read_evaluation(checkpoint))
    chosen = _chosen(found, network)
    state, call = (_decoding_state(chosen), None) if decoder else _state(chosen, format, pooling)
    if isinstance(found, OpenedRun):
        pooled = "mean_patches" if pooling == "avg" else "cls"
        said |= {"network": network, "pooling": None if decoder else pooled}
    said |= {"timm": call, "dtype": dtype}
    path = _file(output, ".pth" if format == "timm" else ".safetensors")
    if format == "timm":
        torch_writer.write(path, state)
    else:
        safetensors_file.write(path, round_arrays(state, dtype), {"format": "pt"})
    card = f"{path}.json"
    sidecar.write_sidecar(card, said, [os.path.basename(path)])
    return [path, card]


def _open(checkpoint: str, step: int | None, moments: bool) -> OpenedRun | Detector:
    if os.path.isdir(os.path.join(checkpoint, FOLDER)):
        if step is not None:
            raise ValueError(f"--step: {checkpoint} holds a detector, which is of one step; leave it out")
        return open_saved(checkpoint)
    if checkpoint == bundled.NAME and not os.path.lexists(checkpoint):
        raise ValueError(
            f"--checkpoint: {checkpoint} is exported already: its files lie in {bundled.FOLDER}. --format=jax and onnx "
            "make one file of its detector"
        )
    return open_run(checkpoint, step, moments)


def _chosen(found: OpenedRun | Detector, network: str) -> OpenedRun | Detector:
    """Return a pretraining run with the parameters of `network` in the place of the online one's."""
    if network == "online" or isinstance(found, Detector):
        return found
    if found.target is None:
        raise ValueError("--network=target: this run has no target network")
    return dataclasses.replace(found, params=found.target)


def _official(found: OpenedRun | Detector, said: dict, output: str) -> list[str]:
    if isinstance(found, Detector):
        name, content = official_content.pack_finetuned(found)
        files, statistics = {name: content}, found.task.statistics
    elif found.base != OWN:
        raise ValueError(f"--format=official: an encoder of {found.base} is none of FSFM; take another format")
    else:
        epoch, online, target = official_content.pretraining_contents(found)
        files, statistics = {f"checkpoint-{epoch}.pth": online}, found.statistics
        if target is not None:
            files[f"checkpoint-te-{epoch}.pth"] = target
    names = [*files, *([STATISTICS_FILE] if statistics is not None else [])]
    paths = _folder(output, [*names, CARD])
    for name, content in files.items():
        torch_writer.write(os.path.join(output, name), content)
    if statistics is not None:
        with open(os.path.join(output, STATISTICS_FILE), "w", encoding="utf-8") as file:
            file.write(json.dumps({"mean": list(statistics.mean), "std": list(statistics.std)}) + "\n")
    sidecar.write_sidecar(paths[-1], said, names)
    return paths


def _read_evaluation(checkpoint: str) -> str | None:
    """Return the table that a fine-tuning run wrote of its test sets, if it did."""
    path = os.path.join(checkpoint, EVALUATED)
    if not os.path.isfile(path):
        return None
    with open(path, encoding="utf-8") as file:
        return file.read().strip()


def _huggingface(
    found: OpenedRun | Detector, said: dict, output: str, decoder: bool, evaluated: str | None
) -> list[str]:
    if isinstance(found, OpenedRun):
        if found.statistics is None:
            raise ValueError("--format=huggingface: nothing says the channel statistics; import with --statistics=NAME")
        plain = found.spec.instance_discrimination is False and "pixel_decoder" in found.params
        style = BASES[found.base].style
        model = huggingface.read_pretrained(found.params, found.spec, found.statistics, decoder or plain, style)
    elif isinstance(found.task.model, AntiSpoofSpec):
        raise ValueError("--format=huggingface: transformers has no network of anti-spoofing; use export.serialize")
    else:
        task = found.task
        model = huggingface.classifier_model(found.params, task.model, task.statistics, found.class_names)
    names = ["config.json", "preprocessor_config.json", "model.safetensors", README]
    paths = _folder(output, [*names, CARD])
    said |= {"architecture": model.architecture}
    text = model_card.card_of(said, evaluated)
    huggingface.write(model, output)
    with open(os.path.join(output, README), "w", encoding="utf-8") as file:
        file.write(text)
    sidecar.write_sidecar(paths[-1], said, names)
    return paths


def _state(found: OpenedRun | Detector, format: str, pooling: str) -> tuple[Mapping[str, np.ndarray], dict | None]:
    """Return arrays by name and the arguments of `timm.create_model`; None for a network with official names."""
    if isinstance(found, OpenedRun):
        style = BASES[found.base].style
        made: TimmModel = pack_pretrained(found.params, found.spec.size, found.spec.image_size, pooling, style)
        return made.state, made.call
    model = found.task.model
    if isinstance(model, AntiSpoofSpec) or model.reduction is not None:
        named = official_content.rename_finetuned(found)
        if format == "timm":
            what = "a network of anti-spoofing" if isinstance(model, AntiSpoofSpec) else "an FS-Adapter"
            raise ValueError(
                f"--format=timm: timm has no such network as {what}; use --format=official or safetensors, which have "
                "official names, or export.serialize"
            )
        return named, None
    made = classifier_state(found.params, model)
    return made.state, made.call


def _decoding_state(run: OpenedRun | Detector) -> dict[str, np.ndarray]:
    """Return encoder, mask token and pixel decoder by official names, without the computed position tables."""
    if isinstance(run, Detector) or run.base != OWN:
        what = "a detector" if isinstance(run, Detector) else f"an encoder of {run.base}"
        raise ValueError(f"--decoder: expected a pretraining run of fsfm_jax; found {what} (no decoder); leave it out")
    arrays = encoder_arrays(run.params, run.spec.size, run.spec.image_size) | pixel_decoder_arrays(run.params, run.spec)
    del arrays[POSITIONS]
    return official_state(unflatten_dict(arrays, sep="/"), PRETRAINING, run.spec.size.patch_size)


def _folder(output: str, names: list[str]) -> list[str]:
    """Return paths in a folder, which is made; nothing may be there under these names."""
    if os.path.isfile(output):
        raise ValueError(f"--output: {output} is a file; expected a folder for this format")
    os.makedirs(output, exist_ok=True)
    return [_new(os.path.join(output, name)) for name in names]


def _file(output: str, suffix: str) -> str:
    path = output if output.endswith(suffix) else os.path.join(output, MODEL + suffix)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    _new(f"{path}.json")
    return _new(path)


def _new(path: str) -> str:
    if os.path.exists(path):
        raise ValueError(f"--output: {path} is there already; remove it or choose another place")
    return path


def define_flags() -> None:
    # Not when imported: flags are shared by the whole process, and other programs have an --output too.
    flags.DEFINE_string("checkpoint", None, "Working directory of a run.")
    flags.DEFINE_enum("format", None, FORMATS, "Which files to write.")
    flags.DEFINE_string("output", None, "Folder or file to make.")
    flags.DEFINE_integer("step", None, "Checkpoint of a pretraining run; by default the last one.")
    flags.DEFINE_enum("network", "online", NETWORKS, "Network of a pretraining run, where the format has one.")
    flags.DEFINE_enum("pooling", "avg", POOLINGS, "Pooling of a pretraining run, as timm's global_pool.")
    flags.DEFINE_bool(
        "decoder", False, "Export a pretraining run with its pixel decoder: as ViTMAE for Hugging Face, with "
        "official names in safetensors.",
    )  # fmt: skip
    flags.DEFINE_enum("dtype", "float32", STORED, "Type of the arrays in a safetensors file; int8: of its matrices.")
    flags.DEFINE_string("push", "", "OWNER/NAME of a repository of the Hub to upload to; a new one is made private.")
    flags.DEFINE_string("sign", None, "PEM file of a private key, to sign what is written; see fsfm sign --help.")
    flags.DEFINE_bool("push_overwrite", False, "Replace files of the repository that differ.")


SETTINGS = ("checkpoint", "format", "output", "step", "network", "pooling", "decoder", "dtype")


def main(arguments: list[str]) -> None:
    """Run the command line."""
    chosen: Any = flags.FLAGS
    if len(arguments) > 1 or None in (chosen.format, chosen.output) or (chosen.checkpoint is None and not chosen.push):
        raise app.UsageError("expected --checkpoint=DIR, --format and --output, and nothing else")
    if chosen.sign is not None and chosen.checkpoint is None:
        raise app.UsageError("--sign: expected with --checkpoint; sign what is there already with fsfm sign")
    if chosen.push and chosen.format != "huggingface" or chosen.push_overwrite and not chosen.push:
        raise app.UsageError("--push=OWNER/NAME and --push_overwrite: expected with --format=huggingface")
    absl_logging.set_verbosity(absl_logging.ERROR)  # Orbax narrates
    logging.basicConfig(format="%(message)s", stream=sys.stderr, force=True)
    logging.getLogger("fsfm_jax").setLevel(logging.WARNING)  # ours are shown
    try:
        repository = parse_repository(chosen.push) if chosen.push else ""
        key = None if chosen.sign is None else read_private_key(chosen.sign, "--sign")
        if chosen.checkpoint is not None:
            paths = convert(**{name: getattr(chosen, name) for name in SETTINGS})
            print("\n".join(paths if key is None else [*paths, write_signature(paths[0], key).place]), flush=True)
        if repository:
            hub_push.push(chosen.output, repository, chosen.push_overwrite, command.say)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    command.start(sys.modules[__name__], sys.argv[1:])
