"""Traces by OpenTelemetry: W3C trace context towards the gateway, OTLP spans to X-Ray.

Which spans exist is decided when they are over (workers/watch.py): of a transaction that was neither sampled nor in
trouble none is ever made. OpenTelemetry's SDK decides at a span's start, and costs 16 us for each span, 7 us for each
that is not sampled, and 129 ms of a Lambda's cold start with its exporter (57 ms without; measured beside boto3), of
the 60 ms that all of ours may take. So spans are plain tuples here, and `encode` writes OTLP's protobuf in some 60
lines, which the tests read with OpenTelemetry's own classes.

Two ways lead out. A collector beside the worker takes OTLP over HTTP (workers/collector.py): in the task on Fargate,
in a layer of Lambda where settings name one. Else in Lambda the X-Ray daemon that Lambda itself runs takes it as a
datagram, as AWS's own OpenTelemetry layers send it (the prefix T1S): no layer, no extension, no call, and nothing to
wait for.
https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/trace/v1/trace.proto
"""

from __future__ import annotations

import base64
import contextlib
import os
import random
import re
import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime
from enum import IntEnum
from hashlib import blake2b
from typing import NamedTuple

from workers.domain.transaction import Transaction

Value = str | bool | int | float | Sequence[str]


def trace_id(transaction: Transaction) -> str:
    """The one trace of a transaction, 32 hex digits: a function of its id and time of creation, so that nobody has to
    store it or hand it on. Begins with the second of its creation, as X-Ray's own ids do."""
    return (
        f"{int(transaction.created_at.timestamp()):08x}" + blake2b(transaction.id.encode(), digest_size=12).hexdigest()
    )


def new_id() -> str:
    """Of a span: 16 hex digits. From the process's own generator, for one of the system's would be a call each time."""
    return f"{random.getrandbits(64) or 1:016x}"


def samples(trace: str, share: float) -> bool:
    """Whether a trace is among the `share` (0 to 1) that is kept: by its own digits, so everybody decides alike."""
    return int(trace[16:], 16) < share * 2**64


class Context(NamedTuple):
    """A span, as its children and links name it."""

    trace: str
    span: str
    sampled: bool = True

    def __str__(self) -> str:
        """As W3C's header `traceparent` has it."""
        return f"00-{self.trace}-{self.span}-0{int(self.sampled)}"

    @classmethod
    def read(cls, traceparent: str) -> Context | None:
        """The inverse; None for what is none."""
        found = re.fullmatch(r"00-([0-9a-f]{32})-([0-9a-f]{16})-0([01])", traceparent)
        return cls(found[1], found[2], found[3] == "1") if found else None

    @classmethod
    def of_lambda(cls, environment: Mapping[str, str] = os.environ) -> Context | None:
        """The invocation's segment: Lambda tells it by X-Ray's header, in the environment and anew each time."""
        header = environment.get("_X_AMZN_TRACE_ID", "")
        parts = dict(part.split("=", 1) for part in header.split(";") if "=" in part)
        root = re.fullmatch(r"1-([0-9a-f]{8})-([0-9a-f]{24})", parts.get("Root", ""))
        if not root or not re.fullmatch("[0-9a-f]{16}", parts.get("Parent", "")):
            return None
        return cls(root[1] + root[2], parts["Parent"], parts.get("Sampled") == "1")


class Kind(IntEnum):
    """What X-Ray makes of a span: SERVER becomes a segment, which shows by itself; the others wait for theirs."""

    INTERNAL = 1
    SERVER = 2
    CLIENT = 3


class Span(NamedTuple):
    """One span, over. Times in nanoseconds since 1970."""

    trace: str
    id: str
    parent: str
    """"" for a root."""
    name: str
    start: int
    end: int
    kind: Kind = Kind.INTERNAL
    attributes: Mapping[str, Value] = {}
    error: str = ""
    """Why it failed; "" where it did not."""
    links: Sequence[Context] = ()


def nanoseconds(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000) * 1000


calling: ContextVar[Context | None] = ContextVar("calling", default=None)
"""The call to the gateway that is under way in this task."""


def trace_headers() -> dict[str, str]:
    """What a gateway's client adds to its headers (for OpenTelemetry's propagators: the carrier to extract from)."""
    context = calling.get()
    return {} if context is None else {"traceparent": str(context)}


# --- OTLP


def encode(spans: Iterable[Span], resource: Mapping[str, Value]) -> bytes:
    """An ExportTraceServiceRequest, in protobuf."""
    scope = _bytes(1, _text(1, "workers.tracing"))
    of_spans = scope + b"".join(_bytes(2, _span(span)) for span in spans)
    return _bytes(1, _bytes(1, _attributes(1, resource)) + _bytes(2, of_spans))


def _span(span: Span) -> bytes:
    links = b"".join(
        _bytes(13, _bytes(1, bytes.fromhex(link.trace)) + _bytes(2, bytes.fromhex(link.span))) for link in span.links
    )
    return b"".join(
        (
            _bytes(1, bytes.fromhex(span.trace)),
            _bytes(2, bytes.fromhex(span.id)),
            _bytes(4, bytes.fromhex(span.parent)) if span.parent else b"",
            _text(5, span.name),
            _number(6, span.kind),
            _fixed(7, span.start),
            _fixed(8, max(span.end, span.start)),
            _attributes(9, span.attributes),
            links,
            _bytes(15, _text(2, span.error) + _number(3, 2)) if span.error else b"",
        )
    )


def _attributes(field: int, attributes: Mapping[str, Value]) -> bytes:
    return b"".join(_bytes(field, _text(1, name) + _bytes(2, _value(value))) for name, value in attributes.items())


def _value(value: Value) -> bytes:
    match value:
        case str():
            return _text(1, value)
        case bool():
            return _number(2, value)
        case int():
            return _number(3, value)
        case float():
            return bytes([4 << 3 | 1]) + struct.pack("<d", value)
    return _bytes(5, b"".join(_bytes(1, _text(1, item)) for item in value))


def _varint(number: int) -> bytes:
    number &= 2**64 - 1
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _number(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _fixed(field: int, number: int) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<Q", number)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode(errors="replace"))


# --- the way out of a Lambda

DAEMON = "AWS_XRAY_DAEMON_ADDRESS"
"""The variable by which Lambda tells where its X-Ray daemon is."""
DATAGRAM_SPANS = 40
"""Spans of at most 700 bytes, in base64, within the 64 KB of a datagram."""


def send(spans: Sequence[Span], resource: Mapping[str, Value], address: str | None = None) -> int:
    """Hand spans to the daemon; how many were taken. Never waits, never raises: payments do not stand still for it."""
    host, _, port = (os.environ.get(DAEMON, "") if address is None else address).rpartition(":")
    taken = 0
    if spans and host and port.isdecimal():
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            out.setblocking(False)
            for n in range(0, len(spans), DATAGRAM_SPANS):
                part = spans[n : n + DATAGRAM_SPANS]
                data = b'{"format":"json","version":1}\nT1S' + base64.b64encode(encode(part, resource))
                out.sendto(data, (host, int(port)))
                taken += len(part)
    return taken
