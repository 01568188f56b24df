"""A database and a gateway for real worker processes."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from gateway_simulator import PROFILES, Ledger, SimulatedGateway
from local.postgres import Postgres
from local.processes import HOST
from tests.fakes import run
from tests.service.harness import Harness
from workers.config import DatabaseConfig
from workers.domain.policy import Policy
from workers.migrations.__main__ import run as migrate_and_let_in
from workers.stores.postgres import SESSION, PostgresStore


@pytest.fixture(scope="session")
def service_postgres(postgres: Postgres) -> Postgres:
    """The server, letting the service's role in without looking at its IAM token, as the local AWS does."""
    hba = postgres.data / "pg_hba.conf"
    line = f"host all confirm_service,confirm_canary {HOST}/32 trust\n"
    if line not in (text := hba.read_text()):
        hba.write_text(line + text)

    async def reload() -> None:
        connection = await asyncpg.connect(postgres.url())
        await connection.execute("SELECT pg_reload_conf()")
        await connection.close()

    run(reload())
    return postgres


class Gateway:
    """The simulated gateway in a thread of its own: a worker's silence must not silence it."""

    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger(folder / "ledger.jsonl")
        self.simulated = SimulatedGateway(self.ledger, profile=PROFILES["calm"])
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.url = asyncio.run_coroutine_threadsafe(self.simulated.serve(), self._loop).result(60)

    def behave(self, **changes: Any) -> None:
        self.simulated.profile = self.simulated.profile.changed(changes)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self.simulated.stop(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path)
    yield gateway
    gateway.stop()


@contextlib.contextmanager
def place_on(postgres: Postgres, gateway_url: str, folder: Path) -> Iterator[Harness]:
    """A migrated database of its own."""
    name, template = f"service_{uuid.uuid4().hex[:10]}", "service_template"

    async def make() -> None:
        connection = await asyncpg.connect(postgres.url(database="postgres"))
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", template):
            await connection.execute(f"CREATE DATABASE {template}")
            config = DatabaseConfig(HOST, postgres.port, template, "confirm_service")
            user, password = postgres.url().split("//")[1].split("@")[0].split(":")
            await migrate_and_let_in(config, user, password)
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE {template}')
        await connection.close()

    async def drop() -> None:
        connection = await asyncpg.connect(postgres.url(database="postgres"))
        await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await connection.close()

    run(make())
    yield Harness(postgres, name, gateway_url, folder)
    run(drop())


@pytest.fixture
def place(service_postgres: Postgres, gateway: Gateway, tmp_path: Path) -> Iterator[Harness]:
    with place_on(service_postgres, gateway.url, tmp_path) as made:
        yield made


@contextlib.contextmanager
def store_in(place: Harness) -> Iterator[PostgresStore]:
    """The tests' own way into the database."""

    async def connect() -> asyncpg.Pool:
        url = place.postgres.url(database=place.database)
        return await asyncpg.create_pool(url, min_size=0, max_size=3, server_settings=SESSION)

    pool = run(connect())
    yield PostgresStore(pool, Policy())
    run(pool.close())


@pytest.fixture
def store(place: Harness) -> Iterator[PostgresStore]:
    with store_in(place) as made:
        yield made
