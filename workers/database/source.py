"""Where the service's stream comes from and goes to: the store, with its losses waited out."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from workers.database.connection import LOST
from workers.domain.ports import Claimed, Clock, Look, Move
from workers.domain.transaction import Transaction
from workers.stores.postgres import PostgresStore
from workers.telemetry import Telemetry

T = TypeVar("T")
FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0  # seconds between tries, doubled and jittered
TOKENS = 8
"""Of so many tries of one claim, the last ones, it is looked whether they got through; what an earlier one took comes
back when its lease is over."""


@dataclass
class RetryingSource:
    """The store behind its losses: every call is repeated until it gets through, and each loss is told once."""

    store: PostgresStore
    telemetry: Telemetry
    clock: Clock
    new_token: Callable[[], str]
    by: str
    patience: timedelta
    """How long a loss is borne; after it, whatever was held has long been taken over."""
    chance: random.Random = field(default_factory=random.SystemRandom)
    lost_at: datetime | None = None
    losses: int = 0
    _unsure: list[str] = field(default_factory=list)
    """Tokens of the last claim's tries whose answers were lost: the database may have taken them after it was asked."""
    _reported: int = 0
    """Losses and their ends told so far."""

    async def claim(self, limit: int, look: Look = Look.ONWARD) -> Claimed:
        """As `PostgresStore.claim_next`; where an answer is lost, what it had sent to desks is in the history alone."""
        tokens, self._unsure = self._unsure, []
        earlier = frozenset(tokens)

        async def once() -> Claimed:
            for token in tokens[-TOKENS:]:
                if held := await self.store.held(token):
                    tokens.remove(token)
                    return Claimed(held, [])  # the statement had got through, only its answer had not
            # Each try has its own: what the one before may have taken, others may have taken over and released since.
            tokens.append(self.new_token())
            claimed = await self.store.claim_next(token=tokens[-1], by=self.by, limit=limit, look=look)
            tokens.pop()
            return claimed

        claimed = await self._write(once)
        self._unsure += [token for token in tokens[-TOKENS:] if token not in earlier]
        return claimed

    async def settle(self, moves: Sequence[Move]) -> list[bool]:
        return await self._write(lambda: self.store.settle(moves))

    async def extend(self, transactions: Sequence[Transaction]) -> list[Transaction]:
        return await self._write(lambda: self.store.extend(transactions))

    async def _write(self, call: Callable[[], Awaitable[T]]) -> T:
        """What shows that the database is back: after a failover the old writer still lets in and reads."""
        return await self.wait_out(call, writes=True)

    async def wait_out(self, call: Callable[[], Awaitable[T]], *, writes: bool = False) -> T:
        """`call`, again and again while the database is away.

        Connections die one after the other. So a try tells of a loss, or of its end, only if nothing was told since
        it began: an older connection that still answers, or fails late, says nothing about now.

        Raises:
            Exception: what `call` raised, if it does not pass by itself or has not for `patience`.
        """
        wait, gave_up_at = FIRST_WAIT, self.clock.now() + self.patience
        while True:
            reported = self._reported
            try:
                answer = await call()
            except LOST as error:
                await self.store.pool.expire_connections()  # a server that restarted knows none of them
                if reported == self._reported and self.lost_at is None:
                    self._lost(error)
                if self.clock.now() >= gave_up_at:
                    raise
                await self.clock.sleep(wait * (0.5 + self.chance.random() / 2))
                wait = min(wait * 2, LONGEST_WAIT)
            else:
                if writes and reported == self._reported and self.lost_at is not None:
                    self._back(self.lost_at)
                return answer

    def _lost(self, error: BaseException) -> None:
        self.lost_at = self.clock.now()
        self.losses += 1
        self._reported += 1
        self.telemetry.event("database lost", self.lost_at, error=type(error).__name__, run=self.by)

    def _back(self, lost_at: datetime) -> None:
        now = self.clock.now()
        self.lost_at = None
        self._reported += 1
        self.telemetry.event("database back", now, seconds=round((now - lost_at).total_seconds(), 1), run=self.by)
