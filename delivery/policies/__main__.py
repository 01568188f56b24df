"""The pack as Pulumi runs it: mandatory where the environment asks for it, else advice."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

# `pulumi --policy-pack delivery/policies` starts this file by itself
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pulumi_policy import (
    EnforcementLevel,
    PolicyPack,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy.proxy import UnknownValueError

from delivery.policies.model import UNKNOWN, Level, Rule, View
from delivery.policies.rules import RULES


def environment(provider: Any) -> str:
    """By the provider's default tags; prod, the strictest, where nobody says."""
    tags = (plain(provider.props) if provider else {}).get("defaultTags") or {}
    tags = json.loads(tags) if isinstance(tags, str) else tags
    return str((tags.get("tags") or {}).get("Environment", "prod"))


def plain(value: Any) -> Any:
    """Inputs as dicts and lists; the pack's own refuse to be read where something is unknown."""
    if isinstance(value, Mapping):
        return {key: _item(value, key) for key in value}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [_item(value, index) for index in range(len(value))]
    return value


def _item(value: Any, key: Any) -> Any:
    try:
        return plain(value[key])
    except UnknownValueError:
        return UNKNOWN


def message(rule: Rule, violation: str) -> str:
    return f"[{rule.severity}] {rule.title}: {violation}. To mend it: {rule.mend}. (docs/policies.md, {rule.id})"


def one_by_one(rule: Rule, level: Level) -> ResourceValidationPolicy:
    def validate(args: ResourceValidationArgs, report: Any) -> None:
        if args.resource_type not in rule.types:
            return
        where = environment(args.provider)
        if rule.level(where) is not level:
            return
        view = View(
            args.resource_type, args.name, plain(args.props), args.urn, where, bool(args.opts and args.opts.protect)
        )
        for violation in rule.violations(view):
            report(message(rule, violation))

    return ResourceValidationPolicy(_name(rule, level), rule.title, validate, EnforcementLevel(level.value))


def all_together(rule: Rule, level: Level) -> StackValidationPolicy:
    def validate(args: StackValidationArgs, report: Any) -> None:
        views = []
        for one in args.resources:
            on = {r.urn for found in (one.property_dependencies or {}).values() for r in found} | {
                r.urn for r in one.dependencies or ()
            }
            views.append(
                View(one.resource_type, one.name, {}, one.urn, environment(one.provider), references=frozenset(on))
            )
        where = next((environment(one.provider) for one in args.resources if one.provider), "prod")
        if rule.together is None or rule.level(where) is not level:
            return
        for view, violation in rule.together(views):
            report(message(rule, violation), view.urn)

    return StackValidationPolicy(_name(rule, level), rule.title, validate, EnforcementLevel(level.value))


def _name(rule: Rule, level: Level) -> str:
    return rule.id if level is Level.MANDATORY else f"{rule.id}-advice"


def policies() -> Iterable[Any]:
    """Each rule twice, as a policy's level is fixed: mandatory in its environments, advice in the others."""
    for rule in RULES:
        make = all_together if rule.together is not None else one_by_one
        for level in Level:
            yield make(rule, level)


if __name__ == "__main__":
    PolicyPack(name="confirm-transactions", policies=list(policies()))
