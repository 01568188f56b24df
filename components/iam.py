"""Least privilege in a few words: statements, trust and roles. No template strings, no `*` without a reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pulumi
import pulumi_aws as aws

from components.account import Account

Conditions = Mapping[str, Mapping[str, pulumi.Input[str] | Sequence[pulumi.Input[str]]]]
VERSION = "2012-10-17"


@dataclass(frozen=True, slots=True)
class Statement:
    """What may be done to what. `reason` says why, where the resource cannot be named."""

    sid: str
    actions: Sequence[str]
    resources: Sequence[pulumi.Input[str]]
    conditions: Conditions = field(default_factory=dict)
    reason: str = ""
    effect: Literal["Allow", "Deny"] = "Allow"

    def __post_init__(self) -> None:
        if any("*" in action for action in self.actions):
            raise ValueError(f"statement {self.sid}: name each action, found {list(self.actions)}")
        if "*" in self.resources and not self.reason:
            raise ValueError(f"statement {self.sid}: resource * needs a reason")

    def document(self) -> dict[str, object]:
        """As IAM reads it."""
        statement: dict[str, object] = {
            "Sid": self.sid,
            "Effect": self.effect,
            "Action": sorted(self.actions),
            "Resource": list(self.resources),
        }
        return statement | ({"Condition": self.conditions} if self.conditions else {})


def policy(*statements: Statement | Mapping[str, object]) -> pulumi.Output[str]:
    """A policy document as JSON; a mapping is taken as it is (resource policies name principals)."""
    documents = [s.document() if isinstance(s, Statement) else s for s in statements]
    return pulumi.Output.json_dumps({"Version": VERSION, "Statement": documents})


def tls_only(sid: str, actions: Sequence[str], resources: Sequence[pulumi.Input[str]]) -> dict[str, object]:
    """The statement of a resource policy that refuses everything that comes without TLS."""
    return {
        "Sid": sid,
        "Effect": "Deny",
        "Principal": "*",
        "Action": list(actions),
        "Resource": list(resources),
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def role(
    name: str,
    service: str,
    statements: Sequence[Statement],
    *,
    account: Account,
    description: str,
    parent: pulumi.Resource,
    source_arns: Sequence[pulumi.Input[str]] = (),
) -> tuple[aws.iam.Role, aws.iam.RolePolicy]:
    """A role that `service` of this account alone may take, and its one policy.

    With `source_arns` only these resources may: else another customer's could use our role through the service
    (the confused deputy). Lambda sends no source, so its roles go without.
    """
    made = service_role(name, service, account=account, description=description, parent=parent, source_arns=source_arns)
    return made, grant(name, made, statements)


def service_role(
    name: str,
    service: str,
    *,
    account: Account,
    description: str,
    parent: pulumi.Resource,
    source_arns: Sequence[pulumi.Input[str]] = (),
) -> aws.iam.Role:
    """As `role`, without a policy yet."""
    trust: dict[str, object] = {
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": "sts:AssumeRole",
    }
    if source_arns:
        trust["Condition"] = {
            "StringEquals": {"aws:SourceAccount": account.id},
            "ArnLike": {"aws:SourceArn": list(source_arns)},
        }
    return _made(name, trust, account, description, parent)


def role_of_a_role(
    name: str,
    taker: aws.iam.Role,
    external_id: pulumi.Input[str],
    statements: Sequence[Statement],
    *,
    account: Account,
    description: str,
    parent: pulumi.Resource,
) -> tuple[aws.iam.Role, aws.iam.RolePolicy]:
    """A role that another one may assume with the external id; the other needs a statement for that too."""
    trust: dict[str, object] = {
        "Effect": "Allow",
        "Principal": {"AWS": taker.arn},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": external_id}},
    }
    made = _made(name, trust, account, description, parent)
    return made, grant(name, made, statements)


def grant(name: str, to: aws.iam.Role, statements: Sequence[Statement]) -> aws.iam.RolePolicy:
    """The role's one policy."""
    return aws.iam.RolePolicy(name, role=to.name, policy=policy(*statements), opts=pulumi.ResourceOptions(parent=to))


def _made(
    name: str, trust: Mapping[str, object], account: Account, description: str, parent: pulumi.Resource
) -> aws.iam.Role:
    return aws.iam.Role(
        name,
        description=description,
        assume_role_policy=pulumi.Output.json_dumps({"Version": VERSION, "Statement": [trust]}),
        permissions_boundary=account.boundary,
        opts=pulumi.ResourceOptions(parent=parent),
    )


def through(service: str, account: Account) -> Conditions:
    """Only on behalf of the caller by `service` in this region (KMS keys)."""
    return {"StringEquals": {"kms:ViaService": f"{service}.{account.region}.amazonaws.com"}}


TRACE = Statement(
    sid="Trace",
    actions=("xray:PutTraceSegments", "xray:PutTelemetryRecords"),
    resources=("*",),
    reason="X-Ray has no resource to name for these actions",
)
"""Active tracing."""

NETWORK_INTERFACES = Statement(
    sid="NetworkInterfaces",
    actions=(
        "ec2:AssignPrivateIpAddresses",
        "ec2:CreateNetworkInterface",
        "ec2:DeleteNetworkInterface",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSubnets",
        "ec2:UnassignPrivateIpAddresses",
    ),
    resources=("*",),
    reason="Lambda checks for these on * when a function enters a VPC; the interfaces have no name beforehand",
)
"""A Lambda in a VPC."""
