"""What must hold while a life is played, whatever strikes: it looks at writes and calls. At the end follow the oracles
of every run (simulation/oracles.py). They share no rule with the core.

Each is proven able to fail by a broken variant (tests/variants).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from simulation.oracles import (
    LEAST,
    Came,
    Effect,
    Finding,
    at_any_time,
    at_end,
    attempts,
    bare_text,
    final_moved,
    long_history,
    secrets_out,
    still_open,
    unfit_words,
)
from simulation.oracles import ORACLES as AT_THE_END
from simulation.texts import SECRETS
from workers.domain.pause import Scope
from workers.domain.policy import Policy
from workers.domain.transaction import Status, Transaction

ORACLES: Mapping[str, str] = {
    **{name: sentence for name, sentence in AT_THE_END.items() if name not in ("open", "starved")},
    "fence": "No write by whoever does not hold it.",
    "two holders": "No claim while a lease stands.",
    "lease": "No call begins that the lease could end in.",
    "shadow": "Nothing is sent in shadow mode.",
    "paused": "Who has looked since people paused everything, calls nobody; since they paused sending, sends nothing.",
    "deadline": "Nothing is sent past its deadline.",
    "put off": "A question puts no desk's deadline off.",
    "asked first": "What may have been sent is asked about before it is sent again.",
    "grace": "No resend before the grace period is over.",
    "key window": "No resend past the key window, counted from the first send, less a lease of room.",
    "heard": "What a worker hears of the gateway's end of it, ends it.",
    "given up": "What may have been sent goes to no desk unasked: not as never sent, nor for want of attempts.",
    "wait": "The more tries without an end, the longer the wait before the next.",
    "receipt": "CONFIRMED has the gateway's own receipt, to the letter.",
    "two people": "Nobody approves what he asked for.",
    "passed over": "Whoever looks for work finds what is due longest, and all of it that he has room for.",
    "neighbour": "What can't be written stops nobody but itself.",
    "locked": "A claim waits for nobody's row.",
    "late result": "A result that comes late is written, as long as nobody else has claimed.",
    "left behind": "Who ends in order ends in time, and holds nothing afterwards.",
    "hidden": "Whoever looks at the desk sees all that lies there.",
    "defect": "Nothing raises what it should not.",
    "liveness": "Once faults have stopped, everything becomes final or reaches a desk, in time.",
}


@dataclass
class Send:
    """One that began, and of which nothing proves that it did nothing."""

    at: datetime


TRIES = frozenset(("unknown-outcome", "not-done", "throttled", "key-refused", "not-sent"))
"""Causes of a wait: there was a call, and no end."""


@dataclass
class Judge:
    policies: Sequence[Policy] = (Policy(),)
    """All that are ever set."""
    violations: list[Finding] = field(default_factory=list)
    unproven: dict[str, list[Send]] = field(default_factory=lambda: defaultdict(list))
    asked: set[tuple[str, str | None]] = field(default_factory=set)
    """Id and token of each claim under which the gateway said that it knows nothing of it."""
    questions: dict[str, bool] = field(default_factory=lambda: defaultdict(bool))
    """Those that a desk has asked about, and does not want sent."""
    unknown: dict[tuple[str, str | None], set[str]] = field(default_factory=lambda: defaultdict(set))
    """The keys of which it said so, claim by claim."""
    seen: tuple[Transaction, ...] = ()
    """What stood at the last look."""
    clocks_off: bool = False
    """Whether clocks may be hours off: then the fence and the gateway's keys hold, and what goes by time may not."""
    ended: set[tuple[str, str | None]] = field(default_factory=set)
    """Id and token of each claim under which the gateway's word for an end was heard."""
    tries: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Without an end, since a person last looked."""
    leases: dict[tuple[str, str | None], datetime | None] = field(default_factory=dict)
    """Of each claim, as it is stored."""
    unfit: set[str] = field(default_factory=set)
    """Those whose record may have no room for what is to be written."""
    receipts: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    paused: tuple[Scope, float] | None = None
    """What people have paused, and since which second."""

    def finds(self, oracle: str, id_: str, found: str) -> None:
        self.violations.append(Finding(oracle, id_, found))

    # --- what the datastore wrote

    def writes(self, who: str, before: Transaction | None, after: Transaction, now: datetime) -> None:
        """A write of one process, right as it happens; a token says whose claim it is of."""
        if before is None or before == after:
            return
        id_ = after.id
        if before.status.is_final:
            self.finds("final moved", id_, f"{before.status} was written again, as {after.status}")
        if before.history != after.history and after.version <= before.version:
            self.finds("fence", id_, f"version {after.version} was written over {before.version}, by {who}")
        if after.token is not None:
            self.leases[id_, after.token] = after.lease_until
        if before.history != after.history and after.history:
            self._moves(before, after)
        if before.status is not Status.PROCESSING:
            return
        left = before.lease_until - now if before.lease_until and not self.clocks_off else timedelta()
        if after.token not in (None, before.token) and left > timedelta():
            self.finds("two holders", id_, f"claimed by {who} with {left} of a lease left")
        elif _owner(before.token) != who and _owner(after.token) != who and left > timedelta():
            self.finds("fence", id_, f"written by {who}, while {before.token} stood")
        elif after.token == before.token and _owner(before.token) != who:
            self.finds("fence", id_, f"renewed by {who}, while {before.token} stood")

    def _moves(self, before: Transaction, after: Transaction) -> None:
        id_, line, hold = after.id, after.history[-1], (after.id, before.token)
        cause = str(line.cause)
        self.questions[id_] = cause == "to-be-asked" or (self.questions[id_] and not after.status.is_final)
        if after.status is Status.REVIEW:
            if before.desk_by not in (None, after.review_by):
                self.finds("put off", id_, f"decide by {after.review_by}, and it was {before.desk_by}")
            self.questions[id_] = False
        if cause == "new-key":  # by evidence that nothing came of what was sent
            self.unproven[id_].clear()
        if after.status is Status.PENDING and before.status is Status.REVIEW:
            self.tries[id_] = 0
        elif after.status is Status.PENDING and hold in self.ended:
            self.finds("heard", id_, f"the gateway has ended it, and it waits again: {line.why}")
        elif after.status is Status.PENDING and cause in TRIES and not self.clocks_off:
            self.tries[id_] += 1
            self._waits(after, line.at)
        elif cause in ("claim-failed", "write-failed") and id_ not in self.unfit:
            self.finds("neighbour", id_, f"there is nothing wrong with it: {line.why}")
        elif after.status is Status.REVIEW and self.unproven[id_] and hold not in self.asked and not self.clocks_off:
            unsent = cause == "attempts-used-up" or "before it could be sent" in line.why
            if unsent:
                self.finds("given up", id_, f"{len(self.unproven[id_])} sends, and nobody has asked: {line.why}")

    def _waits(self, record: Transaction, at: datetime) -> None:
        """A tenth of the step at least, which doubles with each try; or until its deadline."""
        times = 2 ** min(self.tries[record.id] - 1, 32)
        floor = min(min(one.retry_base * times, one.retry_cap) for one in self.policies) / 10
        until = at + floor if at >= record.deadline else min(at + floor, record.deadline)
        if record.next_attempt_at and record.next_attempt_at < until - timedelta(milliseconds=2):
            waits = record.next_attempt_at - at
            self.finds("wait", record.id, f"waits {waits} after {self.tries[record.id]} tries, {floor} at least")

    def set_back(self) -> None:
        """The datastore was, to an earlier moment."""
        self.tries.clear()
        self.paused = None  # the note of it may be gone

    # --- what was sent

    def calls(self, verb: str, id_: str, looked: float) -> None:
        """Right as a call begins, by whoever looked then at what people have paused."""
        if self.paused is None or looked <= self.paused[1] or (verb == "ask" and self.paused[0] is Scope.SENDING):
            return
        self.finds(
            "paused",
            id_,
            f"{verb} at a look of second {looked:.0f}: {self.paused[0]} is paused since {self.paused[1]:.0f}",
        )

    def sends(
        self, record: Transaction, policy: Policy, now: datetime, local: datetime, lease_until: datetime | None
    ) -> Send:
        """Right as a call begins: `now` is the true time, `local` the worker's."""
        id_, timeout, slack = record.id, policy.call_timeout, policy.clock_skew
        stored = self.leases.get((id_, record.token), lease_until)
        if lease_until and stored:  # whoever holds two claims on it must not take one for the other
            lease_until = min(lease_until, stored)
        if lease_until is None or (local + timeout > lease_until and not self.clocks_off):
            self.finds("lease", id_, f"sent at {local}, with a lease until {lease_until}")
        if type(record.amount) is not int:
            self.finds("money", id_, f"sends {record.amount!r}, which is no whole number of minor units")
        if record.attempt > policy.max_attempts:
            self.finds("attempts", id_, f"sent as attempt {record.attempt} of {policy.max_attempts}")
        if policy.only_ask:
            self.finds("shadow", id_, "sent in shadow mode")
        if self.questions[id_]:
            self.finds("asked first", id_, "sent, and a desk had it asked about alone")
        if local >= record.deadline + slack and not self.clocks_off:
            self.finds("deadline", id_, f"sent at {local}, deadline {record.deadline}")
        if earlier := self.unproven[id_]:
            first, last = earlier[0].at, earlier[-1].at
            if (id_, record.token) not in self.asked:
                self.finds("asked first", id_, f"sent at {now} after {len(earlier)} sends without a question")
            if self.clocks_off:
                return self.began(id_, now)
            if now + slack < last + policy.grace:
                self.finds("grace", id_, f"sent again {now - last} after the send before")
            if now + timeout + policy.lease > first + policy.key_window + slack:  # it may stand still before the wire
                self.finds("key window", id_, f"sent again {now - first} after the first send")
        return self.began(id_, now)

    def began(self, id_: str, now: datetime) -> Send:
        send = Send(now)
        self.unproven[id_].append(send)
        return send

    def proven(self, id_: str, send: Send) -> None:
        """The gateway's evidence: this send did nothing."""
        self.unproven[id_] = [one for one in self.unproven[id_] if one is not send]

    # --- the books

    def looks(
        self, records: Iterable[Transaction], effects: Mapping[str, Sequence[Effect]], apart: timedelta, *, marked: bool
    ) -> None:
        """In the middle, where all may be on its way."""
        self.seen = tuple(records)
        done = [one for those in effects.values() for one in those]
        self.violations += at_any_time(self.seen, done, apart=apart, marked=marked)

    def ends(
        self,
        came: Iterable[Came],
        records: Iterable[Transaction],
        effects: Mapping[str, Sequence[Effect]],
        *,
        apart: timedelta,
        late: timedelta | None,
        marked: bool,
    ) -> None:
        """All that must hold once everything has come to its end; `late` is the bound that was missed, if one was."""
        records = list(records)
        done = [one for those in effects.values() for one in those]
        found = at_end(came, records, done, apart=apart, marked=marked)
        self.violations += [one for one in found if one.oracle != "open"]
        self.violations += secrets_out(planted(records), said(records))
        self.violations += attempts(records, [policy.max_attempts for policy in self.policies])
        self.violations += long_history(records)
        self.violations += unfit_words(said(records))
        self.violations += self._receipts(records)
        self.violations += final_moved(self.seen, records)
        for one in still_open(records):
            self.finds("liveness", one.id, f"{one.found}, {late} after the faults stopped")

    def _receipts(self, records: Iterable[Transaction]) -> list[Finding]:
        return [
            Finding("receipt", one.id, f"{one.gateway_reference!r}, and the gateway's is another")
            for one in records
            if one.status is Status.CONFIRMED and one.gateway_reference not in self.receipts[one.id]
        ]


def planted(records: Iterable[Transaction]) -> list[str]:
    """What nobody may see; an account of less than that says nothing."""
    accounts = (one.account for one in records)
    return [*SECRETS.values(), *(account for account in accounts if len(bare_text(account)) >= LEAST)]


def said(records: Iterable[Transaction]) -> set[tuple[str, str]]:
    """All words that are kept of transactions. A receipt is none: it is stored whole, and masked where it is shown."""
    return {
        (one.id, text)
        for one in records
        for text in (one.reason, one.owner, *(part for line in one.history for part in (line.why, line.by)))
        if text
    }


def _owner(token: str | None) -> str:
    """The process that made it."""
    return (token or "").rpartition(".")[0]
