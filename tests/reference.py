"""The golden networks in our terms: specification, parameters and inputs. See golden/README.md."""

import jax
import jax.numpy as jnp
import numpy as np

from fsfm_jax.models.fsfm import ModelSpec
from fsfm_jax.models.vit import Size
from fsfm_jax.tasks.pretrain import LossSpec, PretrainTask
from fsfm_jax.weights.names import from_official

# The official loss settings of the golden runs: half the negative cosine is theirs.
OFFICIAL_LOSS = LossSpec(
    normalise_pixels=True, region_weight=0.007, instance_weight=0.1, kind="ncs", temperature=0.1, ncs_scale=0.5,
    negatives=True,
)  # fmt: skip
IDENTITY = None  # the golden images are normalised floats


def model_spec(dtype=jnp.float32, **changes) -> ModelSpec:
    fields = dict(
        size=Size(48, 2, 4, 8), image_size=32, seen=4, pixel_width=32, pixel_depth=2, pixel_heads=4, rep_depth=2,
        rep_heads=4, projection_hidden=64, projection_features=16, instance_discrimination=True, target_view="full",
        rep_decoded="both", rep_positions="zeros", dtype=dtype, remat="none",
    )  # fmt: skip
    return ModelSpec(**{**fields, **changes})


def task(dtype=jnp.float32, loss: LossSpec = OFFICIAL_LOSS, **changes) -> PretrainTask:
    return PretrainTask(model_spec(dtype, **changes), loss, IDENTITY)


def state_dict(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def parameters(arrays: dict[str, np.ndarray], prefix: str, dtype=jnp.float32) -> dict:
    tree = from_official(state_dict(arrays, prefix), model_spec())
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), tree)


def images(array: np.ndarray) -> np.ndarray:
    """`[..., 3, H, W] -> [..., H, W, 3]`."""
    return np.moveaxis(array, -3, -1)


def batch(arrays: dict[str, np.ndarray], dtype=jnp.float32) -> dict:
    return {
        "image": jnp.asarray(images(arrays["in/images"]), dtype),
        "mask": jnp.asarray(arrays["in/img_mask"] > 0),
        "region_mask": jnp.asarray(arrays["in/fr_mask"] > 0),
    }
