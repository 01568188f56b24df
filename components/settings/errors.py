"""What a user reads of a config that cannot be: all mistakes at once, each with the line that mends it."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pulumi

PROJECT = "confirm-transactions"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: the key, what was found, what is allowed, and a value that mends it (None: remove the line)."""

    key: str
    found: str
    allowed: str
    mend: object = None
    instead: str | None = None
    """The key that was meant, where the name itself is wrong."""

    def __str__(self) -> str:
        allowed = f"did you mean {self.instead}?" if self.instead else f"allowed: {self.allowed}"
        line = f"{PROJECT}:{self.instead or self.key}: {json.dumps(self.mend)}"
        return f"  {self.key}: found {self.found}; {allowed}\n      {'remove the line' if self.mend is None else line}"


class SettingsError(pulumi.RunError):
    """All mistakes of a config together. Shown by Pulumi as text, without a stack trace."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        count = f"{len(problems)} mistakes" if len(problems) > 1 else "1 mistake"
        head = f"{count} in the stack's config (section `config:` of Pulumi.<stack>.yaml), and what mends it:"
        super().__init__("\n".join([head, "", *map(str, problems)]))
        self.problems = problems
