"""The ear for new work: what NOTIFY announces."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg

from workers.database.connection import LOST
from workers.database.source import RetryingSource


async def listen(pool: asyncpg.Pool, heard: Callable[[], None], source: RetryingSource) -> None:
    """Call `heard` at each announcement of new work, for ever, and after each connection lost and made anew."""
    while True:
        gone = asyncio.Event()

        async def connect(gone: asyncio.Event = gone) -> asyncpg.Connection:
            connection = await pool.acquire()
            try:
                connection.add_termination_listener(lambda _: gone.set())
                await connection.add_listener("transactions", lambda *_: heard())
            except LOST:
                connection.terminate()
                await _release(pool, connection)
                raise
            return connection

        connection = await source.wait_out(connect)
        try:
            heard()
            await gone.wait()
        finally:
            await asyncio.shield(_release(pool, connection))


async def _release(pool: asyncpg.Pool, connection: Any) -> None:
    try:
        await pool.release(connection, timeout=2)
    except LOST:
        return
