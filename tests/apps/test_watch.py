"""Folders that are watched: which files are complete, and an end that loses nothing."""

import os
import signal

import pytest

from fsfm_jax.apps.watch import Arrivals, Stop, Stopped


def test_a_file_is_taken_once_it_is_complete_and_again_when_it_has_changed(tmp_path):
    asked = []
    arrivals = Arrivals([str(tmp_path)], lambda found: asked.append(found.path) or not found.path.endswith("done"))
    (tmp_path / "below").mkdir()
    a, b = tmp_path / "a", tmp_path / "below" / "b"
    a.write_bytes(b"1")
    b.write_bytes(b"")  # is being made
    (tmp_path / "done").write_bytes(b"1")
    (tmp_path / ".hidden").write_bytes(b"1")
    assert [arrivals.look() for _ in range(2)] == [[], [str(a)]] and asked == [str(a), str(tmp_path / "done")]
    for content in (b"1", b"12"):  # grows
        b.write_bytes(content)
        assert arrivals.look() == []
    a.write_bytes(b"12")
    assert [arrivals.look() for _ in range(2)] == [[str(b)], []]  # the first content of a is still in work
    arrivals.finish(str(a))
    assert [arrivals.look() for _ in range(2)] == [[str(a)], []]
    arrivals.finish(str(a))
    os.utime(a, ns=(0, 0))
    assert [arrivals.look() for _ in range(2)] == [[], [str(a)]]
    a.unlink()
    assert arrivals.look() == [] and not {str(a)} & {*arrivals._seen, *arrivals._asked}  # memory stays small
    assert asked.count(str(tmp_path / "done")) == 1
    with pytest.raises(FileNotFoundError):
        Arrivals([str(tmp_path / "gone")], bool).look()


def test_a_signal_waits_for_what_is_held_and_the_second_is_as_it_was_before():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    done = []
    with Stop() as stop:
        with pytest.raises(Stopped), stop.held():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append({number: signal.getsignal(number) for number in before})
    assert done == [before]
    with Stop(), pytest.raises(Stopped):
        os.kill(os.getpid(), signal.SIGTERM)
        done.append("not stopped")
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Stop():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN is not signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGINT, ignored)
    assert done == [before] == [{number: signal.getsignal(number) for number in before}]
