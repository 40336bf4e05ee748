"""The networks that a pretraining configuration asks for."""

import jax.numpy as jnp
from ml_collections import ConfigDict

from fsfm_jax.config import pretrain
from fsfm_jax.config.fields import one_of
from fsfm_jax.data.masking import seen_patches
from fsfm_jax.models.fsfm import DECODED, DESIGNS, POSITIONS, TARGET_VIEWS, ModelSpec
from fsfm_jax.models.remat import REMATS
from fsfm_jax.models.vit import SIZES
from fsfm_jax.resolve.image_size import grid_of

DTYPES = {"bfloat16": jnp.bfloat16, "float32": jnp.float32}


def target_design(c: ConfigDict) -> tuple[str, str]:
    """Return what the target sees and which networks decode, as `ModelSpec` names them.

    Raises:
      ValueError: a name that is not known, or a `model.rep_decoded` that contradicts a design of the supplement.
    """
    view = one_of("model.target_view", c.model.target_view, (*TARGET_VIEWS, *DESIGNS))
    decoded = one_of("model.rep_decoded", c.model.rep_decoded, DECODED)
    if view not in DESIGNS:
        return view, decoded
    usual = pretrain.pretrain().model.rep_decoded
    if decoded not in (usual, DESIGNS[view][1]):
        raise ValueError(
            f"model.rep_decoded: model.target_view {view} decides it; leave it at {usual} (found {decoded}), or choose "
            f"one of {', '.join(TARGET_VIEWS)} with it"
        )
    return DESIGNS[view]


def pretraining_model(c: ConfigDict) -> ModelSpec:
    """Return the networks that a pretraining configuration asks for.

    Raises:
      ValueError: a name that is not known, an image size that patches do not fill, or heads that do not divide a width.
    """
    view, decoded = target_design(c)
    size, grid = SIZES[one_of("model.size", c.model.size, SIZES)], grid_of(c)
    model = ModelSpec(
        size=size,
        image_size=c.model.image_size,
        seen=seen_patches(grid**2, c.mask.ratio),
        pixel_width=c.model.pixel_width,
        pixel_depth=c.model.pixel_depth,
        pixel_heads=c.model.pixel_heads,
        rep_depth=c.model.rep_depth,
        rep_heads=c.model.rep_heads,
        projection_hidden=c.model.projection_hidden,
        projection_features=c.model.projection_features,
        instance_discrimination=c.model.instance_discrimination,
        target_view=view,
        rep_decoded=decoded,
        rep_positions=one_of("model.rep_positions", c.model.rep_positions, POSITIONS),
        dtype=DTYPES[one_of("model.dtype", c.model.dtype, DTYPES)],
        remat=one_of("model.remat", c.model.remat, REMATS),
        reconstructs=bool(c.loss.masked_weight or c.loss.region_weight),
    )
    for field, heads, width in (
        ("model.pixel_heads", c.model.pixel_heads, c.model.pixel_width),
        ("model.rep_heads", c.model.rep_heads, size.width),
    ):
        if width % heads:
            raise ValueError(f"{field}: {heads} heads do not divide the width {width}")
    if c.model.pixel_width % 4:
        raise ValueError(f"model.pixel_width: {c.model.pixel_width} is not divisible by 4, as positions need it")
    return model
