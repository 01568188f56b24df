"""What every store does in the same way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from workers.domain.causes import Cause, because
from workers.domain.ports import Claimed, ReviewBacklog
from workers.domain.transaction import HistoryEntry, Status, Transaction, utc


def arrived(transaction: Transaction, now: datetime) -> Transaction:
    """`transaction` as every store inserts it: PENDING, due at once, with the first line of its history."""
    return transaction._replace(
        created_at=utc(transaction.created_at),
        deadline=utc(transaction.deadline),
        next_attempt_at=utc(now),
        history=(arrival(utc(now)),),
    )


def earliest(*times: datetime | None) -> datetime | None:
    """Of those that are known."""
    return min((time for time in times if time), default=None)


def arrival(at: datetime) -> HistoryEntry:
    """The first line of every history."""
    cause, why = because(Cause.ADDED)
    return HistoryEntry(at=at, by="producer", was=None, now=Status.PENDING, attempt=0, token=None, why=why, cause=cause)


def same_content(a: Transaction, b: Transaction) -> bool:
    """Whether both ask for the same payment: adding such a one again is harmless."""
    return (a.account, a.amount, a.currency) == (b.account, b.amount, b.currency)


def desk_of(waiting: Sequence[Transaction]) -> ReviewBacklog:
    """What waits, summed up."""
    at_risk: Counter[str] = Counter()
    for record in waiting:
        at_risk[record.currency] += record.amount
    deadlines = [record.review_by for record in waiting if record.review_by]
    return ReviewBacklog(len(waiting), min(deadlines, default=None), at_risk)


def claimed(moved: Sequence[Transaction]) -> Claimed:
    """What a claim has moved, by where it went."""
    held = [record for record in moved if record.status is Status.PROCESSING]
    return Claimed(held, [record for record in moved if record.status is Status.REVIEW])
