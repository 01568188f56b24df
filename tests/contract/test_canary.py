"""The canary on every datastore: who sends it, that it goes the way of every payment, and that it is in no book."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from tests.conftest import AwsAccount
from tests.contract.conftest import POLICY, Database, bring_in, is_simulated, make_table
from tests.fakes import START, FakeClock, payment, run
from workers.canary import Canary
from workers.domain.confirming import Tally, tally, tally_of_review
from workers.domain.outcomes import Confirmed
from workers.domain.policy import Policy
from workers.domain.ports import Canaries, Move, Store
from workers.domain.transaction import CANARY, CANARY_KEPT, Status, Transaction
from workers.domain.transitions import Answer, decide
from workers.measures import seconds_to_final
from workers.stores.common import arrived
from workers.stores.dynamodb import EXPIRES, DynamoDbStore, to_item
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


def canary(id_: str = f"{CANARY}{START:%Y%m%dT%H%M%SZ}", **changes: Any) -> Transaction:
    """One as the stack makes them, or with something else in it."""
    return payment(id_)._replace(**{"amount": 1, **changes})


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
    run(bring_in(store, [canary(), payment("p-1", amount=29)]))
    clock.time = START + timedelta(hours=25)
    claimed = run(store.claim(token="t", by="w1", limit=10))
    assert claimed.held == [], "both are past their deadline"
    assert tally_of_review(claimed.to_review) == Tally(claimed=2, review=1)
    assert run(store.find(canary().id)).status is Status.REVIEW  # type: ignore[union-attr]
    desk = run(store.desk())
    assert (desk.count, desk.at_risk) == (1, {"USD": 29})
    assert run(store.backlog()).review == 1
    assert [record.id for record in run(store.review())] == ["p-1"]
    assert [record.id for record in run(store.review(1))] == ["p-1"]


FALSE = (
    canary(f"{CANARY}1", amount=99_999_999_999, currency="EUR"),
    canary(f"{CANARY}20260105T090001Z", amount=2),
    canary(f"{CANARY}20260105T090002Z", currency="EUR"),
    canary(f"{CANARY}20260105T0900Z"),
    canary(f"{CANARY}20260105T090003Z-1"),
    canary(f"{CANARY}a-b-20260105T090004Z"),
)
"""What bears a canary's name and is none: any payment, another amount, another currency, other ids."""


def test_a_payment_by_a_canarys_name_is_in_every_count_while_it_is_confirmed(store: Store, clock: FakeClock) -> None:
    run(bring_in(store, [*FALSE]))
    if isinstance(store, DynamoDbStore):  # where nothing keeps them out, none is paid: they lie on the desk, every one
        claimed = run(store.claim(token="t", by="w1", limit=10))
        assert tally_of_review(claimed.to_review) == Tally(claimed=len(FALSE), review=len(FALSE))
        assert (claimed.held, run(store.backlog()).review) == ([], len(FALSE))
        return
    moves = confirm(store, clock)
    counted = tally(moves, [True] * len(moves))
    assert (counted.claimed, counted.confirmed) == (len(FALSE), len(FALSE))
    assert seconds_to_final([move.after for move in moves], 10) == [0.0] * len(FALSE)


def test_a_payment_by_a_canarys_name_lies_on_the_desk(store: Store, clock: FakeClock) -> None:
    run(bring_in(store, [canary(), *FALSE]))
    clock.time = START + timedelta(hours=25)
    claimed = run(store.claim(token="t", by="w1", limit=10))
    assert tally_of_review(claimed.to_review) == Tally(claimed=len(FALSE) + 1, review=len(FALSE))
    desk = run(store.desk())
    assert (desk.count, desk.at_risk) == (len(FALSE), {"EUR": 100_000_000_000, "USD": 5})
    assert run(store.backlog()).review == len(FALSE)
    assert {record.id for record in run(store.review())} == {one.id for one in FALSE}
    if isinstance(store, PostgresStore) and not is_simulated(store):
        assert {row["id"] for row in run(store.pool.fetch("SELECT id FROM payments"))} == {one.id for one in FALSE}


def test_postgresql_and_the_domain_mean_the_same(database: Database) -> None:
    strange = canary(f"{CANARY}20260105T09000\N{ARABIC-INDIC DIGIT ONE}Z")
    for one in (canary(), canary(f"{CANARY}4711-20260105T090000Z"), payment("p-1"), *FALSE, strange):
        asked = run(database.pool.fetchval("SELECT is_canary($1, $2, $3)", one.id, one.amount, one.currency))
        assert asked == one.is_canary, one.id
    assert [one for one in (*FALSE, strange) if one.is_canary] == []
    assert canary().is_canary
    assert canary(f"{CANARY}4711-20260105T090000Z").is_canary, "the pipeline's"


WHOSE = {
    "confirm_producer": "INSERT INTO transactions (id, account, amount, currency) VALUES ($1, 'a', $2, $3)",
    "confirm_operator": "INSERT INTO transactions (id, account, amount, currency) VALUES ($1, 'a', $2, $3)"
    " ON CONFLICT (id) DO NOTHING",
    "postgres": "INSERT INTO transactions (id, account, amount, currency) SELECT $1, 'a', $2, $3",
}


def test_postgresql_takes_canaries_from_their_own_role_alone(database: Database) -> None:
    store, connection = PostgresStore(database.pool, Policy()), run(as_canary(database))
    insert = WHOSE["confirm_producer"]
    for one in (*FALSE, payment("p-1")):
        with pytest.raises(asyncpg.CheckViolationError):
            run(connection.execute(insert, one.id, one.amount, one.currency))
    run(connection.execute(insert, canary().id, 1, "USD"))
    run(connection.close())
    other = f"{CANARY}20260105T090500Z"
    for role, statement in WHOSE.items():
        connection = run(asyncpg.connect(database.postgres.url(), server_settings={"search_path": database.schema}))
        if role != "postgres":
            run(connection.execute(f"SET ROLE {role}"))
        for id_, amount, currency in ((other, 1, "USD"), (f"{CANARY}1", 99_999_999_999, "EUR")):
            with pytest.raises(asyncpg.CheckViolationError, match="kept for the stack's own test payments"):
                run(connection.execute(statement, id_, amount, currency))
        run(connection.execute(statement, f"order-{role}", 1, "USD"))
        run(connection.close())
    added = run(store.add([payment("p-1"), payment(other, amount=1)]))
    assert (added.new, added.refused) == (("p-1",), (other,))
    ids = {row["id"] for row in run(database.pool.fetch("SELECT id FROM transactions"))}
    assert ids == {canary().id, "p-1", *(f"order-{role}" for role in WHOSE)}


def test_dynamodb_knows_the_canaries_account(aws: AwsAccount, clock: FakeClock) -> None:
    client = aws.client("dynamodb")
    store = DynamoDbStore(client, make_table(client), "pending", 3, clock, POLICY, "test-account")
    run(store.add([canary(account="another"), canary(f"{CANARY}20260105T090500Z", account="test-account")]))
    held, to_review = run(store.claim(token="t", by="w1", limit=10))
    assert [record.account for record in held] == ["test-account"]
    assert [record.id for record in to_review] == [canary().id]
    assert tally_of_review(to_review).review == 1
    assert run(store.backlog()).review == run(store.desk()).count == 1
    (waiting,) = run(store.review())
    assert "not its account" in str(waiting.reason)
    items = {item["id"]["S"]: item for item in client.scan(TableName=store.table)["Items"]}
    assert EXPIRES not in items[canary().id], "what is no canary stays"


@pytest.mark.parametrize("id_", ["p-1", f"{CANARY}1"])
def test_dynamodb_keeps_what_is_no_canary_whatever_its_item_says(aws: AwsAccount, clock: FakeClock, id_: str) -> None:
    """As a version before brought in what had a canary's name, or a producer by mistake."""
    client = aws.client("dynamodb")
    store = DynamoDbStore(client, make_table(client), "pending", 3, clock, POLICY)
    item = to_item(arrived(payment(id_), clock.now()), 3)
    client.put_item(TableName=store.table, Item={**item, EXPIRES: {"N": "1"}})
    held, to_review = run(store.claim(token="t", by="w1", limit=10))
    assert (held, [record.id for record in to_review]) == ([], [id_])
    assert f"field {EXPIRES}" in str(to_review[0].reason)
    assert EXPIRES not in client.get_item(TableName=store.table, Key={"id": {"S": id_}})["Item"]
    (waiting,) = run(store.review())
    assert (waiting.id, waiting.amount) == (id_, 2933)


def test_dynamodb_forgets_canaries_alone(aws: AwsAccount, clock: FakeClock) -> None:
    client = aws.client("dynamodb")
    store = DynamoDbStore(client, make_table(client), "pending", 3, clock, POLICY)
    run(store.add([canary(), payment("p-1"), payment(f"{CANARY}1")]))
    confirm(store, clock)
    items = {item["id"]["S"]: item for item in client.scan(TableName=store.table)["Items"]}
    assert items[canary().id][EXPIRES] == {"N": str(int((START + CANARY_KEPT).timestamp()))}
    assert EXPIRES not in items["p-1"] | items[f"{CANARY}1"]


def test_postgresql_forgets_those_of_last_week_and_lets_their_sender_do_no_more(database: Database) -> None:
    store, connection = PostgresStore(database.pool, Policy()), run(as_canary(database))
    now = run(database.pool.fetchval("SELECT now()"))
    ages = {"old": timedelta(days=7, hours=1), "young": timedelta(days=6), "now": timedelta(0)}
    ages["false"] = ages["old"] + timedelta(minutes=5)
    ids = {name: Canary("a", timedelta(minutes=5)).id_at(now - age) for name, age in ages.items()}
    run(bring_in(store, [*(canary(ids[name], created_at=now) for name in ("old", "young"))]))
    run(bring_in(store, [*(payment(id_, created_at=now) for id_ in (ids["false"], "p-1"))]))
    for record in run(store.claim(token="t", by="w1", limit=9)).held:
        done = Answer(Confirmed("r", record.amount, "USD"), "w")
        run(store.settle([Move(record, decide(record, done, now, Policy()))]))
    run(PostgresCanaries(connection).send(canary(ids["now"], created_at=now)))
    left = {ids["young"], ids["false"], "p-1", ids["now"]}
    assert {row["id"] for row in run(database.pool.fetch("SELECT id FROM transactions"))} == left
    told = {row["id"] for row in run(database.pool.fetch("SELECT transaction_id AS id FROM history"))}
    assert told == {ids["young"], ids["false"], "p-1"}
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


def test_the_canaries_login_can_become_nobody_else(database: Database) -> None:
    """Neither the producer, nor (by tables of its own that take the names of ours) the owner of the function."""
    connection = run(as_canary(database))
    assert not run(database.pool.fetchval("SELECT pg_has_role('confirm_canary', 'confirm_producer', 'MEMBER')"))
    run(database.pool.execute("INSERT INTO transactions (id, account, amount, currency) VALUES ('p-1', 'a', 1, 'EUR')"))
    old = f"{CANARY}{datetime.now(UTC) - timedelta(days=7, hours=1):%Y%m%dT%H%M}00Z"
    run(
        connection.execute(
            f"""
            CREATE TEMP TABLE transactions (id text, amount bigint, currency text);
            CREATE TEMP TABLE history (transaction_id text);
            INSERT INTO pg_temp.transactions VALUES ('{old}', 1, 'USD');
            CREATE FUNCTION pg_temp.mine() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN DELETE FROM "{database.schema}".transactions; RETURN OLD; END $$;
            CREATE TRIGGER mine BEFORE DELETE ON pg_temp.transactions FOR EACH ROW EXECUTE FUNCTION pg_temp.mine();
            """
        )
    )
    run(connection.fetchval(f'SELECT "{database.schema}".forget_canaries()'))
    run(connection.close())
    assert run(database.pool.fetchval("SELECT count(*) FROM transactions")) == 1
