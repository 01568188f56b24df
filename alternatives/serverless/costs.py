"""What serverless costs: Scheduler, Step Functions, Lambda and DynamoDB; and a naive design of the same services.

`Work` holds what a transaction makes it do, assumed (the defaults, from before there was any code) or counted
(`make bench`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace

from analysis.costs.graph import Advice, Priced
from analysis.costs.models import (
    KMS_REQUESTS,
    LOAD,
    TRACED_SHARE,
    Env,
    Load,
    metrics,
    standing,
    traced_share,
    traffic,
    watch,
)
from analysis.costs.prices import GB, Bill, add, price
from analysis.costs.schedules import runs_per_hour
from analysis.graph import Record
from components.settings import Environment, Settings


@dataclass(frozen=True, slots=True)
class ServerlessEnv(Env):
    """What a stack of this alternative has besides."""

    runs_per_hour: float = 60
    batch: int = 100
    """Transactions of one Lambda call."""
    calls_in_flight: int = 50
    """Of one Lambda to the gateway."""
    lambda_gb: float = 0.5
    recovery: bool = True
    """Point-in-time recovery of the table."""


PROD = ServerlessEnv("prod", nats=2)
DEV = ServerlessEnv("dev", nats=1)


@dataclass(frozen=True, slots=True)
class Writes:
    """DynamoDB write units of each step, base table plus index (the rules are in `benchmarks/units.py`)."""

    ingest: float
    claim: float
    settle: float
    release: float
    """Back to PENDING for a retry."""

    def per_transaction(self, load: Load = LOAD) -> float:
        return self.ingest + self.claim * load.attempts + self.settle + self.release * (load.attempts - 1)


LEAN = Writes(ingest=1 + 1, claim=1 + 0, settle=1 + 1, release=1 + 2)
"""Ours: a sparse KEYS_ONLY index whose keys the claim leaves alone, and the history inside an item of up to 1 KiB."""
CLAIM_MOVES_KEY = Writes(ingest=1 + 1, claim=1 + 2, settle=1 + 1, release=1 + 2)
"""As ours, but the claim changes `next_attempt_at`, the index's sort key."""
NAIVE = Writes(ingest=2 + 2, claim=2 + 4, settle=2 + 2, release=2 + 4)
"""The status as index key, projection ALL, items of 1.5 KB."""


@dataclass(frozen=True, slots=True)
class Work:
    """What the serverless alternative does for a transaction. Assumed by default; counted values replace it."""

    write_units: float = LEAN.per_transaction()
    """DynamoDB's, per transaction, ingest and retries included."""
    write_units_per_idle_run: float = 2
    """Of the run lock: taken and released."""
    write_units_per_working_run: float = 2
    share_units_per_attempt: float = 0
    """Write units of the rate limit's shares."""
    read_units_per_attempt: float = 1 / 80
    """Pages of the index; the claim's write is taken to return the item."""
    read_units_per_run: float = 10 * 0.5
    """Ten shards, half a unit for an empty page."""
    transitions_per_idle_run: float = 5
    """Start, lock, plan, choice, unlock."""
    transitions_per_working_run: float = 8
    """Confirm, report, choice more; without the children."""
    transitions_per_child: float = 1
    """For an Express child; a Standard one pays its own states and its start."""
    log_bytes_per_attempt: float = 400
    log_bytes_per_child: float = 600 + 1_500
    """START, END and REPORT of Lambda, and a summary."""
    log_bytes_per_idle_run: float = 2 * 600 + 1_000
    log_bytes_per_working_run: float = 2 * 600 + 1_000
    cpu_ms: float = 2 * 1.2 + 0.8
    """Milliseconds of a whole core per attempt: two UpdateItem by boto3 and one HTTP call."""


ASSUMED = Work()

COUNTED = Work(
    write_units=5.2,
    write_units_per_idle_run=2,
    write_units_per_working_run=3,
    share_units_per_attempt=0.15,  # by benchmarks/rate_limit.py, with ten batches at once that the limit holds back
    read_units_per_attempt=0.512,
    read_units_per_run=7.0,
    transitions_per_idle_run=4,
    transitions_per_working_run=7,
    log_bytes_per_attempt=160,
    log_bytes_per_child=1330,
    log_bytes_per_idle_run=290,
    log_bytes_per_working_run=810,
    cpu_ms=1.3,  # timed; of it 0.8 assumed, the call to the gateway
)
"""As `make bench` counted it, November 2026; it fails when what it counts is more."""
CORE_MB = 1769
"""Of memory, with which Lambda gives one whole core; less gets its share."""
INVOKE_SECONDS = 0.03
"""What every invocation takes beside its work."""
PLAN_AND_REPORT_SECONDS = 0.10
COLD_SHARE, COLD_SECONDS = 0.02, 0.7
"""Since August 2025 INIT is billed like the rest."""
EXPRESS_GB = 64 / 1024


def batch_seconds(size: float, load: Load = LOAD, work: Work = ASSUMED, env: ServerlessEnv = PROD) -> float:
    """How long a Lambda works on a batch: bound by its share of a core, or by the gateway's latency."""
    calls = math.ceil(size / env.calls_in_flight) * load.latency_seconds
    cpu = size * work.cpu_ms / 1000 / min(1, env.lambda_gb * 1024 / CORE_MB)
    return INVOKE_SECONDS + max(calls, cpu) + load.slowest_seconds - load.latency_seconds


def express(count: float, seconds: float) -> float:
    """`count` Express executions of `seconds` each: 64 MB, in steps of 100 ms, cheaper by volume."""
    gb_hours = count * math.ceil(seconds * 10) / 10 * EXPRESS_GB / 3600
    return (
        price("sfn_express_request", count)
        + price("sfn_express_gb_h", min(gb_hours, 1_000))
        + price("sfn_express_gb_h_over_1000", min(max(gb_hours - 1_000, 0), 4_000))
        + price("sfn_express_gb_h_over_5000", max(gb_hours - 5_000, 0))
    )


def serverless(
    volume: float, env: ServerlessEnv = PROD, load: Load = LOAD, *, work: Work = ASSUMED, backlog: bool = False
) -> Bill:
    """`volume` transactions a month through Scheduler, Step Functions, Lambda and DynamoDB."""
    return add(serverless_use(volume, env, load, work=work, backlog=backlog), standing(env, secrets=1))


def serverless_use(
    volume: float, env: ServerlessEnv, load: Load = LOAD, *, work: Work = ASSUMED, backlog: bool = False
) -> Bill:
    """The part that is paid by use.

    `backlog`: every run finds full batches; otherwise transactions arrive evenly over each phase of the month, and
    batches only fill when more than a batch arrives between two runs.
    """
    runs = working = children = lambda_seconds = dispatch = 0.0
    for hours, share in load.phases(volume):
        runs_here, attempts = hours * env.runs_per_hour, share * load.attempts
        per_run = attempts / runs_here
        working_here = runs_here * (1 - math.exp(-per_run))  # arrivals at random: the runs that find any
        if backlog:
            batches = attempts / env.batch
        else:
            batches = working_here * math.ceil(max(per_run, 1) / env.batch) if attempts else 0.0
        took = batch_seconds(attempts / batches if batches else 0, load, work, env)
        runs, working, children = runs + runs_here, working + working_here, children + batches
        lambda_seconds += batches * took
        dispatch += express(batches, took + 0.1)
    idle = runs - working
    transitions = (
        idle * work.transitions_per_idle_run
        + working * work.transitions_per_working_run
        + children * work.transitions_per_child
    )
    shares = volume * load.attempts * work.share_units_per_attempt
    lock_writes = idle * work.write_units_per_idle_run + working * work.write_units_per_working_run
    invocations = runs * 2 + children  # Plan, Report, Confirm
    lambda_seconds += runs * PLAN_AND_REPORT_SECONDS + invocations * COLD_SHARE * COLD_SECONDS
    stored_gb = volume * load.retention_months * (load.item_kb * 1000 + 100) / GB  # 100 bytes of index
    log_gb = (
        volume * load.attempts * work.log_bytes_per_attempt
        + children * work.log_bytes_per_child
        + idle * work.log_bytes_per_idle_run
        + working * work.log_bytes_per_working_run
    ) / GB
    reads = volume * load.attempts * work.read_units_per_attempt + runs * work.read_units_per_run
    traces = (runs + children) * TRACED_SHARE + volume * traced_share(env, load)
    return {
        "Step Functions": price("sfn_transition", transitions) + dispatch + price("scheduler", runs),
        "Lambda": price("lambda_request", invocations) + price("lambda_gb_s", env.lambda_gb * lambda_seconds),
        "DynamoDB writes": price("wru", volume * work.write_units + lock_writes + shares),
        "DynamoDB reads": price("rru", reads),
        "DynamoDB storage + PITR": price("ddb_storage", stored_gb) + price("ddb_pitr", stored_gb * env.recovery),
        "backups": price("ddb_backup", stored_gb * env.backup_copies),
        "KMS, secrets": price("kms_request", KMS_REQUESTS),
        **traffic(volume * load.attempts, load),
        **watch(log_gb, traces, masked=env.masked),
        **metrics(volume, env, load),
    }


NAIVE_TRANSITIONS = 6


def naive(volume: float, env: ServerlessEnv = PROD, load: Load = LOAD) -> Bill:
    """One Standard execution and one waiting Lambda per transaction, everything in the index, chatty logs."""
    calls = volume * load.attempts
    stored_gb = volume * load.retention_months * 3200 / GB  # 1.5 KB of item, and again in the index
    seconds = INVOKE_SECONDS + load.latency_seconds + 2 * 0.008 + COLD_SHARE * COLD_SECONDS
    log_bytes = 600 + 2_500 + 6_000  # Lambda's own lines, five of ours, execution log at level ALL
    use = {
        "Step Functions": price("sfn_transition", calls * NAIVE_TRANSITIONS),
        "Lambda": price("lambda_request", calls) + price("lambda_gb_s", calls * env.lambda_gb * seconds),
        "DynamoDB writes": price("wru", volume * NAIVE.per_transaction(load)),
        "DynamoDB storage + PITR": price("ddb_storage", stored_gb) + price("ddb_pitr", stored_gb / 2),
        **traffic(calls, replace(load, wire_out_bytes=4500, wire_in_bytes=7000)),
        **watch(calls * log_bytes / GB, calls * TRACED_SHARE),
    }
    return add(use, standing(env, secrets=1))


# --- a stack, as it was recorded --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ServerlessUse:
    env: ServerlessEnv

    def bill(self, volume: float, load: Load) -> Bill:
        return serverless_use(volume, self.env, load, work=COUNTED)

    def advice(self, stack: Priced, volume: float) -> Iterator[Advice]:
        """A run finds little where few transactions come."""
        if self.env.runs_per_hour <= 30:
            return
        slow = replace(stack, use=ServerlessUse(replace(self.env, runs_per_hour=12)))
        more = sum(stack.bill(volume).values()) - sum(slow.bill(volume).values())
        if stack.settings.environment is not Environment.PROD and more > 1:
            yield Advice(more, "a run every minute outside prod: fewer find more each. schedule rate(5 minutes)")

    @property
    def variants(self) -> Mapping[str, Mapping[str, str]]:
        return {}


def read(common: Env, settings: Settings, recorded: Record) -> ServerlessUse:
    """What the use depends on, as the resources have it."""
    table = recorded.one("aws:dynamodb/table:Table", "transactions").inputs
    env = ServerlessEnv(
        **asdict(common),
        runs_per_hour=runs_per_hour(
            recorded.one("aws:scheduler/schedule:Schedule", "run").inputs["scheduleExpression"]
        ),
        batch=settings.work.batch_size,
        calls_in_flight=settings.gateway.concurrency,
        lambda_gb=recorded.one("aws:lambda/function:Function", "confirm").inputs["memorySize"] / 1024,
        recovery=bool((table.get("pointInTimeRecovery") or {}).get("enabled")),
    )
    return ServerlessUse(env)
