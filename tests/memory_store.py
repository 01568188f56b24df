"""The store as a model: the shortest code that keeps the contract. Tests run on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from workers.domain.exits import DeskExit, Refused
from workers.domain.policy import Policy
from workers.domain.ports import Added, Backlog, Claimed, Clock, Move, ReviewBacklog
from workers.domain.transaction import Status, Transaction
from workers.domain.transitions import Claim, claimable, decide, doubted, extended, is_late, recalled
from workers.stores.common import arrived, claimed, desk_of, same_content


def _fence(record: Transaction | None) -> tuple[int, str | None] | None:
    return None if record is None else (record.version, record.token)


@dataclass
class MemoryStore:
    """All transactions in a dict."""

    clock: Clock
    policy: Policy
    records: dict[str, Transaction] = field(default_factory=dict)

    async def add(self, transactions: Sequence[Transaction]) -> Added:
        new, already, conflicting = [], [], []
        for transaction in transactions:
            present = self.records.get(transaction.id)
            if present is None:
                self.records[transaction.id] = arrived(transaction, self.clock.now())
                new.append(transaction.id)
            elif same_content(present, transaction):
                already.append(transaction.id)
            else:
                conflicting.append(transaction.id)
        return Added(tuple(new), tuple(already), tuple(conflicting))

    async def claim(
        self, *, token: str, by: str, limit: int, ids: Sequence[str] | None = None, late: bool = False
    ) -> Claimed:
        now = self.clock.now()
        candidates = [self.records[id_] for id_ in ids if id_ in self.records] if ids is not None else self._open()
        due = [record for record in candidates if claimable(record, now, self.policy)]
        due = [record for record in due if not late or is_late(record, now, self.policy)][:limit]
        moved = [decide(record, Claim(token, by), now, self.policy) for record in due]
        self.records.update((record.id, record) for record in moved)
        return claimed(moved)

    async def extend(self, transactions: Sequence[Transaction]) -> list[Transaction]:
        moves = [Move(record, extended(record, self.clock.now(), self.policy)) for record in transactions]
        won = await self.settle(moves)
        return [move.after for move, ok in zip(moves, won, strict=True) if ok]

    async def settle(self, moves: Sequence[Move]) -> list[bool]:
        won = []
        for move in moves:
            stands = _fence(self.records.get(move.before.id)) == _fence(move.before)
            if stands:
                self.records[move.before.id] = move.after
            won.append(stands)
        return won

    async def backlog(self) -> Backlog:
        now = self.clock.now()
        due = [
            record.next_attempt_at
            for record in self._open()
            if record.next_attempt_at and record.next_attempt_at <= now
        ]
        return Backlog(len(self._open()), len(due), min(due, default=None), len(await self.review(len(self.records))))

    async def desk(self) -> ReviewBacklog:
        return desk_of(await self.review(len(self.records)))

    async def recall(self) -> int:
        now = self.clock.now()
        until = now + self.policy.longest_wait
        ahead = [r for r in self._open() if r.next_attempt_at and r.next_attempt_at > until]
        ahead = [r for r in ahead if r.status is Status.PENDING]
        self.records.update((record.id, recalled(record, now, self.policy)) for record in ahead)
        return len(ahead)

    async def doubt(self) -> int:
        waiting = [r for r in self.records.values() if r.status in (Status.PENDING, Status.REVIEW)]
        found = [r for r in waiting if not (r.first_sent_at and r.last_sent_at)]
        self.records.update((record.id, doubted(record, self.clock.now(), self.policy)) for record in found)
        return len(found)

    async def find(self, id: str) -> Transaction | None:  # noqa: A002
        return self.records.get(id)

    async def review(self, limit: int = 100) -> list[Transaction]:
        waiting = [r for r in self.records.values() if r.status is Status.REVIEW and not r.is_canary]
        return sorted(waiting, key=lambda record: (record.review_by or record.deadline, record.id))[:limit]

    async def leave(self, id: str, event: DeskExit) -> Transaction:  # noqa: A002
        record = self.records.get(id)
        if record is None:
            raise Refused(f"there is no transaction {id}")
        after = decide(record, event, self.clock.now(), self.policy)
        self.records[id] = after
        return after

    def _open(self) -> list[Transaction]:
        found = [r for r in self.records.values() if r.status in (Status.PENDING, Status.PROCESSING)]
        return sorted(found, key=lambda record: (record.next_attempt_at or record.created_at, record.id))
