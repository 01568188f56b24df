"""What a worker is told by its environment (components/ writes it), read once and checked."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypedDict

from workers.canary import Canary
from workers.domain.policy import Policy
from workers.telemetry import Telemetry
from workers.tracing import Value

MOST = 10**9
"""Of any number: thirty years in seconds, which every time can be added to."""


class ConfigError(Exception):
    """The environment is not complete: every fault is named at once."""


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """Where the gateway is, and how hard it may be pressed."""

    url: str
    concurrency: int
    """Calls at once, of this worker."""
    rate_limit: float
    """Calls a second, of all workers together; 0 for no limit."""
    secret_arn: str
    """Where the gateway's API key is kept; "" for a gateway that wants none."""
    shadow: bool = False
    """Only ask, never send (workers/gateway/shadow.py)."""


@dataclass(frozen=True, slots=True)
class TracingConfig:
    """Which traces are kept, and where they go."""

    sampling: float
    """The share of transactions, 0 to 1; those with trouble are kept in any case."""
    service: str
    """Its name in the traces."""
    endpoint: str
    """Of an OpenTelemetry collector; "" where there is none (a Lambda then takes X-Ray's daemon)."""

    def resource(self, environment: str) -> dict[str, Value]:
        """What OTLP says once of all spans."""
        return {"service.name": self.service, "deployment.environment.name": environment}


@dataclass(frozen=True, slots=True)
class Common:
    """What every worker knows. Names of AWS resources come from the stack, numbers from its settings."""

    stack: str
    alternative: str
    environment: str
    metric_namespace: str
    batch_size: int
    gateway: GatewayConfig
    policy: Policy
    tracing: TracingConfig
    canary: Canary | None
    """None: none is sent, by this worker at least."""

    def telemetry(self) -> Telemetry:
        """Who tells lines and metrics, in this worker's name."""
        return Telemetry(self.metric_namespace, self.stack, self.alternative, self.environment)


@dataclass(frozen=True, slots=True)
class LambdaConfig(Common):
    """What the Lambda functions know besides."""

    table: str
    index: str
    shards: int
    plan_bucket: str
    batches_per_plan: int
    run_lease: timedelta
    """How long a run may hold the run lock without renewing it."""
    canary_account: str | None = field(repr=False)
    """Whose canaries are; None where the stack sends none."""


@dataclass(frozen=True, slots=True)
class DatabaseConfig:
    """Where the database is, and as whom to come."""

    host: str
    port: int
    name: str
    user: str


@dataclass(frozen=True, slots=True)
class RoleConfig:
    """The role to become (workers/service/identity.py)."""

    arn: str
    external_id: str = field(repr=False)
    """The word that it opens to."""


@dataclass(frozen=True, slots=True)
class ServiceConfig(Common):
    """What the service on Fargate knows besides."""

    database: DatabaseConfig
    poll: timedelta
    """How often it looks for what no notification told: retries, expired leases, lost connections."""
    stop_within: timedelta
    """After SIGTERM; ECS kills some seconds later."""
    metrics_every: timedelta
    heartbeat_file: str
    role: RoleConfig | None
    """None: that of the task."""


def read_lambda(environment: Mapping[str, str] = os.environ) -> LambdaConfig:
    """The settings of a Lambda function.

    Raises:
        ConfigError: names every variable that is missing or is no number.
    """
    values = Values(environment)
    config = LambdaConfig(
        **_common(values),
        table=values.text("TABLE_NAME"),
        index=values.text("INDEX_NAME"),
        shards=values.whole("PENDING_SHARDS"),
        plan_bucket=values.text("PLAN_BUCKET"),
        batches_per_plan=values.whole("BATCHES_PER_PLAN"),
        run_lease=values.seconds("RUN_LEASE_SECONDS"),
        canary_account=values.text("CANARY_ACCOUNT", "") or None,
    )
    values.check()
    return config


def read_service(environment: Mapping[str, str] = os.environ) -> ServiceConfig:
    """The settings of the service.

    Raises:
        ConfigError: names every variable that is missing or is no number.
    """
    values = Values(environment)
    config = ServiceConfig(
        **_common(values),
        database=database(values, "DATABASE_USER"),
        poll=values.seconds("POLL_SECONDS"),
        stop_within=values.seconds("STOP_SECONDS"),
        metrics_every=values.seconds("METRICS_SECONDS"),
        heartbeat_file=values.text("HEARTBEAT_FILE"),
        role=RoleConfig(arn, values.text("WORKER_ROLE_EXTERNAL_ID"))
        if (arn := values.text("WORKER_ROLE_ARN", ""))
        else None,
    )
    values.check()
    return config


def database(values: Values, user: str) -> DatabaseConfig:
    """Where the database is; its user by the variable `user`."""
    return DatabaseConfig(
        host=values.text("DATABASE_HOST"),
        port=values.whole("DATABASE_PORT"),
        name=values.text("DATABASE_NAME"),
        user=values.text(user),
    )


class Values:
    """Variables, read with all their faults."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        self._faults: list[str] = []

    def text(self, name: str, default: str | None = None) -> str:
        value = self._environment.get(name, default)
        if value is None:
            self._faults.append(f"{name} is missing")
        return value or ""

    def choice(self, name: str, *choices: str) -> str:
        """One of `choices`; the first where the variable is missing."""
        value = self.text(name, choices[0])
        if value not in choices:
            self._faults.append(f"{name} must be {' or '.join(choices)}, found {_shown(value)}")
        return value

    def number(self, name: str, default: str | None = None) -> float:
        """From 0 to MOST; an empty one is no number."""
        value = self.text(name, default)
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if 0 <= number <= MOST:  # no NaN either
            return number
        if name in self._environment:
            self._faults.append(f"{name} must be a number from 0 to {MOST:,}, found {_shown(value)}")
        return 1.0

    def whole(self, name: str) -> int:
        number = self.number(name)
        if number != int(number):
            self._faults.append(f"{name} must be a whole number, found {number:g}")
        return int(number)

    def seconds(self, name: str) -> timedelta:
        return timedelta(seconds=self.number(name))

    def moment(self, name: str) -> datetime | None:
        """A time with its zone; None where the variable is missing or empty."""
        value = self.text(name, "")
        try:
            found = datetime.fromisoformat(value) if value else None
        except ValueError:
            found = None
        if value and (found is None or found.tzinfo is None):
            self._faults.append(f"{name} must be a time like 2026-11-24T09:30:00Z, found {_shown(value)}")
            return None
        return found

    def check(self) -> None:
        """Raises ConfigError where there were faults."""
        if self._faults:
            raise ConfigError("; ".join(self._faults))


_PLAIN = re.compile(
    r"[-+]?\d{1,8}(?:[.,]\d{1,6})?(?:[eE][-+]?\d{1,3})?|[-+]?(?:nan|inf|infinity)"
    r"|\d{4}-\d\d-\d\d(?:[T ]\d\d:[\d:.]{2,12}Z?)?",
    re.ASCII | re.IGNORECASE,
)


def _shown(value: str) -> str:
    """What was found, if it is a number or a time: whoever sets variables may take a secret for one, and a password may
    be a plain word."""
    plain = _PLAIN.fullmatch(value) and ("-" in value[1:] or sum(map(str.isdigit, value)) < 10)
    return repr(value) if plain else f"text of {len(value)} characters" if value else "nothing"


def telemetry(values: Values) -> Telemetry:
    """As `Common.telemetry`, for a worker that needs no more of it."""
    return Telemetry(
        values.text("METRIC_NAMESPACE"), values.text("STACK"), values.text("ALTERNATIVE"), values.text("ENVIRONMENT")
    )


class _Common(TypedDict):
    stack: str
    alternative: str
    environment: str
    metric_namespace: str
    batch_size: int
    gateway: GatewayConfig
    policy: Policy
    tracing: TracingConfig
    canary: Canary | None


def policy(values: Values) -> Policy:
    """The numbers that every decision about a transaction goes by, whoever makes it."""
    return Policy(
        lease=values.seconds("LEASE_SECONDS"),
        clock_skew=values.seconds("CLOCK_SKEW_SECONDS"),
        max_attempts=values.whole("MAX_ATTEMPTS"),
        retry_base=values.seconds("RETRY_BASE_SECONDS"),
        retry_cap=values.seconds("RETRY_CAP_SECONDS"),
        call_timeout=values.seconds("GATEWAY_TIMEOUT_SECONDS"),
        grace=values.seconds("GRACE_SECONDS"),
        key_window=values.seconds("KEY_WINDOW_SECONDS"),
        review_within=values.seconds("REVIEW_SECONDS"),
        review_owner=values.text("REVIEW_OWNER"),
        only_ask=values.choice("GATEWAY_MODE", "confirm", "shadow") == "shadow",
        restored_to=values.moment("RESTORED_TO"),
    )


def _common(values: Values) -> _Common:
    rules = policy(values)
    return {
        "stack": values.text("STACK"),
        "alternative": values.text("ALTERNATIVE"),
        "environment": values.text("ENVIRONMENT"),
        "metric_namespace": values.text("METRIC_NAMESPACE"),
        "batch_size": values.whole("BATCH_SIZE"),
        "gateway": GatewayConfig(
            url=values.text("GATEWAY_URL"),
            concurrency=values.whole("GATEWAY_CONCURRENCY"),
            rate_limit=values.number("GATEWAY_RATE_LIMIT"),
            secret_arn=values.text("GATEWAY_SECRET_ARN", ""),
            shadow=rules.only_ask,
        ),
        "policy": rules,
        "tracing": TracingConfig(
            sampling=values.number("TRACE_SAMPLING", "0"),
            service=values.text("OTEL_SERVICE_NAME", "confirm-transactions"),
            endpoint=values.text("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
        ),
        "canary": _canary(values),
    }


def _canary(values: Values) -> Canary | None:
    every = timedelta(minutes=values.number("CANARY_MINUTES", "0"))
    return Canary(values.text("CANARY_ACCOUNT"), every) if every else None
