"""Each alternative at work once for all tests of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local.postgres import Postgres
from tests.conftest import AwsAccount
from tests.service.conftest import place_on, service_postgres, store_in
from tests.telemetry import worlds
from tests.telemetry.gateway import LeakyGateway
from tests.telemetry.worlds import World

__all__ = ["service_postgres"]


@pytest.fixture(scope="module")
def serverless(aws: AwsAccount, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    gateway = LeakyGateway()
    yield worlds.serverless(aws, gateway, tmp_path_factory.mktemp("serverless"))
    gateway.stop()


@pytest.fixture(scope="module")
def fargate(service_postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    gateway, folder = LeakyGateway(), tmp_path_factory.mktemp("fargate")
    with place_on(service_postgres, gateway.url, folder) as place, store_in(place) as store:
        yield worlds.fargate(place, service_postgres, store, gateway, folder)
    gateway.stop()


@pytest.fixture(scope="module", params=["serverless", "fargate"])
def world(request: pytest.FixtureRequest) -> World:
    made: World = request.getfixturevalue(request.param)
    return made
