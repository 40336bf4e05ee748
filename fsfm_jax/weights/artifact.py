"""A detector in one file: StableHLO with its parameters, made by `serialize`, and a JSON sidecar next to it.

`jax.export` writes the file. To run it you need JAX, and nothing of fsfm_jax:

    jax.export.deserialize(bytearray(open(FILE, "rb").read())).call(images)

`read` detects damage by the digest in the sidecar, before the bytes are parsed. The digest does not make an untrusted
file harmless, because an attacker can change both files. Such a file holds no Python, and nothing is unpickled. Its
operations must be among `OPERATIONS`: arithmetic on arrays without loops, callbacks, communication or custom calls,
which could run anything in jaxlib. But the StableHLO parser is not hardened against hostile bytes: when a few bytes
were changed and the digest was updated, one file in fifty crashed the process. A well-formed file may still request
more memory than there is, or give wrong scores. Trust an artifact as you would trust a program, or use a sandbox.
"""

import dataclasses
import hashlib
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import export
from jax.extend.mlir import ir
from jax.extend.mlir.dialects import chlo, sdy, stablehlo

from fsfm_jax.metrics.card import Carded
from fsfm_jax.weights.sidecar_file import check_detector, check_types, read_table, refuse

FORMAT, VERSION = "fsfm_jax detector", 1
JAX_EXPORT = "jax.export"  # the kind of artifact that is read here
MAX_BYTES = 2**31 - 1  # a flatbuffer has offsets of 31 bits
# The operations that our networks are lowered to. Custom calls and composites are checked by name.
OPERATIONS = frozenset(
    "builtin.module func.func func.call func.return".split()
    + [
        f"stablehlo.{name}"
        for name in (
            "abs add broadcast_in_dim case clamp compare composite concatenate constant convert custom_call divide "
            "dot_general dynamic_broadcast_in_dim dynamic_gather dynamic_reshape exponential gather get_dimension_size "
            "log maximum multiply negate optimization_barrier real_dynamic_slice reduce reshape return rsqrt select "
            "slice sqrt subtract transpose"
        ).split()
    ]
)
# Compares the batch with 1 while the module is compiled. Any other custom call may run any code registered in jaxlib.
CUSTOM_CALLS = frozenset({"shape_assertion"})
# Functions that contain their arithmetic, which is checked as well. A compiler may replace them by name.
COMPOSITES = frozenset({"chlo.erf"})
_TYPES = {
    "artifact": dict, "class_names": list, "real": int, "image_size": int, "statistics": dict, "selection": dict,
    "calibration": dict | None, "origin": dict,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Artifact(Carded):
    """A serialized detector, with the names that `detection.detector.Detector` has.

    Attributes:
      path: of the file.
      card: the sidecar.
      params: nothing; they are in the file.
    """

    path: str
    card: dict
    _call: Callable[[Any], jax.Array]
    params: None = None

    @property
    def name(self) -> str:
        """Return the name that messages use."""
        return self.path

    @property
    def image_size(self) -> int:
        """Return the side of the square images in pixels."""
        return self.card["image_size"]

    def log_probabilities(self, images: np.ndarray | jax.Array) -> jax.Array:
        """Return the natural logarithms of the class probabilities, `[n, S, S, 3] uint8` RGB -> `[n, C] float32`.

        Each new n (at least 1) is compiled once, so score many images in batches of one size.

        Raises:
          ValueError: another shape or dtype.
        """
        check_images(self.path, images, self.image_size)
        return self._call(images)


def check_images(path: str, images: np.ndarray | jax.Array, side: int) -> None:
    """Refuse an array that is not `[n, side, side, 3] uint8` with n of at least 1; ValueError."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (side, side, 3) or not len(images):
        raise ValueError(
            f"{path}: images: expected [n, {side}, {side}, 3] uint8 with n of at least 1; found "
            f"{list(images.shape)} {images.dtype}. Resize face crops to {side} pixels and leave them as bytes, the "
            "artifact normalises them"
        )


def sidecar_of(path: str | os.PathLike) -> str:
    """Return the path of the sidecar of an artifact."""
    return f"{os.fspath(path)}.json"


def read(path: str | os.PathLike) -> Artifact:
    """Open an artifact that `serialize` wrote.

    Raises:
      FileNotFoundError: the file or its sidecar is not there.
      ValueError: the file is damaged, differs from its sidecar, or does something other than score images.
    """
    path = os.fspath(path)
    card = read_card(path)
    kind = card["artifact"]["kind"]
    if kind != JAX_EXPORT:
        raise ValueError(
            f"{path}: expected an artifact of {JAX_EXPORT}; its sidecar says {str(kind)[:100]!r}, which other "
            "programs run"
        )
    return open_artifact(path, read_vouched(path, card), card)


def read_card(path: str) -> dict:
    """Read the sidecar of a serialized detector, of any kind of artifact; ValueError or FileNotFoundError."""
    beside = sidecar_of(path)
    if not os.path.isfile(beside):
        raise FileNotFoundError(
            f"{path}: there is no sidecar {beside}; it says what the scores are of, so copy it with the file"
        )
    card = read_table(beside)
    if (card.get("format"), card.get("format_version")) != (FORMAT, VERSION):
        raise ValueError(
            f"{beside}: expected the format {FORMAT!r}, version {VERSION}; found another. It is no sidecar of a "
            "serialized detector, or one of another version of this program"
        )
    check_types(beside, card, _TYPES)
    check_detector(beside, card)
    for name, kind in {"kind": str, "bytes": int, "sha256": str, "platforms": list}.items():
        if not isinstance(card["artifact"].get(name), kind):
            refuse(beside, f"artifact.{name}", f"expected {kind.__name__}", card["artifact"].get(name))
    return card


def read_vouched(path: str, card: dict) -> bytes:
    """Read the bytes of the artifact at `path` and compare them with the digest in its sidecar.

    Raises:
      FileNotFoundError: no such file.
      ValueError: the size or the digest of the file differs from the sidecar.
    """
    about = card["artifact"]
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: there is no such file, only its sidecar; they belong together")
    size = os.path.getsize(path)
    if size != about["bytes"] or size > MAX_BYTES:
        raise ValueError(
            f"{path}: expected {about['bytes']} bytes, as its sidecar says, and at most {MAX_BYTES}; found {size}. It "
            "is truncated, or has the sidecar of another file: copy both again"
        )
    with open(path, "rb") as file:
        content = file.read(size)
    digest = hashlib.sha256(content).hexdigest()
    if digest != about["sha256"]:
        raise ValueError(
            f"{path}: expected the SHA-256 {str(about['sha256'])[:64]} of its sidecar; found {digest}. It was damaged "
            "or replaced: copy both files again"
        )
    return content


def open_artifact(path: str, content: bytes, card: dict) -> Artifact:
    """Return the artifact in `content`, the bytes of the file at `path`, with its sidecar; no file is read.

    Raises:
      ValueError: the bytes are not an artifact, or not the function that the sidecar describes.
    """
    exported = _deserialize(path, content)
    _check_signature(path, exported, card)
    return Artifact(path, card, jax.jit(exported.call))


def _deserialize(path: str, content: bytes) -> export.Exported:
    """Return the module in the file; ValueError if it has an operation that our networks do not use."""
    try:
        exported = export.deserialize(bytearray(content))
        context = ir.Context()
        for dialect in (stablehlo, chlo, sdy):  # so that an error can name foreign operations
            dialect.register_dialect(context)
        module = stablehlo.deserialize_portable_artifact(context, exported.mlir_module_serialized)
    except Exception as error:  # flatbuffers are not verified: garbage may raise anything
        raise ValueError(
            f"{path}: expected what {JAX_EXPORT} writes; it cannot be read ({type(error).__name__}: {str(error)[:200]}"
            f"). It is another file, or of a newer JAX than {jax.__version__}"
        ) from error
    foreign, todo = set(), [module.operation]
    while todo:
        operation = todo.pop()
        if operation.name not in OPERATIONS:
            foreign.add(operation.name)
        elif operation.name == "stablehlo.custom_call":
            target = ir.StringAttr(operation.attributes["call_target_name"]).value
            if target not in CUSTOM_CALLS:
                foreign.add(f"custom call {target}")
        elif operation.name == "stablehlo.composite":
            name = ir.StringAttr(operation.attributes["name"]).value
            if name not in COMPOSITES:
                foreign.add(f"composite {name}")
        todo += [inner.operation for region in operation.regions for block in region for inner in block]
    if foreign:
        raise ValueError(
            f"{path}: expected arithmetic of a vision transformer; found {', '.join(sorted(foreign))[:300]}. Do not "
            "run this file unless you know who made it; if it is yours, serialize the detector again with this version"
        )
    return exported


def _check_signature(path: str, exported: export.Exported, card: dict) -> None:
    """Check that inputs and outputs match the sidecar, on one device and without effects."""
    side, classes = card["image_size"], len(card["class_names"])
    inputs, outputs = exported.in_avals, exported.out_avals
    found = f"{', '.join(map(_spoken, inputs))} -> {', '.join(map(_spoken, outputs))}"
    batch = inputs[0].shape[0] if len(inputs) == 1 and inputs[0].shape else None
    fits = (
        export.is_symbolic_dim(batch)
        and len(outputs) == 1
        and (inputs[0].shape, outputs[0].shape) == ((batch, side, side, 3), (batch, classes))
        and (inputs[0].dtype, outputs[0].dtype) == (np.uint8, np.float32)
    )
    if not fits:
        raise ValueError(
            f"{path}: its sidecar says {side} pixels and {classes} classes, so [b, {side}, {side}, 3] uint8 -> "
            f"[b, {classes}] float32 is expected; found {found}. They do not belong together"
        )
    if list(exported.platforms) != card["artifact"]["platforms"]:
        raise ValueError(
            f"{path}: its sidecar says the platforms {', '.join(map(str, card['artifact']['platforms']))}; found "
            f"{', '.join(exported.platforms)}. They do not belong together"
        )
    if exported.nr_devices != 1 or exported.ordered_effects or exported.unordered_effects:
        raise ValueError(
            f"{path}: expected a function for one device without effects; found {exported.nr_devices} devices and "
            f"{len(exported.ordered_effects) + len(exported.unordered_effects)} effects; not a detector of fsfm_jax"
        )


def _spoken(aval: Any) -> str:
    return f"[{', '.join(map(str, aval.shape))}] {aval.dtype}"
