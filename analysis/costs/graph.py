"""A stack's bill, read off the recorded graph of the program: what stands, by resource, and what its use depends on.

Each type of resource has a row in TYPES: a price by the month, a part of what the use costs (models.py), or the reason
why it is free. A type without a row is an error that names it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from alternatives import ALTERNATIVES
from alternatives.settings import parse
from analysis.costs.models import COUNTED_LOAD, Env, Load
from analysis.costs.prices import HOURS, Bill, add, price
from analysis.costs.schedules import runs_per_hour
from analysis.graph import PROJECT, Record, Recorded, record, stack_config
from components.settings import Settings


class UnpricedError(LookupError):
    """Types of resources that have no row in TYPES."""

    def __init__(self, types: list[str]) -> None:
        super().__init__(
            f"no price for {', '.join(types)}: add a row to TYPES in analysis/costs/graph.py, a price or why it is free"
        )


@dataclass(frozen=True, slots=True)
class Tariff:
    """What one type of resource costs."""

    prices: tuple[str, ...] = ()
    """Those of analysis/costs/prices.py that it pays."""
    standing: Callable[[Recorded], Bill] | None = None
    """US dollars a month, used or not."""
    free: str = ""
    """Why it costs nothing."""


NAT, SEALS, WATCH = "NAT hours + IPv4", "KMS, secrets", "alarms, dashboard, metrics"


def _by_month(line: str, *names: str, hours: int = 1) -> Tariff:
    usd = sum(price(name, hours) for name in names)
    return Tariff(names, lambda _: {line: usd})


def _used(*names: str) -> Tariff:
    """Paid by use: the model of the alternative has the lines."""
    return Tariff(names)


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
        *("BatchesFailed", "BreakerOpen", "DatabaseLosses", "LostFences", "NotTried", "PausedSeconds"),
        *("DeskExits", "DeskRefusals"),
        *("Review", "InReview", "OldestReviewAge", "MoneyAtRisk"),
    }
)
"""And those that are sent where something goes wrong. All others are taken to come all month."""


def _free(why: str, *types: str) -> dict[str, Tariff]:
    return dict.fromkeys(types, Tariff(free=why))


TYPES: Mapping[str, Tariff] = {
    # by the month
    "aws:ec2/natGateway:NatGateway": _by_month(NAT, "nat_hour", hours=HOURS),
    "aws:ec2/eip:Eip": _by_month(NAT, "ipv4", hours=HOURS),
    "aws:ec2/vpcEndpoint:VpcEndpoint": Tariff(("endpoint",), _endpoint),
    "aws:kms/key:Key": Tariff(("kms_key", "kms_request"), lambda _: {SEALS: price("kms_key")}),
    "aws:secretsmanager/secret:Secret": _by_month(SEALS, "secret"),
    "aws:cloudwatch/metricAlarm:MetricAlarm": Tariff(("alarm", "metric"), _alarm),
    "aws:cloudwatch/compositeAlarm:CompositeAlarm": _by_month(WATCH, "composite_alarm"),
    "aws:cloudwatch/dashboard:Dashboard": _by_month(WATCH, "dashboard"),
    "aws:dynamodb/contributorInsights:ContributorInsights": Tariff(("insights_rule",), _contributors),
    "aws:ecs/cluster:Cluster": _used("metric"),
    # by use
    "aws:rds/cluster:Cluster": Tariff(
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
    "aws:fis/experimentTemplate:ExperimentTemplate": Tariff(("fis",), free="until an experiment runs"),
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
        "aws:chatbot/slackChannelConfiguration:SlackChannelConfiguration",
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
class Advice:
    usd: float
    """What it costs a month."""
    text: str
    """What it is, and what to do."""


class Use(Protocol):
    """What the use of one stack costs. Its alternative holds the model (alternatives/NAME/costs.py)."""

    @property
    def env(self) -> Env:
        """What the stack has; the alternative's own has fields of its own."""
        ...

    def bill(self, volume: float, load: Load) -> Bill:
        """The lines that are paid by use, or by the hour while it works."""
        ...

    def advice(self, stack: Priced, volume: float) -> Iterator[Advice]:
        """What of this alternative costs more than it gives."""
        ...

    @property
    def variants(self) -> Mapping[str, Mapping[str, str]]:
        """Further curves of a picture: name -> config that differs."""
        ...


class CostModel(Protocol):
    """Reads off what the use of a stack depends on."""

    def __call__(self, common: Env, settings: Settings, recorded: Record, /) -> Use: ...


@dataclass(frozen=True, slots=True)
class Priced:
    """A stack with its prices."""

    name: str
    settings: Settings
    record: Record
    use: Use
    standing: Bill

    @property
    def env(self) -> Env:
        return self.use.env

    def bill(self, volume: float, load: Load = COUNTED_LOAD) -> Bill:
        """A month with `volume` transactions, and with the canaries that the stack sends."""
        if self.settings.canary:
            volume += HOURS * 60 / self.settings.canary.minutes
        return add(self.use.bill(volume, load), self.standing)

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
    read = ALTERNATIVES[settings.alternative].costs()
    return Priced(
        name, settings, recorded, read(env_of(name, settings, recorded), settings, recorded), standing(recorded)
    )


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
    return Env(
        name=name,
        nats=count("aws:ec2/natGateway:NatGateway"),
        alarms=count("aws:cloudwatch/metricAlarm:MetricAlarm"),
        metrics=len(sent["all month"]),
        work_metrics=len(sent["with work"]),
        trouble_metrics=len(sent["with trouble"]),
        sampling=settings.trace_sampling / 100,
        keys=count("aws:kms/key:Key"),
        backup_copies=_copies(recorded),
        masked=bool(count("aws:cloudwatch/logDataProtectionPolicy:LogDataProtectionPolicy")),
    )


def _copies(recorded: Record) -> float:
    """How many backups the plans keep at any time."""
    rules = [rule for plan in recorded.some("aws:backup/plan:Plan") for rule in plan.inputs["rules"]]
    return sum(float(rule["lifecycle"]["deleteAfter"]) * runs_per_hour(rule["schedule"]) * 24 for rule in rules)
