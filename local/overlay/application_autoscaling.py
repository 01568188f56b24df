"""Application autoscaling for ECS services: its API, and what follows from it.

Gap: ministack has no such service. Here are targets, policies and tags, and a clock that does what AWS's does each
minute, by the Scheduler's speed: it keeps a service between its minimum and maximum, lets target tracking policies
follow their metric, and step scaling policies the alarms whose action they are (scaling.py decides). AWS shows the
alarms of a target tracking policy in CloudWatch; here they are not visible. Scheduled actions are refused by name.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from local.overlay import scaling
from local.overlay.alarms import dimensions_of
from local.overlay.clock import MINUTE, SPEED, every
from local.overlay.scaling import MathError, Moves, Step, Tracking, Value

NAME = "application-autoscaling"
MODULE = "application_autoscaling"
"""Of the file that keeps its state."""

SEEN_SECONDS = 20.0
"""How long a point counts at least: a worker sends one each 15 s, however fast the Scheduler's clock is."""

COOLDOWN = 300
"""AWS's default for ECS, in seconds."""

KEPT = ("targets", "policies", "tags")
KEPT_ACTIVITIES = 200

Key = tuple[str, str, str]
"""Namespace, resource and dimension."""


class RequestError(Exception):
    """A refusal, in AWS's words."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Books:
    """What is registered, by account and region; ministack saves and loads it with its own services' states."""

    def __init__(self) -> None:
        from ministack.core.responses import AccountRegionScopedDict

        self.targets = AccountRegionScopedDict()
        self.policies = AccountRegionScopedDict()
        self.tags = AccountRegionScopedDict()
        self.activities: list[dict[str, Any]] = []

    # --- what ministack expects of a service's module

    def get_state(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in KEPT}

    def load_persisted_state(self, data: Mapping[str, Any]) -> None:
        for name, kept in data.items():
            getattr(self, name).update(kept)

    def reset(self) -> None:
        for name in KEPT:
            getattr(self, name).clear()
        self.activities.clear()

    # --- the API

    def answer(self, operation: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """One request.

        Raises:
            RequestError: AWS would refuse it.
        """
        known = {
            "RegisterScalableTarget": self.register,
            "DeregisterScalableTarget": self.deregister,
            "DescribeScalableTargets": self.describe_targets,
            "PutScalingPolicy": self.put_policy,
            "DeleteScalingPolicy": self.delete_policy,
            "DescribeScalingPolicies": self.describe_policies,
            "DescribeScalingActivities": self.describe_activities,
            "TagResource": self.tag,
            "UntagResource": self.untag,
            "ListTagsForResource": self.list_tags,
        }
        if operation not in known:
            raise RequestError("InvalidAction", f"The local AWS does not have {operation} of {NAME}.")
        return known[operation](given)

    def register(self, given: Mapping[str, Any]) -> dict[str, Any]:
        key = key_of(given)
        target = dict(self.targets.get(key) or new_target())
        target |= {name: value for name, value in given.items() if name != "Tags"}
        if "MinCapacity" not in target or "MaxCapacity" not in target:
            raise RequestError("ValidationException", "A new scalable target needs MinCapacity and MaxCapacity")
        if target["MinCapacity"] > target["MaxCapacity"]:
            raise RequestError("ValidationException", "Maximum capacity cannot be less than minimum capacity")
        self.targets[key] = target
        if given.get("Tags"):
            self.tags[target["ScalableTargetARN"]] = dict(given["Tags"])
        return {"ScalableTargetARN": target["ScalableTargetARN"]}

    def deregister(self, given: Mapping[str, Any]) -> dict[str, Any]:
        key = key_of(given)
        target = self.targets.pop(key, None)
        if not target:
            raise RequestError("ObjectNotFoundException", f"No scalable target found for {' '.join(key)}")
        self.tags.pop(target["ScalableTargetARN"], None)
        for name in [name for name in self.policies if name[:3] == key]:  # they go with it
            del self.policies[name]
        return {}

    def describe_targets(self, given: Mapping[str, Any]) -> dict[str, Any]:
        wanted = given.get("ResourceIds") or ()
        return {
            "ScalableTargets": [
                target
                for key, target in self.targets.items()
                if matches(key, given) and (not wanted or key[1] in wanted)
            ]
        }

    def put_policy(self, given: Mapping[str, Any]) -> dict[str, Any]:
        key = key_of(given)
        self.need_target(key)
        name = (*key, str(given["PolicyName"]))
        if given.get("PolicyType", "StepScaling") not in ("StepScaling", "TargetTrackingScaling"):
            raise RequestError("ValidationException", f"The local AWS does not have {given['PolicyType']} policies")
        check_math(given)
        before = self.policies.get(name) or {
            "PolicyARN": f"{arn_of('scalingPolicy', key)}:policyName/{given['PolicyName']}",
            "CreationTime": time.time(),
            "Alarms": [],
        }
        made = {key: before[key] for key in ("PolicyARN", "CreationTime", "Alarms")}
        self.policies[name] = {**given, **made}
        return {"PolicyARN": made["PolicyARN"], "Alarms": made["Alarms"]}

    def delete_policy(self, given: Mapping[str, Any]) -> dict[str, Any]:
        if not self.policies.pop((*key_of(given), given["PolicyName"]), None):
            raise RequestError("ObjectNotFoundException", f"No scaling policy found named {given['PolicyName']}")
        return {}

    def describe_policies(self, given: Mapping[str, Any]) -> dict[str, Any]:
        wanted = given.get("PolicyNames") or ()
        found = [
            policy for key, policy in self.policies.items() if matches(key, given) and (not wanted or key[3] in wanted)
        ]
        return {"ScalingPolicies": found}

    def describe_activities(self, given: Mapping[str, Any]) -> dict[str, Any]:
        from ministack.core.responses import get_account_id, get_region

        here = (get_account_id(), get_region())
        return {
            "ScalingActivities": [
                {name: value for name, value in one.items() if name != "_scope"}
                for one in reversed(self.activities)
                if one["_scope"] == here
                and one["ServiceNamespace"] == given["ServiceNamespace"]
                and given.get("ResourceId") in (None, one["ResourceId"])
            ]
        }

    def tag(self, given: Mapping[str, Any]) -> dict[str, Any]:
        self.tags[given["ResourceARN"]] = {**self.tags.get(given["ResourceARN"], {}), **given["Tags"]}
        return {}

    def untag(self, given: Mapping[str, Any]) -> dict[str, Any]:
        kept = self.tags.get(given["ResourceARN"], {})
        self.tags[given["ResourceARN"]] = {key: text for key, text in kept.items() if key not in given["TagKeys"]}
        return {}

    def list_tags(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return {"Tags": self.tags.get(given["ResourceARN"], {})}

    def need_target(self, key: Key) -> None:
        if key not in self.targets:
            names = ("service namespace", "resource ID", "scalable dimension")
            text = ", ".join(f"{name}: {value}" for name, value in zip(names, key, strict=True))
            raise RequestError("ObjectNotFoundException", f"No scalable target registered for {text}")


class Autoscaler:
    """Moves the desired count of the services that are registered."""

    def __init__(self, books: Books) -> None:
        self.books = books
        self._moves: dict[tuple[str, str, str], Moves] = {}
        self._values: dict[tuple[str, str, str], list[Value]] = {}

    def look(self, key: Key, target: Mapping[str, Any]) -> None:
        """One service: what its policies ask for, within its bounds."""
        from ministack.core.responses import get_account_id, get_region
        from ministack.services import ecs

        cluster, _, name = key[1].partition("/")[2].partition("/")
        service = ecs._services.get(f"{cluster}/{name}")
        if key[0] != "ecs" or not service or service["status"] != "ACTIVE":
            return
        capacity, now = int(service["desiredCount"]), time.monotonic() * SPEED
        asked: dict[str, int] = {}
        for policy_key, policy in list(self.books.policies.items()):
            if policy_key[:3] == key:
                scope = (get_account_id(), get_region(), policy["PolicyARN"])
                wanted = self.wanted(policy, scope, capacity, now)
                if wanted is not None:
                    asked[policy["PolicyARN"]] = wanted
        least, most = int(target["MinCapacity"]), int(target["MaxCapacity"])
        chosen = scaling.agree(list(asked.values()), capacity, least, most)
        if chosen == capacity:
            return
        for arn, wanted in asked.items():
            if wanted == max(asked.values()) != capacity:
                scope = (get_account_id(), get_region(), arn)
                moves = self._moves.get(scope, Moves())
                out = chosen > capacity
                self._moves[scope] = (
                    replace(moves, out_at=now, before_out=capacity) if out else replace(moves, in_at=now)
                )
        self.note(key, capacity, chosen, asked)
        ecs._update_service({"cluster": cluster, "service": name, "desiredCount": chosen})

    def wanted(self, policy: Mapping[str, Any], scope: tuple[str, str, str], capacity: int, now: float) -> int | None:
        """What a policy asks for; None when it has nothing to say."""
        moves = self._moves.get(scope, Moves())
        if config := policy.get("TargetTrackingScalingPolicyConfiguration"):
            values = [self.metric(config), *self._values.get(scope, [])][: scaling.LOW_PERIODS]
            self._values[scope] = values
            tracking = Tracking(float(config["TargetValue"]), not config.get("DisableScaleIn"))
            cooldowns = (config.get("ScaleOutCooldown", COOLDOWN), config.get("ScaleInCooldown", COOLDOWN))
            return scaling.after_cooldown(
                lambda size: scaling.track(values, size, tracking), capacity, now, moves, *cooldowns
            )
        config = policy.get("StepScalingPolicyConfiguration") or {}
        breach = alarm_breach(policy["PolicyARN"])
        if breach is None:
            return None
        steps = [
            Step(
                int(one["ScalingAdjustment"]),
                float(one.get("MetricIntervalLowerBound", -math.inf)),
                float(one.get("MetricIntervalUpperBound", math.inf)),
            )
            for one in config.get("StepAdjustments") or ()
        ]
        kind, least = config.get("AdjustmentType", "ChangeInCapacity"), int(config.get("MinAdjustmentMagnitude", 0))
        cooldown = float(config.get("Cooldown", COOLDOWN))
        return scaling.after_cooldown(
            lambda size: scaling.step(breach, size, steps, kind, least), capacity, now, moves, cooldown, cooldown
        )

    def metric(self, config: Mapping[str, Any]) -> Value:
        """The newest value of a target tracking policy's metric. AWS's own metrics of CPU and memory have no data."""
        custom = config.get("CustomizedMetricSpecification") or {}
        if not custom.get("Metrics"):
            return self.statistic(custom, custom.get("Statistic", "Average")) if custom.get("MetricName") else None
        values: dict[str, Value] = {}
        for query in custom["Metrics"]:
            if stat := query.get("MetricStat"):
                values[query["Id"]] = self.statistic(stat["Metric"], stat["Stat"])
        for query in custom["Metrics"]:
            if query.get("Expression"):
                values[query["Id"]] = scaling.compute(query["Expression"], values)
        shown = [query["Id"] for query in custom["Metrics"] if query.get("ReturnData", True)]
        return values[shown[-1]] if shown else None

    def statistic(self, metric: Mapping[str, Any], statistic: str) -> Value:
        """Of the last period."""
        from ministack.services import cloudwatch

        key = (metric["Namespace"], metric["MetricName"], cloudwatch._dims_key(dimensions_of(metric)))
        since = time.time() - max(MINUTE, SEEN_SECONDS)
        points = [point for point in cloudwatch._metrics.get(key) or () if point["Timestamp"] > since]
        if not points:
            return None
        found = cloudwatch._stat_value(cloudwatch._calc_stats(points), statistic, points)
        return None if found is None else float(found)

    def note(self, key: Key, capacity: int, chosen: int, asked: Mapping[str, int]) -> None:
        from ministack.core.responses import get_account_id, get_region, new_uuid

        largest = [arn.rsplit("/", 1)[-1] for arn, wanted in asked.items() if wanted == max(asked.values()) != capacity]
        cause = f"policy {', '.join(largest)}" if largest else "minimum or maximum capacity was changed"
        self.books.activities.append(
            {
                "_scope": (get_account_id(), get_region()),
                "ActivityId": new_uuid(),
                "ServiceNamespace": key[0],
                "ResourceId": key[1],
                "ScalableDimension": key[2],
                "Description": f"Setting desired count to {chosen}.",
                "Cause": cause,
                "StartTime": time.time(),
                "EndTime": time.time(),
                "StatusCode": "Successful",
                "StatusMessage": f"Successfully set desired count to {chosen}.",
            }
        )
        del self.books.activities[:-KEPT_ACTIVITIES]


def alarm_breach(policy_arn: str) -> float | None:
    """How far the metric is from the threshold of the alarm in ALARM whose action the policy is; None without one."""
    from ministack.services import cloudwatch

    for alarm in list(cloudwatch._alarms.values()):
        if alarm["StateValue"] != "ALARM" or policy_arn not in (alarm.get("AlarmActions") or ()):
            continue
        key = (alarm["Namespace"], alarm["MetricName"], cloudwatch._dims_key(dimensions_of(alarm)))
        points = cloudwatch._metrics.get(key)
        if not points:
            return 0.0
        statistic = alarm.get("ExtendedStatistic") or alarm.get("Statistic", "Average")
        value = cloudwatch._stat_value(cloudwatch._calc_stats(points[-1:]), statistic, points[-1:])
        return float(value) - float(alarm.get("Threshold", 0))
    return None


# --- parts


def key_of(given: Mapping[str, Any]) -> Key:
    return (str(given["ServiceNamespace"]), str(given["ResourceId"]), str(given["ScalableDimension"]))


def matches(key: tuple[str, ...], given: Mapping[str, Any]) -> bool:
    """Is it of the namespace, and of resource and dimension where they are given?"""
    return (
        key[0] == given["ServiceNamespace"]
        and given.get("ResourceId") in (None, key[1])
        and given.get("ScalableDimension") in (None, key[2])
    )


def new_target() -> dict[str, Any]:
    from ministack.core.responses import get_account_id, get_region, new_uuid

    account, region = get_account_id(), get_region()
    role = "ecs.application-autoscaling.amazonaws.com/AWSServiceRoleForApplicationAutoScaling_ECSService"
    return {
        "CreationTime": time.time(),
        "ScalableTargetARN": f"arn:aws:{NAME}:{region}:{account}:scalable-target/{new_uuid().replace('-', '')}",
        "RoleARN": f"arn:aws:iam::{account}:role/aws-service-role/{role}",
        "SuspendedState": dict.fromkeys(
            ("DynamicScalingInSuspended", "DynamicScalingOutSuspended", "ScheduledScalingSuspended"), False
        ),
    }


def arn_of(kind: str, key: Key) -> str:
    from ministack.core.responses import get_account_id, get_region, new_uuid

    return f"arn:aws:autoscaling:{get_region()}:{get_account_id()}:{kind}:{new_uuid()}:resource/{key[0]}/{key[1]}"


def check_math(policy: Mapping[str, Any]) -> None:
    """Refuse an expression now rather than never scaling by it."""
    config = policy.get("TargetTrackingScalingPolicyConfiguration") or {}
    queries = (config.get("CustomizedMetricSpecification") or {}).get("Metrics") or ()
    values: dict[str, Value] = {query["Id"]: None for query in queries}
    for query in queries:
        if query.get("Expression"):
            try:
                scaling.compute(query["Expression"], values)
            except MathError as error:
                raise RequestError("ValidationException", str(error)) from error


def apply() -> None:
    """Add the service to ministack's, and start its clock."""
    from ministack import app
    from ministack.core import router
    from ministack.core.responses import error_response_json, json_response

    books = Books()

    async def handle(_method: str, _path: str, headers: Mapping[str, str], body: bytes, _query: Any) -> Any:
        operation = headers.get("x-amz-target", "").rpartition(".")[2]
        try:
            return json_response(books.answer(operation, json.loads(body or b"{}")))
        except RequestError as error:
            return error_response_json(error.code, str(error), 400)

    app.SERVICE_HANDLERS[NAME] = handle
    router.SERVICE_PATTERNS[NAME] = {
        "target_prefixes": ["AnyScaleFrontendService"],
        "host_patterns": [rf"{NAME}\."],
    }
    app._state_map[MODULE] = MODULE
    app._loaded_modules[MODULE] = books
    autoscaler = Autoscaler(books)
    every(MINUTE, "autoscaler", lambda: books.targets, lambda key, target: autoscaler.look(tuple(key), target))
