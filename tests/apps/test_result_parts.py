"""Results as Parquet parts: rows by hand, what is done, and interrupts inside the writing of a part."""

import math
import os

import numpy as np
import pyarrow.parquet
import pytest
from carded import CARDED

from fsfm_jax.apps import result_parts
from fsfm_jax.apps.file_stamp import FileStamp, stamp
from fsfm_jax.apps.reading import Crop, Miss, Reading
from fsfm_jax.apps.result_parts import ResultParts, read_parts
from fsfm_jax.apps.verdict import Verdict, choose_rule, decide
from fsfm_jax.run import lock

JOB = {"checkpoint": "runs/dfd", "frames": 32}
ODD = os.fsdecode(b"\xe9.jpg")


def judged(path: str, score: float | None = 0.25) -> Verdict:
    if score is None:
        reading = Reading(path, "photo\ud800", (), (Miss(0, "no_face", "none"),), "no_face", "none")
        return decide(CARDED, choose_rule(CARDED), reading, np.zeros((0, 2)))
    crop = Crop(0, 0, (1, 2, 3, 4), (0, 0, 9), math.nan, np.zeros((2, 2, 3), np.uint8))
    return decide(CARDED, choose_rule(CARDED), Reading(path, "photo", (crop,)), np.log([[1 - score, score]]))


def record(folder, *paths: str, job=JOB, score=0.25) -> list[str]:
    """Writes the results of files of 7 bytes that have none yet, and returns their names."""
    with ResultParts("--parquet", str(folder)) as parts:
        parts.open(job, {"real": 1}, CARDED.class_names)
        new = [path for path in paths if parts.expect(FileStamp(path, 7, 1000))]
        for path in new:
            parts.add(judged(path, score))
        parts.end()
    return new


def test_a_row_says_what_json_says_and_a_file_is_done_until_it_changes(tmp_path):
    assert record(tmp_path / "out", "a.jpg", ODD) == ["a.jpg", ODD]
    assert record(tmp_path / "out", "a.jpg", ODD, "none.jpg", score=None) == ["none.jpg"]
    assert sorted(os.listdir(tmp_path / "out")) == ["part-000000.parquet", "part-000001.parquet"]
    first, odd, none = read_parts(str(tmp_path / "out")).to_pylist()
    assert first["score"] == pytest.approx(0.25) and (first["verdict"], first["threshold"]) == ("forged", 0.4)
    assert (first["bytes"], first["modified_ns"], first["faces_judged"]) == (7, 1000, 1)
    (face,) = first["faces"]
    assert (face["box"], face["detector_confidence"]) == ([1, 2, 3, 4], None)
    assert face["classes"] == pytest.approx({"fake": 0.75, "real": 0.25})
    assert (odd["file"], odd["file_bytes"]) == ("\\xe9.jpg", b"\xe9.jpg")
    assert (none["score"], none["kind"], none["reason"], none["misses"]) == (
        None, "photo\\ud800", "no_face", [{"frame": 0, "reason": "no_face", "detail": "none"}]
    )  # fmt: skip
    with ResultParts("--parquet", str(tmp_path / "out")) as parts:
        parts.open(JOB, {}, CARDED.class_names)
        assert (parts.earlier, parts.without) == (3, 1)
        assert parts.expect(FileStamp("a.jpg", 8, 1000)) and parts.expect(FileStamp("a.jpg", 7, 1001))
    found = stamp(str(tmp_path / "out" / "part-000000.parquet"))
    assert found.size == os.path.getsize(found.path) and stamp(str(tmp_path / "absent"))[1:] == (None, None)


@pytest.mark.parametrize("place", ["before", "after"])
def test_an_interrupt_while_a_part_gets_its_name_costs_no_row_and_doubles_none(tmp_path, monkeypatch, place):
    replace, calls = os.replace, []

    def interrupted(old, new):
        calls.append(new)
        if place == "after" or len(calls) > 1:
            replace(old, new)
        if len(calls) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    monkeypatch.setattr(result_parts, "PART_FILES", 2)
    with pytest.raises(KeyboardInterrupt) as caught:
        record(tmp_path / "out", "a", "b", "c")
    assert read_parts(str(tmp_path / "out"), ["file"])["file"].to_pylist() == ["a", "b"]
    assert caught.value.__notes__ == [f"results so far: {tmp_path / 'out'}"]
    assert record(tmp_path / "out", "a", "b", "c") == ["c"] and not list((tmp_path / "out").glob(".part*"))
    assert read_parts(str(tmp_path / "out"), ["file"])["file"].to_pylist() == ["a", "b", "c"]


def test_what_a_kill_has_left_is_removed_and_an_old_result_does_not_wait(tmp_path, monkeypatch):
    out = tmp_path / "out"
    record(out, "a")
    (out / ".part-000001.parquet.0af1.tmp").write_bytes(b"half")
    now = [0.0]
    monkeypatch.setattr(result_parts.time, "monotonic", lambda: now[0])
    with ResultParts("--parquet", str(out)) as parts:
        parts.open(JOB, {}, CARDED.class_names)
        assert sorted(os.listdir(out)) == [lock.FILE, "part-000000.parquet"]
        now[0] = 500.0
        assert parts.expect(FileStamp("b", 7, 1000))
        parts.add(judged("b"))
        now[0] += result_parts.PART_SECONDS - 1
        parts.save_due()
        assert read_parts(str(out)).num_rows == 1
        now[0] += 1
        parts.save_due()
        assert read_parts(str(out)).num_rows == 2
        with pytest.raises(ValueError, match="expected no other run here; .* or take another --parquet=FOLDER"):
            record(out)


def test_another_error_saves_what_there_is_and_a_full_disk_is_told_once(tmp_path, monkeypatch):
    def work(error):
        with ResultParts("--parquet", str(tmp_path / "out")) as parts:
            parts.open(JOB, {}, CARDED.class_names)
            for name in "ab":
                if parts.expect(FileStamp(name, 7, 1000)):
                    parts.add(judged(name))
                    raise error

    with pytest.raises(FileNotFoundError):
        work(FileNotFoundError())
    assert read_parts(str(tmp_path / "out")).num_rows == 1
    tried = []

    def full(*names):
        tried.append(names)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(result_parts, "PART_FILES", 1)
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left on device: .*part-000001.parquet"):
        work(None)
    assert len(tried) == 1 and len(os.listdir(tmp_path / "out")) == 1


def test_what_is_not_the_folder_of_the_same_job_is_refused(tmp_path):
    out = tmp_path / "out"
    record(out, "a")
    with pytest.raises(ValueError, match="found frames: then 32, now 16. Give the same options, or name another"):
        record(out, job=JOB | {"frames": 16})
    (out / "part-000003.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="part-000003.parquet: expected a part .* Delete it, and its files are scored"):
        record(out)
    pyarrow.parquet.write_table(pyarrow.table({"file": ["a"]}), out / "part-000003.parquet")
    with pytest.raises(ValueError, match="part-000003.parquet: expected a part"):
        record(out)
    (out / "notes.txt").touch()
    for path, text in ((out, "holds other things, such as notes.txt"), (out / "notes.txt", "a folder, found a file"),
                       (tmp_path / "no" / "no", "there is no folder"), ("gs://a/b", "found an address")):  # fmt: skip
        with pytest.raises(ValueError, match=text):
            ResultParts("--parquet", str(path))
