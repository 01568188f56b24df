"""How many tasks run: by the backlog per task, faster by the age of the oldest, and up from zero."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components import artifact, iam, worker
from components.account import Place
from components.fargate.datastore import DATABASE
from components.fargate.observability import Metrics
from components.iam import Statement
from components.observability.table import MINUTE, Metric
from components.settings import Settings

DIMENSION = "ecs:service:DesiredCount"
OUT_COOLDOWN = 60  # seconds: a task starts within one, and its effect shows in the next
IN_COOLDOWN = 300  # seconds: a lull is not the end
ASLEEP_MINUTES = 180
PUBLISHER_TIMEOUT = 60  # seconds; a paused database takes 15 to resume, 30 after a day
RUNTIME = "python3.13"
LOGIN = "publisher-login"


@dataclass(frozen=True, slots=True)
class ScalingArgs:
    settings: Settings
    place: Place
    metrics: Metrics
    service: aws.ecs.Service


class Scaling(pulumi.ComponentResource):
    """The service's autoscaling.

    Creates: the scalable target, target tracking on the backlog per task, step scaling on the age of the oldest due
    transaction with its alarm.
    """

    target: aws.appautoscaling.Target

    def __init__(self, name: str, args: ScalingArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("confirm-transactions:scaling:Scaling", name, {}, opts)
        self._args = args
        service, sources = args.settings.service, args.metrics.sources
        self.target = aws.appautoscaling.Target(
            "worker",
            service_namespace="ecs",
            scalable_dimension=DIMENSION,
            resource_id=pulumi.Output.concat("service/", sources.cluster, "/", args.service.name),
            min_capacity=service.min_tasks,
            max_capacity=service.max_tasks,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self._backlog_per_task()
        self._oldest_due()
        self.register_outputs({"resourceId": self.target.resource_id})

    def _backlog_per_task(self) -> None:
        metrics, service = self._args.metrics, self._args.settings.service
        terms: list[Any] = [
            _term("backlog", metrics.ours("Backlog", "Maximum")),
            _term("running", metrics.tasks("RunningTaskCount")),
            {
                "id": "per_task",
                "label": "Due transactions per task",
                "expression": per_task(service.min_tasks, service.backlog_per_task),
                "return_data": True,
            },
        ]
        aws.appautoscaling.Policy(
            "backlog-per-task",
            policy_type="TargetTrackingScaling",
            service_namespace="ecs",
            scalable_dimension=DIMENSION,
            resource_id=self.target.resource_id,
            target_tracking_scaling_policy_configuration={
                "target_value": service.backlog_per_task,
                "scale_out_cooldown": OUT_COOLDOWN,
                "scale_in_cooldown": IN_COOLDOWN,
                "customized_metric_specification": {"metrics": terms},
            },
            opts=pulumi.ResourceOptions(parent=self.target),
        )

    def _oldest_due(self) -> None:
        """A few transactions that nobody gets to are a small backlog and a broken promise all the same."""
        settings, place = self._args.settings, self._args.place
        policy = aws.appautoscaling.Policy(
            "oldest-due",
            policy_type="StepScaling",
            service_namespace="ecs",
            scalable_dimension=DIMENSION,
            resource_id=self.target.resource_id,
            step_scaling_policy_configuration={
                "adjustment_type": "PercentChangeInCapacity",
                "min_adjustment_magnitude": 1,  # of none, too: the first task
                "cooldown": OUT_COOLDOWN,
                "metric_aggregation_type": "Maximum",
                "step_adjustments": [
                    # seconds over the alarm's threshold: half as many more, then twice as many
                    {
                        "metric_interval_lower_bound": "0",
                        "metric_interval_upper_bound": str(scale_out_seconds(settings)),
                        "scaling_adjustment": 50,
                    },
                    {"metric_interval_lower_bound": str(scale_out_seconds(settings)), "scaling_adjustment": 100},
                ],
            },
            opts=pulumi.ResourceOptions(parent=self.target),
        )
        age = self._args.metrics.ours("OldestPendingAge", "Maximum", "Seconds")
        aws.cloudwatch.MetricAlarm(
            "scale-out",
            name=f"{place.prefix}-scale-out",
            alarm_description="[scaling] Starts more tasks while the oldest due transaction waits for too long; nobody "
            "needs to do anything.",
            namespace=age.namespace,
            metric_name=age.name,
            dimensions=age.dimensions,
            statistic=age.statistic,
            period=MINUTE,
            evaluation_periods=1,
            threshold=scale_out_seconds(settings),
            comparison_operator="GreaterThanOrEqualToThreshold",
            treat_missing_data="notBreaching",
            alarm_actions=[policy.arn],
            opts=pulumi.ResourceOptions(parent=policy),
        )


def _term(name: str, metric: Metric) -> dict[str, Any]:
    return {
        "id": name,
        "return_data": False,
        "metric_stat": {
            "stat": metric.statistic,
            "metric": {
                "namespace": metric.namespace,
                "metric_name": metric.name,
                "dimensions": [{"name": key, "value": value} for key, value in metric.dimensions.items()],
            },
        },
    }


def per_task(min_tasks: int, target: int) -> str:
    """Due transactions per task, as metric math of `backlog` and `running`.

    No task counts as one, or nothing would ever start the first. Where none need run, something due is worth the target
    to the last one, which neither adds nor takes: or a night of zeros would put a service that was just woken to sleep
    in its first minute with nothing due. So it is a quarter of an hour, as after any lull.
    """
    running = "FILL(running, 0)"
    shared = f"backlog / IF({running} < 1, 1, {running})"
    if min_tasks:
        return shared
    return f"IF({running} < 2 AND backlog > 0 AND backlog < {target}, {target}, {shared})"


def scale_out_seconds(settings: Settings) -> int:
    """The age that starts more tasks: a fifth of what raises the alarm, at least a minute; a minute from zero."""
    if settings.service.min_tasks == 0:
        return MINUTE
    return max(MINUTE, settings.alarms.oldest_pending_seconds // 5)


def publisher_minutes(settings: Settings) -> int:
    """How often the publisher looks. Looking wakes a paused database for a whole pause, at 0.06 US$ an hour: so where
    that may pause it looks every three hours, or three pauses apart, and a transaction waits for that long at most."""
    pause = settings.database.auto_pause_seconds
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
