"""The losses, as pure functions in float32 or higher.

The instance-discrimination losses take the online prediction and the target projection, `[B, E]` with unit rows, and
return the mean over these B images. With gradient accumulation the B images are the micro-batch over all devices; its
other images are the negatives. The classification losses return one value per image, so the caller can leave out
padding images.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

PIXEL_EPSILON = 1e-6
COSINE_EPSILON = 1e-8
FOCAL_FLOOR = 1e-12
UNIFORMITY_SCALE = 2.0  # t of the Gaussian potential (Wang and Isola; GenD)
# Constants of the released real-anchor loss: epsilon in the logarithm, value without any real face, and scale.
ANCHOR_EPSILON = 1e-6
NO_ANCHOR = 1e-6
ANCHOR_BASE_TEMPERATURE = 0.07

class Ratio(NamedTuple):
    """A mean stored as sum and divisor, so that means over several batches stay exact."""

    total: jax.Array
    denominator: jax.Array


def normalise_pixels(patches: jax.Array) -> jax.Array:
    """Normalise each patch by its mean and standard deviation, `[B, N, P] -> [B, N, P]`.

    `(x - mean) / sqrt(var + 1e-6)` over all P values of the patch, with the unbiased variance (divided by
    P - 1) that the released code uses (MAE, section 3; FSFM supplement D.1).
    """
    mean = patches.mean(axis=-1, keepdims=True)
    variance = patches.var(axis=-1, keepdims=True, ddof=1)
    return (patches - mean) / jnp.sqrt(variance + PIXEL_EPSILON)


def masked_reconstruction(pixels: jax.Array, goal: jax.Array, mask: jax.Array) -> Ratio:
    """Return the squared error on the patches in `mask`: the sum of their means over pixels, and their number.

    `L = sum(e m) / sum(m)` with `e = mean_P (pixels - goal)**2` (FSFM equations for L_m and L_fr).
    pixels, goal: `[B, N, P]`; mask: `[B, N] bool`.
    """
    error = jnp.mean(jnp.square(pixels - goal), axis=-1)
    wide = mask.astype(error.dtype)
    return Ratio(jnp.sum(error * wide), jnp.sum(wide))


def cosine(x: jax.Array, y: jax.Array) -> jax.Array:
    """Return the cosine of corresponding rows, `[B, E], [B, E] -> [B]`; lengths below 1e-8 count as 1e-8."""
    lengths = jnp.linalg.norm(x, axis=-1), jnp.linalg.norm(y, axis=-1)
    return jnp.sum(x * y, axis=-1) / (jnp.maximum(lengths[0], COSINE_EPSILON) * jnp.maximum(lengths[1], COSINE_EPSILON))


def negative_cosine(online: jax.Array, target: jax.Array, scale: float) -> jax.Array:
    """Return `-scale * mean cos(online, target)`, the similarity loss of FSFM (NCS in its ablation)."""
    return -scale * jnp.mean(cosine(online, target))


def byol(online: jax.Array, target: jax.Array) -> jax.Array:
    """Return `mean(2 - 2 online . target)` (BYOL, equation 2)."""
    return jnp.mean(2 - 2 * jnp.sum(online * target, axis=-1))


def infonce(online: jax.Array, target: jax.Array, temperature: float, negatives: bool) -> jax.Array:
    """Return `2 T` times the cross-entropy of `online @ target.T / T` against the diagonal (MoCo v3, algorithm 1).

    Without `negatives` the other logits are set to zero as in the released code; they are not removed.
    """
    logits = online @ target.T / temperature
    if not negatives:
        logits = logits * jnp.eye(len(logits), dtype=logits.dtype)
    picked = jnp.diagonal(jax.nn.log_softmax(logits, axis=-1))
    return -2 * temperature * jnp.mean(picked)


def moco_v3(online: jax.Array, target: jax.Array, temperature: float, negatives: bool) -> jax.Array:
    """Return InfoNCE on features that are scaled to unit length a second time, as in the released code."""
    online, target = (x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12) for x in (online, target))
    return infonce(online, target, temperature, negatives)


def simclr(online: jax.Array, target: jax.Array, temperature: float, negatives: bool) -> jax.Array:
    """Return NT-Xent over the 2 B features of both networks (SimCLR, equation 1).

    It is the mean over the anchors a of `-(s[a, p(a)] - log sum_{k != a} exp s[a, k])`, `s = z z^T / T`. Without
    `negatives` the row's maximum replaces the logarithm of the sum, as in the released code.
    """
    features = jnp.concatenate([online, target])
    anchors = len(features)
    similarity = features @ features.T / temperature
    partner = jnp.roll(jnp.arange(anchors), anchors // 2)
    positive = similarity[jnp.arange(anchors), partner]
    if not negatives:
        return -jnp.mean(positive - jax.lax.stop_gradient(similarity.max(axis=1)))
    others = jnp.where(jnp.eye(anchors, dtype=bool), -jnp.inf, similarity)
    return -jnp.mean(positive - jax.nn.logsumexp(others, axis=1))


class LossNumbers(NamedTuple):
    """The fields of a configuration that an instance-discrimination loss may use.

    temperature, ncs_scale: `loss.temperature`, `loss.ncs_scale`.
    negatives: `loss.negatives`; False: positive pairs only.
    """

    temperature: float
    ncs_scale: float
    negatives: bool


class InstanceLoss(NamedTuple):
    """A row of `KINDS`.

    loss: function from online prediction and target projection, `[B, E]` with unit rows, and `LossNumbers` to a scalar.
    about: one sentence for the documentation.
    compares_images: whether the loss uses the other images of the micro-batch as negatives. Then gradient accumulation
      changes the loss, and the images of all devices are gathered.
    """

    loss: Callable[[jax.Array, jax.Array, LossNumbers], jax.Array]
    about: str
    compares_images: bool


KINDS = {
    "ncs": InstanceLoss(
        lambda online, target, numbers: negative_cosine(online, target, numbers.ncs_scale),
        "Negative cosine similarity (FSFM, SimSiam).", compares_images=False,
    ),
    "byol": InstanceLoss(
        lambda online, target, numbers: byol(online, target), "Squared distance of unit rows (BYOL).",
        compares_images=False,
    ),
    "infonce": InstanceLoss(
        lambda online, target, numbers: infonce(online, target, numbers.temperature, numbers.negatives),
        "Cross-entropy against the other images' targets (MoCo v3).", compares_images=True,
    ),
    "mocov3": InstanceLoss(
        lambda online, target, numbers: moco_v3(online, target, numbers.temperature, numbers.negatives),
        "InfoNCE as the released code has it, on features scaled again.", compares_images=True,
    ),
    "simclr": InstanceLoss(
        lambda online, target, numbers: simclr(online, target, numbers.temperature, numbers.negatives),
        "NT-Xent over the features of both networks (SimCLR).", compares_images=True,
    ),
}  # fmt: skip


def instance_discrimination(
    kind: str, temperature: float, ncs_scale: float, negatives: bool
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Compute the loss named `kind`, a key of `KINDS`.

    Raises:
      ValueError: if `kind` is not a key of `KINDS`.
    """
    if kind not in KINDS:
        raise ValueError(f"loss.kind: expected one of {', '.join(KINDS)}; found {kind!r}")
    row, numbers = KINDS[kind], LossNumbers(temperature, ncs_scale, negatives)
    return lambda online, target: row.loss(online, target, numbers)


def real_anchor(features: jax.Array, labels: jax.Array, real: int, temperature: float) -> jax.Array:
    """Return the real-anchor contrastive loss of FS-Adapter for each image, `[B, E], [B] int -> [B]`.

    It pulls real faces together and pushes forged faces away from them. With unit rows z, `s = z z^T / T` and the
    other real faces P(i) of a real face i:

        l(i) = -(T / 0.07) mean_{j in P(i)} (s[i, j] - m(i) - log(sum_{k != i} exp(s[i, k] - m(i)) + 1e-6))

    where m(i) is the row's maximum (1 / T, of i with itself) without gradient. The 1e-6 is not negligible: a face at a
    right angle adds 6e-7 to the sum (T = 0.07). The loss of a forged face, or of a single real face, is 0. The loss of
    a batch is the mean over all images, forged ones included (FS-VFM, FS-Adapter; details from the released code).
    Without any real face each value is 1e-6 without gradient, as in the released code.

    Args:
      features: `[B, E]` with unit rows.
      labels: `[B]` class labels.
      real: label of real (bona fide) faces.
      temperature: T.
    """
    return _draw_together(features, labels, real, temperature, None)


def real_real(features: jax.Array, labels: jax.Array, real: int, temperature: float) -> jax.Array:
    """Return `real_anchor` with only real faces in its sum, `[B, E], [B] int -> [B]`; an ablation of FS-Adapter.

    Real faces are pulled together. Forged faces are ignored, so only other real faces are contrasted.
    """
    return _draw_together(features, labels, real, temperature, labels == real)


def real_fake(features: jax.Array, labels: jax.Array, real: int, temperature: float) -> jax.Array:
    """Push real and forged faces apart without pulling any together, `[B, E], [B] int -> [B]`.

    An ablation of FS-Adapter: the mean of `softplus(z_i . z_k / T)` over the pairs of a real face i and a forged face
    k. The value of a real face is B times its share of this mean, so the mean over the batch equals it. Without any
    pair all values are 0.
    """
    anchors = labels == real
    pairs = anchors[:, None] & ~anchors[None]
    apart = jnp.where(pairs, jax.nn.softplus(features @ features.T / temperature), 0)
    return len(labels) * jnp.sum(apart, axis=1) / jnp.maximum(jnp.sum(pairs), 1)


def _draw_together(
    features: jax.Array, labels: jax.Array, real: int, temperature: float, counted: jax.Array | None
) -> jax.Array:
    """Return `real_anchor` with only the faces `counted [B] bool` in its sum; None: all faces."""
    anchors = labels == real
    similarity = features @ features.T / temperature
    shifted = similarity - jax.lax.stop_gradient(similarity.max(axis=1, keepdims=True))
    others = ~jnp.eye(len(labels), dtype=bool)
    summed = others if counted is None else others & counted[None]
    sums = jnp.sum(jnp.where(summed, jnp.exp(shifted), 0), axis=1, keepdims=True)
    likelihood = shifted - jnp.log(sums + ANCHOR_EPSILON)
    pairs = others & anchors[:, None] & anchors[None]
    count = jnp.sum(pairs, axis=1)
    mean = jnp.sum(jnp.where(pairs, likelihood, 0), axis=1) / jnp.maximum(count, 1)
    value = -(temperature / ANCHOR_BASE_TEMPERATURE) * mean
    return jnp.where(anchors.any(), value, NO_ANCHOR)


# The contrastive losses of FS-Adapter by the value of `loss.contrast_kind`. Each is a function from features with unit
# rows, labels, the label of real faces and the temperature to the loss of each image.
CONTRASTS: dict[str, Callable[[jax.Array, jax.Array, int, float], jax.Array]] = {
    "real_anchor": real_anchor, "real_real": real_real, "real_fake": real_fake,
}  # fmt: skip


def soft_cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Return `-sum_c targets log softmax(logits)` for each image, `[B, C], [B, C] -> [B]`, in float32 or higher.

    The rows of `targets` are probabilities: one-hot, smoothed, or mixed with another image's.
    """
    wide = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    return -jnp.sum(targets.astype(wide.dtype) * jax.nn.log_softmax(wide, axis=-1), axis=-1)


def smooth_labels(labels: jax.Array, classes: int, smoothing: float) -> jax.Array:
    """Return `(1 - smoothing) onehot + smoothing / classes`, `[B] int -> [B, C] float32` (Inception v3, section 7)."""
    return (1 - smoothing) * jax.nn.one_hot(labels, classes, dtype=jnp.float32) + smoothing / classes


def cross_entropy(logits: jax.Array, labels: jax.Array, smoothing: float = 0.0) -> jax.Array:
    """Return the cross-entropy of each image with optional label smoothing, `[B, C], [B] int -> [B]`."""
    return soft_cross_entropy(logits, smooth_labels(labels, logits.shape[-1], smoothing))


def focal(logits: jax.Array, labels: jax.Array, gamma: float, weights: jax.Array | None = None) -> jax.Array:
    """Return the focal loss of each image, `[B, C], [B] int -> [B]`, in float32 or higher.

    It is `-a (1 - p)**gamma log p`, where p is the softmax probability of the image's class (Lin et al., ICCV 2017,
    equation 5). With `gamma` 0 it is the cross-entropy. `a` is the class's entry of `weights [C]`; None: 1 for all
    classes (equation 4).
    """
    wide = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    picked = jnp.take_along_axis(jax.nn.log_softmax(wide, axis=-1), labels[:, None], axis=-1)[:, 0]
    value = -picked
    if gamma:
        # expm1 computes 1 - p without cancellation. The floor keeps the gradient finite at p = 1 for gamma below 1.
        value = jnp.maximum(-jnp.expm1(picked), FOCAL_FLOOR) ** gamma * value
    return value if weights is None else weights[labels] * value


def uniformity(features: jax.Array) -> jax.Array:
    """Return the uniformity loss of unit rows, `[B, E] -> []`: `log mean exp(-2 |z_i - z_j|^2)` over pairs i < j.

    (Wang and Isola, ICML 2020, section 4.1.2; GenD, Yermakov et al., WACV 2026.) It is lower for rows that are spread
    more evenly over the sphere, and at least -8. It is 0 if all rows are equal, and for a single row.
    """
    if len(features) < 2:
        return jnp.zeros((), features.dtype)
    pairs = jnp.triu(jnp.ones((len(features), len(features)), bool), 1)
    logits = jnp.where(pairs, -UNIFORMITY_SCALE * _square_distances(features), -jnp.inf)
    return jax.nn.logsumexp(logits) - jnp.log(len(features) * (len(features) - 1) / 2)


def alignment(features: jax.Array, labels: jax.Array) -> jax.Array:
    """Return the alignment loss: the mean `|z_i - z_j|^2` over pairs i < j of one class, `[B, E], [B] int -> []`.

    In Wang and Isola (ICML 2020, section 4.1.1) a pair is two views of an image. Here it is two images of a class, as
    in GenD (Yermakov et al., WACV 2026). Without any pair the loss is 0.
    """
    pairs = jnp.triu(labels[:, None] == labels[None], 1)
    return jnp.sum(jnp.where(pairs, _square_distances(features), 0)) / jnp.maximum(jnp.sum(pairs), 1)


def _square_distances(features: jax.Array) -> jax.Array:
    """Return the squared distances between rows, `[B, E] -> [B, B]`."""
    # Distances do not depend on the origin. Subtracting the mean avoids cancellation if rows are nearly equal.
    apart = features - jax.lax.stop_gradient(jnp.mean(features, axis=0, keepdims=True))
    lengths = jnp.sum(apart * apart, axis=1)
    return lengths[:, None] + lengths[None] - 2 * apart @ apart.T
