"""How a transaction's state may change: one pure table, used by every alternative, tool and test.

`decide(record, event, now, policy, chance)` gives the record after the event, with its history, or refuses. It reads
no clock and does no I/O: what to write and under which condition is the store's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from workers.domain.causes import KNOWS_NOTHING, LAST, OUT_OF_REACH, Because, Cause, because
from workers.domain.exits import (
    AcceptAmount,
    AskNow,
    Cancel,
    DeskExit,
    NewKey,
    Redrive,
    Refused,
    ResolveDone,
    ResolveRefused,
    Rules,
    off_desk,
)
from workers.domain.history import with_line
from workers.domain.inlined import inlined
from workers.domain.outcomes import Confirmed, NotFound, NotTried, Outcome, Rejected, Retryable, Unknown
from workers.domain.policy import CLOCKS_APART, LONGEST_LEASE, Policy
from workers.domain.redaction import redact
from workers.domain.rules import broken_rule
from workers.domain.text import MAX_NAME, words
from workers.domain.transaction import HistoryEntry, Status, Transaction, to_text, utc


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
    away: bool = False
    """Whether the gateway could not be asked for `Policy.patience` by now, as this worker has seen it."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """What should be written of it can't be: it must stop nobody else, and a person finds out why."""

    by: str
    because: Because


Event = Claim | Answer | SetAside | DeskExit

LEAST_TRIES = 3
"""One question that fails is no end, however late it is."""
_PROCESSING, _CONFIRMED = Status.PROCESSING, Status.CONFIRMED  # looked up once: up to Python 3.11 that is slow
_BY_CALL, _BY_QUESTION = because(Cause.CONFIRMED), because(Cause.ALREADY_DONE)

TABLE: tuple[tuple[Status, type[Event], Status, str], ...] = (
    (Status.PENDING, Claim, Status.PROCESSING, "due"),
    (Status.PENDING, Claim, Status.REVIEW, "never sent, and attempts used up or deadline passed"),
    (Status.PROCESSING, Claim, Status.PROCESSING, "lease expired: taken over"),
    (Status.PROCESSING, Claim, Status.REVIEW, "lease expired, once too often"),
    (Status.PROCESSING, Answer, Status.CONFIRMED, "evidence: done, with the right amount"),
    (Status.PROCESSING, Answer, Status.REJECTED, "evidence: refused"),
    (Status.PROCESSING, Answer, Status.PENDING, "no evidence yet: try or ask later"),
    (Status.PROCESSING, Answer, Status.REVIEW, "no evidence in time, or another amount moved"),
    (Status.PENDING, SetAside, Status.REVIEW, "the datastore refuses what a claim writes"),
    (Status.PROCESSING, SetAside, Status.REVIEW, "the datastore refuses what happened"),
    (Status.REVIEW, Redrive, Status.PENDING, "to be asked about, and sent again where that can be no second effect"),
    (Status.REVIEW, AskNow, Status.PENDING, "to be asked about, and not to be sent"),
    (Status.REVIEW, NewKey, Status.PENDING, "evidence that the old keys had no effect: to be sent under a new one"),
    (Status.REVIEW, ResolveDone, Status.CONFIRMED, "evidence that it was done, with the right amount"),
    (Status.REVIEW, AcceptAmount, Status.CONFIRMED, "evidence of another amount, which is accepted"),
    (Status.REVIEW, ResolveRefused, Status.REJECTED, "evidence that it was refused"),
    (Status.REVIEW, Cancel, Status.REJECTED, "never sent, or evidence that nothing will come of it"),
)
"""Every change that may ever happen, and when. CONFIRMED and REJECTED begin no row: they are final. From REVIEW nothing
leads but what one person asked for and another approved."""


class _Case(NamedTuple):
    """One application of the table: what every rule gets to see."""

    record: Transaction
    now: datetime
    policy: Policy
    chance: float

    @property
    def overdue(self) -> bool:
        """Whether it is to come to its end; what is asked about for a desk is, as soon as there is an answer."""
        return self.for_desk or self.now >= self.record.deadline

    @property
    def for_desk(self) -> bool:
        return self.record.desk_by is not None

    @property
    def given_up(self) -> bool:
        """Whether the deadline passed so long ago that a question is not repeated for a gateway that can't be asked."""
        return self.for_desk or self.now >= self.record.deadline + self.policy.patience

    @property
    def unanswered(self) -> bool:
        """Whether nobody could ask for so long, and so often, that a person is to see why: whoever tried, and when."""
        since = self.record.away_since
        enough = self.record.tries + 1 >= LEAST_TRIES
        return enough and since is not None and self.now >= since + self.policy.patience

    @property
    def hopeless(self) -> bool:
        """Whether its own questions have failed so often, and for so long, that a person is to see why."""
        return (
            self.record.tries >= self.policy.most_claims
            and self.now >= self.record.deadline + self.policy.patience + self.policy.review_within
        )

    @property
    def used_up(self) -> bool:
        """Whether no further attempt may be made: from now on it may be asked about, and not be sent."""
        return self.record.attempt >= self.policy.max_attempts

    @property
    def settled_down(self) -> datetime:
        """From when on "not found" means that nothing happened, and no longer that it may still appear."""
        if self.policy.only_ask:  # others may send until the deadline
            return self.record.deadline + self.policy.grace
        return (self.record.last_sent_at or self.now) + self.policy.grace


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
        case ((Status.PENDING | Status.PROCESSING), SetAside(by, reason)):
            return _review(case, doubted(record, now, policy), by, reason)
        case Status.REVIEW, DeskExit():
            return _off_desk(case, event)
    raise Refused(f"{record.id} is {record.status}: {type(event).__name__.lower()} is not possible")


def claimable(record: Transaction, now: datetime, policy: Policy) -> bool:
    """PENDING and due, or PROCESSING under a lease that is over for every clock within the allowed skew.

    What lies further ahead than we ever write was dated by a clock that was wrong, and would wait for it, be it for
    ever: it is not believed. Should it be our own clock that is wrong, hours behind, a lease that stands is taken over.
    Then the fence stops its holder, and whoever took it asks first, waits out the grace period and sends nothing twice.
    """
    if record.status is Status.PENDING:
        due = record.next_attempt_at
        return due is not None and (due <= now or due > now + policy.longest_wait)
    if record.status is Status.PROCESSING:
        until = record.lease_until
        return until is not None and (until + policy.clock_skew < now or until > now + LONGEST_LEASE)
    return False


def is_late(record: Transaction, now: datetime, policy: Policy) -> bool:
    """Whether who can't call the gateway has to see to it all the same.

    It was never sent by its deadline, and goes to a desk; or possibly sent, and `patience` has passed since. One
    question might tell of that, so the record says since when nobody could ask, until that is long ago.
    """
    if record.status is Status.PENDING and not record.sent_earlier and not _others_sent(record, policy):
        return now >= record.deadline
    ends = record.deadline if record.desk_by is None else min(record.deadline, record.desk_by)
    return now >= ends + policy.patience


def may_send(record: Transaction, policy: Policy) -> bool:
    """Whether the holder of this claim may send at all: an attempt was left for it, no desk wants it back unsent, and
    we are the ones who send."""
    return record.attempt <= policy.max_attempts and record.desk_by is None and not policy.only_ask


def may_resend(record: Transaction, now: datetime, policy: Policy) -> bool:
    """After "not found": whether the same key may be sent again.

    Not without an attempt left, not before the grace period is over (the effect may still appear), never past the
    gateway's key window, counted from the first possible send (it would be a second effect), with room for the call and
    for a worker that stands still for a lease before it makes it; never past the deadline.
    """
    if record.last_sent_at is None or not may_send(record, policy):
        return False
    settled_down = record.last_sent_at + policy.grace <= now
    first = _believed(record, now, policy).first_sent_at or record.created_at
    remembered = now + policy.call_timeout + policy.lease < first + policy.key_window
    return settled_down and remembered and now < record.deadline


def recalled(record: Transaction, now: datetime, policy: Policy) -> Transaction:
    """The record whose turn lies further ahead than we ever write: due now. A send that its clock dated ahead, too, is
    written down as far back as it may be, while that can still be seen."""
    return _believed(record, now, policy)._replace(next_attempt_at=utc(now), version=record.version + 1)


def extended(record: Transaction, now: datetime, policy: Policy) -> Transaction:
    """The record with its lease renewed: a heartbeat, not a change of state, so no history and no new version."""
    return record._replace(lease_until=utc(now) + policy.lease)


# --- the rules -------------------------------------------------------------------------------------------------------


def _claim(case: _Case, event: Claim) -> Transaction:
    record, now, policy = case.record, case.now, case.policy
    if not claimable(record, now, policy):
        raise Refused(f"{record.id} is {record.status} and not due")
    crashed = record.status is Status.PROCESSING
    record = _possibly_sent(_believed(record, now, policy), now, policy)
    lost = record.lost + crashed
    if crashed and lost >= policy.most_lost:
        return _review(case, record, event.by, because(Cause.WORKERS_LOST, attempts=lost))
    if record.last_sent_at is None:  # never sent, and that is proven: there is nothing to ask for
        if case.used_up:
            ended = because(Cause.ATTEMPTS_USED_UP, attempts=record.attempt, rest=" without an end")
            return _review(case, record, event.by, ended)
        if case.overdue:
            return _review(case, record, event.by, because(Cause.DEADLINE_PASSED, rest=" before it could be sent"))
    return _moved(
        record,
        now,
        event.by,
        Status.PROCESSING,
        because(Cause.TAKEN_OVER if crashed else Cause.CLAIMED),
        # the attempt of a lost worker goes on: nobody knows whether it was made, and `lost` counts those
        attempt=max(min(record.attempt, policy.most_claims) + (not crashed), 1),
        token=event.token,
        next_attempt_at=min(record.next_attempt_at or now, now),
        lease_until=now + policy.lease,
        # what was sent, nobody says since when, may have been at any time
        first_sent_at=record.first_sent_at or (record.created_at if record.last_sent_at else now),
        tries=record.tries + crashed,
        lost=lost,
        reason=None,
    )


def _possibly_sent(record: Transaction, now: datetime, policy: Policy) -> Transaction:
    """The record as whoever claims it must see it: with the time until which others may have sent, if any may have.

    Only a record that says nothing of sending, in a state that needs no takeover, is never sent. Whatever else was
    written (by a version before this one, by a restore) is taken for possibly sent.
    """
    if policy.only_ask:
        return doubted(record, now, policy)
    if record.status is Status.PROCESSING:
        # Whoever held it may have sent until its lease ended, and said nothing since.
        record = record._replace(last_sent_at=record.lease_until)
    elif record.sent_earlier:
        record = record._replace(last_sent_at=record.last_sent_at or now)
    if policy.others_until is None or not _others_sent(record, policy):
        return record
    own = record.last_sent_at  # an attempt of ours since then is not forgotten
    record = doubted(record, min(policy.others_stopped or policy.others_until, now), policy)
    return record._replace(last_sent_at=max(time for time in (own, record.last_sent_at) if time))


def _believed(record: Transaction, now: datetime, policy: Policy) -> Transaction:
    """The record without a first send that lies ahead of now: that was dated by a clock that was wrong, and the key
    window would be counted from there. It may have been at any time since the record came about."""
    first = record.first_sent_at
    if first is None or first <= now + policy.clock_skew:
        return record
    times = (record.created_at, _arrived(record), now)
    return record._replace(first_sent_at=utc(min(time for time in times if time)))


def _others_sent(record: Transaction, policy: Policy) -> bool:
    """Whether others may have sent it: in shadow mode, and what came about, or in, before that was left.

    Where its history does not say when it came in, that may have been before. And by a clock that was ahead of that of
    whoever left shadow mode it may say that it was after.
    """
    if policy.only_ask or policy.others_until is None:
        return policy.only_ask
    if record.new_keys:  # others know nothing of that key
        return False
    arrived = _arrived(record)
    return arrived is None or min(arrived, record.created_at) <= policy.others_until + CLOCKS_APART


def _arrived(record: Transaction) -> datetime | None:
    """When it came in: `created_at` is what its producer says of it."""
    first = record.history[0] if record.history else None
    return first.at if first and first.was is None and first.now is Status.PENDING else None


def doubted(record: Transaction, now: datetime, policy: Policy) -> Transaction:
    """The record, of which somebody else may have sent at any time since it came about: it is asked before it is sent.

    So it is in shadow mode, and after a restore: what became of it since then, the gateway alone knows. What was
    brought in again after a restore may say that it was created now, so there the moment of the restore counts too.
    """
    now = utc(now)
    times = (record.first_sent_at, record.created_at, _arrived(record), policy.restored_to, now)
    return record._replace(first_sent_at=utc(min(time for time in times if time)), last_sent_at=now)


@inlined
def _confirmed(record: Transaction, event: Answer, now: datetime) -> Transaction | None:
    """CONFIRMED, if the answer is the evidence for it: done, with the right amount. As `_moved`, in half the time."""
    outcome = event.outcome
    if not isinstance(outcome, Confirmed):
        return None
    if outcome.amount != record.amount or outcome.currency != record.currency:
        return None
    cause, why = _BY_QUESTION if event.asked else _BY_CALL
    line = HistoryEntry(
        at=now,
        by=event.by,
        was=record.status,
        now=_CONFIRMED,
        attempt=record.attempt,
        token=record.token,
        why=why,
        times=1,
        since=None,
        cause=cause,
    )
    return record._replace(
        status=_CONFIRMED,
        next_attempt_at=None,
        lease_until=None,
        token=None,
        settled_at=now,
        gateway_reference=outcome.reference,
        reason=None,
        owner=None,
        review_by=None,
        desk_by=None,
        version=record.version + 1,
        history=(*record.history, line),
    )


def _answer(case: _Case, event: Answer) -> Transaction:
    record, now, policy, outcome = case.record, case.now, case.policy, event.outcome
    match outcome:
        case Confirmed(reference, amount, currency):  # another amount: `_confirmed` has taken the rest
            moved, expected = f"{amount} {currency}", f"{record.amount} {record.currency}"
            other = because(Cause.AMOUNT_MISMATCH, moved=moved, expected=expected)
            return _review(case, _sent(case, sent=True), event.by, other, gateway_reference=reference)
        case Rejected(reason):
            reason = redact(reason, record.account)
            return _moved(
                record,
                now,
                event.by,
                Status.REJECTED,
                because(Cause.REFUSED, reason=reason),
                next_attempt_at=None,
                lease_until=None,
                settled_at=now,
                gateway_reference=None,
                reason=reason,
                desk_by=None,
            )
        case Retryable(reason, counts, cause):
            return _retry(case, event, because(cause, reason=redact(reason, record.account)), counts=counts, sent=False)
        case Unknown(reason):
            unknown = because(Cause.UNKNOWN_OUTCOME, reason=redact(reason, record.account))
            return _retry(case, event, unknown, counts=True, sent=not event.asked)
        case NotTried(cause, unreachable=True) if record.sent_earlier and case.given_up:
            if event.away or case.unanswered:
                rest = f"{_asked(case)}{OUT_OF_REACH}"
                late = _for_desk(case, rest) or because(Cause.DEADLINE_PASSED, rest=f"; {rest}")
                return _review(case, record, event.by, late, attempt=record.attempt - 1)
            again = now + policy.backoff(record.tries + 1, case.chance)
            return _release(case, event, because(cause), back=True, due=again, tried=True)
        case NotTried(cause, wait=wait):
            due = now + wait if wait else record.next_attempt_at
            return _release(case, event, because(cause), back=True, due=_by_deadline(case, due))
        case NotFound() if event.asked:
            return _not_found(case, event)
        case NotFound():
            unknown = because(Cause.UNKNOWN_OUTCOME, reason="a call was answered 'not found'")
            return _retry(case, event, unknown, counts=True, sent=True)


def _retry(case: _Case, event: Answer, reason: Because, *, counts: bool, sent: bool) -> Transaction:
    """No end yet. What may have been sent is asked about, until the deadline and after it until a question has got
    through or nobody could be asked for long, LEAST_TRIES times at least; what was not is tried again, until the
    deadline or as long as there are attempts."""
    counts = counts and not event.asked  # a question has no effect, so it costs no attempt
    if not sent and not _asks_again(case, event) and (case.overdue or (counts and case.used_up)):
        rest = f"{_asked(case, event)}{LAST}{reason.sentence}"
        over = Cause.DEADLINE_PASSED if case.overdue else Cause.ATTEMPTS_USED_UP
        ended = _for_desk(case, rest) or because(over, attempts=case.record.attempt, rest=f"; {rest}")
        attempt = case.record.attempt - (not counts)
        return _review(case, _sent(case, sent=False), event.by, ended, attempt=attempt)
    due = case.now + case.policy.backoff(case.record.tries + 1, case.chance)
    return _release(case, event, reason, back=not counts, due=_by_deadline(case, due), sent=sent, tried=True)


def _asks_again(case: _Case, event: Answer) -> bool:
    """Whether a question that brought no evidence is repeated past the deadline."""
    if not event.asked:
        return False
    enough = case.record.tries + 1 >= LEAST_TRIES
    given_up = case.given_up and (event.away or case.unanswered or case.hopeless)
    return not (enough and (_was_asked(event) or given_up))


def _not_found(case: _Case, event: Answer) -> Transaction:
    now, policy = case.now, case.policy
    if case.record.last_sent_at and case.record.last_sent_at > now + policy.clock_skew:
        # by a clock that was ahead: it was sent before now, so the grace period begins now and not when that time comes
        case = case._replace(record=case.record._replace(last_sent_at=now))
    record = case.record
    if now < case.settled_down and not (case.for_desk and policy.only_ask):  # others may send for long; a desk is told
        due = case.settled_down
        if policy.only_ask:
            due = min(due, now + policy.backoff(record.tries + 1, case.chance))
        return _release(case, event, because(Cause.NOT_FOUND_YET), back=True, due=due, tried=True)
    if case.overdue:
        rest = f"{_asked(case, event)}{KNOWS_NOTHING}"
        ended = _for_desk(case, rest) or because(Cause.DEADLINE_PASSED, rest=f"; {rest}")
    elif not may_send(record, policy):
        rest = f"; {KNOWS_NOTHING}"
        ended = because(Cause.ATTEMPTS_USED_UP, attempts=policy.max_attempts, rest=rest)
    elif may_resend(record, now, policy):
        return _release(case, event, because(Cause.RESEND), back=True, due=now, tried=True)
    else:
        ended = because(Cause.KEY_WINDOW_OVER)
    return _review(case, record, event.by, ended, attempt=record.attempt - 1)


def _for_desk(case: _Case, rest: str) -> Because | None:
    """What a desk hears that has asked; None where none has."""
    return because(Cause.ASKED, rest=rest) if case.for_desk else None


def _was_asked(event: Answer) -> bool:
    """Whether the gateway had a question, and a chance to answer it: one that was refused on the way is none."""
    return event.asked and isinstance(event.outcome, Unknown | NotFound)


def _asked(case: _Case, event: Answer | None = None) -> str:
    """How often it was asked, since when, and when last: what a person wants to know who is to find out more."""
    now = event is not None and _was_asked(event)
    times = case.record.asked + now
    if not times:
        return ""
    since = to_text(case.record.last_sent_at or case.now)
    last = f", last at {to_text(case.now)}" if now else ""
    return f"asked {times} time{'s' if times > 1 else ''} since {since}{last}; "


def _off_desk(case: _Case, event: DeskExit) -> Transaction:
    policy = case.policy
    settles_within = policy.lease + policy.call_timeout + policy.grace
    resent_within = policy.key_window - policy.call_timeout - policy.lease  # as `may_resend` has it
    rules = Rules(settles_within, resent_within, policy.review_within, policy.only_ask)
    to, said, changes = off_desk(case.record, event, case.now, rules)
    after = _moved(case.record, case.now, words(event.by.strip(), MAX_NAME), to, said, **changes)
    if broken := broken_rule(after):  # nobody could read it any more
        raise Refused(f"{case.record.id} can't be left so: {broken}")
    return after


# --- how a record moves ----------------------------------------------------------------------------------------------


def _moved(
    record: Transaction,
    at: datetime,
    by: str,
    to: Status,
    said: Because,
    *,
    attempt: int | None = None,
    token: str | None = None,
    **changes: Any,
) -> Transaction:
    """`record` in state `to`, one version on, with the line of history that says so."""
    attempt = record.attempt if attempt is None else attempt
    cause, why = said
    entry = HistoryEntry(
        at=at,
        by=by,
        was=record.status,
        now=to,
        attempt=attempt,
        token=token or record.token,
        why=why,
        cause=cause,
    )
    return record._replace(
        status=to,
        attempt=attempt,
        token=token,
        version=record.version + 1,
        history=with_line(record.history, entry),
        **changes,
    )


def _review(case: _Case, record: Transaction, by: str, said: Because, **changes: Any) -> Transaction:
    policy = case.policy
    return _moved(
        record,
        case.now,
        by,
        Status.REVIEW,
        said,
        next_attempt_at=None,
        lease_until=None,
        reason=said.sentence,
        owner=policy.review_owner,
        review_by=record.desk_by or case.now + policy.review_within,
        desk_by=None,
        **changes,
    )


def _release(
    case: _Case,
    event: Answer,
    said: Because,
    *,
    back: bool,
    due: datetime | None,
    sent: bool = False,
    tried: bool = False,
) -> Transaction:
    """Back to PENDING, due at `due`.

    `back` leaves the attempt uncounted; `sent` says that this very attempt may have reached the gateway; `tried` that
    there was a call, or the try of one: the wait before the next grows.
    """
    record = _sent(case, sent=sent)
    return _moved(
        record,
        case.now,
        event.by,
        Status.PENDING,
        said,
        attempt=record.attempt - 1 if back else record.attempt,
        tries=record.tries + tried,
        lost=0 if tried and not isinstance(event.outcome, NotTried) else record.lost,
        away_since=_away_since(case, event, tried=tried),
        asked=record.asked + (tried and _was_asked(event)),
        next_attempt_at=None if due is None else utc(due),
        lease_until=None,
        reason=said.sentence,
    )


def _away_since(case: _Case, event: Answer, *, tried: bool) -> datetime | None:
    """What the record says of a gateway that could not be asked about it, after this try."""
    since = case.record.away_since
    if not tried or not case.given_up:
        return since
    reached = _was_asked(event) if event.asked else not isinstance(event.outcome, NotTried)
    return None if reached else min(since or case.now, case.now)


def _by_deadline(case: _Case, due: datetime | None) -> datetime | None:
    """`due`, or the deadline where that is earlier: the end is decided then."""
    return due if due is None or case.overdue else min(due, case.record.deadline)


def _sent(case: _Case, *, sent: bool) -> Transaction:
    """The held record with what is known of its sending now: possibly just now (`sent`), or not by this attempt, which
    leaves what was known before it: possibly by an earlier one, or never."""
    record = case.record
    if sent:
        return record._replace(last_sent_at=case.now)
    return record if record.sent_earlier else record._replace(first_sent_at=None)
