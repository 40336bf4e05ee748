"""Metadata of a stranger's data set: nothing is imported and no other folder is read because they say so."""

import json
import os
import sys

import pytest
from etils import epath

from fsfm_jax.data.metadata import FEATURES, INFO, MAX_BYTES, check_metadata
from fsfm_jax.data.statistics import read_card
from fsfm_jax.records import CARD_FILE

SCALAR = "tensorflow_datasets.core.features.scalar.Scalar"
GOOD_FEATURES = {"featuresDict": {"features": {"type": {"pythonClassName": SCALAR, "tensor": {"shape": {}}}}}}
TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
SPLIT = {"filepathTemplate": TEMPLATE, "name": "train", "numBytes": "2282", "shardLengths": ["2", "1"]}
GOOD_INFO = {"fileFormat": "array_record", "name": "faces", "splits": [SPLIT], "version": "1.0.0"}


def nested(depth: int) -> dict:
    return {"a": nested(depth - 1)} if depth else {}


def of_split(**entries) -> dict:
    return {"splits": [SPLIT | entries]}


def check(folder, features=None, info=None) -> None:
    for name, content, good in ((FEATURES, features, GOOD_FEATURES), (INFO, info, GOOD_INFO)):
        data = content if isinstance(content, bytes) else json.dumps(good if content is None else content).encode()
        (folder / name).write_bytes(data)
    check_metadata(epath.Path(folder))


@pytest.mark.parametrize(
    ("features", "found"),
    [
        ({"pythonClassName": "antigravity.Feature"}, "'antigravity.Feature'"),
        ({"a": [{"python_class_name": "this.S"}]}, "'this.S'"),
        ({"pythonClassName": f"{SCALAR}.x"}, "expected a feature of tensorflow_datasets"),
        ({"pythonClassName": 3}, "expected a text"),
        ({"pythonClassName": "tensorflow_datasets.core.features.dataset_feature.Dataset"}, "that prepare writes"),
        ({"featuresDict": {"features": {"../../evil": {}}}}, "name of a feature: expected letters"),
        ({"features_dict": {"features": {"a/b": {}}}}, "name of a feature: expected letters"),
        ({"featuresDict": {"features": []}}, "features: expected an object"),
        ({"tensor": {"shape": {"dimensions": ["-2"]}}}, "dimensions: expected whole numbers from -1 to 1048576"),
        ({"tensor": {"shape": {"dimensions": [True]}}}, "dimensions: expected whole numbers"),
        ({"classLabel": {"numClasses": "99999999999"}}, "num_classes: expected whole numbers from 0 to 65536"),
        ({"a": float("nan")}, "a: expected a text"),
        ({"a": None}, "a: expected a text"),
        (nested(13), "expected at most 12 levels"),
        ({"type": "antigravity.Feature", "content": {}}, "no class in the format of old versions"),
        ([1], "expected an object, found list"),
        (b"{", "expected JSON"),
        (b"[" * 100_000, "expected JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "expected JSON"),
        (b"\xff", "expected JSON"),
        (b" " * (MAX_BYTES + 1), "expected at most 16777216 bytes"),
    ],
    ids=range(21),  # the inputs themselves are long
)
def test_features_of_others_are_refused(tmp_path, features, found):
    with pytest.raises(ValueError, match=f"{FEATURES}.*{found}"):
        check(tmp_path, features=features)
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(("change", "found"), [
        ({"moduleName": "antigravity"}, "module_name: expected none, found 'antigravity'"),
        ({"module_name": "antigravity"}, "module_name: expected none"),
        ({"splits": [{"filepathTemplate": "../../elsewhere/{SPLIT}"}]}, "expected names of files in this folder"),
        ({"splits": [{"filepath_template": "/etc/passwd"}]}, "expected names of files in this folder"),
        ({"splits": [{"filepathTemplate": "gs://bucket/x"}]}, "expected names of files in this folder"),
        (of_split(filepathTemplate=["x"]), "filepath_template: expected a text"),
        (of_split(filepathTemplate="..x"), "expected names of files in this folder"),
        (of_split(filepathTemplate="{EVIL}"), "expected names of files in this folder"),
        ({"name": "../../evil"}, "name: expected letters, digits, - and _, found '../../evil'"),
        ({"name": "/etc"}, "name: expected letters"),
        ({"name": ""}, "name: expected letters"),
        ({"name": ["faces"]}, "name: expected letters"),
        ({"name": "x" * 300}, "name: expected letters"),
        ({"version": "1.0.0/../.."}, "version: expected a version such as 1.0.0"),
        ({"version": True}, "version: expected a version"),
        ({"fileFormat": "tfrecord"}, "file_format: expected array_record"),
        ({"file_format": "array_record"}, "each once"),  # beside fileFormat
        ({"alternativeFileFormats": ["x"]}, "entries: expected some of"),
        ({"splits": {"name": "train"}}, "splits: expected a list"),
        ({"splits": ["train"]}, "splits: expected objects"),
        ({"splits": [SPLIT, SPLIT]}, "name of a split: expected distinct names"),
        (of_split(name="../train"), "name of a split"),
        (of_split(name=3), "name: expected a text"),
        (of_split(shardLengths=[-5]), "shard_lengths: expected whole numbers from 0 to 1099511627776, found '-5'"),
        (of_split(shardLengths=["-5"]), "shard_lengths: expected whole numbers"),
        (of_split(shardLengths=["9" * 19]), "shard_lengths: expected whole numbers"),
        (of_split(shardLengths=[10**40]), "shard_lengths: expected whole numbers"),
        (of_split(shardLengths=[2.5]), "shard_lengths: expected whole numbers"),
        (of_split(shardLengths=[float("nan")]), "shard_lengths: expected whole numbers"),
        (of_split(shard_lengths=["2"]), "each once"),
        ({"splits": [{"name": "train", "shardLengths": "2"}]}, "shard_lengths: expected a list"),
        (of_split(numBytes="1e5"), "num_bytes: expected whole numbers"),
        (of_split(numShards=10**7), "num_shards: expected whole numbers"),
    ])  # fmt: skip
def test_information_that_leads_elsewhere_is_refused(tmp_path, change, found):
    with pytest.raises(ValueError, match=f"{INFO}.*{found}"):
        check(tmp_path, info=GOOD_INFO | change)


@pytest.mark.parametrize("name", [FEATURES, INFO, "label.labels.txt", "faces-train.array_record-00000-of-00001"])
def test_a_pipe_in_the_folder_is_refused_and_not_waited_for(tmp_path, name):
    check(tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match=f"{name}: expected a regular file, found a pipe, a device or a socket"):
        check_metadata(epath.Path(tmp_path))
    (tmp_path / name).rename(tmp_path / CARD_FILE)
    with pytest.raises(ValueError, match=f"{CARD_FILE}: expected a regular file"):
        read_card(tmp_path)


def test_what_prepare_writes_passes_and_a_missing_file_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=FEATURES):
        check_metadata(epath.Path(tmp_path))
    check(tmp_path)
