"""What an operator sees of claims and settles, put around a store: the store and the core know nothing of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from workers.domain.ports import Claims, Clock, Move
from workers.domain.transaction import Transaction
from workers.telemetry import Telemetry


@dataclass
class Watch:
    """One worker's eyes."""

    telemetry: Telemetry
    clock: Clock
    run: str
    """Who is at work, as log lines have it."""

    def settled(self, moves: Sequence[Move], won: Sequence[bool]) -> None:
        """After each settle."""
        if not all(won):
            lost = [move.before for move, ok in zip(moves, won, strict=True) if not ok]
            self.telemetry.lost(lost, self.clock.now(), self.run)


@dataclass
class WatchedStore:
    """A store for batches (`workers.domain.confirming.Confirmer`), under watch."""

    store: Claims
    watch: Watch

    async def claim(self, *, token: str, by: str, limit: int, ids: Sequence[str] | None = None) -> list[Transaction]:
        return await self.store.claim(token=token, by=by, limit=limit, ids=ids)

    async def settle(self, moves: Sequence[Move]) -> list[bool]:
        won = await self.store.settle(moves)
        self.watch.settled(moves, won)
        return won


class Source(Protocol):
    """Where the service's stream comes from and goes to; each call waits out a lost database by itself."""

    async def claim(self, limit: int, sweep: bool) -> list[Transaction]: ...

    async def settle(self, moves: Sequence[Move]) -> list[bool]: ...

    async def extend(self, transactions: Sequence[Transaction]) -> list[Transaction]: ...


@dataclass
class WatchedSource:
    """A source of the service's stream, under watch."""

    source: Source
    watch: Watch

    async def claim(self, limit: int, sweep: bool) -> list[Transaction]:
        return await self.source.claim(limit, sweep)

    async def settle(self, moves: Sequence[Move]) -> list[bool]:
        won = await self.source.settle(moves)
        self.watch.settled(moves, won)
        return won

    async def extend(self, transactions: Sequence[Transaction]) -> list[Transaction]:
        return await self.source.extend(transactions)
