"""What holds for the PostgreSQL adapter alone: its clock, its plan, its roles, lost answers, rows of odd content."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import asyncpg
import pytest

from simulation.stores.postgres import DirectPool, Server
from tests.contract.conftest import POLICY, Database
from tests.contract.test_store import answer, claim, done, find
from tests.fakes import FakeClock, payment, payments, run
from workers.database.connection import FreshPlans
from workers.domain.outcomes import Confirmed, Retryable
from workers.domain.ports import Claimed, Look, Move
from workers.domain.transaction import Status, Transaction
from workers.domain.transitions import Claim, decide
from workers.migrations import Migration, SchemaError, check, migrate, migrations
from workers.stores import postgres
from workers.stores import statements as sql
from workers.stores.common import arrived
from workers.stores.named import Statement
from workers.stores.postgres import SESSION, START, PostgresStore
from workers.stores.statements import Position


def store_of(database: Database, clock: FakeClock | None = None) -> PostgresStore:
    return PostgresStore(database.pool, POLICY, clock)


def test_the_databases_own_clock_counts(database: Database) -> None:
    store = store_of(database)
    now = datetime.now(UTC)
    run(store.add([payment("p-0", created_at=now)]))
    [record] = claim(store)
    assert record.lease_until is not None
    assert abs(record.lease_until - now - POLICY.lease) < timedelta(minutes=1)
    assert run(store.backlog()).oldest_due_at is not None


@pytest.mark.parametrize("deadline", ["infinity", "294276-01-01"])
def test_a_row_that_python_cannot_read_goes_to_a_desk_and_stops_nobody(database: Database, deadline: str) -> None:
    store = store_of(database)
    run(database.pool.execute("ALTER DOMAIN moment DROP CONSTRAINT moment_check"))
    run(store.add([payment("a", created_at=datetime.now(UTC)), payment("c", created_at=datetime.now(UTC))]))
    run(
        database.pool.execute(
            "INSERT INTO transactions (id, account, amount, currency, deadline) "
            f"VALUES ('b', 'x', 1, 'EUR', '{deadline}')"
        )
    )
    held, [told] = run(store.claim(token="t1", by="w1", limit=100))
    assert {record.id for record in held} == {"a", "c"}
    [broken] = run(store.review())
    assert told == broken._replace(history=broken.history[-1:])
    assert (broken.id, broken.owner) == ("b", POLICY.review_owner)
    assert "unreadable: deadline" in (broken.reason or "")
    assert find(store, "b").history[-1].now is Status.REVIEW


@pytest.mark.parametrize(
    "values",
    [
        "('p', 'x', -1, 'EUR')",
        "('p', 'x', 1, 'eur')",
        "('p', 'x', 1, 'EURO')",
        "('#run', 'x', 1, 'EUR')",
        "('', 'x', 1, 'EUR')",
        "('p', NULL, 1, 'EUR')",
        "('p', 'x', 9000000000000001, 'EUR')",
    ],
)
def test_the_table_refuses_what_is_no_payment(database: Database, values: str) -> None:
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        run(database.pool.execute(f"INSERT INTO transactions (id, account, amount, currency) VALUES {values}"))
    assert run(database.pool.fetchval("SELECT count(*) FROM transactions")) == 0


@pytest.mark.parametrize("column", ["created_at", "deadline"])
def test_the_table_refuses_a_time_that_python_has_not(database: Database, column: str) -> None:
    for moment in ("infinity", "-infinity", "294276-01-01", "0001-01-01 BC"):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            run(
                database.pool.execute(
                    f"INSERT INTO transactions (id, account, amount, currency, {column}) "
                    f"VALUES ('p', 'x', 1, 'EUR', '{moment}')"
                )
            )


def test_a_row_that_the_table_refuses_keeps_no_other_out(database: Database, clock: FakeClock) -> None:
    """Of a part of an import, say: a deadline that PostgreSQL has not, a NUL, an amount past its bounds."""
    bad: dict[str, dict[str, Any]] = {
        "p-3": {"deadline": datetime(9999, 6, 1, tzinfo=UTC)},
        "p-7": {"account": "a\0b"},
        "p-8": {"amount": 10**16},
        "p-11": {"currency": "euro "},
    }
    rows = [record._replace(**bad.get(record.id, {})) for record in payments(20)]
    added = run(store_of(database, clock).add(rows))
    assert set(added.refused) == set(bad)
    assert set(added.new) == {row.id for row in rows} - set(bad)
    assert (added.already, added.conflicting) == ((), ())
    assert run(store_of(database, clock).backlog()).open == 16


def test_a_settle_whose_answer_was_lost_is_recognised(database: Database, clock: FakeClock) -> None:
    store = store_of(database, clock)
    run(store.add(list(payments(3))))
    moves = [answer(record, clock, done(record)) for record in claim(store)]
    assert run(store.settle(moves)) == [True, True, True]
    assert run(store.settle(moves)) == [True, True, True], "the same moves again are the same writes"
    assert len(find(store).history) == 3


def test_a_claim_whose_answer_was_lost_is_found_again(database: Database, clock: FakeClock) -> None:
    store = store_of(database, clock)
    run(store.add(list(payments(3))))
    held = claim(store, "lost")
    again = run(store.held("lost"))
    assert sorted(again) == sorted(held)
    assert run(store.held("another")) == []


def test_the_hint_passes_what_lies_before_it_until_the_sweep(database: Database, clock: FakeClock) -> None:
    store = store_of(database, clock)
    run(store.add(list(payments(3))))
    records = run(store.claim_next(token="t1", by="w", limit=3)).held
    run(store.settle([answer(record, clock, Retryable("busy")) for record in records]))
    late = payment("0-late", created_at=clock.now())
    clock.advance(-1)
    run(store.add([late]))  # a producer whose transaction began before ours and committed after it
    clock.advance(3601)
    run(store.add([payment("z-new", created_at=clock.now())]))
    assert {r.id for r in run(store.claim_next(token="t2", by="w", limit=9)).held} >= {"z-new"}
    assert "0-late" not in {r.id for r in run(store.claim_next(token="t3", by="w", limit=9)).held}
    assert "0-late" in {r.id for r in run(store.claim_next(token="t4", by="w", limit=9, look=Look.SWEEP)).held}


def test_claims_at_once_share_nothing(database: Database, clock: FakeClock) -> None:
    store = store_of(database, clock)
    run(store.add(list(payments(8))))

    async def two() -> list[set[str]]:
        looks = enumerate((Look.ONWARD, Look.BESIDE))
        claims = (store.claim_next(token=f"t{n}", by="w", limit=3, look=look) for n, look in looks)
        return [{record.id for record in claimed.held} for claimed in await asyncio.gather(*claims)]

    one, other = run(two())
    assert (len(one), len(other)) == (3, 3)
    assert not one & other


def test_a_claim_beside_begins_a_stretch_ahead_and_another_one_when_that_is_done(
    database: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "STRETCH", 2)
    store = store_of(database, clock)
    run(store.add([payment(f"p-{n:02}", created_at=clock.now()) for n in range(13)]))

    def claim(look: Look = Look.ONWARD) -> list[int]:
        held = run(store.claim_next(token=f"t{clock.now()}", by="w", limit=2, look=look)).held
        return sorted(int(record.id.removeprefix("p-")) for record in held)

    assert claim() == [0, 1]
    assert claim(Look.BESIDE) == [6, 7], "four are left to the others"
    assert claim() == [2, 3]
    assert claim(Look.BESIDE) == [8, 9]
    assert claim() == [4, 5]
    assert claim(Look.BESIDE) == [10, 11], "a stretch ahead again"
    assert claim(Look.BESIDE) == [12]
    run(store.add([payment("p-13", created_at=clock.now())]))
    assert claim(Look.BESIDE) == [13]


def test_a_stretch_lasts_for_its_full_claims_and_ends_with_one_that_is_not_full(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    class Ahead:
        async def first(self, *_: object) -> None:
            looks.append(1)

    store = PostgresStore(cast(Any, None), POLICY, clock)
    one, other = payment("p-0"), payment("p-1")
    full, passing, short = Claimed([one, other], []), Claimed([one], [other]), Claimed([one], [])
    fruit = iter([full, passing, full, short, full])

    async def claimed(_: object) -> tuple[Claimed, Position]:
        return next(fruit), START

    monkeypatch.setattr(postgres, "STRETCH", 3)
    monkeypatch.setattr(sql, "AHEAD", Ahead())
    monkeypatch.setattr(store, "_claim", claimed)
    found = []
    for _ in range(5):
        run(store.claim_next(token="t", by="w", limit=2, look=Look.BESIDE))
        found.append(len(looks))
    assert found == [1, 1, 1, 2, 3]


class Refusing(PostgresStore):
    """Of its rows in order: those of `late` go to a desk in passing, and no claim can take those of `poison`."""

    def __init__(self, rows: int, poison: Collection[int] = (), late: Collection[int] = ()) -> None:
        super().__init__(cast(Any, None), POLICY)
        self.rows, self.poison, self.late, self.claims = rows, poison, late, 0

    def _behind(self, wanted: Any) -> range:
        first = int(wanted.ids[0]) if wanted.ids else int(wanted.after.id or -1) + 1
        return range(first, min(first + wanted.limit, self.rows))

    async def _claim_whole(self, wanted: Any) -> tuple[Claimed, Position]:
        self.claims += 1
        numbers = self._behind(wanted)
        if set(numbers) & set(self.poison):
            raise asyncpg.DataError("no")
        held = [payment(str(n)) for n in numbers if n not in self.late]
        to_review = [payment(str(n)) for n in numbers if n in self.late]
        return Claimed(held, to_review), Position(START.due_at, str(numbers[-1])) if numbers else wanted.after

    async def _first_of(self, wanted: Any) -> Position | None:
        return next((Position(START.due_at, str(n)) for n in self._behind(wanted)), None)

    async def _set_aside(self, id_: str, by: str, error: Exception) -> list[Transaction]:
        return [payment(id_)]


@pytest.mark.parametrize("poison", [[0], [7, 30], [63], [5, 6]])
def test_a_claim_that_rows_refuse_takes_as_many_as_it_may_in_few_statements(poison: list[int]) -> None:
    late = (1, 20, 21, 40)
    store = Refusing(200, poison, late)
    held, to_review = run(store.claim(token="t", by="w", limit=64))
    assert sorted(int(one.id) for one in [*held, *to_review]) == list(range(64)), "no more, and none passed over"
    assert {int(one.id) for one in to_review} == {*poison, *late}
    assert store.claims < 40, "parts grow again behind a row that was in the way"


def test_a_claim_that_a_row_refuses_ends_where_there_are_no_more() -> None:
    store = Refusing(20, [3])
    held, to_review = run(store.claim(token="t", by="w", limit=64))
    assert (len(held), [one.id for one in to_review]) == (19, ["3"])


def test_a_settle_that_a_row_refuses_wins_nothing_for_that_row_alone(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PostgresStore(cast(Any, None), POLICY, clock)
    written: list[tuple[str, str]] = []
    until: list[datetime | None] = []

    async def settle(moves: Sequence[Move]) -> list[bool]:
        if any(move.before.id == "p-1" and move.after.status is Status.CONFIRMED for move in moves):
            raise asyncpg.DataError("no")
        written.extend((move.before.id, move.after.status) for move in moves)
        until.extend(move.after.review_by for move in moves if move.after.status is Status.REVIEW)
        return [True] * len(moves)

    monkeypatch.setattr(store, "_settle", settle)
    held = [decide(arrived(one, clock.now()), Claim("t", "w"), clock.now(), POLICY) for one in payments(3)]
    clock.advance(5)
    assert run(store.settle([answer(one, clock, done(one)) for one in held])) == [True, False, True]
    assert written == [("p-0", Status.CONFIRMED), ("p-1", Status.REVIEW), ("p-2", Status.CONFIRMED)]
    assert until == [clock.now() + POLICY.review_within], "from when it could not be written"


def test_a_look_for_what_is_late_takes_nothing_else(clock: FakeClock) -> None:
    store = PostgresStore(cast(Any, DirectPool(Server(clock.now))), POLICY, clock)
    run(store.add([payment("late", hours=1), payment("fresh", hours=99)]))
    clock.advance(3600)
    held, to_review = run(store.claim_next(token="t", by="w", limit=9, look=Look.LATE))
    assert ([one.id for one in held], [one.id for one in to_review]) == ([], ["late"])


def test_a_claim_beside_begins_with_the_others_where_there_is_less_than_a_stretch(
    database: Database, clock: FakeClock
) -> None:
    store = store_of(database, clock)
    run(store.add(list(payments(3))))
    assert len(run(store.claim_next(token="t1", by="w", limit=2)).held) == 2
    assert len(run(store.claim_next(token="t2", by="w", limit=2, look=Look.BESIDE)).held) == 1


def test_a_claim_brings_times_as_they_are_stored(database: Database, clock: FakeClock) -> None:
    """They travel as seconds. Rows that share none, some and all of their times with the one before them."""
    days = ["2026-01-02 03:04:05.678901", "2026-01-02 03:04:05.678901", "1970-01-01", "1999-12-31 23:59:59.999999"]
    run(
        database.pool.executemany(
            """
            INSERT INTO transactions (id, account, amount, currency, created_at, deadline, due_at)
            VALUES ($1, 'x', 1, 'EUR', $2::text::timestamptz, '2200-01-01 00:00:00.001', $2::text::timestamptz)
            """,
            [(f"p-{n}", day) for n, day in enumerate(days)],
        )
    )
    held = claim(store_of(database, clock))
    assert len(held) == len(days)
    for record in held:
        stored = find(store_of(database, clock), record.id)
        assert record._replace(history=()) == stored._replace(history=())


def test_a_claim_waits_for_nobody(database: Database, clock: FakeClock) -> None:
    """Rows that another worker is about to take are passed over at once."""
    run(store_of(database, clock).add(list(payments(10))))

    async def race() -> set[str]:
        async with database.pool.acquire() as other, other.transaction():
            await other.execute("SELECT 1 FROM transactions WHERE id IN ('p-1', 'p-2') FOR UPDATE")
            claiming = store_of(database, clock).claim(token="t", by="w", limit=10)
            return {record.id for record in (await asyncio.wait_for(claiming, 60)).held}

    assert run(race()) == {f"p-{n}" for n in range(10)} - {"p-1", "p-2"}


def test_new_work_is_announced(database: Database) -> None:
    async def listen() -> list[str]:
        heard: list[str] = []
        async with database.pool.acquire() as connection:
            await connection.add_listener("transactions", lambda *told: heard.append(told[-1]))
            await store_of(database).add([payment("p-0", created_at=datetime.now(UTC))])
            await database.pool.execute("SELECT pg_notify('transactions', 'the end')")  # they come in order
            async with asyncio.timeout(60):
                while "the end" not in heard:
                    await asyncio.sleep(0.01)
            await connection.reset(timeout=60)
        return heard

    _, end = run(listen())
    assert end == "the end"


# --- who may do what


FORBIDDEN = {
    "confirm_worker": [
        "INSERT INTO transactions (id, account, amount, currency) VALUES ('x', 'x', 1, 'EUR')",
        "DELETE FROM transactions",
        "UPDATE transactions SET amount = 1",
        "UPDATE transactions SET account = 'mine'",
        "UPDATE transactions SET id = 'other'",
        "UPDATE history SET why = 'rewritten'",
        "DELETE FROM history",
        "TRUNCATE transactions",
        "DROP TABLE history",
        "ALTER TABLE transactions ADD COLUMN x int",
        "CREATE TABLE mine (x int)",
        "UPDATE schema_migrations SET number = 0",
    ],
    "confirm_producer": [
        "UPDATE transactions SET status = 'CONFIRMED'",
        "INSERT INTO transactions (id, account, amount, currency, status) VALUES ('x', 'x', 1, 'EUR', 'CONFIRMED')",
        "DELETE FROM transactions",
        "INSERT INTO history (transaction_id, version) VALUES ('p-0', 9)",
    ],
    "confirm_publisher": [
        "SELECT account FROM transactions",
        "SELECT account FROM payments",
        "SELECT * FROM history",
        "UPDATE transactions SET due_at = NULL",
        "INSERT INTO transactions (id, account, amount, currency) VALUES ('p-9', 'a', 1, 'USD')",
        "DELETE FROM transactions",
        "CREATE TABLE mine (n int)",
    ],
    "confirm_operator": [
        "UPDATE transactions SET status = 'CONFIRMED', settled_at = now(), due_at = NULL",
        "UPDATE transactions SET due_at = 'infinity'",
        "UPDATE transactions SET first_sent_at = NULL",
        "UPDATE transactions SET version = 2147483647",
        "SELECT FROM transactions FOR UPDATE",
        "INSERT INTO history (transaction_id, version, now) VALUES ('p-0', 9, 'NOPE')",
        "DELETE FROM transactions",
    ],
    "confirm_canary": ["SELECT FROM transactions FOR UPDATE", "UPDATE transactions SET account = 'mine'"],
    "confirm_reader": [
        "UPDATE payments SET status = 'CONFIRMED'",
        "UPDATE transactions SET status = 'CONFIRMED'",
        "DELETE FROM history",
    ],
}


@pytest.mark.parametrize(("role", "statement"), [(r, s) for r, many in FORBIDDEN.items() for s in many])
def test_a_role_can_do_no_more_than_it_needs(database: Database, role: str, statement: str) -> None:
    async def attempt() -> None:
        async with database.pool.acquire() as connection:
            await connection.execute(f"SET ROLE {role}")
            try:
                await connection.execute(statement)
            finally:
                await connection.execute("RESET ROLE")

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        run(attempt())


@pytest.mark.parametrize("column", ["due_at", "arrived_at"])
@pytest.mark.parametrize("moment", ["infinity", "-infinity", "9998-01-01", "4000-01-01 BC"])
def test_what_comes_in_is_due_about_now(database: Database, column: str, moment: str) -> None:
    with pytest.raises(asyncpg.CheckViolationError, match="allowed 1970 to a day from now"):
        run(
            database.pool.execute(
                f"INSERT INTO transactions (id, account, amount, currency, {column})"
                f" VALUES ('p', 'x', 1, 'EUR', '{moment}')"
            )
        )


def test_a_redrive_by_the_function_is_bounded_and_no_operators(database: Database, clock: FakeClock) -> None:
    """It is the owner's alone now; people go by the desk (tests/contract/test_desk.py)."""
    store = store_of(database, clock)
    run(store.add([payment("p-0"), payment("open")]))
    [record] = claim(store, ids=["p-0"])
    run(store.settle([answer(record, clock, Confirmed("ref", 1, "USD"))]))

    async def redrive(id_: str, version: int) -> Any:
        statement = "SELECT redrive_transaction($1, $2, 'infinity', '9000-01-01', 'ana', 'why')"
        return await database.pool.fetchval(statement, id_, version)

    assert run(redrive("open", 1)) is None, "it is REVIEW that it opens"
    assert run(redrive("p-0", 7)) is None
    nameless = "SELECT redrive_transaction('p-0', version, now(), now(), ' ', NULL) FROM transactions WHERE id = 'p-0'"
    assert run(database.pool.fetchval(nameless)) is None
    assert run(redrive("p-0", find(store, "p-0").version)) == "p-0"
    again = find(store, "p-0")
    assert (again.status, again.sent_earlier, again.history[-1].by) == (Status.PENDING, True, "ana")
    assert again.next_attempt_at is not None
    assert again.next_attempt_at <= datetime.now(UTC)
    assert again.deadline < datetime.now(UTC) + timedelta(days=367)


def test_the_workers_login_can_not_become_the_owner_of_the_shares(database: Database) -> None:
    async def attempt() -> None:
        connection = await asyncpg.connect(database.postgres.url(), server_settings={"search_path": database.schema})
        await connection.execute(
            "INSERT INTO transactions (id, account, amount, currency) VALUES ('p-1', 'a', 1, 'EUR')"
        )
        await connection.execute("SET ROLE confirm_worker")
        await connection.execute(
            f"""
            CREATE TEMP TABLE rate_limit_shares (hand int, slice bigint, taken bigint, light bigint, hungry bigint);
            INSERT INTO pg_temp.rate_limit_shares SELECT n, 0, 0, 0, 0 FROM generate_series(0, 63) n;
            CREATE FUNCTION pg_temp.mine() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN DELETE FROM "{database.schema}".transactions; RETURN NEW; END $$;
            CREATE TRIGGER mine BEFORE UPDATE ON pg_temp.rate_limit_shares
                FOR EACH ROW EXECUTE FUNCTION pg_temp.mine();
            """
        )
        now = "floor(extract(epoch FROM now()) * 8)::bigint"
        await connection.fetch(
            f'SELECT * FROM "{database.schema}".take_shares(NULL, ARRAY[{now}], ARRAY[1], ARRAY[0], ARRAY[0])'
        )
        await connection.close()

    run(attempt())
    assert run(database.pool.fetchval("SELECT count(*) FROM transactions")) == 1


def test_a_migration_waits_for_no_lock_for_long(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind it all workers would wait: so it lets go, they go on, and it tries again."""
    import workers.migrations as module

    monkeypatch.setattr(module, "LOCK_SECONDS", 1)
    monkeypatch.setattr(module, "LOCK_TRIES", 1)
    known = migrations()
    more = Migration(len(known) + 1, f"{len(known) + 1:04}_more.sql", "ALTER TABLE transactions ADD COLUMN more text")

    async def behind_a_reader() -> None:
        async with database.pool.acquire() as reader, reader.transaction():
            await reader.execute("SELECT FROM transactions")
            async with database.pool.acquire() as connection:
                await migrate(connection, [*known, more])

    with pytest.raises(SchemaError, match="got no lock"):
        run(behind_a_reader())
    assert run(database.pool.fetchval("SELECT count(*) FROM schema_migrations")) == len(known)


def test_the_workers_role_can_do_all_that_a_worker_does(database: Database, clock: FakeClock) -> None:
    run(store_of(database, clock).add(list(payments(4))))

    async def as_worker(connection: asyncpg.Connection) -> None:
        await connection.execute("SET ROLE confirm_worker")

    async def work() -> None:
        settings = {**SESSION, "search_path": database.schema}
        async with asyncpg.create_pool(
            database.postgres.url(), min_size=1, max_size=1, server_settings=settings, setup=as_worker
        ) as pool:
            store = PostgresStore(pool, POLICY, clock)
            records, _ = await store.claim(token="t", by="w", limit=4)
            assert len(await store.extend(records)) == 4
            assert all(await store.settle([answer(record, clock, done(record)) for record in records]))
            assert (await store.backlog()).open == 0
            assert (await store.find("p-0")) is not None

    run(work())


# --- the plan and the schema


async def _plan(connection: asyncpg.Connection, limit: int) -> dict[str, Any]:
    """Of a claim."""
    values = {
        "token": "'t'",
        "by": "'w'",
        "limit": str(limit),
        "lease": "interval '60 s'",
        "skew": "interval '0'",
        "max_attempts": "8",
        "review_within": "interval '1 day'",
        "owner": "'o'",
        "after_due_at": "'-infinity'::timestamptz",
        "after_id": "''",
        "only_ask": "false",
    }
    return await _explain(connection, sql.CLAIM, values)


def _arguments(statement: Statement[Any, Any], values: Mapping[str, str]) -> str:
    """NULL for those that are not given."""
    assert set(values) <= set(statement.parameters._fields)
    return ", ".join(values.get(name, "NULL") for name in statement.parameters._fields)


async def _explain(
    connection: asyncpg.Connection, statement: Statement[Any, Any], values: Mapping[str, str]
) -> dict[str, Any]:
    for name, value in SESSION.items():
        await connection.execute(f"SET {name} = '{value}'")
    await connection.execute(f"PREPARE explained AS {statement.text}")
    try:
        row = await connection.fetchval(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE explained ({_arguments(statement, values)})"
        )
    finally:
        await connection.execute("DEALLOCATE explained")
    plan: dict[str, Any] = json.loads(row)[0]["Plan"]
    return plan


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in _nodes(child))]


def test_a_claim_keeps_to_its_index_at_a_million_rows(database: Database) -> None:
    async def measure() -> list[tuple[list[dict[str, Any]], int]]:
        async with database.pool.acquire() as connection:
            await connection.execute(
                """
                -- what a producer brings is checked by patterns: most of the time of this INSERT, and nothing to a plan
                ALTER DOMAIN transaction_id DROP CONSTRAINT transaction_id_check;
                ALTER DOMAIN currency_code DROP CONSTRAINT currency_code_check;
                INSERT INTO transactions (id, account, amount, currency, deadline, due_at)
                SELECT 'p-' || n, 'acct', n, 'USD', now() + interval '1 day',
                       now() - interval '1 h' + n * interval '1 ms'
                FROM generate_series(1, 1000000) n
                """
            )
            found = []
            for fresh in (False, True):
                if fresh:
                    await connection.execute("ANALYZE transactions")
                for limit in (100, 900):
                    plan = await _plan(connection, limit)
                    found.append((_nodes(plan), plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]))
                place = {"after_due_at": "now() - interval '50 min'", "after_id": "''", "number": "1000"}
                ahead = await _explain(connection, sql.AHEAD, place)
                assert {node.get("Index Name") for node in _nodes(ahead)} == {None, "transactions_due"}
                assert ahead["Actual Rows"] == 1
                assert ahead["Shared Hit Blocks"] + ahead["Shared Read Blocks"] < 2_500, "its stretch alone"
            return found

    for nodes, blocks in run(measure()):
        _keeps_to_its_index(nodes)
        assert blocks < 20_000, "a claim touches its batch, not the table"


def _keeps_to_its_index(nodes: list[dict[str, Any]]) -> None:
    scans = {(n["Node Type"], n.get("Index Name", "")) for n in nodes if n.get("Relation Name") == "transactions"}
    assert ("Index Scan", "transactions_due") in scans
    assert {kind for kind, _ in scans} <= {"Index Scan", "Tid Scan", "ModifyTable"}, scans


def test_a_claim_keeps_to_its_index_when_the_statistics_are_of_a_small_table(database: Database) -> None:
    """As before a burst: a table of some hundreds is cheaper to read whole, and the plan outlives its smallness."""

    async def nodes() -> list[dict[str, Any]]:
        async with database.pool.acquire() as connection:
            await _grow(connection, "p-", 200)
            await connection.execute("ANALYZE transactions")
            return _nodes(await _plan(connection, 100))

    _keeps_to_its_index(run(nodes()))


async def _grow(connection: Any, prefix: str, count: int) -> None:
    await connection.execute(
        "INSERT INTO transactions (id, account, amount, currency) "
        f"SELECT '{prefix}' || n, 'acct', n, 'USD' FROM generate_series(1, {count}) n"
    )


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        (sql.SETTLE, {"moves": "'[]'", "by": "'w'", "owner": "'o'"}),
        (sql.EXTEND, {"lease": "'60 s'", "ids": "'{}'", "tokens": "'{}'"}),
    ],
)
def test_what_is_held_is_found_by_its_id(
    database: Database, statement: Statement[Any, Any], values: Mapping[str, str]
) -> None:
    """Without the session's settings the planner reads a table of some thousands from end to end, for each batch."""

    async def plan() -> str:
        async with database.pool.acquire() as connection:
            await _grow(connection, "p-", 20_000)
            await connection.execute("ANALYZE transactions")
            await connection.execute(f"PREPARE one AS {statement.text}")
            lines = await connection.fetch(f"EXPLAIN EXECUTE one ({_arguments(statement, values)})")
            await connection.execute("DEALLOCATE one")
            return "\n".join(line[0] for line in lines)

    found = run(plan())
    assert re.search(
        r"Index Scan using transactions_pkey on transactions t .*\n\s+Index Cond: \(\(id\)::text = ", found
    ), found
    assert "Seq Scan" not in found


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        (sql.DOUBT, {"limit": "5000"}),
        (
            sql.FIRST,
            {"skew": "'0 s'", "after_due_at": "'-infinity'", "after_id": "''", "late": "'1 d'", "only_ask": "false"},
        ),
        (
            sql.SET_ASIDE,
            {
                "id": "'p'",
                "skew": "'0 s'",
                "by": "'w'",
                "why": "'y'",
                "owner": "'o'",
                "review_within": "'1 d'",
            },
        ),
        (sql.RECALL, {"longest_wait": "'1 h'", "limit": "5000"}),
    ],
)
def test_what_is_seldom_asked_for_reads_no_table_from_end_to_end(
    database: Database, statement: Statement[Any, Any], values: Mapping[str, str]
) -> None:
    async def plan() -> str:
        async with database.pool.acquire() as connection:
            await _grow(connection, "p-", 20_000)
            await connection.execute("UPDATE transactions SET due_at = NULL, status = 'CONFIRMED', settled_at = now()")
            await connection.execute("ANALYZE transactions")
            await connection.execute(f"PREPARE one AS {statement.text}")
            lines = await connection.fetch(f"EXPLAIN EXECUTE one ({_arguments(statement, values)})")
            await connection.execute("DEALLOCATE one")
            return "\n".join(line[0] for line in lines)

    found = run(plan())
    assert "Index Scan using transactions_" in found
    assert "Seq Scan" not in found, found


def test_a_long_desk_is_not_sorted_to_be_shown(database: Database) -> None:
    """What is selected bears the columns' names, and is not what the index is ordered by."""

    async def plan() -> str:
        async with database.pool.acquire() as connection:
            await _grow(connection, "p-", 5_000)
            await connection.execute(
                "UPDATE transactions SET due_at = NULL, status = 'REVIEW', reason = 'x', owner = 'o', review_by = now()"
            )
            await connection.execute("ANALYZE transactions")
            await connection.execute(f"PREPARE one AS {sql.REVIEW.text}")
            lines = await connection.fetch("EXPLAIN EXECUTE one (10)")
            await connection.execute("DEALLOCATE one")
            return "\n".join(line[0] for line in lines)

    found = run(plan())
    assert "Index Scan using transactions_desk" in found, found
    assert "Sort" not in found, found


def test_a_plan_of_an_empty_queue_does_not_outlive_it(database: Database) -> None:
    """A worker starts where nothing waits; then much arrives at once, and no statistics know of it yet."""

    async def read() -> int:
        settings = {**SESSION, "search_path": database.schema}
        await database.pool.execute("ALTER TABLE transactions SET (autovacuum_enabled = off)")
        async with asyncpg.create_pool(
            database.postgres.url(), min_size=1, max_size=1, server_settings=settings, setup=FreshPlans(seconds=0)
        ) as pool:
            store = PostgresStore(pool, POLICY)
            clock = FakeClock(datetime.now(UTC))

            async def work() -> None:
                records, _ = await store.claim(token="t", by="w", limit=100)
                assert len(await store.extend(records)) == len(records)
                assert all(await store.settle([answer(record, clock, done(record)) for record in records]))

            await _grow(pool, "p-", 1)
            await work()
            await _grow(pool, "q-", 20_000)
            await pool.execute("SELECT pg_stat_force_next_flush()")
            reads = "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelid = 'transactions_pkey'::regclass"
            before = await pool.fetchval(reads)
            await work()
            await pool.execute("SELECT pg_stat_force_next_flush()")
            assert not await pool.fetchval("SELECT sum(custom_plans) FROM pg_prepared_statements"), (
                "planned once for all"
            )
            return int(await pool.fetchval(reads) - before)

    assert run(read()) < 2_000, "those of its batch, not the table"


def test_claims_write_no_index(database: Database) -> None:
    """Each is a HOT update, also where one statement takes all rows of a page: then it needs the most room."""
    count = 2_000

    async def measure() -> tuple[int, int]:
        async with database.pool.acquire() as connection:  # one for all: it counts what it did itself
            await connection.execute(
                "INSERT INTO transactions (id, account, amount, currency, due_at) "
                "SELECT 'order-2026-11-24-' || n, 'DE89370400440532013000', n, 'EUR', "
                f"now() - interval '1 h' + n * interval '1 ms' FROM generate_series(1, {count}) n"
            )
            store = PostgresStore(cast(Any, connection), POLICY)
            for n in range(count // 500):
                held, _ = await store.claim(token=f"t-{n}", by="ip-10-0-1-23.ec2.internal-7", limit=500)
                assert len(held) == 500
            await connection.execute("SELECT pg_stat_force_next_flush()")
            row = await connection.fetchrow(
                "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = 'transactions'::regclass"
            )
            return row["n_tup_upd"], row["n_tup_hot_upd"]

    updated, hot = run(measure())
    assert updated == count
    assert hot == count


def test_migrations_wait_for_each_other_and_come_once(database: Database) -> None:
    async def race() -> list[list[str]]:
        async def one() -> list[str]:
            connection = await asyncpg.connect(
                database.postgres.url(), server_settings={"search_path": database.schema}
            )
            try:
                return await migrate(connection)
            finally:
                await connection.close()

        await database.pool.execute(f'DROP SCHEMA "{database.schema}" CASCADE; CREATE SCHEMA "{database.schema}"')
        return await asyncio.gather(*(one() for _ in range(4)))

    applied = run(race())
    assert sorted(name for names in applied for name in names) == [m.name for m in migrations()]


UNSAFE = re.compile(
    r"""(?ix) \bDROP\s+(TABLE|COLUMN|INDEX|DOMAIN|FUNCTION|TRIGGER|ROLE|SCHEMA|CONSTRAINT) | \bRENAME\b | \bTRUNCATE\b
    | \bALTER\s+COLUMN\s+\w+\s+(SET\s+(DATA|NOT)|TYPE) | \bADD\s+COLUMN\s[^;,]*NOT\s+NULL(?![^;,]*DEFAULT)
    | \bREVOKE\s[^;]*\bFROM\s[^;]*confirm_(worker|producer|reader|publisher) | \bLOCK\s+TABLE\b"""
)
"""What takes something from the workers of the version before, or stops them: those run on while it is applied."""


def unsafe(sql: str) -> list[str]:
    return [found[0] for found in UNSAFE.finditer(re.sub(r"--.*", "", sql))]


def test_migrations_do_not_wait_for_ever_for_a_lock_that_any_login_may_hold(database: Database) -> None:
    """Else one session of anybody's holds up every deployment, and nobody says whose."""

    async def work() -> None:
        # a database of its own: all schemas of one share the lock
        name = f"held_{uuid.uuid4().hex[:12]}"
        await database.pool.execute(f"CREATE DATABASE {name}")
        url = database.postgres.url(database=name)
        ours = await asyncpg.connect(url)
        theirs = await asyncpg.connect(url, server_settings={"application_name": "somebody's"})
        await migrate(ours)
        await theirs.execute("SET ROLE confirm_reader; SELECT pg_advisory_lock(5019276342911)")
        try:
            with pytest.raises(
                SchemaError, match=r"held for 0.05 s by \w+ \(pid \d+, somebody's\).*pg_terminate_backend"
            ):
                await asyncio.wait_for(migrate(ours, wait=0.05), 30)
            assert await ours.fetchval("SHOW lock_timeout") == "0"
            await theirs.execute("SELECT pg_advisory_unlock_all()")
            assert await asyncio.wait_for(migrate(ours, wait=0.05), 30) == []
        finally:
            await ours.close()
            await theirs.close()

    run(work())


def test_migrations_only_add() -> None:
    assert {m.name: unsafe(m.sql) for m in migrations()} == {m.name: [] for m in migrations()}
    for statement in (
        "ALTER TABLE transactions DROP COLUMN reason",
        "ALTER TABLE transactions RENAME token TO t",
        "ALTER TABLE history ALTER COLUMN why TYPE varchar(9)",
        "ALTER TABLE history ALTER COLUMN why SET NOT NULL",
        "ALTER TABLE transactions ADD COLUMN later text NOT NULL",
        "REVOKE UPDATE ON transactions FROM confirm_worker",
        "DROP INDEX transactions_due",
    ):
        assert unsafe(statement), statement
    assert not unsafe("ALTER TABLE transactions ADD COLUMN later text NOT NULL DEFAULT ''")


def test_a_schema_of_another_version_is_named(database: Database) -> None:
    async def attempts() -> list[str]:
        said = []
        async with database.pool.acquire() as connection:
            known = migrations()
            await check(connection)
            await check(connection, known[:-1])  # workers of the version before go on
            assert await migrate(connection, known[:-1]) == [], "and so does its migration: that is the way back"
            newer = [*known, Migration(len(known) + 1, f"{len(known) + 1:04}_more.sql", "SELECT 1")]
            for act in (
                lambda: check(connection, newer),
                lambda: migrate(connection, [Migration(1, known[0].name, "changed"), *known[1:]]),
            ):
                try:
                    await act()
                except SchemaError as error:
                    said.append(str(error))
            await connection.execute("DROP TABLE schema_migrations")
            try:
                await check(connection)
            except SchemaError as error:
                said.append(str(error))
        return said

    older, changed, none = run(attempts())
    assert "run the migrations" in older
    assert "never change a migration" in changed
    assert "no schema yet" in none


@pytest.mark.parametrize(
    ("cause", "taken"), [("confirmed", True), (None, True), ("gateway confirmed", False), ("", False)]
)
def test_a_cause_is_a_term_and_no_sentence(database: Database, cause: str | None, taken: bool) -> None:
    query = "INSERT INTO history (transaction_id, version, cause) VALUES ('x', 1, $1)"
    with contextlib.nullcontext() if taken else pytest.raises(asyncpg.CheckViolationError):
        run(database.pool.execute(query, cause))
