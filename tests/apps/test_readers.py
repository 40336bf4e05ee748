"""Worker processes: answers to the bit, the order of files, and workers that die, stall or lie."""

import concurrent.futures
import dataclasses
import io
import math
import os
import signal
import threading

import numpy as np
import pytest
from videos import CLIP

from fsfm_jax.apps import readers, wire
from fsfm_jax.apps.reading import Crop, FaceReader, Miss, Preview, Reading, Settings
from fsfm_jax.apps.ticket import GivenUp, Ticket

SETTINGS = Settings(side=32, detector="blazeface", frames=2)
PHOTO = CLIP.parent / "pd_nasa_astronaut.jpg"


@pytest.fixture(scope="module")
def pool():
    with readers.Readers(SETTINGS, 1) as opened:
        yield opened


def alive(pool) -> list[int]:
    return [worker._process.pid for worker in pool._alive]


def same(one: Reading, other: Reading) -> bool:
    """Equal in all fields, pixels included."""
    def known(crop):
        return *(getattr(crop, name) for name in ("frame", "face", "box", "square", "sureness")), crop.pixels.tobytes()

    plain = [(r.path, r.kind, r.misses, r.reason, r.detail, r.rate, tuple(r.size)) for r in (one, other)]
    return plain[0] == plain[1] and list(map(known, one.crops)) == list(map(known, other.crops))


def test_a_worker_says_what_the_reader_says(pool, tmp_path):
    direct = FaceReader(SETTINGS)
    odd = tmp_path / os.fsdecode(b"\xff\n= .jpg")
    odd.write_bytes(PHOTO.read_bytes())
    paths = [str(PHOTO), str(CLIP), str(tmp_path / "absent"), str(odd)]
    found = list(pool.read_all(paths))
    assert [len(reading.crops) for reading in found] == [1, 2, 0, 1]
    assert all(same(reading, direct.read(path)) for reading, path in zip(found, paths, strict=True))


def test_a_worker_that_dies_costs_one_file(pool):
    before = alive(pool)
    os.kill(before[0], signal.SIGKILL)
    found = pool.read(str(CLIP))
    assert (found.path, found.reason) == (str(CLIP), "died") and "(signal 9)" in found.detail
    assert len(pool.read(str(PHOTO)).crops) == 1 and alive(pool) != before


def test_a_worker_that_is_ready_is_taken_before_one_is_started():
    """So is one that was started before the readers; it ends with them, and so does one that nobody took."""
    with readers.Worker() as first, readers.Worker() as unused:
        process = first._process
        with readers.Readers(SETTINGS, 3, first=first) as pool:
            for _ in range(3):
                assert pool.read(str(PHOTO)).crops and alive(pool) == [process.pid]
        assert process.wait(10) == -signal.SIGKILL and unused._process.poll() is None
    assert unused._process.poll() == -signal.SIGKILL and unused.end() == ""


def test_workers_have_little_memory_and_leave_no_core_files(pool):
    pool.read(str(PHOTO))
    with open(f"/proc/{alive(pool)[0]}/limits") as file:
        limits = {line[:25].strip(): line.split()[-3] for line in file}
    assert limits["Max address space"] == str(readers.MEMORY) and limits["Max core file size"] == "0"


def test_a_file_that_takes_too_long_is_given_up(pool, tmp_path):
    """A worker that has been stopped answers nothing."""
    pool.read(str(PHOTO))
    (worker,) = pool._alive
    worker._seconds = 0.3
    os.kill(worker._process.pid, signal.SIGSTOP)
    found = pool.read(str(PHOTO))
    assert (found.reason, found.detail) == ("stuck", "given up after 300 seconds") and not found.crops
    assert len(pool.read(str(PHOTO)).crops) == 1


def test_a_file_that_nobody_waits_for_is_given_up(pool):
    """Before its worker is asked, while it answers, and between two frames; the next file is read all the same."""
    ticket = Ticket()
    ticket.give_up()
    with pytest.raises(GivenUp):
        pool.read(str(PHOTO), ticket=ticket)
    pool.read(str(PHOTO))
    os.kill(alive(pool)[0], signal.SIGSTOP)
    ticket, answers = Ticket(), []
    asking = threading.Thread(target=lambda: answers.append(pool.read(str(CLIP), "largest", 3, ticket)))
    asking.start()
    while ticket._end is None:
        pass
    ticket.give_up()
    asking.join(30)
    assert answers[0].reason == "died" and len(pool.read(str(CLIP), "largest", 3).crops) == 3

    class Impatient(Ticket):
        def tell(self, *progress):
            self.give_up()
            super().tell(*progress)

    with pytest.raises(GivenUp):
        pool.read(str(CLIP), ticket=Impatient())
    assert len(pool.read(str(PHOTO)).crops) == 1


def test_closing_ends_workers_that_are_busy():
    with readers.Readers(SETTINGS, 1) as opened:
        (pid,) = alive(opened)
        os.kill(pid, signal.SIGSTOP)
        answers = []
        asking = threading.Thread(target=lambda: answers.append(opened.read(str(PHOTO))))
        asking.start()
        while opened._idle.qsize():
            pass
    asking.join(30)
    assert answers[0].reason == "died"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(RuntimeError, match="have been closed"):
        opened._start()


def test_a_slow_file_keeps_no_other_waiting_and_few_are_taken_ahead(monkeypatch):
    release, taken = threading.Event(), []
    unstarted = readers.Readers.__new__(readers.Readers)
    unstarted._workers, unstarted._threads = 2, concurrent.futures.ThreadPoolExecutor(2)

    def read(path):
        if path == "slow":
            release.wait(30)
        return Reading(path, "photo")

    def given():
        for path in ["slow", *map(str, range(20))]:
            taken.append(path)
            yield path

    monkeypatch.setattr(unstarted, "read", read)
    stream = unstarted.read_as_done(given())
    found = [next(stream).path for _ in range(10)]
    assert "slow" not in found and len(taken) <= 10 + 1 + readers.AHEAD * 2
    release.set()
    found += [reading.path for reading in stream]
    assert sorted(found) == sorted(taken) and len(found) == 21
    # Nothing is in work: that is told, and what comes after it is read.
    assert [r and r.path for r in unstarted.read_as_done(iter([None, None, "a"]))] == [None, None, "a"]
    unstarted._threads.shutdown()


@pytest.mark.parametrize("settings, workers, text", [
        (Settings(side=32, detector="blazefaze"), 1, "detector 'blazefaze': expected one of .* mean 'blazeface'"),
        (SETTINGS, 0, "workers: expected at least 1, found 0"),
    ])  # fmt: skip
def test_what_cannot_start_says_so(settings, workers, text):
    with pytest.raises(ValueError, match=text):
        readers.Readers(settings, workers)


READING = Reading(
    "a", "video",
    (
        Crop(3, 1, (1, 2, 3, 4), (0, 1, 9), 0.5, np.arange(12, dtype=np.uint8).reshape(2, 2, 3),
             np.full((224, 224), 7, np.uint8)),
        Crop(4, 0, (-1, 2, 3, 4), (0, 1, 9), float("nan"), np.zeros((2, 2, 3), np.uint8)),
    ),
    (Miss(5, "no_face", "none"),), rate=12.5, size=(10, 20), found=((3, 2), (4, 40)), asked=7,
    previews=(Preview(3, (10, 20), np.arange(6, dtype=np.uint8).reshape(1, 2, 3)),),
)  # fmt: skip


def test_an_answer_survives_its_way():
    stream, told = io.BytesIO(), []
    wire.write_progress(stream, 1, 7)
    wire.write_progress(stream, 2, 7)
    wire.write_reading(stream, READING)
    stream.seek(0)
    found = wire.read_reading(stream, "a", 2, lambda *progress: told.append(progress))
    assert told == [(1, 7), (2, 7)]
    (preview,), (wanted,) = found.previews, READING.previews
    assert (preview.frame, preview.size) == (3, (10, 20))
    np.testing.assert_array_equal(preview.pixels, wanted.pixels)
    assert (found.misses, found.rate, found.size, found.kind) == (READING.misses, 12.5, (10, 20), "video")
    assert (found.found, found.asked) == (((3, 2), (4, 40)), 7)
    np.testing.assert_array_equal(found.crops[0].pixels, READING.crops[0].pixels)
    np.testing.assert_array_equal(found.crops[0].parsing_map, READING.crops[0].parsing_map)
    assert found.crops[1].parsing_map is None and np.isnan(found.crops[1].sureness)
    assert stream.read() == b""


def message(content: bytes) -> io.BytesIO:
    return io.BytesIO(len(content).to_bytes(8, "little") + content)


@pytest.mark.parametrize("stream, text", [
        (io.BytesIO(b""), "it ended"),
        (io.BytesIO(b"\xff" * 8), "a header of 18446744073709551615 bytes"),
        (message(b"{"), "a header that is not JSON"),
        (message(b"[1]"), "a header that is not an object"),
        (message(b"[" * 5000), "a header that is not JSON"),
        (message(b"{}"), "an answer of another form .KeyError"),
        (message(b'{"crops": [[0, 0, [0, 0, 0, 0], [0, 0, 0], 1, false]]}'), "it ended"),
        (message(b'{"crops": 5}'), "an answer of another form .TypeError"),
        (message(b'{"crops": [' + b"0," * 5000 + b"0]}"), "5001 crops"),
        (message(b'{"done": 8, "of": 7}'), "8 of 7 frames"),
        (message(b'{"crops": [], "previews": [[0, [1, 1], [1, 9999]]]}'), "a preview of 1x9999 pixels"),
        (message(b'{"crops": [], "previews": [' + b"0," * 32 + b"0]}"), "33 previews"),
    ])  # fmt: skip
def test_a_worker_that_was_taken_over_can_only_break(stream, text):
    with pytest.raises(wire.BrokenWorker, match=text):
        wire.read_reading(stream, "a", 2)


@pytest.mark.parametrize("changes, text", [
        ({"rate": math.nan}, "a rate of nan"), ({"rate": 0.0}, "a rate of 0.0"),
        ({"crops": (dataclasses.replace(READING.crops[0], sureness=math.inf),)}, "a sureness of inf"),
        ({"crops": (dataclasses.replace(READING.crops[1], box=(0, 0, 1 << 63, 1)),)}, "a number of 64 bits"),
        ({"found": ((0, -1),)}, "-1 faces"), ({"found": (("x", 1),)}, "another form"),
        ({"asked": 1 << 63}, "OverflowError: a number of 64 bits"),
    ])  # fmt: skip
def test_numbers_that_no_result_could_hold_are_refused(changes, text):
    """JSON has neither: one file must not end the writing of all results."""
    stream = io.BytesIO()
    wire.write_reading(stream, dataclasses.replace(READING, **changes))
    stream.seek(0)
    with pytest.raises(wire.BrokenWorker, match=text):
        wire.read_reading(stream, "a", 2)
