"""The program, recorded once per stack config for all tests of this area."""

from __future__ import annotations

from functools import cache

import pytest

from analysis.graph import Record, record

LAYER = "arn:aws:lambda:us-east-1:901920570463:layer:aws-otel-collector-arm64-ver-0-117-0:1"
BOUNDARY = "arn:aws:iam::123456789012:policy/pipeline-confirm-dev-boundary"
CANARY = {"canaryMinutes": "5", "canaryAccount": "test-account"}
SERVERLESS: dict[str, dict[str, str]] = {
    "dev": {},
    "staging": {"environment": "staging", **CANARY},
    "prod": {"environment": "prod", "alarmEmail": "on-call@example.com"},
    # everything optional at once
    "extremes": {
        "environment": "prod",
        "alarmEmail": "on-call@example.com",
        "monthlyBudget": "500",
        "faultExperiments": "even-in-prod",
        "vaultLockGraceDays": "30",
        "permissionsBoundary": BOUNDARY,
        "gatewayUrl": "https://payments.example.com:8443/v2",
        "gatewayCidrs": '["203.0.113.0/24"]',
        "availabilityZones": "3",
        "interfaceEndpoints": '["secretsmanager", "kms", "xray"]',
        "adotLayer": LAYER,
        "schedule": "cron(0/15 * * * ? *)",
        "batchSize": "1000",
        "gatewayConcurrency": "500",
        "gatewayRateLimit": "100000",
        "mapConcurrency": "100",
        "batchesPerPlan": "800",
        "lambdaMemoryMb": "1024",
        "reviewOwner": "x" * 64,
        "maskLogs": "off",
    },
}
IMAGE = "210987654321.dkr.ecr.eu-west-1.amazonaws.com/confirm/workers@sha256:" + "a" * 64
FARGATE: dict[str, dict[str, str]] = {
    "fargate-dev": {},
    "fargate-staging": {"environment": "staging", **CANARY},
    "fargate-prod": {"environment": "prod", "alarmEmail": "on-call@example.com"},
    # no task and no capacity while nothing is due
    "fargate-asleep": {"minTasks": "0", "minCapacityUnits": "0", "autoPauseSeconds": "300"},
    "fargate-extremes": {
        "environment": "prod",
        "alarmEmail": "on-call@example.com",
        "monthlyBudget": "500",
        "faultExperiments": "even-in-prod",
        "vaultLockGraceDays": "30",
        "permissionsBoundary": BOUNDARY,
        "gatewayUrl": "https://payments.example.com:8443/v2",
        "availabilityZones": "3",
        "interfaceEndpoints": '["ecr.api", "ecr.dkr", "secretsmanager"]',
        "gatewayConcurrency": "500",
        "gatewayRateLimit": "100000",
        "reviewOwner": "x" * 64,
        "minTasks": "0",
        "maxTasks": "400",
        "onDemandBase": "0",
        "spotWeight": "100",
        "taskCpu": "16384",
        "taskMemoryMb": "122880",
        "minCapacityUnits": "1",
        "maxCapacityUnits": "256",
        "databaseInstances": "15",
        "databaseInsights": "advanced",
        "imageDigest": IMAGE,
        "maskLogs": "off",
    },
}
STACKS = SERVERLESS | FARGATE


@pytest.fixture(scope="session")
def records() -> dict[str, Record]:
    return recorded_stacks()


@cache
def recorded_stacks() -> dict[str, Record]:
    """Once in each process: other folders of tests import the fixture, which is then one of their own."""
    return {
        name: record("serverless" if name in SERVERLESS else "fargate", **changes) for name, changes in STACKS.items()
    }


@pytest.fixture(params=STACKS)
def recorded(records: dict[str, Record], request: pytest.FixtureRequest) -> Record:
    """Each of the recorded stacks in turn."""
    return records[request.param]


@pytest.fixture(params=SERVERLESS)
def serverless(records: dict[str, Record], request: pytest.FixtureRequest) -> Record:
    """Each of the serverless alternative's."""
    return records[request.param]


@pytest.fixture(params=FARGATE)
def fargate(records: dict[str, Record], request: pytest.FixtureRequest) -> Record:
    """Each of the fargate alternative's."""
    return records[request.param]
