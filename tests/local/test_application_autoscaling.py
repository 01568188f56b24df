"""Application autoscaling on the emulator: its API, and that it moves services."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.emulator import Emulator
from tests.conftest import AwsAccount
from tests.local.test_overlays import until

DIMENSION = "ecs:service:DesiredCount"
SLEEP = ["python", "-c", "import time; time.sleep(300)"]


class Scaled:
    """A service of an account that scales between 1 and 4."""

    def __init__(self, aws: AwsAccount, name: str) -> None:
        self.ecs, self.scaling, self.metrics = (
            aws.client(service) for service in ("ecs", "application-autoscaling", "cloudwatch")
        )
        self.name = name
        self.key = {
            "ServiceNamespace": "ecs",
            "ResourceId": f"service/{name}/s",
            "ScalableDimension": DIMENSION,
        }
        self.ecs.create_cluster(clusterName=name)
        definition = self.ecs.register_task_definition(
            family=name, containerDefinitions=[{"name": "w", "image": "x", "command": SLEEP}]
        )["taskDefinition"]["taskDefinitionArn"]
        self.ecs.create_service(cluster=name, serviceName="s", taskDefinition=definition, desiredCount=1)

    def register(self, **more: Any) -> str:
        answer = self.scaling.register_scalable_target(**self.key, **{"MinCapacity": 1, "MaxCapacity": 4, **more})
        return str(answer["ScalableTargetARN"])

    def desired(self) -> int:
        found = self.ecs.describe_services(cluster=self.name, services=["s"])["services"][0]
        return int(found["desiredCount"])

    def put(self, name: str, value: float) -> None:
        self.metrics.put_metric_data(Namespace=self.name, MetricData=[{"MetricName": name, "Value": value}])

    def end(self) -> None:
        self.ecs.delete_service(cluster=self.name, service="s", force=True)


@pytest.fixture
def scaled(aws: AwsAccount, request: pytest.FixtureRequest) -> Any:
    service = Scaled(aws, request.node.name)
    yield service
    service.end()


def test_targets_and_policies_are_kept_changed_and_removed(scaled: Scaled) -> None:
    api, key = scaled.scaling, scaled.key
    arn = scaled.register(Tags={"a": "1"})
    assert scaled.register(MaxCapacity=9) == arn
    api.register_scalable_target(**key, MinCapacity=2)
    namespace = {"ServiceNamespace": "ecs"}
    (target,) = api.describe_scalable_targets(**namespace, ResourceIds=[key["ResourceId"]])["ScalableTargets"]
    assert (target["MinCapacity"], target["MaxCapacity"], target["ScalableTargetARN"]) == (2, 9, arn)
    api.tag_resource(ResourceARN=arn, Tags={"b": "2"})
    api.untag_resource(ResourceARN=arn, TagKeys=["a"])
    assert api.list_tags_for_resource(ResourceARN=arn)["Tags"] == {"b": "2"}

    config = {
        "TargetValue": 10.0,
        "PredefinedMetricSpecification": {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"},
    }
    named = {**key, "PolicyName": "p"}
    made = api.put_scaling_policy(
        **named, PolicyType="TargetTrackingScaling", TargetTrackingScalingPolicyConfiguration=config
    )
    again = api.put_scaling_policy(
        **named,
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={**config, "TargetValue": 20.0},
    )
    assert made["PolicyARN"] == again["PolicyARN"]
    (policy,) = api.describe_scaling_policies(**namespace, PolicyNames=["p"])["ScalingPolicies"]
    assert policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] == 20.0
    api.delete_scaling_policy(**named)
    api.put_scaling_policy(**named, PolicyType="TargetTrackingScaling", TargetTrackingScalingPolicyConfiguration=config)
    api.deregister_scalable_target(**key)
    assert not api.describe_scalable_targets(**namespace)["ScalableTargets"]
    assert not api.describe_scaling_policies(**namespace)["ScalingPolicies"], "a policy goes with its target"


def test_what_aws_refuses(scaled: Scaled) -> None:
    api, key = scaled.scaling, scaled.key
    policy = {**key, "PolicyName": "p", "PolicyType": "StepScaling"}
    refused: list[tuple[str, Callable[[], object]]] = [
        ("ObjectNotFoundException", lambda: api.put_scaling_policy(**policy)),
        ("ObjectNotFoundException", lambda: api.deregister_scalable_target(**key)),
        ("ValidationException", lambda: api.register_scalable_target(**key, MinCapacity=1)),
        ("ValidationException", lambda: api.register_scalable_target(**key, MinCapacity=3, MaxCapacity=2)),
        ("ObjectNotFoundException", lambda: api.delete_scaling_policy(**key, PolicyName="gone")),
        ("InvalidAction", lambda: api.describe_scheduled_actions(ServiceNamespace="ecs")),
    ]
    for code, call in refused:
        with pytest.raises(ClientError) as error:
            call()
        assert error.value.response["Error"]["Code"] == code
    scaled.register()
    with pytest.raises(ClientError, match="function RUNNING_SUM is not known"):
        track(scaled, "RUNNING_SUM(backlog)")


def track(scaled: Scaled, expression: str) -> None:
    metric = {"Namespace": scaled.name, "MetricName": "Backlog"}
    running = {"Namespace": "ECS/ContainerInsights", "MetricName": "RunningTaskCount"}
    queries = [
        {"Id": "backlog", "MetricStat": {"Metric": metric, "Stat": "Maximum"}, "ReturnData": False},
        {"Id": "running", "MetricStat": {"Metric": running, "Stat": "Average"}, "ReturnData": False},
        {"Id": "each", "Expression": expression, "ReturnData": True},
    ]
    scaled.scaling.put_scaling_policy(
        **scaled.key,
        PolicyName="backlog",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": 100.0,
            "ScaleOutCooldown": 60,
            "ScaleInCooldown": 60,
            "CustomizedMetricSpecification": {"Metrics": queries},
        },
    )


def test_a_service_follows_its_backlog_up_to_its_maximum(scaled: Scaled) -> None:
    scaled.register()
    track(scaled, "backlog / FILL(running, 1)")
    scaled.put("Backlog", 950)
    assert until(lambda: count if (count := scaled.desired()) > 1 else None) == 4
    activities = scaled.scaling.describe_scaling_activities(**{k: scaled.key[k] for k in scaled.key})
    assert activities["ScalingActivities"][0]["Description"] == "Setting desired count to 4."
    assert "policyName/" not in activities["ScalingActivities"][0]["Cause"]


def test_steps_follow_the_alarm_whose_action_they_are(scaled: Scaled) -> None:
    scaled.register()
    policy = scaled.scaling.put_scaling_policy(
        **scaled.key,
        PolicyName="age",
        PolicyType="StepScaling",
        StepScalingPolicyConfiguration={
            "AdjustmentType": "ChangeInCapacity",
            "Cooldown": 6000,
            "StepAdjustments": [
                {"MetricIntervalLowerBound": 0.0, "MetricIntervalUpperBound": 60.0, "ScalingAdjustment": 1},
                {"MetricIntervalLowerBound": 60.0, "ScalingAdjustment": 2},
            ],
        },
    )["PolicyARN"]
    scaled.metrics.put_metric_alarm(
        AlarmName=scaled.name,
        Namespace=scaled.name,
        MetricName="Age",
        Statistic="Maximum",
        Period=6000,
        EvaluationPeriods=1,
        Threshold=60,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        AlarmActions=[policy],
    )
    scaled.put("Age", 150)
    assert until(lambda: count if (count := scaled.desired()) > 1 else None) == 3
    time.sleep(1.3)  # the autoscaler has looked once more
    assert scaled.desired() == 3, "while it cools down, what it added counts"


def test_a_changed_minimum_moves_the_service(scaled: Scaled) -> None:
    scaled.register()
    scaled.register(MinCapacity=2)
    until(lambda: scaled.desired() == 2)
    scaled.register(MinCapacity=0, MaxCapacity=1)
    until(lambda: scaled.desired() == 1)


def test_what_is_registered_outlives_the_emulator(tmp_path: Path) -> None:
    key = {"ServiceNamespace": "ecs", "ResourceId": "service/c/s", "ScalableDimension": DIMENSION}
    with Emulator(tmp_path) as first:
        first.client("application-autoscaling").register_scalable_target(**key, MinCapacity=1, MaxCapacity=3)
    with Emulator(tmp_path) as second:
        api = second.client("application-autoscaling")
        assert api.describe_scalable_targets(ServiceNamespace="ecs")["ScalableTargets"][0]["MaxCapacity"] == 3
        api.deregister_scalable_target(**key)
