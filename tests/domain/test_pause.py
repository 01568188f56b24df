"""What a pause stops, and what goes on."""

from __future__ import annotations

import asyncio
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.fakes import START, Even, FakeClock, LedgerGateway, payments, times_out_after_effect
from tests.memory_store import MemoryStore
from workers.domain.causes import Cause
from workers.domain.confirming import Confirmer, Tally
from workers.domain.exits import Refused
from workers.domain.pause import UNREADABLE, Pause, Scope, Standing, from_json, paused, resumed, to_json
from workers.domain.policy import Policy
from workers.domain.transaction import Status

POLICY = Policy(max_attempts=4)
ALL, SENDING = (Standing(1, Pause(scope, "ana", "the bank is down", START)) for scope in Scope)


class World:
    def __init__(self, gateway: LedgerGateway | None = None) -> None:
        self.clock, self.gateway = FakeClock(), gateway or LedgerGateway()
        self.store = MemoryStore(self.clock, POLICY)
        self.pause: Pause | None = None
        self.tokens = 0
        asyncio.run(self.store.add(list(payments(1))))

    def token(self) -> str:
        self.tokens += 1
        return f"token-{self.tokens}"

    def run(self) -> Tally:
        worker = Confirmer(
            self.store, self.gateway, self.clock, Even(), self.token, POLICY, "w", pause=lambda: self.pause
        )
        return asyncio.run(worker.confirm_batch(100)).tally

    @property
    def status(self) -> Status:
        return self.store.records["p-0"].status


@pytest.mark.parametrize("standing", [ALL, SENDING])
def test_nothing_is_sent_and_it_goes_on_after(standing: Standing) -> None:
    world = World()
    world.pause = standing.pause
    for _ in range(5):
        assert world.run().confirmed == 0
        world.clock.advance(POLICY.retry_cap.total_seconds())
    assert not world.gateway.effects
    assert world.store.records["p-0"].attempt == 0
    world.pause = None
    world.clock.advance(POLICY.retry_cap.total_seconds())
    assert world.run().confirmed == 1
    assert world.gateway.effects == {"p-0": 1}


def test_what_may_not_be_sent_is_not_taken_again_at_once() -> None:
    world = World()
    world.pause = SENDING.pause
    assert world.run() == Tally(claimed=1, not_tried=1)
    assert world.store.records["p-0"].cause is Cause.PAUSED
    assert world.run() == Tally()


@pytest.mark.parametrize("standing", [ALL, SENDING])
def test_deadlines_go_on(standing: Standing) -> None:
    world = World()
    world.pause = standing.pause
    world.clock.advance((world.store.records["p-0"].deadline - START).total_seconds())
    world.run()
    assert world.status is Status.REVIEW
    assert not world.gateway.effects


def test_while_sending_is_paused_asking_goes_on() -> None:
    world = World(LedgerGateway(times_out_after_effect))
    world.run()
    assert world.status is Status.PENDING
    world.pause = SENDING.pause
    world.clock.advance(POLICY.retry_cap.total_seconds())
    assert world.run().confirmed == 1
    assert world.gateway.effects == {"p-0": 1}


def test_what_is_late_and_may_have_been_sent_waits_where_a_pause_begins_beside_it() -> None:
    world = World(LedgerGateway(times_out_after_effect))
    world.run()
    before = world.store.records["p-0"]
    world.clock.advance((before.deadline + POLICY.patience - START).total_seconds())
    heard = iter([None])
    worker = Confirmer(
        world.store, world.gateway, world.clock, Even(), world.token, POLICY, "w", pause=lambda: next(heard, ALL.pause)
    )
    assert asyncio.run(worker.confirm_batch(100)).tally == Tally(claimed=1, not_tried=1)
    after = world.store.records["p-0"]
    assert (after.status, after.tries) == (Status.PENDING, before.tries + 1)
    assert after.next_attempt_at is not None
    assert after.next_attempt_at > world.clock.now()


def test_it_may_be_widened_and_not_narrowed() -> None:
    assert paused(Standing(), "all", "ana", "the bank is down", START) == ALL
    assert paused(SENDING, "all", "ben", "worse", START).version == 2
    assert paused(ALL, "all", "ben", "again", START) == ALL, "the first stands"
    with pytest.raises(Refused, match="resumes it first"):
        paused(ALL, "sending", "ben", "less", START)
    for scope, why in (("some", "x"), ("all", " "), ("all", None)):
        with pytest.raises(Refused):
            paused(Standing(), scope, "ana", why, START)
    assert resumed(ALL, "back") == (Standing(2), "back")
    assert resumed(Standing(2), "back") == (Standing(2), "back")


def test_a_pause_that_is_none_is_told_in_few_words() -> None:
    with pytest.raises(Refused) as refused:
        paused(Standing(), "x" * 99, "ana", "w", START)
    assert str(refused.value) == f"a pause is of all or sending, found '{'x' * 20}'"


@pytest.mark.parametrize(("one", "field"), [(ALL, "version"), (UNREADABLE, "scope")])
def test_it_cannot_be_changed(one: Any, field: str) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(one, field, None)


def test_what_cannot_be_read_stops_everything() -> None:
    for standing in (ALL, SENDING, Standing(3)):
        assert from_json(to_json(standing), standing.version) == standing
    assert Pause(Scope.ALL, "?", "the note of a pause can't be read", datetime(1970, 1, 1, tzinfo=UTC)) == UNREADABLE
    for text in ("", "{}", "[]", '{"scope": "much"}'):
        assert from_json(text, 4) == Standing(4, UNREADABLE)


def test_the_wait_is_as_long_as_the_pause_within_bounds() -> None:
    pause = ALL.pause
    assert pause is not None
    minute = timedelta(minutes=1)
    waits = [pause.wait(START + after, POLICY, 1.0) for after in (timedelta(), minute, 99 * minute)]
    assert waits == [POLICY.retry_base, minute, POLICY.retry_cap]
