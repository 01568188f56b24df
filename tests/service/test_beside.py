"""What goes on beside the payments (heart, key, metrics, traces) ends none of them, however long it is in trouble."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import pytest

import workers.service.__main__ as module
from local.processes import HOST
from tests.fakes import run
from tests.service.conftest import Gateway
from tests.service.harness import ENVIRONMENT, Harness
from tests.service.test_service import add, once_each, statuses
from workers.config import ServiceConfig, read_service
from workers.database.connection import open_pool
from workers.gateway.api_key import ApiKey, KeyUnreadable
from workers.service.__main__ import Parts, Service
from workers.stores.postgres import PostgresStore


class Key:
    """An API key that does what a test says."""

    def __init__(self, value: str = "") -> None:
        self.value = value
        self.error: Exception | None = None
        self.asked, self.hangs, self.gate = 0, False, threading.Event()

    def current(self, now: datetime) -> str:
        self.asked += 1
        if self.hangs:
            assert self.gate.wait(120)
        if self.error:
            raise self.error
        return self.value


def config_of(place: Harness, **changes: str) -> ServiceConfig:
    return read_service(
        {
            **ENVIRONMENT,
            "GATEWAY_URL": place.gateway_url,
            "DATABASE_HOST": HOST,
            "DATABASE_PORT": str(place.postgres.port),
            "DATABASE_NAME": place.database,
            "DATABASE_USER": "confirm_service",
            "HEARTBEAT_FILE": str(place.folder / "heartbeat"),
            "METRICS_SECONDS": "0.05",
            **changes,
        }
    )


@asynccontextmanager
async def serving(config: ServiceConfig, key: Key) -> AsyncIterator[Service]:
    """A service in this process, stopped in good order at the end."""
    pool = await open_pool(config.database, "", size=5)
    service = Service(config, Parts(pool, cast(ApiKey, key), config.telemetry(), "w"))
    running = asyncio.create_task(service.run())
    try:
        yield service
        assert not running.done()
    finally:
        key.gate.set()
        service.stop("the test is over")
        await running
        await pool.close()


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(90):
        while not what():
            await asyncio.sleep(0.02)


async def confirmed(store: PostgresStore, count: int) -> None:
    async with asyncio.timeout(90):
        while await store.pool.fetchval("SELECT count(*) FROM transactions WHERE status = 'CONFIRMED'") < count:
            await asyncio.sleep(0.02)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BEAT_SECONDS", "SYNCHRONISE_SECONDS", "SEND_EVERY"):
        monkeypatch.setattr(module, name, 0.05)


def failures(capsys: pytest.CaptureFixture[str]) -> Counter[str]:
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return Counter(line["why"] for line in lines if line.get("event") == "failed")


def test_no_trouble_beside_ends_a_payment_and_each_is_told_once(
    place: Harness, store: PostgresStore, gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    key, counts = Key(), Counter[str]()

    def fails(name: str) -> Any:
        async def fail(*_: object) -> Any:
            counts[name] += 1
            raise ValueError(f"{name} is broken")

        return fail

    async def go() -> None:
        async with serving(config_of(place, HEARTBEAT_FILE=str(place.folder / "no" / "such")), key) as service:
            await until(lambda: key.asked > 0)
            key.error = RuntimeError("secrets are away")
            service.store.backlog = fails("backlog")  # type: ignore[method-assign]
            service.clock.synchronise = fails("clock")  # type: ignore[method-assign]
            service.traces.send = fails("traces")  # type: ignore[method-assign]
            service._listen = fails("ear")  # type: ignore[method-assign]
            await until(lambda: key.asked > 3 and counts["backlog"] > 2 and counts["clock"] > 2)
            await confirmed(store, 40)

    add(store, 40)
    run(go())
    once_each(gateway, store)
    told = failures(capsys)
    assert told["secrets are away"] == told["backlog is broken"] == told["clock is broken"] == 1
    assert sum("the heart cannot beat" in why for why in told.elements()) == 1


def test_the_heart_beats_while_the_key_and_the_database_are_silent(
    place: Harness, store: PostgresStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """The health check takes a silent heart for a dead worker: calls under way would end with it."""
    key, config = Key(), config_of(place)
    heart = Path(config.heartbeat_file)

    async def go() -> None:
        async with serving(config, key) as service:
            await until(heart.exists)
            key.hangs = True
            asked = key.asked

            silent: Any = lambda _: asyncio.sleep(3600)  # noqa: E731
            service.clock.synchronise = silent  # type: ignore[method-assign]
            await until(lambda: key.asked > asked)
            for _ in range(3):
                os.utime(heart, (0, 0))
                await until(lambda: heart.stat().st_mtime > 0)
            await confirmed(store, 20)

    add(store, 20)
    run(go())
    assert failures(capsys) == {}
    assert statuses(store) == {"CONFIRMED": 20}


def test_a_rotated_key_reaches_the_gateway_by_the_same_client(
    place: Harness, store: PostgresStore, gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    key = Key("first")
    gateway.simulated._api_key = "first"

    async def go() -> None:
        async with serving(config_of(place), key) as service:
            client = service._gateway
            await confirmed(store, 10)
            gateway.simulated._api_key = key.value = "second"
            await store.pool.execute(
                "INSERT INTO transactions (id, account, amount, currency) SELECT 'q-' || n, 'a', 5, 'USD'"
                " FROM generate_series(1, 10) n"
            )
            await confirmed(store, 20)
            assert service._gateway is client

    add(store, 10)
    run(go())
    once_each(gateway, store)
    capsys.readouterr()


def test_it_waits_for_its_first_key_and_claims_nothing_before(
    place: Harness, store: PostgresStore, capsys: pytest.CaptureFixture[str]
) -> None:
    key = Key()
    key.error = KeyUnreadable("the gateway's key could not be read")

    async def go() -> None:
        async with serving(config_of(place), key):
            await until(lambda: key.asked > 4)
            assert Path(config_of(place).heartbeat_file).exists()
            assert await store.pool.fetchval("SELECT count(*) FROM transactions WHERE status = 'PENDING'") == 10
            key.error = None
            await confirmed(store, 10)

    add(store, 10)
    run(go())
    assert failures(capsys) == {"the gateway's key could not be read": 1}
    assert statuses(store) == {"CONFIRMED": 10}


def test_what_is_late_reaches_a_desk_though_there_was_never_a_key(
    place: Harness, store: PostgresStore, gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    """Secrets Manager is away when a worker begins: its deadlines hold all the same."""
    key = Key()
    key.error = KeyUnreadable("the gateway's key could not be read")

    async def go() -> None:
        async with serving(config_of(place), key):
            async with asyncio.timeout(90):
                while await store.pool.fetchval("SELECT count(*) FROM transactions WHERE status = 'REVIEW'") < 10:
                    await asyncio.sleep(0.02)
            await until(lambda: key.asked > 4)

    add(store, 12)
    run(store.pool.execute("UPDATE transactions SET deadline = now() - interval '1 hour' WHERE id NOT IN"
                           " (SELECT id FROM transactions ORDER BY id LIMIT 2)"))  # fmt: skip
    run(go())
    assert failures(capsys) == {"the gateway's key could not be read": 1}
    assert statuses(store) == {"REVIEW": 10, "PENDING": 2}
    once_each(gateway, store)


def test_a_key_that_is_unreadable_for_a_moment_ends_nothing_that_may_have_been_sent(
    place: Harness, store: PostgresStore, gateway: Gateway
) -> None:
    """Workers that were away for an hour begin again, and Secrets Manager turns their first question away."""
    key = Key()
    key.error = KeyUnreadable("the gateway's key could not be read")

    async def go() -> None:
        async with serving(config_of(place), key):
            await until(lambda: key.asked > 1)
            key.error = None
            await until(lambda: gateway.ledger.stats()["answers"].get("ask not_found", 0) >= 20)

    add(store, 20)
    run(store.pool.execute("UPDATE transactions SET deadline = now() - interval '1 hour', first_sent_at = created_at,"
                           " last_sent_at = created_at"))  # fmt: skip
    run(go())
    assert gateway.ledger.stats()["answers"]["ask not_found"] >= 20, "each was asked about"


def test_a_turn_too_far_ahead_is_called_forward_and_told(
    place: Harness, store: PostgresStore, gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    """The database's clock was wrong for a while: nothing waits for the year that it showed."""

    async def go() -> None:
        async with serving(config_of(place), Key()):
            await confirmed(store, 3)

    add(store, 3)
    run(store.pool.execute("UPDATE transactions SET due_at = '9998-01-01'"))
    run(go())
    once_each(gateway, store)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["transactions"] for line in lines if line.get("event") == "due too far ahead"] == [3]
