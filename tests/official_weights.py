"""Weight files as the official code leaves them, made of state dicts without PyTorch."""

import json
from pathlib import Path

import numpy as np
from torch_archive import archive, storage, tensor

from fsfm_jax.models.vit import Size
from fsfm_jax.weights import safetensors_file

SIZES = {"golden": Size(48, 2, 4, 8)}
VGGFACE2 = {"mean": [0.5482, 0.4234, 0.3655], "std": [0.2789, 0.2439, 0.2349]}
_KINDS = {"float16": "Half", "bfloat16": "BFloat16", "float32": "Float", "float64": "Double", "int64": "Long"}


def tensors(state: dict[str, np.ndarray]) -> tuple[dict, dict[str, bytes]]:
    """A state dict for `archive`, and its storages."""
    value, storages = {}, {}
    for number, (name, array) in enumerate(state.items()):
        strides = tuple(stride // array.itemsize for stride in np.ascontiguousarray(array).strides)
        kind = _KINDS[array.dtype.name]
        value[name] = tensor(storage(kind, str(number), array.size), 0, array.shape, strides)
        storages[str(number)] = array.tobytes()
    return value, storages


def write(path: Path, state: dict[str, np.ndarray], key: str | None = "model", **more) -> str:
    """Writes a state dict, by the end of the name as safetensors or like torch.save: under `key`, with `more`."""
    if path.suffix == ".safetensors":
        safetensors_file.write(path, state, {})
    else:
        value, storages = tensors(state)
        archive(path, value if key is None else {key: value, **more}, storages)
    return str(path)


def write_statistics(folder: Path, text: str = "") -> Path:
    """Writes the file with the channel statistics, by default two lines, of which the second is another start's."""
    lines = f"{json.dumps(VGGFACE2)}\n{json.dumps({'mean': [0, 0, 0], 'std': [1, 1, 1]})}\n"
    path = folder / "pretrain_ds_mean_std.txt"
    path.write_text(text or lines)
    return path
