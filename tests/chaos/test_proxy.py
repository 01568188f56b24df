"""The proxy that cuts a connection where a write commits: it must find that place, on the real PostgreSQL as well."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator

import asyncpg
import pytest

from chaos.proxy import ORDER, DynamoDbWire, How, PostgresWire, Proxy
from local.postgres import Postgres
from tests.fakes import run

UPDATE = b"WITH picked AS (SELECT 1) UPDATE transactions t SET status = 'PROCESSING'"


def message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4) + body


NO_TLS = message(b"", (80_877_103).to_bytes(4))
START = NO_TLS + message(b"", b"\0\3\0\0user\0confirm\0\0")
EXECUTE, SYNC = message(b"E", b"\0\0\0\0\0"), message(b"S", b"")


def prepared(name: bytes, statement: bytes) -> bytes:
    return message(b"P", name + b"\0" + statement + b"\0\0\0")


def bound(name: bytes) -> bytes:
    return message(b"B", b"\0" + name + b"\0\0\0\0\0\0\0")


def simple(statement: bytes) -> bytes:
    return message(b"Q", statement + b"\0")


@pytest.mark.parametrize(
    ("sent", "commits"),
    [
        (START + prepared(b"s", UPDATE) + bound(b"s") + EXECUTE + SYNC, True),
        (START + prepared(b"s", b"SELECT * FROM transactions") + bound(b"s") + EXECUTE + SYNC, False),
        (START + prepared(b"s", b"UPDATE shares SET taken = 1") + bound(b"s") + EXECUTE + SYNC, False),
        (START + prepared(b"s", UPDATE) + SYNC, False),
        (START + simple(UPDATE), True),
        (START + simple(b"BEGIN;") + simple(UPDATE), False),
        (START + simple(b"BEGIN;") + simple(UPDATE) + simple(b"COMMIT;"), True),
        (START + simple(b"BEGIN;") + simple(UPDATE) + simple(b"ROLLBACK;"), False),
        (START + prepared(b"s", UPDATE) + simple(b"BEGIN;") + bound(b"s") + EXECUTE + SYNC, False),
    ],
)
@pytest.mark.parametrize("piece", [1, 7, 10_000])
def test_it_knows_where_a_write_of_postgresql_commits(sent: bytes, commits: bool, piece: int) -> None:
    wire = PostgresWire()
    found = [wire.commits(sent[n : n + piece]) for n in range(0, len(sent), piece)]
    assert any(found) is commits
    assert not any(found[:-1]), "not before the last byte"


def test_it_knows_where_an_answer_of_postgresql_ends() -> None:
    wire = PostgresWire()
    assert not wire.is_answer(message(b"C", b"UPDATE 1\0"))
    assert not wire.is_answer(message(b"Z", b"I")[:3])
    assert wire.is_answer(message(b"Z", b"I")[3:])


def request(operation: str, statement: str) -> bytes:
    body = json.dumps({"Statements": [{"Statement": statement}]}).encode()
    head = f"POST / HTTP/1.1\r\nX-Amz-Target: DynamoDB_20120810.{operation}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@pytest.mark.parametrize(
    ("sent", "commits"),
    [
        (request("BatchExecuteStatement", 'UPDATE "t" SET a = 1'), True),
        (request("BatchExecuteStatement", 'SELECT * FROM "t"'), False),
        (request("Query", "UPDATE"), False),
    ],
)
def test_it_knows_a_write_of_dynamodb(sent: bytes, commits: bool) -> None:
    wire = DynamoDbWire()
    assert [wire.commits(sent[:40]), wire.commits(sent[40:])] == [False, commits]
    assert wire.commits(sent) is commits, "the next one on the same connection"


def test_it_knows_where_an_answer_of_dynamodb_ends() -> None:
    wire = DynamoDbWire()
    assert not wire.is_answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{")
    assert wire.is_answer(b"}")
    assert not wire.is_answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n")
    assert wire.is_answer(b"0\r\n\r\n")


@pytest.fixture
def proxy(postgres: Postgres) -> Iterator[Proxy]:
    one = Proxy(postgres.port, PostgresWire).start()
    yield one
    one.stop()


def test_on_postgresql_a_write_stands_or_is_undone_by_the_place_of_the_cut(postgres: Postgres, proxy: Proxy) -> None:
    """One whose answer was lost has happened; one that the server never heard the end of has not."""

    async def play() -> dict[How, tuple[bool, int]]:
        direct = await asyncpg.connect(postgres.url())
        await direct.execute("CREATE SCHEMA cut; CREATE TABLE cut.transactions (id text, times int)")
        found = {}
        for how in map(How, ORDER):
            await direct.execute("INSERT INTO cut.transactions VALUES ($1, 0)", how)
            through = await asyncpg.connect(postgres.url().replace(f":{postgres.port}/", f":{proxy.port}/"))
            await through.execute("SET search_path = cut")
            update = "UPDATE transactions SET times = times + 1 WHERE id = $1"
            assert await through.execute(update, how) == "UPDATE 1", "nothing is cut that was not asked for"
            proxy.cut()
            answered = False
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await through.execute(update, how)
                answered = True
            through.terminate()
            while await direct.fetchval("SELECT count(*) FROM pg_stat_activity WHERE query = $1", update):
                await asyncio.sleep(0.02)  # the server has noticed
            found[how] = answered, await direct.fetchval("SELECT times FROM cut.transactions WHERE id = $1", how)
        await direct.execute("DROP SCHEMA cut CASCADE")
        await direct.close()
        return found

    found = run(play())
    assert found[How.AFTER] == (False, 2)
    assert found[How.BEFORE] == (False, 1)
    assert found[How.AT][0] is False
    assert found[How.AT][1] in (1, 2)
    assert dict(proxy.cuts) == dict.fromkeys(How, 1)
