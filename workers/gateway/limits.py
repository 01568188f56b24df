"""What protects the payment gateway from us, and us from a broken one: rate, concurrency, circuit breaker.

Decisions are pure functions of the state and the clock that is passed in, so that a simulator can run them. `Guard`
puts the three in front of any gateway's calls.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from contextvars import ContextVar, Token
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from workers.domain.outcomes import Confirmed, Outcome, Retryable, Unknown
from workers.domain.ports import Calls, Clock

SAMPLE = 100
"""Of the calls between two looks the first so many are timed: a metric takes no more values at once."""


class RateLimiter:
    """A token bucket: `per_second` calls in the long run, up to `burst` at once.

    Kept as one number, the time at which the bucket will be full again: a token taken moves it on by one interval.

    Args:
        per_second: 0 for no limit.
        burst: at least 1; by default a tenth of a second's worth.
    """

    def __init__(self, clock: Clock, per_second: float, burst: int | None = None) -> None:
        if not 0 <= per_second < math.inf or (burst is not None and burst < 1):
            raise ValueError(f"a rate is 0 or more and a burst 1 or more, found {per_second} and {burst}")
        self._clock = clock
        self._interval = 1 / per_second if per_second else 0.0
        self._room = self._interval * (burst or max(1, round(per_second / 10)))
        self._seen = 0.0
        self._full_at = 0.0
        self._paused_until = 0.0

    def reserve(self, wait_seconds: float) -> float | None:
        """Takes a token: the seconds to wait before using it, or None (and none taken) if more than `wait_seconds`."""
        now = self._now()
        full_at = max(self._full_at, self._paused_until, now)
        delay = max(0.0, full_at - self._room + self._interval - now, self._paused_until - now)
        if delay > max(0.0, wait_seconds):
            return None
        self._full_at = full_at + self._interval
        return delay

    def borrow(self) -> None:
        """Takes a token for a call that can't wait; whoever comes next waits for it."""
        self._full_at = max(self._full_at, self._now()) + self._interval

    def pause(self, seconds: float) -> None:
        """Lets nobody through for a while, since the gateway asked for it; does not cut a longer pause short."""
        self._paused_until = max(self._paused_until, self._now() + seconds)

    def _now(self) -> float:
        now = self._clock.now().timestamp()
        if now < self._seen:  # the clock was set back: without this, everybody would wait out the difference
            self._full_at -= self._seen - now
            self._paused_until -= self._seen - now
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
    his lease after the wait and know that the call starts at once. A turn pays for one call; further ones in the
    same turn (ask, then send) borrow from the next turn.

    Belongs to one event loop, as asyncio's semaphore does.

    Args:
        wait_seconds: the longest wait for the rate limit. A turn that would take longer comes at once, and its call
            is refused unsent: better than a batch that cannot settle before its time is over.
    """

    def __init__(
        self, clock: Clock, limiter: RateLimiter, breaker: CircuitBreaker, *, concurrency: int, wait_seconds: float
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"the concurrency must be 1 or more, found {concurrency}")
        self.clock = clock
        self.limiter = limiter
        self.breaker = breaker
        self.slots = asyncio.Semaphore(concurrency)
        self.wait_seconds = wait_seconds
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

    def turn(self) -> Turn:
        """`async with guard.turn():` waits for a turn and holds it."""
        return Turn(self)

    async def run(self, call: Callable[[], Awaitable[Called]]) -> Outcome:
        """Makes the call, in the turn that the caller holds (or one of its own), or says why it was not made."""
        turn = _turn.get()
        if turn is None or turn.guard is not self:
            async with self.turn():
                return await self.run(call)
        permit = self.breaker.enter() if turn.granted else None
        if permit is None:
            why = "the circuit breaker is open" if not self.ready() else "the rate limit leaves no turn in time"
            return Retryable(f"not sent: {why}", counts=False)
        if turn.paid:
            turn.paid = False
        else:
            self.limiter.borrow()
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
    """The right to call now. Held as long as the `async with` block runs."""

    __slots__ = ("_reset", "granted", "guard", "paid")

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self._reset: Token[Turn | None]
        self.granted = False
        """Whether a call may be made: the rate limit left a place in time."""
        self.paid = False
        """Whether a token has been taken that no call has used yet."""

    async def __aenter__(self) -> Turn:
        guard = self.guard
        start = guard.clock.now()
        await guard.slots.acquire()
        try:
            if guard.ready():  # else nobody needs to wait for a call that will not be made
                waited = (guard.clock.now() - start).total_seconds()
                delay = guard.limiter.reserve(guard.wait_seconds - waited)
                if delay:
                    await guard.clock.sleep(delay)
                self.granted = self.paid = delay is not None
        except BaseException:
            guard.slots.release()
            raise
        self._reset = _turn.set(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        _turn.reset(self._reset)
        self.guard.slots.release()


_turn: ContextVar[Turn | None] = ContextVar("turn", default=None)
"""The turn that the running task holds."""
