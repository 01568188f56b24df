"""Every adapter of the store, each behind the same fixture, so that one suite holds for all."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from benchmarks.table import make_table as make_table
from local.postgres import Postgres
from simulation.stores.dynamodb import INDEX, TABLE, DirectClient, Table
from simulation.stores.postgres import DirectPool, Server
from tests.conftest import SIMULATED, AwsAccount
from tests.fakes import FakeClock, run
from tests.memory_store import MemoryStore
from workers.domain.policy import Policy
from workers.domain.ports import Store
from workers.domain.transaction import Transaction
from workers.migrations import migrate
from workers.stores.dynamodb import DynamoDbStore
from workers.stores.postgres import SESSION, PostgresStore

POLICY = Policy(max_attempts=4)
SHARDS = 3


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["memory", "dynamodb", "postgres", "simulated dynamodb", "simulated postgres"])
def store(request: pytest.FixtureRequest, clock: FakeClock) -> Store:
    """The simulated ones are the production's adapters on what the simulator has for the service behind them."""
    if request.param == "memory":
        return MemoryStore(clock, POLICY)
    if request.param == "simulated dynamodb":
        return DynamoDbStore(DirectClient(Table()), TABLE, INDEX, SHARDS, clock, POLICY)
    if request.param == "simulated postgres":
        simulated: Any = DirectPool(Server(clock.now))
        return PostgresStore(simulated, POLICY, clock)
    if request.param == "postgres":
        database: Database = request.getfixturevalue("database")
        return PostgresStore(database.pool, POLICY, clock)
    aws: AwsAccount = request.getfixturevalue("aws")
    client = aws.client("dynamodb")
    return DynamoDbStore(client, make_table(client), "pending", SHARDS, clock, POLICY)


@dataclass(frozen=True)
class Database:
    """An empty schema of its own on the test run's PostgreSQL, migrated."""

    postgres: Postgres
    schema: str
    pool: asyncpg.Pool


@pytest.fixture
def database(postgres: Postgres) -> Iterator[Database]:
    schema = f"test_{uuid.uuid4().hex[:12]}"

    async def make() -> asyncpg.Pool:
        connection = await asyncpg.connect(postgres.url())
        await connection.execute(f'CREATE SCHEMA "{schema}"; SET search_path TO "{schema}"')
        await migrate(connection)
        await connection.close()
        return await asyncpg.create_pool(
            postgres.url(), min_size=1, max_size=6, server_settings={**SESSION, "search_path": schema}
        )

    pool = run(make())
    yield Database(postgres, schema, pool)
    run(pool.close())


@pytest.fixture
def dynamodb(request: pytest.FixtureRequest, clock: FakeClock) -> Callable[[Any], DynamoDbStore]:
    """Makes a store on a fresh table, through `wrap(client)`."""
    if request.config.stash.get(SIMULATED, False):
        simulated = Administrator(Table())
        return lambda wrap: DynamoDbStore(wrap(simulated), TABLE, INDEX, SHARDS, clock, POLICY)
    aws: AwsAccount = request.getfixturevalue("aws")
    client = aws.client("dynamodb")
    table = make_table(client)
    return lambda wrap: DynamoDbStore(wrap(client), table, "pending", SHARDS, clock, POLICY)


class Administrator(DirectClient):
    """He writes what he likes, past every condition, and what he reads is a copy."""

    def put_item(self, *, TableName: str, Item: dict[str, Any], **condition: Any) -> Any:  # noqa: N803
        if condition:
            return self.table.put_item(lambda *_: None, TableName=TableName, Item=Item, **condition)
        self.table.set_back({**self.table.items, Item["id"]["S"]: Item})
        return {}

    def delete_item(self, *, TableName: str, Key: dict[str, Any]) -> Any:  # noqa: N803
        self.table.set_back({id_: item for id_, item in self.table.items.items() if id_ != Key["id"]["S"]})

    def update_item(self, **change: Any) -> Any:
        return self.table.update_item(lambda *_: None, **{"ExpressionAttributeValues": {}, **change})

    def get_item(self, **key: Any) -> Any:
        return copy.deepcopy(self.table.get_item(lambda *_: None, **key))


async def bring_in(store: Store, records: Sequence[Transaction]) -> None:
    """Past the check of who inserts what, as an administrator may, or could in a version before it."""
    if not isinstance(store, PostgresStore) or isinstance(store.pool, DirectPool):
        await store.add(records)
        return
    async with store.pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        await PostgresStore(connection, store.policy, store.clock).add(records)


async def rewrite_rows(store: PostgresStore, id_: str | None = None, **columns: Any) -> None:
    """Of all rows, or of one: what no statement of the store's writes."""
    if isinstance(store.pool, DirectPool):
        rows = store.pool.server.rows
        for one in [id_] if id_ else [*rows]:
            rows[one] = rows[one]._replace(**columns)
        return
    sets = ", ".join(f"{name} = ${number}" for number, name in enumerate(columns, 2))
    await store.pool.execute(
        f"UPDATE transactions SET {sets} WHERE $1::text IS NULL OR id = $1", id_, *columns.values()
    )


def is_simulated(store: Store) -> bool:
    return isinstance(store, PostgresStore) and isinstance(store.pool, DirectPool)
