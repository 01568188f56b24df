"""The database's own log, as the cluster's parameters have it: CloudWatch gets it, so no account may be in it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import asyncpg
import pytest

from components.aurora.datastore import CLUSTER_PARAMETERS, INSTANCE_PARAMETERS
from local.postgres import Postgres
from tests.cli.conftest import make_database
from tests.fakes import run

IBAN = "DE89370400440532013000"


@pytest.fixture
def logged(postgres: Postgres) -> Iterator[tuple[asyncpg.Connection, str]]:
    """A superuser at a database of its own with those parameters that a database can have, and its name."""
    url = run(make_database(postgres))
    name = url.rpartition("/")[2]
    master = run(asyncpg.connect(postgres.url()))
    for key, value in {**CLUSTER_PARAMETERS, **INSTANCE_PARAMETERS}.items():
        if key.startswith("log_"):
            run(master.execute(f"ALTER DATABASE {name} SET {key} = '{value}'"))
    run(master.close())
    connection = run(asyncpg.connect(url))
    yield connection, name
    run(connection.close())


def test_no_account_is_in_the_databases_own_log(postgres: Postgres, logged: tuple[asyncpg.Connection, str]) -> None:
    """Refused rows, wrong columns, slow statements, waits for a lock: as literals and as parameters."""
    connection, name = logged
    before = postgres.log.stat().st_size
    insert = "INSERT INTO transactions (id, account, amount, currency) VALUES "
    with pytest.raises(asyncpg.CheckViolationError):  # PostgreSQL shows the row that it refused
        run(connection.execute(f"{insert} ('p-1', '{IBAN}', -1, 'EUR')"))
    with pytest.raises(asyncpg.CheckViolationError):
        run(connection.execute(f"{insert} ('p-1', $1, -1, 'EUR')", IBAN))
    with pytest.raises(asyncpg.InvalidTextRepresentationError):  # and the value that is no number
        run(connection.execute(f"{insert} ('p-1', '1250', '{IBAN}', 'EUR')"))
    with pytest.raises(asyncpg.PostgresSyntaxError):
        run(connection.execute(f"INSRT '{IBAN}'"))
    run(connection.execute(f"{insert} ('p-1', '{IBAN}', 1, 'EUR')"))
    with pytest.raises(asyncpg.UniqueViolationError):
        run(connection.execute(f"{insert} ('p-1', '{IBAN}', 1, 'EUR')"))
    run(connection.execute(f"SELECT pg_sleep(1.01), '{IBAN}'"))  # the cluster's word for slow was a second
    run(connection.fetch("SELECT pg_sleep(1.01), $1::text", IBAN))
    _waited(postgres, name, f"UPDATE transactions SET reason = 'x' WHERE account = '{IBAN}'")
    mark = f"mark_{uuid.uuid4().hex[:8]}"
    run(connection.execute(f"CREATE TABLE {mark} ()"))
    with postgres.log.open("rb") as log:
        log.seek(before)
        said = log.read().decode(errors="replace")
    assert f"statement: CREATE TABLE {mark}" in said, "who changed what the tables look like is in it"
    assert "still waiting for ShareLock" in said, "and who waits for whom"
    lines = [line for line in said.splitlines() if IBAN in line]
    assert not lines


def _waited(postgres: Postgres, name: str, statement: str) -> None:
    """One that holds a row, and another that waits for it until PostgreSQL says so."""
    holder, waiting = (run(asyncpg.connect(postgres.url(database=name))) for _ in range(2))
    run(holder.execute(f"BEGIN; {statement}"))
    with pytest.raises(asyncpg.LockNotAvailableError):
        run(waiting.execute(f"SET deadlock_timeout = '10ms'; SET lock_timeout = '100ms'; {statement}"))
    run(holder.close())
    run(waiting.close())
