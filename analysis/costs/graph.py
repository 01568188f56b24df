"""A stack's bill, read off the recorded graph of the program: what stands, by resource, and what its use depends on.

Each type of resource has a row in TYPES: a price by the month, a part of what the use costs (models.py), or the reason
why it is free. A type without a row is an error that names it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from alternatives.settings import parse
from analysis.costs.models import COUNTED, COUNTED_LOAD, PROD, Env, Load, fargate_use, serverless_use
from analysis.costs.prices import HOURS, Bill, add, price
from analysis.graph import PROJECT, Record, Recorded, record, stack_config
from components.serverless.settings import period_seconds
from components.settings import Settings
from workers.domain.shares import CALM, SLICE


class UnpricedError(LookupError):
    """Types of resources that have no row in TYPES."""

    def __init__(self, types: list[str]) -> None:
        super().__init__(
            f"no price for {', '.join(types)}: add a row to TYPES in analysis/costs/graph.py, a price or why it is free"
        )


@dataclass(frozen=True, slots=True)
class Row:
    """What one type of resource costs."""

    prices: tuple[str, ...] = ()
    """Those of analysis/costs/prices.py that it pays."""
    standing: Callable[[Recorded], Bill] | None = None
    """US dollars a month, used or not."""
    free: str = ""
    """Why it costs nothing."""


NAT, SEALS, WATCH = "NAT hours + IPv4", "KMS, secrets", "alarms, dashboard, metrics"


def _by_month(line: str, *names: str, hours: int = 1) -> Row:
    usd = sum(price(name, hours) for name in names)
    return Row(names, lambda _: {line: usd})


def _used(*names: str) -> Row:
    """Paid by use: the model of the alternative has the lines."""
    return Row(names)


def _endpoint(endpoint: Recorded) -> Bill:
    interface = endpoint.inputs.get("vpcEndpointType") == "Interface"
    return {"interface endpoints": price("endpoint", HOURS * len(endpoint.inputs["subnetIds"]))} if interface else {}


def _alarm(alarm: Recorded) -> Bill:
    """Each metric that it looks at is paid for."""
    queries = alarm.inputs.get("metricQueries") or ()
    return {WATCH: price("alarm", sum("metric" in query for query in queries) or 1)}


def _contributors(insights: Recorded) -> Bill:
    """A rule for each key of the table or index, and a second one where every access counts, not only throttles."""
    keys = 2 if insights.inputs.get("indexName") else 1
    rules = keys * (1 if insights.inputs.get("mode") == "THROTTLED_KEYS" else 2)
    return {WATCH: price("insights_rule", rules)}


def _cluster(cluster: Recorded) -> Bill:
    """The master's password is a secret, which AWS keeps."""
    return {SEALS: price("secret")} if cluster.inputs.get("manageMasterUserPassword") else {}


CONTAINER_INSIGHTS = 8 + 11 + 6
"""Metrics of a cluster, of a service in it and of its family of tasks: known, from an example of CloudWatch pricing."""
SHARE_SECONDS = (CALM - 2) * SLICE
"""What a task that needs little leases at once, less what is left when it asks again (`workers/domain/shares.py`)."""


WITH_WORK = frozenset(
    {
        *("Confirmed", "Rejected", "Retried", "GatewayErrors", "GatewayMs", "TimeToFinal"),
        *("ClaimMs", "ConfirmMs", "SettleMs", "OldestPendingAge"),
    }
)
"""Metrics of ours that are sent in hours with work alone (CloudWatch meters the hours in which one is sent)."""
SCALED_BY = frozenset({"OldestPendingAge"})
"""Except these, where an autoscaling reads them: zeros too, so that it ends at once."""
WITH_TROUBLE = frozenset(
    {
        *("BatchesFailed", "BreakerOpen", "DatabaseLosses", "LostFences", "NotTried"),
        *("Review", "InReview", "OldestReviewAge", "MoneyAtRisk"),
    }
)
"""And those that are sent where something goes wrong. All others are taken to come all month."""


def _free(why: str, *types: str) -> dict[str, Row]:
    return dict.fromkeys(types, Row(free=why))


TYPES: Mapping[str, Row] = {
    # by the month
    "aws:ec2/natGateway:NatGateway": _by_month(NAT, "nat_hour", hours=HOURS),
    "aws:ec2/eip:Eip": _by_month(NAT, "ipv4", hours=HOURS),
    "aws:ec2/vpcEndpoint:VpcEndpoint": Row(("endpoint",), _endpoint),
    "aws:kms/key:Key": Row(("kms_key", "kms_request"), lambda _: {SEALS: price("kms_key")}),
    "aws:secretsmanager/secret:Secret": _by_month(SEALS, "secret"),
    "aws:cloudwatch/metricAlarm:MetricAlarm": Row(("alarm", "metric"), _alarm),
    "aws:cloudwatch/compositeAlarm:CompositeAlarm": _by_month(WATCH, "composite_alarm"),
    "aws:cloudwatch/dashboard:Dashboard": _by_month(WATCH, "dashboard"),
    "aws:dynamodb/contributorInsights:ContributorInsights": Row(("insights_rule",), _contributors),
    "aws:ecs/cluster:Cluster": _used("metric"),
    # by use
    "aws:rds/cluster:Cluster": Row(
        ("acu", "aurora_storage", "aurora_io", "aurora_backup", "insights_acu", "insights_advanced", "secret"), _cluster
    ),
    "aws:rds/clusterInstance:ClusterInstance": _used("acu"),
    "aws:ecs/service:Service": _used("fargate_vcpu", "fargate_gb", "spot_factor", "xray"),
    "aws:ecr/repository:Repository": _used("ecr"),
    "aws:dynamodb/table:Table": _used("wru", "rru", "ddb_storage", "ddb_pitr"),
    "aws:lambda/function:Function": _used("lambda_request", "lambda_gb_s", "xray"),
    "aws:sfn/stateMachine:StateMachine": _used(
        "sfn_transition", "sfn_express_request", "sfn_express_gb_h", "sfn_express_gb_h_over_1000", "xray"
    ),
    "aws:scheduler/schedule:Schedule": _used("scheduler"),
    "aws:cloudwatch/logGroup:LogGroup": _used("logs_gb", "logs_store"),
    "aws:cloudwatch/logDataProtectionPolicy:LogDataProtectionPolicy": _used("logs_mask"),
    "awsx:ec2:Vpc": _used("nat_gb", "egress"),
    "aws:backup/plan:Plan": _used("ddb_backup", "aurora_backup"),
    "aws:fis/experimentTemplate:ExperimentTemplate": Row(("fis",), free="until an experiment runs"),
    # cents, whatever the use
    **_free(
        "less than a cent: a message each time something goes wrong",
        "aws:sns/topic:Topic",
        "aws:sns/topicSubscription:TopicSubscription",
        "aws:sqs/queue:Queue",
        "aws:cloudwatch/eventRule:EventRule",
        "aws:cloudwatch/eventTarget:EventTarget",
    ),
    **_free("less than a cent: plans of a few KB, which expire", "aws:s3/bucket:Bucket"),
    **_free("pays by what it writes, which is with the log groups", "aws:ec2/flowLog:FlowLog"),
    **_free(
        "part of another resource, or of an account",
        "aws:appautoscaling/policy:Policy",
        "aws:appautoscaling/target:Target",
        "aws:backup/selection:Selection",
        "aws:backup/vault:Vault",
        "aws:backup/vaultLockConfiguration:VaultLockConfiguration",
        "aws:budgets/budget:Budget",
        "aws:cloudwatch/logResourcePolicy:LogResourcePolicy",
        "aws:cloudwatch/queryDefinition:QueryDefinition",
        "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",
        "aws:ec2/internetGateway:InternetGateway",
        "aws:ec2/route:Route",
        "aws:ec2/routeTable:RouteTable",
        "aws:ec2/routeTableAssociation:RouteTableAssociation",
        "aws:ec2/securityGroup:SecurityGroup",
        "aws:ec2/subnet:Subnet",
        "aws:ec2/vpc:Vpc",
        "aws:ecr/lifecyclePolicy:LifecyclePolicy",
        "aws:ecs/clusterCapacityProviders:ClusterCapacityProviders",
        "aws:ecs/taskDefinition:TaskDefinition",
        "aws:iam/policy:Policy",
        "aws:iam/role:Role",
        "aws:iam/rolePolicy:RolePolicy",
        "aws:kms/alias:Alias",
        "aws:rds/clusterParameterGroup:ClusterParameterGroup",
        "aws:rds/parameterGroup:ParameterGroup",
        "aws:rds/subnetGroup:SubnetGroup",
        "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
        "aws:s3/bucketPolicy:BucketPolicy",
        "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
        "aws:scheduler/scheduleGroup:ScheduleGroup",
        "aws:sns/topicPolicy:TopicPolicy",
        "aws:sqs/queuePolicy:QueuePolicy",
        "awsx:ecr:Image",
        "pulumi-python:dynamic/confirm-transactions:Nonce",
        "pulumi-python:dynamic/confirm-transactions:OneOffTask",
    ),
}
_OURS = ("pulumi:", f"{PROJECT}:")
"""The stack, its providers, our components: nothing on AWS."""


@dataclass(frozen=True, slots=True)
class Priced:
    """A stack with its prices."""

    name: str
    settings: Settings
    record: Record
    env: Env
    standing: Bill

    def bill(self, volume: float, load: Load = COUNTED_LOAD) -> Bill:
        """A month with `volume` transactions, and with the canaries that the stack sends."""
        if self.settings.canary:
            volume += HOURS * 60 / self.settings.canary.minutes
        if self.settings.alternative == "serverless":
            return add(serverless_use(volume, self.env, load, work=COUNTED), self.standing)
        return add(fargate_use(volume, self.env, load), self.standing)

    @property
    def prices(self) -> list[str]:
        """The prices that its bill is made of."""
        return list(dict.fromkeys(name for resource in paid(self.record) for name in TYPES[resource.type].prices))


def of(stack: str, **changes: str) -> Priced:
    """The stack of `Pulumi.<stack>.yaml`, some keys changed.

    Raises:
        components.settings.SettingsError: the config is wrong.
        UnpricedError: it has a type of resource that no row prices.
    """
    config = stack_config(stack) | {f"{PROJECT}:{key}": value for key, value in changes.items()}
    prefix = f"{PROJECT}:"
    settings = parse({key.removeprefix(prefix): value for key, value in config.items() if key.startswith(prefix)})
    return priced(stack, settings, record(stack, **changes))


def priced(name: str, settings: Settings, recorded: Record) -> Priced:
    """Price what was recorded with these settings."""
    return Priced(name, settings, recorded, env_of(name, settings, recorded), standing(recorded))


def paid(recorded: Record) -> Iterator[Recorded]:
    """The resources that are AWS's.

    Raises:
        UnpricedError: a type has no row.
    """
    found = [resource for resource in recorded.resources if not resource.type.startswith(_OURS)]
    if unpriced := sorted({resource.type for resource in found} - set(TYPES)):
        raise UnpricedError(unpriced)
    return iter(found)


def standing(recorded: Record) -> Bill:
    """What the resources cost by the month, used or not."""
    bills = [row.standing(resource) for resource in paid(recorded) if (row := TYPES[resource.type]).standing]
    return add(*bills, {WATCH: price("metric", len(kinds(recorded)["all month"]))})


def kinds(recorded: Record) -> Mapping[str, list[tuple[str, ...]]]:
    """The metrics of our own by when they are sent."""
    sent: dict[str, list[tuple[str, ...]]] = {"all month": [], "with work": [], "with trouble": []}
    with_work = WITH_WORK - SCALED_BY if recorded.some("aws:appautoscaling/target:Target") else WITH_WORK
    for metric in sorted(custom_metrics(recorded)):
        searched = re.search(r'MetricName="(\w+)"', metric[0])
        name = searched[1] if searched else metric[1]
        sent["with work" if name in with_work else "with trouble" if name in WITH_TROUBLE else "all month"].append(
            metric
        )
    return sent


def custom_metrics(recorded: Record) -> set[tuple[str, ...]]:
    """The metrics of our own that alarms and dashboards name: namespace, name and dimensions."""
    found: set[tuple[str, ...]] = set()
    for dashboard in recorded.some("aws:cloudwatch/dashboard:Dashboard"):
        for widget in json.loads(dashboard.inputs["dashboardBody"])["widgets"]:
            for metric in widget["properties"].get("metrics", ()):
                if isinstance(metric[0], str):
                    namespace, name, *parts = [part for part in metric if isinstance(part, str)]
                    pairs = sorted(zip(parts[::2], parts[1::2], strict=True))  # in any order it is one metric
                    found.add((namespace, name, *(part for pair in pairs for part in pair)))
                else:  # a search: a metric for each value of its dimension, at least one
                    found.add((metric[0]["expression"],))
    for alarm in recorded.some("aws:cloudwatch/metricAlarm:MetricAlarm"):
        queries = [query["metric"] for query in alarm.inputs.get("metricQueries") or () if "metric" in query]
        for metric in queries or [alarm.inputs]:
            if metric.get("namespace"):
                dimensions = sorted((metric.get("dimensions") or {}).items())
                found.add((metric["namespace"], metric["metricName"], *(part for pair in dimensions for part in pair)))
    # AWS's own are free, and those of Container Insights stand with the cluster
    return {metric for metric in found if not metric[0].startswith(("AWS/", "ECS/", "..."))}


def env_of(name: str, settings: Settings, recorded: Record) -> Env:
    """What the use costs depends on, as the resources have it."""

    def count(type_: str) -> int:
        return len(recorded.some(type_))

    sent = kinds(recorded)
    env = Env(
        name=name,
        nats=count("aws:ec2/natGateway:NatGateway"),
        aurora_instances=count("aws:rds/clusterInstance:ClusterInstance"),
        min_acu=PROD.min_acu,
        min_tasks=PROD.min_tasks,
        alarms=count("aws:cloudwatch/metricAlarm:MetricAlarm"),
        metrics=len(sent["all month"]),
        work_metrics=len(sent["with work"]),
        trouble_metrics=len(sent["with trouble"]),
        sampling=settings.trace_sampling / 100,
        keys=count("aws:kms/key:Key"),
        backup_copies=_copies(recorded),
        masked=bool(count("aws:cloudwatch/logDataProtectionPolicy:LogDataProtectionPolicy")),
    )
    return _REFINE[settings.alternative](env, settings, recorded)


def _copies(recorded: Record) -> float:
    """How many backups the plans keep at any time."""
    rules = [rule for plan in recorded.some("aws:backup/plan:Plan") for rule in plan.inputs["rules"]]
    return sum(float(rule["lifecycle"]["deleteAfter"]) * runs_per_hour(rule["schedule"]) * 24 for rule in rules)


def _serverless(env: Env, settings: Settings, recorded: Record) -> Env:
    table = recorded.one("aws:dynamodb/table:Table", "transactions").inputs
    return replace(
        env,
        runs_per_hour=runs_per_hour(
            recorded.one("aws:scheduler/schedule:Schedule", "run").inputs["scheduleExpression"]
        ),
        batch=settings.work.batch_size,
        calls_in_flight=settings.gateway.concurrency,
        lambda_gb=recorded.one("aws:lambda/function:Function", "confirm").inputs["memorySize"] / 1024,
        recovery=bool((table.get("pointInTimeRecovery") or {}).get("enabled")),
    )


def _fargate(env: Env, settings: Settings, recorded: Record) -> Env:
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
    return replace(
        env,
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


_REFINE: Mapping[str, Callable[[Env, Settings, Record], Env]] = {"serverless": _serverless, "fargate": _fargate}


def _insights_on(cluster: Recorded) -> bool:
    switched = {setting["name"]: setting["value"] for setting in cluster.inputs.get("settings") or ()}
    return bool(switched.get("containerInsights", "disabled") != "disabled")


def _insights(cluster: Mapping[str, Any]) -> float:
    if cluster.get("databaseInsightsMode") == "advanced":
        return price("insights_advanced", HOURS)
    days = cluster.get("performanceInsightsRetentionPeriod") or 0
    return price("insights_acu") if days > 7 else 0.0  # a week is free


NAMES = {name: number for number, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"), 1)}


def runs_per_hour(schedule: str) -> float:
    """How often a schedule (`rate(...)` or `cron(...)` of six fields) runs, on average."""
    period = period_seconds(schedule)
    if period is not None:
        return 3600 / period
    minute, hour, day, month, weekday, _ = schedule.removeprefix("cron(").removesuffix(")").split(" ")
    of_days = _share(day, 1, 31) * _share(weekday, 1, 7) * _share(month, 1, 12)
    return _share(minute, 0, 59) * 60 * _share(hour, 0, 23) * of_days


def _share(field: str, least: int, most: int) -> float:
    """The share of all values that a field of cron takes. `L`, `W` and `#` name one day."""
    if field in ("*", "?"):
        return 1.0
    taken: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        if not re.fullmatch(r"\*|\d+|[A-Z]{3}", first):
            taken.add(least)
            continue
        low = least if first == "*" else int(NAMES.get(first, first))
        high = most if first == "*" or (step and not last) else int(NAMES.get(last or first, last or first))
        taken.update(range(low, high + 1, int(step or 1)))
    return len(taken) / (most - least + 1)
