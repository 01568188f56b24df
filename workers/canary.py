"""The canary: every few minutes a payment of our own, over the whole path, so that silence is no good news.

There is nothing to remember: the time says which canary is due and which was the one before. So any worker may send
it, any number of them, and again after a crash: the id makes it once. Whoever looks next tells what became of the one
before, which had all of `every` to be confirmed. Nobody who looks tells nothing, and no news raises the alarm.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from workers.domain.ports import Canaries
from workers.domain.transaction import CANARY, CANARY_AMOUNT, CANARY_CURRENCY, Status, Transaction
from workers.telemetry import Metrics

WITHIN = timedelta(hours=1)
"""Its deadline: after a long outage nobody wants hundreds of them sent."""


@dataclass(frozen=True, slots=True)
class Canary:
    """What is sent, and how often."""

    account: str = field(repr=False)
    """The gateway's, for tests: its money is ours."""
    every: timedelta

    def id_at(self, time: datetime) -> str:
        """Which one is due at `time`: the same for everybody, all through its turn."""
        start = time - (time - datetime.min.replace(tzinfo=UTC)) % self.every
        return f"{CANARY}{start:%Y%m%dT%H%M%SZ}"

    async def beat(self, canaries: Canaries, now: datetime) -> Metrics:
        """Send the one that is due, if nobody has yet, and tell what became of the one before."""
        id_ = self.id_at(now)
        if await canaries.look(id_) is None:
            await canaries.send(made(id_, self.account, now))
        return metrics_of(await canaries.look(self.id_at(now - self.every)))


def made(id_: str, account: str, now: datetime) -> Transaction:
    """One of that id, which must be of the form of `is_canary`."""
    return Transaction(id_, account, CANARY_AMOUNT, CANARY_CURRENCY, now, now + WITHIN)


def metrics_of(before: Transaction | None) -> Metrics:
    """Whether it was confirmed, and how long that took. Nothing of one that was never sent: right after the start."""
    if before is None:
        return {}
    done = before.settled_at if before.status is Status.CONFIRMED else None
    took = [round((done - before.created_at).total_seconds(), 2)] if done else []
    return {"CanaryConfirmed": (len(took), "Count"), "CanarySeconds": (took, "Seconds")}
