"""What fargate costs: a service on ECS Fargate, and Aurora Serverless v2."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from analysis.costs.graph import Advice, Priced
from analysis.costs.models import (
    KMS_REQUESTS,
    LOAD,
    TRACED_SHARE,
    Env,
    Load,
    hours_with_work,
    metrics,
    standing,
    traced_share,
    traffic,
    watch,
)
from analysis.costs.prices import GB, HOURS, MILLION, Bill, add, price
from analysis.costs.schedules import runs_per_hour
from analysis.graph import Record, Recorded
from components.aurora.settings import DatabaseSettings, Insights
from components.settings import Settings
from workers.domain.shares import CALM, SLICE

CONTAINER_INSIGHTS = 8 + 11 + 6
"""Metrics of a cluster, of a service in it and of its family of tasks: known, from an example of CloudWatch pricing."""
SHARE_SECONDS = (CALM - 2) * SLICE
"""What a task that needs little leases at once, less what is left when it asks again (`workers/domain/shares.py`)."""
INSIGHTS_ACU = 2
"""AWS Database Blog: Performance Insights, which Database Insights measures by, wants so many ACU at least."""


@dataclass(frozen=True, slots=True)
class FargateEnv(Env):
    """What a stack of this alternative has besides."""

    aurora_instances: int = 2
    min_acu: float = 0.5
    min_tasks: int = 2
    container_metrics: int = 0
    """Container Insights', while a task runs."""
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


PROD = FargateEnv("prod", nats=2)
PROD_INSIGHTS = replace(PROD, name="prod, min 2 ACU", min_acu=2)
"""AWS Database Blog: Performance Insights, which Database Insights measures by, needs at least 2 ACU."""
DEV = FargateEnv("dev", nats=1, aurora_instances=1, min_tasks=1)


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


def task_rate(env: FargateEnv, load: Load = LOAD) -> float:
    """Attempts a second that one task bears."""
    return min(env.task_calls / load.latency_seconds, env.task_vcpu / (TASK_MS / 1000) * BUSY)


def fargate(volume: float, env: FargateEnv = PROD, load: Load = LOAD, *, io_per_transaction: float = 1.0) -> Bill:
    """`volume` transactions a month through Fargate and Aurora Serverless v2."""
    return add(fargate_use(volume, env, load, io_per_transaction=io_per_transaction), standing(env, secrets=2))


def fargate_use(volume: float, env: FargateEnv, load: Load = LOAD, *, io_per_transaction: float = 1.0) -> Bill:
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
        **traffic(volume * load.attempts, load, own_traffic_gb),
        **watch(log_gb, traces + transactions_traced + looks, masked=env.masked),
        **metrics(volume, env, load),
        "Container Insights": price("metric", env.container_metrics * awake),
    }


# --- a stack, as it was recorded --------------------------------------------------------------------------------------

SMALLEST = {"minCapacityUnits": f"{LEAST_ACU:g}", "databaseInsights": "off"}
"""The smallest database that never sleeps; Database Insights wants a larger one."""


@dataclass(frozen=True, slots=True)
class FargateUse:
    env: FargateEnv

    def bill(self, volume: float, load: Load) -> Bill:
        return fargate_use(volume, self.env, load)

    def advice(self, stack: Priced, volume: float) -> Iterator[Advice]:
        """Database Insights takes part of the capacity, or holds more of it than the work needs."""
        database = stack.settings.part(DatabaseSettings)
        if database.insights is Insights.OFF:
            return
        if database.min_capacity < INSIGHTS_ACU:
            yield Advice(
                0,
                f"databaseInsights {database.insights} with minCapacityUnits {database.min_capacity:g}: it takes part "
                f"of so little capacity, and AWS asks for {INSIGHTS_ACU}. databaseInsights off, or minCapacityUnits 2",
            )
            return
        small = replace(stack, use=FargateUse(replace(self.env, min_acu=0.5, insights_acu_month=0)))
        more = sum(stack.bill(volume).values()) - sum(small.bill(volume).values())
        if more > 0:
            yield Advice(
                more,
                f"databaseInsights {database.insights} holds the capacity at {database.min_capacity:g} ACU, more than "
                f"{volume / MILLION:g} M transactions need. databaseInsights off and minCapacityUnits 0.5",
            )

    @property
    def variants(self) -> Mapping[str, Mapping[str, str]]:
        return {f"fargate at {LEAST_ACU} ACU": SMALLEST} if self.env.min_acu > LEAST_ACU else {}


def read(common: Env, settings: Settings, recorded: Record) -> FargateUse:
    """What the use depends on, as the resources have it."""
    (cluster,) = recorded.all("aws:rds/cluster:Cluster")
    (tasks,) = recorded.all("aws:ecs/cluster:Cluster")
    (service,) = recorded.all("aws:ecs/service:Service")
    (target,) = recorded.all("aws:appautoscaling/target:Target")
    task = recorded.one("aws:ecs/taskDefinition:TaskDefinition", "worker").inputs
    spots = {one["capacityProvider"]: one for one in service.inputs["capacityProviderStrategies"]}
    weight = {name: one["weight"] for name, one in spots.items()}
    scaling = cluster.inputs["serverlessv2ScalingConfiguration"]
    looks = [schedule.inputs["scheduleExpression"] for schedule in recorded.some("aws:scheduler/schedule:Schedule")]
    per_hour = sum(map(runs_per_hour, looks))
    pause_hours = (scaling.get("secondsUntilAutoPause") or 0) / 3600
    env = FargateEnv(
        **asdict(common),
        aurora_instances=len(recorded.some("aws:rds/clusterInstance:ClusterInstance")),
        min_acu=scaling["minCapacity"],
        min_tasks=int(target.inputs["minCapacity"]),
        on_demand_base=int((spots.get("FARGATE") or {}).get("base") or 0),
        spot_share=weight.get("FARGATE_SPOT", 0) / sum(weight.values()),
        task_vcpu=int(task["cpu"]) / 1024,
        task_gb=int(task["memory"]) / 1024,
        task_calls=settings.gateway.concurrency,
        share_seconds=SHARE_SECONDS,
        container_metrics=CONTAINER_INSIGHTS if _insights_on(tasks) else 0,
        awake_share=min(1.0, per_hour * pause_hours) if pause_hours else 1.0,
        looks_per_hour=per_hour,
        insights_acu_month=_insights(cluster.inputs),
        endpoints=bool(settings.network.interface_endpoints),
    )
    return FargateUse(env)


def _insights_on(cluster: Recorded) -> bool:
    switched = {setting["name"]: setting["value"] for setting in cluster.inputs.get("settings") or ()}
    return bool(switched.get("containerInsights", "disabled") != "disabled")


def _insights(cluster: Mapping[str, Any]) -> float:
    if cluster.get("databaseInsightsMode") == "advanced":
        return price("insights_advanced", HOURS)
    days = cluster.get("performanceInsightsRetentionPeriod") or 0
    return price("insights_acu") if days > 7 else 0.0  # a week is free
