"""A small, strict HTTP/1.1 client for one origin: no dependency, no retry, no redirect.

Why our own: it ships in a Lambda (cold start) and makes thousands of calls a second in one process, where general
clients cost three to five times the CPU. And a payment needs one thing they do not tell: whether any byte of the
request may have left (`HttpError.sent`). Not sent means nothing happened; sent means nobody knows.

    client = HttpClient("https://gateway.example/v1", timeout_seconds=10)
    answer = await client.request("POST", "/confirmations", headers={"Idempotency-Key": "t-1"}, body=b"{}")

A client belongs to the event loop of its first call: keep one loop per process (`asyncio.Runner`).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import select
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

MAX_HEAD_BYTES = 16 * 1024
"""Status line and headers, and equally the trailers of a chunked body."""
MAX_BODY_BYTES = 256 * 1024
MAX_INTERIM_ANSWERS = 8
"""1xx answers skipped before the real one."""
PREPARE_SECONDS = 2.0
"""The longest that a connection is waited for before its call."""
IDLE_SECONDS = 60.0
"""A connection idle for longer is not used again: an AWS NAT gateway drops flows idle for 350 s without a word."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?|")
_STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [^\r\n]*)?\r\n")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\r\n]*)\r\n")
_HEADERS = re.compile(f"(?:{_HEADER.pattern})*")
_PATH = re.compile(r"/[\x21-\x7e]*")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?")
_NO_BODY = (204, 304)


class HttpError(Exception):
    """A call that brought no usable answer.

    Attributes:
        reason: short, and free of anything from the request or the answer, so that it may be logged.
        sent: whether any byte of the request may have left. False: the server certainly did nothing.
    """

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent


class NotConnected(HttpError):  # noqa: N818
    """No connection came about (refused, no such host, certificate not accepted). Nothing was sent."""


class TimedOut(HttpError):  # noqa: N818
    """The call's one time limit passed: while connecting (`sent` False), or after (`sent` True)."""


class Disconnected(HttpError):  # noqa: N818
    """The connection ended before the answer did."""


class BadResponse(HttpError):  # noqa: N818
    """The answer breaks HTTP/1.1 or a limit of ours."""


@dataclass(frozen=True, slots=True, repr=False)
class Response:
    """A complete answer. Its repr leaves headers and body out: they may hold what no log may."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name; repeated ones joined by a comma."""
    body: bytes

    def __repr__(self) -> str:
        return f"Response(status={self.status}, {len(self.body)} bytes)"


class ResponseParser:
    """One answer, fed in pieces of any size. Pure: no socket, no clock."""

    __slots__ = (
        "_buffer",
        "_chunked",
        "_headers",
        "_interim",
        "_left",
        "_max_body",
        "_parts",
        "_read",
        "_searched",
        "_size",
        "_status",
        "keep_alive",
    )

    def __init__(self, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self._max_body = max_body_bytes
        self._buffer = bytearray()
        self._searched = 0
        self._interim = 0
        self._status = 0
        self._headers: dict[str, str] = {}
        self._chunked = False
        self._left = 0
        self._read = self._read_head
        self._parts: list[bytes] = []
        self._size = 0
        self.keep_alive = False
        """Whether the connection may serve another call once the answer is complete."""

    @property
    def begun(self) -> bool:
        return bool(self._status or self._buffer or self._interim)

    def feed(self, data: bytes) -> Response | None:
        """Takes in `data`; returns the answer once it is complete.

        Raises:
            BadResponse: broken, or over a limit. The connection is then useless.
        """
        self._buffer += data
        while (more := self._read()) is True:
            pass
        if more is False:
            return None
        if self._buffer:  # bytes that belong to no call: whoever reads them next would trust the wrong answer
            self.keep_alive = False
        return Response(self._status, self._headers, b"".join(self._parts))

    # Each reader returns True (took a step: go on), False (needs more bytes) or None (the answer is complete).

    def _line(self, limit: int, what: str, end: bytes = b"\r\n") -> bytes | None:
        """Cuts the bytes up to `end` off the buffer, or returns None while it has not arrived."""
        at = self._buffer.find(end, max(0, self._searched - len(end) + 1))
        if at < 0 and len(self._buffer) <= limit:
            self._searched = len(self._buffer)
            return None
        if at < 0 or at > limit:
            raise BadResponse(f"{what} over {limit} bytes", sent=True)
        line = bytes(self._buffer[:at])
        del self._buffer[: at + len(end)]
        self._searched = 0
        return line

    def _read_head(self) -> bool | None:
        head = self._line(MAX_HEAD_BYTES, "answer head", b"\r\n\r\n")
        if head is None:
            return False
        text = head.decode("latin-1") + "\r\n"
        start = _STATUS_LINE.match(text)
        if start is None:
            raise BadResponse("answer is not HTTP/1.1", sent=True)
        if not _HEADERS.fullmatch(text, start.end()):
            raise BadResponse("answer with a broken header", sent=True)
        headers: dict[str, str] = {}
        for name, value in _HEADER.findall(text, start.end()):
            name, value = name.lower(), value.strip(" \t")
            if name in headers:
                if name in ("content-length", "transfer-encoding"):
                    raise BadResponse("answer that states its length twice", sent=True)
                value = f"{headers[name]}, {value}"
            headers[name] = value
        status = int(start[2])
        if status < 200:
            self._interim += 1
            if status == 101 or self._interim > MAX_INTERIM_ANSWERS:
                raise BadResponse("answer with unexpected 1xx", sent=True)
            return True
        self._status = status
        self._headers = headers
        self.keep_alive = start[1] == "1" and "close" not in headers.get("connection", "").lower()
        return self._begin_body()

    def _begin_body(self) -> bool | None:
        length = self._headers.get("content-length")
        coding = self._headers.get("transfer-encoding")
        if self._status in _NO_BODY:
            return None
        if coding is not None:
            if coding.lower() != "chunked" or length is not None:
                raise BadResponse("answer with an unknown transfer encoding", sent=True)
            self._read = self._read_chunk_size
            return True
        if length is None:  # up to the end of the connection: nobody could tell a complete body from a cut one
            raise BadResponse("answer without a length", sent=True)
        if not (length.isascii() and length.isdigit() and len(length) <= 15):
            raise BadResponse("answer with a broken length", sent=True)
        self._take(int(length))
        if self._left == 0:
            return None
        self._read = self._read_part
        return True

    def _take(self, size: int) -> None:
        self._left = size
        self._size += size
        if self._size > self._max_body:
            raise BadResponse(f"answer body over {self._max_body} bytes", sent=True)

    def _read_part(self) -> bool | None:
        if len(self._buffer) < self._left:
            return False
        self._parts.append(bytes(self._buffer[: self._left]))
        del self._buffer[: self._left]
        if not self._chunked:
            return None
        self._read = self._read_chunk_end
        return True

    def _read_chunk_size(self) -> bool:
        line = self._line(256, "chunk size line")
        if line is None:
            return False
        size = _CHUNK_SIZE.fullmatch(line)
        if size is None:
            raise BadResponse("answer with a broken chunk", sent=True)
        self._chunked = True
        self._take(int(size[1], 16))
        self._read = self._read_part if self._left else self._read_trailer
        return True

    def _read_chunk_end(self) -> bool:
        if len(self._buffer) < 2:
            return False
        if self._buffer[:2] != b"\r\n":
            raise BadResponse("answer with a broken chunk", sent=True)
        del self._buffer[:2]
        self._read = self._read_chunk_size
        return True

    def _read_trailer(self) -> bool | None:
        line = self._line(MAX_HEAD_BYTES - self._left, "answer trailer")
        if line is None:
            return False
        if not line:
            return None
        self._left += len(line) + 2  # what the trailers took so far
        if self._left > MAX_HEAD_BYTES:
            raise BadResponse(f"answer trailer over {MAX_HEAD_BYTES} bytes", sent=True)
        return True


class _Connection(asyncio.Protocol):
    """One connection: idle, or with exactly one call under way."""

    __slots__ = ("_parser", "_poll", "_transport", "_waiter", "idle_since", "usable")

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Response] | None = None
        self._parser: ResponseParser | None = None
        self._poll: select.poll | None = None
        self.usable = False
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._poll = select.poll()
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self.usable = True

    def is_open(self) -> bool:
        """Whether an idle connection may be used. Anything to read on it, an end included, rules it out.

        It asks the socket itself: the loop may not have looked for long (a Lambda is frozen between invocations).
        """
        if not self.usable or self._transport is None or self._poll is None or self._transport.is_closing():
            return False
        return not self._poll.poll(0)

    def begin(self, request: bytes, waiter: asyncio.Future[Response], max_body_bytes: int) -> None:
        assert self._transport is not None  # noqa: S101 - made by connection_made
        self._waiter = waiter
        self._parser = ResponseParser(max_body_bytes)
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        waiter, parser = self._waiter, self._parser
        if waiter is None or parser is None:  # nobody asked: no later answer on it can be trusted
            self.abort()
            return
        try:
            answer = parser.feed(data)
        except BadResponse as error:
            self._fail(error)
            return
        if answer is not None:
            self.usable = parser.keep_alive
            self._waiter = self._parser = None
            if not waiter.done():
                waiter.set_result(answer)

    def eof_received(self) -> bool:
        self.connection_lost(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.usable = False
        if self._waiter is not None:
            begun = self._parser is not None and self._parser.begun
            self._fail(Disconnected(f"connection closed {'within' if begun else 'before'} the answer", sent=True))

    def expire(self, reason: str) -> None:
        self._fail(TimedOut(reason, sent=True))

    def _fail(self, error: HttpError) -> None:
        waiter, self._waiter, self._parser = self._waiter, None, None
        self.abort()
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)

    def abort(self) -> None:
        """Ends it at once, without the goodbyes of TLS: for a connection in an unknown state."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        self.usable = False
        if self._transport is not None:
            self._transport.close()


class HttpClient:
    """Calls to one origin over a pool of kept-alive connections.

    The pool grows to the number of concurrent calls, which the caller limits (`workers.gateway.limits.Guard`).

    Args:
        url: `http(s)://host[:port][/prefix]`; each path is appended to it.
        timeout_seconds: for one whole call: connect, send and read together.
        headers: sent with each call (credentials, for instance).
        max_body_bytes: of an answer; more is a `BadResponse`.
        tls: instead of the default context, which checks certificate and host name (TLS 1.2 or newer).

    Raises:
        ValueError: the URL or a header cannot be sent; the text says why and holds no header's value.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float,
        headers: Mapping[str, str] | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"the URL must be http(s)://host[:port][/prefix], found scheme {parts.scheme!r}")
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise ValueError("the URL must hold no user, password, query or fragment")
        self._host = parts.hostname
        self._secure = parts.scheme == "https"
        self._port = parts.port or (443 if self._secure else 80)
        self._prefix = parts.path.rstrip("/")
        self._timeout = timeout_seconds
        self._timed_out = f"no complete answer within {timeout_seconds:g} s"
        self._max_body_bytes = max_body_bytes
        self._tls = tls
        self._idle: list[_Connection] = []
        self._due: dict[_Connection, float] = {}
        """The calls under way, by when they must be done."""
        self._alarm: asyncio.TimerHandle | None = None
        self._host_line = f"Host: {parts.netloc}\r\n"
        self.use_headers(headers or {})

    def use_headers(self, headers: Mapping[str, str]) -> None:
        """From now on send these with each call, in place of those before; calls under way go on with theirs.

        Raises:
            ValueError: one cannot be sent; nothing changes.
        """
        self._common = self._host_line + _header_lines(headers)

    async def request(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Response:
        """One call, tried once.

        Raises:
            HttpError: no usable answer; `sent` says whether the server may have acted.
            ValueError: path or headers cannot be sent (nothing was).
        """
        path = self._prefix + path
        if not _PATH.fullmatch(path) or not _TOKEN.fullmatch(method):
            raise ValueError("the method or path holds a character that HTTP does not allow")
        length = f"Content-Length: {len(body)}\r\n" if body is not None else ""
        head = f"{method} {path} HTTP/1.1\r\n{self._common}{_header_lines(headers or {})}{length}\r\n"
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        connection = self._take_idle() or await self._connect(loop, deadline)
        waiter: asyncio.Future[Response] = loop.create_future()
        self._due[connection] = deadline
        if self._alarm is None or deadline < self._alarm.when():
            self._set_alarm(loop, deadline)
        try:
            connection.begin(head.encode("ascii") + (body or b""), waiter, self._max_body_bytes)
            answer = await waiter
        except BaseException:  # also a cancelled call: its answer may still come, and must meet nobody
            connection.abort()
            raise
        finally:
            del self._due[connection]
        if connection.usable:
            connection.idle_since = time.time()
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    async def prepare(self, calls: int) -> None:
        """Opens a connection unless there is an idle one for each of `calls`; its trouble is left to the call.

        For a call that must begin at a given moment: on a new connection it would come some round trips later.
        """
        oldest = time.time() - IDLE_SECONDS
        while self._idle and self._idle[0].idle_since < oldest:
            self._idle.pop(0).abort()
        if len(self._idle) >= calls:
            return
        loop = asyncio.get_running_loop()
        with contextlib.suppress(HttpError):
            connection = await self._connect(loop, loop.time() + min(self._timeout, PREPARE_SECONDS))
            connection.idle_since = time.time()
            self._idle.append(connection)

    async def close(self) -> None:
        """Ends the idle connections; a later call opens new ones."""
        if self._alarm is not None and not self._due:
            self._alarm.cancel()
            self._alarm = None
        while self._idle:
            self._idle.pop().close()
        await asyncio.sleep(0)

    def _set_alarm(self, loop: asyncio.AbstractEventLoop, when: float) -> None:
        """One timer serves all calls, since nearly none needs it: a timer for each would cost as much as the parser."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = loop.call_at(when, self._expire, loop)

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        self._alarm = None
        now = loop.time()
        for connection in [one for one, deadline in self._due.items() if deadline <= now]:
            connection.expire(self._timed_out)
        later = [deadline for deadline in self._due.values() if deadline > now]
        if later:
            self._set_alarm(loop, min(later))

    def _take_idle(self) -> _Connection | None:
        """The connection used last, if it is still open; those below it in the stack are older."""
        while self._idle:
            connection = self._idle.pop()
            # The wall clock, since a frozen Lambda's monotonic one may stand still.
            if time.time() - connection.idle_since <= IDLE_SECONDS and connection.is_open():
                return connection
            connection.abort()
        return None

    async def _connect(self, loop: asyncio.AbstractEventLoop, deadline: float) -> _Connection:
        try:
            async with asyncio.timeout_at(deadline):
                _, connection = await loop.create_connection(
                    _Connection,
                    self._host,
                    self._port,
                    ssl=self._tls_context() if self._secure else None,
                    happy_eyeballs_delay=0.25,
                )
        except TimeoutError:
            raise TimedOut(f"no connection within {self._timeout:g} s", sent=False) from None
        except OSError as error:  # that of TLS included
            raise NotConnected(f"could not connect: {_why(error)}", sent=False) from None
        if not connection.usable:
            raise NotConnected("could not connect: closed at once", sent=False)
        return connection

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            # Not before it is needed: reading the system's certificates takes some 10 ms.
            self._tls = ssl.create_default_context()
            self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls


def _header_lines(headers: Mapping[str, str]) -> str:
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError(f"the header {name!r} holds a character that HTTP does not allow")
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()])


def _why(error: OSError) -> str:
    """In a few words, without addresses."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, socket.gaierror):
        return "no such host"
    return getattr(error, "verify_message", None) or error.strerror or type(error).__name__
