"""Whoever comes late changes nothing, whatever it is that he brings, and whoever holds it loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from tests.contract.conftest import POLICY, Database
from tests.contract.test_dynamodb import Client, Make, plain
from tests.contract.test_store import LEASE_OVER, answer, claim, done, find
from tests.fakes import FakeClock, payment, payments, run
from workers.database.connection import LOST
from workers.domain.causes import Cause, because
from workers.domain.exits import Redrive, Refused
from workers.domain.outcomes import Confirmed, NotTried, Retryable, Unknown
from workers.domain.ports import Move, Store
from workers.domain.transaction import Status, Transaction
from workers.domain.transitions import SetAside, decide
from workers.stores.dynamodb import DynamoDbStore
from workers.stores.postgres import SESSION, PostgresStore


@pytest.mark.parametrize("cause", [Cause.STOPPING, Cause.TIME_SHORT, Cause.LEASE_SHORT, Cause.BREAKER_OPEN])
def test_what_was_not_tried_is_released_by_its_holder_alone(store: Store, clock: FakeClock, cause: Cause) -> None:
    """A stop releases what it holds, and nothing that was taken over meanwhile."""
    run(store.add(list(payments(3))))
    late = claim(store, "late")
    clock.advance(LEASE_OVER)
    new = claim(store, "new")
    assert run(store.settle([answer(one, clock, NotTried(cause)) for one in late])) == [False] * 3
    for one in new:
        stands = find(store, one.id)
        assert (stands.status, stands.token, stands.lease_until) == (Status.PROCESSING, "new", one.lease_until)


def test_what_came_back_meanwhile_is_nobodys_to_settle(store: Store, clock: FakeClock) -> None:
    """Taken over, and released again: its token is none, which is not that of the first holder either."""
    run(store.add([payment("p-0")]))
    [late] = claim(store, "late")
    clock.advance(LEASE_OVER)
    [new] = claim(store, "new")
    run(store.settle([answer(new, clock, Retryable("busy"))]))
    assert run(store.settle([answer(late, clock, done(late))])) == [False]
    assert find(store).status is Status.PENDING
    assert run(store.extend([late])) == []
    assert find(store).lease_until is None


def test_a_result_that_comes_after_its_lease_counts_while_nobody_else_has_it(store: Store, clock: FakeClock) -> None:
    run(store.add([payment("p-0")]))
    [held] = claim(store)
    clock.advance(LEASE_OVER)
    assert run(store.settle([answer(held, clock, done(held))])) == [True]
    assert find(store).status is Status.CONFIRMED


def test_a_takeover_has_a_token_of_its_own(store: Store, clock: FakeClock) -> None:
    run(store.add([payment("p-0")]))
    claim(store, "old")
    clock.advance(LEASE_OVER)
    claim(store, "new")
    assert find(store).token == "new"


def test_what_others_hold_hides_nothing_behind_it(store: Store, clock: FakeClock) -> None:
    run(store.add(list(payments(6))))
    held = claim(store, "theirs", limit=4)
    ours = claim(store, "ours", limit=2)
    assert len(ours) == 2
    assert not {one.id for one in held} & {one.id for one in ours}


def test_amounts_are_whole_wherever_they_come_from(store: Store, clock: FakeClock) -> None:
    run(store.add([payment("p-0", amount=10**15)]))
    [held] = claim(store)
    run(store.settle([answer(held, clock, Unknown("?"))]))
    for one in (held, find(store)):
        assert (type(one.amount), one.amount) == (int, 10**15)


def test_a_redrive_of_what_changed_meanwhile_is_refused(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two colleagues look at the desk, and one of them is slower: by then it was sent, and lies there once more."""
    if not isinstance(store, PostgresStore | DynamoDbStore):
        pytest.skip("the model reads and writes in one step")
    run(store.add([payment("p-0")]))

    def to_the_desk() -> None:
        [held] = claim(store)
        run(store.settle([answer(held, clock, Confirmed("ref", 1, "USD"))]))

    to_the_desk()
    seen = find(store)
    for again in (False, True):
        run(store.leave("p-0", Redrive("cy", "dan", "looked into it")))
        clock.advance(LEASE_OVER)
        if again:
            to_the_desk()
        stands = find(store)
        if isinstance(store, PostgresStore):
            _shows_first(monkeypatch, store, "find", seen)
        else:
            _shows_first(monkeypatch, store, "_items", {"p-0": _item(seen)})
        with pytest.raises(Refused):
            run(store.leave("p-0", Redrive("ana", "ben", "asked the bank")))
        assert find(store) == stands
        if not again:
            to_the_desk()
            seen = find(store)


def _item(record: Transaction) -> Any:
    from workers.stores.dynamodb import to_item

    return to_item(record, 3)


def _shows_first(monkeypatch: pytest.MonkeyPatch, store: Any, name: str, seen: Any) -> None:
    """The next read shows what stood when somebody looked; those after it what stands."""
    real = getattr(store, name)

    async def shows(*args: Any, **more: Any) -> Any:
        monkeypatch.setattr(store, name, real)
        return seen

    monkeypatch.setattr(store, name, shows)


# --- DynamoDB


def repeated_and_stale() -> Callable[..., Any]:
    """Each write's answer is lost: the SDK sends it again, which meets the fence that it raised. And reads that need
    not be consistent show what stood at the first look."""
    before: dict[str, Any] = {}

    def stale(name: str, call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        if name == "batch_execute_statement":
            call(**arguments)
        if name == "batch_get_item":
            [wanted] = arguments["RequestItems"].values()
            answer = call(**arguments)
            [(table, items)] = answer["Responses"].items()
            old = [before.setdefault(item["id"]["S"], item) for item in items]
            return answer if wanted["ConsistentRead"] else {**answer, "Responses": {table: old}}
        return call(**arguments)

    return stale


def test_whose_write_it_was_is_read_where_reads_are_consistent(dynamodb: Make, clock: FakeClock) -> None:
    """Others may show what stood before our own write: by that, what we hold would be another's."""
    store = dynamodb(lambda client: Client(client, repeated_and_stale()))
    run(store.add([payment("p-0")]))
    [held] = claim(store)
    assert run(store.settle([answer(held, clock, done(held))])) == [True]


def test_an_exit_whose_answer_was_lost_is_known_by_what_stands(dynamodb: Make, clock: FakeClock) -> None:
    """Else two people would be told that somebody else was faster."""
    store = dynamodb(lambda client: Client(client, repeated_and_stale()))
    run(store.add([payment("p-0")]))
    [held] = claim(store)
    aside = decide(held, SetAside("w1", because(Cause.WRITE_FAILED, status="x", error="y")), clock.now(), POLICY)
    run(store.settle([Move(held, aside)]))
    assert run(store.leave("p-0", Redrive("ana", "ben", "mended"))).status is Status.PENDING


def test_a_plan_reads_on_behind_its_first_page(dynamodb: Make, clock: FakeClock) -> None:
    """However short the service cuts its pages."""

    def short(name: str, call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        return call(**{**arguments, "Limit": 2} if name == "query" and "Limit" in arguments else arguments)

    store = dynamodb(lambda client: Client(client, short))
    run(store.add(list(payments(25))))
    assert len(run(store.due(25)).ids) == 25
    assert len(claim(store, limit=25)) == 25


def test_marking_leaves_alone_what_is_final(dynamodb: Make, clock: FakeClock) -> None:
    """The index may still show it as waiting."""
    store = dynamodb(plain)
    run(store.add([payment("p-0")]))
    [held] = claim(store)
    run(store.settle([answer(held, clock, done(held))]))
    final = find(store)
    assert run(store._doubt(["p-0"])) == 0
    assert run(store.recall(["p-0"])) == 0
    assert find(store) == final


# --- PostgreSQL


def test_what_is_final_is_set_aside_by_nobody(database: Database, clock: FakeClock) -> None:
    store = PostgresStore(database.pool, POLICY, clock)
    run(store.add(list(payments(2))))
    held = claim(store)
    run(store.settle([answer(one, clock, done(one)) for one in held]))
    final = [find(store, one.id) for one in held]
    assert run(store._set_aside("p-0", "w", ValueError("?"))) == []
    assert run(store.doubt()) == 0
    assert [find(store, one.id) for one in held] == final


def test_what_somebody_holds_is_set_aside_by_nobody_else(database: Database, clock: FakeClock) -> None:
    store = PostgresStore(database.pool, POLICY, clock)
    run(store.add([payment("p-0")]))
    [held] = claim(store)
    assert run(store._set_aside("p-0", "w", ValueError("?"))) == []
    assert find(store).token == held.token


def test_no_change_stands_without_its_line(database: Database, clock: FakeClock) -> None:
    """Whatever keeps the line out keeps the change out too: what is CONFIRMED says when, by whom and why."""
    store = PostgresStore(database.pool, POLICY, clock)
    run(store.add(list(payments(2))))
    held = claim(store)
    run(database.pool.execute("ALTER TABLE history ADD CONSTRAINT no_line CHECK (now <> 'CONFIRMED') NOT VALID"))
    run(store.settle([answer(one, clock, done(one)) for one in held]))
    for one in held:
        stands = find(store, one.id)
        assert stands.status is not Status.CONFIRMED
        assert stands.history[-1].now is stands.status


def test_a_connection_that_is_cut_leaves_no_change_without_its_line(database: Database, clock: FakeClock) -> None:
    """Between any two statements of a settle."""

    class Cut:
        """A pool of which only the first statement of a settle arrives."""

        def __init__(self) -> None:
            self.left = 1

        def __getattr__(self, name: str) -> Any:
            real = getattr(database.pool, name)

            async def call(*args: Any, **more: Any) -> Any:
                self.left -= 1
                if self.left < 0:
                    raise ConnectionResetError("cut")
                return await real(*args, **more)

            return call

    store = PostgresStore(database.pool, POLICY, clock)
    run(store.add([payment("p-0")]))
    [held] = claim(store)
    cut: Any = Cut()
    with contextlib.suppress(ConnectionResetError):
        run(PostgresStore(cut, POLICY, clock).settle([answer(held, clock, done(held))]))
    stands = find(store)
    assert stands.history[-1].now is stands.status


def test_a_reader_takes_no_claim(database: Database) -> None:
    """A claim is a change: whatever the service is connected to, a reader refuses it, and counts as a lost database."""

    async def read_only() -> None:
        reader = await asyncpg.create_pool(
            database.postgres.url(),
            min_size=1,
            max_size=1,
            server_settings={**SESSION, "search_path": database.schema, "default_transaction_read_only": "on"},
        )
        try:
            await PostgresStore(database.pool, POLICY).add([payment("p-0")])
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError) as refused:
                await PostgresStore(reader, POLICY).claim(token="t", by="w", limit=9)
            assert isinstance(refused.value, LOST)
        finally:
            await reader.close()

    run(read_only())
    assert run(PostgresStore(database.pool, POLICY).held("t")) == []


def test_claims_at_once_take_each_row_once_and_wait_for_none(database: Database, clock: FakeClock) -> None:
    """Both under way together: each has seen the same rows, and has what the other has not locked."""
    store = PostgresStore(database.pool, POLICY, clock)
    run(store.add(list(payments(8))))

    async def race() -> list[list[Transaction]]:
        async with database.pool.acquire() as first, database.pool.acquire() as second:
            transaction = first.transaction()
            await transaction.start()
            ours = await PostgresStore(first, POLICY, clock).claim(token="t1", by="w1", limit=4)
            async with asyncio.timeout(60):
                await second.execute("SET lock_timeout = '5s'")
                theirs = await PostgresStore(second, POLICY, clock).claim(token="t2", by="w2", limit=8)
            await transaction.commit()
        return [ours.held, theirs.held]

    ours, theirs = run(race())
    assert (len(ours), len(theirs)) == (4, 4)
    assert not {one.id for one in ours} & {one.id for one in theirs}
    assert {find(store, one.id).token for one in ours} == {"t1"}
