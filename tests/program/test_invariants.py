"""Every invariant holds for every stack, and each can fail."""

from __future__ import annotations

import copy

import pytest

from analysis.graph import LEAST, PROVIDER, Record
from tests.program.fargate_invariants import FARGATE_INVARIANTS
from tests.program.invariants import INVARIANTS, WILDCARDS, Invariant

every = pytest.mark.parametrize(
    "invariant", INVARIANTS + FARGATE_INVARIANTS, ids=lambda invariant: invariant.name.replace(" ", "-")
)

TYPES = {
    # all that a stack with everything has, beside what is in COMMON
    "serverless": {
        "aws:dynamodb/contributorInsights:ContributorInsights", "aws:dynamodb/table:Table",
        "aws:lambda/function:Function", "aws:s3/bucket:Bucket",
        "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration", "aws:s3/bucketPolicy:BucketPolicy",
        "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
        "aws:scheduler/schedule:Schedule", "aws:scheduler/scheduleGroup:ScheduleGroup",
        "aws:sfn/stateMachine:StateMachine", "aws:sqs/queue:Queue", "aws:sqs/queuePolicy:QueuePolicy",
    },
    "fargate": {
        "aws:appautoscaling/policy:Policy", "aws:appautoscaling/target:Target",
        "aws:cloudwatch/eventRule:EventRule", "aws:cloudwatch/eventTarget:EventTarget",
        "aws:cloudwatch/logResourcePolicy:LogResourcePolicy", "aws:ecr/lifecyclePolicy:LifecyclePolicy",
        "aws:ecr/repository:Repository", "aws:ecs/cluster:Cluster",
        "aws:ecs/clusterCapacityProviders:ClusterCapacityProviders", "aws:ecs/service:Service",
        "aws:ecs/taskDefinition:TaskDefinition", "aws:lambda/function:Function", "aws:rds/cluster:Cluster",
        "aws:rds/clusterInstance:ClusterInstance", "aws:rds/clusterParameterGroup:ClusterParameterGroup",
        "aws:rds/parameterGroup:ParameterGroup", "aws:rds/subnetGroup:SubnetGroup",
        "aws:scheduler/schedule:Schedule", "aws:scheduler/scheduleGroup:ScheduleGroup", "aws:sqs/queue:Queue",
        "aws:sqs/queuePolicy:QueuePolicy", "awsx:ecr:Image",
        "pulumi-python:dynamic/confirm-transactions:Nonce",
        "pulumi-python:dynamic/confirm-transactions:OneOffTask",
    },
}  # fmt: skip
COMMON = {
    "aws:backup/plan:Plan", "aws:backup/selection:Selection", "aws:backup/vault:Vault",
    "aws:backup/vaultLockConfiguration:VaultLockConfiguration", "aws:budgets/budget:Budget",
    "aws:chatbot/slackChannelConfiguration:SlackChannelConfiguration",
    "aws:cloudwatch/compositeAlarm:CompositeAlarm", "aws:cloudwatch/dashboard:Dashboard",
    "aws:cloudwatch/logDataProtectionPolicy:LogDataProtectionPolicy", "aws:cloudwatch/logGroup:LogGroup",
    "aws:cloudwatch/queryDefinition:QueryDefinition", "aws:fis/experimentTemplate:ExperimentTemplate",
    "aws:cloudwatch/metricAlarm:MetricAlarm", "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup", "aws:ec2/eip:Eip",
    "aws:ec2/flowLog:FlowLog", "aws:ec2/securityGroup:SecurityGroup", "aws:ec2/vpcEndpoint:VpcEndpoint",
    "aws:iam/policy:Policy", "aws:iam/role:Role", "aws:iam/rolePolicy:RolePolicy",
    "aws:kms/alias:Alias", "aws:kms/key:Key",
    "aws:secretsmanager/secret:Secret", "aws:sns/topic:Topic", "aws:sns/topicPolicy:TopicPolicy",
    "aws:sns/topicSubscription:TopicSubscription", "awsx:ec2:Vpc",
    # awsx's children
    "aws:ec2/internetGateway:InternetGateway", "aws:ec2/natGateway:NatGateway", "aws:ec2/route:Route",
    "aws:ec2/routeTable:RouteTable", "aws:ec2/routeTableAssociation:RouteTableAssociation", "aws:ec2/subnet:Subnet",
    "aws:ec2/vpc:Vpc",
}  # fmt: skip


def applies(invariant: Invariant, record: Record) -> bool:
    return bool(record.some(invariant.about))


@every
def test_holds(records: dict[str, Record], invariant: Invariant) -> None:
    about = {stack: list(invariant.complaints(r)) for stack, r in records.items() if applies(invariant, r)}
    assert about, "it is about nothing"
    assert {stack: complaints for stack, complaints in about.items() if complaints} == {}


@every
def test_is_noticed_when_broken(records: dict[str, Record], invariant: Invariant) -> None:
    """Once in each alternative that it is about."""
    first = {record.alternative: record for record in reversed(records.values()) if applies(invariant, record)}
    for record in first.values():
        broken = copy.deepcopy(record)
        invariant.sabotage(broken)
        assert list(invariant.complaints(broken)) != [], record.alternative


@pytest.mark.parametrize("alternative", TYPES)
def test_the_types_are_those(records: dict[str, Record], alternative: str) -> None:
    """So no invariant holds for want of anything to hold for."""
    found = {
        resource.type
        for record in records.values()
        if record.alternative == alternative
        for resource in record.resources
        if not resource.type.startswith(("pulumi:", "confirm-transactions:"))
    }
    assert found == TYPES[alternative] | COMMON


def test_every_wildcard_with_a_reason_is_in_use(records: dict[str, Record]) -> None:
    used = {
        (policy.removeprefix("aws:iam/rolePolicy:RolePolicy ").removesuffix(" policy"), statement["Sid"])
        for record in records.values()
        for policy, document in record.policies()
        for statement in document["Statement"]
        if policy.startswith("aws:iam/rolePolicy") and statement.get("Resource") == ["*"]
    }
    assert set(WILDCARDS) == used


def test_the_whole_program_was_recorded(recorded: Record) -> None:
    assert len(recorded.resources) >= LEAST
    assert len(recorded.all(PROVIDER)) == 1


def test_an_empty_record_satisfies_nobody() -> None:
    with pytest.raises(LookupError, match="no aws:sqs/queue:Queue was recorded"):
        Record().all("aws:sqs/queue:Queue")
