"""Both alternatives on one emulator that enforces IAM."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from alternatives.stacks import CANARY
from analysis.graph import ACCOUNT, record
from local.emulator import REGION, Emulator
from local.overlay.access import LOG
from local.postgres import Postgres
from local.processes import HOST
from tests.access.alternatives import Fargate, Serverless
from tests.access.world import MASTER
from tests.service.conftest import place_on, service_postgres
from tests.telemetry.gateway import LeakyGateway

__all__ = ["service_postgres"]

KEY = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:gateway-key-1234567"
LOGIN = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:publisher-login-1234567"
DESK_LOGIN = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:desk-login-1234567"
SPEED = 60
"""A minute of the Scheduler lasts a second."""


@contextlib.contextmanager
def strict(folder: Path, postgres: Path | None = None) -> Iterator[tuple[Emulator, Path]]:
    """An emulator on which a role may do what its policies say, and its record. One for each stack: their names, as
    recorded, are partly the same."""
    log = folder / "checks.jsonl"
    environment = {LOG: str(log)}
    with Emulator(
        folder, persist=False, scheduler_speed=SPEED, enforce_iam=True, extra_environment=environment, postgres=postgres
    ) as running:
        yield running, log


@pytest.fixture(scope="session")
def gateway() -> Iterator[LeakyGateway]:
    made = LeakyGateway()
    yield made
    made.stop()


@pytest.fixture(scope="session")
def serverless(gateway: LeakyGateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serverless]:
    """The recorded stack, with nothing to do yet."""
    changes = {"GATEWAY_URL": gateway.url, "GATEWAY_TIMEOUT_SECONDS": "30"}
    canaries = {"CANARY_MINUTES": str(1 / 60), "CANARY_ACCOUNT": "test-account"}
    with strict(tmp_path_factory.mktemp("strict")) as (emulator, log):
        folder = tmp_path_factory.mktemp("operator")
        world = Serverless(
            emulator, record("serverless", **CANARY), log, changes | canaries, {KEY: "key-1"}, folder=folder
        )
        world.make()
        yield world


@pytest.fixture(scope="session")
def fargate(
    gateway: LeakyGateway, service_postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fargate]:
    """The recorded stack, without a task; the database is the tests' own."""
    user, password = service_postgres.url().split("//")[1].split("@")[0].split(":")
    secrets = {
        KEY: "key-1",
        MASTER: json.dumps({"username": user, "password": password}),
        LOGIN: "{}",
        DESK_LOGIN: "{}",
    }
    with (
        strict(tmp_path_factory.mktemp("strict"), postgres=tmp_path_factory.mktemp("cluster")) as (emulator, log),
        place_on(service_postgres, gateway.url, tmp_path_factory.mktemp("place")) as place,
    ):
        changes = {
            "GATEWAY_URL": gateway.url,
            "DATABASE_HOST": HOST,
            "DATABASE_PORT": str(service_postgres.port),
            "DATABASE_NAME": place.database,
        }
        world = Fargate(emulator, record("fargate", minTasks="0"), log, changes, secrets, place=place)
        world.make()
        yield world
