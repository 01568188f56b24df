"""What both alternatives have, drawn in the same places: who is outside, and the band below that watches all."""

from __future__ import annotations

from analysis.diagrams.model import Edge, Group, Node, Point

BLACK, VIOLET, GREEN, ORANGE = "#232f3e", "#7b3fb5", "#3b7d23", "#b8560d"
BAND = 7.15
"""The row of what watches."""

SIZE = (8.6, 8.2)

VPC = (
    "awsx:ec2:Vpc vpc",
    "ec2/defaultSecurityGroup:DefaultSecurityGroup default",
    "ec2/securityGroup:SecurityGroup *",
    "ec2/flowLog:FlowLog flow-logs",
    "ec2/vpcEndpoint:VpcEndpoint *",
    "iam/role:Role flow-logs",
)
"""What analysis/diagrams/network.py draws one by one."""


def frames(vpc_ends: float) -> tuple[Group, ...]:
    """Account, VPC (down to the row `vpc_ends`) and the band that watches."""
    return (
        Group("AWS account, one region", (1.2, 0.1), (7.3, 8.05), BLACK),
        Group("VPC, private subnets", (3.95, 0.3), (6.85, vpc_ends), VIOLET, fill="#fbf9fe", shows=VPC),
        Group("watches and protects all of the above", (1.35, 6.5), (7.15, 7.92), GREEN, fill="#f6faf4"),
    )


GATEWAY = Node("gateway", (8.0, 2.25), "Payment gateway", "aws/general/generic-office-building", "yours")
PRODUCERS = Node("producers", (0.6, 6.1), "Producers", "aws/general/traditional-server", "your systems")
OPERATORS = Node("operators", (8.0, BAND), "Operators", "aws/general/users", "ask and approve:\ntwo people")


def desk(at: Point, *also: str) -> Node:
    """What alone takes transactions out of REVIEW."""
    return Node(
        "desk",
        at,
        "desk",
        "aws/compute/lambda",
        "maker, checker",
        ("lambda/function:Function desk-*", "iam/role:Role desk-*", *also),
    )


NAT = Node("nat", (6.2, 2.25), "NAT", "aws/network/nat-gateway", "fixed addresses", ("ec2/eip:Eip egress-*",))


def watchers(*extra: str) -> tuple[Node, ...]:
    """The band. `extra` is what else raises alarms."""
    return (
        Node(
            "keys",
            (1.85, BAND),
            "Keys, access",
            "aws/security/key-management-service",
            "KMS; operators'\npolicies",
            ("kms/key:Key *", "kms/alias:Alias *", "iam/policy:Policy operators*"),
            everywhere=True,
        ),
        Node(
            "backups",
            (2.85, BAND),
            "Backup vault",
            "aws/storage/backup",
            "weekly copies,\nlocked in prod",
            ("backup/*", "iam/role:Role backup"),
            everywhere=True,
        ),
        Node(
            "logs",
            (3.95, BAND),
            "Logs, traces",
            "aws/management/cloudwatch-logs",
            "JSON, metrics\nfrom the lines",
            (
                "cloudwatch/logGroup:LogGroup *",
                "cloudwatch/logDataProtectionPolicy:LogDataProtectionPolicy *",
                "cloudwatch/queryDefinition:QueryDefinition *",
            ),
            everywhere=True,
        ),
        Node(
            "alarms",
            (5.2, BAND),
            "Alarms, dashboard",
            "aws/management/cloudwatch-alarm",
            "",
            (
                "cloudwatch/*Alarm *",
                "cloudwatch/dashboard:Dashboard *",
                "budgets/*",
                "fis/*",
                "iam/role:Role experiment-*",
                *extra,
            ),
            everywhere=True,
        ),
        Node(
            "topic",
            (6.4, BAND),
            "Topics",
            "aws/integration/simple-notification-service-sns-topic",
            "mail, Slack,\nPagerDuty",
            (
                "sns/topic:Topic *",
                "sns/topicSubscription:TopicSubscription pager-duty",
                "chatbot/*",
                "iam/role:Role slack",
                "iam/rolePolicy:RolePolicy slack",
            ),
            everywhere=True,
        ),
    )


OUTSIDE = (
    Edge("alarms", "topic"),
    Edge("topic", "operators", "page or inform", outside=True),
)


def secret(at: Point) -> Node:
    """The gateway's API key."""
    shows = ("secretsmanager/secret:Secret gateway-key",)
    return Node("secret", at, "Gateway key", "aws/security/secrets-manager", "", shows)
