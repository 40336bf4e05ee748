"""A trained detector becomes one file that runs without this project, and a sidecar that says how to use it.

    python -m fsfm_jax.export.serialize --checkpoint=runs/dfd --output=detector.jax
    python -m fsfm_jax.export.serialize --checkpoint=FINETUNED.pth --classes=fake,real --output=dfd.jax
    python -m fsfm_jax.export.serialize --checkpoint=runs/dfd --output=detector.onnx --format=onnx --dtype=float32

The first two write what `jax.export` writes, for CPU, CUDA and TPU together and batches of any size, with the
parameters in it: bytes of RGB in, logarithms of probabilities out. `artifact.read` opens it again, and so does any
program that has JAX. The third writes ONNX; see `onnx_file`. `FILE.json` has the names of the classes, what the images
have to be, the thresholds, where the detector comes from, and a program of a few lines.
"""

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from absl import logging as absl_logging
from jax import export

from fsfm_jax import __version__, command
from fsfm_jax.config.fields import one_of
from fsfm_jax.detection.detector import Detector
from fsfm_jax.detection.opener import OFFICIAL_DTYPE, Unsaid, open_detector
from fsfm_jax.metrics.card import INT8
from fsfm_jax.metrics.demonstration import FIELD as DEMONSTRATION
from fsfm_jax.models.antispoof import NORM_AXES
from fsfm_jax.models.ops import for_each
from fsfm_jax.resolve.networks import DTYPES
from fsfm_jax.run.whole_file import whole_file
from fsfm_jax.tasks.normalisation import STATISTICS
from fsfm_jax.weights import artifact, onnx_file
from fsfm_jax.weights.signature import read_private_key
from fsfm_jax.weights.signed_files import write_signature

PLATFORMS = ("cpu", "cuda", "tpu")
KNOWN_PLATFORMS = (*PLATFORMS, "rocm")
FORMATS = ("jax", "onnx")
# Of graph and names beside the parameters; ViT-B has 130 kB.
ROOM = 1 << 24
_PACKAGES = ("jax", "jaxlib", "flax", "numpy")


def serialize(detector: Detector, output: str, form: str = "jax", platforms: tuple[str, ...] | None = None) -> dict:
    """Write `output` and `output.json`, in place of others of these names, and returns the sidecar.

    Args:
      form: "jax", or "onnx", which knows neither platforms nor bfloat16.
      platforms: that the file is to run on; None for `PLATFORMS`.

    Raises:
      ValueError: parameters that do not fit into one file, a platform or format that is not known, or ONNX in bfloat16.
      FileNotFoundError: no folder to write to.
      ModuleNotFoundError: the packages for ONNX are not installed.
    """
    one_of("--format", form, FORMATS)
    if form == "onnx" and platforms is not None:
        raise ValueError("--platforms: ONNX has none, its runtime chooses; leave it out")
    platforms = PLATFORMS if platforms is None else platforms
    for platform in platforms:
        one_of("--platforms", platform, KNOWN_PLATFORMS)
    if not platforms or len(set(platforms)) != len(platforms):
        raise ValueError(f"--platforms: expected some that differ, such as cpu,cuda; found {','.join(platforms)!r}")
    folder = os.path.dirname(os.path.abspath(output))
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"--output: there is no folder {folder}")
    check_size(detector)
    if form == "onnx":
        content, about = onnx_file.convert(detector.task, detector.params)
    else:
        exported = _export(detector, platforms)
        content = bytes(exported.serialize())
        about = {
            "kind": artifact.JAX_EXPORT,
            "platforms": list(exported.platforms),
            "calling_convention_version": exported.calling_convention_version,
        }
    return write_serialized(detector, output, content, about | {"dtype": _dtype(detector)})


def write_serialized(detector: Detector, output: str, content: bytes, about: dict) -> dict:
    """Write a serialized detector and its sidecar, and return the sidecar.

    Args:
      content: of the file. about: what the sidecar says of it: kind, platforms, dtype and what is special to its kind.

    Raises:
      ValueError: content that the reader of its kind refuses.
    """
    about |= {
        "file": os.path.basename(output), "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(),
    }  # fmt: skip
    # As it will be read again.
    card = json.loads(json.dumps(_sidecar(detector, about), allow_nan=False))
    if about["kind"] == artifact.JAX_EXPORT:
        artifact.open_artifact(output, content, card)  # Whoever gets it reads it with the same checks.
    with whole_file(output) as file:
        file.write(content)
    with whole_file(artifact.sidecar_of(output)) as file:
        file.write((json.dumps(card, indent=1, ensure_ascii=False) + "\n").encode())
    return card


def _export(detector: Detector, platforms: tuple[str, ...]) -> export.Exported:
    """Return the detector's scores in the form of each platform, with one copy of the parameters."""
    # Elsewhere no compiled function closes over arrays, since each becomes a constant of the program. Here that is what
    # is wanted: the file has to be whole. The forms share them as arguments.
    params = jax.tree_util.tree_map_with_path(lambda path, leaf: _store(path, leaf, detector), detector.params)
    side = detector.task.model.image_size
    images = jax.ShapeDtypeStruct((*export.symbolic_shape("b"), side, side, 3), jnp.uint8)
    with _without_paths():
        score = for_each(platforms, detector.task.log_probabilities)
        return export.export(jax.jit(lambda images: score(params, images)), platforms=platforms)(images)


def _is_product(path: tuple) -> bool:
    """Return whether a parameter is a matrix of the encoder, used in the type of the products alone."""
    return path[0].key == "encoder" and path[-1].key == "kernel"


def _store(path: tuple, leaf: Any, detector: Detector) -> np.ndarray:
    """Return a parameter as the file has it: in bfloat16 where the network would round it, which halves the file."""
    return np.asarray(leaf, detector.task.model.dtype) if _is_product(path) else np.asarray(leaf)


@contextlib.contextmanager
def _without_paths() -> Iterator[None]:
    """Leave out where in our source each operation comes from: paths of this machine, and other bytes on each."""
    before = jax.config.jax_traceback_in_locations_limit
    jax.config.update("jax_traceback_in_locations_limit", 0)
    try:
        yield
    finally:
        jax.config.update("jax_traceback_in_locations_limit", before)


def check_size(detector: Detector) -> None:
    """Refuse what one file cannot hold, before any work; ValueError."""
    width = np.dtype(detector.task.model.dtype).itemsize
    needed = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(detector.params):
        needed += leaf.size * (width if _is_product(path) else leaf.dtype.itemsize)
    if needed > artifact.MAX_BYTES - ROOM:
        remedy = "; --dtype=bfloat16 needs half of it" if width > 2 else "; save a smaller network"
        raise ValueError(
            f"{detector.name}: one file holds at most {artifact.MAX_BYTES:,} bytes (offsets of 31 bits, also in ONNX); "
            f"its parameters in {_dtype(detector)} are {needed:,}{remedy}"
        )


def _dtype(detector: Detector) -> str:
    return np.dtype(detector.task.model.dtype).name


def _sidecar(detector: Detector, about: dict) -> dict:
    """Return everything that somebody needs to use the file, as JSON."""
    card, side, classes = detector.card, detector.task.model.image_size, len(detector.class_names)
    # An imported detector's configuration names its network alone; nothing is known of its training.
    config = card["config"] if "config" in card and "official" not in card else None
    trained = config["model.dtype"] if config else None
    transform = detector.own_transform
    return {
        "format": artifact.FORMAT,
        "format_version": artifact.VERSION,
        "artifact": about,
        "how_to_use": onnx_file.USE if about["kind"] == onnx_file.KIND else _USE,
        "input": {
            "name": "images",
            "shape": ["b", side, side, 3],
            "dtype": "uint8",
            "meaning": "face crops, RGB, 0..255; rows from the top, columns from the left. b is any number from 1 on "
            "(JAX compiles each new one once). The file normalises them itself.",
            "transform": transform,
            "preparation": _PREPARATION.format(side=side, room=side * 8 // 7, transform=transform or "not known"),
        },
        "output": {
            "shape": ["b", classes],
            "dtype": "float32",
            "meaning": "natural logarithms of the class probabilities, columns in the order of class_names; the score "
            "of an image is the probability of being real, exp(output[:, real])",
        },
        "class_names": list(detector.class_names),
        "real": detector.real,
        "image_size": side,
        "statistics": dict(card["statistics"]),
        "calibration": card["calibration"],
        "calibration_meaning": _CALIBRATED if card["calibration"] else _UNCALIBRATED,
        "selection": card["selection"],
        **{name: card[name] for name in ("seen", DEMONSTRATION) if card.get(name) is not None},
        "precision": _precision(about["dtype"], trained),
        "config_sha256": _digest(config),
        "origin": {"checkpoint": detector.name, "step": card.get("step"), "started_from": card.get("origin")},
        "versions": {
            "training": card.get("versions"),
            "serialization": {"fsfm_jax": __version__} | {name: metadata.version(name) for name in _PACKAGES},
        },
    }


_USE = [
    "import jax",
    "from jax import export",
    "score = jax.jit(export.deserialize(bytearray(open(FILE, 'rb').read())).call)",
    "log_probabilities = score(images)",
]
_PREPARATION = (
    "Crop each face as the training data were (the papers: a square, 1.3 times the longer side of the detector's box). "
    "Then 'resize_center' is: bicubic with antialiasing, the shorter side to {room} pixels, and of that the middle "
    "{side} x {side}; 'resize' is: the whole crop to {side} x {side}. Selection and calibration saw: {transform}."
)
_CALIBRATED = (
    "Calibrated probabilities are softmax(output / temperature); with temperature null there are none, see undefined. "
    "Thresholds are of the score as it comes, without temperature: real if score >= value. Those of 'frame' are for "
    "one image, those of 'video' for the mean score over the frames of a video. Rates are those on their split."
)
_UNCALIBRATED = "No temperature and no threshold was kept with this detector: choose them on validation data of yours."


def _precision(dtype: str, trained: str | None) -> str:
    if dtype == INT8:
        return (
            "Most matrix products in int8, everything else in float32; artifact.quantised says what was compared. "
            "Temperature and thresholds were fitted to the scores of this file."
        )
    text = (
        f"Matrix products in {dtype}, softmax and norms in float32. On the same device the scores are those of the "
        "detector before, up to the order of summation; GPUs and TPUs may multiply float32 with fewer bits unless JAX "
        "is set otherwise (jax_default_matmul_precision)."
    )
    if trained is not None and trained != dtype:
        text += f" It was trained, selected and calibrated in {trained}; scores differ by the rounding between both."
    return text


def _digest(config: Any) -> str | None:
    """Hash a training configuration (SHA-256 of its JSON, sorted, without spaces); None without one."""
    if config is None:
        return None
    return hashlib.sha256(json.dumps(dict(config), sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def define_flags() -> None:
    # Not when imported: flags are shared by the whole process, and other programs have an --output too.
    flags.DEFINE_string("checkpoint", None, "Working directory of a fine-tuning run, or an official FILE.pth.")
    flags.DEFINE_string("output", None, "File to write; FILE.json is written next to it.")
    flags.DEFINE_enum("format", "jax", FORMATS, "What to write.")
    platforms = f"Some of {', '.join(KNOWN_PLATFORMS)}, by default {', '.join(PLATFORMS)}; for the format jax."
    flags.DEFINE_list("platforms", None, platforms)
    flags.DEFINE_string("dtype", "", f"One of {', '.join(DTYPES)}; by default the run's, {OFFICIAL_DTYPE} of files.")
    flags.DEFINE_string("classes", "", "Classes of an official file by index, such as fake,real.")
    flags.DEFINE_string("statistics", "", f"Channel statistics, if no file has them: {', '.join(STATISTICS)}.")
    flags.DEFINE_string("sign", None, "PEM file of a private key, to sign what is written; see fsfm sign --help.")
    flags.DEFINE_string("norm_over", "", f"For official anti-spoofing files: {' or '.join(NORM_AXES)} (the first).")


def main(arguments: list[str]) -> None:
    """Run the command line."""
    chosen: Any = flags.FLAGS
    if len(arguments) > 1 or chosen.checkpoint is None or chosen.output is None:
        raise app.UsageError("expected --checkpoint=WORKDIR_OR_FILE and --output=FILE, options as --name=value")
    absl_logging.set_verbosity(absl_logging.WARNING)
    try:
        key = None if chosen.sign is None else read_private_key(chosen.sign, "--sign")
        unsaid = Unsaid(chosen.classes, chosen.statistics, chosen.norm_over)
        detector = open_detector(chosen.checkpoint, unsaid, chosen.dtype)
        platforms = None if chosen.platforms is None else tuple(chosen.platforms)
        card = serialize(detector, chosen.output, chosen.format, platforms)
        signed = None if key is None else write_signature(chosen.output, key)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        sys.exit(f"error: {error}")
    about = card["artifact"]
    print(
        f"{chosen.output}: {about['bytes']:,} bytes, {about['kind']}, {about['dtype']}, "
        f"for {', '.join(about['platforms'])}"
    )
    print(f"{artifact.sidecar_of(chosen.output)} says how to use it")
    if signed is not None:
        print(f"{signed.place} is its signature")


if __name__ == "__main__":
    command.start(sys.modules[__name__], sys.argv[1:])
