"""What the settings of the fargate alternative keep between each other: the limits of Fargate, ECS and Aurora."""

from __future__ import annotations

import math
from collections.abc import Iterator

from components.aurora import capacity
from components.aurora import settings as aurora
from components.aurora.settings import INSIGHTS_DEFAULT_DAYS, DatabaseSettings, Insights
from components.fargate.settings import FARGATE_SIZES, PART, ServiceSettings
from components.settings import CALLS_PER_TRANSACTION, AlternativeSettings, NatStrategy, Problem, Settings

LEASE_SECONDS = 90  # shorter than a task's stop, so that what a killed task held comes back at once; renewed as needed
STOP_MARGIN = 10  # seconds of a task's stop in which it no longer works: the last log lines, the way out
CALL_MARGIN = 5  # seconds of a lease beside its calls: claim, settle, a busy moment
INSIGHTS_CAPACITY = 2  # ACU, the least that AWS recommends with Database Insights
SPARE_ADDRESSES = 16  # of the private subnets, for the database, endpoints and Lambdas


def warnings(s: Settings) -> Iterator[str]:
    """What is allowed and hardly meant."""
    database = s.part(DatabaseSettings)
    if database.insights is not Insights.OFF and database.min_capacity < INSIGHTS_CAPACITY:
        yield (
            f"minCapacityUnits {database.min_capacity:g} with databaseInsights {database.insights}: Database "
            f"Insights wants {INSIGHTS_CAPACITY} ACU or more, and takes part of what smaller ones have. "
            "Set databaseInsights to off, or raise minCapacityUnits"
        )
    if s.part(ServiceSettings).min_tasks == 0 and s.environment == "prod":
        yield "minTasks 0 in prod: the first transaction after a rest waits for minutes until a task has started"


def contradictions(s: Settings) -> Iterator[Problem]:
    """The rules, one after the other."""
    if s.canary is not None and s.part(ServiceSettings).min_tasks == 0:
        yield Problem(
            "canaryMinutes",
            f"{s.canary.minutes} with minTasks 0",
            "0, or minTasks 1 or more: workers send the canaries, and each would keep one awake",
            0,
        )
    yield from _time(s)
    yield from _tasks(s)
    yield from _without_nat(s)
    yield from _database(s)


def _time(s: Settings) -> Iterator[Problem]:
    """A task that is stopped ends the calls under way; whoever takes over after a kill need not wait for long."""
    lease, call = s.work.lease_seconds, s.gateway.timeout_seconds
    stop = s.part(ServiceSettings).stop_seconds
    if stop - STOP_MARGIN < call:
        yield Problem(
            "stopTimeoutSeconds",
            f"{stop} s",
            f"at least {call + STOP_MARGIN} s: a call under way may take {call} s (gatewayTimeoutSeconds), "
            f"and {STOP_MARGIN} s are for the way out",
            call + STOP_MARGIN,
        )
        stop = call + STOP_MARGIN
    least = CALLS_PER_TRANSACTION * call + s.work.clock_skew_seconds + CALL_MARGIN
    if least >= stop:
        yield Problem(
            "gatewayTimeoutSeconds",
            f"{call} s",
            f"less: a lease covers {CALLS_PER_TRANSACTION} calls, the clocks' difference and {CALL_MARGIN} s, together "
            f"{least} s, and must be shorter than stopTimeoutSeconds ({stop} s)",
            # what the lease as it is covers, where that is short enough itself
            max(1, (min(lease, stop - 1) - s.work.clock_skew_seconds - CALL_MARGIN) // CALLS_PER_TRANSACTION),
        )
    elif lease >= stop:
        yield Problem(
            "leaseSeconds",
            f"{lease} s",
            f"less than stopTimeoutSeconds ({stop} s): what a task holds when it is told to stop must not outlive it",
            max(least, min(LEASE_SECONDS, stop - 1)),
        )
    elif lease < least:
        yield Problem(
            "leaseSeconds",
            f"{lease} s",
            f"at least {least} s: {CALLS_PER_TRANSACTION} calls of up to {call} s, the clocks' difference "
            f"({s.work.clock_skew_seconds} s) and {CALL_MARGIN} s",
            least,
        )


def _tasks(s: Settings) -> Iterator[Problem]:
    service = s.part(ServiceSettings)
    memory = FARGATE_SIZES[service.cpu]
    if service.memory_mb not in memory:
        yield Problem(
            "taskMemoryMb",
            f"{service.memory_mb:,} MB with taskCpu {service.cpu:,}",
            f"what Fargate has for it: {_sizes(memory)}",
            next((size for size in memory if size >= service.memory_mb), memory[-1]),
        )
    if service.max_tasks < service.min_tasks:
        yield Problem("maxTasks", f"{service.max_tasks}", f"at least minTasks ({service.min_tasks})", service.min_tasks)
    most = max(service.max_tasks, service.min_tasks, 1)
    if service.on_demand_base > most:
        yield Problem("onDemandBase", f"{service.on_demand_base}", f"at most maxTasks ({most})", most)
    if service.spot_weight == 100 and service.on_demand_base > 0:
        yield Problem(
            "spotWeight",
            f"100 with onDemandBase {service.on_demand_base}",
            "at most 99 with a base: ECS places no task on a capacity provider of weight 0. "
            "Or onDemandBase 0, where all may run on spot capacity",
            99,
        )
    zones = s.network.availability_zones
    # as awsx cuts it: a part for each zone, half of it private; AWS keeps 5 addresses of each subnet
    subnet = int(s.network.vpc_cidr.rpartition("/")[2]) + math.ceil(math.log2(zones)) + 1
    room = (zones * (2 ** (32 - subnet) - 5) - SPARE_ADDRESSES) // 2
    if most > room > 0:
        yield Problem(
            "maxTasks",
            f'{most} in "{s.network.vpc_cidr}"',
            f"at most {room}: each task has an address, and a deployment runs twice as many for a while; "
            "or a wider vpcCidr",
            room,
        )


def _without_nat(s: Settings) -> Iterator[Problem]:
    """Without a way out to AWS every service of it that a task needs must have an endpoint inside."""
    if s.network.nat_strategy is NatStrategy.NONE:
        key, found, mend = "natStrategy", "natStrategy none", "single"  # type: str, str, str | tuple[str, ...]
    elif s.network.gateway_cidrs:
        key, found, mend = "gatewayCidrs", "gatewayCidrs set", ()
    else:
        return
    service = s.part(ServiceSettings)
    needed = {
        "ecr.api",
        "ecr.dkr",
        "logs",
        "secretsmanager",
        "sts",
        "xray",
        "rds-data",  # the desk
    }
    missing = sorted(needed - set(s.network.interface_endpoints))
    if missing:
        yield Problem(
            "interfaceEndpoints",
            f"none of {', '.join(missing)}, with {found}",
            "these too: tasks reach ECR, their logs, secrets, STS and X-Ray through endpoints then, or not at all",
            sorted({*s.network.interface_endpoints, *needed}),
        )
    if ".dkr.ecr." not in service.collector_image:
        yield Problem(
            key,
            f'{found}, and collectorImage "{service.collector_image}"',
            "a way out to any address, or a copy of the collector's image in an ECR repository: "
            "public registries have no endpoint",
            mend,
        )


def _sizes(memory: tuple[int, ...]) -> str:
    if len(memory) < 4:
        return ", ".join(f"{size:,}" for size in memory) + " MB"
    return f"{memory[0]:,} to {memory[-1]:,} MB in steps of {memory[1] - memory[0]:,}"


def _database(s: Settings) -> Iterator[Problem]:
    database, min_tasks = s.part(DatabaseSettings), s.part(ServiceSettings).min_tasks
    pausing = database.min_capacity == 0
    if database.max_capacity < max(database.min_capacity, 0.5):
        least = max(database.min_capacity, 0.5)
        yield Problem(
            "maxCapacityUnits", f'"{database.max_capacity:g}"', f"at least {least:g}, as minCapacityUnits", f"{least:g}"
        )
    if pausing and min_tasks > 0:
        yield Problem(
            "minCapacityUnits",
            f'"0" (auto-pause) with minTasks {min_tasks}',
            "0.5 or more while tasks run: they poll the database, and with a connection open Aurora never pauses. "
            "To let both sleep, set minTasks to 0",
            "0.5",
        )
    elif pausing and not database.auto_pause_seconds:
        yield Problem(
            "autoPauseSeconds",
            '0 with minCapacityUnits "0"',
            "300 to 86,400 seconds: the idle time after which Aurora pauses",
            300,
        )
    if database.auto_pause_seconds and (not pausing or min_tasks > 0):
        yield Problem(
            "autoPauseSeconds",
            f'{database.auto_pause_seconds} with minCapacityUnits "{database.min_capacity:g}" and minTasks {min_tasks}',
            "0, unless minCapacityUnits and minTasks are 0: nothing pauses otherwise",
            0,
        )
    yield from _connections(s)
    days, mode = database.insights_days, database.insights
    if mode is Insights.OFF and days:
        yield Problem(
            "databaseInsightsDays", f"{days} with databaseInsights off", "0, or switch databaseInsights on", 0
        )
    least_days = INSIGHTS_DEFAULT_DAYS[Insights.ADVANCED]
    if mode is Insights.ADVANCED and days < least_days:
        yield Problem(
            "databaseInsightsDays",
            f"{days} with databaseInsights advanced",
            f"at least {least_days}: what the advanced mode keeps",
            least_days,
        )


def _connections(s: Settings) -> Iterator[Problem]:
    """Tasks that would find no connection left."""
    database, service = s.part(DatabaseSettings), s.part(ServiceSettings)
    least = database.min_capacity
    most = max(database.max_capacity, least, 0.5)
    each = capacity.connections_per_task(s.canary is not None)
    fit = capacity.tasks(least, most, each)
    for key, number in (
        ("minTasks", service.min_tasks),
        ("maxTasks", service.max_tasks),
    ):
        if number > fit:
            yield Problem(
                key,
                f"{number:,} with minCapacityUnits {least:g} and maxCapacityUnits {most:g}",
                f"at most {fit:,}: a database of this size accepts {capacity.connections(least, most):,} connections, "
                f"a task opens up to {each}, and a deployment runs twice as many for a while",
                fit,
            )


SETTINGS = AlternativeSettings((aurora.PART, PART), LEASE_SECONDS, contradictions, warnings)
