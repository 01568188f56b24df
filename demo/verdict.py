"""The verdict on a run: what was brought in, against what the table says, against what the gateway did.

Pure, so that anyone can check it, and that a test can show it convict each kind of fault.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from simulation import oracles
from simulation.oracles import Came, Effect, Finding
from workers.domain.transaction import Status, Transaction, is_canary

__all__ = ["Came", "Check", "Effect", "StateTotals", "Verdict", "judge", "reasons"]


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
    brought: Iterable[Came],
    records: Sequence[Transaction],
    effects: Sequence[Effect],
    violations: int = 0,
    *,
    marked: bool = False,
    decided: bool = False,
) -> Verdict:
    """Hold the records against the gateway's ledger, id by id and cent by cent. Canaries are in no book.

    `marked`: there was shadow mode or a restore. `decided`: people have been at the desk, and nothing is left there.
    """
    brought = list(brought)
    records = [record for record in records if not record.is_canary]
    effects = [effect for effect in effects if not is_canary(effect.id, effect.amount, effect.currency)]
    moved: defaultdict[str, list[Effect]] = defaultdict(list)
    for effect in effects:
        moved[effect.id].append(effect)
    moved.default_factory = None  # from here on only read
    by_status = {status: [r for r in records if r.status is status] for status in Status}
    checks: tuple[Check, ...] = (
        _check("every transaction that came in is here", oracles.missing(brought, records)),
        _check("nothing is here that did not come in", oracles.foreign(brought, records)),
        _check("every amount is the one that came in", oracles.changed(brought, records)),
        _check("every one is final, or on a person's desk", oracles.still_open(records)),
        _check("no effect happened twice", oracles.two_effects(effects)),
        _check("each confirmed one has its effect, to the cent", oracles.confirmed(records, effects)),
        _check("no rejected one has an effect", oracles.rejected(records, effects)),
        _check("no effect is unexplained", oracles.unexplained(records, effects)),
        _check("the sums of each currency agree", oracles.money(brought, records, effects)),
        _check("each one on a desk has a reason, an owner and a deadline", oracles.desk(records)),
        _check("every history is whole, from PENDING to its end", oracles.history(records)),
        _check("every line of history has its cause", oracles.cause(records)),
        _check("every change has its line", oracles.lines(records, marked=marked)),
        _check("each claim had a token of its own", oracles.one_token(records)),
        Check("the gateway saw no misuse of a key", (f"{violations} violations",) if violations else ()),
    )
    if decided:
        left = tuple(f"{r.id}: {r.reason}" for r in by_status[Status.REVIEW])
        checks += (Check("nothing is left on a desk", left),)
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


def _check(promise: str, findings: Iterable[Finding]) -> Check:
    return Check(promise, tuple(f"{one.id}: {one.found}" for one in sorted(findings)))
