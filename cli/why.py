"""What `confirm why` and `confirm diagnose` find: each transaction's row of the table, and all that is stuck by row."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cli.desk import Desk
from cli.exits import Exit, Trouble
from cli.language import N_
from cli.views import discreet, moment, named, names, printable
from cli.where import unknown
from workers.domain.desk import ONE_ONLY
from workers.domain.diagnosis import BY_NAME, Case, Cell, command, diagnosed, wants_history
from workers.domain.finding import DESK, OPEN, Found, Where
from workers.domain.policy import Policy
from workers.domain.redaction import masked
from workers.domain.transaction import Transaction

SHOWN = 3
"""Ids of each row, as examples."""
USUAL = 10_000
"""On the desk, and of the open work, where it is not said how many are looked at."""
AT_ONCE = 8
"""Records that are read whole at once."""


@dataclass(frozen=True, slots=True)
class Explained:
    """One transaction, and its row."""

    record: Transaction
    cell: Cell
    sent: bool

    @property
    def commands(self) -> list[str]:
        """The ways off its desk that its row names."""
        return [command(exit_, named(self.record.id), sent=self.sent) for exit_ in self.cell.exits]


def explained(record: Transaction, policy: Policy, now: datetime) -> Explained:
    return Explained(record, diagnosed(record, policy, now), Case(record, policy, now, record.cause).sent)


@dataclass(slots=True)
class Group:
    """All that are stuck in one row."""

    cell: Cell
    sums: Counter[str] = field(default_factory=Counter)
    ids: list[str] = field(default_factory=list)
    oldest: datetime | None = None
    """When the oldest of them was created."""
    decide_by: datetime | None = None
    """The nearest deadline of the desk."""
    sent: bool = False
    """Whether any of them may have been sent."""

    def add(self, case: Case) -> None:
        record = case.record
        self.sums[record.currency] += record.amount
        self.ids.append(record.id)
        self.oldest = min(self.oldest or record.created_at, record.created_at)
        if record.review_by is not None:
            self.decide_by = min(self.decide_by or record.review_by, record.review_by)
        self.sent = self.sent or case.sent

    def command(self, stack: str | None, limit: int) -> str | None:
        """For all of them; None where there is none, or each is decided by itself."""
        if not self.cell.exits or self.cell.exits[0] in ONE_ONLY:
            return None
        of = f" --stack {stack}" if stack else ""
        ask = command(self.cell.exits[0], "--from - --yes", sent=self.sent, many=True)
        so_many = "" if limit == USUAL else f" --limit {limit}"
        return f"confirm diagnose{of} --cell {self.cell.name} --ids{so_many} | {ask}{of}"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is stuck, the nearest deadline first."""

    groups: Sequence[Group]
    more: Sequence[str]
    """Where it stopped looking: on the desk, in the open work."""
    limit: int


async def diagnose(desk: Desk, now: datetime, limit: int, cell: str | None = None) -> Diagnosis:
    """Everything on the desk, and what is open and late or left lying: the first `limit` of each, by their indexes."""
    policy, groups, more = desk.target.policy, dict[str, Group](), []
    for states, where in ((DESK, N_("on the desk")), (OPEN, N_("in the open work"))):
        looked = list[Found]()
        async for one in desk.finder.find(Where(states=states), limit + 1):
            if len(looked) == limit:
                more.append(where)
                break
            looked.append(one)
        for record, cause in await _whole(desk, looked):
            case = Case(record, policy, now, cause)
            if not (case.on_desk or case.late or case.left_lying):
                continue
            row = diagnosed(record, policy, now, cause)
            if cell in (None, row.name):
                groups.setdefault(row.name, Group(row)).add(case)
    ordered = sorted(groups.values(), key=lambda one: (one.decide_by is None, one.decide_by or one.oldest or now))
    return Diagnosis(ordered, more, limit)


async def _whole(desk: Desk, found: Sequence[Found]) -> list[Found]:
    """The same, with their history where their row hangs on it; what has moved on meanwhile is gone."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def whole(one: Found) -> Found | None:
        if one.record.history or not wants_history(one.cause):
            return one
        async with turns:
            record = await desk.store.find(one.record.id)
        return Found(record, record.cause) if record and record.status is one.record.status else None

    return [one for one in await asyncio.gather(*map(whole, found)) if one]


def check_cell(name: str | None) -> None:
    """Raises Trouble: there is no such row."""
    if name is not None and name not in BY_NAME:
        raise unknown(name, list(BY_NAME), "no case")


def plain_ids(found: Diagnosis) -> tuple[list[str], int]:
    """Ids for another command to read, and how many are left out, since nobody is shown them whole."""
    ids = [id_ for group in found.groups for id_ in group.ids]
    plain = [id_ for id_ in ids if named(id_) == id_]
    return plain, len(ids) - len(plain)


def needs_one_cell(cell: str | None) -> None:
    """Raises Trouble: ids of several rows are no list for one exit."""
    if cell is None:
        raise Trouble("--ids does not say of which case", "say --cell NAME, as `confirm diagnose` has it", Exit.USAGE)


def why_json(one: Explained) -> dict[str, Any]:
    record = one.record
    return {
        "id": named(record.id),
        "status": record.status.value,
        "account": printable(masked(record.account)),
        "amount_minor": record.amount,
        "currency": printable(record.currency),
        "cause": record.cause and record.cause.value,
        "reason": discreet(record.reason, record.account),
        "deadline": moment(record.deadline),
        "review_by": moment(record.review_by),
        "possibly_sent": one.sent,
        **cell_json(one.cell),
        "commands": one.commands,
    }


def cell_json(cell: Cell) -> dict[str, Any]:
    return {
        "case": cell.name,
        "means": cell.means,
        "todo": cell.todo,
        "exits": list(cell.exits),
        "who": cell.who.value,
    }


def diagnosis_json(found: Diagnosis, stack: str | None) -> dict[str, Any]:
    groups: list[Mapping[str, Any]] = []
    for group in found.groups:
        called = names(group.ids)
        groups.append(
            {
                **cell_json(group.cell),
                "count": len(group.ids),
                "amounts_minor": {printable(code): amount for code, amount in sorted(group.sums.items())},
                "oldest_created_at": moment(group.oldest),
                "review_by": moment(group.decide_by),
                "ids": [called[id_] for id_ in group.ids[:SHOWN]],
                "command": group.command(stack, found.limit),
            }
        )
    return {"cases": groups, "more": list(found.more)}
