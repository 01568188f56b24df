"""Every key, every rule between keys, and what the user is told."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

import pulumi
import pytest
import yaml

from alternatives.serverless.stacks import LAYER
from alternatives.settings import KEYS, NAMES, PARTS, parse, warnings
from analysis.graph import ACCOUNT, PROJECT, ROOT, record, stack_config
from components.aurora.settings import DatabaseSettings, Insights
from components.backup import LEAST_DAYS
from components.fargate.settings import FARGATE_SIZES, ServiceSettings
from components.schedules import period_seconds
from components.serverless.rules import BATCH_OVERHEAD, ID_BYTES, PAYLOAD_LIMIT, RESULT_BYTES
from components.serverless.settings import SIZES, FunctionSettings, RunSettings, TableSettings
from components.settings import ENVIRONMENTS, Environment, NatStrategy, Problem, SettingsError

CANARY: dict[str, Any] = {"canaryMinutes": 5, "canaryAccount": "test-account"}
LEAST = {"owner": "payments", "costCenter": "cc-1", "gatewayUrl": "https://payments.example.com"}


def problems(**changes: object) -> list[Problem]:
    with pytest.raises(SettingsError) as caught:
        parse(LEAST | changes)
    return list(caught.value.problems)


def test_three_keys_are_enough() -> None:
    parsed = parse(LEAST)
    assert (parsed.environment, parsed.part(TableSettings).pending_shards, parsed.network.nat_strategy) == (
        "dev",
        4,
        "single",
    )
    assert parsed.part(FunctionSettings).reserved_concurrency is None
    assert parsed.gateway.url == "https://payments.example.com"


def test_values_come_as_text_from_pulumi_and_typed_from_tests() -> None:
    as_text = {"batchSize": "50", "interfaceEndpoints": '["kms"]', "lambdaReservedConcurrency": "-1"}
    typed = {"batchSize": 50, "interfaceEndpoints": ["kms"], "lambdaReservedConcurrency": -1}
    assert parse(LEAST | as_text) == parse(LEAST | typed)
    assert parse(LEAST | typed).network.interface_endpoints == ("kms",)


def test_prod_gets_what_its_environment_has() -> None:
    parsed = parse(LEAST | {"environment": "prod", "alarmEmail": "a@example.com"})
    assert parsed.network.nat_strategy is NatStrategy.ONE_PER_ZONE
    assert parsed.sizing.deletion_protection
    assert parsed.part(FunctionSettings).reserved_concurrency == parsed.part(RunSettings).map_concurrency
    assert parsed.log_retention_days == 365


def test_what_is_set_wins_over_the_environment() -> None:
    parsed = parse(
        LEAST
        | {"environment": "prod", "alarmEmail": "a@example.com"}
        | {"natStrategy": "single", "pendingShards": 7, "logRetentionDays": 400, "availabilityZones": 3}
        | {"lambdaReservedConcurrency": -1}
    )
    assert parsed.network.nat_strategy is NatStrategy.SINGLE
    assert (
        parsed.part(TableSettings).pending_shards,
        parsed.log_retention_days,
        parsed.network.availability_zones,
    ) == (7, 400, 3)
    assert parsed.part(FunctionSettings).reserved_concurrency is None


WRONG: list[tuple[str, object]] = [
    ("alternative", "lambda"),
    ("environment", "production"),
    ("owner", ""),
    ("owner", "a b"),
    ("costCenter", "x" * 65),
    ("vpcCidr", "10.0.0.0/8"),
    ("vpcCidr", "10.0.0.0/29"),
    ("vpcCidr", "10.0.0.1/16"),
    ("vpcCidr", "ten"),
    ("availabilityZones", 1),
    ("availabilityZones", "4"),
    ("natStrategy", "both"),
    ("gatewayCidrs", ["0.0.0.0/0"]),
    ("gatewayCidrs", ["203.0.113.7/24"]),
    ("gatewayCidrs", ["203.0.113.0/24", "203.0.113.0/24"]),
    ("gatewayCidrs", "203.0.113.0/24"),
    ("gatewayCidrs", [7]),
    ("interfaceEndpoints", ["dynamodb"]),
    ("interfaceEndpoints", ["kms", "kms"]),
    ("interfaceEndpoints", "kms"),
    ("interfaceEndpoints", [{"name": "kms"}]),
    ("gatewayUrl", ""),
    ("gatewayUrl", "payments.example.com"),
    ("gatewayUrl", "ftp://payments.example.com"),
    ("gatewayUrl", "https://user:password@payments.example.com"),
    ("gatewayUrl", "https://payments.example.com?key=1"),
    ("gatewayUrl", "https://payments.example.com:port"),
    ("gatewayTimeoutSeconds", 0),
    ("gatewayConcurrency", 501),
    ("mode", "dry-run"),
    ("switchFrom", "cron"),
    ("restoreFrom", "no table"),
    ("restoreTime", "yesterday"),
    ("gatewayRateLimit", "fast"),
    ("gatewayGraceSeconds", 0),
    ("gatewayKeyWindowHours", -1),
    ("schedule", "every minute"),
    ("schedule", "rate(1 minutes)"),
    ("schedule", "rate(0 minutes)"),
    ("schedule", "rate(90 seconds)"),
    ("schedule", "cron(* * * * *)"),
    ("schedule", "cron(0 10 1 * MON *)"),
    ("schedule", "cron(0 10 ? * ? *)"),
    ("canaryMinutes", 4),
    ("canaryMinutes", 481),
    ("canaryAccount", "a b"),
    ("schedule", "at(2026-11-24T10:00:00)"),
    ("batchSize", 0),
    ("batchSize", "1e3"),
    ("batchSize", True),
    ("batchSize", 99.5),
    ("mapConcurrency", 1001),
    ("batchesPerPlan", 0),
    ("leaseSeconds", 9),
    ("maxAttempts", 0),
    ("retryBaseSeconds", 0),
    ("retryCapSeconds", 86_401),
    ("pendingShards", 101),
    ("reviewHours", 0),
    ("reviewOwner", ""),
    ("deskRoles", "ana"),
    ("deskRoles", '["a", "a"]'),
    ("deskRoles", '["role/with/path"]'),
    ("deskTwoApprovalsFrom", '["USD"]'),
    ("deskTwoApprovalsFrom", '["usd:1"]'),
    ("deskTwoApprovalsFrom", '["USD:1", "USD:2"]'),
    ("deskTwoApprovalsFrom", '["USD:-1"]'),
    ("pauseRemindsAfterMinutes", 4),
    ("pauseRemindsAfterMinutes", 10_081),
    ("deskRequestsEndAfterHours", 0),
    ("deskRequestsEndAfterHours", 169),
    ("clockSkewSeconds", 61),
    ("lambdaMemoryMb", 127),
    ("lambdaTimeoutSeconds", 901),
    ("lambdaReservedConcurrency", -2),
    ("adotLayer", "aws-otel-collector"),
    ("adotLayer", LAYER.removesuffix(":1")),
    ("adotLayer", LAYER.replace("arm64", "amd64")),
    ("adotLayer", LAYER.replace("collector", "python")),
    ("adotLayer", LAYER.replace("901920570463", ACCOUNT)),
    ("logRetentionDays", 31),
    ("maskLogs", "yes"),
    ("traceSampling", 101),
    ("alarmEmail", "on-call"),
    ("oldestPendingAlarmSeconds", 59),
    ("permissionsBoundary", "boundary"),
    ("slackWorkspaceId", "my-team"),
    ("slackChannelId", "payments"),
    ("pagerDutyIntegrationUrl", "http://events.pagerduty.com/integration/0123/enqueue"),
    ("pagerDutyIntegrationUrl", "https://events.pagerduty.com.example.org/integration/0123/enqueue"),
    ("monthlyBudget", -1),
    ("faultExperiments", "yes"),
    ("vaultLockGraceDays", 2),
    ("minCapacityUnits", "0.3"),
    ("minCapacityUnits", 257),
    ("minCapacityUnits", "-1"),
    ("maxCapacityUnits", "256.5"),
    ("maxCapacityUnits", "much"),
    ("databaseInstances", 16),
    ("databaseInsights", "all"),
    ("databaseInsightsDays", 30),
    ("databaseInsightsDays", 732),
    ("autoPauseSeconds", 299),
    ("autoPauseSeconds", 86_401),
    ("engineVersion", "16.6"),
    ("engineVersion", "17"),
    ("engineVersion", "17.3"),
    ("taskCpu", 500),
    ("taskMemoryMb", 511),
    ("minTasks", -2),
    ("minTasks", 1_001),
    ("maxTasks", -1),
    ("onDemandBase", "all"),
    ("spotWeight", 101),
    ("backlogPerTask", 0),
    ("imageDigest", "confirm:latest"),
    ("imageDigest", "confirm@sha256:abc"),
    ("imageDigest", "sha256:" + "0" * 64),
    ("stopTimeoutSeconds", 121),
    ("stopTimeoutSeconds", 19),
    ("collectorImage", "aws-otel-collector"),
    ("collectorImage", "public.ecr.aws/aws-observability/aws-otel-collector:v0.48.0"),
    ("collectorImage", "public.ecr.aws/aws-observability/aws-otel-collector@sha256:9b28"),
    ("collectorImage", ""),
]


DESCRIBED = {
    "https://user:password@payments.example.com": "text of 42 characters",
    "https://payments.example.com?key=1": "text of 34 characters",
    "http://events.pagerduty.com/integration/0123/enqueue": "text of 52 characters",
    "https://events.pagerduty.com.example.org/integration/0123/enqueue": "text of 65 characters",
    "[{'name': 'kms'}]": "a list of 1",
    "x" * 65: "text of 65 characters",
}
"""What may be a secret is not shown: Pulumi's output is the pipeline's log."""


@pytest.mark.parametrize(("key", "value"), WRONG, ids=lambda value: str(value)[:30])
def test_a_wrong_value_is_refused_with_key_found_allowed_and_mend(key: str, value: object) -> None:
    (problem,) = problems(**{key: value})
    row = next(row for row in KEYS if row.name == key)
    assert problem.key == key
    assert problem.found == ("nothing" if value == "" else DESCRIBED.get(str(value), json.dumps(value)))
    assert problem.allowed == row.allowed
    mended = parse(LEAST | {key: problem.mend})
    assert mended is not None
    assert f"{PROJECT}:{key}: {json.dumps(problem.mend)}" in str(problem)


def test_every_key_has_a_wrong_value_above() -> None:
    assert {key for key, _ in WRONG} == {key.name for key in KEYS}


def test_a_role_of_identity_center_needs_no_vouching() -> None:
    """Its sessions are people's anyway; and a name like theirs would vouch for who has forged one."""
    (problem,) = problems(deskRoles='["AWSReservedSSO_Maker_0123456789abcdef"]')
    assert problem.key == "deskRoles"


def test_missing_keys_are_named_together() -> None:
    with pytest.raises(SettingsError) as caught:
        parse({})
    assert {problem.key for problem in caught.value.problems} == {"owner", "costCenter", "gatewayUrl"}
    assert all(problem.found == "nothing" for problem in caught.value.problems)


def test_all_mistakes_come_in_one_message_without_a_stack_trace() -> None:
    with pytest.raises(SettingsError) as caught:
        parse({"batchsize": "50", "environment": "live", "leaseSeconds": "soon"})
    text = str(caught.value)
    assert isinstance(caught.value, pulumi.RunError)
    assert text.startswith("6 mistakes in the stack's config")
    for line in (
        'batchsize: found a key that does not exist (= "50"); did you mean batchSize?',
        "confirm-transactions:batchSize: 50",
        'environment: found "live"; allowed: dev, staging or prod',
        'confirm-transactions:environment: "dev"',
        'leaseSeconds: found "soon"; allowed: 10 to 3,600 seconds',
        "owner: found nothing",
    ):
        assert line in text


def test_an_unknown_key_far_from_all_is_to_be_removed() -> None:
    (problem,) = problems(colour="blue")
    assert problem.mend is None
    assert "remove the line" in str(problem)


@pytest.mark.parametrize(
    ("config", "key", "says", "also"),
    [
        (
            {"batchSize": 2000, "gatewayConcurrency": 500, "gatewayRateLimit": 100_000, "batchesPerPlan": 100},
            "batchSize",
            "262,144 bytes",
            (),
        ),
        ({"batchesPerPlan": 161, "lambdaMemoryMb": 128}, "batchesPerPlan", "at most 16,000 in all", ()),
        (
            {"batchesPerPlan": 800, "batchSize": 150, "lambdaTimeoutSeconds": 30, "gatewayTimeoutSeconds": 1},
            "batchesPerPlan",
            "no more in half of its 30 s",
            (),
        ),
        ({"batchesPerPlan": 900}, "batchesPerPlan", "262,144 bytes", ()),
        ({"gatewayRateLimit": 9}, "batchSize", "9 a second for 10 such batches together", ()),
        ({"gatewayTimeoutSeconds": 30}, "lambdaTimeoutSeconds", "what a batch can need", ()),
        ({"gatewayRateLimit": 15}, "lambdaTimeoutSeconds", "15 a second for 10 such batches", ("leaseSeconds",)),
        ({"batchSize": 1500, "batchesPerPlan": 200}, "batchSize", "Express child ends after 300 s", ()),
        (
            {"lambdaTimeoutSeconds": 280, "leaseSeconds": 300},
            "lambdaTimeoutSeconds",
            "Express child ends after 300 s",
            (),
        ),
        ({"leaseSeconds": 120}, "leaseSeconds", "outlives the Lambda", ()),
        ({"leaseSeconds": 122}, "leaseSeconds", "clocks' difference (2 s)", ()),
        ({"retryBaseSeconds": 1000}, "retryBaseSeconds", "retryCapSeconds (900 s)", ()),
        (
            {"gatewayGraceSeconds": 3500, "gatewayKeyWindowHours": 1},
            "gatewayGraceSeconds",
            "resend is no longer safe",
            (),
        ),
        ({"lambdaReservedConcurrency": 5}, "lambdaReservedConcurrency", "throttle", ()),
        ({"vpcCidr": "10.0.0.0/26"}, "vpcCidr", "/25 or wider for 2 zones", ()),
        ({"vpcCidr": "10.0.0.0/25", "availabilityZones": 3}, "vpcCidr", "/24 or wider for 3 zones", ()),
        ({"natStrategy": "none"}, "natStrategy", "way out to payments.example.com", ()),
        ({"gatewayUrl": "http://payments.example.com"}, "gatewayUrl", "https", ()),
        ({"environment": "prod"}, "alarmEmail", "reach a person", ()),
        (
            {"environment": "prod", "alarmEmail": "a@example.com", "gatewayUrl": "http://127.0.0.1:8080"},
            "gatewayUrl",
            "https in prod",
            (),
        ),
        ({"schedule": "rate(1 hour)"}, "oldestPendingAlarmSeconds", "never rests", ()),
        (
            {"environment": "prod", "alarmEmail": "a@example.com", "faultExperiments": "on"},
            "faultExperiments",
            "they strike real payments",
            (),
        ),
        ({"monthlyBudget": 100}, "alarmEmail", "a budget alerts somebody", ()),
        ({"slackChannelId": "C07EZ1ABC23"}, "slackWorkspaceId", "the channel's workspace", ()),
        ({"canaryMinutes": 5}, "canaryAccount", "a canary is really paid", ()),
        (CANARY | {"mode": "shadow"}, "canaryMinutes", "no canary comes through", ()),
        (CANARY | {"schedule": "rate(4 minutes)"}, "canaryMinutes", "waits 240 s for the next", ()),
        (CANARY | {"schedule": "cron(0/15 * * * ? *)"}, "canaryMinutes", "waits an unknown time", ()),
        ({"vaultLockGraceDays": 3}, "vaultLockGraceDays", "its backup vault is not locked", ()),
        (
            {"adotLayer": LAYER, "gatewayCidrs": ["203.0.113.0/24"]},
            "interfaceEndpoints",
            "secretsmanager and xray too: the gateway's key and X-Ray",
            (),
        ),
        (
            {"adotLayer": LAYER, "natStrategy": "none", "gatewayUrl": "https://10.1.2.3/v1"},
            "interfaceEndpoints",
            "no xray, with natStrategy none",
            (),
        ),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else str(value)[:20],
)
def test_contradictions_are_refused_and_the_mends_mend(
    config: dict[str, Any], key: str, says: str, also: tuple[str, ...]
) -> None:
    found = problems(**config)
    assert found[0].key == key
    assert says in found[0].allowed + found[0].found
    assert {problem.key for problem in found} <= {key, *also}
    parse(LEAST | config | {problem.key: problem.mend for problem in found})


FARGATE: dict[str, Any] = LEAST | {"alternative": "fargate"}
ASLEEP: dict[str, Any] = {"minTasks": 0, "minCapacityUnits": "0", "autoPauseSeconds": 300}
DIGEST = f"sha256:{'0' * 64}"
PRIVATE: dict[str, Any] = {"natStrategy": "none", "gatewayUrl": "https://10.1.2.3/v1"}
INSIDE: dict[str, Any] = {
    "interfaceEndpoints": ["ecr.api", "ecr.dkr", "logs", "rds-data", "secretsmanager", "sts", "xray"],
    "collectorImage": f"123456789012.dkr.ecr.us-east-1.amazonaws.com/collector@{DIGEST}",
}


@pytest.mark.parametrize(
    ("config", "key", "says"),
    [
        (CANARY | {"maxCapacityUnits": "1", "maxTasks": 13}, "maxTasks", "a task opens up to 7"),
        (CANARY | {"minTasks": 0}, "canaryMinutes", "each would keep one awake"),
        ({"leaseSeconds": 120}, "leaseSeconds", "less than stopTimeoutSeconds (120 s)"),
        ({"leaseSeconds": 180}, "leaseSeconds", "must not outlive"),
        ({"stopTimeoutSeconds": 60}, "leaseSeconds", "less than stopTimeoutSeconds (60 s)"),
        ({"leaseSeconds": 26}, "leaseSeconds", "at least 27 s"),
        ({"gatewayTimeoutSeconds": 60}, "gatewayTimeoutSeconds", "must be shorter than stopTimeoutSeconds (120 s)"),
        (
            {"stopTimeoutSeconds": 20, "gatewayTimeoutSeconds": 11, "leaseSeconds": 18},
            "stopTimeoutSeconds",
            "a call under way may take 11 s",
        ),
        ({"taskCpu": 256, "taskMemoryMb": 4096}, "taskMemoryMb", "512, 1,024, 2,048 MB"),
        ({"taskCpu": 1024}, "taskMemoryMb", "2,048 to 8,192 MB in steps of 1,024"),
        ({"taskCpu": 16384, "taskMemoryMb": 40000}, "taskMemoryMb", "32,768 to 122,880 MB in steps of 8,192"),
        ({"minTasks": 3}, "maxTasks", "at least minTasks (3)"),
        ({"onDemandBase": 3, "spotWeight": 50}, "onDemandBase", "at most maxTasks (2)"),
        ({"onDemandBase": 1}, "spotWeight", "capacity provider of weight 0"),
        ({"vpcCidr": "10.0.0.0/25", "maxTasks": 20}, "maxTasks", "at most 19: each task has an address"),
        ({"maxTasks": 67}, "maxTasks", "at most 66: a database of this size accepts 823 connections"),
        ({"minTasks": 600, "maxTasks": 600, "maxCapacityUnits": "64"}, "minTasks", "at most 165"),
        ({"minCapacityUnits": "8"}, "maxCapacityUnits", "at least 8, as minCapacityUnits"),
        ({**ASLEEP, "maxCapacityUnits": "0"}, "maxCapacityUnits", "at least 0.5"),
        (
            {"minCapacityUnits": "0", "autoPauseSeconds": 300},
            "minCapacityUnits",
            "a connection open Aurora never pauses",
        ),
        ({"minCapacityUnits": "0"}, "minCapacityUnits", "To let both sleep, set minTasks to 0"),
        ({"minTasks": 0, "minCapacityUnits": "0"}, "autoPauseSeconds", "300 to 86,400 seconds"),
        ({"autoPauseSeconds": 300}, "autoPauseSeconds", "nothing pauses otherwise"),
        ({"minTasks": 0, "autoPauseSeconds": 300}, "autoPauseSeconds", "nothing pauses otherwise"),
        ({"databaseInsightsDays": 7}, "databaseInsightsDays", "0, or switch databaseInsights on"),
        (
            {"databaseInsights": "advanced", "databaseInsightsDays": 434},
            "databaseInsightsDays",
            "at least 465",
        ),
        (PRIVATE, "interfaceEndpoints", "reach ECR, their logs, secrets, STS and X-Ray through endpoints"),
        ({**PRIVATE, **INSIDE, "collectorImage": f"docker.io/otel@{DIGEST}"}, "natStrategy", "public registries"),
        ({"gatewayCidrs": ["203.0.113.0/24"]}, "interfaceEndpoints", "with gatewayCidrs set"),
        (
            {**INSIDE, "gatewayCidrs": ["203.0.113.0/24"], "collectorImage": f"docker.io/otel@{DIGEST}"},
            "gatewayCidrs",
            "ECR",
        ),
        ({"retryBaseSeconds": 1000}, "retryBaseSeconds", "retryCapSeconds (900 s)"),
        ({"natStrategy": "none", **INSIDE}, "natStrategy", "way out to payments.example.com"),
        ({"environment": "prod"}, "alarmEmail", "reach a person"),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else str(value)[:20],
)
def test_contradictions_of_fargate_are_refused_and_the_mends_mend(config: dict[str, Any], key: str, says: str) -> None:
    found = problems(**({"alternative": "fargate"} | config))
    problem = next(problem for problem in found if problem.key == key)
    assert says in problem.allowed + problem.found
    parse(FARGATE | config | {problem.key: problem.mend for problem in found})


def test_the_edges_of_fargate_that_are_still_allowed() -> None:
    allowed: tuple[dict[str, Any], ...] = (
        ASLEEP,
        {"minTasks": 0},
        {"leaseSeconds": 119},
        {"leaseSeconds": 27},
        {"stopTimeoutSeconds": 91},
        {"stopTimeoutSeconds": 20, "gatewayTimeoutSeconds": 5, "leaseSeconds": 17},
        {"gatewayTimeoutSeconds": 56, "leaseSeconds": 119},
        {"maxTasks": 66},
        {"onDemandBase": 1, "spotWeight": 99},
        {"onDemandBase": 2, "spotWeight": 0},
        {"vpcCidr": "10.0.0.0/25", "maxTasks": 19},
        {"databaseInsights": "advanced", "databaseInsightsDays": 731},
        {"databaseInsights": "standard", "databaseInsightsDays": 62},
        PRIVATE | INSIDE,
        PRIVATE | INSIDE | {"minTasks": 0},
        {"imageDigest": "repository@sha256:" + "0f" * 32},
        {"batchSize": 10_000, "mapConcurrency": 1_000, "lambdaTimeoutSeconds": 900},  # the other alternative's limits
    )
    for config in allowed:
        parse(FARGATE | config)


def test_each_size_of_fargate_is_one_that_aws_has() -> None:
    """As AWS's page "Task CPU and memory" has it: least and most, in MB, for each CPU."""
    sizes = {cpu: (memory[0], memory[-1], len(memory)) for cpu, memory in FARGATE_SIZES.items()}
    assert sizes == {
        256: (512, 2_048, 3),
        512: (1_024, 4_096, 4),
        1_024: (2_048, 8_192, 7),
        2_048: (4_096, 16_384, 13),
        4_096: (8_192, 30_720, 23),
        8_192: (16_384, 61_440, 12),
        16_384: (32_768, 122_880, 12),
    }


def test_keys_of_the_other_alternative_stay_in_the_file_and_are_checked() -> None:
    both = LEAST | {"mapConcurrency": 5, "maxTasks": 4}
    assert (
        parse(both).part(RunSettings).map_concurrency
        == parse(both | {"alternative": "fargate"}).part(RunSettings).map_concurrency
        == 5
    )
    assert parse(both).part(ServiceSettings).max_tasks == 4
    for alternative in NAMES:
        found = problems(alternative=alternative, mapConcurrency=0, maxTasks="many")
        assert {problem.key for problem in found} == {"mapConcurrency", "maxTasks"}


def test_a_lease_is_the_alternatives_own_unless_set() -> None:
    assert (parse(LEAST).work.lease_seconds, parse(FARGATE).work.lease_seconds) == (180, 90)
    assert parse(FARGATE | {"leaseSeconds": 60}).work.lease_seconds == 60


def test_what_is_hardly_meant_is_warned_of() -> None:
    def said(**changes: object) -> str:
        return "\n".join(warnings(parse(FARGATE | {"alarmEmail": "a@example.com"} | changes)))

    assert said() == said(environment="prod") == ""
    assert "Database Insights wants 2 ACU or more" in said(databaseInsights="standard")
    assert said(databaseInsights="standard", minCapacityUnits="2") == ""
    assert "minTasks 0 in prod" in said(environment="prod", minTasks=0)
    assert warnings(parse(LEAST)) == ()
    (warning,) = warnings(parse(LEAST | {"adotLayer": LAYER}))
    assert "has the rights of the function that it runs in, the gateway's key among them" in warning


def test_capacities_come_in_halves_as_text_or_number() -> None:
    for given, wanted in (("0.5", 0.5), (0.5, 0.5), ("3", 3.0), (3, 3.0), ("2.0", 2.0), ("auto", 0.5)):
        assert parse(FARGATE | {"minCapacityUnits": given}).part(DatabaseSettings).min_capacity == wanted


def test_several_contradictions_come_together() -> None:
    found = problems(leaseSeconds=60, retryBaseSeconds=2000, natStrategy="none")
    assert {problem.key for problem in found} == {"leaseSeconds", "retryBaseSeconds", "natStrategy"}


def test_the_edges_that_are_still_allowed() -> None:
    largest = (PAYLOAD_LIMIT - BATCH_OVERHEAD) // ID_BYTES
    fast = {"gatewayConcurrency": 500, "gatewayRateLimit": 100_000, "lambdaTimeoutSeconds": 200, "leaseSeconds": 300}
    parse(LEAST | fast | {"batchSize": largest, "batchesPerPlan": 200})
    assert [p.key for p in problems(**fast, batchSize=largest + 1, batchesPerPlan=200)] == ["batchSize"]
    parse(LEAST | {"leaseSeconds": 123})
    parse(LEAST | {"vpcCidr": "10.0.0.0/25"})
    parse(LEAST | {"natStrategy": "none", "gatewayUrl": "https://10.1.2.3/v1"})
    parse(LEAST | {"natStrategy": "none", "gatewayUrl": "https://payments.internal"})
    parse(LEAST | {"gatewayUrl": "http://127.0.0.1:8080", "schedule": "cron(0/5 * * * ? *)"})


def test_the_largest_payloads_really_fit() -> None:
    batch = (PAYLOAD_LIMIT - BATCH_OVERHEAD) // ID_BYTES
    item = {"run": "r" * 80, "batch": 10_000, "ids": ["i" * 128] * batch}
    assert len(json.dumps(item, separators=(",", ":"))) <= PAYLOAD_LIMIT
    names = ("claimed", "confirmed", "rejected", "retried", "review", "lost", "not_tried", "failed")
    assert len(json.dumps(dict.fromkeys(names, 10_000))) < RESULT_BYTES
    error = "Lambda.ClientExecutionTimeoutException"
    assert len(json.dumps({"failed": 1, "batch": 10_000, "error": error})) < RESULT_BYTES


def test_a_layer_of_another_region_is_refused_before_anything_is_made() -> None:
    with pytest.raises(SettingsError) as caught:
        record("serverless", adotLayer=LAYER.replace("us-east-1", "eu-west-1"))
    (problem,) = caught.value.problems
    assert (problem.key, problem.mend) == ("adotLayer", LAYER)
    assert "eu-west-1" in problem.found
    assert "a layer in us-east-1, where this stack is" in problem.allowed


# -- Pulumi.yaml and the stacks' files


def test_pulumi_yaml_declares_each_key_as_settings_has_it() -> None:
    declared = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
    assert declared["name"] == PROJECT
    assert list(declared["config"]) == [key.name for key in KEYS]
    for key in KEYS:
        row = declared["config"][key.name]
        default = list(key.default) if isinstance(key.default, tuple) else key.default
        assert row == {
            "type": key.type,
            "default": default,
            "description": key.description,
            **({"items": {"type": "string"}} if key.type == "array" else {}),
        }


def test_the_tracked_stacks_are_valid() -> None:
    prefix = f"{PROJECT}:"
    for stack in ("serverless", "fargate"):
        config = {k.removeprefix(prefix): v for k, v in stack_config(stack).items() if k.startswith(prefix)}
        assert parse(config).alternative == stack
        assert parse(config | {"alternative": "fargate"}).alternative == "fargate"
        assert parse(config | {"alternative": "serverless"}).alternative == "serverless"


def test_the_program_reads_the_config_of_its_own_project_only() -> None:
    with pytest.raises(SettingsError) as caught:
        record("serverless", batchSise="100")
    assert [problem.instead for problem in caught.value.problems] == ["batchSize"]


def test_a_stack_name_too_long_for_aws_is_refused() -> None:
    with pytest.raises(pulumi.RunError, match="up to 40 letters"):
        record("serverless", as_stack="s" * 41)


# -- environments

ORDER: dict[str, Callable[[Any], float]] = {
    "availability_zones": float,
    "nat_strategy": lambda value: list(NatStrategy).index(value),
    "pending_shards": float,
    "schedule": lambda value: -(period_seconds(value) or 0),
    "reserve_concurrency": float,
    "log_retention_days": float,
    "mask_logs": float,
    "deletion_protection": float,
    "point_in_time_recovery": float,
    "contributor_insights": float,
    "warm_write_units": float,
    "key_deletion_days": float,
    "min_capacity_units": float,
    "max_capacity_units": float,
    "database_instances": float,
    "database_insights": lambda value: list(Insights).index(value),
    "backup_days": float,
    "vault_days": float,
    "vault_locked": float,
    "final_snapshot": float,
    "min_tasks": float,
    "max_tasks": float,
    "on_demand_base": float,
    "spot_weight": lambda value: -value,
}
"""What stronger means for each value of an environment."""


TABLES: tuple[Mapping[Environment, Any], ...] = (ENVIRONMENTS, *(part.sizes for part in PARTS))


@pytest.mark.parametrize(
    ("table", "field"),
    [(table, field.name) for table in TABLES for field in dataclasses.fields(table[Environment.DEV])],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_prod_is_never_weaker(table: Mapping[Environment, Any], field: str) -> None:
    dev, staging, prod = (ORDER[field](getattr(table[name], field)) for name in Environment)
    assert dev <= staging <= prod


def test_each_part_has_sizes_for_each_environment() -> None:
    assert len(PARTS) == 3
    assert all(set(table) == set(Environment) for table in TABLES)


def test_runs_come_as_often_as_the_environment_says_and_by_setting() -> None:
    for name, sizing in SIZES.items():
        mail = {"alarmEmail": "on-call@example.com"}
        assert parse(LEAST | mail | {"environment": name.value}).part(RunSettings).schedule == sizing.schedule
    assert parse(LEAST | {"schedule": "rate(5 minutes)"}).part(RunSettings).schedule == "rate(5 minutes)"


def test_prod_loses_nothing_by_mistake() -> None:
    prod = ENVIRONMENTS[Environment.PROD]
    assert prod.deletion_protection
    assert SIZES[Environment.PROD].point_in_time_recovery
    assert prod.nat_strategy is NatStrategy.ONE_PER_ZONE
    assert prod.vault_locked
    assert prod.vault_days


def test_no_copy_goes_before_the_lock_lets_it() -> None:
    for sizing in ENVIRONMENTS.values():
        assert not sizing.vault_locked or sizing.vault_days >= LEAST_DAYS


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (12345678, "gatewayApiKey"),
        (0.5, "taskPin"),
        ("correct horse battery staple", "gatewayUrl"),
        ("correct-horse-battery-staple", "costCentre"),
        ("hunter2", "gatewayUrl"),
        ("hunter2", "environment"),
        ("67611559.4530", "monthlyBudget"),
        ("2026-11-30 4804367433688", "retryCapSeconds"),
    ],
)
def test_what_may_be_a_secret_is_not_shown(raw: object, name: str) -> None:
    (problem, *_) = problems(**{name: raw})
    assert str(raw) not in str(problem)


def test_a_secret_in_the_place_of_a_key_is_not_shown() -> None:
    for name in ("sk_live_4eC39HqLyjWDarjtT1zdp7dc", "4111111111111111", "4111 1111 1111 1111"):
        (problem,) = problems(**{name: "x"})
        assert name not in str(problem)
        assert str(len(name)) in str(problem)
