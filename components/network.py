"""The workers' network: private subnets, a fixed way out to the gateway, none in."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
import pulumi_awsx as awsx

from components import iam
from components.account import Place
from components.settings import NatStrategy, Settings

STRATEGIES = {
    NatStrategy.NONE: awsx.ec2.NatGatewayStrategy.NONE,
    NatStrategy.SINGLE: awsx.ec2.NatGatewayStrategy.SINGLE,
    NatStrategy.ONE_PER_ZONE: awsx.ec2.NatGatewayStrategy.ONE_PER_AZ,
}


@dataclass(frozen=True, slots=True)
class NetworkArgs:
    settings: Settings
    place: Place
    table_arn: pulumi.Input[str]
    log_key_arn: pulumi.Input[str]


class Network(pulumi.ComponentResource):
    """VPC, endpoints, security groups and flow logs.

    Creates: elastic addresses (payment gateways allow-list them, so they outlive the NAT gateways), a VPC with a
    public and a private subnet per zone and endpoints for DynamoDB and S3, the default security group emptied,
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
        place, wanted = args.place, args.settings.network
        gateways = {NatStrategy.NONE: 0, NatStrategy.SINGLE: 1}.get(wanted.nat_strategy, wanted.availability_zones)
        addresses = [
            aws.ec2.Eip(
                f"egress-{zone}",
                domain="vpc",
                opts=pulumi.ResourceOptions(parent=self, protect=args.settings.sizing.deletion_protection),
            )
            for zone in range(1, gateways + 1)
        ]
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
                    service_name=f"com.amazonaws.{place.region}.dynamodb",
                    vpc_endpoint_type="Gateway",
                    policy=_table_only(args.table_arn, place),
                ),
                awsx.ec2.VpcEndpointSpecArgs(
                    service_name=f"com.amazonaws.{place.region}.s3",
                    vpc_endpoint_type="Gateway",
                    policy=_own_buckets_only(place),
                ),
            ],
            opts=mine,
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
            egress=[
                aws.ec2.SecurityGroupEgressArgs(
                    description="The payment gateway and AWS, by TLS",
                    protocol="tcp",
                    from_port=port,
                    to_port=port,
                    cidr_blocks=["0.0.0.0/0"],
                )
                for port in sorted({443, args.settings.gateway.port})
            ],
            opts=mine,
        )
        self.security_group_id = workers.id
        if wanted.interface_endpoints:
            self._interface_endpoints(args, workers.id)
        self.log_group = self._flow_logs(args)
        self.register_outputs({"vpcId": self.vpc_id, "egressAddresses": self.egress_addresses})

    def _interface_endpoints(self, args: NetworkArgs, workers_id: pulumi.Output[str]) -> None:
        mine = pulumi.ResourceOptions(parent=self)
        place = args.place
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
                service_name=f"com.amazonaws.{place.region}.{service}",
                vpc_endpoint_type="Interface",
                subnet_ids=self.subnet_ids,
                security_group_ids=[group.id],
                private_dns_enabled=True,
                opts=mine,
            )

    def _flow_logs(self, args: NetworkArgs) -> aws.cloudwatch.LogGroup:
        mine = pulumi.ResourceOptions(parent=self)
        place = args.place
        group = aws.cloudwatch.LogGroup(
            "flow-logs",
            name=f"/{place.prefix}/flow-logs",
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
                )
            ],
            place=place,
            description="Writes the VPC's flow logs",
            parent=self,
            source_arns=[place.arn("ec2", "vpc-flow-log/*")],
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


def _table_only(table_arn: pulumi.Input[str], place: Place) -> pulumi.Output[str]:
    """Through the endpoint goes our account, to our table, and nothing else."""
    return iam.policy(
        {
            "Sid": "OurTable",
            "Effect": "Allow",
            "Principal": "*",
            "Action": [
                "dynamodb:BatchGetItem",
                "dynamodb:GetItem",
                "dynamodb:PartiQLSelect",
                "dynamodb:PartiQLUpdate",
                "dynamodb:PutItem",
                "dynamodb:Query",
                "dynamodb:UpdateItem",
            ],
            "Resource": [table_arn, pulumi.Output.concat(table_arn, "/index/*")],
            "Condition": {"StringEquals": {"aws:PrincipalAccount": place.account}},
        }
    )


def _own_buckets_only(place: Place) -> str:
    """Through the endpoint goes our account, to buckets of our account: data cannot be carried to another's."""
    statement = {
        "Sid": "OurBuckets",
        "Effect": "Allow",
        "Principal": "*",
        "Action": ["s3:GetObject", "s3:PutObject"],
        "Resource": f"arn:{place.partition}:s3:::*/*",
        "Condition": {
            "StringEquals": {
                "aws:PrincipalAccount": place.account,
                "aws:ResourceAccount": place.account,
            }
        },
    }
    return json.dumps({"Version": iam.VERSION, "Statement": [statement]})
