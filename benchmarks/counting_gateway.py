"""`python -m benchmarks.counting_gateway`: a gateway that says yes after 100 ms and notes when each call came.

By the kernel's own stamp on the first packet of a request (SO_TIMESTAMPNS): so its clock does not depend on when this
process gets a turn on a machine that others use too. The path begins with the name of the worker that calls. Prints its
port; after a line on standard input it prints all calls, `[[seconds, worker], ...]`, and begins anew.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import os
import select
import socket
import struct
import sys
import time

from local.processes import HOST

SECONDS = 0.100
SO_TIMESTAMPNS = getattr(socket, "SO_TIMESTAMPNS", 35)  # Linux; Python has no name for it before 3.13
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"


class Peer:
    """One kept-alive connection, one request at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.buffer = b""
        self.came = 0.0

    def read(self) -> bytes | None:
        """A whole request; None while it is not there."""
        data, ancillary, _, _ = self.socket.recvmsg(65_536, 256)
        if not data:
            raise ConnectionResetError
        if not self.buffer:
            self.came = time.time()
            for level, kind, value in ancillary:
                if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
                    seconds, nanoseconds = struct.unpack("qq", value[:16])
                    self.came = seconds + nanoseconds / 1e9
        self.buffer += data
        head, end, body = self.buffer.partition(b"\r\n\r\n")
        if not end:
            return None
        length = head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]
        if len(body) < int(length or 0):
            return None
        request, self.buffer = self.buffer, b""
        return request


def serve() -> None:
    """Until standard input ends."""
    with contextlib.suppress(PermissionError):
        os.nice(-10)
    listening = socket.create_server((HOST, 0), backlog=1024)
    listening.setblocking(False)
    poll = select.epoll()
    poll.register(listening.fileno(), select.EPOLLIN)
    poll.register(sys.stdin.fileno(), select.EPOLLIN)
    print(listening.getsockname()[1], flush=True)
    peers: dict[int, Peer] = {}
    answers: list[tuple[float, int, bytes]] = []
    calls: list[tuple[float, str]] = []
    while True:
        wait = max(0.0, answers[0][0] - time.monotonic()) if answers else -1
        for number, _ in poll.poll(wait):
            if number == listening.fileno():
                with contextlib.suppress(BlockingIOError):
                    while True:
                        connection, _ = listening.accept()
                        connection.setblocking(False)
                        connection.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
                        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        peers[connection.fileno()] = Peer(connection)
                        poll.register(connection.fileno(), select.EPOLLIN)
            elif number == sys.stdin.fileno():
                if not sys.stdin.readline():
                    return
                print(json.dumps(calls), flush=True)
                calls.clear()
            elif number in peers:
                try:
                    request = peers[number].read()
                except OSError:
                    poll.unregister(number)
                    peers.pop(number).socket.close()
                    continue
                if request is not None:
                    worker = request.split(b" ", 2)[1].split(b"/")[1].decode()
                    calls.append((peers[number].came, worker))
                    heapq.heappush(answers, (time.monotonic() + SECONDS, number, request))
        while answers and answers[0][0] <= time.monotonic():
            _, number, request = heapq.heappop(answers)
            if number in peers:
                with contextlib.suppress(OSError):
                    peers[number].socket.send(_answer(request))


def _answer(request: bytes) -> bytes:
    asked = json.loads(request.partition(b"\r\n\r\n")[2])
    body = json.dumps({**asked, "status": "confirmed", "reference": f"ref-{asked['id']}"}).encode()
    return HEAD % (len(body), body)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        serve()
