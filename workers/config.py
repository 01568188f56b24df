"""What a worker is told by its environment (components/compute.py writes it), read once and checked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from workers.domain.policy import Policy


class ConfigError(Exception):
    """The environment is not complete: every fault is named at once."""


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """One worker's settings. Names of AWS resources come from the stack, numbers from its settings."""

    alternative: str
    environment: str
    table: str
    index: str
    shards: int
    plan_bucket: str
    batch_size: int
    batches_per_plan: int
    run_lease: timedelta
    """How long a run may hold the run lock without renewing it."""
    gateway_url: str
    gateway_concurrency: int
    gateway_rate_limit: float
    """Calls a second of this worker; 0 for no limit."""
    gateway_secret_arn: str
    """Where the gateway's API key is kept; "" for a gateway that wants none."""
    metric_namespace: str
    policy: Policy


def read(environment: Mapping[str, str] = os.environ) -> WorkerConfig:
    """The settings in `environment`.

    Raises:
        ConfigError: names every variable that is missing or is no number.
    """
    faults: list[str] = []

    def text(name: str, default: str | None = None) -> str:
        value = environment.get(name, default)
        if value is None:
            faults.append(f"{name} is missing")
        return value or ""

    def number(name: str) -> float:
        value = text(name)
        try:
            return float(value)
        except ValueError:
            if value:
                faults.append(f"{name} must be a number, found {value!r}")
            return 1.0

    def seconds(name: str) -> timedelta:
        return timedelta(seconds=number(name))

    config = WorkerConfig(
        alternative=text("ALTERNATIVE"),
        environment=text("ENVIRONMENT"),
        table=text("TABLE_NAME"),
        index=text("INDEX_NAME"),
        shards=int(number("PENDING_SHARDS")),
        plan_bucket=text("PLAN_BUCKET"),
        batch_size=int(number("BATCH_SIZE")),
        batches_per_plan=int(number("BATCHES_PER_PLAN")),
        run_lease=seconds("RUN_LEASE_SECONDS"),
        gateway_url=text("GATEWAY_URL"),
        gateway_concurrency=int(number("GATEWAY_CONCURRENCY")),
        gateway_rate_limit=number("GATEWAY_RATE_LIMIT"),
        gateway_secret_arn=text("GATEWAY_SECRET_ARN", ""),
        metric_namespace=text("METRIC_NAMESPACE"),
        policy=Policy(
            lease=seconds("LEASE_SECONDS"),
            clock_skew=seconds("CLOCK_SKEW_SECONDS"),
            max_attempts=int(number("MAX_ATTEMPTS")),
            retry_base=seconds("RETRY_BASE_SECONDS"),
            retry_cap=seconds("RETRY_CAP_SECONDS"),
            call_timeout=seconds("GATEWAY_TIMEOUT_SECONDS"),
            grace=seconds("GRACE_SECONDS"),
            key_window=seconds("KEY_WINDOW_SECONDS"),
            review_within=seconds("REVIEW_SECONDS"),
            review_owner=text("REVIEW_OWNER"),
        ),
    )
    if faults:
        raise ConfigError("; ".join(faults))
    return config
