"""The rules of security groups, each a resource of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.provider.catalogue.ec2 import TAGGING
from local.provider.model import Call, Read, Resource, Scope


def _permission(values: Mapping[str, Any], _: Scope) -> dict[str, Any]:
    note = {"Description": values["description"]} if values.get("description") else {}
    ranges = {
        "cidrIpv4": ("IpRanges", "CidrIp"),
        "cidrIpv6": ("Ipv6Ranges", "CidrIpv6"),
        "prefixListId": ("PrefixListIds", "PrefixListId"),
        "referencedSecurityGroupId": ("UserIdGroupPairs", "GroupId"),
    }
    one: dict[str, Any] = {"IpProtocol": str(values["ipProtocol"])}
    for key, parameter in (("fromPort", "FromPort"), ("toPort", "ToPort")):
        if values.get(key) is not None:
            one[parameter] = int(values[key])
    for key, (parameter, member) in ranges.items():
        if values.get(key):
            one[parameter] = [{member: values[key], **note}]
    return {"IpPermissions": [one]}


def _modified(values: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    names = {
        "ipProtocol": "IpProtocol",
        "fromPort": "FromPort",
        "toPort": "ToPort",
        "cidrIpv4": "CidrIpv4",
        "cidrIpv6": "CidrIpv6",
        "prefixListId": "PrefixListId",
        "referencedSecurityGroupId": "ReferencedGroupId",
        "description": "Description",
    }
    rule = {names[key]: value for key, value in values.items() if value is not None}
    return {"SecurityGroupRules": [{"SecurityGroupRuleId": scope.get("id"), "SecurityGroupRule": rule}]}


PROPERTIES = (
    "ipProtocol", "fromPort", "toPort", "cidrIpv4", "cidrIpv6", "prefixListId", "referencedSecurityGroupId",
    "description",
)  # fmt: skip
GROUP = {"GroupId": "{securityGroupId}"}


def _resource(direction: str) -> Resource:
    verb = direction.lower()
    return Resource(
        f"aws:vpc/securityGroup{direction}Rule:SecurityGroup{direction}Rule",
        "ec2",
        create=Call(f"authorize_security_group_{verb}", takes=PROPERTIES, compose=_permission, where=GROUP),
        id="SecurityGroupRules[0].SecurityGroupRuleId",
        updates=(
            Call(
                "modify_security_group_rules",
                takes=PROPERTIES,
                compose=_modified,
                where=GROUP,
                update_only=True,
            ),
        ),
        read=Read("describe_security_group_rules", {"SecurityGroupRuleIds": ["{id}"]}, "SecurityGroupRules[0]"),
        delete=Call(f"revoke_security_group_{verb}", where={**GROUP, "SecurityGroupRuleIds": ["{id}"]}),
        tagging=TAGGING,
        handled=("securityGroupId",),
        outputs={
            "arn": "arn:aws:ec2:{region}:{account}:security-group-rule/{id}",
            "securityGroupRuleId": "{id}",
        },
        drift=False,
    )


RESOURCES = (_resource("Egress"), _resource("Ingress"))
