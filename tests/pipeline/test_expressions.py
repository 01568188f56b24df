"""Azure's expressions: values, comparisons, and what is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from delivery.azure_runner.expressions import FUNCTIONS, evaluate
from local.errors import LocalError

NAMES = {"parameters": {"alternative": "fargate", "rollback": False}, "variables": {"Build.Reason": "Manual"}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("'it''s'", "it's"),
        ("7", 7),
        ("true", True),
        ("parameters.alternative", "fargate"),
        ("variables['Build.Reason']", "Manual"),
        ("eq(parameters.alternative, 'FARGATE')", True),
        ("ne(variables['Build.Reason'], 'PullRequest')", True),
        ("eq(parameters.rollback, false)", True),
        ("eq(parameters.rollback, 'true')", False),
        ("in(parameters.alternative, 'serverless', 'fargate')", True),
        ("and(true, not(parameters.rollback))", True),
        ("or(eq(parameters.alternative, 'x'), eq(1, 1))", True),
        ("and(true, '')", False),
    ],
)
def test_a_value(text: str, value: Any) -> None:
    assert evaluate(text, NAMES) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("startsWith('a', 'b')", "calls startsWith(), which is unknown here; known: and, eq, in, ne, not, or"),
        ("dependencies.Build", "names dependencies, which is unknown here; known: parameters, variables"),
        ("parameters.altermative", "names parameters.altermative, which does not exist"),
        ("eq(1)", "calls eq() with 1 values"),
        ("eq(1, 2", "lacks a ','"),
        ("eq(1, 2))", "has ')' too many"),
        ("1 + 2", "cannot be read from '+ 2' on"),
        ("", "ends too early"),
        (")", "has ')' where a value belongs"),
    ],
)
def test_a_mistake_is_named(text: str, said: str) -> None:
    with pytest.raises(LocalError) as error:
        evaluate(text, NAMES)
    assert said in str(error.value)
    assert repr(text.strip()) in str(error.value)


def test_functions_are_those_it_is_given() -> None:
    assert evaluate("and(succeeded(), true)", {}, {**FUNCTIONS, "succeeded": lambda: True}) is True
