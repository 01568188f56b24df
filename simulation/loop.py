"""An event loop whose time is virtual: where nothing is to be done it is at once the next timer's time."""

from __future__ import annotations

import asyncio
from typing import Any

TURN = 1e-6
"""What one turn of the loop takes: who waits for the rest of a float's last digit would else wait for ever."""


class Stalled(Exception):  # noqa: N818 - what happened
    """Nobody waits for a time, and nothing can happen any more."""


class VirtualLoop(asyncio.BaseEventLoop):
    """asyncio without sockets, threads and the machine's clock: the same events come in the same order, always."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0
        self._selector = self
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self.seconds

    def select(self, timeout: float | None) -> list[Any]:
        """What the loop calls with the time until its next timer."""
        if timeout is None:
            raise Stalled("every task waits for another")
        self.seconds += max(timeout, TURN)
        return []

    def _process_events(self, event_list: list[Any]) -> None: ...

    def _write_to_self(self) -> None: ...
