"""The database's time, which all its workers go by."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic, time

import asyncpg

EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass
class DatabaseClock:
    """The database's time, kept by this machine's monotonic clock: whoever sets the wall clock here changes nothing.

    It goes by the millisecond, as all that is stored does: several asks within one get the same object.
    """

    _ahead: float = field(default_factory=lambda: time() - monotonic())
    """Seconds that the database's clock is ahead of our monotonic one."""
    _ms: int = 0
    _now: datetime = EPOCH

    def now(self) -> datetime:
        ms = int((monotonic() + self._ahead) * 1000)
        if ms != self._ms:
            self._ms, self._now = ms, datetime.fromtimestamp(ms / 1000, UTC)
        return self._now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def synchronise(self, pool: asyncpg.Pool) -> None:
        """Ask the database for its time; the answer is as exact as half its way."""
        before = monotonic()
        theirs: datetime = await pool.fetchval("SELECT clock_timestamp()")
        self._ahead = theirs.timestamp() - (before + monotonic()) / 2
