"""Who tells how much is due while no task runs: so a service that sleeps is woken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components import iam, worker
from components.account import Account
from components.aurora.datastore import DATABASE
from components.aurora.settings import DatabaseSettings
from components.iam import Statement
from components.observability.table import MINUTE
from components.scheduled_function import FunctionArgs, ScheduleArgs, Surroundings, function, schedule
from components.settings import Settings

ASLEEP_MINUTES = 180
PUBLISHER_TIMEOUT = 60  # seconds; a paused database takes 15 to resume, 30 after a day
LOGIN = "publisher-login"


def publisher_minutes(settings: Settings) -> int:
    """How often the publisher looks. Looking wakes a paused database for a whole pause, at 0.06 US$ an hour: so where
    that may pause it looks every three hours, or three pauses apart, and a transaction waits for that long at most."""
    pause = settings.part(DatabaseSettings).auto_pause_seconds
    return max(ASLEEP_MINUTES, math.ceil(3 * pause / MINUTE)) if pause else 1


@dataclass(frozen=True, slots=True)
class PublisherArgs:
    settings: Settings
    account: Account
    cluster_arn: pulumi.Input[str]
    subnet_ids: pulumi.Input[Sequence[str]]
    security_group_id: pulumi.Input[str]
    data_key_arn: pulumi.Input[str]
    log_key_arn: pulumi.Input[str]


class Publisher(pulumi.ComponentResource):
    """Tells how much is due while no task runs: workers report it, and with minTasks 0 there may be none.

    Creates: a Lambda that asks the database through the Data API, the secret with its login (the migrations fill it),
    its log group, role and schedule, the schedule's dead-letter queue.
    """

    login: aws.secretsmanager.Secret
    function: aws.lambda_.Function
    log_group: aws.cloudwatch.LogGroup
    dead_letters: aws.sqs.Queue
    group: aws.scheduler.ScheduleGroup

    def __init__(self, name: str, args: PublisherArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("confirm-transactions:publisher:Publisher", name, {}, opts)
        self._args = args
        self._mine = pulumi.ResourceOptions(parent=self)
        self.log_group = worker.log_group(
            "publisher", f"/{args.account.prefix}/publisher", args.settings, args.account, args.log_key_arn, self
        )
        self.dead_letters = worker.dead_letter_queue(self)
        self.login = aws.secretsmanager.Secret(
            LOGIN,
            description="Login of the database's user that counts what is due; the migrations renew it",
            kms_key_id=args.data_key_arn,
            recovery_window_in_days=args.settings.sizing.key_deletion_days,
            opts=self._mine,
        )
        self.function = self._function()
        self.group = self._schedule()
        self.register_outputs({"functionName": self.function.name})

    def _function(self) -> aws.lambda_.Function:
        args, settings = self._args, self._args.settings
        return function(
            "publisher",
            FunctionArgs(
                description="Reports the backlog while no task runs",
                handler="workers.publisher.publish",
                may=[
                    Statement(
                        sid="AskTheDatabase", actions=("rds-data:ExecuteStatement",), resources=(args.cluster_arn,)
                    ),
                    # The Data API knows no IAM users of the database, so there is a password
                    Statement(sid="OwnLogin", actions=("secretsmanager:GetSecretValue",), resources=(self.login.arn,)),
                    Statement(
                        sid="OpenTheLogin",
                        actions=("kms:Decrypt",),
                        resources=(args.data_key_arn,),
                        conditions=iam.through("secretsmanager", args.account),
                    ),
                ],
                log_group=self.log_group,
                environment={
                    **worker.metric_environment(settings),
                    "REVIEW_SECONDS": str(settings.work.review_seconds),
                    "CLUSTER_ARN": args.cluster_arn,
                    "PUBLISHER_SECRET_ARN": self.login.arn,
                    "DATABASE_NAME": DATABASE,
                },
                memory_mb=256,
                timeout_seconds=PUBLISHER_TIMEOUT,
                # one a minute; reserving fails where the account's quota is still the starter's
                reserved_concurrency=1 if settings.sizing.reserve_concurrency else None,
            ),
            Surroundings(args.account, args.subnet_ids, args.security_group_id, args.data_key_arn),
            self,
        )

    def _schedule(self) -> aws.scheduler.ScheduleGroup:
        minutes = publisher_minutes(self._args.settings)
        group, _ = schedule(
            "publisher",
            ScheduleArgs(
                group="publisher",
                description="Looks at the backlog",
                role_description="Starts the publisher on schedule",
                expression=f"rate({minutes} minute{'s' if minutes > 1 else ''})",
                start=Statement(sid="Publish", actions=("lambda:InvokeFunction",), resources=(self.function.arn,)),
                target_arn=self.function.arn,
                retries=1,
                retry_seconds=60,
                dead_letters=self.dead_letters,
            ),
            self._args.account,
            self,
        )
        return group
