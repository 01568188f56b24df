"""The benchmark of finding measures what it says: the searches that `confirm find` makes, and their pages and units."""

from __future__ import annotations

import asyncio

import asyncpg

from benchmarks.find import Filled, Meter, Watched, look
from benchmarks.table import make_table
from cli.where import where_in
from local.postgres import Postgres
from tests.cli.conftest import make_database
from tests.conftest import AwsAccount
from tests.fakes import START
from workers.clock import SystemClock
from workers.domain.policy import Policy
from workers.stores.dynamodb import DynamoDbStore, to_item
from workers.stores.dynamodb_find import DynamoDbFinder
from workers.stores.postgres_find import PostgresFinder, asking

FILL = """
INSERT INTO transactions (id, account, amount, currency)
SELECT 'p-' || n, 'account-' || n, n, 'EUR' FROM generate_series(1, 20000) n
"""


def test_what_is_found_and_what_it_reads(postgres: Postgres, aws: AwsAccount) -> None:
    """An account is found by its index, which reads a small part of the table: whatever the planner thinks of it."""

    async def measure(text: str) -> tuple[int, int]:
        async with asyncpg.create_pool(url, min_size=1, max_size=1) as pool:
            watched = Watched(asking(pool))
            return await look(PostgresFinder(watched), where_in(text, START), 10), watched.pages

    async def fill() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(FILL)
        await connection.execute("UPDATE transactions SET status = 'CONFIRMED', due_at = NULL, settled_at = now()")
        await connection.execute("VACUUM ANALYZE transactions")
        await connection.close()

    url = asyncio.run(make_database(postgres))
    asyncio.run(fill())
    found, pages = asyncio.run(measure("account=account-777"))
    walked, whole = asyncio.run(measure("reference=nowhere"))
    assert (found, walked) == (1, 0)
    assert pages < whole / 3, (pages, whole)

    client = aws.client("dynamodb")
    table = make_table(client)
    for one in Filled(1_000).records:
        client.put_item(TableName=table, Item=to_item(one, 3))
    meter = Meter(client, table)
    finder = DynamoDbFinder(DynamoDbStore(meter, table, "pending", 3, SystemClock(), Policy()))
    assert asyncio.run(look(finder, where_in("state=REVIEW", START), 100)) == 20
    assert meter.units == 20.5, "one for each of less than 4 KB, and half a one for the page of the index"
