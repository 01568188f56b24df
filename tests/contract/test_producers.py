"""What docs/producers.md promises to whoever adds a transaction: each example is run, and what it added is settled."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ministack.core.iam_evaluator import EvalContext, evaluate, parse_policy_document

from tests.conftest import AwsAccount
from tests.contract.conftest import POLICY, SHARDS, Database, make_table
from tests.fakes import run
from workers.clock import SystemClock
from workers.domain.outcomes import Confirmed
from workers.domain.ports import Move, Store
from workers.domain.transaction import Status, Transaction, from_text
from workers.domain.transitions import Answer, decide
from workers.stores.common import arrived
from workers.stores.dynamodb import DynamoDbStore, to_item
from workers.stores.postgres import PostgresStore

TEXT = (Path(__file__).parent.parent.parent / "docs" / "producers.md").read_text()
EXAMPLES = dict(re.findall(r"<!-- example: ([a-z-]+) -->\n```[a-z]+\n(.*?)```\n", TEXT, re.DOTALL))
ACCOUNT = "DE89370400440532013000"
CLOCK = SystemClock()


def test_every_example_is_run() -> None:
    here = Path(__file__).read_text()
    assert len(EXAMPLES) == TEXT.count("```") // 2
    assert all(f'"{name}"' in here for name in EXAMPLES)


def settle_all(store: Store) -> dict[str, Transaction]:
    """Claim what is due and confirm it; returns the records as they stand then."""
    held = run(store.claim(token="t", by="w", limit=1000)).held
    done = [Confirmed("ref", record.amount, record.currency) for record in held]
    now = CLOCK.now()
    moves = [
        Move(record, decide(record, Answer(outcome, "w"), now, POLICY))
        for record, outcome in zip(held, done, strict=True)
    ]
    assert run(store.settle(moves)) == [True] * len(held)
    found = [run(store.find(record.id)) for record in held]
    return {record.id: record for record in found if record is not None}


def has_a_whole_life(record: Transaction) -> bool:
    whys = [(line.by, line.was, line.now, line.why) for line in record.history[:2]]
    arrival = ("producer", None, Status.PENDING, "added")
    return whys == [arrival, ("w", Status.PENDING, Status.PROCESSING, "claimed")] and len(record.history) == 3


# --- PostgreSQL


def as_producer(database: Database, statements: str) -> tuple[list[Any], int]:
    """Run them as a producer; returns the last one's rows, and how often the service was notified."""

    async def work() -> tuple[list[Any], int]:
        heard: list[object] = []
        async with database.pool.acquire() as listener, database.pool.acquire() as producer:
            await listener.add_listener("transactions", lambda *_: heard.append(1))
            await producer.execute("SET ROLE confirm_producer")
            *first, last = [part for part in statements.split(";") if part.strip()]
            for statement in first:
                await producer.execute(statement)
            rows = await producer.fetch(last)
            await producer.execute("RESET ROLE")
            await listener.execute("SELECT 1")  # brings what was notified
            await listener.reset()
            return rows, len(heard)

    return run(work())


def test_sql_one(database: Database) -> None:
    store = PostgresStore(database.pool, POLICY)
    assert as_producer(database, EXAMPLES["sql-one"])[1] == 1
    [same] = as_producer(database, EXAMPLES["sql-same"])[0]
    assert (same["same"], same["status"]) == (True, "PENDING")
    records = settle_all(store)
    record = records["order-1001"]
    assert (record.account, record.amount, record.currency, record.status) == (
        ACCOUNT,
        1250,
        "EUR",
        Status.CONFIRMED,
    )
    assert record.deadline - record.created_at == timedelta(hours=24)
    assert has_a_whole_life(record)

    as_producer(database, EXAMPLES["sql-one"])  # again, after it is final
    assert settle_all(store) == {}
    assert run(store.find("order-1001")) == record
    assert as_producer(database, EXAMPLES["sql-same"])[0][0]["status"] == "CONFIRMED"


def test_sql_together_with_the_producers_own_row(database: Database) -> None:
    run(database.pool.execute("CREATE TABLE orders (number int PRIMARY KEY, total int)"))
    run(database.pool.execute("GRANT INSERT ON orders TO confirm_producer"))
    assert as_producer(database, EXAMPLES["sql-together"])[1] == 1
    assert run(database.pool.fetchval("SELECT count(*) FROM orders")) == 1
    records = settle_all(PostgresStore(database.pool, POLICY))
    assert list(records) == ["order-1002"]
    lasts = records["order-1002"].deadline - records["order-1002"].created_at
    assert abs(lasts - timedelta(hours=2)) < timedelta(milliseconds=1)


def test_sql_many_in_one_notification(database: Database) -> None:
    rows, notified = as_producer(database, EXAMPLES["sql-many"])
    assert (len(rows), notified) == (500, 1)
    assert as_producer(database, EXAMPLES["sql-many"])[0] == []
    records = settle_all(PostgresStore(database.pool, POLICY))
    assert {record.amount for record in records.values()} == set(range(2001, 2501))
    assert all(has_a_whole_life(record) for record in records.values())


# --- DynamoDB


@pytest.fixture
def stored(aws: AwsAccount) -> DynamoDbStore:
    client = aws.client("dynamodb")
    return DynamoDbStore(client, make_table(client), "pending", SHARDS, CLOCK, POLICY)


def names(store: DynamoDbStore) -> dict[str, Any]:
    """What an example finds defined: the item's maker, the client, the table, the shards."""
    defined: dict[str, Any] = {"client": store.client, "table": store.table, "shards": SHARDS}
    exec(EXAMPLES["item"], defined)  # noqa: S102 - our own document
    return defined


def run_example(name: str, store: DynamoDbStore, **changes: str) -> None:
    code = EXAMPLES[name]
    for old, new in changes.items():
        code = code.replace(f'"{old}"', f'"{new}"')
    exec(code, names(store))  # noqa: S102


def test_the_item_is_the_very_one_that_the_store_itself_makes(stored: DynamoDbStore) -> None:
    make: Callable[..., Any] = names(stored)["pending"]
    for id_ in ("order-1001", "A", "x" * 128, "a.b:c_d-e"):
        item = make(id_, ACCOUNT, 1250, "EUR", SHARDS)
        now = from_text(item["created_at"]["S"])
        ours = arrived(Transaction(id_, ACCOUNT, 1250, "EUR", now, now + timedelta(hours=24)), now)
        assert item == to_item(ours, SHARDS)


def test_put(stored: DynamoDbStore) -> None:
    run_example("put", stored)
    run_example("put", stored)
    records = settle_all(stored)
    assert [record.status for record in records.values()] == [Status.CONFIRMED]
    assert has_a_whole_life(records["order-1001"])
    run_example("put", stored)  # again, after it is final
    assert settle_all(stored) == {}
    assert run(stored.find("order-1001")) == records["order-1001"]


def test_transact_with_the_producers_own_item(stored: DynamoDbStore) -> None:
    orders = f"orders-{uuid.uuid4().hex[:8]}"
    stored.client.create_table(
        TableName=orders,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "number", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "number", "AttributeType": "S"}],
    )
    run_example("transact", stored, orders=orders)
    assert stored.client.scan(TableName=orders)["Count"] == 1
    records = settle_all(stored)
    assert list(records) == ["order-1002"]
    assert records["order-1002"].deadline - records["order-1002"].created_at == timedelta(hours=2)


def test_many(stored: DynamoDbStore) -> None:
    run_example("many", stored)
    run_example("many", stored)
    records = settle_all(stored)
    assert {record.amount for record in records.values()} == set(range(2001, 2021))
    run_example("many", stored)
    assert settle_all(stored) == {}


def test_an_older_number_of_shards_is_found_too(stored: DynamoDbStore) -> None:
    """A producer that was not told yet that the stack has more shards now."""
    run_example("many", stored)
    assert len(settle_all(replace(stored, shards=SHARDS + 5))) == 20


def test_an_item_of_another_form_goes_to_a_desk_with_the_reason(stored: DynamoDbStore) -> None:
    item = names(stored)["pending"]("order-1", ACCOUNT, 1250, "EUR", SHARDS)
    del item["currency"]
    stored.client.put_item(TableName=stored.table, Item=item)
    run_example("put", stored)
    assert set(settle_all(stored)) == {"order-1001"}
    [broken] = run(stored.review())
    assert (broken.id, "field currency missing" in (broken.reason or "")) == ("order-1", True)


@pytest.mark.parametrize(
    ("action", "id_", "may"),
    [
        ("PartiQLInsert", "order-1001", True),
        ("PartiQLInsert", "canary-20260105T090000Z", False),
        ("PutItem", "canary-1", False),
        ("PutItem", "#run", False),
        ("UpdateItem", "#run", False),
        ("PutItem", "a-canary-1", True),
    ],
)
def test_producers_are_kept_from_the_systems_own_ids(action: str, id_: str, may: bool) -> None:
    table = "arn:aws:dynamodb:us-east-1:000000000000:table/transactions"
    refused = json.loads(
        EXAMPLES["policy"].replace("REGION:ACCOUNT", "us-east-1:000000000000").replace("TABLE", "transactions")
    )
    allowed = {"Effect": "Allow", "Action": "dynamodb:*", "Resource": "*"}
    asked = EvalContext(
        "arn:aws:sts::000000000000:assumed-role/producer/x",
        "AssumedRole",
        "000000000000",
        f"dynamodb:{action}",
        table,
        "us-east-1",
    )
    asked.service_context = {"dynamodb:leadingkeys": ["order-7", id_]}
    policy = parse_policy_document({"Statement": [allowed, refused]})
    assert (evaluate(asked, [policy]).decision == "Allow") == may
