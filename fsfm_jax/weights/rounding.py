"""Store arrays of a weight file in fewer bits, and convert them back to float32.

`float16` and `bfloat16` round every number. `int8` stores matrices as whole numbers from -127 to 127, with a scale per
row (the weights of one output) in `NAME.scale`. No weight changes by more than 1/254 of the largest of its row. All
other arrays of such a file are float16.
"""

from collections.abc import Mapping

import ml_dtypes
import numpy as np

from fsfm_jax.text import join_first

FLOATS = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
INT8 = "int8"
STORED = (*FLOATS, INT8)
LEVELS = 127
SCALE = ".scale"  # behind the name of a matrix


def round_arrays(tensors: Mapping[str, np.ndarray], dtype: str) -> dict[str, np.ndarray]:
    """Round float32 arrays, with the official names and layouts, to one of `STORED`.

    Raises:
      ValueError: numbers that `dtype` cannot hold, or that were not finite before; the message names their arrays.
    """
    if dtype != INT8:
        return _as_float(tensors, dtype)
    matrices = {name: array for name, array in tensors.items() if _is_matrix(array)}
    rounded = _as_float({name: array for name, array in tensors.items() if name not in matrices}, "float16")
    _check_finite(matrices, dtype, "any")
    for name, array in matrices.items():
        rows = array.reshape(len(array), -1)
        largest = np.abs(rows).max(axis=1)
        scale = np.where(largest > 0, largest, 1).astype(np.float32) / np.float32(LEVELS)
        whole = np.clip(np.rint(rows / scale[:, None]), -LEVELS, LEVELS)
        rounded |= {name: whole.astype(np.int8).reshape(array.shape), name + SCALE: scale}
    return rounded


def widen_arrays(path: str, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Turn the arrays of an `int8` file into float ones; `path` names the file in errors.

    Raises:
      ValueError: a matrix lacks a scale for each row, or a scale belongs to no matrix.
    """
    scales = {name.removesuffix(SCALE): array for name, array in tensors.items() if name.endswith(SCALE)}
    found = {name: array for name, array in tensors.items() if not name.endswith(SCALE)}
    whole = {name: array for name, array in found.items() if array.dtype == np.int8}
    if whole.keys() != scales.keys():
        alone = sorted(whole.keys() ^ scales.keys())
        raise ValueError(f"{path}: expected a scale for each array of int8 and for no other; found {join_first(alone)}")
    for name, array in whole.items():
        scale = scales[name]
        if scale.dtype != np.float32 or array.ndim < 2 or scale.shape != array.shape[:1]:
            raise ValueError(
                f"{path}: {name}{SCALE}: expected {list(array.shape[:1])} float32, a number for each row; found "
                f"{list(scale.shape)} {scale.dtype}"
            )
        with np.errstate(over="ignore", invalid="ignore"):  # the caller checks for non-finite numbers
            found[name] = (array.reshape(len(array), -1) * scale[:, None]).reshape(array.shape)
    return found


def _is_matrix(array: np.ndarray) -> bool:
    """Return whether an array has rows: linear maps and the patch embedding, but no token, norm or bias."""
    return array.ndim >= 2 and len(array) > 1


def _as_float(tensors: Mapping[str, np.ndarray], dtype: str) -> dict[str, np.ndarray]:
    with np.errstate(over="ignore"):  # checked below
        rounded = {name: array.astype(FLOATS[dtype]) for name, array in tensors.items()}
    _check_finite(rounded, dtype, f"up to {ml_dtypes.finfo(FLOATS[dtype]).max:.6g}")
    return rounded


def _check_finite(tensors: Mapping[str, np.ndarray], dtype: str, which: str) -> None:
    lost = [name for name, array in tensors.items() if not np.isfinite(array).all()]
    if lost:
        raise ValueError(
            f"dtype: {dtype} holds finite numbers, {which}; found others in {join_first(lost)}. Take float32 or "
            "bfloat16 for larger ones; numbers that are not finite are of a run that diverged"
        )
