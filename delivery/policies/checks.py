"""Checks that are more than a value at a place; and those that look at resources together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from delivery.policies.kinds import BUCKET, CLUSTER, FLOW_LOG, KEY, TABLE
from delivery.policies.model import NOWHERE, UNKNOWN, Check, View


def statements(view: View, *keys: str) -> Iterator[dict[str, Any]]:
    """Of the policy documents in the inputs `keys`; an unknown document (preview) has none."""
    for key in keys or ("policy",):
        text = view.props.get(key)
        if isinstance(text, str) and text.strip().startswith("{"):
            found = json.loads(text).get("Statement", [])
            yield from found if isinstance(found, list) else [found]


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def document(*found: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(found)})


def allow(**more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*", **more}


def no_star_actions(view: View) -> Iterator[str]:
    for one in statements(view):
        wide = [a for a in listed(one.get("Action")) if isinstance(a, str) and a.endswith("*")]
        if one.get("Effect") == "Allow" and wide:
            yield f"policy allows {', '.join(wide)}; allowed: each action by its name"


ANY_RESOURCE = {
    *("xray:PutTraceSegments", "xray:PutTelemetryRecords", "xray:GetSamplingRules", "xray:GetSamplingTargets"),
    "ecr:GetAuthorizationToken",
    *("ec2:AssignPrivateIpAddresses", "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface"),
    *("ec2:DescribeManagedPrefixLists", "ec2:DescribeNetworkAcls", "ec2:DescribeNetworkInterfaces"),
    *("ec2:DescribeSubnets", "ec2:DescribeVpcs", "ec2:UnassignPrivateIpAddresses", "ecs:ListTasks"),
    *("logs:CreateLogDelivery", "logs:GetLogDelivery", "logs:UpdateLogDelivery", "logs:DeleteLogDelivery"),
    *("cloudwatch:DescribeAlarmHistory", "cloudwatch:DescribeAlarms", "cloudwatch:GetMetricData"),
    *("cloudwatch:GetMetricStatistics", "cloudwatch:GetMetricWidgetImage", "cloudwatch:ListMetrics"),
    *("logs:ListLogDeliveries", "logs:PutResourcePolicy", "logs:DescribeResourcePolicies", "logs:DescribeLogGroups"),
}
"""Actions that AWS offers without resources, or that take * by their documentation."""


def star_only_where_aws_has_nothing_narrower(view: View) -> Iterator[str]:
    for one in statements(view):
        if one.get("Effect") == "Allow" and "*" in listed(one.get("Resource")):
            narrow = sorted(set(listed(one.get("Action"))) - ANY_RESOURCE)
            if narrow:
                yield f"policy allows {', '.join(map(str, narrow))} on *; allowed: ARNs"


def no_escalation(view: View) -> Iterator[str]:
    """Ways to give oneself more: iam writes, or passing any role."""
    for one in statements(view):
        if one.get("Effect") != "Allow":
            continue
        for action in listed(one.get("Action")):
            if action.startswith("iam:") and not action.startswith(("iam:Get", "iam:List", "iam:PassRole")):
                yield f"policy allows {action}; allowed: no change of IAM by a workload"
            if action == "iam:PassRole" and "*" in listed(one.get("Resource")):
                yield "policy passes any role; allowed: named roles"


def trusts_named_services(view: View) -> Iterator[str]:
    for one in statements(view, "assumeRolePolicy"):
        principal = one.get("Principal")
        if principal == "*" or (isinstance(principal, dict) and "*" in listed(principal.get("AWS"))):
            yield "assumeRolePolicy trusts everybody; allowed: a service or an account by name"


def no_confused_deputy(view: View) -> Iterator[str]:
    """A service that works for many accounts says for whom: else another account's resource may use the role."""
    own = {"lambda.amazonaws.com", "ecs-tasks.amazonaws.com", "rds.amazonaws.com", "monitoring.rds.amazonaws.com"}
    unable = {"backup.amazonaws.com", "chatbot.amazonaws.com"}
    for one in statements(view, "assumeRolePolicy"):
        services = set(listed((one.get("Principal") or {}).get("Service"))) if one.get("Principal") != "*" else set()
        said = json.dumps(one.get("Condition") or {})
        if services - own - unable and "aws:SourceAccount" not in said and "aws:SourceArn" not in said:
            yield f"{', '.join(sorted(services))} may take the role for anybody; allowed: with aws:SourceAccount"


def no_public_principal(view: View) -> Iterator[str]:
    for one in statements(view):
        principal = one.get("Principal")
        anybody = principal == "*" or (isinstance(principal, dict) and "*" in listed(principal.get("AWS")))
        if one.get("Effect") == "Allow" and anybody and not one.get("Condition"):
            yield "policy allows everybody; allowed: principals by name, or a condition"


def demands_tls(view: View) -> Iterator[str]:
    denied = any(
        one.get("Effect") == "Deny"
        and (one.get("Condition") or {}).get("Bool", {}).get("aws:SecureTransport") == "false"
        for one in statements(view)
    )
    if any(True for _ in statements(view)) and not denied:
        yield "policy has no Deny without TLS; allowed: a Deny where aws:SecureTransport is false"


TLS = {
    "Effect": "Deny",
    "Principal": "*",
    "Action": "s3:*",
    "Resource": "*",
    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
}


def no_open_ingress(view: View) -> Iterator[str]:
    for rule in listed(view.props.get("ingress")):
        wide = {*listed(rule.get("cidrBlocks")), *listed(rule.get("ipv6CidrBlocks"))} & {"0.0.0.0/0", "::/0"}
        if wide:
            yield f"ingress from {', '.join(sorted(wide))} to port {rule.get('fromPort')}; allowed: security groups"


def described(view: View) -> Iterator[str]:
    for way in ("ingress", "egress"):
        if any(isinstance(rule, dict) and not rule.get("description") for rule in listed(view.props.get(way))):
            yield f"{way} has a rule without a description; allowed: each says what it is for"


def no_plain_or_whole_egress(view: View) -> Iterator[str]:
    for rule in listed(view.props.get("egress")):
        if isinstance(rule, dict) and str(rule.get("protocol")) in ("-1", "all"):
            yield "egress of every protocol and port; allowed: tcp to named ports"


def containers(view: View) -> list[dict[str, Any]]:
    text = view.props.get("containerDefinitions")
    try:
        return list(json.loads(text)) if isinstance(text, str) else []
    except ValueError:
        return []


def each_container(says: str, holds: Any) -> Check:
    def check(view: View) -> Iterable[str]:
        return [f"container {one.get('name')}: {says}" for one in containers(view) if not holds(one)]

    return check


def one_container(**settings: Any) -> dict[str, Any]:
    return {"containerDefinitions": json.dumps([{"name": "worker", **settings}])}


SECRET_NAMES = ("PASSWORD", "SECRET", "TOKEN", "API_KEY", "PRIVATE")


def _telling(name: str, value: Any) -> bool:
    """A variable whose name says that it holds a secret, and whose value is no reference to one."""
    named = any(word in name.upper() for word in SECRET_NAMES)
    return named and bool(value) and value != UNKNOWN and not str(value).startswith("arn:")


def no_secret_in_environment(view: View) -> Iterator[str]:
    variables = view.at("environment.variables")
    pairs = list(variables.items()) if isinstance(variables, dict) else []
    pairs += [(one.get("name", ""), one.get("value")) for box in containers(view) for one in box.get("environment", ())]
    for name, value in pairs:
        if _telling(name, value):
            yield f"environment variable {name} holds a value; allowed: the ARN of a secret"


def logs_go_somewhere(box: dict[str, Any]) -> bool:
    return bool((box.get("logConfiguration") or {}).get("logDriver"))


def by_digest(box: dict[str, Any]) -> bool:
    image = str(box.get("image", "@sha256:"))
    return "@sha256:" in image or "output<" in image.lower()


def definition_has_dead_letters(view: View) -> Iterator[str]:
    if view.at("target.deadLetterConfig.arn") is NOWHERE and view.props.get("target") is not None:
        yield "target.deadLetterConfig is missing; allowed: a queue for what could not start"


def stateful_is_protected(view: View) -> Iterator[str]:
    if not view.protect:
        yield "protect is off; allowed: ResourceOptions(protect=True) on what holds data"


def force_ssl(view: View) -> Iterator[str]:
    parameters = {one.get("name"): one.get("value") for one in listed(view.props.get("parameters"))}
    if parameters.get("rds.force_ssl") != "1":
        yield f"parameter rds.force_ssl is {parameters.get('rds.force_ssl', 'missing')}; allowed: 1"


def spread(view: View) -> Iterator[str]:
    subnets = view.at("networkConfiguration.subnets")
    if isinstance(subnets, list) and len(subnets) < 2:
        yield f"networkConfiguration.subnets has {len(subnets)}; allowed: 2 or more, in different zones"


def insights_on(view: View) -> Iterator[str]:
    settings = {one.get("name"): one.get("value") for one in listed(view.props.get("settings"))}
    if settings.get("containerInsights") not in ("enabled", "enhanced"):
        yield f"containerInsights is {settings.get('containerInsights', 'missing')}; allowed: enabled or enhanced"


# --- resources taken together


def every_bucket_has(type_: str, what: str) -> Any:
    def check(views: Sequence[View]) -> Iterator[tuple[View, str]]:
        covered = {urn for view in views if view.type == type_ for urn in view.references}
        for view in views:
            if view.type == BUCKET and view.urn not in covered:
                yield view, f"there is no {what} for it"

    return check


def every_vpc_is_logged(views: Sequence[View]) -> Iterator[tuple[View, str]]:
    logged = {urn for view in views if view.type == FLOW_LOG for urn in view.references}
    for view in views:
        if view.type == "awsx:ec2:Vpc" and view.urn not in logged:
            yield view, "there is no flow log for it"


def every_key_is_used(views: Sequence[View]) -> Iterator[tuple[View, str]]:
    used = {urn for view in views if view.type != "aws:kms/alias:Alias" for urn in view.references}
    for view in views:
        if view.type == KEY and view.urn not in used:
            yield view, "nothing is encrypted with it"


def data_is_copied(views: Sequence[View]) -> Iterator[tuple[View, str]]:
    copied = {urn for view in views if view.type == "aws:backup/selection:Selection" for urn in view.references}
    for view in views:
        if view.type in (TABLE, CLUSTER) and view.urn not in copied:
            yield view, "no backup plan selects it"
