"""A Lambda of ours, and what Scheduler starts: the same in every alternative that has one.

Functions, not components: what they make stays below the component that calls them, where deployed stacks have it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components import artifact, iam, worker
from components.account import Account
from components.iam import Statement

RUNTIME = "python3.13"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where functions run."""

    account: Account
    subnet_ids: pulumi.Input[Sequence[str]]
    security_group_id: pulumi.Input[str]
    data_key_arn: pulumi.Input[str]


@dataclass(frozen=True, slots=True)
class FunctionArgs:
    description: str
    handler: str
    may: Sequence[Statement]
    """What its role needs beside log, traces and the network."""
    log_group: aws.cloudwatch.LogGroup
    environment: Mapping[str, pulumi.Input[str]]
    """At most 4 KB, without any secret."""
    memory_mb: int
    timeout_seconds: int
    reserved_concurrency: int | None = None
    layer: str | None = None


def function(name: str, args: FunctionArgs, around: Surroundings, parent: pulumi.Resource) -> aws.lambda_.Function:
    """A function with a role of its own, in the private subnets."""
    role, grant = iam.role(
        name,
        "lambda.amazonaws.com",
        [*args.may, worker.may_write_logs(args.log_group), iam.TRACE, iam.NETWORK_INTERFACES],
        account=around.account,
        description=f"Function {name}: {args.description[0].lower()}{args.description[1:]}",
        parent=parent,
    )
    return aws.lambda_.Function(
        name,
        description=args.description,
        role=role.arn,
        runtime=RUNTIME,
        architectures=["arm64"],  # a fifth cheaper than x86_64
        handler=args.handler,
        code=pulumi.FileArchive(str(artifact.build())),
        layers=[args.layer] if args.layer else None,
        memory_size=args.memory_mb,
        timeout=args.timeout_seconds,
        reserved_concurrent_executions=args.reserved_concurrency,
        environment=aws.lambda_.FunctionEnvironmentArgs(variables=dict(args.environment)),
        # Lambda gives itself a grant on the key for the function's role, so the role needs no word on it
        kms_key_arn=around.data_key_arn,
        vpc_config=aws.lambda_.FunctionVpcConfigArgs(
            subnet_ids=around.subnet_ids, security_group_ids=[around.security_group_id]
        ),
        tracing_config=aws.lambda_.FunctionTracingConfigArgs(mode="Active"),
        logging_config=aws.lambda_.FunctionLoggingConfigArgs(
            log_format="JSON",  # the workers' own lines pass through as they are
            log_group=args.log_group.name,
            application_log_level="INFO",
            system_log_level="WARN",  # without START, END and REPORT: three lines per idle run
        ),
        # entering the VPC needs the permission at once; a group that Lambda makes itself has no retention
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[grant, args.log_group]),
    )


@dataclass(frozen=True, slots=True)
class ScheduleArgs:
    group: str
    """Name of the schedule's group, whose metrics are watched."""
    description: str
    role_description: str
    expression: str
    """In UTC: rate(...) or cron(...)."""
    start: Statement
    """What its role may do: start the target."""
    target_arn: pulumi.Input[str]
    retries: int
    """Bounded, as the next start makes up for a lost one, while AWS's default is 185 tries over a day."""
    retry_seconds: int
    dead_letters: aws.sqs.Queue


def schedule(
    name: str, args: ScheduleArgs, account: Account, parent: pulumi.Resource
) -> tuple[aws.scheduler.ScheduleGroup, aws.scheduler.Schedule]:
    """What starts the target; what it cannot start goes to the dead-letter queue."""
    group = aws.scheduler.ScheduleGroup(args.group, opts=pulumi.ResourceOptions(parent=parent))
    role, grant = iam.role(
        "scheduler",
        "scheduler.amazonaws.com",
        [
            args.start,
            Statement(sid="BuryDeadLetters", actions=("sqs:SendMessage",), resources=(args.dead_letters.arn,)),
        ],
        account=account,
        description=args.role_description,
        parent=parent,
        source_arns=[group.arn],
    )
    made = aws.scheduler.Schedule(
        name,
        description=args.description,
        group_name=group.name,
        schedule_expression=args.expression,
        schedule_expression_timezone="UTC",
        flexible_time_window=aws.scheduler.ScheduleFlexibleTimeWindowArgs(mode="OFF"),
        target=aws.scheduler.ScheduleTargetArgs(
            arn=args.target_arn,
            role_arn=role.arn,
            input="{}",
            retry_policy=aws.scheduler.ScheduleTargetRetryPolicyArgs(
                maximum_retry_attempts=args.retries, maximum_event_age_in_seconds=args.retry_seconds
            ),
            dead_letter_config=aws.scheduler.ScheduleTargetDeadLetterConfigArgs(arn=args.dead_letters.arn),
        ),
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[grant]),
    )
    return group, made
