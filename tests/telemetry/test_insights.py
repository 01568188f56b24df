"""The saved queries in the program, and the interpreter that runs them here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from analysis.graph import record
from components.queries import QUERIES
from tests.telemetry.insights import QueryError, rows

FUNCTIONS = {
    "abs", "avg", "bin", "ceil", "coalesce", "concat", "count", "count_distinct", "datefloor", "dateceil", "earliest",
    "floor", "frommillis", "greatest", "isblank", "isempty", "ispresent", "jsonparse", "jsonstringify", "latest",
    "least", "log", "ltrim", "max", "min", "now", "pct", "replace", "rtrim", "sortsFirst", "sortsLast", "sqrt",
    "stddev", "strcontains", "strlen", "substr", "sum", "tolower", "toupper", "tomillis", "trim", "urldecode",
    "urlencode",
}  # fmt: skip
"""Of CloudWatch Logs Insights' language."""
BY_NAME = {query.name: query for query in QUERIES}


def test_each_query_is_run_over_real_lines() -> None:
    tests = (Path(__file__).parent / "test_lines.py").read_text()
    assert {name for name in BY_NAME if f'ask(world, "{name}"' in tests} == set(BY_NAME)


def test_a_line_of_rejected_ones_alone_counts_too() -> None:
    """Zeros are not sent."""
    at = '{"_aws": {"Timestamp": 1795548974129}, '
    (told,) = rows(BY_NAME["throughput"].text, [f'{at}"Rejected": 2}}', f'{at}"Backlog": 7}}'])
    assert (told["rejected"], told["confirmed"]) == (2, 0)


def test_who_has_left_the_desk_is_not_there() -> None:
    line = '{{"at":"2026-01-05T09:00:0{}.000Z","tx":"p-1","status":"{}","attempt":1,"why":"w","run":"r"}}'
    lines = [line.format(1, "REVIEW"), line.format(2, "CONFIRMED")]
    assert rows(BY_NAME["desk"].text, lines[:1])
    assert rows(BY_NAME["desk"].text, lines) == []


def test_no_column_is_called_as_a_function_is() -> None:
    """CloudWatch Logs takes such a name for the start of a call."""
    named = {name for query in QUERIES for name in re.findall(r"\bas (\w+)", query.text)}
    assert {"state", "since", "times"} <= named
    assert not named & FUNCTIONS


@pytest.mark.parametrize("alternative", ["serverless", "fargate"])
def test_they_are_saved_over_the_workers_groups(alternative: str) -> None:
    recorded = record(alternative)
    saved = recorded.all("aws:cloudwatch/queryDefinition:QueryDefinition")
    assert {one.inputs["name"].partition("/")[2] for one in saved} == set(BY_NAME)
    groups = {one.inputs["name"] for one in recorded.all("aws:cloudwatch/logGroup:LogGroup")}
    for one in saved:
        assert set(one.inputs["logGroupNames"]) <= groups
        assert one.inputs["queryString"] == BY_NAME[one.name].text
    wanted = {"serverless": {"plan", "confirm", "report"}, "fargate": {"worker", "migrations"}}[alternative]
    assert {name.rpartition("/")[2] for name in saved[0].inputs["logGroupNames"]} == wanted


@pytest.mark.parametrize(
    ("query", "unknown"),
    [
        ("dedup tx", "dedup"),
        ("filter tx like", "ends where a pattern"),
        ("filter tx ~ 1", "~"),
        ("filter strlen(tx) > 1", "("),
        ("stats pct(ms, 99)", "pct(ms"),
        ("stats count(*) by datefloor(1h)", "datefloor"),
        ("sort tx", "sort"),
        ('parse why "* *" as a, b', "parse"),
        ("fields strcontains(tx, 1)", "strcontains"),
    ],
)
def test_what_the_interpreter_does_not_know_it_refuses(query: str, unknown: str) -> None:
    with pytest.raises(QueryError) as refused:
        rows(query, [])
    assert unknown in str(refused.value)
