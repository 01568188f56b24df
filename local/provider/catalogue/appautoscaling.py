"""Application Auto Scaling: local/overlay/application_autoscaling.py keeps it, and scales."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.provider.model import Call, Name, Read, Resource, Scope, Tagging

TARGET = {
    "ServiceNamespace": "{serviceNamespace}",
    "ResourceId": "{resourceId}",
    "ScalableDimension": "{scalableDimension}",
}
ONE = {
    "ServiceNamespace": "{serviceNamespace}",
    "ResourceIds": ["{resourceId}"],
    "ScalableDimension": "{scalableDimension}",
}
POLICY = {**TARGET, "PolicyName": "{name}"}


def _upper(value: Any, rename: Mapping[str, str]) -> Any:
    """Pulumi's names as AWS writes them: the first letter large, a few of them singular or plural."""
    if isinstance(value, dict):
        return {
            rename.get(key, key[0].upper() + key[1:]): _upper(item, rename)
            for key, item in value.items()
            if item is not None
        }
    if isinstance(value, list):
        return [_upper(item, rename) for item in value]
    return value


def _policy(values: Mapping[str, Any], _: Scope) -> dict[str, Any]:
    result: dict[str, Any] = {
        "PolicyName": values.get("name"),
        "PolicyType": values.get("policyType") or "StepScaling",
        "ServiceNamespace": values.get("serviceNamespace"),
        "ResourceId": values.get("resourceId"),
        "ScalableDimension": values.get("scalableDimension"),
    }
    if tracking := values.get("targetTrackingScalingPolicyConfiguration"):
        result["TargetTrackingScalingPolicyConfiguration"] = _upper(tracking, {})
    if steps := values.get("stepScalingPolicyConfiguration"):
        given = _upper(steps, {})
        given["StepAdjustments"] = [
            {key: float(item) if key.startswith("Metric") else int(item) for key, item in step.items()}
            for step in given.get("StepAdjustments") or ()
        ]
        result["StepScalingPolicyConfiguration"] = given
    return result


RESOURCES = (
    Resource(
        "aws:appautoscaling/target:Target",
        "application-autoscaling",
        create=Call("register_scalable_target"),
        upsert=True,
        replaces=("serviceNamespace", "resourceId", "scalableDimension"),
        id="{resourceId}",
        read=Read("describe_scalable_targets", ONE, "ScalableTargets[0]"),
        delete=Call("deregister_scalable_target", where=TARGET),
        tagging=Tagging({"ResourceARN": "{arn}"}),
        outputs={"arn": "ScalableTargetARN", "roleArn": "RoleARN"},
    ),
    Resource(
        "aws:appautoscaling/policy:Policy",
        "application-autoscaling",
        create=Call(
            "put_scaling_policy",
            takes=(
                "name",
                "policyType",
                "serviceNamespace",
                "resourceId",
                "scalableDimension",
                "targetTrackingScalingPolicyConfiguration",
                "stepScalingPolicyConfiguration",
            ),
            compose=_policy,
        ),
        upsert=True,
        replaces=("serviceNamespace", "resourceId", "scalableDimension", "policyType"),
        id="{name}",
        read=Read(
            "describe_scaling_policies",
            {
                "ServiceNamespace": "{serviceNamespace}",
                "ResourceId": "{resourceId}",
                "ScalableDimension": "{scalableDimension}",
                "PolicyNames": ["{name}"],
            },
            "ScalingPolicies[0]",
        ),
        delete=Call("delete_scaling_policy", where=POLICY),
        name=Name(prefix="", limit=256),
        outputs={"arn": "PolicyARN", "alarmArns": "Alarms[].AlarmARN"},
        drift=False,
    ),
)
