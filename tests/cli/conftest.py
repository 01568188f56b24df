"""The command `confirm` on a desk in memory: run as a user runs it, by its entry point."""

from __future__ import annotations

import io
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from cli import main, target
from cli.target import Desk, InState, Run, Target
from tests.fakes import START, FakeClock
from workers.domain.policy import Policy
from workers.domain.transaction import Status
from workers.stores.memory import MemoryStore

TARGET = Target("serverless", "dev", "us-east-1", "table", "pending", 3, "arn", Policy(max_attempts=2))
IDLE = Run("idle", "SUCCEEDED", START, START + timedelta(seconds=1), {})
BUSY = Run(
    "busy", "SUCCEEDED", START - timedelta(minutes=5), START - timedelta(minutes=4), {"confirmed": 590, "rejected": 10}
)


@dataclass
class FakeRuns:
    newest: Run | None = IDLE
    busy: Run | None = BUSY

    async def last(self) -> Run | None:
        return self.newest

    async def last_with_work(self) -> Run | None:
        return self.busy


@dataclass
class MemoryCensus:
    store: MemoryStore

    async def tally(self) -> Mapping[Status, InState]:
        records = self.store.records.values()
        amounts = {status: Counter[str]() for status in Status}
        for record in records:
            amounts[record.status][record.currency] += record.amount
        return {s: InState(sum(r.status is s for r in records), dict(amounts[s])) for s in Status}

    async def some_ids(self) -> list[str]:
        return list(self.store.records)


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


@dataclass
class Cli:
    """Runs `confirm ARGUMENTS` and gives its exit code and what it printed."""

    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    store: MemoryStore
    clock: FakeClock
    runs: FakeRuns
    printed: list[str] = field(default_factory=list)
    """All that was ever printed."""

    def __call__(self, *arguments: str, stdin: bytes = b"") -> Result:
        with self.monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            with pytest.raises(SystemExit) as end:
                main.run(arguments)
        captured = self.capsys.readouterr()
        self.printed += [captured.out, captured.err]
        code = end.value.code
        assert isinstance(code, int)
        return Result(int(code), captured.out, captured.err)


@pytest.fixture
def confirm(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    clock = FakeClock()
    cli = Cli(capsys, monkeypatch, MemoryStore(clock, TARGET.policy), clock, FakeRuns())
    monkeypatch.setattr(target, "find", lambda stack: TARGET)
    monkeypatch.setattr(target, "open_desk", lambda _: Desk(TARGET, cli.store, cli.runs, MemoryCensus(cli.store)))
    monkeypatch.setattr(main, "_now", clock.now)
    return cli


Confirm = Callable[..., Result]
