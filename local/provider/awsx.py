"""The plugin that stands in for `pulumi-resource-awsx`: `python -m local.provider.awsx ENGINE_ADDRESS`.

It has two components. `awsx:ec2:Vpc` registers the children of the real one under the same names. The children are
ordinary resources of the provider `aws`, so policies, plans and transforms see them as on AWS. `awsx:ecr:Image` builds
nothing, as there is no Docker: it names the image by a digest of what would go into it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
import pulumi
from google.protobuf import empty_pb2
from pulumi.provider import ConstructResult, Provider
from pulumi.provider.server import ProviderServicer
from pulumi.runtime import proto
from pulumi.runtime.proto import provider_pb2_grpc

from local.provider.aws import MAX_MESSAGE
from local.provider.session import record
from local.provider.subnets import DEFAULT_CIDR, DEFAULT_ZONES, LayoutError, Subnet, gaps, layout

ANYWHERE = "0.0.0.0/0"
ORDER = ("public", "private", "isolated")  # public first: a private subnet's route needs the NAT gateway
VPC_PROPERTIES = (
    "assignGeneratedIpv6CidrBlock", "enableDnsHostnames", "enableDnsSupport", "enableNetworkAddressUsageMetrics",
    "instanceTenancy", "ipv6CidrBlock", "ipv6CidrBlockNetworkBorderGroup", "ipv6IpamPoolId", "ipv6NetmaskLength",
    "region",
)  # fmt: skip
OWN_PROPERTIES = (
    "availabilityZoneCidrMask", "availabilityZoneNames", "cidrBlock", "natGateways", "numberOfAvailabilityZones",
    "subnetNameTagStrategy", "subnetSpecs", "subnetStrategy", "tags", "vpcEndpointSpecs", "vpcEndpointStrategy",
)  # fmt: skip
ENDPOINT_PROPERTIES = (
    "autoAccept", "dnsOptions", "ipAddressType", "policy", "privateDnsEnabled", "region", "resourceConfigurationArn",
    "routeTableIds", "securityGroupIds", "serviceName", "serviceNetworkArn", "serviceRegion", "subnetConfigurations",
    "subnetIds", "tags", "vpcEndpointType",
)  # fmt: skip

OUTPUTS = {
    "eips": "Eip",
    "natGateways": "NatGateway",
    "routes": "Route",
    "routeTables": "RouteTable",
    "routeTableAssociations": "RouteTableAssociation",
    "subnets": "Subnet",
    "vpcEndpoints": "VpcEndpoint",
}


def zone_count(args: Mapping[str, Any]) -> int:
    """How many zones the VPC spans."""
    names, number = args.get("availabilityZoneNames"), args.get("numberOfAvailabilityZones")
    if names and number:
        raise LayoutError("only one of availabilityZoneNames and numberOfAvailabilityZones can be given")
    return len(names) if names else int(number or DEFAULT_ZONES)


def plan(name: str, args: Mapping[str, Any]) -> list[Subnet]:
    """The subnets that the arguments ask for, checked as the real component checks them.

    Raises:
        LayoutError: the arguments contradict each other or are not supported locally.
    """
    unknown = sorted(set(args) - set(VPC_PROPERTIES) - set(OWN_PROPERTIES))
    if unknown:
        raise LayoutError(f"{', '.join(unknown)} is not supported")
    strategy = args.get("subnetStrategy") or "Legacy"
    if strategy not in ("Auto", "Exact"):
        raise LayoutError(f'subnetStrategy {strategy} is not supported, use "Auto" (or "Exact")')
    cidr, zones = args.get("cidrBlock") or DEFAULT_CIDR, zone_count(args)
    subnets = layout(name, cidr, zones, args.get("subnetSpecs"), args.get("availabilityZoneCidrMask"))
    if strategy == "Exact" and (found := gaps(cidr, subnets)):
        raise LayoutError(f'subnetStrategy "Exact" leaves gaps {", ".join(found)}: fill them with type "Unused"')
    gateways, types = nat_gateways(args, zones), {subnet.type.lower() for subnet in subnets}
    if gateways and not {"public", "private"} <= types:
        raise LayoutError("NAT gateways need a public subnet to stand in and a private one to serve")
    return subnets


def nat_gateways(args: Mapping[str, Any], zones: int) -> int:
    """How many NAT gateways the strategy makes; checks the elastic addresses given against it."""
    config = args.get("natGateways") or {}
    strategy = config.get("strategy") or "OnePerAz"
    counts = {"none": 0, "single": 1, "oneperaz": zones}
    if strategy.lower() not in counts:
        raise LayoutError(f"natGateways.strategy {strategy} is unknown; there are None, Single and OnePerAz")
    count, given = counts[strategy.lower()], len(config.get("elasticIpAllocationIds") or ())
    if given not in (0, count):
        raise LayoutError(f"natGateways.elasticIpAllocationIds has {given} addresses, {strategy} needs {count} or none")
    return count


class Vpc(pulumi.ComponentResource):
    """The component. `outputs` are its properties."""

    outputs: dict[str, Any]

    def __init__(self, name: str, args: Mapping[str, Any], options: pulumi.ResourceOptions) -> None:
        subnets = plan(name, args)
        super().__init__("awsx:ec2:Vpc", name, {}, options)
        self._name, self._args = name, args
        self._shared = {"Name": name, **(args.get("tags") or {})}
        self.made: dict[str, list[pulumi.CustomResource]] = {kind: [] for kind in OUTPUTS.values()}
        self.by_type: dict[str, list[pulumi.CustomResource]] = {kind: [] for kind in ORDER}
        self.zones = self._zones(zone_count(args))
        endpoints = self._endpoint_specs()
        private_dns = any(spec.get("privateDnsEnabled") for spec in endpoints)
        own = {key: args[key] for key in VPC_PROPERTIES if key in args}
        if private_dns and args.get("vpcEndpointStrategy") == "Auto":
            own = {"enableDnsHostnames": True, "enableDnsSupport": True, **own}
        cidr = args.get("cidrBlock") or DEFAULT_CIDR
        self.vpc = self._child("Vpc", name, {**own, "cidrBlock": cidr, "tags": self._shared}, self, wait=False)
        self.gateway = self._child("InternetGateway", name, {"vpcId": self.vpc.id, "tags": self._shared}, self.vpc)
        for zone in range(len(self.zones)):
            here = [subnet for subnet in subnets if subnet.zone == zone and subnet.type != "Unused"]
            for subnet in sorted(here, key=lambda one: ORDER.index(one.type.lower())):
                self._subnet(subnet)
        for spec in endpoints:
            self._endpoint(spec)
        self.outputs = self._outputs(subnets)
        self.register_outputs(self.outputs)

    def _child(
        self, kind: str, name: str, props: Mapping[str, Any], parent: pulumi.Resource, *, wait: bool = True
    ) -> pulumi.CustomResource:
        options = pulumi.ResourceOptions(
            parent=parent, depends_on=[parent] if wait else None, version=version("pulumi-aws")
        )
        token = f"aws:ec2/{kind[0].lower()}{kind[1:]}:{kind}"
        found = pulumi.CustomResource(token, name, dict(props), options)
        if kind in self.made:
            self.made[kind].append(found)
        return found

    def _zones(self, count: int) -> list[pulumi.Input[str]]:
        if names := self._args.get("availabilityZoneNames"):
            return list(names)
        options = pulumi.InvokeOutputOptions(parent=self, version=version("pulumi-aws"))
        found = pulumi.runtime.invoke_output("aws:index/getAvailabilityZones:getAvailabilityZones", {}, options)

        def at(index: int) -> pulumi.Output[str]:
            def pick(answer: Any) -> str:
                if len(answer["names"]) < count:
                    raise LayoutError(
                        f"the region has {len(answer['names'])} availability zones, {count} are asked for"
                    )
                return str(answer["names"][index])

            return found.apply(pick)

        return [at(index) for index in range(count)]

    def _subnet(self, spec: Subnet) -> None:
        kind, tags = spec.type.lower(), {**self._shared, "SubnetType": spec.type}
        zone = self.zones[spec.zone]
        label: pulumi.Input[str] = spec.name
        if self._args.get("subnetNameTagStrategy") == "AvailabilityZone":
            stem = spec.name.rpartition("-")[0]
            label = pulumi.Output.from_input(zone).apply(lambda name: f"{stem}-{name.rpartition('-')[2]}")
        props: dict[str, Any] = {
            "vpcId": self.vpc.id,
            "availabilityZone": zone,
            "mapPublicIpOnLaunch": kind == "public",
            "cidrBlock": spec.cidr,
            "tags": {**tags, **(spec.tags or {}), "Name": label},
        }
        if spec.assign_ipv6 is not None:
            props["assignIpv6AddressOnCreation"] = spec.assign_ipv6
        subnet = self._child("Subnet", spec.name, props, self.vpc)
        self.by_type[kind].append(subnet)
        named = {**tags, "Name": label}
        table = self._child("RouteTable", spec.name, {"vpcId": self.vpc.id, "tags": named}, subnet)
        link = {"routeTableId": table.id, "subnetId": subnet.id}
        self._child("RouteTableAssociation", spec.name, link, table)
        wanted, made = nat_gateways(self._args, len(self.zones)), self.made["NatGateway"]
        if kind == "public":
            if len(made) < min(wanted, spec.zone + 1):
                self._nat_gateway(spec.zone, subnet)
            self._route(spec.name, table, {"gatewayId": self.gateway.id})
        elif kind == "private" and wanted:
            self._route(spec.name, table, {"natGatewayId": made[0 if wanted == 1 else spec.zone].id})

    def _nat_gateway(self, zone: int, subnet: pulumi.Resource) -> None:
        name = f"{self._name}-{zone + 1}"
        tags = {**(self._args.get("tags") or {}), "Name": name}
        given = (self._args.get("natGateways") or {}).get("elasticIpAllocationIds")
        address = given[zone] if given else self._child("Eip", name, {"tags": tags}, subnet).id
        self._child("NatGateway", name, {"subnetId": subnet.id, "allocationId": address, "tags": tags}, subnet)  # type: ignore[attr-defined]

    def _route(self, name: str, table: pulumi.CustomResource, target: Mapping[str, Any]) -> None:
        self._child("Route", name, {"routeTableId": table.id, "destinationCidrBlock": ANYWHERE, **target}, table)

    def _endpoint_specs(self) -> list[dict[str, Any]]:
        """The endpoints asked for; with the strategy "Auto" an interface endpoint answers under the service's name."""
        automatic = (self._args.get("vpcEndpointStrategy") or "Legacy") == "Auto"
        result = []
        for spec in self._args.get("vpcEndpointSpecs") or ():
            unknown = sorted(set(spec) - set(ENDPOINT_PROPERTIES))
            if unknown:
                raise LayoutError(f"vpcEndpointSpecs: {', '.join(unknown)} is not supported")
            if automatic and spec.get("vpcEndpointType") == "Interface":
                if not spec.get("securityGroupIds"):
                    raise LayoutError(f"the interface endpoint {spec['serviceName']} needs its securityGroupIds given")
                spec = {"privateDnsEnabled": True, **spec}
            result.append(dict(spec))
        return result

    def _endpoint(self, spec: dict[str, Any]) -> None:
        """One endpoint. "Auto" fills in the route tables or subnets that this component made."""
        if (self._args.get("vpcEndpointStrategy") or "Legacy") == "Auto":
            kind = spec.get("vpcEndpointType") or "Gateway"
            if kind == "Gateway" and "routeTableIds" not in spec:
                spec["routeTableIds"] = [table.id for table in self.made["RouteTable"]]
            if kind == "Interface" and not {"subnetIds", "subnetConfigurations"} & spec.keys():
                spec["subnetIds"] = [one.id for one in self.by_type["private"] or self.by_type["isolated"]]
        self._child("VpcEndpoint", spec["serviceName"], {**spec, "vpcId": self.vpc.id}, self.vpc)

    def _outputs(self, subnets: list[Subnet]) -> dict[str, Any]:
        resolved = [
            {"type": one.type, "cidrMask": int(one.cidr.partition("/")[2]), "name": one.name.rpartition("-")[0]}
            for one in subnets
            if one.zone == 0
        ]
        return {
            "vpc": self.vpc,
            "vpcId": self.vpc.id,
            "internetGateway": self.gateway,
            "subnetLayout": self._args.get("subnetSpecs") or resolved,
            **{output: self.made[kind] for output, kind in OUTPUTS.items()},
            **{f"{kind}Subnets": found for kind, found in self.by_type.items()},
            **{f"{kind}SubnetIds": [one.id for one in found] for kind, found in self.by_type.items()},
        }


IMAGE_PROPERTIES = (
    "args", "builderVersion", "cacheFrom", "context", "dockerfile", "imageName", "imageTag", "platform", "registryId",
    "repositoryUrl", "target",
)  # fmt: skip
IMAGE_NOTE = (
    "no Docker here: the image is not built, its digest is that of the build context; tasks run the code itself"
)


class Image(pulumi.ComponentResource):
    """An image that is only named: another context, Dockerfile, argument or platform is another digest."""

    def __init__(self, name: str, args: Mapping[str, Any], options: pulumi.ResourceOptions) -> None:
        if unknown := sorted(set(args) - set(IMAGE_PROPERTIES)):
            raise LayoutError(f"{', '.join(unknown)} is not supported")
        if "repositoryUrl" not in args:
            raise LayoutError("repositoryUrl is needed")
        super().__init__("awsx:ecr:Image", name, {}, options)
        shape = {key: args.get(key) for key in ("args", "platform", "target")}
        digest = pulumi.Output.from_input(shape).apply(
            lambda known: context_digest(str(args.get("context") or "."), args.get("dockerfile"), known)
        )
        self.outputs = {"imageUri": pulumi.Output.concat(args["repositoryUrl"], "@sha256:", digest)}
        self.register_outputs(self.outputs)
        record("awsx:ecr:Image", name, IMAGE_NOTE)


def context_digest(context: str, dockerfile: str | None, shape: Mapping[str, Any]) -> str:
    """SHA-256 over the files of a build context, by name and content, and what else makes the image what it is.

    What Python and editors leave behind (`__pycache__`, names that start with a dot) does not count.

    Raises:
        LayoutError: the context or its Dockerfile is not there.
    """
    root = Path(context)
    recipe = Path(dockerfile) if dockerfile else root / "Dockerfile"
    if not recipe.is_file():
        raise LayoutError(f"the Dockerfile {recipe} does not exist")
    total = hashlib.sha256(json.dumps(shape, sort_keys=True).encode() + recipe.read_bytes())
    for path in sorted(root.rglob("*")):
        inner = path.relative_to(root)
        if path.is_file() and not any(part.startswith(".") or part == "__pycache__" for part in inner.parts):
            content = path.read_bytes()
            total.update(f"{inner.as_posix()} {len(content)}\n".encode() + content)
    return total.hexdigest()


class Awsx(Provider):
    """Constructs the components that there are."""

    def construct(
        self, name: str, resource_type: str, inputs: Any, options: pulumi.ResourceOptions | None = None
    ) -> ConstructResult:
        if resource_type not in COMPONENTS:
            raise LayoutError(f"the component {resource_type} is not supported yet")
        made = COMPONENTS[resource_type](name, inputs, options or pulumi.ResourceOptions())
        return ConstructResult(made.urn, made.outputs)


COMPONENTS: Mapping[str, type[Vpc | Image]] = {"awsx:ec2:Vpc": Vpc, "awsx:ecr:Image": Image}


class Servicer(ProviderServicer):
    """The SDK's servicer, with errors in one line and the parts of the protocol that a component does not need."""

    async def Construct(self, request: Any, context: Any) -> Any:  # noqa: N802
        try:
            return await self._construct(request, context)
        except Exception as error:  # the SDK's own way to report it ends in a stack trace
            first = _root(error)
            kind = "" if isinstance(first, LayoutError) else f"{type(first).__name__}: "
            text = f"{request.type} on the local AWS: {kind}{' '.join(str(first).split())}"
        return await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)

    async def CheckConfig(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        return proto.CheckResponse(inputs=request.news)

    async def DiffConfig(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        return proto.DiffResponse(changes=proto.DiffResponse.DIFF_NONE)

    async def Cancel(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        return empty_pb2.Empty()


def _root(error: BaseException) -> BaseException:
    """What went wrong first: the SDK wraps an error once for each value that depends on it."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return error


async def _serve() -> None:
    options = [("grpc.max_receive_message_length", MAX_MESSAGE), ("grpc.max_send_message_length", MAX_MESSAGE)]
    server = grpc.aio.server(options=options)
    servicer = Servicer(Awsx(version("pulumi-awsx")), sys.argv[1:], sys.argv[1])
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C reaches the whole group: end without a word
        signal.signal(number, lambda *_: os._exit(0))
    asyncio.run(_serve())
