"""The store on PostgreSQL: the table of the transactions is the queue, and its clock is the database's.

Claim and settle are one statement each for a whole batch (sql/). The rules are those of workers/domain/transitions.py;
a claim has them in SQL, since the rows are there: the conformance suite holds both to the same cases.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from math import nan
from operator import itemgetter
from pathlib import Path
from typing import Any

import asyncpg

from workers.domain.history import told
from workers.domain.policy import Policy
from workers.domain.ports import Added, Backlog, Claimed, Clock, Desk, Move
from workers.domain.transaction import HistoryEntry, Status, Transaction, make, utc
from workers.domain.transitions import CLAIMED, TAKEN_OVER, Redrive, Refused, SetAside, decide
from workers.stores.memory import same_content

SQL: Mapping[str, str] = {file.stem: file.read_text() for file in (Path(__file__).parent / "sql").glob("*.sql")}
START = (datetime.min.replace(tzinfo=UTC), "")
"""Before every row of the queue."""

SESSION = {
    # The planner is held on the partial index: fresh statistics, or a LIMIT of hundreds, made it scan the table.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    "timezone": "UTC",
}

STRETCH = 10
"""Batches: so far ahead of the others a claim beside begins, and so many are claimed there. But for these the longest
due come first."""

Place = tuple[datetime, str]
"""(due_at, id): where in the queue a claim ended."""
_PLACE = itemgetter(7, 0)
"""Of a row of claim.sql, its due_at in seconds: None where it went to a desk."""

POISON = (
    asyncpg.DataError,  # a number out of its range, text that PostgreSQL has not (a NUL)
    asyncpg.IntegrityConstraintViolationError,  # a line of history that is there already
    asyncpg.ProgramLimitExceededError,  # a row too big for its page
    asyncpg.PLPGSQLError,  # a trigger's refusal
    asyncpg.DataCorruptedError,
    asyncpg.IndexCorruptedError,
)
"""What a single row does to a whole statement: the others must not wait for its mending."""
DOUBTED = 5_000
"""Rows of one statement of `doubt`."""
_LOG = logging.getLogger(__name__)


@dataclass
class PostgresStore:
    """`workers.domain.ports.Store` on a database that workers/migrations made.

    `clock` stands in for the database's own in tests; None means `now()`, so that no worker's clock counts.
    """

    pool: asyncpg.Pool
    policy: Policy
    clock: Clock | None = None
    hint: Place = field(default=START, init=False)
    """Where this worker's last claim ended; `sweep` sets it back."""
    _stretch: Place = field(default=START, init=False)
    """Where its last claim beside ended."""
    _left: int = field(default=0, init=False)
    """Claims beside until a new stretch begins."""

    # --- the contract

    async def add(self, transactions: Sequence[Transaction]) -> Added:
        first = {t.id: t for t in reversed(transactions)}  # of several with one id the first counts
        rows = [
            (t.id, t.account, t.amount, t.currency, utc(t.created_at), utc(t.deadline))
            for t in reversed(first.values())
        ]
        inserted, refused = await self._insert(rows)
        others = [id_ for id_ in first if id_ not in inserted and id_ not in refused]
        present = {r.id: r for r in map(_record, await self._rows(others))}
        new: list[str] = []
        already: list[str] = []
        conflicting: list[str] = []
        for transaction in transactions:
            if transaction.id in refused:
                continue
            if transaction is first[transaction.id] and transaction.id in inserted:
                new.append(transaction.id)
                continue
            old = present.get(transaction.id, first[transaction.id])
            (already if same_content(old, transaction) else conflicting).append(transaction.id)
        return Added(tuple(new), tuple(already), tuple(conflicting), tuple(refused))

    async def _insert(self, rows: Sequence[tuple[Any, ...]]) -> tuple[set[str], list[str]]:
        """The ids that were new, and those that the table refuses: a statement that fails is taken apart."""
        if not rows:
            return set(), []
        try:
            found = await self.pool.fetch(SQL["add"], self._now(), *_columns(rows, 6))
        except Exception as error:
            if not any(
                isinstance(one, _OF_A_ROW) for one in (error, error.__cause__)
            ):  # the command `confirm` rewords it
                raise
            if len(rows) == 1:
                return set(), [rows[0][0]]
            half = len(rows) // 2
            inserted, refused = await self._insert(rows[:half])
            more, others = await self._insert(rows[half:])
            return inserted | more, refused + others
        return {row["id"] for row in found}, []

    async def claim(
        self, *, token: str, by: str, limit: int, ids: Sequence[str] | None = None, late: bool = False
    ) -> Claimed:
        claimed, _ = await self._claim(token, by, limit, START, ids, late=late)
        claimed.held.sort(key=lambda record: (record.next_attempt_at or START[0], record.id))
        return claimed

    async def claim_next(self, *, token: str, by: str, limit: int, beside: bool = False, late: bool = False) -> Claimed:
        """As `claim`, but from where the last one ended: what lies before it waits for the next `sweep`.

        One more may be on its way `beside`, in a stretch of its own ahead of the others: else they would step over each
        other's rows (10 % of a claim's time at batches of 100, 19 % at 500, measured). What is `late` is looked for
        everywhere.
        """
        if late:
            return await self.claim(token=token, by=by, limit=limit, late=True)
        if beside:
            return await self._claim_beside(token, by, limit)
        claimed, self.hint = await self._claim(token, by, limit, self.hint, None)
        return claimed

    async def recall(self) -> int:
        """Make due what would wait longer than any turn that we write, for a clock was wrong; how many. Nothing else
        looks for them: a claim ends its search at what is due."""
        called, more = 0, DOUBTED
        while more == DOUBTED:
            more = await self.pool.fetchval(SQL["recall"], self._now(), self.policy.longest_wait, DOUBTED)
            called += more
        return called

    async def held(self, token: str) -> list[Transaction]:
        """What stands under `token`: the fruit of a claim whose answer was lost with its connection."""
        query = f"{_SELECT} WHERE due_at IS NOT NULL AND token = $1 ORDER BY due_at, id"
        return [_record(row) for row in await self.pool.fetch(query, token)]

    def sweep(self) -> None:
        """Let the next claim begin at the very left: retries, latecomers and expired leases are there."""
        self.hint = START

    async def extend(self, transactions: Sequence[Transaction]) -> list[Transaction]:
        ids, tokens = [t.id for t in transactions], [t.token for t in transactions]
        rows = await self.pool.fetch(SQL["extend"], self._now(), self.policy.lease, ids, tokens)
        renewed = {row["id"]: row["lease_until"] for row in rows}
        return [t._replace(lease_until=renewed[t.id]) for t in transactions if t.id in renewed]

    async def settle(self, moves: Sequence[Move]) -> list[bool]:
        if not moves:
            return []
        try:
            return await self._settle(moves)
        except POISON as error:
            if len(moves) > 1:  # taken apart until the culprit is alone
                half = len(moves) // 2
                return [*await self.settle(moves[:half]), *await self.settle(moves[half:])]
            await self._set_aside_held(moves[0], error)
            return [False]

    async def _settle(self, moves: Sequence[Move]) -> list[bool]:
        by, owner = moves[0].after.history[-1].by, self.policy.review_owner
        if await self.pool.fetchval(SQL["settle"], _document(moves), by, owner) == len(moves):
            return [True] * len(moves)
        won = await self._written(moves)
        return [move.before.id in won for move in moves]

    async def _set_aside_held(self, move: Move, error: Exception) -> None:
        """To a desk, in our own words: where even that is refused, the lease ends and it is asked about."""
        before, after = move
        line = after.history[-1]
        why = f"{after.status} could not be written ({type(error).__name__}): ask the gateway what became of it"
        _LOG.error("%s: %s", before.id, why)
        instead = decide(before, SetAside("set aside", why), line.at, self.policy)
        with contextlib.suppress(*POISON):
            await self._settle([Move(before, instead)])

    async def backlog(self) -> Backlog:
        row = await self.pool.fetchrow(SQL["backlog"], self._now())
        assert row is not None  # noqa: S101 - aggregates always give a row
        return Backlog(row["open"], row["due"], row["oldest_due_at"], row["review"])

    async def desk(self) -> Desk:
        rows = await self.pool.fetch(SQL["desk"])
        at_risk = {row["currency"]: int(row["amount"]) for row in rows}
        return Desk(sum(row["waiting"] for row in rows), min((r["first"] for r in rows), default=None), at_risk)

    async def find(self, id: str) -> Transaction | None:  # noqa: A002
        rows = await self._rows([id])
        return await self._whole(rows[0]) if rows else None

    async def review(self, limit: int = 100) -> list[Transaction]:
        query = f"{_SELECT} WHERE review_by IS NOT NULL AND NOT is_canary(id, amount, currency)"
        query += " ORDER BY review_by, id LIMIT $1"
        return [await self._whole(row) for row in await self.pool.fetch(query, limit)]

    async def redrive(self, id: str, *, by: str, approved_by: str, why: str) -> Transaction:  # noqa: A002
        before = await self.find(id)
        if before is None:
            raise Refused(f"there is no transaction {id}")
        now = self._now() or await self.pool.fetchval("SELECT now()")
        after = decide(before, Redrive(by, approved_by, why), now, self.policy)
        line = after.history[-1]
        done = await self.pool.fetchval(
            "SELECT redrive_transaction($1, $2, $3, $4, $5, $6)",
            id,
            before.version,
            line.at,
            after.deadline,
            line.by,
            line.why,
        )
        if done is None:
            raise Refused(f"{id} was changed by somebody else just now; look again")
        return after

    async def everything(self) -> list[Transaction]:
        """The whole table: for a verdict or an export, never for the work itself (it reads every row)."""
        rows = await self.pool.fetch(_SELECT)
        lines: dict[str, list[HistoryEntry]] = {}
        for row in await self.pool.fetch(f"{_LINES} ORDER BY transaction_id, version"):
            lines.setdefault(row["transaction_id"], []).extend(_lines(row))
        return [_with(row, lines.get(row["id"], [])) for row in rows]

    async def doubt(self) -> int:
        marked, more = 0, DOUBTED
        while more == DOUBTED:  # in parts, so that nobody waits for long
            more = await self.pool.fetchval(SQL["doubt"], self._now(), DOUBTED, self.policy.restored_to)
            marked += more
        return marked

    async def enter_shadow(self) -> int:
        """As `doubt`, by a worker in shadow mode: the first that sends again will know that one was here."""
        await self.pool.execute(_ENTER, self.policy.restored_to)
        return await self.doubt()

    async def leave_shadow(self) -> datetime | None:
        """By a worker that sends, before its first claim and now and then: its claims take what was there when shadow
        mode was left, whoever left it, for possibly sent until then. That moment is given back.

        So nothing needs to be marked: not what somebody holds just then, nor what a producer commits only later.
        """
        if await self.pool.fetchval("DELETE FROM shadow_mode RETURNING true") and self.clock:
            await self.pool.execute("UPDATE shadow_left SET left_at = $1", self.clock.now())
        row = await self.pool.fetchrow("SELECT left_at, since FROM shadow_left")
        if row is None:
            return None
        since = min((time for time in (self.policy.restored_to, row["since"]) if time), default=None)
        self.policy = replace(self.policy, others_until=row["left_at"], restored_to=since)
        return self.policy.others_until

    # --- parts

    def _now(self) -> datetime | None:
        return self.clock.now() if self.clock else None

    async def _claim(
        self, token: str, by: str, limit: int, after: Place, ids: Sequence[str] | None, *, late: bool = False
    ) -> tuple[Claimed, Place]:
        try:
            return await self._claim_whole(token, by, limit, after, ids, late=late)
        except POISON as error:
            _LOG.error("a claim of %d was refused (%s): one row after the other", limit, type(error).__name__)
            return await self._claim_apart(token, by, limit, after, ids, late=late)

    async def _claim_whole(
        self, token: str, by: str, limit: int, after: Place, ids: Sequence[str] | None, *, late: bool
    ) -> tuple[Claimed, Place]:
        policy = self.policy
        rows = await self.pool.fetch(
            SQL["claim"],
            self._now(),
            token,
            by,
            limit,
            policy.lease,
            self._skew,
            policy.max_attempts,
            policy.review_within,
            policy.review_owner,
            *after,
            None if ids is None else list(ids),
            policy.only_ask,
            policy.restored_to,
            policy.patience if late else None,
            policy.others_until,
        )
        claimed = _claimed(rows, token, by, policy)
        if claimed.desked:
            rows = [row for row in rows if _PLACE(row)[0] is not None]
        if rows:
            due_at, id_ = max(map(_PLACE, rows))
            after = datetime.fromtimestamp(due_at, UTC), id_
        return claimed, after

    async def _claim_apart(
        self, token: str, by: str, limit: int, after: Place, ids: Sequence[str] | None, *, late: bool
    ) -> tuple[Claimed, Place]:
        """As a claim that a row refuses: in ever smaller parts until that row is alone, which goes to a desk."""
        held: list[Transaction] = []
        desked: list[Transaction] = []
        size = limit
        while (left := limit - len(held) - len(desked)) > 0:
            size = max(1, min(size, left))
            try:
                part, after = await self._claim_whole(token, by, size, after, ids, late=late)
            except POISON:
                if size > 1:
                    size //= 2
                    continue
                row = await self.pool.fetchrow(SQL["first"], self._now(), self._skew, *after, ids, *self._late(late))
                if row is None:  # somebody else has seen to it
                    break
                part = Claimed([], [])
                try:  # the row that was in the way may have been another's meanwhile
                    part, _ = await self._claim_whole(token, by, 1, after, [row["id"]], late=late)
                except POISON as error:
                    with contextlib.suppress(*POISON):
                        desked += await self._set_aside(row["id"], by, error)
                held += part.held
                desked += part.desked
                after = row["due_at"], row["id"]
                continue
            held += part.held
            desked += part.desked
            if len(part.held) + len(part.desked) < size:
                break
            size *= 2
        return Claimed(held, desked), after

    async def _set_aside(self, id_: str, by: str, error: Exception) -> list[Transaction]:
        """Move a row that no claim can take to a desk; none where somebody else has it."""
        policy = self.policy
        why = f"a claim of it was refused ({type(error).__name__}): its row, or its history, is not as we write it"
        _LOG.error("%s: %s", id_, why)
        rows = await self.pool.fetch(
            SQL["set_aside"], self._now(), id_, self._skew, by, why, policy.review_owner, policy.review_within
        )
        return [await self._whole(row) for row in await self._rows([row["id"] for row in rows])]

    def _late(self, late: bool) -> tuple[timedelta | None, bool, datetime | None]:
        return self.policy.patience if late else None, self.policy.only_ask, self.policy.others_until

    @property
    def _skew(self) -> timedelta:
        """One clock, the database's: no skew. The clock of a test stands for workers' own."""
        return self.policy.clock_skew if self.clock else timedelta()

    async def _claim_beside(self, token: str, by: str, limit: int) -> Claimed:
        if not self._left:
            row = await self.pool.fetchrow(SQL["ahead"], self._now(), *self.hint, STRETCH * limit)
            self._stretch, self._left = tuple(row) if row else self.hint, STRETCH
        claimed, self._stretch = await self._claim(token, by, limit, self._stretch, None)
        full = len(claimed.held) + len(claimed.desked) == limit
        self._left = self._left - 1 if full else 0
        return claimed

    async def _rows(self, ids: Sequence[str]) -> list[asyncpg.Record]:
        return list(await self.pool.fetch(f"{_SELECT} WHERE id = ANY ($1::text[])", list(ids)))

    async def _whole(self, row: asyncpg.Record) -> Transaction:
        """The record with all its history, which is kept apart."""
        rows = await self.pool.fetch(f"{_LINES} WHERE transaction_id = $1 ORDER BY version", row["id"])
        return _with(row, [line for one in rows for line in _lines(one)])

    async def _written(self, moves: Sequence[Move]) -> set[str]:
        """The ids whose move stands in the history: written just now, or by us before an answer that was lost."""
        rows = await self.pool.fetch(
            """
            SELECT h.transaction_id FROM history h
            JOIN unnest($1::text[], $2::int[], $3::text[], $4::text[]) AS m (id, version, token, status)
              ON h.transaction_id = m.id AND h.version = m.version
            WHERE h.token = m.token AND h.now = m.status
            """,
            *_columns(((m.before.id, m.after.version, m.before.token, m.after.status.value) for m in moves), 4),
        )
        return {row["transaction_id"] for row in rows}


@dataclass(frozen=True, slots=True)
class PostgresCanaries:
    """Canaries as the database's role for them sends them (workers/migrations/0005 and 0006)."""

    pool: asyncpg.Pool

    async def send(self, canary: Transaction) -> None:
        """Insert it as producers do (docs/producers.md), and have those of last week forgotten."""
        await self.pool.execute(
            "INSERT INTO transactions (id, account, amount, currency, created_at, deadline)"
            " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING",
            *canary[:6],
        )
        await self.pool.fetchval("SELECT forget_canaries()")

    async def look(self, id: str) -> Transaction | None:  # noqa: A002
        row = await self.pool.fetchrow(f"{_SELECT} WHERE id = $1", id)
        return _record(row) if row else None


def _columns(rows: Any, width: int) -> list[list[Any]]:
    columns = [list(column) for column in zip(*rows, strict=True)]
    return columns or [[] for _ in range(width)]


def _document(moves: Sequence[Move]) -> str:
    """The moves as settle.sql reads them: one group for neighbours that share everything but id and reference."""
    groups: list[dict[str, Any]] = []
    ids: list[str] = []
    references: list[str | None] = []
    last: tuple[Any, ...] = ()
    for before, after in moves:
        (id_, _, _, _, _, _, status, attempt, due_at, _, _, first, sent, _, reference, reason, _, review_by, _, tries,
         asked, history) = after  # fmt: skip
        at, _, _, _, _, _, why, _, _ = history[-1]
        given_back, just_sent = attempt < before.attempt, sent != before.last_sent_at
        tried, questions = tries - before.tries, asked - before.asked
        shared = (before.token, status, at, why, due_at, reason, review_by, given_back, first is None, just_sent, tried,
                  questions)  # fmt: skip
        if shared != last:
            last, ids, references = shared, [], []
            groups.append({"ids": ids, "refs": references, **dict(zip(_SHARED, shared, strict=True))})
        ids.append(id_)
        references.append(reference)
    return json.dumps(groups, default=datetime.isoformat)


_SHARED = (
    *("token", "status", "at", "why", "due_at", "reason", "review_by", "given_back", "unsent", "sent", "tried"),
    "asked",
)


_OF_A_ROW = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
"""What a row is refused with: it has what no column takes, or breaks a constraint."""
_LAST = datetime(9999, 1, 1, tzinfo=UTC).timestamp()


_ENTER = """
INSERT INTO shadow_mode AS known (since) VALUES ($1::timestamptz)
ON CONFLICT (only_one) DO UPDATE SET since = excluded.since
WHERE excluded.since < known.since OR known.since IS NULL AND excluded.since IS NOT NULL
"""
"""A restore's moment is kept until shadow mode is left: by then the settings have forgotten it."""


def _readable(*columns: str) -> str:
    """Times within Python's years, which end at 9999: one that is out of them must not hide the rest of the row."""
    within = (
        "CASE WHEN {0} >= '9999-01-01' THEN '9999-01-01' WHEN {0} < '0001-01-02' THEN '0001-01-02' ELSE {0} END AS {0}"
    )
    return ", ".join(within.format(column) for column in columns)


_SELECT = "SELECT {} FROM transactions".format(  # noqa: S608 - names of ours
    ", ".join(
        (
            *(
                "id",
                "account",
                "amount",
                "currency",
                "status",
                "attempt",
                "token",
                "claimed_by",
                "taken_over",
                "version",
            ),
            *("tries", "asked", "gateway_reference", "reason", "owner"),
            _readable("created_at", "deadline", "due_at", "lease_until", "claimed_at", "first_sent_at", "last_sent_at"),
            _readable("arrived_at", "settled_at", "review_by"),
        )
    )
)
_LINES = "SELECT {} FROM history".format(  # noqa: S608 - names of ours
    ", ".join(
        (
            *("transaction_id", "version", "claimed_by", "taken_over", "token", "claim_attempt", "by", "was", "now"),
            *("attempt", "why"),
            _readable("claimed_at", "at"),
        )
    )
)


def _claimed(rows: Sequence[Sequence[Any]], token: str, by: str, policy: Policy) -> Claimed:
    """The rows of claim.sql as transactions. By position: this is the hot path."""
    held: list[Transaction] = []
    desked: list[Transaction] = []
    if not rows:
        return Claimed(held, desked)
    pending, processing = Status.PENDING, Status.PROCESSING
    at = datetime.fromtimestamp(rows[0][8], UTC)  # one for all
    until = at + policy.lease
    created_last = ends_last = None
    due_last, due_at = nan, at
    for row in rows:
        (id_, account, amount, currency, created, ends, attempt, due, _, taken_over, first, sent, version, tries, asked,
         _, _) = row  # fmt: skip
        if due != due_last:
            if due is None:
                desked.append(_desked(row, at, by, policy))
                continue
            due_last, due_at = due, datetime.fromtimestamp(due, UTC)
        if created != created_last:  # neighbours often came together
            created_last, created_at = created, datetime.fromtimestamp(created, UTC)
        if ends != ends_last:
            ends_last, deadline = ends, datetime.fromtimestamp(ends, UTC)
        was, why = (processing, TAKEN_OVER) if taken_over else (pending, CLAIMED)
        line = make(HistoryEntry, (at, by, was, processing, attempt, token, why, 1, None))
        record = make(
            Transaction,
            (id_, account, amount, currency, created_at, deadline, processing, attempt, due_at, until, token,
             first or at, sent, None, None, None, None, None, version, tries, asked, (line,)),
        )  # fmt: skip
        held.append(record)
    return Claimed(held, desked)


def _desked(row: Sequence[Any], at: datetime, by: str, policy: Policy) -> Transaction:
    """A row of claim.sql that went to a desk: its history is that line alone."""
    (id_, account, amount, currency, created, ends, attempt, _, _, taken_over, first, sent, version, tries, asked, why,
     token) = row  # fmt: skip
    was = Status.PROCESSING if taken_over else Status.PENDING
    return Transaction(
        *(id_, account, amount, currency),
        datetime.fromtimestamp(created, UTC),
        datetime.fromtimestamp(min(ends, _LAST), UTC),
        Status.REVIEW,
        attempt,
        first_sent_at=first or (at if sent else None),
        last_sent_at=sent,
        tries=tries,
        asked=asked,
        reason=why,
        owner=policy.review_owner,
        review_by=at + policy.review_within,
        version=version,
        history=(HistoryEntry(at, by, was, Status.REVIEW, attempt, token, why),),
    )


def _record(row: Mapping[str, Any]) -> Transaction:
    """A row as a transaction; of its history only the claim that it is held under."""
    status = Status(row["status"])
    return Transaction(
        id=row["id"],
        account=row["account"],
        amount=row["amount"],
        currency=row["currency"],
        created_at=row["created_at"],
        deadline=row["deadline"],
        status=status,
        attempt=row["attempt"],
        next_attempt_at=row["due_at"],
        lease_until=row["lease_until"],
        token=row["token"],
        first_sent_at=row["first_sent_at"],
        last_sent_at=row["last_sent_at"],
        settled_at=row["settled_at"],
        gateway_reference=row["gateway_reference"],
        reason=row["reason"],
        owner=row["owner"],
        review_by=row["review_by"],
        version=row["version"],
        tries=row["tries"],
        asked=row["asked"],
        history=(_claim_line(row, row["attempt"]),) if status is Status.PROCESSING else (),
    )


def _with(row: Mapping[str, Any], lines: Sequence[HistoryEntry]) -> Transaction:
    """The record with its whole history, equal changes counted as every store counts them."""
    arrived = HistoryEntry(row["arrived_at"], "producer", None, Status.PENDING, 0, None, "added")
    record = _record(row)
    history: tuple[HistoryEntry, ...] = (arrived,)
    for line in (*lines, *record.history):
        history = told(history, line)
    return record._replace(history=history)


def _claim_line(row: Mapping[str, Any], attempt: int) -> HistoryEntry:
    was, why = (Status.PROCESSING, TAKEN_OVER) if row["taken_over"] else (Status.PENDING, CLAIMED)
    return HistoryEntry(row["claimed_at"], row["claimed_by"], was, Status.PROCESSING, attempt, row["token"], why)


def _lines(row: Mapping[str, Any]) -> list[HistoryEntry]:
    """A row of history as the one or two changes that it tells of; one that is not ours hides none of the others."""
    lines = []
    if row["claimed_at"] is not None:
        lines.append(_claim_line(row, row["claim_attempt"] or 0))
    if row["at"] is not None:
        states = row["was"], row["now"]
        if not set(states) <= _STATES:
            why = "a line of history that is not as we write it"
            return [*lines, HistoryEntry(row["at"], row["by"] or "?", None, Status.REVIEW, 0, None, why)]
        was, now = map(Status, states)
        why = row["why"] or "no reason given"
        lines.append(HistoryEntry(row["at"], row["by"] or "?", was, now, row["attempt"] or 0, row["token"], why))
    return lines


_STATES = frozenset(status.value for status in Status)
