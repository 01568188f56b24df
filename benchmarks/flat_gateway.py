"""`python -m benchmarks.flat_gateway`: a gateway that says yes after 50 ms, as lean as asyncio allows.

The simulated gateway of the demo keeps a ledger and plays faults, at a cost of its own; here the client is measured,
on two cores that it shares with this one. `GET /_count` tells the calls answered so far and the seconds that they took
from request to answer, all together: a loop's timers come up to a millisecond late. Prints its port.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from time import perf_counter

from local.processes import HOST, hold_to_lifeline

SECONDS = 0.050
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
answered, taken = 0, 0.0


class Connection(asyncio.Protocol):
    """One call at a time, whole or in pieces."""

    def __init__(self) -> None:
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, end, body = self.buffer.partition(b"\r\n\r\n")
        if not end:
            return
        if head.startswith(b"GET"):
            self.buffer = b""
            self.answer(b"%d %f" % (answered, taken))
        elif len(body) >= int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]):
            self.buffer = b""
            began, asked = perf_counter(), json.loads(body)
            answer = {**asked, "status": "confirmed", "reference": f"ref-{asked['id']}"}
            asyncio.get_running_loop().call_later(SECONDS, self.confirm, json.dumps(answer).encode(), began)

    def confirm(self, body: bytes, began: float) -> None:
        global answered, taken
        answered += 1
        taken += perf_counter() - began
        self.answer(body)

    def answer(self, body: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(HEAD % (len(body), body))


async def main() -> None:
    """Serve until the one who started it ends or closes our standard input."""
    server = await asyncio.get_running_loop().create_server(Connection, HOST, 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    hold_to_lifeline()
    await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(asyncio.run(main()))
