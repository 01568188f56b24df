"""What every worker gets, whatever runs it: its policy, the gateway's key, a log group."""

from __future__ import annotations

import pulumi
import pulumi_aws as aws

from components import iam
from components.account import Account
from components.iam import Statement
from components.masking import mask
from components.settings import Settings

METRIC_NAMESPACE = "ConfirmTransactions"


def environment(settings: Settings, key: aws.secretsmanager.Secret) -> dict[str, pulumi.Input[str]]:
    """What `workers/config.py` reads in every alternative, without any secret."""
    gateway = settings.gateway
    return {
        **metric_environment(settings),
        **policy_environment(settings),
        "BATCH_SIZE": str(settings.work.batch_size),
        "GATEWAY_URL": gateway.url,
        "GATEWAY_CONCURRENCY": str(gateway.concurrency),
        "GATEWAY_RATE_LIMIT": str(gateway.rate_limit),
        "GATEWAY_SECRET_ARN": key.arn,
        "TRACE_SAMPLING": f"{settings.trace_sampling / 100:g}",
    }


def policy_environment(settings: Settings) -> dict[str, pulumi.Input[str]]:
    """What `policy` of workers/config.py reads: the numbers that every decision about a transaction goes by."""
    gateway, work = settings.gateway, settings.work
    return {
        "LEASE_SECONDS": str(work.lease_seconds),
        "MAX_ATTEMPTS": str(work.max_attempts),
        "RETRY_BASE_SECONDS": str(work.retry_base_seconds),
        "RETRY_CAP_SECONDS": str(work.retry_cap_seconds),
        "GRACE_SECONDS": str(gateway.grace_seconds),
        "KEY_WINDOW_SECONDS": str(gateway.key_window_seconds),
        "REVIEW_SECONDS": str(work.review_seconds),
        "REVIEW_OWNER": work.review_owner,
        "CLOCK_SKEW_SECONDS": str(work.clock_skew_seconds),
        "GATEWAY_MODE": gateway.mode,
        "GATEWAY_TIMEOUT_SECONDS": str(gateway.timeout_seconds),
        **({"RESTORED_TO": gateway.restored_to} if gateway.restored_to else {}),
    }


def metric_environment(settings: Settings) -> dict[str, pulumi.Input[str]]:
    """For whoever tells metrics: whose they are. `ours` (components/observability/table.py) reads them as such."""
    return {
        "STACK": settings.stack,
        "ALTERNATIVE": settings.alternative,
        "ENVIRONMENT": settings.environment.value,
        "METRIC_NAMESPACE": METRIC_NAMESPACE,
    }


def canary(settings: Settings) -> dict[str, pulumi.Input[str]]:
    """For the worker that sends canaries (workers/canary.py); nothing where none are sent."""
    if settings.canary is None:
        return {}
    return {"CANARY_MINUTES": str(settings.canary.minutes), **canary_account(settings)}


def canary_account(settings: Settings) -> dict[str, pulumi.Input[str]]:
    """For the worker that tells canaries from what only looks like one."""
    return {"CANARY_ACCOUNT": settings.canary.account} if settings.canary else {}


def gateway_key(
    settings: Settings, data_key_arn: pulumi.Input[str], parent: pulumi.Resource
) -> aws.secretsmanager.Secret:
    """The secret for the gateway's API key. Its value is put there by hand, never by Pulumi."""
    return aws.secretsmanager.Secret(
        "gateway-key",
        description="API key of the payment gateway. Set its value with: aws secretsmanager put-secret-value",
        kms_key_id=data_key_arn,
        recovery_window_in_days=settings.sizing.key_deletion_days,
        opts=pulumi.ResourceOptions(parent=parent),
    )


def may_read_gateway_key(
    key: aws.secretsmanager.Secret, data_key_arn: pulumi.Input[str], account: Account
) -> list[Statement]:
    """What a worker's role needs for the gateway's key."""
    return [
        Statement(sid="GatewayKey", actions=("secretsmanager:GetSecretValue",), resources=(key.arn,)),
        Statement(
            sid="OpenTheGatewayKey",
            actions=("kms:Decrypt",),
            resources=(data_key_arn,),
            conditions=iam.through("secretsmanager", account),
        ),
    ]


def may_write_logs(*groups: aws.cloudwatch.LogGroup) -> Statement:
    """What whoever runs a worker needs for its log groups."""
    return Statement(
        sid="WriteLogs",
        actions=("logs:CreateLogStream", "logs:PutLogEvents"),
        resources=[pulumi.Output.concat(group.arn, ":*") for group in groups],
    )


def log_group(
    name: str, path: str, settings: Settings, account: Account, log_key_arn: pulumi.Input[str], parent: pulumi.Resource
) -> aws.cloudwatch.LogGroup:
    """A log group of ours: kept as long as settings say, sealed with our key, masked where settings say so."""
    group = aws.cloudwatch.LogGroup(
        name,
        name=path,
        retention_in_days=settings.log_retention_days,
        kms_key_id=log_key_arn,
        opts=pulumi.ResourceOptions(parent=parent),
    )
    if settings.mask_logs:
        mask(name, group, account)
    return group


def dead_letter_queue(parent: pulumi.Resource) -> aws.sqs.Queue:
    """Where Scheduler puts what it could not start."""
    queue = aws.sqs.Queue(
        "dead-letters",
        message_retention_seconds=1_209_600,  # 14 days, the longest
        sqs_managed_sse_enabled=True,  # holds schedule names and times, no transaction
        opts=pulumi.ResourceOptions(parent=parent),
    )
    aws.sqs.QueuePolicy(
        "dead-letters",
        queue_url=queue.url,
        policy=iam.policy(iam.tls_only("TlsOnly", ["sqs:*"], [queue.arn])),
        opts=pulumi.ResourceOptions(parent=queue),
    )
    return queue
