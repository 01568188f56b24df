"""What a run costs in Step Functions and CloudWatch Logs, counted on the real stack on the local AWS.

`pulumi up` in a temporary folder, 10,000 transactions of which one in twenty is answered "try later" once, executions
started by hand until all is settled, then the executions' own histories and the log groups are read. The Scheduler is
slowed down so far that it never starts one itself.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.counts import ADDED_AT_ONCE, LATER_EVERY, TRANSACTIONS, Progress, records
from local.errors import LocalError
from local.stack import LocalAws
from workers.clock import SystemClock
from workers.domain.policy import Policy
from workers.stores.dynamodb import DynamoDbStore

NEVER = 1e-4
"""The Scheduler's speed: a minute lasts a week."""
PATIENCE_SECONDS = 240
PLATFORM = ("START RequestId:", "END RequestId:", "REPORT RequestId:", "INIT_START ")
"""Lines of the emulator's Lambda, which AWS leaves out at the functions' system log level WARN."""


@dataclass(frozen=True)
class Execution:
    """One execution of the state machine, by its history."""

    entered: int
    """States of the parent."""
    children: int
    """Express ones, of its Distributed Map."""
    planned: int
    """Transactions in its plans; one that is retried counts again."""
    loops: int
    """Plans that had any."""

    @property
    def transitions(self) -> int:
        """As Standard bills them: each state entered, the start, and one for each child, whose own states are free."""
        return self.entered + 1 + self.children


@dataclass(frozen=True)
class Logs:
    """Bytes of log messages in all log groups of the stack."""

    ours: int
    platform: int
    """Lambda's START, END and REPORT: in the emulator only."""
    lines: int
    """Ours."""

    def __sub__(self, other: Logs) -> Logs:
        return Logs(self.ours - other.ours, self.platform - other.platform, self.lines - other.lines)


@dataclass(frozen=True)
class StackCounts:
    """All that was counted."""

    transactions: int
    executions: tuple[Execution, ...]
    idle: Execution
    single: Execution
    """Of one transaction alone."""
    logs: Logs
    """Of `executions`."""
    idle_logs: Logs
    """Of a run over an empty table."""
    idle_logs_full: Logs
    """Of a run over the same table with all transactions in it, settled."""

    @property
    def attempts(self) -> int:
        return sum(execution.planned for execution in self.executions)

    @property
    def transitions(self) -> float:
        """Per transaction, to the last retry."""
        return sum(execution.transitions for execution in self.executions) / self.transactions

    @property
    def transitions_on_backlog(self) -> float:
        """Per transaction while the backlog lasts: the first run's per attempt, times the attempts of a transaction.

        A standing backlog mixes yesterday's retries into full batches. Here they come last and almost alone, in a
        run of their own, whose fixed part would be counted to ten thousand only.
        """
        first = self.executions[0]
        return first.transitions / first.planned * self.attempts / self.transactions

    @property
    def children(self) -> int:
        return sum(execution.children for execution in self.executions)

    @property
    def log_bytes(self) -> float:
        return self.logs.ours / self.transactions

    @property
    def log_bytes_with_platform(self) -> float:
        return (self.logs.ours + self.logs.platform) / self.transactions

    @property
    def log_bytes_per_idle_item(self) -> float:
        return (self.idle_logs_full.ours - self.idle_logs.ours) / self.transactions


def count(progress: Progress, transactions: int = TRANSACTIONS) -> StackCounts:
    """Bring the stack up, work the backlog off, count.

    Raises:
        LocalError: the stack does not come up, or an execution fails or does not end.
    """
    progress("starting the local AWS", 0)
    quiet: Callable[[str], None] = lambda text: progress(text, 0)  # noqa: E731
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalAws(
            "serverless",
            folder=Path(folder),
            gateway_arguments=("--profile", "calm"),
            scheduler_speed=NEVER,
            say=quiet,
        ) as aws,
    ):
        progress("pulumi up", 0.03)
        answer = aws.pulumi("up", "--yes", "--skip-preview", "--stack", aws.stack, capture=True)
        if answer.returncode:
            raise LocalError(f"pulumi up failed:\n{answer.stdout[-2000:]}{answer.stderr[-2000:]}")
        outputs = aws.outputs()
        aws.client("secretsmanager").put_secret_value(
            SecretId=outputs["gatewayKeySecretArn"], SecretString=secrets.token_hex(16)
        )
        machine = _Machine(aws, outputs)
        progress("an idle run over an empty table", 0.2)
        idle = machine.run()
        idle_logs = machine.logs()
        store = _store(aws, outputs)
        *added, single_one = records(transactions + 1, store.clock.now())
        _answer_later(aws, [record.id for record in added[::LATER_EVERY]])
        for done in range(0, transactions, ADDED_AT_ONCE):
            progress("adding transactions", 0.22 + 0.08 * done / transactions)
            asyncio.run(store.add(added[done : done + ADDED_AT_ONCE]))
        executions: list[Execution] = []
        calls = transactions * (1 + 1 / LATER_EVERY)
        until = time.monotonic() + PATIENCE_SECONDS
        while asyncio.run(store.backlog()).open:
            if time.monotonic() > until:
                raise LocalError(f"{len(executions)} runs in {PATIENCE_SECONDS} s have not worked the backlog off.")
            executions.append(
                machine.run(lambda: progress("confirming", 0.3 + 0.6 * min(_calls(aws) / calls, 1)), until)
            )
            time.sleep(1)  # what is left waits for its retry
        worked = machine.logs()
        progress("an idle run over the full table", 0.95)
        machine.run()
        idle_full = machine.logs() - worked
        progress("a run over one transaction", 0.97)
        asyncio.run(store.add([single_one]))
        single = machine.run()
        return StackCounts(transactions, tuple(executions), idle, single, worked - idle_logs, idle_logs, idle_full)


class _Machine:
    """The stack's state machine and its logs."""

    def __init__(self, aws: LocalAws, outputs: Mapping[str, Any]) -> None:
        self._states, self._logs = aws.client("stepfunctions"), aws.client("logs")
        self._arn = outputs["stateMachineArn"]
        self._groups: Iterable[str] = outputs["logGroups"].values()

    def run(self, watch: Callable[[], None] = lambda: None, until: float | None = None) -> Execution:
        """Start an execution and wait for its end."""
        until = until or time.monotonic() + PATIENCE_SECONDS
        arn = self._states.start_execution(stateMachineArn=self._arn, input="{}")["executionArn"]
        while (status := self._states.describe_execution(executionArn=arn)["status"]) == "RUNNING":
            if time.monotonic() > until:
                raise LocalError(f"The execution {arn} did not end in {PATIENCE_SECONDS} s.")
            watch()
            time.sleep(0.5)
        if status != "SUCCEEDED":
            raise LocalError(f"The execution {arn} ended as {status}.")
        return self._read(arn)

    def _read(self, arn: str) -> Execution:
        entered = planned = loops = 0
        for page in self._states.get_paginator("get_execution_history").paginate(executionArn=arn):
            for event in page["events"]:
                entered += event["type"].endswith("StateEntered")
                details = event.get("stateExitedEventDetails")
                if details and details["name"] == "Plan":
                    found = json.loads(details["output"])["transactions"]
                    planned, loops = planned + found, loops + bool(found)
        children = 0
        for run in self._states.list_map_runs(executionArn=arn)["mapRuns"]:
            children += self._states.describe_map_run(mapRunArn=run["mapRunArn"])["executionCounts"]["total"]
        return Execution(entered, children, planned, loops)

    def logs(self) -> Logs:
        """All that is in the log groups."""
        ours = platform = lines = 0
        for message in (message for group in self._groups for message in self._messages(group)):
            size = len(message.encode())
            if message.startswith(PLATFORM):
                platform += size
            else:
                ours, lines = ours + size, lines + 1
        return Logs(ours, platform, lines)

    def _messages(self, group: str) -> Iterator[str]:
        """Stream by stream: the emulator's FilterLogEvents ends after 10,000 events without a token to go on."""
        for page in self._logs.get_paginator("describe_log_streams").paginate(logGroupName=group):
            for stream in page["logStreams"]:
                of_stream = {"logGroupName": group, "logStreamName": stream["logStreamName"], "startFromHead": True}
                token: dict[str, str] = {}
                while events := (part := self._logs.get_log_events(**of_stream, **token))["events"]:
                    yield from (str(event["message"]) for event in events)
                    token = {"nextToken": part["nextForwardToken"]}


def _store(aws: LocalAws, outputs: Mapping[str, Any]) -> DynamoDbStore:
    return DynamoDbStore(
        aws.client("dynamodb"),
        outputs["tableName"],
        outputs["pendingIndexName"],
        int(outputs["pendingShards"]),
        SystemClock(),
        Policy(),
    )


def _answer_later(aws: LocalAws, ids: list[str]) -> None:
    """The gateway's first answer for each of `ids`: 503, "unavailable", nothing done."""
    _ask(aws, "/_faults", json.dumps({"script": {id_: ["unavailable"] for id_ in ids}}).encode())


def _calls(aws: LocalAws) -> int:
    return int(_ask(aws, "/_stats")["calls"])


def _ask(aws: LocalAws, path: str, body: bytes | None = None) -> Any:
    """The simulated gateway's admin."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{aws.gateway_url}{path}", data=body, timeout=10) as answer:
        return json.load(answer)
