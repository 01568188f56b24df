"""The network of both alternatives, as prod has it: two zones, a way out in each."""

from __future__ import annotations

from analysis.diagrams.model import Diagram, Edge, Group, Node
from analysis.diagrams.shared import GREEN, ORANGE, VIOLET

ZONES = (1, 2)


def _zone(zone: int) -> tuple[tuple[Group, ...], tuple[Node, ...], tuple[Edge, ...]]:
    """A zone from left to right: what is inside, the way out."""
    y = 0.55 + 2.2 * (zone - 1)
    groups = (
        Group(f"zone {zone}", (2.1, y), (6.7, y + 2.05), ORANGE, dashed=True),
        Group("private subnet", (2.25, y + 0.3), (4.85, y + 1.93), GREEN, fill="#f6faf4", shows=(f"private-{zone}",)),
        Group("public subnet", (5.05, y + 0.3), (6.55, y + 1.93), "#2563a8", fill="#f3f8fd", shows=(f"public-{zone}",)),
    )
    nodes = (
        Node(
            f"workers-{zone}",
            (4.15, y + 1.0),
            "workers",
            "aws/network/vpc-elastic-network-interface",
            "nothing in,\nTLS out",
            ("ec2/securityGroup:SecurityGroup workers",),
        ),
        Node(
            f"database-{zone}",
            (2.85, y + 1.0),
            "database",
            "aws/database/aurora-instance",
            "fargate only",
            ("ec2/securityGroup:SecurityGroup database",),
        ),
        Node(
            f"nat-{zone}",
            (5.8, y + 1.0),
            "NAT",
            "aws/network/nat-gateway",
            "fixed address",
            (f"ec2/eip:Eip egress-{zone}",),
        ),
    )
    edges = (
        Edge(f"workers-{zone}", f"database-{zone}", "TLS", kind="data"),
        Edge(f"workers-{zone}", f"nat-{zone}"),
        Edge(f"nat-{zone}", "internet", via=[(7.5, y + 1.0)]),
    )
    return groups, nodes, edges


_GROUPS, _NODES, _EDGES = zip(*map(_zone, ZONES), strict=True)

DIAGRAM = Diagram(
    name="network",
    title="The network: private subnets, fixed ways out, nothing open to the outside",
    size=(9.3, 6.5),
    groups=(
        Group(
            "VPC",
            (1.95, 0.15),
            (6.85, 6.4),
            VIOLET,
            shows=("awsx:ec2:Vpc vpc", "ec2/defaultSecurityGroup:DefaultSecurityGroup default"),
        ),
        *(group for groups in _GROUPS for group in groups),
    ),
    nodes=(
        *(node for nodes in _NODES for node in nodes),
        Node(
            "gateway-endpoints",
            (2.85, 5.45),
            "gateway endpoints",
            "aws/network/endpoint",
            "DynamoDB, S3",
            ("endpoint dynamodb", "endpoint s3"),
        ),
        Node(
            "interface-endpoints",
            (4.35, 5.45),
            "interface endpoints",
            "aws/network/privatelink",
            "by setting",
            ("ec2/vpcEndpoint:VpcEndpoint *", "ec2/securityGroup:SecurityGroup endpoints"),
        ),
        Node(
            "flow-logs",
            (5.85, 5.45),
            "flow logs",
            "aws/network/vpc-flow-logs",
            "all traffic",
            ("ec2/flowLog:FlowLog flow-logs",),
        ),
        Node("internet", (7.5, 2.65), "internet gateway", "aws/network/internet-gateway"),
        Node(
            "gateway",
            (8.7, 2.65),
            "Payment gateway",
            "aws/general/generic-office-building",
            "allow-lists our\naddresses",
        ),
        Node("aws", (0.8, 5.45), "AWS services", "aws/general/general", "without internet"),
    ),
    edges=(
        *(edge for edges in _EDGES for edge in edges),
        Edge("internet", "gateway", "TLS"),
        Edge("gateway-endpoints", "aws", kind="data"),
    ),
)
