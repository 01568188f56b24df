"""One contract for all stores that count what is taken of the gateway's rate limit."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from local.postgres import Postgres
from tests.conftest import AwsAccount
from tests.contract.conftest import Database, make_table
from tests.fakes import LOOP, START, FakeClock, run
from tests.memory_shares import MemoryShares
from workers.clock import SystemClock
from workers.domain.ports import Shares
from workers.domain.shares import PARTS, SLICE, Ask, Slice, slice_at
from workers.gateway.limits import Limiter
from workers.stores.postgres_shares import PostgresShares
from workers.stores.shares import ITEM, DynamoDbShares

NOW = START.timestamp()
FIRST = slice_at(NOW)


@pytest.fixture(params=["memory", "dynamodb", "postgres"])
def shares(request: pytest.FixtureRequest, clock: FakeClock) -> Shares:
    if request.param == "memory":
        return MemoryShares(clock)
    if request.param == "postgres":
        database: Database = request.getfixturevalue("database")
        return PostgresShares(database.pool, clock)
    aws: AwsAccount = request.getfixturevalue("aws")
    client = aws.client("dynamodb")
    return at_work(DynamoDbShares(client, make_table(client)))


def at_work(shares: DynamoDbShares) -> DynamoDbShares:
    """It knows the time."""
    run(shares.take([], NOW))
    assert run(shares.take([Ask(0, 1)], NOW)).counted
    return shares


def test_a_share_begins_where_the_one_before_it_ended(shares: Shares) -> None:
    one = [Ask(FIRST + 1, 1000), Ask(FIRST + 2, 2000, hungry=1), Ask(FIRST + 3, 500, light=500)]
    two = [Ask(FIRST + 2, 70, light=70), Ask(FIRST + 3, 30, hungry=1)]
    assert run(shares.take(one, NOW)).before.get(FIRST + 1, Slice()) == Slice()
    before = run(shares.take(two, NOW)).before
    assert (before[FIRST + 2], before[FIRST + 3]) == (Slice(2000, 0, 1), Slice(500, 500, 0))
    after = run(shares.take([], NOW)).before
    assert {number: of for number, of in after.items() if of != Slice()} == {
        FIRST + 1: Slice(1000),
        FIRST + 2: Slice(2070, 70, 1),
        FIRST + 3: Slice(530, 500, 1),
    }


def test_a_look_takes_nothing(shares: Shares) -> None:
    assert all(of == Slice() for of in run(shares.take([], NOW)).before.values())
    run(shares.take([Ask(FIRST, 9)], NOW))
    first, second = (run(shares.take([], NOW)).before for _ in range(2))
    assert first == second
    assert first[FIRST] == Slice(9)


def test_more_may_be_asked_for_than_there_is(shares: Shares) -> None:
    for _ in range(3):
        run(shares.take([Ask(FIRST, PARTS)], NOW))
    assert run(shares.take([], NOW)).before[FIRST].taken == 3 * PARTS


def test_those_who_ask_at_once_share_nothing(shares: Shares) -> None:
    async def all_at_once() -> list[int]:
        asks = [[Ask(FIRST + n, 100) for n in range(4)] for _ in range(20)]
        taken = await asyncio.gather(*(shares.take(one, NOW) for one in asks))
        return sorted(one.before.get(FIRST + 3, Slice()).taken for one in taken)

    assert run(all_at_once()) == [100 * n for n in range(20)]


def test_slices_that_are_over_are_forgotten(shares: Shares, clock: FakeClock) -> None:
    for n in range(200):
        taken = run(shares.take([Ask(FIRST + n, 10, light=10)], NOW + n * SLICE))
        assert len(taken.before) <= 4
        clock.advance(SLICE)
    clock.advance(3600)
    assert all(of == Slice() for of in run(shares.take([], NOW + 3700)).before.values())


def test_a_slice_long_ago_gives_nothing_back(shares: Shares, clock: FakeClock) -> None:
    """Of a worker that slept between its question and our answer."""
    clock.advance(60)
    later = NOW + 60
    for n in range(64):
        run(shares.take([Ask(slice_at(later) + n % 8, 5)], later))
    old = slice_at(later) - 64 + 3
    before = run(shares.take([Ask(old, 7)], later)).before
    now = run(shares.take([], later)).before
    assert now[slice_at(later) + 3].taken == 40
    assert before.get(old, Slice()).taken in (0, PARTS)


def test_a_limiter_keeps_its_limit_by_it(shares: Shares) -> None:
    """With the clocks as they are; how fast is another matter (tests/gateway/test_shares.py)."""
    if isinstance(shares, PostgresShares):
        shares.clock = None
    if isinstance(shares, MemoryShares):
        shares.clock = SystemClock()
    calls: list[float] = []

    async def main() -> None:
        limiters = [Limiter(SystemClock(), 200, shares) for _ in range(3)]

        async def call(limiter: Limiter) -> None:
            if await limiter.wait(60):
                calls.append(asyncio.get_running_loop().time())

        await asyncio.gather(*(call(limiter) for limiter in limiters for _ in range(20)))
        for limiter in limiters:
            await limiter.close()

    run(main())
    assert len(calls) == 60
    assert max(calls) - min(calls) > 0.8 * 59 / 200


# --- DynamoDB


def test_dynamodb_counts_on_one_item_of_one_write_unit(aws: AwsAccount) -> None:
    client = aws.client("dynamodb")
    shares = DynamoDbShares(client, make_table(client))
    for n in range(60):
        far = [Ask(FIRST + n + 4 + m, PARTS // 8, light=PARTS // 8, hungry=1) for m in range(3)]
        run(shares.take([*(Ask(FIRST + n + m, PARTS // 8) for m in range(4)), *far], NOW + n * SLICE))
    [item] = client.scan(TableName=shares.table)["Items"]
    assert item["id"] == {"S": ITEM}
    assert sum(len(name) + len(str(next(iter(value.values())))) for name, value in item.items()) < 1024


def test_of_all_who_begin_at_once_on_dynamodb_one_is_first_and_the_others_go_by_its_time(aws: AwsAccount) -> None:
    client = aws.client("dynamodb")
    wall, table = SystemClock().now().timestamp(), make_table(client)
    first, second = DynamoDbShares(client, table), DynamoDbShares(client, table)
    ask = [Ask(slice_at(wall) + 40, 5)]  # held for so long that no pause of the machine ends it

    def takes(shares: DynamoDbShares) -> bool:
        """At one of a few tries: one that is not counted has told the time."""
        return any(run(shares.take(ask, SystemClock().now().timestamp())).counted for _ in range(20))

    assert not run(first.take(ask, wall)).counted, "who does not know the time takes nothing"
    assert not run(second.take([], wall - 3600)).counted
    assert takes(first)
    late = run(second.take(ask, wall - 3600))
    assert not late.counted
    assert late.before[slice_at(wall) + 40].taken == 5, "refused, and told"
    assert takes(second)
    assert takes(first)
    elapsed = LOOP.time()
    assert abs(first.line.time(elapsed) - second.line.time(elapsed)) < 0.3
    assert abs(first.line.time(elapsed) - SystemClock().now().timestamp()) < 1


def test_dynamodbs_stamp_of_a_clock_that_is_none_is_believed_by_nobody(aws: AwsAccount) -> None:
    client = aws.client("dynamodb")
    shares = DynamoDbShares(client, make_table(client))
    wall = SystemClock().now().timestamp()
    client.put_item(TableName=shares.table, Item={"id": {"S": ITEM}, "at": {"N": str(10**18)}})
    told = run(shares.take([], wall + 10**9))
    assert abs(told.earliest - SystemClock().now().timestamp()) <= 1
    assert run(shares.take([Ask(slice_at(wall), 1)], wall)).counted


# --- PostgreSQL


def test_the_databases_own_clock_is_told_exactly(database: Database) -> None:
    shares = PostgresShares(database.pool)
    before = run(database.pool.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8"))
    taken = run(shares.take([], 0))
    after = run(database.pool.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8"))
    assert before <= taken.earliest == taken.latest <= after


def test_what_is_not_over_is_told_by_the_length_of_a_slice(database: Database, clock: FakeClock) -> None:
    shares = PostgresShares(database.pool, clock)
    run(shares.take([Ask(FIRST + n, 1) for n in range(-20, 20)], NOW))
    assert set(run(shares.take([], NOW)).before) == set(range(FIRST - 1, FIRST + 20))
    clock.time += timedelta(seconds=5 * SLICE)
    assert set(run(shares.take([], NOW)).before) == set(range(FIRST + 4, FIRST + 20))


def test_a_worker_may_take_shares_and_never_give_them_back(database: Database, postgres: Postgres) -> None:
    async def as_worker(statement: str) -> object:
        connection = await asyncpg.connect(postgres.url(), server_settings={"search_path": database.schema})
        try:
            await connection.execute("SET ROLE confirm_worker")
            return await connection.fetch(statement)
        finally:
            await connection.close()

    assert run(as_worker(f"SELECT * FROM take_shares(NULL, '{{{FIRST}}}', '{{5}}', '{{0}}', '{{0}}')"))
    for statement in (
        "UPDATE rate_limit_shares SET taken = 0",
        "DELETE FROM rate_limit_shares",
        "SELECT * FROM rate_limit_shares",
        f"SELECT * FROM take_shares(NULL, '{{{FIRST}}}', '{{-5}}', '{{0}}', '{{0}}')",
    ):
        with pytest.raises(asyncpg.PostgresError):
            run(as_worker(statement))


async def _two_over_the_top(database: Database) -> list[object]:
    """Two that ask for the top of the clock's face from both sides, while a third holds both rows for a moment."""
    top = FIRST // 64 * 64 + 64
    at = START + timedelta(seconds=((top - 1) - NOW / SLICE) * SLICE + SLICE / 2)
    ask = "SELECT slice FROM take_shares($1, $2, $3, $3, $3)"
    async with database.pool.acquire() as holder, database.pool.acquire() as a, database.pool.acquire() as b:
        for one in (a, b):
            await one.execute("SET deadlock_timeout = '10ms'")
        async with holder.transaction():
            await holder.execute("SELECT FROM rate_limit_shares WHERE hand IN (0, 62) FOR UPDATE")
            first, second = (
                asyncio.ensure_future(one.fetch(ask, at, slices, [1, 1]))
                for one, slices in ((a, [top - 2, top]), (b, [top, top + 62]))
            )
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = ANY ($1::int[])"
            pids = [one.get_server_pid() for one in (a, b)]
            async with asyncio.timeout(60):
                while await holder.fetchval(waiting, pids) < 2:
                    await asyncio.sleep(0.01)
        return list(await asyncio.gather(first, second, return_exceptions=True))


def test_two_who_reach_over_the_top_of_the_clocks_face_do_not_wait_for_each_other(database: Database) -> None:
    answers = run(_two_over_the_top(database))
    assert not [answer for answer in answers if isinstance(answer, BaseException)]


def test_when_the_databases_clock_is_set_back_shares_of_the_clock_before_are_used_up_first(
    database: Database, clock: FakeClock
) -> None:
    """Who has not heard of it yet still calls by them: for as long as they reach, nobody gets others."""
    shares = PostgresShares(database.pool, clock)
    run(shares.take([Ask(number, PARTS) for number in range(FIRST, FIRST + 64)], NOW))
    clock.advance(-3_600)
    back = slice_at(clock.now().timestamp())
    before = run(shares.take([Ask(number, PARTS) for number in range(back, back + 64)], NOW)).before
    assert {of.taken >= PARTS for number, of in before.items() if back <= number < back + 64} == {True}
    clock.advance(64 * SLICE)
    assert run(shares.take([Ask(back + 64, PARTS)], NOW)).before[back + 64] == Slice()
