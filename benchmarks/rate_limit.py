"""`python -m benchmarks.rate_limit`: whether all workers together keep the gateway's rate limit, use it, and share it.

The gateway notes each call by its kernel's clock (benchmarks/counting_gateway.py); workers are the real service on a
real PostgreSQL, and the real Confirm function on the local DynamoDB. In no second, wherever it begins, may there be
more calls than the limit (and 2 % for the gateway's clock, which is not ours). While there is work at least 0.97 of it
is used, and no worker's part is more than 20 % from the mean. A machine that others use takes the workers' CPU away for
moments: instants that pass meanwhile are lost, so use and fairness only inform there.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO, cast

from rich.console import Console
from rich.table import Table

from benchmarks.counts import INDEX, SetClock, records
from benchmarks.postgres import Figure, Say
from benchmarks.queue import ENVIRONMENT, Queue, Worker, child, open_queue, server
from benchmarks.table import make_table
from local.emulator import Emulator
from local.errors import LocalError
from local.postgres import Postgres
from local.processes import HOST
from workers.domain.policy import Policy
from workers.stores.dynamodb import DynamoDbStore

LIMIT = 200
CLOCK = 1.02
"""Of the gateway, not for us."""
USED, FAIR = 0.97, 0.20
SETTLING = 3.0
"""Seconds after the last worker has begun to call, before use and fairness are looked at: none knew of the others."""
CALLERS = 50


@dataclass(frozen=True)
class Lengths:
    """How long the parts take, in seconds of calls each."""

    seconds: float = 12
    crews: tuple[int, ...] = (1, 2, 8, 16)


SHORT = Lengths(8, (1, 2, 8))


@dataclass(frozen=True)
class Calls:
    """What the gateway saw."""

    calls: Sequence[tuple[float, str]]

    def most(self) -> int:
        """The most calls in any second."""
        times, begin, found = sorted(at for at, _ in self.calls), 0, 0
        for n, at in enumerate(times):
            while times[begin] <= at - 1:
                begin += 1
            found = max(found, n - begin + 1)
        return found

    def between(self, begin: float, end: float) -> Counter[str]:
        """Calls by worker."""
        return Counter(worker for at, worker in self.calls if begin <= at < end)

    def used(self, limit: float, begin: float, end: float) -> float:
        """The share of the limit that was used."""
        return self.between(begin, end).total() / (limit * (end - begin))

    def unfair(self, begin: float, end: float) -> float:
        """How far the worker farthest from the mean is from it."""
        each = self.between(begin, end)
        mean = each.total() / max(len(each), 1)
        return max((abs(calls - mean) / mean for calls in each.values()), default=1.0)

    def first(self) -> dict[str, float]:
        """When each worker called first."""
        found: dict[str, float] = {}
        for at, worker in self.calls:
            found[worker] = min(at, found.get(worker, at))
        return found


@dataclass
class Gateway:
    """The gateway's process."""

    process: subprocess.Popen[str]
    port: int

    def url(self, worker: str) -> str:
        return f"http://{HOST}:{self.port}/{worker}"

    def calls(self) -> Calls:
        """Since the last look."""
        cast(TextIO, self.process.stdin).write("\n")
        cast(TextIO, self.process.stdin).flush()
        return Calls([(at, worker) for at, worker in json.loads(cast(TextIO, self.process.stdout).readline())])


@contextmanager
def gateway() -> Iterator[Gateway]:
    with child("benchmarks.counting_gateway", dict(os.environ), stdout=subprocess.PIPE) as process:
        yield Gateway(process, int(cast(TextIO, process.stdout).readline()))


def kept(what: str, calls: Calls, limit: float) -> Figure:
    most = calls.most()
    return Figure(
        f"{what}: most calls in any second",
        f"{most} of {limit:g}",
        f"<= {limit * CLOCK:g}",
        most <= limit * CLOCK,
        informs=False,
    )


def used(what: str, calls: Calls, limit: float, begin: float, end: float) -> Figure:
    share = calls.used(limit, begin, end)
    return Figure(f"{what}: of the limit used", f"{share:.3f}", f">= {USED}", share >= USED)


def fair(what: str, calls: Calls, begin: float, end: float) -> Figure:
    far = calls.unfair(begin, end)
    return Figure(f"{what}: farthest worker from the mean", f"{far:.0%}", f"<= {FAIR:.0%}", far <= FAIR)


# --- fargate: the service on PostgreSQL


@dataclass
class Crew:
    """Service processes on one queue, at one gateway."""

    queue: Queue
    gateway: Gateway
    stack: ExitStack
    limit: float
    workers: dict[str, Worker] = field(default_factory=dict)

    def start(self, name: str) -> None:
        self.workers[name] = self.stack.enter_context(
            self.queue.worker(
                "workers.service",
                GATEWAY_URL=self.gateway.url(name),
                GATEWAY_CONCURRENCY=str(CALLERS),
                GATEWAY_RATE_LIMIT=f"{self.limit:g}",
                HEARTBEAT_FILE=str(self.queue.folder / f"heartbeat-{name}"),
                LEASE_SECONDS="60",
            )
        )

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        self.workers.pop(name).process.send_signal(number)

    async def all_call(self) -> None:
        """Until each of them has called."""
        until, seen = time.monotonic() + 90, set[str]()
        while not seen >= self.workers.keys():
            if time.monotonic() > until:
                raise LocalError(f"{sorted(self.workers.keys() - seen)} did not call within 90 s.")
            await asyncio.sleep(0.5)
            seen |= set(self.gateway.calls().first())


async def crew_of(
    size: int, queue: Queue, at: Gateway, limit: float, seconds: float, say: Say
) -> tuple[list[Figure], float]:
    """So many workers, all at work; and how often each asked for shares, a second."""
    what = f"{size} worker{'s' * (size > 1)}"
    say(f"rate limit: {what}")
    await queue.fill(int(limit * (seconds + 60)))
    with ExitStack() as stack:
        crew = Crew(queue, at, stack, limit)
        for n in range(size):
            crew.start(f"w{n}")
        await crew.all_call()
        await asyncio.sleep(SETTLING)
        before = await questions(queue)
        begin = time.time()
        await asyncio.sleep(seconds)
        end = time.time()
        asked = (await questions(queue) - before) / (end - begin) / size
        calls = at.calls()
    figures = [kept(what, calls, limit), used(what, calls, limit, begin, end)]
    return [*figures, *([fair(what, calls, begin, end)] if size > 1 else [])], asked


async def questions(queue: Queue) -> int:
    """How often shares were asked for since the server began."""
    await queue.connection.execute("SELECT pg_stat_clear_snapshot()")
    found = await queue.connection.fetchval("SELECT calls FROM pg_stat_user_functions WHERE funcname = 'take_shares'")
    return int(found or 0)


async def rolling(queue: Queue, at: Gateway, limit: float, seconds: float, say: Say) -> list[Figure]:
    """Two workers are replaced by two new ones, which begin before the old ones are told to end."""
    say("rate limit: a rolling deployment")
    await queue.fill(int(limit * (3 * seconds + 60)))
    with ExitStack() as stack:
        crew = Crew(queue, at, stack, limit)
        for n in range(2):
            crew.start(f"old{n}")
        await crew.all_call()
        await asyncio.sleep(SETTLING)
        begin = time.time()
        for n in range(2):
            crew.start(f"new{n}")
        await asyncio.sleep(seconds)
        for n in range(2):
            crew.kill(f"old{n}", signal.SIGTERM)
        await asyncio.sleep(seconds)
        end = time.time()
        calls = at.calls()
    what = "a rolling deployment"
    return [kept(what, calls, limit), used(what, calls, limit, begin, end)]


async def kills(queue: Queue, at: Gateway, limit: float, seconds: float, say: Say) -> list[Figure]:
    """Of 8 workers one is killed every 5 s, with all that it holds, and a new one started."""
    say("rate limit: workers that are killed")
    await queue.fill(int(limit * (3 * seconds + 60)))
    with ExitStack() as stack:
        crew = Crew(queue, at, stack, limit)
        for n in range(8):
            crew.start(f"w{n}")
        await crew.all_call()
        await asyncio.sleep(SETTLING)
        begin = time.time()
        for n in range(max(2, round(seconds / 5))):
            await asyncio.sleep(5)
            crew.kill(f"w{n}")
            crew.start(f"w{8 + n}")
        await asyncio.sleep(5)
        end = time.time()
        calls = at.calls()
    what = "a kill of one in 8 every 5 s"
    return [kept(what, calls, limit), used(what, calls, limit, begin, end)]


def fargate(at: Gateway, limit: float, lengths: Lengths, say: Say) -> list[Figure]:
    with server(track_functions="pl") as (postgres, folder):
        return asyncio.run(_fargate(postgres, folder, at, limit, lengths, say))


async def _fargate(
    postgres: Postgres, folder: Path, at: Gateway, limit: float, lengths: Lengths, say: Say
) -> list[Figure]:
    queue = await open_queue(postgres, folder)
    figures, asked = list[Figure](), 0.0
    for size in lengths.crews:
        found, asked = await crew_of(size, queue, at, limit, lengths.seconds, say)
        figures += found
    figures += await rolling(queue, at, limit, lengths.seconds, say)
    figures += await kills(queue, at, limit, lengths.seconds, say)
    await queue.connection.close()
    most = f"statements for shares, a second and worker ({lengths.crews[-1]} workers)"
    return [*figures, Figure(most, f"{asked:.1f}", "<= 5", asked <= 5)]


# --- serverless: the Confirm function on the local DynamoDB

BATCH = 100
SLOTS = 10
LIFE = 3
"""Batches of one process: then another one takes its place, as Lambda's come and go."""


def serverless(at: Gateway, limit: float, lengths: Lengths, say: Say) -> list[Figure]:
    """As a Distributed Map does it: so many batches at once, each in a process that lives for a few."""
    say("rate limit: a run of the serverless kind")
    count = int(limit * (lengths.seconds + 25)) // BATCH * BATCH
    with tempfile.TemporaryDirectory() as folder, Emulator(Path(folder), persist=False) as emulator:
        client = emulator.client("dynamodb")
        table = make_table(client)
        clock = SetClock()
        added = records(count, clock.now())
        store = DynamoDbStore(client, table, INDEX, 10, clock, Policy())
        for n in range(0, count, 1000):
            asyncio.run(store.add(added[n : n + 1000]))
        ids = [record.id for record in added]
        batches = [ids[n : n + BATCH] for n in range(0, count, BATCH)]
        done, asked = _map(at, emulator.endpoint_url, table, limit, batches)
    calls = at.calls()
    first = sorted(calls.first().values())
    begin = first[SLOTS - 1] + SETTLING
    end = sorted(at for at, _ in calls.calls)[-BATCH * SLOTS]  # after it slots begin to run out of batches
    what = f"serverless, {SLOTS} batches at once"
    by_slot = Calls([(at, worker.split("-")[0]) for at, worker in calls.calls])
    writes = asked / (max(at for at, _ in calls.calls) - first[0]) / SLOTS
    return [
        kept(what, calls, limit),
        used(what, calls, limit, begin, end),
        fair(what, by_slot, begin, end),
        Figure("  of all transactions confirmed", f"{done} of {count}", f"{count}", done == count),
        Figure("  writes for shares, a second and batch under way", f"{writes:.1f}", "<= 4", writes <= 4),
        Figure("  ... per transaction", f"{asked / max(done, 1):.3f}"),
    ]


def _map(at: Gateway, endpoint: str, table: str, limit: float, batches: list[list[str]]) -> tuple[int, int]:
    """Run all batches; how many transactions were confirmed, and how many writes were made for shares."""
    left, lock, counts, troubles = list(enumerate(batches)), threading.Lock(), Counter[str](), list[str]()

    def slot(number: int) -> None:
        for life in range(1000):
            with lock:
                mine, left[:] = left[:LIFE], left[LIFE:]
            if not mine:
                return
            environment = _environment(at.url(f"s{number}-{life}"), endpoint, table, limit)
            streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
            with child("benchmarks.lambda_worker", environment, **streams) as process:
                worker = Worker(process)
                if "ready" not in (line := cast(TextIO, process.stderr).readline()):
                    troubles.append(line + cast(TextIO, process.stderr).read()[-500:])
                    return
                for n, ids in mine:
                    cast(TextIO, process.stdin).write(json.dumps({"number": n, "ids": ids}) + "\n")
                    cast(TextIO, process.stdin).flush()
                    answer = worker.hear()
                    with lock:
                        counts.update({name: answer[name] for name in ("confirmed", "asked")})

    threads = [threading.Thread(target=slot, args=(number,)) for number in range(SLOTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if troubles:
        raise LocalError(f"A worker of the benchmark failed: {troubles[0].strip()}")
    return counts["confirmed"], counts["asked"]


def _environment(url: str, endpoint: str, table: str, limit: float) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        **ENVIRONMENT,
        "ALTERNATIVE": "serverless",
        "AWS_ENDPOINT_URL": endpoint,
        "LEASE_SECONDS": "180",
        "GATEWAY_URL": url,
        "GATEWAY_CONCURRENCY": str(CALLERS),
        "GATEWAY_RATE_LIMIT": f"{limit:g}",
        "TABLE_NAME": table,
        "INDEX_NAME": INDEX,
        "PENDING_SHARDS": "10",
        "PLAN_BUCKET": "none",
        "BATCHES_PER_PLAN": "500",
        "RUN_LEASE_SECONDS": "3600",
    }


# --- all of it


def measure(only: str | None, limit: float, lengths: Lengths, say: Say) -> list[Figure]:
    """Both alternatives, or one."""
    figures = []
    with gateway() as at:
        if only != "serverless":
            figures += fargate(at, limit, lengths, say)
        if only != "fargate":
            figures += serverless(at, limit, lengths, say)
    return figures


def report(
    console: Console, only: str | None = None, *, limit: float = LIMIT, lengths: Lengths = SHORT, strict: bool = False
) -> list[str]:
    """Measure and show; returns the targets missed that count (all of them, if `strict`)."""
    began = time.monotonic()
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    console.print(
        f"\n[bold]One rate limit[/], {limit:g} calls a second, python {platform.python_version()}, load {load}\n"
    )
    with console.status("", spinner="dots") as status:

        def say(text: str) -> None:
            status.update(f"  {text}")
            if not console.is_terminal:
                console.print(f"  {text}", style="dim")

        figures = measure(only, limit, lengths, say)
    table = Table(box=None, padding=(0, 2), title="Targets", title_justify="left", title_style="bold")
    table.add_column("")
    for heading in ("target", "measured", ""):
        table.add_column(heading, justify="right")
    for figure in figures:
        table.add_row(*figure.row(strict))
    console.print(table)
    console.print(f"Took {time.monotonic() - began:.0f} s.")
    return [figure.what.strip() for figure in figures if figure.fails(strict)]


def main(arguments: Sequence[str]) -> int:
    """Measure; 0 when every target that counts is kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rate_limit", description=__doc__.splitlines()[0])
    parser.add_argument("--alternative", choices=("serverless", "fargate"), help="this one alone")
    parser.add_argument("--limit", type=float, default=LIMIT, help=f"calls a second (default {LIMIT})")
    parser.add_argument("--full", action="store_true", help="16 workers too, and longer than `make bench`")
    parser.add_argument("--strict", action="store_true", help="fail on timed targets too (on a machine of your own)")
    asked = parser.parse_args(arguments)
    console = Console(file=sys.stdout, highlight=False)
    lengths = Lengths() if asked.full else SHORT
    missed = report(console, asked.alternative, limit=asked.limit, lengths=lengths, strict=asked.strict)
    if missed:
        console.print(f"[bold red]Missed:[/] {'; '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # through every `finally`
    with contextlib.suppress(KeyboardInterrupt):
        try:
            sys.exit(main(sys.argv[1:]))
        except LocalError as error:
            sys.exit(f"error: {error}")
