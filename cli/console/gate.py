"""Who may come in to the console: the browser of the person who started it, and nobody else.

The pages act with that person's AWS identity, and whatever runs on the same machine can reach 127.0.0.1: other users,
and each web page that the person has open. So, before anything else is looked at:

- **Host** has to be ours. A page elsewhere whose name resolves to 127.0.0.1 (DNS rebinding) comes with that name.
- **A code**, made at the start, good once, is exchanged for a cookie. It goes in the body of a form, so no address, no
  history and no Referer has it; and not on a command line, which every user of the machine can read (serve.py).
- **The cookie** is for this browser's own use (HttpOnly, SameSite=Strict). Cookies do not know ports: whatever listens
  on another port of 127.0.0.1 would be sent it too. So it is for one path alone, which nobody can guess.
- **Other pages' requests** are refused, for reading as for writing (Sec-Fetch-Site); what changes something must name
  us as its Origin and carry a token that only our pages have (pages.py).
- **After some time without a person** the session is over, and the tab says so.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from time import monotonic
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "confirm"
IDLE_SECONDS = 30 * 60
MOST_BODY = 2 * 1024 * 1024
"""Of a form: 2,000 ids of the longest come to less."""
MOST_CODE = 4096
BY_ITSELF = "live"
"""The query of a request that a page makes by itself: it shows nobody to be there."""
HEADERS: Mapping[str, str] = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with `no-referrer` browsers send forms with the Origin `null`
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}

Doorstep = Callable[[Scope, "Gate", str], Response]
"""The page for who is not in: what it says is `code`, `wrong`, `used`, `in` (just let in) or `over`."""


@dataclass(slots=True)
class Gate:
    """Stands before the whole application."""

    app: ASGIApp
    port: int
    doorstep: Doorstep
    uploads: Mapping[str, int] = field(default_factory=dict)
    """Paths, below `base`, that take more than MOST_BODY, and how many bytes."""
    clock: Callable[[], float] = monotonic
    code: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    base: str = field(default_factory=lambda: f"/{secrets.token_urlsafe(16)}")
    """Where all pages are."""
    _key: str | None = None
    """The cookie's value, once somebody came in."""
    _seen: float = 0.0
    _is_over: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # pragma: no cover - no WebSocket, and the lifespan is serve.py's
            return
        headers, path = Headers(scope=scope), str(scope["path"])

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refused = self._refused(scope["method"], path, headers)
        if refused is not None:
            await refused(scope, receive, sealed)
        elif path.startswith("/static/"):
            await self.app(scope, receive, sealed)
        elif not path.startswith(f"{self.base}/"):
            await (await self._at_the_door(scope, receive))(scope, receive, sealed)
        elif not self._is_in(headers):
            answer = self.doorstep(scope, self, "over" if self._is_over else "used" if self._key else "code")
            answer.headers["hx-refresh"] = (
                "true"  # a part that a page asks for is no place for this: the whole tab says so
            )
            await answer(scope, receive, sealed)
        else:
            if BY_ITSELF not in parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True):
                self._seen = self.clock()
            limit = self.uploads.get(path.removeprefix(self.base), MOST_BODY)
            with suppress(Exception):  # a page has said so already; this is for the server to print a trace
                await self.app(scope, _bounded(receive, limit), sealed)

    def _refused(self, method: str, path: str, headers: Headers) -> Response | None:
        hosts = {f"127.0.0.1:{self.port}", f"localhost:{self.port}"}
        host = headers.get("host", "")
        if host not in hosts:
            return _plain(421, f"This is the console of `confirm`, at 127.0.0.1:{self.port} and under no other name.")
        inside = path.startswith(f"{self.base}/")
        if inside and headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return _plain(403, "Another page sent you here. Open the console's own tab, or type its address.")
        if method not in ("GET", "HEAD", "POST"):
            return _plain(405, "The console takes GET and POST.")
        if inside and method == "POST" and headers.get("origin") != f"http://{host}":
            return _plain(403, "That form is not of the console: nothing was done. Use the console's own pages.")
        length = headers.get("content-length", "0")
        limit = self.uploads.get(path.removeprefix(self.base), MOST_BODY) if inside else MOST_CODE
        if method == "POST" and (not length.isdecimal() or int(length) > limit):
            return _plain(413, f"At most {limit:,} bytes are taken here: nothing was done.")
        return None

    async def _at_the_door(self, scope: Scope, receive: Receive) -> Response:
        if scope["path"] not in ("/", "/enter"):
            return self.doorstep(scope, self, "over" if self._is_over else "used" if self._key else "code")
        if self._key is not None:
            return self.doorstep(scope, self, "over" if self._is_over else "used")
        if scope["method"] != "POST":
            return self.doorstep(scope, self, "code")
        given = parse_qs((await _body(receive, MOST_CODE)).decode("latin-1")).get("code", [""])[0].strip()
        if not secrets.compare_digest(given.encode(), self.code.encode()):
            return self.doorstep(scope, self, "wrong")
        self._key, self._seen = secrets.token_urlsafe(32), self.clock()
        answer = self.doorstep(scope, self, "in")
        answer.set_cookie(COOKIE, self._key, path=f"{self.base}/", httponly=True, samesite="strict")
        return answer

    def _is_in(self, headers: Headers) -> bool:
        if self._key is None or self._is_over:
            return False
        try:
            given = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        if given is None or not secrets.compare_digest(given.value.encode(), self._key.encode()):
            return False
        self._is_over = self.clock() - self._seen > IDLE_SECONDS
        return not self._is_over


def _plain(status: int, text: str) -> Response:
    return Response(f"{text}\n", status, media_type="text/plain")


def _bounded(receive: Receive, limit: int) -> Receive:
    """What is longer than its Content-Length said, or has none, ends where it is too long."""
    taken = 0

    async def bounded() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > limit:
            raise TooLong(limit)
        return message

    return bounded


class TooLong(Exception):  # noqa: N818 - a verdict on what was sent
    """More than may be sent."""


async def _body(receive: Receive, limit: int) -> bytes:
    body, more = b"", True
    while more and len(body) <= limit:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body[:limit]
