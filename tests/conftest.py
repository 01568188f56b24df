"""Fixtures that more than one area of the tests uses."""

from __future__ import annotations

import functools
import gc
import hashlib
import os
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import botocore.loaders
import botocore.session
import pytest
from hypothesis import HealthCheck, settings

from local.emulator import REGION, Emulator
from local.engine.cli import Finder
from local.postgres import Postgres

TESTS = Path(__file__).parent
RECORDINGS = "CONFIRM_RECORDINGS"
"""`KEPT` of analysis/graph.py, which takes a while to import."""
SERVERS = "CONFIRM_SERVERS"
"""A folder with the servers that somebody else runs, for many short test runs (tests/forked.py)."""
SIMULATED = pytest.StashKey[bool]()
"""Of a run in which the simulator's DynamoDB stands in for the emulator's (tests/mutants)."""

# The same examples in each run, however slow the machine is: what fails is the change's doing
settings.register_profile("steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")
GARBAGE = 20_000
"""New objects until the collector looks for garbage: a recorded stack is full of cycles, and the default of 700 takes
half of the time that it takes to record one."""
# AWS's descriptions of its services are read once in a process, not anew for each client (80 to 250 ms of work)
botocore.session.create_loader = functools.cache(botocore.loaders.create_loader)
SLOWEST = (
    "local/test_switching.py",
    "local/test_plain_cli.py",
    "extending/test_third.py",
    "service/test_service.py",
    "access/test_access.py",
    "local/test_stack.py",
    "pipeline/test_true_run.py",
    "service/test_point_in_time.py",
    "local/test_alarms.py",
    "local/test_database.py",
    "local/test_dynamic.py",
    "simulation/test_simulation.py",
    "variants/test_registry.py",
    "local/test_ecs_tasks.py",
    "console/test_browser.py",
    "cli/test_commands.py",
    "local/test_runbooks.py",
    "gateway/test_shares.py",
    "contract/test_dynamodb.py",
    "contract/test_evidence.py",
    "access/test_pipeline_roles.py",
    "simulation/test_explorer.py",
    "cli/test_rows.py",
    "local/test_overlays.py",
    "local/test_application_autoscaling.py",
)
"""Files that take long or wait, the longest first: the processes of a run would wait for the last of them.

`make test` hands out whole files, in this order (`--no-loadscope-reorder`): by itself xdist begins with the files that
have most tests.
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--replays", type=int, default=4, help="seeds that are played on the real datastores, too")


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those of SLOWEST first; what wants the Pulumi CLI is `deployed`."""
    for item in items:
        if "pulumi_cli" in getattr(item, "fixturenames", ()):
            item.add_marker("deployed")
    rank = {TESTS / name: place for place, name in enumerate(SLOWEST)}
    if missing := [str(path) for path in rank if not path.exists()]:
        raise pytest.UsageError(f"SLOWEST of tests/conftest.py names {', '.join(missing)}: no such file any more")
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


def pytest_collection_finish() -> None:
    """What is there now stays to the end, so the garbage collector need not look at it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE)


def pytest_configure(config: pytest.Config) -> None:
    # What we start must hear a Ctrl-C: whoever was started in a shell's background ignores it, and hands that on
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["LANGUAGE"] = "en"  # whatever this machine speaks
    if RECORDINGS not in os.environ:  # xdist's processes inherit it: each stack is recorded once in a run
        folder = tempfile.TemporaryDirectory(prefix="recordings-")
        os.environ[RECORDINGS] = folder.name
        config.add_cleanup(folder.cleanup)


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
    if SERVERS in os.environ:
        others = Emulator(tmp_path_factory.mktemp("emulator"), persist=False)
        others.endpoint_url = (Path(os.environ[SERVERS]) / "endpoint").read_text()
        yield others
        return
    with Emulator(tmp_path_factory.mktemp("emulator"), persist=False, scheduler_speed=60) as running:
        yield running


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A PostgreSQL server, once per test run. No test pulls the machine's plug, so it does not wait for the disk."""
    if SERVERS in os.environ:
        yield Postgres.running(Path(os.environ[SERVERS]) / "postgres")
        return
    server = Postgres(tmp_path_factory.mktemp("postgres"), settings={"fsync": "off"})
    try:
        yield server.start()
    finally:
        server.remove()


@pytest.fixture(scope="session")
def pulumi_cli() -> Path:
    """The Pulumi CLI: fetched or built, once for a user, before anything waits for what it does with a time limit."""
    return Finder().find()


@pytest.fixture(scope="module")
def aws(emulator: Emulator, request: pytest.FixtureRequest) -> AwsAccount:
    """An account of the emulator for this test module alone."""
    whose = request.module.__name__ + (str(os.getpid()) if SERVERS in os.environ else "")
    digest = int(hashlib.sha256(whose.encode()).hexdigest(), 16)
    return AwsAccount(emulator.endpoint_url, str(10**11 + digest % (9 * 10**11)), emulator)
