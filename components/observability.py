"""Who learns what, and when: alarms and dashboard are rows of tables; the component only draws them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import pulumi
import pulumi_aws as aws

from components import iam
from components.account import Place
from components.compute import METRIC_NAMESPACE
from components.settings import Settings

Dimensions = Mapping[str, pulumi.Input[str]]
Statistic = Literal["Sum", "Maximum", "Minimum", "Average", "p50", "p99"]
MINUTE = 60
DAY = 86_400


class Severity(StrEnum):
    PAGE = "page"
    """The promise is at risk: somebody gets up."""
    INFORM = "inform"
    """Somebody looks on the next working day."""


class Missing(StrEnum):
    """What no data means."""

    FINE = "notBreaching"
    ALARMING = "breaching"


@dataclass(frozen=True, slots=True)
class Metric:
    name: str
    namespace: str
    dimensions: Dimensions
    statistic: Statistic
    unit: str


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm: raised when the metric is at or over the threshold (under it, where `below`) in each period."""

    name: str
    metric: Metric
    threshold: float
    period: int
    """Seconds, a multiple of 60."""
    severity: Severity
    description: str
    """What it means and what to do first; goes into the notification."""
    periods: int = 1
    below: bool = False
    missing: Missing = Missing.FINE


@dataclass(frozen=True, slots=True)
class Widget:
    """One graph of the dashboard; `width` of 24 columns."""

    title: str
    metrics: Sequence[Metric]
    width: int = 8
    period: int = MINUTE


@dataclass(frozen=True, slots=True)
class Sources:
    """The names that CloudWatch knows our resources by."""

    state_machine_arn: pulumi.Input[str]
    schedule_group: pulumi.Input[str]
    dead_letter_queue: pulumi.Input[str]
    table_name: pulumi.Input[str]
    functions: Mapping[str, pulumi.Input[str]]


class Metrics:
    """Every metric that we alarm on or draw, by name. Ours come from the workers' logs (embedded metric format)."""

    def __init__(self, settings: Settings, sources: Sources) -> None:
        self._ours: Dimensions = {
            "Alternative": settings.alternative.value,
            "Environment": settings.environment.value,
        }
        self._sources = sources

    def ours(self, name: str, statistic: Statistic, unit: str = "Count") -> Metric:
        return Metric(name, METRIC_NAMESPACE, self._ours, statistic, unit)

    def states(self, name: str, statistic: Statistic = "Sum", unit: str = "Count") -> Metric:
        return Metric(name, "AWS/States", {"StateMachineArn": self._sources.state_machine_arn}, statistic, unit)

    def scheduler(self, name: str) -> Metric:
        return Metric(name, "AWS/Scheduler", {"ScheduleGroup": self._sources.schedule_group}, "Sum", "Count")

    def dead_letters(self) -> Metric:
        dimensions = {"QueueName": self._sources.dead_letter_queue}
        return Metric("ApproximateNumberOfMessagesVisible", "AWS/SQS", dimensions, "Maximum", "Count")

    def function(self, function: str, name: str, statistic: Statistic = "Sum", unit: str = "Count") -> Metric:
        dimensions = {"FunctionName": self._sources.functions[function]}
        return Metric(name, "AWS/Lambda", dimensions, statistic, unit)

    def table(self, name: str) -> Metric:
        return Metric(name, "AWS/DynamoDB", {"TableName": self._sources.table_name}, "Sum", "Count")


def alarms(settings: Settings, metrics: Metrics) -> tuple[Alarm, ...]:
    """The first alarms, as rows."""
    page, inform = Severity.PAGE, Severity.INFORM
    rows = [
        Alarm(
            "run-failed",
            metrics.states("ExecutionsFailed"),
            threshold=1,
            period=5 * MINUTE,
            severity=page,
            description="A run ended in RunFailed. Find it: aws stepfunctions list-executions --status-filter FAILED "
            "--state-machine-arn ARN. The next run takes up the work once the leases have ended.",
        ),
        Alarm(
            "run-timed-out",
            metrics.states("ExecutionsTimedOut"),
            threshold=1,
            period=5 * MINUTE,
            severity=page,
            description="A run outlasted every limit it has: it hung. Look at its last state.",
        ),
        Alarm(
            "run-aborted",
            metrics.states("ExecutionsAborted"),
            threshold=1,
            period=5 * MINUTE,
            severity=inform,
            description="Somebody stopped a run by hand. The run lock ends by itself.",
        ),
        Alarm(
            "oldest-pending",
            metrics.ours("OldestPendingAge", "Maximum", "Seconds"),
            threshold=settings.alarms.oldest_pending_seconds,
            period=5 * MINUTE,
            severity=page,
            description="A transaction has been due for longer than allowed: the gateway is down or slow, or the "
            "backlog grows faster than it is worked off. Start with: confirm status.",
        ),
        Alarm(
            "in-review",
            metrics.ours("InReview", "Maximum"),
            threshold=1,
            period=5 * MINUTE,
            severity=inform,
            description="A transaction waits for a person to decide, with its reason and deadline: confirm status.",
        ),
        Alarm(
            "batches-failed",
            metrics.ours("BatchesFailed", "Sum"),
            threshold=1,
            period=5 * MINUTE,
            severity=inform,
            description="A Lambda died or broke down in the middle of a batch. Leases bring the work back; the cause "
            "is in the log of function confirm.",
        ),
        Alarm(
            "dead-letters",
            metrics.dead_letters(),
            threshold=1,
            period=MINUTE,
            severity=page,
            description="Scheduler could not start a run. The reason is in the message's attributes: "
            "aws sqs receive-message --message-attribute-names All.",
        ),
    ]
    if settings.run.period_seconds is None or settings.run.period_seconds <= DAY // 3:
        rows.append(
            Alarm(
                "silence",
                metrics.states("ExecutionsStarted"),
                threshold=1,
                below=True,
                # alarms look back a day at most; a cron schedule may rest for most of one
                period=silence_seconds(settings),
                severity=page,
                missing=Missing.ALARMING,
                description="No run has started for three times the schedule's period. Is the schedule enabled?",
            )
        )
    return tuple(rows)


def silence_seconds(settings: Settings) -> int:
    """Three periods of the schedule, at least 5 minutes, in whole minutes; a day for cron schedules."""
    period = settings.run.period_seconds
    return DAY if period is None else max(5 * MINUTE, math.ceil(3 * period / MINUTE) * MINUTE)


def widgets(metrics: Metrics) -> tuple[Widget, ...]:
    """The dashboard, row by row: is the promise kept, what is done, what it takes."""
    return (
        Widget("Backlog", [metrics.ours("Backlog", "Maximum")]),
        Widget("Age of the oldest due transaction", [metrics.ours("OldestPendingAge", "Maximum", "Seconds")]),
        Widget("In review", [metrics.ours("InReview", "Maximum")]),
        Widget(
            "Outcomes",
            [metrics.ours(name, "Sum") for name in ("Confirmed", "Rejected", "Retried", "Review")],
            width=12,
        ),
        Widget(
            "Trouble",
            [
                metrics.ours("BatchesFailed", "Sum"),
                metrics.ours("LostFences", "Sum"),
                metrics.dead_letters(),
                metrics.scheduler("InvocationDroppedCount"),
            ],
            width=12,
        ),
        Widget(
            "Where a batch's time goes",
            [metrics.ours(name, "p50", "Milliseconds") for name in ("ClaimMs", "ConfirmMs", "SettleMs")],
        ),
        Widget(
            "Runs",
            [
                metrics.states(name)
                for name in (
                    "ExecutionsStarted",
                    "ExecutionsSucceeded",
                    "ExecutionsFailed",
                    "ExecutionsTimedOut",
                )
            ],
        ),
        Widget("Time of a run", [metrics.states("ExecutionTime", "Maximum", "Milliseconds")]),
        Widget(
            "Lambda confirm",
            [metrics.function("confirm", name, statistic) for name, statistic in _FUNCTION_METRICS],
            width=12,
        ),
        Widget(
            "Table",
            [
                metrics.table(name)
                for name in ("ConsumedWriteCapacityUnits", "ConsumedReadCapacityUnits", "WriteThrottleEvents")
            ],
            width=12,
        ),
    )


_FUNCTION_METRICS: tuple[tuple[str, Statistic], ...] = (
    ("Invocations", "Sum"),
    ("Errors", "Sum"),
    ("Throttles", "Sum"),
    ("ConcurrentExecutions", "Maximum"),
)


def _is_percentile(metric: Metric) -> bool:
    return metric.statistic.startswith("p")


def dashboard(drawn: Sequence[Widget], region: str) -> dict[str, object]:
    """The dashboard's body, laid out from left to right in rows of 24 columns."""
    height, x, y = 6, 0, 0
    bodies: list[dict[str, object]] = []
    for widget in drawn:
        if x + widget.width > 24:
            x, y = 0, y + height
        bodies.append(
            {
                "type": "metric",
                "x": x,
                "y": y,
                "width": widget.width,
                "height": height,
                "properties": {
                    "title": widget.title,
                    "region": region,
                    "view": "timeSeries",
                    "period": widget.period,
                    "metrics": [
                        [
                            metric.namespace,
                            metric.name,
                            *(part for pair in metric.dimensions.items() for part in pair),
                            {"stat": metric.statistic, "label": metric.name},
                        ]
                        for metric in widget.metrics
                    ],
                },
            }
        )
        x += widget.width
    return {"widgets": bodies}


@dataclass(frozen=True, slots=True)
class ObservabilityArgs:
    settings: Settings
    place: Place
    sources: Sources
    log_key_arn: pulumi.Input[str]


class Observability(pulumi.ComponentResource):
    """Alarms and dashboard.

    Creates: the topic that all alarms go to, its e-mail subscription where settings have an address, an alarm per
    row of `alarms`, a dashboard of `widgets`.
    """

    topic: aws.sns.Topic
    dashboard: aws.cloudwatch.Dashboard

    def __init__(self, name: str, args: ObservabilityArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("confirm-transactions:observability:Observability", name, {}, opts)
        mine = pulumi.ResourceOptions(parent=self)
        place = args.place
        metrics = Metrics(args.settings, args.sources)
        self.topic = aws.sns.Topic("alarms", kms_master_key_id=args.log_key_arn, opts=mine)
        aws.sns.TopicPolicy(
            "alarms",
            arn=self.topic.arn,
            policy=iam.policy(
                {
                    "Sid": "AlarmsOfThisAccount",
                    "Effect": "Allow",
                    "Principal": {"Service": "cloudwatch.amazonaws.com"},
                    "Action": "sns:Publish",
                    "Resource": self.topic.arn,
                    "Condition": {
                        "StringEquals": {"aws:SourceAccount": place.account},
                        "ArnLike": {"aws:SourceArn": place.arn("cloudwatch", "alarm:*")},
                    },
                },
                iam.tls_only("TlsOnly", ["sns:Publish"], [self.topic.arn]),
            ),
            opts=pulumi.ResourceOptions(parent=self.topic),
        )
        if args.settings.alarms.email:
            aws.sns.TopicSubscription(
                "alarms",
                topic=self.topic.arn,
                protocol="email",
                endpoint=args.settings.alarms.email,
                opts=pulumi.ResourceOptions(parent=self.topic),
            )
        for row in alarms(args.settings, metrics):
            aws.cloudwatch.MetricAlarm(
                row.name,
                name=f"{place.prefix}-{row.name}",  # people and runbooks look for it
                alarm_description=f"[{row.severity}] {row.description}",
                namespace=row.metric.namespace,
                metric_name=row.metric.name,
                dimensions=row.metric.dimensions,
                statistic=None if _is_percentile(row.metric) else row.metric.statistic,
                extended_statistic=row.metric.statistic if _is_percentile(row.metric) else None,
                period=row.period,
                evaluation_periods=row.periods,
                threshold=row.threshold,
                comparison_operator="LessThanThreshold" if row.below else "GreaterThanOrEqualToThreshold",
                treat_missing_data=row.missing.value,
                alarm_actions=[self.topic.arn],
                ok_actions=[self.topic.arn],
                opts=mine,
            )
        self.dashboard = aws.cloudwatch.Dashboard(
            "dashboard",
            dashboard_name=place.prefix,
            dashboard_body=pulumi.Output.json_dumps(dashboard(widgets(metrics), place.region)),
            opts=mine,
        )
        self.register_outputs({"topicArn": self.topic.arn})
