"""What each way out of REVIEW asks for, and what it makes of the record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import FrozenInstanceError, replace
from datetime import timedelta
from typing import Any

import pytest

from tests.desk.people import BY_PEOPLE
from tests.fakes import START, payment
from workers.domain.causes import Cause
from workers.domain.desk import EXITS, Order, Wants, evidence_of
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
from workers.domain.outcomes import MIXED, MOST_MONEY, Confirmed, NotFound, Rejected, Unknown, together
from workers.domain.policy import Policy
from workers.domain.rules import broken_rule
from workers.domain.transaction import MOST_KEYS, Status, Transaction, id_of
from workers.domain.transitions import decide, is_late, may_send

POLICY = Policy()
PEOPLE = ("ana", "ben (request 3f)", "looked into it")
SEEN = Evidence("gateway's console", "case 7")
SETTLED = POLICY.lease + POLICY.call_timeout + POLICY.grace
SENT = START - SETTLED - timedelta(hours=30)


def on_desk(**changes: Any) -> Transaction:
    """Possibly sent long ago, unless `changes` say otherwise."""
    standing = {
        "status": Status.REVIEW, "reason": "r", "owner": "o", "review_by": START + timedelta(hours=5), "attempt": 4,
        "version": 7, "first_sent_at": SENT, "last_sent_at": SENT, "tries": 3, "asked": 2, "lost": 1,
        "away_since": SENT,
    }  # fmt: skip
    return payment("p-0")._replace(**{**standing, **changes})


def never_sent() -> Transaction:
    return on_desk(first_sent_at=None, last_sent_at=None)


def left(record: Transaction, event: DeskExit, policy: Policy = POLICY) -> Transaction:
    after = decide(record, event, START, policy)
    assert broken_rule(after) is None
    assert (after.version, after.owner, after.review_by) == (record.version + 1, None, None)
    line = after.history[-1]
    assert (line.by, line.was, line.now) == ("ana", Status.REVIEW, after.status)
    assert line.cause in BY_PEOPLE
    assert "approved by ben (request 3f): " in line.why
    assert "looked into it" in line.why
    return after


def refusal(record: Transaction, event: DeskExit, policy: Policy = POLICY) -> str:
    with pytest.raises(Refused) as refused:
        decide(record, event, START, policy)
    return str(refused.value)


def test_what_is_asked_about_keeps_its_deadline_and_is_never_sent() -> None:
    record = on_desk(deadline=START + timedelta(days=9))  # attempts and time are left, and all the same
    after = left(record, AskNow(*PEOPLE))
    assert (after.status, after.next_attempt_at, after.desk_by) == (Status.PENDING, START, record.review_by)
    assert (after.deadline, after.attempt) == (record.deadline, record.attempt)
    assert (after.tries, after.asked, after.lost, after.away_since) == (0, 0, 0, None)
    assert (after.first_sent_at, after.last_sent_at) == (SENT, SENT)
    assert not may_send(after, POLICY)
    assert may_send(after._replace(desk_by=None), POLICY)


def test_a_redrive_asks_about_what_was_never_sent_too() -> None:
    after = left(never_sent(), Redrive(*PEOPLE))
    assert (after.first_sent_at, after.last_sent_at) == (START, START)
    assert after.sent_earlier
    sent = left(on_desk(), Redrive(*PEOPLE))
    assert (sent.first_sent_at, sent.last_sent_at) == (SENT, SENT)
    assert (sent.attempt, sent.tries, sent.asked, sent.lost, sent.away_since) == (0, 0, 0, 0, None)


def test_done_has_the_amount_that_was_ordered() -> None:
    record = on_desk()
    right = replace(SEEN, amount=record.amount, currency=record.currency)
    after = left(record, ResolveDone(*PEOPLE, right))
    assert (after.status, after.settled_at, after.gateway_reference) == (Status.CONFIRMED, START, "case 7")
    assert after.effect == (record.amount, record.currency)
    assert left(record, ResolveDone(*PEOPLE, SEEN)).status is Status.CONFIRMED  # of a list: each its own
    for amount, currency in ((record.amount + 1, record.currency), (record.amount, "JPY")):
        assert "accept-amount" in refusal(record, ResolveDone(*PEOPLE, replace(SEEN, amount=amount, currency=currency)))


def test_another_amount_is_written_down() -> None:
    record = on_desk()
    after = left(record, AcceptAmount(*PEOPLE, replace(SEEN, amount=MOST_MONEY - 1, currency="JPY")))
    assert (after.status, after.amount, after.currency) == (Status.CONFIRMED, record.amount, record.currency)
    assert after.effect == (after.moved, after.moved_currency) == (MOST_MONEY - 1, "JPY")
    right = replace(SEEN, amount=record.amount, currency=record.currency)
    assert "resolve-done" in refusal(record, AcceptAmount(*PEOPLE, right))
    assert "which amount" in refusal(record, AcceptAmount(*PEOPLE, SEEN))
    assert "resolve-refused" in refusal(record, AcceptAmount(*PEOPLE, replace(SEEN, amount=0, currency="JPY")))
    assert "can't be left so" in refusal(
        record, AcceptAmount(*PEOPLE, replace(SEEN, amount=MOST_MONEY, currency="JPY"))
    )


@pytest.mark.parametrize("kind", [ResolveRefused, Cancel])
def test_what_ends_without_an_effect_waits_until_none_may_come(kind: Any) -> None:
    event = kind(*PEOPLE, SEEN)
    after = left(on_desk(), event)
    assert (after.status, after.settled_at, after.gateway_reference) == (Status.REJECTED, START, None)
    assert "gateway's console case 7" in str(after.reason)
    assert left(on_desk(last_sent_at=START - SETTLED), event).status is Status.REJECTED
    assert "decide it then" in refusal(on_desk(last_sent_at=START - SETTLED + timedelta(milliseconds=1)), event)
    assert "shadow mode" in refusal(on_desk(), event, replace(POLICY, only_ask=True))
    for money in ({"amount": 1, "currency": "USD"}, {"amount": 1}, {"currency": "USD"}):
        assert "no amount" in refusal(on_desk(), kind(*PEOPLE, replace(SEEN, **money)))


def test_what_the_gateway_says_of_money_is_not_decided_away() -> None:
    """Another amount has moved: a list's evidence without one, or a refusal, would hide it."""
    record = on_desk(gateway_reference="ref-1")
    for event in (ResolveRefused(*PEOPLE, SEEN), Cancel(*PEOPLE, SEEN), NewKey(*PEOPLE, SEEN)):
        assert "money moved" in refusal(record, event)
    assert "which" in refusal(record, ResolveDone(*PEOPLE, SEEN))
    other = replace(SEEN, amount=1, currency="USD")
    assert left(record, AcceptAmount(*PEOPLE, other)).effect == (1, "USD")


def test_what_a_desk_asks_about_is_late_by_its_deadline() -> None:
    """Though its own lies far ahead: who can't call the gateway brings it back."""
    asked = left(on_desk(deadline=START + timedelta(days=9)), AskNow(*PEOPLE))
    assert asked.desk_by is not None
    assert not is_late(asked, asked.desk_by + POLICY.patience - timedelta(milliseconds=1), POLICY)
    assert is_late(asked, asked.desk_by + POLICY.patience, POLICY)


def test_only_what_was_never_sent_is_cancelled_without_evidence() -> None:
    after = left(never_sent(), Cancel(*PEOPLE, None))
    assert (after.status, after.history[-1].cause) == (Status.REJECTED, Cause.CANCELLED)
    assert "its record shows that it was never sent" in after.history[-1].why
    for sent in (on_desk(first_sent_at=None), on_desk(last_sent_at=None)):
        assert "takes evidence" in refusal(sent, Cancel(*PEOPLE, None))
    assert "nothing to ask about" in refusal(never_sent(), AskNow(*PEOPLE))


def test_a_new_key_begins_a_new_window_and_the_old_ones_stay() -> None:
    record = on_desk()
    for number in range(1, MOST_KEYS + 1):
        after = left(record, NewKey(*PEOPLE, SEEN))
        assert (after.new_keys, after.first_sent_at, after.last_sent_at, after.attempt) == (number, START, START, 0)
        assert after.keys[0] == after.id
        assert after.keys[-1] == after.key == f"p-0~{number + 1}"
        assert set(after.keys) == {after.id, *(f"p-0~{one}" for one in range(2, MOST_KEYS + 2))}, "whatever was lost"
        assert {id_of(key) for key in after.keys} == {after.id}
        assert f"key number {number + 1}," in after.history[-1].why
        record = on_desk(new_keys=number)
    assert f"{MOST_KEYS} new keys" in refusal(record, NewKey(*PEOPLE, SEEN))
    assert "decide it then" in refusal(on_desk(last_sent_at=START), NewKey(*PEOPLE, SEEN))
    just = START - POLICY.key_window + POLICY.call_timeout + POLICY.lease
    assert left(on_desk(first_sent_at=just), NewKey(*PEOPLE, SEEN)).new_keys == 1
    early = on_desk(first_sent_at=just + timedelta(milliseconds=1))
    assert "under its own key until" in refusal(early, NewKey(*PEOPLE, SEEN))
    assert "redrive it" in refusal(never_sent(), NewKey(*PEOPLE, SEEN))
    assert "shadow mode" in refusal(on_desk(), NewKey(*PEOPLE, SEEN), replace(POLICY, only_ask=True))


@pytest.mark.parametrize("status", [one for one in Status if one is not Status.REVIEW])
@pytest.mark.parametrize("kind", EXITS)
def test_nothing_leaves_a_desk_on_which_it_does_not_lie(kind: str, status: Status) -> None:
    order = Order(kind, "w", SEEN if EXITS[kind].needs_evidence else None)
    record = on_desk(status=status)
    assert f"is {status}" in refusal(record, EXITS[kind].event(order, "ana", "ben"))


def test_evidence_reads_as_it_was_given_and_stays_so() -> None:
    assert str(SEEN) == "gateway's console case 7"
    assert str(replace(SEEN, amount=1250, currency="USD")) == "gateway's console case 7 says 1250 USD"
    with pytest.raises(FrozenInstanceError):
        SEEN.amount = 1  # type: ignore[misc]


def test_two_people_are_named_and_say_why() -> None:
    assert "two people" in refusal(on_desk(), Redrive("Ana", "ANA", "w"))
    assert "names who asks" in refusal(on_desk(), AskNow("ana", " ", "w"))
    assert "says why" in refusal(on_desk(), AskNow("ana", "ben", "\x00 "))


DONE, OTHER = Confirmed("a", 60, "USD"), Confirmed("b", 40, "USD")


def test_what_several_keys_are_answered_comes_to_one_outcome() -> None:
    unsure, refused, nothing = Unknown("no answer"), Rejected("no funds"), NotFound()
    assert together([nothing, nothing]) == nothing
    assert together([refused, nothing]) == nothing  # the old key: the new one may be sent
    assert together([nothing, refused]) == together([nothing, nothing, refused]) == refused
    assert together([DONE, nothing]) == together([nothing, DONE]) == together([DONE, refused]) == DONE
    assert together([DONE, unsure]) == together([unsure, DONE]) == unsure  # there may be a second effect
    assert together([DONE._replace(reference="")] * 2) == Confirmed(" and ", 120, "USD")  # that says nothing
    assert together([DONE, DONE._replace(amount=40)]) == Confirmed("a and a", 100, "USD")
    assert together([DONE, DONE]) == DONE  # a gateway that knows both keys to be one payment
    assert together([DONE, OTHER]) == Confirmed("a and b", 100, "USD")
    assert together([DONE, OTHER._replace(currency="JPY")]) == Confirmed("a and b", 100, MIXED)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"source": "s"}, "reference is missing"),
        ({"source": " ", "reference": "r"}, "source is missing"),
        ({"source": "s", "reference": "r", "amount": 1}, "or none of both"),
        ({"source": "s", "reference": "r", "amount": 1.5, "currency": "USD"}, "whole number"),
        ({"source": "s", "reference": "r", "amount": True, "currency": "USD"}, "whole number"),
        ({"source": "s", "reference": "r", "amount": -1, "currency": "USD"}, "whole number"),
        ({"source": "s", "reference": "r", "amount": MOST_MONEY, "currency": "USD"}, "whole number"),
        ({"source": "s", "reference": "r", "amount": 1, "currency": "usd"}, "three capitals"),
        ({"source": "s", "reference": "4111 1111 1111 1111"}, "looks like a card's"),
        ({"source": "card 4111111111111111", "reference": "r"}, "looks like a card's"),
        ({"source": "s", "reference": "r", "more": 1}, "not of its form"),
    ],
)
def test_evidence_that_is_none(given: Mapping[str, Any], said: str) -> None:
    with pytest.raises(Refused, match=said):
        evidence_of(given)


@pytest.mark.parametrize("kind", EXITS)
def test_each_exit_takes_the_evidence_that_it_needs_and_no_other(kind: str) -> None:
    seen = {"source": "s", "reference": "r"}
    proof = EXITS[kind].proof
    taken: list[bool | None] = []
    for evidence in (None, seen, {**seen, "amount": 1, "currency": "USD"}):
        order = {"kind": kind, "why": "w", "evidence": evidence}
        try:
            taken.append(Order.of(order).evidence is not None)
        except Refused:
            taken.append(None)
    assert (
        taken
        == {
            Wants.NONE: [False, None, None],
            Wants.SOURCE: [None, True, None],
            Wants.MONEY: [None, True, True],
            Wants.IF_SENT: [False, True, None],
        }[proof]
    )
