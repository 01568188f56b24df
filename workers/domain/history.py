"""A transaction's history stays short, however long its life: equal changes are counted, and the middle makes room.

Where nobody answers for a day, each try would add the same two lines: a DynamoDB item holds 400 KB, and each write is
billed by the KiB of the whole item. The log has a line for each change, so nothing is lost by counting here.
"""

from __future__ import annotations

from workers.domain.causes import Cause, because
from workers.domain.transaction import HistoryEntry, Status

MOST_LINES = 60
"""Some 12 KB, at lines of 200 bytes; the longest that our bounds allow are 40 KB."""
KEPT_FIRST = 10
LEFT_OUT = "history"
"""Who "did" the one line that stands for those that were left out."""

History = tuple[HistoryEntry, ...]


def with_line(history: History, line: HistoryEntry) -> History:
    """`history` with one line more, or with one more of the same counted."""
    if line.now is Status.CONFIRMED:
        return (*history, line)
    if _came_back_as_before(history, line):
        first_claim, first_end, claim = history[-3:]
        return (*history[:-3], _again(first_claim, claim), _again(first_end, line))
    return _trimmed((*history, line))


def _came_back_as_before(history: History, line: HistoryEntry) -> bool:
    """Whether the last try (a claim and its end in PENDING) was like the one before it, whoever made them."""
    if len(history) < 3 or line.now is not Status.PENDING or line.was is not Status.PROCESSING:
        return False
    first_claim, first_end, claim = history[-3:]
    return _shape(first_end) == _shape(line) and _shape(first_claim) == _shape(claim) and claim.was is Status.PENDING


def _shape(line: HistoryEntry) -> tuple[Status | None, Status, int, str]:
    return line.was, line.now, line.attempt, line.why


def _again(before: HistoryEntry, line: HistoryEntry) -> HistoryEntry:
    return line._replace(times=before.times + line.times, since=before.since or before.at)


def _trimmed(history: History) -> History:
    """At most MOST_LINES: the first and the last stay, one line stands for those between."""
    if len(history) <= MOST_LINES:
        return history
    end = len(history) - (MOST_LINES - KEPT_FIRST - 1)
    gone = history[KEPT_FIRST:end]
    count = sum(line.times for line in gone)
    first, last = gone[0], gone[-1]
    cause, why = because(Cause.LEFT_OUT, count=count)
    gap = HistoryEntry(
        at=last.at,
        by=LEFT_OUT,
        was=first.was,
        now=last.now,
        attempt=last.attempt,
        token=None,
        why=why,
        times=count,
        since=first.since or first.at,
        cause=cause,
    )
    return (*history[:KEPT_FIRST], gap, *history[end:])
