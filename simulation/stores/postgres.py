"""PostgreSQL for the production's own adapter: each of its statements (workers/stores/sql/) as one on rows in memory.

A statement sees a snapshot of when it began, and goes by the time of then. It locks what it changes; a locked row is
waited for or skipped as the statement says, and what was changed meanwhile is looked at again. Nothing of it is seen
before its commit, and all of it then. Connections are cut before and after a commit, and the server fails over.

That each statement does here what it does there is held by tests/contract, and by schedules that are played on both.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import asyncpg

from simulation.life import Life, Stage
from simulation.stores.common import Database
from workers.domain.policy import LONGEST_LEASE, Policy
from workers.domain.ports import Claimed, Move
from workers.domain.transaction import Transaction, is_canary, utc
from workers.stores import postgres
from workers.stores import statements as sql
from workers.stores.named import Statement, fields
from workers.stores.postgres import START, PostgresStore
from workers.stores.statements import Stored, StoredLine

FIRST_YEAR, LAST_YEAR = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LONGEST_STATEMENT = 12.0
"""Seconds until one that is slow has looked at its rows, and as many until its commit: less than a worker waits."""
LATELY = timedelta(seconds=5)
"""What a worker's clock may hide from it."""
MOST_WAITS = 1000
"""Of one statement, for one lock after the other."""


class Unknown(Exception):  # noqa: N818 - what it is
    """A statement that the simulated server does not know."""


class _Waits(Exception):  # noqa: N818 - what it does
    """For a row that another transaction holds."""

    def __init__(self, id_: str) -> None:
        self.id = id_


@dataclass
class Running:
    """One statement, which is a transaction of its own."""

    server: Server
    now: datetime
    """When it began."""
    snapshot: Mapping[str, Stored]
    writes: dict[str, Stored] = field(default_factory=dict)
    lines: list[StoredLine] = field(default_factory=list)
    beside: Callable[[], None] = lambda: None
    """What it does to other tables, at its commit."""

    def lock(self, id_: str) -> Stored | None:
        """The newest version of a row, once nobody else holds it."""
        if id_ in self.server.locked:
            raise _Waits(id_)
        return self.server.rows.get(id_)

    def unlocked(self, id_: str) -> Stored | None:
        """The same of a row that nobody holds right now; None of one that somebody does (SKIP LOCKED)."""
        return None if id_ in self.server.locked else self.server.rows.get(id_)

    def time(self, given: datetime | None) -> datetime:
        """`date_trunc('milliseconds', coalesce(:now, now()))`."""
        return utc(given or self.now)


Row = tuple[Any, ...]
Does = Callable[[Running, Any], Iterable[Row]]
STATEMENTS: dict[str, tuple[str, Statement[Any, Any], Does]] = {}
"""By their text: a name, the statement, and what it does."""


def does(name: str, statement: Statement[Any, Any]) -> Callable[[Does], Does]:
    def known(function: Does) -> Does:
        STATEMENTS[statement.text] = name, statement, function
        return function

    return known


def least(*times: datetime | None) -> datetime | None:
    return min((time for time in times if time is not None), default=None)


def greatest(*times: datetime | None) -> datetime | None:
    return max((time for time in times if time is not None), default=None)


# --- what comes in ---------------------------------------------------------------------------------------------------

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_CURRENCY = re.compile(r"[A-Z]{3}")
MOST_AMOUNT = 10**15


@does("add", sql.ADD)
def _add(running: Running, wanted: sql.Arrivals) -> Iterator[Row]:
    now = running.time(wanted.now)
    columns = wanted.ids, wanted.accounts, wanted.amounts, wanted.currencies, wanted.created_at, wanted.deadlines
    for id_, account, amount, currency, created_at, deadline in zip(*columns, strict=True):
        if (
            not _ID.fullmatch(id_)
            or not _CURRENCY.fullmatch(currency)
            or not 0 <= amount <= MOST_AMOUNT
            or not 1 <= len(account) <= 1024
            or not all(FIRST_YEAR < time < LAST_YEAR for time in (created_at, deadline))
        ):
            raise asyncpg.CheckViolationError(f"a value of {id_} is outside of its domain")
        if running.lock(id_) is None and id_ not in running.writes:
            running.writes[id_] = _arrived(id_, account, amount, currency, created_at, deadline, now)
            yield (id_,)


def _arrived(
    id_: str, account: str, amount: int, currency: str, created_at: datetime, deadline: datetime, now: datetime
) -> Stored:
    none: dict[str, Any] = dict.fromkeys(Stored._fields)
    return Stored(**{
        **none, "id": id_, "account": account, "amount": amount, "currency": currency, "status": "PENDING",
        "attempt": 0, "version": 1, "tries": 0, "asked": 0, "lost": 0, "new_keys": 0, "created_at": created_at,
        "deadline": deadline, "due_at": now, "arrived_at": now,
    })  # fmt: skip


# --- claims ----------------------------------------------------------------------------------------------------------


def _others(row: Stored, wanted: sql.Wanted | sql.FirstOf) -> bool:
    """Whether it was there when shadow mode was left."""
    until = wanted.others_until
    return until is not None and min(row.created_at, row.arrived_at) <= until + wanted.apart


def due(row: Stored, wanted: sql.Wanted | sql.FirstOf, now: datetime) -> bool:
    """The WHERE of a claim."""
    if row.due_at is None or row.due_at > now or (row.due_at, row.id) <= (wanted.after_due_at, wanted.after_id):
        return False
    lease = row.lease_until
    if not (lease is None or lease < now - wanted.skew or lease > now + LONGEST_LEASE):
        return False
    if wanted.ids is not None and row.id not in wanted.ids:
        return False
    if wanted.late is None:
        return True
    unsent = lease is None and row.first_sent_at is None and row.last_sent_at is None
    unsent = unsent and not wanted.only_ask and not _others(row, wanted)
    ends = row.deadline if row.desk_by is None else min(row.deadline, row.desk_by)
    return ends <= now - (timedelta() if unsent else wanted.late)


def _desk(row: Stored, wanted: sql.Wanted, now: datetime) -> tuple[str, str] | None:
    """Cause and reason of what may not be tried again."""
    if row.deadline >= LAST_YEAR:
        return "unreadable", f"unreadable: deadline {row.deadline} is out of range"
    early = least(row.due_at, row.lease_until, row.first_sent_at, row.last_sent_at)
    late = greatest(row.first_sent_at, row.last_sent_at, row.lease_until)
    if (early and early < FIRST_YEAR) or (late and late >= LAST_YEAR):
        return "unreadable", "unreadable: a time of its turns or of its sending is out of range"
    if row.lease_until is not None:
        if row.lost + 1 >= 2 * max(wanted.max_attempts, 2):
            return "workers-lost", f"{row.lost + 1} workers took it and none of them came back"
    elif row.first_sent_at is None and row.last_sent_at is None and not wanted.only_ask and not _others(row, wanted):
        if row.attempt >= wanted.max_attempts:
            return "attempts-used-up", f"{row.attempt} attempts used up without an end"
        if row.deadline <= now:
            return "deadline-passed", "deadline passed before it could be sent"
    return None


def picked(running: Running, holds: Callable[[Stored], bool], order: Any, limit: int) -> Iterator[Stored]:
    """ORDER BY ... LIMIT ... FOR UPDATE SKIP LOCKED: the rows as they are once they are locked.

    The snapshot says which and in what order; what was changed since is looked at again, and counts all the same.
    """
    taken = 0
    for seen in sorted(filter(holds, running.snapshot.values()), key=order):
        if taken == limit:
            return
        row = running.unlocked(seen.id)
        if row is not None and (row is seen or holds(row)):
            taken += 1
            yield row


@does("claim", sql.CLAIM)
def _claim(running: Running, wanted: sql.Wanted) -> Iterator[Row]:
    now = running.time(wanted.now)
    for row in [*picked(running, lambda one: due(one, wanted, now), _in_turn, wanted.limit)]:
        if row is not running.snapshot.get(row.id):
            continue  # its new version is not at the place that this statement's snapshot has of it
        desk = _desk(row, wanted, now)
        after = _claimed(row, wanted, now, desk)
        running.writes[row.id] = after
        if after.taken_over:
            running.lines.append(_line(
                transaction_id=row.id, version=after.version - 1, claimed_at=row.claimed_at, claimed_by=row.claimed_by,
                taken_over=row.taken_over, token=row.token, claim_attempt=row.attempt,
            ))  # fmt: skip
        if desk:
            running.lines.append(_line(
                transaction_id=row.id, version=after.version, token=row.token, at=now, by=wanted.by,
                was="PROCESSING" if after.taken_over else "PENDING", now="REVIEW", attempt=after.attempt,
                why=after.reason, cause=desk[0],
            ))  # fmt: skip
        yield (
            row.id, row.account, row.amount, row.currency, row.created_at.timestamp(), row.deadline.timestamp(),
            after.attempt, after.due_at.timestamp() if after.due_at else None, now.timestamp(), after.taken_over,
            None if after.first_sent_at == now else after.first_sent_at, after.last_sent_at, after.version,
            after.tries, after.asked, after.lost, after.away_since, after.desk_by if desk is None else after.review_by,
            after.new_keys, after.reason, desk[0] if desk else None, row.token,
        )  # fmt: skip


def _in_turn(row: Stored) -> Any:
    return row.due_at, row.id


def _claimed(row: Stored, wanted: sql.Wanted, now: datetime, desk: tuple[str, str] | None) -> Stored:
    crashed = row.lease_until is not None
    others = None
    if wanted.only_ask:
        others = now
    elif wanted.others_until is not None and not row.new_keys and _others(row, wanted):
        others = min(wanted.others_stopped or wanted.others_until, now)
    arrived = max(row.arrived_at, EPOCH)
    first, last = row.first_sent_at, row.last_sent_at
    if desk and desk[0] == "unreadable":
        first = least(row.created_at, arrived, wanted.restored_to, now)
    elif others is not None:
        first = least(first, row.created_at, arrived, wanted.restored_to, others)
    elif first is not None and first > now + wanted.skew:
        first = least(row.created_at, arrived, now)
    elif desk is None and first is None:
        first = now if last is None and not crashed else row.created_at
    if wanted.only_ask or (desk and desk[0] == "unreadable"):
        last = now
    elif crashed:
        last = greatest(row.lease_until, others)
    elif row.first_sent_at is not None:
        last = greatest(last or now, others)
    else:
        last = greatest(last, others)
    held = desk is None
    return row._replace(
        status="PROCESSING" if held else "REVIEW",
        attempt=max(min(row.attempt, 2 * wanted.max_attempts) + (not crashed), 1) if held else row.attempt,
        due_at=row.due_at if held else None,
        lease_until=now + wanted.lease if held else None,
        token=wanted.token if held else None,
        claimed_at=now,
        claimed_by=wanted.by,
        taken_over=crashed,
        first_sent_at=first,
        last_sent_at=last,
        tries=row.tries + (held and crashed),
        lost=row.lost + (held and crashed),
        reason=desk[1] if desk else None,
        owner=row.owner if held else wanted.owner,
        review_by=row.review_by if held else row.desk_by or now + wanted.review_within,
        desk_by=row.desk_by if held else None,
        version=row.version + 1,
    )


def _line(**values: Any) -> StoredLine:
    return StoredLine(**{**_EMPTY_LINE, **values})


_EMPTY_LINE: dict[str, Any] = dict.fromkeys(StoredLine._fields)


@does("first", sql.FIRST)
def _first(running: Running, wanted: sql.FirstOf) -> Iterator[Row]:
    now = running.time(wanted.now)
    found = sorted((row for row in running.snapshot.values() if due(row, wanted, now)), key=_in_turn)
    return ((row.due_at, row.id) for row in found[:1])


@does("ahead", sql.AHEAD)
def _ahead(running: Running, wanted: sql.Ahead) -> Iterator[Row]:
    now, after = wanted.now or running.now, (wanted.after_due_at, wanted.after_id)
    found = sorted(
        (r for r in running.snapshot.values() if r.due_at and r.due_at <= now and _in_turn(r) > after), key=_in_turn
    )
    return ((row.due_at, row.id) for row in found[wanted.number - 1 : wanted.number])


@does("set aside", sql.SET_ASIDE)
def _set_aside(running: Running, wanted: sql.Aside) -> Iterator[Row]:
    now = running.time(wanted.now)

    def holds(row: Stored) -> bool:
        lease = row.lease_until
        free = lease is None or lease < now - wanted.skew or lease > now + LONGEST_LEASE
        turn = row.due_at is not None and (row.due_at <= now or row.due_at > now + wanted.longest_wait)
        return row.id == wanted.id and turn and free

    for row in picked(running, holds, _in_turn, 1):
        newest = max(running.server.lines[row.id], default=0)
        version = max(row.version, newest) + 1
        running.writes[row.id] = row._replace(
            status="REVIEW", due_at=None, lease_until=None, token=None,
            first_sent_at=least(row.created_at, max(row.arrived_at, EPOCH), wanted.restored_to, now),
            last_sent_at=now, reason=wanted.why, owner=wanted.owner,
            review_by=row.desk_by or now + wanted.review_within, desk_by=None,
            attempt=min(max(row.attempt, 0), 1000), tries=min(max(row.tries, 0), 1000), version=version,
            lost=min(max(row.lost, 0), 1000), away_since=None,
        )  # fmt: skip
        running.lines.append(_line(
            transaction_id=row.id, version=version, token=row.token, at=now, by=wanted.by, was=row.status,
            now="REVIEW", attempt=min(max(row.attempt, 0), 1000), why=wanted.why, cause="claim-failed",
        ))  # fmt: skip
        yield (row.id,)


@does("recall", sql.RECALL)
def _recall(running: Running, wanted: sql.TooFarAhead) -> Iterator[Row]:
    now = running.time(wanted.now)

    def holds(row: Stored) -> bool:
        far = row.due_at is not None and row.due_at > now + wanted.longest_wait
        return far and (wanted.ids is None or row.id in wanted.ids)

    count = 0
    for row in picked(running, holds, lambda one: -one.due_at.timestamp(), wanted.limit):
        first = row.first_sent_at
        if first is not None and first > now + wanted.skew:
            first = least(row.created_at, max(row.arrived_at, EPOCH), now)
        running.writes[row.id] = row._replace(due_at=now, first_sent_at=first)
        count += 1
    yield (count,)


@does("too far ahead", sql.TOO_FAR_AHEAD)
def _too_far_ahead(running: Running, wanted: sql.Further) -> Iterator[Row]:
    until = (wanted.now or running.now) + wanted.longest_wait
    return ((row.id,) for row in running.snapshot.values() if row.due_at and row.due_at > until)


# --- what is held ----------------------------------------------------------------------------------------------------


def fence_holds(row: Stored, token: str | None) -> bool:
    """Of every write of a holder: the token of its claim still stands."""
    return row.token is not None and row.token == token


def _behind_the_fence(running: Running, id_: str, token: str | None) -> Stored | None:
    """A row that an UPDATE finds by its snapshot, as it is once it is locked: then it is looked at again."""
    seen = running.snapshot.get(id_)
    if seen is None or not fence_holds(seen, token):
        return None
    row = running.lock(id_)
    return row if row is not None and fence_holds(row, token) else None


@does("extend", sql.EXTEND)
def _extend(running: Running, wanted: sql.Leases) -> Iterator[Row]:
    until = running.time(wanted.now) + wanted.lease
    for id_, token in zip(wanted.ids, wanted.tokens, strict=True):
        row = _behind_the_fence(running, id_, token)
        if row is not None and id_ not in running.writes:
            running.writes[id_] = row._replace(lease_until=until)
            yield id_, until


@does("held", sql.HELD)
def _held(running: Running, wanted: sql.Token) -> Iterator[Row]:
    found = (row for row in running.snapshot.values() if row.due_at is not None and row.token == wanted.token)
    return iter(sorted(found, key=_in_turn))


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


@does("settle", sql.SETTLE)
def _settle(running: Running, wanted: sql.Ended) -> Iterator[Row]:
    count = 0
    for group in json.loads(wanted.moves):
        at, due_at, review_by = (_moment(group[name]) for name in ("at", "due_at", "review_by"))
        for id_, reference in zip(group["ids"], group["refs"], strict=True):
            row = _behind_the_fence(running, id_, group["token"])
            if row is None or id_ in running.writes:
                continue
            after = row._replace(
                status=group["status"],
                attempt=row.attempt - 1 if group["uncounted"] else row.attempt,
                due_at=due_at,
                lease_until=None,
                token=None,
                first_sent_at=None if group["unsent"] else row.first_sent_at,
                last_sent_at=at if group["sent"] else row.last_sent_at,
                tries=row.tries + group["tried"],
                asked=row.asked + group["asked"],
                lost=group["lost"],
                away_since=_moment(group["away_since"]),
                settled_at=at if group["status"] in ("CONFIRMED", "REJECTED") else None,
                gateway_reference=reference,
                reason=group["reason"],
                owner=wanted.owner if review_by is not None else None,
                review_by=review_by,
                desk_by=row.desk_by if group["status"] == "PENDING" else None,
                version=row.version + 1,
            )
            running.writes[id_] = after
            running.lines.append(_line(
                transaction_id=id_, version=after.version, claimed_at=row.claimed_at, claimed_by=row.claimed_by,
                taken_over=row.taken_over, token=group["token"], claim_attempt=row.attempt, at=at, by=wanted.by,
                was="PROCESSING", now=group["status"], attempt=after.attempt, why=group["why"], cause=group["cause"],
            ))  # fmt: skip
            count += 1
    yield (count,)


@does("written", sql.WRITTEN)
def _written(running: Running, wanted: sql.Marks) -> Iterator[Row]:
    marks = zip(wanted.ids, wanted.versions, wanted.tokens, wanted.statuses, strict=True)
    for id_, version, token, status in marks:
        line = running.server.lines[id_].get(version)
        if line and line.token is not None and (line.token, line.now) == (token, status):
            yield (id_,)


# --- what is stored --------------------------------------------------------------------------------------------------


@does("rows", sql.ROWS)
def _rows(running: Running, wanted: sql.Ids) -> Iterator[Row]:
    return (running.snapshot[id_] for id_ in wanted.ids if id_ in running.snapshot)


@does("every row", sql.EVERY_ROW)
def _every_row(running: Running, wanted: sql.Nothing) -> Iterator[Row]:  # noqa: ARG001
    return iter(running.snapshot.values())


@does("lines", sql.LINES)
def _lines(running: Running, wanted: sql.Id) -> Iterator[Row]:
    return (line for _, line in sorted(running.server.lines[wanted.id].items()))


@does("every line", sql.EVERY_LINE)
def _every_line(running: Running, wanted: sql.Nothing) -> Iterator[Row]:  # noqa: ARG001
    for _, lines in sorted(running.server.lines.items()):
        yield from (line for _, line in sorted(lines.items()))


def _on_desk(running: Running) -> list[Stored]:
    rows = (row for row in running.snapshot.values() if row.review_by is not None)
    return [row for row in rows if not is_canary(row.id, row.amount, row.currency)]


@does("review", sql.REVIEW)
def _review(running: Running, wanted: sql.Limit) -> Iterator[Row]:
    return iter(sorted(_on_desk(running), key=lambda row: (row.review_by, row.id))[: wanted.limit])


@does("backlog", sql.BACKLOG)
def _backlog(running: Running, wanted: sql.Now) -> Iterator[Row]:
    now = wanted.now or running.now
    turns = [row.due_at for row in running.snapshot.values() if row.due_at is not None]
    is_due = [turn for turn in turns if turn <= now]
    yield (
        len(turns),
        len(is_due),
        min((one for one in is_due if one > FIRST_YEAR), default=None),
        len(_on_desk(running)),
    )


@does("desk", sql.DESK)
def _desk_by_currency(running: Running, wanted: sql.Nothing) -> Iterator[Row]:  # noqa: ARG001
    waiting: dict[str, list[Stored]] = defaultdict(list)
    for row in _on_desk(running):
        waiting[row.currency].append(row)
    for currency, rows in waiting.items():
        first = least(*(row.review_by for row in rows))
        yield currency, len(rows), first, sum(row.amount for row in rows)


# --- what people and modes do ----------------------------------------------------------------------------------------


@does("leave", sql.LEAVE)
def _leave(running: Running, wanted: sql.Left) -> Iterator[Row]:
    seen = running.snapshot.get(wanted.id)
    row = running.lock(wanted.id) if seen else None
    if row is None or (row.version, row.status) != (wanted.version, "REVIEW"):
        return
    kept = {name: getattr(wanted, name) for name in Stored._fields if name in sql.Left._fields}
    running.writes[row.id] = row._replace(
        **{**kept, "version": row.version + 1}, owner=None, review_by=None, lease_until=None, token=None
    )
    running.lines.append(_line(
        transaction_id=row.id, version=row.version + 1, at=wanted.at, by=wanted.by, was="REVIEW", now=wanted.status,
        attempt=wanted.attempt, why=wanted.why, cause=wanted.cause,
    ))  # fmt: skip
    yield (row.id,)


@does("doubt", sql.DOUBT)
def _doubt(running: Running, wanted: sql.Doubtful) -> Iterator[Row]:
    now = running.time(wanted.now)

    def of(is_there: Callable[[Stored], bool]) -> Callable[[Stored], bool]:
        return lambda row: (
            is_there(row)
            and (row.first_sent_at is None or row.last_sent_at is None)
            and (wanted.ids is None or row.id in wanted.ids)
        )

    waiting = of(lambda row: row.due_at is not None and row.status == "PENDING")
    in_review = of(lambda row: row.review_by is not None)
    found = [row for holds in (waiting, in_review) for row in picked(running, holds, _as_they_lie, wanted.limit)]
    for row in found[: wanted.limit]:
        if row is not running.snapshot.get(row.id) and not (waiting(row) or in_review(row)):
            continue
        first = least(row.first_sent_at, row.created_at, max(row.arrived_at, EPOCH), wanted.restored_to, now)
        running.writes[row.id] = row._replace(first_sent_at=first, last_sent_at=now)
    yield (len(running.writes),)


def _as_they_lie(row: Stored) -> Any:
    return row.id


@does("doubtful", sql.DOUBTFUL)
def _doubtful(running: Running, wanted: sql.Nothing) -> Iterator[Row]:  # noqa: ARG001
    for row in running.snapshot.values():
        waits = (row.due_at is not None and row.status == "PENDING") or row.review_by is not None
        if waits and (row.first_sent_at is None or row.last_sent_at is None):
            yield (row.id,)


@does("time", sql.TIME)
def _time(running: Running, wanted: sql.Nothing) -> Iterator[Row]:  # noqa: ARG001
    yield (running.now,)


class Shadow(NamedTuple):
    """The row of `shadow_left`."""

    is_on: bool
    left_at: datetime | None
    stopped: datetime | None
    since: datetime | None


@does("enter shadow", sql.ENTER_SHADOW)
def _enter_shadow(running: Running, wanted: sql.Since) -> Iterator[Row]:
    """The trigger runs before the insert, and so for a row that is there already, too."""
    server = running.server

    def commit() -> None:
        known = server.shadow
        if known is None:
            server.shadow = Shadow(True, None, None, wanted.restored_to)
        else:
            server.shadow = known._replace(is_on=True, since=least(known.since, wanted.restored_to))

    running.beside = commit
    return iter(())


@does("leave shadow", sql.LEAVE_SHADOW)
def _leave_shadow(running: Running, wanted: sql.Now) -> Iterator[Row]:
    server, now = running.server, running.time(wanted.now)

    def commit() -> None:
        known = server.shadow
        if known and (known.is_on or (known.stopped is not None and known.stopped > now)):
            server.shadow = known._replace(is_on=False, left_at=now if known.is_on else known.left_at, stopped=now)

    running.beside = commit
    return iter(())


@does("shadow left", sql.SHADOW_LEFT)
def _shadow_left(running: Running, wanted: sql.Nothing) -> Iterator[Row]:  # noqa: ARG001
    known = running.server.shadow
    return iter([known[1:]] if known else [])


# --- the server, and the way there -----------------------------------------------------------------------------------


class Record(tuple):  # type: ignore[type-arg]
    """A row as asyncpg gives it."""

    names: tuple[str, ...] = ()

    def keys(self) -> tuple[str, ...]:
        return self.names


_RECORDS: dict[str, type[Record]] = {
    text: type("Record", (Record,), {"names": fields(statement.row)}) for text, (_, statement, _) in STATEMENTS.items()
}


@dataclass
class Server:
    """The database itself."""

    now: Callable[[], datetime]
    rows: dict[str, Stored] = field(default_factory=dict)
    lines: dict[str, dict[int, StoredLine]] = field(default_factory=lambda: defaultdict(dict))
    shadow: Shadow | None = None
    record: list[tuple[str, tuple[Any, ...], list[Record]]] | None = None
    """What was committed, with the time that it went by and its answer, to be played on the real one."""
    locked: dict[str, list[Callable[[], None]]] = field(default_factory=dict)
    """Rows that a transaction holds, and who waits for each."""

    def begin(self) -> Running:
        return Running(self, self.now(), self.rows)

    def begin_slowly(self) -> Running:
        """One whose snapshot will be of earlier."""
        return Running(self, self.now(), dict(self.rows))

    def execute(self, running: Running, text: str, parameters: Sequence[Any]) -> list[Record]:
        """What it answers; what it writes is in `running`, for its commit.

        Raises:
            _Waits: for a row; then it begins again, with what it saw at first.
            asyncpg.PostgresError: it is refused, and nothing of it remains.
        """
        running.writes.clear()
        running.lines.clear()
        if text not in STATEMENTS:
            raise Unknown(text)
        _, statement, function = STATEMENTS[text]
        record = _RECORDS[text]
        answer = [record(row) for row in function(running, statement.parameters(*parameters))]
        for line in running.lines:
            if line.version in self.lines[line.transaction_id] and text != sql.SET_ASIDE.text:
                raise asyncpg.UniqueViolationError(f"history has version {line.version} of {line.transaction_id}")
        for row in running.writes.values():
            if not is_whole(row):
                raise asyncpg.CheckViolationError(f"state_is_whole: {row}")
        return answer

    def commit(self, running: Running) -> dict[str, Stored]:
        """All of it at once; the rows as they were."""
        before = {id_: self.rows[id_] for id_ in running.writes if id_ in self.rows}
        self.rows.update(running.writes)
        for line in running.lines:
            self.lines[line.transaction_id].setdefault(line.version, line)
        running.beside()
        return before

    def hold(self, ids: Iterable[str]) -> None:
        for id_ in ids:
            self.locked[id_] = []

    def release(self, ids: Iterable[str]) -> None:
        for id_ in ids:
            for go_on in self.locked.pop(id_, ()):
                go_on()


def is_whole(row: Stored) -> bool:
    """The table's constraint."""
    is_open, is_held = row.due_at is not None, row.lease_until is not None
    match row.status:
        case "PENDING":
            return is_open and not is_held
        case "PROCESSING":
            return is_open and is_held and row.token is not None
        case "CONFIRMED" | "REJECTED":
            return not is_open and not is_held and row.settled_at is not None
        case "REVIEW":
            return not is_open and None not in (row.reason, row.owner, row.review_by)
    return False


class DirectPool:
    """asyncpg's pool on a server without faults: for whatever holds the server to the real one."""

    def __init__(self, server: Server) -> None:
        self.server = server

    async def fetch(self, text: str, *parameters: Any, timeout: float | None = None) -> list[Record]:  # noqa: ARG002
        running = self.server.begin()
        answer = self.server.execute(running, text, parameters)
        self.server.commit(running)
        return answer


class Pool:
    """asyncpg's pool as one life has it."""

    def __init__(
        self, server: Server, life: Life, committed: Callable[[Life, Running, dict[str, Stored]], None]
    ) -> None:
        self._server, self._life, self._committed = server, life, committed

    async def expire_connections(self) -> None: ...

    async def fetch(self, text: str, *parameters: Any, timeout: float | None = None) -> list[Record]:  # noqa: ARG002
        life, stage, server = self._life, self._life.stage, self._server
        name = STATEMENTS[text][0] if text in STATEMENTS else text
        if before := stage.chance.random() < 0.5:
            await life.step(name)
        self._away(name)
        fate = self._fate(name)
        if not stage.strikes("slow_statement"):
            running = server.begin()
            try:
                answer = server.execute(running, text, parameters)
                self._judged(running, text, parameters)
            except _Waits:
                answer = await self._slowly(running, text, parameters, fate, 0.0, 0.0)
            else:
                self._end(running, fate)
                if server.record is not None and fate != "before its commit":
                    server.record.append((text, _timed(text, parameters, running.now), answer))
                if text == sql.EXTEND.text:
                    await self._on_its_way()
        else:
            stage.journal.fault(life.name, "slow_statement", "", name)
            windows = (stage.chance.uniform(0, LONGEST_STATEMENT) for _ in range(2))
            answer = await self._slowly(server.begin_slowly(), text, parameters, fate, *windows)
        if fate:
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
        if not before:
            await life.step(f"after {name}")
        return answer

    async def _on_its_way(self) -> None:
        """The answer of a heartbeat may take seconds, and what it is of may end meanwhile."""
        stage = self._life.stage
        if not stage.quiet and stage.chance_of("answer").random() < 2 * stage.setup.faults.get("slow_statement", 0.0):
            stage.journal.tell(self._life.name, "waits for an answer", "", "extend")
            await asyncio.sleep(stage.chance_of("answer").uniform(1, LONGEST_STATEMENT))

    def _away(self, name: str) -> None:
        """During a failover nobody is let in, or only by the old writer, which writes no more."""
        stage = self._life.stage
        for begins, ends in stage.setup.failovers:
            if not stage.quiet and begins <= stage.loop.seconds < ends:
                stage.journal.fault(self._life.name, "failover", "", name)
                if stage.chance.random() < 0.5:
                    raise ConnectionRefusedError("the server is not there")
                raise asyncpg.ReadOnlySQLTransactionError("cannot execute in a read-only transaction")

    def _fate(self, name: str) -> str:
        """What becomes of the connection: nothing, or it is cut before the commit, or after it."""
        stage = self._life.stage
        if not stage.strikes("lost_answer"):
            return ""
        fate = stage.chance.choice(("before its commit", "after its commit"))
        stage.journal.fault(self._life.name, "lost_answer", "", f"{name}, {fate}")
        return fate

    def _end(self, running: Running, fate: str) -> None:
        if fate != "before its commit":
            before = self._server.commit(running)
            self._committed(self._life, running, before)

    def _judged(self, running: Running, text: str, parameters: Sequence[Any]) -> None:
        """Of a statement at whose end everything is as at its beginning: it did what it is there for."""
        judge, server = self._life.stage.judge, self._server
        if text == sql.SETTLE.text:
            for group in json.loads(sql.SETTLE.parameters(*parameters).moves):
                for id_ in group["ids"]:
                    row = server.rows.get(id_)
                    if row and row.status == "PROCESSING" and row.token == group["token"] and id_ not in running.writes:
                        judge.finds("late result", id_, f"{group['status']} is not written, and {row.token} stands")
        elif text == sql.CLAIM.text:
            wanted = sql.CLAIM.parameters(*parameters)
            if wanted.ids is not None or wanted.late is not None or (wanted.after_due_at, wanted.after_id) != START:
                return
            taken = [server.rows[id_].due_at for id_ in running.writes]
            last = max((time for time in taken if time), default=None) if len(taken) >= wanted.limit else running.now
            for row in server.rows.values():
                free = row.status == "PENDING" and row.id not in server.locked and row.id not in running.writes
                if free and row.due_at and last and row.due_at < min(last, running.now) - LATELY:
                    judge.finds("passed over", row.id, f"due since {row.due_at}, and {len(taken)} others are taken")

    async def _slowly(
        self, running: Running, text: str, parameters: Sequence[Any], fate: str, looks: float, commits: float
    ) -> list[Record]:
        """A statement whose client may be gone before it ends: the server goes on without it."""
        loop, server = self._life.stage.loop, self._server
        told: asyncio.Future[list[Record]] = loop.create_future()
        waits = 0

        def look() -> None:
            nonlocal waits
            try:
                answer = server.execute(running, text, parameters)
            except _Waits as other:
                waits += 1
                if text == sql.CLAIM.text:
                    self._life.stage.judge.finds("locked", other.id, f"a claim of {self._life.name} waits for its row")
                if waits == MOST_WAITS:
                    fail(asyncpg.DeadlockDetectedError("deadlock detected"))
                else:
                    server.locked[other.id].append(lambda: loop.call_soon(look) and None)
            except Exception as error:
                fail(error)
            else:
                server.hold(running.writes)
                if commits:
                    loop.call_later(commits, end, answer)
                else:
                    end(answer)

        def end(answer: list[Record]) -> None:
            ids = [*running.writes]
            self._end(running, fate)
            server.release(ids)
            wait = self._life.stage.chance_of("answer").uniform(0, commits)
            if commits and wait < 2:  # the answer is on its way, and others see the commit before whoever made it
                loop.call_later(wait, tells, answer)
            else:
                tells(answer)

        def tells(answer: list[Record]) -> None:
            if not told.done():
                told.set_result(answer)

        def fail(error: Exception) -> None:
            if not told.done():
                told.set_exception(error)

        if looks:
            loop.call_later(looks, look)
        else:
            look()
        return await told


def _timed(text: str, parameters: Sequence[Any], now: datetime) -> tuple[Any, ...]:
    """The parameters, with the time of the server where they leave that to it."""
    names = fields(STATEMENTS[text][1].parameters)
    return tuple(
        now if name == "now" and value is None else value for name, value in zip(names, parameters, strict=True)
    )


@dataclass
class HeardStore(PostgresStore):
    """The production's own; what it tells is held to what stood (the oracle `order`)."""

    _: KW_ONLY
    database: Database
    life: Life

    async def claim_next(self, **wanted: Any) -> Claimed:
        began = self.life.stage.loop.seconds
        claimed = await super().claim_next(**wanted)
        self.database.told(self.life, began, claimed.held)
        return claimed

    async def settle(self, moves: Sequence[Move]) -> list[bool]:
        won = await super().settle(moves)
        self.database.told(self.life, 0.0, [move.after for move, stands in zip(moves, won, strict=True) if stands])
        return won


class PostgresDatabase(Database):
    """The server, and what the play must know of it."""

    def __init__(self, stage: Stage, changed: Callable[[], None] = lambda: None) -> None:
        super().__init__(stage, changed)
        self.server = Server(self.stage.now)

    def store(self, life: Life, policy: Policy | None = None) -> PostgresStore:
        pool: Any = Pool(self.server, life, self._committed)
        return HeardStore(pool, policy or life.policy, database=self, life=life)

    def _committed(self, life: Life, running: Running, before: dict[str, Stored]) -> None:
        if running.server is not self.server:  # it has been set back since
            return
        for id_, row in running.writes.items():
            self.wrote(life, self.records.get(id_) if id_ in before else None, self._record(row))

    def _record(self, row: Stored) -> Transaction:
        lines = self.server.lines[row.id]
        return postgres._with(row, [line for _, one in sorted(lines.items()) for line in postgres._lines(one)])

    def date_ahead(self, id_: str, sent: datetime, due: datetime) -> bool:
        if id_ in self.server.locked:
            return False
        row = self.server.rows[id_]._replace(first_sent_at=sent, last_sent_at=utc(self.stage.now()), due_at=utc(due))
        self.server.rows[id_] = row
        self.records[id_] = self._record(row)
        return True

    @property
    def in_shadow(self) -> bool:
        return self.server.shadow is not None and self.server.shadow.is_on

    def snapshot(self) -> Any:
        server = self.server
        return dict(server.rows), {id_: dict(lines) for id_, lines in server.lines.items()}, server.shadow

    def go_back(self, to: Any) -> None:
        rows, lines, shadow = to
        self.server = Server(
            self.stage.now, dict(rows), defaultdict(dict, {k: dict(v) for k, v in lines.items()}), shadow
        )
        self.records = {row.id: self._record(row) for row in rows.values()}
        self.begins_anew()
