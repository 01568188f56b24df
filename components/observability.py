"""Who learns what, and when: alarms and dashboard are rows that each alternative lists; the component draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import pulumi
import pulumi_aws as aws

from components import iam
from components.account import Place
from components.settings import Settings
from components.worker import METRIC_NAMESPACE

Dimensions = Mapping[str, pulumi.Input[str]]
Statistic = Literal["Sum", "Maximum", "Minimum", "Average", "SampleCount", "p50", "p99"]
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
class Formula:
    """A metric that CloudWatch computes of others."""

    label: str
    expression: str
    terms: Mapping[str, Metric]
    """By the name that the expression gives them (a lower-case letter first)."""


def ours(settings: Settings, name: str, statistic: Statistic, unit: str = "Count") -> Metric:
    """A metric from the workers' logs (embedded metric format); the same names in every alternative."""
    dimensions = {"Alternative": settings.alternative, "Environment": settings.environment.value}
    return Metric(name, METRIC_NAMESPACE, dimensions, statistic, unit)


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm: raised when the metric is at or over the threshold (under it, where `below`) in each period."""

    name: str
    metric: Metric | Formula
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
    alarms: Sequence[Alarm]
    widgets: Sequence[Widget]
    log_key_arn: pulumi.Input[str]


class Observability(pulumi.ComponentResource):
    """Alarms and dashboard.

    Creates: the topic that all alarms go to, its e-mail subscription where settings have an address, an alarm per
    row of `alarms`, a dashboard of `widgets`.
    """

    topic: aws.sns.Topic
    alarms: Mapping[str, aws.cloudwatch.MetricAlarm]
    dashboard: aws.cloudwatch.Dashboard

    def __init__(self, name: str, args: ObservabilityArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("confirm-transactions:observability:Observability", name, {}, opts)
        mine = pulumi.ResourceOptions(parent=self)
        place = args.place
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
        self.alarms = {row.name: self._alarm(row, place) for row in args.alarms}
        self.dashboard = aws.cloudwatch.Dashboard(
            "dashboard",
            dashboard_name=place.prefix,
            dashboard_body=pulumi.Output.json_dumps(dashboard(args.widgets, place.region)),
            opts=mine,
        )
        self.register_outputs({"topicArn": self.topic.arn})

    def _alarm(self, row: Alarm, place: Place) -> aws.cloudwatch.MetricAlarm:
        return aws.cloudwatch.MetricAlarm(
            row.name,
            name=alarm_name(row.name, place),
            alarm_description=f"[{row.severity}] {row.description}",
            **_measure(row),
            evaluation_periods=row.periods,
            threshold=row.threshold,
            comparison_operator="LessThanThreshold" if row.below else "GreaterThanOrEqualToThreshold",
            treat_missing_data=row.missing.value,
            alarm_actions=[self.topic.arn],
            ok_actions=[self.topic.arn],
            opts=pulumi.ResourceOptions(parent=self),
        )


def alarm_name(row: str, place: Place) -> str:
    """People and runbooks look for it."""
    return f"{place.prefix}-{row}"


def _measure(row: Alarm) -> dict[str, Any]:
    """An alarm's metric, as its arguments."""
    metric = row.metric
    if isinstance(metric, Formula):
        return {"metric_queries": queries(metric, row.period)}
    return {
        "namespace": metric.namespace,
        "metric_name": metric.name,
        "dimensions": metric.dimensions,
        "statistic": None if _is_percentile(metric) else metric.statistic,
        "extended_statistic": metric.statistic if _is_percentile(metric) else None,
        "period": row.period,
    }


def queries(formula: Formula, period: int) -> list[aws.cloudwatch.MetricAlarmMetricQueryArgs]:
    """The formula and its terms, as CloudWatch's alarms take them."""
    return [
        aws.cloudwatch.MetricAlarmMetricQueryArgs(
            id="result", expression=formula.expression, label=formula.label, return_data=True
        ),
        *[
            aws.cloudwatch.MetricAlarmMetricQueryArgs(
                id=name,
                metric=aws.cloudwatch.MetricAlarmMetricQueryMetricArgs(
                    namespace=term.namespace,
                    metric_name=term.name,
                    dimensions=term.dimensions,
                    stat=term.statistic,
                    period=period,
                ),
            )
            for name, term in formula.terms.items()
        ],
    ]
