"""What waits for a person, as the console shows it: which of them, in what order, and what that comes to. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import cached_property
from hashlib import blake2b
from typing import Self

from cli.exits import Exit, Trouble
from cli.views import discreet, names, printable
from workers.domain.causes import Cause
from workers.domain.currency import EXPONENTS
from workers.domain.finding import Found
from workers.domain.redaction import masked
from workers.domain.transaction import Transaction, to_text

MOST = 10_000
"""Of what waits, the nearest deadlines: nobody reads through more; `confirm find --state REVIEW` has them all."""
PAGE = 50
_AMOUNT = re.compile(r"\d{1,15}(\.\d{1,4})?", re.ASCII)
_FAR = "9999"
"""Sorts behind every time."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One that waits, as far as people may see it."""

    record: Transaction
    """Its history may be missing."""
    cause: Cause | None
    name: str
    reason: str
    account: str
    place: tuple[str, str]
    """In the queue: by its deadline, then in an order that says nothing of its id, and never changes."""

    @classmethod
    def of(cls, found: Found, name: str) -> Self:
        record = found.record
        return cls(
            record,
            found.cause,
            name,
            discreet(record.reason, record.account) or "",
            printable(masked(record.account)),
            (
                to_text(record.review_by) if record.review_by else _FAR,
                blake2b(record.id.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest(),
            ),
        )

    def is_late(self, now: datetime) -> bool:
        by = self.record.review_by
        return by is not None and by < now


@dataclass(frozen=True)
class Queue:
    """All that waits, as it was at one moment."""

    rows: Sequence[Waiting]
    at: datetime

    @classmethod
    def of(cls, waiting: Sequence[Found], at: datetime) -> Self:
        called = names(found.record.id for found in waiting)
        rows = [Waiting.of(found, called[found.record.id]) for found in waiting]
        return cls(sorted(rows, key=lambda row: row.place), at)

    @cached_property
    def by_name(self) -> Mapping[str, Waiting]:
        return {row.name: row for row in self.rows}

    @property
    def is_cut(self) -> bool:
        """Whether more may wait than are here."""
        return len(self.rows) >= MOST

    def causes(self) -> list[tuple[str, int]]:
        return Counter(row.cause.value for row in self.rows if row.cause).most_common()

    def currencies(self) -> list[str]:
        return sorted({row.record.currency for row in self.rows})

    def owners(self) -> list[str]:
        return sorted({row.record.owner for row in self.rows if row.record.owner})


def sums(rows: Sequence[Waiting]) -> dict[str, int]:
    """In minor units, by currency."""
    total: Counter[str] = Counter()
    for row in rows:
        total[row.record.currency] += row.record.amount
    return dict(sorted(total.items()))


@dataclass(frozen=True, slots=True)
class Filter:
    """Which of them are shown; nothing said is all."""

    text: str = ""
    """In the id, the reason or the end of the account."""
    cause: str = ""
    currency: str = ""
    owner: str = ""
    least: str = ""
    """In major units, as people write amounts: 12.50. Each currency by its own decimals."""
    most: str = ""
    late: bool = False
    """Those alone whose deadline has passed."""

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Self:
        """Raises Trouble: an amount that is none."""
        wanted = {name: given.get(name, "").strip()[:200] for name in cls.__slots__ if name != "late"}
        for name in ("least", "most"):
            if wanted[name] and not _AMOUNT.fullmatch(wanted[name]):
                raise Trouble(f"{printable(wanted[name][:40])} is no amount", "write it like 1250 or 12.50", Exit.USAGE)
        return cls(**wanted, late=bool(given.get("late")))

    @property
    def query(self) -> dict[str, str]:
        """As an address has it."""
        said = {name: getattr(self, name) for name in self.__slots__ if name != "late" and getattr(self, name)}
        return said | ({"late": "1"} if self.late else {})

    def apply(self, queue: Queue, now: datetime) -> list[Waiting]:
        text = self.text.casefold()
        least, most = _decimal(self.least), _decimal(self.most)

        def wanted(row: Waiting) -> bool:
            record = row.record
            return (
                (not self.cause or (row.cause is not None and row.cause.value == self.cause))
                and (not self.currency or record.currency == self.currency)
                and (not self.owner or record.owner == self.owner)
                and (not self.late or row.is_late(now))
                and (not text or any(text in one.casefold() for one in (row.name, row.reason, row.account)))
                and (least is None or _major(record) >= least)
                and (most is None or _major(record) <= most)
            )

        return [row for row in queue.rows if wanted(row)]


def _decimal(text: str) -> Decimal | None:
    try:
        return Decimal(text) if text else None
    except InvalidOperation:  # pragma: no cover - `of` has looked
        return None


def _major(record: Transaction) -> Decimal:
    return Decimal(record.amount).scaleb(-EXPONENTS.get(record.currency, 0))


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the rows, one page of them."""

    rows: Sequence[Waiting]
    first: int
    """The number of the first, from 1 on."""
    after: str | None
    """Where the next page begins; None where there is none."""
    chosen: Sequence[Waiting] = field(default=(), repr=False)
    """All that the filter lets through."""


def part(rows: Sequence[Waiting], after: str) -> Part:
    """The page behind that place, which need not be there any more: what was decided meanwhile shifts no other.

    The first page where nothing is behind it.
    """
    begin = 0
    if after:
        time, _, rest = after.partition("~")
        begin = next((n for n, row in enumerate(rows) if row.place > (time, rest)), 0)
    shown = rows[begin : begin + PAGE]
    more = begin + PAGE < len(rows)
    return Part(shown, begin + 1, "~".join(shown[-1].place) if more else None, rows)
