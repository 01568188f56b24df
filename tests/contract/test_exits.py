"""What every datastore does with the ways out of REVIEW, and what the workers then make of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.contract.conftest import POLICY
from tests.contract.test_evidence import other_amount, under, work, work_until
from tests.contract.test_store import LEASE_OVER, claim, find
from tests.fakes import FakeClock, LedgerGateway, payment, run
from workers.domain.causes import Cause, because
from workers.domain.exits import (
    AcceptAmount,
    AskNow,
    Cancel,
    DeskExit,
    Evidence,
    NewKey,
    Redrive,
    Refused,
    ResolveDone,
    ResolveRefused,
)
from workers.domain.outcomes import NotFound, Outcome
from workers.domain.ports import Move, Store
from workers.domain.transaction import MOST_KEYS, Status, Transaction
from workers.domain.transitions import SetAside, decide

PEOPLE = ("ana", "ben (request 3f)", "looked into it")
SEEN = Evidence("console", "case 7")


def lost(verb: str, _: Transaction, calls: int) -> tuple[bool, Outcome] | None:
    """Never heard of it: what was sent had no effect."""
    return (False, NotFound())


def on_desk(store: Store, clock: FakeClock) -> Transaction:
    """Sent once, without an effect, and too old to be sent again under its key."""
    run(store.add([payment("p-0", hours=9 * 24)]))
    work(store, LedgerGateway(lost), clock)
    clock.advance(POLICY.key_window.total_seconds())
    work_until(store, LedgerGateway(lost), clock, Status.REVIEW)
    record = find(store)
    assert record.cause is Cause.KEY_WINDOW_OVER
    clock.advance((POLICY.lease + POLICY.call_timeout + POLICY.grace).total_seconds())
    return record


@pytest.mark.parametrize(
    ("event", "end"),
    [
        (Redrive(*PEOPLE), Status.PENDING),
        (AskNow(*PEOPLE), Status.PENDING),
        (NewKey(*PEOPLE, SEEN), Status.PENDING),
        (ResolveDone(*PEOPLE, SEEN), Status.CONFIRMED),
        (AcceptAmount(*PEOPLE, Evidence("console", "c", 7, "JPY")), Status.CONFIRMED),
        (ResolveRefused(*PEOPLE, SEEN), Status.REJECTED),
        (Cancel(*PEOPLE, SEEN), Status.REJECTED),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, DeskExit) else one,
)
def test_each_exit_is_kept_to_the_letter(store: Store, clock: FakeClock, event: DeskExit, end: Status) -> None:
    on_desk(store, clock)
    after = run(store.leave("p-0", event))
    assert after.status is end
    assert find(store) == after
    assert run(store.review()) == []
    assert run(store.desk()).count == 0
    with pytest.raises(Refused):
        run(store.leave("p-0", event))
    assert find(store) == after


def test_what_a_desk_asks_about_comes_back_unsent_with_its_deadline(store: Store, clock: FakeClock) -> None:
    gateway = LedgerGateway()
    record = on_desk(store, clock)
    run(store.leave("p-0", AskNow(*PEOPLE)))
    assert claim(store, "t9")[0].desk_by == record.review_by
    clock.advance(LEASE_OVER)  # its worker is lost, and it is no less a question
    work_until(store, gateway, clock, Status.REVIEW)
    back = find(store)
    assert gateway.effects == {}
    assert {verb for verb, _ in gateway.calls} == {"ask"}
    assert (back.cause, back.review_by, back.desk_by) == (Cause.ASKED, record.review_by, None)
    assert "gateway knows nothing of it" in str(back.reason)


def test_what_a_desk_asks_about_is_not_sent_though_nothing_else_forbids_it(store: Store, clock: FakeClock) -> None:
    """Attempts, time and key window are left: it is on its desk since it could not be written."""
    run(store.add([payment("p-0")]))
    [held] = claim(store)
    aside = SetAside("w1", because(Cause.WRITE_FAILED, status="x", error="y"))
    run(store.settle([Move(held, decide(held, aside, clock.now(), POLICY))]))
    run(store.leave("p-0", AskNow(*PEOPLE)))
    clock.advance(POLICY.grace.total_seconds())
    gateway = LedgerGateway()
    work_until(store, gateway, clock, Status.REVIEW)
    assert (gateway.effects, find(store).cause) == ({}, Cause.ASKED)
    run(store.leave("p-0", Redrive(*PEOPLE)))  # which is sent
    work_until(store, gateway, clock, Status.CONFIRMED)
    assert gateway.effects == {"p-0": 1}


def test_a_question_that_brings_evidence_ends_it(store: Store, clock: FakeClock) -> None:
    record = on_desk(store, clock)
    gateway = LedgerGateway(effects={"p-0": 1})
    run(store.leave("p-0", AskNow(*PEOPLE)))
    work(store, gateway, clock)
    done = find(store)
    assert (done.status, done.cause, done.desk_by) == (Status.CONFIRMED, Cause.ALREADY_DONE, None)
    assert done.effect == (record.amount, record.currency)


def test_a_new_key_is_sent_once_and_both_are_asked_about(store: Store, clock: FakeClock) -> None:
    on_desk(store, clock)
    gateway = LedgerGateway()
    run(store.leave("p-0", NewKey(*PEOPLE, SEEN)))
    work_until(store, gateway, clock, Status.CONFIRMED)
    assert gateway.effects == {"p-0~2": 1}
    keys = [key for verb, key in gateway.calls if verb == "ask"]
    assert keys == [*find(store).keys] * (len(keys) // MOST_KEYS)
    assert (keys[0], keys[MOST_KEYS]) == ("p-0", "p-0~2")
    assert [key for verb, key in gateway.calls if verb == "confirm"] == ["p-0~2"]


def test_an_effect_under_a_key_that_a_restore_has_forgotten_is_found(store: Store, clock: FakeClock) -> None:
    on_desk(store, clock)
    gateway = LedgerGateway(effects={"p-0~3": 1})  # by the record as it was
    run(store.leave("p-0", NewKey(*PEOPLE, SEEN)))
    work_until(store, gateway, clock, Status.CONFIRMED)
    assert gateway.effects == {"p-0~3": 1}


def test_what_a_desk_asks_about_comes_back_though_nobody_can_call(store: Store, clock: FakeClock) -> None:
    """The deadline of the record is far ahead, that of the desk is not."""
    record = on_desk(store, clock)
    run(store.leave("p-0", AskNow(*PEOPLE)))
    assert record.review_by is not None
    clock.time = record.review_by + POLICY.patience - timedelta(seconds=1)
    assert run(store.claim(token="t8", by="w1", limit=9, late=True)).held == []
    clock.advance(2)
    assert [one.id for one in run(store.claim(token="t9", by="w1", limit=9, late=True)).held] == ["p-0"]


def test_a_question_that_workers_are_lost_with_is_back_by_its_deadline(store: Store, clock: FakeClock) -> None:
    record = on_desk(store, clock)
    run(store.leave("p-0", AskNow(*PEOPLE)))
    run(store.add([payment("p-1", hours=99 * 24)]))
    for number in range(POLICY.most_lost + 1):
        ended = run(store.claim(token=f"t{number}", by="w1", limit=9)).to_review
        then = clock.now() + POLICY.review_within
        clock.advance(LEASE_OVER)
    assert {one.id: one.review_by for one in ended} == {"p-0": record.review_by, "p-1": then}
    assert (find(store).cause, find(store).review_by) == (Cause.WORKERS_LOST, record.review_by)


def test_a_late_effect_of_the_old_key_stops_the_new_one(store: Store, clock: FakeClock) -> None:
    on_desk(store, clock)
    gateway = LedgerGateway(effects={"p-0": 1})
    run(store.leave("p-0", NewKey(*PEOPLE, SEEN)))
    work_until(store, gateway, clock, Status.CONFIRMED)
    assert gateway.effects == {"p-0": 1}


def test_effects_under_both_keys_come_to_a_desk_with_their_sum(store: Store, clock: FakeClock) -> None:
    record = on_desk(store, clock)
    run(store.leave("p-0", NewKey(*PEOPLE, SEEN)))
    work_until(store, LedgerGateway(effects={"p-0": 1, "p-0~2": 1}), clock, Status.REVIEW)
    assert f"gateway moved {2 * record.amount} {record.currency}" in str(find(store).reason)


def test_another_amount_leaves_its_desk_for_good(store: Store, clock: FakeClock) -> None:
    run(store.add([payment("p-0")]))
    work(store, LedgerGateway(other_amount), clock)
    record = find(store)
    assert record.cause is Cause.AMOUNT_MISMATCH
    run(store.leave("p-0", AcceptAmount(*PEOPLE, Evidence("console", "ref", 1, "USD"))))
    assert find(store).effect == (1, "USD")
    assert find(store).amount == record.amount


def test_a_new_key_of_what_others_once_had_is_sent_all_the_same(store: Store, clock: FakeClock) -> None:
    """Others may have sent it under its own key, in the shadow mode that was left; of the new key they know nothing."""
    on_desk(store, clock)
    run(store.leave("p-0", NewKey(*PEOPLE, SEEN)))
    policy = replace(POLICY, others_until=clock.now(), others_stopped=clock.now())
    clock.advance(1)
    gateway = LedgerGateway()
    work_until(under(policy, store), gateway, clock, Status.CONFIRMED, policy)
    assert gateway.effects == {"p-0~2": 1}
