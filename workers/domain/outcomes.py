"""What a gateway may answer. The user's own `confirm` and `ask` return these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Confirmed(NamedTuple):
    """Evidence that the effect happened: the gateway's reference, and what it moved (minor units, currency).

    A tuple, as nearly every call ends in one.
    """

    reference: str
    amount: int
    currency: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """Evidence that the gateway refused for good; nothing moved and nothing will."""

    reason: str


@dataclass(frozen=True, slots=True)
class Retryable:
    """Evidence that nothing was done this time; the same call may succeed later.

    `counts` is False where the transaction is not to blame (rate limit, our credentials, no connection):
    the attempt is then given back.
    """

    reason: str
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Unknown:
    """No evidence: a time-out, a broken answer, an error that may have come after the effect. Never a failure."""

    reason: str


@dataclass(frozen=True, slots=True)
class NotFound:
    """The answer of `ask` alone: the gateway knows no effect under this key (yet)."""


@dataclass(frozen=True, slots=True)
class NotTried:
    """Ours, not the gateway's: no call was made (breaker open, lease or time too short). Burns no attempt."""

    reason: str


Outcome = Confirmed | Rejected | Retryable | Unknown | NotFound
