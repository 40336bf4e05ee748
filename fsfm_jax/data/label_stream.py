"""Stream batches of labelled faces: endless and augmented for training, once and in order for evaluation.

As in pretraining, every random choice is a function of (seed, position), so the batches of a step are the same for
any number of hosts and loader workers.
"""

import collections
import dataclasses
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import cv2
import numpy as np

from fsfm_jax import records
from fsfm_jax.data.augment import AugmentSpec, augment
from fsfm_jax.data.blended_source import blend_example
from fsfm_jax.data.counter_random import integers
from fsfm_jax.data.labels import LabelledSource, for_training
from fsfm_jax.data.mixture import MixSpec, draw_mixture
from fsfm_jax.data.photo import READ_FLAGS
from fsfm_jax.data.resizing import for_evaluation
from fsfm_jax.data.sampling import NATURAL
from fsfm_jax.data.stream import Batch, Batches, arrange

# Keys of an evaluation batch besides the image.
VALID, INDEX, DETAILS = "valid", "index", "details"
# Details kept of an example besides its photo, in this order.
DETAIL_COLUMNS = (records.LABEL, records.VIDEO, records.FRAME, records.METHOD, records.SOURCE)


@dataclasses.dataclass(frozen=True)
class LabelledSpec:
    """How labelled examples become training batches.

    Attributes:
      seed: seed of every random choice in the stream.
      global_batch: images of one optimizer step, over all hosts.
      augment: augmentation of each image.
      mix: how images are mixed in pairs; None: no mixing.
      balanced: whether every batch holds equally many real and fake faces, and equally many of each data set.
      sampling: one of `sampling.SAMPLINGS`.
      sizes: image sides, one drawn for each step, replacing that of `augment`; empty: use that of `augment`.
      workers: loader processes; 0 loads in threads of this process.
      threads: loader threads of each process.
    """

    seed: int
    global_batch: int
    augment: AugmentSpec
    mix: MixSpec | None
    balanced: bool
    workers: int
    threads: int
    sampling: str = NATURAL
    sizes: tuple[int, ...] = ()

    def size_of(self, step: int) -> int:
        """Return the image side of optimizer step `step`, 0 = first, uniform over `sizes`."""
        if not self.sizes:
            return self.augment.size
        return self.sizes[int(integers(self.seed, "image size", np.array([step]), len(self.sizes))[0])]


class LabelledStream(Batches):
    """The endless batches of fine-tuning, b = global batch / hosts rows each.

    `image [b, S, S, 3] uint8`, `label [b] int32`, `erase [b, 4] int32`, `mix_cutmix [b] bool`, `mix_ratio [b]
    float32`, `mix_box [b, 4] int32`.
    """

    def __init__(
        self,
        sources: Sequence[tuple[LabelledSource, float | None]],
        spec: LabelledSpec,
        start_step: int,
        host: int,
        hosts: int,
    ):
        examples = arrange([(for_training(source), weight) for source, weight in sources], spec)
        super().__init__(examples, load_labelled, mix_batch, spec, start_step, host, hosts)


def decode(example: dict) -> np.ndarray:
    """Decode the photo of an example, `[H, W, 3] uint8`, RGB; raise ValueError if that fails."""
    image = cv2.imdecode(np.frombuffer(example[records.IMAGE], np.uint8), READ_FLAGS)
    if image is None:
        raise ValueError(f"photo {example[records.SOURCE]}: damaged, cannot be decoded; make the data set again")
    return image


def load_labelled(spec: LabelledSpec, example: dict) -> dict:
    """Decode one example, blend it if it has a spec for that, and augment it."""
    position = example[records.POSITION]
    image = decode(example)
    if records.SELF_BLEND in example:
        image = blend_example(example, image, position, spec.seed)
    size = spec.size_of(position // spec.global_batch)
    chosen = spec.augment if size == spec.augment.size else dataclasses.replace(spec.augment, size=size)
    image, erased = augment(chosen, image, position, spec.seed)
    label = np.int32(example[records.LABEL])
    return {records.IMAGE: image, records.LABEL: label, records.ERASE: erased, records.POSITION: position}


def mix_batch(spec: LabelledSpec, batch: Batch) -> Batch:
    """Add the draw that mixes this batch."""
    step = int(batch.pop(records.POSITION)[0]) // spec.global_batch
    rows = len(batch[records.LABEL])
    draw = draw_mixture(spec.mix or MixSpec(mixup=0.0, cutmix=0.0), spec.size_of(step), step, spec.seed)
    return batch | {
        records.MIX_CUTMIX: np.full(rows, draw.use_cutmix),
        records.MIX_RATIO: np.full(rows, draw.ratio, np.float32),
        records.MIX_BOX: np.tile(draw.box.astype(np.int32), (rows, 1)),
    }


def evaluation_batches(
    source: LabelledSource, transform: str, size: int, global_batch: int, threads: int, host: int, hosts: int
) -> Iterator[Batch]:
    """Yield every example once, in order; the last batch is padded with `valid` False, so all have one size.

    Each batch has `image [b, size, size, 3] uint8`, `index [b] int32` and `valid [b] bool`, b = global batch /
    hosts, and `details`, the `DETAIL_COLUMNS` of each valid row; host h has the rows h, h + hosts, ... of the global
    batch. Photos are decoded by `threads`, a batch ahead.
    """
    if global_batch % hosts:
        raise ValueError(f"evaluation: a batch of {global_batch} does not divide among {hosts} hosts")
    cv2.setNumThreads(0)  # our threads are the parallelism

    def load(index: int) -> tuple[np.ndarray, tuple]:
        example = source[index]
        return for_evaluation(transform, decode(example), size), details_of(example)

    def begin(start: int) -> tuple[np.ndarray, list[Future]]:
        indices = np.arange(start + host, start + global_batch, hosts)
        return indices, [pool.submit(load, int(index)) for index in indices if index < len(source)]

    with ThreadPoolExecutor(threads) as pool:
        starts = range(0, len(source), global_batch)
        waiting = collections.deque(begin(start) for start in starts[:2])
        for start in [*starts[2:], None, None][: len(starts)]:
            indices, loading = waiting.popleft()
            images = np.zeros((len(indices), size, size, 3), np.uint8)
            details = []
            for row, loaded in enumerate(loading):
                images[row], found = loaded.result()
                details.append(found)
            if start is not None:
                waiting.append(begin(start))
            batch = {records.IMAGE: images, INDEX: indices.astype(np.int32), VALID: indices < len(source)}
            yield batch | {DETAILS: details}


def details_of(example: dict) -> tuple:
    """Return the `DETAIL_COLUMNS` of an example."""
    return tuple(example[name] for name in DETAIL_COLUMNS)
