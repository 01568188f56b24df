"""What a store asks of PostgreSQL: each statement with its parameters and its rows, all of them by name (named.py)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_type_hints

from workers.stores.named import Mismatch, Statement, fields

P = TypeVar("P", bound=tuple[Any, ...])
R = TypeVar("R", bound=tuple[Any, ...])
FOLDER = Path(__file__).parent / "sql"


def _from_file(name: str, parameters: type[P], row: type[R]) -> Statement[P, R]:
    return Statement((FOLDER / f"{name}.sql").read_text(), parameters, row)


class Nothing(NamedTuple):
    """No parameters, or no columns."""


class Position(NamedTuple):
    """Where in the queue a row stands."""

    due_at: datetime
    id: str


class Id(NamedTuple):
    id: str


class Ids(NamedTuple):
    ids: Sequence[str]


class Count(NamedTuple):
    number: int


class Time(NamedTuple):
    now: datetime


class Now(NamedTuple):
    now: datetime | None
    """None: the database's own time, here and in all that follow."""


# --- what comes in, and what is to be done


class Arrivals(NamedTuple):
    now: datetime | None
    ids: Sequence[str]
    accounts: Sequence[str]
    amounts: Sequence[int]
    currencies: Sequence[str]
    created_at: Sequence[datetime]
    deadlines: Sequence[datetime]


ADD = _from_file("add", Arrivals, Id)


class Wanted(NamedTuple):
    """What a claim asks for."""

    now: datetime | None
    token: str
    by: str
    limit: int
    lease: timedelta
    skew: timedelta
    max_attempts: int
    review_within: timedelta
    owner: str
    after_due_at: datetime
    after_id: str
    ids: Sequence[str] | None
    only_ask: bool
    restored_to: datetime | None
    late: timedelta | None
    apart: timedelta
    others_until: datetime | None
    others_stopped: datetime | None


class ClaimedRow(NamedTuple):
    """Times that every row has are seconds since 1970 (sql/claim.sql says why)."""

    id: str
    account: str
    amount: int
    currency: str
    created_at: float
    deadline: float
    attempt: int
    due_at: float | None
    """None where it went to a desk."""
    at: float
    taken_over: bool
    first_sent_at: datetime | None
    """None where it was set by this claim."""
    last_sent_at: datetime | None
    version: int
    tries: int
    asked: int
    lost: int
    away_since: datetime | None
    desk_by: datetime | None
    """Of what a claim sends to a desk: that the desk waits for, as it was."""
    new_keys: int
    reason: str | None
    cause: str | None
    token: str | None


CLAIM = _from_file("claim", Wanted, ClaimedRow)


class Ahead(NamedTuple):
    now: datetime | None
    after_due_at: datetime
    after_id: str
    number: int


AHEAD = _from_file("ahead", Ahead, Position)


class FirstOf(NamedTuple):
    now: datetime | None
    skew: timedelta
    after_due_at: datetime
    after_id: str
    ids: Sequence[str] | None
    late: timedelta | None
    only_ask: bool
    apart: timedelta
    others_until: datetime | None


FIRST = _from_file("first", FirstOf, Position)


class Aside(NamedTuple):
    now: datetime | None
    id: str
    skew: timedelta
    by: str
    why: str
    owner: str
    review_within: timedelta
    longest_wait: timedelta
    restored_to: datetime | None


SET_ASIDE = _from_file("set_aside", Aside, Id)


class TooFarAhead(NamedTuple):
    now: datetime | None
    longest_wait: timedelta
    skew: timedelta
    limit: int
    ids: Sequence[str] | None = None


RECALL = _from_file("recall", TooFarAhead, Count)


class Further(NamedTuple):
    now: datetime | None
    longest_wait: timedelta


TOO_FAR_AHEAD = Statement(
    "SELECT id FROM transactions"
    " WHERE due_at > coalesce(:now::timestamptz, now()) + :longest_wait::interval LIMIT 50000",
    Further,
    Id,
)


class Doubtful(NamedTuple):
    now: datetime | None
    limit: int
    restored_to: datetime | None
    ids: Sequence[str] | None = None


DOUBT = _from_file("doubt", Doubtful, Count)
DOUBTFUL = Statement(
    """
    SELECT id FROM transactions
    WHERE (due_at IS NOT NULL AND status = 'PENDING' OR review_by IS NOT NULL)
      AND (first_sent_at IS NULL OR last_sent_at IS NULL)
    LIMIT 50000
    """,
    Nothing,
    Id,
)

# --- what is held


class Leases(NamedTuple):
    now: datetime | None
    lease: timedelta
    ids: Sequence[str]
    tokens: Sequence[str | None]


class Renewed(NamedTuple):
    id: str
    lease_until: datetime


EXTEND = _from_file("extend", Leases, Renewed)


class Ended(NamedTuple):
    moves: str
    """A JSON document: for each `Shared` what its moves have in common, their ids, and their references (`refs`)."""
    by: str
    owner: str


class Shared(NamedTuple):
    """What neighbours among the moves of a settle have in common, by the names that settle.sql reads."""

    token: str | None
    status: str
    at: datetime
    why: str
    cause: str | None
    due_at: datetime | None
    reason: str | None
    review_by: datetime | None
    uncounted: bool
    unsent: bool
    sent: bool
    tried: int
    asked: int
    lost: int
    away_since: datetime | None


SETTLE = _from_file("settle", Ended, Count)
_document = re.search(r"json_to_recordset\(.*?\) AS g \(([^()]*)\)", SETTLE.sql)
_read = [column.split()[0] for column in _document[1].split(",")] if _document else []
if set(_read) != {"ids", "refs", *Shared._fields}:
    raise Mismatch(f"settle.sql reads {', '.join(_read)}; a settle writes ids, refs, {', '.join(Shared._fields)}")


class Marks(NamedTuple):
    ids: Sequence[str]
    versions: Sequence[int]
    tokens: Sequence[str | None]
    statuses: Sequence[str]


WRITTEN = Statement(
    """
    SELECT h.transaction_id AS id FROM history h
    JOIN unnest(:ids::text[], :versions::int[], :tokens::text[], :statuses::text[]) AS m (id, version, token, status)
      ON h.transaction_id = m.id AND h.version = m.version
    WHERE h.token = m.token AND h.now = m.status
    """,
    Marks,
    Id,
)

# --- what is stored


class Stored(NamedTuple):
    """A row of the table. Its columns are these fields: a new one is read as soon as it stands here."""

    id: str
    account: str
    amount: int
    currency: str
    status: str
    attempt: int
    token: str | None
    claimed_by: str | None
    taken_over: bool | None
    version: int
    tries: int
    asked: int
    lost: int
    gateway_reference: str | None
    reason: str | None
    owner: str | None
    created_at: datetime
    deadline: datetime
    due_at: datetime | None
    lease_until: datetime | None
    claimed_at: datetime | None
    first_sent_at: datetime | None
    last_sent_at: datetime | None
    arrived_at: datetime
    settled_at: datetime | None
    review_by: datetime | None
    away_since: datetime | None
    desk_by: datetime | None
    new_keys: int
    moved: int | None
    moved_currency: str | None


class StoredLine(NamedTuple):
    """A row of the history: a claim, what became of it, or both."""

    transaction_id: str
    version: int
    claimed_by: str | None
    taken_over: bool | None
    token: str | None
    claim_attempt: int | None
    by: str | None
    was: str | None
    now: str | None
    attempt: int | None
    why: str | None
    cause: str | None
    claimed_at: datetime | None
    at: datetime | None


_WITHIN = (
    "CASE WHEN {0} >= '9999-01-01' THEN '9999-01-01' WHEN {0} < '0001-01-02' THEN '0001-01-02' ELSE {0} END AS {0}"
)
"""Times within Python's years, which end at 9999: one that is out of them must not hide the rest of the row."""


def _columns(row: type[tuple[Any, ...]]) -> str:
    kinds = get_type_hints(row)
    times = (datetime, datetime | None)
    return ", ".join(_WITHIN.format(name) if kinds[name] in times else name for name in fields(row))


_STORED = f"SELECT {_columns(Stored)} FROM transactions"  # noqa: S608 - names of ours
_LINES = f"SELECT {_columns(StoredLine)} FROM history"  # noqa: S608 - names of ours


class Token(NamedTuple):
    token: str


class Limit(NamedTuple):
    limit: int


ROWS = Statement(f"{_STORED} WHERE id = ANY (:ids::text[])", Ids, Stored)
EVERY_ROW = Statement(_STORED, Nothing, Stored)
# ordered by the table's columns, which an index has: the bare names are those of the selected expressions
_HELD = f"{_STORED} t WHERE t.due_at IS NOT NULL AND t.token = :token ORDER BY t.due_at, t.id"
HELD = Statement(_HELD, Token, Stored)
_ON_DESK = f"SELECT {_columns(Stored)} FROM payments t WHERE t.review_by IS NOT NULL"  # noqa: S608 - names of ours
REVIEW = Statement(f"{_ON_DESK} ORDER BY t.review_by, t.id LIMIT :limit", Limit, Stored)
LINES = Statement(f"{_LINES} WHERE transaction_id = :id ORDER BY version", Id, StoredLine)
EVERY_LINE = Statement(f"{_LINES} ORDER BY transaction_id, version", Nothing, StoredLine)


class OpenWork(NamedTuple):
    open: int
    due: int
    oldest_due_at: datetime | None
    review: int


BACKLOG = _from_file("backlog", Now, OpenWork)


class OnDesk(NamedTuple):
    currency: str
    waiting: int
    first: datetime | None
    amount: Decimal


DESK = _from_file("desk", Nothing, OnDesk)

# --- what people and modes do


class Left(NamedTuple):
    """What left a desk: as it is from then on, and its line of history."""

    id: str
    version: int
    status: str
    attempt: int
    tries: int
    asked: int
    lost: int
    new_keys: int
    due_at: datetime | None
    deadline: datetime
    first_sent_at: datetime | None
    last_sent_at: datetime | None
    away_since: datetime | None
    desk_by: datetime | None
    settled_at: datetime | None
    gateway_reference: str | None
    moved: int | None
    moved_currency: str | None
    reason: str | None
    at: datetime
    by: str
    why: str
    cause: str | None


LEAVE = _from_file("leave", Left, Id)
"""For who owns the table: people's own way is the function `desk_exits`, behind a request that another approved."""
TIME = Statement("SELECT now() AS now", Nothing, Time)


class Since(NamedTuple):
    restored_to: datetime | None


ENTER_SHADOW = Statement(
    "INSERT INTO shadow_mode (since) VALUES (:restored_to) ON CONFLICT DO NOTHING",
    Since,
    Nothing,
)
"""A trigger notes that shadow mode is on, and the earliest moment of a restore: by the time that it is left the
settings have forgotten that (workers/migrations/0012_shadow_left.sql)."""


class ShadowLeft(NamedTuple):
    left_at: datetime | None
    """None: it never was."""
    stopped: datetime | None
    """No later than this."""
    since: datetime | None


LEAVE_SHADOW = Statement(
    """
    UPDATE shadow_left
    SET left_at = CASE WHEN is_on THEN clock.now ELSE left_at END, stopped = clock.now, is_on = false
    FROM (SELECT date_trunc('milliseconds', coalesce(:now::timestamptz, clock_timestamp())) AS now) AS clock
    WHERE is_on OR stopped > clock.now
    """,
    Now,
    Nothing,
)
"""Where a clock that was ahead left it, whoever sees that first says that it has been left by now."""
SHADOW_LEFT = Statement("SELECT left_at, stopped, since FROM shadow_left", Nothing, ShadowLeft)

# --- canaries, by the role that is for them


class SentCanary(NamedTuple):
    id: str
    account: str
    amount: int
    currency: str
    created_at: datetime
    deadline: datetime


SEND_CANARY = Statement(
    "INSERT INTO transactions (id, account, amount, currency, created_at, deadline)"
    " VALUES (:id, :account, :amount, :currency, :created_at, :deadline) ON CONFLICT (id) DO NOTHING",
    SentCanary,
    Nothing,
)
