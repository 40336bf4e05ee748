"""The page and what it asks: a Starlette application of three questions, with limits on everything."""

import asyncio
import contextlib
import dataclasses
import functools
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

import fsfm_jax
from fsfm_jax.apps.access import Access
from fsfm_jax.apps.certainty import Limits
from fsfm_jax.apps.choice import FACES, MOST_FRAMES, Choice, choose
from fsfm_jax.apps.detect_answer import answer_detection
from fsfm_jax.apps.mask_answer import FACE_BYTES, LEAST, MOST, USUAL_RATIO, Masker, answer_face
from fsfm_jax.apps.readers import Readers
from fsfm_jax.apps.reading import REASONS, VIDEO, Reading
from fsfm_jax.apps.statement import state_rates
from fsfm_jax.apps.ticket import WAIT, GivenUp, Ticket
from fsfm_jax.apps.uploads import Refused, Upload, receive
from fsfm_jax.apps.verdict import RULES, choose_rule
from fsfm_jax.data import masking
from fsfm_jax.detection.predictor import Predictor

PAGE = Path(__file__).parent / "page"
SCRIPTS = (
    "page.js", "ask.js", "element.js", "file.js", "files.js", "masks.js", "person.js", "picker.js", "preview.js",
    "report.js", "result.js", "timeline.js",
)  # fmt: skip
STYLES = ("page.css", "report.css")
FILES = {"/": "index.html", **{f"/{name}": name for name in (*STYLES, *SCRIPTS)}}
SAMPLES = Path(__file__).parents[1] / "data" / "samples"
NO_DETECTOR = "This server has no detector: start it with --checkpoint=WORKDIR of a fine-tuning run."
NOT_STARTED = "A process for reading files could not be started."
# Their details quote what other programs said, who may name folders of this server.
PRIVATE = ("died", "failed")
BUSY = "All places are taken by other requests. Try again in a moment."
GIVEN_UP = "The request was given up."
JOB = re.compile("[0-9a-f]{32}")  # drawn by the browser, so that nobody else can ask for its progress


@dataclasses.dataclass(frozen=True)
class Site:
    """What a server offers.

    Attributes:
      predictor, detect_readers: of the detector; None without one.
      usual, limits: how files are inspected unless a visitor chooses otherwise, and what a verdict needs.
      masker, mask_readers: of masks.
      limit: bytes of an upload. places: requests at work at a time.
      token: that every request needs; "" on loopback.
      samples: names of bundled photos that the page offers.
    """

    predictor: Predictor | None
    usual: Choice
    limits: Limits
    detect_readers: Readers | None
    masker: Masker
    mask_readers: Readers
    limit: int
    places: int
    token: str
    samples: tuple[str, ...]


def make_app(site: Site) -> Access:
    """Return the application of a site."""
    places = threading.BoundedSemaphore(site.places)
    tickets: dict[str, Ticket] = {}
    routes = [
        Route(path, functools.partial(_file, file=PAGE / name), methods=["GET"]) for path, name in FILES.items()
    ]
    routes += [
        Route(f"/samples/{name}", functools.partial(_file, file=SAMPLES / name), methods=["GET"])
        for name in site.samples
    ]
    routes += [
        Route("/api/about", functools.partial(_about, site=site), methods=["GET"]),
        Route("/api/progress", functools.partial(_progress, tickets=tickets), methods=["GET"]),
        Route("/api/detect", _answering(functools.partial(_detect, site=site, tickets=tickets), places),
              methods=["POST"]),
        Route("/api/face", _answering(functools.partial(_face, site=site, tickets=tickets), places), methods=["POST"]),
        Route("/api/mask", _answering(functools.partial(_mask, site=site), places), methods=["POST"]),
    ]
    return Access(Starlette(routes=routes), site.token)


async def _file(request: Request, file: Path) -> Response:
    return FileResponse(file)


def _about(request: Request, site: Site) -> Response:
    predictor = site.predictor
    return JSONResponse(
        {
            "version": fsfm_jax.__version__,
            "detector": None if predictor is None else predictor.name,
            "weights_sha256": None if predictor is None else predictor.weights_sha256,
            "usual": dataclasses.asdict(site.usual),
            "faces": list(dict.fromkeys([site.usual.faces, *FACES])),
            "most_frames": MOST_FRAMES,
            "thresholds": [] if predictor is None else _thresholds(site),
            "no_detector": NO_DETECTOR,
            "pretraining": None if site.masker.run is None else site.masker.name,
            "strategies": [
                {"name": name, "title": row.title, "about": row.about, "chosen": name == masking.DEFAULT}
                for name, row in masking.STRATEGIES.items()
            ],
            "ratios": [LEAST, USUAL_RATIO, MOST],
            "samples": list(site.samples),
            "limit": site.limit,
        }
    )


def _answering(
    answer: Callable[[Request], Awaitable[dict]], places: threading.BoundedSemaphore
) -> Callable[[Request], Awaitable[Response]]:
    """Return a handler that takes one of the places, and says in a sentence what is wrong with a request."""

    async def handler(request: Request) -> Response:
        try:
            async with _place(places):
                return JSONResponse(await answer(request))
        except Refused as error:
            # A client that keeps sending a refused upload is cut off.
            return JSONResponse({"error": str(error)}, error.status, headers={"Connection": "close"})

    return handler


@contextlib.asynccontextmanager
async def _place(places: threading.BoundedSemaphore) -> AsyncIterator[None]:
    if not places.acquire(blocking=False):
        raise Refused(503, BUSY)
    try:
        yield
    finally:
        places.release()


def _thresholds(site: Site) -> list[dict]:
    """Return the rules that this detector keeps a threshold for, with what is known of each in words."""
    found = {rule: choose_rule(site.predictor, rule, site.limits) for rule in RULES}
    return [
        {"name": name, "photo": state_rates(rule.frame, "photo"), "video": state_rates(rule.video, "video")}
        for name, rule in found.items() if rule.frame or rule.video
    ]  # fmt: skip


async def _progress(request: Request, tickets: dict[str, Ticket]) -> Response:
    ticket = tickets.get(request.query_params.get("job", ""))
    stage, done, of = (WAIT, 0, 0) if ticket is None else ticket.progress
    return JSONResponse({"stage": stage, "done": done, "of": of})


@contextlib.contextmanager
def _issue_ticket(request: Request, tickets: dict[str, Ticket]) -> Iterator[Ticket]:
    """Issue the ticket of a request; others can ask for it while the block runs if the request names a job."""
    job, ticket = request.query_params.get("job", ""), Ticket()
    if job and (not JOB.fullmatch(job) or job in tickets):
        raise Refused(422, "Expected ?job= with 32 hexadecimal digits that no other request has.")
    if job:
        tickets[job] = ticket
    try:
        yield ticket
    finally:
        tickets.pop(job, None)


async def _work(request: Request, ticket: Ticket, answer: Callable[[], dict]) -> dict:
    """Call `answer` in a thread, and give it up when the client has gone."""
    work = asyncio.ensure_future(run_in_threadpool(answer))
    left = asyncio.ensure_future(_leave(request))
    try:
        await asyncio.wait((work, left), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            ticket.give_up()
        return await work
    except GivenUp as error:
        raise Refused(400, GIVEN_UP) from error
    finally:
        left.cancel()


async def _leave(request: Request) -> None:
    """Return when the connection is closed; the body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _detect(request: Request, site: Site, tickets: dict[str, Ticket]) -> dict:
    if site.predictor is None:
        raise Refused(404, NO_DETECTOR)
    try:
        choice = choose(request.query_params, site.usual)
    except ValueError as error:
        raise Refused(422, _sentence(str(error))) from error
    with _issue_ticket(request, tickets) as ticket:
        async with receive(request, site.limit) as upload:
            return await _work(request, ticket, functools.partial(_detect_file, upload, site, choice, ticket))


def _detect_file(upload: Upload, site: Site, choice: Choice, ticket: Ticket) -> dict:
    reading = _read(site.detect_readers, upload, ticket, choice.faces, choice.frames)
    rule = choose_rule(site.predictor, choice.threshold, site.limits, persons=True)
    ticket.tell(WAIT)
    with site.masker.lock:
        try:
            found = answer_detection(site.predictor, rule, reading, ticket)
        except ValueError as error:  # the detector is damaged, not the file
            raise Refused(500, _sentence(str(error))) from error
    return found | {"sha256": upload.sha256, "bytes": upload.length, "choice": dataclasses.asdict(choice)}


async def _face(request: Request, site: Site, tickets: dict[str, Ticket]) -> dict:
    with _issue_ticket(request, tickets) as ticket:
        async with receive(request, site.limit) as upload:
            return await _work(request, ticket, functools.partial(_face_of, upload, site, ticket))


def _face_of(upload: Upload, site: Site, ticket: Ticket) -> dict:
    reading = _read(site.mask_readers, upload, ticket)
    if reading.kind == VIDEO:
        raise Refused(422, "This is a video; masks are for photos.")
    return answer_face(reading)


async def _mask(request: Request, site: Site) -> dict:
    query = request.query_params
    try:
        strategy, ratio, roll = query["strategy"], float(query["ratio"]), int(query["roll"])
    except (KeyError, ValueError) as error:
        raise Refused(422, "Expected ?strategy=NAME&ratio=NUMBER&roll=NUMBER.") from error
    async with receive(request, min(site.limit, FACE_BYTES)) as upload:
        return await run_in_threadpool(_mask_of, upload, site, strategy, ratio, roll)


def _mask_of(upload: Upload, site: Site, strategy: str, ratio: float, roll: int) -> dict:
    try:
        return site.masker.answer_masks(Path(upload.path).read_bytes(), strategy, ratio, roll)
    except ValueError as error:
        raise Refused(422, _sentence(str(error))) from error


def _read(
    readers: Readers, upload: Upload, ticket: Ticket, faces: str | None = None, frames: int | None = None
) -> Reading:
    """Return a file that has a face."""
    try:
        reading = readers.read(upload.path, faces, frames, ticket)
    except RuntimeError as error:
        raise Refused(503, NOT_STARTED) from error
    if reading.reason:
        raise Refused(422, _sentence(REASONS[reading.reason] if reading.reason in PRIVATE else reading.detail))
    return reading


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
