"""The canary on every datastore: who sends it, that it goes the way of every payment, and that it is in no book."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from tests.conftest import AwsAccount
from tests.contract.conftest import POLICY, Database, make_table
from tests.fakes import START, FakeClock, payment, run
from workers.canary import KEPT, Canaries, Canary
from workers.domain.confirming import Tally, of_desked, tally
from workers.domain.outcomes import Confirmed
from workers.domain.policy import Policy
from workers.domain.ports import Move, Store
from workers.domain.transaction import CANARY, Status, Transaction
from workers.domain.transitions import Answer, decide
from workers.stores.dynamodb import EXPIRES, DynamoDbStore
from workers.stores.postgres import PostgresCanaries, PostgresStore

CANARIES = Canary("test-account", timedelta(minutes=5))
_SOON = datetime.now(UTC) + timedelta(hours=2)  # later than the database's own now, at which it makes a row due
NOW = _SOON.replace(minute=33, second=7, microsecond=0)
"""In the turn of the canary of half past."""


@pytest.fixture(params=["dynamodb", "postgres"])
def both(request: pytest.FixtureRequest, clock: FakeClock) -> Iterator[tuple[Store, Canaries]]:
    """A store, and the canary's own way into it: in PostgreSQL as the role that it has there."""
    clock.time = NOW
    if request.param == "dynamodb":
        client = request.getfixturevalue("aws").client("dynamodb")
        store = DynamoDbStore(client, make_table(client), "pending", 3, clock, POLICY)
        yield store, store
        return
    database: Database = request.getfixturevalue("database")
    connection = run(as_canary(database))
    yield PostgresStore(database.pool, POLICY, clock), PostgresCanaries(connection)
    run(connection.close())


async def as_canary(database: Database) -> asyncpg.Connection:
    settings = {"search_path": database.schema}
    connection = await asyncpg.connect(database.postgres.url(), server_settings=settings)
    await connection.execute("SET ROLE confirm_canary")
    return connection


def confirm(store: Store, clock: FakeClock) -> list[Move]:
    held = run(store.claim(token="t", by="w1", limit=10)).held
    moves = []
    for record in held:
        outcome = Confirmed("ref", record.amount, record.currency)
        moves.append(Move(record, decide(record, Answer(outcome, "w1"), clock.now(), POLICY)))
    assert all(run(store.settle(moves)))
    return moves


def test_it_is_sent_once_a_turn_and_told_of_when_the_next_is_due(
    both: tuple[Store, Canaries], clock: FakeClock
) -> None:
    store, canaries = both
    assert run(CANARIES.beat(canaries, NOW)) == {}, "there was none before"
    sent = run(store.find(CANARIES.id_at(NOW)))
    assert sent is not None
    assert (sent.id, sent.account, sent.status) == (
        f"{CANARY}{NOW:%Y%m%dT%H}3000Z", "test-account", Status.PENDING
    )  # fmt: skip
    run(CANARIES.beat(canaries, NOW + timedelta(seconds=60)))
    run(canaries.send(sent._replace(amount=7)))
    assert run(store.backlog()).open == 1
    assert run(store.find(sent.id)) == sent, "whoever comes second changes nothing"

    late = run(CANARIES.beat(canaries, NOW + CANARIES.every))
    assert late == {"CanaryConfirmed": (0, "Count"), "CanarySeconds": ([], "Seconds")}
    clock.time = NOW + timedelta(seconds=42)
    confirm(store, clock)
    done = run(CANARIES.beat(canaries, NOW + CANARIES.every))
    assert done == {"CanaryConfirmed": (1, "Count"), "CanarySeconds": ([42.0], "Seconds")}


def test_its_outcome_is_not_counted(both: tuple[Store, Canaries], clock: FakeClock) -> None:
    store, canaries = both
    run(CANARIES.beat(canaries, NOW))
    run(store.add([payment("p-1", created_at=NOW)]))
    counted = tally(moves := confirm(store, clock), [True, True])
    assert (len(moves), counted.claimed, counted.confirmed, counted.lost) == (2, 2, 1, 0)


def test_it_is_on_no_desk(store: Store, clock: FakeClock) -> None:
    run(store.add([payment(f"{CANARY}1", amount=1), payment("p-1", amount=29)]))
    clock.time = START + timedelta(hours=25)
    claimed = run(store.claim(token="t", by="w1", limit=10))
    assert claimed.held == [], "both are past their deadline"
    assert of_desked(claimed.desked) == Tally(claimed=2, review=1)
    assert run(store.find(f"{CANARY}1")).status is Status.REVIEW  # type: ignore[union-attr]
    desk = run(store.desk())
    assert (desk.count, desk.at_risk) == (1, {"USD": 29})
    assert run(store.backlog()).review == 1
    assert [record.id for record in run(store.review())] == ["p-1"]
    assert [record.id for record in run(store.review(1))] == ["p-1"]


def test_dynamodb_forgets_canaries_alone(aws: AwsAccount, clock: FakeClock) -> None:
    client = aws.client("dynamodb")
    store = DynamoDbStore(client, make_table(client), "pending", 3, clock, POLICY)
    run(store.add([payment(f"{CANARY}1"), payment("p-1")]))
    confirm(store, clock)
    items = {item["id"]["S"]: item for item in client.scan(TableName=store.table)["Items"]}
    assert items[f"{CANARY}1"][EXPIRES] == {"N": str(int((START + KEPT).timestamp()))}
    assert EXPIRES not in items["p-1"]


def test_postgresql_forgets_those_of_last_week_and_lets_their_sender_do_no_more(database: Database) -> None:
    store, connection = PostgresStore(database.pool, Policy()), run(as_canary(database))
    now = run(database.pool.fetchval("SELECT now()"))
    ages = {"old": timedelta(days=7, hours=1), "young": timedelta(days=6)}
    ids = {name: Canary("a", timedelta(minutes=5)).id_at(now - age) for name, age in ages.items()}
    run(store.add([payment(id_, created_at=now) for id_ in (*ids.values(), "p-1")]))
    for record in run(store.claim(token="t", by="w1", limit=9)).held:
        run(store.settle([Move(record, decide(record, Answer(Confirmed("r", 2933, "USD"), "w"), now, Policy()))]))
    run(PostgresCanaries(connection).send(Transaction(f"{CANARY}now", "a", 1, "USD", now, now)))
    left = {ids["young"], "p-1", f"{CANARY}now"}
    assert {row["id"] for row in run(database.pool.fetch("SELECT id FROM transactions"))} == left
    told = {row["id"] for row in run(database.pool.fetch("SELECT transaction_id AS id FROM history"))}
    assert told == {ids["young"], "p-1"}
    for statement in (
        "DELETE FROM transactions",
        "DELETE FROM history",
        "UPDATE transactions SET status = 'CONFIRMED'",
        "INSERT INTO history (transaction_id, version) VALUES ('p-1', 9)",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            run(connection.execute(statement))
    run(connection.execute("SET ROLE confirm_producer"))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        run(connection.fetchval("SELECT forget_canaries()"))
    run(connection.close())
