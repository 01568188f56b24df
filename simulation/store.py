"""A datastore as a model: conditional writes whose answers are lost, batches taken in part, an index that is late."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from simulation.life import START, Life, Stage
from workers.domain import transitions
from workers.domain.ports import Claimed, Late, Look, Move
from workers.domain.transaction import Status, Transaction
from workers.domain.transitions import Claim, Redrive, decide, doubted, extended, is_late
from workers.stores.common import arrived, claimed

OPEN = (Status.PENDING, Status.PROCESSING)


class Lost(ConnectionResetError):  # noqa: N818 - as the workers call it
    """The datastore did not answer: it may have written or not."""


def stands(stood: Transaction | None, before: Transaction) -> bool:
    """The condition of every write: the version and the token of the claim."""
    return stood is not None and (stood.version, stood.token) == (before.version, before.token)


def as_it_is(current: Transaction, shown: Transaction) -> Transaction:  # noqa: ARG001 - a broken variant trusts it
    """What a claim decides by: the record itself, never what an index showed of it."""
    return current


@dataclass
class Database:
    """The records, and the index of the open ones, which may be late."""

    stage: Stage
    records: dict[str, Transaction] = field(default_factory=dict)
    index: dict[str, Transaction] = field(default_factory=dict)
    changed: Callable[[], None] = lambda: None
    """Called when there may be new work, or no work any more."""

    def put(self, record: Transaction) -> None:
        self.records[record.id] = record
        stage = self.stage
        if stage.strikes("stale"):
            stage.journal.fault("store", "stale", record.id, f"index shows version {record.version} later")
            stage.loop.call_later(stage.chance.uniform(1, 60), self._show, record.id)
        else:
            self._show(record.id)

    def _show(self, id_: str) -> None:
        if id_ in self.records:
            self.index[id_] = self.records[id_]

    def add(self, transaction: Transaction) -> None:
        if transaction.id not in self.records:
            self.put(arrived(transaction, self.stage.now()))
            self.stage.journal.tell("producer", "adds", transaction.id, f"{transaction.amount} {transaction.currency}")
            self.changed()

    def redrive(self, record: Transaction, life: Life) -> None:
        after = decide(record, Redrive("ana", "ben", "looked into it"), life.now(), life.policy)
        self.stage.judge.settles(self.records[record.id], record)
        self.put(after)
        self.stage.journal.tell("ana", "redrives", record.id, record.reason or "")
        self.changed()

    def doubt(self, life: Life) -> None:
        """As `Store.doubt`."""
        for record in list(self.records.values()):
            waits = record.status in (Status.PENDING, Status.REVIEW)
            if waits and not (record.first_sent_at and record.last_sent_at):
                self.put(doubted(record, life.now(), life.policy))

    def go_back(self, to: dict[str, Transaction]) -> None:
        self.records, self.index = dict(to), dict(to)

    def open_ones(self) -> list[Transaction]:
        found = [record for record in self.records.values() if record.status in OPEN]
        return sorted(found, key=lambda record: (record.next_attempt_at or record.created_at, record.id))

    def next_due(self) -> float:
        """In seconds since the beginning; infinite where nothing is open."""
        times = [
            one.lease_until if one.status is Status.PROCESSING else one.next_attempt_at for one in self.open_ones()
        ]
        return min(((time - START).total_seconds() for time in times if time), default=math.inf)


@dataclass
class Connection:
    """The database as one life sees it: `Claims`, and what the service asks of PostgreSQL's store."""

    database: Database
    life: Life
    central_clock: bool
    """Whether leases go by the datastore's clock (PostgreSQL), or by the worker's own (DynamoDB)."""

    @property
    def pool(self) -> Connection:
        return self

    async def expire_connections(self) -> None: ...

    def _now(self) -> datetime:
        return self.database.stage.now() if self.central_clock else self.life.now()

    def due(self) -> list[str]:
        """What the index shows to be due: a plan."""
        shown = [record for record in self.database.index.values() if record.status in OPEN]
        now, policy = self._now(), self.life.policy
        return sorted(record.id for record in shown if transitions.claimable(record, now, policy))

    async def claim(
        self, *, token: str, by: str, limit: int, ids: Sequence[str] | None = None, late: Late | None = None
    ) -> Claimed:
        stage, life = self.database.stage, self.life
        await life.step("claim")
        now = self._now()
        moved: list[Transaction] = []
        for id_ in [one.id for one in self.database.open_ones()] if ids is None else ids:
            if len(moved) == limit:
                break
            stood = self.database.records.get(id_)
            if stood is None:
                continue
            record = as_it_is(stood, self.database.index.get(id_, stood))
            if not transitions.claimable(record, now, life.policy) or (
                late is not None and not is_late(record, now, life.policy, late)
            ):
                continue
            if stage.strikes("partly"):
                stage.journal.fault(life.name, "partly", id_, "claim")
                if ids is None:
                    raise Lost("in the middle of a claim")  # one transaction: but what was moved stays, as the worst
                continue
            after = decide(record, Claim(token, by), now, life.policy)
            stage.judge.claims(stood, stage.now())
            self._write(after)
            moved.append(after)
        await self._answer("claim")
        return claimed(moved)

    async def claim_next(self, *, token: str, by: str, limit: int, look: Look = Look.ONWARD) -> Claimed:
        late = {Look.UNSENT: Late.UNSENT, Look.LATE: Late.EVERY}.get(look)
        return await self.claim(token=token, by=by, limit=limit, late=late)

    async def held(self, token: str) -> list[Transaction]:
        await self.life.step("held")
        return [one for one in self.database.records.values() if one.token == token and one.status is Status.PROCESSING]

    async def settle(self, moves: Sequence[Move]) -> list[bool]:
        await self.life.step("settle")
        stage = self.database.stage
        won: list[bool] = []
        for before, after in moves:
            if stage.strikes("partly"):
                stage.journal.fault(self.life.name, "partly", before.id, "settle")
                raise Lost("in the middle of a batch")
            stood = self.database.records.get(before.id)
            if ours := stands(stood, before):
                if stood is not None:
                    stage.judge.settles(stood, before)
                self._write(after)
            else:
                stage.journal.tell(self.life.name, "loses the fence", before.id)
            won.append(ours or stood == after)  # its own write, whose answer was lost
        await self._answer("settle")
        return won

    async def extend(self, transactions: Sequence[Transaction]) -> list[Transaction]:
        await self.life.step("extend")
        renewed = []
        for record in transactions:
            stood = self.database.records.get(record.id)
            if stood is not None and stands(stood, record) and stood.status is Status.PROCESSING:
                after = extended(stood, self._now(), self.life.policy)
                self.database.put(after)
                self.life.renewed[(after.id, after.token)] = after.lease_until
                renewed.append(after)
        return renewed

    def _write(self, record: Transaction) -> None:
        self.database.put(record)
        line = record.history[-1]
        self.database.stage.journal.tell(self.life.name, f"{line.was} -> {line.now}", record.id, line.why)
        if record.status not in OPEN:
            self.database.changed()

    async def _answer(self, what: str) -> None:
        stage = self.database.stage
        if stage.strikes("lost_answer"):
            stage.journal.fault(self.life.name, "lost_answer", "", what)
            raise Lost(f"the answer to {what}")
        await self.life.step(f"after {what}")
