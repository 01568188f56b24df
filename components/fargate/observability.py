"""What is watched in the fargate alternative, as one table: metrics, graphs, alarms, pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi

from components.account import Account
from components.aurora import capacity
from components.aurora.datastore import AuroraDatastore
from components.aurora.settings import DatabaseSettings, Insights
from components.encryption import Encryption
from components.fargate.containers import SERVICE_NAME
from components.fargate.deployments import Deployments, DeploymentsArgs
from components.fargate.publisher import Publisher, PublisherArgs, publisher_minutes
from components.fargate.settings import ServiceSettings
from components.foundation import Foundation, inside
from components.network import Network
from components.observability import shared
from components.observability.component import Observability, WatchArgs
from components.observability.table import (
    MINUTE,
    Alarm,
    Formula,
    Graph,
    Levels,
    Metric,
    Missing,
    Page,
    Signal,
    Statistic,
    Table,
    billing,
    ours,
)
from components.settings import Settings

WRAPAROUND = 1_000_000_000
"""Transaction ids in use; at 2 billion PostgreSQL refuses to write. Vacuum keeps it under 200 million when it can."""
ANY_DEADLOCK = 0.001
"""A second. Aurora reports an average: a single one within a minute is 0.017, which no threshold of 1 ever sees."""
METRICS_SECONDS = 15
"""How often a worker reports the backlog."""
DEPLOYMENT_ALARMS = ("oldest-pending",)
"""While one of these is raised, a deployment under way is rolled back. One that is raised before the deployment starts
is left out by ECS, so that a mend can always go out."""

TASKS, LOAD, DEPLOYMENTS = "Tasks", "CPU and memory of a task", "Deployments that failed"
CAPACITY, CONNECTIONS, COMMITS = "Aurora: capacity", "Aurora: connections", "Aurora: time of a commit"
LOCKS, IDS, LAG = "Aurora: deadlocks", "Aurora: transaction ids in use", "Aurora: a reader lags behind"
SESSIONS, LOOKS = "Aurora: sessions at work", "Looks at the backlog without tasks"


def graphs(settings: Settings, sources: Sources) -> tuple[Graph, ...]:
    """The dashboard, row by row; what a stack does not have is not drawn."""
    own = settings.part(DatabaseSettings)
    database = [CAPACITY, CONNECTIONS, COMMITS, LOCKS, IDS]
    if own.instances > 1:
        database.append(LAG)
    if own.insights is not Insights.OFF:
        database.append(SESSIONS)
    titles = [TASKS, LOAD, DEPLOYMENTS, *database, *([LOOKS] if sources.publisher is not None else [])]
    return (
        *shared.graphs(settings),
        *(Graph(title) for title in titles),
        Graph("Where a batch's time goes"),
        shared.BILL,
    )


@dataclass(frozen=True, slots=True)
class Sources:
    """The names that CloudWatch knows our resources by. All but the instances' are chosen by us, so alarms can come
    before the service."""

    cluster: pulumi.Input[str]
    service: pulumi.Input[str]
    database: pulumi.Input[str]
    instances: Sequence[pulumi.Input[str]]
    deployment_rule: pulumi.Input[str]
    """The EventBridge rule that matches failed deployments."""
    publisher: pulumi.Input[str] | None = None
    """The function that watches the backlog while no task runs, where there is one."""
    dead_letter_queue: pulumi.Input[str] | None = None
    schedule_group: pulumi.Input[str] | None = None


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

    @property
    def _service(self) -> dict[str, pulumi.Input[str]]:
        return {"ClusterName": self.sources.cluster, "ServiceName": self.sources.service}


@dataclass(frozen=True, slots=True)
class FargateObservabilityArgs:
    settings: Settings
    account: Account
    subnet_ids: pulumi.Input[Sequence[str]]
    security_group_id: pulumi.Input[str]
    cluster_arn: pulumi.Input[str]
    instances: Sequence[pulumi.Input[str]]
    data_key_arn: pulumi.Input[str]
    log_key_arn: pulumi.Input[str]

    @classmethod
    def of(
        cls, base: Foundation, encryption: Encryption, network: Network, datastore: AuroraDatastore
    ) -> FargateObservabilityArgs:
        return cls(
            settings=base.settings,
            account=base.account,
            subnet_ids=network.subnet_ids,
            security_group_id=network.security_group_id,
            cluster_arn=datastore.cluster.arn,
            instances=[instance.identifier for instance in datastore.instances],
            data_key_arn=encryption.data_key.arn,
            log_key_arn=encryption.log_key.arn,
        )


class FargateObservability(Observability):
    """Alarms and dashboard of the table below.

    Creates: what counts failed deployments; where no task need run, the publisher of the backlog.
    """

    metrics: Metrics
    publisher: Publisher | None = None

    def __init__(self, name: str, args: FargateObservabilityArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        settings, account = args.settings, args.account
        if settings.part(ServiceSettings).sleeps:
            self.publisher = Publisher(
                "publisher",
                PublisherArgs(
                    settings=settings,
                    account=account,
                    cluster_arn=args.cluster_arn,
                    subnet_ids=args.subnet_ids,
                    security_group_id=args.security_group_id,
                    data_key_arn=args.data_key_arn,
                    log_key_arn=args.log_key_arn,
                ),
                inside(self),
            )
        deployments = Deployments(
            "deployments",
            DeploymentsArgs(settings, account, account.prefix, SERVICE_NAME, args.log_key_arn),
            inside(self),
        )
        publisher = self.publisher
        self.metrics = Metrics(
            settings,
            Sources(
                cluster=account.prefix,
                service=SERVICE_NAME,
                database=account.identifier,
                instances=args.instances,
                deployment_rule=deployments.rule.name,
                publisher=publisher.function.name if publisher else None,
                dead_letter_queue=publisher.dead_letters.name if publisher else None,
                schedule_group=publisher.group.name if publisher else None,
            ),
        )
        report_seconds = publisher_minutes(settings) * MINUTE if publisher else METRICS_SECONDS
        watched = table(settings, self.metrics, report_seconds)
        self._watch(WatchArgs(settings, account, watched, notes(settings), args.log_key_arn))


def table(settings: Settings, metrics: Metrics, report_seconds: int) -> Table:
    """The whole table. `report_seconds` is how often somebody reports the backlog at the least."""
    rows = (
        *shared.promise(settings),
        *shared.gateway(settings),
        *shared.canary(settings),
        *_service(metrics, report_seconds),
        *_database(settings, metrics),
        *_publisher(metrics.sources),
        *shared.batch_times(settings),
        Signal(billing(), shared.BILL.title),
    )
    watched = {row.alarm.name for row in rows if row.alarm}
    return Table(
        graphs(settings, metrics.sources),
        rows,
        (
            Page(
                "work-stands-still",
                tuple(name for name in ("silence", "publisher-failed", "dead-letters") if name in watched),
                "Nobody has reported the backlog: no worker runs, or none can reach the database. Nothing is "
                "confirmed.",
            ),
            *shared.pages(settings),
            Page(
                "database-in-danger",
                ("transaction-ids",),
                "PostgreSQL will refuse to write when it runs out of transaction ids, and vacuum does not keep up.",
            ),
        ),
    )


def _service(metrics: Metrics, report_seconds: int) -> tuple[Signal, ...]:
    return (
        Signal(metrics.ours("Backlog", "Maximum"), "Backlog"),
        Signal(
            metrics.ours("DatabaseLosses", "Sum"),
            "Trouble",
            Alarm(
                "database-lost",
                Levels(dev=20, staging=10, prod=10),
                5 * MINUTE,
                "Workers lose the database again and again, and wait for it: a failover, or too many connections.",
                "database",
            ),
        ),
        Signal(
            metrics.ours("Backlog", "SampleCount"),
            TASKS,
            Alarm(
                "silence",
                1,
                silence_seconds(report_seconds),
                "Nobody has reported the backlog: no worker runs, or none can reach the database. Look at the "
                "service's events and the log group of the workers.",
                "work-stands-still",
                below=True,
                missing=Missing.ALARMING,
            ),
        ),
        Signal(
            Formula(
                "Tasks that should run and do not",
                "FILL(wanted, 0) - FILL(running, 0)",
                {"wanted": metrics.tasks("DesiredTaskCount"), "running": metrics.tasks("RunningTaskCount")},
            ),
            TASKS,
            Alarm(
                "tasks-missing",
                1,
                MINUTE,
                "Tasks have been missing for 15 minutes: they end as soon as they start, or Fargate has no capacity. "
                "The service's events and the stopped tasks' reasons say which.",
                "tasks",
                periods=15,
            ),
        ),
        Signal(
            metrics.service("CPUUtilization", "Maximum"),
            LOAD,
            Alarm(
                "task-cpu",
                95,
                5 * MINUTE,
                "A task has had no CPU to spare for half an hour. More tasks share the work (maxTasks); scaling "
                "looks at backlog and age, not at this.",
                "tasks",
                periods=6,
            ),
        ),
        Signal(
            metrics.service("MemoryUtilization", "Maximum"),
            LOAD,
            Alarm(
                "task-memory",
                85,
                5 * MINUTE,
                "A task uses more than 85 percent of its memory; at 100 it is killed, and leases bring its work back. "
                "Raise taskMemoryMb, or lower gatewayConcurrency.",
                "tasks",
                periods=3,
            ),
        ),
        Signal(
            metrics.failed_deployments(),
            DEPLOYMENTS,
            Alarm(
                "deployment-failed",
                1,
                5 * MINUTE,
                "A deployment of the service failed, and ECS went back to the version before. The reason is in the "
                "service's events.",
                "deployment-failed",
            ),
        ),
    )


def _database(settings: Settings, metrics: Metrics) -> tuple[Signal, ...]:
    the, database = metrics.database, settings.part(DatabaseSettings)
    each = capacity.connections_per_task(settings.canary is not None)
    lag = Signal(
        the("AuroraReplicaLag", "Maximum", "Milliseconds"),
        LAG,
        Alarm(
            "replica-lag",
            Levels(dev=10_000, staging=2_000, prod=2_000),
            MINUTE,
            "A reader lags seconds behind the writer: if it had to take over, that would take longer.",
            "database",
            periods=5,
        ),
    )
    load = [
        Metric("DBLoad", "AWS/RDS", {"DBInstanceIdentifier": one}, "Average", "Count")
        for one in metrics.sources.instances
    ]
    sessions = Signal(
        Formula(
            "Sessions at work on all instances",
            " + ".join(f"FILL(i{n}, 0)" for n, _ in enumerate(load, start=1)),
            {f"i{n}": metric for n, metric in enumerate(load, start=1)},
        ),
        SESSIONS,
        Alarm(
            "database-load",
            # an ACU has about a quarter of a virtual CPU; more sessions than CPUs wait for one
            max(2, database.max_capacity / 4),
            5 * MINUTE,
            "More sessions are at work in the database than it has CPUs at maxCapacityUnits. Database Insights says "
            "what they wait for, where databaseInsights is on.",
            "database",
            periods=3,
        ),
    )
    return (
        Signal(the("ServerlessDatabaseCapacity"), CAPACITY),
        Signal(
            the("ACUUtilization", "Average", "Percent"),
            CAPACITY,
            Alarm(
                "database-at-its-limit",
                90,
                5 * MINUTE,
                "Aurora has been near maxCapacityUnits for 15 minutes and cannot grow further. Raise it, or look for "
                "what else uses the database.",
                "database",
                periods=3,
            ),
        ),
        Signal(
            the("DatabaseConnections"),
            CONNECTIONS,
            Alarm(
                "connections",
                (settings.part(ServiceSettings).max_tasks + 2) * each + capacity.SPARE_CONNECTIONS,
                5 * MINUTE,
                "The database has more connections than all workers together make, with room for people: somebody "
                "else uses it, or connections are left open.",
                "database",
                periods=3,
            ),
        ),
        Signal(the("CommitLatency", "Average", "Milliseconds"), COMMITS),
        Signal(
            the("Deadlocks", "Maximum", "Count/Second"),
            LOCKS,
            Alarm(
                "deadlocks",
                ANY_DEADLOCK,
                5 * MINUTE,
                "PostgreSQL ended a deadlock. Ours lock in one order and have none: look for other clients in the "
                "database's log.",
                "database",
            ),
        ),
        Signal(
            the("MaximumUsedTransactionIDs"),
            IDS,
            Alarm(
                "transaction-ids",
                WRAPAROUND,
                60 * MINUTE,
                "Vacuum does not keep up, and PostgreSQL will refuse to write at 2 billion: an old transaction or "
                "replication slot holds it back. Find it in pg_stat_activity.",
                "database-in-danger",
            ),
        ),
        *([lag] if database.instances > 1 else []),
        *([sessions] if database.insights is not Insights.OFF else []),
    )


def _publisher(sources: Sources) -> tuple[Signal, ...]:
    """Of stacks that may have no task running."""
    if sources.publisher is None or sources.dead_letter_queue is None or sources.schedule_group is None:
        return ()

    def function(name: str) -> Metric:
        return Metric(name, "AWS/Lambda", {"FunctionName": sources.publisher or ""}, "Sum", "Count")

    queue, group = {"QueueName": sources.dead_letter_queue}, {"ScheduleGroup": sources.schedule_group}
    return (
        Signal(function("Invocations"), LOOKS),
        Signal(
            function("Errors"),
            LOOKS,
            Alarm(
                "publisher-failed",
                1,
                5 * MINUTE,
                "The function that looks at the backlog while no task runs has failed for 15 minutes: nothing starts a "
                "task. Its log says why.",
                "work-stands-still",
                periods=3,
            ),
        ),
        Signal(
            Metric("ApproximateNumberOfMessagesVisible", "AWS/SQS", queue, "Maximum", "Count"),
            LOOKS,
            Alarm(
                "dead-letters",
                1,
                MINUTE,
                "Scheduler could not start the function that looks at the backlog. The reason is in the message's "
                "attributes.",
                "work-stands-still",
            ),
        ),
        Signal(
            Metric("InvocationDroppedCount", "AWS/Scheduler", group, "Sum", "Count"),
            LOOKS,
            Alarm(
                "starts-dropped",
                1,
                5 * MINUTE,
                "Scheduler gave up on starting the function that looks at the backlog, after all its retries.",
                "work-stands-still",
            ),
        ),
    )


def silence_seconds(report_seconds: int) -> int:
    """Three reports missing, at least 5 minutes, in whole minutes."""
    return max(5 * MINUTE, -(-3 * report_seconds // MINUTE) * MINUTE)


def notes(settings: Settings) -> str:
    """Under the dashboard."""
    commands = {
        "What is open, and what waits for a person": "confirm status --all",
        "What happened to a transaction": "confirm show ID",
        "What the service says": "aws ecs describe-services --cluster $(pulumi stack output clusterName) "
        "--services $(pulumi stack output serviceName)",
    }
    if settings.part(DatabaseSettings).insights is not Insights.OFF:
        commands["What the database waits for"] = "Database Insights, in the console of CloudWatch"
    return shared.notes(commands)
