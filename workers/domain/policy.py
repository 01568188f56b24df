"""The numbers that the transitions obey, and the retry delay made of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

LONGEST_LEASE = timedelta(hours=2)
"""No lease lasts longer: settings allow an hour, and clocks differ by less than another (AWS refuses whoever is minutes
off). One that ends later was dated by a clock that was wrong, and is not believed."""
LOST_WITH = 2
"""Workers that were lost with a transaction: after them it is suspected, and called with nothing beside it."""
CLOCKS_APART = timedelta(minutes=10)
"""So far two machines' clocks may be apart: AWS lets nobody in who is more than five minutes off, either way."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How long, how often, and whose desk at the end."""

    lease: timedelta = timedelta(seconds=180)
    clock_skew: timedelta = timedelta(seconds=2)
    """Others' clocks may differ by this much: a lease is over only this long after its end."""
    max_attempts: int = 8
    retry_base: timedelta = timedelta(seconds=30)
    retry_cap: timedelta = timedelta(minutes=15)
    call_timeout: timedelta = timedelta(seconds=10)
    """The longest that one call may take: no call starts with less lease left."""
    grace: timedelta = timedelta(seconds=60)
    """How long after a call "not found" may only mean "not yet"."""
    key_window: timedelta = timedelta(hours=24)
    """How long the gateway remembers an idempotency key (Stripe: 24 h). Past it, ask but never resend."""
    only_ask: bool = False
    """Shadow mode: others may send, and may have sent, whatever the record says. So each is asked, none is sent."""
    restored_to: datetime | None = None
    """The moment that the datastore was set back to: what comes in now may have been sent at any time since then."""
    others_until: datetime | None = None
    """When shadow mode was left: what was there by then may have been sent by others until then, whatever it says."""
    others_stopped: datetime | None = None
    """The same, or when somebody first saw that it lay ahead of his time: they had stopped by then."""
    review_within: timedelta = timedelta(hours=24)
    review_owner: str = "payment-operations"

    @property
    def most_claims(self) -> int:
        """Tries after which questions that bring nothing are hopeless; an attempt beyond is counted no further."""
        return 2 * self.max_attempts

    @property
    def most_lost(self) -> int:
        """Workers lost in a row after which a transaction goes to a desk: the last of them with nothing beside it."""
        return 2 * max(self.max_attempts, LOST_WITH)

    @property
    def patience(self) -> timedelta:
        """How long past its deadline a question is repeated that did not get through."""
        return self.retry_cap + self.grace

    @property
    def longest_wait(self) -> timedelta:
        """No turn is written that lies further ahead: one that does was dated by a clock that was wrong."""
        return self.retry_cap + self.grace + self.clock_skew

    def backoff(self, tries: int, chance: float) -> timedelta:
        """The delay after so many tries (1, 2, ...), of whatever kind: exponential with full jitter.

        `chance` is uniform in [0, 1). Full jitter spreads a crowd best (AWS Architecture Blog, "Exponential
        Backoff And Jitter"); a tenth of the step is kept as a floor so that no retry is immediate.
        """
        doublings = min(max(tries - 1, 0), 32)
        step = min(self.retry_base * (1 << doublings), self.retry_cap)
        return step * (0.1 + 0.9 * chance)
