"""How a transaction's state may change: one pure table, used by every alternative, tool and test.

`decide(record, event, now, policy, chance)` gives the record after the event, with its history, or refuses. It reads
no clock and does no I/O: what to write and under which condition is the store's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from workers.domain.outcomes import Confirmed, NotFound, NotTried, Outcome, Rejected, Retryable, Unknown
from workers.domain.policy import Policy
from workers.domain.redaction import redact
from workers.domain.text import MAX_NAME, words
from workers.domain.transaction import HistoryEntry, Status, Transaction, make, utc


class Refused(Exception):  # noqa: N818 - the word for it: the table refuses the event
    """The event is not allowed in this state; nothing changes."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker takes the transaction under a fresh token."""

    token: str
    by: str


class Answer(NamedTuple):
    """What the gateway said to the holder's call (or why no call was made)."""

    outcome: Outcome | NotTried
    by: str
    asked: bool = False
    """True where the answer is to `ask`, False where it is to `confirm`."""


@dataclass(frozen=True, slots=True)
class Redrive:
    """A person sends it round again, another person agrees."""

    by: str
    approved_by: str
    why: str


Event = Claim | Answer | Redrive

CLAIMED, TAKEN_OVER = "claimed", "lease expired, taken over"
"""What the history says of a claim."""
CONFIRMED, HAD_DONE_IT = "gateway confirmed", "gateway had done it"
"""What it says of an end in CONFIRMED: by the call, or by a question about an earlier one."""
_PROCESSING, _CONFIRMED = Status.PROCESSING, Status.CONFIRMED  # looked up once: up to Python 3.11 that is slow

TABLE: tuple[tuple[Status, type[Event], Status, str], ...] = (
    (Status.PENDING, Claim, Status.PROCESSING, "due"),
    (Status.PENDING, Claim, Status.REVIEW, "attempts used up, or deadline passed before it was sent"),
    (Status.PROCESSING, Claim, Status.PROCESSING, "lease expired: taken over"),
    (Status.PROCESSING, Claim, Status.REVIEW, "lease expired and attempts used up"),
    (Status.PROCESSING, Answer, Status.CONFIRMED, "evidence: done, with the right amount"),
    (Status.PROCESSING, Answer, Status.REJECTED, "evidence: refused"),
    (Status.PROCESSING, Answer, Status.PENDING, "no evidence yet: try or ask later"),
    (Status.PROCESSING, Answer, Status.REVIEW, "no evidence in time, or another amount moved"),
    (Status.REVIEW, Redrive, Status.PENDING, "asked by one person, approved by another"),
)
"""Every change that may ever happen, and when. CONFIRMED and REJECTED begin no row: they are final."""


class _Case(NamedTuple):
    """One application of the table: what every rule gets to see."""

    record: Transaction
    now: datetime
    policy: Policy
    chance: float

    @property
    def overdue(self) -> bool:
        return self.now >= self.record.deadline

    @property
    def used_up(self) -> bool:
        return self.record.attempt >= self.policy.max_attempts


def decide(record: Transaction, event: Event, now: datetime, policy: Policy, chance: float = 0.5) -> Transaction:
    """The record after `event` at `now`; `chance` in [0, 1) draws the jitter.

    Raises:
        Refused: the table has no such row, or its condition does not hold.
    """
    now = utc(now)
    if isinstance(event, Answer) and record.status is _PROCESSING and (done := _confirmed(record, event, now)):
        return done  # nearly every transaction ends here
    case = _Case(record, now, policy, chance)
    match record.status, event:
        case Status.PROCESSING, Answer():
            return _answer(case, event)
        case ((Status.PENDING | Status.PROCESSING), Claim()):
            return _claim(case, event)
        case Status.REVIEW, Redrive():
            return _redrive(case, event)
    raise Refused(f"{record.id} is {record.status}: {type(event).__name__.lower()} is not possible")


def claimable(record: Transaction, now: datetime, policy: Policy) -> bool:
    """PENDING and due, or PROCESSING under a lease that is over for every clock within the allowed skew."""
    if record.status is Status.PENDING:
        return record.next_attempt_at is not None and record.next_attempt_at <= now
    if record.status is Status.PROCESSING:
        return record.lease_until is not None and record.lease_until + policy.clock_skew < now
    return False


def may_resend(record: Transaction, now: datetime, policy: Policy) -> bool:
    """After "not found": whether the same key may be sent again.

    Not before the grace period is over (the effect may still appear), never past the gateway's key window (it would
    be a second effect), never past the deadline.
    """
    if record.first_sent_at is None or record.last_sent_at is None:
        return True
    settled_down = record.last_sent_at + policy.grace <= now
    remembered = now + policy.call_timeout < record.first_sent_at + policy.key_window
    return settled_down and remembered and now < record.deadline


def extended(record: Transaction, now: datetime, policy: Policy) -> Transaction:
    """The record with its lease renewed: a heartbeat, not a change of state, so no history and no new version."""
    return record._replace(lease_until=utc(now) + policy.lease)


# --- the rules -------------------------------------------------------------------------------------------------------


def _claim(case: _Case, event: Claim) -> Transaction:
    record, now, policy = case.record, case.now, case.policy
    if not claimable(record, now, policy):
        raise Refused(f"{record.id} is {record.status} and not due")
    crashed = record.status is Status.PROCESSING
    if crashed:
        # Whoever held it may have sent until its lease ended, and said nothing since.
        record = record._replace(last_sent_at=record.lease_until)
    if case.used_up:
        return _review(case, record, event.by, f"{record.attempt} attempts used up without an end")
    if case.overdue and not record.sent_earlier:
        return _review(case, record, event.by, "deadline passed before it could be sent")
    return _moved(
        record,
        now,
        event.by,
        Status.PROCESSING,
        TAKEN_OVER if crashed else CLAIMED,
        attempt=record.attempt + 1,
        token=event.token,
        lease_until=now + policy.lease,
        first_sent_at=record.first_sent_at or now,
        reason=None,
    )


def _confirmed(record: Transaction, event: Answer, now: datetime) -> Transaction | None:
    """CONFIRMED, if the answer is the evidence for it: done, with the right amount. As `_moved`, spelled out."""
    outcome, by, asked = event
    if not isinstance(outcome, Confirmed):
        return None
    reference, moved, moved_currency = outcome
    (id_, account, amount, currency, created_at, deadline, was, attempt, _due_at, _lease_until, token, first, last,
     _settled_at, _reference, _reason, _owner, _review_by, version, history) = record  # fmt: skip
    if moved != amount or moved_currency != currency:
        return None
    line = make(HistoryEntry, (now, by, was, _CONFIRMED, attempt, token, HAD_DONE_IT if asked else CONFIRMED))
    return make(
        Transaction,
        (id_, account, amount, currency, created_at, deadline, _CONFIRMED, attempt, None, None, None, first, last,
         now, reference, None, None, None, version + 1, (*history, line)),
    )  # fmt: skip


def _answer(case: _Case, event: Answer) -> Transaction:
    record, now, outcome = case.record, case.now, event.outcome
    match outcome:
        case Confirmed(reference, amount, currency):  # another amount: `_confirmed` has taken the rest
            why = f"gateway moved {amount} {currency}, expected {record.amount} {record.currency}"
            return _review(case, record, event.by, why, gateway_reference=reference)
        case Rejected(reason):
            reason = redact(reason)
            return _moved(
                record,
                now,
                event.by,
                Status.REJECTED,
                f"gateway refused: {reason}",
                next_attempt_at=None,
                lease_until=None,
                settled_at=now,
                gateway_reference=None,
                reason=reason,
            )
        case Retryable(reason, counts):
            return _retry(case, event, redact(reason), counts=counts, sent=False)
        case Unknown(reason):
            # Asking has no effect, so an unanswered question costs no attempt; an unanswered call does.
            return _retry(case, event, f"unknown: {redact(reason)}", counts=not event.asked, sent=not event.asked)
        case NotTried(reason):
            return _release(case, event, f"not tried: {reason}", back=True, due=record.next_attempt_at)
        case NotFound():
            return _not_found(case, event)


def _retry(case: _Case, event: Answer, reason: str, *, counts: bool, sent: bool) -> Transaction:
    if case.overdue:
        return _review(case, _sent(case, sent), event.by, f"deadline passed; last: {reason}")
    if counts and case.used_up:
        return _review(case, _sent(case, sent), event.by, f"{case.record.attempt} attempts used up; last: {reason}")
    due = case.now + case.policy.backoff(case.record.attempt, case.chance)
    return _release(case, event, reason, back=not counts, due=due, sent=sent)


def _not_found(case: _Case, event: Answer) -> Transaction:
    record, now, policy = case.record, case.now, case.policy
    if case.overdue:
        return _review(case, record, event.by, "deadline passed; gateway knows nothing of it")
    if record.first_sent_at is None or record.last_sent_at is None or may_resend(record, now, policy):
        return _release(case, event, "not sent yet", back=True, due=now)
    settled_down = record.last_sent_at + policy.grace
    if now < settled_down:
        return _release(case, event, "gateway does not know it yet", back=True, due=settled_down)
    return _review(case, record, event.by, "gateway knows nothing of it and its key window is over")


def _redrive(case: _Case, event: Redrive) -> Transaction:
    by, approved_by = words(event.by.strip(), MAX_NAME), words(event.approved_by.strip(), MAX_NAME)
    why = redact(words(event.why.strip()))
    if not by or not approved_by or not why:
        raise Refused("a redrive names who asks, who approves, and why")
    if by.casefold() == approved_by.casefold():
        raise Refused(f"a redrive needs two people: {by} can't approve what {by} asked for")
    return _moved(
        case.record,
        case.now,
        by,
        Status.PENDING,
        f"redrive approved by {approved_by}: {why}",
        attempt=0,
        next_attempt_at=case.now,
        deadline=case.now + case.policy.review_within,
        reason=None,
        owner=None,
        review_by=None,
    )


# --- how a record moves ----------------------------------------------------------------------------------------------


def _moved(
    record: Transaction,
    at: datetime,
    by: str,
    to: Status,
    why: str,
    *,
    attempt: int | None = None,
    token: str | None = None,
    **changes: Any,
) -> Transaction:
    """`record` in state `to`, one version on, with the line of history that says so."""
    attempt = record.attempt if attempt is None else attempt
    entry = HistoryEntry(at, by, record.status, to, attempt, token or record.token, why)
    return record._replace(
        status=to,
        attempt=attempt,
        token=token,
        version=record.version + 1,
        history=(*record.history, entry),
        **changes,
    )


def _review(case: _Case, record: Transaction, by: str, why: str, **changes: Any) -> Transaction:
    policy = case.policy
    return _moved(
        record,
        case.now,
        by,
        Status.REVIEW,
        why,
        next_attempt_at=None,
        lease_until=None,
        reason=why,
        owner=policy.review_owner,
        review_by=case.now + policy.review_within,
        **changes,
    )


def _release(
    case: _Case, event: Answer, why: str, *, back: bool, due: datetime | None, sent: bool = False
) -> Transaction:
    """Back to PENDING, due at `due` (at the deadline at the latest, where the end is decided).

    `back` gives the attempt back; `sent` says that this very attempt may have reached the gateway.
    """
    record = _sent(case, sent)
    late = max(record.deadline, case.now + timedelta(milliseconds=1))
    return _moved(
        record,
        case.now,
        event.by,
        Status.PENDING,
        why,
        attempt=record.attempt - 1 if back else record.attempt,
        next_attempt_at=None if due is None else utc(min(due, late)),
        lease_until=None,
        reason=why,
    )


def _sent(case: _Case, sent: bool) -> Transaction:
    """The record with what is known of its sending: now, or (if no earlier attempt sent either) never."""
    record = case.record
    if sent:
        return record._replace(last_sent_at=case.now)
    return record if record.sent_earlier else record._replace(first_sent_at=None)
