"""Fine-tuning: a classifier of faces, for deepfakes, diffusion forgeries and presentation attacks alike."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from fsfm_jax import losses
from fsfm_jax.models.antispoof import AntiSpoof, AntiSpoofSpec, with_unit_classifier
from fsfm_jax.models.classifier import Classifier, ClassifierSpec
from fsfm_jax.tasks import mixing
from fsfm_jax.tasks.base import Batch, Terms
from fsfm_jax.tasks.normalisation import Statistics, normalise

CROSS_ENTROPY = "cross_entropy"
STREAMS = ("drop_path", "dropout")


@dataclasses.dataclass(frozen=True)
class ClassifyTask:
    """Cross-entropy over batches with `image`, `label`, `erase`, `mix_cutmix`, `mix_ratio` and `mix_box`.

    Attributes:
      model: a plain classifier, or the network of anti-spoofing.
      smoothing: share of a target that is spread over all classes.
      mixed: whether images are mixed in pairs. Pairs are made within a micro-batch.
      erased: whether batches have boxes to erase. Drawing noise for all pixels costs a fifth of a tiny model's step.
    """

    model: ClassifierSpec | AntiSpoofSpec
    classes: int
    smoothing: float
    mixed: bool
    statistics: Statistics
    erased: bool = True

    @property
    def term_weights(self) -> dict[str, float]:
        return {CROSS_ENTROPY: 1.0}

    def init(self, key: jax.Array) -> Any:
        size = self.model.image_size
        return self._network().init(key, jnp.zeros((1, size, size, 3)), False)["params"]

    def target_part(self, params: Any) -> Any:
        """None: there is no target network."""
        return {}

    def counts(self, batch: Batch) -> Terms:
        """Images of the batch."""
        return {CROSS_ENTROPY: jnp.float32(batch["label"].shape[0])}

    def constrained(self, params: Any) -> Any:
        """With unit columns in the classifier of anti-spoofing; else as they are."""
        return with_unit_classifier(params) if isinstance(self.model, AntiSpoofSpec) else params

    def loss(self, params: Any, target: Any, batch: Batch, counts: Terms, key: jax.Array) -> tuple[jax.Array, Terms]:
        """Mean cross-entropy over the images that `counts` counted, against smoothed and mixed targets."""
        images = normalise(batch["image"], self.statistics)
        if self.erased:
            images = mixing.fill_erased(images, batch["erase"], _stream(key, "erase"))
        if self.mixed:
            # One draw for the whole batch: every row holds the same.
            draw = batch["mix_cutmix"][0], batch["mix_ratio"][0], batch["mix_box"][0]
            kept = mixing.kept_share(*draw, *images.shape[1:3])
            images = mixing.mix_images(images, *draw)
            targets = mixing.mix_targets(batch["label"], self.classes, self.smoothing, kept)
        else:
            targets = losses.smoothed_targets(batch["label"], self.classes, self.smoothing)
        random = {name: _stream(key, name) for name in STREAMS}
        logits = self._network().apply({"params": params}, images, True, rngs=random).logits
        value = jnp.sum(losses.soft_cross_entropy(logits, targets)) / counts[CROSS_ENTROPY]
        return value, {CROSS_ENTROPY: value}

    def log_probabilities(self, params: Any, images: jax.Array) -> jax.Array:
        """Logarithm of the softmax in float32, `[B, H, W, 3] uint8 -> [B, C]`."""
        logits = self._network().apply({"params": params}, normalise(images, self.statistics), False).logits
        return jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)

    def _network(self) -> Classifier | AntiSpoof:
        return AntiSpoof(self.model) if isinstance(self.model, AntiSpoofSpec) else Classifier(self.model)


def _stream(key: jax.Array, name: str) -> jax.Array:
    for byte in name.encode():
        key = jax.random.fold_in(key, byte)
    return key
