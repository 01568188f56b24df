"""What a demo needs of an alternative, and what comes out of one."""

from __future__ import annotations

import json
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from demo.picture import Mark, Sample
from demo.verdict import Verdict
from local.stack import LocalAws
from workers.domain.ports import Backlog
from workers.domain.transaction import Transaction


@dataclass
class Watch:
    """What was seen of the run, for the picture."""

    began: float = field(default_factory=time.time)
    samples: list[Sample] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return time.time() - self.began

    def mark(self, text: str) -> None:
        self.marks.append(Mark(self.seconds, text))


@dataclass(frozen=True)
class Outcome:
    """One alternative's demo, done."""

    alternative: str
    verdict: Verdict
    records: tuple[Transaction, ...]
    settled: tuple[float, ...]
    """When each became final, in seconds from the start."""
    latencies: tuple[float, ...]
    """From insert to final in a quiet hour, seconds."""
    picture: Path

    def rate(self, window: float = 5.0) -> float:
        """Final transactions a second, over the best window of that many seconds."""
        times, best, first = sorted(self.settled), 0, 0
        for last, end in enumerate(times):
            while times[first] < end - window:
                first += 1
            best = max(best, last - first + 1)
        return best / window


class Scenario(ABC):
    """One alternative on the local AWS, up and about to be put to the test."""

    alternative: ClassVar[str]
    about: ClassVar[str]
    starts: ClassVar[str]
    """What makes it run."""
    mischief: ClassVar[str]
    """What is done to it."""
    latency_note: ClassVar[str]
    better_for: ClassVar[str]
    """Who would choose this alternative."""
    pause: ClassVar[float]
    """Seconds between two looks."""

    def __init__(self, aws: LocalAws, outputs: dict[str, Any]) -> None:
        self.aws, self.outputs = aws, outputs
        self.quiet: list[Transaction] = []
        """What came in in the quiet hour."""

    @abstractmethod
    def backlog(self) -> Backlog: ...

    @abstractmethod
    def everything(self) -> list[Transaction]: ...

    @abstractmethod
    def tasks(self) -> int | None:
        """How many workers run; None where nobody counts them."""

    @abstractmethod
    def do_mischief(self, share: float, seconds: float) -> str | None:
        """What is due when `share` is final: done once, and said."""

    @abstractmethod
    def times(self) -> dict[str, float]:
        """Where the time went: seconds by the workers' own metrics."""

    @abstractmethod
    def add(self, transactions: Sequence[Transaction]) -> None: ...

    @abstractmethod
    def find(self, id_: str) -> Transaction | None: ...

    def close(self) -> None:  # noqa: B027 - most have nothing to let go of
        """Let go of what was opened."""

    def quiet_latencies(self, count: int) -> list[float]:
        """Seconds from insert to final for `count` transactions that come in one by one."""
        ask_gateway(self.aws, "/_faults", {"profile": "calm", "latency_seconds": [0.05, 0.05]})
        now = datetime.now(UTC)
        for n in range(count):
            record = Transaction(f"quiet-{n:02}", "quiet", 100, "USD", now, now + timedelta(hours=1))
            self.add([record])
            self.quiet.append(record)
            time.sleep(0.3)
        found: dict[str, float] = {}
        give_up = time.monotonic() + 60
        while len(found) < count and time.monotonic() < give_up:
            for id_ in (record.id for record in self.quiet):
                record_now = self.find(id_) if id_ not in found else None
                if record_now is not None and record_now.settled_at is not None:
                    found[id_] = (record_now.settled_at - record_now.history[0].at).total_seconds()
            time.sleep(0.2)
        return sorted(found.values())

    def metric_lines(self, group: str) -> list[dict[str, Any]]:
        """The metric lines (EMF) in a log group, stream by stream: the emulator cuts longer answers short."""
        logs = self.aws.client("logs")
        lines = []
        for page in logs.get_paginator("describe_log_streams").paginate(logGroupName=group):
            for stream in page["logStreams"]:
                events = logs.get_log_events(
                    logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True
                )["events"]
                lines += [json.loads(e["message"]) for e in events if '"_aws"' in e["message"]]
        return lines


def ask_gateway(
    aws: LocalAws, path: str, body: dict[str, Any] | None = None, headers: Mapping[str, str] | None = None
) -> Any:
    """Ask or tell the simulated gateway (its admin's paths begin with `/_`)."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{aws.gateway_url}{path}", data, dict(headers or {}))  # noqa: S310 - our own
    with opener.open(request, timeout=10) as answer:
        return json.load(answer)
