"""Encode a face as a serialised TFDS example, without TensorFlow."""

import math
from dataclasses import dataclass

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.example_serializer import ExampleSerializer

from fsfm_jax import records, regions
from fsfm_jax.text import utf8

NOT_KNOWN = -1
OF_MAPS = (records.PARSING_MAP, records.REGION_BITS)  # features of data sets with parsing maps


@dataclass(frozen=True)
class Face:
    """A face to store; see `records` for the meaning of the fields."""

    image: bytes  # a complete PNG or JPEG with three channels of 8 bits
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
    """Return the features of a record.

    Args:
      image_encoding: as in the card: "png", "jpeg" or "png+jpeg".
      image_size: height and width of all crops; None if each has its own.
    """
    # In TFDS, no encoding means that it may differ between records.
    encoding = None if image_encoding == "png+jpeg" else image_encoding
    left_out = () if parsing_maps else OF_MAPS
    made = {}
    for name, feature in records.FEATURES.items():
        if name in left_out:
            continue
        if feature.form == records.PICTURE:
            made[name] = tfds.features.Image(shape=(image_size, image_size, 3), encoding_format=encoding)
        elif feature.form == records.TEXT:
            made[name] = tfds.features.Text()
        elif feature.form == records.CLASS:
            numbers = tfds.features.Scalar(np.int64)
            made[name] = tfds.features.ClassLabel(names=list(class_names)) if class_names else numbers
        elif feature.form == records.COMPRESSED:
            made[name] = tfds.features.Tensor(shape=feature.shape, dtype=np.uint8, encoding="zlib")
        elif feature.shape:
            made[name] = tfds.features.Tensor(shape=feature.shape, dtype=feature.form)
        else:
            made[name] = tfds.features.Scalar(feature.form)
    return tfds.features.FeaturesDict(made)


class ExampleEncoder:
    """An encoder from faces to bytes; the same face gives the same bytes."""

    def __init__(self, image_size: int | None, parsing_maps: bool, class_names: tuple[str, ...]):
        self._stored = {
            name: feature for name, feature in records.FEATURES.items() if parsing_maps or name not in OF_MAPS
        }
        self._features = features("png+jpeg", image_size, parsing_maps, class_names)
        self._serializer = ExampleSerializer(self._features.get_serialized_info())

    def __call__(self, face: Face) -> bytes:
        """Return the serialised `tf.train.Example` of a face."""
        example = {name: self._value(name, feature, face) for name, feature in self._stored.items()}
        encoded = self._serializer.get_tf_example(self._features.encode_example(example))
        # The order of a protobuf map is unspecified unless requested.
        return encoded.SerializeToString(deterministic=True)

    def _value(self, name: str, feature: records.Feature, face: Face) -> object:
        if name == records.REGION_BITS:
            return regions.patch_bits(face.parsing_map, records.BITS_PATCH_SIZE)
        value = getattr(face, name)
        if feature.form == records.TEXT:
            return utf8(value)
        return np.array(value, feature.form) if feature.shape and feature.form != records.COMPRESSED else value
