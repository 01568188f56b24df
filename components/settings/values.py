"""The settings as frozen typed values, and how they come of the keys' values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

from components.settings.environments import ENVIRONMENTS, Environment, FaultExperiments, NatStrategy, Sizing
from components.settings.errors import PROJECT
from components.settings.reading import Values

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    vpc_cidr: str
    availability_zones: int
    nat_strategy: NatStrategy
    interface_endpoints: tuple[str, ...]
    gateway_cidrs: tuple[str, ...]
    """Where the gateway is; nothing: anywhere."""


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """The payment gateway. Rates are calls per second."""

    url: str
    mode: str
    """confirm, or shadow: the workers only ask."""
    restored_to: str
    """Since when others may have sent what comes in now; "" where nothing was restored."""
    timeout_seconds: int
    concurrency: int
    rate_limit: int
    grace_seconds: int
    key_window_seconds: int

    @property
    def port(self) -> int:
        """Where TLS goes out to; 443 for a gateway on this machine, which needs no way out."""
        parts = urlsplit(self.url)
        return 443 if is_local(parts.hostname or "") else parts.port or 443


@dataclass(frozen=True, slots=True)
class WorkSettings:
    """How transactions are claimed, tried again and given up to a person."""

    batch_size: int
    lease_seconds: int
    max_attempts: int
    retry_base_seconds: int
    retry_cap_seconds: int
    review_seconds: int
    review_owner: str
    clock_skew_seconds: int


@dataclass(frozen=True, slots=True)
class DeskSettings:
    """Who takes transactions out of REVIEW, and how."""

    roles: tuple[str, ...]
    """Whose sessions are named by people, as the company vouches: besides those of IAM Identity Center."""
    two_approvals_from: Mapping[str, int]
    """Sums in minor units by currency."""
    request_seconds: int


@dataclass(frozen=True, slots=True)
class CanarySettings:
    """The payment of ours that shows the whole path to work."""

    minutes: int
    """Between two of them."""
    account: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Restore:
    """A datastore that begins as a copy of another; only looked at when it is made."""

    source: str
    time: str | None
    """None: the latest that there is."""

    @property
    def is_backup(self) -> bool:
        """A backup is of one moment; else it is a table or cluster and its log."""
        return self.source.startswith("arn:")


@dataclass(frozen=True, slots=True)
class SlackSettings:
    workspace: str
    channel: str


@dataclass(frozen=True, slots=True)
class AlarmSettings:
    email: str | None
    slack: SlackSettings | None
    pager_duty_url: str | None = field(repr=False)
    """It holds a key."""
    oldest_pending_seconds: int
    pause_minutes: int
    """How long a pause by hand lasts until somebody is reminded of it."""
    monthly_budget: int
    """US dollars; 0 for none."""

    @property
    def has_channels(self) -> bool:
        return self.slack is not None or self.pager_duty_url is not None


@dataclass(frozen=True, slots=True)
class Settings:
    stack: str
    """Its name, by which an account's stacks tell their metrics apart."""
    alternative: str
    switch_from: str
    """The other alternative, where the stack may delete it and become this one; "" otherwise."""
    restore: Restore | None
    environment: Environment
    owner: str
    cost_center: str
    sizing: Sizing
    log_retention_days: int
    mask_logs: bool
    trace_sampling: int
    """Percent of the transactions."""
    network: NetworkSettings
    gateway: GatewaySettings
    work: WorkSettings
    desk: DeskSettings
    canary: CanarySettings | None
    alarms: AlarmSettings
    fault_experiments: FaultExperiments
    vault_grace_days: int
    """Until the backup vault's lock is for ever; 0: it stays removable."""
    permissions_boundary: str | None
    """ARN; of every role."""
    parts: tuple[object, ...] = ()
    """What the alternatives add, objects of types of their own."""

    def part(self, kind: type[T]) -> T:
        """The part of that type.

        Raises:
            LookupError: no alternative has one.
        """
        found = next((part for part in self.parts if isinstance(part, kind)), None)
        if found is None:
            raise LookupError(f"the settings have no part {kind.__name__}: no alternative names it in `alternatives/`")
        return found

    @property
    def tags(self) -> dict[str, str]:
        """On every resource, through the provider."""
        return {
            "Project": PROJECT,
            "Stack": f"{PROJECT}-{self.stack}",
            "Environment": self.environment.value,
            "Alternative": self.alternative,
            "Owner": self.owner,
            "CostCenter": self.cost_center,
        }


def is_local(host: str) -> bool:
    """Whether `host` is this very machine: only then may the gateway be spoken to without TLS."""
    return host in ("127.0.0.1", "localhost")


def build(stack: str, values: Values, alternatives_lease: int) -> Settings:
    """The settings that every alternative has."""
    number, text = values.number, values.text
    environment = Environment(text("environment"))
    sizing = ENVIRONMENTS[environment]
    nat = text("natStrategy")
    return Settings(
        stack=stack,
        alternative=text("alternative"),
        switch_from=text("switchFrom"),
        restore=Restore(text("restoreFrom"), text("restoreTime") or None) if text("restoreFrom") else None,
        environment=environment,
        owner=text("owner"),
        cost_center=text("costCenter"),
        sizing=sizing,
        log_retention_days=number("logRetentionDays") or sizing.log_retention_days,
        mask_logs=sizing.mask_logs if text("maskLogs") == "auto" else text("maskLogs") == "on",
        trace_sampling=number("traceSampling"),
        network=NetworkSettings(
            vpc_cidr=text("vpcCidr"),
            availability_zones=number("availabilityZones") or sizing.availability_zones,
            nat_strategy=sizing.nat_strategy if nat == "auto" else NatStrategy(nat),
            interface_endpoints=values.texts("interfaceEndpoints"),
            gateway_cidrs=values.texts("gatewayCidrs"),
        ),
        gateway=GatewaySettings(
            url=text("gatewayUrl"),
            mode=text("mode"),
            restored_to=text("restoreTime"),
            timeout_seconds=number("gatewayTimeoutSeconds"),
            concurrency=number("gatewayConcurrency"),
            rate_limit=number("gatewayRateLimit"),
            grace_seconds=number("gatewayGraceSeconds"),
            key_window_seconds=number("gatewayKeyWindowHours") * 3_600,
        ),
        work=WorkSettings(
            batch_size=number("batchSize"),
            lease_seconds=number("leaseSeconds") or alternatives_lease,
            max_attempts=number("maxAttempts"),
            retry_base_seconds=number("retryBaseSeconds"),
            retry_cap_seconds=number("retryCapSeconds"),
            review_seconds=number("reviewHours") * 3_600,
            review_owner=text("reviewOwner"),
            clock_skew_seconds=number("clockSkewSeconds"),
        ),
        desk=DeskSettings(
            roles=values.texts("deskRoles"),
            two_approvals_from={one[:3]: int(one[4:]) for one in values.texts("deskTwoApprovalsFrom")},
            request_seconds=number("deskRequestsEndAfterHours") * 3_600,
        ),
        canary=CanarySettings(number("canaryMinutes"), text("canaryAccount")) if number("canaryMinutes") else None,
        alarms=AlarmSettings(
            email=text("alarmEmail") or None,
            slack=SlackSettings(text("slackWorkspaceId"), text("slackChannelId")) if text("slackChannelId") else None,
            pager_duty_url=text("pagerDutyIntegrationUrl") or None,
            oldest_pending_seconds=number("oldestPendingAlarmSeconds"),
            pause_minutes=number("pauseRemindsAfterMinutes"),
            monthly_budget=number("monthlyBudget"),
        ),
        fault_experiments=FaultExperiments(text("faultExperiments")),
        permissions_boundary=text("permissionsBoundary") or None,
        vault_grace_days=number("vaultLockGraceDays"),
    )
