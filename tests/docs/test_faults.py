"""docs/faults.md says what is true: each alarm is one of the program, each test is there and can fail."""

from __future__ import annotations

import ast

import pytest

from analysis.faults import FAULTS, Fault
from analysis.watched import in_prod
from tests.docs.markdown import ROOT

ASKED_FOR = (
    "gateway is down", "gateway is slow", "gateway throttles", "gateway answers wrongly", "DynamoDB throttles",
    "Aurora fails over", "zone is gone", "Lambda is killed", "task is killed", "poisoned", "Clocks", "deployment in",
    "key is rotated", "mistake in the config",
)  # fmt: skip


@pytest.fixture(scope="module")
def alarms() -> dict[str, set[str]]:
    """The alarms of each alternative in prod, by the names of their rows."""
    return {
        alternative: {alarm.name for _, alarm in made.alarms} | {page.name for page in made.pages}
        for alternative in ("serverless", "fargate")
        for made in [in_prod(alternative)]
    }


def named(fault: Fault) -> str:
    return fault.name


@pytest.mark.parametrize("fault", FAULTS, ids=named)
def test_each_alarm_is_one_of_the_program(alarms: dict[str, set[str]], fault: Fault) -> None:
    """In each alternative that the fault strikes, at least one of them; and none is unknown to all of these."""
    for alternative in fault.alternatives:
        assert not fault.alarms or alarms[alternative] & set(fault.alarms)
    assert set(fault.alarms) <= set().union(*(alarms[alternative] for alternative in fault.alternatives))


@pytest.mark.parametrize("fault", FAULTS, ids=named)
def test_a_fault_without_an_alarm_says_why(fault: Fault) -> None:
    assert bool(fault.alarms) != bool(fault.without)


@pytest.mark.parametrize("test", sorted({test for fault in FAULTS for test in fault.tests}))
def test_each_test_is_there_and_can_fail(test: str) -> None:
    path, _, name = test.partition("::")
    tree = ast.parse((ROOT / path).read_text())
    (found,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    marks = [ast.unparse(decorator) for decorator in found.decorator_list]
    assert not [mark for mark in marks if "skip" in mark or "xfail" in mark]
    checks = [n for n in ast.walk(found) if isinstance(n, ast.Assert) or "raises" in ast.unparse(n) or _helps(n)]
    assert checks


def _helps(node: ast.AST) -> bool:
    """A helper of the tests that asserts: `once_each(...)`, `wait(...)`."""
    return isinstance(node, ast.Call) and ast.unparse(node.func) in ("once_each", "wait")


@pytest.mark.parametrize("words", ASKED_FOR)
def test_what_anyone_would_ask_for_is_there(words: str) -> None:
    assert [fault for fault in FAULTS if words in fault.name]
