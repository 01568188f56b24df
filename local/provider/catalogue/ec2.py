"""Amazon VPC, which the SDK keeps in its module for EC2. Tags are a call of their own for every type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.provider.model import Call, Name, Read, Resource, Scope, Tagging

ROUTE = {
    "RouteTableId": "{routeTableId}",
    "DestinationCidrBlock": "{destinationCidrBlock}",
    "DestinationIpv6CidrBlock": "{destinationIpv6CidrBlock}",
    "DestinationPrefixListId": "{destinationPrefixListId}",
}
TAGGING = Tagging({"Resources": ["{id}"]}, add="create_tags", remove="delete_tags")


def _arn(kind: str) -> str:
    return f"arn:aws:ec2:{{region}}:{{account}}:{kind}/{{id}}"


def _attributes(operation: str, where: Mapping[str, Any], *names: str, on_create: bool = True) -> tuple[Call, ...]:
    """EC2 changes one attribute a call, wrapped as {"Value": ...}."""
    return tuple(
        Call(
            operation,
            takes=(name,),
            rename={name: f"{name[0].upper()}{name[1:]}.Value"},
            where=where,
            update_only=not on_create,
        )
        for name in names
    )


def _in_vpc(name: str, value: str, vpc: str = "{id}") -> dict[str, Any]:
    return {"Filters": [{"Name": "vpc-id", "Values": [vpc]}, {"Name": name, "Values": [value]}]}


def permissions(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A security group's inline rules as IpPermissions."""
    result = []
    for rule in rules:
        one: dict[str, Any] = {"IpProtocol": str(rule["protocol"])}
        if one["IpProtocol"] not in ("-1", "all"):
            one |= {"FromPort": int(rule["fromPort"]), "ToPort": int(rule["toPort"])}
        note = {"Description": rule["description"]} if rule.get("description") else {}
        one["IpRanges"] = [{"CidrIp": cidr, **note} for cidr in rule.get("cidrBlocks") or ()]
        one["Ipv6Ranges"] = [{"CidrIpv6": cidr, **note} for cidr in rule.get("ipv6CidrBlocks") or ()]
        one["PrefixListIds"] = [{"PrefixListId": item, **note} for item in rule.get("prefixListIds") or ()]
        one["UserIdGroupPairs"] = [{"GroupId": group, **note} for group in rule.get("securityGroups") or ()]
        result.append({key: value for key, value in one.items() if value != []})
    return result


def _no_rules(client: Any, scope: Scope) -> None:
    """Removes the rules that the group has: AWS gives each new one an open egress, which Pulumi takes away."""
    group = client.describe_security_groups(GroupIds=[scope["id"]])["SecurityGroups"][0]
    for operation, found in (
        (client.revoke_security_group_egress, group.get("IpPermissionsEgress")),
        (client.revoke_security_group_ingress, group.get("IpPermissions")),
    ):
        if found:
            operation(GroupId=scope["id"], IpPermissions=found)


def _set_rules(client: Any, scope: Scope) -> None:
    _no_rules(client, scope)
    for operation, rules in (
        (client.authorize_security_group_egress, scope.get("egress")),
        (client.authorize_security_group_ingress, scope.get("ingress")),
    ):
        if rules:
            operation(GroupId=scope["id"], IpPermissions=permissions(rules))


def _detach_gateway(client: Any, scope: Scope) -> None:
    if scope.get("vpcId"):
        client.detach_internet_gateway(InternetGatewayId=scope["id"], VpcId=scope["vpcId"])


def _set_routes(client: Any, scope: Scope) -> None:
    names = {
        "cidrBlock": "DestinationCidrBlock",
        "ipv6CidrBlock": "DestinationIpv6CidrBlock",
        "destinationPrefixListId": "DestinationPrefixListId",
        "gatewayId": "GatewayId",
        "natGatewayId": "NatGatewayId",
        "vpcEndpointId": "VpcEndpointId",
        "networkInterfaceId": "NetworkInterfaceId",
    }
    table = client.describe_route_tables(RouteTableIds=[scope["id"]])["RouteTables"][0]
    for route in table["Routes"] if scope.get("routes") is not None else ():
        if route.get("Origin") == "CreateRoute":
            target = next(name for name in names.values() if name.startswith("Destination") and name in route)
            client.delete_route(RouteTableId=scope["id"], **{target: route[target]})
    for route in scope.get("routes") or ():
        client.create_route(RouteTableId=scope["id"], **{names[key]: value for key, value in route.items() if value})


def _associated(tables: Any, scope: Scope) -> bool:
    return any(item.get("RouteTableAssociationId") == scope["id"] for item in tables[0].get("Associations", []))


def _has_route(table: Any, scope: Scope) -> bool:
    wanted = (
        scope.get("destinationCidrBlock")
        or scope.get("destinationIpv6CidrBlock")
        or scope.get("destinationPrefixListId")
    )
    return any(
        wanted
        in (
            route.get("DestinationCidrBlock"),
            route.get("DestinationIpv6CidrBlock"),
            route.get("DestinationPrefixListId"),
        )
        for route in table.get("Routes", [])
    )


def _set_endpoint_sets(client: Any, scope: Scope) -> None:
    """AWS changes an endpoint's sets by what to add and what to remove."""
    found = client.describe_vpc_endpoints(VpcEndpointIds=[scope["id"]])["VpcEndpoints"][0]
    now = {
        "RouteTableIds": found.get("RouteTableIds", []),
        "SubnetIds": found.get("SubnetIds", []),
        "SecurityGroupIds": [group["GroupId"] for group in found.get("Groups", [])],
    }
    given: dict[str, list[str]] = {}
    for parameter, current in now.items():
        wanted = scope.get(parameter[0].lower() + parameter[1:])
        if wanted is None or set(wanted) == set(current):
            continue
        given[f"Add{parameter}"] = sorted(set(wanted) - set(current))
        given[f"Remove{parameter}"] = sorted(set(current) - set(wanted))
    if given := {key: value for key, value in given.items() if value}:
        client.modify_vpc_endpoint(VpcEndpointId=scope["id"], **given)


RESOURCES = (
    Resource(
        "aws:ec2/vpc:Vpc",
        "ec2",
        create=Call("create_vpc", rename={"assignGeneratedIpv6CidrBlock": "AmazonProvidedIpv6CidrBlock"}),
        id="Vpc.VpcId",
        updates=_attributes(
            "modify_vpc_attribute",
            {"VpcId": "{id}"},
            "enableDnsHostnames",
            "enableDnsSupport",
            "enableNetworkAddressUsageMetrics",
        ),
        read=Read("describe_vpcs", {"VpcIds": ["{id}"]}, "Vpcs[0]"),
        delete=Call("delete_vpc", where={"VpcId": "{id}"}),
        tagging=TAGGING,
        outputs={"arn": _arn("vpc")},
        lookups={
            "defaultSecurityGroupId": Read(
                "describe_security_groups", _in_vpc("group-name", "default"), "SecurityGroups[0].GroupId"
            ),
            "mainRouteTableId": Read(
                "describe_route_tables", _in_vpc("association.main", "true"), "RouteTables[0].RouteTableId"
            ),
            "defaultNetworkAclId": Read(
                "describe_network_acls", _in_vpc("default", "true"), "NetworkAcls[0].NetworkAclId"
            ),
        },
    ),
    Resource(
        "aws:ec2/subnet:Subnet",
        "ec2",
        create=Call("create_subnet"),
        id="Subnet.SubnetId",
        updates=_attributes(
            "modify_subnet_attribute",
            {"SubnetId": "{id}"},
            "mapPublicIpOnLaunch",
            "assignIpv6AddressOnCreation",
            "enableDns64",
            "enableResourceNameDnsARecordOnLaunch",
        ),
        read=Read("describe_subnets", {"SubnetIds": ["{id}"]}, "Subnets[0]"),
        delete=Call("delete_subnet", where={"SubnetId": "{id}"}),
        tagging=TAGGING,
        outputs={"arn": _arn("subnet")},
    ),
    Resource(
        "aws:ec2/internetGateway:InternetGateway",
        "ec2",
        create=Call("create_internet_gateway"),
        id="InternetGateway.InternetGatewayId",
        updates=(Call("attach_internet_gateway", where={"InternetGatewayId": "{id}"}),),
        replaces=("vpcId",),
        read=Read("describe_internet_gateways", {"InternetGatewayIds": ["{id}"]}, "InternetGateways[0]"),
        delete=Call("delete_internet_gateway", where={"InternetGatewayId": "{id}"}),
        tagging=TAGGING,
        outputs={"arn": _arn("internet-gateway")},
        before_delete=_detach_gateway,
    ),
    Resource(
        "aws:ec2/eip:Eip",
        "ec2",
        create=Call("allocate_address"),
        id="AllocationId",
        read=Read("describe_addresses", {"AllocationIds": ["{id}"]}, "Addresses[0]"),
        delete=Call("release_address", where={"AllocationId": "{id}"}),
        defaults={"domain": "vpc"},
        tagging=TAGGING,
        outputs={"arn": _arn("elastic-ip"), "allocationId": "AllocationId", "publicIp": "PublicIp"},
    ),
    Resource(
        "aws:ec2/natGateway:NatGateway",
        "ec2",
        create=Call("create_nat_gateway", rename={"privateIp": "PrivateIpAddress"}),
        id="NatGateway.NatGatewayId",
        read=Read(
            "describe_nat_gateways",
            {"NatGatewayIds": ["{id}"]},
            "NatGateways[0]",
            exists=lambda found, _: found.get("State") not in ("deleted", "deleting"),
        ),
        delete=Call("delete_nat_gateway", where={"NatGatewayId": "{id}"}),
        tagging=TAGGING,
        outputs={"publicIp": "NatGatewayAddresses[0].PublicIp", "privateIp": "NatGatewayAddresses[0].PrivateIp"},
        # the emulator's own description has no addresses
        lookups={
            "publicIp": Read("describe_addresses", {"AllocationIds": ["{allocationId}"]}, "Addresses[0].PublicIp")
        },
        note="the emulator keeps the gateway and routes no packets",
    ),
    Resource(
        "aws:ec2/routeTable:RouteTable",
        "ec2",
        create=Call("create_route_table"),
        id="RouteTable.RouteTableId",
        read=Read("describe_route_tables", {"RouteTableIds": ["{id}"]}, "RouteTables[0]"),
        delete=Call("delete_route_table", where={"RouteTableId": "{id}"}),
        tagging=TAGGING,
        configure=_set_routes,
        configures=("routes",),
        outputs={"arn": _arn("route-table")},
    ),
    Resource(
        "aws:ec2/route:Route",
        "ec2",
        create=Call("create_route", rename={"egressOnlyGatewayId": "EgressOnlyInternetGatewayId"}),
        id="r-{routeTableId}-{destinationCidrBlock}{destinationIpv6CidrBlock}{destinationPrefixListId}",
        updates=(
            Call(
                "replace_route",
                takes=("gatewayId", "natGatewayId", "vpcEndpointId", "networkInterfaceId", "transitGatewayId"),
                where=ROUTE,
                update_only=True,
            ),
        ),
        read=Read("describe_route_tables", {"RouteTableIds": ["{routeTableId}"]}, "RouteTables[0]", exists=_has_route),
        delete=Call("delete_route", where=ROUTE),
        outputs={"origin": lambda _, __: "CreateRoute", "state": lambda _, __: "active"},
        drift=False,
    ),
    Resource(
        "aws:ec2/routeTableAssociation:RouteTableAssociation",
        "ec2",
        create=Call("associate_route_table"),
        id="AssociationId",
        read=Read("describe_route_tables", {"RouteTableIds": ["{routeTableId}"]}, "RouteTables", exists=_associated),
        delete=Call("disassociate_route_table", where={"AssociationId": "{id}"}),
        drift=False,
    ),
    Resource(
        "aws:ec2/securityGroup:SecurityGroup",
        "ec2",
        create=Call("create_security_group", rename={"name": "GroupName"}),
        id="GroupId",
        read=Read("describe_security_groups", {"GroupIds": ["{id}"]}, "SecurityGroups[0]"),
        delete=Call("delete_security_group", where={"GroupId": "{id}"}),
        name=Name(limit=255),
        defaults={"description": "Managed by Pulumi"},
        tagging=TAGGING,
        handled=("revokeRulesOnDelete",),
        configure=_set_rules,
        configures=("ingress", "egress"),
        outputs={"arn": _arn("security-group")},
    ),
    Resource(
        "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",
        "ec2",
        adopt=Read(
            "describe_security_groups",
            _in_vpc("group-name", "default", "{vpcId}"),
            "SecurityGroups[0]",
        ),
        id="GroupId",
        read=Read("describe_security_groups", {"GroupIds": ["{id}"]}, "SecurityGroups[0]"),
        tagging=TAGGING,
        handled=("revokeRulesOnDelete", "vpcId"),
        replaces=("vpcId",),
        configure=_set_rules,
        configures=("ingress", "egress"),
        outputs={"arn": _arn("security-group"), "name": "GroupName"},
    ),
    Resource(
        "aws:ec2/vpcEndpoint:VpcEndpoint",
        "ec2",
        create=Call("create_vpc_endpoint", rename={"policy": "PolicyDocument"}),
        id="VpcEndpoint.VpcEndpointId",
        updates=(
            Call(
                "modify_vpc_endpoint",
                takes=("policy", "privateDnsEnabled", "ipAddressType", "dnsOptions"),
                rename={"policy": "PolicyDocument"},
                where={"VpcEndpointId": "{id}"},
                unset={"policy": {"ResetPolicy": True}},
                update_only=True,
            ),
        ),
        read=Read("describe_vpc_endpoints", {"VpcEndpointIds": ["{id}"]}, "VpcEndpoints[0]"),
        delete=Call("delete_vpc_endpoints", where={"VpcEndpointIds": ["{id}"]}),
        tagging=TAGGING,
        handled=("autoAccept",),
        configure=_set_endpoint_sets,
        configures=("routeTableIds", "subnetIds", "securityGroupIds"),
        outputs={"arn": _arn("vpc-endpoint")},
        lookups={
            "prefixListId": Read(
                "describe_prefix_lists",
                {"Filters": [{"Name": "prefix-list-name", "Values": ["{serviceName}"]}]},
                "PrefixLists[0].PrefixListId",
            )
        },
        note="the emulator keeps the endpoint and routes no packets",
        drift=False,
    ),
    Resource(
        "aws:ec2/flowLog:FlowLog",
        "ec2",
        create=Call(
            "create_flow_logs",
            rename={"iamRoleArn": "DeliverLogsPermissionArn"},
            encode={
                "vpcId": lambda value: {"ResourceIds": [value], "ResourceType": "VPC"},
                "subnetId": lambda value: {"ResourceIds": [value], "ResourceType": "Subnet"},
                "eniId": lambda value: {"ResourceIds": [value], "ResourceType": "NetworkInterface"},
            },
        ),
        id="FlowLogIds[0]",
        read=Read("describe_flow_logs", {"FlowLogIds": ["{id}"]}, "FlowLogs[0]"),
        delete=Call("delete_flow_logs", where={"FlowLogIds": ["{id}"]}),
        tagging=TAGGING,
        outputs={"arn": _arn("vpc-flow-log")},
        note="the emulator keeps the flow log and writes no records",
        drift=False,
    ),
)
