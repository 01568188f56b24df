"""The fault experiments of AWS: each stops, hits ours alone, and has a twin that plays it here."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest

from analysis.graph import Record
from tests.docs.markdown import ROOT

TEMPLATE = "aws:fis/experimentTemplate:ExperimentTemplate"
WITH = {"serverless": "extremes", "fargate": "fargate-extremes"}
"""The recorded stacks that have them."""

SERVICE, TASKS = "tests/service/test_service.py::", "tests/local/test_ecs_tasks.py::"
KILLED = "tests/local/test_plain_cli.py::test_a_lambda_is_killed_in_the_middle_of_its_batch"
STOPPED = SERVICE + "test_sigterm_ends_calls_and_releases_the_rest"
RESTARTED = SERVICE + "test_a_restart_of_the_database_is_waited_out_and_told_once"
TWINS: dict[str, dict[str, tuple[str, ...]]] = {
    "serverless": {
        "zone-lost": (KILLED,),
        "network-lost": (
            "tests/serverless/test_handlers.py::test_without_the_network_to_the_gateway_no_attempt_is_used_up",
        ),
        "dynamodb-unreachable": (
            "tests/serverless/test_handlers.py::test_without_dynamodb_a_batch_calls_nobody",
            "tests/contract/test_dynamodb.py::test_a_crash_between_any_two_api_calls_loses_and_doubles_nothing",
        ),
        "s3-unreachable": (
            "tests/serverless/test_handlers.py::test_without_s3_nothing_is_planned_and_nothing_touched",
        ),
    },
    "fargate": {
        "task-stopped": (
            STOPPED,
            TASKS + "test_a_killed_task_is_replaced_and_the_desired_count_obeyed",
        ),
        "all-tasks-stopped": (SERVICE + "test_a_killed_worker_is_relieved_when_its_leases_are_over",),
        "zone-lost": (SERVICE + "test_a_frozen_worker_does_no_harm_when_it_wakes",),
        "network-lost": (SERVICE + "test_an_outage_of_the_gateway_burns_no_attempts",),
        "images-unreachable": (TASKS + "test_what_a_task_cannot_have_keeps_it_from_starting",),
        "database-restarted": (RESTARTED,),
        "database-failover": (RESTARTED,),
    },
}
"""Experiment -> the tests that play its fault without AWS."""


def templates(record: Record) -> dict[str, dict[str, Any]]:
    return {template.name: template.inputs for template in record.all(TEMPLATE)}


def test_there_are_at_least_eight_and_each_has_a_twin(records: dict[str, Record]) -> None:
    found = {alternative: set(templates(records[stack])) for alternative, stack in WITH.items()}
    assert found == {alternative: set(twins) for alternative, twins in TWINS.items()}
    assert sum(map(len, found.values())) >= 8


@pytest.mark.parametrize("twin", sorted({one for all_ in TWINS.values() for twins in all_.values() for one in twins}))
def test_each_twin_is_there_and_plays(twin: str) -> None:
    path, _, name = twin.partition("::")
    tree = ast.parse((ROOT / path).read_text())
    (test,) = [one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name == name]
    marks = [ast.unparse(decorator) for decorator in test.decorator_list]
    assert not any("skip" in mark or "xfail" in mark for mark in marks), "it would play nothing"
    assert any(isinstance(node, ast.Assert) for node in ast.walk(test))


@pytest.mark.parametrize("alternative", WITH)
def test_the_page_shows_these(records: dict[str, Record], alternative: str) -> None:
    text = (ROOT / "docs/experiments.md").read_text()
    section = text.partition(f"## {alternative}")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `([a-z0-9-]+)` \|(.*)\|$", section, re.MULTILINE))
    assert set(rows) == set(TWINS[alternative])
    for name, template in templates(records[WITH[alternative]]).items():
        assert f"`{template['actions'][0]['actionId']}`" in rows[name]
        assert re.findall(r"`(test_\w+)`", rows[name]) == [twin.partition("::")[2] for twin in TWINS[alternative][name]]


@pytest.mark.parametrize("stack", WITH.values())
def test_each_stops_on_our_alarms_and_says_what_it_did(records: dict[str, Record], stack: str) -> None:
    record = records[stack]
    alarms = {alarm.outputs["arn"]: alarm for alarm in record.all("aws:cloudwatch/metricAlarm:MetricAlarm")}
    pages = record.all("aws:cloudwatch/compositeAlarm:CompositeAlarm")
    for template in templates(record).values():
        stops = [alarms[stop["value"]] for stop in template["stopConditions"]]
        assert {stop["source"] for stop in template["stopConditions"]} == {"aws:cloudwatch:alarm"}
        assert any(f'"{alarm.inputs["name"]}"' in page.inputs["alarmRule"] for alarm in stops for page in pages)
        (action,) = template["actions"]
        lasts = {one["key"]: one["value"] for one in action.get("parameters", ())}.get("duration")
        age = record.one("aws:cloudwatch/metricAlarm:MetricAlarm", "oldest-pending").inputs["threshold"]
        assert lasts is None or int(re.fullmatch(r"PT(\d+)M", lasts)[1]) * 60 < age  # type: ignore[index]
        assert template["logConfiguration"]["cloudwatchLogsConfiguration"]["logGroupArn"].endswith("/experiments:*")
        assert template["experimentOptions"]["emptyTargetResolutionMode"] == "fail"


@pytest.mark.parametrize("stack", WITH.values())
def test_each_hits_something_of_this_stack_and_nothing_else(records: dict[str, Record], stack: str) -> None:
    record = records[stack]
    (vpc,) = record.all("awsx:ec2:Vpc")
    subnets = {f":subnet/{id_}" for id_ in vpc.outputs["privateSubnetIds"]}
    for name, template in templates(record).items():
        (target,) = template["targets"]
        if target["resourceType"] == "aws:ecs:task":
            (cluster,) = record.all("aws:ecs/cluster:Cluster")
            assert target["parameters"] == {"cluster": cluster.inputs["name"], "service": "worker"}
            continue
        suffixes = {f":{arn.split(':', 5)[5]}" for arn in target["resourceArns"]}
        if target["resourceType"] == "aws:ec2:subnet":
            assert suffixes <= subnets
            assert (suffixes == subnets) is (name != "zone-lost")  # a zone is one of them
        else:
            ours = {f":{r.outputs['arn'].split(':', 5)[5]}" for r in record.resources if "arn" in r.outputs}
            assert suffixes <= ours


def test_a_role_may_do_its_own_fault_alone(records: dict[str, Record]) -> None:
    for stack in WITH.values():
        for name, template in templates(records[stack]).items():
            role = records[stack].one("aws:iam/role:Role", f"experiment-{name}")
            assert template["roleArn"] == role.outputs["arn"]
            assert "experiment/*" in role.inputs["assumeRolePolicy"]


def test_nobody_gets_them_unasked(records: dict[str, Record]) -> None:
    for stack, record in records.items():
        assert bool(record.some(TEMPLATE)) is (stack in WITH.values())
