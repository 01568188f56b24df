"""The database's schema as plain numbered SQL: forward only, each file in one transaction, under an advisory lock.

Every migration must be safe while workers of the version before it run: add, don't change or drop what they use.
A file locks one of the tables: a worker that holds the other one, and wants this, would deadlock with it.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

LOCK = 5_019_276_342_911  # any number, as long as it is ours: the advisory lock of whoever migrates
WAIT_SECONDS = 120.0
"""For another one that migrates. PostgreSQL lets any login take an advisory lock, so whoever holds it may be no such
one, and may never let go."""
LOCK_SECONDS, LOCK_TRIES, LOCK_PAUSE = 2, 30, 2.0
"""How long a migration waits for a table, how often, and the seconds between, in which the workers go on."""
NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")


class SchemaError(Exception):
    """The schema is not the one that this version works with; says which it is and what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    number: int
    name: str
    sql: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations(folder: Path = Path(__file__).parent) -> list[Migration]:
    """All files in order.

    Raises:
        SchemaError: a name is odd, or the numbers have a gap or a double.
    """
    found = []
    for file in sorted(folder.glob("*.sql")):
        match = NAME.fullmatch(file.name)
        if not match:
            raise SchemaError(f"{file.name}: found this name, allowed NNNN_words.sql")
        found.append(Migration(int(match[1]), file.name, file.read_text()))
    if [m.number for m in found] != list(range(1, len(found) + 1)):
        raise SchemaError(f"migrations must be numbered 1, 2, ... without gaps, found {[m.number for m in found]}")
    return found


async def migrate(
    connection: asyncpg.Connection, wanted: Sequence[Migration] | None = None, *, wait: float = WAIT_SECONDS
) -> list[str]:
    """Bring the schema up to date; returns the names of what was applied. Several at once wait for each other, `wait`
    seconds at most.

    Raises:
        SchemaError: an applied file was changed afterwards, or somebody holds a table, or the lock, for too long. A
            database that is newer than this version is no error: migrations never break the version before, and that is
            the way back.
    """
    wanted = migrations() if wanted is None else wanted
    await _lock(connection, wait)
    try:
        await connection.execute(
            """
            CREATE TABLE IF NOT EXISTS schema_migrations (
                number     integer PRIMARY KEY,
                name       text NOT NULL,
                digest     text NOT NULL,
                applied_at timestamptz NOT NULL DEFAULT now()
            )
            """
        )
        applied = await _applied(connection)
        _compare(applied, wanted)
        done = []
        for migration in wanted[len(applied) :]:
            await _apply(connection, migration)
            done.append(migration.name)
        return done
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", LOCK)


async def _apply(connection: asyncpg.Connection, migration: Migration) -> None:
    """In one transaction. Waits for no lock for long: all workers would wait behind it, and stand still with it."""
    for left in reversed(range(LOCK_TRIES)):
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
                await connection.execute(migration.sql)
                await connection.execute(
                    "INSERT INTO schema_migrations (number, name, digest) VALUES ($1, $2, $3)",
                    migration.number,
                    migration.name,
                    migration.digest,
                )
            return
        except asyncpg.LockNotAvailableError:
            if not left:
                raise SchemaError(
                    f"{migration.name} got no lock on its table in {LOCK_TRIES} tries: somebody holds it in a "
                    "transaction that does not end; look for it in pg_stat_activity and end it, then run this again"
                ) from None
            await asyncio.sleep(LOCK_PAUSE)


async def _lock(connection: asyncpg.Connection, wait: float) -> None:
    await connection.execute(f"SET lock_timeout = '{wait * 1000:.0f}ms'")
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
    except asyncpg.LockNotAvailableError:
        held = await connection.fetchrow(_HOLDER, LOCK)
        who = f"{held['usename']} (pid {held['pid']}, {held['application_name'] or 'no name'})" if held else "somebody"
        end = f"SELECT pg_terminate_backend({held['pid']})" if held else "pg_terminate_backend(pid)"
        raise SchemaError(
            f"the lock of the migrations was held for {wait:g} s by {who}: nothing was done. Where that is another "
            f"deployment, wait for its end; else end that session ({end}). Then run the migrations again"
        ) from None
    finally:
        await connection.execute("RESET lock_timeout")


_HOLDER = """
SELECT a.pid, a.usename, a.application_name
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (l.classid::bigint << 32 | l.objid::bigint) = $1
"""


async def check(connection: asyncpg.Connection, wanted: Sequence[Migration] | None = None) -> None:
    """Whether a worker of this version may work here: the schema has all that it knows (more does no harm).

    Raises:
        SchemaError: it lacks something, or was never made.
    """
    wanted = migrations() if wanted is None else wanted
    if not await connection.fetchval("SELECT to_regclass('schema_migrations') IS NOT NULL"):
        raise SchemaError("the database has no schema yet: run the migrations (python -m workers.migrations) first")
    applied = await connection.fetchval("SELECT count(*) FROM schema_migrations")
    if applied < len(wanted):
        raise SchemaError(
            f"the schema is at {applied}, this worker needs {len(wanted)}: run the migrations "
            "(python -m workers.migrations) first"
        )


async def _applied(connection: asyncpg.Connection) -> list[tuple[str, str]]:
    rows = await connection.fetch("SELECT name, digest FROM schema_migrations ORDER BY number")
    return [(row["name"], row["digest"]) for row in rows]


def _compare(applied: Sequence[tuple[str, str]], wanted: Sequence[Migration]) -> None:
    for (name, digest), migration in zip(applied, wanted, strict=False):
        if (name, digest) != (migration.name, migration.digest):
            raise SchemaError(
                f"{migration.name} is not what was applied as {name}: never change a migration, add a new one"
            )
