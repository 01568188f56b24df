"""Connections to the database: encrypted, held on the index of the queue, and what it is to lose one."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import asyncpg

from workers.config import DatabaseConfig
from workers.stores.postgres import SESSION

CA_FILE = Path("/app/rds-ca.pem")
"""Amazon's CAs for RDS, put into the image by workers/Dockerfile; system trust stores lack them."""
CONNECT_SECONDS = 20.0  # Aurora resumes from a pause in about 15
COMMAND_SECONDS = 30.0
PLAN_SECONDS = 1.0


LOST = (
    OSError,
    asyncio.TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what asyncpg says when it finds its connection cut in the middle of a message
    asyncpg.CannotConnectNowError,  # starting up or shutting down
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.ReadOnlySQLTransactionError,  # the old writer, after a failover
    asyncpg.InvalidPasswordError,  # a token that was made just before a rotation or a clock's jump
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.QueryCanceledError,
)
"""What passes by itself: the statement is sent again, on a new connection. Each is safe to send twice."""


def is_here(host: str) -> bool:
    """Whether `host` is this very machine, the only place where TLS may be off."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def tls_of(host: str, ca_file: Path = CA_FILE) -> ssl.SSLContext | bool:
    """TLS with the server's name and certificate checked; none on this machine."""
    if is_here(host):
        return False
    return ssl.create_default_context(cafile=str(ca_file) if ca_file.exists() else None)


async def open_pool(
    config: DatabaseConfig, password: str | Callable[[], str | Awaitable[str]], *, size: int = 4, name: str = "confirm"
) -> asyncpg.Pool:
    """Connections held on the queue's index by their session's settings; made one by one as they are needed."""
    return await asyncpg.create_pool(
        host=config.host,
        port=config.port,
        database=config.name,
        user=config.user,
        password=password,
        ssl=tls_of(config.host),
        min_size=0,
        max_size=size,
        timeout=CONNECT_SECONDS,
        command_timeout=COMMAND_SECONDS,
        max_inactive_connection_lifetime=300,
        server_settings={**SESSION, "application_name": name},
        setup=FreshPlans(),
        reset=_leave_as_it_is,
    )


@dataclass
class FreshPlans:
    """A pool's `setup`: whatever a connection has planned is planned anew after a second.

    A plan is kept until the table's statistics change, which takes a minute or more. One made while the queue was empty
    goes through all of the table: after a burst of a million a settle of 100 took 0.6 s instead of 4 ms, a renewal of
    their leases 17 s instead of 4 ms (measured).
    """

    seconds: float = PLAN_SECONDS
    _planned_at: dict[int, float] = field(default_factory=dict)

    async def __call__(self, connection: Any) -> None:
        pid, now = connection.get_server_pid(), monotonic()
        if now - self._planned_at.setdefault(pid, now) >= self.seconds:
            self._planned_at[pid] = now
            await connection.execute("DISCARD PLANS")


async def _leave_as_it_is(_: object) -> None:
    """Between two statements a pool resets the session, a round trip each time: ours leave nothing to reset."""
