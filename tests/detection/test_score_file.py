"""Score files of other detectors: what is read, what is refused in which line, and how they fit a test set."""

import tracemalloc

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fsfm_jax import records
from fsfm_jax.data.labels import open_labelled
from fsfm_jax.detection import tables
from fsfm_jax.detection.score_file import read_scores
from fsfm_jax.detection.score_match import NO_FRAMES, summarise_scores

HEAD = "dataset,video,frame,label,fake"
GOOD = f'{HEAD}\nA,"x, 1",0,fake,0.9\nA,"x, 1",1,fake,1e-3\nB,007,-1,real,.25\n'


def read(folder, text, encoding="utf-8"):
    path = folder / "scores.csv"
    path.write_bytes(text.encode(encoding))
    return read_scores(str(path))


def test_a_file_is_read(tmp_path):
    file = read(tmp_path, GOOD)
    assert [*file.sets] == ["A", "B"] and len(file.sha256) == 64
    one, other = file.sets["A"], file.sets["B"]
    assert one.videos.tolist() == ["x, 1", "x, 1"] and one.frames.tolist() == [0, 1] and not one.real.any()
    assert one.scores.tolist() == [1 - 0.9, 1 - 1e-3] and other.scores.tolist() == [0.75]
    assert other.videos.tolist() == ["007"] and other.frames.tolist() == [-1] and other.real.all()
    # The other column, in another order, without frames, with a mark that spreadsheets write, and CR LF.
    file = read(tmp_path, "real,label,video,dataset\r\n0.75,real,x,A\r\n", "utf-8-sig")
    assert file.sets["A"].frames is None and file.sets["A"].scores.tolist() == [0.75]


WRONG = {
    "empty": ("", "line 1: expected the columns dataset, video, label, optionally frame, and either.*; found nothing"),
    "no rows": (HEAD + "\n", "expected a row of scores below the header line, found none"),
    "column": ("dataset,vidio,label,fake\n", "line 1: expected columns among .*; found 'vidio'; did you mean 'video'"),
    "no label": ("dataset,video,fake\n", "line 1: expected the columns .*; found dataset, video, fake"),
    "both": (f"{HEAD},real\n", "line 1: expected the columns .* either fake or real"),
    "twice": ("dataset,video,video,label,fake\n", "each once; found"),
    "fields": (GOOD + "A,y,0,fake\n", r"line 5: expected 5 values \(dataset, .*\), found 4"),
    "no video": (GOOD + "A,,0,fake,0.1\n", "line 5: expected a value in the column video, found nothing"),
    "NUL": (GOOD + "A,a\0b,0,fake,0.1\n", "line 5: expected text without NUL characters|line contains NUL"),
    "label": (GOOD + "A,y,0,1,0.1\n", "line 5: label: expected real or fake, found '1'"),
    "frame": (GOOD + "A,y,1.0,fake,0.1\n", "line 5: frame: expected a whole number, found '1.0'"),
    "logit": (GOOD + "A,y,0,fake,3.5\n", "line 5: fake: expected a probability from 0 to 1, found '3.5'; convert"),
    "negative": (GOOD + "A,y,0,fake,-0.1\n", "line 5: fake: expected a probability"),
    "nan": (GOOD + "A,y,0,fake,nan\n", "found 'nan'"),
    "underscore": (GOOD + "A,y,0,fake,0_1\n", "found '0_1'"),
    "repeat": (GOOD + "A,y,0,fake,0.1\nB,007,-1,real,0.2\n", "line 6: B, video '007', frame -1 repeats line 4"),
    "video": ("dataset,video,label,fake\nA,y,fake,1\nA,y,fake,1\n", "line 3: A, video 'y' repeats line 2"),
    "mixed": (GOOD + 'A,"x, 1",2,real,0.1\n', "expected one label a video, found both real and fake: x, 1"),
    "quote": (GOOD + 'A,"y,0,fake,0.1\n', "unexpected end of data"),
    "escape": ("dataset,video,label,\x1b[2J\n", r"expected columns among .*; found '.*x1b\[2J'"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_mistakes_are_named_with_their_line(mistake, tmp_path):
    text, complaint = WRONG[mistake]
    with pytest.raises(ValueError, match=f"scores.csv: .*({complaint})") as caught:
        read(tmp_path, text)
    assert str(caught.value).isprintable()


def test_a_small_file_takes_little_memory(tmp_path):
    tracemalloc.start()
    try:
        read(tmp_path, GOOD)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20  # MOST is a thousand times as much
    finally:
        tracemalloc.stop()


def test_what_is_no_text_file(tmp_path):
    with pytest.raises(ValueError, match="scores.csv: expected UTF-8, found another byte at 31"):
        read(tmp_path, f"{HEAD}\nä,", "latin-1")
    with pytest.raises(FileNotFoundError):
        read_scores(str(tmp_path / "gone.csv"))


@pytest.fixture(scope="module")
def source():
    """Four videos of four frames each, two of them fake."""
    return open_labelled("forged:blend:16:2:1")


@pytest.fixture(scope="module")
def rows(source) -> list[tuple[str, int, str, float]]:
    """Video, frame, label and a probability of fake that is right a little more often than not."""
    noise = np.random.default_rng(3).uniform(0, 0.7, len(source))
    examples = [source[index] for index in range(len(source))]
    label = [("real" if e[records.LABEL] == source.real else "fake") for e in examples]
    return [
        (e[records.VIDEO], e[records.FRAME], name, float(value + 0.3 * (name == "fake")))
        for e, name, value in zip(examples, label, noise, strict=True)
    ]


def file_of(rows, frames=True):
    head = HEAD if frames else HEAD.replace("frame,", "")
    lines = [f"A,{v},{f},{name},{p!r}" if frames else f"A,{v},{name},{p!r}" for v, f, name, p in rows]
    return "\n".join([head, *lines])


def match(folder, source, rows, frames=True):
    return summarise_scores(read(folder, file_of(rows, frames)).sets["A"], source, "scores: f.csv: A")


def test_scores_are_measured_as_ours_are(tmp_path, source, rows):
    shuffled = [rows[index] for index in np.random.default_rng(0).permutation(len(rows))]
    summary = match(tmp_path, source, shuffled)
    assert summary["dataset"] == source.name and (summary["video"]["examples"], summary["frame"]["examples"]) == (4, 16)
    fake = [name == "fake" for _, _, name, _ in rows]
    assert summary["frame"]["metrics"]["auc"] == pytest.approx(roc_auc_score(fake, [row[3] for row in rows]), abs=1e-12)
    by_video = {video: [p for v, _, _, p in rows if v == video] for video, *_ in rows}
    label = {video: name == "fake" for video, _, name, _ in rows}
    expected = roc_auc_score([label[v] for v in by_video], [np.mean(p) for p in by_video.values()])
    assert summary["video"]["metrics"]["auc"] == pytest.approx(expected, abs=1e-12)
    # The same numbers from the other column.
    turned = file_of([(v, f, name, 1 - p) for v, f, name, p in rows]).replace(",fake\n", ",real\n", 1)
    other = summarise_scores(read(tmp_path, turned).sets["A"], source, "")
    assert other["video"]["metrics"] == pytest.approx(summary["video"]["metrics"])
    # Every column of every layout that the table of a comparison may have.
    for layout in ("dfd", "diff", "fas"):
        for column in tables.columns(layout, {"A": summary}):
            assert column.published or (v := column.value("A", summary)) is None or 0 <= v <= 1, column.title


def test_whole_videos_have_no_frames(tmp_path, source, rows):
    videos = {v: (v, f, name, p) for v, f, name, p in rows}
    summary = match(tmp_path, source, videos.values(), frames=False)
    assert summary["video"]["examples"] == 4 and 0 <= summary["video"]["metrics"]["auc"] <= 1
    assert set(summary["frame"]["metrics"].values()) == {None} and summary["frame"]["undefined"]["auc"] == NO_FRAMES
    assert {c.title: c.value("A", summary) for c in tables.columns("dfd", {"A": summary})}["frame AUC"] is None


def changed(rows, index, **fields):
    names = ("video", "frame", "label", "fake")
    return [tuple((dict(zip(names, row, strict=True)) | fields).values()) if i == index else row
            for i, row in enumerate(rows)]  # fmt: skip


def test_scores_of_another_set_are_refused(tmp_path, source, rows):
    (first, _, label, _), name = rows[0], source.name
    flipped = [(v, f, "fake" if name == "real" else "real", p) for v, f, name, p in rows]
    for given, frames, text in (
        (rows[1:], True, rf"f.csv: A: no score for 1 \('{first}' frame 0\) of the 16 frames of {name}; each needs one"),
        (changed(rows, 0, frame=77), True, rf"1 \('{first}' frame 77\) of 16 frames are not in {name}; it has '"),
        (changed(rows, 0, video="other"), True, r"1 \('other' frame 0\) of 16 frames are not in"),
        (flipped, True, rf"16 \(.*\) of 16 frames have another label than in {name}, where the first is {label};"),
        (rows[4::4], False, rf"no score for 1 \('{first}'\) of the 4 videos of {name}"),
        ([("other", 0, "fake", 0.5)], False, r"1 \('other'\) of 1 videos are not in"),
        (flipped[::4], False, r"4 \(.* and 1 more\) of 4 videos have another label"),
    ):
        with pytest.raises(ValueError, match=text):
            match(tmp_path, source, given, frames)
