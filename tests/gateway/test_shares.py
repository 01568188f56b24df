"""One rate limit for many workers: on a virtual loop, where a minute of them is a matter of a moment.

Each worker has a limiter of its own, and a datastore that takes milliseconds to answer. The gateway notes when each
call came: no second of it, wherever that begins, may hold more than the limit.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gateway.support import START, LoopClock, VirtualLoop, quietly
from tests.memory_shares import MemoryShares
from workers.domain.ports import Shares, Taken
from workers.domain.shares import LATENESS, PARTS, SLICE, Ask, Planner, Slice, count, instants, place, slice_at
from workers.gateway.limits import Limiter
from workers.stores.shares import STAMP, DynamoDbShares

NOW = START.timestamp()


# --- the grid


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 2000), st.integers(0, 10**6), st.lists(st.integers(0, PARTS), min_size=1, max_size=20))
def test_shares_cut_a_slice_into_its_instants(limit: int, offset: int, cuts: list[int]) -> None:
    number = slice_at(NOW) + offset
    edges = sorted({0, PARTS, *cuts})
    found = [at for first, last in pairwise(edges) for at in instants(limit, number, first, last - first)]
    whole = list(instants(limit, number))
    assert sorted(found) == whole
    assert len(whole) == count(limit, number)
    assert all(slice_at(at + 1e-6) == number for at in whole)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 2000), st.integers(0, 10**6), st.lists(st.floats(0, 1), min_size=30, max_size=30))
def test_no_second_holds_more_than_the_limit_however_late_calls_are(limit: int, offset: int, late: list[float]) -> None:
    first = slice_at(NOW) + offset
    every = [at for number in range(first, first + 24) for at in instants(limit, number)]
    assert most([at + late[n % len(late)] * LATENESS for n, at in enumerate(every)]) <= limit


@pytest.mark.parametrize("share", [2, 3, 7, 16])
def test_any_part_of_a_slice_is_spread_over_it(share: int) -> None:
    for first in range(0, PARTS - PARTS // share, PARTS // 11):
        part = [at for number in range(100, 108) for at in instants(960, number, first, PARTS // share)]
        gaps = [b - a for a, b in pairwise(part)]
        assert max(gaps) < 2.5 * share / 960
        assert len(part) == pytest.approx(960 / (1 + LATENESS) / share, abs=12)


def test_every_part_belongs_to_an_instant() -> None:
    assert sorted(place(n) for n in range(64)) == [PARTS // 64 * n for n in range(64)]


# --- many workers


def most(times: Sequence[float]) -> int:
    """The most calls in any second."""
    ordered, begin, found = sorted(times), 0, 0
    for n, at in enumerate(ordered):
        while ordered[begin] <= at - 1:
            begin += 1
        found = max(found, n - begin + 1)
    return found


@dataclass
class Slow:
    """Shares behind a network, that can be lost."""

    shares: Shares
    chance: random.Random
    lost: bool = False
    asked: int = 0

    def __post_init__(self) -> None:
        self.reach = self.shares.reach

    async def take(self, asked: Sequence[Ask], now: float) -> Taken:
        self.asked += 1
        await asyncio.sleep(self.chance.uniform(0.001, 0.004))
        if self.lost:
            raise OSError("no route to host")
        taken = await self.shares.take(asked, now)
        await asyncio.sleep(self.chance.uniform(0.001, 0.004))
        return taken


@dataclass
class Gateway:
    """Notes who called when."""

    calls: list[tuple[float, str]] = field(default_factory=list)

    async def call(self, worker: str, seconds: float) -> None:
        self.calls.append((asyncio.get_running_loop().time(), worker))
        await asyncio.sleep(seconds)

    def between(self, begin: float, end: float) -> Counter[str]:
        return Counter(worker for at, worker in self.calls if begin <= at < end)


class Worker:
    """A stream that never runs dry."""

    def __init__(self, name: str, limit: float, shares: Shares, gateway: Gateway, chance: random.Random) -> None:
        self.shares = Slow(shares, chance)
        self.limiter = Limiter(LoopClock(chance.uniform(-9, 9)), limit, self.shares, stream=True, chance=chance)
        self.tasks = [asyncio.create_task(self._work(name, gateway, chance)) for _ in range(120)]

    async def _work(self, name: str, gateway: Gateway, chance: random.Random) -> None:
        while True:
            if await self.limiter.wait(30):
                await gateway.call(name, chance.uniform(0.05, 0.3))

    async def kill(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.limiter.close()


def on(run: Callable[[random.Random, MemoryShares, Gateway], Awaitable[None]]) -> Gateway:
    gateway = Gateway()

    async def main() -> None:
        await run(random.Random(7), MemoryShares(LoopClock()), gateway)

    quietly(main, VirtualLoop)
    return gateway


@pytest.mark.parametrize(("workers", "limit"), [(1, 480), (2, 100), (2, 480), (8, 240), (16, 240)])
def test_all_workers_keep_one_limit_use_it_and_share_it(workers: int, limit: int) -> None:
    asked = []

    async def run(chance: random.Random, shares: MemoryShares, gateway: Gateway) -> None:
        crew = [Worker(f"w{n}", limit, shares, gateway, chance) for n in range(workers)]
        await asyncio.sleep(12)
        for one in crew:
            await one.kill()
            asked.append(one.shares.asked)

    gateway = on(run)
    each = gateway.between(2, 12)
    assert most([at for at, _ in gateway.calls]) <= limit
    assert each.total() >= 0.97 * limit * 10
    assert len(each) == workers
    mean = each.total() / workers
    assert all(0.8 * mean <= calls <= 1.2 * mean for calls in each.values())
    assert max(asked) < 12 * 6, "a question costs a write"


def test_a_few_calls_a_second_are_shared_too() -> None:
    async def run(chance: random.Random, shares: MemoryShares, gateway: Gateway) -> None:
        crew = [Worker(f"w{n}", 3, shares, gateway, chance) for n in range(2)]
        await asyncio.sleep(120)
        for one in crew:
            await one.kill()

    gateway = on(run)
    each = gateway.between(0, 120)
    assert most([at for at, _ in gateway.calls]) <= 3
    assert each.total() >= 0.97 * 3 * 120
    assert all(calls >= 0.8 * each.total() / 2 for calls in each.values())


def test_a_rolling_deployment_keeps_the_limit_and_uses_it() -> None:
    async def run(chance: random.Random, shares: MemoryShares, gateway: Gateway) -> None:
        old = [Worker(f"old{n}", 240, shares, gateway, chance) for n in range(2)]
        await asyncio.sleep(5)
        new = [Worker(f"new{n}", 240, shares, gateway, chance) for n in range(2)]
        await asyncio.sleep(5)
        for one in old:
            await one.kill()
        await asyncio.sleep(5)
        for one in new:
            await one.kill()

    gateway = on(run)
    assert most([at for at, _ in gateway.calls]) <= 240
    assert gateway.between(2, 15).total() >= 0.97 * 240 * 13
    overlap = gateway.between(6.5, 10)
    assert all(0.2 <= calls / overlap.total() <= 0.3 for calls in overlap.values())


def test_a_deployment_that_changes_the_limit_stays_between_both() -> None:
    async def run(chance: random.Random, shares: MemoryShares, gateway: Gateway) -> None:
        old, new = (Worker(f"at {limit}", limit, shares, gateway, chance) for limit in (480, 100))
        await asyncio.sleep(10)
        await old.kill()
        await asyncio.sleep(5)
        await new.kill()

    gateway = on(run)
    assert most([at for at, _ in gateway.calls]) <= 480
    assert most([at for at, _ in gateway.calls if at > 12]) <= 100
    assert gateway.between(2, 10)["at 480"] <= 0.6 * 480 * 8


def test_workers_that_are_killed_cost_little() -> None:
    async def run(chance: random.Random, shares: MemoryShares, gateway: Gateway) -> None:
        crew = [Worker(f"w{n}", 240, shares, gateway, chance) for n in range(8)]
        for n in range(3):
            await asyncio.sleep(5)
            await crew[n].kill()
            crew.append(Worker(f"w{8 + n}", 240, shares, gateway, chance))
        await asyncio.sleep(2)
        for one in crew[3:]:
            await one.kill()

    gateway = on(run)
    assert most([at for at, _ in gateway.calls]) <= 240
    assert gateway.between(2, 17).total() >= 0.97 * 240 * 15


def test_a_lost_datastore_slows_down_to_nothing_and_frees_nobody() -> None:
    told: list[Exception] = []

    async def run(chance: random.Random, shares: MemoryShares, gateway: Gateway) -> None:
        one = Worker("w", 100, shares, gateway, chance)
        one.limiter._failed = told.append
        await asyncio.sleep(5)
        one.shares.lost = True
        await asyncio.sleep(20)
        one.shares.lost = False
        await asyncio.sleep(10)
        await one.kill()

    gateway = on(run)
    assert gateway.between(6, 25).total() == 0, "no share, no call"
    assert gateway.between(30, 35).total() >= 0.97 * 100 * 5
    assert most([at for at, _ in gateway.calls]) <= 100
    assert [type(error) for error in told] == [OSError], "told once"


def test_a_batch_whose_datastore_is_lost_gets_no_turn_and_asks_ever_more_seldom() -> None:
    async def run(chance: random.Random, shares: MemoryShares, gateway: Gateway) -> None:
        slow = Slow(shares, chance)
        limiter = Limiter(LoopClock(), 480, slow, chance=chance)
        limiter._failed = lambda _: None
        assert all(await asyncio.gather(*(limiter.wait(30) for _ in range(20))))
        slow.lost, slow.asked = True, 0
        given = await asyncio.gather(*(limiter.wait(30) for _ in range(300)))
        assert sum(given) < 50, "what was held, and no more"
        assert 3 < slow.asked < 60
        await limiter.close()

    on(run)


def test_a_batch_takes_what_it_needs_and_leaves_no_task_behind() -> None:
    async def run(chance: random.Random, shares: MemoryShares, gateway: Gateway) -> None:
        slow = Slow(shares, chance)
        limiter = Limiter(LoopClock(), 480, slow, chance=chance)
        for _ in range(3):  # a Lambda is frozen between its invocations, at any time
            assert all(await asyncio.gather(*(limiter.wait(30) for _ in range(100))))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()} or slow.asked
            await asyncio.sleep(60)
        await limiter.close()
        assert slow.asked <= 12

    on(run)


def test_a_stream_that_is_not_full_hardly_waits() -> None:
    waits: list[float] = []

    async def run(chance: random.Random, shares: MemoryShares, gateway: Gateway) -> None:
        limiter = Limiter(LoopClock(), 480, Slow(shares, chance), stream=True, chance=chance)
        loop = asyncio.get_running_loop()
        while loop.time() < 20:
            await asyncio.sleep(chance.expovariate(20))
            began = loop.time()
            assert await limiter.wait(30)
            waits.append(loop.time() - began)
        await limiter.close()

    on(run)
    waits.sort()
    assert waits[len(waits) // 2] < 0.01
    assert waits[-1] < 0.25


def test_who_is_late_for_his_instant_takes_another() -> None:
    """A worker that stands still for a moment (CPU taken away) loses what passed, and makes up for nothing."""

    async def run(chance: random.Random, shares: MemoryShares, gateway: Gateway) -> None:
        one = Worker("w", 480, shares, gateway, chance)
        loop = asyncio.get_running_loop()
        for _ in range(20):
            await asyncio.sleep(chance.uniform(0.2, 0.6))
            loop.seconds += 0.3  # type: ignore[attr-defined]
        await one.kill()

    assert most([at for at, _ in on(run).calls]) <= 480


def test_a_pause_holds_back_those_who_wait_already() -> None:
    async def run(chance: random.Random, shares: MemoryShares, gateway: Gateway) -> None:
        one = Worker("w", 100, shares, gateway, chance)
        await asyncio.sleep(3)
        one.limiter.pause(4)
        await asyncio.sleep(7)
        await one.kill()

    gateway = on(run)
    assert gateway.between(3, 6.99).total() == 0
    assert gateway.between(8, 10).total() > 150


# --- time


class RefusedError(Exception):
    """The write's condition."""


class Table:
    """DynamoDB's one item, whose answers bear a date in whole seconds."""

    class exceptions:  # noqa: N801 - boto3's
        ConditionalCheckFailedException = RefusedError

    def __init__(self) -> None:
        self.item: dict[str, dict[str, str]] = {}
        self.writes = self.refused = self.looks = 0

    def _answer(self, **fields: object) -> dict[str, object]:
        date = format_datetime(datetime.fromtimestamp((NOW + asyncio.get_running_loop().time()) // 1, UTC), usegmt=True)
        return {"ResponseMetadata": {"HTTPHeaders": {"date": date}}, **fields}

    def batch_get_item(self, RequestItems: dict[str, object]) -> dict[str, object]:  # noqa: N803
        self.looks += 1
        return self._answer(Responses={name: [dict(self.item)] if self.item else [] for name in RequestItems})

    def update_item(
        self,
        UpdateExpression: str,  # noqa: N803
        ExpressionAttributeValues: dict[str, dict[str, str]],  # noqa: N803
        **options: object,
    ) -> dict[str, object]:
        self.writes += 1
        values, before = ExpressionAttributeValues, dict(self.item)
        condition = options.get("ConditionExpression")
        stands = values[":after"] if condition == "#at = :after" else None
        if condition and before.get(STAMP) != stands:
            self.refused += 1
            raise RefusedError
        adds, _, gone = UpdateExpression.removeprefix("SET #at = :at ADD ").partition(" REMOVE ")
        for name, value in (one.split() for one in adds.split(", ")):
            old = int(self.item.get(name, {"N": "0"})["N"])
            self.item[name] = {"N": str(old + int(values[value]["N"]))}
        for name in filter(None, gone.split(", ")):
            self.item.pop(name, None)
        self.item[STAMP] = values[":at"]
        return self._answer(Attributes=before)


@pytest.fixture
def near(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads do not wait on a virtual loop: what they would do is done at once (`Slow` is the network)."""

    async def at_once(call: Callable[..., object], *arguments: object) -> object:
        chance = random.Random(str(arguments))
        await asyncio.sleep(chance.uniform(0.001, 0.004))
        answer = call(*arguments)
        await asyncio.sleep(chance.uniform(0.001, 0.004))
        return answer

    monkeypatch.setattr(asyncio, "to_thread", at_once)


Crew = list[Worker]


def differing(
    offsets: Sequence[float],
    *,
    seed: int = 0,
    late: float = 0.0,
    seconds: float = 10.0,
    limit: float = 480,
    table: Table | None = None,
    then: Callable[[Crew], Awaitable[None]] | None = None,
) -> Gateway:
    """Workers whose clocks are ahead by `offsets`, each begun `late` seconds after the one before."""
    gateway, table = Gateway(), table or Table()

    async def main() -> None:
        chance, crew = random.Random(seed), Crew()
        for n, ahead in enumerate(offsets):
            crew.append(Worker(f"w{n}", limit, DynamoDbShares(table, "t"), gateway, chance))
            crew[-1].limiter._clock = LoopClock(ahead)
            await asyncio.sleep(late)
        await (then(crew) if then else asyncio.sleep(seconds))
        for one in crew:
            await one.kill()

    quietly(main, VirtualLoop)
    return gateway


def offsets(off: float, workers: int, seed: int) -> list[float]:
    chance = random.Random(seed)
    return [chance.uniform(-off, off) for _ in range(workers)]


@pytest.mark.usefixtures("near")
@pytest.mark.parametrize(
    ("off", "late", "seed"),
    [(0.05, 0.0, 5), (0.4, 0.0, 4), (0.9, 0.7, 1), (30.0, 0.0, 2), (30.0, 0.7, 0), (7200.0, 0.0, 0)],
)
def test_workers_whose_clocks_differ_keep_one_limit_from_the_first_call_on(off: float, late: float, seed: int) -> None:
    gateway = differing(offsets(off, 6, seed), seed=seed, late=late, seconds=6)
    begun = 6 * late + 2
    each = gateway.between(begun, begun + 4)
    assert most([at for at, _ in gateway.calls]) <= 480 * 1.02
    assert each.total() >= 0.97 * 480 * 4
    assert all(0.8 * each.total() / 6 <= calls <= 1.2 * each.total() / 6 for calls in each.values())
    assert gateway.between(0, 0.5).total() > 0, "who finds nobody at work begins"


@pytest.mark.usefixtures("near")
@pytest.mark.parametrize("jump", [0.5, 3.0, 3600.0, -3600.0])
def test_a_clock_that_jumps_calls_by_no_share_of_that_time(jump: float) -> None:
    async def then(crew: Crew) -> None:
        await asyncio.sleep(3)
        crew[0].limiter._clock.ahead += jump  # type: ignore[attr-defined]
        await asyncio.sleep(3)

    gateway = differing(offsets(0.05, 4, 0), then=then)
    assert most([at for at, _ in gateway.calls]) <= 480 * 1.02
    assert gateway.between(2, 6).total() >= 0.97 * 480 * 4


@pytest.mark.usefixtures("near")
def test_a_worker_alone_begins_at_once_and_rests_at_the_cost_of_a_look() -> None:
    """A batch each minute: nobody is at work by the stamp of a minute ago, whoever wrote it."""
    table, waits = Table(), list[float]()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        limiter = Limiter(LoopClock(0.3), 480, DynamoDbShares(table, "t"))
        for _ in range(3):
            began = loop.time()
            assert await limiter.wait(5)
            waits.append(loop.time() - began)
            await asyncio.sleep(60)
        await limiter.close()

    quietly(main, VirtualLoop)
    assert max(waits) < 0.2
    assert (table.refused, table.looks) == (0, 3)


@pytest.mark.usefixtures("near")
def test_who_comes_right_after_the_last_one_has_ended_waits_until_no_share_is_left() -> None:
    async def then(crew: Crew) -> None:
        await asyncio.sleep(3)
        await crew[0].kill()
        crew[0] = Worker("next", 480, DynamoDbShares(table, "t"), gateways[0], random.Random(0))
        crew[0].limiter._clock = LoopClock(0.8)
        await asyncio.sleep(3)

    table, gateways = Table(), [Gateway()]
    before = differing([-0.8], table=table, then=then)
    after = gateways[0].calls
    assert min(at for at, _ in after) - 3 < 1.2
    assert most([at for at, _ in [*before.calls, *after]]) <= 480 * 1.02


def test_a_clock_set_back_costs_a_moment() -> None:
    async def run(chance: random.Random, shares: MemoryShares, gateway: Gateway) -> None:
        clock = LoopClock()
        limiter = Limiter(clock, 100, Slow(shares, chance), chance=chance)
        assert await limiter.wait(5)
        clock.ahead = -3600
        began = asyncio.get_running_loop().time()
        assert all(await asyncio.gather(*(limiter.wait(5) for _ in range(20))))
        assert asyncio.get_running_loop().time() - began < 2
        await limiter.close()

    on(run)


# --- what is asked for


def test_a_planner_that_knows_nothing_looks_first_and_then_begins_small() -> None:
    planner = Planner(480, 4)
    assert planner.is_blind
    assert planner.answered(NOW, [], {}) == []
    assert not planner.is_blind
    asks = planner.asks(NOW, 10, steady=float("inf"))
    assert all(ask.hungry == 1 and ask.parts <= PARTS // 8 for ask in asks if ask.slice > slice_at(NOW) + 2)


def test_the_hungry_share_what_the_others_leave() -> None:
    planner, number = Planner(480, 4), slice_at(NOW)
    planner.answered(NOW, [], {})
    later = NOW + 10 * SLICE
    known = {number + 10 + n: Slice(PARTS, PARTS // 4, 2) for n in range(5)}
    planner.known, planner.known_at = known, number + 10
    far = [ask for ask in planner.asks(later, 500, steady=float("inf")) if ask.slice > number + 12]
    assert {(ask.parts, ask.light, ask.hungry) for ask in far} == {(PARTS // 4, 0, 1)}, "a third hungry one has come"


# --- what must not stop a worker


def busiest(calls: list[float], end: float) -> float:
    """The longest time without a call."""
    return max(after - before for before, after in pairwise([0.0, *calls, end]))


def sixty_callers(limiter: Limiter, calls: list[float]) -> list[asyncio.Task[None]]:
    async def one() -> None:
        while True:
            limiter.expected += 1
            granted = await limiter.wait(5)
            limiter.expected -= 1
            if granted:
                calls.append(asyncio.get_running_loop().time())
                await asyncio.sleep(0.05)

    return [asyncio.create_task(one()) for _ in range(60)]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("lost", range(8, 40, 3))
def test_one_lost_question_stops_no_worker(stream: bool, lost: int) -> None:
    """What was asked for and never counted is no share of the worker's own."""
    calls: list[float] = []

    async def main() -> None:
        model = MemoryShares(LoopClock(), reach=4 if stream else 6)

        class Once:
            count, reach = 0, model.reach

            async def take(self, asked: Sequence[Ask], now: float) -> Taken:
                self.count += 1
                await asyncio.sleep(0.002)
                if self.count == lost:
                    raise OSError("connection reset")
                return await model.take(asked, now)

        limiter = Limiter(LoopClock(), 100, Once(), stream=stream, chance=random.Random(lost))
        tasks = sixty_callers(limiter, calls)
        await asyncio.sleep(30)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await limiter.close()

    quietly(main, VirtualLoop)
    assert busiest(calls, 30) < 3


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("ahead", [7.5, 60.0])
def test_a_clock_that_was_ahead_for_a_moment_stops_no_worker_for_so_long(stream: bool, ahead: float) -> None:
    calls: list[float] = []

    async def main() -> None:
        clock = LoopClock()
        limiter = Limiter(clock, 100, MemoryShares(LoopClock()), stream=stream, chance=random.Random(1))
        tasks = sixty_callers(limiter, calls)
        await asyncio.sleep(5)
        clock.ahead = ahead
        await asyncio.sleep(35)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await limiter.close()

    quietly(main, VirtualLoop)
    assert busiest(calls, 40) < 3
