"""DeepfakeBench in and out: from its manifest and crops to records, a table and scores of exactly its frames."""

import csv
import json

import numpy as np
import pytest
from grey_scores import grey_predictions
from prepared import records_of_folder
from sklearn.metrics import roc_auc_score

from fsfm_jax.data.labels import open_labelled
from fsfm_jax.data.photo import encode_png
from fsfm_jax.detection import tables
from fsfm_jax.detection.prediction_file import write_predictions
from fsfm_jax.detection.results import summary_of
from fsfm_jax.export.benchmark_scores import format_scores, write_scores
from fsfm_jax.metrics.summary import Resampling
from fsfm_jax.resolve.report import LAYOUTS

VIDEOS = {
    "UADFV_Real": {"0000": [100, 180], "0001": [30]},
    "UADFV_Fake": {"0000_fake": [90, 90], "0002_fake": [10], "0003_fake": [200]},
}


def manifest_of(rows) -> dict:
    """A manifest again, from `(path, video, label)` of every frame."""
    found = {}
    for path, video, label in sorted(rows):
        kind, _, name = video.partition("/")
        assert kind.endswith("Fake") == label
        entry = found.setdefault(kind, {"test": {}})["test"].setdefault(name, {"label": kind, "frames": []})
        entry["frames"].append(path)
    return {"UADFV": found}


@pytest.fixture(scope="module")
def uadfv(tmp_path_factory):
    """A download whose crops are grey, and its manifest."""
    root = tmp_path_factory.mktemp("bench")
    content = {}
    for label, videos in VIDEOS.items():
        for video, greys in videos.items():
            paths = [f"UADFV/{label.lower()[6:]}/frames/{video}/{number:03}.png" for number in range(len(greys))]
            for path, grey in zip(paths, greys, strict=True):
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_bytes(encode_png(np.full((8, 8, 3), grey, np.uint8), 1))
            content.setdefault(label, {"test": {}})["test"][video] = {"label": label, "frames": paths}
    (root / "dataset_json").mkdir()
    (root / "dataset_json" / "UADFV.json").write_text(json.dumps({"UADFV": content}))
    return root


def test_from_a_manifest_to_records_a_table_and_scores_of_exactly_its_frames(uadfv, tmp_path):
    card = records_of_folder(tmp_path / "records", uadfv, "deepfakebench")
    assert card.prepared["detector"] == "none" and (card.class_names, card.real) == (("fake", "real"), 1)
    source = open_labelled(f"{tmp_path / 'records'}:uadfv_test")
    found = grey_predictions(source)
    assert source.methods.tolist() == found.methods.tolist() and "UADFV_Fake" in source.methods
    rows = list(zip(found.sources, found.videos, found.labels == 0, strict=True))
    assert manifest_of(rows) == json.loads((uadfv / "dataset_json" / "UADFV.json").read_text())

    write_predictions(tmp_path / "UADFV.csv", found.columns(None))
    assert write_scores(str(tmp_path / "UADFV.csv"), str(tmp_path / "scores.csv")) == len(rows)
    written = list(csv.DictReader((tmp_path / "scores.csv").read_text().splitlines()))
    assert list(written[0]) == ["path", "label", "score"]
    assert [row["path"] for row in written] == list(found.sources)
    labels, scores = (np.array([float(row[name]) for row in written]) for name in ("label", "score"))
    np.testing.assert_array_equal(labels, found.labels == 0)
    np.testing.assert_array_equal(scores, found.columns(None)["forged"])

    summary = summary_of(found, {"frame": [], "video": []}, None, Resampling(2, 0.95, 0))
    # By hand: real frames are 100, 180 and 30; forged ones 90 and 90, 10, 200 (a real face is to be the lighter one).
    assert summary["frame"]["metrics"]["auc"] == pytest.approx((3 + 3 + 1) / 12, rel=1e-12)
    assert summary["frame"]["metrics"]["auc"] == pytest.approx(roc_auc_score(labels, scores), rel=1e-12)
    assert summary["video"]["metrics"]["auc"] == pytest.approx((2 + 1) / 6, rel=1e-12)
    assert "| UADFV | 58.33" in tables.table({"UADFV": summary}, LAYOUTS[0], [])


def test_what_does_not_join_results_of_frames_is_refused(tmp_path):
    columns = {"source": np.array(["a", "b"]), "class": np.array(["fake", "real"]), "forged": np.array([1e-17, 0.1])}
    assert format_scores(columns) == "path,label,score\na,1,1e-17\nb,0,0.1\n"
    for changed, message in (
        ({"source": np.array(["a.mp4", "a.mp4"])}, "expected one row for each photo, found several of a.mp4"),
        ({"class": np.array(["attack", "real"])}, "expected the classes fake and real, found attack"),
    ):
        with pytest.raises(ValueError, match=message):
            format_scores(columns | changed)
    with pytest.raises(ValueError, match="found no column forged"):
        format_scores({name: columns[name] for name in ("source", "class")})
    (tmp_path / "there.csv").touch()
    with pytest.raises(ValueError, match="there.csv is there already"):
        write_scores(str(tmp_path / "none.csv"), str(tmp_path / "there.csv"))
