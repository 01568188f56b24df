"""What is watched in the serverless alternative: its metrics, alarms and graphs, as rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from components.observability import DAY, MINUTE, Alarm, Metric, Missing, Severity, Statistic, Widget, ours
from components.settings import Settings


@dataclass(frozen=True, slots=True)
class Sources:
    """The names that CloudWatch knows our resources by."""

    state_machine_arn: pulumi.Input[str]
    schedule_group: pulumi.Input[str]
    dead_letter_queue: pulumi.Input[str]
    table_name: pulumi.Input[str]
    functions: Mapping[str, pulumi.Input[str]]


class Metrics:
    """Every metric that we alarm on or draw, by name."""

    def __init__(self, settings: Settings, sources: Sources) -> None:
        self._settings = settings
        self._sources = sources

    def ours(self, name: str, statistic: Statistic, unit: str = "Count") -> Metric:
        return ours(self._settings, name, statistic, unit)

    def states(self, name: str, statistic: Statistic = "Sum", unit: str = "Count") -> Metric:
        return Metric(name, "AWS/States", {"StateMachineArn": self._sources.state_machine_arn}, statistic, unit)

    def scheduler(self, name: str) -> Metric:
        return Metric(name, "AWS/Scheduler", {"ScheduleGroup": self._sources.schedule_group}, "Sum", "Count")

    def dead_letters(self) -> Metric:
        dimensions = {"QueueName": self._sources.dead_letter_queue}
        return Metric("ApproximateNumberOfMessagesVisible", "AWS/SQS", dimensions, "Maximum", "Count")

    def function(self, function: str, name: str, statistic: Statistic = "Sum", unit: str = "Count") -> Metric:
        dimensions = {"FunctionName": self._sources.functions[function]}
        return Metric(name, "AWS/Lambda", dimensions, statistic, unit)

    def table(self, name: str) -> Metric:
        return Metric(name, "AWS/DynamoDB", {"TableName": self._sources.table_name}, "Sum", "Count")


def alarms(settings: Settings, metrics: Metrics) -> tuple[Alarm, ...]:
    """The first alarms, as rows."""
    page, inform = Severity.PAGE, Severity.INFORM
    rows = [
        Alarm(
            "run-failed",
            metrics.states("ExecutionsFailed"),
            threshold=1,
            period=5 * MINUTE,
            severity=page,
            description="A run ended in RunFailed. Find it: aws stepfunctions list-executions --status-filter FAILED "
            "--state-machine-arn ARN. The next run takes up the work once the leases have ended.",
        ),
        Alarm(
            "run-timed-out",
            metrics.states("ExecutionsTimedOut"),
            threshold=1,
            period=5 * MINUTE,
            severity=page,
            description="A run outlasted every limit it has: it hung. Look at its last state.",
        ),
        Alarm(
            "run-aborted",
            metrics.states("ExecutionsAborted"),
            threshold=1,
            period=5 * MINUTE,
            severity=inform,
            description="Somebody stopped a run by hand. The run lock ends by itself.",
        ),
        Alarm(
            "oldest-pending",
            metrics.ours("OldestPendingAge", "Maximum", "Seconds"),
            threshold=settings.alarms.oldest_pending_seconds,
            period=5 * MINUTE,
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
            "batches-failed",
            metrics.ours("BatchesFailed", "Sum"),
            threshold=1,
            period=5 * MINUTE,
            severity=inform,
            description="A Lambda died or broke down in the middle of a batch. Leases bring the work back; the cause "
            "is in the log of function confirm.",
        ),
        Alarm(
            "dead-letters",
            metrics.dead_letters(),
            threshold=1,
            period=MINUTE,
            severity=page,
            description="Scheduler could not start a run. The reason is in the message's attributes: "
            "aws sqs receive-message --message-attribute-names All.",
        ),
    ]
    if settings.run.period_seconds is None or settings.run.period_seconds <= DAY // 3:
        rows.append(
            Alarm(
                "silence",
                metrics.states("ExecutionsStarted"),
                threshold=1,
                below=True,
                # alarms look back a day at most; a cron schedule may rest for most of one
                period=silence_seconds(settings),
                severity=page,
                missing=Missing.ALARMING,
                description="No run has started for three times the schedule's period. Is the schedule enabled?",
            )
        )
    return tuple(rows)


def silence_seconds(settings: Settings) -> int:
    """Three periods of the schedule, at least 5 minutes, in whole minutes; a day for cron schedules."""
    period = settings.run.period_seconds
    return DAY if period is None else max(5 * MINUTE, math.ceil(3 * period / MINUTE) * MINUTE)


def widgets(metrics: Metrics) -> tuple[Widget, ...]:
    """The dashboard, row by row: is the promise kept, what is done, what it takes."""
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
                metrics.ours("BatchesFailed", "Sum"),
                metrics.ours("LostFences", "Sum"),
                metrics.dead_letters(),
                metrics.scheduler("InvocationDroppedCount"),
            ],
            width=12,
        ),
        Widget(
            "Where a batch's time goes",
            [metrics.ours(name, "p50", "Milliseconds") for name in ("ClaimMs", "ConfirmMs", "SettleMs")],
        ),
        Widget(
            "Runs",
            [
                metrics.states(name)
                for name in (
                    "ExecutionsStarted",
                    "ExecutionsSucceeded",
                    "ExecutionsFailed",
                    "ExecutionsTimedOut",
                )
            ],
        ),
        Widget("Time of a run", [metrics.states("ExecutionTime", "Maximum", "Milliseconds")]),
        Widget(
            "Lambda confirm",
            [metrics.function("confirm", name, statistic) for name, statistic in _FUNCTION_METRICS],
            width=12,
        ),
        Widget(
            "Table",
            [
                metrics.table(name)
                for name in ("ConsumedWriteCapacityUnits", "ConsumedReadCapacityUnits", "WriteThrottleEvents")
            ],
            width=12,
        ),
    )


_FUNCTION_METRICS: tuple[tuple[str, Statistic], ...] = (
    ("Invocations", "Sum"),
    ("Errors", "Sum"),
    ("Throttles", "Sum"),
    ("ConcurrentExecutions", "Maximum"),
)
