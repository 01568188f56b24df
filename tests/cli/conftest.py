"""The command `confirm`, run as a user runs it, by its entry point; on a desk in memory, or on any other."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import asyncpg
import pytest

from cli import main, target
from cli.aws import Table, TableCensus
from cli.desk import Census, Desk, Entry, InState, Run, Target
from cli.exits import Exit, Trouble
from cli.orders import NotLetIn
from cli.postgres import DatabaseCensus, asking
from local.postgres import Postgres
from tests.contract.conftest import SHARDS
from tests.fakes import START, FakeClock
from tests.memory_desk import MemoryDesk
from tests.memory_finder import MemoryFinder
from tests.memory_store import MemoryStore
from workers.desk import service as desk_service
from workers.desk.service import DeskStore
from workers.domain.desk import Limits, Role
from workers.domain.exits import Refused
from workers.domain.finding import Finder
from workers.domain.policy import Policy
from workers.domain.ports import Store
from workers.domain.transaction import Status, Transaction
from workers.migrations import migrate
from workers.stores.dynamodb import DynamoDbStore
from workers.stores.dynamodb_desk import DynamoDbDesk
from workers.stores.dynamodb_find import DynamoDbFinder
from workers.stores.postgres import SESSION, PostgresStore
from workers.stores.postgres_desk import PostgresDesk
from workers.stores.postgres_find import PostgresFinder
from workers.stores.postgres_find import asking as looking

T = TypeVar("T")

TARGET = Target(
    "serverless", "serverless", "dev", "us-east-1", Policy(max_attempts=2), Table("table", "pending", 3, "arn")
)
IDLE = Run("idle", "SUCCEEDED", START, START + timedelta(seconds=1), {})
BUSY = Run(
    "busy", "SUCCEEDED", START - timedelta(minutes=5), START - timedelta(minutes=4), {"confirmed": 590, "rejected": 10}
)


@dataclass
class FakeRuns:
    newest: Run | None = IDLE
    busy: Run | None = BUSY

    async def last(self) -> Run | None:
        return self.newest

    async def last_with_work(self) -> Run | None:
        return self.busy


@dataclass
class MemoryCensus:
    store: MemoryStore

    async def tally(self) -> Mapping[Status, InState]:
        records = [record for record in self.store.records.values() if not record.is_canary]
        amounts = {status: Counter[str]() for status in Status}
        for record in records:
            amounts[record.status][record.currency] += record.amount
        return {s: InState(sum(r.status is s for r in records), dict(amounts[s])) for s in Status}

    async def entries(self) -> AsyncIterator[Entry]:
        for r in list(self.store.records.values()):
            yield Entry(r.id, r.status, *r.effect, r.settled_at)

    async def some_ids(self) -> list[str]:
        return list(self.store.records)


@dataclass(frozen=True)
class CanariesOf:
    """Canaries by way of any store's contract."""

    store: Store

    async def send(self, canary: Transaction) -> None:
        await self.store.add([canary])

    async def look(self, id: str) -> Transaction | None:  # noqa: A002
        return await self.store.find(id)


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


Opening = Callable[[], AbstractAsyncContextManager[tuple[Store, Census]]]
"""A database's connections live in one event loop, and each command has its own: so each opens its store anew."""


def desk_of(store: Store) -> DeskStore:
    """The desk's requests beside those transactions."""
    match store:
        case MemoryStore():
            kept = KEPT.setdefault(id(store), {})
            return MemoryDesk(store, kept)
        case DynamoDbStore():
            return DynamoDbDesk(store)
        case PostgresStore():
            return PostgresDesk(asking(store.pool))
    raise AssertionError(type(store))


def finder_of(store: Store) -> Finder:
    """What looks through that store."""
    match store:
        case MemoryStore():
            return MemoryFinder(store)
        case DynamoDbStore():
            return DynamoDbFinder(store)
        case PostgresStore():
            return PostgresFinder(looking(store.pool))
    raise AssertionError(type(store))


KEPT: dict[int, dict[str, dict[str, object]]] = {}


@dataclass(frozen=True)
class OrdersOf:
    """Orders as the functions take them, from whoever is signed in."""

    cli: Cli
    requests: DeskStore

    async def order(self, role: Role, action: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        here = self.cli
        if role not in here.roles:
            raise NotLetIn(f"you may not come as {role}", "sign in otherwise", Exit.NO_ACCESS)
        desk = desk_service.FourEyes(
            "stack", self.requests, here.clock, here.target.policy, here.limits, lambda *_, **__: None, here.time_left
        )
        try:
            return await desk.do(role, here.person, action, json.loads(json.dumps(payload)))
        except Refused as refused:
            raise Trouble(str(refused), "see `confirm requests`", Exit.REFUSED) from None


@dataclass
class Cli:
    """Runs `confirm ARGUMENTS` and gives its exit code and what it printed."""

    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    clock: FakeClock
    opening: Opening
    runs: FakeRuns = field(default_factory=FakeRuns)
    target: Target = TARGET
    printed: list[str] = field(default_factory=list)
    """All that was ever printed."""
    person: str = "ana"
    """Who is signed in."""
    roles: Collection[Role] = tuple(Role)
    """As what IAM lets him in."""
    limits: Limits = field(default_factory=Limits)
    time_left: Callable[[], bool] = lambda: True

    def __call__(self, *arguments: str, stdin: bytes = b"") -> Result:
        with self.monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            with pytest.raises(SystemExit) as end:
                main.run(arguments)
        captured = self.capsys.readouterr()
        self.printed += [captured.out, captured.err]
        code = end.value.code
        assert isinstance(code, int)
        return Result(int(code), captured.out, captured.err)

    def at(self, work: Callable[[Store], Awaitable[T]]) -> T:
        """Do something to the store behind the command's back."""

        async def open_and_work() -> T:
            async with self.opening() as (store, _):
                return await work(store)

        return asyncio.run(open_and_work())

    def find(self, id_: str) -> Transaction:
        found = self.at(lambda store: store.find(id_))
        assert found is not None, id_
        return found

    @asynccontextmanager
    async def desk(self, at: Target) -> AsyncIterator[Desk]:
        async with self.opening() as (store, census):
            requests = desk_of(store)
            orders, finder = OrdersOf(self, requests), finder_of(store)
            yield Desk(at, store, self.runs, census, CanariesOf(store), requests, orders, finder)

    def sit_down(self) -> Cli:
        """From now on the command works here."""
        self.monkeypatch.setattr(target, "find", lambda stack: self.target)
        self.monkeypatch.setattr(target, "open_desk", self.desk)
        self.monkeypatch.setattr(main, "_now", self.clock.now)
        return self


@dataclass
class MemoryCli(Cli):
    """With all that is in the store at hand."""

    store: MemoryStore = field(default_factory=lambda: MemoryStore(FakeClock(), TARGET.policy))


def memory_cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> MemoryCli:
    """The command on a store in memory."""
    clock = FakeClock()

    @asynccontextmanager
    async def opening() -> AsyncIterator[tuple[Store, Census]]:
        yield cli.store, MemoryCensus(cli.store)

    cli = MemoryCli(capsys, monkeypatch, clock, opening, store=MemoryStore(clock, TARGET.policy))
    cli.sit_down()
    return cli


@pytest.fixture
def confirm(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> MemoryCli:
    return memory_cli(capsys, monkeypatch)


async def make_database(postgres: Postgres) -> str:
    """A migrated database of its own on the test run's server: its address, as the master user."""
    name, template = f"cli_{uuid.uuid4().hex[:12]}", "cli_template"
    master = await asyncpg.connect(postgres.url())
    if not await master.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", template):
        await master.execute(f"CREATE DATABASE {template}")
        connection = await asyncpg.connect(postgres.url(database=template))
        await migrate(connection)  # once: a copy of what came of it takes a quarter of the work
        await connection.close()
    await master.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    await master.close()
    return postgres.url(database=name)


Confirm = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Confirm:
    """The command as it is, with nothing in the place of anything: exit code, output, errors."""

    def run_(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main.run(arguments)
        printed = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return end.value.code, printed.out, printed.err

    return run_


def on_table(client: Any, table: str, clock: FakeClock) -> Opening:
    @asynccontextmanager
    async def opening() -> AsyncIterator[tuple[Store, Census]]:
        store = DynamoDbStore(client, table, "pending", SHARDS, clock, TARGET.policy)
        yield store, TableCensus(client, table)

    return opening


def on_database(url: str, clock: FakeClock) -> Opening:
    @asynccontextmanager
    async def opening() -> AsyncIterator[tuple[Store, Census]]:
        async with asyncpg.create_pool(url, min_size=0, max_size=4, server_settings=SESSION) as pool:
            yield PostgresStore(pool, TARGET.policy, clock), DatabaseCensus(pool)

    return opening
