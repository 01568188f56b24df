"""What is watched in the sweep alternative."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components.encryption import Encryption
from components.foundation import Foundation
from components.observability import shared
from components.observability.component import Observability, WatchArgs
from components.observability.table import MINUTE, Alarm, Graph, Levels, Metric, Page, Signal, Table, billing, ours
from components.settings import Settings

from .compute import SweepCompute

STARTS, CALLS = "What starts runs", "Lambda: calls and errors"


@dataclass(frozen=True, slots=True)
class Sources:
    """The names that CloudWatch knows our resources by."""

    function: pulumi.Input[str]
    schedule_group: pulumi.Input[str]
    dead_letter_queue: pulumi.Input[str]


@dataclass(frozen=True, slots=True)
class SweepObservabilityArgs:
    base: Foundation
    sources: Sources
    log_key_arn: pulumi.Input[str]

    @classmethod
    def of(cls, base: Foundation, encryption: Encryption, compute: SweepCompute) -> SweepObservabilityArgs:
        sources = Sources(compute.function.name, compute.group.name, compute.dead_letters.name)
        return cls(base, sources, encryption.log_key.arn)


class SweepObservability(Observability):
    """Alarms and dashboard of the table below."""

    def __init__(self, name: str, args: SweepObservabilityArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        settings = args.base.settings
        notes = shared.notes({"What is open, and what waits for a person": "confirm status --all"})
        self._watch(WatchArgs(settings, args.base.account, table(settings, args.sources), notes, args.log_key_arn))


def table(settings: Settings, sources: Sources) -> Table:
    """The whole table."""

    def function(name: str) -> Metric:
        return Metric(name, "AWS/Lambda", {"FunctionName": sources.function}, "Sum", "Count")

    letters = Metric(
        "ApproximateNumberOfMessagesVisible", "AWS/SQS", {"QueueName": sources.dead_letter_queue}, "Maximum", "Count"
    )
    dropped = Metric(
        "InvocationDroppedCount", "AWS/Scheduler", {"ScheduleGroup": sources.schedule_group}, "Sum", "Count"
    )
    rows = (
        *shared.promise(settings),
        *shared.gateway(settings),
        *shared.canary(settings),
        Signal(ours(settings, "Backlog", "Maximum"), "Backlog"),
        Signal(function("Invocations"), CALLS),
        Signal(
            function("Errors"),
            CALLS,
            Alarm(
                "function-errors",
                Levels(dev=3, staging=1, prod=1),
                5 * MINUTE,
                "The Lambda failed: an exception, a time-out, or too little memory. Its log says which.",
                "functions",
            ),
        ),
        Signal(dropped, STARTS),
        Signal(
            letters,
            STARTS,
            Alarm("dead-letters", 1, MINUTE, "Scheduler could not start the function.", "work-stands-still"),
        ),
        *shared.batch_times(settings),
        Signal(billing(), shared.BILL.title),
    )
    graphs = (
        *shared.graphs(settings),
        *(Graph(title) for title in (STARTS, CALLS)),
        Graph("Where a batch's time goes", width=12),
        Graph(shared.BILL.title, 12, shared.BILL.period, shared.BILL.region),
    )
    still = Page("work-stands-still", ("dead-letters",), "Runs do not start: nothing is confirmed.")
    return Table(graphs, rows, (still, *shared.pages(settings)))
