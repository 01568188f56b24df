"""`python -m workers.migrations`: the one-off task that brings the schema up to date and lets the others' roles in.

It comes as the cluster's master user, by the secret that RDS manages; nobody else ever sees that.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import secrets
import sys
from collections.abc import Callable
from datetime import UTC, datetime

import asyncpg
import boto3
from botocore.config import Config

from workers.config import ConfigError, DatabaseConfig, Values, database
from workers.database.connection import LOST, tls_of
from workers.migrations import migrate
from workers.telemetry import Telemetry

TRIES = 30  # a new cluster's endpoint may take a minute to resolve
WAIT_SECONDS = 4.0
PUBLISHER = "confirm_publisher"
"""The role that counts while no task runs (0007_publisher.sql)."""
DESK = "confirm_desk"
"""The role of the desk functions (0017_desk.sql)."""
Keep = Callable[[str], None]
SCRAM_ROUNDS = 4096  # PostgreSQL's own


async def run(
    config: DatabaseConfig, user: str, password: str, keep: Keep | None = None, keep_desk: Keep | None = None
) -> list[str]:
    """Migrate, and let the service's role log in by IAM; returns what was applied.

    `keep` takes the publisher's new login, as the Data API wants it, and `keep_desk` the desk's; None: there is none.

    Raises:
        SchemaError: see `migrate`.
        OSError: the database could not be reached.
    """
    connection = await _connect(config, user, password)
    try:
        applied = await migrate(connection)
        await _let_in(connection, config.user)
        await _let_function_in(connection, PUBLISHER, keep)
        await _let_function_in(connection, DESK, keep_desk)
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


async def _let_function_in(connection: asyncpg.Connection, role: str, keep: Keep | None) -> None:
    """A new password for it, or none at all. The server hears a proof of it alone: it logs statements."""
    if keep is None:
        await connection.execute(f"ALTER ROLE {role} NOLOGIN PASSWORD NULL")
        return
    password = secrets.token_urlsafe(32)
    await connection.execute(f"ALTER ROLE {role} LOGIN PASSWORD '{scram(password, secrets.token_bytes(16))}'")
    keep(json.dumps({"username": role, "password": password}))


def scram(password: str, salt: bytes) -> str:
    """What PostgreSQL keeps of an ASCII password (RFC 5802, 7677): who reads it cannot log in by it."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, SCRAM_ROUNDS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt64, stored64, server64 = (base64.b64encode(one).decode() for one in (salt, stored, server))
    return f"SCRAM-SHA-256${SCRAM_ROUNDS}:{salt64}${stored64}:{server64}"


def _keeper(secret_arn: str) -> Keep | None:
    """Lays a function's login into its secret; None where there is none."""
    if not secret_arn:
        return None

    def keep(login: str) -> None:
        config = Config(connect_timeout=5, read_timeout=10, retries={"mode": "standard", "max_attempts": 6})
        boto3.client("secretsmanager", config=config).put_secret_value(SecretId=secret_arn, SecretString=login)

    return keep


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
        secret, publisher = values.text("DATABASE_SECRET"), values.text("PUBLISHER_SECRET_ARN", "")
        desk = values.text("DESK_SECRET_ARN", "")
        values.check()
        applied = asyncio.run(run(config, *_login(secret), _keeper(publisher), _keeper(desk)))
    except Exception as error:
        telemetry.failed(error, datetime.now(UTC))
        sys.exit(1)
    telemetry.event("migrated", datetime.now(UTC), applied=applied)


if __name__ == "__main__":
    main()
