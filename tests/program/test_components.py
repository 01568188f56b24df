"""What each component of the serverless alternative makes of its settings, and what the stack tells the outside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from components.observability import Alarm, Formula, Metric, Missing, Severity
from components.serverless.observability import Metrics, Sources, alarms, silence_seconds, widgets
from components.settings import Settings, parse
from local.recording import Record
from workers import config as worker_config

CONFIG = {"owner": "payments", "costCenter": "cc-1", "gatewayUrl": "https://payments.example.com"}
OUTPUTS = {
    "alternative", "environment", "region", "tableName", "pendingIndexName", "pendingShards", "planBucket",
    "stateMachineArn", "scheduleName", "scheduleGroup", "deadLetterQueueUrl", "alarmTopicArn", "dashboardName",
    "logGroups", "functions", "vpcId", "egressAddresses", "gatewayUrl", "mode", "gatewayKeySecretArn", "reviewHours",
    "reviewOwner", "operatorPolicyArn",
}  # fmt: skip


def test_the_outputs_are_those_that_command_and_demo_read(serverless: Record) -> None:
    assert set(serverless.outputs) == OUTPUTS
    assert all(serverless.outputs.values())
    assert set(serverless.outputs["functions"]) == {"plan", "confirm", "report"}
    assert set(serverless.outputs["logGroups"]) == {"plan", "confirm", "report", "stateMachine"}


# -- network


@pytest.mark.parametrize(("stack", "strategy", "addresses"), [("dev", "Single", 1), ("prod", "OnePerAz", 2)])
def test_the_way_out_has_fixed_addresses(records: dict[str, Record], stack: str, strategy: str, addresses: int) -> None:
    record = records[stack]
    gateways = record.all("awsx:ec2:Vpc")[0].inputs["natGateways"]
    eips = record.all("aws:ec2/eip:Eip")
    assert gateways == {
        "strategy": strategy,
        "elasticIpAllocationIds": [eip.outputs["allocationId"] for eip in sorted(eips, key=lambda eip: eip.name)],
    }
    assert len(record.outputs["egressAddresses"]) == len(eips) == addresses


@pytest.mark.parametrize(("stack", "ports"), [("dev", [443]), ("extremes", [443, 8443])])
def test_the_workers_reach_aws_and_the_gateways_port(records: dict[str, Record], stack: str, ports: list[int]) -> None:
    workers = records[stack].one("aws:ec2/securityGroup:SecurityGroup", "workers")
    assert [rule["toPort"] for rule in workers.inputs["egress"]] == ports
    assert workers.inputs["ingress"] == []


def test_a_gateway_on_this_machine_opens_no_port() -> None:
    assert parse(CONFIG | {"gatewayUrl": "http://127.0.0.1:8080"}).gateway.port == 443


def test_interface_endpoints_come_by_setting(records: dict[str, Record]) -> None:
    endpoints = records["extremes"].all("aws:ec2/vpcEndpoint:VpcEndpoint")
    inner = [endpoint for endpoint in endpoints if endpoint.inputs["vpcEndpointType"] == "Interface"]
    assert {endpoint.inputs["serviceName"].rpartition(".")[2] for endpoint in inner} == {"secretsmanager", "kms"}
    group = records["extremes"].one("aws:ec2/securityGroup:SecurityGroup", "endpoints")
    (rule,) = group.inputs["ingress"]
    assert rule["securityGroups"] == [
        f"{records['extremes'].one('aws:ec2/securityGroup:SecurityGroup', 'workers').outputs['name']}-id"
    ]
    outer = records["dev"].all("aws:ec2/vpcEndpoint:VpcEndpoint")
    assert {endpoint.inputs["vpcEndpointType"] for endpoint in outer} == {"Gateway"}


# -- datastore


def test_prod_is_protected_twice_and_dev_is_not(records: dict[str, Record]) -> None:
    for stack, protected in (("dev", False), ("prod", True)):
        table = records[stack].one("aws:dynamodb/table:Table", "transactions")
        assert table.protect is protected
        assert table.inputs["deletionProtectionEnabled"] is protected
        assert table.inputs["pointInTimeRecovery"] == {"enabled": protected}
        assert records[stack].one("aws:kms/key:Key", "data").protect is protected
        assert {eip.protect for eip in records[stack].all("aws:ec2/eip:Eip")} == {protected}  # allow-listed elsewhere
    assert records["prod"].one("aws:dynamodb/table:Table", "transactions").inputs["warmThroughput"] == {
        "readUnitsPerSecond": 12_000,
        "writeUnitsPerSecond": 8_000,
    }


def test_contributor_insights_watch_table_and_index_for_throttled_keys_alone(records: dict[str, Record]) -> None:
    insights = records["prod"].all("aws:dynamodb/contributorInsights:ContributorInsights")
    assert {row.inputs.get("indexName") for row in insights} == {None, "pending"}
    assert {row.inputs["mode"] for row in insights} == {"THROTTLED_KEYS"}


# -- compute


def test_the_workers_understand_what_they_are_told(serverless: Record) -> None:
    for function in serverless.all("aws:lambda/function:Function"):
        variables = function.inputs["environment"]["variables"]
        told = worker_config.read_lambda(variables)
        assert told.index == serverless.outputs["pendingIndexName"]
        assert told.table == serverless.outputs["tableName"]
        assert told.plan_bucket == serverless.outputs["planBucket"]
        assert told.gateway.secret_arn == serverless.outputs["gatewayKeySecretArn"]
        assert told.shards == serverless.outputs["pendingShards"]


def test_the_rate_limit_is_shared_by_the_workers(records: dict[str, Record]) -> None:
    for stack, rate in (("dev", 50.0), ("extremes", 1000.0)):
        function = records[stack].one("aws:lambda/function:Function", "confirm")
        assert worker_config.read_lambda(function.inputs["environment"]["variables"]).gateway.rate_limit == rate


def test_prod_keeps_concurrency_for_the_batches(records: dict[str, Record]) -> None:
    def reserved(stack: str) -> dict[str, Any]:
        functions = records[stack].all("aws:lambda/function:Function")
        return {f.name: f.inputs.get("reservedConcurrentExecutions") for f in functions}

    assert reserved("dev") == {"plan": None, "confirm": None, "report": None}
    assert reserved("prod") == {"plan": 2, "confirm": 10, "report": 2}
    assert reserved("extremes")["confirm"] == 100


def test_the_handlers_exist(serverless: Record) -> None:
    from workers.serverless import handlers

    for function in serverless.all("aws:lambda/function:Function"):
        module, _, name = function.inputs["handler"].rpartition(".")
        assert module == handlers.__name__
        assert callable(getattr(handlers, name))


# -- observability


def fake_metrics(settings: Settings) -> Metrics:
    functions = dict.fromkeys(("plan", "confirm", "report"), "function")
    return Metrics(settings, Sources("arn:run", "group", "queue", "table", functions))


EMITTED = {
    "Backlog", "OldestPendingAge", "InReview", "Confirmed", "Rejected", "Retried", "Review", "NotTried", "LostFences",
    "ClaimMs", "ConfirmMs", "SettleMs", "BatchesFailed",
}  # fmt: skip
"""What the handlers emit (tests/serverless holds them to their numbers)."""


def used(settings: Settings) -> Iterator[Metric | Formula]:
    metrics = fake_metrics(settings)
    yield from (alarm.metric for alarm in alarms(settings, metrics))
    yield from (metric for widget in widgets(metrics) for metric in widget.metrics)


def test_no_alarm_or_graph_waits_for_a_metric_that_nobody_emits() -> None:
    import inspect

    from workers.serverless import handlers

    source = inspect.getsource(handlers)
    ours = {
        metric.name
        for metric in used(parse(CONFIG))
        if isinstance(metric, Metric) and metric.namespace == "ConfirmTransactions"
    }
    assert ours <= EMITTED
    assert all(f'"{name}":' in source for name in EMITTED)


def test_each_worry_of_the_first_issue_has_its_alarm(records: dict[str, Record]) -> None:
    found = {a.name: a for a in records["dev"].all("aws:cloudwatch/metricAlarm:MetricAlarm")}
    wanted = {
        # name: namespace, metric, threshold, comparison, no data
        "run-failed": ("AWS/States", "ExecutionsFailed", 1, "GreaterThanOrEqualToThreshold", "notBreaching"),
        "run-timed-out": ("AWS/States", "ExecutionsTimedOut", 1, "GreaterThanOrEqualToThreshold", "notBreaching"),
        "run-aborted": ("AWS/States", "ExecutionsAborted", 1, "GreaterThanOrEqualToThreshold", "notBreaching"),
        "oldest-pending": (
            "ConfirmTransactions", "OldestPendingAge", 900, "GreaterThanOrEqualToThreshold", "notBreaching",
        ),
        "in-review": ("ConfirmTransactions", "InReview", 1, "GreaterThanOrEqualToThreshold", "notBreaching"),
        "batches-failed": ("ConfirmTransactions", "BatchesFailed", 1, "GreaterThanOrEqualToThreshold", "notBreaching"),
        "dead-letters": (
            "AWS/SQS", "ApproximateNumberOfMessagesVisible", 1, "GreaterThanOrEqualToThreshold", "notBreaching",
        ),
        "silence": ("AWS/States", "ExecutionsStarted", 1, "LessThanThreshold", "breaching"),
    }  # fmt: skip
    keys = ("namespace", "metricName", "threshold", "comparisonOperator", "treatMissingData")
    assert {name: tuple(alarm.inputs[key] for key in keys) for name, alarm in found.items()} == wanted
    assert found["oldest-pending"].inputs["dimensions"] == {"Alternative": "serverless", "Environment": "dev"}


def test_silence_follows_the_schedule() -> None:
    def silence(**changes: object) -> Alarm | None:
        settings = parse(CONFIG | {"oldestPendingAlarmSeconds": 604_800} | changes)
        rows = [alarm for alarm in alarms(settings, fake_metrics(settings)) if alarm.name == "silence"]
        return rows[0] if rows else None

    for schedule, seconds in (("rate(1 minute)", 300), ("rate(5 minutes)", 900), ("cron(0 * * * ? *)", 86_400)):
        alarm = silence(schedule=schedule)
        assert alarm is not None
        assert (alarm.period, alarm.below, alarm.missing) == (seconds, True, Missing.ALARMING)
    assert silence(schedule="rate(1 day)") is None  # CloudWatch cannot look back that far
    assert silence_seconds(parse(CONFIG | {"schedule": "rate(2 minutes)"})) == 360


def test_what_risks_the_promise_pages() -> None:
    settings = parse(CONFIG)
    paging = {a.name for a in alarms(settings, fake_metrics(settings)) if a.severity is Severity.PAGE}
    assert paging == {"run-failed", "run-timed-out", "oldest-pending", "dead-letters", "silence"}


def test_the_dashboard_tiles_without_overlap(recorded: Record) -> None:
    (board,) = recorded.all("aws:cloudwatch/dashboard:Dashboard")
    drawn = json.loads(board.inputs["dashboardBody"])["widgets"]
    cells = [
        (x, y)
        for widget in drawn
        for x in range(widget["x"], widget["x"] + widget["width"])
        for y in range(widget["y"], widget["y"] + widget["height"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23
    assert all(widget["properties"]["metrics"] for widget in drawn)
    assert "unknown" not in board.inputs["dashboardBody"].lower()


def test_mail_goes_out_where_settings_have_an_address(records: dict[str, Record]) -> None:
    (subscription,) = records["prod"].all("aws:sns/topicSubscription:TopicSubscription")
    assert (subscription.inputs["protocol"], subscription.inputs["endpoint"]) == ("email", "on-call@example.com")
    assert not [r for r in records["dev"].resources if r.type.startswith("aws:sns/topicSubscription")]
