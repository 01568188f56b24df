"""Each rule passes what is right, fails what is wrong, is about something that we have, and holds in our own stacks."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import pytest

from analysis.graph import Record
from delivery.policies import graph
from delivery.policies.__main__ import message, plain, policies
from delivery.policies.checks import ANY_RESOURCE, listed, statements
from delivery.policies.kinds import POLICIES
from delivery.policies.model import FRAMEWORKS, UNKNOWN, Level, Rule, View
from delivery.policies.rules import RULES
from tests.program.conftest import STACKS, records  # noqa: F401 - a fixture

each = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
CONTROLS = 60
"""How many the pack maps at the least."""


def violations(rule: Rule, *views: View) -> list[str]:
    if rule.together is not None:
        return [text for _, text in rule.together(views)]
    return [text for view in views for text in rule.violations(view)]


@each
def test_it_lets_what_is_right_pass(rule: Rule) -> None:
    assert rule.passing(), "a rule without an example of what is right"
    assert violations(rule, *rule.passing()) == []


@each
def test_it_fires_on_what_is_wrong(rule: Rule) -> None:
    """A policy that never fires fails here, by its name."""
    assert rule.failing(), "a rule without an example of what is wrong"
    found = violations(rule, *rule.failing())
    assert found
    text = message(rule, found[0])
    assert rule.id in text
    assert rule.mend in text


@each
def test_it_is_about_something_that_a_stack_of_ours_has(rule: Rule, records: dict[str, Record]) -> None:  # noqa: F811
    types = {one.type for record in records.values() for one in record.resources}
    assert bool(types & set(rule.types)) != rule.guard, f"{rule.types}: no stack has it, or `guard` is out of date"


@each
def test_a_row_is_whole(rule: Rule) -> None:
    assert re.fullmatch(r"[a-z0-9-]+", rule.id)
    assert not rule.title.endswith(".")
    assert rule.controls, "no id of the same demand elsewhere"
    assert set(rule.controls) <= set(FRAMEWORKS)
    assert sum(one is not None for one in (rule.want, rule.check, rule.together)) == 1
    assert set(rule.only) <= {"dev", "staging", "prod"}
    assert "prod" in rule.only, "prod is never weaker"


def test_names_are_unique_and_enough_controls_are_mapped() -> None:
    assert [name for name, count in Counter(rule.id for rule in RULES).items() if count > 1] == []
    assert len([rule for rule in RULES if {"checkov", "fsbp", "nag"} & set(rule.controls)]) >= CONTROLS
    known = {
        "checkov": r"CKV2?_(AWS|SECRET)_\d+",
        "fsbp": r"[A-Z][A-Za-z0-9]+\.\d+",
        "pci": r"\d{1,2}(\.\d{1,2}){1,3}",
        "nag": r"[A-Z]+\d+",
        "wa": r"(SEC|REL|OPS|COST|PERF|SUS)\d{2}-BP\d{2}",
    }
    wrong = [
        (rule.id, one)
        for rule in RULES
        for framework, ids in rule.controls.items()
        for one in ids
        if not re.fullmatch(known[framework], one)
    ]
    assert not wrong


@pytest.mark.parametrize("stack", STACKS)
def test_our_own_stacks_break_nothing(stack: str, records: dict[str, Record]) -> None:  # noqa: F811
    seen = graph.views(records[stack])
    found = [str(one) for one in graph.findings(seen) if one.level is Level.MANDATORY]
    assert not found


@pytest.mark.parametrize("stack", ["prod", "fargate-prod"])
def test_a_stack_that_is_spoilt_is_convicted(stack: str, records: dict[str, Record]) -> None:  # noqa: F811
    """Every rule about one place fires on the whole graph too, once that place is taken away or turned round."""
    seen = graph.views(records[stack])
    missed = []
    for rule in RULES:
        bad = rule.failing()[0]
        if rule.together is not None or not any(view.type in rule.types for view in seen):
            continue
        first = next(view for view in seen if view.type in rule.types)
        spoilt = replace(first, props=bad.props if bad.type == first.type else {}, protect=bad.protect)
        others = [view for view in seen if view is not first]
        if bad.type == first.type and not any(one.rule is rule for one in graph.findings([*others, spoilt], [rule])):
            missed.append(rule.id)
    assert not missed


def test_levels_by_environment() -> None:
    strict = next(rule for rule in RULES if rule.only == ("prod",))
    everywhere = next(rule for rule in RULES if rule.id == "key-rotates")
    assert [strict.level(one) for one in ("dev", "staging", "prod")] == [None, Level.ADVISORY, Level.MANDATORY]
    assert {everywhere.level(one) for one in ("dev", "staging", "prod")} == {Level.MANDATORY}


def test_what_a_preview_does_not_know_breaks_nothing() -> None:
    rule = next(rule for rule in RULES if rule.id == "dynamodb-point-in-time")
    assert rule.violations(View(rule.types[0], "t", {"pointInTimeRecovery": {"enabled": UNKNOWN}})) == []
    from pulumi_policy.proxy import UNKNOWN_BOOLEAN_VALUE, unknown_checking_proxy

    proxied = unknown_checking_proxy({"a": [{"b": UNKNOWN_BOOLEAN_VALUE, "c": 1}]})
    assert plain(proxied) == {"a": [{"b": UNKNOWN, "c": 1}]}


def test_the_pack_has_each_rule_at_both_levels() -> None:
    names = [policy.name for policy in policies()]
    assert len(names) == len(set(names)) == 2 * len(RULES)


def test_no_action_is_let_off_that_no_role_of_ours_needs_on_everything(records: dict[str, Record]) -> None:  # noqa: F811
    needed = {
        action
        for record in records.values()
        for view in graph.views(record)
        if view.type in POLICIES
        for one in statements(view)
        if one["Effect"] == "Allow" and "*" in listed(one["Resource"])
        for action in listed(one["Action"])
    }
    assert needed == ANY_RESOURCE
