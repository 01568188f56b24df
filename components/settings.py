"""The stack's config, parsed once into frozen typed values. `__main__.py` starts here.

Every key is a row of KEYS; what differs by environment is a row of ENVIRONMENTS; what must hold between keys is
a rule in `_contradictions`. All mistakes are reported together, each with its mend.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

import pulumi

PROJECT = "confirm-transactions"

KIB = 1024
PAYLOAD_LIMIT = 256 * KIB  # bytes in or out of a Step Functions state (hard limit)
ID_BYTES = 128 + len('"",')  # the longest transaction id, as an element of a JSON list
BATCH_OVERHEAD = 512  # bytes of a batch beside its ids: run name (<= 80), number, keys
RESULT_BYTES = 320  # bytes of one batch's counts at their largest, or of its error
RUN_OVERHEAD = 4 * KIB  # bytes of a run's state beside the results: plan, totals, names, an error's text
EXPRESS_LIMIT = 300  # seconds that an Express child of a Distributed Map may take (hard limit)
LAMBDA_RETRY_WAITS = 31  # seconds: 1 + 2 + 4 + 8 + 16, the waits between the tries of state_machine.RETRY
CALLS_PER_TRANSACTION = 2  # at worst `ask` and then `confirm`
BATCH_MARGIN = 15  # seconds of a batch beside its calls: cold start in a VPC, claim, settle, the last line of log
SMALLEST_SUBNET = 27  # 27 addresses: AWS's own least, /28, leaves 11 for NAT, endpoints and Lambda's interfaces


class Alternative(StrEnum):
    SERVERLESS = "serverless"
    FARGATE = "fargate"


class Environment(StrEnum):
    DEV = "dev"
    STAGING = "staging"
    PROD = "prod"


class NatStrategy(StrEnum):
    NONE = "none"
    SINGLE = "single"
    ONE_PER_ZONE = "one-per-zone"


@dataclass(frozen=True, slots=True)
class Sizing:
    """What one environment has; a test proves that prod is never weaker than staging, nor staging than dev."""

    availability_zones: int
    nat_strategy: NatStrategy
    """A gateway in each zone costs 36.5 US$ a month each and survives the loss of a zone."""
    pending_shards: int
    """A shard of the index takes 1,000 writes a second."""
    reserve_concurrency: bool
    """Reserving fails in accounts whose Lambda quota is still the starter's 10: hence not in dev."""
    log_retention_days: int
    deletion_protection: bool
    """AWS's own and Pulumi's `protect`."""
    point_in_time_recovery: bool
    contributor_insights: bool
    warm_write_units: int
    """A new on-demand table takes 4,000 writes a second; 0 leaves it so. Warming is a one-off charge."""
    key_deletion_days: int


ENVIRONMENTS: Mapping[Environment, Sizing] = {
    Environment.DEV: Sizing(
        availability_zones=2,
        nat_strategy=NatStrategy.SINGLE,
        pending_shards=4,
        reserve_concurrency=False,
        log_retention_days=30,
        deletion_protection=False,
        point_in_time_recovery=False,
        contributor_insights=False,
        warm_write_units=0,
        key_deletion_days=7,
    ),
    Environment.STAGING: Sizing(
        availability_zones=2,
        nat_strategy=NatStrategy.SINGLE,
        pending_shards=10,
        reserve_concurrency=True,
        log_retention_days=90,
        deletion_protection=False,
        point_in_time_recovery=True,
        contributor_insights=True,
        warm_write_units=0,
        key_deletion_days=7,
    ),
    Environment.PROD: Sizing(
        availability_zones=2,
        nat_strategy=NatStrategy.ONE_PER_ZONE,
        pending_shards=10,
        reserve_concurrency=True,
        log_retention_days=365,  # PCI DSS 10.5.1: twelve months of audit trail
        deletion_protection=True,
        point_in_time_recovery=True,
        contributor_insights=True,
        warm_write_units=8_000,
        key_deletion_days=30,
    ),
}

# What CloudWatch Logs accepts as retention.
RETENTION_DAYS: tuple[int, ...] = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731),
    *(1096, 1827, 2192, 2557, 2922, 3288, 3653),
)

# The interface endpoints that our traffic can use, each about 7.3 US$ a month and zone. DynamoDB and S3 have gateways.
INTERFACE_ENDPOINTS = ("kms", "lambda", "logs", "monitoring", "secretsmanager", "sns", "sqs", "states", "xray")


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


Value = str | int | tuple[str, ...]
Reader = Callable[[object], Value]
"""Turns a raw config value into a typed one; raises ValueError with nothing to add, the row says what is allowed."""


@dataclass(frozen=True, slots=True)
class Key:
    """One config key: Pulumi.yaml repeats type, default and description, and a test holds both together."""

    name: str
    type: str
    """As Pulumi.yaml has it: string, integer or array."""
    default: str | int | tuple[str, ...]
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


_BY_ENVIRONMENT = "0 for the environment's own"

KEYS: tuple[Key, ...] = (
    Key("alternative", "string", "serverless", "Which alternative confirms the transactions: serverless or fargate.",
        "serverless or fargate", _choice(*Alternative)),
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
    Key("gatewayUrl", "string", "", "Base address of the payment gateway. Required.",
        "an https address without user, query or fragment (required)", _url, "https://payments.example.com"),
    Key("gatewayTimeoutSeconds", "integer", 10, "Longest wait for one call; after it the outcome is unknown.",
        "1 to 60 seconds", _number(1, 60)),
    Key("gatewayConcurrency", "integer", 50, "Calls under way at once, per worker.",
        "1 to 500 calls", _number(1, 500)),
    Key("gatewayRateLimit", "integer", 500, "Calls per second, the whole system together.",
        "1 to 100,000 calls per second", _number(1, 100_000)),
    Key("gatewayGraceSeconds", "integer", 60, "Wait before a resend after the gateway said that it knows nothing.",
        "1 to 86,400 seconds", _number(1, 86_400)),
    Key("gatewayKeyWindowHours", "integer", 24, "How long the gateway remembers an idempotency key.",
        "1 to 8,760 hours", _number(1, 8_760)),
    Key("schedule", "string", "rate(1 minute)", "When a run starts, in UTC: EventBridge Scheduler's rate or cron.",
        "rate(N minutes|hours|days) (singular for 1), or cron() with six fields and one of the days `?`", _schedule),
    Key("batchSize", "integer", 100, "Transactions per batch, that is per Lambda call.",
        "1 to 10,000 transactions", _number(1, 10_000)),
    Key("mapConcurrency", "integer", 10, "Batches under way at once.",
        "1 to 1,000 batches", _number(1, 1_000)),
    Key("batchesPerPlan", "integer", 500, "Batches per loop of a run.",
        "1 to 10,000 batches", _number(1, 10_000)),
    Key("leaseSeconds", "integer", 180, "How long a claim keeps others away.",
        "10 to 3,600 seconds", _number(10, 3_600)),
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
    Key("logRetentionDays", "integer", 0, "Days that logs are kept; 0 for the environment's own.",
        f"{', '.join(map(str, RETENTION_DAYS))}, or {_BY_ENVIRONMENT}", _retention),
    Key("alarmEmail", "string", "", "Who hears the alarms, by e-mail; required in prod.",
        "an e-mail address, or nothing", _text(r"|[^@\s]+@[^@\s]+\.[^@\s]+"), "on-call@example.com"),
    Key("oldestPendingAlarmSeconds", "integer", 900, "Age of the oldest due transaction that raises an alarm.",
        "60 to 604,800 seconds", _number(60, 604_800)),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    vpc_cidr: str
    availability_zones: int
    nat_strategy: NatStrategy
    interface_endpoints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """The payment gateway. Rates are calls per second."""

    url: str
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


@dataclass(frozen=True, slots=True)
class AlarmSettings:
    email: str | None
    oldest_pending_seconds: int


@dataclass(frozen=True, slots=True)
class Settings:
    alternative: Alternative
    environment: Environment
    owner: str
    cost_center: str
    sizing: Sizing
    log_retention_days: int
    network: NetworkSettings
    gateway: GatewaySettings
    work: WorkSettings
    run: RunSettings
    functions: FunctionSettings
    alarms: AlarmSettings

    @property
    def tags(self) -> dict[str, str]:
        """On every resource, through the provider."""
        return {
            "Project": PROJECT,
            "Environment": self.environment.value,
            "Alternative": self.alternative.value,
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
    return parse({key.removeprefix(prefix): value for key, value in raw.items() if key.startswith(prefix)})


def parse(config: Mapping[str, object]) -> Settings:
    """Config values by key (without the project's prefix, as text or already typed) to settings.

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
        settings = _build(_Values(values))
        problems += _contradictions(settings)
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


def _build(values: _Values) -> Settings:
    number, text = values.number, values.text
    environment = Environment(text("environment"))
    sizing = ENVIRONMENTS[environment]
    nat = text("natStrategy")
    schedule = text("schedule")
    reserved = number("lambdaReservedConcurrency")
    if reserved == 0 and sizing.reserve_concurrency:
        reserved = number("mapConcurrency")
    return Settings(
        alternative=Alternative(text("alternative")),
        environment=environment,
        owner=text("owner"),
        cost_center=text("costCenter"),
        sizing=sizing,
        log_retention_days=number("logRetentionDays") or sizing.log_retention_days,
        network=NetworkSettings(
            vpc_cidr=text("vpcCidr"),
            availability_zones=number("availabilityZones") or sizing.availability_zones,
            nat_strategy=sizing.nat_strategy if nat == "auto" else NatStrategy(nat),
            interface_endpoints=values.texts("interfaceEndpoints"),
        ),
        gateway=GatewaySettings(
            url=text("gatewayUrl"),
            timeout_seconds=number("gatewayTimeoutSeconds"),
            concurrency=number("gatewayConcurrency"),
            rate_limit=number("gatewayRateLimit"),
            grace_seconds=number("gatewayGraceSeconds"),
            key_window_seconds=number("gatewayKeyWindowHours") * 3_600,
        ),
        work=WorkSettings(
            batch_size=number("batchSize"),
            lease_seconds=number("leaseSeconds"),
            max_attempts=number("maxAttempts"),
            retry_base_seconds=number("retryBaseSeconds"),
            retry_cap_seconds=number("retryCapSeconds"),
            pending_shards=number("pendingShards") or sizing.pending_shards,
            review_seconds=number("reviewHours") * 3_600,
            review_owner=text("reviewOwner"),
            clock_skew_seconds=number("clockSkewSeconds"),
        ),
        run=RunSettings(
            schedule=schedule,
            map_concurrency=number("mapConcurrency"),
            batches_per_plan=number("batchesPerPlan"),
            lease_seconds=min(900, max(300, 2 * number("leaseSeconds"))),
            period_seconds=period_seconds(schedule),
        ),
        functions=FunctionSettings(
            memory_mb=number("lambdaMemoryMb"),
            timeout_seconds=number("lambdaTimeoutSeconds"),
            reserved_concurrency=reserved if reserved > 0 else None,
        ),
        alarms=AlarmSettings(
            email=text("alarmEmail") or None,
            oldest_pending_seconds=number("oldestPendingAlarmSeconds"),
        ),
    )


def period_seconds(schedule: str) -> int | None:
    """Seconds between two runs of `rate(...)`; None for `cron(...)`."""
    match = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", schedule)
    return int(match[1]) * {"minute": 60, "hour": 3_600, "day": 86_400}[match[2]] if match else None


def batch_seconds(batch_size: int, gateway: GatewaySettings, map_concurrency: int) -> int:
    """The longest time that a batch can need: every call answered at its time-out, in waves, under the rate limit."""
    waves = math.ceil(batch_size / gateway.concurrency) * gateway.timeout_seconds
    paced = batch_size / (gateway.rate_limit / map_concurrency)
    return math.ceil(CALLS_PER_TRANSACTION * (waves + paced)) + BATCH_MARGIN


def is_local(host: str) -> bool:
    """Whether `host` is this very machine: only then may the gateway be spoken to without TLS."""
    return host in ("127.0.0.1", "localhost")


def _is_private(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return is_local(host) or host.endswith(".internal")


def _contradictions(s: Settings) -> Iterator[Problem]:
    """The rules between keys, one after the other."""
    batch, run, gateway = s.work.batch_size, s.run, s.gateway
    host = urlsplit(gateway.url).hostname or ""

    if s.alternative is Alternative.FARGATE:
        yield Problem("alternative", '"fargate"', "serverless (fargate is not built yet)", "serverless")

    largest = (PAYLOAD_LIMIT - BATCH_OVERHEAD) // ID_BYTES
    if batch > largest:
        size = batch * ID_BYTES + BATCH_OVERHEAD
        yield Problem(
            "batchSize",
            f"{batch}, that is up to {size:,} bytes of ids",
            f"at most {largest:,}: Step Functions carries {PAYLOAD_LIMIT:,} bytes a state",
            largest // 100 * 100,
        )
    most = (PAYLOAD_LIMIT - RUN_OVERHEAD) // RESULT_BYTES
    if run.batches_per_plan > most:
        size = run.batches_per_plan * RESULT_BYTES + RUN_OVERHEAD
        yield Problem(
            "batchesPerPlan",
            f"{run.batches_per_plan}, that is up to {size:,} bytes of results",
            f"at most {most:,}: Step Functions carries {PAYLOAD_LIMIT:,} bytes a state",
            most // 100 * 100,
        )

    if gateway.rate_limit < run.map_concurrency:
        yield Problem(
            "gatewayRateLimit",
            f"{gateway.rate_limit} a second for {run.map_concurrency} batches at once",
            "at least mapConcurrency: each worker needs a share of one call per second or more",
            max(run.map_concurrency, 500),
        )
    else:
        yield from _too_slow(s)
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
    reserved = s.functions.reserved_concurrency
    if reserved is not None and reserved < run.map_concurrency:
        yield Problem(
            "lambdaReservedConcurrency",
            f"{reserved} for {run.map_concurrency} batches at once",
            "at least mapConcurrency, or the batches throttle each other",
            run.map_concurrency,
        )

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

    if gateway.url.startswith("http:") and not is_local(host):
        yield Problem(
            "gatewayUrl", f'"{gateway.url}"', "https (http only to this machine)", "https://" + gateway.url[7:]
        )
    if s.environment is Environment.PROD:
        if gateway.url.startswith("http:"):
            yield Problem("gatewayUrl", f'"{gateway.url}"', "https in prod", "https://payments.example.com")
        if s.alarms.email is None:
            yield Problem(
                "alarmEmail", "nothing", "an address in prod: an alarm must reach a person", "on-call@example.com"
            )
    period = run.period_seconds
    if period is not None and s.alarms.oldest_pending_seconds <= period:
        yield Problem(
            "oldestPendingAlarmSeconds",
            f"{s.alarms.oldest_pending_seconds} s with a run every {period} s",
            "more than the time between two runs, or the alarm never rests",
            min(604_800, 2 * period),
        )


def _too_slow(s: Settings) -> Iterator[Problem]:
    """A batch fits into its Lambda call, that into an Express child, and the lease outlives both."""
    batch, gateway, concurrency = s.work.batch_size, s.gateway, s.run.map_concurrency
    timeout, lease = s.functions.timeout_seconds, s.work.lease_seconds
    need = batch_seconds(batch, gateway, concurrency)
    limit = EXPRESS_LIMIT - LAMBDA_RETRY_WAITS
    express = (
        f"at most {limit} s: an Express child ends after {EXPRESS_LIMIT} s, "
        f"{LAMBDA_RETRY_WAITS} s of them kept for Lambda's retries"
    )
    reason = (
        f"{CALLS_PER_TRANSACTION} calls of up to {gateway.timeout_seconds} s each for {batch} transactions, "
        f"{gateway.concurrency} at once, {gateway.rate_limit / concurrency:g} a second"
    )
    if need > limit:
        fitting = _fitting(batch, gateway, concurrency, min(limit, timeout))
        yield Problem("batchSize", f"{batch}, which can take {need} s ({reason})", express, fitting)
        need = 0  # the smaller batch fits the rest
    elif timeout < need:
        wanted = f"at least {need} s, what a batch can need: {reason}"
        yield Problem("lambdaTimeoutSeconds", f"{timeout} s", wanted, need)
    if timeout > limit:
        yield Problem("lambdaTimeoutSeconds", f"{timeout} s", express, limit)
    least = max(timeout, need) + s.work.clock_skew_seconds + 1
    if lease < least:
        yield Problem(
            "leaseSeconds",
            f"{lease} s",
            f"at least {least} s: a lease outlives the Lambda that holds it ({timeout} s), "
            f"what a batch can need ({need or timeout} s) and the clocks' difference ({s.work.clock_skew_seconds} s)",
            least,
        )


def _fitting(batch: int, gateway: GatewaySettings, map_concurrency: int, limit: int) -> int:
    """The largest batch, up to `batch`, that needs at most `limit` seconds; 1 where none does."""
    sizes = range(batch, 0, -1)
    return next((size for size in sizes if batch_seconds(size, gateway, map_concurrency) <= limit), 1)
