"""Parse stored examples, described by `records.FEATURES`, without TensorFlow."""

import math
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_pb2

from fsfm_jax.records import CLASS, COMPRESSED, FEATURES, PICTURE, TEXT, Feature

# Errors of a damaged shard or example; ArrayRecord raises RuntimeError for a wrong checksum.
DAMAGE = (RuntimeError, DecodeError, zlib.error, ValueError)


def parse(record: bytes, names: Iterable[str]) -> dict[str, Any]:
    """Parse the features `names` of a serialised `tf.train.Example`.

    Returns:
      Pictures as bytes, text as str, single numbers as int or float, others as arrays (possibly read-only).

    Raises:
      ValueError: a feature is missing, or its numbers do not match `FEATURES`.
      DecodeError: the record is not such a message.
      zlib.error: compressed numbers are damaged.
    """
    stored = tf_example_pb2.Example.FromString(record).features.feature
    return {name: _value(name, FEATURES[name], stored[name]) for name in names}


def _value(name: str, feature: Feature, stored: Any) -> Any:
    if feature.form in (PICTURE, TEXT, COMPRESSED):
        values = stored.bytes_list.value
    else:
        values = stored.float_list.value if feature.form is np.float32 else stored.int64_list.value
    size = 1 if feature.form == COMPRESSED else math.prod(feature.shape)
    if len(values) != size:
        raise ValueError(f"{name}: expected {size} values, found {len(values)}")
    if feature.form == PICTURE:
        return values[0]
    if feature.form == TEXT:
        return values[0].decode()
    if feature.form == COMPRESSED:
        return _unpack(name, feature, values[0])
    if not feature.shape:
        return values[0]
    numbers = np.array(values)
    _check_range(name, feature, numbers)
    return numbers.astype(np.int64 if feature.form == CLASS else feature.form).reshape(feature.shape)


def _unpack(name: str, feature: Feature, packed: bytes) -> np.ndarray:
    size = math.prod(feature.shape)
    # Never decompress more than the expected size: the record may be a decompression bomb.
    numbers = np.frombuffer(zlib.decompressobj().decompress(packed, size + 1), np.uint8)
    if len(numbers) != size:
        raise ValueError(f"{name}: expected {size} numbers, found {len(numbers)}")
    _check_range(name, feature, numbers)
    return numbers.reshape(feature.shape)


def _check_range(name: str, feature: Feature, numbers: np.ndarray) -> None:
    if feature.below is not None and (numbers.min() < 0 or numbers.max() >= feature.below):
        raise ValueError(f"{name}: expected 0..{feature.below - 1}, found {numbers.min()}..{numbers.max()}")
