"""Who tells how much is due while no task runs: so a service that sleeps is woken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components import artifact, iam, worker
from components.account import Place
from components.aurora.settings import DatabaseSettings
from components.fargate.datastore import DATABASE
from components.iam import Statement
from components.observability.table import MINUTE
from components.settings import Settings

ASLEEP_MINUTES = 180
PUBLISHER_TIMEOUT = 60  # seconds; a paused database takes 15 to resume, 30 after a day
RUNTIME = "python3.13"
LOGIN = "publisher-login"


def publisher_minutes(settings: Settings) -> int:
    """How often the publisher looks. Looking wakes a paused database for a whole pause, at 0.06 US$ an hour: so where
    that may pause it looks every three hours, or three pauses apart, and a transaction waits for that long at most."""
    pause = settings.part(DatabaseSettings).auto_pause_seconds
    return max(ASLEEP_MINUTES, math.ceil(3 * pause / MINUTE)) if pause else 1


@dataclass(frozen=True, slots=True)
class PublisherArgs:
    settings: Settings
    place: Place
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
            "publisher", f"/{args.place.prefix}/publisher", args.settings, args.place, args.log_key_arn, self
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
        self._schedule()
        self.register_outputs({"functionName": self.function.name})

    def _function(self) -> aws.lambda_.Function:
        args, settings = self._args, self._args.settings
        role, grant = iam.role(
            "publisher",
            "lambda.amazonaws.com",
            [
                Statement(sid="AskTheDatabase", actions=("rds-data:ExecuteStatement",), resources=(args.cluster_arn,)),
                # The Data API knows no IAM users of the database, so there is a password
                Statement(sid="OwnLogin", actions=("secretsmanager:GetSecretValue",), resources=(self.login.arn,)),
                Statement(
                    sid="OpenTheLogin",
                    actions=("kms:Decrypt",),
                    resources=(args.data_key_arn,),
                    conditions=iam.through("secretsmanager", args.place),
                ),
                Statement(
                    sid="WriteLogs",
                    actions=("logs:CreateLogStream", "logs:PutLogEvents"),
                    resources=(pulumi.Output.concat(self.log_group.arn, ":*"),),
                ),
                iam.TRACE,
                iam.NETWORK_INTERFACES,
            ],
            place=args.place,
            description="Function publisher: reports the backlog while no task runs",
            parent=self,
        )
        return aws.lambda_.Function(
            "publisher",
            description="Reports the backlog while no task runs",
            role=role.arn,
            runtime=RUNTIME,
            architectures=["arm64"],
            handler="workers.publisher.publish",
            code=pulumi.FileArchive(str(artifact.build())),
            memory_size=256,
            timeout=PUBLISHER_TIMEOUT,
            # one a minute; reserving fails where the account's quota is still the starter's
            reserved_concurrent_executions=1 if settings.sizing.reserve_concurrency else None,
            environment=aws.lambda_.FunctionEnvironmentArgs(
                variables={
                    **worker.telling(settings),
                    "REVIEW_SECONDS": str(settings.work.review_seconds),
                    "CLUSTER_ARN": args.cluster_arn,
                    "PUBLISHER_SECRET_ARN": self.login.arn,
                    "DATABASE_NAME": DATABASE,
                }
            ),
            kms_key_arn=args.data_key_arn,
            vpc_config=aws.lambda_.FunctionVpcConfigArgs(
                subnet_ids=args.subnet_ids, security_group_ids=[args.security_group_id]
            ),
            tracing_config=aws.lambda_.FunctionTracingConfigArgs(mode="Active"),
            logging_config=aws.lambda_.FunctionLoggingConfigArgs(
                log_format="JSON",
                log_group=self.log_group.name,
                application_log_level="INFO",
                system_log_level="WARN",
            ),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[grant, self.log_group]),
        )

    def _schedule(self) -> None:
        args = self._args
        group = self.group = aws.scheduler.ScheduleGroup("publisher", opts=self._mine)
        role, grant = iam.role(
            "scheduler",
            "scheduler.amazonaws.com",
            [
                Statement(sid="Publish", actions=("lambda:InvokeFunction",), resources=(self.function.arn,)),
                Statement(sid="BuryDeadLetters", actions=("sqs:SendMessage",), resources=(self.dead_letters.arn,)),
            ],
            place=args.place,
            description="Starts the publisher on schedule",
            parent=self,
            source_arns=[group.arn],
        )
        minutes = publisher_minutes(args.settings)
        aws.scheduler.Schedule(
            "publisher",
            description="Looks at the backlog",
            group_name=group.name,
            schedule_expression=f"rate({minutes} minute{'s' if minutes > 1 else ''})",
            schedule_expression_timezone="UTC",
            flexible_time_window=aws.scheduler.ScheduleFlexibleTimeWindowArgs(mode="OFF"),
            target=aws.scheduler.ScheduleTargetArgs(
                arn=self.function.arn,
                role_arn=role.arn,
                input="{}",
                retry_policy=aws.scheduler.ScheduleTargetRetryPolicyArgs(
                    maximum_retry_attempts=1, maximum_event_age_in_seconds=60
                ),
                dead_letter_config=aws.scheduler.ScheduleTargetDeadLetterConfigArgs(arn=self.dead_letters.arn),
            ),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[grant]),
        )
