"""Miniature downloads with real photos and videos, prepared, scored and put into a table."""

import json

import numpy as np
import pytest
from grey_scores import grey_predictions
from prepared import records_of_folder
from sklearn.metrics import roc_auc_score
from videos import encode_video

from fsfm_jax.data.labels import open_labelled
from fsfm_jax.data.photo import encode_png
from fsfm_jax.detection import tables
from fsfm_jax.detection.calibrate import choose
from fsfm_jax.detection.results import summary_of
from fsfm_jax.metrics.summary import Resampling

# Path and grey of each photo or video: the lighter one should be real.
DF40 = "deepfakes_detection_datasets/DF40"
DOWNLOADS = {
    "df40": ("test_ff", "dfd", {f"{DF40}/r/000/0.png": 150, f"{DF40}/a/0.png": 100, f"{DF40}/b/0.png": 200}),
    "deepfake_eval": ("test", "dfd", {"video-data/-r.mp4": 150, "video-data/f.mp4": 100, "video-data/g.mp4": 200}),
    "deepfake_eval:images": ("test", "diff", {f"image-data/{n}.png": v for n, v in (("r", 150), ("f", 100), ("g", 9))}),
    "uniattackdata:p1": ("dev", "fas", {"p1/dev/1.jpg": 150, "p1/dev/2.jpg": 100, "p1/dev/3.jpg": 200}),
    "siw_mv2": (
        "test",
        "fas",
        {"Live/Live_1.mp4": 150, "Spoof/Print/Paper_1.mp4": 100, "Spoof/Replay/Replay_1.mp4": 9},
    ),
}
PLACES = [
    {f"{name}_{kind}": {"test": {"0": {"label": f"{name}_{kind}", "frames": [f"{DF40}/{place}/0.png"]}}}
     for kind, place in (("Real", "r/000"), ("Fake", fake))}
    for name, fake in (("simswap", "a"), ("DiT", "b"))
]  # fmt: skip
LISTS = {
    "df40": {f"dataset_json/{name}_ff.json": json.dumps({f"{name}_ff": labels})
             for name, labels in zip(("simswap", "DiT"), PLACES, strict=True)},
    "deepfake_eval": {"video-metadata-publish.csv": "Filename,Video Ground Truth,Finetuning Set\n"
                      "-r.mp4,Real,test\nf.mp4,Fake,test\ng.mp4,Fake,test\n"},
    "deepfake_eval:images": {"image-metadata-publish.csv": "Filename,Ground Truth,Finetuning Set\n"
                             "r.png,Real,test\nf.png,Fake,test\ng.png,Fake,test\n"},
    "uniattackdata:p1": {f"p1/{part}_label.txt": f"{part}/1.jpg 1\n{part}/2.jpg 0\n{part}/3.jpg 0\n"
                         for part in ("train", "dev")},
    "siw_mv2": {"testlist_live.txt": "Live_1\n", "testlist_all.txt": "Paper_1\nReplay_1\n",
                "trainlist_live.txt": "", "trainlist_all.txt": ""},
}  # fmt: skip


def download(root, name: str):
    """Writes the lists, photos and videos of a miniature."""
    _, _, greys = DOWNLOADS[name]
    for path, text in LISTS[name].items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    for path, grey in greys.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        picture = np.full((48, 64, 3), grey, np.uint8)
        if path.endswith(".mp4"):
            encode_video(root / path, pictures=[picture] * 3)
        else:
            (root / path).write_bytes(encode_png(picture, 1))
    return root


@pytest.mark.parametrize("name", DOWNLOADS)
def test_from_download_to_table(name, tmp_path):
    split, layout, greys = DOWNLOADS[name]
    settings = {"allow_incomplete": True, "detector": "none"} | (
        {"real": "1"} if name.startswith("uniattackdata:") else {}
    )
    records_of_folder(tmp_path / "records", download(tmp_path / "download", name), name, **settings)
    source = open_labelled(f"{tmp_path / 'records'}:{split}")
    found = grey_predictions(source)
    frames = 3 if next(iter(greys)).endswith(".mp4") else 1
    assert sorted(found.sources) == sorted([*greys] * frames)
    # The only real one of three; videos are of three frames each.
    assert [source.class_names[label] for label in found.labels].count(source.class_names[source.real]) == frames
    chosen = choose(found, None) if layout == "fas" else {"frame": [], "video": []}
    summary = summary_of(found, chosen, None, Resampling(2, 0.95, 0))
    expected = roc_auc_score([True, False, False], list(greys.values()))
    for level in ("frame", "video"):
        assert summary[level]["metrics"]["auc"] == pytest.approx(expected)
    table = tables.table({"X": summary}, layout, [])
    assert f"| {100 * expected:.2f}" in table
    if name == "df40":
        for method, area in (
            ("face-swapping", 100), ("face-swapping/simswap", 100), ("entire-face-synthesis/DiT", 0),
        ):  # fmt: skip
            assert f"| X | {method} | 1 | 1 | {area}.00 | {area}.00 |" in table
    if layout == "fas":
        (at,) = [found for found in summary["video"]["thresholds"] if found["rule"] == "equal error"]
        kinds = {name for name in at["metrics"] if name.startswith("apcer/")}
        named = {*found.methods[found.labels != source.real]} - {""}
        assert kinds == {f"apcer/{one}" for one in named or {"attack"}}
        if not named:  # of one kind of attack both are the mean of the same two rates
            assert at["metrics"]["acer"] == at["metrics"]["half_total_error_rate"] is not None
