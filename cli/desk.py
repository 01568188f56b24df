"""What a command works with: a stack that is up, the way to its transactions, and what is found there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Protocol

from cli.exits import Trouble
from workers.domain.desk import Request, Role
from workers.domain.finding import Finder
from workers.domain.pause import Standing
from workers.domain.policy import Policy
from workers.domain.ports import Canaries, Store
from workers.domain.transaction import Status


class Way(Protocol):
    """How to come to the transactions of a stack."""

    served: ClassVar[bool]
    """Whether a service works on them all the time: it has no runs, but a last stretch of work."""

    def open(self, target: Target) -> AbstractAsyncContextManager[Desk]:
        """The desk, as long as it is needed."""
        ...

    def as_canary(self) -> Way:
        """The same, as who brings in canaries and nothing else."""
        ...

    def as_importer(self) -> Way:
        """The same, as who may bring in transactions."""
        ...

    def explained(self, error: Exception, target: Target) -> Trouble:
        """An error on this way as one line that says what to do; any other error is raised as it is."""
        ...


@dataclass(frozen=True, slots=True)
class DeskOf:
    """What an alternative's stacks tell the command, by which it finds its way."""

    needed: Sequence[str]
    """Outputs without which there is none."""
    way: Callable[[Mapping[str, Any], Mapping[str, str]], Way]
    """From the stack's outputs and the environment's variables."""


@dataclass(frozen=True, slots=True)
class Target:
    """A stack that is up: what the commands need of its outputs."""

    stack: str
    alternative: str
    environment: str
    region: str
    policy: Policy
    data: Way
    endpoint: str | None = None
    """Of the local AWS."""
    functions: Mapping[str, str] = field(default_factory=dict)
    """The desk's, by role."""

    def __str__(self) -> str:
        where = f"local AWS at {self.endpoint}" if self.endpoint else f"AWS, {self.region}"
        return f"stack {self.stack} ({self.environment}, {where})"


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the state machine; or, of the service that never ends, its last minutes of work."""

    name: str
    status: str
    """RUNNING, SUCCEEDED, FAILED, TIMED_OUT or ABORTED, as Step Functions says; WORKING or IDLE of the service."""
    started_at: datetime
    stopped_at: datetime | None
    totals: Mapping[str, int]
    """What its report counted (confirmed, rejected, retried, review, ...); empty while it runs."""
    error: str | None = None

    @property
    def seconds(self) -> float | None:
        return (self.stopped_at - self.started_at).total_seconds() if self.stopped_at else None

    @property
    def settled(self) -> int:
        return self.totals.get("confirmed", 0) + self.totals.get("rejected", 0)

    @property
    def per_second(self) -> float | None:
        """Transactions settled per second of the run."""
        return self.settled / self.seconds if self.seconds else None


@dataclass(frozen=True, slots=True)
class InState:
    """How many are in one state, and their sums in minor units per currency."""

    count: int
    amounts: Mapping[str, int]


class Runs(Protocol):
    """What the scheduler's runs did, or the service."""

    async def last(self) -> Run | None:
        """The newest, whether it found something to do or not."""
        ...

    async def last_with_work(self) -> Run | None:
        """The newest that found something to do, with what it did in all its loops."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One transaction, as the books hold it."""

    id: str
    status: Status
    amount: int
    """Minor units: what moved, where two people have accepted that in the place of what was ordered."""
    currency: str
    settled_at: datetime | None
    readable: bool = True
    """False where something else wrote it, so that the rest of this says nothing."""


class Requests(Protocol):
    """What was asked for, to look at: what changes is ordered (cli/orders.py)."""

    async def request(self, id: str) -> Request | None:  # noqa: A002 - the domain's own word
        """Raises ValueError: something else wrote it."""
        ...

    async def requests(self, since: datetime | None = None) -> list[Request]:
        """Those that wait, or are being done, and end after `since`: the first to end first."""
        ...

    async def standing(self) -> Standing:
        """What people have stopped."""
        ...


class Orders(Protocol):
    """Who takes orders for the desk: its functions."""

    async def order(self, role: Role, action: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """What became of it: the request as it stands now.

        Raises:
            Trouble: it was refused, and why.
        """
        ...


class Census(Protocol):
    """What only a walk through the table tells. Slow and billed by what is read; never part of the work itself."""

    async def tally(self) -> Mapping[Status, InState]: ...

    def entries(self) -> AsyncIterator[Entry]:
        """Every transaction once, in no order; what changes meanwhile is seen before or after its change."""
        ...

    async def some_ids(self) -> list[str]:
        """A bounded sample."""
        ...


@dataclass(frozen=True, slots=True)
class Desk:
    """What an operator's command works with; one per alternative, all commands the same."""

    target: Target
    store: Store
    runs: Runs
    census: Census
    canaries: Canaries
    requests: Requests
    orders: Orders
    finder: Finder
