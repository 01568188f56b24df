"""The program, recorded once per stack config for all tests of this area."""

from __future__ import annotations

import pytest

from tests.program.recording import Record, record

STACKS: dict[str, dict[str, str]] = {
    "dev": {},
    "staging": {"environment": "staging"},
    "prod": {"environment": "prod", "alarmEmail": "on-call@example.com"},
    # everything optional at once
    "extremes": {
        "environment": "prod",
        "alarmEmail": "on-call@example.com",
        "gatewayUrl": "https://payments.example.com:8443/v2",
        "availabilityZones": "3",
        "interfaceEndpoints": '["secretsmanager", "kms"]',
        "schedule": "cron(0/15 * * * ? *)",
        "batchSize": "1000",
        "gatewayConcurrency": "500",
        "gatewayRateLimit": "100000",
        "mapConcurrency": "100",
        "batchesPerPlan": "800",
        "reviewOwner": "x" * 64,
    },
}


@pytest.fixture(scope="session")
def records() -> dict[str, Record]:
    return {name: record("serverless", **changes) for name, changes in STACKS.items()}


@pytest.fixture(params=STACKS)
def recorded(records: dict[str, Record], request: pytest.FixtureRequest) -> Record:
    """Each of the recorded stacks in turn."""
    return records[request.param]
