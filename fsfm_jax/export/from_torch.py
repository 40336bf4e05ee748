"""Weight files of PyTorch become a working directory of fsfm_jax.

    python -m fsfm_jax.export.from_torch checkpoint-599.pth checkpoint-te-599.pth --output=runs/vitb
    python -m fsfm_jax.main --config=configs/pretrain_vitb.py:released --workdir=runs/vitb

    python -m fsfm_jax.export.from_torch checkpoint-min_val_loss.pth --output=runs/dfd
    python -m fsfm_jax.main --config=configs/eval_dfd.py --workdir=runs/eval --config.checkpoint=runs/dfd

The first file of FSFM and FS-VFM holds the online network, the second the target. With both, pretraining resumes in
that directory, moments of the optimizer and place in the schedule included; fine-tuning starts from it with
`--config.init=DIR`. A fine-tuned classifier or anti-spoofing network, with FS-Adapter or without, becomes a detector to
evaluate. From MAE and other base models the encoder is taken, for `--config.init=DIR --config.model.base=NAME`.

Files are read without PyTorch, and nothing in them is executed. The channel statistics are those of
`pretrain_ds_mean_std.txt` in the folder of the file.

In place of a file, `hf://OWNER/REPOSITORY/FILE@REVISION` fetches one from the Hugging Face Hub, with the package of the
extra `hub` and the digest that it has to have, behind `#sha256=` or in `--sha256`. Without a file the repository is an
export of fsfm_jax. Nothing else here uses the network.
"""

import dataclasses
import os
import sys
from importlib import metadata
from typing import Any

from absl import app, flags
from absl import logging as absl_logging

from fsfm_jax import command
from fsfm_jax.config import pretrain
from fsfm_jax.config.fields import flat, one_of
from fsfm_jax.detection.official_import import import_detector, import_export
from fsfm_jax.detection.opener import Unsaid, check_agrees
from fsfm_jax.models.antispoof import NORM_AXES
from fsfm_jax.models.bases import BASES, OWN
from fsfm_jax.tasks.normalisation import STATISTICS, Statistics
from fsfm_jax.train.identity import PACKAGES
from fsfm_jax.weights import official_file
from fsfm_jax.weights.export_file import Export, find_export
from fsfm_jax.weights.hub_file import fetch_all
from fsfm_jax.weights.init import PROJECTOR, open_pretrained
from fsfm_jax.weights.official_run import OfficialRun, is_plain, read_run
from fsfm_jax.weights.run_import import save_imported

CLASSES = "fake,real"  # the official code numbers the folders of its data sets by name
HEADS = 16  # of both decoders of FSFM


def convert(
    paths: list[str],
    output: str,
    statistics: str = "",
    base: str = "",
    classes: str = "",
    norm_over: str = "",
    pixel_heads: int = HEADS,
    rep_heads: int = HEADS,
) -> list[str]:
    """Write the working directory `output` and returns what there is to say, a line each.

    Args:
      paths: the file, and for a pretraining of FSFM that of the target network; or the folder of an export of fsfm_jax.
      statistics: name of those to use if the file has none next to it; "": none.
      base: what the file is, a key of `BASES`; "": FSFM or MAE, recognised by their names.
      classes: of a fine-tuned network, by index; "": `CLASSES`, or what an export says.
      norm_over: of anti-spoofing; "": "tokens", or what an export says.
      pixel_heads, rep_heads: of the decoders. Neither of these three leaves a trace in the arrays.

    Raises:
      FileNotFoundError: no file there.
      ValueError: files that do not fit; the message says what was expected.
    """
    known = STATISTICS[one_of("--statistics", statistics, STATISTICS)] if statistics else None
    export = find_export(paths[0])
    if export is not None and export.is_detector:
        _alone(paths, "an exported detector")
        return _import_export(export, output, Unsaid(classes, statistics, norm_over))
    if export is not None and export.said["format"] != "official":
        _alone(paths, "an exported encoder")
        return _import_encoder(paths[0], base or export.said["base"], known, output)
    paths = paths if export is None else [export.path, *paths[1:]]
    # Read once, whatever it turns out to be.
    content = official_file.content_of(paths[0], "from_torch")
    file = official_file.open_file(paths[0], "from_torch", content) if not base or base == OWN else None
    if file is not None and file.network != official_file.PRETRAINED:
        _alone(paths, official_file.NETWORKS[file.network])
        os.makedirs(output, exist_ok=True)
        norm_over = one_of("--norm_over", norm_over or NORM_AXES[0], NORM_AXES)
        detector = import_detector(paths[0], output, classes or CLASSES, known, norm_over, content)
        names, real = detector.class_names, detector.real
        return [
            f"{output}/detector: {official_file.NETWORKS[file.network]}, {detector.card['origin']['size']}",
            f"its outputs are taken for {', '.join(names)}, {names[real]} being real; the file does not say it",
            *detector.card["origin"]["notes"],
        ]
    if file is not None and (is_plain(file) or any(name.startswith(PROJECTOR) for name in file.tensors)):
        target = paths[1] if paths[1:] else None
        return _import_run(read_run(paths[0], target, pixel_heads, rep_heads, content), known, output)
    _alone(paths, "an encoder")
    if not base and file is not None and {"mask_token", "decoder_embed.weight"} <= set(file.tensors):
        base = "mae"
    if not base:
        others = ", ".join(name for name in BASES if name != OWN)
        raise ValueError(f"{paths[0]}: no network of FSFM; say what it is with --base, one of {others}")
    return _import_encoder(paths[0], base, known, output, content)


def _import_export(export: Export, output: str, unsaid: Unsaid) -> list[str]:
    names, statistics = tuple(export.said["class_names"]), export.said["statistics"]
    check_agrees(unsaid, "--{}", export.path, names, statistics, export.said.get("norm_over"))
    os.makedirs(output, exist_ok=True)
    detector = import_export(export, output)
    return [
        f"{output}/detector: {export.said['kind']}, {export.said['size']}, as {export.beside} says",
        f"its outputs are {', '.join(names)}, {names[detector.real]} being real",
    ]


def _import_run(run: OfficialRun, statistics: Statistics | None, output: str) -> list[str]:
    notes, own = list(run.notes), run.statistics or statistics
    if own is None:
        notes.append("nothing says how its pixels were normalised: name the statistics where you use it")
    item = {
        "config": run.fields,
        "known": list(run.known),
        "base": OWN,
        "image_size": run.spec.image_size,
        "statistics": None if own is None else dataclasses.asdict(own),
        "step": 0 if run.moments is None else run.moments.count,
        "epochs": run.epochs,
        "official": run.said,
        "origin": {"files": run.files, "notes": notes},
        "versions": _versions(),
    }
    save_imported(output, run.params, run.target, run.moments, run.carried, item)
    moments = "no moments" if run.moments is None else f"moments after {run.moments.count:,} steps"
    networks = "online network" if run.target is None else "online and target network"
    networks = networks if run.spec.instance_discrimination else "masked autoencoder"
    epochs = "an unknown number of" if run.epochs is None else f"{run.epochs:g}"
    return [f"{output}: {run.fields['model.size']}, {networks}, {moments}, {epochs} epochs done", *notes]


def _import_encoder(
    path: str, base: str, statistics: Statistics | None, output: str, content: official_file.Content | None = None
) -> list[str]:
    found = open_pretrained(path, one_of("--base", base, BASES), content=content)
    own, config = found.statistics or statistics, pretrain.pretrain()
    config.model.size = found.origin["size"]
    item = {
        "config": dict(flat(config)),
        "known": [],
        "base": base,
        "statistics": None if own is None else dataclasses.asdict(own),
        "step": 0,
        "epochs": None,
        "official": {},
        "origin": found.origin | {"report": found.report.to_json()},
        "versions": _versions(),
    }
    save_imported(output, {"encoder": found.params["encoder"]}, None, None, {}, item)
    use = f"fine-tune with --config.init={output} --config.model.base={base}"
    return [f"{output}: the encoder of {base}, {found.origin['size']}; {use}", *found.origin["notes"]]


def _alone(paths: list[str], what: str) -> None:
    if len(paths) > 1:
        raise ValueError(f"{paths[0]} holds {what}, which has no target network: expected one file, found {len(paths)}")


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in PACKAGES}


def define_flags() -> None:
    # Not when imported: flags are shared by the whole process, and other programs have an --output too.
    flags.DEFINE_string("output", None, "Working directory to make.")
    flags.DEFINE_string("statistics", "", f"Channel statistics, if no file has them: one of {', '.join(STATISTICS)}.")
    flags.DEFINE_string("base", "", f"What the file is, if not of FSFM or MAE: one of {', '.join(BASES)}.")
    flags.DEFINE_string("classes", "", f"Outputs of a fine-tuned network, by index (default {CLASSES}).")
    flags.DEFINE_enum(
        "norm_over", "", ("", *NORM_AXES),
        f"What an anti-spoofing network without FS-Adapter normalises over (default {NORM_AXES[0]}).",
    )  # fmt: skip
    flags.DEFINE_integer("pixel_heads", HEADS, "Heads of the pixel decoder.", lower_bound=1)
    flags.DEFINE_integer("rep_heads", HEADS, "Heads of the representation decoder.", lower_bound=1)
    flags.DEFINE_string("sha256", "", "SHA-256 of each file in order, with commas; needed for hf:// without #sha256=.")


SETTINGS = ("statistics", "base", "classes", "norm_over", "pixel_heads", "rep_heads")


def main(arguments: list[str]) -> None:
    """Run the command line."""
    chosen: Any = flags.FLAGS
    if not 2 <= len(arguments) <= 3 or chosen.output is None:
        raise app.UsageError("expected FILE.pth, for a pretraining also TARGET.pth, and --output=DIR")
    absl_logging.set_verbosity(absl_logging.ERROR)  # Orbax narrates
    try:
        paths, about = fetch_all(arguments[1:], chosen.sha256)
        for line in about:
            command.say(line)
        lines = convert(paths, chosen.output, **{name: getattr(chosen, name) for name in SETTINGS})
    except (ValueError, OSError, ModuleNotFoundError) as error:
        sys.exit(f"error: {error}")
    print("\n".join(lines))


if __name__ == "__main__":
    command.start(sys.modules[__name__], sys.argv[1:])
