"""What people look for among all transactions, and by which way a datastore finds it. Pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import ClassVar, NamedTuple, Protocol

from workers.domain.causes import Cause
from workers.domain.transaction import Status, Transaction

OPEN = frozenset((Status.PENDING, Status.PROCESSING))
DESK = frozenset((Status.REVIEW,))
MASK = "****"
"""How an account begins that is known by its end alone, as people are shown it."""


class Found(NamedTuple):
    """One that was looked for. Its record may lack its history."""

    record: Transaction
    cause: Cause | None
    """Of its present state."""


@dataclass(frozen=True, slots=True)
class Where:
    """All of it must hold; what is None or empty asks for nothing."""

    states: frozenset[Status] = frozenset()
    causes: frozenset[Cause] = frozenset()
    account: str | None = None
    """The whole of it; or MASK and how it ends."""
    reference: str | None = None
    """The gateway's, whole."""
    created_from: datetime | None = None
    created_to: datetime | None = None
    amount_from: int | None = None
    """Minor units, as is the next; both ends count."""
    amount_to: int | None = None
    currency: str | None = None
    reason: str | None = None
    """A part of it, as it is written. Large and small letters are the same from A to Z, as in every store."""

    @property
    def account_ends(self) -> str | None:
        return self.account[len(MASK) :] if self.account and self.account.startswith(MASK) else None

    def matches(self, found: Found) -> bool:
        """What every store must say of one. Canaries are not looked for."""
        record, cause = found
        return (
            not record.is_canary
            and (not self.states or record.status in self.states)
            and (not self.causes or cause in self.causes)
            and self._has_account(record.account)
            and self.reference in (None, record.gateway_reference)
            and (self.created_from is None or self.created_from <= record.created_at)
            and (self.created_to is None or record.created_at <= self.created_to)
            and (self.amount_from is None or self.amount_from <= record.amount)
            and (self.amount_to is None or record.amount <= self.amount_to)
            and self.currency in (None, record.currency)
            and (self.reason is None or folded(self.reason) in folded(record.reason or ""))
        )

    def _has_account(self, account: str) -> bool:
        if (ends := self.account_ends) is not None:
            return account.endswith(ends)
        return self.account in (None, account)


_SMALL = {letter: letter + 32 for letter in range(ord("A"), ord("Z") + 1)}


def folded(text: str) -> str:
    """With small letters for A to Z alone: what PostgreSQL's `lower` does in the collation "C", on any machine."""
    return text.translate(_SMALL)


# --- ways ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Route:
    """An index that a store has."""

    name: str
    serves: Callable[[Where], bool]
    """Whether it finds all that is looked for; what else is asked is then looked at row by row."""
    reads: str
    """What that costs, in words."""


class Size(NamedTuple):
    """Of what a walk through the whole table would read, about."""

    rows: int
    reads: str
    """In words: pages, or read units."""


def plan(where: Where, ways: Sequence[Route]) -> tuple[Route, ...]:
    """The ways to all that is looked for: one, or one for each of its `parts`; none where only a walk through the whole
    table would find it, which is nothing to be done unasked."""
    for wanted in ((where,), parts(where)):
        found = [next((way for way in ways if way.serves(part)), None) for part in wanted]
        if found and all(found):
            return tuple(way for way in found if way)
    return ()


def parts(where: Where) -> tuple[Where, ...]:
    """What lies on a desk and what is open, each by itself; nothing where other states are asked for."""
    if not where.states <= DESK | OPEN:
        return ()
    return tuple(replace(where, states=where.states & states) for states in (DESK, OPEN) if where.states & states)


def on_desk(where: Where) -> bool:
    return where.states == DESK


def is_open(where: Where) -> bool:
    return bool(where.states) and where.states <= OPEN


class Finder(Protocol):
    """What looks through a datastore. One suite holds for all (tests/contract/test_finding.py)."""

    ways: ClassVar[Sequence[Route]]
    """The cheapest first."""

    async def size(self) -> Size: ...

    def find(self, where: Where, expected: int) -> AsyncIterator[Found]:
        """Each once, in an order that does not change between two askings, as long as nothing else does.

        Walks through the whole table where `plan` has no way. `expected` is how many the caller is likely to take.
        """
        ...

    async def read(self, ids: Sequence[str]) -> list[Transaction]:
        """Those that are there, as they are now, in the order of `ids`; their records may lack their history."""
        ...
