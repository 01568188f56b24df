"""The production's `Confirmer`, one step at a time: what it does next is a function of what it has heard so far."""

from __future__ import annotations

from collections.abc import Coroutine, Generator, Hashable
from datetime import UTC, datetime, timedelta
from itertools import count
from types import NoneType
from typing import Any, NamedTuple, NoReturn, cast

from workers.domain.confirming import Confirmer
from workers.domain.outcomes import Outcome
from workers.domain.policy import Policy
from workers.domain.ports import Calls, Claimed, Move
from workers.domain.transaction import Transaction

KNOWN = (bool, datetime, NoneType, Outcome)
BEFORE, AFTER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
TURN, ASK, CONFIRM = "turn", "ask", "confirm"


class Heard(NamedTuple):
    """What a worker's wait ended with."""

    at: datetime
    """By its own clock."""
    lease_until: datetime | None
    """As it knows its lease then."""
    outcome: Outcome | None = None
    """Of a call; None for a turn."""
    ready: bool = True
    """Whether its circuit breaker lets calls through."""
    away: bool = False
    """Whether the gateway could not be asked for long."""


class _Wait:
    def __init__(self, what: str) -> None:
        self.what = what

    def __await__(self) -> Generator[str, Heard, Heard]:
        heard = yield self.what
        return heard


class _Turn:
    async def __aenter__(self) -> None:
        await _Wait(TURN)

    async def __aexit__(self, *_: object) -> None: ...


class _Surroundings:
    """Gateway, clock and chance of a worker, as what it has heard makes them."""

    def __init__(self, policy: Policy) -> None:
        self.heard = Heard(BEFORE, None)
        self._patience = policy.patience

    def now(self) -> datetime:
        return self.heard.at

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError

    def random(self) -> float:
        return 0.0  # the shortest wait: whoever comes later than that is played as well

    def turn(self, until: datetime | None = None) -> _Turn:  # noqa: ARG002 - any turn may come, however late
        return _Turn()

    async def ask(self, transaction: Transaction, key: str) -> Outcome:  # noqa: ARG002
        return cast(Outcome, (await _Wait(ASK)).outcome)

    async def confirm(self, transaction: Transaction, key: str) -> Outcome:  # noqa: ARG002
        return cast(Outcome, (await _Wait(CONFIRM)).outcome)

    def ready(self) -> bool:
        return self.heard.ready

    def away(self) -> timedelta:
        return self._patience if self.heard.away else timedelta()

    def seen(self) -> Calls:
        return Calls()

    async def close(self) -> None: ...


class _NoStore:
    """A worker that has claimed asks its store for nothing until it settles, and that is a step of its own."""

    async def claim(self, **_: object) -> Claimed:
        raise NotImplementedError

    async def settle(self, moves: object) -> list[bool]:
        raise NotImplementedError


def _no_token() -> NoReturn:
    raise NotImplementedError


class Driver:
    """Says what a worker that holds `record` waits for, or how it ended. It is played anew up to there each time."""

    def __init__(self, policy: Policy, *, bounded: bool) -> None:
        """`bounded`: its batch must end with its lease, as in a Lambda."""
        self._policy = policy
        self._bounded = bounded
        self._played = count()

    def next(self, record: Transaction, heard: tuple[Heard, ...]) -> tuple[str | Transaction, Hashable]:
        """TURN, ASK or CONFIRM, or the record that it wants to write; and where in its code it is, with what it knows
        there: who is at the same place with the same knowledge goes on in the same way, whatever it heard before."""
        around = _Surroundings(self._policy)
        worker = Confirmer(
            cast(Any, _NoStore()), around, around, around, _no_token, self._policy, "worker",
            lease_of=lambda _: around.heard.lease_until,
        )  # fmt: skip
        # a token of its own for each time: a broken worker that remembers something remembers no other life
        held = record._replace(token=f"{record.token} {next(self._played)}")
        until = record.lease_until
        around.heard = Heard(until - self._policy.lease if until else BEFORE, until)  # it goes on at once
        life = worker.conclude(held, AFTER if self._bounded else None)
        try:
            waits = life.send(None)
            for one in heard:
                around.heard = one
                waits = life.send(one)
        except StopIteration as end:
            move: Move = end.value
            after = move.after
            return after if after.token is None else after._replace(token=record.token), None
        place = _place(life)
        life.close()
        return str(waits), place


def _place(life: Coroutine[Any, Any, Any]) -> Hashable:
    found: list[Hashable] = []
    inner: Any = life
    while (frame := getattr(inner, "cr_frame", None)) is not None:
        known = ((name, value) for name, value in frame.f_locals.items() if isinstance(value, KNOWN))
        found.append((frame.f_code.co_name, frame.f_lasti, tuple(sorted(known))))
        inner = inner.cr_await
    return tuple(found)
