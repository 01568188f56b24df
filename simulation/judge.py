"""The oracles: what must hold, whatever struck. They look at writes, calls and the ledger, and share no rule with
the core but its table's pairs of states.

Each is proven able to fail by a broken variant (tests/simulation/test_variants.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from workers.domain.causes import Cause
from workers.domain.policy import Policy
from workers.domain.transaction import Status, Transaction
from workers.domain.transitions import TABLE

ORACLES = {
    "two effects": "No id has two effects at the gateway.",
    "lost": "What came in is there, with its content.",
    "ledger": "CONFIRMED has its effect with the right amount, REJECTED has none.",
    "final moved": "CONFIRMED and REJECTED never change.",
    "desk": "REVIEW has a reason, an owner and a deadline.",
    "history": "The history is a path of the table of transitions, up to the present state.",
    "cause": "Every line of history has a known cause.",
    "fence": "No write by whoever does not hold it.",
    "two holders": "No claim while a lease stands.",
    "lease": "No call begins that the lease could end in.",
    "shadow": "Nothing is sent in shadow mode.",
    "deadline": "Nothing is sent past its deadline.",
    "asked first": "What may have been sent is asked about before it is sent again.",
    "grace": "No resend before the grace period is over.",
    "key window": "No resend past the key window, counted from the first send.",
    "liveness": "Once faults have stopped, everything becomes final or reaches a desk, in time.",
}
PATHS = {(was, now) for was, _, now, _ in TABLE} | {(None, Status.PENDING)}


class Violation(NamedTuple):
    oracle: str
    id: str
    found: str

    def __str__(self) -> str:
        return f"{self.oracle}: {self.id}: {self.found}"


@dataclass
class Send:
    """One that began, and of which nothing proves that it did nothing."""

    at: datetime


@dataclass
class Judge:
    violations: list[Violation] = field(default_factory=list)
    unproven: dict[str, list[Send]] = field(default_factory=lambda: defaultdict(list))
    asked: set[tuple[str, str | None]] = field(default_factory=set)
    """Id and token of each claim under which the gateway said that it knows nothing of it."""

    def finds(self, oracle: str, id_: str, found: str) -> None:
        self.violations.append(Violation(oracle, id_, found))

    # --- what the datastore wrote

    def claims(self, before: Transaction, now: datetime) -> None:
        if before.status.is_final:
            self.finds("final moved", before.id, f"{before.status} was claimed")
        if before.status is Status.PROCESSING and before.lease_until and now < before.lease_until:
            self.finds("two holders", before.id, f"claimed with {before.lease_until - now} of a lease left")

    def settles(self, stood: Transaction, before: Transaction) -> None:
        if stood.status.is_final:
            self.finds("final moved", before.id, f"{stood.status} was written again")
        if (stood.version, stood.token) != (before.version, before.token):
            self.finds("fence", before.id, f"written under {before.token}, while {stood.token} stood")

    # --- what was sent

    def sends(
        self, record: Transaction, policy: Policy, now: datetime, local: datetime, lease_until: datetime | None
    ) -> Send:
        """Right as a call begins: `now` is the true time, `local` the worker's."""
        id_, timeout, slack = record.id, policy.call_timeout, policy.clock_skew
        if lease_until is None or local + timeout > lease_until:
            self.finds("lease", id_, f"sent at {local}, with a lease until {lease_until}")
        if policy.only_ask:
            self.finds("shadow", id_, "sent in shadow mode")
        if local >= record.deadline:
            self.finds("deadline", id_, f"sent at {local}, deadline {record.deadline}")
        if earlier := self.unproven[id_]:
            first, last = earlier[0].at, earlier[-1].at
            if (id_, record.token) not in self.asked:
                self.finds("asked first", id_, f"sent at {now} after {len(earlier)} sends without a question")
            if now + slack < last + policy.grace:
                self.finds("grace", id_, f"sent again {now - last} after the send before")
            if now + timeout > first + policy.key_window + slack:
                self.finds("key window", id_, f"sent again {now - first} after the first send")
        return self.began(id_, now)

    def began(self, id_: str, now: datetime) -> Send:
        send = Send(now)
        self.unproven[id_].append(send)
        return send

    def proven(self, id_: str, send: Send) -> None:
        """The gateway's evidence: this send did nothing."""
        self.unproven[id_] = [one for one in self.unproven[id_] if one is not send]

    # --- the end

    def ends(
        self,
        content: Iterable[tuple[str, str, int, str]],
        records: dict[str, Transaction],
        effects: dict[str, list[int]],
        late: timedelta | None,
    ) -> None:
        """All that must hold once everything has come to its end; `late` is the bound that was missed, if one was."""
        for one, amounts in effects.items():
            if len(amounts) > 1:
                self.finds("two effects", one, f"{len(amounts)} effects")
        for id_, account, amount, currency in content:
            record = records.get(id_)
            if record is None or (record.account, record.amount, record.currency) != (account, amount, currency):
                self.finds("lost", id_, f"found {record}")
                continue
            self._ended(record, effects.get(id_, []), late)

    def _ended(self, record: Transaction, amounts: list[int], late: timedelta | None) -> None:
        match record.status:
            case Status.CONFIRMED if amounts[:1] != [record.amount]:
                self.finds("ledger", record.id, f"CONFIRMED, with {amounts or 'no effect'} in the ledger")
            case Status.REJECTED if amounts:
                self.finds("ledger", record.id, f"REJECTED, with {amounts} in the ledger")
            case Status.REVIEW if not (record.reason and record.owner and record.review_by):
                self.finds("desk", record.id, f"{record.reason!r}, {record.owner!r}, {record.review_by}")
            case Status.PENDING | Status.PROCESSING if late is not None:
                self.finds("liveness", record.id, f"{record.status} {late} after the faults stopped")
        was: Status | None = None
        for line in record.history:
            left_out = line.cause is Cause.LEFT_OUT
            if line.was is not was or (not left_out and (line.was, line.now) not in PATHS):
                self.finds("history", record.id, f"{was}, then {line.was} -> {line.now}")
                break
            was = line.now
            if line.cause is None or not line.why:
                self.finds("cause", record.id, f"{line.was} -> {line.now} without one")
        if was is not record.status:
            self.finds("history", record.id, f"ends in {was}, and it is {record.status}")
