"""What a gateway may answer. The user's own `confirm` and `ask` return these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import NamedTuple

from workers.domain import text
from workers.domain.causes import TROUBLES, UNTRIED, Cause


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
    the attempt is then not counted.
    """

    reason: str
    counts: bool = True
    cause: Cause = Cause.NOT_DONE
    """What history and counts have for it: an adapter may say more exactly why."""


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

    cause: Cause
    """One of UNTRIED."""
    unreachable: bool = False
    """Since the gateway can't be reached just now: where that lasts, it is not waited out for ever."""
    wait: timedelta = timedelta()
    """How long nobody needs to try; none leaves it in its turn."""


Outcome = Confirmed | Rejected | Retryable | Unknown | NotFound

OF_RETRYABLE = (TROUBLES | UNTRIED) - {Cause.UNKNOWN_OUTCOME}
"""The causes that a Retryable may give."""
MOST_MONEY = 2**63
"""An amount beyond it, either way, is none: no datastore holds it."""


def admitted(outcome: object) -> Outcome:
    """What an adapter answered, as it may go on: of the types that the port names, its texts cleaned and bounded.

    The one border: whatever adapter stands behind it, nothing that it says can break the write of its neighbours.
    What is no outcome, or holds what it must not, proves nothing and is Unknown: the effect may have happened.
    """
    if isinstance(outcome, Confirmed):
        reference, amount, currency = outcome
        if type(amount) is not int or not -MOST_MONEY < amount < MOST_MONEY:  # bool is an int; a float is not money
            return Unknown("the gateway adapter confirmed an amount that is no whole number of minor units")
        if not isinstance(reference, str) or not isinstance(currency, str):
            return Unknown("the gateway adapter confirmed with a reference or a currency that is no text")
        if (
            reference.isprintable()
            and len(reference) <= text.MAX_REFERENCE
            and currency.isalpha()
            and len(currency) < 4
        ):
            return outcome  # nearly every one
        return Confirmed(text.reference(reference), amount, text.words(currency, text.MAX_NAME))
    if isinstance(outcome, Rejected | Retryable | Unknown):
        if not isinstance(outcome.reason, str):
            return Unknown(f"the gateway adapter answered {type(outcome).__name__} with a reason that is no text")
        if isinstance(outcome, Retryable) and outcome.cause not in OF_RETRYABLE:
            outcome = replace(outcome, cause=Cause.NOT_DONE)
        clean = text.words(outcome.reason) or "no reason given"
        return outcome if clean == outcome.reason else replace(outcome, reason=clean)
    if isinstance(outcome, NotFound):
        return outcome
    return Unknown("the gateway adapter answered with what is no outcome")


def together(heard: Sequence[Outcome]) -> Outcome:
    """What the answers about each key of one payment come to; that of the newest key is the last.

    Nothing is known as long as one key is not: under it the effect may have happened. What was done under two keys is
    two effects, and the sum of both, which is another amount than the one that was ordered.
    """
    unsure = next((one for one in heard if isinstance(one, Unknown | Retryable)), None)
    done = [one for one in heard if isinstance(one, Confirmed)]
    if unsure or not done:
        return unsure or heard[-1]
    one, *others = set(done)
    if not others and one.reference:
        return one  # a gateway that knows all keys to be one payment
    currencies = {one.currency for one in done}
    return Confirmed(
        text.reference(" and ".join(one.reference for one in done)),
        sum(one.amount for one in done),
        currencies.pop() if len(currencies) == 1 else MIXED,
    )


MIXED = "XXX"
"""ISO 4217: no currency. Of what was moved in several."""
