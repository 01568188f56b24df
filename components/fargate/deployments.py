"""Failed deployments: ECS tells of them by event alone, so a rule counts them for an alarm and a log keeps them."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components import iam, worker
from components.account import Account
from components.settings import Settings


@dataclass(frozen=True, slots=True)
class DeploymentsArgs:
    settings: Settings
    account: Account
    cluster: str
    service: str
    log_key_arn: pulumi.Input[str]


class Deployments(pulumi.ComponentResource):
    """Watches the service's deployments.

    Creates: an EventBridge rule for those that failed, the log group that it writes to, and the log group's policy.
    """

    rule: aws.cloudwatch.EventRule
    log_group: aws.cloudwatch.LogGroup

    def __init__(self, name: str, args: DeploymentsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("confirm-transactions:deployments:Deployments", name, {}, opts)
        account = args.account
        mine = pulumi.ResourceOptions(parent=self)
        self.log_group = worker.log_group(
            "deployments", f"/aws/events/{account.prefix}/deployments", args.settings, account, args.log_key_arn, self
        )
        self.rule = aws.cloudwatch.EventRule(
            "deployment-failed",
            description="A deployment of the service failed",
            event_pattern=json.dumps(
                {
                    "source": ["aws.ecs"],
                    "detail-type": ["ECS Deployment State Change"],
                    "resources": [account.arn("ecs", f"service/{args.cluster}/{args.service}")],
                    "detail": {"eventName": ["SERVICE_DEPLOYMENT_FAILED"]},
                }
            ),
            opts=mine,
        )
        writers = {"Service": ["delivery.logs.amazonaws.com", "events.amazonaws.com"]}
        streams = pulumi.Output.concat(self.log_group.arn, ":*")
        policy = aws.cloudwatch.LogResourcePolicy(
            "deployments",
            policy_name=f"{account.prefix}-deployments",
            policy_document=iam.policy(
                {
                    # EventBridge names no source when it makes the stream: a condition would refuse it, and every
                    # event after it. It makes an empty stream and nothing else.
                    "Sid": "StreamsOfEvents",
                    "Effect": "Allow",
                    "Principal": writers,
                    "Action": ["logs:CreateLogStream"],
                    "Resource": streams,
                },
                {
                    "Sid": "EventsOfThisRule",
                    "Effect": "Allow",
                    "Principal": writers,
                    "Action": ["logs:PutLogEvents"],
                    "Resource": streams,
                    "Condition": {"ArnEquals": {"aws:SourceArn": self.rule.arn}},
                },
            ),
            opts=pulumi.ResourceOptions(parent=self.log_group),
        )
        aws.cloudwatch.EventTarget(
            "deployment-failed",
            rule=self.rule.name,
            arn=self.log_group.arn,
            opts=pulumi.ResourceOptions(parent=self.rule, depends_on=[policy]),
        )
        self.register_outputs({"rule": self.rule.name})
