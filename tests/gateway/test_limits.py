"""Rate limit, breaker and guard, under a clock that is set by hand."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.gateway.support import HandClock, LoopClock, VirtualLoop, quietly, unsent
from tests.memory_shares import MemoryShares
from workers.clock import SystemClock
from workers.domain.causes import Cause
from workers.domain.outcomes import Confirmed, Rejected, Retryable, Unknown
from workers.domain.ports import ERRORS
from workers.gateway.limits import BreakerPolicy, Called, CircuitBreaker, Guard, Limiter, State

FINE = Called(Confirmed("r", 1, "USD"), healthy=True)
POLICY = BreakerPolicy(consecutive=3, window=10, ratio=0.5, open_seconds=5, open_cap_seconds=15)


def near(seconds: float | list[float]) -> object:
    """A clock in microseconds since 1970 is no more exact."""
    return pytest.approx(seconds, abs=1e-4)


# --- without a rate limit


def test_no_limit_is_no_limit_until_the_gateway_asks_for_a_pause() -> None:
    async def run() -> None:
        clock = HandClock()
        limiter = Limiter(clock, 0)
        assert all([await limiter.wait(0) for _ in range(1000)])
        limiter.pause(2)
        limiter.pause(1)  # does not shorten it
        assert not await limiter.wait(1.9)
        assert clock.slept == []
        assert await limiter.wait(2.1)
        assert clock.slept == near([2])
        assert await limiter.wait(0)

    quietly(run)


def test_a_clock_set_back_makes_nobody_wait() -> None:
    async def run() -> None:
        clock = HandClock()
        limiter = Limiter(clock, 0)
        limiter.pause(1)
        clock.move(-3600)
        assert await limiter.wait(9)
        assert clock.slept == near([1])

    quietly(run)


@pytest.mark.parametrize("limit", [-1, float("nan"), float("inf")])
def test_refuses_limits_that_are_none(limit: float) -> None:
    with pytest.raises(ValueError, match="a rate limit is 0 or more"):
        Limiter(HandClock(), limit, MemoryShares(HandClock()))


def test_refuses_a_limit_that_nothing_keeps() -> None:
    with pytest.raises(ValueError, match="needs shares"):
        Limiter(HandClock(), 10)


# --- the breaker


def state(circuit: CircuitBreaker) -> State:
    return circuit.state


def breaker(policy: BreakerPolicy = POLICY) -> tuple[HandClock, CircuitBreaker]:
    clock = HandClock()
    return clock, CircuitBreaker(clock, policy)


def call(circuit: CircuitBreaker, healthy: bool | None) -> None:
    permit = circuit.enter()
    assert permit is not None
    circuit.leave(permit, healthy)


def open_up(circuit: CircuitBreaker) -> None:
    for _ in range(POLICY.consecutive):
        call(circuit, False)
    assert state(circuit) is State.OPEN


def test_opens_after_failures_in_a_row_and_no_sooner() -> None:
    _, circuit = breaker()
    for healthy in (False, False, True, False, False):
        call(circuit, healthy)
    assert state(circuit) is State.CLOSED
    call(circuit, False)
    assert state(circuit) is State.OPEN
    assert not circuit.ready()
    assert circuit.enter() is None


def test_opens_when_too_many_of_the_last_calls_failed() -> None:
    _, circuit = breaker(replace(POLICY, consecutive=100))
    for number in range(9):
        call(circuit, number % 2 == 0)
    assert state(circuit) is State.CLOSED
    call(circuit, False)
    assert state(circuit) is State.OPEN


def test_failures_long_ago_do_not_open_it() -> None:
    _, circuit = breaker(replace(POLICY, consecutive=100))
    for healthy in [False] * 4 + [True] * 10 + [False] * 4:
        call(circuit, healthy)
    assert state(circuit) is State.CLOSED
    call(circuit, False)
    assert state(circuit) is State.OPEN


def test_lets_one_probe_through_when_its_time_has_come() -> None:
    clock, circuit = breaker()
    open_up(circuit)
    clock.move(4.999)
    assert not circuit.ready()
    clock.move(0.001)
    assert state(circuit) is State.HALF_OPEN
    assert circuit.ready()
    probe = circuit.enter()
    assert probe is not None
    assert not circuit.ready()
    assert circuit.enter() is None
    circuit.leave(probe, True)
    assert state(circuit) is State.CLOSED
    assert circuit.ready()


def test_each_probe_that_fails_doubles_the_wait_up_to_the_cap_and_success_forgets_it() -> None:
    clock, circuit = breaker()
    open_up(circuit)
    for seconds in (5, 10, 15, 15):
        clock.move(seconds - 0.001)
        assert not circuit.ready()
        clock.move(0.001)
        call(circuit, False)
        assert state(circuit) is State.OPEN
    clock.move(15)
    call(circuit, True)
    open_up(circuit)
    clock.move(5)
    assert circuit.ready()


def test_a_probe_that_was_cancelled_leaves_the_circuit_open() -> None:
    clock, circuit = breaker()
    open_up(circuit)
    clock.move(5)
    call(circuit, None)
    assert state(circuit) is State.OPEN
    clock.move(60)
    assert circuit.ready()


def test_stragglers_from_before_decide_nothing() -> None:
    clock, circuit = breaker()
    early = [circuit.enter() for _ in range(3)]
    open_up(circuit)
    clock.move(5)
    probe = circuit.enter()
    assert probe is not None
    assert early[0] is not None
    assert early[1] is not None
    circuit.leave(early[0], True)
    circuit.leave(early[1], False)
    assert state(circuit) is State.HALF_OPEN
    assert circuit.enter() is None
    circuit.leave(probe, True)
    assert state(circuit) is State.CLOSED


def test_a_cancelled_call_is_no_news() -> None:
    _, circuit = breaker()
    for healthy in (False, False, None, None, False):
        assert state(circuit) is State.CLOSED
        call(circuit, healthy)
    assert state(circuit) is State.OPEN


# --- the guard


def guard(concurrency: int = 2, wait_seconds: float = 3) -> tuple[HandClock, Guard, CircuitBreaker]:
    clock = HandClock()
    circuit = CircuitBreaker(clock, POLICY)
    return clock, Guard(clock, Limiter(clock, 0), circuit, concurrency=concurrency, wait_seconds=wait_seconds), circuit


def paced(limit: float, wait_seconds: float = 30, concurrency: int = 100) -> Guard:
    """Under a rate limit, for a virtual loop."""
    clock = LoopClock()
    limiter = Limiter(clock, limit, MemoryShares(clock))
    return Guard(clock, limiter, CircuitBreaker(clock, POLICY), concurrency=concurrency, wait_seconds=wait_seconds)


class Calls:
    """Counts the calls made, and how many at once."""

    def __init__(self, *results: Called, hold: bool = False) -> None:
        self.results = list(results)
        self.made = self.now = self.most = 0
        self.go = asyncio.Event()
        if not hold:
            self.go.set()

    async def __call__(self) -> Called:
        self.made += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.go.wait()
            await asyncio.sleep(0)
        finally:
            self.now -= 1
        return self.results.pop(0) if self.results else FINE


def test_never_more_calls_at_once_than_agreed() -> None:
    async def run() -> None:
        _, limits, _ = guard(concurrency=3)
        calls = Calls()
        assert await asyncio.gather(*(limits.run(calls) for _ in range(20))) == [FINE.outcome] * 20
        assert (calls.made, calls.most) == (20, 3)

    quietly(run)


def test_a_turn_is_released_when_its_holder_is_cancelled_or_fails() -> None:
    async def run() -> None:
        _, limits, _ = guard(concurrency=1)
        calls = Calls(hold=True)
        first = asyncio.create_task(limits.run(calls))
        waiting = asyncio.create_task(limits.run(calls))
        await asyncio.sleep(0.001)
        waiting.cancel()
        first.cancel()
        await asyncio.gather(first, waiting, return_exceptions=True)

        async def broken() -> Called:
            raise KeyError("a defect")

        with pytest.raises(KeyError):
            await limits.run(broken)
        assert await limits.run(Calls()) == FINE.outcome

    quietly(run)


def test_whoever_is_cancelled_while_he_waits_gives_his_place_back() -> None:
    async def run() -> None:
        limits = paced(1, concurrency=1)
        await limits.run(Calls())
        waiting = asyncio.create_task(limits.run(Calls()))
        await asyncio.sleep(0.1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert await limits.run(Calls()) == FINE.outcome
        assert limits.limiter.expected == 0
        await limits.limiter.close()

    quietly(run, VirtualLoop)


def test_the_wait_is_in_the_turn_and_the_call_starts_at_once() -> None:
    async def run() -> None:
        limits, loop = paced(1), asyncio.get_running_loop()
        await limits.run(Calls())
        first = loop.time()
        async with limits.turn():
            second = loop.time()
            assert second - first >= 1
            await limits.run(Calls())
            assert loop.time() == second
        await limits.limiter.close()

    quietly(run, VirtualLoop)


def test_a_second_call_in_a_turn_takes_a_turn_of_its_own() -> None:
    async def run() -> None:
        limits, loop = paced(1), asyncio.get_running_loop()
        async with limits.turn():
            first = loop.time()
            await limits.run(Calls())
            await limits.run(Calls())
            assert loop.time() - first >= 1
        await limits.limiter.close()

    quietly(run, VirtualLoop)


def test_a_call_that_would_wait_too_long_is_not_made_and_costs_no_attempt() -> None:
    async def run() -> None:
        limits, calls, loop = paced(1, wait_seconds=3), Calls(), asyncio.get_running_loop()
        first = limits.clock.now()
        outcomes = await asyncio.gather(*(limits.run(calls) for _ in range(10)))
        refused = unsent(Cause.RATE_LIMITED)
        assert outcomes.count(refused) == 10 - calls.made
        assert 1 <= calls.made <= 4
        assert loop.time() == pytest.approx(3, abs=0.1)
        until = first + timedelta(seconds=3.5)  # said so: whoever must end by then waits no longer, however much he may
        async with limits.turn(until):
            assert limits.clock.now() <= until + timedelta(seconds=0.1)
        async with limits.turn(first) as late:
            assert not late.granted
        await limits.limiter.close()

    quietly(run, VirtualLoop)


def test_a_pause_that_the_gateway_asks_for_holds_back_the_next_call() -> None:
    async def run() -> None:
        clock, limits, _ = guard()
        busy = Retryable("429", counts=False)
        assert await limits.run(Calls(Called(busy, healthy=True, pause_seconds=2))) == busy
        assert await limits.run(Calls()) == FINE.outcome
        assert clock.slept == near([2])

    quietly(run)


def test_an_open_breaker_refuses_at_once_unsent() -> None:
    async def run() -> None:
        clock, limits, circuit = guard()
        open_up(circuit)
        assert not limits.ready()
        calls = Calls()
        outcome = await limits.run(calls)
        assert outcome == unsent(Cause.BREAKER_OPEN)
        assert (calls.made, clock.slept) == (0, [])

    quietly(run)


def test_a_breaker_that_opens_during_the_wait_still_stops_the_call() -> None:
    async def run() -> None:
        _, limits, circuit = guard()
        calls = Calls()
        async with limits.turn():
            open_up(circuit)
            outcome = await limits.run(calls)
        assert outcome == unsent(Cause.BREAKER_OPEN)
        assert calls.made == 0

    quietly(run)


@pytest.mark.parametrize(
    ("result", "opens"),
    [
        (Called(Rejected("insufficient_funds"), healthy=True), False),
        (Called(Retryable("503"), healthy=False), True),
    ],
)
def test_refusals_leave_the_circuit_closed_and_failures_open_it(result: Called, opens: bool) -> None:
    async def run() -> None:
        clock, limits, circuit = guard()
        for _ in range(POLICY.consecutive):
            await limits.run(Calls(result))
        assert limits.ready() is not opens
        if opens:
            clock.move(5)
            assert await limits.run(Calls()) == FINE.outcome
        assert state(circuit) is State.CLOSED

    quietly(run)


def test_a_cancelled_probe_does_not_block_the_circuit_for_ever() -> None:
    async def run() -> None:
        clock, limits, circuit = guard()
        open_up(circuit)
        clock.move(5)
        probe = asyncio.create_task(limits.run(Calls(hold=True)))
        await asyncio.sleep(0.001)
        assert not limits.ready()
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)
        clock.move(60)
        assert await limits.run(Calls()) == FINE.outcome

    quietly(run)


def test_refuses_a_concurrency_of_none() -> None:
    with pytest.raises(ValueError, match="1 or more, found 0"):
        guard(concurrency=0)


def test_calls_are_timed_and_their_errors_counted_by_kind() -> None:
    outcomes = [
        Called(Confirmed("r", 1, "USD"), healthy=True),
        Called(Rejected("closed"), healthy=True),
        Called(Unknown("no answer"), healthy=False),
        Called(Retryable("busy"), healthy=False),
        Called(Retryable("429", counts=False), healthy=True, pause_seconds=0.001),
        Called(Retryable("not sent", counts=False), healthy=False),
        Called(Unknown("odd"), healthy=False),
    ]
    guard = Guard(
        SystemClock(), Limiter(SystemClock(), 0), CircuitBreaker(SystemClock()), concurrency=1, wait_seconds=1
    )

    async def call_all() -> None:
        for called in outcomes:
            await guard.run(lambda called=called: answered(called))  # type: ignore[misc]

    async def answered(called: Called) -> Called:
        return called

    asyncio.run(call_all())
    calls = guard.seen()
    assert dict(calls.errors) == {"unknown": 2, "failed": 1, "throttled": 1, "turned-away": 1}
    assert set(calls.errors) == set(ERRORS)
    assert len(calls.milliseconds) == len(outcomes)
    assert guard.seen() == ([], {}), "each look begins anew"
