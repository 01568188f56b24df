"""All that happened in a life, line by line: what its hash is of, and what is shown of a transaction."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple


class Line(NamedTuple):
    at: float
    who: str
    what: str
    id: str
    detail: str


@dataclass
class Journal:
    now: Callable[[], float]
    lines: list[Line] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    """How often each fault struck."""

    def tell(self, who: str, what: str, id_: str = "", detail: str = "") -> None:
        self.lines.append(Line(round(self.now(), 3), who, what, id_, detail))

    def fault(self, who: str, kind: str, id_: str = "", detail: str = "") -> None:
        self.faults[kind] += 1
        self.tell(who, f"FAULT {kind}", id_, detail)

    @property
    def digest(self) -> str:
        return hashlib.sha256("\n".join(map(repr, self.lines)).encode()).hexdigest()

    def life_of(self, id_: str) -> str:
        """What happened to one transaction, and to all at once, as a table."""
        rows = [line for line in self.lines if line.id in ("", id_)]
        head = f"{'seconds':>10}  {'who':<10} {'what':<26} details"
        return "\n".join([head, *(f"{at:>10.3f}  {who:<10} {what:<26} {detail}" for at, who, what, _, detail in rows)])
