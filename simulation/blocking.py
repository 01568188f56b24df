"""Code that blocks, as a Lambda's handler does, on a loop that may not: it waits in a greenlet of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet


def wait_for(awaitable: Awaitable[Any]) -> Any:
    """Blocks a handler until `awaitable` has its answer.

    Called from a coroutine by way of a thread (`VirtualLoop.run_in_executor`), it is what the coroutine waits for.
    """
    above = getcurrent().parent
    return awaitable if above is None else above.switch(awaitable)


async def blocking(function: Callable[[], Any]) -> Any:
    """What `function` returns; whenever it blocks, everybody else goes on. Cancelled, it ends where it stands."""
    inside = greenlet(function)
    said = inside.switch()
    try:
        while not inside.dead:
            try:
                answer = await said
            except Exception as error:
                said = inside.throw(error)
            else:
                said = inside.switch(answer)
        return said
    finally:
        if not inside.dead:
            inside.throw(GreenletExit)  # nothing of it goes on: a process that was killed has no last words
