"""Many short test runs, each in a process of its own that begins at once: a child of one that has loaded all but ours.

So what is broken in one run is whole in the next, and a run of a few tests takes as long as these tests. PostgreSQL and
the emulator run once for all of them.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import shlex
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import pytest

from local.emulator import Emulator
from local.postgres import Postgres
from tests.conftest import SERVERS

AT_ONCE = 2
FIRST = ("asyncpg", "boto3", "botocore.session", "hypothesis", "hypothesis.stateful", "xdist", "pytest_cov.plugin")
"""Loaded before the first child: packages of others, that take their time."""
CLIENTS = ("dynamodb",)
"""Whose models boto3 has read by then."""
FORK = get_context("fork")


@dataclass(frozen=True, slots=True)
class Job:
    """Something that a child does: `work` gives what is to be told, which goes through `pickle`."""

    name: str
    work: Callable[[Callable[[Any], None]], Any]
    """Called with a function that tells how far it has come, in case it never ends."""
    within: float = 120.0
    """Seconds; then the child is ended."""


@dataclass(frozen=True, slots=True)
class Done:
    job: Job
    answer: Any
    """None where there is none: it took too long, or died."""
    last: Any
    """What it told last on its way."""
    seconds: float
    error: str = ""


@dataclass
class Ran:
    """What became of a run of tests."""

    failed: list[str] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)
    error: str = ""
    """Why there was no run."""


@contextlib.contextmanager
def servers(*, needed: bool = True) -> Iterator[None]:
    """PostgreSQL and the emulator, for all children."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background ignores the first; both end what was begun
        signal.signal(number, signal.default_int_handler)
    if not needed:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="servers-") as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        for part in ("postgres", "emulator"):
            (folder / part).mkdir()
        postgres = Postgres(folder / "postgres", settings={"fsync": "off", "max_connections": "200"})
        try:
            postgres.start()
            with Emulator(folder / "emulator", persist=False, scheduler_speed=60) as emulator:
                (folder / "endpoint").write_text(emulator.endpoint_url)
                patch.setenv(SERVERS, str(folder))
                yield
        finally:
            postgres.remove()


def load() -> None:
    """All that every child needs, and nothing of ours that it may break."""
    for name in FIRST:
        importlib.import_module(name)
    import boto3

    for service in CLIENTS:
        boto3.client(service, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    boto3.DEFAULT_SESSION = None
    if ours := sorted(name for name in sys.modules if name.split(".")[0] in ("workers", "simulation", "cli")):
        raise RuntimeError(f"loaded before a child can break it: {', '.join(ours)}")


def children(jobs: Iterable[Job], at_once: int = AT_ONCE) -> Iterator[Done]:
    """Each in a process of its own, so many at once; as they end."""
    left = iter(jobs)
    running: dict[Connection, _Child] = {}
    more = True
    try:
        while more or running:
            while more and len(running) < at_once:
                if (job := next(left, None)) is None:
                    more = False
                    break
                child = _Child(job)
                running[child.ours] = child
            if not running:
                break
            soonest = min(child.ends for child in running.values())
            for ready in wait(list(running), timeout=max(0.0, soonest - time.monotonic())):
                if done := running[ready].hears():  # type: ignore[index] # a connection
                    del running[ready]  # type: ignore[arg-type]
                    yield done
            for late in [child for child in running.values() if time.monotonic() >= child.ends]:
                del running[late.ours]
                yield late.killed()
    finally:
        for child in running.values():
            child.killed()


class _Child:
    def __init__(self, job: Job) -> None:
        self.job = job
        self.ours, theirs = FORK.Pipe()
        self.process: ForkProcess = FORK.Process(target=_work, args=(job, theirs), daemon=True)
        self.began = time.monotonic()
        self.ends = self.began + job.within
        self.last: Any = None
        self.process.start()
        theirs.close()

    def hears(self) -> Done | None:
        """What it has told; the end of it, if it was that."""
        try:
            kind, said = self.ours.recv()
        except EOFError:
            return self._done(None, "it died")
        if kind == "last":
            self.last = said
            return None
        return self._done(said, "") if kind == "answer" else self._done(None, str(said))

    def killed(self) -> Done:
        self.process.kill()
        return self._done(None, f"not done within {self.job.within:.0f} s")

    def _done(self, answer: Any, error: str) -> Done:
        self.process.join(5)
        self.ours.close()
        return Done(self.job, answer, self.last, time.monotonic() - self.began, error)


def _work(job: Job, pipe: Connection) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    silent = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(silent, number)
    sys.stdout = sys.stderr = io.StringIO()
    try:
        pipe.send(("answer", job.work(lambda said: pipe.send(("last", said)))))
    except BaseException:
        pipe.send(("error", traceback.format_exc()))
    pipe.close()
    os._exit(0)


class Seen:
    """pytest's plugin: which tests fail."""

    def __init__(self, tell: Callable[[Any], None]) -> None:
        self.ran, self._tell = Ran(), tell

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._tell(Ran([*self.ran.failed], [], f"in {nodeid}"))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and report.nodeid not in self.ran.failed:
            self.ran.failed.append(report.nodeid)
        elif report.passed and report.when == "call":
            self.ran.passed.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.ran.error += str(report.longrepr)


def tests(arguments: str | Sequence[str], tell: Callable[[Any], None], *, most: int) -> Ran:
    """Runs them here, in the child, until `most` have failed."""
    given = shlex.split(arguments) if isinstance(arguments, str) else list(arguments)
    seen = Seen(tell)
    quiet = ["-q", "-p", "no:cacheprovider", "-p", "no:terminalreporter", "--maxfail", str(most), "--capture=no"]
    code = pytest.main([*given, *quiet], plugins=[seen])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED):
        seen.ran.error = seen.ran.error or f"pytest ended with {code!r}"
    return seen.ran
