"""How soon somebody else takes over what a killed worker held, read from the history alone.

Counted from the end of the dead claim's lease: it was killed before that, so "a lease and two seconds after the kill"
holds wherever two seconds after the lease's end do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from workers.domain.causes import Cause
from workers.domain.transaction import Transaction

Hold = tuple[str, str | None]
"""Id and token of a claim."""


@dataclass(frozen=True, slots=True)
class Takeover:
    id: str
    by: str
    """Who had held it."""
    end: datetime
    """Of the lease."""
    at: datetime
    """Of the next claim, or of the desk that a claim sends to."""

    @property
    def late(self) -> float:
        """Seconds from the one to the other."""
        return (self.at - self.end).total_seconds()


def takeovers(
    records: Iterable[Transaction], lease: timedelta, ends: Mapping[Hold, datetime] | None = None
) -> list[Takeover]:
    """Each time that somebody took over. A lease ends so long after its claim, or, where it was renewed, at what `ends`
    has of it: then only those that are in it are counted."""
    found = []
    for record in records:
        for before, after in zip(record.history, record.history[1:], strict=False):
            if after.cause not in (Cause.TAKEN_OVER, Cause.WORKERS_LOST) or before.token is None:
                continue
            end = before.at + lease if ends is None else ends.get((record.id, before.token))
            if end is not None:
                found.append(Takeover(record.id, before.by, end, after.at))
    return found


Outage = tuple[datetime, datetime]
RECOVERY = timedelta(seconds=8)
"""After an outage: a worker asks again after 5 s at most, and a task takes seconds to start."""


def while_there(found: Iterable[Takeover], outages: Sequence[Outage]) -> list[Takeover]:
    """Without those that waited while the datastore, or every worker, was away by our own doing."""
    return [
        one for one in found if not any(one.end <= ended + RECOVERY and began <= one.at for began, ended in outages)
    ]


def at_share(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that so large a share of them does not exceed; nothing is 0."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def within(values: Sequence[float], most: float) -> float:
    """The share of `values` that are at most `most`; of none, nothing was seen, which is no success: 0."""
    return sum(value <= most for value in values) / len(values) if values else 0.0
