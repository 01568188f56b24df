"""What the play must know of a datastore, whichever it is."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from simulation.life import START, Life, Stage
from simulation.oracles import Operation, order
from workers.domain.policy import Policy
from workers.domain.ports import Store
from workers.domain.transaction import Status, Transaction

OPEN = (Status.PENDING, Status.PROCESSING)


class Database(ABC):
    """The one copy of the records that counts, as it stands right now, and who changed it."""

    def __init__(self, stage: Stage, changed: Callable[[], None] = lambda: None) -> None:
        self.stage = stage
        self.changed = changed
        """Called when there may be new work, or no work any more."""
        self.records: dict[str, Transaction] = {}
        self.shards = stage.setup.shards
        """Of an index that has some."""
        self.bare: set[str] = set()
        """Transactions whose item had no room for more, so that they lie on a desk and have no history."""
        self._operations: list[Operation] = []
        self._begins: dict[str, int] = {}

    @abstractmethod
    def store(self, life: Life, policy: Policy | None = None) -> Store:
        """The production's own adapter, as one life has it."""

    @abstractmethod
    def snapshot(self) -> Any: ...

    @abstractmethod
    def go_back(self, to: Any) -> None:
        """To a snapshot."""

    @abstractmethod
    def date_ahead(self, id_: str, sent: datetime, due: datetime) -> bool:
        """Somebody writes that it was sent then, and is looked at again at `due`; False where a claim is at it."""

    @property
    @abstractmethod
    def in_shadow(self) -> bool:
        """Whether a worker in shadow mode was here last: who leaves that mode has seen it work (docs/restore.md)."""

    @property
    def strangers(self) -> Sequence[str]:
        """What somebody else wrote and no desk has."""
        return ()

    def told(self, life: Life, began: float, records: Iterable[Transaction]) -> None:
        """The adapter of `life` says now that these stand, asked for it at `began`."""
        now = self.stage.loop.seconds
        self._operations += [Operation(one.id, life.name, began, now, one.version, None) for one in records]

    def put_in_order(self) -> None:
        """Holds what the adapters told to what stood."""
        told = [one for one in self._operations if one.id not in self.bare]
        self.stage.judge.violations += order(told, self._begins)
        self._operations.clear()

    def begins_anew(self) -> None:
        """It was set back: what was told before that says nothing of what stands now."""
        self.put_in_order()
        self._begins = {record.id: record.version for record in self.records.values()}

    def wrote(self, life: Life, before: Transaction | None, after: Transaction | None) -> None:
        """A write of `life`, right as it happens."""
        stage = self.stage
        if after is None:
            return
        self.records[after.id] = after
        saw = before.version if before else None
        if before is None or saw != after.version or before.history != after.history:
            now = stage.loop.seconds
            self._operations.append(Operation(after.id, life.name, now, now, saw, after.version))
        stage.judge.writes(life.name, before, after, stage.now())
        if before is None:
            stage.journal.tell(life.name, "adds", after.id, f"{after.amount} {after.currency}")
        elif after.history and (not before.history or after.history[-1] != before.history[-1]):
            line = after.history[-1]
            again = line.was is Status.REVIEW and line.now is Status.PENDING
            stage.journal.tell(life.name, "redrives" if again else f"{line.was} -> {line.now}", after.id, line.why)
        if before is None or (after.status is not before.status and after.status is not Status.PROCESSING):
            self.changed()

    @property
    def anything_open(self) -> bool:
        return any(record.status in OPEN for record in self.records.values()) or bool(self.strangers)

    @property
    def known(self) -> int:
        """How many transactions it has."""
        return len(self.records) + len(self.bare)

    def next_due(self) -> float:
        """In seconds since the beginning; infinite where nothing is open."""
        if self.strangers:
            return 0.0
        open_ones = [one for one in self.records.values() if one.status in OPEN]
        times = [one.lease_until if one.status is Status.PROCESSING else one.next_attempt_at for one in open_ones]
        return min(((time - START).total_seconds() for time in times if time), default=math.inf)
