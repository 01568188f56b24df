"""What the attacks need of an alternative: its workers as processes, what each of them holds, and ways to hurt them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import ClassVar

from chaos.proxy import Proxy
from chaos.stage import Config
from chaos.takeover import Hold, Outage, Takeover
from demo.scenario import Scenario
from local.stack import LocalAws
from workers.domain.transaction import Transaction

BEYOND_SECONDS = 1.5
"""A worker stands still for so much longer than its lease."""


class Kind(StrEnum):
    """What may be done to a run."""

    KILL = "SIGKILL"
    PAUSE = "SIGSTOP beyond the lease"
    CUT = "connection cut at a commit"
    TERM = "SIGTERM"
    CRASH = "database restarted"
    RESTART = "emulator restarted"
    ROLL = "service rolled"


@dataclass
class Struck:
    """What was done, and what came of it."""

    counts: Counter[str] = field(default_factory=Counter)
    leases: dict[Hold, datetime] = field(default_factory=dict)
    """What killed workers held, with the end of its lease, where it can be known."""
    in_hand: int = 0
    """Transactions that killed workers held, where it can be known."""
    outages: list[Outage] = field(default_factory=list)
    """When the datastore, or all workers, were away."""
    stops: list[float] = field(default_factory=list)
    """Seconds from a SIGTERM until nothing was held any more."""


class Front(ABC):
    """One alternative under attack. `strike` and `tick` return at once, mostly."""

    alternative: ClassVar[str]
    config: ClassVar[Config]
    """Of the stack, beside what every local one has."""
    speed: ClassVar[float]
    kinds: ClassVar[frozenset[Kind]]
    lease: ClassVar[timedelta]
    apart: ClassVar[timedelta]
    """How far the clocks may be apart that date a history's lines."""
    ahead: ClassVar[int]
    """Transactions that may be open: enough for each worker to hold some, and for the last kill to find work."""
    promise_seconds: ClassVar[float]
    """How long after a lease's end 99 % must have been taken over."""

    def __init__(self, aws: LocalAws, scenario: Scenario) -> None:
        self.aws, self.scenario = aws, scenario
        self.proxy = self.make_proxy().start()
        self.struck = Struck()
        self.spared: set[int] = set()
        """Processes that no signal is sent to: they are watched."""
        self._paused: dict[int, float] = {}

    @abstractmethod
    def make_proxy(self) -> Proxy:
        """Before the datastore."""

    @abstractmethod
    def lead_through_proxy(self) -> None:
        """From now on the workers reach their datastore through it."""

    @abstractmethod
    def workers(self) -> list[int]:
        """Their process ids."""

    @abstractmethod
    def connections(self) -> int:
        """That the datastore has."""

    @abstractmethod
    def takeovers(self, records: list[Transaction]) -> list[Takeover]: ...

    @abstractmethod
    def strike(self, kind: Kind) -> bool:
        """Do it, unless there is nobody now to whom it could be done."""

    @property
    def busy(self) -> bool:
        """Whether something that was done is not over yet."""
        return bool(self._paused or self.proxy.armed)

    def tick(self) -> None:
        """End what lasts: who was paused goes on."""
        for pid, until in list(self._paused.items()):
            if time.monotonic() >= until:
                del self._paused[pid]
                send(pid, signal.SIGCONT)

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Note the time as one in which nobody could have taken anything over."""
        began = datetime.now(UTC)
        try:
            yield
        finally:
            self.struck.outages.append((began, datetime.now(UTC)))

    def close(self) -> None:
        for pid in self._paused:
            send(pid, signal.SIGCONT)

    def pause(self, pid: int) -> bool:
        if not send(pid, signal.SIGSTOP):
            return False
        self._paused[pid] = time.monotonic() + self.lease.total_seconds() + BEYOND_SECONDS
        return True

    def cut(self) -> bool:
        if self.proxy.armed:
            return False
        self.proxy.cut()
        return True


def send(pid: int, number: signal.Signals) -> bool:
    """False where it had ended by itself."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


def shares(total: Mapping[Kind, int]) -> list[Kind]:
    """All of them in one row, each kind spread evenly over it: the same row each time."""
    places = [((n + 0.5) / count, kind) for kind, count in total.items() for n in range(count)]
    return [kind for _, kind in sorted(places, key=lambda place: (place[0], place[1]))]
