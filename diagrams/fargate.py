"""The fargate alternative."""

from __future__ import annotations

from diagrams import shared
from diagrams.model import Diagram, Edge, Node

DIAGRAM = Diagram(
    name="fargate",
    title="fargate: a service that claims and confirms without pause, and scales on its backlog",
    size=shared.SIZE,
    groups=shared.frames(vpc_ends=5.95),
    nodes=(
        Node(
            "scaling",
            (1.85, 2.25),
            "Autoscaling",
            "aws/compute/application-auto-scaling",
            "backlog per task,\nage of the oldest",
            ("appautoscaling/*",),
        ),
        Node(
            "cluster",
            (3.05, 2.25),
            "ECS service",
            "aws/compute/elastic-container-service",
            "Fargate and\nFargate Spot",
            ("ecs/cluster:Cluster workers", "ecs/service:Service worker"),
        ),
        Node(
            "images",
            (3.05, 0.85),
            "Image",
            "aws/compute/ec2-container-registry",
            "by digest",
            ("ecr/repository:Repository workers", "awsx:ecr:Image workers"),
        ),
        Node(
            "workers",
            (4.65, 2.25),
            "tasks",
            "aws/compute/fargate",
            "claim, confirm,\nsettle",
            ("ecs/taskDefinition:TaskDefinition worker", "iam/role:Role worker*"),
        ),
        Node(
            "migrations",
            (4.65, 3.75),
            "migrations",
            "aws/compute/fargate",
            "a task before\nthe service",
            ("ecs/taskDefinition:TaskDefinition migrations", "iam/role:Role migrations*", "pulumi-python:* migrations"),
        ),
        Node(
            "database",
            (5.4, 5.0),
            "Transactions",
            "aws/database/aurora",
            "Aurora PostgreSQL\nServerless v2",
            ("rds/*",),
        ),
        Node(
            "publisher",
            (1.85, 3.9),
            "publisher",
            "aws/compute/lambda",
            "watches while\nno task runs",
            (
                "lambda/function:Function publisher",
                "scheduler/*",
                "sqs/queue:Queue dead-letters",
                "iam/role:Role publisher",
                "iam/role:Role scheduler",
            ),
        ),
        shared.secret((3.05, 4.2)),
        shared.NAT,
        *shared.watchers("cloudwatch/eventRule:EventRule deployment-failed", "cloudwatch/eventTarget:EventTarget *"),
        shared.GATEWAY,
        shared.PRODUCERS,
        shared.OPERATORS,
    ),
    edges=(
        Edge("scaling", "cluster", "count"),
        Edge("cluster", "workers", "runs", at=(3.7, 2.25)),
        Edge("cluster", "migrations", via=[(3.75, 2.25), (3.75, 3.75)], against=True),
        Edge("workers", "images", via=[(4.65, 0.85)], kind="aside"),
        Edge("migrations", "images", via=[(4.1, 3.6), (4.1, 1.02)], kind="aside"),
        Edge("workers", "secret", via=[(4.25, 2.42), (4.25, 4.2)], kind="aside"),
        Edge("workers", "database", "claim, settle", via=[(5.4, 2.25)], at=(5.4, 3.0), kind="data"),
        Edge("migrations", "database", via=[(5.4, 3.75)], kind="data"),
        Edge("publisher", "database", "counts", via=[(1.85, 5.05)], kind="aside"),
        Edge("workers", "nat", outside=True),
        Edge("nat", "gateway", "ask, confirm:\none key each", at=(7.1, 2.25), outside=True),
        Edge("producers", "database", "INSERT", via=[(5.3, 6.1)], at=(2.6, 6.1), outside=True),
        Edge("operators", "database", via=[(8.0, 6.1), (5.5, 6.1)], kind="aside", outside=True),
        *shared.OUTSIDE,
    ),
)
