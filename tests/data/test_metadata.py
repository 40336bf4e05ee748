"""Metadata of a stranger's data set: nothing is imported and no other folder is read because they say so."""

import json
import sys

import pytest
from etils import epath

from fsfm_jax.data.metadata import FEATURES, INFO, MAX_BYTES, check_metadata

SCALAR = "tensorflow_datasets.core.features.scalar.Scalar"
GOOD_FEATURES = {"featuresDict": {"features": {"type": {"pythonClassName": SCALAR, "tensor": {"shape": {}}}}}}
TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
GOOD_INFO = {"name": "faces", "splits": [{"filepathTemplate": TEMPLATE, "name": "train"}], "version": "1.0.0"}


def check(folder, features=None, info=None) -> None:
    for name, content, good in ((FEATURES, features, GOOD_FEATURES), (INFO, info, GOOD_INFO)):
        data = content if isinstance(content, bytes) else json.dumps(good if content is None else content).encode()
        (folder / name).write_bytes(data)
    check_metadata(epath.Path(folder))


def test_what_prepare_writes_passes(tmp_path):
    check(tmp_path)


@pytest.mark.parametrize(
    ("features", "found"),
    [
        ({"pythonClassName": "antigravity.Feature"}, "'antigravity.Feature'"),
        ({"a": [{"python_class_name": "this.S"}]}, "'this.S'"),
        ({"pythonClassName": f"{SCALAR}.x"}, "expected a feature of tensorflow_datasets"),
        ({"pythonClassName": 3}, "'3'"),
        ({"type": "antigravity.Feature", "content": {}}, "no class in the form of old versions"),
        ([1], "expected an object, found list"),
        (b"{", "expected JSON"),
        (b"[" * 100_000, "expected JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "expected JSON"),
        (b"\xff", "expected JSON"),
        (b" " * (MAX_BYTES + 1), "expected at most 16777216 bytes"),
    ],
    ids=range(11),  # the inputs themselves are long
)
def test_features_of_others_are_refused(tmp_path, features, found):
    with pytest.raises(ValueError, match=f"{FEATURES}.*{found}"):
        check(tmp_path, features=features)
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"moduleName": "antigravity"}, "moduleName: expected none, found 'antigravity'"),
        ({"module_name": "antigravity"}, "module_name: expected none"),
        ({"splits": [{"filepathTemplate": "../../elsewhere/{SPLIT}"}]}, "expected names of files in this folder"),
        ({"splits": [{"filepath_template": "/etc/passwd"}]}, "expected names of files in this folder"),
        ({"splits": [{"filepathTemplate": "gs://bucket/x"}]}, "expected names of files in this folder"),
        ({"splits": [{"filepathTemplate": ["x"]}]}, "expected names of files in this folder"),
    ],
)
def test_information_that_leads_elsewhere_is_refused(tmp_path, change, found):
    with pytest.raises(ValueError, match=f"{INFO}.*{found}"):
        check(tmp_path, info=GOOD_INFO | change)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=FEATURES):
        check_metadata(epath.Path(tmp_path))
