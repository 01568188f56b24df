"""The recorded graph as the JSON of a Terraform plan, which scanners read: they know no Pulumi program in Python.

The provider of Pulumi is made from Terraform's, so types and names follow from ours by rule; TYPES are the rest.
https://developer.hashicorp.com/terraform/internals/json-format
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from analysis.graph import Record, Recorded

TYPES = {
    "aws:rds/parameterGroup:ParameterGroup": "aws_db_parameter_group",
    "aws:rds/subnetGroup:SubnetGroup": "aws_db_subnet_group",
}
"""Whose names do not follow."""
MAPS = {"tags", "variables", "dimensions"}
"""Objects that are maps; all others are blocks, which a plan holds as lists."""
PLAIN = {"ingress", "egress"}
"""Lists of blocks whose name is not a plural."""
HELD_IN = {
    "vpcId": "aws_vpc.",
    "subnetId": "aws_subnet.",
    "subnetIds": "aws_subnet.",
    "allocationId": "aws_eip.",
    "routeTableId": "aws_route_table.",
    "gatewayId": "aws_internet_gateway.",
    "natGatewayId": "aws_nat_gateway.",
}
"""What a property refers to, where several resources have the same id in the record."""


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def terraform_type(kind: str) -> str:
    """`aws:dynamodb/table:Table` -> `aws_dynamodb_table`."""
    if kind in TYPES:
        return TYPES[kind]
    _, path, _ = kind.split(":")
    module, resource = path.split("/")
    return f"aws_{snake(resource)}" if module == "ec2" else f"aws_{snake(module)}_{snake(resource)}"


def values(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs in Terraform's names and shapes."""
    found: dict[str, Any] = {}
    for key, value in inputs.items():
        name = snake(key)
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            found[_singular(name)] = [values(item) for item in value]
        elif isinstance(value, dict) and name not in MAPS:
            found[name] = [values(value)]
        else:
            found[name] = _scalar(value)
    return found


def _singular(name: str) -> str:
    if name in PLAIN:
        return name
    if name.endswith("ies"):
        return f"{name[:-3]}y"
    return name.removesuffix("es") if name.endswith(("xes", "sses")) else name.removesuffix("s")


def _scalar(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, (str, int, float, bool, list, dict)) or value is None:
        return value
    return str(value)  # code and other assets


def address(one: Recorded) -> str:
    return f"{terraform_type(one.type)}.{re.sub(r'[^A-Za-z0-9_-]', '_', one.name)}"


def plan(record: Record) -> dict[str, Any]:
    """The plan that would make everything that the program asks for."""
    ours = [one for one in record.resources if one.type.startswith("aws:") and one.custom]
    addresses = {one.urn: address(one) for one in ours}
    by_value: dict[str, list[str]] = {}
    for one in ours:
        for value in (one.id, one.outputs.get("arn"), one.outputs.get("allocationId") if "Eip" in one.type else None):
            if value:
                by_value.setdefault(value, []).append(addresses[one.urn])
    resources, changes, configured = [], [], []
    for one in ours:
        kind, after = terraform_type(one.type), values(one.inputs)
        common = {"address": addresses[one.urn], "mode": "managed", "type": kind, "name": one.name}
        provider = {"provider_name": "registry.terraform.io/hashicorp/aws"}
        resources.append({**common, **provider, "schema_version": 1, "values": after})
        change = {"actions": ["create"], "before": None, "after": after, "after_unknown": {}}
        changes.append({**common, **provider, "change": change})
        configured.append(
            {**common, "provider_config_key": "aws", "expressions": _expressions(one, addresses, by_value)}
        )
    return {
        "format_version": "1.2",
        "terraform_version": "1.9.0",
        "planned_values": {"root_module": {"resources": resources}},
        "resource_changes": changes,
        "configuration": {"provider_config": {"aws": {"name": "aws"}}, "root_module": {"resources": configured}},
    }


def _expressions(one: Recorded, addresses: Mapping[str, str], by_value: Mapping[str, list[str]]) -> dict[str, Any]:
    """Which resources each property refers to: as Pulumi tracks it; and by value, where a component stands between."""
    found: dict[str, list[str]] = {}
    for key, value in one.inputs.items():
        named = [addresses[urn] for urn in one.references.get(key, ()) if urn in addresses]
        kind = HELD_IN.get(key, "")
        named += [name for item in _texts(value) for name in by_value.get(item, ()) if name.startswith(kind)]
        if named:
            found[snake(key)] = [name for target in dict.fromkeys(named) for name in _both(target)]
    return {key: {"references": names} for key, names in found.items()}


def _texts(value: Any) -> list[str]:
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []


def _both(name: str) -> tuple[str, str]:
    """A reference names the attribute and the resource."""
    return f"{name}.id", name
