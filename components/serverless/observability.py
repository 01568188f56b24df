"""What is watched in the serverless alternative, as one table: metrics, graphs, alarms, pages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from components.encryption import Encryption
from components.foundation import Foundation
from components.observability import shared
from components.observability.component import Observability, WatchArgs
from components.observability.table import (
    DAY,
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
from components.serverless.compute import FUNCTIONS, ServerlessCompute
from components.serverless.datastore import INDEX, DynamoDbDatastore
from components.serverless.settings import FunctionSettings, RunSettings, TableSettings
from components.settings import Settings

RUNS, RUN_TIME, STARTS = "Runs", "Time of a run", "What starts runs"
CALLS, CALL_TIME, SIDE_BY_SIDE = "Lambda: calls and errors", "Lambda: longest call", "Lambda: side by side"
UNITS, THROTTLES, ERRORS = "DynamoDB: units used", "DynamoDB: throttled", "DynamoDB: its own errors"
GRAPHS = (
    *(Graph(title) for title in (RUNS, RUN_TIME, STARTS)),
    *(Graph(title) for title in (CALLS, CALL_TIME, SIDE_BY_SIDE)),
    *(Graph(title) for title in (UNITS, THROTTLES, ERRORS)),
    Graph("Where a batch's time goes", width=12),
    Graph(shared.BILL.title, 12, shared.BILL.period, shared.BILL.region),
)


@dataclass(frozen=True, slots=True)
class Sources:
    """The names that CloudWatch knows our resources by."""

    state_machine_arn: pulumi.Input[str]
    schedule_group: pulumi.Input[str]
    dead_letter_queue: pulumi.Input[str]
    table_name: pulumi.Input[str]
    index_name: str
    functions: Mapping[str, pulumi.Input[str]]


@dataclass(frozen=True, slots=True)
class ServerlessObservabilityArgs:
    base: Foundation
    sources: Sources
    log_key_arn: pulumi.Input[str]

    @classmethod
    def of(
        cls, base: Foundation, encryption: Encryption, datastore: DynamoDbDatastore, compute: ServerlessCompute
    ) -> ServerlessObservabilityArgs:
        sources = Sources(
            state_machine_arn=compute.machine.arn,
            schedule_group=compute.group.name,
            dead_letter_queue=compute.dead_letters.name,
            table_name=datastore.table_name,
            index_name=INDEX,
            functions={name: compute.functions[name].name for name in FUNCTIONS},
        )
        return cls(base, sources, encryption.log_key.arn)


class ServerlessObservability(Observability):
    """Alarms and dashboard of the table below."""

    def __init__(
        self, name: str, args: ServerlessObservabilityArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, opts)
        settings, account = args.base.settings, args.base.account
        self._watch(WatchArgs(settings, account, table(settings, args.sources), notes(settings), args.log_key_arn))


def table(settings: Settings, sources: Sources) -> Table:
    """The whole table."""
    rows = (
        *shared.promise(settings),
        *shared.gateway(settings),
        *shared.canary(settings),
        *_runs(settings, sources),
        *_functions(settings, sources),
        *_dynamodb(sources),
        *shared.batch_times(settings),
        Signal(billing(), shared.BILL.title),
    )
    watched = {row.alarm.name for row in rows if row.alarm}
    still = ("silence", "no-report", "dead-letters", "run-failed", "run-timed-out")
    return Table(
        (*shared.graphs(settings), *GRAPHS),
        rows,
        (
            Page(
                "work-stands-still",
                tuple(name for name in still if name in watched),
                "Runs do not start, fail, or never get as far as a look at the backlog: nothing is confirmed.",
            ),
            *shared.pages(settings),
        ),
    )


def _runs(settings: Settings, sources: Sources) -> tuple[Signal, ...]:
    def states(name: str, statistic: Statistic = "Sum", unit: str = "Count") -> Metric:
        return Metric(name, "AWS/States", {"StateMachineArn": sources.state_machine_arn}, statistic, unit)

    def scheduler(name: str) -> Metric:
        return Metric(name, "AWS/Scheduler", {"ScheduleGroup": sources.schedule_group}, "Sum", "Count")

    def once(name: str, description: str, runbook: str = "runs") -> Alarm:
        return Alarm(name, 1, 5 * MINUTE, description, runbook)

    silence = Alarm(
        "silence",
        1,
        silence_seconds(settings),
        "No run has started for three times the schedule's period. Is the schedule enabled?",
        "work-stands-still",
        below=True,
        missing=Missing.ALARMING,
    )
    no_report = Alarm(
        "no-report",
        1,
        silence_seconds(settings),
        "Runs may start, but none has reported the backlog for three times the schedule's period: the function plan "
        "fails, or cannot read the table.",
        "work-stands-still",
        below=True,
        missing=Missing.ALARMING,
    )
    letters = Metric(
        "ApproximateNumberOfMessagesVisible", "AWS/SQS", {"QueueName": sources.dead_letter_queue}, "Maximum", "Count"
    )
    backlog = ours(settings, "Backlog", "Maximum")
    reports = ours(settings, "Backlog", "SampleCount")
    # alarms look back a day at most; a cron schedule may rest for most of one
    period = settings.part(RunSettings).period_seconds
    often = period is None or period <= DAY // 3
    return (
        Signal(backlog, "Backlog"),
        Signal(
            ours(settings, "BatchesFailed", "Sum"),
            "Trouble",
            once(
                "batches-failed",
                "A Lambda died or broke down in the middle of a batch (a failed child of the Distributed Map). Leases "
                "bring the work back; the cause is in the log of function confirm.",
            ),
        ),
        Signal(states("ExecutionsStarted"), RUNS, silence if often else None),
        Signal(reports, RUNS, no_report if often else None),
        Signal(states("ExecutionsSucceeded"), RUNS),
        Signal(
            states("ExecutionsFailed"),
            RUNS,
            once("run-failed", "A run ended in RunFailed. The next one takes up the work once the leases have ended."),
        ),
        Signal(
            states("ExecutionsTimedOut"),
            RUNS,
            once("run-timed-out", "A run outlasted every limit it has: it hung. Look at its last state."),
        ),
        Signal(
            states("ExecutionsAborted"),
            RUNS,
            once("run-aborted", "Somebody stopped a run by hand. The run lock ends by itself."),
        ),
        Signal(
            states("ExecutionThrottled"),
            RUNS,
            once("runs-throttled", "Step Functions holds back transitions of states: the account's quota is used up."),
        ),
        Signal(
            states("ExecutionTime", "Maximum", "Milliseconds"),
            RUN_TIME,
            Alarm(
                "run-slow",
                settings.alarms.oldest_pending_seconds * 1000,
                15 * MINUTE,
                "A run took longer than a transaction may be due. What came in meanwhile had to wait for its end.",
                "runs",
            ),
        ),
        Signal(scheduler("InvocationAttemptCount"), STARTS),
        Signal(
            scheduler("InvocationDroppedCount"),
            STARTS,
            once("starts-dropped", "Scheduler gave up on starting a run, after all its retries."),
        ),
        Signal(scheduler("TargetErrorCount"), STARTS),
        Signal(
            letters,
            STARTS,
            Alarm(
                "dead-letters",
                1,
                MINUTE,
                "Scheduler could not start a run. The reason is in the message's attributes.",
                "work-stands-still",
            ),
        ),
    )


def _functions(settings: Settings, sources: Sources) -> tuple[Signal, ...]:
    def function(function: str, name: str, statistic: Statistic = "Sum", unit: str = "Count") -> Metric:
        return Metric(name, "AWS/Lambda", {"FunctionName": sources.functions[function]}, statistic, unit)

    return (
        Signal(function("confirm", "Invocations"), CALLS),
        Signal(
            Formula(
                "Calls of functions that failed",
                "FILL(plan, 0) + FILL(confirm, 0) + FILL(report, 0)",
                {name: function(name, "Errors") for name in ("plan", "confirm", "report")},
            ),
            CALLS,
            Alarm(
                "function-errors",
                Levels(dev=3, staging=1, prod=1),
                5 * MINUTE,
                "A Lambda failed: an exception, a time-out, or too little memory. Its log says which.",
                "functions",
            ),
        ),
        Signal(
            function("confirm", "Duration", "Maximum", "Milliseconds"),
            CALL_TIME,
            Alarm(
                "function-slow",
                settings.part(FunctionSettings).timeout_seconds * 900,
                5 * MINUTE,
                "A batch took nine tenths of the function's time limit. Lower batchSize, or raise "
                "lambdaTimeoutSeconds and with it leaseSeconds.",
                "functions",
            ),
        ),
        Signal(function("confirm", "ConcurrentExecutions", "Maximum"), SIDE_BY_SIDE),
        Signal(
            function("confirm", "Throttles"),
            SIDE_BY_SIDE,
            Alarm(
                "functions-throttled",
                Levels(dev=10, staging=1, prod=1),
                5 * MINUTE,
                "Lambda refused to run a batch: the account's concurrency, or what is reserved, is used up. The state "
                "machine tries again.",
                "functions",
            ),
        ),
    )


def _dynamodb(sources: Sources) -> tuple[Signal, ...]:
    def of_table(name: str, **dimensions: str) -> Metric:
        return Metric(name, "AWS/DynamoDB", {"TableName": sources.table_name, **dimensions}, "Sum", "Count")

    index = {"GlobalSecondaryIndexName": sources.index_name}
    return (
        Signal(of_table("ConsumedWriteCapacityUnits"), UNITS),
        Signal(of_table("ConsumedReadCapacityUnits"), UNITS),
        # an index has figures of its own, which the table's do not hold
        Signal(of_table("ConsumedWriteCapacityUnits", **index), UNITS),
        Signal(of_table("ConsumedReadCapacityUnits", **index), UNITS),
        Signal(
            Formula(
                "Throttled reads and writes of the table, and writes of its index",
                "FILL(reads, 0) + FILL(writes, 0) + FILL(index_writes, 0)",
                {
                    "reads": of_table("ReadThrottleEvents"),
                    "writes": of_table("WriteThrottleEvents"),
                    "index_writes": of_table("WriteThrottleEvents", **index),
                },
            ),
            THROTTLES,
            Alarm(
                "table-throttled",
                Levels(dev=100, staging=10, prod=10),
                5 * MINUTE,
                "DynamoDB holds back reads or writes. The graph says whether a key or a shard is too hot, Contributor "
                "Insights says which; pendingShards spreads the index.",
                "table",
            ),
        ),
        # reads of the index are Plan's alone, whose run fails aloud when they are held back for long
        Signal(of_table("ReadThrottleEvents", **index), THROTTLES),
        # why it does: a key or a shard that is too hot, whose name Contributor Insights has, or the account's own limit
        Signal(of_table("WriteKeyRangeThroughputThrottleEvents"), THROTTLES),
        Signal(of_table("WriteKeyRangeThroughputThrottleEvents", **index), THROTTLES),
        Signal(of_table("WriteAccountLimitThrottleEvents"), THROTTLES),
        Signal(
            Formula(
                "Errors of DynamoDB itself",
                "FILL(writes, 0) + FILL(queries, 0)",
                {
                    "writes": of_table("SystemErrors", Operation="BatchExecuteStatement"),
                    "queries": of_table("SystemErrors", Operation="Query"),
                },
            ),
            ERRORS,
            Alarm(
                "table-errors",
                Levels(dev=10, staging=5, prod=5),
                5 * MINUTE,
                "DynamoDB answers with errors of its own (HTTP 500). Calls are repeated; if it lasts, it is an event "
                "in the AWS Health Dashboard.",
                "table",
            ),
        ),
    )


def silence_seconds(settings: Settings) -> int:
    """Three periods of the schedule, at least 5 minutes, in whole minutes; a day for cron schedules."""
    period = settings.part(RunSettings).period_seconds
    return DAY if period is None else max(5 * MINUTE, math.ceil(3 * period / MINUTE) * MINUTE)


def notes(settings: Settings) -> str:
    """Under the dashboard."""
    commands = {
        "What is open, and what waits for a person": "confirm status --all",
        "What happened to a transaction": "confirm show ID",
    }
    if settings.part(TableSettings).contributor_insights:
        commands["Which keys DynamoDB throttles"] = (
            "aws dynamodb describe-contributor-insights --table-name $(pulumi stack output tableName)"
        )
    return shared.notes(commands)
