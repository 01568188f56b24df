"""The service's way to its store, and the end of a stream: what was ours stays ours, and nothing is left behind."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

from tests.fakes import Even, FakeClock, LedgerGateway, payment, payments, run
from tests.memory_store import MemoryStore
from tests.service.harness import ENVIRONMENT
from workers.config import read_service
from workers.database.source import TOKENS, RetryingSource
from workers.domain.confirming import Confirmer
from workers.domain.outcomes import Outcome
from workers.domain.policy import Policy
from workers.domain.ports import Claimed, Look, Move
from workers.domain.transaction import Status, Transaction
from workers.service.__main__ import Parts, Service
from workers.service.stream import Stream

POLICY = Policy()


@dataclass
class Unsteady:
    """A store whose answers are lost as `losses` says, call by call: what it did, it did."""

    store: MemoryStore
    losses: list[bool] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    expired: int = 0

    @property
    def pool(self) -> Unsteady:
        return self

    async def expire_connections(self) -> None:
        self.expired += 1

    async def claim_next(self, *, token: str, by: str, limit: int, look: Look = Look.ONWARD) -> Claimed:
        self.tokens.append(token)
        claimed = await self.store.claim(token=token, by=by, limit=limit)
        self._answers()
        return claimed

    async def held(self, token: str) -> list[Transaction]:
        return [one for one in self.store.records.values() if one.token == token]

    async def settle(self, moves: Sequence[Move]) -> list[bool]:
        won = await self.store.settle(moves)
        self._answers()
        return won

    def _answers(self) -> None:
        if self.losses and self.losses.pop(0):
            raise ConnectionResetError("no answer")


class Silent:
    def event(self, *_: object, **__: object) -> None: ...


def source(store: Unsteady) -> RetryingSource:
    tokens = iter(f"t{n}" for n in range(100))
    chance = cast(random.Random, Even())
    return RetryingSource(
        cast(Any, store), cast(Any, Silent()), store.store.clock, lambda: next(tokens), "w", POLICY.lease, chance
    )


def memory(count: int) -> MemoryStore:
    store = MemoryStore(FakeClock(), POLICY)
    run(store.add(list(payments(count))))
    return store


def test_a_claim_whose_answer_was_lost_is_taken_for_our_own() -> None:
    """Else it would be nobody's until its lease is over, and an attempt of each would be gone."""
    unsteady = Unsteady(memory(3), [True])
    claimed = run(source(unsteady).claim(9))
    assert {one.id for one in claimed.held} == {"p-0", "p-1", "p-2"}
    assert {one.token for one in claimed.held} == {"t0"}
    assert unsteady.expired == 1


def test_a_claim_that_was_lost_on_its_way_is_made_again_under_a_token_of_its_own() -> None:
    """What the first one took all the same, others may have taken over and released since (seed 21090)."""

    class Deaf(Unsteady):
        async def claim_next(self, *, token: str, by: str, limit: int, look: Look = Look.ONWARD) -> Claimed:
            self.tokens.append(token)
            self._answers()
            return await self.store.claim(token=token, by=by, limit=limit)

    deaf = Deaf(memory(3), [True, True])
    assert len(run(source(deaf).claim(9)).held) == 3
    assert deaf.tokens == ["t0", "t1", "t2"]


def test_a_claim_that_gets_there_late_is_found_by_its_own_token() -> None:
    class Late(Unsteady):
        async def claim_next(self, *, token: str, by: str, limit: int, look: Look = Look.ONWARD) -> Claimed:
            self.tokens.append(token)
            if len(self.tokens) == 2:  # the first one arrives, and this one does not
                await self.store.claim(token="t0", by=by, limit=limit)
            self._answers()
            return await self.store.claim(token=token, by=by, limit=limit)

    late = Late(memory(3), [True, True])
    assert {one.token for one in run(source(late).claim(9)).held} == {"t0"}
    assert late.tokens == ["t0", "t1"]


def test_what_a_lost_try_takes_after_it_was_looked_for_is_found_by_the_next_claim() -> None:
    """The connection dies, and the database commits a moment later: it would wait for the end of its lease."""

    class Late(Unsteady):
        async def claim_next(self, *, token: str, by: str, limit: int, look: Look = Look.ONWARD) -> Claimed:
            self.tokens.append(token)
            self._answers()
            return await self.store.claim(token=token, by=by, limit=limit)

        async def held(self, token: str) -> list[Transaction]:
            found = await super().held(token)
            if len(self.tokens) == 1:
                await self.store.claim(token="t0", by="w", limit=2)
            return found

    ours = source(Late(memory(5), [True]))
    assert {one.token for one in run(ours.claim(9)).held} == {"t1"}
    assert {one.token for one in run(ours.claim(9)).held} == {"t0"}
    assert run(ours.claim(9)).held == []


def test_a_claim_that_is_lost_again_and_again_is_looked_for_in_its_last_tries_alone() -> None:
    """Or each try would ask more than the one before, of a database that is hardly there."""

    class Gone(Unsteady):
        async def held(self, token: str) -> list[Transaction]:
            looked[-1].append(token)
            return []

        async def claim_next(self, *, token: str, by: str, limit: int, look: Look = Look.ONWARD) -> Claimed:
            looked.append([])
            return await super().claim_next(token=token, by=by, limit=limit, look=look)

    looked: list[list[str]] = [[]]
    run(source(Gone(memory(0), [True] * 20)).claim(9))
    assert looked[20] == [f"t{n}" for n in range(20 - TOKENS, 20)]


def test_each_claim_has_a_token_of_its_own() -> None:
    unsteady = Unsteady(memory(4))
    ours = source(unsteady)
    for _ in range(2):
        run(ours.claim(2))
    assert unsteady.tokens == ["t0", "t1"]


def test_each_claim_of_the_service_has_a_token_of_its_own() -> None:
    config = read_service(
        {
            **ENVIRONMENT,
            "GATEWAY_URL": "http://127.0.0.1:1",
            "DATABASE_HOST": "127.0.0.1",
            "DATABASE_PORT": "1",
            "DATABASE_NAME": "x",
            "DATABASE_USER": "confirm_service",
            "HEARTBEAT_FILE": "/dev/null",
        }
    )

    async def made() -> Service:
        return Service(config, Parts(cast(Any, None), cast(Any, None), config.telemetry(), "w1"))

    tokens = [source.new_token() for source in (run(made()).source, run(made()).source) for _ in range(3)]
    assert len(set(tokens)) == 6
    assert not [token for token in tokens if len(token) < 8 or "w1" in token]


@dataclass
class Steady:
    """A source on the model of a store; a heartbeat's answer waits until it is let go."""

    store: MemoryStore
    beats: asyncio.Event = field(default_factory=asyncio.Event)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    claims: int = 0

    async def claim(self, limit: int, look: Look = Look.ONWARD) -> Claimed:
        self.claims += 1
        await asyncio.sleep(0)
        return await self.store.claim(token=f"t-{self.claims}", by="w", limit=limit)

    async def settle(self, moves: Sequence[Move]) -> list[bool]:
        return await self.store.settle(moves)

    async def extend(self, transactions: Sequence[Transaction]) -> list[Transaction]:
        renewed = await self.store.extend(transactions)
        self.beats.set()
        await self.let_go.wait()
        return renewed


class Waiting(LedgerGateway):
    """Answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.called, self.answers = asyncio.Event(), asyncio.Event()

    async def confirm(self, transaction: Transaction, key: str) -> Outcome:
        self.called.set()
        await self.answers.wait()
        return await super().confirm(transaction, key)


def stream(
    steady: Steady, gateway: LedgerGateway, policy: Policy = POLICY, *, callers: int = 2, within: float = 60.0
) -> Stream:
    made: list[Stream] = []
    confirmer = Confirmer(
        steady.store, gateway, steady.store.clock, Even(), lambda: "t", policy, "w", lambda one: made[0].lease_of(one)
    )
    made.append(
        Stream(steady, lambda: confirmer, 4, callers, timedelta(seconds=1), lambda _: None, timedelta(seconds=within))
    )
    return made[0]


def stopped_in_mid_call(callers: int) -> list[Transaction]:
    """What became of three, of which so many were at the gateway."""
    steady, gateway, stop = Steady(memory(3)), Waiting(), asyncio.Event()

    async def work() -> None:
        running = asyncio.create_task(stream(steady, gateway, callers=callers).run(stop))
        async with asyncio.timeout(60):
            await gateway.called.wait()
            stop.set()
            for _ in range(50):
                await asyncio.sleep(0)
            gateway.answers.set()
            await running

    run(work())
    return list(steady.store.records.values())


def test_a_stop_waits_for_calls_under_way_and_settles_what_came_of_them() -> None:
    """What is cut off in mid-call is unknown, and would have to be asked about when its lease is over."""
    found = stopped_in_mid_call(callers=2)
    states = sorted(one.status for one in found)
    assert states == [Status.CONFIRMED, Status.CONFIRMED, Status.PENDING], "two called, and one released untouched"
    assert all(one.token is None for one in found)


def test_what_is_released_at_a_stop_costs_no_attempt_and_is_known_unsent() -> None:
    back = [one for one in stopped_in_mid_call(callers=1) if one.status is Status.PENDING]
    assert len(back) == 2
    assert {(one.attempt, one.first_sent_at, one.last_sent_at) for one in back} == {(0, None, None)}


def test_a_heartbeat_that_is_answered_after_the_settle_brings_nothing_back() -> None:
    """Its record is no longer held: a stream that took it for held would never come to its end."""
    policy = Policy(lease=timedelta(seconds=0.06), call_timeout=timedelta(seconds=0.001))
    clock = FakeClock()
    store = MemoryStore(clock, policy)
    run(store.add([payment("p-0")]))
    steady, gateway, stop = Steady(store), Waiting(), asyncio.Event()
    ours = stream(steady, gateway, policy)

    async def work() -> None:
        running = asyncio.create_task(ours.run(stop))
        async with asyncio.timeout(60):
            await gateway.called.wait()
            clock.advance(0.05)
            await steady.beats.wait()
            gateway.answers.set()
            while ours.held:
                await asyncio.sleep(0.001)
            steady.let_go.set()
            for _ in range(50):
                await asyncio.sleep(0)
            assert ours.held == {}
            stop.set()
            await running

    run(work())
