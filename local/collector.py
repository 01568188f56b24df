"""`python -m local.collector --port PORT --folder FOLDER`: what stands for X-Ray here, and takes our traces.

It listens on 127.0.0.1: for OTLP over HTTP, as the collector in a task on Fargate does, and on the same port for
datagrams, as X-Ray's daemon does in Lambda. Each span becomes a line of FOLDER/spans.jsonl.
"""

from __future__ import annotations

import argparse
import base64
import json
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from local.processes import HOST

DATAGRAM_BYTES = 64 * 1024
PREFIX = b"T1S"
"""Of OTLP in a datagram, sampled (AWS's OpenTelemetry layers for Lambda)."""


def spans(request: bytes) -> Iterator[dict[str, Any]]:
    """The spans of an ExportTraceServiceRequest, as documents with ids in hex and times in nanoseconds.

    Raises:
        google.protobuf.message.DecodeError: it is none.
    """
    for of_resource in ExportTraceServiceRequest.FromString(request).resource_spans:
        resource = {pair.key: _value(pair.value) for pair in of_resource.resource.attributes}
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                yield {
                    "trace": span.trace_id.hex(),
                    "id": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(),
                    "name": span.name,
                    "kind": int(span.kind),
                    "start": span.start_time_unix_nano,
                    "end": span.end_time_unix_nano,
                    "attributes": {pair.key: _value(pair.value) for pair in span.attributes},
                    "error": span.status.message if span.status.code == 2 else "",
                    "links": [{"trace": link.trace_id.hex(), "id": link.span_id.hex()} for link in span.links],
                    "resource": resource,
                }


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return [_value(item) for item in value.array_value.values] if kind == "array_value" else getattr(value, kind or "")


class Collector:
    """Serves until `stop`; `port` 0 takes any."""

    def __init__(self, file: Path, port: int = 0) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self.file = file
        self.refused = 0
        self._writing = threading.Lock()
        self._http = ThreadingHTTPServer((HOST, port), self._handler())
        self._http.daemon_threads = True
        self.port = self._http.server_port
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * 1024 * 1024)
        self._udp.bind((HOST, self.port))

    def start(self) -> Collector:
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        threading.Thread(target=self._receive, daemon=True).start()
        return self

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._udp.close()

    def take(self, request: bytes) -> bool:
        """Keep the spans of a request; False for what is none."""
        try:
            lines = "".join(json.dumps(span) + "\n" for span in spans(request))
        except Exception:  # protobuf's own, in whichever of its implementations
            self.refused += 1
            return False
        with self._writing, self.file.open("a") as out:
            out.write(lines)
        return True

    def _receive(self) -> None:
        while True:
            try:
                data = self._udp.recv(DATAGRAM_BYTES)
            except OSError:
                return
            header, _, body = data.partition(b"\n")
            if b'"format"' in header and body.startswith(PREFIX):
                self.take(base64.b64decode(body[len(PREFIX) :]))
            else:
                self.refused += 1

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                known = self.path == "/v1/traces" and self.headers.get("Content-Type") == "application/x-protobuf"
                self._answer((200 if collector.take(body) else 400) if known else 404)

            def do_GET(self) -> None:
                self._answer(200 if self.path == "/_health" else 404)

            def _answer(self, status: int) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Not on the terminal."""

        return Handler


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m local.collector")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, _leave)
    collector = Collector(chosen.folder / "spans.jsonl", chosen.port).start()
    try:
        signal.pause()
    finally:
        collector.stop()


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(0)


if __name__ == "__main__":
    main()
