"""What the gateway's tests share: a clock that is set by hand, raw servers, a simulated gateway in the same process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import selectors
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from gateway_simulator import Ledger, Profile, SimulatedGateway
from tests.memory_shares import MemoryShares
from workers.domain.causes import Cause, because
from workers.domain.outcomes import Retryable
from workers.domain.transaction import Transaction
from workers.gateway.limits import BreakerPolicy, Limiter
from workers.gateway.payments import GatewaySettings, PaymentGateway
from workers.transport.http import HttpClient

START = datetime(2026, 11, 24, 7, 0, tzinfo=UTC)
ACCOUNT = "DE89370400440532013000"
SECRET = "sk_live_4eC39HqLyjWDarjtT1zdp7dc"


def unsent(cause: Cause, reason: str = "") -> Retryable:
    """What a call is answered that cost no attempt: in the words of the cause where nobody has others."""
    return Retryable(reason or because(cause).sentence, counts=False, cause=cause)


class HandClock:
    """Stands still until told; sleeping moves it."""

    def __init__(self) -> None:
        self.time = START
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.move(seconds)

    def move(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class _Selector:
    """A selector that waits for nothing: its loop's time goes on instead."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop, self._selector = loop, selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> Any:
        ready = self._selector.select(0)
        if not ready:
            assert timeout is not None, "nothing will ever happen"
            self._loop.seconds += timeout
        return ready

    def __getattr__(self, name: str) -> Any:
        return getattr(self._selector, name)


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop in which time passes only while all wait: a minute of many workers is a matter of a moment."""

    def __init__(self) -> None:
        self.seconds = 0.0
        super().__init__(cast(Any, _Selector(self)))

    def time(self) -> float:
        return self.seconds


@dataclass
class LoopClock:
    """The running loop's time, as a clock that may be wrong."""

    ahead: float = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=asyncio.get_running_loop().time() + self.ahead)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class WallClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def transaction(id: str = "t-1", amount: int = 1234, currency: str = "USD") -> Transaction:  # noqa: A002
    return Transaction(id, ACCOUNT, amount, currency, START, START + timedelta(hours=1))


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class RawServer:
    """A server that does to each connection what the test says, and counts them."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._tasks: set[asyncio.Task[Any]] = set()
        self.connections = 0
        self.requests: list[bytes] = []
        self.url = ""

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if task := asyncio.current_task():
            self._tasks.add(task)
        try:
            await self._handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    async def read_request(self, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.decode().lower().split("\r\n"):
            if line.startswith("content-length:"):
                length = int(line.partition(":")[2])
        request = head + await reader.readexactly(length)
        self.requests.append(request)
        return request


@asynccontextmanager
async def raw_server(handler: Callable[..., Awaitable[None]], **options: Any) -> AsyncIterator[RawServer]:
    """Serves `handler(server, reader, writer)` on 127.0.0.1."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await handler(server, reader, writer)

    server = RawServer(handle)
    listening = await asyncio.start_server(server._connected, "127.0.0.1", 0, **options)
    scheme = "https" if options.get("ssl") else "http"
    server.url = f"{scheme}://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listening.close()
        for task in server._tasks:
            task.cancel()
        await asyncio.gather(*server._tasks, return_exceptions=True)


def saying(answer: bytes, *, pieces: int = 0, hold: bool = False) -> Callable[..., Awaitable[None]]:
    """A handler that gives this answer to every request, then closes (or holds the connection)."""

    async def handle(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await server.read_request(reader)
            size = pieces or len(answer) or 1
            for at in range(0, len(answer), size):
                writer.write(answer[at : at + size])
                await writer.drain()
                if pieces:
                    await asyncio.sleep(0)
            if not hold:
                return

    return handle


def http(status: int, document: Any, headers: str = "") -> bytes:
    """An answer in good HTTP; `document` is JSON, and said to be, or bytes as they are."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    headers += "" if isinstance(document, bytes) else "Content-Type: application/json\r\n"
    return f"HTTP/1.1 {status} X\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


@asynccontextmanager
async def client(url: str, timeout_seconds: float = 30.0, **options: Any) -> AsyncIterator[HttpClient]:
    http_client = HttpClient(url, timeout_seconds=timeout_seconds, **options)
    try:
        yield http_client
    finally:
        await http_client.close()


@asynccontextmanager
async def payments(url: str, **settings: Any) -> AsyncIterator[PaymentGateway]:
    """Our client, with a breaker that stays out of the way unless asked for."""
    settings = {"timeout_seconds": 30.0, "breaker": BreakerPolicy(consecutive=10**6, ratio=2), **settings}
    limiter = Limiter(WallClock(), settings.pop("rate_limit", 0), MemoryShares(WallClock()))
    gateway = PaymentGateway(GatewaySettings(url, **settings), WallClock(), limiter)
    try:
        yield gateway
    finally:
        await limiter.close()
        await gateway.close()


@asynccontextmanager
async def simulated(
    path: Path, changes: Mapping[str, Any] | None = None, *, seed: int = 1, api_key: str = ""
) -> AsyncIterator[tuple[SimulatedGateway, str]]:
    """A simulated gateway in this process, calm but for `changes`; and its URL."""
    profile = Profile(hang_seconds=5).changed(changes or {})
    gateway = SimulatedGateway(Ledger(path), seed=seed, profile=profile, api_key=api_key)
    url = await gateway.serve()
    try:
        yield gateway, url
    finally:
        await gateway.stop()


async def get(url: str, path: str) -> Any:
    """What the simulated gateway's admin tells."""
    async with client(url, max_body_bytes=10**7) as http_client:
        answer = await http_client.request("GET", path)
    return json.loads(answer.body)


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Waits for something that other tasks bring about; an error if it does not come."""
    end = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < end, "it did not come about"
        await asyncio.sleep(0.002)


def quietly(run: Callable[[], Awaitable[None]], new_loop: Callable[[], Any] = asyncio.new_event_loop) -> None:
    """Runs a test's coroutine; whatever the loop would only have logged fails the test."""
    troubles: list[str] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(str(context)))
        await run()
        await asyncio.sleep(0)

    with contextlib.closing(new_loop()) as loop:
        loop.run_until_complete(main())
        loop.run_until_complete(loop.shutdown_asyncgens())
    assert not troubles
