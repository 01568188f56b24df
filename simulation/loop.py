"""An event loop whose time is virtual: where nothing is to be done it is at once the next timer's time."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any

TURN = 1e-6
"""What one turn of the loop takes: who waits for the rest of a float's last digit would else wait for ever."""
MOST_TURNS = 2_000_000
"""Of one life: what turns more often goes round in a circle."""


class Stalled(Exception):  # noqa: N818 - what happened
    """Nobody waits for a time, and nothing can happen any more; or the same happens over and over."""


class _Handle:
    """A call that is to come. asyncio's own handles look for their place in the source, for a debugger's sake."""

    __slots__ = ("args", "callback", "context", "gone", "time")

    def __init__(self, callback: Callable[..., Any], args: tuple[Any, ...], context: Context | None) -> None:
        self.callback, self.args, self.gone, self.time = callback, args, False, 0.0
        self.context = copy_context() if context is None else context

    def cancel(self) -> None:
        self.gone = True

    def cancelled(self) -> bool:
        return self.gone

    def when(self) -> float:
        return self.time


class VirtualLoop(asyncio.BaseEventLoop):
    """asyncio without sockets, threads and the machine's clock: the same events come in the same order, always."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0
        self.turns = 0
        self._handles: deque[_Handle] = deque()
        """What is to be called in the next turn."""
        self._timers: list[tuple[float, int, _Handle]] = []
        self._number = 0

    # --- what asyncio's tasks and futures ask of it

    def time(self) -> float:
        return self.seconds

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Any:
        handle = _Handle(callback, args, context)
        self._handles.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Any:
        return self.call_at(self.seconds + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Any:
        handle = _Handle(callback, args, context)
        handle.time = when
        self._number += 1
        heapq.heappush(self._timers, (when, self._number, handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Any, *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def run_in_executor(  # type: ignore[override]
        self,
        _executor: Any,
        func: Callable[..., Any],
        *args: Any,
    ) -> Any:
        """What would go to a thread. What it calls gives an awaitable here: who waits for the thread waits for that."""
        return func(*args)

    def close(self) -> None:
        self._closed = True

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """A task whose failure nobody looks at: in a life that is over, all of them."""

    # --- its turns

    def run_until_complete(self, future: Any) -> Any:
        task = asyncio.ensure_future(future, loop=self)
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            turn, done = self._turn, task.done
            while not done():
                turn()
        finally:
            asyncio._set_running_loop(before)
        return task.result()

    def _turn(self) -> None:
        ready, timers = self._handles, self._timers
        self.turns += 1
        if self.turns > MOST_TURNS:
            raise Stalled(f"{MOST_TURNS:,} turns, and no end")
        if not ready:
            while timers and timers[0][2].gone:
                heapq.heappop(timers)
            if not timers:
                raise Stalled("every task waits for another")
            self.seconds = max(self.seconds + TURN, timers[0][0])
        else:
            self.seconds += TURN
        now = self.seconds
        while timers and timers[0][0] <= now:
            handle = heapq.heappop(timers)[2]
            if not handle.gone:
                ready.append(handle)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle.gone:
                handle.context.run(handle.callback, *handle.args)
