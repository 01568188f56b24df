"""The numbers that the transitions obey, and the retry delay made of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


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
    review_within: timedelta = timedelta(hours=24)
    review_owner: str = "payment-operations"

    def backoff(self, attempt: int, chance: float) -> timedelta:
        """The delay after `attempt` (1, 2, ...): exponential with full jitter.

        `chance` is uniform in [0, 1). Full jitter spreads a crowd best (AWS Architecture Blog, "Exponential
        Backoff And Jitter"); a tenth of the step is kept as a floor so that no retry is immediate.
        """
        doublings = min(max(attempt - 1, 0), 32)
        step = min(self.retry_base * (1 << doublings), self.retry_cap)
        return step * (0.1 + 0.9 * chance)
