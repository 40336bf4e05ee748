"""A labelled source of real faces and their self-blended forgeries: training data that needs no forgeries.

    blended:PATH[:SPLIT]           the real faces of a records directory with parsing maps
    blended:samples[:SPLIT], blended:synthetic:COUNT[:SEED]

Example 2 k is face k blended with itself, example 2 k + 1 is the face. Here, the index determines the blend. A training
stream draws a new blend at each position, next to its real face (`data.stream.order`).
"""

import copy
import hashlib
from functools import cached_property

import numpy as np

from fsfm_jax import records
from fsfm_jax.data.photo import decode_checked, encode_png
from fsfm_jax.data.provenance import provenance_of
from fsfm_jax.data.self_blended import SelfBlendSpec, self_blend
from fsfm_jax.data.sources import RecordSource, Source, open_source, path_and_split
from fsfm_jax.data.statistics import read_card

PREFIX = "blended:"
CLASS_NAMES, FAKE, REAL = ("fake", "real"), 0, 1
METHOD = "self_blended"
STORED = (records.IMAGE, records.PARSING_MAP, records.SOURCE, records.VIDEO, records.FRAME)
COMPRESSION = 0  # blends are encoded as PNG and decoded at once, so only time matters
FIXED_SEED = 0  # seed of the blends that their index determines
SUFFIX = " self-blended"  # suffix of the video ids of blends, so that they are scored apart from the real videos


class BlendedSource:
    """A `LabelledSource` with two examples of each face: first its blend, then the face itself."""

    class_names, real, paired = CLASS_NAMES, REAL, True

    def __init__(self, faces: Source, dataset: str, indices: np.ndarray, spec: SelfBlendSpec):
        """Take the examples `indices [n] int64` of `faces`, all real; `dataset` is the name of their data set."""
        self.name, self.dataset, self.pixel_sums = f"{PREFIX}{faces.name}", dataset, faces.pixel_sums
        self._faces, self._indices, self._spec, self.provenance = faces, indices, spec, provenance_of(faces)
        self._drawn_later = False

    def __len__(self) -> int:
        return 2 * len(self._indices)

    def __getitem__(self, index: int) -> dict:
        """Read one example; raise ValueError if it is damaged or has no face to blend."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name}: example {index} of {len(self)}")
        face = self._faces[int(self._indices[index // 2])]
        label = (FAKE, REAL)[index % 2]
        video = self._video(index // 2, face)
        example = {
            records.IMAGE: face[records.IMAGE],
            records.LABEL: label,
            records.VIDEO: video if label == REAL else video + SUFFIX,
            records.FRAME: int(face[records.FRAME]) if records.FRAME in face else -1,
            records.METHOD: "" if label == REAL else METHOD,
            records.SOURCE: face[records.SOURCE],
        }
        if label == FAKE:
            example |= {records.PARSING_MAP: face[records.PARSING_MAP], records.SELF_BLEND: self._spec}
            if not self._drawn_later:
                image = decode_checked(face[records.IMAGE], face[records.SOURCE])
                example[records.IMAGE] = encode_png(blend_example(example, image, index // 2, FIXED_SEED), COMPRESSION)
                del example[records.PARSING_MAP], example[records.SELF_BLEND]
        return example

    def for_training(self) -> "BlendedSource":
        """Return the same examples with the real photo, its map and the spec, so that the stream draws the blends."""
        later = copy.copy(self)
        later._drawn_later = True
        return later

    @property
    def labels(self) -> np.ndarray:
        return np.tile([FAKE, REAL], len(self._indices))

    @property
    def methods(self) -> np.ndarray:
        return np.tile([METHOD, ""], len(self._indices))

    @cached_property
    def videos(self) -> np.ndarray:
        """`[2 n]` text; one pass over the records."""
        faces, stored = self._faces, (records.VIDEO,)
        read = (lambda index: faces.read(index, stored)) if isinstance(faces, RecordSource) else faces.__getitem__
        real = [self._video(row, read(int(index))) for row, index in enumerate(self._indices)]
        return np.array([name for video in real for name in (video + SUFFIX, video)])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the faces, the specification and the first blend, which represents the blending code."""
        words = (self._faces.fingerprint, repr(self._spec), str(len(self._indices)))
        return hashlib.sha256("\n".join(words).encode() + self[0][records.IMAGE]).hexdigest()

    def _video(self, row: int, face: dict) -> str:
        if records.VIDEO in face:
            return str(face[records.VIDEO])
        # Drawn faces depend on the seed and the index only, not on the size of the set.
        kind, _, seed = self._faces.name.rpartition(":")
        return f"seed {seed} face {row}" if kind.startswith("synthetic") else face[records.SOURCE]


def blend_example(example: dict, image: np.ndarray, position: int, seed: int) -> np.ndarray:
    """Make the blend `[H, W, 3] uint8` of a training example whose photo is `image`.

    Raises:
      ValueError: its map has no face; the message names the photo.
    """
    try:
        return self_blend(example[records.SELF_BLEND], image, example[records.PARSING_MAP], position, seed)[0]
    except ValueError as error:
        raise ValueError(f"photo {example[records.SOURCE]}: {error}") from error


def open_blended(text: str) -> BlendedSource:
    """Open `blended:SPEC`; the forms are listed at the top of this file.

    Raises:
      ValueError: the spec is malformed, the records have no parsing maps, or labelled records have no real face.
      FileNotFoundError: the folder does not exist.
    """
    spec = text.strip().removeprefix(PREFIX)
    head = spec.partition(":")[0]
    if head in ("samples", "synthetic"):
        faces = open_source(spec)
        return BlendedSource(faces, head, np.arange(len(faces)), SelfBlendSpec())
    path, split = path_and_split(spec)
    faces = RecordSource(path, split, STORED)
    card = read_card(path)
    indices = np.arange(len(faces))
    if card.class_names:
        labels = np.array([faces.read(index, (records.LABEL,))[records.LABEL] for index in range(len(faces))])
        indices = np.flatnonzero(labels == card.real)
        if not indices.size:
            raise ValueError(
                f"data {text!r}: expected real faces, found none among the classes {', '.join(card.class_names)}; "
                "choose a data set or a split with real faces"
            )
    return BlendedSource(faces, card.name, indices, SelfBlendSpec())
