"""The stack's config, parsed once into frozen typed values. `__main__.py` starts here.

Every key is a row of KEYS; what differs by environment is a row of ENVIRONMENTS; what must hold between keys is
a rule, here (`_contradictions`) or in the alternative's own `rules.py`. All mistakes are reported together, each with
its mend. The keys of both alternatives may stand in one file, so that `pulumi config set alternative fargate` switches:
every value is checked, the rules between them are those of the chosen alternative.
"""

from __future__ import annotations

import difflib
import importlib
import ipaddress
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol, cast
from urllib.parse import urlsplit

import pulumi

PROJECT = "confirm-transactions"

ALTERNATIVES = tuple(sorted(stack.parent.name for stack in Path(__file__).parent.glob("*/rules.py")))
"""The packages beside this file that have rules for a stack (components/alternatives.py)."""

CALLS_PER_TRANSACTION = 2  # at worst `ask` and then `confirm`
SMALLEST_SUBNET = 27  # 27 addresses: AWS's own least, /28, leaves 11 for NAT, endpoints and the workers' interfaces


class Environment(StrEnum):
    DEV = "dev"
    STAGING = "staging"
    PROD = "prod"


class NatStrategy(StrEnum):
    NONE = "none"
    SINGLE = "single"
    ONE_PER_ZONE = "one-per-zone"


class Insights(StrEnum):
    """CloudWatch Database Insights. Set explicitly: new databases get the paid mode otherwise."""

    OFF = "off"
    """Standard mode, which measures nothing of its own (AWS: Performance Insights off)."""
    STANDARD = "standard"
    ADVANCED = "advanced"


class FaultExperiments(StrEnum):
    """Templates of faults that somebody may start, on AWS."""

    OFF = "off"
    ON = "on"
    EVEN_IN_PROD = "even-in-prod"


@dataclass(frozen=True, slots=True)
class Sizing:
    """What one environment has; a test proves that prod is never weaker than staging, nor staging than dev."""

    availability_zones: int
    nat_strategy: NatStrategy
    """A gateway in each zone costs 36.5 US$ a month each and survives the loss of a zone."""
    pending_shards: int
    """A shard of the index takes 1,000 writes a second."""
    schedule: str
    """A run each minute costs 4.4 US$ a month where there is nothing to do."""
    reserve_concurrency: bool
    """Reserving fails in accounts whose Lambda quota is still the starter's 10: hence not in dev."""
    log_retention_days: int
    mask_logs: bool
    """CloudWatch's own masking, at 0.12 US$ a GB."""
    deletion_protection: bool
    """AWS's own and Pulumi's `protect`."""
    point_in_time_recovery: bool
    contributor_insights: bool
    warm_write_units: int
    """A new on-demand table takes 4,000 writes a second; 0 leaves it so. Warming is a one-off charge."""
    key_deletion_days: int
    min_capacity_units: float
    """Aurora; a unit is about 2 GiB of memory and 87.6 US$ a month. Database Insights wants 2 or more."""
    max_capacity_units: float
    database_instances: int
    """The second takes over within seconds; a single one is made anew, which takes minutes."""
    database_insights: Insights
    backup_days: int
    """Aurora's own, to any second of them; a table's point-in-time recovery always has 35."""
    vault_days: int
    """How long the weekly copies stay in the backup vault; 0 for no vault."""
    vault_locked: bool
    """No copy goes before its time, whoever asks."""
    final_snapshot: bool
    min_tasks: int
    max_tasks: int
    on_demand_base: int
    """Tasks that no shortage of spot capacity takes away."""
    spot_weight: int
    """Percent of the tasks beyond the base that run on FARGATE_SPOT, at 30 to 50 percent of the price."""


ENVIRONMENTS: Mapping[Environment, Sizing] = {
    Environment.DEV: Sizing(
        availability_zones=2,
        nat_strategy=NatStrategy.SINGLE,
        pending_shards=4,
        schedule="rate(2 minutes)",
        reserve_concurrency=False,
        log_retention_days=30,
        mask_logs=False,
        deletion_protection=False,
        point_in_time_recovery=False,
        contributor_insights=False,
        warm_write_units=0,
        key_deletion_days=7,
        min_capacity_units=0.5,
        max_capacity_units=4,
        database_instances=1,
        database_insights=Insights.OFF,
        backup_days=1,
        vault_days=0,
        vault_locked=False,
        final_snapshot=False,
        min_tasks=1,
        max_tasks=2,
        on_demand_base=0,
        spot_weight=100,
    ),
    Environment.STAGING: Sizing(
        availability_zones=2,
        nat_strategy=NatStrategy.SINGLE,
        pending_shards=10,
        schedule="rate(1 minute)",
        reserve_concurrency=True,
        log_retention_days=90,
        mask_logs=True,
        deletion_protection=False,
        point_in_time_recovery=True,
        contributor_insights=True,
        warm_write_units=0,
        key_deletion_days=7,
        min_capacity_units=0.5,
        max_capacity_units=8,
        database_instances=2,
        database_insights=Insights.OFF,
        backup_days=7,
        vault_days=7,
        vault_locked=False,
        final_snapshot=True,
        min_tasks=1,
        max_tasks=4,
        on_demand_base=1,
        spot_weight=70,
    ),
    Environment.PROD: Sizing(
        availability_zones=2,
        nat_strategy=NatStrategy.ONE_PER_ZONE,
        pending_shards=10,
        schedule="rate(1 minute)",
        reserve_concurrency=True,
        log_retention_days=365,  # PCI DSS 10.5.1: twelve months of audit trail
        mask_logs=True,
        deletion_protection=True,
        point_in_time_recovery=True,
        contributor_insights=True,
        warm_write_units=8_000,
        key_deletion_days=30,
        min_capacity_units=2,
        max_capacity_units=32,
        database_instances=2,
        database_insights=Insights.STANDARD,
        backup_days=35,
        vault_days=14,
        vault_locked=True,
        final_snapshot=True,
        min_tasks=2,
        max_tasks=10,
        on_demand_base=2,
        spot_weight=50,
    ),
}

# What CloudWatch Logs accepts as retention.
RETENTION_DAYS: tuple[int, ...] = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731),
    *(1096, 1827, 2192, 2557, 2922, 3288, 3653),
)

# What AWS keeps at choice: 7 days free, else whole months of 31 days, up to two years. 0 is the mode's own.
INSIGHTS_DAYS: tuple[int, ...] = (0, 7, *(31 * months for months in range(1, 24)), 731)

# What is kept where databaseInsightsDays leaves it to the mode: the free week, and Advanced's least.
INSIGHTS_DEFAULT_DAYS: Mapping[Insights, int] = {Insights.OFF: 0, Insights.STANDARD: 7, Insights.ADVANCED: 465}

# The interface endpoints that our traffic can use, each about 7.3 US$ a month and zone. DynamoDB and S3 have gateways.
INTERFACE_ENDPOINTS = (
    *("ecr.api", "ecr.dkr", "kms", "lambda", "logs", "monitoring", "rds-data", "secretsmanager", "sns", "sqs"),
    *("states", "sts", "xray"),
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: the key, what was found, what is allowed, and a value that mends it (None: remove the line)."""

    key: str
    found: str
    allowed: str
    mend: object = None
    instead: str | None = None
    """The key that was meant, where the name itself is wrong."""

    def __str__(self) -> str:
        allowed = f"did you mean {self.instead}?" if self.instead else f"allowed: {self.allowed}"
        line = f"{PROJECT}:{self.instead or self.key}: {json.dumps(self.mend)}"
        return f"  {self.key}: found {self.found}; {allowed}\n      {'remove the line' if self.mend is None else line}"


class SettingsError(pulumi.RunError):
    """All mistakes of a config together. Shown by Pulumi as text, without a stack trace."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        count = f"{len(problems)} mistakes" if len(problems) > 1 else "1 mistake"
        head = f"{count} in the stack's config (section `config:` of Pulumi.<stack>.yaml), and what mends it:"
        super().__init__("\n".join([head, "", *map(str, problems)]))
        self.problems = problems


Value = str | int | float | tuple[str, ...]
Reader = Callable[[object], Value]
"""Turns a raw config value into a typed one; raises ValueError with nothing to add, the row says what is allowed."""


@dataclass(frozen=True, slots=True)
class Key:
    """One config key: Pulumi.yaml repeats type, default and description, and a test holds both together."""

    name: str
    type: str
    """As Pulumi.yaml has it: string, integer or array."""
    default: Value
    description: str
    allowed: str
    read: Reader
    example: Value | None = None
    """What to write where the default is no answer (the required keys)."""

    @property
    def mend(self) -> Value:
        return self.default if self.example is None else self.example


def _text(pattern: str) -> Reader:
    def read(raw: object) -> Value:
        if not isinstance(raw, str) or not re.fullmatch(pattern, raw):
            raise ValueError
        return raw

    return read


def _choice(*choices: str) -> Reader:
    return _text("|".join(map(re.escape, choices)))


def _number(least: int, most: int, *, special: tuple[int, ...] = ()) -> Reader:
    def read(raw: object) -> Value:
        # Pulumi hands every value over as text; booleans are integers in Python and never meant here
        if isinstance(raw, bool) or not re.fullmatch(r"-?\d{1,9}", str(raw)):
            raise ValueError
        number = int(str(raw))
        if number not in special and not least <= number <= most:
            raise ValueError
        return number

    return read


def _capacity(raw: object) -> Value:
    """Aurora's capacity units, in steps of a half; "auto" is the environment's own, -1."""
    if raw == "auto":
        return -1.0
    if isinstance(raw, bool) or not re.fullmatch(r"\d{1,3}(\.[05])?", str(raw)):
        raise ValueError
    units = float(str(raw))
    if units > 256:
        raise ValueError
    return units


def _insights_days(raw: object) -> Value:
    number = _number(0, 731)(raw)
    if number not in INSIGHTS_DAYS:
        raise ValueError
    return number


def _one_of(*numbers: int) -> Reader:
    def read(raw: object) -> Value:
        number = _number(0, 1_000_000)(raw)
        if number not in numbers:
            raise ValueError
        return number

    return read


def _retention(raw: object) -> Value:
    number = _number(0, 10_000)(raw)
    if number not in (0, *RETENTION_DAYS):
        raise ValueError
    return number


def _endpoints(raw: object) -> Value:
    names = json.loads(raw) if isinstance(raw, str) else raw
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise ValueError
    if not set(names) <= set(INTERFACE_ENDPOINTS) or len(set(names)) < len(names):
        raise ValueError
    return tuple(names)


def _cidrs(raw: object) -> Value:
    ranges = json.loads(raw) if isinstance(raw, str) else raw
    if not isinstance(ranges, (list, tuple)) or not all(isinstance(one, str) for one in ranges):
        raise ValueError
    networks = tuple(str(ipaddress.IPv4Network(one)) for one in ranges)
    if len(set(networks)) < len(networks) or "0.0.0.0/0" in networks:
        raise ValueError
    return networks


def _cidr(raw: object) -> Value:
    network = ipaddress.IPv4Network(_text(r"[\d./]+")(raw))
    if not 16 <= network.prefixlen <= 28:
        raise ValueError
    return str(network)


def _url(raw: object) -> Value:
    text = str(_text(r"https?://\S+")(raw))
    parts = urlsplit(text)
    parts.port  # noqa: B018 - raises ValueError for a port that is none
    if not parts.hostname or parts.query or parts.fragment or parts.username or parts.password:
        raise ValueError
    return text.rstrip("/")


def _schedule(raw: object) -> Value:
    if raw == "auto":
        return "auto"
    text = str(_text(r"(rate|cron)\([^()]+\)")(raw))
    if text.startswith("rate"):
        match = re.fullmatch(r"rate\(([1-9]\d{0,4}) (minute|hour|day)s?\)", text)
        if match is None or (match[1] == "1" and text.endswith("s)")):
            raise ValueError
        return text
    fields = text[len("cron(") : -1].split(" ")
    # minutes, hours, day of month, month, day of week, year: one of the two days is `?`
    if len(fields) != 6 or (fields[2] == "?") == (fields[4] == "?"):
        raise ValueError
    if not all(re.fullmatch(r"[\dA-Z*,/#LW?-]+", field) for field in fields):
        raise ValueError
    return text


# MB of memory that Fargate has for each CPU (in 1/1024 of a core).
FARGATE_SIZES: Mapping[int, tuple[int, ...]] = {
    256: (512, 1_024, 2_048),
    512: tuple(range(1_024, 4_096 + 1, 1_024)),
    1_024: tuple(range(2_048, 8_192 + 1, 1_024)),
    2_048: tuple(range(4_096, 16_384 + 1, 1_024)),
    4_096: tuple(range(8_192, 30_720 + 1, 1_024)),
    8_192: tuple(range(16_384, 61_440 + 1, 4_096)),
    16_384: tuple(range(32_768, 122_880 + 1, 8_192)),
}
COLLECTOR = (  # v0.48.0, for all platforms
    "public.ecr.aws/aws-observability/aws-otel-collector"
    "@sha256:9b28046359054b414f4ba76056ba4e8cffda2d53fbcee06171d7eeecd71326c3"
)

_BY_ENVIRONMENT = "0 for the environment's own"

KEYS: tuple[Key, ...] = (
    Key("alternative", "string", "serverless", "Which alternative confirms the transactions: serverless or fargate.",
        " or ".join(ALTERNATIVES), _choice(*ALTERNATIVES)),
    Key("switchFrom", "string", "", "The alternative that this stack may delete to become the other.",
        " or ".join(ALTERNATIVES) + ", or nothing", _choice("", *ALTERNATIVES)),
    Key("restoreFrom", "string", "", "Where a new stack's datastore is copied from: docs/restore.md.",
        "a table's name, a cluster's identifier, or the ARN of a backup, or nothing",
        _text(r"([A-Za-z0-9_.:/-]{3,255})?")),
    Key("restoreTime", "string", "", "The moment of the copy or of a restore in place, in UTC; nothing: the latest.",
        "a time like 2026-11-24T09:30:00Z, or nothing", _text(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)?")),
    Key("environment", "string", "dev", "Sizes, protection and retention: dev, staging or prod.",
        "dev, staging or prod", _choice(*Environment)),
    Key("owner", "string", "", "Team that answers for the stack; a tag on everything. Required.",
        "1 to 64 letters, digits or . _ @ - (required)", _text(r"[A-Za-z0-9._@-]{1,64}"), "payments-team"),
    Key("costCenter", "string", "", "Whom the stack is charged to; a tag on everything. Required.",
        "1 to 64 letters, digits or . _ @ - (required)", _text(r"[A-Za-z0-9._@-]{1,64}"), "cc-1234"),
    Key("vpcCidr", "string", "10.0.0.0/16", "Address range of the VPC, /16 to /25.",
        "an IPv4 network without host bits, /16 to /28", _cidr),
    Key("availabilityZones", "integer", 0, "Zones to spread over, 2 or 3; 0 for the environment's own.",
        f"2 or 3, or {_BY_ENVIRONMENT}", _number(2, 3, special=(0,))),
    Key("natStrategy", "string", "auto", "Way out to the gateway: none, single, one-per-zone; auto by environment.",
        "none, single, one-per-zone or auto", _choice("auto", *NatStrategy)),
    Key("interfaceEndpoints", "array", (), "AWS services to reach through interface endpoints instead of NAT.",
        "a list, each once, of " + ", ".join(INTERFACE_ENDPOINTS), _endpoints),
    Key("gatewayCidrs", "array", (), "The gateway's addresses: where named, workers reach these and AWS, nothing else.",
        "a list of IPv4 ranges, each once; nothing in it for any address", _cidrs),
    Key("gatewayUrl", "string", "", "Base address of the payment gateway. Required.",
        "an https address without user, query or fragment (required)", _url, "https://payments.example.com"),
    Key("mode", "string", "confirm", "confirm, or shadow: only ask the gateway what others did, and send nothing.",
        "confirm or shadow", _choice("confirm", "shadow")),
    Key("gatewayTimeoutSeconds", "integer", 10, "Longest wait for one call; after it the outcome is unknown.",
        "1 to 60 seconds", _number(1, 60)),
    Key("gatewayConcurrency", "integer", 50, "Calls under way at once, per worker.",
        "1 to 500 calls", _number(1, 500)),
    Key("gatewayRateLimit", "integer", 500, "Calls per second, all workers of the stack together.",
        "1 to 100,000 calls per second", _number(1, 100_000)),
    Key("gatewayGraceSeconds", "integer", 60, "Wait before a resend after the gateway said that it knows nothing.",
        "1 to 86,400 seconds", _number(1, 86_400)),
    Key("gatewayKeyWindowHours", "integer", 24, "How long the gateway remembers an idempotency key.",
        "1 to 8,760 hours", _number(1, 8_760)),
    Key("canaryMinutes", "integer", 0,
        "Minutes between two canaries, payments of ours that show the whole path to work; 0 for none.",
        "5 to 480 minutes, or 0 for none", _number(5, 480, special=(0,))),
    Key("canaryAccount", "string", "", "The gateway's account for tests, to which canaries are really paid.",
        "1 to 128 printable characters without spaces, or nothing", _text(r"[!-~]{0,128}"), "test-account"),
    Key("schedule", "string", "auto", "When a run starts, in UTC: Scheduler's rate or cron; auto by environment.",
        "rate(N minutes|hours|days) (singular for 1), cron() with six fields and one of the days `?`, or auto",
        _schedule),
    Key("batchSize", "integer", 100, "Transactions per batch, that is per Lambda call or per claim of a task.",
        "1 to 10,000 transactions", _number(1, 10_000)),
    Key("mapConcurrency", "integer", 10, "Batches under way at once.",
        "1 to 1,000 batches", _number(1, 1_000)),
    Key("batchesPerPlan", "integer", 500, "Batches per loop of a run.",
        "1 to 10,000 batches", _number(1, 10_000)),
    Key("leaseSeconds", "integer", 0, "How long a claim keeps others away; 0 for the alternative's own (180 and 90).",
        "10 to 3,600 seconds, or 0 for the alternative's own", _number(10, 3_600, special=(0,))),
    Key("maxAttempts", "integer", 8, "Attempts before a person decides.",
        "1 to 100 attempts", _number(1, 100)),
    Key("retryBaseSeconds", "integer", 30, "First wait between attempts; it doubles, with full jitter.",
        "1 to 86,400 seconds", _number(1, 86_400)),
    Key("retryCapSeconds", "integer", 900, "Longest wait between attempts.",
        "1 to 86,400 seconds", _number(1, 86_400)),
    Key("pendingShards", "integer", 0, "Shards of the pending index; 0 for the environment's own. Only ever raise it.",
        f"1 to 100 shards, or {_BY_ENVIRONMENT}", _number(1, 100, special=(0,))),
    Key("reviewHours", "integer", 24, "How long a person has to decide a transaction in REVIEW.",
        "1 to 720 hours", _number(1, 720)),
    Key("reviewOwner", "string", "payment-operations", "Whose desk the transactions in REVIEW are on.",
        "1 to 64 letters, digits or . _ @ -", _text(r"[A-Za-z0-9._@-]{1,64}")),
    Key("clockSkewSeconds", "integer", 2, "How far the workers' clocks may differ.",
        "0 to 60 seconds", _number(0, 60)),
    Key("lambdaMemoryMb", "integer", 512, "Memory of each Lambda, and with it its share of a CPU (1,769 MB are one).",
        "128 to 10,240 MB", _number(128, 10_240)),
    Key("lambdaTimeoutSeconds", "integer", 120, "Longest time of one Lambda call, that is of one batch.",
        "10 to 900 seconds", _number(10, 900)),
    Key("lambdaReservedConcurrency", "integer", 0,
        "Lambda concurrency kept for the batches; 0 by environment (prod and staging: mapConcurrency), -1 for none.",
        "1 to 1,000, -1 for none, or 0 for the environment's own", _number(1, 1_000, special=(0, -1))),
    Key("adotLayer", "string", "",
        "ARN of AWS's collector layer (ADOT), which the Lambdas' traces then go through; nothing: Lambda's own daemon.",
        "arn:aws:lambda:REGION:901920570463:layer:aws-otel-collector-arm64-ver-X-Y-Z:VERSION (AWS's own), or nothing",
        _text(r"|arn:aws:lambda:[a-z0-9-]+:901920570463:layer:aws-otel-collector-arm64-ver-\d+-\d+-\d+:\d+"),
        "arn:aws:lambda:us-east-1:901920570463:layer:aws-otel-collector-arm64-ver-0-117-0:1"),
    Key("logRetentionDays", "integer", 0, "Days that logs are kept; 0 for the environment's own.",
        f"{', '.join(map(str, RETENTION_DAYS))}, or {_BY_ENVIRONMENT}", _retention),
    Key("maskLogs", "string", "auto",
        "Whether CloudWatch masks cards, accounts and keys in logs, at 0.12 US$ a GB: on or off; auto by environment.",
        "on, off or auto", _choice("auto", "on", "off")),
    Key("traceSampling", "integer", 1,
        "Percent of the transactions whose traces are kept; those that met trouble are kept always.",
        "0 to 100 percent", _number(0, 100)),
    Key("alarmEmail", "string", "", "Who hears the alarms, by e-mail; required in prod.",
        "an e-mail address, or nothing", _text(r"|[^@\s]+@[^@\s]+\.[^@\s]+"), "on-call@example.com"),
    Key("faultExperiments", "string", "off",
        "Templates of fault experiments (FIS): off, on, or even-in-prod, where they strike real payments.",
        "off, on or even-in-prod", _choice(*FaultExperiments)),
    Key("permissionsBoundary", "string", "",
        "ARN of the permissions boundary that every role gets; the output permissionsBoundary of delivery/bootstrap/.",
        "the ARN of a policy, or nothing", _text(r"|arn:[a-z-]+:iam::\d{12}:policy/\S+"),
        "arn:aws:iam::123456789012:policy/pipeline-confirm-dev-boundary"),
    Key("monthlyBudget", "integer", 0, "US dollars a month for this stack, with alerts to alarmEmail; 0 for no budget.",
        "1 to 1,000,000 US$, or 0 for none", _number(1, 1_000_000, special=(0,))),
    Key("vaultLockGraceDays", "integer", 0,
        "Days after which a locked backup vault can never be unlocked again, by nobody; 0 leaves it to those who may.",
        "3 to 36,500 days, or 0 for never", _number(3, 36_500, special=(0,))),
    Key("oldestPendingAlarmSeconds", "integer", 900, "Age of the oldest due transaction that raises an alarm.",
        "60 to 604,800 seconds", _number(60, 604_800)),
    Key("minCapacityUnits", "string", "auto", "Least capacity of Aurora, in ACU; 0 lets it pause (autoPauseSeconds).",
        "0 to 256 in steps of 0.5, or auto for the environment's own", _capacity),
    Key("maxCapacityUnits", "string", "auto", "Most capacity of Aurora, in ACU (about 2 GiB of memory each).",
        "0.5 to 256 in steps of 0.5, or auto for the environment's own", _capacity),
    Key("databaseInstances", "integer", 0, "Instances of the Aurora cluster, a writer and readers that stand by.",
        f"1 to 15, or {_BY_ENVIRONMENT}", _number(1, 15, special=(0,))),
    Key("databaseInsights", "string", "auto", "Database Insights: off, standard or advanced; auto by environment.",
        "off, standard, advanced or auto", _choice("auto", *Insights)),
    Key("databaseInsightsDays", "integer", 0, "Days that Database Insights keeps; 0 for the mode's own (7, 465).",
        "7, 731, whole months of 31 days up to 713, or 0 for the mode's own", _insights_days),
    Key("autoPauseSeconds", "integer", 0, "Idle time after which Aurora pauses (with minCapacityUnits 0); 0 never.",
        "300 to 86,400 seconds, or 0 for never", _number(300, 86_400, special=(0,))),
    Key("engineVersion", "string", "17.7", "Version of Aurora PostgreSQL.",
        "a version 17.x from 17.4 on", _text(r"17\.([4-9]|[1-9]\d)")),
    Key("taskCpu", "integer", 256, "CPU of a task, in 1/1024 of a core.",
        ", ".join(f"{cpu:,}" for cpu in FARGATE_SIZES), _one_of(*FARGATE_SIZES)),
    Key("taskMemoryMb", "integer", 512, "Memory of a task.",
        "512 MB to 122,880 MB, as Fargate has it for taskCpu", _number(512, 122_880)),
    Key("minTasks", "integer", -1, "Tasks that always run; -1 for the environment's own, 0 to sleep without work.",
        "0 to 1,000 tasks, or -1 for the environment's own", _number(0, 1_000, special=(-1,))),
    Key("maxTasks", "integer", 0, "Tasks at the highest backlog; 0 for the environment's own.",
        f"1 to 1,000 tasks, or {_BY_ENVIRONMENT}", _number(1, 1_000, special=(0,))),
    Key("onDemandBase", "integer", -1, "Tasks that run on FARGATE, whatever spotWeight; -1 for the environment's own.",
        "0 to 1,000 tasks, or -1 for the environment's own", _number(0, 1_000, special=(-1,))),
    Key("spotWeight", "integer", -1, "Percent of the tasks beyond onDemandBase on FARGATE_SPOT; -1 by environment.",
        "0 to 100 percent, or -1 for the environment's own", _number(0, 100, special=(-1,))),
    Key("backlogPerTask", "integer", 2_000, "Due transactions per task that scaling aims at.",
        "1 to 1,000,000 transactions", _number(1, 1_000_000)),
    Key("imageDigest", "string", "", "The workers' image, repository@sha256:...; nothing to build it from workers/.",
        "repository@sha256: and 64 hexadecimal digits, or nothing",
        _text(r"|[a-z0-9][a-z0-9._:/-]*@sha256:[0-9a-f]{64}")),
    Key("stopTimeoutSeconds", "integer", 120, "Time that a task has to end its work before it is killed.",
        "20 to 120 seconds (Fargate's most)", _number(20, 120)),
    Key("collectorImage", "string", COLLECTOR, "Image of the OpenTelemetry collector beside each worker.",
        "image@sha256: and 64 hexadecimal digits", _text(r"[a-z0-9][a-z0-9._:/-]*@sha256:[0-9a-f]{64}")),
)  # fmt: skip


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
    pending_shards: int
    review_seconds: int
    review_owner: str
    clock_skew_seconds: int


@dataclass(frozen=True, slots=True)
class CanarySettings:
    """The payment of ours that shows the whole path to work."""

    minutes: int
    """Between two of them."""
    account: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RunSettings:
    """The scheduled run over the backlog."""

    schedule: str
    map_concurrency: int
    batches_per_plan: int
    lease_seconds: int
    """How long the run lock outlives a run that vanished. Overlap is harmless, the claims are fenced."""
    period_seconds: int | None
    """Time between two runs, where the schedule is a rate."""


@dataclass(frozen=True, slots=True)
class FunctionSettings:
    memory_mb: int
    timeout_seconds: int
    reserved_concurrency: int | None
    """For the batches; None reserves nothing."""
    collector_layer: str | None
    """ARN of a version; None: spans go to the X-Ray daemon that Lambda runs."""


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """Aurora. Capacities are in ACU."""

    engine_version: str
    min_capacity: float
    max_capacity: float
    instances: int
    insights: Insights
    insights_days: int
    """0 with insights off."""
    auto_pause_seconds: int
    """0: never."""


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """The tasks of the service."""

    cpu: int
    memory_mb: int
    min_tasks: int
    max_tasks: int
    on_demand_base: int
    spot_weight: int
    backlog_per_task: int
    image: str | None
    """None: built from workers/Dockerfile."""
    stop_seconds: int
    collector_image: str


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
class AlarmSettings:
    email: str | None
    oldest_pending_seconds: int
    monthly_budget: int
    """US dollars; 0 for none."""


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
    canary: CanarySettings | None
    run: RunSettings
    functions: FunctionSettings
    database: DatabaseSettings
    service: ServiceSettings
    alarms: AlarmSettings
    fault_experiments: FaultExperiments
    vault_grace_days: int
    """Until the backup vault's lock is for ever; 0: it stays removable."""
    permissions_boundary: str | None
    """ARN; of every role."""

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


class _Values:
    """The typed values by key; a wrong accessor is a mistake in this file, not the user's."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values = values

    def text(self, key: str) -> str:
        value = self._values[key]
        if not isinstance(value, str):
            raise TypeError(key)
        return value

    def number(self, key: str) -> int:
        value = self._values[key]
        if not isinstance(value, int):
            raise TypeError(key)
        return value

    def units(self, key: str) -> float:
        value = self._values[key]
        if not isinstance(value, float):
            raise TypeError(key)
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._values[key]
        if not isinstance(value, tuple):
            raise TypeError(key)
        return value


def load() -> Settings:
    """The settings of the stack that is being deployed.

    Raises:
        SettingsError: any key is wrong, unknown, missing, or at odds with another.
    """
    raw: dict[str, object] = {**pulumi.runtime.config.get_config_env(), **pulumi.runtime.config.CONFIG.get()}
    prefix = f"{PROJECT}:"
    config = {key.removeprefix(prefix): value for key, value in raw.items() if key.startswith(prefix)}
    settings = parse(config, pulumi.get_stack())
    for warning in warnings(settings):
        pulumi.log.warn(warning)
    return settings


def warnings(settings: Settings) -> tuple[str, ...]:
    """What is allowed and hardly meant."""
    return tuple(_rules(settings.alternative).warnings(settings))


class Rules(Protocol):
    """What the module `rules` of each alternative offers."""

    LEASE_SECONDS: int
    """What leaseSeconds is unless set."""

    def contradictions(self, settings: Settings) -> Iterator[Problem]:
        """What its settings must keep between each other."""
        ...

    def warnings(self, settings: Settings) -> Iterator[str]:
        """What is allowed and hardly meant."""
        ...


def _rules(alternative: str) -> Rules:
    return cast(Rules, importlib.import_module(f"components.{alternative}.rules"))


def parse(config: Mapping[str, object], stack: str = "stack") -> Settings:
    """Config values by key (without the project's prefix, as text or already typed) to settings of the stack so named.

    Raises:
        SettingsError: any key is wrong, unknown, missing, or at odds with another.
    """
    problems = [*_unknown(config)]
    values: dict[str, Value] = {}
    for key in KEYS:
        raw = config.get(key.name, key.default)
        try:
            values[key.name] = key.read(raw)
        except ValueError:
            found = "nothing" if raw in ("", None) else json.dumps(raw, default=str)
            problems.append(Problem(key.name, found, key.allowed, key.mend))
    if {key.name for key in KEYS} == set(values):  # rules between keys need all of them
        settings = _build(stack, _Values(values))
        problems += [*_contradictions(settings), *_rules(settings.alternative).contradictions(settings)]
    if problems:
        raise SettingsError(tuple(problems))
    return settings


def _unknown(config: Mapping[str, object]) -> Iterator[Problem]:
    names = {key.name: key for key in KEYS}
    folded = {name.lower(): name for name in names}
    for name in sorted(set(config) - set(names)):
        near = difflib.get_close_matches(name.lower(), folded, n=1)
        found = f"a key that does not exist (= {json.dumps(config[name], default=str)})"
        if near:
            meant = folded[near[0]]
            yield Problem(name, found, "the keys that Pulumi.yaml lists", _as_found(names[meant], config[name]), meant)
        else:
            yield Problem(name, found, "the keys that Pulumi.yaml lists")


def _as_found(key: Key, raw: object) -> Value:
    try:
        return key.read(raw)
    except ValueError:
        return key.mend


def _build(stack: str, values: _Values) -> Settings:
    number, text = values.number, values.text
    environment = Environment(text("environment"))
    sizing = ENVIRONMENTS[environment]
    nat = text("natStrategy")
    schedule = sizing.schedule if text("schedule") == "auto" else text("schedule")
    reserved = number("lambdaReservedConcurrency")
    if reserved == 0 and sizing.reserve_concurrency:
        reserved = number("mapConcurrency")
    alternative = text("alternative")
    lease = number("leaseSeconds") or _rules(alternative).LEASE_SECONDS
    return Settings(
        stack=stack,
        alternative=alternative,
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
            lease_seconds=lease,
            max_attempts=number("maxAttempts"),
            retry_base_seconds=number("retryBaseSeconds"),
            retry_cap_seconds=number("retryCapSeconds"),
            pending_shards=number("pendingShards") or sizing.pending_shards,
            review_seconds=number("reviewHours") * 3_600,
            review_owner=text("reviewOwner"),
            clock_skew_seconds=number("clockSkewSeconds"),
        ),
        canary=CanarySettings(number("canaryMinutes"), text("canaryAccount")) if number("canaryMinutes") else None,
        run=RunSettings(
            schedule=schedule,
            map_concurrency=number("mapConcurrency"),
            batches_per_plan=number("batchesPerPlan"),
            lease_seconds=min(900, max(300, 2 * lease)),
            period_seconds=period_seconds(schedule),
        ),
        functions=FunctionSettings(
            memory_mb=number("lambdaMemoryMb"),
            timeout_seconds=number("lambdaTimeoutSeconds"),
            reserved_concurrency=reserved if reserved > 0 else None,
            collector_layer=text("adotLayer") or None,
        ),
        database=_database(values, sizing),
        service=_service(values, sizing),
        alarms=AlarmSettings(
            email=text("alarmEmail") or None,
            oldest_pending_seconds=number("oldestPendingAlarmSeconds"),
            monthly_budget=number("monthlyBudget"),
        ),
        fault_experiments=FaultExperiments(text("faultExperiments")),
        permissions_boundary=text("permissionsBoundary") or None,
        vault_grace_days=number("vaultLockGraceDays"),
    )


def _database(values: _Values, sizing: Sizing) -> DatabaseSettings:
    number, text, units = values.number, values.text, values.units
    least, most, insights = units("minCapacityUnits"), units("maxCapacityUnits"), text("databaseInsights")
    mode = sizing.database_insights if insights == "auto" else Insights(insights)
    return DatabaseSettings(
        engine_version=text("engineVersion"),
        min_capacity=sizing.min_capacity_units if least < 0 else least,
        max_capacity=sizing.max_capacity_units if most < 0 else most,
        instances=number("databaseInstances") or sizing.database_instances,
        insights=mode,
        insights_days=number("databaseInsightsDays") or INSIGHTS_DEFAULT_DAYS[mode],
        auto_pause_seconds=number("autoPauseSeconds"),
    )


def _service(values: _Values, sizing: Sizing) -> ServiceSettings:
    number, text = values.number, values.text

    def own(key: str, environments: int) -> int:
        value = number(key)
        return environments if value < 0 else value

    return ServiceSettings(
        cpu=number("taskCpu"),
        memory_mb=number("taskMemoryMb"),
        min_tasks=own("minTasks", sizing.min_tasks),
        max_tasks=number("maxTasks") or sizing.max_tasks,
        on_demand_base=own("onDemandBase", sizing.on_demand_base),
        spot_weight=own("spotWeight", sizing.spot_weight),
        backlog_per_task=number("backlogPerTask"),
        image=text("imageDigest") or None,
        stop_seconds=number("stopTimeoutSeconds"),
        collector_image=text("collectorImage"),
    )


def period_seconds(schedule: str) -> int | None:
    """Seconds between two runs of `rate(...)`; None for `cron(...)`."""
    match = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", schedule)
    return int(match[1]) * {"minute": 60, "hour": 3_600, "day": 86_400}[match[2]] if match else None


def is_local(host: str) -> bool:
    """Whether `host` is this very machine: only then may the gateway be spoken to without TLS."""
    return host in ("127.0.0.1", "localhost")


def _is_private(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return is_local(host) or host.endswith(".internal")


def _restore(s: Settings) -> Iterator[Problem]:
    if s.restore is None:
        if s.gateway.restored_to and s.gateway.mode != "shadow":
            yield Problem(
                "restoreTime",
                f'"{s.gateway.restored_to}" without restoreFrom, in mode {s.gateway.mode}',
                "nothing; in mode shadow, the moment that the datastore was set back to in its place",
                "",
            )
        return
    if s.restore.is_backup and s.restore.time:
        yield Problem(
            "restoreTime",
            f'"{s.restore.time}" with the ARN of a backup as restoreFrom',
            "nothing: a backup is of one moment; a table or cluster is restored to any",
            "",
        )
    if s.gateway.mode != "shadow":
        yield Problem(
            "mode",
            f'"{s.gateway.mode}" with restoreFrom',
            "shadow: what was confirmed after the moment of the copy is pending in it again, so first everything is "
            "asked. Once the books agree, take restoreFrom out",
            "shadow",
        )


def _canary(s: Settings) -> Iterator[Problem]:
    if s.canary is None:
        return
    found = f"{s.canary.minutes} with"
    if not s.canary.account:
        yield Problem(
            "canaryAccount",
            f"nothing, and canaryMinutes {s.canary.minutes}",
            "an account that the gateway keeps for tests: a canary is really paid",
            "test-account",
        )
    if s.gateway.mode == "shadow":
        yield Problem(
            "canaryMinutes",
            f"{found} mode shadow",
            "0: nothing is confirmed by us then, and no canary comes through",
            0,
        )


def _contradictions(s: Settings) -> Iterator[Problem]:
    """The rules between the keys that every alternative reads, one after the other."""
    gateway = s.gateway
    host = urlsplit(gateway.url).hostname or ""

    if s.work.retry_base_seconds > s.work.retry_cap_seconds:
        yield Problem(
            "retryBaseSeconds",
            f"{s.work.retry_base_seconds} s",
            f"at most retryCapSeconds ({s.work.retry_cap_seconds} s)",
            s.work.retry_cap_seconds,
        )
    lease, window = s.work.lease_seconds, gateway.key_window_seconds
    if gateway.grace_seconds + lease >= window:
        yield Problem(
            "gatewayGraceSeconds",
            f"{gateway.grace_seconds} s with a lease of {lease} s",
            f"together less than gatewayKeyWindowHours ({window:,} s): "
            "after it a resend is no longer safe, and every doubt would end in REVIEW",
            60,
        )
    yield from _restore(s)
    yield from _canary(s)
    zones = s.network.availability_zones
    prefix = int(s.network.vpc_cidr.rpartition("/")[2])
    # awsx halves the range until each zone has its part, and that once more for its private and its public subnet
    widest = SMALLEST_SUBNET - math.ceil(math.log2(zones)) - 1
    if prefix > widest:
        yield Problem(
            "vpcCidr",
            f'"{s.network.vpc_cidr}"',
            f"/{widest} or wider for {zones} zones with a public and a private subnet of /27 or more each",
            f"10.0.0.0/{min(widest, 16)}",
        )
    if s.network.nat_strategy is NatStrategy.NONE and not _is_private(host):
        yield Problem(
            "natStrategy",
            '"none" with a gateway on the internet',
            "single or one-per-zone: the workers need a way out to " + host,
            "single",
        )

    if s.alarms.monthly_budget and s.alarms.email is None:
        yield Problem(
            "alarmEmail", "nothing, with a monthlyBudget", "an address: a budget alerts somebody", "on-call@example.com"
        )
    if s.vault_grace_days and not s.sizing.vault_locked:
        yield Problem(
            "vaultLockGraceDays",
            f"{s.vault_grace_days} in {s.environment}",
            "0: its backup vault is not locked, that of prod is",
            0,
        )
    if gateway.url.startswith("http:") and not is_local(host):
        yield Problem(
            "gatewayUrl", f'"{gateway.url}"', "https (http only to this machine)", "https://" + gateway.url[7:]
        )
    if s.environment is Environment.PROD:
        if s.fault_experiments is FaultExperiments.ON:
            yield Problem(
                "faultExperiments",
                '"on" in prod',
                "off; or even-in-prod, once each has passed in staging: they strike real payments",
                "off",
            )
        if gateway.url.startswith("http:"):
            yield Problem("gatewayUrl", f'"{gateway.url}"', "https in prod", "https://payments.example.com")
        if s.alarms.email is None:
            yield Problem(
                "alarmEmail", "nothing", "an address in prod: an alarm must reach a person", "on-call@example.com"
            )
