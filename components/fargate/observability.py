"""What is watched in the fargate alternative: its metrics, alarms and graphs, as rows."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components.observability import (
    MINUTE,
    Alarm,
    Formula,
    Metric,
    Missing,
    Severity,
    Statistic,
    Widget,
    ours,
)
from components.settings import Settings

WRAPAROUND = 1_000_000_000
"""Transaction ids in use; at 2 billion PostgreSQL refuses to write. Vacuum keeps it under 200 million when it can."""
DEPLOYMENT_ALARMS = ("oldest-pending",)
"""While one of these is raised, a deployment under way is rolled back. One that is raised before the deployment starts
is left out by ECS, so that a mend can always go out."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The names that CloudWatch knows our resources by. All are chosen by us, so alarms can come before the service."""

    cluster: pulumi.Input[str]
    service: pulumi.Input[str]
    database: pulumi.Input[str]
    deployment_rule: pulumi.Input[str]
    """The EventBridge rule that matches failed deployments."""
    publisher: pulumi.Input[str] | None = None
    """The function that watches the backlog while no task runs, where there is one."""
    dead_letter_queue: pulumi.Input[str] | None = None


class Metrics:
    """Every metric that we alarm on, scale by or draw, by name."""

    def __init__(self, settings: Settings, sources: Sources) -> None:
        self._settings = settings
        self.sources = sources

    def ours(self, name: str, statistic: Statistic, unit: str = "Count") -> Metric:
        return ours(self._settings, name, statistic, unit)

    def tasks(self, name: str, statistic: Statistic = "Average") -> Metric:
        """Container Insights: ECS itself counts no tasks."""
        return Metric(name, "ECS/ContainerInsights", self._service, statistic, "Count")

    def service(self, name: str, statistic: Statistic = "Average") -> Metric:
        return Metric(name, "AWS/ECS", self._service, statistic, "Percent")

    def database(self, name: str, statistic: Statistic = "Maximum", unit: str = "Count") -> Metric:
        return Metric(name, "AWS/RDS", {"DBClusterIdentifier": self.sources.database}, statistic, unit)

    def failed_deployments(self) -> Metric:
        return Metric("TriggeredRules", "AWS/Events", {"RuleName": self.sources.deployment_rule}, "Sum", "Count")

    def publisher(self, name: str, statistic: Statistic = "Sum") -> Metric | None:
        if self.sources.publisher is None:
            return None
        return Metric(name, "AWS/Lambda", {"FunctionName": self.sources.publisher}, statistic, "Count")

    def dead_letters(self) -> Metric | None:
        if self.sources.dead_letter_queue is None:
            return None
        dimensions = {"QueueName": self.sources.dead_letter_queue}
        return Metric("ApproximateNumberOfMessagesVisible", "AWS/SQS", dimensions, "Maximum", "Count")

    @property
    def _service(self) -> dict[str, pulumi.Input[str]]:
        return {"ClusterName": self.sources.cluster, "ServiceName": self.sources.service}


def alarms(settings: Settings, metrics: Metrics, report_seconds: int) -> tuple[Alarm, ...]:
    """The alarms, as rows. `report_seconds` is how often somebody reports the backlog at the least."""
    page, inform = Severity.PAGE, Severity.INFORM
    rows = [
        Alarm(
            "oldest-pending",
            metrics.ours("OldestPendingAge", "Maximum", "Seconds"),
            threshold=settings.alarms.oldest_pending_seconds,
            period=MINUTE,
            periods=5,
            severity=page,
            description="A transaction has been due for longer than allowed: the gateway is down or slow, or the "
            "backlog grows faster than it is worked off. Start with: confirm status.",
        ),
        Alarm(
            "in-review",
            metrics.ours("InReview", "Maximum"),
            threshold=1,
            period=5 * MINUTE,
            severity=inform,
            description="A transaction waits for a person to decide, with its reason and deadline: confirm status.",
        ),
        Alarm(
            "silence",
            metrics.ours("Backlog", "SampleCount"),
            threshold=1,
            below=True,
            period=silence_seconds(report_seconds),
            severity=page,
            missing=Missing.ALARMING,
            description="Nobody has reported the backlog: no worker runs, or none can reach the database. Look at the "
            "service's events and the log group of the workers.",
        ),
        Alarm(
            "tasks-missing",
            Formula(
                "Tasks that should run and do not",
                "FILL(wanted, 0) - FILL(running, 0)",
                {"wanted": metrics.tasks("DesiredTaskCount"), "running": metrics.tasks("RunningTaskCount")},
            ),
            threshold=1,
            period=MINUTE,
            periods=15,
            severity=inform,
            description="Tasks have been missing for 15 minutes: they end as soon as they start, or Fargate has no "
            "capacity. Find it: aws ecs describe-services, and the stopped tasks' reasons.",
        ),
        Alarm(
            "deployment-failed",
            metrics.failed_deployments(),
            threshold=1,
            period=5 * MINUTE,
            severity=page,
            description="A deployment of the service failed, and ECS went back to the version before. The reason is "
            "in the service's events: aws ecs describe-services.",
        ),
        Alarm(
            "task-memory",
            metrics.service("MemoryUtilization", "Maximum"),
            threshold=85,
            period=5 * MINUTE,
            periods=3,
            severity=inform,
            description="A task uses more than 85 percent of its memory; at 100 it is killed, and leases bring its "
            "work back. Raise taskMemoryMb, or lower gatewayConcurrency.",
        ),
        Alarm(
            "database-at-its-limit",
            metrics.database("ACUUtilization", "Average"),
            threshold=90,
            period=5 * MINUTE,
            periods=3,
            severity=inform,
            description="Aurora has been near maxCapacityUnits for 15 minutes and cannot grow further. Raise it, or "
            "look for what else uses the database.",
        ),
        Alarm(
            "deadlocks",
            metrics.database("Deadlocks", "Sum"),
            threshold=1,
            period=5 * MINUTE,
            severity=inform,
            description="PostgreSQL ended a deadlock. Ours lock in one order and have none: look for other clients in "
            "the database's log.",
        ),
        Alarm(
            "transaction-ids",
            metrics.database("MaximumUsedTransactionIDs"),
            threshold=WRAPAROUND,
            period=60 * MINUTE,
            severity=page,
            description="Vacuum does not keep up, and PostgreSQL will refuse to write at 2 billion: an old transaction "
            "or replication slot holds it back. Find it in pg_stat_activity.",
        ),
    ]
    errors, dead = metrics.publisher("Errors"), metrics.dead_letters()
    if errors is not None:
        rows.append(
            Alarm(
                "publisher-failed",
                errors,
                threshold=1,
                period=5 * MINUTE,
                periods=3,
                severity=page,
                description="The function that looks at the backlog while no task runs has failed for 15 minutes: "
                "nothing starts a task. Its log says why.",
            )
        )
    if dead is not None:
        rows.append(
            Alarm(
                "dead-letters",
                dead,
                threshold=1,
                period=MINUTE,
                severity=page,
                description="Scheduler could not start the function that looks at the backlog. The reason is in the "
                "message's attributes: aws sqs receive-message --message-attribute-names All.",
            )
        )
    return tuple(rows)


def silence_seconds(report_seconds: int) -> int:
    """Three reports missing, at least 5 minutes, in whole minutes."""
    return max(5 * MINUTE, -(-3 * report_seconds // MINUTE) * MINUTE)


def widgets(metrics: Metrics) -> tuple[Widget, ...]:
    """The dashboard, row by row: is the promise kept, what is done, what it takes."""
    publisher = [metric for name in ("Invocations", "Errors") if (metric := metrics.publisher(name)) is not None]
    return (
        Widget("Backlog", [metrics.ours("Backlog", "Maximum")]),
        Widget("Age of the oldest due transaction", [metrics.ours("OldestPendingAge", "Maximum", "Seconds")]),
        Widget("In review", [metrics.ours("InReview", "Maximum")]),
        Widget(
            "Outcomes",
            [metrics.ours(name, "Sum") for name in ("Confirmed", "Rejected", "Retried", "Review")],
            width=12,
        ),
        Widget(
            "Trouble",
            [
                *(metrics.ours(name, "Sum") for name in ("NotTried", "LostFences", "DatabaseLosses")),
                metrics.failed_deployments(),
                metrics.database("Deadlocks", "Sum"),
            ],
            width=12,
        ),
        Widget(
            "Where a batch's time goes",
            [metrics.ours(name, "p50", "Milliseconds") for name in ("ClaimMs", "ConfirmMs", "SettleMs")],
        ),
        Widget("Tasks", [metrics.tasks(name) for name in ("DesiredTaskCount", "RunningTaskCount", "PendingTaskCount")]),
        Widget(
            "CPU and memory of a task", [metrics.service(n, "Maximum") for n in ("CPUUtilization", "MemoryUtilization")]
        ),
        Widget(
            "Aurora's capacity",
            [metrics.database("ServerlessDatabaseCapacity"), metrics.database("ACUUtilization", "Average", "Percent")],
            width=12,
        ),
        Widget(
            "Connections and commits",
            [metrics.database("DatabaseConnections"), metrics.database("CommitThroughput", "Average", "Count/Second")],
            width=12,
        ),
        Widget("Commit latency", [metrics.database("CommitLatency", "Average", "Milliseconds")]),
        Widget("Transaction ids in use", [metrics.database("MaximumUsedTransactionIDs")]),
        Widget("Look at the backlog without tasks", publisher)
        if publisher
        else Widget("Volume", [metrics.database("VolumeBytesUsed", "Average", "Bytes")], period=60 * MINUTE),
    )
