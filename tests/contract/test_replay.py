"""Schedules that the simulator played, played again on the real PostgreSQL and on the emulator's DynamoDB.

Each call gets the same answer there, and at its end the same is stored. A few seeds here; more by
`make test ARGS="tests/contract/test_replay.py --replays 200"`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from simulation.chance import Setup
from simulation.play import World
from simulation.stores.dynamodb import TABLE, DynamoDatabase, Table
from simulation.stores.postgres import STATEMENTS, DirectPool, PostgresDatabase, Server
from tests.conftest import AwsAccount
from tests.contract.conftest import Database, make_table
from tests.fakes import run
from workers.stores import statements as sql

OF_THE_WAY = ("lost_answer", "partly", "stale", "store_throttled", "slow_statement")
"""Faults that lie between an adapter and what it calls, and are none of the service's own answers."""


def drawn(seed: int, *, streams: bool) -> Setup:
    """The life of a seed, on a datastore that shows at once what stands, and is written to by nobody else."""
    setup = Setup.of(seed)
    faults = {kind: often for kind, often in setup.faults.items() if kind not in OF_THE_WAY}
    return replace(
        setup, streams=streams, faults=faults, restore=None, failovers=(), page=1000, poisoned={}, foreign=(), fat={}
    )


@pytest.fixture
def seeds(request: pytest.FixtureRequest) -> range:
    return range(request.config.getoption("--replays"))


def test_the_same_happens_on_the_real_postgresql(seeds: range, database: Database) -> None:
    for seed in seeds:
        run(_on_postgres(seed, database))


async def _on_postgres(seed: int, database: Database) -> None:
    world = World(seed, drawn(seed, streams=True))
    assert isinstance(world.database, PostgresDatabase)
    server: Server = world.database.server
    server.record = []
    world.played()
    await database.pool.execute("TRUNCATE transactions, history, shadow_mode, shadow_left")
    for text, parameters, answer in server.record:
        if text == sql.TIME.text:
            continue
        async with database.pool.acquire() as connection, connection.transaction():
            if text == sql.ADD.text:  # past the check of who inserts what: ids of canaries are among these
                await connection.execute("SET LOCAL session_replication_role = replica")
            told = await connection.fetch(text, *parameters)
        assert _rows(told) == _rows(answer), f"seed {seed}: {STATEMENTS[text][0]} {parameters}"
    simulated = DirectPool(server)
    for everything in (sql.EVERY_ROW, sql.EVERY_LINE):
        stored = await database.pool.fetch(everything.text)
        assert _rows(stored) == _rows(await simulated.fetch(everything.text)), f"seed {seed}"


def _rows(rows: Any) -> list[str]:
    return sorted(str(tuple(row)) for row in rows)


def test_the_same_happens_on_the_emulators_dynamodb(seeds: range, aws: AwsAccount) -> None:
    client = aws.client("dynamodb")
    for seed in seeds:
        _on_dynamodb(seed, client, make_table(client))


def _on_dynamodb(seed: int, client: Any, name: str) -> None:
    world = World(seed, drawn(seed, streams=False))
    assert isinstance(world.database, DynamoDatabase)
    table: Table = world.database.table
    table.record = []
    world.played()
    table.catch_up()
    for operation, arguments, answer in table.record:
        try:
            told = getattr(client, operation)(**_renamed(arguments, name))
        except ClientError as error:
            told = error
        assert _said(told, name) == _said(answer, TABLE), f"seed {seed}: {operation} {arguments}"
    stored = {item["id"]["S"]: item for item in client.scan(TableName=name)["Items"]}
    assert stored == table.items, f"seed {seed}"


def _renamed(value: Any, name: str) -> Any:
    match value:
        case dict():
            return {_renamed(key, name): _renamed(one, name) for key, one in value.items()}
        case list() | tuple():
            return [_renamed(one, name) for one in value]
        case str() if value == TABLE or f'"{TABLE}"' in value:
            return value.replace(TABLE, name)
    return value


def _said(answer: Any, name: str) -> Any:
    """What an answer says to the adapter."""
    if isinstance(answer, ClientError):
        return answer.response["Error"]["Code"]
    if "Attributes" in answer:
        return answer["Attributes"]
    if "Items" in answer:
        return answer["Items"]
    responses = answer.get("Responses", {})
    if isinstance(responses, list):
        return [one.get("Error", {}).get("Code") for one in responses]
    return sorted(responses.get(name, []), key=lambda item: str(item["id"]["S"]))
