"""Who may talk to the page: this machine alone, or anyone who has the token. Headers that keep a browser careful.

- Without a token only requests to a loopback name are answered: a page of a stranger that points a name of its own at
  127.0.0.1 (DNS rebinding) is refused by its Host.
- Requests that change or compute something are refused if a page of another origin sent them.
- With a token every request needs it. The first visit brings it as `?token=`, gets a cookie that scripts cannot read
  and that other sites do not send, and is led to the address without it.
"""

import hmac
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "::1")
COOKIE = "fsfm_jax_token"
SAFE = ("GET", "HEAD")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def is_loopback(host: str) -> bool:
    """Return whether an address to listen on is reached from this machine alone."""
    return host in LOOPBACK


class Access:
    """ASGI middleware that refuses, before anything of a request but its head is read."""

    def __init__(self, app: ASGIApp, token: str):
        """Set the required `token`; "" for a server that listens on loopback."""
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # no other protocol is spoken, such as websockets
        refused = self._refusal(scope)

        async def careful(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await (self._app if refused is None else refused)(scope, receive, careful)

    def _refusal(self, scope: Scope) -> Response | None:
        headers, query = Headers(scope=scope), QueryParams(scope["query_string"])
        host = headers.get("host", "")
        if not self._token:
            if _parts(f"//{host}").hostname not in LOOPBACK:
                return PlainTextResponse("Open this page at 127.0.0.1 or localhost.", 421)
        elif self._is_token(query.get("token", "")) and scope["method"] == "GET":
            answer = RedirectResponse("/", 303)  # not to the path, which may be "//elsewhere"
            answer.set_cookie(COOKIE, self._token, httponly=True, samesite="strict", path="/")
            return answer
        elif not self._is_token(_cookie(headers)) and not self._is_token(_bearer(headers)):
            return PlainTextResponse("A token is needed: open the address that the server printed at its start.", 401)
        origin = headers.get("origin")
        if scope["method"] not in SAFE and origin is not None and _parts(origin).netloc != host:
            return PlainTextResponse("This request came from another page.", 403)
        return None

    def _is_token(self, text: str) -> bool:
        # Takes as long whichever character is wrong.
        return hmac.compare_digest(text.encode(errors="replace"), self._token.encode())


def _parts(address: str) -> SplitResult:
    """Return the parts of an address; an invalid one, such as "//[", has none."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


def _cookie(headers: Headers) -> str:
    parts = (part.strip().partition("=") for part in headers.get("cookie", "").split(";"))
    return next((value for name, _, value in parts if name == COOKIE), "")


def _bearer(headers: Headers) -> str:
    scheme, _, value = headers.get("authorization", "").partition(" ")
    return value if scheme.lower() == "bearer" else ""
