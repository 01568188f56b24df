"""The stream by itself, without a database: who works when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from tests.fakes import Even, FakeClock, LedgerGateway, payment, payments, run
from workers.domain.confirming import Confirmer, Tally
from workers.domain.outcomes import Confirmed, Outcome
from workers.domain.policy import Policy
from workers.domain.ports import Claimed, Move
from workers.domain.transaction import Status, Transaction
from workers.service.pipeline import Pipeline
from workers.stores.memory import MemoryStore

CALLERS = 100


@dataclass
class Memory:
    """A source on the model of a store."""

    store: MemoryStore
    claims: int = 0

    async def claim(self, limit: int, sweep: bool) -> Claimed:
        self.claims += 1
        await asyncio.sleep(0)  # the callers have nothing yet, and wait
        return await self.store.claim(token=f"t-{self.claims}", by="w", limit=limit)

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
) -> tuple[Pipeline, MemoryStore]:
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

    pipeline = Pipeline(source(store), lambda: confirmer, CALLERS, CALLERS, timedelta(seconds=1), report)
    async with asyncio.timeout(60):
        await pipeline.run(stop)
    return pipeline, store


@pytest.mark.parametrize("size", [1, 2, 7, CALLERS])
def test_as_many_calls_run_at_once_as_may(size: int) -> None:
    """Callers rouse one another: each of a batch finds one, or this gateway would answer nobody."""
    pipeline, store = run(drain(Together(size=size), size))
    assert {record.status for record in store.records.values()} == {Status.CONFIRMED}
    assert pipeline.totals.tally.confirmed == size


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

    async def work() -> Pipeline:
        pipeline = Pipeline(Memory(store), lambda: confirmer, CALLERS, CALLERS, timedelta(hours=1), report)
        async with asyncio.timeout(60):
            await pipeline.run(stop)
        return pipeline

    assert run(work()).totals.tally == Tally(claimed=len(late) + 3, confirmed=3, review=len(late))
    assert {record.id for record in told if record.status is Status.REVIEW} == {record.id for record in late}


def test_calls_that_return_at_once_rouse_hardly_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that one caller ends is not worth waking a hundred."""
    roused = 0
    rouse = Pipeline._rouse

    def counting(pipeline: Pipeline, callers: int) -> None:
        nonlocal roused
        before = len(pipeline._idle)
        rouse(pipeline, callers)
        roused += before - len(pipeline._idle)

    monkeypatch.setattr(Pipeline, "_rouse", counting)
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
    """A source that tells of its second claim, and settles nothing before the second batch is called."""

    gateway: Overlapping = field(default_factory=Overlapping)

    async def claim(self, limit: int, sweep: bool) -> Claimed:
        claimed = await super().claim(limit, sweep)
        if self.claims == 2:
            self.gateway.claimed_next.set()
        return claimed

    async def settle(self, moves: Sequence[Move]) -> list[bool]:
        await self.gateway.called_next.wait()
        return await super().settle(moves)


def test_the_gateway_never_waits_for_the_database_nor_the_database_for_it() -> None:
    """One after the other, claim, call and settle would wait for each other here for ever."""
    gateway = Overlapping()
    pipeline, store = run(drain(gateway, 2 * CALLERS, lambda store: Watched(store, gateway=gateway)))
    assert {record.status for record in store.records.values()} == {Status.CONFIRMED}
    assert pipeline.totals.tally.confirmed == 2 * CALLERS


@dataclass
class Writing(Memory):
    """A source that says how much is being settled, and ends a settle when the test lets it."""

    sizes: list[int] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def settle(self, moves: Sequence[Move]) -> list[bool]:
        self.sizes.append(len(moves))
        await self.go_on.wait()
        return await super().settle(moves)


@pytest.mark.parametrize(("count", "at_once"), [(4 * CALLERS, [CALLERS, CALLERS]), (CALLERS + CALLERS // 2, [CALLERS])])
def test_two_whole_batches_settle_at_once_but_no_crumbs(count: int, at_once: list[int]) -> None:
    async def sizes_at_rest() -> list[int]:
        sources: list[Writing] = []

        def watched(store: MemoryStore) -> Writing:
            sources.append(Writing(store))
            return sources[0]

        drained = asyncio.create_task(drain(LedgerGateway(), count, watched))
        for _ in range(50 * CALLERS):  # turns of the loop: nothing else moves then
            await asyncio.sleep(0)
        under_way = list(sources[0].sizes)
        sources[0].go_on.set()
        _, store = await drained
        assert {record.status for record in store.records.values()} == {Status.CONFIRMED}
        return under_way

    assert run(sizes_at_rest()) == at_once
