"""What a rule is, and how it looks at a resource. It knows no engine: the recorded graph is judged by it too."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

Props = Mapping[str, Any]
Framework = Literal["checkov", "fsbp", "pci", "nag", "wa"]
FRAMEWORKS: Mapping[Framework, str] = {
    "checkov": "checkov",
    "fsbp": "AWS Foundational Security Best Practices",
    "pci": "PCI DSS v4",
    "nag": "cdk-nag",
    "wa": "Well-Architected",
}
NOWHERE = object()
UNKNOWN = "(known after up)"
"""Stands for a value that a preview does not know; no rule is broken by it."""


class Severity(StrEnum):
    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Level(StrEnum):
    MANDATORY = "mandatory"
    ADVISORY = "advisory"


@dataclass(frozen=True, slots=True)
class View:
    """A resource as a rule sees it: inputs in Pulumi's own names."""

    type: str
    name: str
    props: Props
    urn: str = ""
    environment: str = "prod"
    """dev, staging or prod, by the provider's default tags."""
    protect: bool = False
    references: frozenset[str] = frozenset()
    """URNs of the resources whose outputs it holds."""

    def at(self, path: str) -> object:
        """The value at `a.b.0.c`, or NOWHERE. JSON in a string is looked into."""
        value: Any = self.props
        for part in path.split("."):
            if isinstance(value, str):
                try:
                    value = json.loads(value)
                except ValueError:
                    return NOWHERE
            if isinstance(value, Mapping):
                value = value.get(part, NOWHERE)
            elif isinstance(value, Sequence) and part.isdigit() and int(part) < len(value):
                value = value[int(part)]
            else:
                return NOWHERE
        return value


@dataclass(frozen=True, slots=True)
class Want:
    """What is allowed at a place, with an example of each kind."""

    text: str
    holds: Callable[[Any], bool]
    good: Any
    bad: Any


def equals(wanted: Any, bad: Any = NOWHERE) -> Want:
    return Want(json.dumps(wanted), lambda value: value == wanted, wanted, bad)


def no_true(bad: Any = True) -> Want:
    """False, or not said."""
    return Want("false, or nothing", lambda value: value in (NOWHERE, None, False), False, bad)


def least(number: float) -> Want:
    return Want(
        f"{number:g} or more",
        lambda value: isinstance(value, (int, float)) and value >= number,
        number,
        number - 1,
    )


def one_of(*values: Any, bad: Any) -> Want:
    return Want(" or ".join(map(json.dumps, values)), lambda value: value in values, values[0], bad)


def present(good: Any) -> Want:
    return Want("something", lambda value: value not in (NOWHERE, None, "", [], {}), good, NOWHERE)


def absent(bad: Any) -> Want:
    return Want("nothing", lambda value: value in (NOWHERE, None, "", [], {}), NOWHERE, bad)


Check = Callable[[View], Iterable[str]]
"""Says what is wrong with a resource, a sentence each."""
Together = Callable[[Sequence[View]], Iterable[tuple[View, str]]]
"""Says what is wrong with resources taken together, and with which."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the pack."""

    id: str
    title: str
    """What holds, as a sentence."""
    types: Sequence[str]
    severity: Severity
    controls: Mapping[Framework, Sequence[str]]
    """The ids of the same demand elsewhere."""
    mend: str
    path: str = ""
    want: Want | None = None
    """What must stand at `path`; or else:"""
    check: Check | None = None
    together: Together | None = None
    good: Sequence[View] = field(default=())
    bad: Sequence[View] = field(default=())
    """Examples that pass and that fail; made of `path` and `want` where there are none."""
    only: Sequence[str] = ("dev", "staging", "prod")
    """The environments that it is mandatory in; advice in staging otherwise, and silent in dev."""
    advisory: bool = False
    guard: bool = False
    """No stack of ours has such a resource: it guards what somebody may add."""

    def violations(self, view: View) -> list[str]:
        """What is wrong with one resource; empty for one that the rule is not about."""
        if view.type not in self.types or self.together is not None:
            return []
        if self.check is not None:
            return list(self.check(view))
        assert self.want is not None  # noqa: S101 - the table's own shape, held by a test
        found = view.at(self.path)
        if found == UNKNOWN or self.want.holds(found):
            return []
        said = "missing" if found is NOWHERE else json.dumps(found, default=str)[:80]
        return [f"{self.path} is {said}; allowed: {self.want.text}"]

    def level(self, environment: str) -> Level | None:
        if environment in self.only:
            return Level.ADVISORY if self.advisory else Level.MANDATORY
        return Level.ADVISORY if environment == "staging" else None

    def passing(self) -> Sequence[View]:
        return self.good or [View(self.types[0], "good", _with(self.path, self.want.good))] if self.want else self.good

    def failing(self) -> Sequence[View]:
        return self.bad or [View(self.types[0], "bad", _with(self.path, self.want.bad))] if self.want else self.bad


def _with(path: str, value: Any) -> Props:
    """Inputs with `value` at `path`, and nothing else."""
    if value is NOWHERE:
        return {}
    first, _, rest = path.partition(".")
    if not rest:
        return {first: value}
    inner = _with(rest, value)
    if rest.partition(".")[0].isdigit():
        (only,) = inner.values()
        return {first: [only]}
    return {first: inner}
