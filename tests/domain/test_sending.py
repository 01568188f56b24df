"""What is looked at once more right before money moves: between a question and the send after it anything may pass."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.fakes import START, Even, FakeClock, LedgerGateway, payment, run
from tests.memory_store import MemoryStore
from workers.domain.causes import Cause
from workers.domain.confirming import Confirmer
from workers.domain.exits import Redrive
from workers.domain.outcomes import Confirmed, NotFound, Outcome, Unknown
from workers.domain.policy import Policy
from workers.domain.transaction import Status, Transaction
from workers.domain.transitions import Answer, Claim, decide, may_resend
from workers.stores.common import arrived

POLICY = Policy(max_attempts=4, key_window=timedelta(hours=1))
CARD = "4539578763621486"
"""It passes Luhn's test, and is a gateway's reference here."""


class Slow(LedgerGateway):
    """It answers a question, or lets one wait for the turn of the send, only after some time."""

    def __init__(self, clock: FakeClock, answering: float = 0.0, waiting: float = 0.0) -> None:
        super().__init__()
        self._clock, self._answering, self._waiting, self._turns = clock, answering, waiting, 0

    @contextlib.asynccontextmanager
    async def turn(self, until: datetime | None = None) -> AsyncIterator[object]:
        self._turns += 1
        if self._turns == 2:
            self._clock.advance(self._waiting)
        yield None

    async def ask(self, transaction: Transaction, key: str) -> Outcome:
        self._clock.advance(self._answering)
        return await super().ask(transaction, key)


def possibly_sent(record: Transaction, policy: Policy = POLICY) -> Transaction:
    """Sent once, without an answer, and due again."""
    held = decide(arrived(record, START), Claim("t0", "w0"), START, policy)
    after = decide(held, Answer(Unknown("timed out"), "w0"), START + timedelta(seconds=1), policy)
    return after._replace(next_attempt_at=START)


def confirm(gateway: LedgerGateway, record: Transaction, clock: FakeClock, policy: Policy = POLICY) -> Transaction:
    store = MemoryStore(clock, policy, {record.id: record})
    run(Confirmer(store, gateway, clock, Even(), lambda: "t1", policy, "w1").confirm_batch(9))
    return store.records[record.id]


@pytest.mark.parametrize("slow", [{"answering": 175.0}, {"waiting": 175.0}])
def test_a_lease_that_a_question_has_used_up_lets_nothing_be_sent(slow: dict[str, float]) -> None:
    clock = FakeClock(START + timedelta(seconds=600))
    gateway = Slow(clock, **slow)
    after = confirm(gateway, possibly_sent(payment()), clock)
    assert [verb for verb, _ in gateway.calls] == ["ask"]
    assert (after.status, after.cause) == (Status.PENDING, Cause.LEASE_SHORT)


@pytest.mark.parametrize(
    ("passed", "verbs"),
    [
        (POLICY.key_window - POLICY.call_timeout - POLICY.lease - timedelta(seconds=1), ["ask", "confirm"]),
        (POLICY.key_window - POLICY.call_timeout - POLICY.lease, ["ask"]),
        (POLICY.key_window - POLICY.call_timeout - timedelta(seconds=60), ["ask"]),
        (POLICY.key_window - timedelta(seconds=1), ["ask"]),
        (POLICY.key_window + timedelta(seconds=1), ["ask"]),
    ],
)
def test_a_resend_needs_room_in_the_key_window_for_the_call_itself(passed: timedelta, verbs: list[str]) -> None:
    clock = FakeClock(START + passed)
    gateway = LedgerGateway()
    after = confirm(gateway, possibly_sent(payment()), clock)
    assert [verb for verb, _ in gateway.calls] == verbs
    assert (after.status is Status.REVIEW) is (verbs == ["ask"])


def test_a_wait_for_the_turn_of_the_send_that_outlives_the_key_window_sends_nothing() -> None:
    clock = FakeClock(START + POLICY.key_window - POLICY.call_timeout - POLICY.lease - timedelta(seconds=60))
    gateway = Slow(clock, waiting=90)
    after = confirm(gateway, possibly_sent(payment()), clock)
    assert [verb for verb, _ in gateway.calls] == ["ask"]
    assert (after.status, after.cause) == (Status.REVIEW, Cause.KEY_WINDOW_OVER)


def test_the_key_window_counts_from_the_first_send_however_late_the_last_was() -> None:
    record = possibly_sent(payment())
    late = START + POLICY.key_window - timedelta(minutes=5)
    again = decide(record, Claim("t1", "w1"), late, POLICY)
    sent_again = decide(again, Answer(Unknown("timed out"), "w1"), late, POLICY)
    held = decide(sent_again._replace(next_attempt_at=late), Claim("t2", "w2"), late, POLICY)
    assert held.first_sent_at == START
    assert held.last_sent_at == late
    assert not may_resend(held, START + POLICY.key_window + timedelta(minutes=2), POLICY)
    assert may_resend(held, START + POLICY.key_window - timedelta(minutes=4), POLICY), "of both bounds it is inside"


@pytest.mark.parametrize("seconds", [20.0, 30.0])
@pytest.mark.parametrize("where", ["answering", "waiting"])
def test_what_reaches_its_deadline_between_question_and_send_is_not_sent(where: str, seconds: float) -> None:
    clock = FakeClock(START + timedelta(seconds=600))
    gateway = Slow(clock, **{where: seconds})
    record = possibly_sent(payment())._replace(deadline=START + timedelta(seconds=620))
    after = confirm(gateway, record, clock)
    assert [verb for verb, _ in gateway.calls] == ["ask"]
    assert after.status in (Status.PENDING, Status.REVIEW)


def test_what_reaches_its_deadline_while_it_waits_for_its_first_send_is_not_sent() -> None:
    clock, gateway = FakeClock(), Slow(FakeClock())
    record = arrived(payment(), START)._replace(deadline=START + timedelta(seconds=20))
    held = decide(record, Claim("t", "w"), START, POLICY)
    store = MemoryStore(clock, POLICY, {held.id: held})
    clock.advance(20)
    move = run(Confirmer(store, gateway, clock, Even(), lambda: "t1", POLICY, "w1").conclude(held))
    assert gateway.calls == []
    assert (move.after.status, move.after.cause) == (Status.PENDING, Cause.TOO_LATE)


def test_a_defect_in_a_send_after_a_question_leaves_what_may_have_been_sent_just_now() -> None:
    class Broken(LedgerGateway):
        async def confirm(self, transaction: Transaction, key: str) -> Outcome:
            raise KeyError("amount")

    clock = FakeClock(START + timedelta(seconds=600))
    after = confirm(Broken(), possibly_sent(payment()), clock)
    assert (after.status, after.cause, after.last_sent_at) == (Status.PENDING, Cause.UNKNOWN_OUTCOME, clock.now())
    assert after.attempt == 2, "it counts"


def test_no_resend_is_due_past_the_deadline() -> None:
    held = decide(possibly_sent(payment()), Claim("t1", "w1"), START + timedelta(seconds=600), POLICY)
    held = held._replace(deadline=START + timedelta(seconds=700))
    assert may_resend(held, START + timedelta(seconds=699), POLICY)
    assert not may_resend(held, START + timedelta(seconds=700), POLICY)


def test_all_attempts_redrives_included_go_under_one_key() -> None:
    clock = FakeClock(START + timedelta(seconds=600))
    answers = iter([None, (False, Unknown("lost")), None, None, None])
    gateway = LedgerGateway(lambda verb, *_: next(answers, None) if verb == "confirm" else None)
    record = possibly_sent(payment())
    desk = decide(
        decide(record, Claim("t", "w"), clock.now(), POLICY),
        Answer(Confirmed("r", 1, "USD"), "w", asked=True),
        clock.now(),
        POLICY,
    )
    again = decide(desk, Redrive("ana", "ben", "asked the bank"), clock.now(), POLICY)
    clock.advance(70)
    for _ in range(3):
        again = confirm(gateway, again, clock)
        clock.advance(600)
    assert {key for _, key in gateway.calls} == {record.id}
    assert gateway.effects == {record.id: 1}


def test_a_reference_that_looks_like_a_card_is_kept_whole() -> None:
    class Receipts(LedgerGateway):
        async def confirm(self, transaction: Transaction, key: str) -> Outcome:
            return Confirmed(CARD, transaction.amount, transaction.currency)

    assert confirm(Receipts(), arrived(payment(), START), FakeClock()).gateway_reference == CARD


def test_an_amount_that_is_no_whole_number_is_no_evidence() -> None:
    class Floats(LedgerGateway):
        async def confirm(self, transaction: Transaction, key: str) -> Outcome:
            amount: Any = float(transaction.amount)
            return Confirmed("ref", amount, transaction.currency)

    after = confirm(Floats(), arrived(payment(), START), FakeClock())
    assert (after.status, after.cause) == (Status.PENDING, Cause.UNKNOWN_OUTCOME)


def test_the_first_not_found_is_no_refusal() -> None:
    class Shy(LedgerGateway):
        async def ask(self, transaction: Transaction, key: str) -> Outcome:
            self.calls.append(("ask", key))
            return NotFound()

    clock = FakeClock(START + timedelta(seconds=10))
    after = confirm(Shy(), possibly_sent(payment()), clock)
    assert (after.status, after.cause) == (Status.PENDING, Cause.NOT_FOUND_YET)


class Turns(LedgerGateway):
    """It keeps until when each turn is wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.until: list[datetime | None] = []

    def turn(self, until: datetime | None = None) -> contextlib.AbstractAsyncContextManager[object]:
        self.until.append(until)
        return super().turn(until)


@pytest.mark.parametrize(
    ("stop_after", "until"),
    [
        (None, None),  # leases are renewed: the wait may take as long as it likes
        (60.0, START + timedelta(seconds=60) - POLICY.call_timeout),
        (900.0, START + POLICY.lease - POLICY.call_timeout),
    ],
)
def test_a_turn_is_wanted_for_as_long_as_a_call_could_still_end_in_time(
    stop_after: float | None, until: datetime | None
) -> None:
    clock, gateway = FakeClock(), Turns()
    record = arrived(payment(), START)
    store = MemoryStore(clock, POLICY, {record.id: record})
    stop_at = None if stop_after is None else START + timedelta(seconds=stop_after)
    run(Confirmer(store, gateway, clock, Even(), lambda: "t1", POLICY, "w1").confirm_batch(9, stop_at=stop_at))
    assert gateway.until == [until]
    assert len(gateway.calls) == 1


@pytest.mark.parametrize(("more", "calls"), [(0.0, 1), (-0.001, 0)])
def test_a_call_that_ends_as_the_time_is_over_is_made_and_no_later_one(more: float, calls: int) -> None:
    clock, gateway = FakeClock(), LedgerGateway()
    record = arrived(payment(), START)
    store = MemoryStore(clock, POLICY, {record.id: record})
    stop_at = START + POLICY.call_timeout + timedelta(seconds=more)
    run(Confirmer(store, gateway, clock, Even(), lambda: "t1", POLICY, "w1").confirm_batch(9, stop_at=stop_at))
    assert len(gateway.calls) == calls


@pytest.mark.parametrize(("more", "calls"), [(0.0, 1), (-0.001, 0)])
def test_a_call_that_ends_as_its_lease_does_is_made_and_no_later_one(more: float, calls: int) -> None:
    clock, gateway = FakeClock(), LedgerGateway()
    record = arrived(payment(), START)
    store = MemoryStore(clock, POLICY, {record.id: record})
    until = START + POLICY.call_timeout + timedelta(seconds=more)
    worker = Confirmer(store, gateway, clock, Even(), lambda: "t1", POLICY, "w1", lease_of=lambda _: until)
    run(worker.confirm_batch(9))
    assert len(gateway.calls) == calls


def test_a_worker_that_is_cancelled_in_mid_call_ends_and_decides_nothing() -> None:
    class Waits(LedgerGateway):
        async def confirm(self, transaction: Transaction, key: str) -> Outcome:
            called.set()
            await asyncio.sleep(3600)
            return await super().confirm(transaction, key)

    clock, called = FakeClock(), asyncio.Event()
    record = arrived(payment(), START)
    store = MemoryStore(clock, POLICY, {record.id: record})

    async def cancelled() -> None:
        worker = Confirmer(store, Waits(), clock, Even(), lambda: "t1", POLICY, "w1")
        [held], _ = await store.claim(token="t1", by="w1", limit=9)
        task = asyncio.create_task(worker.conclude(held))
        await called.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(cancelled())
    assert store.records[record.id].status is Status.PROCESSING, (
        "it may have been done: its lease ends, and it is asked"
    )
