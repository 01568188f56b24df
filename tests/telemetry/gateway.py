"""A gateway that tells everything to everybody: what a worker must not repeat."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """An answer: its document's fields beside the id, or a text in its place."""

    status: int
    document: Mapping[str, Any] | str = field(default_factory=dict)
    seconds: float = 0.0
    before: Callable[[], None] = lambda: None
    """Happens while the call is under way."""


class LeakyGateway:
    """Answers each POST by the reply for its id: one after the other, the last for ever; confirmed where there is none.

    A GET finds nothing: whatever was sent without an answer is sent again.
    """

    def __init__(self) -> None:
        self.replies: dict[str, list[Reply]] = {}
        self.words = "nothing"
        """What it puts into headers and into fields that nobody asked for."""
        self.headers: list[tuple[str, dict[str, str]]] = []
        """(id, headers in lower case) of all calls."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                id_ = sent["id"]
                gateway.headers.append((id_, {name.lower(): value for name, value in self.headers.items()}))
                replies = gateway.replies.get(id_, [])
                reply = replies[0] if replies else Reply(200)
                if len(replies) > 1:
                    replies.pop(0)
                reply.before()
                time.sleep(reply.seconds)
                done = {"status": "confirmed", "reference": f"ref-{id_}", **sent} if reply.status == 200 else {}
                self._answer(reply, {**done, "id": id_})

            def do_GET(self) -> None:
                id_ = self.path.rpartition("/")[2]
                gateway.headers.append((id_, {name.lower(): value for name, value in self.headers.items()}))
                self._answer(Reply(404), {"id": id_, "status": "not_found"})

            def _answer(self, reply: Reply, document: dict[str, Any]) -> None:
                content = reply.document
                if not isinstance(content, str):
                    content = json.dumps({**document, "debug": gateway.words, **content})
                body = content.encode()
                self.send_response(reply.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("X-Debug", " ".join(gateway.words.encode("ascii", "replace").decode().split()))
                self.send_header("Retry-After", "0")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Not on the terminal."""

        return Handler
