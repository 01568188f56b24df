"""Two stacks of one alternative and environment in one account, as docs/restore.md makes them: neither reads what the
other says of itself, nor takes a name of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from analysis.graph import Record, record
from components.worker import METRIC_NAMESPACE
from tests.fakes import START
from workers import config as worker_config

STACKS: dict[str, dict[str, str]] = {"serverless": {}, "fargate": {"minTasks": "0"}}
"""Each with one beside it, of the same config: of `fargate` one that has the publisher as well."""
Series = tuple[str, frozenset[tuple[str, str]]]
"""A metric's name and dimensions."""


@pytest.fixture(scope="module", params=STACKS)
def pair(request: pytest.FixtureRequest) -> tuple[Record, Record]:
    stack, changes = request.param, STACKS[request.param]
    return record(stack, **changes), record(stack, as_stack=f"{stack}-beside", **changes)


def series(metric: Mapping[str, Any]) -> Iterator[Series]:
    if metric.get("namespace") == METRIC_NAMESPACE:
        given = metric.get("dimensions") or {}
        pairs = given.items() if isinstance(given, Mapping) else [(one["name"], one["value"]) for one in given]
        yield metric["metricName"], frozenset(pairs)


def read(of: Record) -> set[Series]:
    """What alarms, scaling and dashboard read of the workers' own metrics."""
    found: set[Series] = set()
    for alarm in of.all("aws:cloudwatch/metricAlarm:MetricAlarm"):
        queries = [query["metric"] for query in alarm.inputs.get("metricQueries") or () if "metric" in query]
        for metric in queries or [alarm.inputs]:
            found |= set(series(metric))
    for policy in of.some("aws:appautoscaling/policy:Policy"):
        tracking = policy.inputs.get("targetTrackingScalingPolicyConfiguration") or {}
        for term in (tracking.get("customizedMetricSpecification") or {}).get("metrics") or ():
            found |= set(series((term.get("metricStat") or {}).get("metric") or {}))
    for board in of.all("aws:cloudwatch/dashboard:Dashboard"):
        for widget in json.loads(board.inputs["dashboardBody"])["widgets"]:
            for line in widget["properties"].get("metrics", ()):
                if isinstance(line[0], dict):
                    found.add(searched(line[0]["expression"]))
                elif line[0] == METRIC_NAMESPACE:
                    names = [part for part in line[2:] if isinstance(part, str)]
                    found.add((line[1], frozenset(zip(names[::2], names[1::2], strict=True))))
    return found


def searched(expression: str) -> Series:
    """A search, with any value of the dimension that it leaves open."""
    schema, given = re.findall(r"SEARCH\('\{([^}]+)\} ([^']+)'", expression)[0]
    namespace, *dimensions = schema.split(",")
    assert namespace == METRIC_NAMESPACE
    values = dict(re.findall(r'(\w+)="([^"]*)"', given))  # in quotes: that value, and not what has it in it
    name = values.pop("MetricName")
    assert values.keys() < set(dimensions)
    return name, frozenset(values.items())


def environments(of: Record) -> list[dict[str, str]]:
    """Of every worker that tells metrics."""
    functions = [one.inputs["environment"]["variables"] for one in of.some("aws:lambda/function:Function")]
    tasks = [
        {one["name"]: one["value"] for one in container.get("environment", ())}
        for task in of.some("aws:ecs/taskDefinition:TaskDefinition")
        for container in json.loads(task.inputs["containerDefinitions"])
    ]
    return [one for one in (*functions, *tasks) if "METRIC_NAMESPACE" in one]


def told(of: Record, capsys: pytest.CaptureFixture[str]) -> set[frozenset[tuple[str, str]]]:
    """The dimensions of what its workers tell, beside those that one metric alone has."""
    for variables in environments(of):
        worker_config.telemetry(worker_config.Values(variables)).metrics({"Backlog": (1, "Count")}, START)
    found = set()
    for line in capsys.readouterr().out.splitlines():
        document = json.loads(line)
        (directive,) = document["_aws"]["CloudWatchMetrics"]
        (names,) = directive["Dimensions"]  # one set: each more is a metric more to pay for
        found.add(frozenset((name, document[name]) for name in names))
    return found


def test_neither_reads_what_the_other_says(pair: tuple[Record, Record], capsys: pytest.CaptureFixture[str]) -> None:
    said, seen = [told(stack, capsys) for stack in pair], [read(stack) for stack in pair]
    for mine in (0, 1):
        (own,), (others,) = said[mine], said[1 - mine]
        assert own != others
        assert len(seen[mine]) > 10
        for name, dimensions in seen[mine]:
            assert dimensions == own, f"{name} is read with {dict(dimensions)}, and told with {dict(own)}"
    assert not seen[0] & seen[1]


NAMES = {
    "aws:appautoscaling/policy:Policy": "resourceId",
    "aws:budgets/budget:Budget": "name",
    "aws:chatbot/slackChannelConfiguration:SlackChannelConfiguration": "configurationName",
    "aws:cloudwatch/compositeAlarm:CompositeAlarm": "alarmName",
    "aws:cloudwatch/dashboard:Dashboard": "dashboardName",
    "aws:cloudwatch/logGroup:LogGroup": "name",
    "aws:cloudwatch/logResourcePolicy:LogResourcePolicy": "policyName",
    "aws:cloudwatch/metricAlarm:MetricAlarm": "name",
    "aws:cloudwatch/queryDefinition:QueryDefinition": "name",
    "aws:ecs/cluster:Cluster": "name",
    "aws:ecs/taskDefinition:TaskDefinition": "family",
    "aws:kms/alias:Alias": "name",
    "aws:rds/cluster:Cluster": "clusterIdentifier",
    "aws:sfn/stateMachine:StateMachine": "name",
}
"""What has a name that is one in the whole account, and that the program itself chooses."""


def test_neither_takes_a_name_of_the_other(pair: tuple[Record, Record]) -> None:
    first, second = (
        {(type_, one.inputs[name]) for type_, name in NAMES.items() for one in stack.some(type_)} for stack in pair
    )
    assert len(first) == len(second) > 30
    assert not first & second


def test_saved_queries_ask_the_own_logs(pair: tuple[Record, Record]) -> None:
    for stack in pair:
        own = {group.inputs["name"] for group in stack.all("aws:cloudwatch/logGroup:LogGroup")}
        for query in stack.all("aws:cloudwatch/queryDefinition:QueryDefinition"):
            assert set(query.inputs["logGroupNames"]) <= own
