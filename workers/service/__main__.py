"""`python -m workers.service`: the container's process. SIGTERM ends it in good order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import boto3
from botocore.config import Config

from workers import measures
from workers.clock import SystemClock
from workers.config import ServiceConfig, read_service
from workers.database.clock import DatabaseClock
from workers.database.connection import LOST, open_pool
from workers.database.listener import listen
from workers.database.login import Passwords, iam_token
from workers.database.source import RetryingSource
from workers.domain.confirming import Confirmer
from workers.domain.pause import Pause, from_json
from workers.domain.ports import Gateway
from workers.domain.transaction import Transaction, to_text
from workers.gateway.api_key import ApiKey
from workers.gateway.closed import ClosedGateway
from workers.gateway.limits import Limiter
from workers.gateway.shadow import gateway_of
from workers.migrations import check
from workers.service.identity import PATIENCE, Identity
from workers.service.stream import Stream, Totals
from workers.service.traces import SEND_EVERY, Traces
from workers.stores.postgres import PostgresCanaries, PostgresStore
from workers.stores.postgres_shares import PostgresShares
from workers.telemetry import Telemetry
from workers.watch import Watch, WatchedGateway, WatchedSource

CONNECTIONS = 6
"""For claims, two settles, reports, shares of the rate limit, and the ear for new work."""
CANARY_USER = "confirm_canary"
"""Of the database (workers/migrations/0005_canary.sql)."""
BEAT_SECONDS = 1.0
PAUSE = "SELECT version, document::text AS document FROM pause"
SAMPLE = 4
"""Of a batch so many are timed, whatever its size: this is the hot path."""
SYNCHRONISE_SECONDS = 30.0
"""Between two looks at the database's clock."""
SECRETS = Config(connect_timeout=2, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 2})
"""For a question that is asked again soon, and that a stop may have to wait for."""


@dataclass(frozen=True)
class Parts:
    """What a service is made of, beside its settings."""

    pool: asyncpg.Pool
    key: ApiKey
    telemetry: Telemetry
    by: str
    """Who is at work, for the history."""
    canary_pool: asyncpg.Pool | None = None
    """As the user that sends canaries: the workers' own may bring nothing in."""
    identity: Identity | None = None


class Service:
    """One worker process: the stream, and what goes on beside it."""

    def __init__(self, config: ServiceConfig, parts: Parts) -> None:
        pool, telemetry, by = parts.pool, parts.telemetry, parts.by
        self.config, self.pool, self.telemetry, self.by = config, pool, telemetry, by
        self.canaries = PostgresCanaries(parts.canary_pool) if parts.canary_pool else None
        self._identity, self._key = parts.identity, parts.key
        self.clock = DatabaseClock()
        self.limiter = Limiter(
            self.clock,
            config.gateway.rate_limit,
            PostgresShares(pool),
            stream=True,
            failed=lambda error: self._event("no shares", error=type(error).__name__),
        )
        self._gateway = gateway_of(config.gateway, config.policy, "", self.clock, self.limiter)
        self._closed, self._opened = ClosedGateway(), False
        self._stopping = asyncio.Event()
        self._troubles: set[str] = set()
        """What is in trouble beside the payments, told already."""
        self._finals: list[float] = []
        self.pause: Pause | None = None
        """What people have stopped, as of the last look."""
        self.store = PostgresStore(pool, config.policy)
        self.source = RetryingSource(
            self.store,
            telemetry,
            self.clock,
            lambda: secrets.token_hex(8),
            by,
            patience=config.policy.lease * 10,
        )
        self.watch = Watch(telemetry, self.clock, by, config.tracing.sampling)
        self.traces = Traces(config.tracing, self.watch, self.clock)
        self.stream = Stream(
            WatchedSource(self.source, self.watch),
            lambda: self._confirmer,
            batch=config.batch_size,
            callers=config.gateway.concurrency,
            poll=config.poll,
            report=self._report,
            stop_within=config.stop_within,
        )
        self._confirmer = self._make_confirmer()
        """Nothing is called before it is known whether there is a key; what no call helps any more waits for none."""

    async def run(self) -> None:
        """Until `stop`; everything that is held is settled or released then."""
        await self.source.wait_out(self._check_schema)
        await self.source.wait_out(lambda: self.clock.synchronise(self.pool))
        await self.source.wait_out(self._leave_shadow)
        await self.source.wait_out(self._follow_pause)
        await self._aside(self._follow_key)
        self._event("started", batch=self.config.batch_size, concurrency=self.config.gateway.concurrency)
        await self._aside(self._beat)
        minute = self.config.metrics_every.total_seconds()
        beside = [
            asyncio.create_task(self._keep_listening()),
            asyncio.create_task(self._keep(BEAT_SECONDS, self._beat)),
            asyncio.create_task(self._keep(BEAT_SECONDS, self._follow_key)),
            asyncio.create_task(self._keep(BEAT_SECONDS, self._renew)),
            asyncio.create_task(self._keep(BEAT_SECONDS, self._follow_pause)),
            asyncio.create_task(self._keep(SYNCHRONISE_SECONDS, self._synchronise)),
            asyncio.create_task(self._keep(minute, self._measure, self._send_canary)),
            asyncio.create_task(self._keep(minute, self._recall)),
            asyncio.create_task(self._keep(SEND_EVERY, self.traces.send)),
            asyncio.create_task(self._keep_mode()),
        ]
        stream = asyncio.create_task(self.stream.run(self._stopping))
        try:
            await asyncio.wait([stream, *beside], return_when=asyncio.FIRST_COMPLETED)
            for task in beside:
                if task.done():  # none of them ends by itself
                    task.result()
            await stream
        finally:
            for task in [stream, *beside]:
                task.cancel()
            await asyncio.gather(stream, *beside, return_exceptions=True)
            for last in (self._measure, self.traces.close, self.limiter.close, self._gateway.close):
                await self._aside(last)
            self._event("stopped", held=len(self.stream.held))

    def stop(self, reason: str) -> None:
        """Claim no more, end what was begun."""
        if not self._stopping.is_set():
            self._event("stopping", reason=reason, held=len(self.stream.held))
            self._stopping.set()

    # --- parts

    async def _check_schema(self) -> None:
        async with self.pool.acquire() as connection:
            await check(connection)

    async def _keep_mode(self) -> None:
        """At once and each minute. In shadow mode nothing that a record says of sending is believed, for others send,
        and what was restored was sent since. What waits on a desk is among it. A claim marks what it takes itself.

        Whoever sends looks whether a worker in shadow mode, which a deployment ends later, has left its note once more.
        """
        while True:
            if self.config.policy.only_ask:
                await self._aside(self._doubt)
            elif not self._stopping.is_set():  # one that ends may be followed by shadow mode, whose note must stay
                await self._aside(self._leave_shadow)
            await asyncio.sleep(self.config.metrics_every.total_seconds())

    async def _doubt(self) -> None:
        if marked := await self.store.enter_shadow():
            self._event("possibly sent by others", transactions=marked)

    async def _recall(self) -> None:
        if called := await self.store.recall():
            self._event("due too far ahead", transactions=called)
            self.stream.wake.set()

    async def _leave_shadow(self) -> None:
        known = self.store.policy.others_until
        if not self.config.policy.only_ask and (until := await self.store.leave_shadow()) and until != known:
            self._event("shadow mode left", until=to_text(until))

    def _make_confirmer(self) -> Confirmer:
        gateway: Gateway = self._gateway if self._opened else self._closed
        return Confirmer(
            self.store,
            WatchedGateway(gateway, self.watch),
            self.clock,
            random.Random(),  # noqa: S311 - jitter; from the system it would be a call to the kernel each time
            lambda: "",
            self.config.policy,
            self.by,
            self.stream.lease_of,
            lambda: self.pause,
        )

    async def _follow_key(self) -> None:
        """A rotated key is sent from then on; calls under way end with the old one. Seldom asks: the key is kept.

        With the first one the gateway opens, be it that there is none in the secret yet.
        """
        try:
            key = await asyncio.to_thread(self._key.current, SystemClock().now())
        except Exception:
            self._closed.silence.failed()
            raise
        self._gateway.use_key(key)
        if not self._opened:
            self._opened = True
            self._confirmer = self._make_confirmer()

    async def _follow_pause(self) -> None:
        """Each second; no notification, which could be lost. Without the database the last answer goes on to hold:
        nothing new can be claimed then."""
        row = await self.pool.fetchrow(PAUSE)
        pause = from_json(row["document"], row["version"]).pause
        if pause != self.pause:
            self.pause = pause
            self._event("paused" if pause else "resumed", **(pause.told() if pause else {}))
            self.stream.wake.set()

    async def _renew(self) -> None:
        """Take the worker's role again, long before it ends."""
        if self._identity:
            await asyncio.to_thread(self._identity.renew, SystemClock().now())

    async def _keep(self, seconds: float, *calls: Callable[[], Awaitable[None]]) -> None:
        """Makes the calls again and again. Each loop waits for its own calls alone: nothing may hold up the heart."""
        while True:
            await asyncio.sleep(seconds)
            for call in calls:
                await self._aside(call)

    async def _keep_listening(self) -> None:
        while True:
            await self._aside(self._listen)
            await asyncio.sleep(BEAT_SECONDS)  # meanwhile its poll finds what comes

    async def _listen(self) -> None:
        await listen(self.pool, self.stream.wake.set, self.source)

    async def _aside(self, call: Callable[[], Awaitable[None]]) -> None:
        """What goes on beside the payments ends none of them: its trouble is told once, until it is over.

        A lost database is told of by whoever works with it.
        """
        name = getattr(call, "__name__", "")
        try:
            await call()
        except LOST:
            return
        except Exception as error:
            if name not in self._troubles:
                self._troubles.add(name)
                self.telemetry.failed(error, self.clock.now(), run=self.by)
        else:
            self._troubles.discard(name)

    async def _beat(self) -> None:
        """The health check looks at the file's age: a loop that hangs beats no more."""
        try:
            Path(self.config.heartbeat_file).touch()
        except OSError as error:  # not one of LOST: nobody else tells of it
            raise RuntimeError(f"the heart cannot beat: {error.strerror}") from error

    async def _synchronise(self) -> None:
        await self.clock.synchronise(self.pool)

    async def _send_canary(self) -> None:
        """The canary's turn. Its trouble is told, and stops no payment: that it is silent raises the alarm."""
        if self.canaries is None or self.config.canary is None:
            return
        now = self.clock.now()
        try:
            told = await self.config.canary.beat(self.canaries, now)
        except Exception as error:
            self.telemetry.failed(error, now, run=self.by)
        else:
            if told:
                self.telemetry.metrics(told, now, run=self.by)

    async def _measure(self) -> None:
        backlog, desk = await self.store.backlog(), await self.store.desk()
        now, totals, calls = self.clock.now(), self.stream.totals, self._confirmer.gateway.seen()
        self.stream.totals = Totals()
        finals, self._finals = self._finals, []
        self.traces.next_run(**{name: count for name, count in asdict(totals.tally).items() if count})
        age = max((now - backlog.oldest_due_at).total_seconds(), 0) if backlog.oldest_due_at else 0
        done = asdict(totals.tally)
        settled = sum(done[name] for name in ("confirmed", "rejected", "retried", "review", "not_tried"))
        of_each = 1000 / settled if settled else 0
        self.telemetry.metrics(
            {
                "Backlog": (backlog.due, "Count"),
                "OldestPendingAge": (round(age, 3), "Seconds"),  # zeros too: scaling ends on them
                **measures.of_desk(desk, now, self.config.policy.review_within),
                **measures.of_pause(self.pause, now),
                **measures.of_tally(totals.tally),
                **measures.happened(
                    {
                        "DatabaseLosses": (self.source.losses, "Count"),
                        "ClaimMs": (round(totals.claim_seconds * of_each, 3), "Milliseconds"),
                        "ConfirmMs": (round(totals.call_seconds * of_each, 3), "Milliseconds"),
                        "SettleMs": (round(totals.settle_seconds * of_each, 3), "Milliseconds"),
                    }
                ),
                **measures.of_gateway(calls, ready=self._confirmer.gateway.ready()),
                **measures.of_finals(finals),
            },
            now,
            run=self.by,
        )
        measures.by_currency(self.telemetry, desk, now)
        measures.by_kind(self.telemetry, calls, now)
        self.source.losses = 0

    def _report(self, records: Sequence[Transaction]) -> None:
        self.telemetry.transactions(records, self.by)
        self._finals += measures.seconds_to_final(records, SAMPLE)

    def _event(self, name: str, **fields: object) -> None:
        self.telemetry.event(name, self.clock.now(), run=self.by, **fields)


@contextlib.asynccontextmanager
async def parts_of(config: ServiceConfig) -> AsyncIterator[Parts]:
    """The parts of a service, closed at the end."""
    session, identity = boto3.Session(), None
    telemetry = config.telemetry()
    by = f"{socket.gethostname()[:24]}-{os.getpid()}"
    if config.role:
        identity = Identity(config.role, session.client("sts", config=PATIENCE), by)
        await asyncio.to_thread(identity.renew, SystemClock().now())
        session = identity.session()
    passwords = Passwords(iam_token(config.database, session.client("rds")))
    pool = await open_pool(config.database, passwords, size=CONNECTIONS)
    key = ApiKey(session.client("secretsmanager", config=SECRETS), config.gateway.secret_arn, telemetry)
    canary_pool = await _canary_pool(config, session.client("rds"))
    try:
        yield Parts(pool, key, telemetry, by, canary_pool, identity)
    finally:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(pool.close(), 5)
        if canary_pool:
            canary_pool.terminate()


async def _canary_pool(config: ServiceConfig, client: Any) -> asyncpg.Pool | None:
    if config.canary is None:
        return None
    user = replace(config.database, user=CANARY_USER)
    return await open_pool(user, Passwords(iam_token(user, client)), size=1, name="confirm-canary")


async def run_until_stopped(service: Service) -> None:
    """Until SIGTERM or SIGINT, and then in good order to its end."""
    gc.freeze()  # what is loaded stays; and a stream of 100,000 small records a second makes no cycles worth a search
    gc.set_threshold(100_000, 20, 20)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.stop, signal.Signals(number).name)
    await service.run()


async def serve(config: ServiceConfig) -> None:
    async with parts_of(config) as parts:
        await run_until_stopped(Service(config, parts))


def main() -> None:
    """Exit code 0 after a stop in good order, 1 with a line that says why otherwise."""
    telemetry = Telemetry("", "", "fargate", "")
    telemetry.take_over_logging()
    try:
        asyncio.run(serve(read_service()))
    except Exception as error:
        telemetry.failed(error, SystemClock().now())
        sys.exit(1)


if __name__ == "__main__":
    main()
