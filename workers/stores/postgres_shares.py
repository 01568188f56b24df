"""Where workers take their shares of the gateway's rate limit, on PostgreSQL: beside workers/stores/shares.py, which a
Lambda imports at a cold start and this not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from workers.domain.ports import Clock, Taken
from workers.domain.shares import Ask, Slice
from workers.stores.named import Statement

SECONDS = 5.0
"""For PostgreSQL's answer: one that comes later is of no use."""


class _Asked(NamedTuple):
    now: datetime | None
    slices: Sequence[int]
    parts: Sequence[int]
    light: Sequence[int]
    hungry: Sequence[int]


class _Before(NamedTuple):
    slice: int | None
    taken: int
    light: int
    hungry: int
    at: float | None


TAKE = Statement(
    "SELECT slice, taken, light, hungry, at FROM take_shares(:now, :slices, :parts, :light, :hungry)",
    _Asked,
    _Before,
)


@dataclass
class PostgresShares:
    """A few rows of one small table, changed by one function in one short statement; the time is the database's."""

    pool: Any
    """asyncpg's."""
    clock: Clock | None = None
    """Stands in for the database's own in tests."""
    reach: int = 4

    async def take(self, asked: Sequence[Ask], now: float) -> Taken:  # noqa: ARG002 - the database has a clock
        shares = _Asked(
            now=self.clock.now() if self.clock else None,
            slices=[ask.slice for ask in asked],
            parts=[ask.parts for ask in asked],
            light=[ask.light for ask in asked],
            hungry=[ask.hungry for ask in asked],
        )
        rows = await TAKE.all(self.pool, shares, timeout=SECONDS)
        at = next(row.at for row in rows if row.at is not None)  # a row without a slice says the time, in any case
        before = {row.slice: Slice(row.taken, row.light, row.hungry) for row in rows if row.slice is not None}
        return Taken(before, at, at)
