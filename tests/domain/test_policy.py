"""The numbers of the core: those of a stack that sets none, and the bounds beyond which a clock is not believed."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from datetime import timedelta
from typing import Any

import pytest

from components.serverless.rules import LEASE_SECONDS
from components.settings.keys import KEYS
from tests.fakes import START, payment
from workers.domain.outcomes import Retryable
from workers.domain.policy import Policy
from workers.domain.transitions import Answer, Claim, claimable, decide, is_late, recalled
from workers.stores.common import arrived

POLICY = Policy()
MOMENT = timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("name", "key", "unit"),
    [
        ("clock_skew", "clockSkewSeconds", timedelta(seconds=1)),
        ("max_attempts", "maxAttempts", 1),
        ("retry_base", "retryBaseSeconds", timedelta(seconds=1)),
        ("retry_cap", "retryCapSeconds", timedelta(seconds=1)),
        ("call_timeout", "gatewayTimeoutSeconds", timedelta(seconds=1)),
        ("grace", "gatewayGraceSeconds", timedelta(seconds=1)),
        ("key_window", "gatewayKeyWindowHours", timedelta(hours=1)),
        ("review_within", "reviewHours", timedelta(hours=1)),
        ("review_owner", "reviewOwner", 1),
    ],
)
def test_the_core_has_the_numbers_of_a_stack_that_sets_none(name: str, key: str, unit: Any) -> None:
    """What tests and the simulator show of the core, they show of what is deployed."""
    [default] = [one.default for one in KEYS if one.name == key]
    assert getattr(Policy(), name) == default * unit


def test_the_core_has_the_lease_of_the_lambdas() -> None:
    assert timedelta(seconds=LEASE_SECONDS) == Policy().lease


def test_a_policy_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        POLICY.max_attempts = 9  # type: ignore[misc]


@pytest.mark.parametrize(
    ("tries", "doublings"), [(0, 0), (1, 0), (2, 1), (3, 2), (32, 31), (33, 32), (34, 32), (10**9, 32)]
)
def test_a_retry_waits_twice_as_long_each_time_and_within_what_a_number_holds(tries: int, doublings: int) -> None:
    step = timedelta(microseconds=10)
    policy = Policy(retry_base=step, retry_cap=timedelta(days=9_999))
    assert policy.backoff(tries, 1.0) == step * 2**doublings
    assert policy.backoff(tries, 0.0) == step * 2**doublings * 0.1


def test_questions_are_hopeless_after_twice_the_attempts() -> None:
    assert Policy(max_attempts=3).most_claims == 6


LONGEST_WAIT = timedelta(minutes=15) + timedelta(seconds=60) + timedelta(seconds=2)
"""The longest wait between attempts, the grace period, and how far clocks may differ."""


@pytest.mark.parametrize(
    ("ahead", "free"),
    [
        (timedelta(0), True),
        (MOMENT, False),
        (LONGEST_WAIT, False),
        (LONGEST_WAIT + MOMENT, True),
    ],
)
def test_a_turn_is_waited_for_unless_it_lies_further_ahead_than_any(ahead: timedelta, free: bool) -> None:
    record = arrived(payment(), START)._replace(next_attempt_at=START + ahead)
    assert claimable(record, START, POLICY) is free
    if free:
        assert decide(record, Claim("t", "w"), START, POLICY).next_attempt_at == START


@pytest.mark.parametrize(
    ("ahead", "free"),
    [
        (-timedelta(seconds=2) - MOMENT, True),
        (-timedelta(seconds=2), False),
        (timedelta(hours=2), False),
        (timedelta(hours=2) + MOMENT, True),
    ],
)
def test_a_lease_stands_for_every_clock_unless_it_ends_later_than_any(ahead: timedelta, free: bool) -> None:
    held = decide(arrived(payment(), START), Claim("t", "w"), START, POLICY)
    assert claimable(held._replace(lease_until=START + ahead), START, POLICY) is free


@pytest.mark.parametrize(("after", "ours"), [(timedelta(minutes=10), False), (timedelta(minutes=10) + MOMENT, True)])
def test_what_came_since_shadow_mode_was_left_is_ours_for_every_clock(after: timedelta, ours: bool) -> None:
    """Others have not sent it: it may go to a desk as never sent, however often it was tried."""
    policy = replace(POLICY, others_until=START - after)
    new = arrived(payment(), START)
    held = decide(new, Claim("t", "w"), START, policy)
    assert held.sent_earlier is not ours
    busy = decide(held._replace(last_sent_at=None), Answer(Retryable("busy"), "w"), START, policy)
    for record in (new, busy):
        assert is_late(record, record.deadline, policy) is ours


@pytest.mark.parametrize(("ahead", "believed"), [(timedelta(seconds=2), True), (timedelta(seconds=2) + MOMENT, False)])
def test_a_first_send_ahead_of_every_clock_may_have_been_since_the_transaction_came_about(
    ahead: timedelta, believed: bool
) -> None:
    record = arrived(payment(created_at=START - timedelta(hours=3)), START)
    told = record._replace(first_sent_at=START + ahead, next_attempt_at=START + timedelta(hours=1))
    after = recalled(told, START, POLICY)
    assert after.first_sent_at == (told.first_sent_at if believed else record.created_at)
    assert (after.next_attempt_at, after.version) == (START, told.version + 1), "as each write does"
