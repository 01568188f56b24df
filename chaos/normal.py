"""A history without its times and names, so that two alternatives' histories of the same transaction can be compared.

What stays of a line: the states, the attempt, and the cause. What goes: who, when and under which token; and a try
without a call (a claim that the breaker, the rate limit or a stop ended unsent), for how often that happens is a matter
of how busy a worker is. How many went that way is counted, and told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from workers.domain.causes import UNTRIED
from workers.domain.transaction import HistoryEntry, Status, Transaction


class Line(NamedTuple):
    was: Status | None
    now: Status
    attempt: int
    cause: str


@dataclass(frozen=True)
class Normal:
    """One transaction as every alternative should leave it."""

    status: Status
    content: tuple[str, int, str]
    lines: tuple[Line, ...]


def normal(record: Transaction, left_out: Counter[str] | None = None) -> Normal:
    """`left_out` counts the causes of the tries that were left out."""
    lines: list[Line] = []
    for entry in _one_by_one(record.history):
        if entry.cause in UNTRIED and lines and lines[-1].now is Status.PROCESSING:
            lines.pop()
            if left_out is not None:
                left_out[str(entry.cause)] += 1
        else:
            lines.append(Line(entry.was, entry.now, entry.attempt, str(entry.cause)))
    return Normal(record.status, (record.account, record.amount, record.currency), tuple(lines))


def _one_by_one(history: Sequence[HistoryEntry]) -> list[HistoryEntry]:
    """Equal tries that were counted in one pair of lines, as the pairs that they were."""
    found: list[HistoryEntry] = []
    for n, entry in enumerate(history):
        if entry.times > 1 and n + 1 < len(history) and history[n + 1].times == entry.times:
            found += [entry, history[n + 1]] * (entry.times - 1)
            found.append(entry)
        else:
            found.append(entry)
    return found


class Difference(NamedTuple):
    id: str
    what: str
    sides: tuple[str, ...]


def differences(sides: Mapping[str, Iterable[Transaction]]) -> tuple[list[Difference], dict[str, Counter[str]]]:
    """Where the alternatives tell a transaction differently; and of each, what was left out of the comparison."""
    left_out = {name: Counter[str]() for name in sides}
    forms = {name: {one.id: normal(one, left_out[name]) for one in records} for name, records in sides.items()}
    found = []
    for id_ in sorted({id_ for one in forms.values() for id_ in one}):
        told = [one.get(id_) for one in forms.values()]
        for what, parts in (
            ("missing", [form is not None for form in told]),
            ("state", [form and form.status for form in told]),
            ("content", [form and form.content for form in told]),
            ("history", [form and form.lines for form in told]),
        ):
            if any(part != parts[0] for part in parts[1:]):
                found.append(Difference(id_, what, tuple(_shown(part) for part in parts)))
                break
    return found, left_out


def _shown(part: object) -> str:
    if isinstance(part, tuple) and part and isinstance(part[0], Line):
        return " > ".join(f"{line.cause} {line.attempt}" for line in part)
    return str(part)
