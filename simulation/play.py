"""One seed played to its end: workers, producers, operators and troubles; first with faults, then without."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections import Counter
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, cast

from simulation.chance import Deployment, Setup
from simulation.gateway import Ledger, SimulatedGateway, number_of
from simulation.journal import FAULT, Journal
from simulation.judge import Judge
from simulation.lambdas import SILENT, Functions, handlers_in_containers
from simulation.life import START, Life, Stage
from simulation.loop import VirtualLoop
from simulation.moments import deadlines
from simulation.oracles import Finding
from simulation.runs import Runs
from simulation.stores.common import Database
from simulation.stores.dynamodb import LATEST, DynamoDatabase
from simulation.stores.postgres import PostgresDatabase
from simulation.texts import ACCOUNTS, IDS
from workers.database.connection import LOST
from workers.database.source import RetryingSource
from workers.domain.confirming import Confirmer
from workers.domain.exits import (
    AcceptAmount,
    AskNow,
    Cancel,
    DeskExit,
    Evidence,
    NewKey,
    Redrive,
    Refused,
    ResolveDone,
    ResolveRefused,
)
from workers.domain.pause import Pause, Scope, Standing
from workers.domain.policy import Policy
from workers.domain.ports import Store
from workers.domain.transaction import Status, Transaction
from workers.service.stream import Stream
from workers.stores.dynamodb import MOST_SHARDS, StoreError
from workers.stores.dynamodb_desk import DynamoDbDesk
from workers.stores.postgres import PostgresStore

MODE = ("only_ask", "restored_to", "others_until", "others_stopped")
"""What of a policy says in which mode the workers are."""
TOGETHER = 0.3
"""So often two operators look at the desk at once."""
THINKS, ALONE = 0.2, 0.1
"""So often a person takes minutes between a look and a deed, and tries to approve what he asked for."""
HURRIED = 0.25
"""So often people end what they see no effect of, as soon as they see none."""
CARELESS = 0.1
"""So often two people agree on what the gateway's console does not bear out."""
AFTERWARDS = 900.0
"""So long everybody rests at the end, for an effect that comes late to be seen."""
MODE_EVERY = 60.0
"""Seconds between a service's looks at its mode (`metrics_every` of its settings)."""
STOP_WITHIN = timedelta(seconds=30)
EXCUSES: Mapping[str, float] = {
    "pause": 400, "clock_step": 400, "restore": 400, "lost_answer": 60, "failover": 60, "slow_statement": 60,
    "slow_turn": 120, "throttled": 120, "stranger": 120, "garbage": 120,
}  # fmt: skip
"""Seconds: whom one of these struck so shortly before he was told to end need not end in order."""
AHEAD = timedelta(days=30)
NAMED = 0.03
"""So often a payment of the service bears a canary's name."""
BESIDE = 0.25
"""So often a trigger is played while a run is under way; mostly it is locked out, and that is all."""
RECALL_EVERY = 5
"""Looks at the mode, for one at what would never be due."""
PATIENCE = 10
"""Leases, for which a service bears the loss of its database, as workers/service/__main__.py has it."""


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
    deadlines: Counter[str]
    """In which moments they passed."""
    causes: Counter[str]
    """How often each led from one state to the next, by the histories at the end."""

    @property
    def canary(self) -> bool:
        return any(one.oracle == "two effects" for one in self.violations)


def play(seed: int, setup: Setup | None = None, *, canary: bool = False) -> Played:
    """The life of `seed`, as it draws it or in another shape; with `canary`, the gateway doubles one effect in one life
    of a hundred."""
    return World(seed, setup or Setup.of(seed), canary=canary).played()


class World:
    def __init__(self, seed: int, setup: Setup, *, canary: bool = False) -> None:
        self.setup, chance = setup, random.Random(f"{seed} {setup.salt}")
        self.loop = VirtualLoop()
        self.stage = Stage(seed, setup, chance, self.loop, Journal(self.loop.time), Judge(setup.policies))
        self.stage.unsteady = bool(setup.faults.get("crash") or setup.faults.get("pause"))
        self.stage.judge.clocks_off = setup.clocks_off > 0
        self.ledger = Ledger(self.stage, canary and setup.canary)
        self.database: Database
        self.functions: Functions | None = None
        self.runs: Runs | None = None
        if setup.streams:
            self.database = PostgresDatabase(self.stage, self._changed)
        else:
            self.database = dynamodb = DynamoDatabase(self.stage, self._changed)
            self.functions = Functions(dynamodb, self.ledger, self._born)
            self.runs = Runs(self.functions)
        self.policy = replace(setup.policy, only_ask=setup.shadow_until is not None)
        self.over = False
        self.lives: dict[str, Life] = {}
        self.stops: dict[str, asyncio.Event] = {}
        self.streams: dict[str, Stream] = {}
        self.waiting: list[asyncio.Future[None]] = []
        self.plots: list[asyncio.Task[None]] = []
        """What changes modes, or sets the datastore back."""
        drawn = [self._transaction(number) for number in range(setup.transactions)]
        self.stage.judge.unfit = {drawn[number].id for number in setup.fat if number < len(drawn)}
        self.transactions = [one for number, one in enumerate(drawn) if number not in setup.left_out]
        self.late: timedelta | None = None
        self.told: dict[str, float] = {}
        """When a task of the service was told to end."""
        self.operating = False
        """Somebody is at the desk."""
        self.pause: Pause | None = None
        """What people have paused, as PostgreSQL has it."""
        self.noted = False
        """That stands in DynamoDB."""
        self.halted = False
        """No worker may start: the datastore is being set back."""

    def played(self) -> Played:
        with handlers_in_containers():
            try:
                self.loop.run_until_complete(self._run())
            finally:
                for task in asyncio.all_tasks(self.loop):
                    task.cancel()
                self.loop.run_until_complete(asyncio.sleep(0))
                self.loop.close()
        stage = self.stage
        apart, records, bare = self.setup.apart, self.database.records.values(), self.database.bare
        came = [one for one in self.transactions if one.id not in bare]
        effects = {id_: those for id_, those in self.ledger.effects.items() if id_ not in bare or len(those) > 1}
        stage.judge.ends(came, records, effects, apart=apart, late=self.late, marked=self._marked)
        self.database.put_in_order()
        for stranger in self.database.strangers:
            stage.judge.finds("desk", stranger, "is no transaction, and no desk has it")
        causes = Counter[str]()
        for record in self.database.records.values():
            for line in record.history:
                causes[str(line.cause)] += line.times
        found = tuple(stage.judge.violations)
        due = deadlines(stage.journal, ((one.id, one.deadline) for one in self.transactions), START)
        lives = len(self.transactions)
        return Played(stage.seed, found, stage.journal, lives, stage.steps, stage.struck, due, causes)

    @property
    def _marked(self) -> bool:
        """Whether a version may rise without a line: where what waits is marked as possibly sent, or dated ahead."""
        modes = (self.setup.shadow_until, self.setup.restore, self.setup.back_to_shadow)
        # and where turns are taken for too far ahead, and called forward: by a clock that is far off, or under settings
        # of shorter waits than those that wrote them
        ahead = self.setup.clocks_off > 0 or len({one.longest_wait for one in self.setup.policies}) > 1
        return ahead or (not self.setup.streams and (bool(self.setup.ahead) or any(mode is not None for mode in modes)))

    # --- the plot

    async def _run(self) -> None:
        setup, chance = self.setup, self.stage.chance
        for number, one in enumerate(self.transactions):
            came = (one.created_at - START).total_seconds()
            self.loop.call_at(came, self._bring, one)
            if setup.shadow_until is not None and came < setup.shadow_until and chance.random() < 0.6:
                self.loop.call_at(
                    chance.uniform(came, setup.shadow_until), self._others_send, self.transactions[number]
                )
        if self.runs:
            self._start(self._schedule(self.runs))
        else:
            for number in range(setup.workers):
                self._start(self._service(number))
        for deployment in setup.deployments:
            self.loop.call_at(deployment.at, self._deploy, deployment)
        for at in setup.foreign:
            self.loop.call_at(at, self._write_what_is_no_transaction)
        plots = (self._shadow_ends(), self._back_to_shadow(), self._restore(), self._stopped())
        self.plots = [self._start(one) for one in plots]
        self._start(self._operate())
        await self._troubles()
        self.stage.quiet = True
        self.stage.judge.looks(self.database.records.values(), self.ledger.effects, setup.apart, marked=self._marked)
        self.stage.journal.tell("", "the faults stop")
        if setup.stops:
            self._start(self._stand(None))  # what was set back may have brought a pause along
        await self._settle_down()
        self.over = True
        for stop in self.stops.values():
            stop.set()
        self.stage.journal.tell("", "everybody rests")
        await asyncio.sleep(AFTERWARDS)
        await self._audit()

    async def _troubles(self) -> None:
        """While faults strike: until their time is over, or nothing is left that they could do any harm to."""
        ends, last = self.setup.trouble_ends, max(self.setup.foreign, default=0.0)
        while self.loop.seconds < ends and (self.loop.seconds < last or self._anything_left):
            await self._something(last if self.loop.seconds < last else ends)

    @property
    def _anything_left(self) -> bool:
        """That comes, goes on, or may be taken up again."""
        records = self.database.records.values()
        return (
            self.operating
            or self.database.known < len(self.transactions)
            or self.database.anything_open
            or not all(one.done() for one in self.plots)
            or (self.setup.operators > 0 and any(one.status is Status.REVIEW for one in records))
        )

    async def _audit(self) -> None:
        """Somebody looks at the desk, once nothing moves any more."""
        shown = {record.id for record in await self.database.store(self._born("auditor")).review()}
        for record in self.database.records.values():
            if record.status is Status.REVIEW and record.id not in shown:
                self.stage.judge.finds("hidden", record.id, "is in REVIEW, and no desk shows it")

    async def _settle_down(self) -> None:
        """Until all is final or on a desk, or the bound is passed."""
        setup = self.setup
        last = max((one.deadline for one in self.database.records.values()), default=START)
        trigger, policies = timedelta(seconds=setup.trigger), setup.policies
        rest = max(one.patience + one.grace + one.retry_cap + 4 * (one.lease + one.clock_skew) for one in policies)
        if "kills" in setup.poisoned.values():
            rest += max(one.most_claims * (one.lease + 2 * trigger) for one in policies)
        if any(one.shards != setup.shards for one in setup.deployments):
            rest += 2 * MOST_SHARDS * trigger  # a shard that nobody remembers is looked at in turn, one a run
        bound = max(self.loop.seconds, (last - START).total_seconds()) + rest.total_seconds() + 10 * setup.trigger
        bound += setup.run_lease + LATEST
        stopped = self.loop.seconds
        while self.operating or self.database.anything_open or self.database.known < len(self.transactions):
            if self.loop.seconds >= bound:
                self.late = timedelta(seconds=self.loop.seconds - stopped)
                return
            await self._something(bound)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(work)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.stage.judge.finds("defect", "", repr(error))

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
        deadline = created + timedelta(seconds=round(chance.uniform(*chance.choice(((10, 200), (120, 1800))))))
        text = self.stage.chance_of("texts")
        amount = text.choice((0, 1, 100 + number, 10**15))
        currency = text.choice(("USD", "JPY", "KWD"))
        id_ = f"t{number}{text.choice(IDS)}"
        if self.setup.streams and self.stage.chance_of("names").random() < NAMED:
            id_ = f"canary-{id_}"[:128]
        return Transaction(id_, text.choice(ACCOUNTS), amount, currency, created, deadline)

    def _others_send(self, one: Transaction) -> None:
        """In shadow mode somebody else confirms, under the same key."""
        self.stage.journal.tell("old job", "sends", one.id)
        self.stage.judge.began(one.id, self.stage.now())
        self.ledger.confirm(one, one.id)

    def _bring(self, one: Transaction) -> None:
        self._start(self._brings(one))

    async def _brings(self, one: Transaction) -> None:
        """As a producer does who does not know whether it got through: again, until it did."""
        born = 0
        while one.id not in self.database.records and one.id not in self.database.bare:
            if self.halted or born:
                await asyncio.sleep(self.stage.chance.uniform(1, 10))
            if not self.halted:
                born += 1
                life = self._born(f"producer-{one.id}.{born}")
                await self._lived(life, self.database.store(life).add([one]))
        if (seconds := self.setup.ahead.get(number_of(one.id))) is not None and born:
            self._date_ahead(one, seconds)
        if (room := self.setup.fat.get(number_of(one.id))) is not None and isinstance(self.database, DynamoDatabase):
            self.stage.journal.fault("", "fat", one.id, f"{room} bytes left of 400 KB")
            self.database.fatten(one.id, room)

    def _date_ahead(self, one: Transaction, seconds: float) -> None:
        """It was sent before it came to this version; the call never got there."""
        record, now = self.database.records.get(one.id), self.stage.now()
        if record is not None and record.status is Status.PENDING and record.version == 1:
            most = min(policy.retry_cap + policy.grace for policy in self.setup.policies)
            if self.database.date_ahead(one.id, now + AHEAD, now + min(timedelta(seconds=seconds), most)):
                self.stage.journal.fault("", "dated ahead", one.id)
                self.stage.judge.began(one.id, now)

    def _write_what_is_no_transaction(self) -> None:
        if isinstance(self.database, DynamoDatabase):
            self.stage.journal.fault("somebody", "foreign")
            self.database.write_foreign()
            self._changed()

    async def _shadow_ends(self) -> None:
        if (until := self.setup.shadow_until) is not None:
            await asyncio.sleep(until)
            await self._seen_in_shadow()
            self._roll(replace(self.policy, only_ask=False), "shadow mode is left")

    async def _seen_in_shadow(self) -> None:
        while not self.database.in_shadow:
            await asyncio.sleep(self.setup.trigger)

    async def _stopped(self) -> None:
        """People pause the product, and let it go on."""
        for begins, ends, scope in self.setup.stops:
            for at, what in ((begins, scope), (ends, None)):
                await asyncio.sleep(max(0.0, at - self.loop.seconds))
                if not self.stage.quiet:  # else all came to its end before
                    await self._stand(what)

    async def _stand(self, scope: Scope | None) -> None:
        """Pause that, or let all go on: again, until it stands."""
        self.stage.judge.paused = None
        self.stage.journal.fault("ana", "paused" if scope else "resumed", "", scope or "")
        pause = Pause(scope, "ana", "w", self.stage.now()) if scope else None
        if isinstance(self.database, DynamoDatabase):
            self.noted = False
            while not self.noted:
                life = self._born("ana")
                await self._lived(life, self._note(DynamoDbDesk(self.database.store(life)), pause))
                await asyncio.sleep(1)
        else:
            self.pause = pause
            for name in self.streams:
                self._looks_soon(name)
        if scope:
            self.stage.judge.paused = scope, self.loop.seconds

    async def _note(self, desk: DynamoDbDesk, pause: Pause | None) -> None:
        before = await desk.standing()
        self.noted = before.pause == pause or await desk.pause(before, Standing(before.version + 1, pause))

    def _looks_soon(self, name: str) -> None:
        """Each second a task looks whether it is paused; not while it stands still."""
        still = max(0.0, self.lives[name].still_until - self.loop.seconds) if name in self.lives else 0.0
        self.loop.call_later(still + self.stage.chance_of("looks").random(), self._looks, name)

    def _looks(self, name: str) -> None:
        life, stream = self.lives.get(name), self.streams.get(name)
        if life and stream and life.still_until > self.loop.seconds:
            self._looks_soon(name)
        elif life and stream:
            life.pause, life.looked = self.pause, self.loop.seconds
            stream.wake.set()

    async def _restore(self) -> None:
        if self.setup.restore is None:
            return
        back_to, at, until = self.setup.restore
        await asyncio.sleep(back_to)
        kept, moment = self.database.snapshot(), self.stage.now()
        await asyncio.sleep(at - back_to)
        self.halted = True
        for task in [*self.runs.under_way] if self.runs else []:
            task.cancel()
        for life in list(self.lives.values()):
            life.die("set back")
        await asyncio.sleep(1)
        self.stage.journal.fault("", "restore", "", f"to second {back_to:.0f}")
        self.database.go_back(kept)
        self.stage.judge.set_back()
        self._roll(replace(self.policy, only_ask=True, restored_to=moment), "shadow mode")
        self.halted = False
        for one in self.transactions:
            if (one.created_at - START).total_seconds() <= self.loop.seconds:
                self._bring(one)  # the producers bring again what is gone
        await asyncio.sleep(max(0.0, until - self.loop.seconds))
        await self._seen_in_shadow()
        # by the time that somebody sends again the settings may have forgotten the restore
        kept_moment = self.stage.chance.choice((None, moment))
        self._roll(replace(self.policy, only_ask=False, restored_to=kept_moment), "shadow mode is left")

    async def _back_to_shadow(self) -> None:
        """As docs/migration.md has it: once nobody sends any more, the old job goes on; then forward again."""
        if self.setup.back_to_shadow is None:
            return
        begins, ends = self.setup.back_to_shadow
        await asyncio.sleep(begins)
        while self.policy.only_ask:
            await asyncio.sleep(10)
        self.stage.journal.fault("", "back_to_shadow")
        self._roll(replace(self.policy, only_ask=True), "shadow mode")
        while any(not life.policy.only_ask for life in self.lives.values()):
            await asyncio.sleep(5)
        for one in self.transactions:
            came = (one.created_at - START).total_seconds() < self.loop.seconds
            record = self.database.records.get(one.id)
            ended = record is not None and record.status.is_final  # it is told what has come to its end
            if came and not ended and not self.stage.judge.unproven[one.id]:
                self._others_send(one)
        await asyncio.sleep(max(0.0, ends - self.loop.seconds))
        await self._seen_in_shadow()
        self._roll(replace(self.policy, only_ask=False), "shadow mode is left")

    def _roll(self, policy: Policy, what: str, within: float = 0.0) -> None:
        """A deployment: workers end in order and start anew with this policy, one after the other."""
        self.stage.journal.tell("", what)
        self.policy = policy
        if self.functions:
            self.functions.deployed()
        for number, stop in enumerate(list(self.stops.values())):
            self.loop.call_later(within * number, stop.set) if within * number else stop.set()
        self._changed()

    def _deploy(self, deployment: Deployment) -> None:
        if self.stage.quiet:  # all came to its end before
            return
        self.stage.journal.fault("", "deployment")
        mode = {name: getattr(self.policy, name) for name in MODE}
        policy = replace(deployment.policy, **mode)
        if policy != self.policy:
            self.stage.journal.fault("", "settings changed")
        if deployment.shards != self.database.shards:
            self.stage.journal.fault("", "shards changed")
            self.database.shards = deployment.shards
        self._roll(policy, "workers end in order", deployment.within)

    async def _operate(self) -> None:
        every, looks = self.setup.operators, 0
        while every and not self.stage.quiet:
            await asyncio.sleep(self.stage.chance.uniform(0.5, 1.5) * every)
            if not self.halted and any(one.status is Status.REVIEW for one in self.database.records.values()):
                looks += 1
                people = ("ana", "cleo")[: 1 + (self.stage.chance_of("operators").random() < TOGETHER)]
                self.operating = True
                lives = [self._born(f"{person}-{looks}") for person in people]
                await asyncio.gather(*(self._lived(life, self._look_at_the_desk(life)) for life in lives))
                self.operating = False
                self._changed()

    async def _look_at_the_desk(self, life: Life) -> None:
        store, chance = self.database.store(life), self.stage.chance_of("the desk")
        for record in await store.review():
            if chance.random() < THINKS:
                await asyncio.sleep(chance.uniform(0, 300))
            if chance.random() < ALONE and record.id in self.database.records and not self.stage.quiet:
                await self._redrive_alone(store, life, record.id)
            if record.id in self.database.records and not self.stage.quiet and self.stage.chance.random() < 0.5:
                try:
                    await store.leave(record.id, self._decision(life, record))
                except Refused as refused:
                    self.stage.journal.tell(life.name, "is refused", record.id, str(refused))

    def _decision(self, life: Life, record: Transaction) -> DeskExit:
        """What two people agree on, who go by what the gateway's console shows them then. At times they are careless,
        and try what it does not bear out: the rules have to refuse that."""
        chance, people = self.stage.chance_of("decisions"), (life.name, "ben", "looked into it")
        if chance.random() < CARELESS:
            return chance.choice(
                (Cancel(*people, None), ResolveDone(*people, Evidence("console", "x", 10**15 - 1, "USD")))
            )
        options: list[DeskExit] = [Redrive(*people), AskNow(*people)]
        if (seen := self.ledger.console(record)) and len(seen) == 1:
            moved = seen[0].document
            proof = Evidence("console", str(moved["reference"]), int(str(moved["amount"])), str(moved["currency"]))
            right = (proof.amount, proof.currency) == (record.amount, record.currency)
            options.append(ResolveDone(*people, proof) if right else AcceptAmount(*people, proof))
        elif not seen and not self.setup.clocks_off:  # who decides goes by a clock that is right
            proof = Evidence("console", f"case {number_of(record.id)}")
            ends: list[DeskExit] = [ResolveRefused(*people, proof), Cancel(*people, proof), NewKey(*people, proof)]
            options = ends if chance.random() < HURRIED else options + ends
        return chance.choice(options)

    async def _redrive_alone(self, store: Store, life: Life, id_: str) -> None:
        with contextlib.suppress(Refused):
            await store.leave(id_, Redrive(life.name, life.name.upper(), "it is urgent"))
            self.stage.judge.finds("two people", id_, f"{life.name} alone has redriven it")

    # --- the workers

    def _born(self, name: str) -> Life:
        life = self.lives[name] = Life(self.stage, name, self.policy)
        life.died.add_done_callback(lambda _: self.lives.pop(name, None))
        return life

    async def _lived(self, life: Life, work: Coroutine[Any, Any, object]) -> None:
        """Runs `work` until it ends or its process dies."""
        task = self.loop.create_task(work)
        both: list[asyncio.Future[Any]] = [task, life.died]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        task.cancel()
        ended: object = (await asyncio.gather(task, return_exceptions=True))[0]
        if isinstance(ended, Exception):
            self.stage.journal.tell(life.name, "ends with an error", "", f"{type(ended).__name__}: {ended}")
            if not isinstance(ended, (StoreError, *LOST)):
                self.stage.judge.finds("defect", life.name, repr(ended))
        self.lives.pop(life.name, None)

    async def _schedule(self, runs: Runs) -> None:
        """EventBridge Scheduler, for as long as there is anything to do."""
        phase = self.stage.chance.random()
        while not self.over:
            looks = self.policy.only_ask and not self.database.in_shadow  # that mode has much to do besides
            at = runs.next_trigger(0.0 if looks else self.database.next_due(), phase)
            await self._something(at)
            if self.loop.seconds < at or self.halted or self.over:
                continue
            if not runs.under_way or self.stage.chance.random() < BESIDE:
                runs.start()

    async def _service(self, number: int) -> None:
        """A task of the service, and the next one when it has ended."""
        born = 0
        while not self.over:
            if self.halted:
                await asyncio.sleep(1)
                continue
            born += 1
            life = self._born(f"task-{number}.{born}")
            self.stops[life.name] = stop = asyncio.Event()
            await self._lived(life, self._serve(life, stop))
            del self.stops[life.name]
            self.streams.pop(life.name, None)
            await asyncio.sleep(self.stage.chance.uniform(1, 20))

    async def _serve(self, life: Life, stop: asyncio.Event) -> None:
        """As workers/service/__main__.py: the stream, and beside it what looks at the mode."""
        store = cast(PostgresStore, self.database.store(life))
        source = RetryingSource(
            store, SILENT, life, life.new_token, life.name, life.policy.lease * PATIENCE, cast(random.Random, life)
        )
        gateway = SimulatedGateway(self.ledger, life)
        worker = Confirmer(
            store,
            gateway,
            life,
            life,
            life.new_token,
            life.policy,
            life.name,
            lease_of=lambda one: stream.lease_of(one),
            pause=lambda: life.pause,
        )
        stream = Stream(
            source, lambda: worker, self.setup.batch, self.setup.concurrency, timedelta(seconds=self.setup.trigger),
            lambda _: None, stop_within=STOP_WITHIN,
        )  # fmt: skip
        life.lease_of = stream.lease_of
        if not life.policy.only_ask:
            await source.wait_out(store.leave_shadow)
        self.streams[life.name] = stream
        self._looks(life.name)
        beside = [self.loop.create_task(one) for one in (self._keep_mode(store, life, stop), self._told(life, stop))]
        try:
            await stream.run(stop)
        finally:
            for one in beside:
                one.cancel()
        self._ends_in_order(life)

    async def _told(self, life: Life, stop: asyncio.Event) -> None:
        await stop.wait()
        self.told[life.name] = self.loop.seconds

    def _ends_in_order(self, life: Life) -> None:
        """A task that was told to end has ended: in time, and without a claim. What disturbed it is an excuse."""
        told, lines = self.told[life.name], self.stage.journal.lines
        struck = ((line.at, line.what.removeprefix(FAULT)) for line in lines if line.what.startswith(FAULT))
        if self.setup.clocks_off or any(at > told - EXCUSES.get(kind, -math.inf) for at, kind in struck):
            return
        if (took := self.loop.seconds - told) > STOP_WITHIN.total_seconds() - 1:
            self.stage.judge.finds("left behind", "", f"{life.name} took {took:.0f} s to end")
        for record in self.database.records.values():
            if record.status is Status.PROCESSING and (record.token or "").startswith(f"{life.name}."):
                self.stage.judge.finds("left behind", record.id, f"{life.name} has ended, and {record.token} holds it")

    async def _keep_mode(self, store: PostgresStore, life: Life, stop: asyncio.Event) -> None:
        """At once and each minute, as the service's."""
        modes, looks = self.setup.shadow_until is not None or self.setup.restore is not None, 0
        while not self.over:
            looks += 1
            with contextlib.suppress(*LOST):
                if life.policy.only_ask:
                    await store.enter_shadow()
                elif modes and not stop.is_set():
                    await store.leave_shadow()
                if looks % RECALL_EVERY == 0:
                    await store.recall()
            await asyncio.sleep(MODE_EVERY)
