"""One face as it is stored: a serialised TFDS example, made without TensorFlow."""

import math
from dataclasses import dataclass

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.example_serializer import ExampleSerializer

from fsfm_jax import records, regions
from fsfm_jax.text import utf8

NOT_KNOWN = -1
PATCHES = (records.IMAGE_SIZE // records.BITS_PATCH_SIZE) ** 2


@dataclass(frozen=True)
class Face:
    """A face that is to be stored; see `records` for the meaning of the fields."""

    image: bytes  # a whole PNG or JPEG with three channels of 8 bits
    parsing_map: np.ndarray | None  # [224, 224] uint8, or None in a data set without maps
    source: str
    video: str
    frame: int
    label: int
    method: str
    box: tuple[int, int, int, int] = (NOT_KNOWN,) * 4
    crop: tuple[int, int, int] = (NOT_KNOWN,) * 3
    score: float = math.nan


def features(
    image_encoding: str, image_size: int | None, parsing_maps: bool, class_names: tuple[str, ...]
) -> tfds.features.FeaturesDict:
    """The features of a record.

    Args:
      image_encoding: as in the card: "png", "jpeg" or "png+jpeg".
      image_size: height and width of all crops; None if each has its own.
    """
    # To TFDS no encoding means that it may differ from record to record.
    encoding = None if image_encoding == "png+jpeg" else image_encoding
    map_size = records.IMAGE_SIZE
    parsed = {
        records.PARSING_MAP: tfds.features.Tensor(shape=(map_size, map_size), dtype=np.uint8, encoding="zlib"),
        records.REGION_BITS: tfds.features.Tensor(shape=(PATCHES,), dtype=np.uint16),
    }
    return tfds.features.FeaturesDict(
        {
            records.IMAGE: tfds.features.Image(shape=(image_size, image_size, 3), encoding_format=encoding),
            **(parsed if parsing_maps else {}),
            records.SOURCE: tfds.features.Text(),
            records.VIDEO: tfds.features.Text(),
            records.FRAME: tfds.features.Scalar(np.int32),
            records.LABEL: tfds.features.ClassLabel(names=list(class_names))
            if class_names
            else tfds.features.Scalar(np.int64),
            records.METHOD: tfds.features.Text(),
            records.BOX: tfds.features.Tensor(shape=(4,), dtype=np.int32),
            records.CROP: tfds.features.Tensor(shape=(3,), dtype=np.int32),
            records.SCORE: tfds.features.Scalar(np.float32),
        }
    )


class ExampleEncoder:
    """Turns faces into bytes; the same face gives the same bytes."""

    def __init__(self, image_size: int | None, parsing_maps: bool, class_names: tuple[str, ...]):
        self._parsing_maps = parsing_maps
        self._features = features("png+jpeg", image_size, parsing_maps, class_names)
        self._serializer = ExampleSerializer(self._features.get_serialized_info())

    def __call__(self, face: Face) -> bytes:
        """The serialised `tf.train.Example` of a face."""
        example = {
            records.IMAGE: face.image,
            records.SOURCE: utf8(face.source),
            records.VIDEO: utf8(face.video),
            records.FRAME: face.frame,
            records.LABEL: face.label,
            records.METHOD: utf8(face.method),
            records.BOX: np.array(face.box, np.int32),
            records.CROP: np.array(face.crop, np.int32),
            records.SCORE: face.score,
        }
        if self._parsing_maps:
            example[records.PARSING_MAP] = face.parsing_map
            example[records.REGION_BITS] = regions.patch_bits(face.parsing_map, records.BITS_PATCH_SIZE)
        encoded = self._serializer.get_tf_example(self._features.encode_example(example))
        # The order of a protobuf map is left open unless asked for.
        return encoded.SerializeToString(deterministic=True)
