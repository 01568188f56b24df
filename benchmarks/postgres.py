"""`python -m benchmarks.postgres`: how fast the PostgreSQL queue and its service are, as ratios within one run.

Everything is measured here and now, in turn, five times or more, on one server with fsync on and history kept. What is
timed only informs, as the machine is shared (see the spread), unless asked to be `--strict`; what a busy machine can't
spoil decides the exit code.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib.metadata import version

import asyncpg
from rich.console import Console
from rich.table import Table

from benchmarks import sql_bound
from benchmarks.flat_gateway import SECONDS as GATEWAY_SECONDS
from benchmarks.queue import FILL, Queue, Worker, gateway, now, open_queue, server
from benchmarks.samples import Samples
from local.errors import LocalError
from local.processes import HOST, ROOT
from workers.domain.policy import Policy
from workers.domain.ports import Look
from workers.migrations import migrate
from workers.stores.postgres import SESSION, START, PostgresStore
from workers.stores.statements import CLAIM, Position, Wanted

ROUNDS = 5
COUNT = 60_000
"""Transactions of one run of the no-op gateway: a second or two."""
BATCHES = (100, 500)
WINDOW_SECONDS = 3.0
MILLION = 1_000_000


@dataclass(frozen=True)
class Figure:
    """One row of the table: a target, and what was measured."""

    what: str
    measured: str
    target: str = ""
    kept: bool | None = None
    informs: bool = True
    """Timed: a busy machine can spoil it."""

    def row(self, strict: bool = False) -> tuple[str, ...]:
        missed = "[bold red]MISSED[/]" if self.fails(strict) else "[yellow]missed, informs[/]"
        return (
            self.what,
            self.target,
            self.measured,
            "" if self.kept is None else "[green]kept[/]" if self.kept else missed,
        )

    def fails(self, strict: bool = False) -> bool:
        """Whether it decides the exit code, and for the worse."""
        return self.kept is False and (strict or not self.informs)


def at_least(what: str, target: float, samples: Samples, form: str = "{:.2f}") -> Figure:
    """Of a figure that should be large; its median counts."""
    return Figure(what, samples.text(form), f">= {form.format(target)}", samples.median >= target)


@dataclass(frozen=True)
class Lengths:
    """How long the parts run."""

    settled: int = MILLION
    latency_seconds: float = 15.0
    warm_seconds: float = 5.0
    memory_seconds: float = 15.0


Say = Callable[[str], None]
Part = Callable[[Queue, Lengths, Say], Awaitable[list[Figure]]]


# --- (a), (b): no-op confirms against the SQL bound, and two processes against one


async def no_op(queue: Queue, lengths: Lengths, say: Say) -> list[Figure]:  # noqa: ARG001 - as every part
    """Rates of the bound in one session and in two (which no client slows), of one process and of two, in turn."""
    sessions = [await asyncpg.connect(queue.postgres.url(), server_settings=SESSION) for _ in range(2)]
    rates: dict[tuple[str, int], list[float]] = {}
    costs: dict[int, list[float]] = {batch: [] for batch in BATCHES}
    cores: dict[int, list[float]] = {batch: [] for batch in BATCHES}
    for turn in range(ROUNDS + 1):  # the first one warms up
        for batch in BATCHES:
            say(f"no-op confirms, batch {batch}, round {turn} of {ROUNDS}")
            found = {"bound": await bound(queue, batch, sessions[:1]), "bounds": await bound(queue, batch, sessions)}
            found["one"], cpu, used = await drain(queue, batch, 1)
            found["two"], _, _ = await drain(queue, batch, 2)
            if turn:
                costs[batch].append(cpu / COUNT * 1e6)
                cores[batch].append(used)
                for name, rate in found.items():
                    rates.setdefault((name, batch), []).append(rate)
    for session in sessions:
        await session.close()
    samples = {key: Samples.of(values) for key, values in rates.items()}
    figures = []
    for batch in BATCHES:
        alone, both, one, two = (samples[name, batch] for name in ("bound", "bounds", "one", "two"))
        figures += [
            at_least(f"no-op, batch {batch}: of the SQL bound", 0.85, one.over(alone)),
            at_least(f"no-op, batch {batch}: two over one", 1.5, two.over(one)),
            Figure("  two sessions of the bound over one", both.over(alone).text()),
            Figure("  SQL bound, per second", alone.text("{:,.0f}")),
            Figure("  one process", one.text("{:,.0f}")),
            Figure("  two processes", two.text("{:,.0f}")),
            Figure("  client CPU of one, us each", Samples.of(costs[batch]).text("{:.1f}")),
            Figure(f"  cores that one and the server keep busy, of {os.cpu_count()}", Samples.of(cores[batch]).text()),
        ]
    return figures


async def bound(queue: Queue, batch: int, sessions: Sequence[asyncpg.Connection]) -> float:
    """Transactions a second of the SQL bound, in so many sessions at once."""
    await queue.fill(COUNT)
    began = now()
    await asyncio.gather(*(session.execute(sql_bound.loop(batch)) for session in sessions))
    rate = COUNT / (now() - began)
    await _all_confirmed(queue)
    return rate


async def drain(queue: Queue, batch: int, processes: int) -> tuple[float, float, float]:
    """Transactions a second of so many no-op services, from their start to the last settle; their CPU seconds; and
    how many cores they and the server kept busy."""
    await queue.fill(COUNT)
    with ExitStack() as stack:
        workers = [
            stack.enter_context(queue.worker("benchmarks.no_op", BATCH_SIZE=str(batch))) for _ in range(processes)
        ]
        for worker in workers:
            worker.hear()
        began, before = now(), queue.cpu
        for worker in workers:
            worker.say()
        told = [worker.hear() for worker in workers]
        served = queue.cpu - before
    await _all_confirmed(queue)
    seconds = max(one["last"] for one in told) - began
    cpu = sum(one["cpu"] for one in told)
    return COUNT / seconds, cpu, (cpu + served) / seconds


async def _all_confirmed(queue: Queue) -> None:
    if await queue.settled() != COUNT:
        raise LocalError("Not every transaction was confirmed: the figures don't count.")


# --- (c): with a gateway of 50 ms


async def through_gateway(queue: Queue, lengths: Lengths, say: Say) -> list[Figure]:  # noqa: ARG001
    """Calls answered while there is work, as a share of concurrency / latency; and what one costs the client.

    The latency is what the gateway itself took in that time.
    """
    figures = []
    for concurrency, target in ((50, 0.97), (200, 0.93)):
        say(f"a gateway of 50 ms, concurrency {concurrency}")
        ideal = concurrency / GATEWAY_SECONDS
        await queue.fill(round(ideal * (WINDOW_SECONDS * (ROUNDS + 1) + 2)))
        with gateway() as port, queue.worker("workers.service", **_towards(port, concurrency)) as worker:
            while not answered(port)[0]:
                await asyncio.sleep(0.05)
            await asyncio.sleep(1)
            shares, flat, costs, times = [], [], [], []
            for _ in range(ROUNDS):
                began, (calls, before), cpu = time.perf_counter(), answered(port), worker.cpu
                await asyncio.sleep(WINDOW_SECONDS)
                seconds, (count, after) = time.perf_counter() - began, answered(port)
                done = count - calls
                times.append((after - before) / done)
                shares.append(done / seconds * times[-1] / concurrency)
                flat.append(done / seconds / ideal)
                costs.append((worker.cpu - cpu) / done * 1e6)
        await queue.settled()
        figures += [
            at_least(f"gateway, {concurrency} at once: of ideal", target, Samples.of(shares), "{:.3f}"),
            Figure("  if it had taken 50 ms sharp", Samples.of(flat).text("{:.3f}")),
            Figure("  what it took, ms", Samples.of([one * 1000 for one in times]).text()),
            Figure("  client CPU, us a call", Samples.of(costs).text("{:.0f}")),
        ]
    return figures


def _towards(port: int, concurrency: int) -> dict[str, str]:
    return {"GATEWAY_URL": f"http://{HOST}:{port}", "GATEWAY_CONCURRENCY": str(concurrency)}


def answered(port: int) -> tuple[int, float]:
    """Calls that the flat gateway has answered, and the seconds that it took for them all together."""
    with urllib.request.urlopen(f"http://{HOST}:{port}/_count", timeout=5) as answer:
        count, seconds = answer.read().split()
    return int(count), float(seconds)


# --- (d): from insert to confirmed

WATCH = """
CREATE TABLE times (id text PRIMARY KEY, arrived timestamptz, settled timestamptz);
CREATE FUNCTION note_times() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO times (id, arrived) VALUES (NEW.id, clock_timestamp());
    ELSE
        UPDATE times SET settled = clock_timestamp() WHERE id = NEW.id;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER times_arrived AFTER INSERT ON transactions FOR EACH ROW EXECUTE FUNCTION note_times();
CREATE TRIGGER times_settled AFTER UPDATE ON transactions FOR EACH ROW
    WHEN (NEW.status = 'CONFIRMED') EXECUTE FUNCTION note_times();
"""
PER_SECOND = 20


async def latency(queue: Queue, lengths: Lengths, say: Say) -> list[Figure]:
    """Insert to settle at a low rate, by triggers on the queue's own table, less what the gateway took on average."""
    say(f"insert to confirmed, {PER_SECOND} a second for {lengths.latency_seconds:.0f} s")
    await queue.fill(0)
    await queue.connection.execute(WATCH)
    count = round(PER_SECOND * lengths.latency_seconds)
    insert = await queue.connection.prepare(
        "INSERT INTO transactions (id, account, amount, currency) VALUES ($1, 'account', 1, 'USD')"
    )
    try:
        with gateway() as port, queue.worker("workers.service", **_towards(port, 50)):
            await asyncio.sleep(3)
            for n in range(count + PER_SECOND):  # the first second warms up
                next_at = time.perf_counter() + 1 / PER_SECOND
                await insert.fetch(f"{'warm' if n < PER_SECOND else 'p'}-{n}")
                await asyncio.sleep(next_at - time.perf_counter())
            await asyncio.sleep(1)
            calls, seconds = answered(port)
        taken = await queue.connection.fetch(
            "SELECT extract(epoch FROM settled - arrived)::float8 * 1000 FROM times WHERE id LIKE 'p-%'"
        )
    finally:
        await queue.connection.execute("DROP TABLE times; DROP FUNCTION note_times CASCADE")
    own = seconds / calls * 1000
    over = Samples.of([row[0] - own for row in taken if row[0] is not None])
    if len(over.values) != count:
        raise LocalError(f"{count - len(over.values)} of {count} were not confirmed in time: the figures don't count.")
    figures = []
    for name, share, target in (("median", 0.5, 4.0), ("p99", 0.99, 10.0)):
        value = over.percentile(share)
        figures.append(
            Figure(
                f"insert to confirmed beyond the gateway, {name}",
                f"{value:.1f} ms of {count}",
                f"<= {target:.1f} ms",
                value <= target,
            )
        )
    return [*figures, Figure("  what the gateway took, ms", f"{own:.2f}")]


# --- (e): what a claim costs as things grow

CLAIMS = 60
WANTED = Wanted(
    now=None,
    token="token",  # noqa: S106 - of a claim
    by="bench",
    limit=100,
    lease=Policy().lease,
    skew=timedelta(),
    max_attempts=8,
    review_within=Policy().review_within,
    owner="desk",
    after_due_at=START.due_at,
    after_id=START.id,
    ids=None,
    only_ask=False,
    restored_to=None,
    late=None,
    apart=timedelta(),
    others_until=None,
    others_stopped=None,
)
SETTLED = """
INSERT INTO transactions (id, account, amount, currency, status, due_at, settled_at, gateway_reference)
SELECT 's-' || n, 'account', n, 'USD', 'CONFIRMED', NULL, now(), 'ref' FROM generate_series(1, $1::int) n
"""


async def growth(queue: Queue, lengths: Lengths, say: Say) -> list[Figure]:
    """A claim of 100 among few and many rows, interleaved, each rolled back."""
    cases = {"few": (10_000, 1_000), "settled": (lengths.settled, 1_000), "pending": (0, MILLION)}
    connections = {}
    for name, (settled, pending) in cases.items():
        say(f"filling: {settled:,} settled, {pending:,} pending")
        connection = connections[name] = await schema(queue, name)
        await connection.execute(SETTLED, settled)
        await connection.execute(FILL, "p-", pending)
        await connection.execute("VACUUM ANALYZE transactions")
    say("claiming")
    times: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(CLAIMS + 5):
        for name, connection in connections.items():
            seconds = await claim_seconds(connection, START)
            if turn >= 5:
                times[name].append(seconds * 1000)
    few, many, waiting = (Samples.of(times[name]) for name in cases)
    for name, connection in connections.items():
        await connection.execute(f"DROP SCHEMA {name} CASCADE")
        await connection.close()

    def ratio(what: str, samples: Samples) -> Figure:
        value = samples.median / few.median
        return Figure(what, f"{value:.2f}, medians of {CLAIMS}", "<= 1.20", value <= 1.2)

    return [
        ratio(f"claim at {lengths.settled // MILLION} M settled over 10 k", many),
        ratio("claim at 1 M pending over 1 k", waiting),
        Figure("  at 10,000 settled, ms", few.text()),
    ]


async def old_snapshot(queue: Queue, lengths: Lengths, say: Say) -> list[Figure]:  # noqa: ARG001
    """A claim after 300,000 settles whose dead entries nobody may remove; then what the hint must not lose."""
    say("300,000 settles under an old snapshot")
    connection = await schema(queue, "old")
    reader = await asyncpg.connect(queue.postgres.url())
    await connection.execute("ALTER TABLE transactions SET (autovacuum_enabled = off)")
    await connection.execute(FILL, "p-", 310_000)
    await connection.execute("UPDATE transactions SET due_at = due_at - interval '1 hour' + amount * interval '1 ms'")
    await connection.execute("VACUUM ANALYZE transactions")
    await reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM old.transactions")
    before = Samples.of([await claim_seconds(connection, START) * 1000 for _ in range(CLAIMS)][5:])
    await connection.execute(sql_bound.loop(500, 300_000))
    pool = await asyncpg.create_pool(
        queue.postgres.url(), min_size=1, max_size=1, server_settings={**SESSION, "search_path": "old"}
    )
    store = PostgresStore(pool, Policy())
    hint = await connection.fetchrow(
        "SELECT due_at, id FROM transactions WHERE due_at IS NOT NULL ORDER BY due_at, id LIMIT 1"
    )
    place = Position(hint["due_at"], hint["id"])
    after = Samples.of([await claim_seconds(connection, place) * 1000 for _ in range(CLAIMS)][5:])
    plain = Samples.of([await claim_seconds(connection, START) * 1000 for _ in range(7)])
    store.hint = place
    found = await _late_ones(store, connection)
    await pool.close()
    await reader.close()
    await connection.execute("DROP SCHEMA old CASCADE")
    await connection.close()
    value = after.median / before.median
    return [
        Figure(
            "claim after 300 k settles, old snapshot",
            f"{value:.2f}, medians of {CLAIMS - 5}",
            "<= 1.50",
            value <= 1.5,
        ),
        Figure("  before; after; without the hint, ms", f"{before.median:.2f}; {after.median:.2f}; {plain.median:.2f}"),
        Figure("  sweep finds latecomer and retry", f"{found} of 2", "2 of 2", found == 2, informs=False),
    ]


async def _late_ones(store: PostgresStore, connection: asyncpg.Connection) -> int:
    """Of a latecomer and a retry, both before the hint: how many the sweep brings, and the claim before it does not."""
    await connection.execute(
        """
        INSERT INTO transactions (id, account, amount, currency, due_at, attempt, last_sent_at)
        SELECT id, 'account', 1, 'USD', now() - interval '2 hours', attempt, sent
        FROM (VALUES ('late', 0, NULL::timestamptz), ('retry', 1, now() - interval '2 hours')) AS v (id, attempt, sent)
        """
    )

    async def claim(token: str, look: Look) -> set[str]:
        return {record.id for record in (await store.claim_next(token=token, by="bench", limit=10, look=look)).held}

    first = await claim("first", Look.ONWARD)
    return len({"late", "retry"} & (await claim("second", Look.SWEEP) - first))


async def schema(queue: Queue, name: str) -> asyncpg.Connection:
    """A schema of its own, migrated, and a connection in it with a worker's settings."""
    connection = await asyncpg.connect(
        queue.postgres.url(), server_settings={**SESSION, "search_path": name}, statement_cache_size=0
    )
    await connection.execute(f"CREATE SCHEMA {name}")
    await migrate(connection)
    return connection


_prepared: dict[asyncpg.Connection, asyncpg.prepared_stmt.PreparedStatement] = {}


async def claim_seconds(connection: asyncpg.Connection, place: Position) -> float:
    """Of one claim, rolled back."""
    if connection not in _prepared:
        _prepared[connection] = await connection.prepare(CLAIM.text)
    transaction = connection.transaction()
    await transaction.start()
    began = time.perf_counter()
    rows = await _prepared[connection].fetch(*WANTED._replace(after_due_at=place.due_at, after_id=place.id))
    taken = time.perf_counter() - began
    await transaction.rollback()
    if len(rows) != WANTED.limit:
        raise LocalError(f"A claim brought {len(rows)} of {WANTED.limit}: the figures don't count.")
    return taken


# --- (f): memory


async def memory(queue: Queue, lengths: Lengths, say: Say) -> list[Figure]:
    """RSS of a no-op service at full rate, after a warm-up and at the end; the tables are emptied as it goes."""
    warm, end = now() + lengths.warm_seconds, now() + lengths.warm_seconds + lengths.memory_seconds
    await queue.fill(COUNT)
    done, at_first, sizes = 0, 0.0, [0.0]
    with queue.worker("benchmarks.no_op", BATCH_SIZE="500", METRICS_SECONDS="1") as worker:
        worker.hear()
        worker.say()
        while now() < end:
            say(f"memory at full rate: {max(end - now(), 0):.0f} s left, {sizes[-1]:.1f} MB")
            done += await _heard(worker, COUNT)
            if now() >= warm:
                sizes.append(worker.megabytes)
                at_first = at_first or sizes[-1]
            await queue.settled()
            await queue.fill(COUNT, f"r{done}-")
    grown = sizes[-1] - at_first
    return [
        Figure("memory at full rate, MB", f"{max(sizes):.1f}", "<= 100", max(sizes) <= 100, informs=False),
        Figure(
            f"  grown in {lengths.memory_seconds:,.0f} s, {done:,} each, MB",
            f"{grown:.1f}",
            "<= 2.0",
            grown <= 2,
        ),
    ]


async def _heard(worker: Worker, count: int) -> int:
    done = 0
    while done < count:
        done += (await asyncio.to_thread(worker.hear))["done"]
    return done


# --- all of it

PARTS: dict[str, Part] = {
    "no-op": no_op,
    "gateway": through_gateway,
    "latency": latency,
    "growth": growth,
    "snapshot": old_snapshot,
    "memory": memory,
}


def report(
    console: Console, only: Sequence[str] = (), lengths: Lengths | None = None, strict: bool = False
) -> list[str]:
    """Measure and show, part by part; returns the targets missed that count (all of them, if `strict`)."""
    lengths, began = lengths or Lengths(), time.monotonic()
    with server() as (postgres, folder), console.status("", spinner="dots") as status:

        def say(text: str) -> None:
            status.update(f"  {text}")
            if not console.is_terminal:
                console.print(f"  postgres: {text}", style="dim")

        async def measure() -> list[Figure]:
            queue = await open_queue(postgres, folder)
            database = await queue.connection.fetchval("SHOW server_version")
            load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
            console.print(
                f"\n[bold]The PostgreSQL queue[/], python {platform.python_version()}, PostgreSQL {database}, asyncpg "
                f"{version('asyncpg')}, commit {_commit()}, load {load}\n"
            )
            figures = []
            for name in only or PARTS:
                figures += await PARTS[name](queue, lengths, say)
            await queue.connection.close()
            return figures

        figures = asyncio.run(measure())
    table = Table(box=None, padding=(0, 2), title="Targets, timed", title_justify="left", title_style="bold")
    table.add_column("")
    for heading in ("target", "measured (least..most)", ""):
        table.add_column(heading, justify="right")
    for figure in figures:
        table.add_row(*figure.row(strict))
    console.print(table)
    console.print(f"Took {time.monotonic() - began:.0f} s.")
    return [figure.what.strip() for figure in figures if figure.fails(strict)]


def _commit() -> str:
    asked = ["git", "describe", "--always", "--dirty"]
    answer = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"


def main(arguments: Sequence[str]) -> int:
    """Measure all parts, or those named; 0 when every target that counts is kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.postgres", description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"only these: {', '.join(PARTS)}")
    parser.add_argument("--full", action="store_true", help="5 million settled rows, and a minute of latencies")
    parser.add_argument("--hour", action="store_true", help="memory over an hour, not some seconds")
    parser.add_argument("--strict", action="store_true", help="fail on timed targets too (on a machine of your own)")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}: the parts are {', '.join(PARTS)}")
    lengths = Lengths(settled=5 * MILLION, latency_seconds=60) if asked.full else Lengths()
    if asked.hour:
        lengths = replace(lengths, warm_seconds=60, memory_seconds=3600)
    console = Console(file=sys.stdout, highlight=False)
    missed = report(console, asked.parts, lengths, asked.strict)
    if missed:
        console.print(f"[bold red]Missed:[/] {'; '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # through every `finally`
    try:
        sys.exit(main(sys.argv[1:]))
    except LocalError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
