"""The workers' network: private subnets, a fixed way out to the gateway, none in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
import pulumi_awsx as awsx

from components import iam
from components.account import Account
from components.foundation import Outputs
from components.settings import NatStrategy, Settings

ENDPOINT_ACTIONS: Mapping[str, tuple[tuple[str, ...], str | None]] = {
    # service: what the workers do through its endpoint, and to what of this account; None where AWS has no resource
    # to name, or the image may lie in another account's repository
    "ecr.api": (
        (
            "ecr:BatchCheckLayerAvailability",
            "ecr:BatchGetImage",
            "ecr:GetAuthorizationToken",
            "ecr:GetDownloadUrlForLayer",
        ),
        None,
    ),
    "ecr.dkr": (("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"), None),
    "kms": (("kms:Decrypt", "kms:GenerateDataKey"), "key/*"),
    "lambda": (("lambda:InvokeFunction",), "function:*"),
    "logs": (("logs:CreateLogStream", "logs:PutLogEvents"), "log-group:*"),
    "monitoring": (("cloudwatch:PutMetricData",), None),
    "rds-data": (("rds-data:ExecuteStatement",), "cluster:*"),
    "secretsmanager": (("secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"), "secret:*"),
    "sns": (("sns:Publish",), "*"),
    "sqs": (("sqs:SendMessage",), "*"),
    "states": (("states:StartExecution",), "stateMachine:*"),
    "sts": (("sts:AssumeRole",), "role/worker-*"),
    "xray": (
        ("xray:GetSamplingRules", "xray:GetSamplingTargets", "xray:PutTelemetryRecords", "xray:PutTraceSegments"),
        None,
    ),
}

STRATEGIES = {
    NatStrategy.NONE: awsx.ec2.NatGatewayStrategy.NONE,
    NatStrategy.SINGLE: awsx.ec2.NatGatewayStrategy.SINGLE,
    NatStrategy.ONE_PER_ZONE: awsx.ec2.NatGatewayStrategy.ONE_PER_AZ,
}


@dataclass(frozen=True, slots=True)
class NetworkArgs:
    settings: Settings
    account: Account
    log_key_arn: pulumi.Input[str]
    gateway_endpoints: Mapping[str, pulumi.Input[str]]
    """AWS services (dynamodb, s3) that traffic reaches free of charge and off the NAT, with the endpoint's policy."""
    database_port: int | None = None
    """Where the workers reach a database inside the VPC."""


class Network(pulumi.ComponentResource):
    """VPC, endpoints, security groups and flow logs.

    Creates: elastic addresses (payment gateways allow-list them, so they outlive the NAT gateways), a VPC with a
    public and a private subnet per zone and the alternative's gateway endpoints, the default security group emptied,
    the workers' own, interface endpoints where settings name them, and flow logs of refused and accepted traffic.
    """

    vpc_id: pulumi.Output[str]
    subnet_ids: pulumi.Output[list[str]]
    security_group_id: pulumi.Output[str]
    egress_addresses: pulumi.Output[list[str]]
    log_group: aws.cloudwatch.LogGroup

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("confirm-transactions:network:Network", name, {}, opts)
        mine = pulumi.ResourceOptions(parent=self)
        account, wanted = args.account, args.settings.network
        gateways = {NatStrategy.NONE: 0, NatStrategy.SINGLE: 1}.get(wanted.nat_strategy, wanted.availability_zones)
        addresses = [aws.ec2.Eip(f"egress-{zone}", domain="vpc", opts=mine) for zone in range(1, gateways + 1)]
        self.vpc = awsx.ec2.Vpc(
            "vpc",
            cidr_block=wanted.vpc_cidr,
            number_of_availability_zones=wanted.availability_zones,
            enable_dns_hostnames=True,  # interface endpoints answer under the services' own names
            enable_dns_support=True,
            subnet_strategy=awsx.ec2.SubnetAllocationStrategy.AUTO,
            subnet_specs=[
                awsx.ec2.SubnetSpecArgs(type=awsx.ec2.SubnetType.PRIVATE),
                awsx.ec2.SubnetSpecArgs(type=awsx.ec2.SubnetType.PUBLIC),
            ],
            nat_gateways=awsx.ec2.NatGatewayConfigurationArgs(
                strategy=STRATEGIES[wanted.nat_strategy],
                elastic_ip_allocation_ids=[address.allocation_id for address in addresses],
            ),
            vpc_endpoint_strategy=awsx.ec2.VpcEndpointStrategy.AUTO,  # fills in the route tables
            vpc_endpoint_specs=[
                awsx.ec2.VpcEndpointSpecArgs(
                    service_name=f"com.amazonaws.{account.region}.{service}",
                    vpc_endpoint_type="Gateway",
                    policy=policy,
                )
                for service, policy in args.gateway_endpoints.items()
            ],
            opts=pulumi.ResourceOptions(parent=self, transforms=[_without_public_addresses]),  # of its subnets
        )
        self.vpc_id = self.vpc.vpc_id
        self.subnet_ids = self.vpc.private_subnet_ids.apply(list)
        self.egress_addresses = pulumi.Output.all(*[address.public_ip for address in addresses])
        # AWS opens the default group to all its members; nobody is a member, and nothing is open.
        aws.ec2.DefaultSecurityGroup("default", vpc_id=self.vpc_id, ingress=[], egress=[], opts=mine)
        workers = aws.ec2.SecurityGroup(
            "workers",
            description="Workers: nothing in, HTTPS out",
            vpc_id=self.vpc_id,
            ingress=[],
            egress=_ways_out(args, self),
            opts=mine,
        )
        self.security_group_id = workers.id
        if wanted.interface_endpoints:
            self._interface_endpoints(args, workers.id)
        self.log_group = self._flow_logs(args)
        self.outputs: Outputs = {"vpcId": self.vpc_id, "egressAddresses": self.egress_addresses}
        self.register_outputs({"vpcId": self.vpc_id, "egressAddresses": self.egress_addresses})

    def _interface_endpoints(self, args: NetworkArgs, workers_id: pulumi.Output[str]) -> None:
        mine = pulumi.ResourceOptions(parent=self)
        account = args.account
        group = aws.ec2.SecurityGroup(
            "endpoints",
            description="AWS services inside the VPC: HTTPS in, from the workers alone",
            vpc_id=self.vpc_id,
            ingress=[
                aws.ec2.SecurityGroupIngressArgs(
                    description="Workers",
                    protocol="tcp",
                    from_port=443,
                    to_port=443,
                    security_groups=[workers_id],
                )
            ],
            egress=[],
            opts=mine,
        )
        for service in args.settings.network.interface_endpoints:
            aws.ec2.VpcEndpoint(
                service,
                vpc_id=self.vpc_id,
                service_name=f"com.amazonaws.{account.region}.{service}",
                vpc_endpoint_type="Interface",
                subnet_ids=self.subnet_ids,
                security_group_ids=[group.id],
                private_dns_enabled=True,
                policy=_endpoint_policy(service, account),
                opts=mine,
            )

    def _flow_logs(self, args: NetworkArgs) -> aws.cloudwatch.LogGroup:
        mine = pulumi.ResourceOptions(parent=self)
        account = args.account
        group = aws.cloudwatch.LogGroup(
            "flow-logs",
            name=f"/{account.prefix}/flow-logs",
            retention_in_days=args.settings.log_retention_days,
            kms_key_id=args.log_key_arn,
            opts=mine,
        )
        writer, grant = iam.role(
            "flow-logs",
            "vpc-flow-logs.amazonaws.com",
            [
                iam.Statement(
                    sid="WriteFlowLogs",
                    actions=("logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"),
                    resources=(pulumi.Output.concat(group.arn, ":*"),),
                ),
                iam.Statement(
                    sid="FindLogGroups",
                    actions=("logs:DescribeLogGroups",),
                    resources=("*",),
                    reason="CloudWatch Logs lists groups as a whole, and VPC flow logs look for theirs in the list",
                ),
            ],
            account=account,
            description="Writes the VPC's flow logs",
            parent=self,
            source_arns=[account.arn("ec2", "vpc-flow-log/*")],
        )
        aws.ec2.FlowLog(
            "flow-logs",
            vpc_id=self.vpc_id,
            traffic_type="ALL",
            log_destination_type="cloud-watch-logs",
            log_destination=group.arn,
            iam_role_arn=writer.arn,
            max_aggregation_interval=600,  # seconds, the default: a sixth of the lines of 60
            opts=pulumi.ResourceOptions(parent=self, depends_on=[grant]),
        )
        return group


def _endpoint_policy(service: str, account: Account) -> pulumi.Output[str]:
    """Through an interface endpoint go principals of our account, for what the workers do, to what is ours. What a
    role may not do it still may not; what somebody brings credentials of another account for goes nowhere."""
    actions, resource = ENDPOINT_ACTIONS[service]
    more = [_identity(account)] if service == "sts" else []
    owner = {"rds-data": "rds"}.get(service, service)
    ours = f"arn:{account.partition}:iam::{account.id}:" if service == "sts" else account.arn(owner, "")
    return iam.policy(
        {
            "Sid": "OurAccount",
            "Effect": "Allow",
            "Principal": "*",
            "Action": list(actions),
            "Resource": "*" if resource is None else f"{ours}{resource}",
            "Condition": {"StringEquals": {"aws:PrincipalAccount": account.id}},
        },
        *more,
    )


def _identity(account: Account) -> dict[str, object]:
    """The desk's functions let STS say who has signed an order: people of our account."""
    return {
        "Sid": "WhoCalls",
        "Effect": "Allow",
        "Principal": "*",
        "Action": ["sts:GetCallerIdentity"],
        "Resource": "*",
        "Condition": {"StringEquals": {"aws:PrincipalAccount": account.id}},
    }


def _without_public_addresses(args: pulumi.ResourceTransformArgs) -> pulumi.ResourceTransformResult | None:
    """awsx gives public addresses to what starts in a public subnet; ours hold NAT gateways, which bring their own."""
    if args.type_ != "aws:ec2/subnet:Subnet":
        return None
    return pulumi.ResourceTransformResult({**args.props, "mapPublicIpOnLaunch": False}, args.opts)


def _ways_out(args: NetworkArgs, network: pulumi.Resource) -> list[aws.ec2.SecurityGroupEgressArgs]:
    """Security groups know no host names: by name they cannot tell the gateway from others, by address they can."""
    known = args.settings.network.gateway_cidrs
    if known:
        options = pulumi.InvokeOptions(parent=network)
        lists = [
            aws.ec2.get_prefix_list(name=f"com.amazonaws.{args.account.region}.{service}", opts=options).id
            for service in args.gateway_endpoints
        ]
        ways = [
            _tls("The payment gateway", args.settings.gateway.port, cidr_blocks=list(known)),
            _tls("AWS, by interface endpoints", 443, cidr_blocks=[args.settings.network.vpc_cidr]),
            _tls("AWS, by gateway endpoints", 443, prefix_list_ids=lists),
        ]
    else:
        ways = [
            _tls("The payment gateway and AWS, by TLS", port, cidr_blocks=["0.0.0.0/0"])
            for port in sorted({443, args.settings.gateway.port})
        ]
    if args.database_port is not None:
        ways.append(
            aws.ec2.SecurityGroupEgressArgs(
                # not its security group: that names ours, and two groups cannot be made each before the other
                description="The database, by TLS",
                protocol="tcp",
                from_port=args.database_port,
                to_port=args.database_port,
                cidr_blocks=[args.settings.network.vpc_cidr],
            )
        )
    return ways


def _tls(
    description: str, port: int, *, cidr_blocks: list[str] | None = None, prefix_list_ids: list[str] | None = None
) -> aws.ec2.SecurityGroupEgressArgs:
    return aws.ec2.SecurityGroupEgressArgs(
        description=description,
        protocol="tcp",
        from_port=port,
        to_port=port,
        cidr_blocks=cidr_blocks,
        prefix_list_ids=prefix_list_ids,
    )
