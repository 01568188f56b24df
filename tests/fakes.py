"""Ports for tests: a clock that stands still until told, and a gateway that keeps a ledger in memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from workers.domain.outcomes import Confirmed, NotFound, Outcome, Unknown
from workers.domain.ports import Calls
from workers.domain.transaction import Transaction

START = datetime(2026, 1, 5, 9, tzinfo=UTC)
T = TypeVar("T")
LOOP = asyncio.new_event_loop()


def run(call: Coroutine[Any, Any, T]) -> T:
    """Run it on the tests' one loop: a database's connections belong to the loop that made them."""
    return LOOP.run_until_complete(call)


@dataclass
class FakeClock:
    """Time that moves only by `advance` and `sleep`."""

    time: datetime = START

    def now(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class Even:
    """Chance without surprise."""

    def random(self) -> float:
        return 0.5


@dataclass
class LedgerGateway:
    """Does each effect once per key and remembers it; `script` may lay a fault over any call.

    `script(verb, transaction, calls before)` returns None for the honest answer, or (does the effect happen, answer).
    """

    script: Callable[[str, Transaction, int], tuple[bool, Outcome] | None] = lambda *_: None
    effects: dict[str, int] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    is_ready: bool = True
    away_for: timedelta = timedelta()

    def turn(self, until: datetime | None = None) -> contextlib.AbstractAsyncContextManager[object]:
        return contextlib.nullcontext()

    def ready(self) -> bool:
        return self.is_ready

    def away(self) -> timedelta:
        return self.away_for

    def seen(self) -> Calls:
        """Two calls a look, one of which went wrong."""
        return Calls((12.34, 56.0), {"unknown": 1})

    async def confirm(self, transaction: Transaction, key: str) -> Outcome:
        fault = self.script("confirm", transaction, len(self.calls))
        self.calls.append(("confirm", key))
        if fault is not None and not fault[0]:
            return fault[1]
        self.effects[key] = self.effects.get(key, 0) + 1
        return fault[1] if fault is not None else self._done(transaction, key)

    async def ask(self, transaction: Transaction, key: str) -> Outcome:
        fault = self.script("ask", transaction, len(self.calls))
        self.calls.append(("ask", key))
        if fault is not None:
            return fault[1]
        return self._done(transaction, key) if key in self.effects else NotFound()

    async def close(self) -> None: ...

    @staticmethod
    def _done(transaction: Transaction, key: str = "") -> Outcome:
        return Confirmed(f"ref-{key or transaction.id}", transaction.amount, transaction.currency)


def times_out_after_effect(verb: str, _: Transaction, calls: int) -> tuple[bool, Outcome] | None:
    """A script: the first call applies the effect and never answers."""
    return (True, Unknown("timed out")) if verb == "confirm" and calls == 0 else None


def payment(id_: str = "p-1", amount: int = 2933, created_at: datetime = START, hours: float = 24) -> Transaction:
    return Transaction(id_, "acct-1", amount, "USD", created_at, created_at + timedelta(hours=hours))


def payments(count: int) -> Iterable[Transaction]:
    return [payment(f"p-{n}", amount=100 + n) for n in range(count)]
