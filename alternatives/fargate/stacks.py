"""The stacks of the fargate alternative that tests and the docs' tables record."""

from __future__ import annotations

from alternatives.descriptor import Config, Stacks
from alternatives.stacks import BOUNDARY, CANARY, CHANNELS, EVERYTHING

IMAGE = "210987654321.dkr.ecr.eu-west-1.amazonaws.com/confirm/workers@sha256:" + "a" * 64
TESTED: dict[str, Config] = {
    "fargate-dev": {},
    "fargate-staging": {"environment": "staging", **CANARY},
    "fargate-prod": {"environment": "prod", "alarmEmail": "on-call@example.com"},
    # no task and no capacity while nothing is due
    "fargate-asleep": {"minTasks": "0", "minCapacityUnits": "0", "autoPauseSeconds": "300"},
    "fargate-extremes": {
        "environment": "prod",
        "alarmEmail": "on-call@example.com",
        "monthlyBudget": "500",
        **CHANNELS,
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

STACKS = Stacks(
    tested=TESTED,
    permissions=(EVERYTHING | {"minTasks": "0"}, EVERYTHING | CANARY),  # who may sleep sends no canaries
    watched={"databaseInstances": 2, "databaseInsights": "standard", "minCapacityUnits": "2", "minTasks": 0},
    emitting=("workers/service/__main__.py", "workers/publisher.py"),
    operators=("rds-db:connect",),
)
