"""The desk on PostgreSQL: store, a service's last work, and census, and the database's errors in words.

Who comes is CONFIRM_DATABASE_URL where it is set; else the role CONFIRM_DATABASE_USER (or `confirm_viewer`, and for an
import `confirm_operator`), with an IAM token that boto3 signs by the operator's own AWS credentials.
"""

from __future__ import annotations

import re
import ssl
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import asyncpg

from cli.desk import Desk, Entry, InState, Run, Target
from cli.exits import Exit, Trouble
from cli.orders import DeskCalls
from workers.config import DatabaseConfig
from workers.database.connection import CONNECT_SECONDS, is_here, tls_of
from workers.database.login import iam_token
from workers.domain.causes import UNTRIED
from workers.domain.transaction import Status
from workers.stores.postgres import SESSION, PostgresCanaries, PostgresStore
from workers.stores.postgres_desk import Asks, PostgresDesk
from workers.stores.postgres_find import PostgresFinder
from workers.stores.postgres_find import asking as looking

VIEWER = "confirm_viewer"
"""The database's role for this command (workers/migrations/0017_desk.sql) ..."""
OPERATOR = "confirm_operator"
"""... and for an import (workers/migrations/0003_operator.sql)."""
CANARY_USER = "confirm_canary"
"""The database's role for canaries (workers/migrations/0005_canary.sql)."""
CONNECTIONS = 4
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)")
COMMAND_SECONDS = 30.0
CENSUS_SECONDS = 900.0
"""A walk through a big table takes its time."""
SAMPLE_IDS = 20_000
"""What the search for a similar id may read."""
ENTRIES = 10_000
"""Rows per statement of a walk through all."""
LATELY = timedelta(minutes=5)
"""Of the newest change: what counts as the service's last stretch of work."""
WORKING = timedelta(minutes=1)
"""A service that changed nothing for so long is idle."""
TAIL_PAGES = 2_048
"""Of 8 KB: the end of the history, some 100,000 changes."""


@dataclass(frozen=True, slots=True)
class DatabaseAccess:
    """The way to a database, and as whom to come."""

    served: ClassVar[bool] = True

    host: str
    port: int
    name: str
    user: str
    """Logs in by IAM."""
    url: str | None = field(default=None, repr=False)
    """Takes the place of all of these; holds a password."""
    ca_file: str | None = None
    """The CAs to trust; None for the system's."""
    importer: str = OPERATOR
    """As whom transactions are brought in."""

    @property
    def login(self) -> str:
        """Who comes, for people."""
        return "the user of CONFIRM_DATABASE_URL" if self.url else self.user

    def open(self, target: Target) -> AbstractAsyncContextManager[Desk]:
        return open_postgres(target, self)

    def as_canary(self) -> DatabaseAccess:
        return replace(self, user=CANARY_USER)

    def as_importer(self) -> DatabaseAccess:
        return replace(self, user=self.importer)

    def explained(self, error: Exception, target: Target) -> Trouble:
        """The database's own are in words already; what is left is AWS's, of the token."""
        from cli import aws_errors  # only here: with a URL no AWS is needed

        return aws_errors.explained(error, target)


@asynccontextmanager
async def open_postgres(target: Target, database: DatabaseAccess) -> AsyncIterator[Desk]:
    """Connects when it is needed; closed at the end, in the loop that it was opened in."""
    async with asyncpg.create_pool(
        **_login(target, database),
        min_size=0,
        max_size=CONNECTIONS,
        timeout=CONNECT_SECONDS,
        command_timeout=COMMAND_SECONDS,
        server_settings={**SESSION, "application_name": "confirm"},
    ) as pool:
        told = _Told(pool, lambda error: explained(error, target, database))
        store, canaries = PostgresStore(told, target.policy), PostgresCanaries(told)
        requests = PostgresDesk(asking(told))
        finder, calls = PostgresFinder(told.look), DeskCalls(target)
        yield Desk(target, store, HistoryRuns(told), DatabaseCensus(told), canaries, requests, calls, finder)


def asking(pool: _Told | asyncpg.Pool) -> Asks:
    """Statements whose parameters are texts, on a connection."""

    async def ask(statement: str, **texts: str) -> list[str]:
        names = list(dict.fromkeys(_PARAMETER.findall(statement)))
        numbered = _PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}::text", statement)
        return [row[0] for row in await pool.fetch(numbered, *(texts[name] for name in names))]

    return ask


def _login(target: Target, database: DatabaseAccess) -> dict[str, Any]:
    """Address, user and proof, for asyncpg. TLS checks name and certificate everywhere but on this machine.

    Raises:
        Trouble: CONFIRM_DATABASE_URL or CONFIRM_DATABASE_CA is none.
    """
    if database.url is None:
        return {
            "host": database.host,
            "port": database.port,
            "database": database.name,
            "user": database.user,
            "password": _token(target, database),
            "ssl": _tls(database.host, database),
        }
    try:
        url = urlsplit(database.url)
        if url.scheme not in ("postgresql", "postgres") or not url.hostname:
            raise ValueError
        url.port  # noqa: B018 - raises ValueError for a port that is none
    except ValueError:
        raise Trouble(
            "CONFIRM_DATABASE_URL is no address of a database",
            "write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, or unset it to log in by IAM",
            Exit.USAGE,
        ) from None
    return {"dsn": database.url, "ssl": _tls(url.hostname, database)}


def _token(target: Target, database: DatabaseAccess) -> Callable[[], str]:
    """Makes a fresh IAM token for each connection; signed here, without a call."""

    def token() -> str:
        import boto3  # only here: with a URL no AWS is needed

        client = boto3.client("rds", region_name=target.region)
        return iam_token(DatabaseConfig(database.host, database.port, database.name, database.user), client)()

    return token


def _tls(host: str, database: DatabaseAccess) -> ssl.SSLContext | bool:
    if database.ca_file is None:
        return tls_of(host)
    try:
        return tls_of(host) if is_here(host) else tls_of(host, Path(database.ca_file).resolve(strict=True))
    except (OSError, ssl.SSLError):
        raise Trouble(
            f"{database.ca_file} (CONFIRM_DATABASE_CA) holds no certificates",
            "name the file of Amazon's CAs for RDS (global-bundle.pem)",
            Exit.USAGE,
        ) from None


@dataclass(frozen=True, slots=True)
class _Told:
    """A pool whose errors say what to do. All that the store and the rest here need of one."""

    pool: asyncpg.Pool
    explain: Callable[[Exception], Trouble]

    async def execute(self, query: str, *arguments: Any) -> Any:
        return await self._tell(self.pool.execute(query, *arguments))

    async def fetch(self, query: str, *arguments: Any, timeout: float | None = None) -> Any:
        return await self._tell(self.pool.fetch(query, *arguments, **_within(timeout)))

    async def fetchrow(self, query: str, *arguments: Any, timeout: float | None = None) -> Any:
        return await self._tell(self.pool.fetchrow(query, *arguments, **_within(timeout)))

    async def fetchval(self, query: str, *arguments: Any, timeout: float | None = None) -> Any:
        return await self._tell(self.pool.fetchval(query, *arguments, **_within(timeout)))

    async def look(self, query: str, *arguments: Any, timeout: float, by_index: bool) -> Any:
        """As the finder asks (workers/stores/postgres_find.py)."""
        return await self._tell(looking(self.pool)(query, *arguments, timeout=timeout, by_index=by_index))

    async def _tell(self, call: Any) -> Any:
        try:
            return await call
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise self.explain(error) from error


def _within(timeout: float | None) -> dict[str, float]:
    """Seconds for one call, where COMMAND_SECONDS are not what is wanted."""
    return {} if timeout is None else {"timeout": timeout}


@dataclass(frozen=True, slots=True)
class HistoryRuns:
    """What the service did lately. It has no runs, so its last stretch of work stands for one.

    The history has no index by time, which each settle would have to pay for. It only ever grows, so its newest lines
    are at the end of the table, and only that end is read. Lines of before there were causes count as tried.
    """

    pool: _Told

    async def last(self) -> Run | None:
        pages = await self.pool.fetchval("SELECT pg_relation_size('history') / current_setting('block_size')::bigint")
        row = await self.pool.fetchrow(_LATELY, (max(pages - TAIL_PAGES, 0), 0), LATELY, WORKING, list(UNTRIED))
        if row["began"] is None:
            return None
        names = ("confirmed", "rejected", "retried", "review", "not_tried")
        status = "WORKING" if row["working"] else "IDLE"
        return Run("service", status, row["began"], row["ended"], {name: row[name] for name in names})

    async def last_with_work(self) -> Run | None:
        return await self.last()


_LATELY = """
WITH tail AS (
    SELECT at, now, coalesce(cause = ANY ($4::text[]), false) AS untried
    FROM history h
    WHERE ctid >= $1::tid
      AND was = 'PROCESSING'
      AND (NOT is_canary_id(transaction_id) OR (SELECT true FROM payments p WHERE p.id = transaction_id))
), newest AS (
    SELECT max(at) AS at FROM tail
)
SELECT min(tail.at) AS began, max(tail.at) AS ended, max(tail.at) > now() - $3::interval AS working,
       count(*) FILTER (WHERE now = 'CONFIRMED') AS confirmed,
       count(*) FILTER (WHERE now = 'REJECTED') AS rejected,
       count(*) FILTER (WHERE now = 'PENDING' AND NOT untried) AS retried,
       count(*) FILTER (WHERE now = 'REVIEW') AS review,
       count(*) FILTER (WHERE now = 'PENDING' AND untried) AS not_tried
FROM tail, newest
WHERE tail.at >= newest.at - $2::interval
"""


@dataclass(frozen=True, slots=True)
class DatabaseCensus:
    """Walks through the table."""

    pool: _Told

    async def tally(self) -> Mapping[Status, InState]:
        rows = await self.pool.fetch(
            "SELECT status, currency, count(*) AS count, sum(amount) AS amount FROM payments GROUP BY 1, 2",
            timeout=CENSUS_SECONDS,
        )
        counts: Counter[Status] = Counter()
        amounts: defaultdict[Status, dict[str, int]] = defaultdict(dict)
        for row in rows:
            status = Status(row["status"])
            counts[status] += row["count"]
            amounts[status][row["currency"]] = int(row["amount"])
        return {status: InState(counts[status], dict(amounts[status])) for status in Status}

    async def entries(self) -> AsyncIterator[Entry]:
        last = ""
        while rows := await self.pool.fetch(_ENTRIES, last, ENTRIES):
            for row in rows:
                yield Entry(
                    row["id"], Status(row["status"]), row["amount"], row["currency"], row["settled_at"], row["readable"]
                )
            last = rows[-1]["id"]

    async def some_ids(self) -> list[str]:
        return [row["id"] for row in await self.pool.fetch("SELECT id FROM transactions LIMIT $1", SAMPLE_IDS)]


_ENTRIES = """
SELECT id, status, coalesce(moved, amount) AS amount, coalesce(moved_currency, currency) AS currency,
       CASE WHEN readable THEN settled_at END AS settled_at, readable
FROM transactions,
     -- infinity, or a year that Python does not have, would end the walk for all
     LATERAL (SELECT coalesce(settled_at BETWEEN '0001-01-02Z' AND '9998-12-31Z', true) AS readable) one
WHERE id > $1 ORDER BY id LIMIT $2
"""


def explained(error: Exception, target: Target, database: DatabaseAccess) -> Trouble:
    """An error of the database as one line that says what to do; it never holds a password."""
    where = f"the database of {target}"
    match error:
        case ssl.SSLError():
            return Trouble(
                f"{where} could not prove who it is ({type(error).__name__})",
                "name the file of Amazon's CAs for RDS (global-bundle.pem) in CONFIRM_DATABASE_CA",
                Exit.NO_ACCESS,
            )
        case asyncpg.InvalidAuthorizationSpecificationError():  # a wrong password is one too
            return Trouble(
                f"{where} refused the login of {database.login}",
                "sign in to AWS again; IAM must allow you rds-db:connect as that user, which needs the role rds_iam",
                Exit.NO_ACCESS,
            )
        case asyncpg.InsufficientPrivilegeError():
            return Trouble(
                f"{database.login} may not do this in {where}",
                "come as a member of confirm_viewer, and to import of confirm_operator (CONFIRM_DATABASE_USER)",
                Exit.NO_ACCESS,
            )
        case (
            asyncpg.InvalidCatalogNameError()
            | asyncpg.UndefinedTableError()
            | asyncpg.UndefinedColumnError()
            | asyncpg.UndefinedFunctionError()
        ):
            return Trouble(
                f"{where} has not the schema that this version works with",
                f"bring it up again with `pulumi up --stack {target.stack}`, which migrates it",
                Exit.NO_ACCESS,
            )
        case asyncpg.ReadOnlySQLTransactionError():
            return Trouble(f"{where} is read-only, as during a failover", "try again in a minute")
        case asyncpg.DataError() | asyncpg.IntegrityConstraintViolationError():
            return Trouble(
                f"{where} refused a row ({type(error).__name__})",
                "report it: rows are checked before they are sent",
            )
        case OSError() | TimeoutError() | asyncpg.InterfaceError() | asyncpg.PostgresConnectionError():
            fix = "see whether it runs, and whether this machine may reach it (VPN, security group)"
            if target.endpoint:
                fix = "start it with `make up` or `make shell`, and run this inside `make shell`"
            return Trouble(f"{where} does not answer ({type(error).__name__})", fix, Exit.NO_ACCESS)
    return Trouble(f"{where} failed ({type(error).__name__})", "try again in a minute")
