"""`python -m workers.migrations`: the one-off task that brings the schema up to date and lets the service's role in.

It comes as the cluster's master user, by the secret that RDS manages; the service itself never sees that.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from datetime import UTC, datetime

import asyncpg

from workers.config import ConfigError, DatabaseConfig, Values, database
from workers.migrations import migrate
from workers.service.database import LOST, tls_of
from workers.telemetry import Telemetry

TRIES = 30  # a new cluster's endpoint may take a minute to resolve
WAIT_SECONDS = 4.0


async def run(config: DatabaseConfig, user: str, password: str) -> list[str]:
    """Migrate, and let the service's role log in by IAM; returns what was applied.

    Raises:
        SchemaError: see `migrate`.
        OSError: the database could not be reached.
    """
    connection = await _connect(config, user, password)
    try:
        applied = await migrate(connection)
        await _let_in(connection, config.user)
        return applied
    finally:
        await connection.close()


async def _connect(config: DatabaseConfig, user: str, password: str) -> asyncpg.Connection:
    for left in reversed(range(TRIES)):
        try:
            return await asyncpg.connect(
                host=config.host,
                port=config.port,
                database=config.name,
                user=user,
                password=password,
                ssl=tls_of(config.host),
                timeout=20,
                server_settings={"application_name": "migrations"},
            )
        except LOST:
            if not left:
                raise
            await asyncio.sleep(WAIT_SECONDS)
    raise AssertionError("unreachable")


async def _let_in(connection: asyncpg.Connection, role: str) -> None:
    """The service's login role: a member of confirm_worker, and of rds_iam where there is one (Aurora)."""
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", role):
        raise ConfigError(f"DATABASE_SERVICE_USER: found {role!r}, allowed lower-case letters, digits and _")
    if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
        await connection.execute(f'CREATE ROLE "{role}" LOGIN')
    await connection.execute(f'GRANT confirm_worker TO "{role}"')
    if await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = 'rds_iam'"):
        await connection.execute(f'GRANT rds_iam TO "{role}"')


def _login(secret: str) -> tuple[str, str]:
    """User and password of RDS's secret."""
    try:
        login = json.loads(secret)
        return login["username"], login["password"]
    except (ValueError, KeyError, TypeError):  # none of their words: they quote the secret
        raise ConfigError("DATABASE_SECRET must be JSON with username and password") from None


def main() -> None:
    """Exit code 0 when the schema is up to date, 1 with a line that says why otherwise."""
    values = Values()
    telemetry = Telemetry("", "", "fargate", "")
    telemetry.take_over_logging()
    try:
        config = database(values, "DATABASE_SERVICE_USER")
        secret = values.text("DATABASE_SECRET")
        values.check()
        applied = asyncio.run(run(config, *_login(secret)))
    except Exception as error:
        telemetry.failed(error, datetime.now(UTC))
        sys.exit(1)
    telemetry.event("migrated", datetime.now(UTC), applied=applied)


if __name__ == "__main__":
    main()
