"""What each call of the provider asks IAM, for the resources that a recorded stack has: action, resource, tags and
condition keys that the call carries. What AWS asks beside (roles passed, service-linked roles, tags on creation, the
keys that seal) is in its documentation of each operation, and in the Service Authorization Reference."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from analysis.graph import ACCOUNT, REGION, Record, Recorded
from tests.access.authorization import Document, Question, takes

HERE = f"{REGION}:{ACCOUNT}"
RECORDED: Mapping[str, Mapping[str, Any]] = json.loads(
    (Path(__file__).parent / "data" / "provider-calls.json").read_text()
)["calls"]

STACKS = {operation: call for operation, call in RECORDED.items() if call["stacks"] != "bootstrap"}
"""Without what delivery/bootstrap/ alone calls: a person applies that, not the pipeline."""

# --- the resources of a stack

TYPES: Mapping[str, tuple[str, str]] = {
    # how the rows below call it: (type, ARN). A property in braces; {arn}, as the record says it
    "address": ("aws:ec2/eip:Eip", f"ec2:{HERE}:elastic-ip/{{id}}"),
    "alarm": ("aws:cloudwatch/metricAlarm:MetricAlarm", "{arn}"),
    "alias": ("aws:kms/alias:Alias", f"kms:{HERE}:{{name}}"),
    "backup-plan": ("aws:backup/plan:Plan", f"backup:{HERE}:backup-plan:{{id}}"),
    "backup-vault": ("aws:backup/vault:Vault", "{arn}"),
    "bucket": ("aws:s3/bucket:Bucket", "{arn}"),
    "budget": ("aws:budgets/budget:Budget", f"budgets::{ACCOUNT}:budget/{{name}}"),
    "channel": (
        "aws:chatbot/slackChannelConfiguration:SlackChannelConfiguration",
        f"chatbot::{ACCOUNT}:chat-configuration/slack-channel/{{configurationName}}",
    ),
    "cluster": ("aws:ecs/cluster:Cluster", "{arn}"),
    "composite": ("aws:cloudwatch/compositeAlarm:CompositeAlarm", "{arn}"),
    "dashboard": ("aws:cloudwatch/dashboard:Dashboard", f"cloudwatch::{ACCOUNT}:dashboard/{{dashboardName}}"),
    "database": ("aws:rds/cluster:Cluster", "{arn}"),
    "database-parameters": ("aws:rds/clusterParameterGroup:ClusterParameterGroup", f"rds:{HERE}:cluster-pg:{{name}}"),
    "default-group": ("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup", f"ec2:{HERE}:security-group/{{id}}"),
    "endpoint": ("aws:ec2/vpcEndpoint:VpcEndpoint", f"ec2:{HERE}:vpc-endpoint/{{id}}"),
    "experiment": ("aws:fis/experimentTemplate:ExperimentTemplate", f"fis:{HERE}:experiment-template/{{id}}"),
    "flow-log": ("aws:ec2/flowLog:FlowLog", f"ec2:{HERE}:vpc-flow-log/{{id}}"),
    "function": ("aws:lambda/function:Function", "{arn}"),
    "gateway": ("aws:ec2/internetGateway:InternetGateway", f"ec2:{HERE}:internet-gateway/{{id}}"),
    "group": ("aws:ec2/securityGroup:SecurityGroup", f"ec2:{HERE}:security-group/{{id}}"),
    "instance": ("aws:rds/clusterInstance:ClusterInstance", "{arn}"),
    "instance-parameters": ("aws:rds/parameterGroup:ParameterGroup", f"rds:{HERE}:pg:{{name}}"),
    "key": ("aws:kms/key:Key", "{arn}"),
    "log-group": ("aws:cloudwatch/logGroup:LogGroup", "{arn}"),
    "machine": ("aws:sfn/stateMachine:StateMachine", "{arn}"),
    "nat": ("aws:ec2/natGateway:NatGateway", f"ec2:{HERE}:natgateway/{{id}}"),
    "policy": ("aws:iam/policy:Policy", "{arn}"),
    "queue": ("aws:sqs/queue:Queue", "{arn}"),
    "repository": ("aws:ecr/repository:Repository", "{arn}"),
    "role": ("aws:iam/role:Role", "{arn}"),
    "routes": ("aws:ec2/routeTable:RouteTable", f"ec2:{HERE}:route-table/{{id}}"),
    "rule": ("aws:cloudwatch/eventRule:EventRule", "{arn}"),
    "schedule": ("aws:scheduler/schedule:Schedule", f"scheduler:{HERE}:schedule/{{groupName}}/{{name}}"),
    "schedules": ("aws:scheduler/scheduleGroup:ScheduleGroup", "{arn}"),
    "secret": ("aws:secretsmanager/secret:Secret", "{arn}"),
    "selection": ("aws:backup/selection:Selection", f"backup:{HERE}:backup-plan:{{planId}}"),
    "service": ("aws:ecs/service:Service", f"ecs:{HERE}:service/{{cluster}}/{{name}}"),
    "subnet": ("aws:ec2/subnet:Subnet", f"ec2:{HERE}:subnet/{{id}}"),
    "subnets": ("aws:rds/subnetGroup:SubnetGroup", f"rds:{HERE}:subgrp:{{name}}"),
    "table": ("aws:dynamodb/table:Table", "{arn}"),
    "target": ("aws:appautoscaling/target:Target", f"application-autoscaling:{HERE}:scalable-target/{{id}}"),
    "task": ("aws:ecs/taskDefinition:TaskDefinition", "{arn}"),
    "topic": ("aws:sns/topic:Topic", "{arn}"),
    "vpc": ("aws:ec2/vpc:Vpc", f"ec2:{HERE}:vpc/{{id}}"),
}
PARTS = {
    # types whose calls are asked about as of what they belong to
    "aws:appautoscaling/policy:Policy": "target",
    "aws:backup/vaultLockConfiguration:VaultLockConfiguration": "backup-vault",
    "aws:cloudwatch/eventTarget:EventTarget": "rule",
    "aws:cloudwatch/logDataProtectionPolicy:LogDataProtectionPolicy": "log-group",
    "aws:cloudwatch/logResourcePolicy:LogResourcePolicy": "rule",
    "aws:cloudwatch/queryDefinition:QueryDefinition": "log-group",
    "aws:dynamodb/contributorInsights:ContributorInsights": "table",
    "aws:ec2/route:Route": "routes",
    "aws:ec2/routeTableAssociation:RouteTableAssociation": "routes",
    "aws:ecr/lifecyclePolicy:LifecyclePolicy": "repository",
    "aws:ecs/clusterCapacityProviders:ClusterCapacityProviders": "cluster",
    "aws:iam/rolePolicy:RolePolicy": "role",
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": "bucket",
    "aws:s3/bucketPolicy:BucketPolicy": "bucket",
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": "bucket",
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": "bucket",
    "aws:sns/topicPolicy:TopicPolicy": "topic",
    "aws:sns/topicSubscription:TopicSubscription": "topic",
    "aws:sqs/queuePolicy:QueuePolicy": "queue",
}
UNTAGGED = ("alias", "dashboard", "schedule", "selection")


@dataclass(frozen=True)
class Stack:
    """A recorded stack, as if the pipeline made it: with the permissions boundary (docs/pipeline.md, step 4)."""

    record: Record
    boundary: str

    def all(self, name: str) -> list[Recorded]:
        return self.record.some(TYPES[name][0])

    def arn(self, name: str, one: Recorded) -> str:
        values = {"id": one.id, **one.outputs, **one.inputs}
        values["arn"] = one.outputs.get("arn")  # an event target's input of that name is another's
        if name == "service":
            values["cluster"] = values["cluster"].rpartition("/")[2]
        arn = TYPES[name][1].format(**values)
        return arn if arn.startswith("arn:") else f"arn:aws:{arn}"

    def tags(self, one: Recorded) -> dict[str, str]:
        """What it has: the provider's default tags and its own."""
        return {**self._tags, **(one.inputs.get("tags") or {})}

    @cached_property
    def _tags(self) -> dict[str, str]:
        (provider,) = {one.inputs["defaultTags"] for one in self.record.all("pulumi:providers:aws")}
        tags: dict[str, str] = json.loads(provider)["tags"]
        return tags

    @cached_property
    def policies(self) -> Mapping[str, Document]:
        """The policies of resources, by ARN."""
        found = {one.outputs["arn"]: json.loads(one.inputs["policy"]) for one in self.all("key")}
        for type_, name, reference in (
            ("aws:s3/bucketPolicy:BucketPolicy", "bucket", "bucket"),
            ("aws:sqs/queuePolicy:QueuePolicy", "queue", "queueUrl"),
            ("aws:sns/topicPolicy:TopicPolicy", "topic", "arn"),
        ):
            by_urn = {one.urn: one for one in self.all(name)}
            for policy in self.record.some(type_):
                (of,) = policy.references[reference]
                found[by_urn[of].outputs["arn"]] = json.loads(policy.inputs["policy"])
        return found


# --- what a call asks

Also = Callable[[Stack, Recorded], Iterator[Question]]
"""What is asked beside, for one resource."""
Asking = Callable[[Stack, str, bool], Iterator[Question]]
"""What an operation (the action, whether it carries tags) asks for all resources of the stack."""

ACTIONS = {
    # actions that are called otherwise than the operation
    "budgets:CreateBudget": "budgets:ModifyBudget",
    "budgets:CreateNotification": "budgets:ModifyBudget",
    "budgets:DeleteBudget": "budgets:ModifyBudget",
    "budgets:DescribeBudget": "budgets:ViewBudget",
    "budgets:DescribeNotificationsForBudget": "budgets:ViewBudget",
    "budgets:DescribeSubscribersForNotification": "budgets:ViewBudget",
    "budgets:UpdateBudget": "budgets:ModifyBudget",
    "s3:DeleteBucketEncryption": "s3:PutEncryptionConfiguration",
    "s3:DeleteBucketLifecycle": "s3:PutLifecycleConfiguration",
    "s3:DeleteBucketOwnershipControls": "s3:PutBucketOwnershipControls",
    "s3:DeletePublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "s3:GetBucketAccelerateConfiguration": "s3:GetAccelerateConfiguration",
    "s3:GetBucketCors": "s3:GetBucketCORS",
    "s3:GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3:GetBucketLifecycle": "s3:GetLifecycleConfiguration",
    "s3:GetBucketReplication": "s3:GetReplicationConfiguration",
    "s3:GetObjectLockConfiguration": "s3:GetBucketObjectLockConfiguration",
    "s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:PutBucketEncryption": "s3:PutEncryptionConfiguration",
    "s3:PutBucketLifecycle": "s3:PutLifecycleConfiguration",
    "s3:PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
}
TAGGING = {
    "ec2": "ec2:CreateTags",
    "rds": "rds:AddTagsToResource",
    "sqs": "sqs:TagQueue",
}
"""Of services that do not call it TagResource."""


def action(operation: str) -> str:
    return ACTIONS.get(operation, re.sub("^stepfunctions:", "states:", operation))


def asked(what: str, resource: str, context: Mapping[str, Any] | None = None) -> Question:
    """On `*` where the action takes no resource."""
    return Question(what, resource if takes(what) else "*", context or {})


def given(tags: Mapping[str, str]) -> dict[str, Any]:
    """Tags that a call carries."""
    return {"aws:TagKeys": sorted(tags), **{f"aws:RequestTag/{key}": value for key, value in tags.items()}}


def worn(tags: Mapping[str, str]) -> dict[str, Any]:
    """Tags that the resource has."""
    return {f"aws:ResourceTag/{key}": value for key, value in tags.items()}


def on(*names: str, also: Sequence[Also] = (), context: Mapping[str, Any] | None = None) -> Asking:
    """It is there, and has its tags."""

    def row(stack: Stack, what: str, _tagged: bool) -> Iterator[Question]:
        for name in names:
            for one in stack.all(name):
                tags = {} if name in UNTAGGED else worn(stack.tags(one))
                boundary = {"iam:PermissionsBoundary": stack.boundary} if name == "role" else {}
                yield asked(what, stack.arn(name, one), {**tags, **boundary, **(context or {})})
                for more in also:
                    yield from more(stack, one)

    return row


def new(name: str, *also: Also, tagging: str = "", parts: Sequence[str] = ()) -> Asking:
    """It is made, and has no tags but those of the call; of `parts` that are there already, and have theirs."""

    def row(stack: Stack, what: str, tagged: bool) -> Iterator[Question]:
        service = what.partition(":")[0]
        for one in stack.all(name):
            tags = given(stack.tags(one)) if tagged else {}
            boundary = {"iam:PermissionsBoundary": stack.boundary} if name == "role" else {}
            yield asked(what, stack.arn(name, one), {**tags, **boundary})
            if tagged:
                label = tagging or TAGGING.get(service, f"{service}:TagResource")
                creating = {f"{service}:CreateAction": what.partition(":")[2]}
                yield asked(label, stack.arn(name, one), {**tags, **creating})
            for more in also:
                yield from more(stack, one)
        if stack.all(name):
            yield from on(*parts)(stack, what, False)

    return row


def together(*rows: Asking) -> Asking:
    def row(stack: Stack, what: str, tagged: bool) -> Iterator[Question]:
        for one in rows:
            yield from one(stack, what, tagged)

    return row


def labelled(*names: str) -> Asking:
    """Tags are set on what is there and has some."""

    def row(stack: Stack, what: str, _tagged: bool) -> Iterator[Question]:
        for name in names:
            for one in stack.all(name):
                tags = stack.tags(one)
                yield asked(what, stack.arn(name, one), {**worn(tags), **given(tags)})

    return row


def adopted(name: str) -> Asking:
    """Tags are set on what AWS made, which has none."""

    def row(stack: Stack, what: str, _tagged: bool) -> Iterator[Question]:
        for one in stack.all(name):
            yield asked(what, stack.arn(name, one), given(stack.tags(one)))

    return row


def elsewhere(arn: str, when: str) -> Asking:
    """Something that is not the stack's; asked where it has resources of type `when`."""

    def row(stack: Stack, what: str, _tagged: bool) -> Iterator[Question]:
        if stack.all(when):
            yield asked(what, arn)

    return row


# --- what AWS asks beside


def passes(path: str, service: str) -> Also:
    def also(stack: Stack, one: Recorded) -> Iterator[Question]:
        role: Any = one.inputs
        for key in path.split("."):
            role = (role or {}).get(key)
        if role:  # the migrations have no role of their own
            (found,) = [each for each in stack.all("role") if each.outputs["arn"] == role]
            context = {"iam:PassedToService": f"{service}.amazonaws.com", **worn(stack.tags(found))}
            yield asked("iam:PassRole", role, context)

    return also


def linked(service: str) -> Also:
    def also(_stack: Stack, _one: Recorded) -> Iterator[Question]:
        arn = f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/{service}.amazonaws.com/AWSServiceRoleForIt"
        yield asked("iam:CreateServiceLinkedRole", arn, {"iam:AWSServiceName": f"{service}.amazonaws.com"})

    return also


def beside(what: str, arn: str, context: Mapping[str, Any] | None = None) -> Also:
    """`{arn}` and properties in braces are the resource's."""

    def also(_stack: Stack, one: Recorded) -> Iterator[Question]:
        yield asked(what, arn.format(**{**one.outputs, **one.inputs, "id": one.id}), context)

    return also


def sealed(path: str, service: str, actions: str, encryption: str = "") -> Also:
    """AWS uses a key of ours for the caller. A key's new tags take up to five minutes to count: so with and without.

    `encryption`: the encryption context, `name=value`, with {arn} and properties in braces.
    """

    def also(stack: Stack, one: Recorded) -> Iterator[Question]:
        arn: Any = one.inputs
        for key in path.split("."):
            arn = arn[int(key)] if key.isdigit() else arn[key]
        (of,) = [each for each in stack.all("key") if each.outputs["arn"] == arn]
        context: dict[str, Any] = {
            "kms:CallerAccount": ACCOUNT,
            "kms:ViaService": f"{service}.{REGION}.amazonaws.com",
        }
        if encryption:
            key, _, value = encryption.partition("=")
            context[f"kms:EncryptionContext:{key}"] = value.format(**{**one.inputs, **one.outputs})
            context["kms:EncryptionContextKeys"] = [key]
        for what in actions.split():
            grant = {"kms:GrantIsForAWSResource": "true"} if what == "CreateGrant" else {}
            for tags in ({}, worn(stack.tags(of))):
                yield asked(f"kms:{what}", arn, {**context, **grant, **tags})

    return also


def fresh(name: str) -> Asking:
    """As `on`, of a key that was just made: with its tags, and as long as they don't count."""

    def row(stack: Stack, what: str, _tagged: bool) -> Iterator[Question]:
        for one in stack.all(name):
            for tags in ({}, worn(stack.tags(one))):
                yield asked(what, stack.arn(name, one), {**tags, "kms:CallerAccount": ACCOUNT})

    return row


def _new_keys(stack: Stack, what: str, _tagged: bool) -> Iterator[Question]:
    for one in stack.all("key"):
        tags = given(stack.tags(one))
        yield asked(what, "*", {**tags, "kms:CallerAccount": ACCOUNT})
        yield asked("kms:TagResource", stack.arn("key", one), {**tags, "kms:CallerAccount": ACCOUNT})
        # AWS makes no key whose maker could not change its policy
        yield asked("kms:PutKeyPolicy", stack.arn("key", one), {"kms:CallerAccount": ACCOUNT})


def _log_groups(stack: Stack, what: str, tagged: bool) -> Iterator[Question]:
    """CloudWatch Logs names a group with what may be in it, or without."""
    for one in stack.all("log-group"):
        for end in ("", ":log-stream:"):
            tags = given(stack.tags(one)) if tagged else worn(stack.tags(one))
            yield asked(what, stack.arn("log-group", one) + end, tags)
            if tagged:
                yield asked("logs:TagResource", stack.arn("log-group", one) + end, tags)


def _log_keys(stack: Stack, _what: str, _tagged: bool) -> Iterator[Question]:
    """CloudWatch Logs looks at the key for the caller; it seals with it for itself."""
    for one in stack.all("log-group"):
        yield from sealed("kmsKeyId", "logs", "DescribeKey")(stack, one)


def _index(stack: Stack, what: str, _tagged: bool) -> Iterator[Question]:
    for one in stack.all("table"):
        for index in one.inputs["globalSecondaryIndexes"]:
            yield asked(what, f"{stack.arn('table', one)}/index/{index['name']}")


def _interfaces(stack: Stack, _what: str, _tagged: bool) -> Iterator[Question]:
    """A private name of a service inside the VPC: a hosted zone that AWS has, and associates for the caller."""
    for one in stack.all("endpoint"):
        if one.inputs.get("privateDnsEnabled"):
            vpcs = [f"VPCId={one.inputs['vpcId']},VPCRegion={REGION}"]
            yield asked("route53:AssociateVPCWithHostedZone", "arn:aws:route53:::hostedzone/Z1", {"route53:VPCs": vpcs})


def _database_secret(stack: Stack, _what: str, _tagged: bool) -> Iterator[Question]:
    """The master's password, which RDS keeps in Secrets Manager for the caller."""
    for one in stack.all("database"):
        arn = f"arn:aws:secretsmanager:{HERE}:secret:rds!cluster-1-abcdef"
        for what in ("CreateSecret", "TagResource"):
            yield asked(f"secretsmanager:{what}", arn, given({"aws:rds:primaryDBClusterArn": one.outputs["arn"]}))
        for service in ("rds", "secretsmanager"):
            yield from sealed("masterUserSecretKmsKeyId", service, "CreateGrant Decrypt DescribeKey GenerateDataKey")(
                stack, one
            )


def _final_snapshot(stack: Stack, what: str, _tagged: bool) -> Iterator[Question]:
    for one in stack.all("database"):
        if name := one.inputs.get("finalSnapshotIdentifier"):
            snapshot = f"arn:aws:rds:{HERE}:cluster-snapshot:{name}"
            yield asked(what, snapshot)
            yield asked("rds:CreateDBClusterSnapshot", snapshot)
            yield asked("rds:CreateDBClusterSnapshot", one.outputs["arn"])
            yield asked("rds:AddTagsToResource", snapshot, given(stack.tags(one)))


def _tasks(stack: Stack, _what: str, _tagged: bool) -> Iterator[Question]:
    """The migrations (components/one_off_task.py): `run_task`, and waiting for its end."""
    (cluster,) = [stack.arn("cluster", one) for one in stack.all("cluster")] or [""]
    for one in stack.all("task"):
        if one.name == "migrations":
            context = {"ecs:cluster": cluster, **worn(stack.tags(one))}
            yield asked("ecs:RunTask", stack.arn("task", one), context)
            yield from passes("executionRoleArn", "ecs-tasks")(stack, one)
            yield asked("ecs:DescribeTasks", f"{cluster.replace(':cluster/', ':task/')}/0123456789abcdef")


FUNCTION = "aws:lambda:FunctionArn={arn}"
SECRET = "SecretARN={arn}"
ALARMS = ("TargetTracking-service/it/worker-AlarmHigh-0", "none")
"""Application Auto Scaling asks CloudWatch in the caller's name whether he might make its alarms: none has our name."""


def _scaling(*actions: str) -> list[Also]:
    service = f"arn:aws:ecs:{HERE}:{{resourceId}}"
    return [
        *(
            beside(what, f"arn:aws:cloudwatch:{HERE}:alarm:{name}", {"aws:ViaAWSService": "true"})
            for what in actions
            for name in ALARMS
        ),
        beside("ecs:DescribeServices", service),
        beside("ecs:UpdateService", service),
    ]


def _layers(_stack: Stack, one: Recorded) -> Iterator[Question]:
    for layer in one.inputs.get("layers") or ():
        yield asked("lambda:GetLayerVersion", layer)


def _insights(stack: Stack, one: Recorded) -> Iterator[Question]:
    if one.inputs.get("performanceInsightsKmsKeyId"):
        yield from sealed("performanceInsightsKmsKeyId", "rds", "Decrypt DescribeKey GenerateDataKey")(stack, one)


OF_THE_VPC = [beside(f"ec2:Describe{what}", "*") for what in ("SecurityGroups", "Subnets", "Vpcs")]
"""Lambda and VPC endpoints look at where they are to be."""
FUNCTION_KEY = sealed("kmsKeyArn", "lambda", "CreateGrant Decrypt Encrypt", FUNCTION)
FUNCTION_VARIABLES = sealed("kmsKeyArn", "lambda", "Decrypt", FUNCTION)
"""Without it Lambda answers, but says that it could not read the environment: drift that is none."""
TAGGED_PARTS = (
    "vpc",
    "subnet",
    "routes",
    "gateway",
    "nat",
    "address",
    "group",
    "default-group",
    "endpoint",
    "flow-log",
)

CALLS: Mapping[str, Asking] = {
    "application-autoscaling:DeleteScalingPolicy": on("target", also=_scaling("cloudwatch:DeleteAlarms")),
    "application-autoscaling:DeregisterScalableTarget": on("target"),
    "application-autoscaling:DescribeScalableTargets": on("target"),
    "application-autoscaling:DescribeScalingPolicies": on("target"),
    "application-autoscaling:ListTagsForResource": on("target"),
    "application-autoscaling:PutScalingPolicy": on(
        "target",
        also=_scaling("cloudwatch:DeleteAlarms", "cloudwatch:DescribeAlarms", "cloudwatch:PutMetricAlarm"),
    ),
    "application-autoscaling:RegisterScalableTarget": new(
        "target", linked("ecs.application-autoscaling"), *_scaling("cloudwatch:DescribeAlarms")
    ),
    "backup:CreateBackupPlan": new("backup-plan"),
    "backup:CreateBackupSelection": on("selection", also=[passes("iamRoleArn", "backup"), linked("backup")]),
    "backup:CreateBackupVault": new(
        "backup-vault",
        beside("backup-storage:MountCapsule", "*"),
        sealed(
            "kmsKeyArn",
            "backup",
            "CreateGrant Decrypt DescribeKey GenerateDataKey RetireGrant",
            "aws:backup:backup-vault={arn}",
        ),
    ),
    "backup:DeleteBackupPlan": on("backup-plan"),
    "backup:DeleteBackupSelection": on("selection"),
    "backup:DeleteBackupVault": on("backup-vault"),
    "backup:DeleteBackupVaultLockConfiguration": on("backup-vault"),
    "backup:DescribeBackupVault": on("backup-vault"),
    "backup:GetBackupPlan": on("backup-plan"),
    "backup:GetBackupSelection": on("selection"),
    "backup:ListTags": on("backup-plan", "backup-vault"),
    "backup:PutBackupVaultLockConfiguration": on("backup-vault"),
    "budgets:CreateBudget": new("budget"),
    "budgets:CreateNotification": on("budget"),
    "budgets:DescribeBudget": on("budget"),
    "budgets:DescribeNotificationsForBudget": on("budget"),
    "budgets:DescribeSubscribersForNotification": on("budget"),
    "cloudwatch:DeleteAlarms": on("alarm", "composite"),
    "cloudwatch:DeleteDashboards": on("dashboard"),
    "cloudwatch:DescribeAlarms": on("alarm", "composite"),
    "cloudwatch:GetDashboard": on("dashboard"),
    "cloudwatch:ListTagsForResource": on("alarm", "composite"),
    "cloudwatch:PutCompositeAlarm": new("composite"),
    "cloudwatch:PutDashboard": on("dashboard"),
    "cloudwatch:PutMetricAlarm": new("alarm"),
    "dynamodb:CreateTable": new(
        "table",
        sealed(
            "serverSideEncryption.kmsKeyArn",
            "dynamodb",
            "CreateGrant Decrypt DescribeKey Encrypt GenerateDataKey ReEncryptFrom ReEncryptTo",
            "aws:dynamodb:tableName={name}",
        ),
    ),
    "dynamodb:DeleteTable": on("table"),
    "dynamodb:DescribeContinuousBackups": on("table"),
    "dynamodb:DescribeContributorInsights": together(on("table"), _index),
    "dynamodb:DescribeTable": on("table"),
    "dynamodb:DescribeTimeToLive": on("table"),
    "dynamodb:ListTagsOfResource": on("table"),
    "dynamodb:UpdateContinuousBackups": on("table"),
    "dynamodb:UpdateContributorInsights": together(on("table", also=[linked("contributorinsights.dynamodb")]), _index),
    "dynamodb:UpdateTimeToLive": on("table"),
    "ec2:AllocateAddress": new("address"),
    "ec2:AssociateRouteTable": on("routes", "subnet"),
    "ec2:AttachInternetGateway": on("gateway", "vpc"),
    "ec2:AuthorizeSecurityGroupEgress": on("group"),
    "ec2:AuthorizeSecurityGroupIngress": on("group"),
    "ec2:CreateFlowLogs": new("flow-log", passes("iamRoleArn", "vpc-flow-logs"), parts=["vpc"]),
    "ec2:CreateInternetGateway": new("gateway"),
    "ec2:CreateNatGateway": new("nat", parts=["subnet", "address"]),
    "ec2:CreateRoute": on("routes"),
    "ec2:CreateRouteTable": new("routes", parts=["vpc"]),
    "ec2:CreateSecurityGroup": new("group", parts=["vpc"]),
    "ec2:CreateSubnet": new("subnet", parts=["vpc"]),
    "ec2:CreateTags": adopted("default-group"),
    "ec2:CreateVpc": new("vpc"),
    "ec2:CreateVpcEndpoint": together(
        new("endpoint", *OF_THE_VPC, parts=["vpc", "routes", "subnet", "group"]), _interfaces
    ),
    "ec2:DeleteFlowLogs": on("flow-log"),
    "ec2:DeleteInternetGateway": on("gateway"),
    "ec2:DeleteNatGateway": on("nat"),
    "ec2:DeleteRoute": on("routes"),
    "ec2:DeleteRouteTable": on("routes"),
    "ec2:DeleteSecurityGroup": on("group"),
    "ec2:DeleteSubnet": on("subnet"),
    "ec2:DeleteVpc": on("vpc"),
    "ec2:DeleteVpcEndpoints": on("endpoint"),
    "ec2:DescribeAddresses": on("address"),
    "ec2:DescribeAddressesAttribute": on("address"),
    "ec2:DescribeFlowLogs": on("flow-log"),
    "ec2:DescribeInternetGateways": on("gateway"),
    "ec2:DescribeNatGateways": on("nat"),
    "ec2:DescribeNetworkAcls": on("vpc"),
    "ec2:DescribeNetworkInterfaces": on("vpc"),
    "ec2:DescribePrefixLists": on("vpc"),
    "ec2:DescribeRouteTables": on("routes"),
    "ec2:DescribeSecurityGroupRules": on("group"),
    "ec2:DescribeSecurityGroups": on("group", "default-group"),
    "ec2:DescribeSubnets": on("subnet"),
    "ec2:DescribeVpcAttribute": on("vpc"),
    "ec2:DescribeVpcEndpoints": on("endpoint"),
    "ec2:DescribeVpcs": on("vpc"),
    "ec2:DetachInternetGateway": on("gateway", "vpc"),
    "ec2:DisassociateAddress": on("address"),
    "ec2:DisassociateRouteTable": on("routes", "subnet"),
    "ec2:ModifyVpcAttribute": on("vpc"),
    "ec2:ReleaseAddress": on("address"),
    "ec2:RevokeSecurityGroupEgress": on("group", "default-group"),
    "ecr:CreateRepository": new(
        "repository",
        sealed("encryptionConfigurations.0.kmsKey", "ecr", "CreateGrant DescribeKey RetireGrant", "aws:ecr:arn={arn}"),
    ),
    "ecr:DeleteLifecyclePolicy": on("repository"),
    "ecr:DeleteRepository": on(
        "repository", also=[sealed("encryptionConfigurations.0.kmsKey", "ecr", "RetireGrant", "aws:ecr:arn={arn}")]
    ),
    "ecr:DescribeRepositories": on("repository"),
    "ecr:GetLifecyclePolicy": on("repository"),
    "ecr:ListTagsForResource": on("repository"),
    "ecr:PutLifecyclePolicy": on("repository"),
    "ecs:CreateCluster": new("cluster", linked("ecs")),
    "ecs:CreateService": new("service"),
    "ecs:DeleteCluster": on("cluster"),
    "ecs:DeleteService": on("service"),
    "ecs:DeregisterTaskDefinition": on("task"),
    "ecs:DescribeClusters": on("cluster"),
    "ecs:DescribeServices": on("service"),
    "ecs:DescribeTaskDefinition": on("task"),
    "ecs:PutClusterCapacityProviders": on("cluster"),
    "ecs:RegisterTaskDefinition": new(
        "task", passes("executionRoleArn", "ecs-tasks"), passes("taskRoleArn", "ecs-tasks")
    ),
    "ecs:UpdateService": on("service"),
    "events:DeleteRule": on("rule"),
    "events:DescribeRule": on("rule"),
    "events:ListTagsForResource": on("rule"),
    "events:ListTargetsByRule": on("rule"),
    "events:PutRule": new("rule"),
    "events:PutTargets": on("rule"),
    "events:RemoveTargets": on("rule"),
    "fis:CreateExperimentTemplate": together(
        new("experiment", passes("roleArn", "fis"), linked("fis")),
        elsewhere(f"arn:aws:fis:{HERE}:action/aws:network:disrupt-connectivity", "experiment"),
    ),
    "fis:GetExperimentTemplate": on("experiment"),
    "iam:CreatePolicy": new("policy", tagging="iam:TagPolicy"),
    "iam:CreateRole": new("role", tagging="iam:TagRole"),
    "iam:DeletePolicy": on("policy"),
    "iam:DeleteRole": on("role"),
    "iam:DeleteRolePolicy": on("role"),
    "iam:GetPolicy": on("policy"),
    "iam:GetPolicyVersion": on("policy"),
    "iam:GetRole": on("role"),
    "iam:GetRolePolicy": on("role"),
    "iam:GetUser": elsewhere(f"arn:aws:iam::{ACCOUNT}:user/me", "role"),  # the provider asks who it is
    "iam:ListAttachedRolePolicies": on("role"),
    "iam:ListInstanceProfilesForRole": on("role"),
    "iam:ListPolicyVersions": on("policy"),
    "iam:ListRolePolicies": on("role"),
    "iam:PutRolePolicy": on("role"),
    "kms:CreateAlias": together(on("alias"), fresh("key")),
    "kms:CreateKey": _new_keys,
    "kms:DeleteAlias": together(on("alias"), on("key")),
    "kms:DescribeKey": fresh("key"),
    "kms:EnableKeyRotation": fresh("key"),
    "kms:GetKeyPolicy": fresh("key"),
    "kms:GetKeyRotationStatus": fresh("key"),
    "kms:ListAliases": on("key"),
    "kms:ListResourceTags": fresh("key"),
    "kms:ScheduleKeyDeletion": on("key"),
    "lambda:CreateFunction": new("function", passes("role", "lambda"), FUNCTION_KEY, _layers, *OF_THE_VPC),
    "lambda:DeleteFunction": on("function"),
    "lambda:GetFunction": on("function", also=[FUNCTION_VARIABLES]),
    "lambda:GetFunctionCodeSigningConfig": on("function"),
    "lambda:ListVersionsByFunction": on("function", also=[FUNCTION_VARIABLES]),
    "lambda:PutFunctionConcurrency": on("function"),
    "logs:CreateLogGroup": together(_log_groups, _log_keys),
    "logs:DeleteDataProtectionPolicy": _log_groups,
    "logs:DeleteLogGroup": _log_groups,
    "logs:DeleteQueryDefinition": on("log-group"),
    "logs:DeleteResourcePolicy": on("rule"),
    "logs:DescribeLogGroups": on("log-group"),
    "logs:DescribeQueryDefinitions": on("log-group"),
    "logs:DescribeResourcePolicies": on("rule"),
    "logs:GetDataProtectionPolicy": _log_groups,
    "logs:ListTagsForResource": _log_groups,
    "logs:PutDataProtectionPolicy": _log_groups,
    "logs:PutQueryDefinition": on("log-group"),
    "logs:PutResourcePolicy": on("rule"),
    "logs:PutRetentionPolicy": _log_groups,
    "rds:CreateDBCluster": together(
        new("database", sealed("kmsKeyId", "rds", "CreateGrant DescribeKey"), _insights, linked("rds")),
        on("database-parameters", "subnets"),
        elsewhere(f"arn:aws:rds:{HERE}:og:default:aurora-postgresql-17", "database"),
        _database_secret,
    ),
    "rds:CreateDBClusterParameterGroup": new("database-parameters"),
    "rds:CreateDBInstance": together(
        new("instance", _insights),
        on("database", "instance-parameters", "subnets"),
        elsewhere(f"arn:aws:rds:{HERE}:og:default:aurora-postgresql-17", "instance"),
    ),
    "rds:CreateDBParameterGroup": new("instance-parameters"),
    "rds:CreateDBSubnetGroup": new("subnets"),
    "rds:DeleteDBCluster": together(on("database"), _final_snapshot),
    "rds:DeleteDBClusterParameterGroup": on("database-parameters"),
    "rds:DeleteDBInstance": on("instance"),
    "rds:DeleteDBParameterGroup": on("instance-parameters"),
    "rds:DeleteDBSubnetGroup": on("subnets"),
    "rds:DescribeDBClusterParameterGroups": on("database-parameters"),
    "rds:DescribeDBClusterParameters": on("database-parameters"),
    "rds:DescribeDBClusters": on("database"),
    "rds:DescribeDBInstances": on("instance"),
    "rds:DescribeDBParameterGroups": on("instance-parameters"),
    "rds:DescribeDBParameters": on("instance-parameters"),
    "rds:DescribeDBSubnetGroups": on("subnets"),
    "rds:DescribeGlobalClusters": elsewhere(f"arn:aws:rds::{ACCOUNT}:global-cluster:none", "database"),
    "rds:EnableHttpEndpoint": on("database"),
    "rds:ListTagsForResource": on("database", "instance", "database-parameters", "instance-parameters", "subnets"),
    "rds:ModifyDBClusterParameterGroup": on("database-parameters"),
    "rds:ModifyDBParameterGroup": on("instance-parameters"),
    **{operation: on("bucket") for operation in STACKS if operation.startswith("s3:")},
    "s3:CreateBucket": new("bucket"),
    "s3:PutBucketTagging": adopted("bucket"),
    "scheduler:CreateSchedule": on("schedule", also=[passes("target.roleArn", "scheduler")]),
    "scheduler:CreateScheduleGroup": new("schedules"),
    "scheduler:DeleteSchedule": on("schedule"),
    "scheduler:DeleteScheduleGroup": on("schedules"),
    "scheduler:GetSchedule": on("schedule"),
    "scheduler:GetScheduleGroup": on("schedules"),
    "scheduler:ListTagsForResource": on("schedules"),
    "secretsmanager:CreateSecret": new(
        "secret", sealed("kmsKeyId", "secretsmanager", "Decrypt GenerateDataKey", SECRET)
    ),
    "secretsmanager:DeleteSecret": on("secret"),
    "secretsmanager:DescribeSecret": on("secret"),
    "secretsmanager:GetResourcePolicy": on("secret"),
    "sns:CreateTopic": new("topic"),
    "sns:DeleteTopic": on("topic"),
    "sns:GetSubscriptionAttributes": on("topic"),
    "sns:GetTopicAttributes": on("topic"),
    "sns:ListTagsForResource": on("topic"),
    "sns:SetTopicAttributes": on("topic"),
    "sns:Subscribe": on("topic"),
    "sns:Unsubscribe": on("topic"),
    "sqs:CreateQueue": new("queue"),
    "sqs:DeleteQueue": on("queue"),
    "sqs:GetQueueAttributes": on("queue"),
    "sqs:ListQueueTags": on("queue"),
    "sqs:SetQueueAttributes": on("queue"),
    "stepfunctions:CreateStateMachine": new("machine", passes("roleArn", "states")),
    "stepfunctions:DeleteStateMachine": on("machine"),
    "stepfunctions:DescribeStateMachine": on("machine"),
    "stepfunctions:ListStateMachineVersions": on("machine"),
    "stepfunctions:ListTagsForResource": on("machine"),
    "stepfunctions:ValidateStateMachineDefinition": on("machine"),
}
"""What was recorded, by operation."""
BODIES = ("lambda:CreateFunction",)
"""Calls that carry tags in a body that was not recorded."""

MORE: Mapping[str, Mapping[str, Asking]] = {
    # what the recording lacks: a change of each property that needs no replacement, and what it could not destroy
    "update": {
        "application-autoscaling:RegisterScalableTarget": on("target"),
        "application-autoscaling:TagResource": labelled("target"),
        "application-autoscaling:UntagResource": on("target"),
        "backup:TagResource": labelled("backup-plan", "backup-vault"),
        "backup:UntagResource": on("backup-plan", "backup-vault"),
        "backup:UpdateBackupPlan": on("backup-plan"),
        "budgets:TagResource": labelled("budget"),
        "budgets:UntagResource": on("budget"),
        "budgets:UpdateBudget": on("budget"),
        "chatbot:UntagResource": on("channel"),
        "chatbot:UpdateSlackChannelConfiguration": on("channel", also=[passes("iamRoleArn", "chatbot")]),
        "cloudwatch:PutCompositeAlarm": on("composite"),
        "cloudwatch:PutMetricAlarm": on("alarm"),
        "cloudwatch:TagResource": labelled("alarm", "composite"),
        "cloudwatch:UntagResource": on("alarm", "composite"),
        "dynamodb:TagResource": labelled("table"),
        "dynamodb:UntagResource": on("table"),
        "dynamodb:UpdateTable": together(on("table"), _index),
        "ec2:AuthorizeSecurityGroupEgress": on("group", "default-group"),
        "ec2:AuthorizeSecurityGroupIngress": on("group", "default-group"),
        "ec2:CreateTags": labelled(*TAGGED_PARTS),
        "ec2:DeleteTags": on(*TAGGED_PARTS),
        "ec2:ModifySubnetAttribute": on("subnet"),
        "ec2:ModifyVpcEndpoint": on("endpoint", "routes", "subnet", "group"),
        "ec2:ReplaceRoute": on("routes"),
        "ec2:ReplaceRouteTableAssociation": on("routes"),
        "ec2:RevokeSecurityGroupIngress": on("group", "default-group"),
        "ecr:PutImageScanningConfiguration": on("repository"),
        "ecr:PutImageTagMutability": on("repository"),
        "ecr:TagResource": labelled("repository"),
        "ecr:UntagResource": on("repository"),
        "ecs:TagResource": labelled("cluster", "service", "task"),
        "ecs:UntagResource": on("cluster", "service", "task"),
        "ecs:UpdateCluster": on("cluster"),
        "events:PutRule": on("rule"),
        "events:TagResource": labelled("rule"),
        "events:UntagResource": on("rule"),
        "fis:TagResource": labelled("experiment"),
        "fis:UntagResource": on("experiment"),
        "fis:UpdateExperimentTemplate": together(
            on("experiment", also=[passes("roleArn", "fis")]),
            elsewhere(f"arn:aws:fis:{HERE}:action/aws:ecs:stop-task", "experiment"),
        ),
        "iam:PutRolePermissionsBoundary": on("role"),
        "iam:TagPolicy": labelled("policy"),
        "iam:TagRole": labelled("role"),
        "iam:UntagPolicy": on("policy"),
        "iam:UntagRole": on("role"),
        "iam:UpdateAssumeRolePolicy": on("role"),
        "iam:UpdateRole": on("role"),
        "iam:UpdateRoleDescription": on("role"),
        "kms:DisableKeyRotation": on("key"),
        "kms:PutKeyPolicy": on("key"),
        "kms:TagResource": labelled("key"),
        "kms:UntagResource": on("key"),
        "kms:UpdateAlias": together(on("alias"), on("key")),
        "kms:UpdateKeyDescription": on("key"),
        "lambda:DeleteFunctionConcurrency": on("function"),
        "lambda:TagResource": labelled("function"),
        "lambda:UntagResource": on("function"),
        "lambda:UpdateFunctionCode": on("function", also=[FUNCTION_KEY]),
        "lambda:UpdateFunctionConfiguration": on(
            "function", also=[FUNCTION_KEY, passes("role", "lambda"), _layers, *OF_THE_VPC]
        ),
        "logs:AssociateKmsKey": _log_groups,
        "logs:DeleteRetentionPolicy": _log_groups,
        "logs:DisassociateKmsKey": _log_groups,
        "logs:TagResource": _log_groups,
        "logs:UntagResource": _log_groups,
        "rds:AddTagsToResource": labelled(
            "database", "instance", "database-parameters", "instance-parameters", "subnets"
        ),
        "rds:DisableHttpEndpoint": on("database"),
        "rds:ModifyDBCluster": together(
            on("database", "database-parameters"),
            elsewhere(f"arn:aws:rds:{HERE}:og:default:aurora-postgresql-17", "database"),
            _database_secret,
        ),
        "rds:ModifyDBInstance": together(
            on("instance", "instance-parameters"),
            elsewhere(f"arn:aws:rds:{HERE}:og:default:aurora-postgresql-17", "instance"),
        ),
        "rds:ModifyDBSubnetGroup": on("subnets"),
        "rds:RemoveTagsFromResource": on(
            "database", "instance", "database-parameters", "instance-parameters", "subnets"
        ),
        "rds:ResetDBClusterParameterGroup": on("database-parameters"),
        "rds:ResetDBParameterGroup": on("instance-parameters"),
        "scheduler:TagResource": labelled("schedules"),
        "scheduler:UntagResource": on("schedules"),
        "scheduler:UpdateSchedule": on("schedule", also=[passes("target.roleArn", "scheduler")]),
        "secretsmanager:TagResource": labelled("secret"),
        "secretsmanager:UntagResource": on("secret"),
        "secretsmanager:UpdateSecret": on(
            "secret", also=[sealed("kmsKeyId", "secretsmanager", "Decrypt Encrypt GenerateDataKey", SECRET)]
        ),
        "sns:TagResource": labelled("topic"),
        "sns:UntagResource": on("topic"),
        "sqs:TagQueue": labelled("queue"),
        "sqs:UntagQueue": on("queue"),
        "stepfunctions:TagResource": labelled("machine"),
        "stepfunctions:UntagResource": on("machine"),
        "stepfunctions:UpdateStateMachine": on("machine", also=[passes("roleArn", "states")]),
    },
    "apply": {
        "chatbot:CreateSlackChannelConfiguration": on("channel", also=[passes("iamRoleArn", "chatbot")]),
        "chatbot:TagResource": labelled("channel"),
        "ecs:RunTask": _tasks,
    },
    "plan": {
        "budgets:ListTagsForResource": on("budget"),
        "chatbot:DescribeSlackChannelConfigurations": on("channel"),
        "chatbot:ListTagsForResource": on("channel"),
        "fis:ListTagsForResource": on("experiment"),
    },
    "destroy": {
        "budgets:DeleteBudget": on("budget"),
        "chatbot:DeleteSlackChannelConfiguration": on("channel"),
        "fis:DeleteExperimentTemplate": on("experiment"),
        "s3:DeleteObject": elsewhere("arn:aws:s3:::plans-1234567/plan/1.jsonl", "bucket"),
        "s3:DeleteObjectVersion": elsewhere("arn:aws:s3:::plans-1234567/plan/1.jsonl", "bucket"),
        "s3:ListBucketVersions": on("bucket"),
    },
}
STEPS = ("apply", "plan", "update", "destroy")


def questions(stack: Stack, step: str) -> Iterator[tuple[str, Question]]:
    """All that the provider's calls of a step ask, with the operation that asks."""
    called = [(operation, CALLS[operation]) for operation, call in STACKS.items() if step in call["steps"].split()]
    for operation, row in [*called, *MORE.get(step, {}).items()]:
        tagged = step == "apply" and (bool(STACKS.get(operation, {}).get("tags")) or operation in BODIES)
        asking = {str(question): question for question in row(stack, action(operation), tagged)}
        for question in asking.values():
            yield operation, question
