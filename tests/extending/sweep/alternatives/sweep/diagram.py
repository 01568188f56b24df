"""The picture of the sweep alternative."""

from __future__ import annotations

from analysis.diagrams import shared
from analysis.diagrams.model import Diagram, Edge, Node

DIAGRAM = Diagram(
    name="sweep",
    title="sweep: one Lambda, by the schedule, over what is due",
    size=shared.SIZE,
    groups=shared.frames(vpc_ends=4.3),
    nodes=(
        Node(
            "scheduler",
            (1.85, 2.25),
            "Scheduler",
            "aws/integration/eventbridge-scheduler",
            "by the schedule",
            ("scheduler/schedule:Schedule run", "scheduler/scheduleGroup:ScheduleGroup *", "iam/role:Role scheduler"),
        ),
        Node(
            "dead-letters",
            (1.85, 4.1),
            "Dead letters",
            "aws/integration/simple-queue-service-sqs-queue",
            "starts that failed",
            ("sqs/queue:Queue dead-letters",),
        ),
        Node(
            "confirm",
            (4.65, 2.25),
            "confirm",
            "aws/compute/lambda",
            "all that is due",
            ("lambda/function:Function confirm", "iam/role:Role confirm"),
        ),
        shared.NAT,
        Node(
            "table",
            (5.4, 5.0),
            "Transactions",
            "aws/database/dynamodb-table",
            "sparse index\nof open work",
            ("dynamodb/table:Table transactions",),
        ),
        shared.secret((6.65, 5.0)),
        *shared.watchers(),
        shared.GATEWAY,
        shared.PRODUCERS,
        shared.OPERATORS,
    ),
    edges=(
        Edge("scheduler", "confirm", "starts"),
        Edge("scheduler", "dead-letters", kind="aside"),
        Edge("confirm", "table", "claim, settle", via=[(5.4, 2.25)], at=(5.4, 3.1), kind="data"),
        Edge("confirm", "secret", via=[(5.8, 2.42), (5.8, 5.0)], kind="aside"),
        Edge("confirm", "nat", outside=True),
        Edge("nat", "gateway", "ask, confirm:\none key each", at=(7.1, 2.25), outside=True),
        Edge("producers", "table", "PutItem", via=[(5.3, 6.1)], at=(2.6, 6.1), outside=True),
        Edge("operators", "table", "", via=[(8.0, 6.1), (5.5, 6.1)], kind="aside", outside=True),
        *shared.OUTSIDE,
    ),
)
