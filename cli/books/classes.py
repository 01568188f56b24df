"""Where each line of a book, and each transaction of ours, belongs when both are held against each other. Pure.

Every line has one class, and every CONFIRMED transaction has one: so what is matched and each class together are the
total of each book, and no pair of errors can hide behind equal sums.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cli.books.lines import Line, LineKind
from cli.desk import Entry
from workers.domain.transaction import Status


class Class(StrEnum):
    """What became of a line, or of one of ours."""

    MATCHED = "matched"
    IN_PARTS = "matched-in-parts"
    FEE = "fee"
    REFUND = "refund"
    CHARGEBACK_REVERSED = "chargeback-reversed"
    PAYOUT = "payout"
    PENDING = "not-booked"
    OUTSIDE = "outside-the-file"
    # from here on a person has to look
    DOUBLED = "doubled"
    OTHER_AMOUNT = "other-amount"
    OTHER_CURRENCY = "other-currency"
    NOT_MOVED = "not-moved"
    REJECTED = "moved-but-rejected"
    OPEN = "moved-but-open"
    DESK = "moved-but-on-a-desk"
    UNKNOWN = "moved-but-unknown"
    RETURNED = "returned"
    CHARGEBACK = "chargeback"
    OVER_REFUNDED = "over-refunded"
    UNATTRIBUTED = "without-an-id"
    UNCLASSIFIED = "unclassified"
    UNREADABLE = "unreadable"

    @property
    def differs(self) -> bool:
        return self not in AGREEING


AGREEING = frozenset(
    {
        Class.MATCHED,
        Class.IN_PARTS,
        Class.FEE,
        Class.REFUND,
        Class.CHARGEBACK_REVERSED,
        Class.PAYOUT,
        Class.PENDING,
        Class.OUTSIDE,
    }
)

MEANING: Mapping[Class, str] = {
    Class.MATCHED: "confirmed here, and moved once, to the minor unit",
    Class.IN_PARTS: "confirmed here, and moved in several parts that come to its amount",
    Class.FEE: "what the sender took for its work",
    Class.REFUND: "sent back, and no more than was moved",
    Class.CHARGEBACK_REVERSED: "a dispute that was won: the money is back",
    Class.PAYOUT: "between our own balances: payouts, reserves, sweeps",
    Class.PENDING: "not booked yet: it may still vanish, so it proves nothing",
    Class.OUTSIDE: "settled here at a time that the file does not cover (--since, --until)",
    Class.DOUBLED: "the gateway moved it more than once: call the gateway's owner, stop the workers",
    Class.OTHER_AMOUNT: "the gateway moved another amount than ours: a person decides",
    Class.OTHER_CURRENCY: "the gateway moved it in another currency than ours: a person decides",
    Class.NOT_MOVED: "confirmed here, not in the gateway's book: does the file cover its time? If so, a person decides",
    Class.REJECTED: "rejected here, yet the gateway moved it: a person decides",
    Class.OPEN: "moved, not settled here yet: a worker asks and settles it; normal while work is under way",
    Class.DESK: "moved, and on a desk here: decide it with `confirm review`",
    Class.UNKNOWN: (
        "moved, and not here at all: never bring it in while `mode` is confirm, where a new one counts as never sent "
        "and is paid again. In `mode: shadow`, bring it in with `confirm import` and its true created_at, and wait "
        "until it is confirmed"
    ),
    Class.RETURNED: "it moved and the bank or the scheme took it back, so it is not paid: a person decides",
    Class.CHARGEBACK: "the payer disputes it and the money is gone for now: answer it before the scheme's deadline",
    Class.OVER_REFUNDED: "more went back than is known to have moved: call the gateway's owner",
    Class.UNATTRIBUTED: "money of a line that names none of our ids: find out whose it is",
    Class.UNCLASSIFIED: "a line of a type that is not known here: see what it is in the file",
    Class.UNREADABLE: ("here in a form that nobody can read, so it was not compared: see who writes there besides us"),
}

_ALWAYS: Mapping[LineKind, Class] = {
    LineKind.FEE: Class.FEE,
    LineKind.PAYOUT: Class.PAYOUT,
    LineKind.PENDING: Class.PENDING,
    LineKind.OTHER: Class.UNCLASSIFIED,
}
"""Of kinds whose class does not depend on what we know."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Of one id."""

    ours: Class | None
    """Of our transaction, where it is CONFIRMED."""
    lines: Sequence[tuple[Line, Class]]

    @property
    def differing(self) -> list[Class]:
        """The classes for which a person has to look, ours first."""
        found = dict.fromkeys(([self.ours] if self.ours else []) + [class_ for _, class_ in self.lines])
        return [class_ for class_ in found if class_.differs]


def judge(entry: Entry, lines: Sequence[Line], *, covered: bool) -> Judgement:
    """One of ours against all lines of its id; `covered`: whether the file is of its time."""
    if not entry.readable:
        return Judgement(None, [(line, Class.UNREADABLE) for line in lines])
    if len(lines) == 1:  # nearly always, and then nothing is to be summed
        line = lines[0]
        if (
            line.kind is LineKind.PAYMENT
            and entry.status is Status.CONFIRMED
            and line.amount == entry.amount
            and line.currency == entry.currency
        ):
            return Judgement(Class.MATCHED, [(line, Class.MATCHED)])
    main = _main(entry, lines, covered)
    confirmed = entry.status is Status.CONFIRMED
    most = entry.amount if confirmed else max(_sum(lines, LineKind.PAYMENT), 0)
    back = -_sum(lines, LineKind.REFUND)
    foreign = any(line.currency != entry.currency for line in lines if line.kind is LineKind.REFUND)
    refund = Class.OVER_REFUNDED if back > most or foreign else Class.REFUND
    of = {
        LineKind.PAYMENT: main or Class.RETURNED,
        LineKind.REFUND: Class.RETURNED if main is Class.RETURNED else refund,
        LineKind.RETURN: Class.RETURNED,
        LineKind.CHARGEBACK: _chargeback(lines),
        **_ALWAYS,
    }
    return Judgement(main if confirmed else None, [(line, of[line.kind]) for line in lines])


def _main(entry: Entry, lines: Sequence[Line], covered: bool) -> Class | None:
    """The class of the payment itself; None where nothing moved and nothing had to."""
    payments = [line for line in lines if line.kind is LineKind.PAYMENT]
    confirmed = entry.status is Status.CONFIRMED
    if not payments:
        if not confirmed:
            return None
        pending = [line for line in lines if line.kind is LineKind.PENDING]
        if pending and sum(line.amount for line in pending) == entry.amount:
            return Class.PENDING
        return Class.NOT_MOVED if covered else Class.OUTSIDE
    total = sum(line.amount for line in payments)
    several = sum(line.amount > 0 for line in payments) > 1
    codes = {line.currency for line in payments}
    if several and len(codes) == 1 and total > entry.amount:
        return Class.DOUBLED
    if codes != {entry.currency}:
        return Class.OTHER_CURRENCY
    if not confirmed and total + _sum(lines, LineKind.REFUND) + _sum(lines, LineKind.RETURN) == 0 and entry.amount:
        return Class.RETURNED
    if total != entry.amount:
        return Class.OTHER_AMOUNT
    if not entry.amount and len(payments) > 1:
        return Class.DOUBLED
    match entry.status:
        case Status.CONFIRMED:
            return Class.MATCHED if len(payments) == 1 else Class.IN_PARTS
        case Status.REJECTED:
            return Class.REJECTED
        case Status.REVIEW:
            return Class.DESK
        case _:
            return Class.OPEN


def judge_unknown(lines: Sequence[Line]) -> Judgement:
    """All lines of an id that is not here."""
    payments = [line for line in lines if line.kind is LineKind.PAYMENT]
    again = max(Counter((line.amount, line.currency) for line in payments).values(), default=0) > 1
    over = -_sum(lines, LineKind.REFUND) > _sum(lines, LineKind.PAYMENT)
    of = {
        LineKind.PAYMENT: Class.DOUBLED if again else Class.UNKNOWN,
        LineKind.REFUND: Class.OVER_REFUNDED if over else Class.REFUND,
        LineKind.RETURN: Class.RETURNED,
        LineKind.CHARGEBACK: _chargeback(lines),
        **_ALWAYS,
    }
    return Judgement(None, [(line, of[line.kind]) for line in lines])


def judge_nameless(line: Line) -> Class:
    """A line without an id: there are many, so each stands for itself."""
    if line.kind is LineKind.CHARGEBACK:
        return _chargeback([line])
    return _ALWAYS.get(line.kind, Class.UNATTRIBUTED)


def _chargeback(lines: Sequence[Line]) -> Class:
    return Class.CHARGEBACK if _sum(lines, LineKind.CHARGEBACK) < 0 else Class.CHARGEBACK_REVERSED


def _sum(lines: Sequence[Line], kind: LineKind) -> int:
    return sum(line.amount for line in lines if line.kind is kind)
