"""What the core needs from outside. Every adapter, and the simulator, implements these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import NamedTuple, Protocol

from workers.domain.exits import DeskExit
from workers.domain.outcomes import Outcome
from workers.domain.shares import Ask, Slice
from workers.domain.transaction import Transaction


class Clock(Protocol):
    """Time as the core sees it."""

    def now(self) -> datetime:
        """Aware UTC."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class Chance(Protocol):
    """Randomness as the core sees it (`random.Random` fits)."""

    def random(self) -> float:
        """Uniform in [0, 1)."""
        ...


class Calls(NamedTuple):
    """What calls to the gateway were like, for metrics."""

    milliseconds: Sequence[float] = ()
    """How long each of a sample took."""
    errors: Mapping[str, int] = {}
    """How many went wrong, by kind: one of ERRORS."""


ERRORS = ("unknown", "failed", "throttled", "turned-away")
"""No answer, or one that proves nothing; says that nothing was done; asks to be left alone; not sent or not let in."""


class Gateway(Protocol):
    """The payment gateway: the two verbs that a user replaces with his own (`workers/gateway/payments.py`).

    Neither raises for what a gateway may do: each trouble is an outcome.
    """

    def turn(self, until: datetime | None = None) -> AbstractAsyncContextManager[object]:
        """Wait for a turn under the rate and concurrency limits, and hold it: the right to one call.

        Lease and time are checked after the wait, so the call itself must not wait again. After `until` nobody needs
        the turn any more: it comes all the same, and its call is refused unsent.
        """
        ...

    async def confirm(self, transaction: Transaction, key: str) -> Outcome:
        """Make the effect happen, once per `key` (`Transaction.key`), or say what is known."""
        ...

    async def ask(self, transaction: Transaction, key: str) -> Outcome:
        """Whether the effect under `key` happened; changes nothing."""
        ...

    def ready(self) -> bool:
        """False while the circuit breaker is open: then claim nothing."""
        ...

    def away(self) -> timedelta:
        """For how long it could not be asked, as this worker has tried; nothing while it works."""
        ...

    def seen(self) -> Calls:
        """What the calls since the last look were like."""
        ...

    async def close(self) -> None:
        """Close what it holds open; called once, when the worker ends."""
        ...


class Move(NamedTuple):
    """A change of one transaction: `after` replaces `before` only if `before` still stands (version and token)."""

    before: Transaction
    after: Transaction


@dataclass(frozen=True, slots=True)
class Added:
    """What `add` did, by id, in the order given."""

    new: tuple[str, ...]
    already: tuple[str, ...]
    """Present before with the same content: adding twice is harmless."""
    conflicting: tuple[str, ...]
    """Present before with other content: left untouched."""
    refused: tuple[str, ...] = ()
    """The datastore does not take these as they are. The others are in it: one row stops nobody."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """The open work."""

    open: int
    """PENDING and PROCESSING."""
    due: int
    """Of these, due now or held by a worker."""
    oldest_due_at: datetime | None
    review: int
    """Without canaries."""
    exact: bool = True
    """False where counting stopped early: the figures are then lower bounds."""


@dataclass(frozen=True, slots=True)
class ReviewBacklog:
    """What waits for a person. No canary does: it has an alarm of its own, and nobody's money."""

    count: int = 0
    first_review_by: datetime | None = None
    """The nearest deadline."""
    at_risk: Mapping[str, int] = field(default_factory=dict)
    """The money of those, by currency, in minor units; of the nearest deadlines alone where a store stops early."""


class Claimed(NamedTuple):
    """What a claim did."""

    held: list[Transaction]
    """Now the caller's, in PROCESSING, with their history at least from this claim on."""
    to_review: list[Transaction]
    """Now in REVIEW, since they may not be tried again (attempts used up, deadline passed, unreadable): a change as any
    other, so whoever claims tells of it."""


class Claims(Protocol):
    """The part of a datastore that confirming needs."""

    async def claim(
        self, *, token: str, by: str, limit: int, ids: Sequence[str] | None = None, late: bool = False
    ) -> Claimed:
        """Lease up to `limit` transactions that are due (among `ids`, where given) under `token`.

        `late` takes those alone that a worker has to see to which cannot call the gateway
        (workers.domain.transitions.is_late).

        Whatever may not be tried again moves to REVIEW in passing.
        """
        ...

    async def settle(self, moves: Sequence[Move]) -> list[bool]:
        """Write each move with its history in one atomic step, if its fence stands; True where it did.

        A move back to PENDING (release) goes the same way. A lost fence is normal: somebody else took over.
        A write whose answer was lost is recognised by its own token and counts as won.
        """
        ...


class Taken(NamedTuple):
    """What a worker learns when it takes shares."""

    before: Mapping[int, Slice]
    """What stood before, of every slice that is not over: a share begins where the one before it ended."""
    earliest: float
    """The time that all go by, in seconds since 1970, was no earlier than this when the answer came ..."""
    latest: float
    """... and no later than this when the question was sent."""
    counted: bool = True
    """Or nothing was taken, or nothing of use: the worker did not know the time, and is told."""


class Shares(Protocol):
    """Where all workers together count how much of each slice of time is taken (`workers/domain/shares.py`)."""

    reach: int
    """So many slices ahead shares are taken."""

    async def take(self, asked: Sequence[Ask], now: float) -> Taken:
        """Add `asked` to what is taken, whatever that comes to; nothing asked is a look.

        What is asked twice, since an answer was lost, is lost to all. `now` is the caller's time.

        Raises:
            Exception: whatever the datastore's client raises; nothing may be called on such an answer.
        """
        ...


class Look(Enum):
    """Where a claim of the stream looks for work."""

    ONWARD = "onward"
    """From where the last one ended: what lies before that waits for the next sweep."""
    SWEEP = "sweep"
    """From the very beginning: retries, latecomers and expired leases are there."""
    BESIDE = "beside"
    """While another claim is on its way: ahead of it."""
    LATE = "late"
    """Everywhere, for those alone that are late (`Claims.claim`)."""


class Source(Protocol):
    """Where the service's stream comes from and goes to; each call waits out a lost datastore by itself."""

    async def claim(self, limit: int, look: Look = Look.ONWARD) -> Claimed:
        """Lease up to `limit` that are due, the longest due first."""
        ...

    async def settle(self, moves: Sequence[Move]) -> list[bool]:
        """As `Claims.settle`."""
        ...

    async def extend(self, transactions: Sequence[Transaction]) -> list[Transaction]:
        """As `Store.extend`."""
        ...


class Store(Claims, Protocol):
    """A datastore. One conformance suite holds for every adapter (tests/contract/)."""

    async def add(self, transactions: Sequence[Transaction]) -> Added:
        """Insert what is new; never overwrite."""
        ...

    async def extend(self, transactions: Sequence[Transaction]) -> list[Transaction]:
        """Heartbeat: renew the leases that still stand; returns those, renewed."""
        ...

    async def backlog(self) -> Backlog: ...

    async def desk(self) -> ReviewBacklog: ...

    async def doubt(self) -> int:
        """Mark all that wait, for their turn or for a person, as possibly sent since they came about; how many.

        In shadow mode and after a restore, others may have sent what the record calls never sent. Marked ones stay so.
        No claim needs it, in shadow mode or after it (`Policy.others_until`): it is for whoever else reads the record.
        """
        ...

    async def find(self, id: str) -> Transaction | None: ...  # noqa: A002 - the domain's own word

    async def review(self, limit: int = 100) -> list[Transaction]:
        """Those in REVIEW, nearest deadline first, without canaries."""
        ...

    async def leave(self, id: str, event: DeskExit) -> Transaction:  # noqa: A002
        """Take one out of REVIEW, as two people have decided.

        Raises:
            workers.domain.exits.Refused: not in REVIEW, both names are the same, or the evidence does not fit.
        """
        ...


class Canaries(Protocol):
    """The part of a datastore that a canary needs: what every producer may do, and no more."""

    async def send(self, canary: Transaction) -> None:
        """Insert it, unless it is there."""
        ...

    async def look(self, id: str) -> Transaction | None: ...  # noqa: A002 - the domain's own word
