"""Decoding in a process for each file: the same pictures and refusals; processes that die, lie or are left behind."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from videos import CLIP, avi, mp4

from fsfm_jax.prepare.media import apart as module
from fsfm_jax.prepare.media.apart import HERE, Apart
from fsfm_jax.prepare.media.decoder_server import ALL, LENGTH, PLAIN
from fsfm_jax.prepare.media.unusable import Unusable

PHOTO = CLIP.with_name("pd_nasa_astronaut.jpg")


@pytest.fixture(scope="module")
def apart():
    decoders = Apart()
    yield decoders
    decoders.close()


def copies(apart: Apart) -> list[int]:
    """The processes that are decoding."""
    server = apart._servers[ALL]._process.pid
    return [int(pid) for pid in Path(f"/proc/{server}/task/{server}/children").read_text().split()]


def refusal(decoders, path: Path) -> tuple[str, str]:
    with pytest.raises(Unusable) as info, decoders.open_video(path) as video:
        video.read(5)
    return info.value.reason, str(info.value)


def test_pictures_and_refusals_are_those_of_decoding_here(apart, tmp_path):
    odd = tmp_path / os.fsdecode(b"\xff\n= .jpg")
    odd.write_bytes(PHOTO.read_bytes())
    found, expected = apart.read_photo(odd), HERE.read_photo(PHOTO)
    np.testing.assert_array_equal(found.image, expected.image)
    assert found.notes == expected.notes
    with apart.open_video(CLIP) as video, HERE.open_video(CLIP) as other:
        assert (video.count, video.rate, video.notes) == (other.count, other.rate, other.notes)
        for index in (0, 7, 44):
            np.testing.assert_array_equal(video.read(index), other.read(index))
        with pytest.raises(Unusable, match="expected a frame below 45, found 45"):
            video.read(45)
    for data in (b"", b"no video", mp4()[:40], avi()[:600]):
        (tmp_path / "a").write_bytes(data)
        assert refusal(apart, tmp_path / "a") == refusal(HERE, tmp_path / "a")
    with pytest.raises(Unusable, match="No such file"):
        apart.read_photo(tmp_path / "gone.jpg")


def test_each_file_has_a_process_of_its_own_that_ends_with_it(apart):
    seen = set()
    for _ in range(3):
        with apart.open_video(CLIP) as video:
            video.read(0)
            (copy,) = copies(apart)
            seen.add(copy)
        assert apart._servers[ALL].exit_code() == 0 and copies(apart) == []
    assert len(seen) == 3


def test_a_process_that_dies_is_replaced_once(apart, monkeypatch):
    with apart.open_video(CLIP) as video, HERE.open_video(CLIP) as other:
        video.read(2)
        os.kill(copies(apart)[0], signal.SIGKILL)
        np.testing.assert_array_equal(video.read(9), other.read(9))
    apart.read_photo(PHOTO)
    server = apart._servers[PLAIN]
    for wait in (server.exit_code, lambda: None):  # found dead when asked, when told
        wait()
        server._process.kill()
        server._process.wait()
        np.testing.assert_array_equal(apart.read_photo(PHOTO).image, HERE.read_photo(PHOTO).image)
    with apart.open_video(CLIP) as video:
        asked = module._File._ask_once

        def deadly(file, index):
            if index is not None:
                os.kill(copies(apart)[0], signal.SIGSEGV)
            return asked(file, index)

        monkeypatch.setattr(module._File, "_ask_once", deadly)
        for text in (r"the process that decodes the file died twice \(signal 11\)", "died twice before"):
            with pytest.raises(Unusable, match=text) as info:
                video.read(3)
            assert info.value.reason == "crashed"
        monkeypatch.undo()
    assert apart.read_photo(PHOTO).image.shape == (512, 512, 3)


def test_nothing_is_left_when_whoever_asked_is_killed():
    program = (
        "import os, signal\nfrom fsfm_jax.prepare.media.apart import Apart\ndecoders = Apart()\n"
        f"with decoders.open_video({str(CLIP)!r}) as video:\n"
        "    server = decoders._servers['all']._process.pid\n"
        "    print(server, open(f'/proc/{server}/task/{server}/children').read(), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3], check=False)
    assert done.returncode == -signal.SIGKILL and len(done.stdout.split()) == 2, done
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes()
              for pid in done.stdout.split()):  # fmt: skip
        assert time.monotonic() < deadline
        time.sleep(0.01)


def message(**content) -> bytes:
    data = json.dumps(content).encode()
    return LENGTH.pack(len(data)) + data


@pytest.mark.parametrize("answer", [
        b"", b"\xff\xff\xff\xff", LENGTH.pack(3) + b"{}", LENGTH.pack(2) + b"{{", LENGTH.pack(2) + b"[]",
        message(content=[]), message(content=5, shape=None), message(content=[], shape=[2]),
        message(content=[], shape=[0, 5]), message(content=[], shape=[1 << 20, 1 << 20]),
        message(content=[], shape=[2, 2]) + bytes(11),
    ])  # fmt: skip
def test_a_process_that_was_taken_over_can_only_break(answer):
    file = object.__new__(module._File)
    file._stream = io.BytesIO(answer)
    with pytest.raises(EOFError):
        file._ask_once(None)
