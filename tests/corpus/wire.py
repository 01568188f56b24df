"""Production's HTTP client and the simulated gateway's server, joined in memory: virtual time, and days in a second."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from gateway_simulator import SimulatedGateway
from gateway_simulator.server import _Peer
from tests.gateway.support import START, VirtualLoop


class Joined(VirtualLoop):
    """A loop on which each connection leads to `gateway`."""

    def __init__(self) -> None:
        super().__init__()
        self.gateway: SimulatedGateway | None = None
        self.connections = 0

    async def create_connection(self, factory: Callable[[], Any], *_: Any, **__: Any) -> Any:  # type: ignore[override]
        assert self.gateway is not None
        self.connections += 1
        ours, theirs = factory(), _Peer(self.gateway)
        here, there = _End(self, ours), _End(self, theirs)
        here.other, there.other = there, here
        theirs.connection_made(there)
        ours.connection_made(here)
        return here, ours

    def clock(self) -> float:
        """The gateway's: seconds since 1970."""
        return START.timestamp() + self.time()


class _End(asyncio.Transport):
    """One end of a connection: what is written arrives at the other, after what was written before."""

    def __init__(self, loop: Joined, protocol: Any) -> None:
        super().__init__()
        self._loop, self._protocol = loop, protocol
        self._socket = socket.socket()  # whoever asks it whether something came is told no
        self.other: _End
        self._closing = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._socket if name == "socket" else default

    def is_closing(self) -> bool:
        return self._closing

    def write(self, data: Any) -> None:
        if data and not self._closing:
            self._loop.call_soon(self.other._arrive, bytes(data))

    def _arrive(self, data: bytes) -> None:
        if not self._closing:
            self._protocol.data_received(data)

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._socket.close()
            self._loop.call_soon(self.other._gone)
            self._loop.call_soon(self._protocol.connection_lost, None)

    abort = close

    def _gone(self) -> None:
        if not self._closing:
            self._closing = True
            self._socket.close()
            self._protocol.connection_lost(None)
