"""The page over real HTTP: answers, limits, who may ask, hostile files, and nothing left behind."""

import asyncio
import base64
import contextlib
import hashlib
import http.client
import json
import math
import os
import re
import socket
import stat
import threading
import time
import zlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from carded import CARDED
from videos import CLIP

from fsfm_jax.apps import serve, uploads, web
from fsfm_jax.apps.access import COOKIE
from fsfm_jax.apps.certainty import Limits, limits_of
from fsfm_jax.apps.choice import Choice
from fsfm_jax.apps.mask_answer import Masker
from fsfm_jax.apps.readers import Readers
from fsfm_jax.apps.reading import REASONS, Crop, Reading, Settings
from fsfm_jax.apps.ticket import GivenUp
from fsfm_jax.data.masking import STRATEGIES
from fsfm_jax.data.photo import encode_png

PHOTO = CLIP.parent / "pd_nasa_astronaut.jpg"
TOKEN = "a-token-of-some-length"
LIMIT = 2_000_000


class Predictor(type(CARDED)):
    """Says 0.5 of everything."""

    explains, image_size, transform, name, batch, weights_sha256 = True, 32, "resize_center", "stub", 16, "5" * 64

    def __init__(self):
        self.card = CARDED.card

    def log_probabilities(self, crops):
        return np.full((len(crops), 2), math.log(0.5), np.float32)

    def heat(self, crops):
        return np.zeros((len(crops), 2, 2), np.float32)


@contextlib.contextmanager
def serving(site):
    """The port of a server of `site`."""
    server, listener = serve.make_server(site), serve.listening("127.0.0.1", 0)
    thread = threading.Thread(target=asyncio.run, args=(server.serve([listener]),))
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    detecting = Settings(32, detector="blazeface", preview=64)
    parsing = Settings(224, "resize", "blazeface", frames=1, parser="embedded", preview=64)
    predictor = Predictor()
    with Readers(detecting, 1) as readers, Readers(parsing, 1) as parsers:
        yield web.Site(
            predictor, Choice(frames=3), Limits(), readers, Masker(None, ""), parsers, LIMIT, 2, "", (PHOTO.name,),
        )  # fmt: skip


@pytest.fixture(scope="module")
def port(site):
    with serving(site) as found:
        yield found


def ask(port, method, path, body=None, **headers):
    """Status, headers and content of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, names)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def told(port, path, body):
    status, _, content = ask(port, "POST", path, body)
    return status, json.loads(content)


def kept() -> list[str]:
    """Uploads that this process holds in memory."""
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # closed meanwhile
            found.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return [path for path in found if path.startswith("/memfd:upload")]


def left() -> list[str]:
    """Uploads that are held once nothing is at work any more."""
    end = time.monotonic() + 10
    while (found := kept()) and time.monotonic() < end:
        time.sleep(0.01)
    return found


def test_the_page_and_nothing_else_and_no_script_or_style_in_it(port):
    kinds = {".html": "text/html", ".js": "javascript", ".css": "text/css"}
    assert {Path(name).name for name in web.FILES.values()} == set(os.listdir(web.PAGE))
    for path, kind in ((path, kinds[Path(name).suffix]) for path, name in web.FILES.items()):
        status, headers, content = ask(port, "GET", path)
        assert status == 200 and kind in headers["content-type"] and content
        assert "default-src 'none'" in headers["content-security-policy"] and headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff" and "server" not in headers
    assert ask(port, "GET", f"/samples/{PHOTO.name}")[2] == PHOTO.read_bytes()
    for path in ("/samples/", "/samples/../LICENSES.md", "/samples/%2e%2e/LICENSES.md", "/web.py", "/page/../web.py",
                 "/samples/mit_faceapi_sample1_1.jpg", "/..%2f..%2fetc/passwd"):  # fmt: skip
        assert ask(port, "GET", path)[0] == 404, path
    assert ask(port, "GET", "/api/detect")[0] == 405 and ask(port, "DELETE", "/")[0] == 405
    text = (web.PAGE / "index.html").read_text()
    assert "<style" not in text and "style=" not in text and not re.search(r"\son\w+=", text)
    assert text.count("<script") == 1 and "://" not in text and "//" not in (web.PAGE / "page.css").read_text()
    for name in web.SCRIPTS:
        script = (web.PAGE / name).read_text()
        assert not re.search("innerHTML|insertAdjacentHTML|document.write|eval\\(", script), name


def test_a_photo_and_a_video_are_looked_at(site, port):
    status, found = told(port, "/api/detect", PHOTO.read_bytes())
    (person,) = found["people"]
    assert (status, found["kind"], found["verdict"], person["score"]) == (200, "photo", "real", pytest.approx(0.5))
    assert found["says"] == "The detector found no evidence of forgery."
    assert found["rates"] == "On its validation set it was wrong on 8 of 100 real and 20 of 100 forged faces."
    assert "calls forged 8 % of the real and real 20 % of the forged on val" in found["rule"]
    assert found["sha256"] == hashlib.sha256(PHOTO.read_bytes()).hexdigest()
    assert (found["bytes"], found["width"], found["height"]) == (PHOTO.stat().st_size, 512, 512)
    assert person["picture"].startswith("data:image/jpeg;base64,") and person["heat"] and person["confidence"] > 0.8
    assert found["warnings"] == [] and "paintings" in found["not_covered"]
    (preview,), (face,) = found["previews"], found["faces"]
    assert (preview["width"], preview["height"], face["person"]) == (512, 512, 0)
    status, found = told(port, "/api/detect?frames=2&threshold=0.25", CLIP.read_bytes())
    assert (status, found["kind"], found["verdict"], found["count"], found["frames"]) == (200, "video", "real", 2, 2)
    assert found["rates"] == "How often it is wrong at this threshold is not known."
    status, found = told(port, "/api/detect", CLIP.read_bytes())
    assert (status, found["verdict"], found["says"]) == (200, "forged", "The detector calls this forged.")  # 0.5 < 0.55
    (person,) = found["people"]  # one person in three frames, not three faces
    assert [(face["frame"], face["person"]) for face in found["faces"]] == [(0, 0), (22, 0), (44, 0)]
    assert [preview["frame"] for preview in found["previews"]] == [0, 22, 44] and person["frames"] == 3
    (report,) = found["report"]["files"]
    assert report["persons"][0]["verdict"] == "forged" and "/proc/" not in json.dumps(found["report"])
    assert not left()


def test_masks_are_rolled_and_a_video_has_none(site, port):
    status, face = told(port, "/api/face", PHOTO.read_bytes())
    assert (status, face["found"]) == (200, 1) and face["map"].startswith("data:image/png")
    taken = base64.b64decode(face["face"])
    answers = [told(port, f"/api/mask?strategy=crfr_p&ratio=0.75&roll={roll}", taken) for roll in (0, 0, 1)]
    assert {status for status, _ in answers} == {200}
    first, again, other = (found for _, found in answers)
    assert first == again and first["mask"] != other["mask"]
    assert (first["hidden"], first["patches"], first["reconstruction"]) == (147, 196, None)
    (covered,) = [one for one in first["regions"] if one["name"] == first["covered"]]
    assert covered["hidden"] == covered["patches"] == first["covered_patches"] > 0
    status, found = told(port, "/api/mask?strategy=random&ratio=0.5&roll=0", taken)
    assert (status, found["hidden"], found["covered"]) == (200, 98, "")
    assert [sum(one[key] for one in found["regions"]) for key in ("patches", "hidden")] == [196, 98]
    offered = json.loads(ask(port, "GET", "/api/about")[2])["strategies"]
    assert [(row["name"], row["title"]) for row in offered] == [(n, row.title) for n, row in STRATEGIES.items()]
    assert all(row["about"] for row in offered)
    assert [row["name"] for row in offered if row["chosen"]] == ["crfr_p"]
    status, found = told(port, "/api/face", CLIP.read_bytes())
    assert (status, found["error"]) == (422, "This is a video; masks are for photos.")
    short, labelled = taken[:-1], taken[:-1] + b"\x0b"
    for wrong, text in ((short, "Face: expected the 200704 bytes"), (labelled, "Parsing map: labels up to 11")):
        status, found = told(port, "/api/mask?strategy=random&ratio=0.5&roll=0", wrong)
        assert status == 422 and found["error"].startswith(text)
    assert told(port, "/api/mask?strategy=random&ratio=0.5&roll=0", taken + b"x")[0] == 413 and not left()


def test_each_face_of_a_photo_has_a_verdict_and_the_most_forged_have_heat_maps(site):
    """Ten faces of 40 are judged, the eighth looks most forged; the face detector is unsure of it."""
    pixels = np.zeros((32, 32, 3), np.uint8)
    crops = tuple(Crop(0, n, (n, 0, 9, 9), (0, 0, 9), 0.7 if n == 7 else 0.9, pixels) for n in range(10))
    reading = Reading("a", "photo", crops, found=((0, 40),), notes=("first of 24 frames",))
    predictor = Predictor()
    scores = np.log([[0.9, 0.1] if n == 7 else [0.7, 0.3] if n == 1 else [0.2, 0.8] for n in range(10)])
    predictor.log_probabilities = lambda crops: scores[: len(crops)]
    readers = SimpleNamespace(read=lambda *_: reading)
    with serving(replace(site, predictor=predictor, limits=limits_of("blazeface"), detect_readers=readers)) as port:
        status, found = told(port, "/api/detect", b"x")
    assert (status, found["found"], found["count"]) == (200, 40, 10)
    people = found["people"]
    assert [person["verdict"] for person in people] == ["real", "forged", *["real"] * 5, "", "real", "real"]
    assert [n for n, person in enumerate(people) if not person["heat"]] == [8, 9]
    assert people[7]["says"] == "No verdict." and "not sure enough" in people[7]["why"]
    assert people[7]["classes"] == {"fake": pytest.approx(0.9), "real": pytest.approx(people[7]["score"])}
    assert (found["verdict"], found["says"]) == ("forged", "The detector calls 1 of 10 faces forged.")
    assert "chance of a false alarm" in found["several"]
    assert found["notes"] == ["First of 24 frames.", "40 faces, 10 judged.", "The face at 7,0 to 9,9 decides."]


def test_visitors_are_told_names_and_no_paths(monkeypatch, tmp_path, site):
    """Neither where checkpoints lie, nor what other programs said about files of this machine."""
    made = []
    chosen = SimpleNamespace(
        checkpoint=str(tmp_path / "dfd") + "/", pretrained="", classes="", statistics="", norm_over="", dtype="",
        threshold="equal_error", seconds=60.0, detector="blazeface", detector_size=None, faces="all", frames=3,
        least_frames=0.25, least_confidence=None, places=1, limit_mb=1, token="", require_signature=None, runtime="",
    )  # fmt: skip
    monkeypatch.setattr(serve, "open_predictor", lambda *_, **__: Predictor())
    monkeypatch.setattr(serve, "_is_pretraining", lambda _: False)
    monkeypatch.setattr(serve, "Readers", lambda *given: made.append(given) or site.detect_readers)
    opened = serve.open_site(chosen)
    assert [(settings.faces, settings.frame_faces) for settings, *_ in made] == [("all", 8), ("largest", 64)]
    with serving(opened) as port:
        assert json.loads(ask(port, "GET", "/api/about")[2])["detector"] == "dfd"
    for reason in web.PRIVATE:
        read = Reading("a", "", reason=reason, detail=f"it said: {tmp_path}/secret")
        with serving(replace(opened, detect_readers=SimpleNamespace(read=lambda *_, read=read: read))) as port:
            status, found = told(port, "/api/detect", b"x")
        assert status == 422 and found["error"].lower().startswith(REASONS[reason]) and "/" not in found["error"]
    for field, wrong, text in (("threshold", "50", "threshold: expected"), ("seconds", math.nan, "--seconds: expected"),
                               ("least_frames", 2.0, "least_frames: expected")):  # fmt: skip
        with pytest.raises(ValueError, match=text):
            serve.open_site(SimpleNamespace(**vars(chosen) | {field: wrong}))


@pytest.mark.parametrize("asked, text", [
        ("mask?", "Expected ?strategy=NAME"), ("mask?strategy=crfr_p&ratio=x&roll=0", "Expected ?strategy=NAME"),
        ("mask?strategy=all&ratio=0.75&roll=0", "Strategy: expected one of random,"),
        ("mask?strategy=random&ratio=1&roll=0", "Ratio: expected 0.05 to 0.95, found 1"),
        ("mask?strategy=random&ratio=nan&roll=0", "Ratio: expected"),
        ("mask?strategy=random&ratio=0.5&roll=-1", "Roll: expected 0 or more"),
        ("detect?faces=surest", "Faces: expected one of all, largest; found 'surest'."),
        ("detect?frames=0", "Frames: expected"), ("detect?frames=%C2%B2", "Frames: expected"),
        ("detect?frames=257", "Frames: expected a number from 1 to 256, found '257'."),
        ("detect?threshold=2", "Threshold: expected false_alarm"), ("detect?threshold=nan", "Threshold: expected"),
        ("detect?job=short", "Expected ?job= with 32"),
    ])  # fmt: skip
def test_what_is_not_offered_is_refused(port, asked, text):
    status, found = told(port, f"/api/{asked}", PHOTO.read_bytes())
    assert status == 422 and found["error"].startswith(text)


def lying_png() -> bytes:
    """A header of 60,000 by 60,000 pixels."""
    data = bytearray(encode_png(np.zeros((4, 4, 3), np.uint8), 1))
    data[16:24] = (60000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize("content, text", [
        (lying_png(), "Expected at most 100000000 pixels, found a picture of 60000x60000"),
        (b"<html><script>alert(1)</script></html>", "Neither a photo (PNG, JPEG, WebP, BMP, HEIC, AVIF, TIFF or GIF)"),
        (PHOTO.read_bytes()[:9000], "The end of the JPEG is missing"),
        (b"PK\x03\x04" + bytes(99), "Neither a photo"),
        (CLIP.read_bytes()[:2000], "This MP4 file is cut: its index (moov) is missing; copy or download it again."),
        (encode_png(np.zeros((50, 50, 3), np.uint8), 1), "The detector found no face."),
        (b"", "The file has no bytes."),
    ], ids=["bomb", "page", "truncated", "zip", "video", "no_face", "empty"])  # fmt: skip
def test_hostile_files_give_a_sentence(site, port, content, text):
    for path in ("/api/detect", "/api/face"):
        status, found = told(port, path, content)
        assert status == 422 and found["error"].startswith(text) and found["error"].endswith(".")
    assert not left()


def test_what_is_too_large_is_not_read(port):
    """Five gigabytes are announced; the answer comes before a single byte of them."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        head = f"POST /api/detect HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 5000000000\r\n\r\n"
        connection.sendall(head.encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b"")).decode()  # until the server closes it
    assert answer.startswith("HTTP/1.1 413") and "larger than 2 MB" in answer
    assert "connection: close" in answer.lower()  # at once, and not after the server has waited for more


def test_what_does_not_say_how_long_it_is_is_counted(site, port):
    def endless():
        for _ in range(400):
            yield bytes(10_000)

    with contextlib.suppress(ConnectionError):  # it may be cut off while it sends
        assert told(port, "/api/detect", endless())[0] == 413
    assert not left()


def test_names_that_lead_here_from_elsewhere_are_refused(port):
    assert ask(port, "GET", "/", Host="evil.example")[0] == 421
    assert ask(port, "GET", "/", Host=f"localhost:{port}")[0] == 200
    for origin, status in (("http://evil.example", 403), ("null", 403), (f"http://127.0.0.1:{port}", 422)):
        assert ask(port, "POST", "/api/detect", b"x", Origin=origin)[0] == status
    for host in ("", "[", "127.0.0.1.evil.example", "evil.example:127.0.0.1", "127.0.0.1@evil.example"):
        assert ask(port, "GET", "/", Host=host)[0] == 421, host
    assert ask(port, "POST", "/api/detect", b"x", Origin="http://[")[0] == 403


def test_with_a_token_every_request_needs_it(site):
    with serving(replace(site, token=TOKEN)) as port:
        for path in ("/", "/api/about", f"/samples/{PHOTO.name}", "/?token=wrong"):
            assert ask(port, "GET", path)[0] == 401, path
        assert ask(port, "POST", "/api/detect", b"x")[0] == 401
        status, headers, _ = ask(port, "GET", f"/?token={TOKEN}", Host="face.example")
        assert (status, headers["location"]) == (303, "/") and "HttpOnly" in headers["set-cookie"]
        assert ask(port, "GET", f"//evil.example/?token={TOKEN}")[1]["location"] == "/"
        assert "samesite=strict" in headers["set-cookie"].lower()
        assert ask(port, "GET", "/", Cookie=f"a=b; {COOKIE}={TOKEN}", Host="face.example")[0] == 200
        assert ask(port, "GET", "/", Authorization=f"Bearer {TOKEN}")[0] == 200
        assert ask(port, "GET", "/", Cookie=f"{COOKIE}={TOKEN}x")[0] == 401
        # A token does not make requests of other pages harmless.
        refused = ask(port, "POST", "/api/detect", b"x", Cookie=f"{COOKIE}={TOKEN}", Origin="http://evil.example")
        assert refused[0] == 403


def test_places_are_few_and_come_back(site):
    waiting, go_on, seen = threading.Semaphore(0), threading.Event(), []

    def slow(path, *_):
        seen.append((os.readlink(path), stat.S_IMODE(os.stat(path).st_mode), Path(path).read_bytes()))
        waiting.release()
        go_on.wait(10)
        return Reading(path, "photo", reason="no_face", detail="none")

    with serving(replace(site, detect_readers=SimpleNamespace(read=slow))) as port:
        threads = [threading.Thread(target=told, args=(port, "/api/detect", b"x")) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in threads:
            assert waiting.acquire(timeout=10)
        status, found = told(port, "/api/detect", b"x")
        assert (status, found["error"]) == (503, web.BUSY)
        assert seen == [("/memfd:upload (deleted)", 0o600, b"x")] * 2
        go_on.set()
        for thread in threads:
            thread.join()
        assert told(port, "/api/detect", b"x")[0] == 422


def test_progress_is_told_and_who_leaves_gives_the_work_up(site):
    """The browser draws the name of a job, asks how far it is, and closes the connection; the place is free again."""
    told_once, tickets, job = threading.Event(), [], "0123456789abcdef" * 2

    def slow(path, faces, frames, ticket):
        tickets.append((faces, frames, ticket))
        ticket.tell("read", 3, 7)
        with ticket.ending(ended.set):
            told_once.set()
            assert ended.wait(10)
        ticket.tell("read")

    def progress(port, name):
        return json.loads(ask(port, "GET", f"/api/progress?job={name}")[2])

    ended = threading.Event()
    with serving(replace(site, detect_readers=SimpleNamespace(read=slow), places=1)) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            head = f"POST /api/detect?faces=largest&frames=7&job={job} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            connection.sendall(f"{head}Content-Length: 1\r\n\r\nx".encode())
            assert told_once.wait(10)
            assert progress(port, job) == {"stage": "read", "done": 3, "of": 7}
            assert progress(port, "f" * 32) == {"stage": "wait", "done": 0, "of": 0}
            assert told(port, "/api/detect", b"x") == (503, {"error": web.BUSY})
        assert ended.wait(10) and not left()
        assert progress(port, job)["stage"] == "wait" and tickets[0][:2] == ("largest", 7)
        with pytest.raises(GivenUp):
            tickets[0][2].tell("score")


def test_who_sends_slowly_loses_the_place(site, port, monkeypatch):
    monkeypatch.setattr(uploads, "SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        head = f"POST /api/detect HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 50\r\n\r\nx"
        connection.sendall(head.encode())
        assert connection.recv(4096).decode().startswith("HTTP/1.1 408")
    assert not left()


def test_a_server_that_ends_keeps_nothing(site, monkeypatch):
    """A file is being read, and would be for long; the readers are closed, which ends that."""
    monkeypatch.setattr(serve, "SECONDS_TO_END", 0.2)
    reading, closed, stop = threading.Event(), threading.Event(), threading.Event()

    def read(path, *_):
        reading.set()
        assert closed.wait(30)
        return Reading(path, "", reason="died", detail="given up")

    ending = replace(site, detect_readers=SimpleNamespace(read=read, close=closed.set), mask_readers=SimpleNamespace(
        close=lambda: None))  # fmt: skip
    listener = serve.listening("127.0.0.1", 0)
    port = listener.getsockname()[1]
    server = threading.Thread(target=serve.run_until, args=(stop, ending, serve.make_server(ending), listener))
    server.start()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        head = f"POST /api/detect HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 1\r\n\r\n"
        connection.sendall(head.encode() + b"x")
        assert reading.wait(30) and len(kept()) == 1
        stop.set()
        assert b"The process that decoded the file ended" in b"".join(iter(lambda: connection.recv(4096), b""))
        server.join(30)
    assert not server.is_alive() and closed.is_set() and kept() == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()


def test_a_port_that_is_taken_is_told_and_answers_on_a_kept_connection_do_not_wait(port):
    with serve.listening("127.0.0.1", 0) as listener:
        taken = listener.getsockname()[1]
        with pytest.raises(ValueError, match=f"--port={taken}: Address already in use"):
            serve.listening("127.0.0.1", taken)
    # Head and body are two writes: Nagle's algorithm would hold the second until the first is acknowledged.
    with serve.listening("127.0.0.1", 0) as listener:
        with socket.create_connection(listener.getsockname()):
            accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_what_fails_here_is_said_too(site, port, monkeypatch):
    def damaged(crops):
        raise ValueError("stub: scores that are not finite")

    def cannot(path, *_):
        raise RuntimeError("a process for reading files could not be started: /home/somebody is not there")

    predictor = Predictor()
    predictor.log_probabilities = damaged
    with serving(replace(site, predictor=predictor, mask_readers=SimpleNamespace(read=cannot))) as other:
        assert told(other, "/api/detect", PHOTO.read_bytes()) == (500, {"error": "Stub: scores that are not finite."})
        status, found = told(other, "/api/face", PHOTO.read_bytes())
        assert (status, found["error"]) == (503, "A process for reading files could not be started.")
    monkeypatch.setattr(uploads.os, "memfd_create", lambda name: os.open("/dev/full", os.O_WRONLY))
    monkeypatch.setattr(uploads.os, "fchmod", lambda *_: None)
    status, found = told(port, "/api/detect", PHOTO.read_bytes())
    assert (status, found["error"]) == (507, "The server could not keep the file: No space left on device.")


def test_without_a_detector_the_page_says_so(site):
    with serving(replace(site, predictor=None, detect_readers=None)) as port:
        assert json.loads(ask(port, "GET", "/api/about")[2])["detector"] is None
        status, found = told(port, "/api/detect", PHOTO.read_bytes())
        assert (status, found["error"]) == (404, web.NO_DETECTOR)


@pytest.mark.parametrize("host, token, text", [
        ("0.0.0.0", "", "--host=0.0.0.0: others could use this page; give a secret of at least 16 characters"),
        ("127.0.0.1", "short", "token: expected at least 16 letters, digits and dashes"),
        ("10.0.0.1", "with a space in its middle", "token: expected at least 16 letters"),
    ])  # fmt: skip
def test_others_need_a_secret(host, token, text):
    with pytest.raises(ValueError, match=text):
        serve.check_address(host, token)
    serve.check_address("127.0.0.1", "")
    serve.check_address("0.0.0.0", TOKEN)


def test_a_secret_need_not_stand_in_the_list_of_processes(tmp_path, capsys):
    kept = tmp_path / "secret.txt"
    kept.write_text(f"{TOKEN}\n")
    kept.chmod(0o600)
    environment = {serve.TOKEN_VARIABLE: TOKEN, "HOME": "/"}
    assert serve.token_of("", "", environment) == TOKEN and environment == {"HOME": "/"}  # decoders do not get it
    assert serve.token_of("", str(kept), {}) == TOKEN and serve.token_of("", "", {}) == ""
    assert capsys.readouterr().err == ""
    assert serve.token_of(TOKEN, "", {}) == TOKEN and "list of processes" in capsys.readouterr().err
    kept.chmod(0o644)
    assert serve.token_of("", str(kept), {}) == TOKEN and "others may read" in capsys.readouterr().err
    kept.write_text("two\nlines\n")
    for file, text in ((kept, "expected one line, the secret; found 2"), (tmp_path, "expected a file"),
                       (tmp_path / "none", "expected a file with the secret; there is none")):  # fmt: skip
        with pytest.raises(ValueError, match=f"--token_file={file}: {text}"):
            serve.token_of("", str(file), {})
    with pytest.raises(ValueError, match="--token, FSFM_TOKEN: expected one of them"):
        serve.token_of(TOKEN, "", {serve.TOKEN_VARIABLE: TOKEN})
