"""The store on PostgreSQL: the table of the transactions is the queue, and its clock is the database's.

Claim and settle are one statement each for a whole batch (sql/). The rules are those of workers/domain/transitions.py;
a claim has them in SQL, since the rows are there: the conformance suite holds both to the same cases.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from math import nan
from operator import attrgetter
from typing import Any, NamedTuple

import asyncpg

from workers.domain.causes import Cause, because
from workers.domain.exits import DeskExit, Refused
from workers.domain.history import with_line
from workers.domain.inlined import inlined
from workers.domain.policy import CLOCKS_APART, Policy
from workers.domain.ports import Added, Backlog, Claimed, Clock, Look, Move, ReviewBacklog
from workers.domain.transaction import HistoryEntry, Status, Transaction, utc
from workers.domain.transitions import SetAside, decide
from workers.stores import statements as sql
from workers.stores.common import arrival, earliest, same_content
from workers.stores.statements import ClaimedRow, Position, Shared, Stored, StoredLine

START = Position(datetime.min.replace(tzinfo=UTC), "")
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

_FURTHEST = attrgetter("due_at", "id")

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
"""Rows of one statement of `doubt`, or of `recall`."""
_LOG = logging.getLogger(__name__)


class _Wanted(NamedTuple):
    """What a claim asks for, on its way through the layers below."""

    token: str
    by: str
    limit: int
    after: Position = START
    ids: Sequence[str] | None = None
    late: bool = False


@dataclass
class PostgresStore:
    """`workers.domain.ports.Store` on a database that workers/migrations made.

    `clock` stands in for the database's own in tests; None means `now()`, so that no worker's clock counts.
    """

    pool: asyncpg.Pool
    policy: Policy
    clock: Clock | None = None
    hint: Position = field(default=START, init=False)
    """Where this worker's last claim ended; `sweep` sets it back."""
    _stretch: Position = field(default=START, init=False)
    """Where its last claim beside ended."""
    _left: int = field(default=0, init=False)
    """Claims beside until a new stretch begins."""

    # --- the contract

    async def add(self, transactions: Sequence[Transaction]) -> Added:
        first = {t.id: t for t in reversed(transactions)}  # of several with one id the first counts
        rows = list(reversed(first.values()))
        inserted, refused = await self._insert(rows)
        others = [id_ for id_ in first if id_ not in inserted and id_ not in refused]
        present = {row.id: _record(row) for row in await sql.ROWS.all(self.pool, sql.Ids(others))}
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

    async def _insert(self, rows: Sequence[Transaction]) -> tuple[set[str], list[str]]:
        """The ids that were new, and those that the table refuses: a statement that fails is taken apart."""
        if not rows:
            return set(), []
        arrivals = sql.Arrivals(
            now=self._now(),
            ids=[row.id for row in rows],
            accounts=[row.account for row in rows],
            amounts=[row.amount for row in rows],
            currencies=[row.currency for row in rows],
            created_at=[utc(row.created_at) for row in rows],
            deadlines=[utc(row.deadline) for row in rows],
        )
        try:
            found = await sql.ADD.all(self.pool, arrivals)
        except Exception as error:
            if not any(
                isinstance(one, _OF_A_ROW) for one in (error, error.__cause__)
            ):  # the command `confirm` rewords it
                raise
            if len(rows) == 1:
                return set(), [rows[0].id]
            half = len(rows) // 2
            inserted, refused = await self._insert(rows[:half])
            more, others = await self._insert(rows[half:])
            return inserted | more, refused + others
        return {row.id for row in found}, []

    async def claim(
        self, *, token: str, by: str, limit: int, ids: Sequence[str] | None = None, late: bool = False
    ) -> Claimed:
        wanted = _Wanted(token, by, limit, ids=ids, late=late)
        claimed, _ = await self._claim(wanted)
        claimed.held.sort(key=lambda record: (record.next_attempt_at or START.due_at, record.id))
        return claimed

    async def claim_next(self, *, token: str, by: str, limit: int, look: Look = Look.ONWARD) -> Claimed:
        """As `claim`, for a stream: where it looks for work is the port's matter (`workers.domain.ports.Source`).

        A claim begins where the last one ended. Beside it goes one in a stretch of its own ahead of the others: else
        they would step over each other's rows (10 % of a claim's time at batches of 100, 19 % at 500, measured).
        """
        wanted = _Wanted(token, by, limit)
        if look is Look.LATE:
            return await self.claim(token=token, by=by, limit=limit, late=True)
        if look is Look.BESIDE:
            return await self._claim_beside(wanted)
        if look is Look.SWEEP:
            self.hint = START
        claimed, self.hint = await self._claim(wanted._replace(after=self.hint))
        return claimed

    async def recall(self) -> int:
        """Make due what would wait longer than any turn that we write, for a clock was wrong; how many. Nothing else
        looks for them: a claim ends its search at what is due."""

        async def change(ids: Sequence[str] | None) -> int:
            ahead = sql.TooFarAhead(self._now(), self.policy.longest_wait, self._skew, DOUBTED, ids)
            return (await sql.RECALL.one(self.pool, ahead)).number

        async def refused(id_: str, error: Exception) -> None:
            with contextlib.suppress(*POISON):  # no claim would come by
                await self._set_aside(id_, "recall", error)

        try:
            return await _in_parts(change)
        except POISON:
            further = sql.Further(self._now(), self.policy.longest_wait)
            found = await sql.TOO_FAR_AHEAD.all(self.pool, further)
            return await _apart([row.id for row in found], change, refused)

    async def held(self, token: str) -> list[Transaction]:
        """What stands under `token`: the fruit of a claim whose answer was lost with its connection."""
        return [_record(row) for row in await sql.HELD.all(self.pool, sql.Token(token))]

    async def extend(self, transactions: Sequence[Transaction]) -> list[Transaction]:
        leases = sql.Leases(
            now=self._now(),
            lease=self.policy.lease,
            ids=[t.id for t in transactions],
            tokens=[t.token for t in transactions],
        )
        renewed = {row.id: row.lease_until for row in await sql.EXTEND.all(self.pool, leases)}
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
        ended = sql.Ended(_document(moves), by=moves[0].after.history[-1].by, owner=self.policy.review_owner)
        if (await sql.SETTLE.one(self.pool, ended)).number == len(moves):
            return [True] * len(moves)
        won = await self._written(moves)
        return [move.before.id in won for move in moves]

    async def _set_aside_held(self, move: Move, error: Exception) -> None:
        """To a desk, in our own words: where even that is refused, the lease ends and it is asked about."""
        before, after = move
        line = after.history[-1]
        failed = because(Cause.WRITE_FAILED, status=after.status, error=type(error).__name__)
        _LOG.error("%s: %s", before.id, failed.sentence)
        instead = decide(before, SetAside("set aside", failed), line.at, self.policy)
        with contextlib.suppress(*POISON):
            await self._settle([Move(before, instead)])

    async def backlog(self) -> Backlog:
        found = await sql.BACKLOG.one(self.pool, sql.Now(self._now()))
        return Backlog(open=found.open, due=found.due, oldest_due_at=found.oldest_due_at, review=found.review)

    async def desk(self) -> ReviewBacklog:
        rows = await sql.DESK.all(self.pool, sql.Nothing())
        return ReviewBacklog(
            count=sum(row.waiting for row in rows),
            first_review_by=min((row.first for row in rows if row.first), default=None),
            at_risk={row.currency: int(row.amount) for row in rows},
        )

    async def find(self, id: str) -> Transaction | None:  # noqa: A002
        row = await sql.ROWS.first(self.pool, sql.Ids([id]))
        return await self._whole(row) if row else None

    async def review(self, limit: int = 100) -> list[Transaction]:
        return [await self._whole(row) for row in await sql.REVIEW.all(self.pool, sql.Limit(limit))]

    async def leave(self, id: str, event: DeskExit) -> Transaction:  # noqa: A002
        before = await self.find(id)
        if before is None:
            raise Refused(f"there is no transaction {id}")
        now = self._now() or (await sql.TIME.one(self.pool, sql.Nothing())).now
        after = decide(before, event, now, self.policy)
        line = after.history[-1]
        left = sql.Left(
            id=id,
            version=before.version,
            status=after.status.value,
            attempt=after.attempt,
            tries=after.tries,
            asked=after.asked,
            lost=after.lost,
            new_keys=after.new_keys,
            due_at=after.next_attempt_at,
            deadline=after.deadline,
            first_sent_at=after.first_sent_at,
            last_sent_at=after.last_sent_at,
            away_since=after.away_since,
            desk_by=after.desk_by,
            settled_at=after.settled_at,
            gateway_reference=after.gateway_reference,
            moved=after.moved,
            moved_currency=after.moved_currency,
            reason=after.reason,
            at=line.at,
            by=line.by,
            why=line.why,
            cause=line.cause.value if line.cause else None,
        )
        if not await sql.LEAVE.all(self.pool, left):
            raise Refused(f"{id} was changed by somebody else just now; look again")
        return after

    async def everything(self) -> list[Transaction]:
        """The whole table: for a verdict or an export, never for the work itself (it reads every row)."""
        rows = await sql.EVERY_ROW.all(self.pool, sql.Nothing())
        lines: dict[str, list[HistoryEntry]] = {}
        for row in await sql.EVERY_LINE.all(self.pool, sql.Nothing()):
            lines.setdefault(row.transaction_id, []).extend(_lines(row))
        return [_with(row, lines.get(row.id, [])) for row in rows]

    async def doubt(self) -> int:
        async def change(ids: Sequence[str] | None) -> int:
            doubtful = sql.Doubtful(self._now(), DOUBTED, self.policy.restored_to, ids)
            return (await sql.DOUBT.one(self.pool, doubtful)).number

        async def refused(id_: str, error: Exception) -> None:
            _LOG.error("%s: it could not be marked (%s)", id_, type(error).__name__)  # its claim sets it aside

        try:
            return await _in_parts(change)
        except POISON:
            found = await sql.DOUBTFUL.all(self.pool, sql.Nothing())
            return await _apart([row.id for row in found], change, refused)

    async def enter_shadow(self) -> int:
        """As `doubt`, by a worker in shadow mode: the first that sends again will know that one was here."""
        await sql.ENTER_SHADOW.all(self.pool, sql.Since(self.policy.restored_to))
        await self._learn_shadow()  # a restore's moment may be older than the settings
        return await self.doubt()

    async def leave_shadow(self) -> datetime | None:
        """By a worker that sends, before its first claim and now and then: its claims take what was there when shadow
        mode was left, whoever left it, for possibly sent until then. That moment is returned.

        So nothing needs to be marked: not what somebody holds just then, nor what a producer commits only later.
        """
        await sql.LEAVE_SHADOW.all(self.pool, sql.Now(self._now()))
        await self._learn_shadow()
        return self.policy.others_until

    # --- parts

    async def _learn_shadow(self) -> None:
        if left := await sql.SHADOW_LEFT.first(self.pool, sql.Nothing()):
            self.policy = replace(
                self.policy,
                others_until=left.left_at,
                others_stopped=left.stopped,
                restored_to=earliest(self.policy.restored_to, left.since),
            )

    def _now(self) -> datetime | None:
        return self.clock.now() if self.clock else None

    async def _claim(self, wanted: _Wanted) -> tuple[Claimed, Position]:
        """What it brought, and where it ended."""
        try:
            return await self._claim_whole(wanted)
        except POISON as error:
            _LOG.error("a claim of %d was refused (%s): one row after the other", wanted.limit, type(error).__name__)
            return await self._claim_apart(wanted)

    async def _claim_whole(self, wanted: _Wanted) -> tuple[Claimed, Position]:
        policy, after = self.policy, wanted.after
        rows = await sql.CLAIM.all(
            self.pool,
            sql.Wanted(
                now=self._now(),
                token=wanted.token,
                by=wanted.by,
                limit=wanted.limit,
                lease=policy.lease,
                skew=self._skew,
                max_attempts=policy.max_attempts,
                review_within=policy.review_within,
                owner=policy.review_owner,
                after_due_at=after.due_at,
                after_id=after.id,
                ids=wanted.ids,
                only_ask=policy.only_ask,
                restored_to=policy.restored_to,
                late=self._late(wanted),
                apart=self._apart,
                others_until=policy.others_until,
                others_stopped=policy.others_stopped,
            ),
        )
        claimed = _claimed(rows, wanted.token, wanted.by, policy)
        if claimed.to_review:
            rows = [row for row in rows if row.due_at is not None]
        if rows:
            due_at, id_ = max(map(_FURTHEST, rows))
            after = Position(datetime.fromtimestamp(due_at, UTC), id_)
        return claimed, after

    async def _claim_apart(self, wanted: _Wanted) -> tuple[Claimed, Position]:
        """As a claim that a row refuses: in ever smaller parts until that row is alone, which goes to a desk."""
        held: list[Transaction] = []
        to_review: list[Transaction] = []
        size, after = wanted.limit, wanted.after
        while (left := wanted.limit - len(held) - len(to_review)) > 0:
            size = max(1, min(size, left))
            try:
                part, after = await self._claim_whole(wanted._replace(limit=size, after=after))
            except POISON:
                if size > 1:
                    size //= 2
                    continue
                place = await self._first_of(wanted._replace(after=after))
                if place is None:  # somebody else has seen to it
                    break
                part = Claimed([], [])
                try:  # the row that was in the way may have been another's meanwhile
                    part, _ = await self._claim_whole(wanted._replace(limit=1, after=after, ids=[place.id]))
                except POISON as error:
                    with contextlib.suppress(*POISON):
                        to_review += await self._set_aside(place.id, wanted.by, error)
                held += part.held
                to_review += part.to_review
                after = place
                continue
            held += part.held
            to_review += part.to_review
            if len(part.held) + len(part.to_review) < size:
                break
            size *= 2
        return Claimed(held, to_review), after

    async def _first_of(self, wanted: _Wanted) -> Position | None:
        """The first row that a claim would take."""
        policy = self.policy
        first = sql.FirstOf(
            now=self._now(),
            skew=self._skew,
            after_due_at=wanted.after.due_at,
            after_id=wanted.after.id,
            ids=wanted.ids,
            late=self._late(wanted),
            only_ask=policy.only_ask,
            apart=self._apart,
            others_until=policy.others_until,
        )
        return await sql.FIRST.first(self.pool, first)

    async def _set_aside(self, id_: str, by: str, error: Exception) -> list[Transaction]:
        """Move a row that no claim can take to a desk; none where somebody else has it."""
        policy = self.policy
        why = because(Cause.CLAIM_FAILED, error=type(error).__name__).sentence
        _LOG.error("%s: %s", id_, why)
        aside = sql.Aside(
            now=self._now(),
            id=id_,
            skew=self._skew,
            by=by,
            why=why,
            owner=policy.review_owner,
            review_within=policy.review_within,
            longest_wait=policy.longest_wait,
            restored_to=policy.restored_to,
        )
        moved = [row.id for row in await sql.SET_ASIDE.all(self.pool, aside)]
        return [await self._whole(row) for row in await sql.ROWS.all(self.pool, sql.Ids(moved))]

    def _late(self, wanted: _Wanted) -> timedelta | None:
        """How long past its deadline what was possibly sent is late."""
        return self.policy.patience if wanted.late else None

    @property
    def _skew(self) -> timedelta:
        """One clock, the database's: no skew. The clock of a test stands for workers' own."""
        return self.policy.clock_skew if self.clock else timedelta()

    @property
    def _apart(self) -> timedelta:
        """So too of what comes in: the database says when that was."""
        return CLOCKS_APART if self.clock else timedelta()

    async def _claim_beside(self, wanted: _Wanted) -> Claimed:
        if not self._left:
            ahead = sql.Ahead(self._now(), self.hint.due_at, self.hint.id, STRETCH * wanted.limit)
            self._stretch, self._left = await sql.AHEAD.first(self.pool, ahead) or self.hint, STRETCH
        claimed, self._stretch = await self._claim(wanted._replace(after=self._stretch))
        full = len(claimed.held) + len(claimed.to_review) == wanted.limit
        self._left = self._left - 1 if full else 0
        return claimed

    async def _whole(self, row: Stored) -> Transaction:
        """The record with all its history, which is kept apart."""
        found = await sql.LINES.all(self.pool, sql.Id(row.id))
        return _with(row, [line for one in found for line in _lines(one)])

    async def _written(self, moves: Sequence[Move]) -> set[str]:
        """The ids whose move stands in the history: written just now, or by us before an answer that was lost."""
        marks = sql.Marks(
            ids=[move.before.id for move in moves],
            versions=[move.after.version for move in moves],
            tokens=[move.before.token for move in moves],
            statuses=[move.after.status.value for move in moves],
        )
        return {row.id for row in await sql.WRITTEN.all(self.pool, marks)}


async def _in_parts(change: Callable[[None], Awaitable[int]]) -> int:
    """As long as there is a full part of it, so that nobody waits for long."""
    count, more = 0, DOUBTED
    while more == DOUBTED:
        more = await change(None)
        count += more
    return count


async def _apart(
    ids: Sequence[str],
    change: Callable[[Sequence[str]], Awaitable[int]],
    refused: Callable[[str, Exception], Awaitable[None]],
) -> int:
    """As `_in_parts`, of what a row refuses: halved until that row is alone."""
    if len(ids) <= DOUBTED:
        try:
            return await change(ids) if ids else 0
        except POISON as error:
            if len(ids) == 1:
                await refused(ids[0], error)
                return 0
    half = len(ids) // 2
    return await _apart(ids[:half], change, refused) + await _apart(ids[half:], change, refused)


@dataclass(frozen=True, slots=True)
class PostgresCanaries:
    """Canaries as the database's role for them sends them (workers/migrations/0005 and 0006)."""

    pool: asyncpg.Pool

    async def send(self, canary: Transaction) -> None:
        """Insert it as producers do (docs/producers.md), and have those of last week forgotten."""
        sent = sql.SentCanary(
            id=canary.id,
            account=canary.account,
            amount=canary.amount,
            currency=canary.currency,
            created_at=canary.created_at,
            deadline=canary.deadline,
        )
        await sql.SEND_CANARY.all(self.pool, sent)
        await self.pool.fetchval("SELECT forget_canaries()")

    async def look(self, id: str) -> Transaction | None:  # noqa: A002
        row = await sql.ROWS.first(self.pool, sql.Ids([id]))
        return _record(row) if row else None


@inlined
def _document(moves: Sequence[Move]) -> str:
    """The moves as settle.sql reads them: one group for neighbours that share everything but id and reference."""
    groups: list[dict[str, Any]] = []
    ids: list[str] = []
    references: list[str | None] = []
    last: Shared | None = None
    for before, after in moves:
        line = after.history[-1]
        shared = Shared(
            token=before.token,
            status=after.status,
            at=line.at,
            why=line.why,
            cause=line.cause,
            due_at=after.next_attempt_at,
            reason=after.reason,
            review_by=after.review_by,
            uncounted=after.attempt < before.attempt,
            unsent=after.first_sent_at is None,
            sent=after.last_sent_at != before.last_sent_at,
            tried=after.tries - before.tries,
            asked=after.asked - before.asked,
            lost=after.lost,
            away_since=after.away_since,
        )
        if shared != last:
            last, ids, references = shared, [], []
            groups.append({"ids": ids, "refs": references, **shared._asdict()})
        ids.append(after.id)
        references.append(after.gateway_reference)
    return json.dumps(groups, default=datetime.isoformat)


_OF_A_ROW = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
"""What a row is refused with: it has what no column takes, or breaks a constraint."""
_LAST = datetime(9999, 1, 1, tzinfo=UTC).timestamp()


@inlined
def _claimed(rows: Sequence[ClaimedRow], token: str, by: str, policy: Policy) -> Claimed:
    """The rows of claim.sql as transactions."""
    held: list[Transaction] = []
    to_review: list[Transaction] = []
    if not rows:
        return Claimed(held, to_review)
    pending, processing = Status.PENDING, Status.PROCESSING
    claimed, taken_over = because(Cause.CLAIMED), because(Cause.TAKEN_OVER)
    at = datetime.fromtimestamp(rows[0].at, UTC)  # one for all
    until = at + policy.lease
    created_last = ends_last = None
    due_last: float | None = nan
    due_at = created_at = deadline = at
    for row in rows:
        if row.due_at != due_last:
            if row.due_at is None:
                to_review.append(_to_review(row, at, by, policy))
                continue
            due_last, due_at = row.due_at, datetime.fromtimestamp(row.due_at, UTC)
        if row.created_at != created_last:  # neighbours often came together
            created_last, created_at = row.created_at, datetime.fromtimestamp(row.created_at, UTC)
        if row.deadline != ends_last:
            ends_last, deadline = row.deadline, datetime.fromtimestamp(row.deadline, UTC)
        line = HistoryEntry(
            at=at,
            by=by,
            was=processing if row.taken_over else pending,
            now=processing,
            attempt=row.attempt,
            token=token,
            why=taken_over.sentence if row.taken_over else claimed.sentence,
            times=1,
            since=None,
            cause=taken_over.cause if row.taken_over else claimed.cause,
        )
        record = Transaction(
            id=row.id,
            account=row.account,
            amount=row.amount,
            currency=row.currency,
            created_at=created_at,
            deadline=deadline,
            status=processing,
            attempt=row.attempt,
            next_attempt_at=due_at,
            lease_until=until,
            token=token,
            first_sent_at=row.first_sent_at or at,
            last_sent_at=row.last_sent_at,
            settled_at=None,
            gateway_reference=None,
            reason=None,
            owner=None,
            review_by=None,
            version=row.version,
            tries=row.tries,
            asked=row.asked,
            lost=row.lost,
            away_since=row.away_since,
            desk_by=row.desk_by,
            new_keys=row.new_keys,
            moved=None,
            moved_currency=None,
            history=(line,),
        )
        held.append(record)
    return Claimed(held, to_review)


@inlined
def _to_review(row: ClaimedRow, at: datetime, by: str, policy: Policy) -> Transaction:
    """A row of claim.sql that went to a desk: its history is that line alone."""
    line = HistoryEntry(
        at=at,
        by=by,
        was=Status.PROCESSING if row.taken_over else Status.PENDING,
        now=Status.REVIEW,
        attempt=row.attempt,
        token=row.token,
        why=row.reason or "no reason given",
        times=1,
        since=None,
        cause=Cause.of(row.cause),
    )
    return Transaction(
        id=row.id,
        account=row.account,
        amount=row.amount,
        currency=row.currency,
        created_at=datetime.fromtimestamp(row.created_at, UTC),
        deadline=datetime.fromtimestamp(min(row.deadline, _LAST), UTC),
        status=Status.REVIEW,
        attempt=row.attempt,
        next_attempt_at=None,
        lease_until=None,
        token=None,
        first_sent_at=row.first_sent_at or (at if row.last_sent_at else None),
        last_sent_at=row.last_sent_at,
        settled_at=None,
        gateway_reference=None,
        reason=row.reason,
        owner=policy.review_owner,
        review_by=row.desk_by,  # as claim.sql has written it
        version=row.version,
        tries=row.tries,
        asked=row.asked,
        lost=row.lost,
        away_since=row.away_since,
        desk_by=None,
        new_keys=row.new_keys,
        moved=None,
        moved_currency=None,
        history=(line,),
    )


@inlined
def _record(row: Stored) -> Transaction:
    """A row as a transaction; of its history only the claim that it is held under."""
    status = Status(row.status)
    return Transaction(
        id=row.id,
        account=row.account,
        amount=row.amount,
        currency=row.currency,
        created_at=row.created_at,
        deadline=row.deadline,
        status=status,
        attempt=row.attempt,
        next_attempt_at=row.due_at,
        lease_until=row.lease_until,
        token=row.token,
        first_sent_at=row.first_sent_at,
        last_sent_at=row.last_sent_at,
        settled_at=row.settled_at,
        gateway_reference=row.gateway_reference,
        reason=row.reason,
        owner=row.owner,
        review_by=row.review_by,
        version=row.version,
        tries=row.tries,
        asked=row.asked,
        lost=row.lost,
        away_since=row.away_since,
        desk_by=row.desk_by,
        new_keys=row.new_keys,
        moved=row.moved,
        moved_currency=row.moved_currency,
        history=_claim_line(row, row.attempt) if status is Status.PROCESSING else (),
    )


def _with(row: Stored, lines: Sequence[HistoryEntry]) -> Transaction:
    """The record with its whole history, equal changes counted as every store counts them."""
    record = _record(row)
    history: tuple[HistoryEntry, ...] = (arrival(row.arrived_at),)
    for line in (*lines, *record.history):
        history = with_line(history, line)
    return record._replace(history=history)


def _claim_line(row: Stored | StoredLine, attempt: int | None) -> tuple[HistoryEntry, ...]:
    """The claim that a row tells of, if it tells of one."""
    if row.claimed_at is None:
        return ()
    cause, why = because(Cause.TAKEN_OVER if row.taken_over else Cause.CLAIMED)
    return (
        HistoryEntry(
            at=row.claimed_at,
            by=row.claimed_by or "?",
            was=Status.PROCESSING if row.taken_over else Status.PENDING,
            now=Status.PROCESSING,
            attempt=attempt or 0,
            token=row.token,
            why=why,
            cause=cause,
        ),
    )


def _lines(row: StoredLine) -> list[HistoryEntry]:
    """A row of history as the one or two changes that it tells of; one that is not ours hides none of the others."""
    lines = [*_claim_line(row, row.claim_attempt)]
    if row.at is None:
        return lines
    by, why = row.by or "?", row.why or "no reason given"
    was, now = _STATES.get(row.was), _STATES.get(row.now)
    if was is None or now is None:
        cause, why = because(Cause.UNREADABLE, reason="a line of history that is not as we write it")
        line = HistoryEntry(at=row.at, by=by, was=None, now=Status.REVIEW, attempt=0, token=None, why=why, cause=cause)
    else:
        line = HistoryEntry(
            at=row.at,
            by=by,
            was=was,
            now=now,
            attempt=row.attempt or 0,
            token=row.token,
            why=why,
            cause=Cause.of(row.cause),
        )
    return [*lines, line]


_STATES: Mapping[str | None, Status] = {status.value: status for status in Status}
