"""The stacks of the serverless alternative that tests and the docs' tables record."""

from __future__ import annotations

from alternatives.descriptor import Config, Stacks
from alternatives.stacks import BOUNDARY, CANARY, CHANNELS, EVERYTHING

LAYER = "arn:aws:lambda:us-east-1:901920570463:layer:aws-otel-collector-arm64-ver-0-117-0:1"
TESTED: dict[str, Config] = {
    "dev": {},
    "staging": {"environment": "staging", **CANARY},
    "prod": {"environment": "prod", "alarmEmail": "on-call@example.com"},
    # everything optional at once
    "extremes": {
        "environment": "prod",
        "alarmEmail": "on-call@example.com",
        "monthlyBudget": "500",
        **CHANNELS,
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

STACKS = Stacks(
    tested=TESTED,
    permissions=(EVERYTHING | CANARY,),
    watched={"schedule": "rate(1 minute)"},
    emitting=("workers/serverless/handlers.py",),
    operators=(
        *("dynamodb:BatchGetItem", "dynamodb:DescribeTable", "dynamodb:GetItem", "dynamodb:PartiQLInsert"),
        *("dynamodb:Query", "dynamodb:Scan", "kms:Decrypt"),
        *("states:DescribeExecution", "states:GetExecutionHistory", "states:ListExecutions"),
    ),
)
