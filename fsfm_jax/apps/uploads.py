"""The one file of a request, kept in memory for as long as it is inspected; nothing of it reaches a disk."""

import asyncio
import contextlib
import dataclasses
import hashlib
import os
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect, Request

SECONDS = 120.0  # for an upload: who sends a byte now and then must not keep a place


class Refused(Exception):
    """A request that is not answered; the text is for its sender."""

    def __init__(self, status: int, text: str):
        super().__init__(text)
        self.status = status


@dataclasses.dataclass(frozen=True)
class Upload:
    """A file that has arrived whole.

    Attributes:
      path: of the file in memory, for this user's processes while this one holds it.
      length: in bytes. sha256: of its bytes, in hexadecimal.
    """

    path: str
    length: int
    sha256: str


@contextlib.asynccontextmanager
async def receive(request: Request, limit: int) -> AsyncIterator[Upload]:
    """Receive the body of a request into a file in memory, which is gone however this process ends.

    The body is the file itself; its name never comes here. It is counted while it arrives, and what says it is longer
    than `limit` bytes is not read at all.

    Raises:
      Refused: too long, too slow, no bytes, or given up on the way.
    """
    told = request.headers.get("content-length", "")
    if told.isdigit() and int(told) > limit:
        raise Refused(413, _too_long(limit))
    try:
        descriptor = os.memfd_create("upload")
    except OSError as error:
        raise Refused(507, f"The server could not keep the file: {error.strerror}.") from error
    os.fchmod(descriptor, 0o600)
    try:
        try:
            async with asyncio.timeout(SECONDS):
                length, sha256 = await _write_body(request, descriptor, limit)
        except TimeoutError as error:
            raise Refused(408, f"The upload took longer than {SECONDS:g} seconds.") from error
        except ClientDisconnect as error:
            raise Refused(400, "The upload was given up.") from error
        except OSError as error:
            raise Refused(507, f"The server could not keep the file: {error.strerror}.") from error
        if not length:
            raise Refused(422, "The file has no bytes.")
        yield Upload(f"/proc/{os.getpid()}/fd/{descriptor}", length, sha256)
    finally:
        os.close(descriptor)


async def _write_body(request: Request, descriptor: int, limit: int) -> tuple[int, str]:
    """Write the body to an open file and returns the number of bytes and their SHA-256."""
    length, digest = 0, hashlib.sha256()
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        async for chunk in request.stream():
            length += len(chunk)
            if length > limit:
                raise Refused(413, _too_long(limit))
            digest.update(chunk)
            file.write(chunk)
    return length, digest.hexdigest()


def _too_long(limit: int) -> str:
    most = f"{limit / 1e6:,.0f} MB" if limit >= 1e6 else f"{limit:,} bytes"
    return f"The file is larger than {most}, the most that this page takes."
