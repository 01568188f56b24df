"""Our book against what a bank or a gateway sent, id by id and to the minor unit: which class each line is of, and what
that comes to on both sides.

Memory stays bounded: the other book goes into a temporary database that SQLite spills to disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby, islice

from cli.books.classes import Class, Judgement, judge, judge_nameless, judge_unknown
from cli.books.lines import BadBook, Line, LineKind
from cli.desk import Entry
from workers.domain.transaction import Status, is_canary

KEPT = 1000
"""Differences that are listed; all are counted."""
LINES_KEPT = 10
"""Of a difference: enough to find it in the file."""
MOST_LINES = 10_000
"""Of one id: no payment has more, and they are looked at together."""
PART = 5000
CACHE_KIB = 32 * 1024


@dataclass(frozen=True, slots=True)
class Difference:
    """Something about one id for which a person has to look."""

    id: str
    kind: Class
    status: Status | None
    amount: int
    """Ours, in minor units; 0 where we know nothing of it."""
    currency: str
    moved: int
    """By the other book: the sum of the lines of this class, in the currency of the first; 0 where there is none."""
    moved_currency: str
    lines: tuple[Line, ...] = ()
    """The first of them: the evidence for whoever decides."""


@dataclass(slots=True)
class Side:
    """One book in one currency."""

    count: int = 0
    amount: int = 0

    def add(self, amount: int) -> None:
        self.count += 1
        self.amount += amount


@dataclass(slots=True)
class Both:
    """A class in one currency, in both books."""

    ours: Side = field(default_factory=Side)
    theirs: Side = field(default_factory=Side)


@dataclass(frozen=True, slots=True)
class Covered:
    """The time that the other book is of: of ours, what was settled outside of it need not be there."""

    since: datetime | None = None
    until: datetime | None = None

    def holds(self, entry: Entry) -> bool:
        at = entry.settled_at
        return at is None or ((self.since is None or at >= self.since) and (self.until is None or at < self.until))


@dataclass(slots=True)
class Reconciled:
    """What the two books say."""

    ours: dict[str, Side] = field(default_factory=dict)
    """CONFIRMED, by currency."""
    theirs: dict[str, Side] = field(default_factory=dict)
    """All lines, by currency, canaries apart."""
    classes: dict[str, dict[Class, Both]] = field(default_factory=dict)
    """By currency; their sums are `ours` and `theirs`."""
    counts: dict[Class, int] = field(default_factory=dict)
    """Of differences: ids, or lines that name none."""
    differences: list[Difference] = field(default_factory=list)
    our_canaries: Side = field(default_factory=Side)
    """Confirmed ones. A line of their own: they are deleted after a week, so the two sides of it may differ."""
    their_canaries: Side = field(default_factory=Side)

    @property
    def equal(self) -> bool:
        return not self.counts

    @property
    def balanced(self) -> bool:
        """Whether the classes come to the totals, which were summed on the way in: else this program is wrong."""
        codes = {*self.ours, *self.theirs, *self.classes}
        nothing = Side()
        return all(
            self.ours.get(code, nothing) == _together(code, self.classes, lambda both: both.ours)
            and self.theirs.get(code, nothing) == _together(code, self.classes, lambda both: both.theirs)
            for code in codes
        )

    def both(self, code: str, class_: Class) -> Both:
        of = self.classes.setdefault(code, {})
        return of.get(class_) or of.setdefault(class_, Both())


def _together(code: str, classes: dict[str, dict[Class, Both]], side: Callable[[Both], Side]) -> Side:
    sides = [side(both) for both in classes.get(code, {}).values()]
    return Side(sum(one.count for one in sides), sum(one.amount for one in sides))


def _let_go(_: Difference) -> None:
    pass


async def reconcile(
    book: Book,
    entries: AsyncIterator[Entry],
    covered: Covered | None = None,
    each: Callable[[Difference], None] = _let_go,
) -> Reconciled:
    """Hold `entries` (all of ours) against `book`, and tell `each` of every difference.

    Of canaries only what costs money is a difference: moved twice, another amount, another currency. One of ours that
    cannot be read is a difference too, and stops no other.
    """
    covered = covered or Covered()
    result = Reconciled(theirs=book.sums, their_canaries=book.canaries)

    def told(entry: Entry | None, id_: str, judgement: Judgement, costly: bool) -> None:
        for line, class_ in judgement.lines:
            if not _is_canary(line):
                result.both(line.currency, class_).theirs.add(line.amount)
        for class_ in judgement.differing:
            if costly and class_ not in _COSTLY:
                continue
            lines = [line for line, of in judgement.lines if of is class_]
            tell(_difference(entry, id_, class_, lines))

    def tell(difference: Difference) -> None:
        result.counts[difference.kind] = result.counts.get(difference.kind, 0) + 1
        if len(result.differences) < KEPT:
            result.differences.append(difference)
        each(difference)

    async for entry in entries:
        lines = book.take(entry.id)
        judgement = judge(entry, lines, covered=covered.holds(entry))
        canary = entry.readable and is_canary(entry.id, entry.amount, entry.currency)
        if judgement.ours is not None:
            if canary:
                result.our_canaries.add(entry.amount)
            else:
                result.ours.setdefault(entry.currency, Side()).add(entry.amount)
                result.both(entry.currency, judgement.ours).ours.add(entry.amount)
        if not entry.readable:
            told(entry, entry.id, judgement, costly=False)
            if not lines:
                tell(_difference(entry, entry.id, Class.UNREADABLE, []))
            continue
        told(entry, entry.id, judgement, costly=canary)
    for id_, lines in book.rest():
        if len(lines) == 1 and _is_canary(lines[0]):
            continue  # one that is forgotten here
        told(None, id_, judge_unknown(lines), costly=False)
    for line in book.nameless():
        told(None, "", Judgement(None, [(line, judge_nameless(line))]), costly=False)
    if not result.balanced:
        raise RuntimeError("the classes do not come to the totals of the books")
    return result


_COSTLY = (Class.DOUBLED, Class.OTHER_AMOUNT, Class.OTHER_CURRENCY)


def _difference(entry: Entry | None, id_: str, class_: Class, lines: Sequence[Line]) -> Difference:
    code = lines[0].currency if lines else entry.currency if entry else "XXX"
    known = entry is not None and entry.readable
    return Difference(
        id_,
        class_,
        entry.status if entry is not None and known else None,
        entry.amount if entry is not None and known else 0,
        entry.currency if entry is not None and known else code,
        sum(line.amount for line in lines if line.currency == code),
        code,
        tuple(lines[:LINES_KEPT]),
    )


def _is_canary(line: Line) -> bool:
    return line.kind is LineKind.PAYMENT and is_canary(line.id, line.amount, line.currency)


_KINDS = tuple(LineKind)
_NUMBERS = {kind: number for number, kind in enumerate(_KINDS)}


class Book:
    """The other side's lines by id; what was taken is marked."""

    def __init__(self, lines: Iterable[Line], name: str = "the book") -> None:
        """Reads all of it.

        Raises:
            BadBook: it is none; nothing is kept.
        """
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{CACHE_KIB}"):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.execute(
            "CREATE TABLE line"
            " (id TEXT, kind INTEGER, amount INTEGER, currency TEXT, place INTEGER, reference TEXT, day TEXT)"
        )
        self._database.execute("CREATE TABLE taken (id TEXT PRIMARY KEY) WITHOUT ROWID")
        self._database.execute("BEGIN")
        self.sums: dict[str, Side] = {}
        self.canaries = Side()
        try:
            every = iter(lines)
            while part := list(islice(every, PART)):
                self._keep(part)
            self._database.execute("CREATE INDEX by_id ON line (id)")
            self._bound(name)
        except BaseException:
            self._database.close()
            raise

    def __enter__(self) -> Book:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def _keep(self, part: list[Line]) -> None:
        rows = [(line.id, _NUMBERS[line.kind], *line[2:]) for line in part]
        self._database.executemany("INSERT INTO line VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        for line in part:  # SQLite's own sums end at 2^63
            side = self.canaries if _is_canary(line) else self.sums.setdefault(line.currency, Side())
            side.add(line.amount)

    def _bound(self, name: str) -> None:
        many = self._database.execute(
            "SELECT count(*) FROM line WHERE id != '' GROUP BY id HAVING count(*) > ? LIMIT 1", (MOST_LINES,)
        ).fetchone()
        if many:
            raise BadBook(
                name,
                f"{many[0]:,} lines of one id",
                f"at most {MOST_LINES:,}",
                "see whether the column of the ids is the right one (--id-from)",
            )

    def take(self, id_: str) -> list[Line]:
        rows = self._database.execute(f"{_SELECT} WHERE id = ? ORDER BY place", (id_,)).fetchall()
        if rows:
            self._database.execute("INSERT OR IGNORE INTO taken VALUES (?)", (id_,))
        return [_line(row) for row in rows]

    def rest(self) -> Iterator[tuple[str, list[Line]]]:
        """The ids that nobody took, with their lines."""
        untaken = "WHERE id != '' AND id NOT IN (SELECT id FROM taken)"
        rows = self._database.execute(f"{_SELECT} {untaken} ORDER BY id, place")
        for id_, lines in groupby(map(_line, rows), key=lambda line: line.id):
            yield id_, list(lines)

    def nameless(self) -> Iterator[Line]:
        yield from map(_line, self._database.execute(f"{_SELECT} WHERE id = ''"))


_SELECT = "SELECT id, kind, amount, currency, place, reference, day FROM line"


def _line(row: tuple[str, int, int, str, int, str, str]) -> Line:
    return Line(row[0], _KINDS[row[1]], *row[2:])
