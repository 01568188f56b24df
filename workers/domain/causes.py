"""Why a transaction changed its state: one term for each cause, and the sentence that people read.

A line of history, and of the log, carries the term: it is what code, SQL and queries count and decide by. The sentence
is made here, of the term and of the details, and is for people alone: rewording one changes nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple


class Cause(StrEnum):
    """What led from one state to the next."""

    ADDED = "added"
    # a claim
    CLAIMED = "claimed"
    TAKEN_OVER = "taken-over"
    # the end, by evidence
    CONFIRMED = "confirmed"
    ALREADY_DONE = "already-done"
    """By a question about an earlier call."""
    REFUSED = "refused"
    AMOUNT_MISMATCH = "amount-mismatch"
    # back, after a call or the try of one
    NOT_DONE = "not-done"
    """The gateway says that nothing was done this time."""
    THROTTLED = "throttled"
    """The gateway asks to be called less often."""
    KEY_REFUSED = "key-refused"
    """Our credentials, not the idempotency key."""
    NOT_SENT = "not-sent"
    """Nothing left for the gateway: no connection, mostly."""
    UNKNOWN_OUTCOME = "unknown-outcome"
    NOT_FOUND_YET = "not-found-yet"
    RESEND = "resend"
    """The gateway knows nothing of it, and may be sent the same key again."""
    # back, without a call
    BREAKER_OPEN = "breaker-open"
    RATE_LIMITED = "rate-limited"
    """By our own limit; the gateway's is THROTTLED."""
    KEY_MISSING = "key-missing"
    LEASE_SHORT = "lease-short"
    TIME_SHORT = "time-short"
    TOO_LATE = "too-late"
    NO_ATTEMPT_LEFT = "no-attempt-left"
    STOPPING = "stopping"
    SUSPECTED = "suspected"
    """Workers were lost with it: it is called when nothing else is held."""
    PAUSED = "paused"
    """By a person (workers/domain/pause.py)."""
    # to a person's desk
    WORKERS_LOST = "workers-lost"
    ATTEMPTS_USED_UP = "attempts-used-up"
    DEADLINE_PASSED = "deadline-passed"
    KEY_WINDOW_OVER = "key-window-over"
    CLAIM_FAILED = "claim-failed"
    """The datastore refuses what a claim writes."""
    WRITE_FAILED = "write-failed"
    """It refuses what came of a call."""
    UNREADABLE = "unreadable"
    ASKED = "asked"
    """For a desk, and there is no evidence: back to it."""
    # and off it, by people
    REDRIVEN = "redriven"
    TO_BE_ASKED = "to-be-asked"
    RESOLVED_DONE = "resolved-done"
    AMOUNT_ACCEPTED = "amount-accepted"
    RESOLVED_REFUSED = "resolved-refused"
    CANCELLED = "cancelled"
    NEW_KEY = "new-key"
    LEFT_OUT = "left-out"
    """Of the one line that stands for those that were left out (workers/domain/history.py)."""

    __hash__ = str.__hash__  # the same number as Enum's own, which is a function in Python

    @staticmethod
    def of(text: str | None) -> Cause | None:
        """What a datastore has; None of a line that a version before this one wrote, or one after it."""
        return _BY_TEXT.get(text) if text else None


_BY_TEXT: Mapping[str, Cause] = {cause.value: cause for cause in Cause}

UNTRIED = frozenset(
    (
        Cause.BREAKER_OPEN,
        Cause.RATE_LIMITED,
        Cause.KEY_MISSING,
        Cause.LEASE_SHORT,
        Cause.TIME_SHORT,
        Cause.TOO_LATE,
        Cause.NO_ATTEMPT_LEFT,
        Cause.STOPPING,
        Cause.SUSPECTED,
        Cause.PAUSED,
    )
)
"""Back to PENDING without a call: nothing is wrong with the transaction, nor was the gateway bothered."""
TROUBLES = frozenset((Cause.NOT_DONE, Cause.THROTTLED, Cause.KEY_REFUSED, Cause.NOT_SENT, Cause.UNKNOWN_OUTCOME))
"""Of the gateway, or of the way there."""

SENTENCES: Mapping[Cause, str] = {
    Cause.ADDED: "added",
    Cause.CLAIMED: "claimed",
    Cause.TAKEN_OVER: "lease expired, taken over",
    Cause.CONFIRMED: "gateway confirmed",
    Cause.ALREADY_DONE: "gateway had done it",
    Cause.REFUSED: "gateway refused: {reason}",
    Cause.AMOUNT_MISMATCH: "gateway moved {moved}, expected {expected}",
    Cause.NOT_DONE: "{reason}",
    Cause.THROTTLED: "{reason}",
    Cause.KEY_REFUSED: "{reason}",
    Cause.NOT_SENT: "{reason}",
    Cause.UNKNOWN_OUTCOME: "unknown: {reason}",
    Cause.NOT_FOUND_YET: "gateway does not know it yet",
    Cause.RESEND: "not sent yet",
    Cause.BREAKER_OPEN: "not tried: circuit breaker open",
    Cause.RATE_LIMITED: "not tried: the rate limit leaves no turn in time",
    Cause.KEY_MISSING: "not tried: the gateway's key is not known yet",
    Cause.LEASE_SHORT: "not tried: too little of the lease left for a call",
    Cause.TIME_SHORT: "not tried: too little time left for a call",
    Cause.TOO_LATE: "not tried: deadline passed",
    Cause.NO_ATTEMPT_LEFT: "not tried: no attempt is left for a call",
    Cause.STOPPING: "not tried: worker is stopping",
    Cause.SUSPECTED: "not tried: workers were lost with it, so it is called alone",
    Cause.PAUSED: "not tried: paused by a person",
    Cause.WORKERS_LOST: "{attempts} workers took it and none of them came back",
    Cause.ATTEMPTS_USED_UP: "{attempts} attempts used up{rest}",
    Cause.DEADLINE_PASSED: "deadline passed{rest}",
    Cause.KEY_WINDOW_OVER: "gateway knows nothing of it and its key window is over",
    Cause.CLAIM_FAILED: "a claim of it was refused ({error}): it is not as we write it",
    Cause.WRITE_FAILED: "{status} could not be written ({error}): ask the gateway what became of it",
    Cause.UNREADABLE: "unreadable: {reason}",
    Cause.ASKED: "{rest}",
    Cause.REDRIVEN: "redrive approved by {approved_by}: {reason}",
    Cause.TO_BE_ASKED: "question approved by {approved_by}: {reason}",
    Cause.RESOLVED_DONE: "done, approved by {approved_by}: {proof}; {reason}",
    Cause.AMOUNT_ACCEPTED: "done with another amount, approved by {approved_by}: {proof}; {reason}",
    Cause.RESOLVED_REFUSED: "refused, approved by {approved_by}: {proof}; {reason}",
    Cause.CANCELLED: "cancelled, approved by {approved_by}: {proof}; {reason}",
    Cause.NEW_KEY: "key number {number}, approved by {approved_by}: {proof}; {reason}",
    Cause.LEFT_OUT: "{count} changes left out here; the workers' log tells of each",
}
"""Nobody reads them but people. Those of a claim that sends to a desk stand in sql/claim.sql too, which writes them;
the conformance suite holds both to the same words."""

KNOWS_NOTHING, OUT_OF_REACH, LAST = "gateway knows nothing of it", "gateway can't be reached", "last: "
"""What the gateway said last, as the sentences of a desk have it: behind `LAST` follow its own words.
`workers/domain/diagnosis.py` reads them."""


class Because(NamedTuple):
    """A cause, and what it says to people."""

    cause: Cause
    sentence: str

    @property
    def is_bare(self) -> bool:
        """Whether the sentence has nothing that the cause has not."""
        return self.sentence == SENTENCES[self.cause]


def because(cause: Cause, **details: object) -> Because:
    """`cause` with its sentence. A detail that the sentence has no place for is left out."""
    return Because(cause, SENTENCES[cause].format(**details))
