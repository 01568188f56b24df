"""The database as the service sees it: connections that prove who we are, and losses that are waited out."""

from __future__ import annotations

import asyncio
import ipaddress
import random
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, time
from typing import Any, TypeVar

import asyncpg

from workers.config import DatabaseConfig
from workers.domain.ports import Claimed, Clock, Move
from workers.domain.transaction import Transaction
from workers.stores.postgres import SESSION, PostgresStore
from workers.telemetry import Telemetry

T = TypeVar("T")
CA_FILE = Path("/app/rds-ca.pem")
"""Amazon's CAs for RDS, put into the image by workers/Dockerfile; system trust stores lack them."""
EPOCH = datetime.fromtimestamp(0, UTC)
CONNECT_SECONDS = 20.0  # Aurora resumes from a pause in about 15
COMMAND_SECONDS = 30.0
PLAN_SECONDS = 1.0
TOKEN_SECONDS = 14 * 60.0
"""How long a token is offered again: RDS takes it for 15 minutes."""
FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0  # seconds between tries, doubled and jittered

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


def iam_token(config: DatabaseConfig, client: Any) -> Callable[[], str]:
    """A password for each connection: an IAM token, good for 15 minutes, signed here without a call."""
    return lambda: str(client.generate_db_auth_token(DBHostname=config.host, Port=config.port, DBUsername=config.user))


class NotSigned(OSError):  # noqa: N818 - what happened
    """No token could be signed: the role's credentials were due, and nobody gave new ones. It passes by itself."""


@dataclass
class Passwords:
    """What each new connection logs in with.

    Signing is no call, but the credentials of the task's role are: they are fetched anew some minutes before they end,
    over HTTP with waits, for up to ten seconds. So it is done beside the loop, and while it fails the last token is
    good for the rest of its 15 minutes.
    """

    sign: Callable[[], str]
    _last: str = field(default="", repr=False)
    _signed_at: float = -TOKEN_SECONDS

    async def __call__(self) -> str:
        try:
            self._last, self._signed_at = await asyncio.to_thread(self.sign), monotonic()
        except Exception as error:
            if monotonic() - self._signed_at >= TOKEN_SECONDS:
                raise NotSigned(f"no token for the database: {type(error).__name__}") from error
        return self._last


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


@dataclass
class DatabaseClock:
    """The database's time, kept by this machine's monotonic clock: whoever sets the wall clock here changes nothing.

    It goes by the millisecond, as all that is stored does: several asks within one get the same object.
    """

    _ahead: float = field(default_factory=lambda: time() - monotonic())
    """Seconds that the database's clock is ahead of our monotonic one."""
    _ms: int = 0
    _now: datetime = EPOCH

    def now(self) -> datetime:
        ms = int((monotonic() + self._ahead) * 1000)
        if ms != self._ms:
            self._ms, self._now = ms, datetime.fromtimestamp(ms / 1000, UTC)
        return self._now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def synchronise(self, pool: asyncpg.Pool) -> None:
        """Ask the database for its time; the answer is as exact as half its way."""
        before = monotonic()
        theirs: datetime = await pool.fetchval("SELECT clock_timestamp()")
        self._ahead = theirs.timestamp() - (before + monotonic()) / 2


@dataclass
class Database:
    """The store behind its losses: every call is repeated until it gets through, and each loss is told once."""

    store: PostgresStore
    telemetry: Telemetry
    clock: Clock
    new_token: Callable[[], str]
    by: str
    patience: timedelta
    """How long a loss is borne; after it, whatever was held has long been taken over."""
    chance: random.Random = field(default_factory=random.SystemRandom)
    lost_at: datetime | None = None
    losses: int = 0
    _told: int = 0
    """Losses and their ends told so far."""

    async def claim(self, limit: int, *, sweep: bool = False, beside: bool = False, late: bool = False) -> Claimed:
        """As `PostgresStore.claim_next`; where an answer is lost, what it had sent to desks is in the history alone."""
        token = self.new_token()
        tried = False

        async def once() -> Claimed:
            nonlocal tried
            if tried and (held := await self.store.held(token)):
                return Claimed(held, [])  # the statement had got through, only its answer had not
            tried = True
            if sweep:
                self.store.sweep()
            return await self.store.claim_next(token=token, by=self.by, limit=limit, beside=beside, late=late)

        return await self._write(once)

    async def settle(self, moves: Sequence[Move]) -> list[bool]:
        return await self._write(lambda: self.store.settle(moves))

    async def extend(self, transactions: Sequence[Transaction]) -> list[Transaction]:
        return await self._write(lambda: self.store.extend(transactions))

    async def _write(self, call: Callable[[], Awaitable[T]]) -> T:
        """What shows that the database is back: after a failover the old writer still lets in and reads."""
        return await self.wait_out(call, writes=True)

    async def wait_out(self, call: Callable[[], Awaitable[T]], *, writes: bool = False) -> T:
        """`call`, again and again while the database is away.

        Connections die one after the other. So a try tells of a loss, or of its end, only if nothing was told since
        it began: an older connection that still answers, or fails late, says nothing about now.

        Raises:
            Exception: what `call` raised, if it does not pass by itself or has not for `patience`.
        """
        wait, gave_up_at = FIRST_WAIT, self.clock.now() + self.patience
        while True:
            told = self._told
            try:
                answer = await call()
            except LOST as error:
                await self.store.pool.expire_connections()  # a server that restarted knows none of them
                if told == self._told and self.lost_at is None:
                    self._lost(error)
                if self.clock.now() >= gave_up_at:
                    raise
                await self.clock.sleep(wait * (0.5 + self.chance.random() / 2))
                wait = min(wait * 2, LONGEST_WAIT)
            else:
                if writes and told == self._told and self.lost_at is not None:
                    self._back(self.lost_at)
                return answer

    def _lost(self, error: BaseException) -> None:
        self.lost_at = self.clock.now()
        self.losses += 1
        self._told += 1
        self.telemetry.event("database lost", self.lost_at, error=type(error).__name__, run=self.by)

    def _back(self, lost_at: datetime) -> None:
        now = self.clock.now()
        self.lost_at = None
        self._told += 1
        self.telemetry.event("database back", now, seconds=round((now - lost_at).total_seconds(), 1), run=self.by)


async def listen(pool: asyncpg.Pool, heard: Callable[[], None], database: Database) -> None:
    """Call `heard` at each announcement of new work, for ever, and after each connection lost and made anew."""
    while True:
        gone = asyncio.Event()

        async def connect(gone: asyncio.Event = gone) -> asyncpg.Connection:
            connection = await pool.acquire()
            try:
                connection.add_termination_listener(lambda _: gone.set())
                await connection.add_listener("transactions", lambda *_: heard())
            except LOST:
                connection.terminate()
                await _give_back(pool, connection)
                raise
            return connection

        connection = await database.wait_out(connect)
        try:
            heard()
            await gone.wait()
        finally:
            await asyncio.shield(_give_back(pool, connection))


async def _give_back(pool: asyncpg.Pool, connection: Any) -> None:
    try:
        await pool.release(connection, timeout=2)
    except LOST:
        return
