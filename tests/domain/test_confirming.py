"""The batch: claim, ask or send, settle, over ports that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import FrozenInstanceError
from datetime import timedelta
from itertools import count
from random import Random

import pytest

from tests.fakes import START, Even, FakeClock, LedgerGateway, payment, payments, run, times_out_after_effect
from tests.memory_store import MemoryStore
from workers.domain.causes import Cause
from workers.domain.confirming import Batch, Confirmer, Tally, is_suspect
from workers.domain.outcomes import NotFound, Outcome, Rejected, Retryable, Unknown
from workers.domain.policy import LOST_WITH, Policy
from workers.domain.ports import Move
from workers.domain.transaction import Status, Transaction
from workers.gateway.closed import ClosedGateway

POLICY = Policy(max_attempts=4)


class World:
    """A store with payments, a gateway, a clock, and a worker over them."""

    def __init__(self, gateway: LedgerGateway | None = None, count: int = 1) -> None:
        self.clock = FakeClock()
        self.gateway = gateway or LedgerGateway()
        self.store = MemoryStore(self.clock, POLICY)
        self.tokens = 0
        asyncio.run(self.store.add(list(payments(count))))

    def token(self) -> str:
        self.tokens += 1
        return f"token-{self.tokens}"

    def run(self, stop_after: float | None = None, ids: Sequence[str] | None = None) -> Tally:
        worker = Confirmer(self.store, self.gateway, self.clock, Even(), self.token, POLICY, "w1")
        stop_at = None if stop_after is None else self.clock.now() + timedelta(seconds=stop_after)
        return asyncio.run(worker.confirm_batch(100, ids, stop_at)).tally

    def sweep(self, rounds: int = 40, pause: float = 3600) -> None:
        for _ in range(rounds):
            self.run()
            self.clock.advance(pause)

    @property
    def only(self) -> Transaction:
        return self.store.records["p-0"]


def test_the_plain_way() -> None:
    world = World(count=7)
    assert world.run() == Tally(claimed=7, confirmed=7)
    assert set(world.gateway.effects.values()) == {1}
    assert [entry.now for entry in world.only.history] == [Status.PENDING, Status.PROCESSING, Status.CONFIRMED]
    assert world.run() == Tally()


def test_an_effect_without_an_answer_is_found_by_asking() -> None:
    world = World(LedgerGateway(times_out_after_effect))
    assert world.run() == Tally(claimed=1, retried=1)
    world.clock.advance(600)
    assert world.run() == Tally(claimed=1, confirmed=1)
    assert world.gateway.calls == [("confirm", "p-0"), ("ask", "p-0")]
    assert world.gateway.effects == {"p-0": 1}


def test_a_lost_call_is_resent_only_after_asking() -> None:
    def lost(verb: str, _: Transaction, calls: int) -> tuple[bool, Outcome] | None:
        return (False, Unknown("timed out")) if calls == 0 else None

    world = World(LedgerGateway(lost))
    world.run()
    world.clock.advance(600)
    assert world.run() == Tally(claimed=1, confirmed=1)
    assert [verb for verb, _ in world.gateway.calls] == ["confirm", "ask", "confirm"]


def test_a_crashed_worker_is_relieved_and_its_effect_found() -> None:
    world = World()
    crashed = asyncio.run(world.store.claim(token="dead", by="w0", limit=1)).held
    asyncio.run(world.gateway.confirm(crashed[0], crashed[0].id))
    assert world.run() == Tally(), "its lease still stands"
    world.clock.advance(POLICY.lease.total_seconds() + 3)
    assert world.run() == Tally(claimed=1, confirmed=1)
    assert world.gateway.effects == {"p-0": 1}


def test_a_late_worker_fails_on_the_fence() -> None:
    world = World()

    class Sleepy(LedgerGateway):
        async def confirm(self, transaction: Transaction, key: str) -> Outcome:
            answer = await super().confirm(transaction, key)
            world.clock.advance(POLICY.lease.total_seconds() + 3)
            await world.store.claim(token="other", by="w2", limit=1)
            return answer

    world.gateway = Sleepy()
    assert world.run() == Tally(claimed=1, lost=1)
    assert world.only.token == "other"


def test_no_call_starts_on_a_lease_that_could_end_in_it() -> None:
    world = World(count=3)

    class Slow(LedgerGateway):
        async def confirm(self, transaction: Transaction, key: str) -> Outcome:
            world.clock.advance(POLICY.lease.total_seconds() - 5)
            return await super().confirm(transaction, key)

    world.gateway = Slow()
    tally = world.run()
    assert tally.not_tried == 2
    assert len(world.gateway.calls) == 1
    waiting = [r for r in world.store.records.values() if r.status is Status.PENDING]
    assert [r.attempt for r in waiting] == [0, 0], "what was never tried burns no attempt"


def test_a_gateway_too_slow_for_all_keys_holds_nothing_for_ever() -> None:
    class Slow(LedgerGateway):
        async def ask(self, transaction: Transaction, key: str) -> Outcome:
            world.clock.advance(POLICY.call_timeout.total_seconds())
            return NotFound()

    world = World(Slow())
    world.store.records["p-0"] = world.only._replace(new_keys=2, first_sent_at=START, last_sent_at=START)
    for _ in range(100):
        world.run(stop_after=25)
        world.clock.advance(3600)
    assert world.only.status is Status.REVIEW
    assert "no time was left to ask about each of its keys" in str(world.only.reason)


def test_nothing_starts_that_could_not_end_in_time() -> None:
    world = World(count=3)
    assert world.run(stop_after=9) == Tally(claimed=3, not_tried=3)
    assert world.gateway.calls == []


def test_an_open_breaker_claims_nothing() -> None:
    world = World(LedgerGateway(is_ready=False))
    assert world.run() == Tally()
    assert world.only.attempt == 0
    assert world.only.status is Status.PENDING


def test_what_was_planned_and_is_left_for_an_open_breaker_is_counted_as_not_tried() -> None:
    """And nothing else: what somebody else has done by now is not left."""
    world, planned = World(count=3), ["p-0", "p-1", "gone"]
    world.gateway.is_ready = False
    assert world.run(ids=planned) == Tally(not_tried=3)
    world.gateway.is_ready = True
    assert world.run(ids=planned) == Tally(claimed=2, confirmed=2)
    assert world.run(ids=planned) == Tally()


def test_those_that_may_kill_a_worker_are_called_alone_while_nothing_else_is_held() -> None:
    world = World(count=4)
    told: list[str] = []

    class Telling(MemoryStore):
        async def settle(self, moves: Sequence[Move]) -> list[bool]:
            told.append("settle " + " ".join(move.before.id for move in moves))
            return await super().settle(moves)

    class Called(LedgerGateway):
        async def ask(self, transaction: Transaction, key: str) -> Outcome:
            told.append(f"ask {key}")
            return await super().ask(transaction, key)

        async def confirm(self, transaction: Transaction, key: str) -> Outcome:
            told.append(f"send {key}")
            return await super().confirm(transaction, key)

    world.store, world.gateway = Telling(world.clock, POLICY, world.store.records), Called()
    for name in ("p-0", "p-2"):  # two workers were lost with them
        world.store.records[name] = world.store.records[name]._replace(
            status=Status.PROCESSING, lease_until=START - timedelta(hours=1), token="lost", lost=LOST_WITH - 1
        )
    world.clock.advance(60)
    assert world.run() == Tally(claimed=4, confirmed=4)
    first, second = ("p-0", "p-2") if told[5] == "settle p-0" else ("p-2", "p-0")
    assert sorted(told[:2]) == ["send p-1", "send p-3"]
    assert told[2] == f"settle p-1 p-3 {second}", "the second is held no longer while the first is called"
    assert told[3:] == [f"{step} {name}" for name in (first, second) for step in ("ask", "send", "settle")]


def test_what_no_call_helps_any_more_goes_to_a_desk_though_the_breaker_is_open() -> None:
    """A dead gateway and a big backlog past its deadlines: no call is needed, so no probe is waited for."""
    world = World(LedgerGateway(times_out_after_effect), count=3)
    world.run(stop_after=None)  # p-0 was possibly sent; the others are done
    assert world.only.sent_earlier
    asyncio.run(world.store.add([payment("q-0"), payment("long", hours=100)]))
    world.gateway.is_ready = False
    calls = list(world.gateway.calls)
    world.clock.advance(24 * 3600)
    assert world.run() == Tally(claimed=1, review=1), "never sent by its deadline"
    assert world.store.records["q-0"].reason == "deadline passed before it could be sent"
    world.clock.advance(POLICY.patience.total_seconds() - 1)
    assert world.run() == Tally()
    world.clock.advance(1)
    assert world.run() == Tally(claimed=1, not_tried=1), "the gateway may have been away for a moment"
    world.clock.advance(POLICY.backoff(9, 1).total_seconds())
    world.gateway.away_for = POLICY.patience
    assert world.run() == Tally(claimed=1, review=1), "possibly sent, and asked about for long enough"
    assert world.only.reason == "deadline passed; gateway can't be reached"
    assert world.gateway.calls == calls
    assert world.store.records["long"].status is Status.PENDING
    assert world.store.records["long"].attempt == 0


def test_a_breaker_that_opens_mid_batch_burns_no_attempts() -> None:
    gateway = LedgerGateway()

    def fails(verb: str, _: Transaction, calls: int) -> tuple[bool, Outcome] | None:
        gateway.is_ready = False
        return (False, Retryable("no connection", counts=False))

    gateway.script = fails
    world = World(gateway, count=5)
    assert world.run() == Tally(claimed=5, retried=1, not_tried=4)
    assert {record.attempt for record in world.store.records.values()} == {0}


def test_a_defect_of_the_adapter_is_unknown_and_stops_nobody_else() -> None:
    def defect(verb: str, transaction: Transaction, _: int) -> tuple[bool, Outcome] | None:
        if transaction.id == "p-1":
            raise KeyError("amount")
        return None

    world = World(LedgerGateway(defect), count=3)
    assert world.run() == Tally(claimed=3, confirmed=2, retried=1)
    world.sweep()
    assert world.store.records["p-1"].status is Status.REVIEW


def test_confirm_may_not_answer_not_found() -> None:
    world = World(LedgerGateway(lambda verb, _, calls: (False, NotFound()) if verb == "confirm" else None))
    assert world.run() == Tally(claimed=1, retried=1)
    assert "unknown" in (world.only.reason or "")


@pytest.mark.parametrize(
    ("answer", "end"),
    [
        (Retryable("busy"), Status.REVIEW),
        (Retryable("429", counts=False), Status.REVIEW),
        (Unknown("timed out"), Status.REVIEW),
        (Rejected("no"), Status.REJECTED),
    ],
)
def test_whatever_the_gateway_does_every_transaction_ends(answer: Outcome, end: Status) -> None:
    world = World(LedgerGateway(lambda *_: (False, answer)))
    world.sweep()
    assert world.only.status is end
    if end is Status.REVIEW:
        assert world.only.reason
        assert world.only.review_by


def test_an_answer_for_another_amount_is_a_persons_matter() -> None:
    world = World()
    record = world.only._replace(amount=1)
    world.store.records["p-0"] = record
    world.gateway._done = lambda transaction, key="": LedgerGateway._done(payment(transaction.id, 999))  # type: ignore[method-assign]
    assert world.run() == Tally(claimed=1, review=1)
    assert world.only.created_at == START


@pytest.mark.parametrize(("lost", "suspect"), [(LOST_WITH - 1, False), (LOST_WITH, True)])
def test_what_two_workers_were_lost_with_is_suspected_and_no_trouble_of_the_gateway_is(
    lost: int, suspect: bool
) -> None:
    assert is_suspect(payment()._replace(lost=lost, tries=9)) is suspect


class Dead(BaseException):
    """The process is gone."""


class Killer(LedgerGateway):
    """A worker that calls for one of them dies, with all its calls under way."""

    async def confirm(self, transaction: Transaction, key: str) -> Outcome:
        await self._call(transaction)
        return await super().confirm(transaction, key)

    async def ask(self, transaction: Transaction, key: str) -> Outcome:
        await self._call(transaction)
        return await super().ask(transaction, key)

    async def _call(self, transaction: Transaction) -> None:
        if transaction.id == "p-7":
            raise Dead
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("attempts", [1, 2, 8])
def test_one_that_kills_its_worker_takes_no_neighbour_to_a_desk(attempts: int, seed: int) -> None:
    clock, policy, tokens = FakeClock(), Policy(max_attempts=attempts), count()
    store, gateway = MemoryStore(clock, policy), Killer()
    asyncio.run(store.add(list(payments(20))))
    worker = Confirmer(store, gateway, clock, Random(seed), lambda: f"t-{next(tokens)}", policy, "w")

    async def life() -> None:
        try:
            await worker.confirm_batch(100)
        except Dead:
            calls = asyncio.all_tasks() - {asyncio.current_task()}
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    while store.records["p-7"].status is not Status.REVIEW:
        asyncio.run(life())
        clock.advance(policy.lease.total_seconds() + 1000)
    assert store.records["p-7"].cause is Cause.WORKERS_LOST
    others = [record for record in store.records.values() if record.id != "p-7"]
    assert {record.status for record in others} == {Status.CONFIRMED}
    assert max(sum(line.times for line in one.history if line.cause is Cause.TAKEN_OVER) for one in others) == LOST_WITH
    assert set(gateway.effects.values()) == {1}


def test_a_batch_whose_time_is_over_leaves_its_suspects_to_the_next() -> None:
    world = World(count=3)
    for id_, record in world.store.records.items():
        world.store.records[id_] = record._replace(lost=LOST_WITH)
    assert world.run(stop_after=5) == Tally(claimed=3, not_tried=3)
    assert [(one.status, one.lost, one.attempt) for one in world.store.records.values()] == [
        (Status.PENDING, LOST_WITH, 0)
    ] * 3
    assert world.run() == Tally(claimed=3, confirmed=3)


@pytest.mark.parametrize(("seconds", "called"), [(9.999, 0), (10, 3), (11, 3)])
def test_each_suspect_is_called_while_a_call_can_still_end_in_time(seconds: float, called: int) -> None:
    world = World(count=3)
    for id_, record in world.store.records.items():
        world.store.records[id_] = record._replace(lost=LOST_WITH)
    world.run(stop_after=seconds)
    assert len(world.gateway.calls) == called
    assert world.tokens == max(called, 1), "nor is it claimed, once the first batch was"


@pytest.mark.parametrize(
    ("beside", "chance", "seconds"),
    [(0, 0.5, None), (1, 0.0, 6), (1, 0.5, 33), (2, 0.0, 12), (2, 0.99999, 120), (1000, 0.0, 90), (1000, 0.99999, 900)],
)
def test_a_suspect_that_is_set_back_waits_for_the_turns_of_some_beside_it(
    beside: int, chance: float, seconds: float | None
) -> None:
    """Between a tenth and the whole of their time, a minute each, and no longer than any other wait."""

    class Chance:
        def random(self) -> float:
            return chance

    world = World()
    worker = Confirmer(world.store, world.gateway, world.clock, Chance(), world.token, POLICY, "w1")
    [held] = asyncio.run(world.store.claim(token="t", by="w1", limit=1)).held
    world.clock.advance(1)
    after = worker.set_back(held, beside).after
    due = held.next_attempt_at if seconds is None else world.clock.now() + timedelta(seconds=seconds)
    assert due is not None
    assert after.next_attempt_at is not None
    assert abs(after.next_attempt_at - due) < timedelta(milliseconds=20)
    assert worker.set_back(held) == worker.set_back(held, 0), "beside nobody where nobody is named"


@pytest.mark.parametrize("every", [60, 3600], ids=["each minute", "each hour"])
@pytest.mark.parametrize("sent_by", ["a worker that died", "a call without an answer"])
def test_what_may_have_been_sent_reaches_a_desk_though_no_worker_lives_long_enough_to_know_why(
    every: int, sent_by: str
) -> None:
    """No key of the gateway can be read, and each run has a new process."""
    world = World(LedgerGateway(lambda *_: (False, Unknown("timed out"))))
    if sent_by == "a worker that died":
        asyncio.run(world.store.claim(token="dead", by="dead", limit=1))
    else:
        world.run()
    began = world.only.deadline
    world.clock.advance((began - world.clock.now()).total_seconds())
    asked_by = began + POLICY.patience + max(timedelta(seconds=every) * 4, 2 * POLICY.patience)
    while world.only.status is not Status.REVIEW and world.clock.now() <= asked_by:
        closed = ClosedGateway()
        closed.silence.failed()
        worker = Confirmer(world.store, closed, world.clock, Even(), world.token, POLICY, "w1")
        asyncio.run(worker.confirm_batch(1, ["p-0"], world.clock.now() + timedelta(minutes=5)))
        world.clock.advance(every)
    assert (world.only.status, world.only.cause) == (Status.REVIEW, Cause.DEADLINE_PASSED)
    assert "gateway can't be reached" in (world.only.reason or "")
    assert world.only.sent_earlier


def test_a_question_that_gets_through_ends_the_silence_of_before() -> None:
    world = World()
    asyncio.run(world.store.claim(token="dead", by="dead", limit=1))
    world.clock.advance(26 * 3600)
    world.gateway.is_ready = False
    world.run()
    assert world.only.away_since == world.clock.now()
    world.store.records["p-0"] = world.only._replace(tries=0)  # so that one more brings no end
    world.gateway.is_ready, world.gateway.script = True, lambda *_: (False, Unknown("no answer"))
    world.clock.advance(3600)
    world.run()
    assert world.only.away_since is None


def test_neither_who_confirms_a_batch_nor_what_became_of_it_can_be_changed() -> None:
    for done in (Tally(), Batch(Tally())):
        with pytest.raises(FrozenInstanceError):
            setattr(done, done.__slots__[0], None)
    worker = Confirmer(MemoryStore(FakeClock(), POLICY), LedgerGateway(), FakeClock(), Even(), str, POLICY, "w1")
    with pytest.raises(FrozenInstanceError):
        worker.by = "another"  # type: ignore[misc]
    assert Batch(Tally()) == Batch(Tally(), (), 0.0, 0.0, 0.0)


def test_one_refusal_in_any_words_stops_no_neighbour() -> None:
    """Those words made the masker raise, within the settling of the whole batch: its effects had happened."""
    store = MemoryStore(FakeClock(), Policy())
    run(store.add([*payments(10)]))
    refusal = Rejected("RF18539007547034 numaral\u0131 kay\u0131t bulunamad\u0131")
    gateway = LedgerGateway(lambda _, one, __: (False, refusal) if one.id == "p-3" else None)
    worker = Confirmer(store, gateway, store.clock, Even(), lambda: "t", store.policy, "w")
    run(worker.confirm_batch(10))
    states = {one.id: one.status for one in store.records.values()}
    assert states == {f"p-{n}": Status.REJECTED if n == 3 else Status.CONFIRMED for n in range(10)}
