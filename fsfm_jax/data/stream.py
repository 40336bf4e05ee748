"""Stream endless batches; this is the only file that imports grain.

The order is fixed: shuffle and repeat, note each example's position in the stream, then take this host's
share, decode, batch, mask. Every random choice is a function of (seed, position). So the stream is the same
for any number of hosts and loader workers, and can start at any step without a saved iterator.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import cv2
import grain
import numpy as np

from fsfm_jax import records
from fsfm_jax.data import views
from fsfm_jax.data.labels import is_paired
from fsfm_jax.data.masking import MaskSpec, draw_masks
from fsfm_jax.data.photo import decode_checked
from fsfm_jax.data.sampling import NATURAL, Subset, check_turns, group_examples
from fsfm_jax.data.sources import Source
from fsfm_jax.data.views import ViewSpec

Batch = dict[str, np.ndarray]
# Grain's message for a process that ended; the type is only RuntimeError.
KILLED = "Worker process was terminated unexpectedly"


@dataclasses.dataclass(frozen=True)
class StreamSpec:
    """How examples become batches.

    Attributes:
      seed: seed of every random choice in the stream.
      global_batch: images of one optimizer step, over all hosts.
      patch_size: patch size of the model; the stored class bits are used for 16, the parsing map for others.
      online: view of the online network.
      target: view of the target network; None: both networks share one view.
      mask: how masks are drawn.
      draw_group: images that share a covered region when `mask.region_draw` is "batch".
      other_mask: also draw an independent second mask.
      workers: loader processes; 0 loads in threads of this process.
      threads: loader threads of each process.
      image_size: side S of the model's input images in pixels; photos and maps of another side are resized together.
    """

    seed: int
    global_batch: int
    patch_size: int
    online: ViewSpec
    mask: MaskSpec
    draw_group: int
    other_mask: bool
    workers: int
    threads: int
    image_size: int = records.IMAGE_SIZE
    target: ViewSpec | None = None


def load_example(spec: StreamSpec, example: dict) -> dict:
    """Decode one example: `image [S, S, 3] uint8`, `bits [N] uint16`, `position`; also those of a target view."""
    photo = decode_checked(example[records.IMAGE], example[records.SOURCE])  # every source validates its photos
    shape = spec.seed, spec.image_size, spec.patch_size
    image, bits = views.make_view(spec.online, views.ONLINE, photo, example, *shape)
    loaded = {records.IMAGE: image, records.REGION_BITS: bits, records.POSITION: example[records.POSITION]}
    if spec.target is None:
        return loaded
    image, bits = views.make_view(spec.target, views.TARGET, photo, example, *shape)
    return loaded | {records.TARGET_IMAGE: image, records.TARGET_BITS: bits}


def mask_batch(spec: StreamSpec, batch: Batch) -> Batch:
    """Replace class bits by masks, to make the batch of a train step."""
    bits, positions = batch[records.REGION_BITS], batch[records.POSITION]
    mask, region_mask = draw_masks(spec.mask, bits, positions, spec.seed, spec.draw_group)
    masked = {records.IMAGE: batch[records.IMAGE], records.MASK: mask, records.REGION_MASK: region_mask}
    if spec.target is not None:
        masked[records.TARGET_IMAGE], bits = batch[records.TARGET_IMAGE], batch[records.TARGET_BITS]
    if spec.other_mask:
        # An independent draw for the target's own view: streams of different seeds are independent.
        masked[records.OTHER_MASK] = draw_masks(spec.mask, bits, positions, spec.seed ^ 0x5EED, spec.draw_group)[0]
    return masked


def order(sources: Sequence[tuple[Source, float | None]], seed: int) -> grain.MapDataset:
    """Return the endless example stream: data sets concatenated and shuffled, or mixed by weight, each shuffled.

    Paired sources keep their pairs together: a face and its forgery have positions 2 k and 2 k + 1 within their source.
    If there is a paired source, sources without weights are mixed in proportion to their sizes.
    """
    paired = any(is_paired(source) for source, _ in sources)
    if sources[0][1] is None and paired:
        sources = [(source, float(len(source))) for source, _ in sources]
    if sources[0][1] is None:
        together = grain.MapDataset.concatenate([grain.MapDataset.source(source) for source, _ in sources])
        return together.seed(seed).shuffle().repeat(None)
    each = [_shuffle(source, seed + index) for index, (source, _) in enumerate(sources)]
    return grain.MapDataset.mix(each, [weight for _, weight in sources])


def _shuffle(source: Source, seed: int) -> grain.MapDataset:
    """Return the endless shuffled examples of one source; a paired source is shuffled by pairs."""
    if is_paired(source):
        return grain.MapDataset.mix([_shuffle(half, seed) for half in _classes(source)])
    return grain.MapDataset.source(source).seed(seed).shuffle().repeat(None)


def arrange(sources: Sequence[tuple], spec) -> grain.MapDataset:
    """Return the endless example stream of labelled, weighted sources, as configured by a `LabelledSpec`."""
    if spec.sampling != NATURAL:
        return take_turns(sources, spec)
    return balance([source for source, _ in sources], spec) if spec.balanced else order(sources, spec.seed)


def balance(sources: Sequence, spec) -> grain.MapDataset:
    """Return the endless stream in which the classes of all labelled sources take turns, each shuffled separately.

    With two classes every source must have both. With more, a data set may hold only one kind of forgery.

    Raises:
      ValueError: a source has no real or no forged faces, or the batch is not a multiple of the number of groups.
    """
    groups = []
    for source in sources:
        present = np.unique(source.labels)
        if source.real not in present or len(present) < 2:
            absent = f"of class {source.class_names[source.real]!r}" if source.real not in present else "that is forged"
            raise ValueError(f"{source.name}: no face {absent}; a balanced batch needs real and forged faces of each")
        classes = _classes(source)
        # Classes of a paired source share their order, so a face and its forgery are adjacent.
        first = len(groups)
        groups += [_shuffle(c, spec.seed + (first if is_paired(source) else first + k)) for k, c in enumerate(classes)]
    if spec.global_batch % len(groups):
        raise ValueError(
            f"batch.size: {spec.global_batch} images do not divide among {len(groups)} groups ({len(sources)} data "
            "sets times their classes); use a multiple"
        )
    # Position p belongs to group p modulo the number of groups.
    return grain.MapDataset.mix(groups)


def take_turns(sources: Sequence[tuple], spec) -> grain.MapDataset:
    """Return the endless stream in which the classes of all labelled sources together are equally frequent.

    This is class-balanced sampling (Kang et al., ICLR 2020, section 3, with q = 0), exact in every batch: each of C
    classes has B / C examples, at places that are shuffled for each batch. With `BY_METHOD`, the manipulations of a
    forged class are equally frequent: each occurs once in every M examples of a class with M manipulations. Faces of a
    group are reshuffled after each pass.

    Raises:
      ValueError: `check_turns` refuses the sources.
    """
    check_turns(sources, spec.global_batch)
    classes: dict[int, list[grain.MapDataset]] = {}
    for number, ((label, _), parts) in enumerate(group_examples(sources, spec.sampling).items()):
        together = grain.MapDataset.concatenate([grain.MapDataset.source(part) for part in parts])
        classes.setdefault(label, []).append(together.seed((spec.seed + number) % 2**32).shuffle().repeat(None))
    turns = grain.MapDataset.mix([grain.MapDataset.mix(kinds) for kinds in classes.values()])
    # Otherwise mixing, which pairs by place in the batch, would pair each class with the same other class.
    return grain.experimental.WindowShuffleMapDataset(turns, window_size=spec.global_batch, seed=spec.seed % 2**31)


def _classes(source) -> list[Subset]:
    """Return the examples of each class of a labelled source, in its order."""
    return [Subset(source, np.flatnonzero(source.labels == label)) for label in np.unique(source.labels)]


def _with_position(position: int, example: dict) -> dict:
    return {**example, records.POSITION: position}


def _stack(examples: Sequence[dict]) -> Batch:
    return {key: np.stack([np.asarray(example[key]) for example in examples]) for key in examples[0]}


class LoaderEnded(ValueError):
    """A loader process ended unexpectedly."""


class Batches:
    """The batches of one host from step `start_step` on; close it to end the loader's processes."""

    def __init__(self, examples: grain.MapDataset, load, finish, spec, start_step: int, host: int, hosts: int):
        """Start the loader; `load` decodes a stored example, `finish` completes a batch of stacked examples."""
        if spec.global_batch % hosts:
            raise ValueError(f"data: a batch of {spec.global_batch} does not divide among {hosts} hosts")
        cv2.setNumThreads(0)  # grain's threads and processes are the parallelism
        stream = examples.map_with_index(_with_position)
        stream = stream[start_step * spec.global_batch + host :: hosts]
        stream = stream.map(functools.partial(load, spec))
        stream = stream.batch(spec.global_batch // hosts, batch_fn=_stack).map(functools.partial(finish, spec))
        # The buffer counts batches; grain's default of 500 would be hundreds of gigabytes.
        ready = stream.to_iter_dataset(
            grain.ReadOptions(num_threads=spec.threads, prefetch_buffer_size=2 * max(spec.threads, 1))
        )
        if spec.workers:
            ready = ready.mp_prefetch(grain.MultiprocessingOptions(num_workers=spec.workers))
        self._iterator = iter(ready)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """Return the next batch.

        Raises:
          LoaderEnded: a loader process was killed.
          ValueError, OSError: an example cannot be read.
        """
        try:
            return next(self._iterator)
        except RuntimeError as error:
            if KILLED not in str(error):
                raise
            raise LoaderEnded(
                "data.workers: expected loader processes to live as long as the run, found one that was killed "
                f"({str(error).split('. ')[0]}), probably because memory ran out. Start the same command again, with "
                "fewer data.workers if it happens again"
            ) from error

    def close(self) -> None:
        """End the loader processes, which would otherwise outlive this one."""
        self._iterator.close()


class FirstBatch:
    """The first batch of a stream, repeated without a loader, to measure the speed of the device alone."""

    def __init__(self, batches: Batches):
        """Take a batch of `batches` and close it."""
        self._batch = next(batches)
        batches.close()

    def __next__(self) -> Batch:
        return self._batch

    def close(self) -> None:
        """Do nothing: nothing is open."""


class Stream(Batches):
    """The endless batches of pretraining.

    Each holds `image [b, S, S, 3] uint8`, `mask [b, N] bool`, `region_mask [b, N] bool` (and `other_mask`,
    `target_image`), b = global batch / hosts.
    """

    def __init__(
        self,
        sources: Sequence[tuple[Source, float | None]],
        spec: StreamSpec,
        start_step: int,
        host: int,
        hosts: int,
    ):
        super().__init__(order(sources, spec.seed), load_example, mask_batch, spec, start_step, host, hosts)
