"""A restore (docs/restore.md), executed: the store goes back to a point in time, the gateway does not.

The emulator restores a table to a backup, not to any second (it ignores the time asked for); PostgreSQL is copied as a
database. What counts is the same: transactions that were settled after that point are open again, and some are gone.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast

import asyncpg
import pytest

from demo.verdict import Effect, Verdict, judge
from gateway_simulator.ledger import UNASKED, Ledger
from local.postgres import Postgres
from tests.conftest import AwsAccount
from tests.contract.conftest import POLICY, SHARDS, make_table
from tests.fakes import FakeClock, payments, run
from tests.gateway.support import WallClock, simulated
from tests.gateway.support import payments as client_of
from workers.config import GatewayConfig
from workers.domain.confirming import Confirmer
from workers.domain.ports import Gateway, Store
from workers.domain.transaction import Status, Transaction
from workers.gateway.shadow import gateway_of
from workers.migrations import migrate
from workers.stores.dynamodb import DynamoDbStore
from workers.stores.postgres import SESSION, PostgresStore

PAYMENTS = tuple(payments(30))


class Readable(Store, Protocol):
    """A store that also tells all that it holds."""

    async def everything(self) -> list[Transaction]: ...


class Restorable(Protocol):
    """A datastore that can be copied as it is, and the copy put in its place."""

    @property
    def store(self) -> Readable: ...

    async def copy(self) -> None:
        """Keep this moment."""

    async def restore(self) -> None:
        """The store is lost; what was kept takes its place."""


@dataclass
class Table:
    client: Any
    clock: FakeClock
    table: str = ""
    backup: str = ""

    def __post_init__(self) -> None:
        self.table = make_table(self.client)

    @property
    def store(self) -> Readable:
        return DynamoDbStore(self.client, self.table, "pending", SHARDS, self.clock, POLICY)

    async def copy(self) -> None:
        answer = self.client.create_backup(TableName=self.table, BackupName="copy")
        self.backup = answer["BackupDetails"]["BackupArn"]

    async def restore(self) -> None:
        restored = f"{self.table}-restored"
        self.client.restore_table_from_backup(TargetTableName=restored, BackupArn=self.backup)
        self.client.delete_table(TableName=self.table)
        self.table = restored


@dataclass
class Cluster:
    postgres: Postgres
    clock: FakeClock
    name: str
    pool: asyncpg.Pool

    @property
    def store(self) -> Readable:
        return PostgresStore(self.pool, POLICY, self.clock)

    async def copy(self) -> None:
        await self.pool.close()  # a template has nobody connected
        await _execute(self.postgres, f'CREATE DATABASE "{self.name}_copy" TEMPLATE "{self.name}"')
        self.pool = await _pool(self.postgres, self.name)

    async def restore(self) -> None:
        await self.pool.close()
        await _execute(self.postgres, f'DROP DATABASE "{self.name}"')
        self.name = f"{self.name}_copy"
        self.pool = await _pool(self.postgres, self.name)


async def _execute(postgres: Postgres, sql: str) -> None:
    connection = await asyncpg.connect(postgres.url())
    await connection.execute(sql)
    await connection.close()


async def _pool(postgres: Postgres, name: str) -> asyncpg.Pool:
    return await asyncpg.create_pool(postgres.url(database=name), min_size=1, max_size=3, server_settings=SESSION)


@pytest.fixture(params=["dynamodb", "postgres"])
def place(request: pytest.FixtureRequest, clock: FakeClock) -> Iterator[Restorable]:
    if request.param == "dynamodb":
        aws: AwsAccount = request.getfixturevalue("aws")
        yield Table(aws.client("dynamodb"), clock)
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    name = f"restore_{uuid.uuid4().hex[:8]}"

    async def make() -> Cluster:
        await _execute(postgres, f'CREATE DATABASE "{name}"')
        connection = await asyncpg.connect(postgres.url(database=name))
        await migrate(connection)
        await connection.close()
        return Cluster(postgres, clock, name, await _pool(postgres, name))

    cluster = run(make())
    yield cluster
    run(cluster.pool.close())
    run(_execute(postgres, f'DROP DATABASE "{cluster.name}"'))


async def work(place: Restorable, clock: FakeClock, gateway: Gateway, by: str, batches: int = 40) -> None:
    """Batches of ten, with time between them, so that retries come due."""
    tokens: Callable[[], str] = lambda: uuid.uuid4().hex  # noqa: E731
    for _ in range(batches):
        confirmer = Confirmer(place.store, gateway, clock, random.Random(1), tokens, POLICY, by)
        batch = await confirmer.confirm_batch(10)
        if not batch.tally.claimed:
            break
        clock.advance(1)


async def lose_and_restore(place: Restorable, clock: FakeClock, gateway: Gateway) -> None:
    """Ten are final when the copy is made; the other ten, and ten that come later, are final when all is lost."""
    await place.store.add(PAYMENTS[:20])
    await work(place, clock, gateway, "before", batches=1)
    await place.copy()
    await place.store.add(PAYMENTS[20:])
    await work(place, clock, gateway, "after")
    await place.restore()
    found = await place.store.everything()
    assert len(found) == 20
    assert len([one for one in found if one.status is Status.PENDING]) == 10


def verdict(records: list[Transaction], ledger: Ledger, excused: str = "") -> Verdict:
    effects = [Effect(one.id, one.amount, one.currency) for one in ledger.effects]
    violations = [one for one in ledger.violations if one.what != excused]
    return judge(PAYMENTS, records, effects, len(violations), marked=True)


def test_a_restored_store_agrees_with_the_gateway_to_the_cent(
    place: Restorable, clock: FakeClock, tmp_path: Path
) -> None:
    """The runbook: producers bring again what is missing, shadow mode asks, and only then anything is sent."""

    async def check() -> None:
        async with simulated(tmp_path / "ledger") as (server, url), client_of(url) as gateway:
            await lose_and_restore(place, clock, gateway)
            assert not verdict(await place.store.everything(), server.ledger).holds
            sent = server.ledger.stats()["answers"]
            await place.store.add(PAYMENTS)  # all of them: what is there stays as it is
            shadow = gateway_of(GatewayConfig(url, 10, 0, "", shadow=True), POLICY, "", WallClock())
            await work(place, clock, shadow, "shadow")
            await shadow.close()
            now = server.ledger.stats()["answers"]
            assert {k: v for k, v in now.items() if k.startswith("confirm")} == {
                k: v for k, v in sent.items() if k.startswith("confirm")
            }
            await work(place, clock, gateway, "again")
            found = verdict(await place.store.everything(), server.ledger)
            assert [check for check in found.checks if not check.kept] == []
            confirmed = next(row for row in found.rows if row.status is Status.CONFIRMED)
            assert confirmed.amount - confirmed.moved == 0
            assert confirmed.count == confirmed.effects == len(server.ledger.effects)

    run(check())


def test_within_the_key_window_even_a_hasty_restart_moves_nothing_twice(
    place: Restorable, clock: FakeClock, tmp_path: Path
) -> None:
    async def check() -> None:
        async with simulated(tmp_path / "ledger") as (server, url), client_of(url) as gateway:
            await lose_and_restore(place, clock, gateway)
            await place.store.add(PAYMENTS)
            await work(place, clock, gateway, "hasty")
            found = await place.store.everything()
            assert not verdict(found, server.ledger).holds, "nobody had asked what became of them"
            assert verdict(found, server.ledger, excused=UNASKED).holds

    run(check())


def test_what_shadow_mode_has_marked_is_asked_about_whoever_goes_on_and_how_soon(
    place: Restorable, clock: FakeClock, tmp_path: Path
) -> None:
    """Past the key window, with shadow mode's first look alone: no batch was asked about before the workers send again.

    What the producers brought again is marked with the rest, and so is what lies on a desk and is redriven.
    """

    async def check() -> None:
        async with simulated(tmp_path / "ledger") as (server, url), client_of(url) as gateway:
            await lose_and_restore(place, clock, gateway)
            server.profile = server.profile.changed({"key_window_seconds": 0})
            await place.store.add(PAYMENTS)
            shadow = cast(Store, replace(cast(Any, place.store), policy=replace(POLICY, only_ask=True)))
            assert await shadow.doubt() == 20
            clock.advance(POLICY.grace.total_seconds() + 1)
            await work(place, clock, gateway, "again")
            assert server.ledger.doubles() == []
            assert verdict(await place.store.everything(), server.ledger).holds

    run(check())


def test_past_the_key_window_a_hasty_restart_pays_twice_and_asking_first_does_not(
    place: Restorable, clock: FakeClock, tmp_path: Path
) -> None:
    """Why the runbook begins with shadow mode: a gateway that has forgotten the keys does everything again."""

    async def check() -> None:
        async with simulated(tmp_path / "ledger") as (server, url), client_of(url) as gateway:
            await lose_and_restore(place, clock, gateway)
            server.profile = server.profile.changed({"key_window_seconds": 0})
            shadow = gateway_of(GatewayConfig(url, 10, 0, "", shadow=True), POLICY, "", WallClock())
            await work(place, clock, shadow, "shadow")
            await shadow.close()
            assert server.ledger.doubles() == []
            await place.store.add(PAYMENTS[20:])  # these nobody asks about
            await work(place, clock, gateway, "hasty")
            assert server.ledger.doubles() != []

    run(check())
