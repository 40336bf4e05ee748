"""The two networks of pretraining: online (sees some patches) and target (its moving average)."""

import dataclasses
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from fsfm_jax.models.decoders import PixelDecoder, RepresentationDecoder, View, mean_tokens, view_of
from fsfm_jax.models.heads import ProjectionHead
from fsfm_jax.models.regressor import LatentRegressor
from fsfm_jax.models.vit import Encoder, Size

TARGET_VIEWS = FULL, OTHER_VISIBLE, MASKED = "full", "other_visible", "masked"
DECODED = ("both", "online", "neither")
REGRESSED = "regressed"
# The designs in FSFM's supplement (Fig. 4, C.1): the target's view, and which networks have a representation decoder.
DESIGNS = {
    "4a": (OTHER_VISIBLE, "neither"),
    "4b": (MASKED, REGRESSED),
    "4c-free": (FULL, "neither"),
    "4c-online": (FULL, "online"),
    "4c-siamese": (FULL, "both"),
}
POSITIONS = ("zeros", "sincos")


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """Everything that fixes the networks' shapes and wiring.

    Attributes:
      size: size of the encoder; the representation decoder has the same width.
      image_size: side of the square image in pixels.
      seen: K, the number of patches that the online encoder sees.
      instance_discrimination: False gives a plain masked autoencoder without target network.
      target_view: view of the target network (FSFM supplement, Fig. 4): the `full` face, the visible patches of
        another mask (`other_visible`), or the patches hidden by the same mask (`masked`).
      rep_decoded: networks with a representation decoder (supplement C.1), one of `DECODED`. With `regressed` the
        online network has a latent regressor for its hidden patches, and both networks pool only these patches.
      rep_positions: positions inside the representation decoder, one of `POSITIONS`. The paper shows positions; the
        released weights have zeros.
      reconstructs: False gives the instance-discrimination branch without pixel decoder.
    """

    size: Size
    image_size: int
    seen: int
    pixel_width: int
    pixel_depth: int
    pixel_heads: int
    rep_depth: int
    rep_heads: int
    projection_hidden: int
    projection_features: int
    instance_discrimination: bool
    target_view: str
    rep_decoded: str
    rep_positions: str
    dtype: jnp.dtype
    remat: str
    reconstructs: bool = True

    @property
    def grid(self) -> int:
        return self.size.grid(self.image_size)

    @property
    def patches(self) -> int:
        return self.grid**2


class Online(NamedTuple):
    """Output of the online network.

    pixels: `[B, N, P]`, prediction for every patch; None without reconstruction.
    prediction: `[B, E]`, predictor output, not normalised; None without instance discrimination.
    """

    pixels: jax.Array | None
    prediction: jax.Array | None


class _Backbone(nn.Module):
    """The parts of both networks: encoder, mask token, representation decoder, projector."""

    spec: ModelSpec

    def setup(self):
        spec = self.spec
        self.encoder = Encoder(spec.size, spec.grid, spec.dtype, spec.remat)
        self.mask_token = self.param("mask_token", nn.initializers.normal(0.02), (1, 1, spec.size.width))
        if spec.instance_discrimination:
            if self.decodes:
                self.rep_decoder = RepresentationDecoder(
                    spec.rep_depth, spec.rep_heads, spec.grid, spec.rep_positions, spec.dtype, spec.remat
                )
            self.projector = ProjectionHead(spec.projection_hidden, spec.projection_features, spec.dtype)

    def encode(self, patches: jax.Array, view: View | None) -> jax.Array:
        if view is None:
            return self.encoder(patches)
        return self.encoder(view.take(patches), view.places)

    def pool(self, tokens: jax.Array, view: View | None) -> jax.Array:
        """Pool encoder tokens to one vector, `[B, 1 + K, D] -> [B, D]`."""
        return self.rep_decoder(tokens, self.mask_token[0, 0], view) if self.decodes else mean_tokens(tokens)

    def project(self, tokens: jax.Array, view: View | None) -> jax.Array:
        """Project encoder tokens, `[B, 1 + K, D] -> [B, E]`."""
        return self.projector(self.pool(tokens, view))


class OnlineNetwork(_Backbone):
    """Encoder on the visible patches, pixel decoder, and the branch of instance discrimination."""

    @property
    def decodes(self) -> bool:
        return self.spec.rep_decoded in ("both", "online")

    def setup(self):
        super().setup()
        spec = self.spec
        if spec.reconstructs:
            self.pixel_decoder = PixelDecoder(
                spec.pixel_width, spec.pixel_depth, spec.pixel_heads, spec.grid,
                spec.size.pixels, spec.dtype, spec.remat,
            )  # fmt: skip
        if spec.instance_discrimination and spec.rep_decoded == REGRESSED:
            self.regressor = LatentRegressor(spec.rep_depth, spec.rep_heads, spec.grid, spec.dtype, spec.remat)
        if spec.instance_discrimination:
            self.predictor = ProjectionHead(spec.projection_hidden, spec.projection_features, spec.dtype)

    def pool(self, tokens: jax.Array, view: View | None) -> jax.Array:
        if self.spec.rep_decoded == REGRESSED:
            return self.regressor(tokens, self.mask_token[0, 0], view)
        return super().pool(tokens, view)

    def __call__(self, patches: jax.Array, mask: jax.Array) -> Online:
        """Run on `patches [B, N, P]` of normalised images; K entries of `mask [B, N] bool` are False (visible)."""
        view = view_of(mask, self.spec.seen)
        tokens = self.encode(patches, view)
        pixels = self.pixel_decoder(tokens, self.mask_token[0, 0], view) if self.spec.reconstructs else None
        if not self.spec.instance_discrimination:
            return Online(pixels, None)
        return Online(pixels, self.predictor(self.project(tokens, view)))


class TargetNetwork(_Backbone):
    """Encoder, representation decoder and projector on the target's view; never differentiated."""

    @property
    def decodes(self) -> bool:
        return self.spec.rep_decoded == "both"

    def pool(self, tokens: jax.Array, view: View | None) -> jax.Array:
        # The mean over the hidden patches without the class token, as in the regressor.
        return mean_tokens(tokens[:, 1:]) if self.spec.rep_decoded == REGRESSED else super().pool(tokens, view)

    def __call__(self, patches: jax.Array, mask: jax.Array, other_mask: jax.Array) -> jax.Array:
        """Project `patches [B, N, P]`, `-> [B, E]`, not normalised; the masks are used only if the view needs them."""
        view = self.view(mask, other_mask)
        return self.project(self.encode(patches, view), view)

    def view(self, mask: jax.Array, other_mask: jax.Array) -> View | None:
        if self.spec.target_view == FULL:
            return None
        if self.spec.target_view == OTHER_VISIBLE:
            return view_of(other_mask, self.spec.seen)
        return view_of(~mask, self.spec.patches - self.spec.seen)


def target_parameters(online: dict, spec: ModelSpec) -> dict:
    """Return the online parameters that the target also has: all but pixel decoder, regressor and predictor."""
    names = ["encoder", "mask_token"]
    if spec.rep_decoded == "both":
        names.append("rep_decoder")
    return {name: online[name] for name in [*names, "projector"]}
