"""A proxy before the datastore that cuts a connection just where a write commits: the worker can't know whether it did.

Three ways: before the server heard of the commit, in the same moment, and after it has committed, before its answer has
passed. The first write is undone, the last stands, and of the second nobody can tell.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from local.processes import HOST

CHUNK = 64 * 1024
ORDER = ("after", "before", "at")
"""The ways take turns, so that each has its part whatever the number."""


class How(StrEnum):
    BEFORE = "before"
    AT = "at"
    AFTER = "after"


class Wire(Protocol):
    """What passes through one connection, as far as it must be understood."""

    def commits(self, sent: bytes) -> bool:
        """Whether a write is complete with these bytes of the client: what follows is the server's to do."""
        ...

    def is_answer(self, answered: bytes) -> bool:
        """Whether the server's answer to it is complete with these bytes."""
        ...


_ENCRYPTION = {(80_877_103).to_bytes(4), (80_877_104).to_bytes(4)}
"""Codes of requests for TLS or GSSAPI; here the answer is no, and the first message of all is still to come."""
_WRITES = re.compile(rb"\b(UPDATE|INSERT\s+INTO|DELETE\s+FROM)\s+transactions\b", re.IGNORECASE)


@dataclass
class PostgresWire:
    """PostgreSQL's protocol 3: a byte for the kind and four for the length, but for the first message of all.

    A statement outside of a transaction commits with Sync ('S'); within one, with the COMMIT that ends it.
    """

    _sent: bytearray = field(default_factory=bytearray)
    _answered: bytearray = field(default_factory=bytearray)
    _started: bool = False
    _writing: set[bytes] = field(default_factory=set)
    """Names of prepared statements that write."""
    _pending: bool = False
    _within: bool = False

    def commits(self, sent: bytes) -> bool:
        self._sent += sent
        found = False
        while message := self._take_sent():
            kind, body = message
            if kind == b"P":
                name, statement, *_ = body.split(b"\0", 2)
                (self._writing.add if _WRITES.search(statement) else self._writing.discard)(name)
            elif kind == b"B":
                self._pending |= body.split(b"\0", 2)[1] in self._writing
            elif kind == b"Q":
                word = body.strip(b"\0 ;\n").upper()
                self._within = self._within or word.startswith(b"BEGIN")
                self._pending |= _WRITES.search(body) is not None
                if word.startswith((b"COMMIT", b"ROLLBACK")) or not self._within:
                    found |= self._pending and not word.startswith(b"ROLLBACK")
                    self._pending = self._within = False
            elif kind == b"S" and not self._within:
                found |= self._pending
                self._pending = False
        return found

    def is_answer(self, answered: bytes) -> bool:
        self._answered += answered
        while len(self._answered) >= 5:
            length = 1 + int.from_bytes(self._answered[1:5])
            if len(self._answered) < length:
                return False
            kind = bytes(self._answered[:1])
            del self._answered[:length]
            if kind == b"Z":  # ReadyForQuery
                return True
        return False

    def _take_sent(self) -> tuple[bytes, bytes] | None:
        head = 1 if self._started else 0
        if len(self._sent) < head + 4:
            return None
        length = head + int.from_bytes(self._sent[head : head + 4])
        if len(self._sent) < length:
            return None
        kind, body = bytes(self._sent[:head]), bytes(self._sent[head + 4 : length])
        del self._sent[:length]
        self._started = self._started or body[:4] not in _ENCRYPTION
        return kind, body


_UPDATES = re.compile(rb'"Statement":\s*"(UPDATE|INSERT|DELETE)', re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)


@dataclass
class DynamoDbWire:
    """HTTP/1.1 with one request at a time: a claim or a settle is a BatchExecuteStatement."""

    _sent: bytearray = field(default_factory=bytearray)
    _answered: bytearray = field(default_factory=bytearray)

    def commits(self, sent: bytes) -> bool:
        self._sent += sent
        found = False
        while request := _message(self._sent):
            found |= b"BatchExecuteStatement" in request and _UPDATES.search(request) is not None
        return found

    def is_answer(self, answered: bytes) -> bool:
        self._answered += answered
        return _message(self._answered) is not None


def _message(buffer: bytearray) -> bytes | None:
    """Take a whole one off the buffer."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = bytes(buffer[:end])
    length = _LENGTH.search(head)
    if length is None and b"chunked" in head.lower():
        last = buffer.find(b"0\r\n\r\n", end)
        whole = last + 5 if last >= 0 else 0
    else:
        whole = end + 4 + (int(length[1]) if length else 0)
    if not whole or len(buffer) < whole:
        return None
    message = bytes(buffer[:whole])
    del buffer[:whole]
    return message


class Proxy:
    """Listens on this machine, for the server at `upstream`. It lives in a thread of its own."""

    def __init__(self, upstream: int, wire: Callable[[], Wire], port: int = 0) -> None:
        self.cuts: Counter[str] = Counter()
        """What was done, by `How`."""
        self.port = port
        self._upstream, self._wire = upstream, wire
        self._armed = 0
        self._turn = 0
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._ready = threading.Event()
        self._over: asyncio.Event
        self._peers: set[asyncio.Task[None]] = set()

    def start(self) -> Proxy:
        self._thread.start()
        self._ready.wait(10)
        return self

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)

    def cut(self, count: int = 1) -> None:
        """At the next so many writes."""
        with self._lock:
            self._armed += count

    @property
    def armed(self) -> int:
        """Cuts that are still to come."""
        return self._armed

    @property
    def open(self) -> int:
        """Connections at present."""
        return len(self._peers)

    # --- parts

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._over = asyncio.Event()
        server = await asyncio.start_server(self._connect, HOST, self.port, limit=CHUNK)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        server.close()
        for task in self._peers:
            task.cancel()
        await asyncio.gather(*self._peers, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if task := asyncio.current_task():
            self._peers.add(task)
            task.add_done_callback(self._peers.discard)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            try:
                there, back = await asyncio.open_connection(HOST, self._upstream)
            except OSError:
                writer.transport.abort()
                return
            await _Connection(self, self._wire(), reader, writer, there, back).live()

    def take_turn(self) -> How | None:
        """How to cut now, if at all."""
        with self._lock:
            if not self._armed:
                return None
            self._armed -= 1
            how = How(ORDER[self._turn % len(ORDER)])
            self._turn += 1
            self.cuts[how] += 1
            return how


@dataclass
class _Connection:
    proxy: Proxy
    wire: Wire
    client: asyncio.StreamReader
    to_client: asyncio.StreamWriter
    server: asyncio.StreamReader
    to_server: asyncio.StreamWriter
    swallowing: bool = False
    """The answer that is on its way does not pass."""

    async def live(self) -> None:
        down = asyncio.create_task(self._down())
        up = asyncio.create_task(self._up())
        try:
            await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
            for writer in (self.to_client, self.to_server):
                writer.transport.abort()

    async def _up(self) -> None:
        while data := await self.client.read(CHUNK):
            how = self.proxy.take_turn() if self.wire.commits(data) else None
            if how is How.BEFORE:
                return
            self.swallowing = how is How.AFTER
            self.to_server.write(data)
            await self.to_server.drain()
            if how is How.AT:
                # flushed by the kernel, which closing in good order does not undo
                self.to_server.close()
                return
            if how is How.AFTER:
                await asyncio.sleep(60)  # `_down` ends it with the answer
                return

    async def _down(self) -> None:
        while data := await self.server.read(CHUNK):
            if self.swallowing:
                if self.wire.is_answer(data):
                    return
                continue
            self.to_client.write(data)
            await self.to_client.drain()
