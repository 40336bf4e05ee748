"""Read fine-tuned weight files of the official code, as detectors to evaluate."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from fsfm_jax.models.antispoof import AntiSpoof, AntiSpoofSpec
from fsfm_jax.models.classifier import Classifier, ClassifierSpec
from fsfm_jax.models.style import PLAIN
from fsfm_jax.models.vit import SIZES, Size
from fsfm_jax.tasks.normalisation import Statistics
from fsfm_jax.weights import official_file
from fsfm_jax.weights.encoder_size import check_shapes, position_grid, recognise_size, shapes_of
from fsfm_jax.weights.official_statistics import STATISTICS_FILE, statistics_beside

FIELD = "checkpoint"
_PLAIN = (official_file.CLASSIFIER, official_file.ADAPTER)


@dataclasses.dataclass(frozen=True)
class ReleasedDetector:
    """A detector as read from a file.

    Attributes:
      params: nested NumPy arrays in our layout, float32.
      network: "classifier" or "antispoof".
      pooling: `mean_patches` or `cls` for a classifier, inferred from its norm; None for anti-spoofing.
      reduction: reduction of FS-Adapter, inferred from the width of its bottleneck; None without an adapter.
      size: its name in the table of sizes.
      image_size: side of its images in pixels, inferred from its position grid.
      statistics: channel statistics that normalise its images.
      class_names: class names in the order of its outputs; real: the index of real (bona fide) faces.
      drop_path: the stochastic depth rate among the file's options; None if missing.
      unused: official name -> array of the file that the official network does not use.
      said: entries of the file other than the network and the optimizer.
      origin: JSON of `kind`, `path`, `sha256`, `size`, `epoch` and `threshold` (if the file has them), `notes`.
    """

    params: dict
    network: str
    pooling: str | None
    reduction: int | None
    size: str
    image_size: int
    statistics: Statistics
    class_names: tuple[str, ...]
    real: int
    drop_path: float | None
    unused: dict[str, np.ndarray]
    said: dict
    origin: dict


def read_detector(
    path: str,
    class_names: tuple[str, ...],
    real: int,
    statistics: Statistics | None,
    sizes: Mapping[str, Size] = SIZES,
    content: official_file.Content | None = None,
) -> ReleasedDetector:
    """Read a fine-tuned classifier or anti-spoofing network from a .pth, .pt, .pth.tar or .safetensors file.

    Args:
      class_names: class names in the order of the outputs, which the file does not store. The official code sorts the
        class folders by name, so fake is 0 and real is 1.
      real: index of real faces in `class_names`.
      content: content of the file, if it was read before.
      statistics: used if the folder of the file has no `pretrain_ds_mean_std.txt`, which takes precedence as in the
        official code.

    Raises:
      FileNotFoundError: the file does not exist.
      ValueError: the network is of another kind, array names or shapes do not fit, the outputs do not match the class
        names, or there are no statistics.
    """
    if len(set(class_names)) != len(class_names) or not 0 <= real < len(class_names):
        raise ValueError(
            f"{FIELD}: {path}: expected distinct class names and the index of the real one among them; "
            f"found {', '.join(class_names)} and {real}"
        )
    file = official_file.open_file(path, FIELD, content)
    if file.network == official_file.PRETRAINED:
        raise ValueError(
            f"{FIELD}: {path}: expected a detector, found {official_file.NETWORKS[file.network]}, which has no "
            f"classifier. Fine-tune it first, with init={path}"
        )
    table, head = official_file.TABLES[file.network], "head" if file.network in _PLAIN else "classifier"
    params, notes = official_file.parameters(file, table)
    outputs = params.get(head, {}).get("bias")
    if outputs is None or outputs.shape != (len(class_names),):
        found = "no such array" if outputs is None else f"shape {list(outputs.shape)}"
        raise ValueError(
            f"{FIELD}: {path}: expected {len(class_names)} outputs in {head}/bias for the class names "
            f"{', '.join(class_names)}; found {found}. Name every class, in the order of the outputs"
        )
    try:
        size = recognise_size(params, sizes)
    except ValueError as error:
        raise ValueError(f"{FIELD}: {path}: {error}") from error
    if "pos_embed" not in params["encoder"]:
        raise ValueError(f"{FIELD}: {path}: expected pos_embed (learned positions), found no such array")
    image_size = position_grid(params, sizes[size], PLAIN) * sizes[size].patch_size
    pooling = ("mean_patches" if "fc_norm" in params else "cls") if file.network in _PLAIN else None
    reduction = _reduction(file.path, params, sizes[size])
    _check_arrays(file, params, sizes[size], image_size, pooling, reduction, len(class_names))
    own = statistics_beside(path)
    notes += _statistics_notes(own, statistics)
    if own is None and statistics is None:
        raise ValueError(
            f"{FIELD}: {path}: expected channel statistics in {STATISTICS_FILE} in the same folder, found none; "
            "set official.statistics (the official code silently uses vggface2 in this case)"
        )
    return ReleasedDetector(
        params,
        official_file.CLASSIFIER if file.network in _PLAIN else official_file.ANTISPOOF,
        pooling,
        reduction,
        size,
        image_size,
        statistics if own is None else own,
        class_names,
        real,
        _drop_path(file.beside.get("args")),
        {name: official_file.float32(path, name, file.tensors[name]) for name in table.unused if name in file.tensors},
        {name: value for name, value in file.beside.items() if name not in ("optimizer", *official_file.STATES)},
        file.origin(size, notes),
    )


def _drop_path(options: Any) -> float | None:
    """Return the stochastic depth rate among the options of a file, None if missing."""
    rate = options.get("drop_path") if isinstance(options, dict) else None
    return float(rate) if type(rate) in (int, float) and 0 <= rate < 1 else None


def _reduction(path: str, params: dict, size: Size) -> int | None:
    if "adapter" not in params:
        return None
    kernel = params["adapter"].get("linear1", {}).get("kernel")
    if kernel is None or kernel.ndim != 2 or not kernel.shape[1] or size.width % kernel.shape[1]:
        found = "no such array" if kernel is None else f"shape {list(kernel.shape)}"
        raise ValueError(
            f"{FIELD}: {path}: adapter.linear1.weight: expected a bottleneck that divides {size.width}; found {found}"
        )
    return size.width // kernel.shape[1]


def _check_arrays(
    file: official_file.OfficialFile,
    params: dict,
    size: Size,
    image_size: int,
    pooling: str | None,
    reduction: int | None,
    classes: int,
) -> None:
    shared = dict(
        size=size, image_size=image_size, drop_path=0.0, dtype=jnp.float32, remat="none", reduction=reduction
    )  # fmt: skip
    if pooling is None:
        network = AntiSpoof(AntiSpoofSpec(norm_over="features", dropout=0.0, **shared))
    else:
        network = Classifier(ClassifierSpec(classes=classes, pooling=pooling, **shared))
    shapes = shapes_of(network, jnp.zeros((1, image_size, image_size, 3)), False)
    check_shapes(params, shapes, f"{FIELD}: {file.path}")


def _statistics_notes(own: Statistics | None, given: Statistics | None) -> list[str]:
    if own is not None and given is not None and own != given:
        return [f"normalised by {STATISTICS_FILE} in the folder of the file, not by the given statistics"]
    return []
