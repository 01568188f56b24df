"""The types of the fargate alternative against the emulator: ECS, RDS, ECR, autoscaling, EventBridge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from local.provider.awsx import context_digest
from local.provider.lifecycle import Lifecycle
from local.provider.session import AwsError
from local.provider.subnets import LayoutError
from tests.conftest import AwsAccount
from tests.local.provider.test_on_emulator import Stack, stack

__all__ = ["stack"]  # the fixture


def container(code: str) -> str:
    options = {"awslogs-group": "/fargate", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "t"}
    log = {"logDriver": "awslogs", "options": options}
    one = {"name": "w", "image": "r@sha256:0", "entryPoint": ["python", "-c", code], "logConfiguration": log}
    return json.dumps([one])


SLEEP = "import time; time.sleep(300)"
SLOW_TO_END = (
    "import signal, sys, time\ndef leave(*_):\n    time.sleep(0.7); sys.exit()\n"
    "signal.signal(signal.SIGTERM, leave); time.sleep(300)"
)


@pytest.fixture
def cluster(stack: Stack, aws: AwsAccount) -> str:
    logs = aws.client("logs")
    if not logs.describe_log_groups()["logGroups"]:
        logs.create_log_group(logGroupName="/fargate")
    settings = [{"name": "containerInsights", "value": "enabled"}]
    return stack.make("aws:ecs/cluster:Cluster", settings=settings)[1]["arn"]  # type: ignore[no-any-return]


def definition(stack: Stack, code: str, family: str) -> Any:
    return stack.make(
        "aws:ecs/taskDefinition:TaskDefinition",
        family=family,
        containerDefinitions=container(code),
        cpu="256",
        memory="512",
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        runtimePlatform={"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"},
        volumes=[{"name": "scratch"}],
        ephemeralStorage={"sizeInGib": 30},
    )


SERVICE = "aws:ecs/service:Service"
SHAPE = {
    "desiredCount": 1,
    "capacityProviderStrategies": [{"capacityProvider": "FARGATE", "weight": 30, "base": 1}],
    "networkConfiguration": {"subnets": ["subnet-1"], "securityGroups": ["sg-1"], "assignPublicIp": False},
    "deploymentCircuitBreaker": {"enable": True, "rollback": True},
    "deploymentMaximumPercent": 200,
    "deploymentMinimumHealthyPercent": 100,
    "alarms": {"alarmNames": ["a"], "enable": True, "rollback": True},
    "propagateTags": "SERVICE",
    "enableEcsManagedTags": True,
    "waitForSteadyState": True,
}


def test_a_service_is_waited_for_changed_and_drained(stack: Stack, aws: AwsAccount, cluster: str) -> None:
    ecs, life = aws.client("ecs"), stack.life(SERVICE)
    identity, task, task_inputs = definition(stack, SLEEP, "steady")
    assert task["revision"] == 1
    assert task["arnWithoutRevision"] == task["arn"].rpartition(":")[0]
    told = ecs.describe_task_definition(taskDefinition=task["arn"])["taskDefinition"]
    assert told["ephemeralStorage"] == {"sizeInGiB": 30}
    assert told["volumes"][0]["name"] == "scratch"
    assert stack.life("aws:ecs/taskDefinition:TaskDefinition").read(identity, task, task_inputs) == (task, task_inputs)

    arn, state, inputs = stack.make(SERVICE, **SHAPE, cluster=cluster, taskDefinition=task["arn"])

    def seen() -> Any:
        return ecs.describe_services(cluster=cluster, services=[arn])["services"][0]

    assert (seen()["runningCount"], seen()["deployments"][0]["rolloutState"]) == (1, "COMPLETED")
    assert seen()["deploymentConfiguration"]["deploymentCircuitBreaker"] == {"enable": True, "rollback": True}
    assert seen()["networkConfiguration"]["awsvpcConfiguration"]["assignPublicIp"] == "DISABLED"
    assert life.read(arn, state, inputs) == (state, inputs)

    ecs.update_service(cluster=cluster, service=arn, desiredCount=2)  # as the autoscaler does
    newer = definition(stack, SLOW_TO_END, "steady")[1]["arn"]
    news = {**inputs, "taskDefinition": newer}
    assert [(one.path, one.replace) for one in life.diff(inputs, news, ["desiredCount"])] == [("taskDefinition", False)]
    state = life.update("it", arn, state, inputs, news)
    assert seen()["desiredCount"] == seen()["runningCount"] == 2, "an update leaves the count alone"
    tasks = ecs.list_tasks(cluster=cluster)["taskArns"]
    assert {one["taskDefinitionArn"] for one in ecs.describe_tasks(cluster=cluster, tasks=tasks)["tasks"]} == {newer}
    life.delete(arn, state)
    ended = {one["lastStatus"] for one in ecs.describe_tasks(cluster=cluster, tasks=tasks)["tasks"]}
    assert ended == {"STOPPED"}, "what the tasks use may be deleted next"
    assert life.read(arn, state, news) is None
    life.delete(arn, state)  # already gone is fine
    stack.life("aws:ecs/taskDefinition:TaskDefinition").delete(identity, task)
    assert stack.life("aws:ecs/taskDefinition:TaskDefinition").read(identity, task, task_inputs) is None


@pytest.mark.parametrize(
    ("breaker", "what"), [(True, "its deployment failed"), (False, "3 of its tasks ended at once")]
)
def test_a_service_whose_tasks_die_says_why_with_their_last_words(
    stack: Stack, cluster: str, breaker: bool, what: str
) -> None:
    broken = definition(stack, "print('no database here'); raise SystemExit(3)", "broken")[1]["arn"]
    shape = {**SHAPE, "deploymentCircuitBreaker": {"enable": breaker, "rollback": breaker}}
    with pytest.raises(RuntimeError) as error:
        stack.make(SERVICE, **shape, cluster=cluster, taskDefinition=broken)
    text = str(error.value)
    assert f"does not become steady: {what}" in text
    assert "Essential container in task exited (w exited with 3); it wrote: no database here" in text


def test_a_cluster_of_the_database_and_its_groups(stack: Stack, aws: AwsAccount) -> None:
    ec2 = aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"us-east-1{zone}")["Subnet"]
        for number, zone in enumerate("ab")
    ]
    name, group, _ = stack.make("aws:rds/subnetGroup:SubnetGroup", subnetIds=[one["SubnetId"] for one in subnets])
    assert group["vpcId"] == vpc
    parameters = [{"name": "rds.force_ssl", "value": "1", "applyMethod": "immediate"}]
    kinds = ("aws:rds/clusterParameterGroup:ClusterParameterGroup", "aws:rds/parameterGroup:ParameterGroup")
    groups = [stack.make(kind, family="aurora-postgresql17", parameters=parameters)[0] for kind in kinds]
    token = "aws:rds/cluster:Cluster"
    identity, state, inputs = stack.make(
        token,
        engine="aurora-postgresql",
        engineMode="provisioned",
        engineVersion="17.7",
        databaseName="confirm",
        masterUsername="confirm_admin",
        manageMasterUserPassword=True,
        port=5433,
        dbSubnetGroupName=name,
        dbClusterParameterGroupName=groups[0],
        storageEncrypted=True,
        iamDatabaseAuthenticationEnabled=True,
        enabledCloudwatchLogsExports=["postgresql"],
        serverlessv2ScalingConfiguration={"minCapacity": 0.5, "maxCapacity": 2},
        backupRetentionPeriod=7,
        deletionProtection=True,
        skipFinalSnapshot=True,
        applyImmediately=True,
    )
    rds = aws.client("rds")

    def seen() -> Any:
        return rds.describe_db_clusters(DBClusterIdentifier=identity)["DBClusters"][0]

    assert seen()["IAMDatabaseAuthenticationEnabled"]
    assert seen()["ServerlessV2ScalingConfiguration"] == {"MinCapacity": 0.5, "MaxCapacity": 2.0}
    assert state["port"] == 5433
    assert state["masterUserSecrets"][0]["secretArn"] == seen()["MasterUserSecret"]["SecretArn"]
    assert state["clusterResourceId"] == seen()["DbClusterResourceId"]
    life = stack.life(token)
    assert life.read(identity, state, inputs) == (state, inputs)
    member, instance, _ = stack.make(
        "aws:rds/clusterInstance:ClusterInstance",
        clusterIdentifier=identity,
        engine="aurora-postgresql",
        instanceClass="db.serverless",
        dbParameterGroupName=groups[1],
        promotionTier=0,
    )
    assert instance["writer"] is True
    with pytest.raises(AwsError, match="DeletionProtection"):
        life.delete(identity, state)
    news = {**inputs, "deletionProtection": False, "backupRetentionPeriod": 3}
    state = life.update("it", identity, state, inputs, news)
    assert (seen()["BackupRetentionPeriod"], seen()["DeletionProtection"]) == (3, False)
    engine = [one for one in life.diff(inputs, {**inputs, "storageEncrypted": False}, []) if one.replace]
    assert [one.path for one in engine] == ["storageEncrypted"]
    stack.life("aws:rds/clusterInstance:ClusterInstance").delete(member, instance)
    life.delete(identity, state)
    assert life.read(identity, state, news) is None


def test_a_repository_with_its_policies(stack: Stack, aws: AwsAccount) -> None:
    name, state, inputs = stack.make(
        "aws:ecr/repository:Repository",
        imageTagMutability="IMMUTABLE",
        imageScanningConfiguration={"scanOnPush": True},
        encryptionConfigurations=[{"encryptionType": "KMS", "kmsKey": "arn:aws:kms:us-east-1:1:key/k"}],
        forceDelete=True,
    )
    assert state["repositoryUrl"] == f"{aws.id}.dkr.ecr.us-east-1.amazonaws.com/{name}"
    ecr = aws.client("ecr")
    seen = ecr.describe_repositories(repositoryNames=[name])["repositories"][0]
    assert seen["imageTagMutability"] == "IMMUTABLE"
    assert seen["encryptionConfiguration"]["encryptionType"] == "KMS"
    select = {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 20}
    rules = json.dumps({"rules": [{"rulePriority": 1, "selection": select, "action": {"type": "expire"}}]})
    stack.make("aws:ecr/lifecyclePolicy:LifecyclePolicy", repository=name, policy=rules)
    assert ecr.get_lifecycle_policy(repositoryName=name)["lifecyclePolicyText"] == rules
    allow = json.dumps({"Version": "2012-10-17", "Statement": []})
    stack.make("aws:ecr/repositoryPolicy:RepositoryPolicy", repository=name, policy=allow)
    assert json.loads(ecr.get_repository_policy(repositoryName=name)["policyText"]) == json.loads(allow)
    stack.life("aws:ecr/repository:Repository").delete(name, state)
    assert stack.life("aws:ecr/repository:Repository").read(name, state, inputs) is None


def test_scaling_of_a_service(stack: Stack, aws: AwsAccount) -> None:
    key = {"serviceNamespace": "ecs", "resourceId": "service/c/s", "scalableDimension": "ecs:service:DesiredCount"}
    token = "aws:appautoscaling/target:Target"
    identity, state, inputs = stack.make(token, **key, minCapacity=1, maxCapacity=4)
    api = aws.client("application-autoscaling")
    news = {**inputs, "maxCapacity": 8}
    state = stack.life(token).update("it", identity, state, inputs, news)
    assert api.describe_scalable_targets(ServiceNamespace="ecs")["ScalableTargets"][0]["MaxCapacity"] == 8
    metric = {"metricName": "Backlog", "namespace": "N", "dimensions": [{"name": "A", "value": "b"}]}
    _, tracking, _ = stack.make(
        "aws:appautoscaling/policy:Policy",
        **key,
        policyType="TargetTrackingScaling",
        targetTrackingScalingPolicyConfiguration={
            "targetValue": 100,
            "scaleInCooldown": 300,
            "customizedMetricSpecification": {
                "metrics": [
                    {"id": "b", "returnData": False, "metricStat": {"metric": metric, "stat": "Maximum"}},
                    {"id": "e", "expression": "b / 2", "returnData": True},
                ]
            },
        },
    )
    _, steps, _ = stack.make(
        "aws:appautoscaling/policy:Policy",
        **key,
        name="steps",
        policyType="StepScaling",
        stepScalingPolicyConfiguration={
            "adjustmentType": "PercentChangeInCapacity",
            "minAdjustmentMagnitude": 1,
            "stepAdjustments": [
                {"metricIntervalLowerBound": "0", "metricIntervalUpperBound": "60", "scalingAdjustment": 50},
                {"metricIntervalLowerBound": "60", "scalingAdjustment": 100},
            ],
        },
    )
    found = {one["PolicyARN"]: one for one in api.describe_scaling_policies(ServiceNamespace="ecs")["ScalingPolicies"]}
    queries = found[tracking["arn"]]["TargetTrackingScalingPolicyConfiguration"]["CustomizedMetricSpecification"][
        "Metrics"
    ]
    assert queries[0]["MetricStat"]["Metric"]["Dimensions"] == [{"Name": "A", "Value": "b"}]
    adjustments = found[steps["arn"]]["StepScalingPolicyConfiguration"]["StepAdjustments"]
    assert adjustments[1] == {"MetricIntervalLowerBound": 60.0, "ScalingAdjustment": 100}
    stack.life(token).delete(identity, state)
    assert stack.life(token).read(identity, state, news) is None


def test_an_event_rule_with_its_target(stack: Stack, aws: AwsAccount) -> None:
    pattern = json.dumps({"source": ["aws.ecs"]})
    name, rule, _ = stack.make("aws:cloudwatch/eventRule:EventRule", eventPattern=pattern)
    token, arn = "aws:cloudwatch/eventTarget:EventTarget", "arn:aws:logs:us-east-1:1:log-group:/x"
    identity, target, inputs = stack.make(token, rule=name, arn=arn)
    events = aws.client("events")
    assert events.list_targets_by_rule(Rule=name)["Targets"][0]["Arn"] == arn
    assert stack.life(token).read(identity, target, inputs) == (target, inputs)
    stack.life(token).delete(identity, target)
    assert stack.life(token).read(identity, target, inputs) is None
    stack.life("aws:cloudwatch/eventRule:EventRule").delete(name, rule)
    assert [one for one in events.list_rules()["Rules"] if one["Name"] == name] == []


def test_what_a_preview_does_not_know_yet_is_no_fault(stack: Stack) -> None:
    unknown = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
    for token, given in (
        ("aws:ecs/taskDefinition:TaskDefinition", {"family": "f", "containerDefinitions": unknown}),
        (
            "aws:ecs/clusterCapacityProviders:ClusterCapacityProviders",
            {"clusterName": unknown, "capacityProviders": []},
        ),
        ("aws:appautoscaling/policy:Policy", {"resourceId": unknown, "policyType": "StepScaling"}),
        ("aws:cloudwatch/eventTarget:EventTarget", {"rule": unknown, "arn": unknown}),
    ):
        life: Lifecycle = stack.life(token)
        assert life.check("it", given, {}, b"seed")[1] == [], token


def test_an_image_is_named_by_what_goes_into_it(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "a.py").write_text("1")
    shape: dict[str, Any] = {"platform": "linux/arm64", "args": None, "target": None}
    first = context_digest(str(tmp_path), None, shape)
    assert len(first) == 64
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_text("x")
    (tmp_path / ".swap").write_text("x")
    assert context_digest(str(tmp_path), None, shape) == first, "what tools leave behind does not count"
    assert context_digest(str(tmp_path), None, {**shape, "platform": "linux/amd64"}) != first
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert context_digest(str(tmp_path), None, shape) != first
    with pytest.raises(LayoutError, match=r"the Dockerfile .*other does not exist"):
        context_digest(str(tmp_path), str(tmp_path / "other"), shape)
