"""What the benchmarks of the PostgreSQL queue stand on: a database filled and emptied, and real worker processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, cast

import asyncpg

from local.errors import LocalError
from local.postgres import DATABASE, MASTER, Postgres
from local.processes import HOST, ROOT
from workers.config import DatabaseConfig
from workers.migrations.__main__ import run as migrate_and_let_in

USER = "confirm_service"
SERVER = {"shared_buffers": "1GB", "max_wal_size": "8GB"}
"""Besides local/postgres.py's own; fsync and synchronous_commit stay on."""

ENVIRONMENT = {
    "STACK": "fargate",
    "ALTERNATIVE": "fargate",
    "ENVIRONMENT": "dev",
    "LEASE_SECONDS": "60",
    "CLOCK_SKEW_SECONDS": "0",
    "MAX_ATTEMPTS": "8",
    "RETRY_BASE_SECONDS": "30",
    "RETRY_CAP_SECONDS": "900",
    "GRACE_SECONDS": "60",
    "KEY_WINDOW_SECONDS": "86400",
    "REVIEW_SECONDS": "86400",
    "REVIEW_OWNER": "payment-operations",
    "GATEWAY_URL": f"http://{HOST}:9",
    "GATEWAY_TIMEOUT_SECONDS": "10",
    "GATEWAY_CONCURRENCY": "100",
    "GATEWAY_RATE_LIMIT": "0",
    "GATEWAY_SECRET_ARN": "",
    "METRIC_NAMESPACE": "ConfirmTransactions",
    "BATCH_SIZE": "100",
    "POLL_SECONDS": "1",
    "STOP_SECONDS": "8",
    "METRICS_SECONDS": "15",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""Of a worker, as components/ would write it."""

FILL = """
INSERT INTO transactions (id, account, amount, currency)
SELECT $1 || n, 'account-' || n % 1000, n, 'USD' FROM generate_series(1, $2::int) n
"""


@dataclass
class Queue:
    """A server of our own with the program's schema."""

    postgres: Postgres
    connection: asyncpg.Connection
    folder: Path

    async def fill(self, count: int, prefix: str = "p-") -> None:
        """Empty the queue and put `count` due transactions into it, with nothing left to do in the background."""
        await self.connection.execute("TRUNCATE transactions, history")
        await self.connection.execute(FILL, prefix, count)
        await self.connection.execute("VACUUM ANALYZE transactions")
        await self.connection.execute("CHECKPOINT")

    async def settled(self) -> int:
        """How many are CONFIRMED; each must have its line in the history.

        Raises:
            LocalError: a promise was broken, so no figure counts.
        """
        confirmed, told = await self.connection.fetchrow(
            """
            SELECT (SELECT count(*) FROM transactions WHERE status = 'CONFIRMED'),
                   (SELECT count(*) FROM history WHERE now = 'CONFIRMED')
            """
        )
        if confirmed != told:
            raise LocalError(f"{confirmed:,} are confirmed and the history tells of {told:,}: the figures don't count.")
        return int(confirmed)

    @property
    def cpu(self) -> float:
        """Seconds of CPU that the server's living processes have spent so far."""
        pid = self.postgres.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return sum(map(cpu_seconds, map(int, children)))

    @contextmanager
    def worker(self, module: str, **changes: str) -> Iterator[Worker]:
        """A worker process, its log thrown away; killed at the end if it has not ended."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            **ENVIRONMENT,
            "DATABASE_HOST": HOST,
            "DATABASE_PORT": str(self.postgres.port),
            "DATABASE_NAME": DATABASE,
            "DATABASE_USER": USER,
            "HEARTBEAT_FILE": str(self.folder / "heartbeat"),
            **changes,
        }
        with child(module, environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            yield Worker(process)


@dataclass
class Worker:
    """One worker process."""

    process: subprocess.Popen[str]

    def say(self) -> None:
        """The word to begin."""
        cast(TextIO, self.process.stdin).write("\n")
        cast(TextIO, self.process.stdin).flush()

    def hear(self) -> dict[str, Any]:
        """Its next document (benchmarks/no_op.py).

        Raises:
            LocalError: it ended instead; says its last words.
        """
        line = cast(TextIO, self.process.stderr).readline()
        try:
            return dict(json.loads(line))
        except ValueError:
            rest = cast(TextIO, self.process.stderr).read() if self.process.poll() is not None else ""
            raise LocalError(f"A worker of the benchmark failed: {(line + rest).strip()[-500:]}") from None

    @property
    def cpu(self) -> float:
        """Seconds of CPU so far."""
        return cpu_seconds(self.process.pid)

    @property
    def megabytes(self) -> float:
        """Of memory that it holds now (RSS)."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2


@contextmanager
def child(module: str, environment: dict[str, str], **streams: int) -> Iterator[subprocess.Popen[str]]:
    """`python -m module` from the repository, terminated (then killed) at the end."""
    command = [sys.executable, "-m", module]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, text=True, **cast(Any, streams)
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                stream.close()


@contextmanager
def gateway() -> Iterator[int]:
    """A flat gateway of 50 ms in a process of its own (benchmarks/flat_gateway.py): its port."""
    with child("benchmarks.flat_gateway", dict(os.environ), stdout=subprocess.PIPE) as process:
        yield int(cast(TextIO, process.stdout).readline())


@contextmanager
def server(**settings: str) -> Iterator[tuple[Postgres, Path]]:
    """A PostgreSQL of our own, removed at the end."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        postgres = Postgres(folder / "postgres", settings={**SERVER, **settings})
        stack.callback(postgres.remove)
        yield postgres.start(), folder


async def open_queue(postgres: Postgres, folder: Path) -> Queue:
    """The program's schema on that server, and our own connection to it, as its master."""
    await migrate_and_let_in(DatabaseConfig(HOST, postgres.port, DATABASE, USER), MASTER, postgres.password)
    return Queue(postgres, await asyncpg.connect(postgres.url()), folder)


def cpu_seconds(pid: int) -> float:
    """Of CPU that a process has spent so far."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def now() -> float:
    """The wall clock: the one thing that processes here share."""
    return time.time()
