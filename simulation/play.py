"""One seed played to its end: workers, producers, operators and troubles; first with faults, then without."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any, cast

from simulation.chance import Setup
from simulation.gateway import Ledger, SimulatedGateway
from simulation.journal import Journal
from simulation.judge import Judge
from simulation.life import START, Life, Stage
from simulation.loop import VirtualLoop
from simulation.oracles import Finding
from simulation.store import OPEN, Connection, Database
from simulation.texts import ACCOUNTS, IDS
from workers.database.source import RetryingSource
from workers.domain.confirming import Confirmer
from workers.domain.policy import Policy
from workers.domain.transaction import Status, Transaction
from workers.service.stream import Stream

BATCH = 3
SETTLE_RESERVE = 5.0
AFTERWARDS = 900.0
"""So long everybody rests at the end, for an effect that comes late to be seen."""


@dataclass(frozen=True, slots=True)
class Played:
    seed: int
    violations: tuple[Finding, ...]
    journal: Journal
    lives: int
    """Transactions that were played."""
    steps: int
    """At which a worker might have died."""
    struck: Counter[str]
    """How often each fault was drawn."""
    causes: Counter[str]
    """How often each led from one state to the next, by the histories at the end."""

    @property
    def canary(self) -> bool:
        return any(one.oracle == "two effects" for one in self.violations)


def play(seed: int, setup: Setup | None = None, *, canary: bool = False) -> Played:
    """The life of `seed`, as it draws it or in another shape; with `canary`, the gateway doubles one effect in one life
    of a hundred."""
    return World(seed, setup or Setup.of(seed), canary=canary).played()


class Silent:
    """`Telemetry`, of which the service's source tells its losses."""

    def event(self, *_: object, **__: object) -> None: ...


class World:
    def __init__(self, seed: int, setup: Setup, *, canary: bool = False) -> None:
        self.setup, chance = setup, random.Random(f"{seed} {setup.salt}")
        self.loop = VirtualLoop()
        self.stage = Stage(seed, setup, chance, self.loop, Journal(self.loop.time), Judge())
        self.database = Database(self.stage, changed=self._changed)
        self.ledger = Ledger(self.stage, canary and setup.canary)
        self.policy = replace(setup.policy, only_ask=setup.shadow_until is not None)
        self.over = False
        self.lives: dict[str, Life] = {}
        self.stops: dict[str, asyncio.Event] = {}
        self.streams: dict[str, Stream] = {}
        self.waiting: list[asyncio.Future[None]] = []
        drawn = [self._transaction(number) for number in range(setup.transactions)]
        self.transactions = [one for number, one in enumerate(drawn) if number not in setup.left_out]
        self.late: timedelta | None = None
        self.halted = False
        """No worker may start: the datastore is being set back."""

    def played(self) -> Played:
        try:
            self.loop.run_until_complete(self._run())
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.run_until_complete(asyncio.sleep(0))
            self.loop.close()
        stage = self.stage
        apart, records = self.setup.policy.clock_skew, self.database.records.values()
        stage.judge.ends(self.transactions, records, self.ledger.effects, apart=apart, late=self.late)
        causes = Counter[str]()
        for record in self.database.records.values():
            for line in record.history:
                causes[str(line.cause)] += line.times
        found = tuple(stage.judge.violations)
        return Played(stage.seed, found, stage.journal, len(self.transactions), stage.steps, stage.struck, causes)

    # --- the plot

    async def _run(self) -> None:
        setup, chance = self.setup, self.stage.chance
        for number, one in enumerate(self.transactions):
            came = (one.created_at - START).total_seconds()
            self.loop.call_at(came, self.database.add, one)
            if setup.shadow_until is not None and came < setup.shadow_until and chance.random() < 0.6:
                self.loop.call_at(
                    chance.uniform(came, setup.shadow_until), self._others_send, self.transactions[number]
                )
        for number in range(setup.workers):
            self._start(self._service(number) if setup.streams else self._runs(number))
        for at in setup.deployments:
            self.loop.call_at(at, self._deploy)
        for task in (self._shadow_ends(), self._restore(), self._operate()):
            self._start(task)
        await asyncio.sleep(setup.trouble_ends)
        self.stage.quiet = True
        self.stage.judge.looks(self.database.records.values(), self.ledger.effects, setup.policy.clock_skew)
        self.stage.journal.tell("", "the faults stop")
        await self._settle_down()
        self.over = True
        for stop in self.stops.values():
            stop.set()
        self.stage.journal.tell("", "everybody rests")
        await asyncio.sleep(AFTERWARDS)

    async def _settle_down(self) -> None:
        """Until all is final or on a desk, or the bound is passed."""
        policy, setup = self.policy, self.setup
        last = max((one.deadline for one in self.database.records.values()), default=START)
        rest = policy.patience + policy.grace + policy.retry_cap + 4 * (policy.lease + policy.clock_skew)
        bound = max(self.loop.seconds, (last - START).total_seconds()) + rest.total_seconds() + 10 * setup.trigger
        stopped = self.loop.seconds
        while any(one.status in OPEN for one in self.database.records.values()):
            if self.loop.seconds >= bound:
                self.late = timedelta(seconds=self.loop.seconds - stopped)
                return
            await self._something(bound)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self.loop.create_task(work)

    def _changed(self) -> None:
        waiting, self.waiting = self.waiting, []
        for one in waiting:
            if not one.done():
                one.set_result(None)
        for stream in self.streams.values():
            stream.wake.set()

    async def _something(self, until: float) -> None:
        """Until the datastore says that something changed, or that time."""
        told: asyncio.Future[None] = self.loop.create_future()
        self.waiting.append(told)
        if math.isinf(until):
            await told
        else:
            timer = self.loop.call_at(until, lambda: None if told.done() else told.set_result(None))
            await told
            timer.cancel()

    # --- producers, the old job, operators, those who run it

    def _transaction(self, number: int) -> Transaction:
        chance = self.stage.chance
        came = chance.choice((0.0, chance.uniform(0, self.setup.trouble_ends / 2)))
        if (until := self.setup.shadow_until) is not None and chance.random() < 0.3:
            came = until - chance.uniform(0, 20)  # hardly there when shadow mode is left: nobody has asked yet
        created = START + timedelta(seconds=round(came))
        deadline = created + timedelta(seconds=round(chance.uniform(*chance.choice(((10, 200), (120, 3600))))))
        text = self.stage.chance_of("texts")
        amount = text.choice((0, 1, 100 + number, 10**15))
        currency = text.choice(("USD", "JPY", "KWD"))
        return Transaction(f"t{number}{text.choice(IDS)}", text.choice(ACCOUNTS), amount, currency, created, deadline)

    def _others_send(self, one: Transaction) -> None:
        """In shadow mode somebody else confirms, under the same key."""
        self.stage.journal.tell("old job", "sends", one.id)
        self.stage.judge.began(one.id, self.stage.now())
        self.ledger.confirm(one, one.id)

    async def _shadow_ends(self) -> None:
        if (until := self.setup.shadow_until) is not None:
            await asyncio.sleep(until)
            self._roll(replace(self.policy, only_ask=False, others_until=self.stage.now()), "shadow mode is left")

    async def _restore(self) -> None:
        if self.setup.restore is None:
            return
        back_to, at, until = self.setup.restore
        await asyncio.sleep(back_to)
        kept, moment = dict(self.database.records), self.stage.now()
        await asyncio.sleep(at - back_to)
        self.halted = True
        for life in list(self.lives.values()):
            life.die("set back")
        await asyncio.sleep(1)
        self.stage.journal.fault("", "restore", "", f"to second {back_to:.0f}")
        self.database.go_back(kept)
        self._roll(replace(self.policy, only_ask=True, restored_to=moment), "shadow mode")
        self.database.doubt(self._life("restore"))
        self.halted = False
        for one in self.transactions:
            if (one.created_at - START).total_seconds() <= self.loop.seconds:
                self.database.add(one)  # the producers bring again what is gone
        await asyncio.sleep(max(0.0, until - self.loop.seconds))
        self._roll(replace(self.policy, only_ask=False, others_until=self.stage.now()), "shadow mode is left")

    def _roll(self, policy: Policy, what: str) -> None:
        """A deployment: workers end in order and start anew with this policy."""
        self.stage.journal.tell("", what)
        self.policy = policy
        for stop in list(self.stops.values()):
            stop.set()
        self._changed()

    def _deploy(self) -> None:
        self.stage.journal.fault("", "deployment")
        self._roll(self.policy, "workers end in order")

    async def _operate(self) -> None:
        every = self.setup.operators
        while every and not self.stage.quiet:
            await asyncio.sleep(self.stage.chance.uniform(0.5, 1.5) * every)
            waiting = [one for one in self.database.records.values() if one.status is Status.REVIEW]
            for record in waiting:
                if not self.stage.quiet and self.stage.chance.random() < 0.5:
                    self.database.redrive(record, self._life("ana"))

    # --- the workers

    def _life(self, name: str) -> Life:
        most = self.setup.policy.clock_skew.total_seconds() / 2
        off = timedelta(milliseconds=round(1000 * self.stage.chance.uniform(-most, most)))
        return Life(self.stage, name, self.policy, off)

    async def _lived(self, life: Life, work: Coroutine[Any, Any, object], most: float | None = None) -> None:
        """Runs `work` until it ends, its worker dies, or its time is over (a Lambda is killed then)."""
        self.lives[life.name] = life
        task = self.loop.create_task(work)
        both: list[asyncio.Future[Any]] = [task, life.died]
        await asyncio.wait(both, timeout=most, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            life.die("out of time")
            task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(ended, Exception):
            self.stage.journal.tell(life.name, "ends with an error", "", f"{type(ended).__name__}: {ended}")
        del self.lives[life.name]

    def _confirmer(self, life: Life, store: Connection, gateway: SimulatedGateway) -> Confirmer:
        return Confirmer(store, gateway, life, life, life.new_token, life.policy, life.name)

    async def _runs(self, number: int) -> None:
        """Plans and their batches, one after the other; other runs go on beside it, as if no lock were held."""
        born, every, phase = 0, self.setup.trigger, self.stage.chance.random()
        warm: SimulatedGateway | None = None  # a Lambda's container goes on to the next batch, unless it died
        while not self.over:
            due = max(self.database.next_due(), self.loop.seconds + 0.001)
            at = math.inf if math.isinf(due) else (math.ceil(due / every - phase) + phase) * every
            await self._something(at)
            if self.loop.seconds < at or self.halted:
                continue
            born += 1
            life = self._life(f"run-{number}.{born}")
            store = Connection(self.database, life, central_clock=False)
            due_ids = store.due()
            seconds = life.policy.lease.total_seconds() * self.stage.chance.uniform(0.3, 0.9)
            for first in range(0, len(due_ids), BATCH):
                life = self._life(f"run-{number}.{born}" + "abc"[first // BATCH])
                store = Connection(self.database, life, central_clock=False)
                ids = due_ids[first : first + BATCH]
                gateway = SimulatedGateway(self.ledger, life, warm.breaker if warm and not warm.life.dead else None)
                worker = self._confirmer(life, store, gateway)
                warm = gateway
                stop_at = life.now() + timedelta(seconds=seconds - SETTLE_RESERVE)
                await self._lived(life, worker.confirm_batch(len(ids), ids, stop_at), seconds)

    async def _service(self, number: int) -> None:
        """A task of the service, and the next one when it has ended."""
        born = 0
        while not self.over:
            if self.halted:
                await asyncio.sleep(1)
                continue
            born += 1
            life = self._life(f"task-{number}.{born}")
            store = Connection(self.database, life, central_clock=True)
            source = RetryingSource(
                cast(Any, store), cast(Any, Silent()), life, life.new_token, life.name, life.policy.lease,
                cast(random.Random, life),
            )  # fmt: skip
            worker = replace(self._confirmer(life, store, SimulatedGateway(self.ledger, life)), lease_of=life.lease_of)
            stream = Stream(
                source, partial(replace, worker), BATCH, self.setup.concurrency, timedelta(seconds=self.setup.trigger),
                lambda _: None, stop_within=timedelta(seconds=30),
            )  # fmt: skip
            self.streams[life.name], self.stops[life.name] = stream, asyncio.Event()
            await self._lived(life, stream.run(self.stops[life.name]))
            del self.stops[life.name], self.streams[life.name]
            await asyncio.sleep(self.stage.chance.uniform(1, 20))
