"""What each component of the serverless alternative makes of its settings, and what the stack tells the outside."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from alternatives.serverless.stacks import LAYER
from alternatives.settings import parse
from analysis.graph import Record, Recorded
from workers import config as worker_config
from workers.canary import Canary
from workers.stores.dynamodb import EXPIRES

CONFIG = {"owner": "payments", "costCenter": "cc-1", "gatewayUrl": "https://payments.example.com"}
OUTPUTS = {
    "alternative", "environment", "region", "tableName", "pendingIndexName", "pendingShards", "planBucket",
    "stateMachineArn", "scheduleName", "scheduleGroup", "deadLetterQueueUrl", "alarmTopicArn", "noticeTopicArn",
    "dashboardName", "logGroups", "functions", "vpcId", "egressAddresses", "gatewayUrl", "mode",
    "gatewayKeySecretArn", "reviewHours", "reviewOwner", "operatorPolicyArn", "deskFunctions", "deskPolicyArns",
}  # fmt: skip


def of_the_run(record: Record) -> list[Recorded]:
    """Its functions: those of the desk are told other things (tests/desk)."""
    return [one for one in record.all("aws:lambda/function:Function") if not one.name.startswith("desk-")]


def test_the_outputs_are_those_that_command_and_demo_read(serverless: Record) -> None:
    assert set(serverless.outputs) == OUTPUTS
    assert all(serverless.outputs.values())
    assert set(serverless.outputs["functions"]) == {"plan", "confirm", "report"}
    assert set(serverless.outputs["logGroups"]) == {"plan", "confirm", "report", "stateMachine", "desk"}


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


@pytest.mark.parametrize(
    ("stack", "ways"),
    [
        ("dev", [(443, ["0.0.0.0/0"])]),
        # the gateway's addresses are named: these, AWS inside the VPC, AWS behind the gateway endpoints
        ("extremes", [(8443, ["203.0.113.0/24"]), (443, ["10.0.0.0/16"]), (443, ["pl-dynamodb", "pl-s3"])]),
    ],
)
def test_the_workers_reach_aws_and_the_gateway_alone(
    records: dict[str, Record], stack: str, ways: list[tuple[int, list[str]]]
) -> None:
    workers = records[stack].one("aws:ec2/securityGroup:SecurityGroup", "workers")
    found = [(rule["toPort"], rule.get("cidrBlocks") or rule["prefixListIds"]) for rule in workers.inputs["egress"]]
    assert found == ways
    assert workers.inputs["ingress"] == []


def test_a_gateway_on_this_machine_opens_no_port() -> None:
    assert parse(CONFIG | {"gatewayUrl": "http://127.0.0.1:8080"}).gateway.port == 443


def test_interface_endpoints_come_by_setting(records: dict[str, Record]) -> None:
    endpoints = records["extremes"].all("aws:ec2/vpcEndpoint:VpcEndpoint")
    inner = [endpoint for endpoint in endpoints if endpoint.inputs["vpcEndpointType"] == "Interface"]
    assert {endpoint.inputs["serviceName"].rpartition(".")[2] for endpoint in inner} == {
        "secretsmanager",
        "kms",
        "xray",
    }
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
    for function in of_the_run(serverless):
        variables = function.inputs["environment"]["variables"]
        told = worker_config.read_lambda(variables)
        assert told.index == serverless.outputs["pendingIndexName"]
        assert told.table == serverless.outputs["tableName"]
        assert told.plan_bucket == serverless.outputs["planBucket"]
        assert told.gateway.secret_arn == serverless.outputs["gatewayKeySecretArn"]
        assert told.shards == serverless.outputs["pendingShards"]


def test_plan_alone_sends_canaries_and_the_table_forgets_them_where_settings_say_so(records: dict[str, Record]) -> None:
    def told(stack: str) -> dict[str, Canary | None]:
        return {name: config.canary for name, config in configs(stack).items()}

    def configs(stack: str) -> dict[str, worker_config.LambdaConfig]:
        functions = of_the_run(records[stack])
        return {one.name: worker_config.read_lambda(one.inputs["environment"]["variables"]) for one in functions}

    canary = Canary("test-account", timedelta(minutes=5))
    assert told("staging") == {"plan": canary, "confirm": None, "report": None}
    assert told("prod") == dict.fromkeys(("plan", "confirm", "report"))
    assert {config.canary_account for config in configs("staging").values()} == {"test-account"}
    assert {config.canary_account for config in configs("prod").values()} == {None}
    table = "aws:dynamodb/table:Table"
    assert records["staging"].all(table)[0].inputs["ttl"] == {"enabled": True, "attributeName": EXPIRES}
    assert not records["prod"].all(table)[0].inputs.get("ttl")


def test_the_rate_limit_is_not_divided_by_the_workers(records: dict[str, Record]) -> None:
    for stack, rate in (("dev", 500.0), ("extremes", 100_000.0)):
        function = records[stack].one("aws:lambda/function:Function", "confirm")
        assert worker_config.read_lambda(function.inputs["environment"]["variables"]).gateway.rate_limit == rate


def test_prod_keeps_concurrency_for_the_batches(records: dict[str, Record]) -> None:
    def reserved(stack: str) -> dict[str, Any]:
        functions = of_the_run(records[stack])
        return {f.name: f.inputs.get("reservedConcurrentExecutions") for f in functions}

    assert reserved("dev") == {"plan": None, "confirm": None, "report": None}
    assert reserved("prod") == {"plan": 2, "confirm": 10, "report": 2}
    assert reserved("extremes")["confirm"] == 100


def test_the_lambdas_trace_through_the_layer_where_settings_name_one(records: dict[str, Record]) -> None:
    """It needs no right of its own: its exporter makes the calls for which each role has the statement Trace anyway."""
    for stack, layers, endpoint in (("extremes", [LAYER], "http://127.0.0.1:4318"), ("prod", None, "")):
        functions = of_the_run(records[stack])
        assert len(functions) == 3
        for function in functions:
            assert function.inputs.get("layers") == layers
            assert function.inputs["architectures"] == ["arm64"], "as the layer's collector is built"
            variables = function.inputs["environment"]["variables"]
            assert worker_config.read_lambda(variables).tracing.endpoint == endpoint
            assert ("OPENTELEMETRY_EXTENSION_LOG_LEVEL" in variables) == bool(layers)
            role = next(
                policy for policy in records[stack].all("aws:iam/rolePolicy:RolePolicy") if policy.name == function.name
            )
            (trace,) = (one for one in json.loads(role.inputs["policy"])["Statement"] if one["Sid"] == "Trace")
            assert trace["Action"] == ["xray:PutTelemetryRecords", "xray:PutTraceSegments"]


def test_the_handlers_exist(serverless: Record) -> None:
    from workers.serverless import handlers

    for function in of_the_run(serverless):
        module, _, name = function.inputs["handler"].rpartition(".")
        assert module == handlers.__name__
        assert callable(getattr(handlers, name))
