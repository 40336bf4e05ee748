"""The pipeline on Beam's Direct runner; `make test-beam` runs this in Beam's own environment."""

import hashlib
from pathlib import Path

import pytest
from prepared import run_here

pytest.importorskip("apache_beam", reason="Apache Beam has an environment of its own: make test-beam")

from fsfm_jax.prepare import beam as pipeline
from fsfm_jax.prepare.preparation import build

SAMPLES = Path(__file__).parents[2] / "fsfm_jax" / "data" / "samples"
RUNNER = "--runner=DirectRunner --direct_num_workers=2 --direct_running_mode=multi_processing"


def digests(directory: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(directory.iterdir())}


def make(directory: Path, run) -> None:
    # Shards of one video and of a few photos; the pictures are parsed, so that the models are loaded by workers.
    build("photos", SAMPLES, directory, run, name="faces", frames="3", faces_per_shard=9)


def test_beam_makes_the_bytes_that_one_process_makes(tmp_path):
    make(tmp_path / "here", run_here)
    make(tmp_path / "beam", lambda jobs, options, progress: pipeline.run(jobs, options, progress, RUNNER))
    here = digests(tmp_path / "here")
    assert digests(tmp_path / "beam") == here
    assert sum("array_record" in name for name in here) >= 3


def test_beam_goes_on_where_another_run_stopped(tmp_path):
    class Stopped(Exception):
        pass

    def stop_after_one(jobs, options, progress):
        run_here(jobs[:1], options, progress)
        raise Stopped

    with pytest.raises(Stopped):
        make(tmp_path / "out", stop_after_one)
    first = next((tmp_path / "out").glob("*.array_record-00000*"))
    before = first.stat().st_mtime_ns
    make(tmp_path / "out", lambda jobs, options, progress: pipeline.run(jobs, options, progress, RUNNER))
    make(tmp_path / "here", run_here)
    assert digests(tmp_path / "out") == digests(tmp_path / "here")
    assert first.stat().st_mtime_ns == before


def test_missing_shards_are_told(tmp_path, monkeypatch):
    # A worker that writes to a folder only it can see: the pipeline succeeds, the shards are not there.
    monkeypatch.setattr(pipeline, "build_shard", lambda job, options, maker: None)
    with pytest.raises(RuntimeError, match=r"shards are missing after the pipeline, first .*check that all workers"):
        make(
            tmp_path / "out",
            lambda jobs, options, progress: pipeline.run(
                jobs, options, progress, "--runner=DirectRunner --direct_running_mode=in_memory"
            ),
        )
