"""The stream by itself, without a database: who works when."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

import pytest

from tests.fakes import START, Even, FakeClock, LedgerGateway, payment, payments, run
from tests.gateway.support import LoopClock, VirtualLoop
from tests.memory_store import MemoryStore
from workers.domain.confirming import Confirmer, Tally
from workers.domain.outcomes import Confirmed, NotFound, Outcome, Retryable, Unknown
from workers.domain.policy import Policy
from workers.domain.ports import Claimed, Look, Move
from workers.domain.transaction import Status, Transaction
from workers.gateway.limits import CircuitBreaker
from workers.service.stream import AHEAD, Stream

CALLERS = 100


@dataclass
class Memory:
    """A source on the model of a store."""

    store: MemoryStore
    claims: int = 0

    async def claim(self, limit: int, look: Look = Look.ONWARD) -> Claimed:
        self.claims += 1
        await asyncio.sleep(0)  # the callers have nothing yet, and wait
        return await self.store.claim(token=f"t-{self.claims}", by="w", limit=limit, late=look is Look.LATE)

    async def settle(self, moves: Sequence[Move]) -> list[bool]:
        return await self.store.settle(moves)

    async def extend(self, transactions: Sequence[Transaction]) -> list[Transaction]:
        return await self.store.extend(transactions)


@dataclass
class Together(LedgerGateway):
    """Answers nobody until `size` calls wait."""

    size: int = CALLERS
    waiting: int = 0
    all_here: asyncio.Event = field(default_factory=asyncio.Event)

    async def confirm(self, transaction: Transaction, key: str) -> Outcome:
        self.waiting += 1
        if self.waiting == self.size:
            self.all_here.set()
        await self.all_here.wait()
        return Confirmed(key, transaction.amount, transaction.currency)


async def drain(
    gateway: LedgerGateway, count: int, source: Callable[[MemoryStore], Memory] = Memory
) -> tuple[Stream, MemoryStore]:
    """Confirm `count` transactions in batches of as many as there are callers."""
    clock, policy, stop = FakeClock(), Policy(), asyncio.Event()
    store = MemoryStore(clock, policy)
    await store.add(list(payments(count)))
    confirmer = Confirmer(store, gateway, clock, Even(), lambda: "t", policy, "w")
    left = count

    def report(records: Sequence[Transaction]) -> None:
        nonlocal left
        left -= len(records)
        if not left:
            stop.set()

    stream = Stream(source(store), lambda: confirmer, CALLERS, CALLERS, timedelta(seconds=1), report)
    async with asyncio.timeout(60):
        await stream.run(stop)
    return stream, store


def test_a_call_of_a_claim_that_was_taken_over_is_not_made_on_the_lease_of_the_next() -> None:
    """After an outage longer than a lease we hold a transaction twice: the call that waited for its turn belongs to the
    claim that is over, and the new claim's call is under way."""
    clock, policy, stop = FakeClock(), Policy(), asyncio.Event()
    store = MemoryStore(clock, policy)
    run(store.add([payment("p-0")]))
    called: list[str | None] = []

    class Late(LedgerGateway):
        """The first turn comes a lease and more later, when the second claim's call is under way."""

        turns = 0
        again = asyncio.Event()
        over = asyncio.Event()

        @contextlib.asynccontextmanager
        async def turn(self, until: datetime | None = None) -> AsyncIterator[object]:
            self.turns += 1
            if self.turns == 1:
                clock.advance(policy.lease.total_seconds() + 61)
                stream.wake.set()
                await self.again.wait()
            yield None

        async def ask(self, transaction: Transaction, key: str) -> Outcome:
            called.append(transaction.token)
            self.again.set()
            await self.over.wait()
            return NotFound()

        async def confirm(self, transaction: Transaction, key: str) -> Outcome:
            called.append(transaction.token)
            return await super().confirm(transaction, key)

    gateway = Late()

    def report(records: Sequence[Transaction]) -> None:
        stop.set()

    async def settle(moves: Sequence[Move]) -> list[bool]:
        won = await store.settle(moves)
        gateway.over.set()  # what the late caller released is settled: its fence was lost
        return won

    source = Memory(store)
    source.settle = settle  # type: ignore[method-assign]
    confirmer = Confirmer(store, gateway, clock, Random(3), lambda: "t", policy, "w", lambda one: stream.lease_of(one))
    stream = Stream(source, lambda: confirmer, 1, 2, timedelta(milliseconds=5), report)

    async def work() -> None:
        async with asyncio.timeout(60):
            await stream.run(stop)

    run(work())
    assert called[0] != "t-1"
    assert "t-1" not in called, "the claim that is over makes no call"
    assert len(gateway.effects) <= 1


@pytest.mark.parametrize("size", [1, 2, 7, CALLERS])
def test_as_many_calls_run_at_once_as_may(size: int) -> None:
    """Callers rouse one another: each of a batch finds one, or this gateway would answer nobody."""
    stream, store = run(drain(Together(size=size), size))
    assert {record.status for record in store.records.values()} == {Status.CONFIRMED}
    assert stream.totals.tally.confirmed == size


def test_what_a_claim_sends_to_a_desk_is_told_and_holds_up_nobody() -> None:
    """A batch of nothing else is no sign that nothing is due: the next claim follows at once, not after the poll."""
    clock, policy, stop, told = FakeClock(), Policy(), asyncio.Event(), list[Transaction]()
    store = MemoryStore(clock, policy)
    late = [payment(f"a-{n}", hours=1) for n in range(2 * CALLERS)]
    run(store.add([*late, *payments(3)]))
    clock.advance(3601)
    confirmer = Confirmer(store, LedgerGateway(), clock, Even(), lambda: "t", policy, "w")

    def report(records: Sequence[Transaction]) -> None:
        told.extend(records)
        if len(told) == len(store.records):
            stop.set()

    async def work() -> Stream:
        stream = Stream(Memory(store), lambda: confirmer, CALLERS, CALLERS, timedelta(hours=1), report)
        async with asyncio.timeout(60):
            await stream.run(stop)
        return stream

    assert run(work()).totals.tally == Tally(claimed=len(late) + 3, confirmed=3, review=len(late))
    assert {record.id for record in told if record.status is Status.REVIEW} == {record.id for record in late}


def test_what_is_late_goes_to_a_desk_while_the_breaker_is_open_as_fast_as_the_store_takes_it() -> None:
    """No call is needed for it, so it waits for no probe; what is not late stays where it is."""
    clock, policy, stop = FakeClock(), Policy(), asyncio.Event()
    store, gateway = MemoryStore(clock, policy), LedgerGateway(is_ready=False)
    run(store.add([*payments(7 * CALLERS), payment("young", hours=100)]))
    clock.advance(24 * 3600)
    source, to_review = Memory(store), 0

    def report(records: Sequence[Transaction]) -> None:
        nonlocal to_review
        to_review += sum(record.status is Status.REVIEW for record in records)
        if to_review == 7 * CALLERS:
            stop.set()

    confirmer = Confirmer(store, gateway, clock, Even(), lambda: "t", policy, "w")
    # one poll for all of them: whoever waited for the next would be here for minutes
    stream = Stream(source, lambda: confirmer, CALLERS, CALLERS, timedelta(seconds=50), report)

    async def work() -> None:
        async with asyncio.timeout(60):
            await stream.run(stop)

    run(work())
    assert gateway.calls == []
    assert store.records["young"].status is Status.PENDING
    assert stream.totals.tally == Tally(claimed=7 * CALLERS, review=7 * CALLERS)


def test_a_breaker_that_is_open_for_a_moment_desks_nothing_that_may_have_been_sent() -> None:
    """Shadow mode after a restore. Ten questions fail, and the gateway is well again."""
    clock, policy, stop = FakeClock(), Policy(only_ask=True), asyncio.Event()
    store, breaker = MemoryStore(clock, policy), CircuitBreaker(clock)
    run(store.add([payment(f"p-{n}", created_at=START - timedelta(hours=30)) for n in range(3 * CALLERS)]))

    class Broken(LedgerGateway):
        def ready(self) -> bool:
            return breaker.ready()

        def away(self) -> timedelta:
            return breaker.silence.lasted()

        async def ask(self, transaction: Transaction, key: str) -> Outcome:
            if (permit := breaker.enter()) is None:
                return Retryable("not asked: the circuit breaker is open", counts=False)
            self.calls.append(("ask", key))
            bad = len(self.calls) <= 10
            await asyncio.sleep(0)
            breaker.leave(permit, not bad)
            return Unknown("503") if bad else self._done(transaction)

    gateway = Broken()
    confirmer = Confirmer(store, gateway, clock, Even(), lambda: "t", policy, "w")
    stream = Stream(Memory(store), lambda: confirmer, CALLERS, 10, timedelta(milliseconds=10), lambda _: None)

    async def work() -> None:
        task = asyncio.create_task(stream.run(stop))
        async with asyncio.timeout(30):
            while breaker.ready():
                await asyncio.sleep(0)
            await asyncio.sleep(0.05)
            while any(not record.status.is_final for record in store.records.values()):
                assert not [r for r in store.records.values() if r.status is Status.REVIEW]
                clock.advance(1)
                await asyncio.sleep(0.02)
            stop.set()
            await task

    run(work())
    assert {record.status for record in store.records.values()} == {Status.CONFIRMED}


class Slow(LedgerGateway):
    """Answers after seconds."""

    async def confirm(self, transaction: Transaction, key: str) -> Outcome:
        await asyncio.sleep(5)
        return await super().confirm(transaction, key)

    async def ask(self, transaction: Transaction, key: str) -> Outcome:
        await asyncio.sleep(5)
        return await super().ask(transaction, key)


@dataclass
class LateHeartbeat(Memory):
    """The answer to the renewal of a lease comes after its settle."""

    settled: asyncio.Event = field(default_factory=asyncio.Event)

    async def settle(self, moves: Sequence[Move]) -> list[bool]:
        won = await super().settle(moves)
        self.settled.set()
        return won

    async def extend(self, transactions: Sequence[Transaction]) -> list[Transaction]:
        renewed = await super().extend(transactions)
        await self.settled.wait()
        await asyncio.sleep(1)
        return renewed


def test_a_late_answer_to_a_heartbeat_keeps_no_stream_from_its_end() -> None:
    loop, clock, policy, stop = VirtualLoop(), LoopClock(), Policy(), asyncio.Event()
    source = LateHeartbeat(MemoryStore(clock, policy))

    class Slowest(LedgerGateway):
        async def confirm(self, transaction: Transaction, key: str) -> Outcome:
            await asyncio.sleep(policy.lease.total_seconds() * 0.6)  # it is renewed at half of it
            return await super().confirm(transaction, key)

    async def work() -> float:
        await source.store.add([payment("p-0", created_at=clock.now())])
        confirmer = Confirmer(source.store, Slowest(), clock, Even(), lambda: "t", policy, "w")
        stream = Stream(source, lambda: confirmer, 1, 1, timedelta(seconds=1), lambda _: None)
        task = asyncio.create_task(stream.run(stop))
        await source.settled.wait()
        await asyncio.sleep(9)
        assert stream.held == {}
        stop.set()
        began = loop.time()
        await task
        return loop.time() - began

    with contextlib.closing(loop):
        assert loop.run_until_complete(work()) < 1


def test_suspects_keep_no_others_from_being_sent_in_time() -> None:
    """Two deployments failed, with 100 in their hands; 50 that come in then have ten minutes."""
    loop, clock, policy, stop = VirtualLoop(), LoopClock(), Policy(), asyncio.Event()
    store, gateway = MemoryStore(clock, policy), Slow()

    async def work() -> None:
        await store.add([payment(f"old-{n:03}", created_at=clock.now()) for n in range(100)])
        for worker in ("dead-1", "dead-2"):
            await store.claim(token=worker, by=worker, limit=100)
            await asyncio.sleep(policy.lease.total_seconds() + 3)
        await store.add([payment(f"new-{n:02}", created_at=clock.now(), hours=10 / 60) for n in range(50)])
        confirmer = Confirmer(
            store, gateway, clock, Random(3), lambda: "t", policy, "w", lambda one: stream.lease_of(one)
        )

        def report(_: Sequence[Transaction]) -> None:
            if all(one.status.is_final for one in store.records.values()):
                stop.set()

        stream = Stream(Memory(store), lambda: confirmer, 100, 50, timedelta(seconds=1), report)
        async with asyncio.timeout(6 * 3600):
            await stream.run(stop)

    with contextlib.closing(loop):
        loop.run_until_complete(work())
    assert {one.status for one in store.records.values()} == {Status.CONFIRMED}
    assert set(gateway.effects.values()) == {1}


def test_looks_for_what_is_late_keep_to_a_tenth_of_the_time_however_little_they_bring() -> None:
    clock, policy, stop = FakeClock(), Policy(), asyncio.Event()
    store, gateway = MemoryStore(clock, policy), LedgerGateway(is_ready=False)
    confirmer = Confirmer(store, gateway, clock, Even(), lambda: "t", policy, "w")

    @dataclass
    class Slow(Memory):
        looking: float = 0.0

        async def claim(self, limit: int, look: Look = Look.ONWARD) -> Claimed:
            began = asyncio.get_running_loop().time()
            await asyncio.sleep(0.02)  # a look through a long queue
            self.looking += asyncio.get_running_loop().time() - began
            # as time goes by one more passes its deadline
            await self.store.add([payment(f"late-{self.claims}", created_at=START - timedelta(hours=30))])
            return await super().claim(limit, look)

    source = Slow(store)
    stream = Stream(source, lambda: confirmer, CALLERS, CALLERS, timedelta(milliseconds=10), lambda _: None)

    async def work() -> float:
        began = asyncio.get_running_loop().time()
        task = asyncio.create_task(stream.run(stop))
        async with asyncio.timeout(30):
            while source.claims < 4:
                await asyncio.sleep(0.01)
        spent = asyncio.get_running_loop().time() - began
        stop.set()
        await task
        return source.looking / spent

    assert run(work()) < 0.25


def test_calls_that_return_at_once_rouse_hardly_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that one caller ends is not worth waking a hundred."""
    roused = 0
    rouse = Stream._rouse

    def counting(stream: Stream, callers: int) -> None:
        nonlocal roused
        before = len(stream._idle)
        rouse(stream, callers)
        roused += before - len(stream._idle)

    monkeypatch.setattr(Stream, "_rouse", counting)
    batches = 20
    run(drain(LedgerGateway(), batches * CALLERS))
    assert 1 <= roused <= 4 * batches


@dataclass
class Overlapping(LedgerGateway):
    """The first batch's calls end once the next batch was claimed; the next one's let the first batch be settled."""

    claimed_next: asyncio.Event = field(default_factory=asyncio.Event)
    called_next: asyncio.Event = field(default_factory=asyncio.Event)

    async def confirm(self, transaction: Transaction, key: str) -> Outcome:
        if int(key.removeprefix("p-")) < CALLERS:
            await self.claimed_next.wait()
        else:
            self.called_next.set()
        return Confirmed(key, transaction.amount, transaction.currency)


@dataclass
class Watched(Memory):
    """A source that tells of its second batch, and settles nothing before that is called."""

    gateway: Overlapping = field(default_factory=Overlapping)

    async def claim(self, limit: int, look: Look = Look.ONWARD) -> Claimed:
        claimed = await super().claim(limit, look)
        if any(int(record.id.removeprefix("p-")) >= CALLERS for record in claimed.held):
            self.gateway.claimed_next.set()
        return claimed

    async def settle(self, moves: Sequence[Move]) -> list[bool]:
        await self.gateway.called_next.wait()
        return await super().settle(moves)


def test_the_gateway_never_waits_for_the_database_nor_the_database_for_it() -> None:
    """One after the other, claim, call and settle would wait for each other here for ever."""
    gateway = Overlapping()
    stream, store = run(drain(gateway, 2 * CALLERS, lambda store: Watched(store, gateway=gateway)))
    assert {record.status for record in store.records.values()} == {Status.CONFIRMED}
    assert stream.totals.tally.confirmed == 2 * CALLERS


@dataclass
class Gated(Memory):
    """A source that says what it is asked, and answers claims or settles when the test lets it."""

    claiming: list[bool] = field(default_factory=list)
    """Claims under way: whether each goes beside another."""
    sizes: list[int] = field(default_factory=list)
    """Of the settles."""
    may_claim: asyncio.Event = field(default_factory=asyncio.Event)
    may_settle: asyncio.Event = field(default_factory=asyncio.Event)

    async def claim(self, limit: int, look: Look = Look.ONWARD) -> Claimed:
        self.claiming.append(look is Look.BESIDE)
        try:
            await self.may_claim.wait()
            return await super().claim(limit, look)
        finally:
            self.claiming.remove(look is Look.BESIDE)

    async def settle(self, moves: Sequence[Move]) -> list[bool]:
        self.sizes.append(len(moves))
        await self.may_settle.wait()
        return await super().settle(moves)


async def at_rest() -> None:
    """When nothing moves any more: turns of the loop, of which a wave of calls takes a few."""
    for _ in range(50 * CALLERS):
        await asyncio.sleep(0)


def gated(source: Gated) -> Callable[[MemoryStore], Memory]:
    def on(store: MemoryStore) -> Memory:
        source.store = store
        return source

    return on


def new_gated() -> Gated:
    return Gated(MemoryStore(FakeClock(), Policy()))


def test_what_is_done_while_the_database_writes_is_settled_together() -> None:
    async def work() -> None:
        source = new_gated()
        source.may_claim.set()
        drained = asyncio.create_task(drain(LedgerGateway(), 6 * CALLERS, gated(source)))
        await at_rest()
        (first,) = source.sizes
        assert first <= 2 * CALLERS
        source.may_settle.set()
        await drained
        assert source.sizes == [first, 6 * CALLERS - first]

    run(work())


@dataclass
class Telling(Gated):
    """Its second settle notes whether the first was told by then, and is answered once it is."""

    told: asyncio.Event = field(default_factory=asyncio.Event)
    told_before: bool = False

    async def settle(self, moves: Sequence[Move]) -> list[bool]:
        if self.sizes:
            self.told_before = self.told.is_set()
            await self.told.wait()
        return await super().settle(moves)


def test_a_settle_is_told_while_the_next_one_is_on_its_way() -> None:
    clock, policy, stop = FakeClock(), Policy(), asyncio.Event()
    store = MemoryStore(clock, policy)
    run(store.add(list(payments(6 * CALLERS))))
    confirmer = Confirmer(store, LedgerGateway(), clock, Even(), lambda: "t", policy, "w")

    async def work() -> Telling:
        source, told = Telling(store), 0

        def report(records: Sequence[Transaction]) -> None:
            nonlocal told
            source.told.set()
            told += len(records)
            if told == 6 * CALLERS:
                stop.set()

        source.may_claim.set()
        running = asyncio.create_task(
            Stream(source, lambda: confirmer, CALLERS, CALLERS, timedelta(seconds=1), report).run(stop)
        )
        await at_rest()
        source.may_settle.set()
        async with asyncio.timeout(60):
            await running
        return source

    source = run(work())
    assert len(source.sizes) == 2
    assert not source.told_before, "the database did not wait for it"


@pytest.mark.parametrize(("came", "at_once"), [(CALLERS, [False, True]), (CALLERS - 1, [False])])
def test_two_claims_are_on_their_way_while_they_come_back_full(came: int, at_once: list[bool]) -> None:
    """The second goes beside, and would be in vain where the first did not find as many as it might have brought."""

    async def work() -> list[bool]:
        source = new_gated()
        source.may_settle.set()
        source.may_claim.set()
        drained = asyncio.create_task(drain(LedgerGateway(), came, gated(source)))
        while source.claims < 1:
            await asyncio.sleep(0)
        source.may_claim.clear()
        await at_rest()
        under_way = sorted(source.claiming)
        source.may_claim.set()
        await drained
        return under_way

    assert run(work()) == at_once


def test_no_more_is_held_than_callers_will_soon_need() -> None:
    """What waits here for a slow gateway, no other worker can take."""

    async def work() -> int:
        source, gateway = new_gated(), Together(size=10 * CALLERS)
        source.may_claim.set()
        source.may_settle.set()
        drained = asyncio.create_task(drain(gateway, 20 * CALLERS, gated(source)))
        await at_rest()
        held = sum(record.status is Status.PROCESSING for record in source.store.records.values())
        gateway.all_here.set()
        await drained
        return held

    assert run(work()) == (1 + AHEAD + 1) * CALLERS, "called, waiting, and one of two claims that were on their way"
