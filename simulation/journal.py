"""All that happened in a life, line by line: what its hash is of, and what is shown of a transaction (reading.py)."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

FAULT = "FAULT "
"""How what happened begins where it is a fault."""


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
        self.tell(who, FAULT + kind, id_, detail)

    @property
    def digest(self) -> str:
        return hashlib.sha256("\n".join(map(repr, self.lines)).encode()).hexdigest()
