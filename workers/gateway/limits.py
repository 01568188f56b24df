"""What protects the payment gateway from us, and us from a broken one: rate, concurrency, circuit breaker.

Decisions are pure functions of the state and the clock that is passed in, so that a simulator can run them. `Guard`
puts the three in front of any gateway's calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from contextvars import ContextVar, Token
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from workers.domain.causes import Cause, because
from workers.domain.outcomes import Confirmed, Outcome, Retryable, Unknown
from workers.domain.ports import Calls, Chance, Clock, Shares, Taken
from workers.domain.shares import LATENESS, SLICE, Planner, slice_at
from workers.gateway.silence import Silence

SOON = 0.03
"""Seconds for which one waits gladly."""
GAP = 0.125
"""Of the reach: between two questions of a worker that goes short of nothing."""
LOOK_BACK = 6
"""Slices, over which a worker's use is taken."""
ROOM, ENOUGH = 1.25, 0.9
"""Who uses less of what he is given than the second gets so many times what he uses, so that use can grow."""
FIRST_WAIT, LONGEST_WAIT = 0.1, 2.0
"""Seconds between tries while the datastore does not answer: doubled, and spread."""
JUMP = 2 * LATENESS
"""Seconds. A clock that is a little fast or slow is put right by each answer."""
SAMPLE = 100
"""Of the calls between two looks the first so many are timed: a metric takes no more values at once."""


class Limiter:
    """The rate limit of all workers together, as one worker keeps it: a call needs an instant of a share.

    Shares are asked for when somebody waits, and beforehand for a stream of calls. An instant that passes unused is
    lost to everybody: nothing is made up for. While the datastore does not answer there are no shares, and no calls.

    Args:
        limit: calls a second, of all workers; 0 for none, at no cost.
        shares: where they come from; needed for a limit.
        stream: whether calls will go on as they did last; or those that wait and are `expected` are all that there are.
        failed: told why shares could not be taken, once until they can be.
        chance: spreads the workers' questions over time.
    """

    def __init__(
        self,
        clock: Clock,
        limit: float,
        shares: Shares | None = None,
        *,
        stream: bool = False,
        failed: Callable[[Exception], None] = lambda _: None,
        chance: Chance = random,
    ) -> None:
        if not 0 <= limit < math.inf:
            raise ValueError(f"a rate limit is 0 or more calls a second, found {limit}")
        if limit and shares is None:
            raise ValueError(f"a rate limit of {limit:g} a second needs shares, taken from one datastore")
        self._clock = clock
        self._limit = limit
        self._shares = shares
        self._stream, self._failed, self._chance = stream, failed, chance
        self._planner = Planner(limit, shares.reach) if shares and limit else None
        self.expected = 0
        """Calls that will want an instant soon, those who wait already among them: whoever knows of them counts."""
        self._instants: list[float] = []
        self._waiting: deque[asyncio.Future[float]] = deque()
        self._new = asyncio.Event()
        """Set when there are new instants."""
        self._serving: asyncio.Task[None] | None = None
        self._asking: asyncio.Task[None] | None = None
        self._next = 0.0
        """No question before this."""
        self._given: Counter[int] = Counter()
        self._used: Counter[int] = Counter()
        """Instants by slice."""
        self._seen = 0.0
        self._apart = 0.0
        """Seconds that our clock is ahead of the loop's, which nobody sets."""
        self._jumps = 0
        """How often it was set."""
        self._paused_until = 0.0
        self._ahead = 0.0
        """Seconds that the time that all go by is ahead of our clock ..."""
        self._width = math.inf
        """... and how wide the answer was that told so."""

    @property
    def limited(self) -> bool:
        """Whether calls begin at given moments."""
        return self._planner is not None

    async def wait(self, seconds: float) -> bool:
        """Waits, so long at most, for an instant at which one call may begin: False where there is none in time.

        The call must begin at once.
        """
        until = self._now() + seconds
        if self._paused_until > until:
            return False
        if self._planner is None:
            if (pause := self._paused_until - self._now()) > 0:
                await self._clock.sleep(pause)
            return True
        first = False
        while (left := until - self._now()) >= 0:
            instant = await self._served(left, first=first)
            now = self._now()
            if instant is None:
                break
            if now <= instant + LATENESS and now >= self._paused_until:
                self._used[slice_at(instant)] += 1
                return True
            first = True  # it took us too long to get here, and the instant is lost
        return False

    def pause(self, seconds: float) -> None:
        """Lets nobody through for a while, since the gateway asked for it; does not cut a longer pause short."""
        self._paused_until = max(self._paused_until, self._now() + seconds)

    async def close(self) -> None:
        """Asks for no more."""
        tasks = [task for task in (self._serving, self._asking) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- those who wait

    async def _served(self, seconds: float, *, first: bool) -> float | None:
        """The next instant that nobody waits for longer; None where that takes too long."""
        mine: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        if first:
            self._waiting.appendleft(mine)
        else:
            self._waiting.append(mine)
        if self._serving is None or self._serving.done():
            self._serving = asyncio.create_task(self._keep_serving())
        try:
            async with asyncio.timeout(seconds):
                return await mine
        except TimeoutError:
            return None
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(mine)

    async def _keep_serving(self) -> None:
        """As long as somebody waits."""
        while self._waiting:
            now, delay = self._now(), None
            if now < self._paused_until:
                delay = self._paused_until - now
            else:
                knows = self._planner is not None and not self._planner.is_blind
                if knows:
                    self._serve(now)
                if not self._waiting:
                    return
                if self._instants and knows:
                    delay = self._instants[0] - now
            self._ask()
            self._new.clear()
            with contextlib.suppress(TimeoutError):
                # looks again in any case: whatever became of a question, those who wait are not left to it
                async with asyncio.timeout(LONGEST_WAIT if delay is None else min(delay, LONGEST_WAIT)):
                    await self._new.wait()

    def _serve(self, now: float) -> None:
        instants, waiting = self._instants, self._waiting
        over = bisect_left(instants, now - LATENESS)
        del instants[:over]
        while instants and instants[0] <= now and waiting:
            one = waiting.popleft()
            if not one.done():
                one.set_result(instants.pop(0))

    # --- shares

    def _ask(self) -> None:
        if (self._asking is None or self._asking.done()) and self._now() >= self._next:
            self._asking = asyncio.create_task(self._keep_asking())

    def _need(self, now: float) -> int:
        """Of those who wait, how many there is no instant for; of a stream, whose later calls need the later instants,
        no instant that comes soon."""
        held = bisect_left(self._instants, now + SOON) if self._stream else len(self._instants)
        return max(0, len(self._waiting) - held)

    def _coming(self) -> int:
        """Of those who will wait soon, how many there is no instant for."""
        return 0 if self._stream else max(0, self.expected - max(len(self._waiting), len(self._instants)))

    async def _keep_asking(self) -> None:
        """As long as more is needed; never raises."""
        planner, shares = self._planner, self._shares
        assert planner is not None and shares is not None  # noqa: S101, PT018 - without a limit nobody asks
        trouble, gap = FIRST_WAIT, planner.reach * SLICE * GAP
        while True:
            await asyncio.sleep(max(0.0, self._next - self._now()))  # who begins to wait at the same time is counted
            now = self._now()
            need = self._need(now)
            if planner.is_blind:
                need = max(need, len(self._waiting))  # what is held is of no use before the time is known
            if now < self._paused_until or not (need or (self._stream and now >= planner.next_far())):
                return
            look = planner.is_blind
            asks = [] if look else planner.asks(now, need, self._coming(), self._steady(now))
            if not asks and not look:
                self._next = max(self._later(planner), now + gap)
                continue
            jumps = self._jumps
            try:
                taken = await shares.take(asks, now)
            except Exception as error:
                if trouble == FIRST_WAIT:
                    self._failed(error)
                self._next = self._now() + trouble * (0.5 + self._chance.random() / 2)
                trouble = min(trouble * 2, LONGEST_WAIT)
                continue
            trouble = FIRST_WAIT
            received = self._now()
            if self._jumps != jumps:
                continue  # by which time it was asked is not known
            self._set_clock(taken, now, received)
            now = self._now()
            given = planner.answered(now, asks if taken.counted else [], taken.before)
            if look or not taken.counted:
                self._new.set()  # what is held may be used again
                continue
            self._given.update(map(slice_at, given))
            self._instants = sorted([*self._instants, *given])
            self._new.set()
            # where there was less than was asked for, there will be no more before the next far slices
            self._next = now + gap if len(given) >= need * ENOUGH else self._later(planner)

    def _later(self, planner: Planner) -> float:
        """When the next far slice may be asked for: not by all at once, nor always in the same order."""
        return planner.next_far() + self._chance.random() * SLICE * 0.8

    def _steady(self, now: float) -> float:
        """Calls a slice for those who do not wait yet: no bound where all that was given was used as well."""
        this = slice_at(now)
        for counts in (self._given, self._used):
            for old in [number for number in counts if number < this - LOOK_BACK]:
                del counts[old]
        if not self._stream:
            return 0.0
        given, used = (sum(of[n] for n in range(this - LOOK_BACK, this)) for of in (self._given, self._used))
        return math.inf if used >= ENOUGH * given else ROOM * used / LOOK_BACK

    # --- time

    def _set_clock(self, taken: Taken, sent: float, received: float) -> None:
        """By the datastore's clock, as exactly as its answers tell."""
        low, high = taken.earliest - received, taken.latest - sent
        if not low <= 0 <= high:
            self._width = math.inf
        if taken.earliest == taken.latest:
            if high - low < self._width:
                self._ahead += (low + high) / 2
                self._width = high - low
        elif low > 0:
            self._ahead += low
        elif high < 0:
            self._ahead += high

    def _now(self) -> float:
        clock = self._clock.now().timestamp()
        if self._planner is not None:
            apart = clock - asyncio.get_running_loop().time()
            if abs(moved := apart - self._apart) > JUMP and self._seen:
                # set, or we were frozen: only the others know; until they are asked the loop's time goes on
                self._ahead -= moved
                self._width = math.inf
                self._planner.forget()
                self._next = 0.0
                self._jumps += 1
            self._apart = apart
        now = clock + self._ahead
        if now < self._seen - SLICE:  # the clock was set back: without this, everybody would wait out the difference
            self._paused_until -= self._seen - now
            self._instants = []
            self._next = 0.0
            if self._planner is not None:
                self._planner.forget()
        self._seen = now
        return now


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When the circuit opens, and for how long."""

    consecutive: int = 10
    """Opens after so many failures in a row ..."""
    window: int = 50
    """... or when among the last so many calls ..."""
    ratio: float = 0.5
    """... this share of the window failed."""
    open_seconds: float = 5.0
    """Then lets one probe through; each probe that fails doubles the wait ..."""
    open_cap_seconds: float = 60.0
    """... up to this."""


class CircuitBreaker:
    """Stops calling a gateway that does not work. A refusal of a payment is a gateway that works.

    Closed: all calls pass. Open: none. Half-open: one probe passes, and its result decides. A result counts only
    in the state in which its call began, so a straggler from before an outage cannot end it.
    """

    def __init__(self, clock: Clock, policy: BreakerPolicy | None = None) -> None:
        self._clock = clock
        self._policy = policy or BreakerPolicy()
        self._state = State.CLOSED
        self._era = 0
        self._in_a_row = 0
        self._recent: deque[bool] = deque(maxlen=self._policy.window)
        self._failed = 0
        self._opened = 0
        self._open_until: datetime | None = None
        self.silence = Silence()

    @property
    def state(self) -> State:
        if self._state is State.OPEN and self._open_until is not None and self._clock.now() >= self._open_until:
            return State.HALF_OPEN
        return self._state

    def ready(self) -> bool:
        """Whether a call would pass now."""
        return self.state is State.CLOSED or (self._state is State.OPEN and self.state is State.HALF_OPEN)

    def look_again(self) -> None:
        """Something has changed on our side (a new key): an open circuit lets its next probe through now."""
        if self._state is State.OPEN:
            self._open_until = self._clock.now()

    def enter(self) -> int | None:
        """Asks for a call: a permit to hand back to `leave`, or None."""
        if not self.ready():
            return None
        if self._state is State.OPEN:
            self._change(State.HALF_OPEN)
        return self._era

    def leave(self, permit: int, healthy: bool | None) -> None:
        """Ends the call: it worked, it failed, or (None: cancelled) nobody knows."""
        if permit != self._era:
            return
        if self._state is State.HALF_OPEN:
            if healthy:
                self._opened = 0
                self.silence.ended()
                self._change(State.CLOSED)
            else:
                self._open()
        elif healthy is not None:
            self._count(healthy)

    def _count(self, healthy: bool) -> None:
        self._in_a_row = 0 if healthy else self._in_a_row + 1
        if len(self._recent) == self._policy.window and not self._recent[0]:
            self._failed -= 1
        self._recent.append(healthy)
        self._failed += not healthy
        too_many = not healthy and self._failed >= self._policy.ratio * self._policy.window
        if too_many or self._in_a_row >= self._policy.consecutive:
            self._open()

    def _open(self) -> None:
        seconds = min(self._policy.open_cap_seconds, self._policy.open_seconds * 2**self._opened)
        self._opened = min(self._opened + 1, 30)
        self._open_until = self._clock.now() + timedelta(seconds=seconds)
        self.silence.failed()
        self._change(State.OPEN)

    def _change(self, state: State) -> None:
        self._state = state
        self._era += 1
        self._in_a_row = self._failed = 0
        self._recent.clear()


@dataclass(frozen=True, slots=True)
class Called:
    """A call that was made: its outcome, and whether the gateway works (whatever it thinks of the payment)."""

    outcome: Outcome
    healthy: bool
    pause_seconds: float = 0.0
    """The gateway asks to be left alone for so long."""


def error_of(called: Called) -> str | None:
    """What kind of error a call was, of `workers.domain.ports.ERRORS`; None where the gateway did its work."""
    match called.outcome:
        case Confirmed():
            return None
        case Unknown():
            return "unknown"
        case Retryable() if called.pause_seconds > 0:
            return "throttled"
        case Retryable(counts=False):
            return "turned-away"
        case Retryable():
            return "failed"
        case _:
            return None


class Guard:
    """Lets calls through to the gateway: at most `concurrency` at once, at the agreed rate, not while it is broken.

    A call is made within a turn. Waiting belongs to the turn and nothing to the call, so whoever holds one can check
    his lease after the wait and know that the call starts at once. A turn is the right to one call: ask and send take
    two.

    Belongs to one event loop, as asyncio's semaphore does.

    Args:
        wait_seconds: the longest wait for a turn of somebody who does not say until when it is of use. What has no
            turn by then comes at once, and its call is refused unsent: better than a batch that cannot settle before
            its time is over.
        prepare: makes ready for so many calls, before their turns come: a call that would only then look for a
            connection would come late.
    """

    def __init__(
        self,
        clock: Clock,
        limiter: Limiter,
        breaker: CircuitBreaker,
        *,
        concurrency: int,
        wait_seconds: float,
        prepare: Callable[[int], Awaitable[None]] | None = None,
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"the concurrency must be 1 or more, found {concurrency}")
        self.clock = clock
        self.limiter = limiter
        self.breaker = breaker
        self.slots = asyncio.Semaphore(concurrency)
        self.wait_seconds = wait_seconds
        self.prepare = prepare if limiter.limited else None
        self.prepared = 0
        """Turns whose call has not begun."""
        self._milliseconds: list[float] = []
        self._errors: Counter[str] = Counter()

    def seen(self) -> Calls:
        """What the calls since the last look were like."""
        calls = Calls(self._milliseconds, self._errors)
        self._milliseconds, self._errors = [], Counter()
        return calls

    def ready(self) -> bool:
        """Whether the circuit lets a call pass."""
        return self.breaker.ready()

    def turn(self, until: datetime | None = None) -> Turn:
        """`async with guard.turn():` waits for a turn, until then at most, and holds it."""
        return Turn(self, until or self.clock.now() + timedelta(seconds=self.wait_seconds))

    async def run(self, call: Callable[[], Awaitable[Called]]) -> Outcome:
        """Makes the call, in the turn that the caller holds (or one of its own), or says why it was not made."""
        turn = _turn.get()
        if turn is None or turn.guard is not self or turn.used:
            async with self.turn():
                return await self.run(call)
        turn.begin()
        permit = self.breaker.enter() if turn.granted else None
        if permit is None:
            cause, sentence = because(Cause.RATE_LIMITED if self.ready() else Cause.BREAKER_OPEN)
            return Retryable(sentence, counts=False, cause=cause)
        healthy: bool | None = None
        began = time.perf_counter()
        try:
            called = await call()
            healthy = called.healthy
        finally:
            self.breaker.leave(permit, healthy)
        if len(self._milliseconds) < SAMPLE:
            self._milliseconds.append((time.perf_counter() - began) * 1000)
        if (error := error_of(called)) is not None:
            self._errors[error] += 1
        if called.pause_seconds > 0:
            self.limiter.pause(called.pause_seconds)
        return called.outcome


class Turn:
    """The right to one call, now. Held as long as the `async with` block runs."""

    __slots__ = ("_reset", "counted", "granted", "guard", "until", "used")

    def __init__(self, guard: Guard, until: datetime) -> None:
        self.guard = guard
        self.until = until
        self._reset: Token[Turn | None]
        self.granted = False
        """Whether a call may be made: the rate limit left a place in time."""
        self.counted = False
        self.used = False
        """Whether the call was made."""

    async def __aenter__(self) -> Turn:
        guard = self.guard
        guard.limiter.expected += 1
        try:
            await guard.slots.acquire()
        except BaseException:
            guard.limiter.expected -= 1
            raise
        try:
            if guard.ready():  # else nobody needs to wait for a call that will not be made
                guard.prepared += 1
                self.counted = True
                if guard.prepare is not None:
                    await guard.prepare(guard.prepared)
                left = (self.until - guard.clock.now()).total_seconds()
                self.granted = left >= 0 and await guard.limiter.wait(left)
        except BaseException:
            self.begin()
            guard.slots.release()
            raise
        finally:
            guard.limiter.expected -= 1
        self._reset = _turn.set(self)
        return self

    def begin(self) -> None:
        """The call begins, or never will."""
        self.used = True
        self.guard.prepared -= self.counted
        self.counted = False

    async def __aexit__(self, *_: object) -> None:
        self.begin()
        _turn.reset(self._reset)
        self.guard.slots.release()


_turn: ContextVar[Turn | None] = ContextVar("turn", default=None)
"""The turn that the running task holds."""
