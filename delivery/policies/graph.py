"""The pack on the recorded graph of the program: what `pulumi preview` says with it, without an engine.

python -m delivery.policies.graph        every alternative and environment; ends with 1 where a mandatory rule is broken
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from alternatives import ALTERNATIVES
from analysis.graph import Record, record
from delivery.policies.model import Level, Rule, View
from delivery.policies.rules import RULES

STACKS = {
    f"{alternative} {environment}": (alternative, {"environment": environment, "alarmEmail": "on-call@example.com"})
    for alternative in ALTERNATIVES
    for environment in ("dev", "staging", "prod")
}


@dataclass(frozen=True, slots=True)
class Finding:
    rule: Rule
    view: View
    text: str

    @property
    def level(self) -> Level | None:
        return self.rule.level(self.view.environment)

    def __str__(self) -> str:
        return f"{self.level} [{self.rule.severity}] {self.view.type} {self.view.name}: {self.rule.title}: {self.text}"


def views(recorded: Record) -> list[View]:
    """Every resource, awsx's children included."""
    environment = str(recorded.outputs["environment"])
    return [
        View(
            one.type,
            one.name,
            one.inputs,
            one.urn,
            environment,
            one.protect,
            frozenset({urn for urns in one.references.values() for urn in urns} | set(one.dependencies)),
        )
        for one in recorded.resources
    ]


def findings(seen: Sequence[View], rules: Sequence[Rule] = RULES) -> Iterator[Finding]:
    for rule in rules:
        if rule.together is not None:
            yield from (Finding(rule, view, text) for view, text in rule.together(seen))
        else:
            yield from (Finding(rule, view, text) for view in seen for text in rule.violations(view))


def main() -> int:
    broken = 0
    for name, (stack, changes) in STACKS.items():
        seen = views(record(stack, **changes))
        found = [one for one in findings(seen) if one.level]
        mandatory = sum(one.level is Level.MANDATORY for one in found)
        broken += mandatory
        judged = sum(any(view.type in rule.types for view in seen) for rule in RULES)
        counts = f"{mandatory} broken, {len(found) - mandatory} to advise"
        print(f"policies on {name}: {judged} rules, {len(seen)} resources, {counts}")
        for one in found:
            print(f"  {one}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
