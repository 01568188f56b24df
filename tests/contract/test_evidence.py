"""What every datastore promises of sending: whatever may have been sent is asked about before anything is sent again,
whoever redrives it, and whatever happened to the record meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from tests.contract.conftest import POLICY
from tests.contract.test_store import LEASE_OVER, answer, claim, find
from tests.fakes import Even, FakeClock, LedgerGateway, payment, payments, run
from workers.domain.causes import Cause
from workers.domain.confirming import Confirmer
from workers.domain.exits import Redrive
from workers.domain.history import MOST_LINES
from workers.domain.outcomes import Confirmed, NotFound, NotTried, Outcome, Retryable, Unknown
from workers.domain.policy import LOST_WITH, Policy
from workers.domain.ports import Move, Store
from workers.domain.transaction import Status, Transaction, to_text
from workers.domain.transitions import LEAST_TRIES, Answer, decide
from workers.stores.dynamodb import to_item

SHADOW = replace(POLICY, only_ask=True)
SLOW = timedelta(hours=3)
"""As the longest wait: fewer rounds to a deadline."""
PAST_THE_KEY_WINDOW = POLICY.key_window.total_seconds() + 3600
Script = Callable[[str, Transaction, int], tuple[bool, Outcome] | None]


def work(store: Store, gateway: LedgerGateway, clock: FakeClock, policy: Policy = POLICY) -> None:
    """One batch of whatever is due."""
    tokens = iter(f"t{clock.now()}-{n}" for n in range(9))
    run(Confirmer(store, gateway, clock, Even(), lambda: next(tokens), policy, "w1").confirm_batch(100))


def work_until(store: Store, gateway: LedgerGateway, clock: FakeClock, status: Status, policy: Policy = POLICY) -> int:
    """Batches, each when the one transaction is due again; how many there were."""
    for count in range(1, 1000):
        work(store, gateway, clock, policy)
        record = find(store)
        if record.status is status:
            return count
        assert record.next_attempt_at is not None
        clock.time = max(record.next_attempt_at, clock.now() + timedelta(seconds=1))
    raise AssertionError(f"never {status}")


def under(policy: Policy, store: Store) -> Store:
    return cast(Store, replace(cast(Any, store), policy=policy))


def other_amount(verb: str, _: Transaction, calls: int) -> tuple[bool, Outcome] | None:
    return (True, Confirmed("ref", 1, "USD")) if verb == "confirm" and calls == 0 else None


def forgotten(verb: str, _: Transaction, calls: int) -> tuple[bool, Outcome] | None:
    """A gateway past its key window, after the first call: it has no word of the effect, and would make another."""
    return other_amount(verb, _, calls) if calls == 0 else (False, NotFound()) if verb == "ask" else None


@pytest.mark.parametrize(("script", "end"), [(other_amount, Status.CONFIRMED), (forgotten, Status.REVIEW)])
def test_a_redrive_after_another_amount_asks_and_never_pays_twice(
    store: Store, clock: FakeClock, script: Script, end: Status
) -> None:
    gateway = LedgerGateway(script)
    run(store.add([payment("p-0")]))
    work(store, gateway, clock)
    record = find(store)
    assert (record.status, record.sent_earlier) == (Status.REVIEW, True)
    assert record.last_sent_at == clock.now()
    clock.advance(PAST_THE_KEY_WINDOW)
    run(store.leave("p-0", Redrive("ana", "ben", "asked the bank")))
    work_until(store, gateway, clock, end)
    assert gateway.effects == {"p-0": 1}
    assert [verb for verb, _ in gateway.calls][1] == "ask"


def test_a_record_that_proves_nothing_is_asked_about(store: Store, clock: FakeClock) -> None:
    """The first version left a REVIEW like this behind: a first send, and no last one."""
    gateway = LedgerGateway(other_amount)
    run(store.add([payment("p-0")]))
    [held] = claim(store)
    after = decide(held, Answer(run(gateway.confirm(held, held.id)), "w1"), clock.now(), POLICY)
    run(store.settle([Move(held, after._replace(last_sent_at=None))]))
    assert find(store).last_sent_at is None
    clock.advance(PAST_THE_KEY_WINDOW)
    run(store.leave("p-0", Redrive("ana", "ben", "asked the bank")))
    work(store, gateway, clock)
    assert find(store).status is Status.CONFIRMED
    assert gateway.effects == {"p-0": 1}


def test_what_was_sent_since_nobody_says_when_may_have_been_sent_since_it_came(store: Store, clock: FakeClock) -> None:
    """The versions before kept the last sending alone."""
    run(store.add([payment("p-0")]))
    [held] = claim(store)
    after = decide(held, Answer(Unknown("no answer"), "w1"), clock.now(), POLICY)
    run(store.settle([Move(held, after._replace(first_sent_at=None))]))
    assert find(store).first_sent_at is None
    clock.advance(PAST_THE_KEY_WINDOW)
    [held] = claim(store, "t2")
    assert held.first_sent_at == held.created_at


def test_what_was_asked_in_vain_is_asked_until_the_deadline_and_sent_no_more_often_than_attempts(
    store: Store, clock: FakeClock
) -> None:
    gateway = LedgerGateway(lambda verb, _, calls: (verb == "confirm" and calls == 0, Unknown("no answer")))
    policy = replace(POLICY, retry_cap=SLOW)
    run(store.add([payment("p-0")]))
    work_until(under(policy, store), gateway, clock, Status.REVIEW, policy)
    record = find(store)
    asked = [verb for verb, _ in gateway.calls].count("ask")
    assert clock.now() >= record.deadline
    assert asked > 2 * POLICY.max_attempts
    assert f"asked {asked} times since" in (record.reason or "")
    assert record.asked == asked - 1
    assert gateway.effects == {"p-0": 1}


def test_attempts_used_up_without_an_answer_end_with_the_gateways_evidence(store: Store, clock: FakeClock) -> None:
    """Each send times out, and "not found" lets the next one go: the last did move the money."""

    def script(verb: str, _: Transaction, __: int) -> tuple[bool, Outcome] | None:
        sends = [one for one, _ in gateway.calls].count("confirm")
        if verb == "confirm":
            return sends == POLICY.max_attempts - 1, Unknown("timed out")
        return None

    gateway = LedgerGateway(script)
    run(store.add([payment("p-0")]))
    work_until(store, gateway, clock, Status.CONFIRMED)
    assert [verb for verb, _ in gateway.calls].count("confirm") == POLICY.max_attempts
    assert gateway.effects == {"p-0": 1}


def test_a_restored_store_in_shadow_mode_asks_before_it_desks_and_its_redrives_ask(
    store: Store, clock: FakeClock
) -> None:
    """Restored to 26 hours ago: one was confirmed since, and its deadline is over; so was one that lies on a desk."""
    gateway = LedgerGateway()
    run(store.add([payment("p-0"), payment("desk"), payment("never")]))
    run(gateway.confirm(payment("p-0"), "p-0"))
    run(gateway.confirm(payment("desk"), "desk"))
    [held] = claim(store, ids=["desk"])
    busy = held._replace(attempt=POLICY.max_attempts)
    run(store.settle([Move(held, decide(busy, Answer(Retryable("busy"), "w1"), clock.now(), POLICY))]))
    assert not find(store, "desk").sent_earlier
    clock.advance(26 * 3600)
    restored = under(SHADOW, store)
    assert run(restored.doubt()) == 3
    assert run(restored.doubt()) == 0, "marked ones stay so"
    assert all(find(store, id_).sent_earlier for id_ in ("p-0", "desk", "never"))
    work(restored, gateway, clock, SHADOW)
    assert find(store).status is Status.CONFIRMED, "by the gateway's own evidence"
    missed, now = find(store, "never"), to_text(clock.now())
    assert (missed.status, missed.reason) == (
        Status.REVIEW,
        f"deadline passed; asked 1 time since {now}, last at {now}; gateway knows nothing of it",
    )
    for id_ in ("desk", "never"):
        run(store.leave(id_, Redrive("ana", "ben", "restored")))
    clock.advance(POLICY.grace.total_seconds() + 1)
    work(store, gateway, clock)
    assert find(store, "desk").status is Status.CONFIRMED
    assert find(store, "never").status is Status.REVIEW, "its key window may be over: nobody sends it"
    assert gateway.effects == {"p-0": 1, "desk": 1}


def test_shadow_mode_claims_nothing_as_never_sent_and_keeps_unknown_unknown(store: Store, clock: FakeClock) -> None:
    gateway = LedgerGateway(lambda *_: (False, Unknown("no answer")))
    run(store.add([payment("p-0")]))
    clock.advance(7200)
    work(under(SHADOW, store), gateway, clock, SHADOW)
    record = find(store)
    assert (record.status, record.attempt, record.asked) == (Status.PENDING, 0, 1)
    assert (record.reason, record.sent_earlier) == ("unknown: no answer", True)
    assert record.first_sent_at == record.created_at
    assert {verb for verb, _ in gateway.calls} == {"ask"}


@pytest.mark.parametrize(
    ("policy", "outcome", "end"),
    [
        (SHADOW, Unknown("no answer"), "deadline passed; asked"),
        (SHADOW, NotFound(), "deadline passed; asked"),
        (POLICY, Retryable("not sent: could not connect", counts=False), "deadline passed before it could be sent"),
    ],
    ids=["no answer", "not found", "no connection"],
)
def test_a_day_without_an_end_costs_few_writes_and_a_short_history(
    store: Store, clock: FakeClock, policy: Policy, outcome: Outcome, end: str
) -> None:
    """No attempt is used up meanwhile, so nothing but the tries themselves may make the wait grow."""
    gateway = LedgerGateway(lambda *_: (False, outcome))
    policy = replace(policy, retry_cap=SLOW)
    run(store.add([payment("p-0")]))
    tries = work_until(under(policy, store), gateway, clock, Status.REVIEW, policy)
    record = find(store)
    assert tries < 30, "the wait grows to its cap"
    assert (record.reason or "").startswith(end)
    assert len(record.history) < 10
    assert len(str(to_item(record, 1))) < 2000
    assert sum(line.times for line in record.history) in (2 * tries, 1 + 2 * tries), "all of them are counted"


def test_reasons_that_take_turns_leave_a_bounded_history(store: Store, clock: FakeClock) -> None:
    """Equal lines are counted; others make room in the middle."""
    gateway = LedgerGateway(lambda _, __, calls: (False, Retryable(f"trouble {calls % 3}", counts=False)))
    policy = replace(POLICY, retry_cap=timedelta(minutes=45))
    run(store.add([payment("p-0")]))
    tries = work_until(under(policy, store), gateway, clock, Status.REVIEW, policy)
    assert 2 * tries > MOST_LINES
    history = find(store).history
    assert len(history) <= MOST_LINES
    assert sum(line.times for line in history) == 2 * tries, "the last claim went to the desk"
    assert (history[0].was, history[-1].now) == (None, Status.REVIEW)


def test_many_takeovers_of_one_transaction_end_on_a_desk_and_let_the_others_be(store: Store, clock: FakeClock) -> None:
    run(store.add([payment("p-0"), payment("fine")]))
    for n in range(POLICY.most_lost):
        assert [record.id for record in claim(store, f"crash-{n}", ids=["p-0"])] == ["p-0"]
        clock.advance(LEASE_OVER)
    held, to_review = run(store.claim(token="t", by="w1", limit=9))
    assert [record.id for record in held] == ["fine"]
    assert [record.id for record in to_review] == ["p-0"]
    assert (find(store).tries, find(store).attempt) == (POLICY.most_lost - 1, 1)
    assert find(store).sent_earlier


@pytest.mark.parametrize("attempts", [1, 2])
def test_a_lost_worker_costs_no_attempt_and_is_counted_until_a_call_comes_back(
    store: Store, clock: FakeClock, attempts: int
) -> None:
    policy = Policy(max_attempts=attempts)
    store = under(policy, store)
    run(store.add([payment("p-0")]))
    for lost in range(LOST_WITH + 1):
        [record] = claim(store, f"crash-{lost}")
        assert (record.attempt, record.lost) == (1, lost)
        clock.advance(LEASE_OVER)
    [record] = claim(store, "stops")
    run(store.settle([answer(record, clock, NotTried(Cause.SUSPECTED, wait=timedelta(seconds=9)))]))
    back = find(store)
    assert (back.attempt, back.lost, back.next_attempt_at) == (0, LOST_WITH + 1, clock.now() + timedelta(seconds=9))
    clock.advance(9)
    [record] = claim(store, "asks")
    asked = Answer(NotFound(), "w1", asked=True)
    run(store.settle([Move(record, decide(record, asked, clock.now(), policy))]))  # its attempt is still there
    back = find(store)
    assert (back.status, back.attempt, back.lost) == (Status.PENDING, 0, 0)
    clock.advance(policy.grace.total_seconds())
    gateway = LedgerGateway()
    work(store, gateway, clock, policy)
    assert (find(store).status, gateway.effects) == (Status.CONFIRMED, {"p-0": 1})


def test_since_when_nobody_could_ask_is_kept_by_the_record(store: Store, clock: FakeClock) -> None:
    """Each look by another worker, which knows of nothing before it."""
    run(store.add([payment("p-0", hours=1)]))
    claim(store, "dead")
    clock.advance(3600 + POLICY.patience.total_seconds())
    began = clock.now()
    closed = LedgerGateway(is_ready=False)
    work(store, closed, clock)
    assert find(store).away_since == began
    work_until(store, closed, clock, Status.REVIEW)
    assert clock.now() - began >= POLICY.patience
    assert closed.calls == []
    again = run(store.leave("p-0", Redrive("ana", "ben", "the gateway is back")))
    assert (again.away_since, find(store).away_since, find(store).lost) == (None, None, 0)


@pytest.mark.parametrize("text", ["a \0 in it", "half of a pair \ud800"], ids=["nul", "surrogate"])
def test_text_that_a_store_can_not_hold_stops_no_other_move(store: Store, clock: FakeClock, text: str) -> None:
    run(store.add(list(payments(30))))
    records = claim(store)
    moves = [
        Move(record, decide(record, Answer(Confirmed("ref", record.amount, "USD"), "w1"), clock.now(), POLICY))
        for record in records
    ]
    bad = records[7].id
    moves[7] = Move(moves[7].before, moves[7].after._replace(gateway_reference=text))
    won = run(store.settle(moves))
    assert sum(won) >= 29
    for record in records:
        if record.id != bad:
            assert find(store, record.id).status is Status.CONFIRMED
    found = find(store, bad)
    assert found.status in (Status.CONFIRMED, Status.REVIEW)
    if found.status is Status.REVIEW:
        assert "could not be written" in (found.reason or "")
        assert found.sent_earlier


def test_what_is_brought_in_again_after_a_restore_was_sent_since_the_restores_moment(
    store: Store, clock: FakeClock
) -> None:
    """Its own `created_at` says now: a producer's default."""
    policy = replace(SHADOW, restored_to=clock.now())
    clock.advance(PAST_THE_KEY_WINDOW)
    run(store.add([payment("p-0", created_at=clock.now()), payment("held", created_at=clock.now())]))
    assert run(under(policy, store).doubt()) == 2
    assert find(store).first_sent_at == policy.restored_to
    [held] = run(under(policy, store).claim(token="t", by="w1", limit=1, ids=["held"])).held
    assert held.first_sent_at == policy.restored_to
    gateway = LedgerGateway()
    clock.advance(POLICY.grace.total_seconds() + 1)
    work(store, gateway, clock)
    assert find(store).status is Status.REVIEW
    assert gateway.effects == {}, "nobody knows whether it was sent, and the gateway may have forgotten"


def test_a_redrive_says_in_both_fields_what_is_known_of_sending(store: Store, clock: FakeClock) -> None:
    """A worker of the version before looks at the second alone."""
    run(store.add([payment("p-0")]))
    [held] = claim(store)
    after = decide(held, Answer(Confirmed("ref", 1, "USD"), "w1"), clock.now(), POLICY)
    run(store.settle([Move(held, after._replace(last_sent_at=None))]))
    clock.advance(PAST_THE_KEY_WINDOW)
    run(store.leave("p-0", Redrive("ana", "ben", "asked the bank")))
    assert find(store).last_sent_at is not None


def test_what_waits_for_its_turn_past_the_deadline_is_not_sent(store: Store, clock: FakeClock) -> None:
    class Slow(LedgerGateway):
        def turn(self, until: Any = None) -> Any:
            clock.advance(30)
            return super().turn(until)

    gateway = Slow()
    run(store.add([payment("p-0", hours=10 / 3600)]))
    work(store, gateway, clock)
    work(store, gateway, clock)
    assert (find(store).status, find(store).reason) == (Status.REVIEW, "deadline passed before it could be sent")
    assert gateway.effects == {}


@pytest.mark.parametrize("after", [0, 3600], ids=["at once", "long after"])
def test_a_question_that_did_not_get_through_is_none_and_is_repeated_for_a_while(
    store: Store, clock: FakeClock, after: int
) -> None:
    answers: list[Outcome] = [Unknown("timed out")]
    gateway = LedgerGateway(lambda verb, _, calls: (verb == "confirm", answers[0]))
    run(store.add([payment("p-0", hours=1)]))
    work(store, gateway, clock)
    answers[0] = Retryable("not sent: the rate limit leaves no turn in time", counts=False)
    clock.advance(3600 + after)
    work(store, gateway, clock)
    record = find(store)
    assert record.asked == 0
    if after:
        gateway.away_for = POLICY.patience
        clock.time = record.next_attempt_at or clock.now()
        assert work_until(store, gateway, clock, Status.REVIEW) == LEAST_TRIES - 2, "and the call was a try"
        assert "asked" not in (find(store).reason or "")
    else:
        assert record.status is Status.PENDING, "one question would have found it"
        gateway.script = lambda *_: None
        clock.time = record.next_attempt_at or clock.now()
        work(store, gateway, clock)
        assert find(store).status is Status.CONFIRMED


def test_past_the_deadline_an_open_circuit_is_not_waited_out_for_ever(store: Store, clock: FakeClock) -> None:
    gateway = LedgerGateway(lambda *_: (True, Unknown("timed out")))
    run(store.add([payment(f"p-{n}", hours=1) for n in range(5)]))
    work(store, gateway, clock)
    clock.advance(2 * 3600)

    def opens(*_: Any) -> tuple[bool, Outcome]:
        gateway.is_ready = False  # the probe fails, and opens the circuit again
        gateway.away_for = timedelta(hours=2)
        return False, Retryable("not sent: could not connect", counts=False)

    gateway.script = opens
    work(store, gateway, clock)
    clock.advance(60)
    gateway.is_ready = True
    work(store, gateway, clock)
    assert {find(store, f"p-{n}").status for n in range(5)} == {Status.REVIEW}
    assert "gateway can't be reached" in str([find(store, f"p-{n}").reason for n in range(5)])


@pytest.mark.parametrize("away", [timedelta(), POLICY.patience - timedelta(seconds=1)], ids=["not", "a while"])
def test_a_gateway_that_was_away_for_a_moment_ends_nothing_that_may_have_been_sent(
    store: Store, clock: FakeClock, away: timedelta
) -> None:
    """Long past its deadline, as after a restore: the first questions fail and open the circuit for the others."""
    gateway = LedgerGateway(away_for=away)
    run(store.add([payment(f"p-{n}", hours=1) for n in range(5)]))
    run(store.doubt())
    gateway.effects = {f"p-{n}": 1 for n in range(5)}

    def opens(verb: str, *_: Any) -> tuple[bool, Outcome]:
        gateway.is_ready = False
        return False, Retryable("not asked: could not connect", counts=False)

    gateway.script = opens
    clock.advance(30 * 3600)
    work(store, gateway, clock)
    work(store, gateway, clock)
    assert {find(store, f"p-{n}").status for n in range(5)} == {Status.PENDING}
    gateway.script, gateway.is_ready = (lambda *_: None), True
    clock.advance(60)
    work(store, gateway, clock)
    assert {find(store, f"p-{n}").status for n in range(5)} == {Status.CONFIRMED}


def test_an_adapter_that_leaks_a_cancellation_is_one_payments_trouble(store: Store, clock: FakeClock) -> None:
    def leaks(verb: str, transaction: Transaction, _: int) -> None:
        if transaction.id == "p-3":
            raise asyncio.CancelledError

    gateway = LedgerGateway(leaks)
    run(store.add(list(payments(8))))
    work(store, gateway, clock)
    found = {n: find(store, f"p-{n}").status for n in range(8)}
    assert found == {n: Status.PENDING if n == 3 else Status.CONFIRMED for n in range(8)}
    assert find(store, "p-3").sent_earlier
