"""Why a transaction is where it is, what that means, what to do and who may: one table; the first row that fits
counts.

`confirm why` and `confirm diagnose` print it, and the runbooks are written of it. Pure: no clock, no I/O. It decides
nothing: each exit that it names still takes the people and the evidence that workers/domain/exits.py asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from workers.domain.causes import KNOWS_NOTHING, LAST, OUT_OF_REACH, SENTENCES, TROUBLES, Cause
from workers.domain.confirming import is_suspect
from workers.domain.desk import EXITS
from workers.domain.policy import LONGEST_LEASE, Policy
from workers.domain.transaction import MOST_KEYS, Status, Transaction
from workers.domain.transitions import is_late

KEY_ENDS_SOON = timedelta(hours=2)
"""Two people need some time: with less left of the key window, the request is urgent."""


class Heard(StrEnum):
    """What the gateway said last, as far as the record knows it."""

    OTHER_AMOUNT = "moved another amount"
    NOTHING_OF_IT = "knows nothing of it"
    OUT_OF_REACH = "could not be asked"
    CREDENTIALS = "refused our credentials"
    UNKNOWN = "gave no evidence"
    NOT_NOW = "did nothing that time"
    NOTHING = "nothing, or the record does not say"


class Who(StrEnum):
    """Who may do it."""

    NOBODY = "nobody has to"
    CHECKER = "a checker alone; of others it becomes a request"
    TWO = "a maker asks, another person as checker approves"
    ADMINISTRATOR = "who administers the stack"


@dataclass(frozen=True, slots=True)
class Case:
    """A record at a moment, and all that the rows ask of it."""

    record: Transaction
    policy: Policy
    now: datetime
    cause: Cause | None
    """Of its present state: a record that was found without its history has none in itself."""

    @property
    def on_desk(self) -> bool:
        return self.record.status is Status.REVIEW

    @property
    def waits(self) -> bool:
        return self.record.status is Status.PENDING

    @property
    def held(self) -> bool:
        return self.record.status is Status.PROCESSING

    @property
    def origin(self) -> Cause | None:
        """What put it on the desk, before a desk had it asked about."""
        if self.cause is not Cause.ASKED:
            return self.cause
        before = (line.cause for line in reversed(self.record.history) if line.now is Status.REVIEW)
        return next((cause for cause in before if cause is not Cause.ASKED), None)

    @property
    def heard(self) -> Heard:
        if self.cause is Cause.KEY_WINDOW_OVER:
            return Heard.NOTHING_OF_IT
        if not self.on_desk or self.cause not in (Cause.DEADLINE_PASSED, Cause.ATTEMPTS_USED_UP, Cause.ASKED):
            return Heard.NOTHING
        ours, last, theirs = (self.record.reason or "").partition(LAST)
        if last:
            return _of_trouble(self.record, theirs)
        if ours.endswith(KNOWS_NOTHING):
            return Heard.NOTHING_OF_IT
        return Heard.OUT_OF_REACH if ours.endswith(OUT_OF_REACH) else Heard.NOTHING

    @property
    def moved_otherwise(self) -> bool:
        """Whether the gateway has ever said that another amount moved. What it says later takes that back for nobody:
        only evidence of another kind does."""
        return self.on_desk and (self.origin is Cause.AMOUNT_MISMATCH or self.record.gateway_reference is not None)

    @property
    def sent(self) -> bool:
        """Whether it may have been sent; else its record proves that it was not."""
        return self.record.first_sent_at is not None or self.record.last_sent_at is not None

    @property
    def may_still_show(self) -> bool:
        """Whether the effect of a send may still be on its way (as workers/domain/exits.py has it)."""
        last, policy = self.record.last_sent_at, self.policy
        return last is not None and self.now < last + policy.lease + policy.call_timeout + policy.grace

    @property
    def key_left(self) -> timedelta:
        """For how long it may still be sent under its key; nothing, or less, where it may not."""
        policy = self.policy
        first = self.record.first_sent_at or self.record.created_at
        return first + policy.key_window - policy.call_timeout - policy.lease - self.now

    @property
    def desk_overdue(self) -> bool:
        return self.record.review_by is not None and self.now >= self.record.review_by

    @property
    def late(self) -> bool:
        return is_late(self.record, self.now, self.policy)

    @property
    def left_lying(self) -> bool:
        """Whether its turn, or the end of its lease, is so long ago that workers should have come to it since."""
        since = self.record.lease_until if self.held else self.record.next_attempt_at
        return since is not None and self.now > since + self.policy.longest_wait

    @property
    def lease_stands(self) -> bool:
        until = self.record.lease_until
        return until is not None and self.now <= until + self.policy.clock_skew and until <= self.now + LONGEST_LEASE


def _of_trouble(record: Transaction, theirs: str) -> Heard:
    """By the history, where its last trouble is the one that the reason ends with."""
    if theirs.startswith(SENTENCES[Cause.UNKNOWN_OUTCOME].partition("{")[0]):
        return Heard.UNKNOWN
    last = next((line for line in reversed(record.history) if line.cause in TROUBLES), None)
    if last and last.why == theirs and last.cause is Cause.KEY_REFUSED:
        return Heard.CREDENTIALS
    return Heard.NOT_NOW


@dataclass(frozen=True, slots=True)
class Cell:
    """A row of the table."""

    name: str
    fits: Callable[[Case], bool]
    when: str
    """The same in words; of what no row before it has taken."""
    means: str
    todo: str
    exits: tuple[str, ...] = ()
    """Ways off the desk (of `EXITS`) that the rules allow it; the first is the one to take, where nothing else is
    known."""
    who_else: Who = Who.NOBODY
    """Who may, where it takes no exit."""

    @property
    def who(self) -> Who:
        if not self.exits:
            return self.who_else
        return Who.CHECKER if EXITS[self.exits[0]].alone else Who.TWO


_PEOPLE = (Cause.RESOLVED_DONE, Cause.RESOLVED_REFUSED, Cause.CANCELLED)
_ADMIN = Who.ADMINISTRATOR
_RATES = (Cause.THROTTLED, Cause.RATE_LIMITED)
_AWAY = (Cause.BREAKER_OPEN, Cause.NOT_SENT)
_KEYS = (Cause.KEY_REFUSED, Cause.KEY_MISSING)

FINAL: tuple[Cell, ...] = (
    Cell("ended-with-another-amount", lambda c: c.record.moved is not None,
         "CONFIRMED, and another amount was accepted",
         "The gateway moved another amount than was ordered, and two people have accepted it.",
         "Nothing. Reconciliation goes by what moved."),
    Cell("ended-by-people", lambda c: c.record.status.is_final and c.cause in _PEOPLE,
         "final, by a desk",
         "Two people have ended it, by evidence that its history names.",
         "Nothing. Its history says who, why and by which evidence."),
    Cell("done-before-it-was-asked", lambda c: c.record.status is Status.CONFIRMED and c.cause is Cause.ALREADY_DONE,
         "CONFIRMED, by a question",
         "An earlier call had done it; a question about it found that out. Its effect happened once.",
         "Nothing."),
    Cell("done", lambda c: c.record.status is Status.CONFIRMED,
         "CONFIRMED", "The gateway did it, with the amount that was ordered.", "Nothing."),
    Cell("refused", lambda c: c.record.status is Status.REJECTED,
         "REJECTED", "The gateway refused it for good: nothing moved, and nothing will.",
         "Nothing here. Who still wants it paid brings it in under a new id."),
)  # fmt: skip

OPEN: tuple[Cell, ...] = (
    Cell("with-a-worker", lambda c: c.held and c.lease_stands,
         "PROCESSING, its lease stands", "A worker has it right now.",
         "Nothing: look again when its lease is over."),
    Cell("nobody-takes-over", lambda c: c.held and c.left_lying,
         "PROCESSING, its lease was over long ago",
         "Its worker is gone, and none has taken over for longer than workers ever wait: no worker comes to it.",
         "See why work stands still (runbook work-stands-still). It is asked about before anything is sent.",
         who_else=_ADMIN),
    Cell("to-be-taken-over", lambda c: c.held,
         "PROCESSING, its lease is over",
         "Its worker came to an end before it said what became of it.",
         "Nothing: the next worker takes it over, and asks the gateway first."),
    Cell("asked-for-a-desk", lambda c: c.waits and c.record.desk_by is not None and not c.left_lying,
         "PENDING, a desk has it asked about",
         "It is asked about, and not sent. Without evidence it is back on the desk, with the deadline that it had.",
         "Nothing: look again in some minutes."),
    Cell("late-and-left-lying", lambda c: c.waits and c.left_lying and c.late,
         "PENDING past its deadline, its turn was long ago",
         "It is late, and no worker has come to it for longer than workers ever wait.",
         "See why work stands still (runbook work-stands-still): no exit is needed, the next worker ends it or puts it "
         "on the desk.", who_else=_ADMIN),
    Cell("left-lying", lambda c: c.waits and c.left_lying,
         "PENDING, its turn was long ago",
         "No worker has come to it for longer than workers ever wait: there are too few, or none.",
         "See what the workers do (runbook transactions-late).", who_else=_ADMIN),
    Cell("late-never-sent", lambda c: c.waits and c.late and not c.sent,
         "PENDING past its deadline, proven never sent",
         "It could not be sent in time, and is sent no more.",
         "Nothing: the next worker puts it on the desk."),
    Cell("late-and-asked-about", lambda c: c.waits and c.late,
         "PENDING long past its deadline, possibly sent",
         "It may have been sent, and no question has brought evidence since. It is asked about until one gets through.",
         "See whether the gateway answers (runbook gateway-down). It comes to the desk by itself when nobody can ask.",
         who_else=_ADMIN),
    Cell("waits-for-credentials", lambda c: c.waits and c.cause in _KEYS,
         "PENDING, our credentials were refused or are not there",
         "The gateway does not take our credentials, or no worker has read them. No attempt was counted.",
         "Mend the gateway's key (runbook gateway-errors); then it goes on by itself.", who_else=_ADMIN),
    Cell("waits-for-the-gateway", lambda c: c.waits and c.cause in _AWAY,
         "PENDING, the gateway can't be reached",
         "The gateway can't be reached just now. No attempt was counted.",
         "Nothing, as long as it is short; else runbook gateway-down."),
    Cell("waits-for-the-rate", lambda c: c.waits and c.cause in _RATES,
         "PENDING, too many calls",
         "The gateway, or our own limit, lets through fewer calls than there is work.",
         "Nothing. Where that lasts, agree on a higher rate with the gateway."),
    Cell("suspected", lambda c: c.waits and (c.cause is Cause.SUSPECTED or is_suspect(c.record)),
         "PENDING, workers were lost with it",
         "Workers came to an end while they had it, so it is called with nothing else beside it.",
         "See what ended them (runbooks functions and tasks). It comes to the desk if that goes on.", who_else=_ADMIN),
    Cell("grace-runs", lambda c: c.waits and c.cause is Cause.NOT_FOUND_YET,
         "PENDING, the gateway does not know it yet",
         "It may have been sent a moment ago, and its effect may still show.",
         "Nothing: it is asked about again when the grace period is over."),
    Cell("to-be-sent-again", lambda c: c.waits and c.cause is Cause.RESEND,
         "PENDING, the gateway knows nothing of it",
         "What was sent had no effect, and its key may be sent again: so it will be.", "Nothing."),
    Cell("to-be-asked-about", lambda c: c.waits and c.cause is Cause.UNKNOWN_OUTCOME,
         "PENDING, nobody knows what became of a call",
         "A call, or a question, came back without evidence. It is asked about before anything is sent.", "Nothing."),
    Cell("to-be-tried-again", lambda c: c.waits and c.cause is Cause.NOT_DONE,
         "PENDING, the gateway did nothing that time",
         "The gateway says that nothing was done this time; the same call may succeed later.", "Nothing."),
    Cell("off-the-desk", lambda c: c.waits and c.cause in (Cause.REDRIVEN, Cause.NEW_KEY, Cause.TO_BE_ASKED),
         "PENDING, off the desk",
         "It was decided at a desk that it goes on. The gateway is asked about it first.", "Nothing."),
    Cell("waits-for-its-turn", lambda c: c.waits,
         "PENDING", "It waits for its turn.", "Nothing."),
)  # fmt: skip

_LOOK = "Look for it at the gateway and on the bank's statement, under each of its keys"
_FOUND = "Found there: resolve it as done, with that evidence."

DESK: tuple[Cell, ...] = (
    Cell("canary", lambda c: c.record.is_canary,
         "a canary", "A payment of our own, which is on no desk and in no book.",
         "See docs/canary.md for what it tells. It is forgotten by itself.", who_else=_ADMIN),
    Cell("not-as-we-write-it", lambda c: c.cause is Cause.UNREADABLE,
         "`unreadable`",
         "Something else wrote its record, so nothing that it says is believed. No exit takes it.",
         "Mend the record in the datastore, or restore it; then look again.", who_else=_ADMIN),
    Cell("claim-refused", lambda c: c.origin is Cause.CLAIM_FAILED,
         "`claim-failed`",
         "The datastore refuses what a claim of it writes: its record is not as we write it.",
         "Mend the record first (its reason says which error), or it comes back at once. Then redrive it.",
         ("redrive",)),
    Cell("end-not-written", lambda c: c.origin is Cause.WRITE_FAILED and c.cause is not Cause.ASKED,
         "`write-failed`",
         "A worker had an end for it, and the datastore refused to write it: the effect may well have happened.",
         "Have it asked about: the answer is written anew. If it comes back so, its record has to be mended first.",
         ("ask",)),
    Cell("moved-under-several-keys", lambda c: c.moved_otherwise and c.record.new_keys > 0,
         "`amount-mismatch`, and it has had a new key",
         "Another amount moved than was ordered: under two of its keys, it may be, and then it is the sum of both.",
         f"{_LOOK}. Have the gateway send back what is too much; then accept what is left, with that evidence. Where "
         "that is just what was ordered, resolve it as done.", ("accept-amount", "resolve-done")),
    Cell("moved-another-amount", lambda c: c.moved_otherwise,
         "`amount-mismatch`",
         "The gateway says that it moved another amount, or another currency, than was ordered.",
         "See at the gateway what moved. Accept that, with this evidence; what is lacking, or too much, is another "
         "payment. Where it is what was ordered after all, resolve it as done.", ("accept-amount", "resolve-done")),
    Cell("ends-its-workers", lambda c: c.cause is Cause.WORKERS_LOST,
         "`workers-lost`",
         "Worker after worker came to an end while it had it, the last ones with nothing beside it.",
         "See what ended them (runbooks functions and tasks). Then have it asked about: nothing is sent.", ("ask",)),
    Cell("shadow-never-sent", lambda c: c.policy.only_ask and not c.sent,
         "shadow mode, and never sent by us",
         "Others send in shadow mode, so it may have been sent all the same.",
         "Redrive it: it is asked about, and in shadow mode nothing is sent.", ("redrive",)),
    Cell("shadow", lambda c: c.policy.only_ask,
         "shadow mode",
         "Others send in shadow mode, and may still send it. That it is not there yet proves nothing.",
         "Have it asked about again. Found in the others' book: resolve it as done. The other exits wait until shadow "
         "mode is left.", ("ask", "resolve-done")),
    Cell("never-sent-credentials", lambda c: not c.sent and c.heard is Heard.CREDENTIALS,
         "proven never sent, our credentials were refused",
         "The gateway did not take our credentials until the deadline. Nothing was done.",
         "Mend the gateway's key first (runbook gateway-errors). Then redrive what is still wanted; cancel the rest.",
         ("redrive", "cancel")),
    Cell("never-sent-too-late", lambda c: not c.sent and c.cause is Cause.DEADLINE_PASSED,
         "`deadline-passed`, proven never sent",
         "Its deadline passed before it was sent, or each call was turned away. Nothing was done.",
         "Still wanted: redrive it, it gets a new deadline. Else cancel it; its record is the evidence.",
         ("redrive", "cancel")),
    Cell("never-sent-used-up", lambda c: not c.sent and c.cause is Cause.ATTEMPTS_USED_UP,
         "`attempts-used-up`, proven never sent",
         "Each attempt was answered that nothing was done.",
         "Its reason says what the gateway has against it: mend that. Then redrive it, or cancel it.",
         ("redrive", "cancel")),
    Cell("may-still-show", lambda c: c.sent and c.may_still_show,
         "possibly sent a moment ago",
         "Its effect may still be on its way: that nobody has seen it proves nothing yet.",
         "Wait for a lease, a call's time and the grace period after the last possible send; then have it asked about.",
         ("ask",)),
    Cell("nothing-of-it-key-alive", lambda c: c.heard is Heard.NOTHING_OF_IT and c.key_left > KEY_ENDS_SOON,
         "the gateway knows nothing of it, and it may be sent under its key",
         "What was sent had no effect, and the gateway still remembers its key: the same key is no second effect.",
         "Still wanted: redrive it, it is asked about and sent again. Else cancel it, with what the gateway shows.",
         ("redrive", "cancel")),
    Cell("nothing-of-it-key-ends", lambda c: c.heard is Heard.NOTHING_OF_IT and c.key_left > timedelta(),
         "the same, with less than two hours left",
         "What was sent had no effect, and its key may be sent for less than two hours more.",
         "Redrive it at once, and have it approved at once. Later it takes a new key.", ("redrive", "cancel")),
    Cell("nothing-of-it-no-key-left", lambda c: c.heard is Heard.NOTHING_OF_IT and c.record.new_keys >= MOST_KEYS,
         f"the gateway knows nothing of it, its key window is over, and it has had {MOST_KEYS} new keys",
         "Key after key had no effect: something else is wrong with it.",
         f"{_LOOK}. {_FOUND} Else cancel it, and find out why the gateway never takes it.", ("cancel", "resolve-done")),
    Cell("nothing-of-it-key-over", lambda c: c.heard is Heard.NOTHING_OF_IT,
         "the gateway knows nothing of it, and its key window is over",
         "The gateway may have forgotten its key by now, so that it knows nothing of it is weak evidence.",
         f"{_LOOK}. {_FOUND} No trace of it: send it under a new key, or cancel it.",
         ("new-key", "cancel", "resolve-done")),
    Cell("out-of-reach-overdue", lambda c: c.heard is Heard.OUT_OF_REACH and c.desk_overdue,
         "the gateway could not be asked, and the desk's deadline has passed",
         "Nobody could ask the gateway, and now a person is late too.",
         "Ask the gateway's people, by its case desk or by telephone, and resolve it as they say; they give a number "
         "for it. Where it answers again, have it asked about.", ("ask", "resolve-done", "resolve-refused")),
    Cell("out-of-reach", lambda c: c.heard is Heard.OUT_OF_REACH,
         "the gateway could not be asked",
         "It may have been sent, and the gateway could not be reached for long.",
         "Wait until it answers again (runbook gateway-down), then have it asked about: all of them at once.",
         ("ask",)),
    Cell("credentials", lambda c: c.heard is Heard.CREDENTIALS,
         "possibly sent, our credentials were refused",
         "It may have been sent, and the gateway takes no question from us.",
         "Mend the gateway's key first (runbook gateway-errors), then have it asked about.", ("ask",)),
    Cell("no-evidence-again", lambda c: c.heard is Heard.UNKNOWN and c.cause is Cause.ASKED,
         "asked for a desk, and still no evidence",
         "The gateway answers, and what it says is no evidence, also when a desk asks.",
         f"{_LOOK}. {_FOUND} Refused there: resolve it as refused. To ask again is no harm.",
         ("ask", "resolve-done", "resolve-refused")),
    Cell("no-evidence", lambda c: c.heard is Heard.UNKNOWN,
         "the gateway answered without evidence",
         "It may have been sent, and the gateway's answers prove nothing (time-outs, broken answers).",
         "Have it asked about: by now the gateway may know. What comes back is looked for at the gateway.", ("ask",)),
    Cell("turned-away", lambda c: c.heard is Heard.NOT_NOW,
         "questions were turned away",
         "It may have been sent, and the gateway would not answer the questions about it.",
         "Its reason says why. Have it asked about again; if it stays so, ask the gateway's people.", ("ask",)),
    Cell("possibly-sent", lambda c: c.sent and c.cause is not None,
         "any other, possibly sent",
         "It may have been sent, and its record says no more.", "Have it asked about: nothing is sent.", ("ask",)),
    Cell("cause-not-known", lambda c: True,  # noqa: ARG005
         "its history does not say why, or a newer version wrote it",
         "This version can't tell how it came there.",
         "Read its history and reason. A redrive asks about it first, always.", ("redrive",)),
)  # fmt: skip

TABLE: tuple[Cell, ...] = (*FINAL, *OPEN, *DESK)
"""The first that fits counts; the last one always does."""
BY_NAME: Mapping[str, Cell] = {cell.name: cell for cell in TABLE}


def diagnosed(record: Transaction, policy: Policy, now: datetime, cause: Cause | None = None) -> Cell:
    """The row for `record`; `cause` is that of its present state, where it was found without its history."""
    case = Case(record, policy, now, cause or record.cause)
    return next(cell for cell in TABLE if cell.fits(case))


def wants_history(cause: Cause | None) -> bool:
    """Whether the row hangs on more than a record that was found without its history tells."""
    return cause in (Cause.DEADLINE_PASSED, Cause.ATTEMPTS_USED_UP, Cause.ASKED)


COMMANDS: Mapping[str, str] = {
    "ask": "confirm ask {ids} --why TEXT",
    "redrive": "confirm redrive {ids} --why TEXT",
    "resolve-done": "confirm resolve {ids} --as done --source TEXT --reference TEXT{money} --why TEXT",
    "accept-amount": "confirm resolve {ids} --as other-amount --source TEXT --reference TEXT{money} --why TEXT",
    "resolve-refused": "confirm resolve {ids} --as refused --source TEXT --reference TEXT --why TEXT",
    "cancel": "confirm cancel {ids}{proof} --why TEXT",
    "new-key": "confirm new-key {ids} --source TEXT --reference TEXT --why TEXT",
}
"""By exit; what its reader fills in is in capitals."""


def command(exit_: str, ids: str, *, sent: bool, many: bool = False) -> str:
    """What is typed for that exit of those. Of several, each has moved its own amount, so none is said."""
    proof = " --source TEXT --reference TEXT" if sent else ""
    return COMMANDS[exit_].format(ids=ids, money="" if many else " --amount N --currency CODE", proof=proof)
