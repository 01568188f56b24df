"""Where people are besides their mail: Slack and PagerDuty, each where the settings name one."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components import iam
from components.account import Account
from components.iam import Statement
from components.settings import AlarmSettings

SERVICE = "chatbot.amazonaws.com"
"""Amazon Q Developer in chat applications, which was AWS Chatbot; its API has the old name."""

LOOK = Statement(
    sid="DrawAlarms",
    actions=(
        *("cloudwatch:DescribeAlarmHistory", "cloudwatch:DescribeAlarms", "cloudwatch:GetMetricData"),
        *("cloudwatch:GetMetricStatistics", "cloudwatch:GetMetricWidgetImage", "cloudwatch:ListMetrics"),
    ),
    resources=["*"],
    reason="CloudWatch takes no resource for metrics, and which alarms are told is the topics' matter",
)


@dataclass(frozen=True, slots=True)
class ChannelsArgs:
    settings: AlarmSettings
    account: Account
    pages: aws.sns.Topic
    notices: aws.sns.Topic


class Channels(pulumi.ComponentResource):
    """Hands pages and notices on to Slack, and pages to PagerDuty.

    Creates, where settings name a Slack channel: its configuration, with the role by which alarms are drawn. Its
    guardrail is named, for without one AWS takes AdministratorAccess. Where they name PagerDuty: a subscription.
    """

    def __init__(self, name: str, args: ChannelsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("confirm-transactions:channels:Channels", name, {}, opts)
        self._args, self._mine = args, pulumi.ResourceOptions(parent=self)
        if args.settings.slack:
            self._slack(args.settings.slack.workspace, args.settings.slack.channel)
        if args.settings.pager_duty_url:
            self._pager_duty(args.settings.pager_duty_url)
        self.register_outputs({})

    def _slack(self, workspace: str, channel: str) -> None:
        account = self._args.account
        role, _ = iam.role(
            "slack",
            SERVICE,
            [LOOK],
            account=account,
            description="Draws the alarms that are told in Slack",
            parent=self,
        )
        aws.chatbot.SlackChannelConfiguration(
            "slack",
            configuration_name=account.prefix,
            slack_team_id=workspace,
            slack_channel_id=channel,
            iam_role_arn=role.arn,
            guardrail_policy_arns=[f"arn:{account.partition}:iam::aws:policy/CloudWatchReadOnlyAccess"],
            sns_topic_arns=[self._args.pages.arn, self._args.notices.arn],
            logging_level="ERROR",
            opts=self._mine,
        )

    def _pager_duty(self, url: str) -> None:
        """The address holds the integration's key, so it is a secret of the state, too."""
        aws.sns.TopicSubscription(
            "pager-duty",
            topic=self._args.pages.arn,
            protocol="https",
            endpoint=pulumi.Output.secret(url),
            endpoint_auto_confirms=True,
            opts=self._mine,
        )
