"""The desk on DynamoDB: store, runs of a state machine, and census."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Any, ClassVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from cli import aws_errors
from cli.desk import Desk, Entry, InState, Run, Runs, Target
from cli.exits import Trouble
from cli.orders import DeskCalls
from workers.clock import SystemClock
from workers.domain.confirming import Tally
from workers.domain.ports import Added, Backlog
from workers.domain.transaction import CANARY, Status, Transaction, from_text, is_canary
from workers.serverless.run_lock import KEY
from workers.stores.dynamodb import DynamoDbStore, StoreError
from workers.stores.dynamodb_desk import DynamoDbDesk
from workers.stores.dynamodb_find import DynamoDbFinder

CONNECTIONS = 32
"""The store runs its calls side by side, in threads; asyncio starts no more than this many."""
COUNTS = (*Tally.__slots__, "failed")
"""What a report counts (workers/serverless/handlers.py)."""
MOST_SKEW = 60
"""Seconds that this machine's clock may differ from AWS's."""
ENTRIES = 2_000
"""Items between two looks at the event loop."""
SAMPLE_PAGES = 5
"""Of 1 MB each: what the search for a similar id may read."""


@dataclass(frozen=True, slots=True)
class Table:
    """The way to a table, and to what works on it."""

    served: ClassVar[bool] = False

    name: str
    index: str
    shards: int
    state_machine: str | None

    def open(self, target: Target) -> AbstractAsyncContextManager[Desk]:
        return open_aws(target, self)

    def runs(self, client: Any, config: Config) -> Runs:
        """What worked on it; `client` is the table's."""
        return StateMachineRuns(boto3.client("stepfunctions", config=config), self.state_machine, client, self.name)

    def as_canary(self) -> Table:
        return self

    def as_importer(self) -> Table:
        return self

    def explained(self, error: Exception, target: Target) -> Trouble:
        return explained(error, target)


@asynccontextmanager
async def open_aws(target: Target, data: Table) -> AsyncIterator[Desk]:
    """Makes the clients; no call yet."""
    config = Config(
        region_name=target.region,
        max_pool_connections=CONNECTIONS,
        connect_timeout=5,
        read_timeout=30,
        # The local AWS either answers or is not running: then say so at once.
        retries={"mode": "standard", "total_max_attempts": 1 if target.endpoint else 4},
    )
    try:
        table = boto3.client("dynamodb", config=config)
        runs = data.runs(table, config)
    except BotoCoreError as error:  # a profile that does not exist, a broken configuration file
        raise explained(error, target) from None
    store = OperatorsStore(
        client=table,
        table=data.name,
        index=data.index,
        shards=data.shards,
        clock=SystemClock(),
        policy=target.policy,
    )
    census, finder = TableCensus(table, data.name), DynamoDbFinder(store)
    yield Desk(target, store, runs, census, store, DynamoDbDesk(store), DeskCalls(target), finder)


class OperatorsStore(DynamoDbStore):
    """With this machine's clock, which is held against AWS's before anything is dated by it.

    What is brought in is due when this clock says, and workers look by theirs: one that is fast would hide
    it, from them and from every alarm. (A database has a clock of its own, and there that one counts.)
    """

    async def add(self, transactions: Sequence[Transaction]) -> Added:
        await self._check_clock()
        return await super().add(transactions)

    async def send(self, canary: Transaction) -> None:
        await self._check_clock()
        await super().send(canary)

    async def backlog(self) -> Backlog:
        await self.learn_shards()  # what was written under more of them is open work too
        return await super().backlog()

    async def _check_clock(self) -> None:
        # any call would do; who sends canaries and who operates may both make this one
        keys = {self.table: {"Keys": [{"id": {"S": f"{CANARY}clock"}}]}}
        began = self.clock.now()
        answer = await asyncio.to_thread(self.client.batch_get_item, RequestItems=keys)
        ended = self.clock.now()
        said = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        if said is None:
            return
        theirs = parsedate_to_datetime(said)
        off = max((began - theirs).total_seconds(), (theirs - ended).total_seconds())
        if off > MOST_SKEW:
            which = "ahead of" if began > theirs else "behind"
            raise Trouble(
                f"this machine's clock is {off:,.0f} s {which} AWS's, and at most {MOST_SKEW} s are allowed: what it "
                "dates would be due at a wrong time",
                "let the machine set its clock by NTP (`timedatectl set-ntp true`), then run the same command again",
            )


@dataclass(frozen=True, slots=True)
class StateMachineRuns:
    """The executions of the state machine; the newest that had work to do is noted on the run lock."""

    client: Any
    arn: str | None
    table_client: Any
    table: str

    async def last(self) -> Run | None:
        return await asyncio.to_thread(self._last)

    async def last_with_work(self) -> Run | None:
        return await asyncio.to_thread(self._last_with_work)

    def _last(self) -> Run | None:
        if self.arn is None:
            return None
        answer = self.client.list_executions(stateMachineArn=self.arn, maxResults=1)
        return self._run(answer["executions"][0]["executionArn"]) if answer["executions"] else None

    def _last_with_work(self) -> Run | None:
        item = self.table_client.get_item(TableName=self.table, Key=KEY).get("Item", {})
        name = item.get("last_run", {}).get("M", {}).get("run", {}).get("S")
        if self.arn is None or name is None:
            return None
        try:
            return self._run(f"{self.arn.replace(':stateMachine:', ':execution:')}:{name}")
        except self.client.exceptions.ExecutionDoesNotExist:  # Step Functions forgets after 90 days
            return None

    def _run(self, arn: str) -> Run:
        whole = self.client.describe_execution(executionArn=arn)
        history = self.client.get_paginator("get_execution_history").paginate(executionArn=arn)
        stopped = whole.get("stopDate")
        return Run(
            name=whole["name"],
            status=whole["status"],
            started_at=_utc(whole["startDate"]),
            stopped_at=_utc(stopped) if stopped else None,
            totals=totals(event for page in history for event in page["events"]),
            error=whole.get("error"),
        )


def totals(events: Iterable[Mapping[str, Any]]) -> Mapping[str, int]:
    """What the reports of all loops of one execution counted, added up; nothing where there was nothing to do."""
    total: Counter[str] = Counter()
    for event in events:
        details = event.get("stateExitedEventDetails", {})
        if details.get("name") == "Report":
            report = json.loads(details.get("output") or "{}")
            total.update({name: report[name] for name in COUNTS if name in report})
    return dict(total)


def _utc(time: datetime) -> datetime:
    return time.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class TableCensus:
    """Scans of the table."""

    client: Any
    table: str

    async def tally(self) -> Mapping[Status, InState]:
        return await asyncio.to_thread(self._tally)

    def _tally(self) -> Mapping[Status, InState]:
        counts: Counter[Status] = Counter()
        amounts: defaultdict[Status, Counter[str]] = defaultdict(Counter)
        for item in self._scan("id, #status, amount, currency", {"#status": "status"}):
            status, amount, currency = _read(item)
            if is_canary(item["id"]["S"], amount, currency):
                continue
            counts[status] += 1
            amounts[status][currency] += amount
        return {status: InState(counts[status], dict(amounts[status])) for status in Status}

    async def entries(self) -> AsyncIterator[Entry]:
        items = self._scan("id, #status, amount, currency, settled_at, moved, moved_currency", {"#status": "status"})
        while part := await asyncio.to_thread(lambda: list(islice(items, ENTRIES))):
            for item in part:
                yield _entry(item)

    async def some_ids(self) -> list[str]:
        return await asyncio.to_thread(
            lambda: [item["id"]["S"] for item in self._scan("id", {}, most_pages=SAMPLE_PAGES)]
        )

    def _scan(
        self, fields: str, names: Mapping[str, str], most_pages: int | None = None
    ) -> Iterator[Mapping[str, Any]]:
        query: dict[str, Any] = {"TableName": self.table, "ProjectionExpression": fields}
        if names:
            query["ExpressionAttributeNames"] = dict(names)
        pages = self.client.get_paginator("scan").paginate(**query)
        for number, page in enumerate(pages, 1):
            # Ids of transactions never begin with #: those items are the system's own (the run lock).
            yield from (item for item in page["Items"] if not item["id"]["S"].startswith("#"))
            if number == most_pages:
                return


def _entry(item: Mapping[str, Any]) -> Entry:
    settled = item.get("settled_at")
    try:
        time = None if settled is None else from_text(settled["S"])
        status, amount, currency = _fields(item)
        if "moved" in item:  # two people have accepted another amount
            amount, currency = int(item["moved"]["N"]), item["moved_currency"]["S"]
        return Entry(item["id"]["S"], status, amount, currency, time)
    except (KeyError, ValueError):  # written by something else
        return Entry(item["id"]["S"], Status.REVIEW, 0, "XXX", None, readable=False)


def _read(item: Mapping[str, Any]) -> tuple[Status, int, str]:
    try:
        return _fields(item)
    except (KeyError, ValueError):  # written by something else: the store's own reading puts it in REVIEW
        return Status.REVIEW, 0, "XXX"


def _fields(item: Mapping[str, Any]) -> tuple[Status, int, str]:
    return Status(item["status"]["S"]), int(item["amount"]["N"]), item["currency"]["S"]


def explained(error: BaseException, target: Target) -> Trouble:
    """An error of boto3 or the store as one line that says what to do; any other error is raised as it is."""
    if isinstance(error, StoreError) and not isinstance(error.__cause__, (BotoCoreError, ClientError)):
        return Trouble(f"the store failed ({error})", "try again in a minute; what is there was left as it is")
    return aws_errors.explained(error.__cause__ if isinstance(error, StoreError) and error.__cause__ else error, target)
