"""One table of rules (workers/domain/rules.py): what PostgreSQL refuses by a constraint, no item is believed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from botocore.exceptions import ClientError

from tests.contract.conftest import POLICY, Database
from tests.contract.test_dynamodb import Client, Make
from tests.contract.test_store import LEASE_OVER, answer, claim, done, find
from tests.fakes import START, Even, FakeClock, LedgerGateway, payment, payments, run
from workers.domain.causes import Cause
from workers.domain.confirming import Confirmer
from workers.domain.exits import Redrive
from workers.domain.outcomes import Confirmed, NotTried
from workers.domain.ports import Move
from workers.domain.transaction import Status, to_text
from workers.domain.transitions import Answer, decide
from workers.stores import statements
from workers.stores.dynamodb import DynamoDbStore
from workers.stores.postgres import PostgresStore

BAD: tuple[tuple[str, str | int], ...] = (
    ("id", "line\nbreak"),
    ("id", "#run"),
    ("id", "x" * 129),
    ("account", ""),
    ("account", "9" * 1_025),
    ("account", "9" * 300_000),
    ("amount", -1),
    ("amount", 10**15 + 1),
    ("currency", "euro "),
    ("currency", "EURO"),
    ("currency", "eur"),
    ("deadline", "9999-06-01T00:00:00.000Z"),
    ("created_at", "9999-06-01T00:00:00.000Z"),
)
"""What a producer may bring, field by field."""
NAMES = [f"{field}-{str(value)[:12]!r}-{len(str(value))}" for field, value in BAD]


def plain(client: Any) -> Any:
    return client


def item_of(store: DynamoDbStore, id_: str) -> dict[str, Any]:
    found: dict[str, Any] = store.client.get_item(TableName=store.table, Key={"id": {"S": id_}})["Item"]
    return found


def attribute(value: str | int) -> dict[str, str]:
    return {"N": str(value)} if isinstance(value, int) else {"S": value}


@pytest.mark.parametrize(("field", "value"), BAD, ids=NAMES)
def test_postgresql_refuses_it(database: Database, field: str, value: str | int) -> None:
    row = {"id": "p", "account": "x", "amount": 1, "currency": "EUR", field: value}
    names, places = (
        ", ".join(row),
        ", ".join(f"${n}::text::{_TYPES.get(name, 'text')}" for n, name in enumerate(row, 1)),
    )
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        run(
            database.pool.execute(
                f"INSERT INTO transactions ({names}) VALUES ({places})", *(str(value) for value in row.values())
            )
        )


_TYPES = {"amount": "bigint", "deadline": "timestamptz", "created_at": "timestamptz"}


@pytest.mark.parametrize(("field", "value"), BAD, ids=NAMES)
def test_an_item_like_it_lies_on_a_desk_and_stops_nobody(
    dynamodb: Make, clock: FakeClock, field: str, value: str | int
) -> None:
    store = dynamodb(plain)
    run(store.add(list(payments(3))))
    item = item_of(store, "p-1")
    store.client.delete_item(TableName=store.table, Key={"id": {"S": "p-1"}})
    store.client.put_item(TableName=store.table, Item={**item, field: attribute(value)})
    held, [told] = run(store.claim(token="t1", by="w1", limit=100))
    assert {record.id for record in held} == {"p-0", "p-2"}
    assert f"field {field}" in (told.reason or "")
    assert str(value)[:20] not in (told.reason or "").replace(field, "") or not value, "data of others stays out of it"
    assert [record.id for record in run(store.review())] == [told.id]
    assert claim(store, "t2") == []


@pytest.mark.parametrize(
    ("status", "gone"),
    [
        ("PENDING", "next_attempt_at"),
        ("PROCESSING", "lease_until"),
        ("PROCESSING", "token"),
        ("CONFIRMED", "settled_at"),
        ("CONFIRMED", ""),
        ("REJECTED", ""),
    ],
)
def test_an_item_whose_state_is_not_whole_lies_on_a_desk(
    dynamodb: Make, clock: FakeClock, status: str, gone: str
) -> None:
    """Else nobody could ever claim it, or it would stay among the open work for ever, ahead of all others."""
    store = dynamodb(plain)
    run(store.add([payment("p-0"), payment("fine")]))
    whole = {
        **item_of(store, "p-0"),
        "status": {"S": status},
        "lease_until": {"S": to_text(START)},
        "token": {"S": "t"},
        "settled_at": {"S": to_text(START)},
    }
    if status == "PENDING":
        whole |= {"lease_until": {"S": to_text(START)}}
    whole.pop(gone if gone != "next_attempt_at" else "", None)
    store.client.put_item(TableName=store.table, Item=whole)
    held, [told] = run(store.claim(token="t1", by="w1", limit=9, ids=["p-0", "fine"]))
    assert [record.id for record in held] == ["fine"]
    assert (told.id, told.status) == ("p-0", Status.REVIEW)
    assert run(store.due(9)).ids == ("fine",)


def test_an_item_as_large_as_dynamodb_takes_is_moved_without_its_history(dynamodb: Make, clock: FakeClock) -> None:
    store = dynamodb(_with_dynamodbs_limit)
    run(store.add([payment("p-0"), payment("fine")]))
    item = item_of(store, "p-0")
    store.client.put_item(TableName=store.table, Item={**item, "account": {"S": "9" * (409_600 - 420)}})
    held, to_review = run(store.claim(token="t1", by="w1", limit=9))
    assert [record.id for record in held] == ["fine"]
    assert [record.id for record in to_review] == ["p-0"]
    assert [record.id for record in run(store.review())] == ["p-0"]
    assert find(store).status is Status.REVIEW


def test_a_settle_that_makes_one_item_too_large_is_that_items_alone(dynamodb: Make, clock: FakeClock) -> None:
    store = dynamodb(_refusing("p-1"))
    run(store.add(list(payments(30))))
    records = claim(store)
    won = run(store.settle([answer(record, clock, done(record)) for record in records]))
    assert [record.id for record, ok in zip(records, won, strict=True) if not ok] == ["p-1"]
    desk = find(store, "p-1")
    assert (desk.status, desk.sent_earlier, desk.owner) == (Status.REVIEW, True, POLICY.review_owner)
    assert "CONFIRMED could not be written" in (desk.reason or "")


def test_a_claim_that_one_item_refuses_is_that_items_alone(dynamodb: Make, clock: FakeClock) -> None:
    store = dynamodb(_refusing("p-1", status="PROCESSING"))
    run(store.add(list(payments(30))))
    held, [to_review] = run(store.claim(token="t1", by="w1", limit=100))
    assert len(held) == 29
    assert (to_review.id, to_review.sent_earlier) == ("p-1", True)
    assert find(store, "p-1").status is Status.REVIEW
    assert claim(store, "t2") == []


def test_statements_that_make_a_whole_call_invalid_are_found_one_by_one(dynamodb: Make, clock: FakeClock) -> None:
    def invalid(name: str, call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        if name == "batch_execute_statement" and any(
            {"S": "p-3"} in statement["Parameters"] and {"S": "PROCESSING"} in statement["Parameters"]
            for statement in arguments["Statements"]
        ):
            raise ClientError({"Error": {"Code": "ValidationException"}}, name)
        return call(**arguments)

    store = dynamodb(lambda client: Client(client, invalid))
    run(store.add(list(payments(10))))
    held, [to_review] = run(store.claim(token="t1", by="w1", limit=100))
    assert (len(held), to_review.id) == (9, "p-3")


def _refusing(id_: str, status: str = "CONFIRMED") -> Callable[[Any], Client]:
    """A service that says of one item, when it is to have that status, that it is too large."""

    def around(name: str, call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        if name != "batch_execute_statement":
            return call(**arguments)
        statements = arguments["Statements"]
        bad = [{"S": id_} in one["Parameters"] and {"S": status} in one["Parameters"] for one in statements]
        good = [one for one, refused in zip(statements, bad, strict=True) if not refused]
        answers = iter(call(Statements=good)["Responses"] if good else [])
        too_large = {"Error": {"Code": "ValidationError", "Message": "Item size has exceeded the maximum allowed size"}}
        return {"Responses": [too_large if refused else next(answers) for refused in bad]}

    return lambda client: Client(client, around)


def _with_dynamodbs_limit(client: Any) -> Client:
    """The local DynamoDB takes items of any size: as the service, this refuses what makes one larger than 400 KB."""

    def around(name: str, call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        if name != "batch_execute_statement":
            return call(**arguments)
        answers = []
        for statement in arguments["Statements"]:
            size = sum(len(next(iter(one.values()))) for one in statement["Parameters"])
            if {"S": "p-0"} in statement["Parameters"] and "history" not in statement["Statement"] and size > 120:
                answers.append({"Error": {"Code": "ValidationError", "Message": "Item size"}})
            else:
                answers += call(Statements=[statement])["Responses"]
        return {"Responses": answers}

    return Client(client, around)


# --- PostgreSQL: rows that no producer may bring, but that a hand or a fault may leave


POISONS = {
    "a line of history that is there already": (
        "INSERT INTO history (transaction_id, version) VALUES ('p-3', 1), ('p-3', 2), ('p-3', 7)"
    ),
    "a version at its end": "UPDATE transactions SET version = 2147483647 WHERE id = 'p-3'",
    "tries at their end": "UPDATE transactions SET tries = 2147483647 WHERE id = 'p-3'",
}
TAKEN_OVER = "UPDATE transactions SET status = 'PROCESSING', lease_until = '2026-01-05', token = 'old' WHERE id = 'p-3'"


@pytest.mark.parametrize("poison", POISONS)
def test_a_row_that_refuses_to_be_claimed_lies_on_a_desk_and_stops_nobody(
    database: Database, clock: FakeClock, poison: str
) -> None:
    store = PostgresStore(database.pool, POLICY, clock)
    run(store.add(list(payments(10))))
    run(database.pool.execute(TAKEN_OVER))
    run(database.pool.execute(POISONS[poison]))
    held, to_review = run(store.claim(token="t1", by="w1", limit=100))
    assert {record.id for record in held} == {f"p-{n}" for n in range(10)} - {"p-3"}
    assert [record.id for record in to_review] == ["p-3"]
    assert find(store, "p-3").status is Status.REVIEW
    assert find(store, "p-3").sent_earlier
    assert "a claim of it was refused" in (find(store, "p-3").reason or "")
    assert run(store.claim(token="t2", by="w1", limit=100)) == ([], [])
    assert run(store.settle([answer(record, clock, done(record)) for record in held])) == [True] * 9


@pytest.mark.parametrize(
    "spoiled",
    [
        "UPDATE transactions SET version = 2147483647 WHERE id = 'p-0'",
        "UPDATE transactions SET last_sent_at = '10000-01-01' WHERE id = 'p-0'",
    ],
    ids=["set aside", "unreadable"],
)
def test_a_row_that_no_claim_can_take_was_sent_since_the_restores_moment(
    database: Database, clock: FakeClock, spoiled: str
) -> None:
    """It was brought in again after the restore: its own `created_at` says now."""
    restored = clock.now() - timedelta(hours=30)
    store = PostgresStore(database.pool, replace(POLICY, restored_to=restored), clock)
    run(store.add([payment("p-0")]))
    run(database.pool.execute(spoiled))
    assert [record.id for record in run(store.claim(token="t1", by="w1", limit=9)).to_review] == ["p-0"]
    assert run(database.pool.fetchval("SELECT first_sent_at FROM transactions")) == restored


def test_an_item_that_no_claim_can_take_was_sent_since_the_restores_moment(dynamodb: Make, clock: FakeClock) -> None:
    restored = clock.now() - timedelta(hours=30)
    store = replace(dynamodb(plain), policy=replace(POLICY, restored_to=restored))
    run(store.add([payment("p-0")]))
    item = item_of(store, "p-0")
    store.client.put_item(TableName=store.table, Item={**item, "amount": {"N": "-1"}})
    assert [record.id for record in run(store.claim(token="t1", by="w1", limit=9)).to_review] == ["p-0"]
    assert item_of(store, "p-0")["first_sent_at"] == {"S": to_text(restored)}


@pytest.mark.parametrize("look", ["recall", "doubt"])
def test_a_row_that_refuses_to_be_changed_stops_no_other(database: Database, clock: FakeClock, look: str) -> None:
    store = PostgresStore(database.pool, POLICY, clock)
    run(store.add(list(payments(10))))

    async def spoil() -> None:
        async with database.pool.acquire() as connection:
            whole = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'state_is_whole'"
            rule = await connection.fetchval(f"{whole} AND conrelid = 'transactions'::regclass")
            await connection.execute("ALTER TABLE transactions DROP CONSTRAINT state_is_whole")
            await connection.execute("UPDATE transactions SET lease_until = now() WHERE id = 'p-3'")
            if look == "recall":
                await connection.execute("UPDATE transactions SET due_at = '9000-01-01'")
            await connection.execute(f"ALTER TABLE transactions ADD CONSTRAINT state_is_whole {rule} NOT VALID")

    run(spoil())
    assert run(getattr(store, look)()) == 9
    if look == "recall":
        assert find(store, "p-3").status is Status.REVIEW, "nobody would ever claim it"
    others = [find(store, f"p-{n}") for n in range(10) if n != 3]
    assert {record.sent_earlier for record in others} == {look == "doubt"}
    assert {record.next_attempt_at for record in others} == {clock.now()}


@pytest.mark.parametrize("column", ["due_at", "lease_until", "first_sent_at", "last_sent_at"])
@pytest.mark.parametrize("moment", ["-infinity", "4000-01-01 BC", "200000-01-01"])
def test_a_time_that_python_has_not_stops_nobody(
    database: Database, clock: FakeClock, column: str, moment: str
) -> None:
    store = PostgresStore(database.pool, POLICY, clock)
    run(store.add(list(payments(4))))
    run(database.pool.execute(TAKEN_OVER))
    run(database.pool.execute(f"UPDATE transactions SET {column} = '{moment}' WHERE id = 'p-3'"))
    held, to_review = run(store.claim(token="t1", by="w1", limit=100))
    assert {record.id for record in held} == {"p-0", "p-1", "p-2"}
    if (column, moment) == ("due_at", "200000-01-01"):
        return  # not due for a long time: a claim does not come by
    assert [record.id for record in to_review] == ["p-3"]
    assert "unreadable" in (find(store, "p-3").reason or "")


def test_a_row_released_while_a_claim_looks_at_it_is_left_alone_and_stops_nobody(
    database: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A late worker releases it between a claim's snapshot and its locks: what was locked is not what was seen."""
    gate = 8_152_436
    gated = statements.CLAIM.sql.replace(") AS truncated", f", pg_advisory_xact_lock_shared({gate})) AS truncated")
    assert gated != statements.CLAIM.sql
    monkeypatch.setattr(statements, "CLAIM", replace(statements.CLAIM, sql=gated))
    store = PostgresStore(database.pool, POLICY, clock)
    run(store.add([payment("p-0", hours=0.1), payment("fine")]))

    async def race() -> Any:
        [late] = (await store.claim(token="late", by="w0", limit=1, ids=["p-0"])).held
        clock.advance(3600)
        async with database.pool.acquire() as other:
            await other.execute("SELECT pg_advisory_lock($1)", gate)
            claiming = asyncio.create_task(store.claim(token="t1", by="w1", limit=9))
            waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = $1::int"
            while not await other.fetchval(waiting, gate):
                await asyncio.sleep(0.01)
            [won] = await store.settle([answer(late, clock, NotTried(Cause.STOPPING))])
            assert won
            await other.execute("SELECT pg_advisory_unlock($1)", gate)
        return await claiming

    first = run(race())
    assert "fine" in {record.id for record in first.held}
    second = run(store.claim(token="t2", by="w1", limit=9))
    assert [record.id for record in (*first.to_review, *second.to_review)] == ["p-0"]
    record = find(store)
    assert record.reason == "deadline passed before it could be sent"
    states = [Status.PENDING, Status.PROCESSING, Status.PENDING, Status.REVIEW]
    assert [line.now for line in record.history] == states, "no line of a change that was not made"
    assert run(store.claim(token="t3", by="w1", limit=9)) == ([], [])


# --- DynamoDB: what is put on a desk in passing


def test_what_is_put_on_a_desk_was_possibly_sent_whatever_it_says(dynamodb: Make, clock: FakeClock) -> None:
    """Mended and redriven it is asked about: something else wrote over it, and may have taken away what was known."""
    store, gateway = dynamodb(plain), LedgerGateway()
    run(store.add([payment("p-0", hours=240)]))
    run(gateway.confirm(payment("p-0"), "p-0"))
    item = item_of(store, "p-0")
    store.client.put_item(TableName=store.table, Item={**item, "currency": {"S": "usd"}})
    clock.advance(25 * 3600)
    assert claim(store) == []
    store.client.put_item(TableName=store.table, Item={**item_of(store, "p-0"), "currency": {"S": "USD"}})
    run(store.leave("p-0", Redrive("ana", "ben", "mended")))
    run(Confirmer(store, gateway, clock, Even(), lambda: "t", POLICY, "w").confirm_batch(9))
    assert gateway.effects == {"p-0": 1}
    assert find(store).status is Status.CONFIRMED


def test_what_somebody_holds_is_his_until_his_lease_is_over(dynamodb: Make, clock: FakeClock) -> None:
    """A worker of the version before holds what our rules refuse: its settle must not meet ours."""
    store = dynamodb(plain)
    run(store.add([payment("p-0")]))
    [held] = claim(store, "old")
    item = {**item_of(store, "p-0"), "currency": {"S": "usd"}}
    store.client.put_item(TableName=store.table, Item=item)
    assert run(store.claim(token="new", by="w", limit=9, ids=["p-0"])) == ([], [])
    clock.advance(LEASE_OVER)
    _, [to_review] = run(store.claim(token="new", by="w", limit=9, ids=["p-0"]))
    assert to_review.id == "p-0"
    assert run(store.settle([answer(held, clock, done(held))])) == [False], "whoever held it has lost it"
    assert find(store).status is Status.REVIEW


def test_what_came_to_its_end_before_a_rule_stays_there(dynamodb: Make, clock: FakeClock) -> None:
    store = dynamodb(plain)
    run(store.add([payment("p-0")]))
    [held] = claim(store)
    run(store.settle([answer(held, clock, done(held))]))
    store.client.put_item(TableName=store.table, Item={**item_of(store, "p-0"), "account": {"S": "9" * 3000}})
    assert (find(store).status, find(store).amount) == (Status.CONFIRMED, 2933)


# --- PostgreSQL: what a line of history or a time may hide


def test_odd_lines_and_times_hide_no_row_and_no_desk(database: Database, clock: FakeClock) -> None:
    store = PostgresStore(database.pool, POLICY, clock)
    run(store.add(list(payments(4))))
    records = claim(store)
    moves = [
        Move(record, decide(record, Answer(Confirmed("ref", 1, "USD"), "w1"), clock.now(), POLICY))
        for record in records
    ]
    run(store.settle(moves))
    run(
        database.pool.execute(
            """
            INSERT INTO history (transaction_id, version, at, was, now) VALUES ('p-0', 90, now(), 'X', 'NOPE');
            UPDATE transactions SET review_by = '4713-01-01 BC' WHERE id = 'p-1';
            UPDATE transactions SET review_by = 'infinity' WHERE id = 'p-2';
            UPDATE transactions SET review_by = '200000-01-01', settled_at = NULL WHERE id = 'p-3';
            """
        )
    )
    assert {record.id for record in run(store.review())} == {"p-0", "p-1", "p-2", "p-3"}
    assert (run(store.desk()).count, run(store.backlog()).review) == (4, 4)
    assert run(store.desk()).first_review_by is not None
    assert "not as we write it" in find(store, "p-0").history[-1].why
