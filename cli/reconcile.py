"""Our book against the gateway's, id by id and to the minor unit: where the two differ, and by how much.

Memory stays bounded: the gateway's book goes into a temporary database that SQLite spills to disk.
"""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import islice

from cli.desk import Entry
from cli.exits import Trouble
from workers.domain.transaction import Status, is_canary

COLUMNS = ("id", "amount_minor", "currency")
KEPT = 1000
"""Differences that are listed; all are counted."""
PART = 1000


class Discrepancy(StrEnum):
    """How the two books may differ about one id."""

    DOUBLED = "doubled"
    OTHER_AMOUNT = "other-amount"
    NOT_MOVED = "not-moved"
    REJECTED = "moved-but-rejected"
    OPEN = "moved-but-open"
    DESK = "moved-but-on-a-desk"
    UNKNOWN = "moved-but-unknown"
    UNREADABLE = "unreadable"


MEANING: Mapping[Discrepancy, str] = {
    Discrepancy.DOUBLED: "the gateway moved it more than once: call the gateway's owner, stop the workers",
    Discrepancy.OTHER_AMOUNT: "the gateway moved another amount than ours: a person decides",
    Discrepancy.NOT_MOVED: (
        "confirmed here, not in the gateway's book: does the file cover its time? If so, a person decides"
    ),
    Discrepancy.REJECTED: "rejected here, yet the gateway moved it: a person decides",
    Discrepancy.OPEN: "moved, not settled here yet: a worker asks and settles it; normal while work is under way",
    Discrepancy.DESK: "moved, and on a desk here: decide it with `confirm review`",
    Discrepancy.UNKNOWN: (
        "moved, and not here at all: never bring it in while `mode` is confirm, where a new one counts as never sent "
        "and is paid again. In `mode: shadow`, bring it in with `confirm import` and its true created_at, and wait "
        "until it is confirmed"
    ),
    Discrepancy.UNREADABLE: (
        "here in a form that nobody can read, so it was not compared: see who writes there besides us"
    ),
}


@dataclass(frozen=True, slots=True)
class Difference:
    id: str
    kind: Discrepancy
    status: Status | None
    amount: int
    """Ours, in minor units; 0 where we know nothing of it."""
    currency: str
    moved: int
    """By the gateway's book, all its effects together."""


@dataclass(slots=True)
class Side:
    """One book in one currency."""

    count: int = 0
    amount: int = 0

    def add(self, amount: int) -> None:
        self.count += 1
        self.amount += amount


@dataclass(slots=True)
class Reconciled:
    """What the two books say."""

    ours: dict[str, Side] = field(default_factory=dict)
    """CONFIRMED, by currency."""
    theirs: dict[str, Side] = field(default_factory=dict)
    counts: dict[Discrepancy, int] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    our_canaries: Side = field(default_factory=Side)
    """Confirmed ones. A line of their own: they are deleted after a week, so the two sides of it may differ."""
    their_canaries: Side = field(default_factory=Side)

    @property
    def equal(self) -> bool:
        return not self.counts

    def add(self, difference: Difference) -> None:
        self.counts[difference.kind] = self.counts.get(difference.kind, 0) + 1
        if len(self.differences) < KEPT:
            self.differences.append(difference)


@dataclass(frozen=True, slots=True)
class Effect:
    """A line of the gateway's book: money that moved."""

    id: str
    amount: int
    currency: str


def effects(lines: Iterable[str], name: str) -> Iterator[Effect]:
    """The gateway's book: CSV with a header; columns beyond COLUMNS are left alone.

    Raises:
        Trouble: a line is none; half a book proves nothing, so nothing is compared.
    """
    reader = csv.reader(lines, strict=True)
    try:
        header = [column.strip().removeprefix("\ufeff") for column in next(reader, [])]
        if missing := [column for column in COLUMNS if column not in header]:
            raise Trouble(
                f"{name} has no column {', '.join(missing)}",
                f"give it a first line with {','.join(COLUMNS)}, of the effects alone (money that moved)",
            )
        places = [header.index(column) for column in COLUMNS]
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise _broken(name, reader.line_num, f"{len(row)} fields", f"{len(header)}, as in the header")
            id_, amount, currency = (row[place].strip() for place in places)
            if not id_:
                raise _broken(name, reader.line_num, "no id", "the id under which we sent it, the idempotency key")
            if not amount.isascii() or not amount.isdigit() or len(amount) > 16:
                raise _broken(name, reader.line_num, "no such amount_minor", "whole minor units: 1250 for 12.50 USD")
            if not (len(currency) == 3 and currency.isascii() and currency.isalpha() and currency.isupper()):
                raise _broken(name, reader.line_num, "no such currency", "three capital letters (ISO 4217)")
            yield Effect(id_, int(amount), currency)
    except (csv.Error, UnicodeDecodeError):
        raise _broken(name, reader.line_num + 1, "no readable line", "CSV in UTF-8") from None


def _broken(name: str, line: int, found: str, allowed: str) -> Trouble:
    return Trouble(f"{name} line {line}: found {found}; allowed: {allowed}", "mend the file; nothing was compared")


async def reconcile(book: Iterable[Effect], entries: AsyncIterator[Entry], since: datetime | None = None) -> Reconciled:
    """Hold `entries` (all of ours) against `book`; of ours, those settled before `since` need no effect in it.

    Of canaries only what costs money is a difference: moved twice, or another amount. One of ours that cannot be read
    is a difference too, and stops no other.
    """
    result = Reconciled()
    with _Book(iter(book)) as theirs:
        result.theirs, result.their_canaries = theirs.sums, theirs.canaries
        async for entry in entries:
            moved = theirs.take(entry.id)
            if not entry.readable:
                total = sum(effect.amount for effect in moved)
                result.add(Difference(entry.id, Discrepancy.UNREADABLE, None, 0, _code(moved), total))
                continue
            canary = is_canary(entry.id, entry.amount, entry.currency)
            if entry.status is Status.CONFIRMED and (moved or _covered(entry, since)):
                side = result.our_canaries if canary else result.ours.setdefault(entry.currency, Side())
                side.add(entry.amount)
            if (kind := _judged(entry, moved, since)) and (not canary or kind in _COSTLY):
                total = sum(effect.amount for effect in moved)
                result.add(Difference(entry.id, kind, entry.status, entry.amount, entry.currency, total))
        for id_, currency, amount, count in theirs.rest():
            if is_canary(id_, amount, currency):
                continue  # one that is forgotten here
            kind = Discrepancy.UNKNOWN if count == 1 else Discrepancy.DOUBLED
            result.add(Difference(id_, kind, None, 0, currency, amount))
    return result


_COSTLY = (Discrepancy.DOUBLED, Discrepancy.OTHER_AMOUNT)


def _judged(entry: Entry, moved: list[Effect], since: datetime | None) -> Discrepancy | None:
    if len(moved) > 1:
        return Discrepancy.DOUBLED
    if not moved:
        return Discrepancy.NOT_MOVED if entry.status is Status.CONFIRMED and _covered(entry, since) else None
    if (moved[0].amount, moved[0].currency) != (entry.amount, entry.currency):
        return Discrepancy.OTHER_AMOUNT
    return {Status.CONFIRMED: None, Status.REJECTED: Discrepancy.REJECTED, Status.REVIEW: Discrepancy.DESK}.get(
        entry.status, Discrepancy.OPEN
    )


def _code(moved: list[Effect]) -> str:
    return moved[0].currency if moved else "XXX"


def _covered(entry: Entry, since: datetime | None) -> bool:
    return since is None or entry.settled_at is None or entry.settled_at >= since


class _Book:
    """The gateway's effects by id; what was taken is marked."""

    def __init__(self, book: Iterator[Effect]) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("CREATE TABLE effect (id TEXT, amount INTEGER, currency TEXT)")
        self._database.execute("CREATE TABLE taken (id TEXT PRIMARY KEY) WITHOUT ROWID")
        self._database.execute("BEGIN")
        self.sums: dict[str, Side] = {}
        self.canaries = Side()
        try:
            while part := list(islice(book, PART)):
                self._keep(part)
        except BaseException:
            self._database.close()
            raise
        self._database.execute("CREATE INDEX by_id ON effect (id)")

    def __enter__(self) -> _Book:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def _keep(self, part: list[Effect]) -> None:
        rows = [(effect.id, effect.amount, effect.currency) for effect in part]
        self._database.executemany("INSERT INTO effect VALUES (?, ?, ?)", rows)
        for effect in part:  # SQLite's own sums end at 2^63
            canary = is_canary(effect.id, effect.amount, effect.currency)
            side = self.canaries if canary else self.sums.setdefault(effect.currency, Side())
            side.add(effect.amount)

    def take(self, id_: str) -> list[Effect]:
        rows = self._database.execute("SELECT id, amount, currency FROM effect WHERE id = ?", (id_,)).fetchall()
        if rows:
            self._database.execute("INSERT OR IGNORE INTO taken VALUES (?)", (id_,))
        return [Effect(*row) for row in rows]

    def rest(self) -> Iterator[tuple[str, str, int, int]]:
        """Id, currency, sum and count of the effects that nobody took."""
        yield from self._database.execute(
            "SELECT id, max(currency), sum(amount), count(*) FROM effect WHERE id NOT IN (SELECT id FROM taken)"
            " GROUP BY id ORDER BY id"
        )
