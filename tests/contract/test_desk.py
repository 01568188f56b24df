"""What every store of the desk's requests does: keeps them whole, once and in order, and makes the exits they allow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from cli.postgres import asking
from tests.conftest import AwsAccount
from tests.contract.conftest import POLICY, Database, make_table
from tests.fakes import START, FakeClock, payment, run
from tests.memory_desk import MemoryDesk
from tests.memory_store import MemoryStore
from workers.desk.service import DeskStore
from workers.domain.causes import Cause, because
from workers.domain.desk import (
    EXITS,
    MOST_IDS,
    Approval,
    Item,
    Order,
    Outcome,
    Request,
    Stage,
    Wants,
    approved,
    event_of,
    is_done_by,
    went_on,
    withdrawn,
)
from workers.domain.exits import Evidence
from workers.domain.pause import Standing, paused, resumed
from workers.domain.ports import Move, Store
from workers.domain.transaction import Status, Transaction
from workers.domain.transitions import Claim, SetAside, decide
from workers.stores.dynamodb import DynamoDbStore
from workers.stores.dynamodb_desk import DynamoDbDesk
from workers.stores.postgres import PostgresStore
from workers.stores.postgres_desk import PostgresDesk

ID = "0123456789abcdef" * 2
ORDER = Order("redrive", "the gateway says: never received")


@dataclass(frozen=True)
class Both:
    """A desk's store, and the store of the transactions that it is about."""

    desk: DeskStore
    store: Store


@pytest.fixture(params=["memory", "dynamodb", "postgres"])
def both(request: pytest.FixtureRequest, clock: FakeClock) -> Both:
    if request.param == "memory":
        memory = MemoryStore(clock, POLICY)
        return Both(MemoryDesk(memory), memory)
    if request.param == "postgres":
        database: Database = request.getfixturevalue("database")
        return Both(PostgresDesk(asking(database.pool)), PostgresStore(database.pool, POLICY, clock))
    aws: AwsAccount = request.getfixturevalue("aws")
    client = aws.client("dynamodb")
    store = DynamoDbStore(client, make_table(client), "pending", 3, clock, POLICY)
    return Both(DynamoDbDesk(store), store)


def in_review(both: Both, *ids: str) -> list[Transaction]:
    """Transactions that lie on the desk."""
    run(both.store.add([payment(id_) for id_ in ids]))
    for id_ in ids:
        held = run(both.store.claim(token="t", by="w", limit=1, ids=[id_])).held
        aside = decide(held[0], SetAside("w", because(Cause.WRITE_FAILED, status="x", error="y")), START, POLICY)
        assert run(both.store.settle([Move(held[0], aside)])) == [True]
    return [found for id_ in ids if (found := run(both.store.find(id_)))]


def requested(records: list[Transaction], id_: str = ID) -> Request:
    items = tuple(Item.seen(record) for record in records)
    return Request(id_, "stack", ORDER, items, "ana", START, START + timedelta(hours=1))


def test_a_request_is_kept_as_it_is(both: Both) -> None:
    request = requested(in_review(both, "a", "b"))
    assert run(both.desk.request(ID)) is None
    assert run(both.desk.add(request))
    assert run(both.desk.request(ID)) == request
    approval = approved(request, "ben", request.digest, START)
    assert run(both.desk.replace(request, approval))
    assert run(both.desk.request(ID)) == approval
    done = went_on(approval, [Outcome.DONE, Outcome.CHANGED])
    assert run(both.desk.replace(approval, done))
    found = run(both.desk.request(ID))
    assert found == done
    assert found is not None
    assert (found.state, found.left_out()) == (Stage.DONE, [("b", Outcome.CHANGED)])


def test_an_id_is_taken_once(both: Both) -> None:
    request = requested(in_review(both, "a", "b"))
    assert run(both.desk.add(request))
    assert not run(both.desk.add(replace(request, maker="eve")))
    kept = run(both.desk.request(ID))
    assert kept is not None
    assert kept.maker == "ana"


def test_of_two_changes_at_once_one_stands(both: Both) -> None:
    request = requested(in_review(both, "a"))
    run(both.desk.add(request))
    assert run(both.desk.replace(request, withdrawn(request, "ana")))
    assert not run(both.desk.replace(request, approved(request, "ben", request.digest, START)))
    kept = run(both.desk.request(ID))
    assert kept is not None
    assert kept.state is Stage.WITHDRAWN


def test_the_longest_list_fits(both: Both) -> None:
    items = tuple(Item(f"{n:04}" + "x" * 124, 2**31 - 1, 10**15, "USD") for n in range(MOST_IDS))
    request = Request(ID, "stack", ORDER, items, "ana", START, START + timedelta(hours=1))
    assert run(both.desk.add(request))
    assert run(both.desk.request(ID)) == request


def test_a_long_list_is_read_in_answers_that_the_data_api_can_give(database: Database, clock: FakeClock) -> None:
    answers: list[int] = []

    async def counting(statement: str, **texts: str) -> list[str]:
        rows = await asking(database.pool)(statement, **texts)
        answers.append(sum(map(len, rows)))
        return rows

    store = PostgresStore(database.pool, POLICY, clock)
    account = "a" * 1024
    run(store.add([payment(f"p-{n}")._replace(account=account) for n in range(MOST_IDS)]))
    items = [Item(f"p-{n}", 1, 1, "USD") for n in range(MOST_IDS)]
    assert len(run(PostgresDesk(counting).records(items))) == MOST_IDS
    assert max(answers) < 2**20


def test_those_that_wait_are_listed_by_their_end(both: Both) -> None:
    (record,) = in_review(both, "a")
    ids = [f"{n:032x}" for n in range(3)]
    for n, id_ in enumerate(ids):
        run(both.desk.add(replace(requested([record], id_), ends_at=START + timedelta(hours=9 - n))))
    assert [one.id for one in run(both.desk.requests())] == ids[::-1]
    assert run(both.desk.waiting(START)) == 3
    ended = START + timedelta(hours=8)  # two of them have: they hold up nobody
    assert run(both.desk.waiting(ended)) == 1
    assert [one.id for one in run(both.desk.requests(ended))] == ids[:1]
    first = run(both.desk.request(ids[0]))
    assert first is not None
    run(both.desk.replace(first, withdrawn(first, "ana")))
    assert [one.id for one in run(both.desk.requests())] == ids[:0:-1]


def test_an_exit_is_made_once_and_told(both: Both, clock: FakeClock) -> None:
    seen = in_review(both, "a", "b")
    request = requested(seen)
    run(both.desk.add(request))
    approval = approved(request, "ben", request.digest, START)
    run(both.desk.replace(request, approval))
    records = run(both.desk.records(request.items))
    assert sorted(records) == ["a", "b"]
    assert [Item.seen(records[item.id]) for item in request.items] == list(request.items)
    for before in seen:  # a field that is not read would be lost by the exit
        for name in set(Transaction._fields) - {"history", "next_attempt_at", "lease_until"}:
            assert getattr(records[before.id], name) == getattr(before, name), name
    now = clock.now() + timedelta(seconds=5)
    moves = [Move(records[id_], decide(records[id_], event_of(approval), now, POLICY)) for id_ in ("a", "b")]
    assert run(both.desk.exit(moves[:1])) == [True]
    if not isinstance(both.desk, MemoryDesk | DynamoDbDesk):  # an answer that was lost is known by the record
        assert run(both.desk.exit(moves)) == [False, True]
    else:
        run(both.desk.exit(moves))
    for id_, before in zip(("a", "b"), seen, strict=True):
        found = run(both.store.find(id_))
        assert found is not None
        assert (found.status, found.version, found.attempt) == (Status.PENDING, before.version + 1, 0)
        assert (found.owner, found.review_by, found.reason) == (None, None, None)
        assert (found.next_attempt_at, found.deadline) == (now, now + POLICY.review_within)
        assert found.first_sent_at == before.first_sent_at
        line = found.history[-1]
        assert (line.by, line.was, line.now, line.cause) == ("ana", Status.REVIEW, Status.PENDING, Cause.REDRIVEN)
        assert line.why == f"redrive approved by ben (request {ID}): the gateway says: never received"
    again = run(both.desk.records(request.items))
    assert all(is_done_by(again[item.id], approval, item) for item in request.items)
    other = replace(approval, id="f" * 32)
    assert not any(is_done_by(again[item.id], other, item) for item in request.items)
    held = run(both.store.claim(token="n", by="w", limit=2)).held
    assert len(held) in (0, 2)


@pytest.mark.parametrize("kind", EXITS)
def test_each_exit_is_written_to_the_letter(both: Both, clock: FakeClock, kind: str) -> None:
    (before,) = in_review(both, "a")
    clock.advance((POLICY.lease + POLICY.call_timeout + POLICY.grace + POLICY.key_window).total_seconds())
    seen = Evidence("console", "case 7")
    if EXITS[kind].proof is Wants.MONEY:
        seen = replace(seen, amount=before.amount + (kind == "accept-amount"), currency=before.currency)
    order = Order(kind, "looked into it", seen if EXITS[kind].needs_evidence or kind == "cancel" else None)
    made = replace(requested([before]), order=order)
    assert run(both.desk.add(made))
    request = approved(made, "ben", made.digest, START)
    assert run(both.desk.replace(made, request))
    after = decide(before, event_of(request), clock.now(), POLICY)
    assert run(both.desk.exit([Move(before, after)])) == [True]
    assert run(both.store.find("a")) == after
    again = run(both.desk.records(request.items))
    assert is_done_by(again["a"], request, request.items[0])


def test_what_has_left_review_does_not_leave_it_again(both: Both, clock: FakeClock) -> None:
    (record,) = in_review(both, "a")
    request = requested([record])
    run(both.desk.add(request))
    approval = approved(request, "ben", request.digest, START)
    run(both.desk.replace(request, approval))
    move = Move(record, decide(record, event_of(approval), clock.now(), POLICY))
    run(both.desk.exit([move]))
    (held,) = run(both.store.claim(token="x", by="w", limit=1, ids=["a"])).held
    late = Move(held._replace(status=Status.REVIEW, version=record.version), move.after)
    assert run(both.desk.exit([late])) == [False]
    found = run(both.store.find("a"))
    assert found is not None
    assert (found.status, found.token) == (Status.PROCESSING, "x")
    assert isinstance(Claim("x", "w"), Claim)


@pytest.mark.parametrize("forged", [{"approvals": ()}, {"approvals": (Approval("ANA", START),)}])
def test_what_the_rules_cannot_have_made_is_not_believed(both: Both, forged: dict[str, Any]) -> None:
    """Somebody with a right to the datastore writes himself an approval."""
    request = requested(in_review(both, "a"))
    run(both.desk.add(replace(request, state=Stage.APPROVED, **forged)))
    with pytest.raises(ValueError, match="not decided by the rules"):
        run(both.desk.request(ID))
    assert run(both.desk.requests()) == []


def test_the_database_lets_through_what_an_approved_request_lists(database: Database, clock: FakeClock) -> None:
    both = Both(PostgresDesk(asking(database.pool)), PostgresStore(database.pool, POLICY, clock))
    a, b = in_review(both, "a", "b")
    request = requested([a])
    run(both.desk.add(request))
    approval = approved(request, "ben", request.digest, START)
    moves = [Move(one, decide(one, event_of(approval), clock.now(), POLICY)) for one in (a, b)]
    assert run(both.desk.exit(moves)) == [False, False], "it is not approved yet"
    run(both.desk.replace(request, approval))
    assert run(both.desk.exit(moves)) == [True, False], "it does not list the other one"


@pytest.mark.parametrize("role", ["confirm_operator", "confirm_viewer", "confirm_reader", "confirm_producer"])
@pytest.mark.parametrize(
    "statement",
    [
        "SELECT desk_exits('x', '[]')",
        "SELECT redrive_transaction('a', 1, now(), now(), 'ana', 'because')",
        "UPDATE transactions SET status = 'PENDING' WHERE id = 'a'",
        "UPDATE desk_requests SET waits = true",
        "INSERT INTO desk_requests VALUES ('" + ID + "', now(), true, 1, '', '{}')",
        "DELETE FROM desk_requests",
        "UPDATE pause SET document = 'null'",
        "SELECT desk_pause(0, 'null')",
        "INSERT INTO history (transaction_id, version) VALUES ('a', 9)",
    ],
)
def test_nobody_goes_round_the_function(database: Database, role: str, statement: str) -> None:
    async def attempt() -> None:
        async with database.pool.acquire() as connection, connection.transaction():
            await connection.execute(f"SET LOCAL ROLE {role}")
            await connection.execute(statement)

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        run(attempt())


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE transactions SET status = 'PENDING' WHERE id = 'a'",
        "INSERT INTO history (transaction_id, version) VALUES ('a', 9)",
        "DELETE FROM desk_requests",
    ],
)
def test_not_even_the_function_touches_a_row_itself(database: Database, statement: str) -> None:
    test_nobody_goes_round_the_function(database, "confirm_desk", statement)


def test_a_pause_is_kept_under_its_fence(both: Both) -> None:
    none = run(both.desk.standing())
    assert none == Standing()
    stopped = paused(none, "sending", "ana", "the bank is down", START)
    assert run(both.desk.pause(none, stopped))
    assert run(both.desk.pause(none, stopped)), "its answer was lost"
    assert not run(both.desk.pause(none, paused(none, "all", "ben", "no", START)))
    assert run(both.desk.standing()) == stopped
    assert run(both.desk.requests()) == []
    on, _ = resumed(stopped, "it is back")
    assert run(both.desk.pause(stopped, on))
    assert run(both.desk.standing()) == on == Standing(2)
