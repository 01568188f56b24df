"""The ways out of REVIEW, each an event of the table of transitions: what two people may decide, and by which evidence.

`off_desk(record, event, ...)` says what becomes of the record, or refuses. Pure: no clock, no I/O. That they are two
people, and what each has seen, is the matter of workers/domain/desk.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from workers.domain.causes import Because, Cause, because
from workers.domain.redaction import redact
from workers.domain.text import MAX_APPROVAL, MAX_NAME, words
from workers.domain.transaction import MOST_KEYS, Status, Transaction, to_text


class Refused(Exception):  # noqa: N818 - the word for it: the table refuses the event
    """The event is not allowed in this state; nothing changes."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What proves a decision: where it was seen, and under which name there."""

    source: str
    """The gateway's console, a bank statement, a line of a reconciliation."""
    reference: str
    amount: int | None = None
    """What moved, in minor units; None where nothing did, or each of a list has moved its own amount."""
    currency: str | None = None

    def __str__(self) -> str:
        moved = "" if self.amount is None else f" says {self.amount} {self.currency}"
        return f"{self.source} {self.reference}{moved}"


@dataclass(frozen=True, slots=True)
class DeskExit:
    """What one person asked for at a desk, and another has approved."""

    by: str
    approved_by: str
    why: str


@dataclass(frozen=True, slots=True)
class Redrive(DeskExit):
    """Back to PENDING: it is asked about, and sent again where that can be no second effect."""


@dataclass(frozen=True, slots=True)
class AskNow(DeskExit):
    """To PENDING for a question alone: only evidence ends it, else it is back on the desk by the deadline it has."""


@dataclass(frozen=True, slots=True)
class Proven(DeskExit):
    """An exit that evidence stands for."""

    evidence: Evidence


@dataclass(frozen=True, slots=True)
class ResolveDone(Proven):
    """It was done, with the right amount."""


@dataclass(frozen=True, slots=True)
class AcceptAmount(Proven):
    """It was done, with another amount, and that is accepted: the record says what moved."""


@dataclass(frozen=True, slots=True)
class ResolveRefused(Proven):
    """The gateway refused it: nothing has moved, and nothing will."""


@dataclass(frozen=True, slots=True)
class Cancel(DeskExit):
    """Nothing was sent, or nothing will come of it: it ends here."""

    evidence: Evidence | None
    """None where the record itself proves that it was never sent."""


@dataclass(frozen=True, slots=True)
class NewKey(Proven):
    """To PENDING under a new idempotency key, since the old ones had no effect. All are asked about from then on."""


class Off(NamedTuple):
    """How a record leaves the desk."""

    to: Status
    said: Because
    changes: Mapping[str, Any]


class Rules(NamedTuple):
    """What of the policy counts here."""

    settles_within: timedelta
    """After the last possible send: by then its effect shows, or there is none. A worker that stood still may have sent
    a lease later, and its call takes its time."""
    resent_within: timedelta
    """Of the first possible send: later no worker sends it again under the same key."""
    review_within: timedelta
    only_ask: bool


_OFF_DESK: Mapping[str, Any] = {"reason": None, "owner": None, "review_by": None, "desk_by": None}
_AGAIN: Mapping[str, Any] = {**_OFF_DESK, "attempt": 0, "tries": 0, "asked": 0, "lost": 0, "away_since": None}


def off_desk(record: Transaction, event: DeskExit, now: datetime, rules: Rules) -> Off:
    """What becomes of `record`, which is in REVIEW.

    Raises:
        Refused: says what is missing.
    """
    said = _Said(record, _people(event), redact(words(event.why.strip()), record.account))
    if not said.why:
        raise Refused("an exit from REVIEW says why")
    match event:
        case Redrive():
            return _redriven(record, now, rules, said.because(Cause.REDRIVEN))
        case AskNow():
            return _to_be_asked(record, now, said.because(Cause.TO_BE_ASKED))
        case NewKey(evidence=evidence):
            return _under_new_key(record, now, rules, evidence, said)
        case ResolveDone(evidence=evidence):
            return _done(record, now, evidence, said)
        case AcceptAmount(evidence=evidence):
            return _done_otherwise(record, now, evidence, said)
        case ResolveRefused(evidence=evidence):
            _nothing_moved(record, now, rules, evidence)
            return _ended(now, Status.REJECTED, said.because(Cause.RESOLVED_REFUSED, evidence))
        case Cancel(evidence=evidence):
            if evidence is None and _possibly_sent(record):
                raise Refused(
                    f"{record.id} may have been sent at {to_text(record.last_sent_at or now)}: to cancel it takes "
                    "evidence that nothing will come of it (--source, --reference)"
                )
            _nothing_moved(record, now, rules, evidence)
            return _ended(now, Status.REJECTED, said.because(Cause.CANCELLED, evidence))
    raise Refused(f"{type(event).__name__} is no exit from REVIEW")


def _people(event: DeskExit) -> str:
    by, approved_by = words(event.by.strip(), MAX_NAME), words(event.approved_by.strip(), MAX_APPROVAL)
    if not by or not approved_by:
        raise Refused("an exit from REVIEW names who asks and who approves")
    if by.casefold() == approved_by.casefold():
        raise Refused(f"it takes two people: {by} can't approve what {by} asked for")
    return approved_by


def _possibly_sent(record: Transaction) -> bool:
    return record.first_sent_at is not None or record.last_sent_at is not None


def _nothing_moved(record: Transaction, now: datetime, rules: Rules, evidence: Evidence | None) -> None:
    """What was possibly sent a moment ago may still have its effect, whatever anybody has seen by now."""
    if evidence and (evidence.amount is not None or evidence.currency is not None):
        raise Refused("evidence that nothing moved has no amount and no currency; where money moved, it was done")
    if record.gateway_reference is not None:
        raise Refused(
            f"{record.id}: the gateway says that money moved: resolve it with what moved; where that was sent back, it "
            "was done, and refunded after that"
        )
    if record.last_sent_at is not None and now < (settled := record.last_sent_at + rules.settles_within):
        raise Refused(
            f"{record.id} may have been sent at {to_text(record.last_sent_at)}, and its effect may show until "
            f"{to_text(settled)}: decide it then"
        )
    if rules.only_ask:
        raise Refused(f"{record.id}: in shadow mode others may still send it; decide that once shadow mode is left")


class _Said(NamedTuple):
    """What the line of history says of an exit."""

    record: Transaction
    people: str
    why: str

    def because(self, cause: Cause, evidence: Evidence | None = None, **more: object) -> Because:
        proof = "its record shows that it was never sent"
        if evidence:
            proof = f"proven by {redact(str(evidence), self.record.account)}"
        return because(cause, approved_by=self.people, proof=proof, reason=self.why, **more)


def _ended(now: datetime, to: Status, said: Because, **changes: Any) -> Off:
    reason = said.sentence if to is Status.REJECTED else None
    return Off(to, said, {**_OFF_DESK, "settled_at": now, "gateway_reference": None, "reason": reason, **changes})


def _done(record: Transaction, now: datetime, evidence: Evidence, said: _Said) -> Off:
    moved = (evidence.amount, evidence.currency)
    if evidence.amount is None and record.gateway_reference is not None:
        raise Refused(f"{record.id}: the gateway says that another amount moved: the evidence has to say which")
    if moved not in ((record.amount, record.currency), (None, None)):
        raise Refused(
            f"{record.id} is of {record.amount} {record.currency}, and the evidence says {evidence.amount} "
            f"{evidence.currency}: accept-amount is the exit for another amount"
        )
    because_ = said.because(Cause.RESOLVED_DONE, evidence)
    return _ended(now, Status.CONFIRMED, because_, gateway_reference=evidence.reference)


def _done_otherwise(record: Transaction, now: datetime, evidence: Evidence, said: _Said) -> Off:
    amount, currency = evidence.amount, evidence.currency
    if not amount or currency is None:
        raise Refused(f"{record.id}: accept-amount says which amount moved; where none did, resolve-refused ends it")
    if (amount, currency) == (record.amount, record.currency):
        raise Refused(f"{record.id} is of just that amount, {amount} {currency}: resolve-done is the exit for it")
    because_ = said.because(Cause.AMOUNT_ACCEPTED, evidence)
    changes = {"gateway_reference": evidence.reference, "moved": amount, "moved_currency": currency}
    return _ended(now, Status.CONFIRMED, because_, **changes)


def _under_new_key(record: Transaction, now: datetime, rules: Rules, evidence: Evidence, said: _Said) -> Off:
    _nothing_moved(record, now, rules, evidence)
    if not _possibly_sent(record):
        raise Refused(f"{record.id} was never sent, so its own key is as good as new: redrive it")
    # A datastore that is set back forgets this key, and would have the old one sent again as long as that is allowed.
    if now < (over := (record.first_sent_at or record.created_at) + rules.resent_within):
        raise Refused(f"{record.id} may be sent again under its own key until {to_text(over)}: redrive it")
    if record.new_keys >= MOST_KEYS:
        raise Refused(
            f"{record.id} has had {MOST_KEYS} new keys: resolve-done, resolve-refused or cancel it, with evidence"
        )
    after = record._replace(new_keys=record.new_keys + 1, first_sent_at=None, last_sent_at=None)
    off = _redriven(after, now, rules, said.because(Cause.NEW_KEY, evidence, number=after.new_keys + 1))
    return off._replace(changes={**off.changes, "new_keys": after.new_keys})


def _redriven(record: Transaction, now: datetime, rules: Rules, said: Because) -> Off:
    """It is asked about first, always: also what the record calls never sent, for a person was needed to look at it."""
    changes = {
        **_AGAIN,
        "next_attempt_at": now,
        "deadline": now + rules.review_within,
        "first_sent_at": record.first_sent_at if _possibly_sent(record) else now,
        "last_sent_at": record.last_sent_at or now,
    }
    return Off(Status.PENDING, said, changes)


def _to_be_asked(record: Transaction, now: datetime, said: Because) -> Off:
    if not _possibly_sent(record):
        raise Refused(f"{record.id} was never sent, so there is nothing to ask about: redrive or cancel it")
    changes = {
        **_OFF_DESK,
        "tries": 0,
        "asked": 0,
        "lost": 0,
        "away_since": None,
        "next_attempt_at": now,
        "last_sent_at": record.last_sent_at or now,
        "desk_by": record.review_by,
    }
    return Off(Status.PENDING, said, changes)
