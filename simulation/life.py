"""One worker from its start to its death: its clock, and the steps between which it may die or stand still."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from simulation.chance import Setup
from simulation.journal import Journal
from simulation.judge import Judge
from simulation.loop import VirtualLoop
from workers.domain.pause import Pause
from workers.domain.policy import Policy
from workers.domain.transaction import Transaction

FAR_OFF = 0.3
"""So often a clock is far off, in a life where clocks are."""
START = datetime(2026, 1, 5, 9, tzinfo=UTC)


@dataclass
class Stage:
    """What all in one life of the product share."""

    seed: int
    setup: Setup
    chance: random.Random
    loop: VirtualLoop
    journal: Journal
    judge: Judge
    unsteady: bool = True
    """Whether workers may die or stand still in this life."""
    quiet: bool = False
    """The second phase: no fault strikes any more."""
    _chances: dict[str, random.Random] = field(default_factory=dict)
    steps: int = 0
    """At which a worker might have died."""

    def __post_init__(self) -> None:
        self._faults = {
            kind: (probability, self.chance_of(kind).random)
            for kind, probability in self.setup.faults.items()
            if probability > 0
        }
        self.struck = Counter[str]()
        """How often each kind was drawn."""

    def chance_of(self, whom: str) -> random.Random:
        """Chance of its own for each kind of fault and each transaction: a life that is shrunk by one of them keeps
        what befell the others."""
        if (own := self._chances.get(whom)) is None:
            own = self._chances[whom] = random.Random(f"{self.seed} {self.setup.salt} {whom}")
        return own

    def clock(self) -> tuple[timedelta, timedelta]:
        """How far a clock is off: as far as clocks may be, and beyond that."""
        chance, setup = self.chance_of("clock"), self.setup
        most = setup.policy.clock_skew.total_seconds() / 2
        off = timedelta(milliseconds=round(1000 * self.chance.uniform(-most, most)))
        self.journal.faults["clock_skew"] += 1
        if not setup.clocks_off or self.quiet or chance.random() > FAR_OFF:
            return off, timedelta()
        self.journal.faults["clock_off"] += 1
        return off, timedelta(seconds=round(setup.clocks_off * chance.uniform(-1, 1)))

    def now(self) -> datetime:
        """The true time."""
        return START + timedelta(seconds=self.loop.seconds)

    def strikes(self, fault: str) -> bool:
        if self.quiet or (chance := self._faults.get(fault)) is None or chance[1]() >= chance[0]:
            return False
        self.struck[fault] += 1
        return (fault, self.struck[fault]) not in self.setup.spared


@dataclass
class Life:
    """One process: a task of the service, or a Lambda with its batch."""

    stage: Stage
    name: str
    policy: Policy
    dead: bool = False
    still_until: float = 0.0
    tokens: int = 0
    unsure: bool = False
    """A write of it may be on its way still, though it does not wait for it any more."""
    pause: Pause | None = None
    """What people have stopped, as this task of the service knows."""
    looked: float = -math.inf
    """When it last looked at that."""
    lease_of: Callable[[Transaction], datetime | None] = lambda record: record.lease_until
    """Until when it holds a record, as it has renewed that."""

    def __post_init__(self) -> None:
        self.died: asyncio.Future[None] = self.stage.loop.create_future()
        self.off, self.far_off = self.stage.clock()
        """How far its clock is off, and how far beyond what is allowed, until the faults stop."""

    def now(self) -> datetime:
        stage = self.stage
        if stage.strikes("clock_step"):
            stage.journal.fault(self.name, "clock_step")
            self.off, self.far_off = stage.clock()
        return stage.now() + self.off + (timedelta() if stage.quiet else self.far_off)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def random(self) -> float:
        """Chance, as the core sees it."""
        return self.stage.chance.random()

    def new_token(self) -> str:
        self.tokens += 1
        return f"{self.name}.{self.tokens}"

    def die(self, why: str, id_: str = "") -> None:
        if not self.dead:
            self.dead = True
            self.stage.journal.fault(self.name, "crash", id_, why)
            self.died.set_result(None)

    async def step(self, what: str, id_: str = "") -> None:
        """Where it may die, or stand still beyond its lease; nothing of it goes on meanwhile."""
        stage = self.stage
        stage.steps += 1
        if not self.dead and (stage.quiet or not stage.unsteady) and self.still_until <= stage.loop.seconds:
            return
        if not self.dead and stage.strikes("crash"):
            self.die(what, id_)
        if self.dead:
            await stage.loop.create_future()  # until whoever started it cancels what is left of it
        if stage.strikes("pause"):
            seconds = self.policy.lease.total_seconds() * stage.chance_of("pause").uniform(0.2, 2)
            stage.journal.fault(self.name, "pause", id_, f"{seconds:.0f} s at {what}")
            self.still_until = max(self.still_until, stage.loop.seconds + seconds)
        while (left := self.still_until - stage.loop.seconds) > 0:
            await asyncio.sleep(left)
        if self.dead:
            await stage.loop.create_future()
