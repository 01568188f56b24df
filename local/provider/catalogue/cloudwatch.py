"""Amazon CloudWatch: metrics, alarms, dashboards; and CloudWatch Logs and EventBridge, which the SDK keeps in the same
module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.provider.model import Call, Name, Read, Resource, Scope, Tagging

ALARM = {"AlarmNames": ["{id}"]}
GROUP = {"logGroupName": "{name}"}


def _dimensions(value: dict[str, str]) -> list[dict[str, str]]:
    return [{"Name": name, "Value": text} for name, text in value.items()]


def _queries(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Metric queries of a math alarm: the metric's statistic and period stand beside the metric itself."""
    result = []
    for item in items:
        names = {
            "id": "Id",
            "expression": "Expression",
            "label": "Label",
            "period": "Period",
            "returnData": "ReturnData",
            "accountId": "AccountId",
        }
        query: dict[str, Any] = {names[key]: item[key] for key in names if item.get(key) is not None}
        if metric := item.get("metric"):
            inner: dict[str, Any] = {"MetricName": metric["metricName"]}
            if metric.get("namespace"):
                inner["Namespace"] = metric["namespace"]
            if metric.get("dimensions"):
                inner["Dimensions"] = _dimensions(metric["dimensions"])
            query["MetricStat"] = {"Metric": inner, "Period": metric["period"], "Stat": metric["stat"]}
            if metric.get("unit"):
                query["MetricStat"]["Unit"] = metric["unit"]
        query.setdefault("ReturnData", False)
        result.append(query)
    return {"Metrics": result} if result else {}


def _target(values: Mapping[str, Any], _: Scope) -> dict[str, Any]:
    """PutTargets has one target here, as the resource is one."""
    names = {"arn": "Arn", "targetId": "Id", "roleArn": "RoleArn", "input": "Input", "inputPath": "InputPath"}
    target: dict[str, Any] = {names[key]: values[key] for key in names if values.get(key)}
    if letters := values.get("deadLetterConfig"):
        target["DeadLetterConfig"] = {"Arn": letters["arn"]}
    if policy := values.get("retryPolicy"):
        target["RetryPolicy"] = {key[0].upper() + key[1:]: value for key, value in policy.items()}
    return {"Rule": values.get("rule"), "Targets": [target]}


RESOURCES = (
    Resource(
        "aws:cloudwatch/eventRule:EventRule",
        "events",
        create=Call("put_rule"),
        upsert=True,
        replaces=("eventBusName",),
        id="{name}",
        read=Read("describe_rule", {"Name": "{name}", "EventBusName": "{eventBusName}"}),
        delete=Call("delete_rule", where={"Name": "{name}", "EventBusName": "{eventBusName}", "Force": True}),
        name=Name(limit=64),
        defaults={"state": "ENABLED"},
        tagging=Tagging({"ResourceARN": "{arn}"}),
        outputs={"arn": "Arn"},
        handled=("forceDestroy",),
    ),
    Resource(
        "aws:cloudwatch/eventTarget:EventTarget",
        "events",
        create=Call(
            "put_targets",
            takes=("rule", "arn", "targetId", "roleArn", "input", "inputPath", "deadLetterConfig", "retryPolicy"),
            compose=_target,
        ),
        upsert=True,
        replaces=("rule", "targetId"),
        id="{rule}-{targetId}",
        read=Read(
            "list_targets_by_rule",
            {"Rule": "{rule}"},
            "Targets",
            exists=lambda found, scope: any(target["Id"] == scope["targetId"] for target in found),
        ),
        delete=Call("remove_targets", where={"Rule": "{rule}", "Ids": ["{targetId}"]}),
        name=Name("targetId", prefix="", limit=64),
        handled=("forceDestroy",),
        drift=False,
    ),
    Resource(
        "aws:cloudwatch/logGroup:LogGroup",
        "logs",
        create=Call("create_log_group", rename={"name": "logGroupName"}),
        id="{name}",
        updates=(
            Call(
                "put_retention_policy",
                takes=("retentionInDays",),
                where=GROUP,
                remove="delete_retention_policy",
            ),
        ),
        read=Read(
            "describe_log_groups",
            {"logGroupNamePrefix": "{name}"},
            "logGroups",
            exists=lambda found, scope: any(item["logGroupName"] == scope["name"] for item in found),
        ),
        delete=Call("delete_log_group", where=GROUP),
        name=Name(limit=512),
        tagging=Tagging({"resourceArn": "{arn}"}),
        outputs={"arn": "arn:aws:logs:{region}:{account}:log-group:{name}"},
        handled=("skipDestroy",),
        recorded={"kmsKeyId": "the emulator stores logs in the clear"},
        drift=False,
    ),
    Resource(
        "aws:cloudwatch/metricAlarm:MetricAlarm",
        "cloudwatch",
        create=Call(
            "put_metric_alarm",
            rename={
                "name": "AlarmName",
                "okActions": "OKActions",
                "evaluateLowSampleCountPercentiles": "EvaluateLowSampleCountPercentile",
            },
            encode={
                "dimensions": lambda value: {"Dimensions": _dimensions(value)} if value else {},
                "metricQueries": _queries,
            },
        ),
        upsert=True,
        id="{name}",
        read=Read("describe_alarms", ALARM, "MetricAlarms[0]"),
        delete=Call("delete_alarms", where=ALARM),
        name=Name(prefix="", limit=255),
        tagging=Tagging({"ResourceARN": "{arn}"}),
        outputs={"arn": "arn:aws:cloudwatch:{region}:{account}:alarm:{name}"},
    ),
    Resource(
        "aws:cloudwatch/compositeAlarm:CompositeAlarm",
        "cloudwatch",
        create=Call(
            "put_composite_alarm",
            rename={"okActions": "OKActions"},
            encode={
                "actionsSuppressor": lambda value: {
                    "ActionsSuppressor": value["alarm"],
                    "ActionsSuppressorExtensionPeriod": value["extensionPeriod"],
                    "ActionsSuppressorWaitPeriod": value["waitPeriod"],
                }
            },
        ),
        upsert=True,
        replaces=("alarmName",),
        id="{alarmName}",
        read=Read("describe_alarms", {**ALARM, "AlarmTypes": ["CompositeAlarm"]}, "CompositeAlarms[0]"),
        delete=Call("delete_alarms", where=ALARM),
        tagging=Tagging({"ResourceARN": "{arn}"}),
        outputs={"arn": "arn:aws:cloudwatch:{region}:{account}:alarm:{alarmName}"},
    ),
    Resource(
        "aws:cloudwatch/dashboard:Dashboard",
        "cloudwatch",
        create=Call("put_dashboard"),
        upsert=True,
        replaces=("dashboardName",),
        id="{dashboardName}",
        read=Read("get_dashboard", {"DashboardName": "{id}"}),
        delete=Call("delete_dashboards", where={"DashboardNames": ["{id}"]}),
        outputs={"dashboardArn": "arn:aws:cloudwatch::{account}:dashboard/{dashboardName}"},
        drift=False,
    ),
    Resource(
        "aws:cloudwatch/queryDefinition:QueryDefinition",
        id="{name}",
        name=Name(prefix="", limit=255),
        outputs={
            "queryDefinitionId": "{name}",
            "arn": "arn:aws:logs:{region}:{account}:query-definition:{name}",
        },
        note="the emulator has no saved queries",
    ),
    Resource(
        "aws:cloudwatch/logDataProtectionPolicy:LogDataProtectionPolicy",
        id="{logGroupName}",
        note="the emulator masks nothing",
    ),
    Resource(
        "aws:cloudwatch/logResourcePolicy:LogResourcePolicy",
        "logs",
        create=Call("put_resource_policy"),
        upsert=True,
        replaces=("policyName",),
        id="{policyName}",
        read=Read(
            "describe_resource_policies",
            {},
            "resourcePolicies",
            exists=lambda found, scope: any(item["policyName"] == scope["policyName"] for item in found),
        ),
        delete=Call("delete_resource_policy", where={"policyName": "{policyName}"}),
        drift=False,
    ),
)
