"""The component that makes alarms, pages and the dashboard of a table; each alternative has its own, with its table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components import iam
from components.account import Account
from components.foundation import Outputs, inside
from components.observability.channels import Channels, ChannelsArgs
from components.observability.drawing import dashboard
from components.observability.table import RUNBOOKS, Alarm, Formula, Page, Search, Severity, Signal, Table, TableError
from components.settings import Settings


@dataclass(frozen=True, slots=True)
class WatchArgs:
    settings: Settings
    account: Account
    table: Table
    notes: str
    """What the dashboard's reader may do next, as Markdown."""
    log_key_arn: pulumi.Input[str]


class Observability(pulumi.ComponentResource):
    """Alarms and dashboard. What an alternative's own makes of it calls `_watch` once, with its table.

    Creates: a topic for pages and one for notices, their e-mail subscriptions where settings have an address, Slack and
    PagerDuty where settings name them, an alarm for each row of the table that has one, a composite alarm for each
    page, the dashboard.
    """

    topic: aws.sns.Topic
    """Pages."""
    notices: aws.sns.Topic
    alarms: Mapping[str, aws.cloudwatch.MetricAlarm]
    dashboard: aws.cloudwatch.Dashboard
    outputs: Outputs

    def __init__(self, name: str, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("confirm-transactions:observability:Observability", name, {}, opts)

    def _watch(self, args: WatchArgs) -> None:
        self._args, self._mine = args, pulumi.ResourceOptions(parent=self)
        account, table = args.account, args.table
        self.topic, self.notices = self._topic("alarms"), self._topic("notices")
        if args.settings.alarms.has_channels:
            channels = ChannelsArgs(args.settings.alarms, account, self.topic, self.notices)
            Channels("channels", channels, inside(self))
        self.alarms = {alarm.name: self._alarm(row, alarm) for row, alarm in table.alarms}
        pages = [self._page(page) for page in table.pages]
        arns = [*(page.arn for page in pages), *(alarm.arn for alarm in self.alarms.values())]
        self.dashboard = aws.cloudwatch.Dashboard(
            "dashboard",
            dashboard_name=account.prefix,
            dashboard_body=pulumi.Output.json_dumps(dashboard(table, args.settings, account.region, arns, args.notes)),
            opts=self._mine,
        )
        self.outputs = {
            "alarmTopicArn": self.topic.arn,
            "noticeTopicArn": self.notices.arn,
            "dashboardName": self.dashboard.dashboard_name,
        }
        self.register_outputs({"topicArn": self.topic.arn, "noticesArn": self.notices.arn})

    def _topic(self, name: str) -> aws.sns.Topic:
        account, email = self._args.account, self._args.settings.alarms.email
        topic = aws.sns.Topic(name, kms_master_key_id=self._args.log_key_arn, opts=self._mine)
        inside = pulumi.ResourceOptions(parent=topic)
        aws.sns.TopicPolicy(
            name,
            arn=topic.arn,
            policy=iam.policy(
                {
                    "Sid": "AlarmsOfThisAccount",
                    "Effect": "Allow",
                    "Principal": {"Service": "cloudwatch.amazonaws.com"},
                    "Action": "sns:Publish",
                    "Resource": topic.arn,
                    "Condition": {
                        "StringEquals": {"aws:SourceAccount": account.id},
                        "ArnLike": {"aws:SourceArn": account.arn("cloudwatch", "alarm:*")},
                    },
                },
                iam.tls_only("TlsOnly", ["sns:Publish"], [topic.arn]),
            ),
            opts=inside,
        )
        if email:
            aws.sns.TopicSubscription(name, topic=topic.arn, protocol="email", endpoint=email, opts=inside)
        return topic

    def _alarm(self, row: Signal, alarm: Alarm) -> aws.cloudwatch.MetricAlarm:
        return aws.cloudwatch.MetricAlarm(
            alarm.name,
            name=alarm_name(alarm.name, self._args.account),
            alarm_description=_text(Severity.INFORM, alarm.description, alarm.runbook),
            **_measure(row, alarm),
            evaluation_periods=alarm.periods,
            threshold=alarm.level(self._args.settings.environment),
            comparison_operator="LessThanThreshold" if alarm.below else "GreaterThanOrEqualToThreshold",
            treat_missing_data=alarm.missing.value,
            alarm_actions=[self.notices.arn],
            ok_actions=[self.notices.arn],
            opts=self._mine,
        )

    def _page(self, page: Page) -> aws.cloudwatch.CompositeAlarm:
        account = self._args.account
        other = next((other for other in self._args.table.pages if other.name == page.unless), None)
        return aws.cloudwatch.CompositeAlarm(
            page.name,
            alarm_name=alarm_name(page.name, account),
            alarm_description=_text(Severity.PAGE, page.description, page.name),
            alarm_rule=_rule(page, other, account),
            alarm_actions=[self.topic.arn],
            ok_actions=[self.topic.arn],
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(self.alarms.values())),  # it names them
        )


def _text(severity: Severity, description: str, runbook: str) -> str:
    return f"[{severity}] {description} Runbook: {RUNBOOKS}/{runbook}.md"


def _rule(page: Page, other: Page | None, account: Account) -> str:
    """A composite's rule: by the alarms of both pages, as a page may not wait for another one to be made."""

    def any_of(names: Sequence[str]) -> str:
        return " OR ".join(f"ALARM({json.dumps(alarm_name(name, account))})" for name in names)

    return f"({any_of(page.any_of)}) AND NOT ({any_of(other.any_of)})" if other else any_of(page.any_of)


def alarm_name(row: str, account: Account) -> str:
    """People and runbooks look for it."""
    return f"{account.prefix}-{row}"


def _measure(row: Signal, alarm: Alarm) -> dict[str, Any]:
    """An alarm's metric, as its arguments."""
    metric = row.metric
    if isinstance(metric, Formula):
        return {"metric_queries": queries(metric, alarm.period)}
    if isinstance(metric, Search):
        raise TableError(f"alarm {alarm.name}: CloudWatch takes no alarm on a search")
    return {
        "namespace": metric.namespace,
        "metric_name": metric.name,
        "dimensions": metric.dimensions,
        "statistic": None if metric.is_percentile else metric.statistic,
        "extended_statistic": metric.statistic if metric.is_percentile else None,
        "period": alarm.period,
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
