"""The page and what it asks: a Starlette application of two questions, with limits on everything."""

import contextlib
import dataclasses
import functools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from fsfm_jax.apps.access import Access
from fsfm_jax.apps.detect_answer import answer_detection
from fsfm_jax.apps.mask_answer import LEAST, MOST, USUAL_RATIO, Masker
from fsfm_jax.apps.readers import Readers
from fsfm_jax.apps.reading import REASONS, VIDEO, Reading
from fsfm_jax.apps.uploads import Refused, receive
from fsfm_jax.apps.verdict import DecisionRule
from fsfm_jax.data import masking
from fsfm_jax.detection.predictor import Predictor

PAGE = Path(__file__).parent / "page"
FILES = {"/": "index.html", "/page.js": "page.js", "/page.css": "page.css"}
SAMPLES = Path(__file__).parents[1] / "data" / "samples"
NO_DETECTOR = "This server has no detector: start it with --checkpoint=WORKDIR of a fine-tuning run."
NOT_STARTED = "A process for reading files could not be started."
# Their details quote what other programs said, who may name folders of this server.
PRIVATE = ("died", "failed")
BUSY = "All places are taken by other requests. Try again in a moment."


@dataclasses.dataclass(frozen=True)
class Site:
    """What a server offers.

    Attributes:
      predictor, rule, detect_readers: of the detector; None without one.
      masker, mask_readers: of masks.
      limit: bytes of an upload. places: requests at work at a time.
      token: that every request needs; "" on loopback.
      folder: where uploads lie while they are looked at.
      samples: names of bundled photos that the page offers.
    """

    predictor: Predictor | None
    rule: DecisionRule | None
    detect_readers: Readers | None
    masker: Masker
    mask_readers: Readers
    limit: int
    places: int
    token: str
    folder: str
    samples: tuple[str, ...]


def make_app(site: Site) -> Access:
    """The application of a site."""
    places = threading.BoundedSemaphore(site.places)
    routes = [
        Route(path, functools.partial(_file, file=PAGE / name), methods=["GET"]) for path, name in FILES.items()
    ]
    routes += [
        Route(f"/samples/{name}", functools.partial(_file, file=SAMPLES / name), methods=["GET"])
        for name in site.samples
    ]
    routes += [
        Route("/api/about", functools.partial(_about, site=site), methods=["GET"]),
        Route("/api/detect", _answering(functools.partial(_detect, site=site), places), methods=["POST"]),
        Route("/api/mask", _answering(functools.partial(_mask, site=site), places), methods=["POST"]),
    ]
    return Access(Starlette(routes=routes), site.token)


async def _file(request: Request, file: Path) -> Response:
    return FileResponse(file)


async def _about(request: Request, site: Site) -> Response:
    predictor = site.predictor
    return JSONResponse(
        {
            "detector": None if predictor is None else predictor.name,
            "classes": None if predictor is None else list(predictor.class_names),
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
    """A handler that takes one of the places, and says in a sentence what is wrong with a request."""

    async def handler(request: Request) -> Response:
        try:
            async with _place(places):
                return JSONResponse(await answer(request))
        except Refused as error:
            # Whoever goes on sending what was refused is cut off.
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


async def _detect(request: Request, site: Site) -> dict:
    if site.predictor is None:
        raise Refused(404, NO_DETECTOR)
    async with receive(request, site.limit, site.folder) as path:
        return await run_in_threadpool(_detect_file, path, site)


def _detect_file(path: str, site: Site) -> dict:
    reading = _read(site.detect_readers, path)
    with site.masker.lock:
        try:
            return answer_detection(site.predictor, site.rule, reading)
        except ValueError as error:  # the detector is damaged, not the file
            raise Refused(500, _sentence(str(error))) from error


async def _mask(request: Request, site: Site) -> dict:
    query = request.query_params
    try:
        strategy, ratio, roll = query["strategy"], float(query["ratio"]), int(query["roll"])
    except (KeyError, ValueError) as error:
        raise Refused(422, "Expected ?strategy=NAME&ratio=NUMBER&roll=NUMBER.") from error
    async with receive(request, site.limit, site.folder) as path:
        return await run_in_threadpool(_mask_file, path, site, strategy, ratio, roll)


def _mask_file(path: str, site: Site, strategy: str, ratio: float, roll: int) -> dict:
    reading = _read(site.mask_readers, path)
    if reading.kind == VIDEO:
        raise Refused(422, "This is a video; masks are for photos.")
    try:
        return site.masker.answer_masks(reading, strategy, ratio, roll)
    except ValueError as error:
        raise Refused(422, _sentence(str(error))) from error


def _read(readers: Readers, path: str) -> Reading:
    """A file that has a face."""
    try:
        reading = readers.read(path)
    except RuntimeError as error:
        raise Refused(503, NOT_STARTED) from error
    if reading.reason:
        raise Refused(422, _sentence(REASONS[reading.reason] if reading.reason in PRIVATE else reading.detail))
    return reading


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
