"""The functions (`aws.get_caller_identity`, ...) that a program may call."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from local.provider.session import Session
from local.provider.values import UNKNOWN, has_unknown, short_hash


def invoke(token: str, args: Mapping[str, Any], session: Session) -> dict[str, Any]:
    function = FUNCTIONS.get(token)
    if function is None:
        raise RuntimeError(f"the function {token} is not supported by the local AWS; it has: {', '.join(FUNCTIONS)}")
    return function(args, session)


def caller_identity(_: Mapping[str, Any], session: Session) -> dict[str, Any]:
    found = session.call(session.client("sts"), "get_caller_identity", {})
    return {"accountId": found["Account"], "arn": found["Arn"], "userId": found["UserId"], "id": found["Account"]}


def region(args: Mapping[str, Any], session: Session) -> dict[str, Any]:
    name = args.get("region") or args.get("name") or session.region
    return {"region": name, "name": name, "id": name, "description": name, "endpoint": f"ec2.{name}.amazonaws.com"}


def partition(_: Mapping[str, Any], __: Session) -> dict[str, Any]:
    return {"partition": "aws", "dnsSuffix": "amazonaws.com", "reverseDnsPrefix": "com.amazonaws", "id": "aws"}


def availability_zones(args: Mapping[str, Any], session: Session) -> dict[str, Any]:
    client = session.client("ec2", args.get("region"))
    found = session.call(client, "describe_availability_zones", {})["AvailabilityZones"]
    excluded = {*(args.get("excludeNames") or ()), *(args.get("excludeZoneIds") or ())}
    zones = [
        zone
        for zone in sorted(found, key=lambda zone: str(zone["ZoneName"]))
        if not {zone["ZoneName"], zone.get("ZoneId")} & excluded
        and zone.get("State") == (args.get("state") or "available")
    ]
    return {
        **args,
        "names": [zone["ZoneName"] for zone in zones],
        "zoneIds": [zone.get("ZoneId", "") for zone in zones],
        "groupNames": sorted({zone.get("GroupName") or session.region for zone in zones}),
        "id": session.region,
    }


def prefix_list(args: Mapping[str, Any], session: Session) -> dict[str, Any]:
    """`aws.ec2.get_prefix_list` and `get_managed_prefix_list`: the addresses of a service behind a gateway endpoint."""
    filters = [{"Name": item["name"], "Values": item["values"]} for item in args.get("filters") or ()]
    if args.get("name"):
        filters.append({"Name": "prefix-list-name", "Values": [args["name"]]})
    given: dict[str, Any] = {"Filters": filters} if filters else {}
    wanted = args.get("prefixListId") or args.get("id")
    if wanted:
        given["PrefixListIds"] = [wanted]
    found = session.call(session.client("ec2", args.get("region")), "describe_prefix_lists", given)["PrefixLists"]
    if len(found) != 1:
        raise RuntimeError(f"the prefix list {args.get('name') or wanted}: {len(found)} match, one is needed")
    one = found[0]
    return {
        **args,
        "id": one["PrefixListId"],
        "name": one["PrefixListName"],
        "cidrBlocks": one.get("Cidrs", []),
        "entries": [{"cidr": cidr, "description": ""} for cidr in one.get("Cidrs", [])],
        "arn": f"arn:aws:ec2:{session.region}:aws:prefix-list/{one['PrefixListId']}",
        "ownerId": "AWS",
    }


def policy_document(args: Mapping[str, Any], _: Session) -> dict[str, Any]:
    """`aws.iam.get_policy_document`: the JSON as the real provider renders it."""
    if has_unknown(args):
        return {**args, "json": UNKNOWN, "minifiedJson": UNKNOWN, "id": UNKNOWN}
    statements: list[dict[str, Any]] = []
    for source in args.get("sourcePolicyDocuments") or ():
        _merge(statements, _statements(source), override=False)
    if args.get("sourceJson"):
        _merge(statements, _statements(args["sourceJson"]), override=False)
    _merge(statements, [_statement(item) for item in args.get("statements") or ()], override=False)
    for source in [*(args.get("overridePolicyDocuments") or ()), *filter(None, [args.get("overrideJson")])]:
        _merge(statements, _statements(source), override=True)
    document: dict[str, Any] = {"Version": args.get("version") or "2012-10-17"}
    if args.get("policyId"):
        document["Id"] = args["policyId"]
    if statements:
        document["Statement"] = statements
    text = json.dumps(document, indent=2, ensure_ascii=False)
    minified = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    return {**args, "json": text, "minifiedJson": minified, "id": short_hash(text, 10)}


def _statements(text: str) -> list[dict[str, Any]]:
    found = json.loads(text or "{}").get("Statement", [])
    return found if isinstance(found, list) else [found]


def _merge(into: list[dict[str, Any]], more: list[dict[str, Any]], *, override: bool) -> None:
    """Statements of one Sid exist once: an override takes the place of the earlier one, otherwise it is an error."""
    for statement in more:
        sid = statement.get("Sid")
        index = next((at for at, one in enumerate(into) if sid and one.get("Sid") == sid), None)
        if index is None:
            into.append(statement)
        elif override:
            into[index] = statement
        else:
            raise RuntimeError(f"the policy document has two statements with the Sid {sid}; make them unique")


def _statement(given: Mapping[str, Any]) -> dict[str, Any]:
    """One statement with AWS's member names, in the provider's order."""
    result: dict[str, Any] = {}
    if given.get("sid"):
        result["Sid"] = given["sid"]
    result["Effect"] = given.get("effect") or "Allow"
    for key, member in (
        ("actions", "Action"), ("notActions", "NotAction"), ("resources", "Resource"), ("notResources", "NotResource"),
    ):  # fmt: skip
        if given.get(key):
            result[member] = _few(given[key])
    for key, member in (("principals", "Principal"), ("notPrincipals", "NotPrincipal")):
        if given.get(key):
            result[member] = _principals(given[key])
    conditions: dict[str, dict[str, Any]] = {}
    for item in given.get("conditions") or ():
        slot = conditions.setdefault(item["test"], {})
        values = [*_many(slot.get(item["variable"])), *item["values"]]
        slot[item["variable"]] = values[0] if len(values) == 1 else values
    if conditions:
        result["Condition"] = {test: dict(sorted(found.items())) for test, found in sorted(conditions.items())}
    return result


def _principals(items: list[Mapping[str, Any]]) -> Any:
    if len(items) == 1 and items[0]["type"] == "*" and items[0]["identifiers"] == ["*"]:
        return "*"
    merged: dict[str, list[str]] = {}
    for item in items:
        merged.setdefault(item["type"], []).extend(item["identifiers"])
    return {kind: _few(found) for kind, found in sorted(merged.items())}


def _few(values: list[str]) -> Any:
    """One value alone, several sorted in reverse: so the real provider renders its sets."""
    unique = sorted(set(values), reverse=True)
    return unique[0] if len(unique) == 1 else unique


def _many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


FUNCTIONS: Mapping[str, Callable[[Mapping[str, Any], Session], dict[str, Any]]] = {
    "aws:index/getCallerIdentity:getCallerIdentity": caller_identity,
    "aws:index/getRegion:getRegion": region,
    "aws:index/getPartition:getPartition": partition,
    "aws:index/getAvailabilityZones:getAvailabilityZones": availability_zones,
    "aws:ec2/getPrefixList:getPrefixList": prefix_list,
    "aws:ec2/getManagedPrefixList:getManagedPrefixList": prefix_list,
    "aws:iam/getPolicyDocument:getPolicyDocument": policy_document,
}
