"""The pretraining task: masked reconstruction of faces and agreement with the target network ("3C")."""

import dataclasses
from typing import Any, cast

import jax
import jax.numpy as jnp

from fsfm_jax import losses, records
from fsfm_jax.models.fsfm import OTHER_VISIBLE, ModelSpec, Online, OnlineNetwork, TargetNetwork, target_parameters
from fsfm_jax.models.heads import l2_normalise
from fsfm_jax.models.ops import at_least_float32
from fsfm_jax.models.vit import patchify
from fsfm_jax.tasks.base import AGREEMENT, PROJECTION, Batch, Terms, weighted_sum
from fsfm_jax.tasks.normalisation import Statistics, normalise

# Terms of the loss, in display order.
MASKED, REGION, INSTANCE = "masked", "region", "instance"


@dataclasses.dataclass(frozen=True)
class LossSpec:
    """A loss of three weighted terms: `masked`, `region`, `instance` (FSFM: L_rec^m, L_rec^fr, L_sim).

    Attributes:
      normalise_pixels: reconstruct patches normalised by their own mean and standard deviation.
      kind: instance-discrimination loss; see `losses.instance_discrimination`.
      ncs_scale: factor of the negative cosine similarity: 1 in the paper, 0.5 in the released code.
      negatives: for kinds with negatives, False keeps only the positive pairs.
    """

    normalise_pixels: bool
    region_weight: float
    instance_weight: float
    kind: str
    temperature: float
    ncs_scale: float
    negatives: bool
    masked_weight: float = 1.0


@dataclasses.dataclass(frozen=True)
class PretrainTask:
    """The pretraining objective over batches with `image`, `mask` and `region_mask`.

    If the target has its own mask or view, batches also have `other_mask` and `target_image`.
    """

    model: ModelSpec
    loss_spec: LossSpec
    statistics: Statistics | None  # None: images come as normalised floats

    @property
    def term_weights(self) -> dict[str, float]:
        spec, weights = self.loss_spec, {}
        if self.model.reconstructs:
            weights |= {MASKED: spec.masked_weight, REGION: spec.region_weight}
        if self.model.instance_discrimination:
            weights |= {INSTANCE: spec.instance_weight}
        return weights

    @property
    def per_image(self) -> bool:
        """False with negatives, which are the other images of the micro-batch."""
        return not self.model.instance_discrimination or not losses.KINDS[self.loss_spec.kind].compares_images

    def init(self, key: jax.Array) -> Any:
        patches = jnp.zeros((1, self.model.patches, self.model.size.pixels))
        mask = jnp.arange(self.model.patches)[None] >= self.model.seen
        return OnlineNetwork(self.model).init(key, patches, mask)["params"]

    def target_part(self, params: Any) -> Any:
        return target_parameters(params, self.model) if self.model.instance_discrimination else {}

    def denominators(self, batch: Batch) -> Terms:
        """Return the numbers of masked patches and of patches in the covered region, over the batch."""
        return {
            MASKED: jnp.sum(batch[records.MASK], dtype=jnp.float32),
            REGION: jnp.sum(batch[records.REGION_MASK], dtype=jnp.float32),
        }

    def patches(self, image: jax.Array) -> jax.Array:
        """Return normalised patches of images or their rows: `[B, H, W, 3]` or `[B, H, 3 W] -> [B, N, P]`."""
        return patchify(normalise(image, self.statistics), self.model.size.patch_size)

    def goal(self, patches: jax.Array) -> jax.Array:
        """Return the target of the pixel decoder, `[B, N, P] -> [B, N, P]`."""
        return losses.normalise_pixels(patches) if self.loss_spec.normalise_pixels else patches

    def constrain(self, params: Any) -> Any:
        """Return `params` unchanged."""
        return params

    def loss(
        self, params: Any, target: Any, batch: Batch, denominators: Terms, key: jax.Array
    ) -> tuple[jax.Array, Terms]:
        """Return the loss and its terms; reconstruction terms are sums divided by the patch counts of `denominators`.
        If no image of the batch has its region, the region term is 0, not NaN. The masks come with the batch."""
        patches = self.patches(batch[records.IMAGE])
        found = OnlineNetwork(self.model).apply(
            {"params": params}, patches, batch[records.MASK], capture_intermediates=_is_projector,
            mutable=["intermediates"],
        )  # fmt: skip
        online, inner = cast(tuple[Online, Any], found)
        terms = {} if online.pixels is None else self._reconstruction(online.pixels, patches, batch, denominators)
        if online.prediction is None:  # without instance discrimination
            return weighted_sum(terms, self.term_weights), terms
        prediction, anchor = l2_normalise(online.prediction), self._anchor(target, patches, batch)
        spec = self.loss_spec
        measure = losses.instance_discrimination(spec.kind, spec.temperature, spec.ncs_scale, spec.negatives)
        terms[INSTANCE] = measure(prediction, anchor)
        (projection,) = inner["intermediates"]["projector"]["__call__"]
        rows = {PROJECTION: at_least_float32(projection), AGREEMENT: losses.cosine(prediction, anchor)}
        return weighted_sum(terms, self.term_weights), terms | rows

    def _reconstruction(self, pixels: jax.Array, patches: jax.Array, batch: Batch, denominators: Terms) -> Terms:
        """Return the mean errors over masked patches and over patches of the covered region."""
        pixels, goal, terms = at_least_float32(pixels), self.goal(patches), {}
        for name, mask in ((MASKED, batch[records.MASK]), (REGION, batch[records.REGION_MASK])):
            error = losses.masked_reconstruction(pixels, goal, mask)
            count = denominators[name].astype(error.total.dtype)
            terms[name] = error.total / jnp.where(count > 0, count, 1.0)
        return terms

    def _anchor(self, target: Any, patches: jax.Array, batch: Batch) -> jax.Array:
        """Return unit projections of the target network, `[B, E]`, for `patches` or for its own view."""
        other = batch[records.OTHER_MASK] if self.model.target_view == OTHER_VISIBLE else batch[records.MASK]
        if records.TARGET_IMAGE in batch:
            patches = self.patches(batch[records.TARGET_IMAGE])
        projection = TargetNetwork(self.model).apply({"params": target}, patches, batch[records.MASK], other)
        return l2_normalise(jax.lax.stop_gradient(cast(jax.Array, projection)))


def _is_projector(module: Any, method: str) -> bool:
    """Select the intermediate outputs of the online network to capture."""
    return module.name == "projector" and method == "__call__"
