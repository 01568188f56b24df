"""Fixtures that more than one area of the tests uses."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest

from local.emulator import REGION, Emulator
from local.postgres import Postgres


def pytest_configure() -> None:
    """What we start must hear a Ctrl-C: whoever was started in a shell's background ignores it, and hands that on."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class AwsAccount:
    """An AWS account of one test module on the emulator: other modules see nothing of it."""

    endpoint_url: str
    id: str
    _emulator: Emulator

    def client(self, service: str, region: str = REGION) -> Any:
        """A boto3 client of this account."""
        return self._emulator.client(service, account=self.id, region=region)

    @property
    def environment(self) -> dict[str, str]:
        """For a process (or `monkeypatch.setenv`) that makes its own clients."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.id,
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
        }


@pytest.fixture(autouse=True)
def fresh_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3's default session keeps the credentials that it found first: another test's account."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """The AWS services, empty, once per test run: `.endpoint_url`, `.client(service, account=...)`.

    Use `aws` unless the default account is wanted: it is shared by all tests.
    """
    with Emulator(tmp_path_factory.mktemp("emulator"), persist=False, scheduler_speed=60) as running:
        yield running


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A PostgreSQL server, once per test run."""
    server = Postgres(tmp_path_factory.mktemp("postgres"))
    try:
        yield server.start()
    finally:
        server.remove()


@pytest.fixture(scope="module")
def aws(emulator: Emulator, request: pytest.FixtureRequest) -> AwsAccount:
    """An account of the emulator for this test module alone."""
    digest = int(hashlib.sha256(request.module.__name__.encode()).hexdigest(), 16)
    return AwsAccount(emulator.endpoint_url, str(10**11 + digest % (9 * 10**11)), emulator)
