"""What a month costs on AWS, in US dollars: both alternatives, a naive design, and cron on one machine.

What is not a price (prices.py) is a field of `Load`, `Env` or `Work`, or a named constant. `Env` is what stands:
assumed here, read off the program's recorded graph by graph.py. `Work` holds what a transaction makes the
serverless alternative do, assumed (the defaults, from before there was any code) or counted (`make bench`).
Each model returns a `Bill`, US dollars by line, so a difference between two bills can be read line by line.
`..._use` is the part that is paid by use: what stands all month without a transaction is added to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from analysis.costs.prices import GB, HOURS, MILLION, Bill, add, price

# --- what is assumed --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Load:
    """What the world makes of a transaction, whatever the alternative."""

    attempts: float = 1.05
    """Calls per transaction: 5 % are answered "try later" once."""
    latency_seconds: float = 0.175
    """Of the gateway, on average: 50-300 ms, uniform."""
    slowest_seconds: float = 0.30
    """The tail that ends a batch."""
    wire_out_bytes: float = 2_000
    """Per call with keep-alive; a TLS handshake for each would add some 5,000."""
    wire_in_bytes: float = 2_000
    log_bytes: float = 400
    """Of the container's log, per call: one structured line."""
    retention_months: float = 3
    """How many months of settled transactions the bill is for: nothing deletes one, so each month adds to the next."""
    item_kb: float = 1.0
    """A DynamoDB item with its history."""
    row_kb: float = 1.8
    """A PostgreSQL row with three rows of history, indexes and bloat."""
    busy_hours: float = 176
    """8 hours on 22 days ..."""
    busy_share: float = 0.80
    """... carry this share of the volume."""

    def phases(self, volume: float) -> Iterator[tuple[float, float]]:
        """(hours, transactions) of the busy part of a month and of the rest."""
        yield self.busy_hours, volume * self.busy_share
        yield HOURS - self.busy_hours, volume * (1 - self.busy_share)


@dataclass(frozen=True, slots=True)
class Env:
    """What a stack has, whatever it is used for."""

    name: str
    nats: int
    aurora_instances: int
    min_acu: float
    min_tasks: int
    alarms: int = 15
    metrics: int = 12
    """Custom ones, through the embedded metric format, that come whether there is work or not."""
    work_metrics: int = 0
    """Those that come in hours with work alone, and are paid in these alone."""
    trouble_metrics: int = 0
    """Those that come where something goes wrong."""
    container_metrics: int = 0
    """Container Insights', while a task runs."""
    sampling: float | None = None
    """The share of transactions whose traces are kept, trouble apart; None where transactions have none."""
    keys: int = 2
    """KMS: data, logs."""
    backup_copies: float = 0
    """Full copies in the backup vault at any time."""
    masked: bool = False
    """Whether logs are scanned for what is to be masked."""
    # serverless
    runs_per_hour: float = 60
    batch: int = 100
    """Transactions of one Lambda call."""
    calls_in_flight: int = 50
    """Of one Lambda to the gateway."""
    lambda_gb: float = 0.5
    recovery: bool = True
    """Point-in-time recovery of the table."""
    # fargate
    on_demand_base: int = 1
    """Tasks that run on FARGATE; of those beyond it, `spot_share` run on FARGATE_SPOT."""
    spot_share: float = 1.0
    task_vcpu: float = 0.5
    task_gb: float = 1.0
    task_calls: int = 100
    """Of one task to the gateway, at once."""
    share_seconds: float = 0
    """So long lasts what a task leases of the rate limit in a statement, while that does not bind; 0: no limit."""
    awake_share: float = 1 / 3
    """Of the time that a database which may pause (`min_acu` 0) is awake without work: it is asked what is due."""
    looks_per_hour: float = 0
    """How often the one who looks at the backlog while no task runs does so."""
    insights_acu_month: float = 0
    """US dollars per ACU-month of Database Insights beyond what is free."""
    endpoints: bool = False
    """Whether AWS's own services are reached without NAT."""


PROD = Env("prod", nats=2, aurora_instances=2, min_acu=0.5, min_tasks=2)
PROD_INSIGHTS = replace(PROD, name="prod, min 2 ACU", min_acu=2)
"""AWS Database Blog: Performance Insights, which Database Insights measures by, needs at least 2 ACU."""
DEV = Env("dev", nats=1, aurora_instances=1, min_acu=0.5, min_tasks=1)
LOAD = Load()


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
    """Of the run lock: taken and given back."""
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
    share_units_per_attempt=0.06,  # by benchmarks/rate_limit.py, with ten batches at once that the limit holds back
    read_units_per_attempt=0.512,
    read_units_per_run=6.0,
    transitions_per_idle_run=4,
    transitions_per_working_run=7,
    log_bytes_per_attempt=160,
    log_bytes_per_child=1330,
    log_bytes_per_idle_run=265,
    log_bytes_per_working_run=810,
    cpu_ms=1.3,  # timed; of it 0.8 assumed, the call to the gateway
)
"""As `make bench` counted it, November 2026; it fails when what it counts is more."""

COUNTED_LOAD = replace(LOAD, item_kb=0.73, wire_out_bytes=700, log_bytes=200)
"""The largest item that `make bench` saw, with its history; a call's bytes by tests/gateway/test_payments.py; of log
lines 160 by `make bench`, and the metrics. What comes back from the gateway is not ours to count."""

CORE_MB = 1769
"""Of memory, with which Lambda gives one whole core; less gets its share."""
INVOKE_SECONDS = 0.03
"""What every invocation takes beside its work."""
PLAN_AND_REPORT_SECONDS = 0.10
COLD_SHARE, COLD_SECONDS = 0.02, 0.7
"""Since August 2025 INIT is billed like the rest."""
EXPRESS_GB = 64 / 1024
TRACED_SHARE = 0.05
"""Of calls, by X-Ray's own rule: the first of each second and 5 % of the rest; so all that come once a minute."""
TROUBLED_HOURS = 0.1
"""The share of the hours with work in which each kind of trouble comes up. An assumption."""
KMS_REQUESTS = 100_000

# --- serverless -------------------------------------------------------------------------------------------------------


def batch_seconds(size: float, load: Load = LOAD, work: Work = ASSUMED, env: Env = PROD) -> float:
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
    volume: float, env: Env = PROD, load: Load = LOAD, *, work: Work = ASSUMED, backlog: bool = False
) -> Bill:
    """`volume` transactions a month through Scheduler, Step Functions, Lambda and DynamoDB."""
    return add(serverless_use(volume, env, load, work=work, backlog=backlog), _standing(env, secrets=1))


def serverless_use(volume: float, env: Env, load: Load = LOAD, *, work: Work = ASSUMED, backlog: bool = False) -> Bill:
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
        **_traffic(volume * load.attempts, load),
        **_watch(log_gb, traces, masked=env.masked),
        **_metrics(volume, env, load),
    }


# --- fargate ----------------------------------------------------------------------------------------------------------

ACU_VCPU, ACU_CACHE_GB = 0.25, 1.5
POSTGRES_MS = 0.4
"""Of a whole core per attempt: set-based claim, settle and history. An assumption."""
TASK_MS = 1.5
"""Of a whole core per attempt: an asyncio worker. An assumption."""
BUSY = 0.6
"""The share of a core that is planned for."""
ACU_RATE = ACU_VCPU / (POSTGRES_MS / 1000) * BUSY
"""Attempts a second that one ACU bears."""
HOT_HOURS = 4
"""Of recent rows in Aurora's cache."""
LEAST_ACU = 0.5
"""What a database that may pause has while it is awake."""


def task_rate(env: Env, load: Load = LOAD) -> float:
    """Attempts a second that one task bears."""
    return min(env.task_calls / load.latency_seconds, env.task_vcpu / (TASK_MS / 1000) * BUSY)


def fargate(volume: float, env: Env = PROD, load: Load = LOAD, *, io_per_transaction: float = 1.0) -> Bill:
    """`volume` transactions a month through Fargate and Aurora Serverless v2."""
    return add(fargate_use(volume, env, load, io_per_transaction=io_per_transaction), _standing(env, secrets=2))


def fargate_use(volume: float, env: Env, load: Load = LOAD, *, io_per_transaction: float = 1.0) -> Bill:
    """The part that is paid by use, and by the hour: capacity and tasks follow the work.

    `io_per_transaction`: 1 for set-based statements and time-ordered keys, 4 row by row, 7 with random UUID keys too.
    """
    acu_hours = on_demand_hours = spot_hours = traces = shares = 0.0
    with_work = hours_with_work(volume, load)
    open_share = 1.0 if env.min_acu else max(env.awake_share, with_work)  # of the month, the database
    awake = 1.0 if env.min_tasks else with_work
    for hours, share in load.phases(volume):
        rate = share * load.attempts / (hours * 3600)
        cache = rate * 3600 * HOT_HOURS * load.row_kb / 1e6 / ACU_CACHE_GB
        need = math.ceil(max(rate / ACU_RATE, cache) * 2) / 2  # in steps of half an ACU
        least = env.min_acu or LEAST_ACU * open_share
        acu_hours += hours * max(least, need) * env.aurora_instances  # a tier 0-1 reader follows the writer
        tasks = max(env.min_tasks, math.ceil(rate / task_rate(env, load)))
        if env.share_seconds:  # the next call after it makes the next statement
            shares += hours * 3600 * rate / (1 + env.share_seconds * rate / max(tasks, 1))
        on_spot = max(0, tasks - env.on_demand_base) * env.spot_share
        on_demand_hours += hours * (tasks - on_spot)
        spot_hours += hours * on_spot
        # a trace for each minute of a task in which a transaction's was kept
        kept = rate * 60 / max(tasks, 1) * traced_share(env, load)
        traces += hours * 60 * max(tasks, 1) * (1 - math.exp(-kept))
    task = price("fargate_vcpu", env.task_vcpu) + price("fargate_gb", env.task_gb)
    stored_gb = 1 + volume * load.retention_months * load.row_kb * 1000 / GB
    log_gb = awake + volume * load.attempts * load.log_bytes / GB
    own_traffic_gb = 5 * awake + (0 if env.endpoints else log_gb)
    looks = HOURS * env.looks_per_hour
    published = volume * load.attempts / 100 * TRACED_SHARE  # where transactions have no traces: of batches
    transactions_traced = published if env.sampling is None else volume * traced_share(env, load)
    return {
        "Aurora ACU": price("acu", acu_hours),
        # polling and vacuum when idle: one request in five seconds
        "Aurora I/O": price("aurora_io", volume * io_per_transaction + shares + HOURS * 3600 * 0.2 * open_share),
        "Aurora storage + backup": price("aurora_storage", stored_gb) + price("aurora_backup", stored_gb),
        "Database Insights": env.insights_acu_month * acu_hours / HOURS,
        "backups": price("aurora_backup", stored_gb * env.backup_copies),
        "Fargate": (on_demand_hours + price("spot_factor", spot_hours)) * task + price("ecr", 0.3),
        "Lambda": price("lambda_request", looks) + price("lambda_gb_s", looks * 0.25) + price("scheduler", looks),
        "KMS, secrets": price("kms_request", KMS_REQUESTS / 2 * open_share),
        **_traffic(volume * load.attempts, load, own_traffic_gb),
        **_watch(log_gb, traces + transactions_traced + looks, masked=env.masked),
        **_metrics(volume, env, load),
        "Container Insights": price("metric", env.container_metrics * awake),
    }


# --- what both are compared with --------------------------------------------------------------------------------------

SERIAL_RATE = 1 / (LOAD.latency_seconds + 0.010)
"""Transactions a second of a script that confirms one after another."""


def baseline(volume: float, load: Load = LOAD) -> Bill:
    """Cron on one t4g.small with RDS in one zone: nothing redundant, one after another, a few plain log lines."""
    if volume * load.attempts / HOURS / 3600 > SERIAL_RATE:
        return {"never catches up": math.inf}
    return {
        "EC2 + disk": price("t4g_small", HOURS) + price("ebs_gp3", 20),
        "IPv4": price("ipv4", HOURS),
        "RDS": price("db_t4g_medium", HOURS),
        "RDS storage": price("rds_gp3", max(20, volume * load.retention_months * 0.8e-6)),
        "egress": price("egress", volume * load.attempts * (load.wire_out_bytes + 5000) / GB),
        "alarms": price("alarm", 3),
    }


NAIVE_TRANSITIONS = 6


def naive(volume: float, env: Env = PROD, load: Load = LOAD) -> Bill:
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
        **_traffic(calls, replace(load, wire_out_bytes=4500, wire_in_bytes=7000)),
        **_watch(calls * log_bytes / GB, calls * TRACED_SHARE),
    }
    return add(use, _standing(env, secrets=1))


def _standing(env: Env, secrets: int) -> Bill:
    """What is paid by the month, used or not; analysis/costs/graph.py reads the same lines off the recorded graph."""
    return {
        "NAT hours + IPv4": env.nats * (price("nat_hour", HOURS) + price("ipv4", HOURS)),
        "KMS, secrets": price("kms_key", env.keys) + price("secret", secrets),
        "alarms, dashboard, metrics": price("alarm", env.alarms) + price("dashboard") + price("metric", env.metrics),
    }


def _traffic(calls: float, load: Load, own_traffic_gb: float = 0.0) -> Bill:
    out, back = calls * load.wire_out_bytes / GB, calls * load.wire_in_bytes / GB
    return {"NAT data + egress": price("nat_gb", out + back + own_traffic_gb) + price("egress", out)}


def hours_with_work(volume: float, load: Load = LOAD) -> float:
    """The share of a month's hours in which a transaction arrives, at random."""
    return sum(hours * (1 - math.exp(-share / hours)) for hours, share in load.phases(volume)) / HOURS


def traced_share(env: Env, load: Load = LOAD) -> float:
    """The share of transactions whose traces are kept: a sample, and all that met trouble."""
    if env.sampling is None:
        return 0.0
    return env.sampling + (1 - env.sampling) * (load.attempts - 1)


def _metrics(volume: float, env: Env, load: Load) -> Bill:
    """A metric is paid for the hours in which it is sent."""
    sent = (env.work_metrics + env.trouble_metrics * TROUBLED_HOURS) * hours_with_work(volume, load)
    return {"metrics of the work": price("metric", sent)}


def _watch(log_gb: float, traces: float, *, masked: bool = False) -> Bill:
    logs = price("logs_gb", log_gb) + price("logs_store", log_gb) + price("logs_mask", log_gb * masked)
    return {"logs": logs, "X-Ray": price("xray", traces)}


# --- questions to the models ------------------------------------------------------------------------------------------

Model = Callable[[float], Bill]
"""Transactions a month -> its bill."""


@dataclass(frozen=True, slots=True)
class Month:
    """One month of a model, with what stands behind its total."""

    volume: float
    bill: Bill
    fixed: float
    """US dollars without a single transaction."""
    further: float
    """US dollars of another million on top."""

    @property
    def total(self) -> float:
        return total(self.bill)

    @property
    def variable(self) -> float:
        return self.total - self.fixed

    @property
    def dominating(self) -> tuple[str, float]:
        """The largest line, and its share of the total."""
        line = max(self.bill, key=lambda name: self.bill[name])
        return line, self.bill[line] / self.total

    @property
    def per_million(self) -> float:
        """The variable part, by million transactions: with what comes on top as soon as there is work at all."""
        return self.variable / self.volume * MILLION


def month(model: Model, volume: float) -> Month:
    """`volume` transactions a month by `model`."""
    bill = model(volume)
    return Month(volume, bill, total(model(0)), total(model(volume + MILLION)) - total(bill))


def total(bill: Bill) -> float:
    """US dollars of all lines."""
    return sum(bill.values())


def break_even(a: Model, b: Model) -> float | None:
    """The transactions a month below which `a` is cheaper than `b`; None where it always is."""
    low, high = 1.0, 1e10
    if total(a(high)) < total(b(high)):
        return None
    for _ in range(80):  # halves the logarithm: far below a cent
        middle = math.sqrt(low * high)
        low, high = (middle, high) if total(a(middle)) < total(b(middle)) else (low, middle)
    return low
