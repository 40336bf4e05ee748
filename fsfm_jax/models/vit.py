"""The ViT encoder that is pretrained, fine-tuned and exported, and the table of its sizes."""

import dataclasses
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from fsfm_jax.models.block_adapter import BlockAdapterSpec
from fsfm_jax.models.layers import blocks, sincos_positions
from fsfm_jax.models.lora import LoraSpec
from fsfm_jax.models.ops import affine, for_tpu, layer_norm
from fsfm_jax.models.positions import resize_positions
from fsfm_jax.models.rotary import turns_of_tokens
from fsfm_jax.models.style import PLAIN, Style

CHANNELS = 3


@dataclasses.dataclass(frozen=True)
class Size:
    """Width, depth, heads and patch size of an encoder (FSFM supplement, table of model sizes)."""

    width: int
    depth: int
    heads: int
    patch_size: int

    @property
    def pixels(self) -> int:
        """P, the number of values in a patch: 3 x pixels."""
        return CHANNELS * self.patch_size**2

    def grid(self, image_size: int) -> int:
        """Return the number of rows of patches in a square image of side `image_size` pixels.

        Raises:
          ValueError: if `image_size` is not a multiple of the patch size; the message begins with "image size".
        """
        patch = self.patch_size
        if type(image_size) is not int or image_size < 1 or image_size % patch:
            hint = ""
            if isinstance(image_size, int | float) and 1 <= image_size < 2**31:
                below = int(image_size // patch * patch)
                hint = f"; use {below} or {below + patch}" if below else f"; use {patch}"
            raise ValueError(f"image size: expected a multiple of the patch size {patch}; found {image_size}{hint}")
        return image_size // patch


SIZES = {
    "vit_s16": Size(384, 12, 12, 16),  # 12 heads of 32 as in MoCo v3; timm has 6
    "vit_b16": Size(768, 12, 12, 16),
    "vit_l16": Size(1024, 24, 16, 16),
    "vit_h14": Size(1280, 32, 16, 14),
    "vit_s16_6h": Size(384, 12, 6, 16),  # the ViT-S of timm, DeiT and DINO: 6 heads of 64
    "vit_s14_6h": Size(384, 12, 6, 14),  # DINOv2's
    "vit_b14": Size(768, 12, 12, 14),  # DINOv2's
    "vit_l14": Size(1024, 24, 16, 14),  # the ViT-L of CLIP, DINOv2 and the Perception Encoder
    "vit_h16_20h": Size(1280, 32, 20, 16),  # DINOv3's ViT-H+, 20 heads of 64
    # For real faces on CPUs: width and heads of ViT-Ti with five of its twelve blocks, 2.4 million parameters. Two
    # cores pretrain it on 30,000 faces in an hour; ViT-Ti would take more than two hours.
    "mini16": Size(192, 5, 3, 16),
    "demo16": Size(128, 4, 4, 16),  # for two CPU cores; not a size of the paper
    "tiny32": Size(64, 2, 4, 32),  # for tests of real training: a quarter of the patches
    "tiny16": Size(48, 2, 4, 16),  # for tests
    "tiny8": Size(48, 2, 4, 8),  # for the golden numbers, with images of 32 pixels
}


def patchify(images: jax.Array, patch_size: int) -> jax.Array:
    """Cut images into patches, `[B, H, W, 3]` or `[B, H, 3 W]` -> `[B, N, P]`.

    Patches come row by row. Inside a patch the order is pixel row, pixel column, channel.
    """
    batch, height = images.shape[:2]
    # Rows of a patch stay together, because a TPU pads a last axis of 3 channels to 128.
    cut = images.reshape(batch, height // patch_size, patch_size, -1, patch_size * CHANNELS).swapaxes(2, 3)
    patches = cut.reshape(batch, -1, patch_size**2 * CHANNELS)
    # Without the barrier the TPU compiler cuts the images again at each use of the patches.
    return jax.lax.optimization_barrier(patches) if for_tpu() else patches


def unpatchify(patches: np.ndarray, patch_size: int) -> np.ndarray:
    """Assemble an image from its patches, `[N, P] -> [H, W, 3]` (one image, on the host)."""
    grid = round(len(patches) ** 0.5)
    cut = patches.reshape(grid, grid, patch_size, patch_size, CHANNELS).swapaxes(1, 2)
    return cut.reshape(grid * patch_size, grid * patch_size, CHANNELS)


class PatchEmbed(nn.Module):
    """Linear map of each patch, `[B, K, P] -> [B, K, D]`; equal to the convolution of the reference.

    The weight starts Xavier-uniform on the `(D, P)` view. The bias starts from U(-1/sqrt(P), 1/sqrt(P)), PyTorch's
    default for a convolution, which the reference does not reset.
    """

    width: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, patches: jax.Array) -> jax.Array:
        pixels = patches.shape[-1]

        def bias_init(key, shape, dtype=jnp.float32):
            return jax.random.uniform(key, shape, dtype, -(pixels**-0.5), pixels**-0.5)

        kernel = self.param("kernel", nn.initializers.xavier_uniform(), (pixels, self.width))
        bias = self.param("bias", bias_init, (self.width,))
        return affine(patches, kernel, bias, self.dtype)


class Encoder(nn.Module):
    """A ViT on all or some patches; the class token and registers of its style precede the patches.

    Attributes:
      learnt_positions: False adds the fixed sine-cosine positions. True (fine-tuning) adds the parameter `pos_embed`,
        initialised with them, including the class token's row. A style without positions has neither.
      final_norm: whether the tokens pass the norm after the last block.
      drop_path: the last block's rate of stochastic depth while training (see `layers.drop_path_rates`).
      style: the wiring of the base model; without a class token the positions have no row for one.
      lora: low-rank updates of the linear maps in blocks; None: no updates.
      adapter: the bottleneck in each block; None: no bottleneck.
      any_grid: whether images may have another square grid of patches. Learnt positions are then resized to it (ViT,
        section 3.2). Relative positions do not support this.
    """

    size: Size
    grid: int
    dtype: jnp.dtype
    remat: str
    learnt_positions: bool = False
    final_norm: bool = True
    drop_path: float = 0.0
    style: Style = PLAIN
    lora: LoraSpec | None = None
    adapter: BlockAdapterSpec | None = None
    any_grid: bool = False

    @nn.compact
    def __call__(self, patches: jax.Array, places: jax.Array | None = None, train: bool = False) -> jax.Array:
        """Encode patches, `[B, K, P] -> [B, R + K, D]`, R = `style.prefix`, which is 1 for most base models.

        `places [B, K] int32` are the grid places of the patches; None means all N in order. Only the given patches are
        embedded, so hidden patches cost nothing. `train` with a `drop_path` requires the random stream "drop_path".

        Raises:
          ValueError: if `places` is given to an encoder with relative positions.
        """
        width, style, grid = self.size.width, self.style, self.grid
        if self.any_grid:
            grid = math.isqrt(patches.shape[1])
            assert places is None and grid * grid == patches.shape[1] and not style.relative
        class_token, positions = None, None
        if style.class_token:
            class_token = self.param("cls_token", nn.initializers.normal(0.02), (1, 1, width))
        if style.positions:
            table = sincos_positions(width, self.grid)
            if not style.class_token:
                table = table[1:]
            if self.learnt_positions:
                table = self.param("pos_embed", lambda key, start=table: jnp.asarray(start)[None])[0]
                if grid != self.grid:
                    table = resize_positions(table[None], grid, style.class_token)[0]
                class_token = None if class_token is None else class_token + table[None, :1]
            positions = table[1:] if style.class_token else table  # the class token's fixed position is zero
        x = PatchEmbed(width, self.dtype, name="patch_embed")(patches)
        if positions is not None:
            if places is None:
                x = x + positions[None].astype(x.dtype)
            else:
                x = x + jnp.take(positions.astype(x.dtype), places, axis=0)
        first = [] if class_token is None else [class_token]
        if style.registers:
            first.append(self.param("reg_token", nn.initializers.normal(0.02), (1, style.registers, width)))
        if first:
            placed = [jnp.broadcast_to(part.astype(x.dtype), (x.shape[0], *part.shape[1:])) for part in first]
            x = jnp.concatenate([*placed, x], axis=1)
        if style.pre_norm:
            x = layer_norm(self.dtype, "pre_norm", style.epsilon)(x)
        if style.relative and places is not None:
            raise ValueError(
                "places: expected None, since an encoder with relative positions sees all patches in order; "
                f"found places {list(places.shape)}"
            )
        turns = None
        if style.rotary is not None:
            turns = turns_of_tokens(style.rotary, grid, width // self.size.heads, style.prefix, places)
        rate = self.drop_path if train else 0.0
        x = blocks(
            x, self.size.depth, self.size.heads, self.dtype, self.remat, drop_path=rate, style=style, lora=self.lora,
            turns=turns, adapter=self.adapter,
        )  # fmt: skip
        return layer_norm(self.dtype, "norm", style.epsilon)(x) if self.final_norm else x
