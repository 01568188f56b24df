"""The verdict on a run: what was brought in, against what the table says, against what the gateway did.

Pure, so that anyone can check it, and that a test can show it convict each kind of fault.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from workers.domain.transaction import Status, Transaction, is_canary


class Payment(Protocol):
    """What was brought in."""

    @property
    def id(self) -> str: ...
    @property
    def amount(self) -> int:
        """Minor units."""
        ...


@dataclass(frozen=True, slots=True)
class Effect:
    """Money that the gateway moved, by its own ledger."""

    id: str
    amount: int
    currency: str


@dataclass(frozen=True, slots=True)
class StateTotals:
    """One state: how many transactions and how much money we say, and what the gateway did for these same ids."""

    status: Status
    count: int
    amount: int
    effects: int
    moved: int


@dataclass(frozen=True, slots=True)
class Check:
    """One promise: kept where nothing speaks against it."""

    promise: str
    against: tuple[str, ...]

    @property
    def kept(self) -> bool:
        return not self.against


@dataclass(frozen=True, slots=True)
class Verdict:
    rows: tuple[StateTotals, ...]
    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool:
        return all(check.kept for check in self.checks)


def judge(
    brought: Iterable[Payment], records: Sequence[Transaction], effects: Sequence[Effect], violations: int = 0
) -> Verdict:
    """Hold the records against the gateway's ledger, id by id and cent by cent. Canaries are in no book."""
    records = [record for record in records if not record.is_canary]
    effects = [effect for effect in effects if not is_canary(effect.id, effect.amount, effect.currency)]
    wanted = {payment.id: payment.amount for payment in brought}
    found = {record.id: record for record in records}
    moved: defaultdict[str, list[Effect]] = defaultdict(list)
    for effect in effects:
        moved[effect.id].append(effect)
    moved.default_factory = None  # from here on only read
    by_status = {status: [r for r in records if r.status is status] for status in Status}
    desk = by_status[Status.REVIEW]
    checks = (
        Check("every transaction that came in is here", _ids(wanted.keys() - found.keys(), "lost")),
        Check("nothing is here that did not come in", _ids(found.keys() - wanted.keys(), "not brought in")),
        Check(
            "every amount is the one that came in",
            tuple(
                f"{id_}: {found[id_].amount}, came in as {a}" for id_, a in wanted.items() if _differs(found, id_, a)
            ),
        ),
        Check(
            "every one is final, or on a person's desk",
            _ids((r.id for r in by_status[Status.PENDING] + by_status[Status.PROCESSING]), "still open"),
        ),
        Check("no effect happened twice", _ids((id_ for id_, done in moved.items() if len(done) > 1), "doubled")),
        Check(
            "each confirmed one has its effect, to the cent",
            tuple(
                f"{r.id}: {r.amount} {r.currency}, gateway moved {_sum(moved.get(r.id, []))}"
                for r in by_status[Status.CONFIRMED]
                if [(e.amount, e.currency) for e in moved.get(r.id, [])] != [(r.amount, r.currency)]
            ),
        ),
        Check(
            "no rejected one has an effect", _ids((r.id for r in by_status[Status.REJECTED] if r.id in moved), "moved")
        ),
        Check("no effect is unexplained", _ids((id_ for id_ in moved if _unexplained(found.get(id_))), "unexplained")),
        Check(
            "each one on a desk has a reason, an owner and a deadline",
            _ids((r.id for r in desk if not (r.reason and r.owner and r.review_by)), "without"),
        ),
        Check("every history is whole, from PENDING to its end", _ids((r.id for r in records if _broken(r)), "broken")),
        Check("the gateway saw no misuse of a key", (f"{violations} violations",) if violations else ()),
    )
    rows = tuple(
        StateTotals(
            status,
            len(members),
            sum(r.amount for r in members),
            sum(len(moved.get(r.id, ())) for r in members),
            sum(e.amount for r in members for e in moved.get(r.id, ())),
        )
        for status, members in by_status.items()
    )
    return Verdict(rows, checks)


def reasons(records: Iterable[Transaction]) -> Mapping[str, int]:
    """Why those on a desk are there, the most frequent first."""
    return dict(Counter(record.cause or "no cause" for record in records).most_common())


def _ids(ids: Iterable[str], what: str) -> tuple[str, ...]:
    return tuple(f"{id_}: {what}" for id_ in sorted(ids))


def _differs(found: Mapping[str, Transaction], id_: str, amount: int) -> bool:
    return id_ in found and found[id_].amount != amount


def _sum(effects: Sequence[Effect]) -> str:
    return " + ".join(f"{effect.amount} {effect.currency}" for effect in effects) or "nothing"


def _unexplained(record: Transaction | None) -> bool:
    return record is None or record.status not in (Status.CONFIRMED, Status.REVIEW)


def _broken(record: Transaction) -> bool:
    """Each line of the history goes on where the one before it ended, and the last one is the present state."""
    lines = record.history
    if not lines or lines[0].was is not None or lines[-1].now is not record.status:
        return True
    steps = pairwise(lines)
    return any(a.now is not b.was or a.at > b.at for a, b in steps) or not all(line.why and line.by for line in lines)
