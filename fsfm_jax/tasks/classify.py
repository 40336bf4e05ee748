"""The fine-tuning task: classify faces, for deepfakes, diffusion forgeries and presentation attacks."""

import dataclasses
from typing import Any, cast

import jax
import jax.numpy as jnp

from fsfm_jax import losses, records
from fsfm_jax.models.antispoof import AntiSpoof, AntiSpoofed, AntiSpoofSpec, with_unit_classifier
from fsfm_jax.models.classifier import Classifier, ClassifierOutput, ClassifierSpec, PooledEncoder
from fsfm_jax.tasks import mixing
from fsfm_jax.tasks.base import Batch, Terms, weighted_sum
from fsfm_jax.tasks.normalisation import Statistics, normalise

CROSS_ENTROPY, FOCAL = "cross_entropy", "focal"
UNIFORMITY, ALIGNMENT = "uniformity", "alignment"
OPEN_UNITS = "open_units"  # share of active units in FS-Adapter's bottleneck, for monitoring
STREAMS = ("drop_path", "dropout")
FEATURES = "features"  # key of pooled features in a batch without images


@dataclasses.dataclass(frozen=True)
class ContrastSpec:
    """The contrastive loss added to the cross-entropy.

    Attributes:
      weight: its factor in the loss.
      temperature: divisor of its similarities.
      real: the label of real (bona fide) faces.
      kind: a key of `losses.CONTRASTS`, and the name of its term.
    """

    weight: float
    temperature: float
    real: int
    kind: str = "real_anchor"


@dataclasses.dataclass(frozen=True)
class FocalSpec:
    """The focal loss, which replaces cross-entropy; its term is `focal`.

    Attributes:
      gamma: exponent that reduces the loss of well-classified images; 0: as in cross-entropy.
      weights: weight of each class, by label; None: 1 for all.
    """

    gamma: float
    weights: tuple[float, ...] | None


@dataclasses.dataclass(frozen=True)
class SphereSpec:
    """Weights of two losses on features of unit length; 0: off. Each field is also the name of its term."""

    uniformity: float
    alignment: float


@dataclasses.dataclass(frozen=True)
class ClassifyTask:
    """A task that trains with cross-entropy on `image`, `label`, `erase`, `mix_cutmix`, `mix_ratio` and `mix_box`.

    A batch may have only `features [B, D]`, pooled and normalised, and `label`. Then the encoder is not run.

    Attributes:
      model: a plain classifier, or the network of anti-spoofing.
      smoothing: share of a target that is spread over all classes, 0..1.
      mixed: whether images are mixed in pairs, within a micro-batch.
      erased: whether batches have boxes to erase. Drawing noise for all pixels costs a fifth of a tiny model's step.
      contrast: the contrastive loss of a model with an adapter, over pairs within a micro-batch; None: off.
        It uses the features of mixed images with the labels of the first of each pair, as in the released code.
      focal: the focal loss instead of cross-entropy, on labels that are neither smoothed nor mixed; None: off.
      sphere: losses on the features of a model with `unit_features`, over pairs within a micro-batch; None: off.
    """

    model: ClassifierSpec | AntiSpoofSpec
    classes: int
    smoothing: float
    mixed: bool
    statistics: Statistics
    erased: bool = True
    contrast: ContrastSpec | None = None
    focal: FocalSpec | None = None
    sphere: SphereSpec | None = None

    @property
    def term_weights(self) -> dict[str, float]:
        own = {FOCAL if self.focal else CROSS_ENTROPY: 1.0}
        if self.sphere is not None:
            both = {UNIFORMITY: self.sphere.uniformity, ALIGNMENT: self.sphere.alignment}
            own |= {name: weight for name, weight in both.items() if weight}
        return own | ({self.contrast.kind: self.contrast.weight} if self.contrast else {})

    @property
    def per_image(self) -> bool:
        """False: images are mixed and contrasted with each other, and random draws must not depend on the devices."""
        return False

    def init(self, key: jax.Array) -> Any:
        size = self.model.image_size
        return self._network().init(key, jnp.zeros((1, size, size, 3)), False)["params"]

    def target_part(self, params: Any) -> Any:
        """Return an empty dict: there is no target network."""
        return {}

    def denominators(self, batch: Batch) -> Terms:
        """Return the number of images in the batch."""
        return {name: jnp.float32(batch[records.LABEL].shape[0]) for name in self.term_weights}

    def constrain(self, params: Any) -> Any:
        """Normalise the columns of an anti-spoofing classifier; return other parameters unchanged."""
        return with_unit_classifier(params) if isinstance(self.model, AntiSpoofSpec) else params

    def loss(
        self, params: Any, target: Any, batch: Batch, denominators: Terms, key: jax.Array
    ) -> tuple[jax.Array, Terms]:
        """Return the mean cross-entropy with smoothed and mixed targets, plus the weighted mean contrastive loss.

        With `focal`, that loss replaces cross-entropy. All means are over the images counted by `denominators`. With
        an adapter, the share of its active units is a term without weight.
        """
        if FEATURES in batch:
            inputs, features = None, batch[FEATURES]
            targets = losses.smooth_labels(batch[records.LABEL], self.classes, self.smoothing)
        else:
            (inputs, targets), features = self._mix(batch, key), None
        random = {name: _stream(key, name) for name in STREAMS}
        found = self._apply(params, inputs, True, features, random)
        terms = self.terms(params, found, batch, targets, denominators)
        total = weighted_sum(terms, self.term_weights)
        return total, terms | ({} if found.open_units is None else {OPEN_UNITS: found.open_units})

    def terms(
        self, params: Any, found: ClassifierOutput | AntiSpoofed, batch: Batch, targets: jax.Array, denominators: Terms
    ) -> Terms:
        """Return the terms named in `term_weights`, from the network's output `found` and `targets [B, C]`."""
        if self.focal is None:
            name, of_images = CROSS_ENTROPY, losses.soft_cross_entropy(found.logits, targets)
        else:
            weights = None if self.focal.weights is None else jnp.asarray(self.focal.weights, jnp.float32)
            name, of_images = FOCAL, losses.focal(found.logits, batch[records.LABEL], self.focal.gamma, weights)
        terms = {name: jnp.sum(of_images) / denominators[name]}
        if self.sphere is not None:
            labels, features = batch[records.LABEL], found.features
            both = {UNIFORMITY: losses.uniformity(features), ALIGNMENT: losses.alignment(features, labels)}
            # Each is a mean over the pairs of a micro-batch; a step averages its micro-batches.
            terms |= {name: len(labels) / denominators[name] * both[name] for name in both if name in denominators}
        if self.contrast is not None:
            assert found.contrast is not None, "a contrast needs the projector of an adapter"
            spec = self.contrast
            of_images = losses.CONTRASTS[spec.kind](found.contrast, batch[records.LABEL], spec.real, spec.temperature)
            terms[spec.kind] = jnp.sum(of_images) / denominators[spec.kind]
        return terms

    def _mix(self, batch: Batch, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return normalised images, erased and mixed, and their targets."""
        images = normalise(batch[records.IMAGE], self.statistics)
        if self.erased:
            images = mixing.fill_erased(images, batch[records.ERASE], _stream(key, "erase"))
        if not self.mixed:
            return images, losses.smooth_labels(batch[records.LABEL], self.classes, self.smoothing)
        # One draw for the whole batch: all rows are equal.
        draw = batch[records.MIX_CUTMIX][0], batch[records.MIX_RATIO][0], batch[records.MIX_BOX][0]
        kept = mixing.kept_share(*draw, *images.shape[1:3])
        targets = mixing.mix_targets(batch[records.LABEL], self.classes, self.smoothing, kept)
        return mixing.mix_images(images, *draw), targets

    def log_probabilities(self, params: Any, images: jax.Array) -> jax.Array:
        """Return the log-softmax in float32, `[B, H, W, 3] uint8 -> [B, C]`."""
        return _log_softmax(self._apply(params, normalise(images, self.statistics), False))

    def pool_images(self, params: Any, images: jax.Array) -> jax.Array:
        """Return pooled and normalised encoder features of images, `[B, H, W, 3] uint8 -> [B, D]` in float32."""
        parts = {name: params[name] for name in ("encoder", "fc_norm") if name in params}
        pooled = PooledEncoder(self.model).apply({"params": parts}, normalise(images, self.statistics), False)
        return cast(jax.Array, pooled)

    def log_probabilities_of_features(self, params: Any, features: jax.Array) -> jax.Array:
        """Return `log_probabilities` of features from `pool_images`, `[B, D] -> [B, C]`."""
        return _log_softmax(self._apply(params, None, False, features))

    def _apply(
        self, params: Any, inputs: jax.Array | None, train: bool, features: jax.Array | None = None, random: Any = None
    ) -> ClassifierOutput | AntiSpoofed:
        found = self._network().apply({"params": params}, inputs, train, features, rngs=random)
        return cast(ClassifierOutput | AntiSpoofed, found)

    def _network(self) -> Classifier | AntiSpoof:
        return AntiSpoof(self.model) if isinstance(self.model, AntiSpoofSpec) else Classifier(self.model)


def _log_softmax(found: ClassifierOutput | AntiSpoofed) -> jax.Array:
    return jax.nn.log_softmax(found.logits.astype(jnp.float32), axis=-1)


def _stream(key: jax.Array, name: str) -> jax.Array:
    for byte in name.encode():
        key = jax.random.fold_in(key, byte)
    return key
