"""What a transaction costs, counted and not timed: DynamoDB calls and units, log bytes, work of a CPU.

The real handlers confirm 10,000 transactions on the local AWS, driven as the state machine drives them; one in twenty
is answered "try later" once. Between them and DynamoDB sits a meter that knows each item before and after each write.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from botocore.exceptions import ClientError

from alternatives.serverless.costs import PLAN_AND_REPORT_SECONDS, batch_seconds
from alternatives.settings import parse
from benchmarks.table import make_table
from benchmarks.units import Item, Units, item_bytes, page_units, read_units, write_units
from components.serverless.settings import RunSettings, TableSettings
from components.settings import Settings
from local.emulator import Emulator
from workers.clock import SystemClock
from workers.config import read_lambda
from workers.domain.outcomes import Confirmed, NotFound, Outcome, Retryable
from workers.domain.ports import Calls
from workers.domain.transaction import Status, Transaction
from workers.serverless import handlers
from workers.serverless.run_lock import KEY, RunLock
from workers.stores.dynamodb import DynamoDbStore

TRANSACTIONS = 10_000
LATER_EVERY = 20
"""Each 20th is answered "try later" once: 5 %, as the cost model assumes."""
INDEX, INDEX_KEYS = "pending", ("pending_shard", "next_attempt_at")
ADDED_AT_ONCE = 2_500
CONTEXT = SimpleNamespace(get_remaining_time_in_millis=lambda: 120_000)
CONFIG = {
    "owner": "payments",
    "costCenter": "benchmarks",
    "gatewayUrl": "https://payments.example.com",
    "environment": "prod",
    "alarmEmail": "nobody@example.com",
}
"""All else is the default: batches of 100, 500 of them in a plan, 10 shards."""

Progress = Callable[[str, float], None]
"""Told what is under way, and the share that is done."""


class Step(StrEnum):
    """What a write was for."""

    INGEST = "ingest"
    CLAIM = "claim"
    SETTLE = "settle"
    RETRY = "back for a retry"
    REFUSED = "refused by its fence"
    LOCK = "run lock"


@dataclass
class Usage:
    """What DynamoDB was asked for."""

    calls: Counter[str] = field(default_factory=Counter)
    writes: dict[Step, Units] = field(default_factory=dict)
    reads: float = 0.0
    """Read units."""
    largest: int = 0
    """Bytes of the largest transaction's item that was written."""
    metering_seconds: float = 0.0
    """CPU that went into the counting itself."""

    def write(self, step: Step, units: Units) -> None:
        self.writes[step] = self.writes.get(step, Units()) + units

    def units(self, *steps: Step) -> int:
        return sum(self.writes.get(step, Units()).all for step in steps)


class Meter:
    """boto3's DynamoDB client with a meter. It has the calls that it can count, and no others."""

    def __init__(self, client: Any, table: str) -> None:
        self._client, self._table = client, table
        self.items: dict[str, Item] = {}
        """As they are in the table: all writes come through here."""
        self._lock = threading.Lock()
        self.usage = Usage()

    def take(self) -> Usage:
        """What was counted since the last take."""
        taken, self.usage = self.usage, Usage()
        return taken

    def batch_execute_statement(self, *, Statements: Sequence[dict[str, Any]]) -> Any:  # noqa: N803 - boto3's name
        answer = self._client.batch_execute_statement(Statements=Statements)
        with self._counted("BatchExecuteStatement"):
            for statement, response in zip(Statements, answer["Responses"], strict=True):
                id_, after = written(statement, self.items)
                self._wrote(id_, after, refused="Error" in response)
        return answer

    def update_item(self, **request: Any) -> Any:
        """Only the run lock is written so."""
        refused = False
        try:
            return self._client.update_item(**request)
        except ClientError as error:
            refused = error.response["Error"]["Code"] == "ConditionalCheckFailedException"
            raise
        finally:
            with self._counted("UpdateItem"):
                item = self._client.get_item(TableName=self._table, Key=request["Key"], ConsistentRead=True)["Item"]
                self._wrote(item["id"]["S"], item, refused=refused)

    def batch_get_item(self, *, RequestItems: dict[str, Any]) -> Any:  # noqa: N803
        answer = self._client.batch_get_item(RequestItems=RequestItems)
        with self._counted("BatchGetItem"):
            wanted = RequestItems[self._table]
            found = [item_bytes(item) for item in answer["Responses"].get(self._table, [])]
            missing = len(wanted["Keys"]) - len(found)
            self.usage.reads += read_units([*found, *[0] * missing], consistent=wanted["ConsistentRead"])
        return answer

    def query(self, **request: Any) -> Any:
        answer = self._client.query(**request)
        with self._counted("Query"):
            self.usage.reads += page_units([item_bytes(item) for item in answer["Items"]])
        return answer

    @contextlib.contextmanager
    def _counted(self, call: str) -> Iterator[None]:
        with self._lock:
            began = time.thread_time()
            self.usage.calls[call] += 1
            yield
            self.usage.metering_seconds += time.thread_time() - began

    def _wrote(self, id_: str, after: Item, *, refused: bool) -> None:
        before = self.items.get(id_)
        if refused:
            self.usage.write(Step.REFUSED, write_units(before, before, INDEX_KEYS))
            return
        self.usage.write(_step(before, after), write_units(before, after, INDEX_KEYS))
        self.items[id_] = after
        if after["id"] != KEY["id"]:
            self.usage.largest = max(self.usage.largest, item_bytes(after))

    def check(self) -> None:
        """The meter's own account of the items against the table.

        Raises:
            RuntimeError: they differ, so the counted units mean nothing.
        """
        pages = self._client.get_paginator("scan").paginate(TableName=self._table)
        table = {item["id"]["S"]: item for page in pages for item in page["Items"]}
        if table != self.items:
            raise RuntimeError("the meter does not know the table's items any more: a form of write is new to it")


def written(statement: Mapping[str, Any], items: Mapping[str, Item]) -> tuple[str, Item]:
    """The id that one of our PartiQL writes is about, and the item that it leaves when its condition holds.

    Raises:
        ValueError: a form that `workers/stores/dynamodb.py` did not use when this was written.
    """
    text, values = str(statement["Statement"]), list(statement["Parameters"])
    if text.startswith("INSERT"):
        item = dict(zip(re.findall(r"'(\w+)': \?", text), values, strict=True))
        return str(item["id"]["S"]), item
    changes, _, condition = text.partition(" WHERE ")
    if not text.startswith("UPDATE") or not condition.startswith('"id" = ?'):
        raise ValueError(f"a write of an unknown form: {text}")
    names = re.findall(r'SET "(\w+)" = \?', changes)
    id_ = str(values[len(names)]["S"])
    gone = re.findall(r'REMOVE "(\w+)"', changes)
    after = {**items.get(id_, {}), **dict(zip(names, values, strict=False))}
    return id_, {name: value for name, value in after.items() if name not in gone}


def _step(before: Item | None, after: Item) -> Step:
    """What a write that won was for, by the state that it led to."""
    if after["id"] == KEY["id"]:
        return Step.LOCK
    if before is None:
        return Step.INGEST
    match Status(after["status"]["S"]):
        case Status.PROCESSING:
            return Step.CLAIM
        case Status.PENDING:
            return Step.RETRY
    return Step.SETTLE


class SetClock(SystemClock):
    """Time that moves by as much as the work would take on AWS, so that counts do not depend on this machine."""

    def __init__(self) -> None:
        self.time = super().now()

    def now(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@dataclass
class LaterGateway:
    """Confirms all, but answers each of `later` "try later" the first time."""

    later: set[str]
    calls: int = 0

    def turn(self, until: datetime | None = None) -> contextlib.AbstractAsyncContextManager[object]:  # noqa: ARG002
        return contextlib.nullcontext()

    def ready(self) -> bool:
        return True

    def away(self) -> timedelta:
        return timedelta()

    def seen(self) -> Calls:
        return Calls([50.0] * 10, {"failed": 1})

    async def confirm(self, transaction: Transaction, key: str) -> Outcome:
        self.calls += 1
        if key in self.later:
            self.later.discard(key)
            return Retryable("try later")
        return Confirmed(f"ref-{key}", transaction.amount, transaction.currency)

    async def ask(self, transaction: Transaction, key: str) -> Outcome:  # noqa: ARG002 - the port's signature
        self.calls += 1
        return NotFound()


@dataclass
class Logged:
    """What a handler wrote: bytes of its lines about transactions, and of the others."""

    of_transactions: int = 0
    other: int = 0

    def __add__(self, more: Logged) -> Logged:
        return Logged(self.of_transactions + more.of_transactions, self.other + more.other)


@dataclass
class Run:
    """One execution of the state machine, played by `_run`."""

    plan: Logged = field(default_factory=Logged)
    confirm: Logged = field(default_factory=Logged)
    report: Logged = field(default_factory=Logged)
    loops: int = 0
    batches: int = 0
    cpu_seconds: float = 0.0
    """Of the confirm handler."""
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True)
class Counts:
    """All that was counted on 10,000 transactions."""

    transactions: int
    attempts: int
    ingest: Usage
    runs: tuple[Run, ...]
    idle: Run

    @property
    def largest_item(self) -> int:
        return max(self.ingest.largest, *(run.usage.largest for run in self.runs))

    def units(self, *steps: Step) -> float:
        """Write units per transaction of the steps."""
        return (self.ingest.units(*steps) + sum(run.usage.units(*steps) for run in self.runs)) / self.transactions

    @property
    def calls(self) -> float:
        """DynamoDB's per transaction, without ingest, which is the producer's."""
        return sum(run.usage.calls.total() for run in self.runs) / self.transactions

    @property
    def ingest_calls(self) -> float:
        return self.ingest.calls.total() / self.transactions

    def calls_of(self, operation: str) -> float:
        return sum(run.usage.calls[operation] for run in self.runs) / self.transactions

    @property
    def batches(self) -> int:
        return sum(run.batches for run in self.runs)

    @property
    def log_bytes(self) -> float:
        """Per transaction: all that the three handlers wrote."""
        written = sum((run.plan + run.confirm + run.report for run in self.runs), Logged())
        return (written.of_transactions + written.other) / self.transactions

    @property
    def cpu_ms(self) -> float:
        """Milliseconds of this machine's core per attempt: claim and settle, without the call to the gateway."""
        return sum(run.cpu_seconds for run in self.runs) * 1000 / self.attempts

    @property
    def read_units_per_attempt(self) -> float:
        """Without what every run reads to look for work."""
        idle = self.idle.usage.reads * len(self.runs)
        return (sum(run.usage.reads for run in self.runs) - idle) / self.attempts


def count(progress: Progress, transactions: int = TRANSACTIONS) -> Counts:
    """Count it, on an emulator of its own that is gone afterwards."""
    progress("starting an emulator", 0)
    with tempfile.TemporaryDirectory() as folder, Emulator(Path(folder), persist=False) as emulator:
        dynamodb, s3 = emulator.client("dynamodb"), emulator.client("s3")
        table = make_table(dynamodb)
        s3.create_bucket(Bucket=table)
        meter, clock, settings = Meter(dynamodb, table), SetClock(), parse(CONFIG)
        app = _app(meter, clock, settings, table)
        added = records(transactions, clock.now())
        gateway = LaterGateway({record.id for record in added[::LATER_EVERY]})
        with (
            patch.object(handlers, "app", lambda: app),
            patch.object(handlers, "s3", lambda: s3),
            patch.object(handlers, "gateway", lambda: gateway),
        ):
            for done in range(0, transactions, ADDED_AT_ONCE):
                progress("adding transactions", 0.3 * done / transactions)
                asyncio.run(app.store.add(added[done : done + ADDED_AT_ONCE]))
            ingest = meter.take()
            runs: list[Run] = []
            while not runs or runs[-1].batches:
                base, width = (0.3, 0.6) if not runs else (0.9, 0.1)

                def confirming(part: float, base: float = base, width: float = width) -> None:
                    progress("confirming", base + width * part)

                runs.append(_run(app, meter, clock, settings, confirming))
                clock.advance(settings.part(RunSettings).period_seconds or 60)
            app.loop.close()
            meter.check()
        idle = runs.pop()
    return Counts(transactions, gateway.calls, ingest, tuple(runs), idle)


def _app(meter: Meter, clock: SetClock, settings: Settings, table: str) -> handlers.App:
    """As `handlers.app` makes it, with the meter for a client."""
    config = read_lambda(_environment(settings, table))
    store = DynamoDbStore(meter, table, INDEX, config.shards, clock, config.policy)
    telemetry = config.telemetry()
    return handlers.App(config, clock, store, RunLock(meter, table), telemetry, asyncio.new_event_loop())


def _environment(settings: Settings, table: str) -> dict[str, str]:
    """A Lambda's, as components/serverless/compute.py makes it of the settings."""
    work, gateway, run = settings.work, settings.gateway, settings.part(RunSettings)
    values = {
        "STACK": settings.stack,
        "ALTERNATIVE": settings.alternative,
        "ENVIRONMENT": settings.environment,
        "METRIC_NAMESPACE": "ConfirmTransactions",
        "TABLE_NAME": table,
        "INDEX_NAME": INDEX,
        "PENDING_SHARDS": settings.part(TableSettings).pending_shards,
        "PLAN_BUCKET": table,
        "BATCH_SIZE": work.batch_size,
        "BATCHES_PER_PLAN": run.batches_per_plan,
        "RUN_LEASE_SECONDS": run.lease_seconds,
        "LEASE_SECONDS": work.lease_seconds,
        "CLOCK_SKEW_SECONDS": work.clock_skew_seconds,
        "MAX_ATTEMPTS": work.max_attempts,
        "RETRY_BASE_SECONDS": work.retry_base_seconds,
        "RETRY_CAP_SECONDS": work.retry_cap_seconds,
        "REVIEW_SECONDS": work.review_seconds,
        "REVIEW_OWNER": work.review_owner,
        "GATEWAY_URL": gateway.url,
        "GATEWAY_TIMEOUT_SECONDS": gateway.timeout_seconds,
        "GATEWAY_CONCURRENCY": gateway.concurrency,
        "GATEWAY_RATE_LIMIT": 0,
        "GRACE_SECONDS": gateway.grace_seconds,
        "KEY_WINDOW_SECONDS": gateway.key_window_seconds,
    }
    return {name: str(value) for name, value in values.items()}


def records(count: int, now: datetime) -> list[Transaction]:
    """`count` transactions, due at once. Their ids are as long as in practice (UUIDs): items are billed by size."""
    ids = (str(uuid.uuid5(uuid.NAMESPACE_OID, str(n))) for n in range(count))
    return [
        Transaction(id_, f"account-{n % 997:08}", 1_000 + n, "USD", now, now + timedelta(hours=24))
        for n, id_ in enumerate(ids)
    ]


def _run(
    app: handlers.App, meter: Meter, clock: SetClock, settings: Settings, progress: Callable[[float], None]
) -> Run:
    """What the state machine does (components/serverless/state_machine.py): Plan, Confirm, Report in a loop, Release.

    Its clock moves as the cost model says that time passes on AWS, with `map_concurrency` batches side by side.
    """
    run, name = Run(), str(uuid.uuid4())
    report: Mapping[str, Any] = {}
    while True:
        plan, logged = _logging(handlers.plan, {"run": name, "last": report})
        run.plan += logged
        if not plan["batches"]:
            run.usage = meter.take()
            return run
        body = handlers.s3().get_object(Bucket=plan["bucket"], Key=plan["key"])["Body"].read()
        results = []
        for batch in map(json.loads, body.splitlines()):
            cpu, metering = time.process_time(), meter.usage.metering_seconds
            result, logged = _logging(handlers.confirm, batch)
            run.cpu_seconds += time.process_time() - cpu - (meter.usage.metering_seconds - metering)
            run.confirm += logged
            results.append(result)
            clock.advance(
                batch_seconds(len(batch["ids"])) / min(settings.part(RunSettings).map_concurrency, plan["batches"])
            )
            progress(len(results) / plan["batches"])
        run.loops += 1
        run.batches += len(results)
        report, logged = _logging(handlers.report, {"run": name, "plan": plan, "results": results})
        run.report += logged
        clock.advance(PLAN_AND_REPORT_SECONDS)
        if not report["more"]:
            break
    app.lock.release(name)  # the same write as the state machine's
    run.usage = meter.take()
    return run


def _logging(
    handler: Callable[[dict[str, Any], Any], Mapping[str, Any]], event: dict[str, Any]
) -> tuple[Mapping[str, Any], Logged]:
    written, logged = io.StringIO(), Logged()
    with contextlib.redirect_stdout(written):
        answer = handler(event, CONTEXT)
    for line in written.getvalue().splitlines():
        size = len(line.encode())
        if "tx" in json.loads(line):
            logged.of_transactions += size
        else:
            logged.other += size
    return answer, logged
