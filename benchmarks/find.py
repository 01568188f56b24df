"""`python -m benchmarks.find`: what finding costs among 10 million rows of PostgreSQL, and in DynamoDB's read units.

PostgreSQL is filled with a month of payments: most confirmed, 20,000 on the desk, 50,000 open; then each search runs as
`confirm find` runs it, three times, and its pages are counted. Before that, the price of the indexes by which it finds:
100,000 payments brought in and settled with them and without, in turn. DynamoDB is the local one, whose times say
nothing, so its read units are counted by AWS's rules on fewer items, and what they come to at a million is said. Last,
a request for 2,000 is asked for, approved and done on both. `--rows` and `--items` say how many, for a shorter run.

What a screen needs is found within a second; that is timed, so it decides the exit code of a `--strict` run alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.queue import Queue, open_queue, server
from benchmarks.table import make_table
from benchmarks.units import item_bytes, page_units, read_units
from cli.orders import asking as payload_of
from cli.postgres import asking as texts
from cli.where import where_in
from evidence.record import Evidence, keep
from evidence.record import Table as Shown
from local.emulator import Emulator
from workers.clock import SystemClock
from workers.desk.service import DeskStore, FourEyes
from workers.domain.causes import Cause
from workers.domain.desk import MOST_IDS, Limits, Order, Role
from workers.domain.finding import DESK, Finder, Where, plan
from workers.domain.policy import Policy
from workers.domain.transaction import HistoryEntry, Status, Transaction
from workers.stores.dynamodb import DynamoDbStore, to_item
from workers.stores.dynamodb_desk import DynamoDbDesk
from workers.stores.dynamodb_find import DynamoDbFinder
from workers.stores.postgres import SESSION
from workers.stores.postgres_desk import PostgresDesk
from workers.stores.postgres_find import Looks, PostgresFinder, asking

ROWS, ITEMS = 10_000_000, 20_000
ON_DESK, OPEN = 20_000, 50_000
"""Of PostgreSQL's rows, and of a million items; of fewer items the same parts."""
MILLION = 1_000_000
SECONDS = 1.0
"""For what a screen needs."""
TRIES = 3
MOVED = 100_000
"""Payments of one round of what the indexes cost."""
ROUNDS = 3
FILLED_AT_ONCE = 500_000
INDEXES = ("transactions_account", "transactions_created")
TRIED = "deadline passed; last: HTTP 503"
USED_UP = "8 attempts used up; last: time-out"

SCREENS = (
    ("state=REVIEW", 100),
    ("state=REVIEW cause=deadline-passed currency=EUR", 100),
    ("state=REVIEW amount-from=1040000", 100),
    ("state=REVIEW reason='TIME-OUT'", 100),
    ("state=REVIEW reason='nowhere'", 100),
    ("state=PENDING,PROCESSING older-than=3d", 100),
    ("account={account}", 100),
    ("newer-than=1h currency=USD", 100),
)
"""What a screen shows of one search, and how many."""
LISTS = (("state=REVIEW", ON_DESK),)
WALKS = (("reference={reference}", 100), ("state=REJECTED reason='nowhere'", 100))

_FILL = f"""
INSERT INTO transactions (id, account, amount, currency, created_at, deadline, arrived_at, status, due_at, settled_at,
                          gateway_reference, reason, owner, review_by, claimed_at, claimed_by, taken_over,
                          first_sent_at, attempt, version)
SELECT 'order-' || lpad(n::text, 9, '0'),
       'DE' || lpad((hashint8(n % ($3::bigint / 3 + 1))::bigint + 2147483648)::text, 20, '7'),
       hashint8(n) & 1048575, CASE WHEN n % 10 < 7 THEN 'EUR' ELSE 'USD' END, at, at + interval '30 days', at, state,
       CASE WHEN state = 'PENDING' THEN now() + n % 3600 * interval '1 s' END,
       CASE WHEN state = 'CONFIRMED' THEN at + interval '1 minute' END,
       CASE WHEN state = 'CONFIRMED' THEN 'pay_' || md5(n::text) END,
       CASE WHEN state <> 'REVIEW' THEN NULL WHEN n % 3 = 0 THEN '{TRIED}' ELSE '{USED_UP}' END,
       CASE WHEN state = 'REVIEW' THEN 'payment-operations' END,
       CASE WHEN state = 'REVIEW' THEN now() + n % 86400 * interval '1 s' END,
       at, 'worker/7', false, at, 1, 3
FROM generate_series($1::bigint, $2::bigint) n,
     LATERAL (SELECT now() - ($3::bigint - n) * interval '30 days' / $3::bigint AS at,
                     CASE WHEN n * {ON_DESK} % $3::bigint < {ON_DESK} THEN 'REVIEW'
                          WHEN n * {OPEN} % $3::bigint < {OPEN} THEN 'PENDING' ELSE 'CONFIRMED' END AS state) one
"""  # noqa: S608 - numbers of ours
_HISTORY = """
INSERT INTO history (transaction_id, version, claimed_at, claimed_by, token, claim_attempt, at, by, was, now, attempt,
                     why, cause)
SELECT id, 3, created_at, 'worker/7', 't', 1, created_at, 'worker/7', 'PROCESSING', status, 1, coalesce(reason, 'busy'),
       CASE WHEN status = 'PENDING' THEN 'not-done' WHEN reason LIKE 'deadline%' THEN 'deadline-passed'
            ELSE 'attempts-used-up' END
FROM transactions WHERE status <> 'CONFIRMED'
"""
"""Of what is on the desk or open: no search of a screen looks at the others'."""
_SETTLE = """
UPDATE transactions SET status = 'CONFIRMED', due_at = NULL, settled_at = now(), version = version + 1,
                        gateway_reference = 'pay_' || md5(id)
WHERE id IN (SELECT $1 || n FROM generate_series($2::bigint, $3::bigint) n)
"""
_ADD = """
INSERT INTO transactions (id, account, amount, currency)
SELECT $1 || n, 'account-' || hashint8(n), n, 'EUR' FROM generate_series(1, $2::bigint) n
"""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """Of one search in PostgreSQL."""

    sought: str
    way: str
    found: int
    milliseconds: float
    pages: int
    """Of 8 KB that it looked at, in memory or not."""
    is_screen: bool

    @property
    def in_time(self) -> bool:
        return not self.is_screen or self.milliseconds <= SECONDS * 1000


@dataclass(frozen=True, slots=True)
class Units:
    """Of one search in DynamoDB."""

    sought: str
    way: str
    found: int
    units: float
    calls: int
    at_a_million: float
    """Units, were the table of a million items."""


@dataclass
class Watched:
    """`Looks` that counts the pages of what it asks, once more, by EXPLAIN."""

    ask: Looks
    pages: int = 0

    async def __call__(self, query: str, *arguments: Any, timeout: float, by_index: bool) -> Any:
        explain = f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {query}"
        told = await self.ask(explain, *arguments, timeout=timeout, by_index=by_index)
        plan_ = json.loads(told[0][0])[0]["Plan"]
        self.pages += plan_["Shared Hit Blocks"] + plan_["Shared Read Blocks"]
        return await self.ask(query, *arguments, timeout=timeout, by_index=by_index)


async def look(finder: Finder, where: Where, limit: int) -> int:
    """How many it finds, up to that."""
    found = 0
    async for _ in finder.find(where, limit + 1):
        found += 1
        if found == limit:
            break
    return found


def way_of(where: Where, finder: Finder) -> str:
    return " and ".join(way.name for way in plan(where, finder.ways)) or "the whole table"


# --- PostgreSQL


async def measure_postgres(queue: Queue, rows: int, say: Say) -> tuple[list[Answer], dict[str, float]]:
    costs = await index_costs(queue.connection, queue, say)
    connection = queue.connection
    await connection.execute("TRUNCATE transactions, history")
    for begin in range(1, rows + 1, FILLED_AT_ONCE):
        say(f"filling PostgreSQL: {begin - 1:,} of {rows:,}")
        await connection.execute(_FILL, begin, min(begin + FILLED_AT_ONCE - 1, rows), rows)
    await connection.execute(_HISTORY)
    say("vacuum")
    await connection.execute("VACUUM ANALYZE transactions")
    await connection.execute("VACUUM ANALYZE history")
    began = time.perf_counter()
    await connection.execute("REINDEX INDEX transactions_account")
    costs["make_seconds"] = round(time.perf_counter() - began, 1)
    for name in INDEXES:
        costs[f"{name}_mib"] = round(
            await connection.fetchval("SELECT pg_relation_size($1::regclass)", name) / 2**20, 1
        )
    costs["table_mib"] = round(await connection.fetchval("SELECT pg_relation_size('transactions')") / 2**20)
    account, reference = await connection.fetchrow(
        "SELECT account, gateway_reference FROM transactions WHERE due_at IS NULL AND id > $1"
        " AND review_by IS NULL ORDER BY id LIMIT 1",
        f"order-{rows // 3:09}",
    )
    async with asyncpg.create_pool(queue.postgres.url(), min_size=1, max_size=2, server_settings=SESSION) as pool:
        answers = []
        for sought, limit in (*SCREENS, *LISTS, *WALKS):
            say(f"finding {sought}")
            where = where_in(sought.format(account=account, reference=reference), SystemClock().now())
            watched, seconds = Watched(asking(pool)), []
            await look(PostgresFinder(watched), where, limit)
            finder = PostgresFinder(asking(pool))
            for _ in range(TRIES):
                began = time.perf_counter()
                found = await look(finder, where, limit)
                seconds.append(time.perf_counter() - began)
            name = sought if limit == 100 else f"{sought} (all of them)"
            screen = (sought, limit) in SCREENS
            spent = statistics.median(seconds) * 1000
            answers.append(Answer(name, way_of(where, finder), found, spent, watched.pages, screen))
        say("a request for 2,000")
        asked, done = await two_people(PostgresDesk(texts(pool)), PostgresFinder(asking(pool)))
    return answers, {**costs, "asked_seconds": asked, "done_seconds": done}


async def index_costs(connection: asyncpg.Connection, queue: Queue, say: Say) -> dict[str, float]:
    """CPU and WAL of payments brought in and settled, with the indexes over without. WAL without images of pages, as
    Aurora's is, and as a checkpoint at the wrong moment can't spoil it."""
    made = [await connection.fetchval("SELECT pg_get_indexdef($1::regclass)", name) for name in INDEXES]
    await connection.execute("ALTER SYSTEM SET full_page_writes = off")
    await connection.execute("SELECT pg_reload_conf()")
    found: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for turn in range(ROUNDS + 1):
        for with_them in (True, False):
            say(f"what the indexes cost, round {turn} of {ROUNDS}")
            await connection.execute("TRUNCATE transactions, history")
            await connection.execute(f"DROP INDEX IF EXISTS {', '.join(INDEXES)}")
            if with_them:
                for statement in made:
                    await connection.execute(statement)
            await connection.execute("CHECKPOINT")
            cpu, wal = queue.cpu, await connection.fetchval("SELECT pg_current_wal_lsn()")
            await connection.execute(_ADD, "p-", MOVED)
            # as an autovacuum does in the middle: what is settled then lies in ranges that have their summaries
            await connection.execute("VACUUM transactions")
            for begin in range(1, MOVED + 1, 500):
                await connection.execute(_SETTLE, "p-", begin, begin + 499)
            written = await connection.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), $1)", wal)
            if turn:
                found[with_them].append((queue.cpu - cpu, float(written)))
    if not await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", INDEXES[0]):
        for statement in made:
            await connection.execute(statement)
    await connection.execute("ALTER SYSTEM RESET full_page_writes")
    await connection.execute("SELECT pg_reload_conf()")
    with_, without = ([statistics.median(column) for column in zip(*found[way], strict=True)] for way in (True, False))
    return {
        "cpu_with_over_without": round(with_[0] / without[0], 2),
        "wal_with_over_without": round(with_[1] / without[1], 2),
    }


# --- DynamoDB


@dataclass
class Meter:
    """boto3's client with a meter of what finding reads."""

    client: Any
    table: str
    units: float = 0.0
    calls: int = 0

    def batch_get_item(self, *, RequestItems: dict[str, Any]) -> Any:  # noqa: N803 - boto3's name
        answer = self.client.batch_get_item(RequestItems=RequestItems)
        wanted = RequestItems[self.table]
        found = [item_bytes(item) for item in answer["Responses"].get(self.table, [])]
        missing = len(wanted["Keys"]) - len(found)
        self.count(read_units([*found, *[0] * missing], consistent=wanted["ConsistentRead"]))
        return answer

    def query(self, **request: Any) -> Any:
        answer = self.client.query(**request)
        self.count(page_units([item_bytes(item) for item in answer["Items"]]))
        return answer

    def scan(self, **request: Any) -> Any:
        # what a filter leaves out is read all the same
        whole = {name: value for name, value in request.items() if name in ("TableName", "ExclusiveStartKey")}
        self.count(page_units([item_bytes(item) for item in self.client.scan(**whole)["Items"]]))
        return self.client.scan(**request)

    def count(self, units: float) -> None:
        self.units += units
        self.calls += 1


@dataclass
class Filled:
    """Transactions for a table, in the parts that a million has."""

    count: int
    records: list[Transaction] = field(default_factory=list)

    def __post_init__(self) -> None:
        now, policy = SystemClock().now(), Policy()
        for n in range(self.count):
            made = now - timedelta(days=30) * ((self.count - n) / self.count)
            desk, is_open = n * ON_DESK % MILLION < ON_DESK, n * OPEN % MILLION < OPEN
            state = Status.REVIEW if desk else Status.PENDING if is_open else Status.CONFIRMED
            cause = Cause.DEADLINE_PASSED if desk else Cause.NOT_DONE if is_open else Cause.CONFIRMED
            lines = [
                HistoryEntry(made, "producer", None, Status.PENDING, 0, None, "added", cause=Cause.ADDED),
                HistoryEntry(
                    made, "run/7", Status.PENDING, Status.PROCESSING, 1, "t" * 32, "claimed", cause=Cause.CLAIMED
                ),
                HistoryEntry(made, "run/7", Status.PROCESSING, state, 1, "t" * 32, TRIED, cause=cause),
            ]
            self.records.append(
                Transaction(
                    id=f"order-{n:09}", account=f"DE{n % (self.count // 3):020}", amount=n, currency="EUR",
                    created_at=made, deadline=made + timedelta(days=60), status=state, attempt=1,
                    next_attempt_at=now if state is Status.PENDING else None, first_sent_at=made, last_sent_at=made,
                    settled_at=made if state is Status.CONFIRMED else None,
                    gateway_reference=f"pay_{n:032}" if state is Status.CONFIRMED else None,
                    reason=TRIED if state is Status.REVIEW else None,
                    owner=policy.review_owner if state is Status.REVIEW else None,
                    review_by=now + policy.review_within if state is Status.REVIEW else None,
                    version=3, history=tuple(lines),
                )
            )  # fmt: skip


def measure_dynamodb(items: int, say: Say) -> tuple[list[Units], dict[str, float]]:
    with tempfile.TemporaryDirectory() as folder, Emulator(Path(folder), persist=False) as emulator:
        client = emulator.client("dynamodb")
        table = make_table(client)
        filled = Filled(items).records
        for begin in range(0, items, 25):
            if begin % 5_000 == 0:
                say(f"filling DynamoDB: {begin:,} of {items:,}")
            puts = [{"PutRequest": {"Item": to_item(one, 10)}} for one in filled[begin : begin + 25]]
            client.batch_write_item(RequestItems={table: puts})
        account, reference = filled[-1].account, next(one.gateway_reference for one in filled if one.gateway_reference)
        answers = []
        for sought, limit in (*SCREENS[:1], *SCREENS[4:7], *LISTS, *WALKS[:1]):
            say(f"finding {sought} in DynamoDB")
            meter = Meter(client, table)
            store = DynamoDbStore(meter, table, "pending", 10, SystemClock(), Policy())
            finder = DynamoDbFinder(store)
            where = where_in(sought.format(account=account, reference=reference), SystemClock().now())
            found = asyncio.run(look(finder, where, limit))
            # a screen's page reads as much whatever the table; all else grows with it
            grows = 1.0 if found == limit else MILLION / items
            name = sought if limit == 100 else f"{sought} (all of them)"
            answers.append(Units(name, way_of(where, finder), found, meter.units, meter.calls, meter.units * grows))
        store = DynamoDbStore(client, table, "pending", 10, SystemClock(), Policy())
        say("a request for many in DynamoDB")
        asked, done = asyncio.run(two_people(DynamoDbDesk(store), DynamoDbFinder(store)))
    return answers, {"dynamodb_asked_seconds": asked, "dynamodb_done_seconds": done}


# --- two people


async def two_people(requests: DeskStore, finder: Finder) -> tuple[float, float]:
    """Seconds that it takes to ask for as many as one request takes, and to approve it and have it done."""
    records = []
    async for found in finder.find(Where(states=DESK), MOST_IDS):
        records.append(found.record)
        if len(records) == MOST_IDS:
            break
    desk = FourEyes("bench", requests, SystemClock(), Policy(), Limits(), lambda *_, **__: None)
    began = time.perf_counter()
    payload = payload_of(Order("redrive", "a benchmark"), records) | {"id": secrets.token_hex(16)}
    request = await desk.do(Role.MAKER, "ana", "ask", payload)
    asked = time.perf_counter()
    done = await desk.do(Role.CHECKER, "ben", "approve", {"id": request["id"], "digest": request["digest"]})
    if done["state"] != "done" or done["left_out"]:
        raise RuntimeError(f"a request for {len(records):,} was not done: the figures don't count")
    return round(asked - began, 2), round(time.perf_counter() - asked, 2)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.find", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=ROWS, help=f"of PostgreSQL, from 100,000 on (default: {ROWS:,})")
    parser.add_argument("--items", type=int, default=ITEMS, help=f"of DynamoDB, from 1,000 on (default: {ITEMS:,})")
    parser.add_argument("--strict", action="store_true", help="fail on what is timed (on a machine of your own)")
    asked = parser.parse_args(arguments)
    if asked.rows < 100_000 or asked.items < 1_000:
        parser.error("that is too few to say anything: --rows from 100,000 on, --items from 1,000 on")

    def say(text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r{text:<70}", end="", file=sys.stderr, flush=True)

    began = time.perf_counter()
    with server() as (postgres, folder):

        async def measure() -> tuple[list[Answer], dict[str, float]]:
            queue = await open_queue(postgres, folder)
            try:
                return await measure_postgres(queue, asked.rows, say)
            finally:
                await queue.connection.close()

        answers, figures = asyncio.run(measure())
    units, more = measure_dynamodb(asked.items, say)
    say("")
    header = ("sought", "by", "found", "ms", "pages")
    rows = [(one.sought, one.way, one.found, round(one.milliseconds, 1), one.pages) for one in answers]
    header_2 = ("sought", "by", "found", "units", "calls", "at a million")
    rows_2 = [(one.sought, one.way, one.found, one.units, one.calls, round(one.at_a_million)) for one in units]
    print(f"PostgreSQL, {asked.rows:,} rows")
    _print(header, rows)
    print(f"\nDynamoDB, {asked.items:,} items, read units")
    _print(header_2, rows_2)
    print("\n" + "\n".join(f"{name.replace('_', ' ')}: {value:,}" for name, value in {**figures, **more}.items()))
    right = all(one.in_time for one in answers)
    seconds = round(time.perf_counter() - began, 1)
    keep(
        Evidence(
            "finding",
            "what a screen needs is found within a second",
            "python -m benchmarks.find",
            right,
            seconds,
            {"rows": asked.rows, "items": asked.items, **figures, **more},
            tables=[Shown("PostgreSQL", header, rows), Shown("DynamoDB", header_2, rows_2)],
        )
    )
    slowest = max(one.milliseconds for one in answers if one.is_screen)
    print(
        f"{'kept' if right else 'MISSED'}: the slowest screen took {slowest:,.0f} ms of {SECONDS * 1000:,.0f}; "
        f"{seconds} s in all"
    )
    return 0 if right or not asked.strict else 1


def _print(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    lines = [header, *([f"{cell:,}" if isinstance(cell, int | float) else cell for cell in row] for row in rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(header))]
    for line in lines:
        print(
            "  ".join(
                cell.ljust(w) if n < 2 else cell.rjust(w) for n, (cell, w) in enumerate(zip(line, widths, strict=True))
            )
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
