"""The table of transitions: each rule by example, and the promises over every path that Hypothesis finds."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import START, payment
from workers.domain.causes import Cause, because
from workers.domain.exits import Redrive, Refused
from workers.domain.history import MOST_LINES
from workers.domain.outcomes import Confirmed, NotFound, NotTried, Outcome, Rejected, Retryable, Unknown
from workers.domain.policy import Policy
from workers.domain.transaction import Status, Transaction, to_text
from workers.domain.transitions import (
    LEAST_TRIES,
    TABLE,
    Answer,
    Claim,
    Event,
    SetAside,
    claimable,
    decide,
    may_resend,
    may_send,
)
from workers.stores.common import arrived

POLICY = Policy(max_attempts=3)
DONE = Confirmed("ref", 2933, "USD")


def pending() -> Transaction:
    return arrived(payment(), START)


def held(after: float = 0, record: Transaction | None = None) -> Transaction:
    return decide(record or pending(), Claim("t1", "w1"), START + timedelta(seconds=after), POLICY)


def answered(
    outcome: Outcome | NotTried, after: float = 1, record: Transaction | None = None, asked: bool = False
) -> Transaction:
    return decide(record or held(), Answer(outcome, "w1", asked), START + timedelta(seconds=after), POLICY)


def test_a_claim_counts_the_attempt_and_leases_under_its_token() -> None:
    record = held()
    assert (record.status, record.attempt, record.token) == (Status.PROCESSING, 1, "t1")
    assert record.lease_until == START + POLICY.lease
    assert record.first_sent_at == START
    assert not record.sent_earlier
    assert record.next_attempt_at == pending().next_attempt_at, "the index of open work must not move on a claim"


@pytest.mark.parametrize("seconds", [0, 10, 180, 182])
def test_a_live_lease_is_nobody_elses(seconds: float) -> None:
    with pytest.raises(Refused):
        decide(held(), Claim("t2", "w2"), START + timedelta(seconds=seconds), POLICY)


def test_an_expired_lease_is_taken_over_and_the_taker_must_ask() -> None:
    record = decide(held(), Claim("t2", "w2"), START + timedelta(seconds=182.001), POLICY)
    assert (record.status, record.attempt, record.token) == (Status.PROCESSING, 1, "t2")
    assert record.sent_earlier
    assert record.last_sent_at == START + POLICY.lease, "the crashed worker may have sent until its lease ended"


def test_the_key_window_of_what_was_sent_in_the_future_begins_when_it_came_about() -> None:
    """A clock was ahead: when it was really sent nobody knows, so it may have been at any time."""
    record = pending()._replace(
        first_sent_at=START + timedelta(hours=30), last_sent_at=START, deadline=START + timedelta(hours=99)
    )
    assert may_resend(record, START + timedelta(hours=23), POLICY)
    assert not may_resend(record, START + timedelta(hours=24), POLICY)


@pytest.mark.parametrize("shadow", [False, True])
def test_no_turn_that_is_written_is_taken_for_one_of_a_wrong_clock(shadow: bool) -> None:
    """By a worker whose own clock is behind by what is allowed."""
    policy = replace(POLICY, only_ask=shadow)
    for outcome in (Unknown("?"), Retryable("?"), Retryable("?", counts=False), NotFound(), NotTried(Cause.STOPPING)):
        for tries in range(12):
            for asked in (False, True):
                record = held()._replace(tries=tries, last_sent_at=START if asked else None)
                after = decide(record, Answer(outcome, "w", asked), START + timedelta(seconds=1), policy, 0.999)
                if after.status is Status.PENDING:
                    seen_at = START + timedelta(seconds=1) - policy.clock_skew
                    assert not claimable(after, seen_at, policy) or (after.next_attempt_at or START) <= seen_at


def test_what_is_not_due_is_not_claimed() -> None:
    later = answered(Retryable("try later"))
    assert later.next_attempt_at is not None
    with pytest.raises(Refused):
        decide(later, Claim("t2", "w2"), later.next_attempt_at - timedelta(milliseconds=1), POLICY)
    assert decide(later, Claim("t2", "w2"), later.next_attempt_at, POLICY).attempt == 2


def test_evidence_settles() -> None:
    done = answered(DONE)
    assert (done.status, done.gateway_reference, done.settled_at) == (
        Status.CONFIRMED,
        "ref",
        START + timedelta(seconds=1),
    )
    refused = answered(Rejected("closed account"))
    assert (refused.status, refused.reason) == (Status.REJECTED, "closed account")
    for final in (done, refused):
        assert final.token is None
        assert final.lease_until is None
        assert final.next_attempt_at is None


@pytest.mark.parametrize("outcome", [Confirmed("ref", 2932, "USD"), Confirmed("ref", 2933, "EUR")])
def test_another_amount_or_currency_goes_to_a_person(outcome: Confirmed) -> None:
    record = answered(outcome)
    assert record.status is Status.REVIEW
    assert record.gateway_reference == "ref"
    assert record.owner == POLICY.review_owner
    assert record.review_by == START + timedelta(seconds=1) + POLICY.review_within


def test_a_time_out_is_unknown_and_the_next_attempt_asks() -> None:
    record = answered(Unknown("timed out"))
    assert (record.status, record.attempt, record.sent_earlier) == (Status.PENDING, 1, True)
    assert record.last_sent_at == START + timedelta(seconds=1)


def test_a_refused_try_leaves_nothing_to_ask_for() -> None:
    record = answered(Retryable("busy"))
    assert (record.status, record.attempt, record.first_sent_at, record.sent_earlier) == (
        Status.PENDING,
        1,
        None,
        False,
    )


def test_a_refused_resend_does_not_forget_the_earlier_unknown() -> None:
    unknown = answered(Unknown("timed out"))
    again = held(1000, unknown)
    record = answered(Retryable("busy"), 1001, again)
    assert record.sent_earlier
    assert record.first_sent_at == START


@pytest.mark.parametrize("outcome", [Retryable("429", counts=False), NotTried(Cause.BREAKER_OPEN)])
def test_what_is_not_the_transactions_fault_burns_no_attempt(outcome: Retryable | NotTried) -> None:
    record = answered(outcome)
    assert (record.status, record.attempt, record.first_sent_at) == (Status.PENDING, 0, None)


def test_an_unanswered_question_burns_no_attempt() -> None:
    again = held(1000, answered(Unknown("timed out")))
    assert again.attempt == 2
    record = answered(Unknown("timed out"), 1001, again, asked=True)
    assert record.attempt == 1
    assert record.last_sent_at == START + timedelta(seconds=1), "asking sends nothing"


def given_up() -> Transaction:
    """Possibly sent, held, and so long past its deadline that it is waited for a gateway no longer."""
    sent = answered(Unknown("timed out"))
    late = sent._replace(next_attempt_at=sent.deadline + POLICY.patience)
    return decide(late, Claim("t2", "w1"), sent.deadline + POLICY.patience, POLICY)._replace(lost=1, tries=0)


UNREACHABLE = NotTried(Cause.BREAKER_OPEN, unreachable=True)
MOMENT = timedelta(milliseconds=1)


def test_what_nobody_could_ask_about_says_since_when_and_waits_ever_longer() -> None:
    for tries in range(LEAST_TRIES):
        record = given_up()._replace(tries=tries)
        now = record.deadline + POLICY.patience
        after = decide(record, Answer(UNREACHABLE, "w1"), now, POLICY)
        assert (after.status, after.away_since, after.tries) == (Status.PENDING, now, tries + 1)
        assert (after.attempt, after.lost) == (record.attempt - 1, 1), "no attempt, and nobody came back from it"
        assert after.next_attempt_at == now + POLICY.backoff(tries + 1, 0.5)


@pytest.mark.parametrize(
    ("tries", "since", "status"),
    [
        (LEAST_TRIES - 1, POLICY.patience, Status.REVIEW),
        (LEAST_TRIES - 1, POLICY.patience - MOMENT, Status.PENDING),
        (LEAST_TRIES - 2, POLICY.patience, Status.PENDING),
        (LEAST_TRIES - 1, None, Status.PENDING),
    ],
)
def test_after_long_and_often_enough_a_person_is_to_see_why_nobody_could_ask(
    tries: int, since: timedelta | None, status: Status
) -> None:
    now = given_up().deadline + 2 * POLICY.patience
    record = given_up()._replace(tries=tries, lease_until=now, away_since=None if since is None else now - since)
    assert decide(record, Answer(UNREACHABLE, "w1"), now, POLICY).status is status


@pytest.mark.parametrize(
    ("answer", "reached"),
    [
        (Answer(Unknown("timed out"), "w1", asked=True), True),
        (Answer(Unknown("timed out"), "w1"), True),
        (Answer(Retryable("429", counts=False), "w1", asked=True), False),
    ],
)
def test_since_when_nobody_could_ask_ends_with_a_question_that_got_there(answer: Answer, reached: bool) -> None:
    record = given_up()
    now, since = record.deadline + POLICY.patience, record.deadline
    assert decide(record._replace(away_since=since), answer, now, POLICY).away_since == (None if reached else since)
    early = held(1000, answered(Unknown("timed out")))
    assert decide(early, answer, START + timedelta(seconds=1001), POLICY).away_since is None, "not before it is late"


def test_whoever_takes_over_may_always_send_once_or_has_sent() -> None:
    """A holder that a version before this one wrote down without an attempt has made one."""
    lost = held()._replace(attempt=0)
    assert decide(lost, Claim("t2", "w2"), START + timedelta(seconds=183), POLICY).attempt == 1


def test_attempts_end_on_a_desk() -> None:
    record, now = pending(), START
    for _ in range(POLICY.max_attempts):
        record = decide(record, Claim("t", "w"), now, POLICY)
        record = decide(record, Answer(Retryable("busy"), "w"), now, POLICY)
        now = record.next_attempt_at or now
    assert record.status is Status.REVIEW
    assert "3 attempts used up" in (record.reason or "")


def test_a_poison_that_kills_its_workers_ends_on_a_desk() -> None:
    record, now = pending(), START
    for _ in range(POLICY.most_lost):
        record = decide(record, Claim("t", "w"), now, POLICY)
        now += POLICY.lease + timedelta(seconds=3)
    record = decide(record, Claim("t", "w"), now, POLICY)
    assert record.status is Status.REVIEW
    assert "none of them came back" in (record.reason or "")
    assert record.sent_earlier, "whoever redrives it must ask first"


def test_after_the_last_attempt_it_is_asked_about_until_the_deadline_and_not_sent() -> None:
    """Attempts bound what is sent, the deadline bounds questions."""
    record, now = pending(), START
    for _ in range(POLICY.max_attempts):
        record = decide(record, Claim("t", "w"), now, POLICY)
        record = decide(record, Answer(Unknown("timed out"), "w"), now, POLICY)
        now = record.next_attempt_at or now
    assert record.status is Status.PENDING, "a person would know less than the gateway"
    waits = []
    while record.status is Status.PENDING:
        assert record.next_attempt_at is not None
        waits.append(record.next_attempt_at - now)
        now = record.next_attempt_at
        record = decide(record, Claim("t", "w"), now, POLICY)
        assert record.status is Status.PROCESSING
        assert not may_send(record, POLICY)
        assert not may_resend(record, now, POLICY)
        record = decide(record, Answer(Unknown("no answer"), "w", asked=True), now, POLICY)
    assert now >= record.deadline
    assert record.asked > 90, "a day at quarters of an hour"
    assert sorted(waits[:5]) == waits[:5], "the wait grows with questions too"
    assert record.reason == (
        f"deadline passed; asked {record.asked + 1} times since {to_text(record.last_sent_at or START)}, "
        f"last at {to_text(now)}; last: unknown: no answer"
    )


def test_attempts_used_up_and_the_gateway_knows_nothing_of_it_is_a_persons_matter_at_once() -> None:
    used_up = answered(Unknown("timed out"), 1, held()._replace(attempt=POLICY.max_attempts))
    asking = held(1000, used_up)
    assert asking.attempt == POLICY.max_attempts + 1
    desk = answered(NotFound(), 1001, asking, asked=True)
    assert (desk.status, desk.reason) == (Status.REVIEW, "3 attempts used up; gateway knows nothing of it")


def test_what_timed_out_past_its_deadline_is_asked_about_once_before_a_person_is() -> None:
    day = 86_400
    record = answered(Unknown("timed out"), day + 1, held(day - 1))
    assert (record.status, record.sent_earlier) == (Status.PENDING, True)
    assert record.next_attempt_at is not None
    asking = decide(record, Claim("t1", "w1"), record.next_attempt_at, POLICY)
    early = answered(NotFound(), day + 30, asking, asked=True)
    assert early.status is Status.PENDING, "it may still appear"
    assert early.next_attempt_at == START + timedelta(seconds=day + 1) + POLICY.grace
    again = held(day + 62, early)
    assert answered(NotFound(), day + 63, again, asked=True).status is Status.REVIEW


@pytest.mark.parametrize("after", [1, 90_000])
def test_another_amount_at_the_first_attempt_is_possibly_sent_whoever_redrives_it(after: float) -> None:
    """The gateway did move something: past its key window a second call would move it again."""
    record = decide(answered(Confirmed("ref", 1, "USD")), Redrive("ana", "ben", "why"), START, POLICY)
    assert record.sent_earlier
    assert record.last_sent_at == START + timedelta(seconds=1)
    again = held(after, record)
    assert again.sent_earlier, "asked before it is sent"
    assert not may_resend(again, START + timedelta(seconds=90_000), POLICY)


def test_a_record_that_does_not_prove_that_it_was_never_sent_was_possibly_sent() -> None:
    """As a version before this one, or a restore, may have left it."""
    old = pending()._replace(first_sent_at=START - timedelta(hours=30))
    assert old.sent_earlier
    claimed = held(0, old)
    assert (claimed.sent_earlier, claimed.last_sent_at) == (True, START)
    assert not may_resend(claimed, START + timedelta(seconds=600), POLICY), "its key window is over"
    late = old._replace(deadline=START - timedelta(hours=1))
    assert held(0, late).status is Status.PROCESSING, "asked before it goes to REVIEW"


def test_in_shadow_mode_nothing_is_never_sent_and_nothing_is_sent() -> None:
    shadow = replace(POLICY, only_ask=True)
    ours = pending()._replace(created_at=START - timedelta(hours=2))
    record = decide(ours, Claim("t", "w"), START, shadow)
    assert (record.first_sent_at, record.last_sent_at) == (START - timedelta(hours=2), START)
    assert not may_send(record, shadow)
    late = ours._replace(deadline=START - timedelta(hours=1))
    asking = decide(late, Claim("t", "w"), START, shadow)
    assert asking.status is Status.PROCESSING, "asked before it goes to REVIEW"
    unknown = decide(asking._replace(tries=2), Answer(Unknown("no answer"), "w", asked=True), START, shadow)
    assert unknown.status is Status.REVIEW
    assert unknown.sent_earlier
    missed = decide(asking, Answer(NotFound(), "w", asked=True), START, shadow)
    assert missed.status is Status.REVIEW
    assert missed.sent_earlier, "its redrive asks, whatever it says"
    assert not may_resend(held(30 * 3600, decide(missed, Redrive("a", "b", "c"), START, POLICY)), START, POLICY)


def test_not_found_waits_out_the_grace_period_then_resends_then_never_again() -> None:
    again = held(20, answered(Unknown("timed out"))._replace(next_attempt_at=START))
    early = answered(NotFound(), 21, again, asked=True)
    assert (early.status, early.next_attempt_at) == (Status.PENDING, START + timedelta(seconds=61))
    assert early.attempt == 1, "waiting is no attempt"
    assert not may_resend(again, START + timedelta(seconds=60), POLICY)
    assert may_resend(again, START + timedelta(seconds=61), POLICY)
    assert not may_resend(again, START + POLICY.key_window, POLICY)
    patient = again._replace(deadline=START + timedelta(days=9))
    late = answered(NotFound(), 86_400, patient, asked=True)
    assert late.status is Status.REVIEW
    assert "key window" in (late.reason or "")


def test_the_deadline_decides() -> None:
    day = 86_400
    assert held(day, pending()).status is Status.REVIEW, "never sent: it must not go out late"
    asking = held(day + 1, answered(Unknown("timed out"))._replace(next_attempt_at=START))
    assert asking.status is Status.PROCESSING, "it may have happened: ask once more"
    assert answered(NotFound(), day + 2, asking, asked=True).status is Status.REVIEW
    assert answered(Unknown("down"), day + 2, asking, asked=True).status is Status.PENDING, "one failure is no end"
    tried = asking._replace(tries=LEAST_TRIES - 1)
    assert answered(Unknown("down"), day + 2, tried, asked=True).status is Status.REVIEW
    assert answered(DONE, day + 2, asking, asked=True).status is Status.CONFIRMED, "evidence counts even late"


def test_a_question_that_never_gets_through_ends_on_a_desk_though_others_do() -> None:
    """The gateway is not away, it refuses this one alone: after a day of that a person sees why."""
    refused, day = Retryable("not for you", counts=False), 86_400
    asking = held(day + 1, answered(Unknown("timed out"))._replace(next_attempt_at=START))
    late = day + (POLICY.patience + POLICY.review_within).total_seconds()
    for after, tries, end in (
        (late, POLICY.most_claims - 1, Status.PENDING),
        (late - 1, POLICY.most_claims, Status.PENDING),
        (late, POLICY.most_claims, Status.REVIEW),
    ):
        assert answered(refused, after, asking._replace(tries=tries), asked=True).status is end


DAY, PATIENCE = 86_400, POLICY.patience.total_seconds()
AWAY = NotTried(Cause.BREAKER_OPEN, unreachable=True)


@pytest.mark.parametrize(
    ("outcome", "asked", "after", "status", "cause", "attempt", "tries"),
    [
        (DONE, False, 1, Status.CONFIRMED, Cause.CONFIRMED, 2, 0),
        (DONE, True, 1, Status.CONFIRMED, Cause.ALREADY_DONE, 2, 0),
        # tried: what the gateway blames the transaction for counts, the rest is as if there had been no attempt
        (Retryable("busy"), False, 1, Status.PENDING, Cause.NOT_DONE, 2, 1),
        (Retryable("busy", counts=False), False, 1, Status.PENDING, Cause.NOT_DONE, 1, 1),
        (Retryable("busy"), False, DAY, Status.REVIEW, Cause.DEADLINE_PASSED, 2, 0),
        (Retryable("busy", counts=False), False, DAY, Status.REVIEW, Cause.DEADLINE_PASSED, 1, 0),
        # asked: a question is a try, and no attempt
        (NotFound(), True, 59, Status.PENDING, Cause.NOT_FOUND_YET, 1, 1),
        (NotFound(), True, 60, Status.PENDING, Cause.RESEND, 1, 1),
        (NotFound(), True, DAY, Status.REVIEW, Cause.DEADLINE_PASSED, 1, 0),
        # not tried: until nobody could be asked for longer than we are patient
        (AWAY, False, DAY - PATIENCE, Status.PENDING, Cause.BREAKER_OPEN, 1, 0),
        (AWAY, False, DAY + PATIENCE - 0.001, Status.PENDING, Cause.BREAKER_OPEN, 1, 0),
        (AWAY, False, DAY + PATIENCE, Status.REVIEW, Cause.DEADLINE_PASSED, 1, 0),
        (NotTried(Cause.BREAKER_OPEN), False, DAY + PATIENCE, Status.PENDING, Cause.BREAKER_OPEN, 1, 0),
    ],
)
def test_where_an_answer_leads_and_what_of_it_counts(
    outcome: Outcome | NotTried, asked: bool, after: float, status: Status, cause: Cause, attempt: int, tries: int
) -> None:
    """To the second attempt at what may have been sent before."""
    record = held()._replace(attempt=2, last_sent_at=START)
    answer = Answer(outcome, "w1", asked, away=True)
    ended = decide(record, answer, START + timedelta(seconds=after), POLICY)
    assert (ended.status, ended.cause, ended.attempt, ended.tries) == (status, cause, attempt, tries)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (0, "asked 1 time since 2026-01-05T09:00:00.000Z, last at 2026-01-06T09:00:00.000Z; "),
        (1, "asked 2 times since 2026-01-05T09:00:00.000Z, last at 2026-01-06T09:00:00.000Z; "),
    ],
)
def test_a_person_hears_how_often_it_was_asked_about(asked: int, told: str) -> None:
    record = held()._replace(last_sent_at=START, asked=asked)
    assert told in (answered(NotFound(), DAY, record, asked=True).reason or "")


def test_a_claim_leaves_a_turn_that_has_come_where_it_is() -> None:
    """The index of open work stands still, and the longest due stay the longest due."""
    assert held(5).next_attempt_at == START


def test_a_retry_comes_at_the_deadline_at_the_latest() -> None:
    record = held()._replace(deadline=START + timedelta(seconds=5))
    assert answered(Retryable("busy"), 1, record).next_attempt_at == START + timedelta(seconds=5)


@pytest.mark.parametrize("tries", [0, 1, 4])
@pytest.mark.parametrize("outcome", [Retryable("busy"), Unknown("timed out")])
def test_the_wait_goes_by_the_tries_with_this_one(outcome: Outcome, tries: int) -> None:
    after = answered(outcome, 1, held()._replace(tries=tries))
    assert after.next_attempt_at == START + timedelta(seconds=1) + POLICY.backoff(tries + 1, 0.5)


def test_in_shadow_mode_what_is_not_found_is_asked_about_again_after_a_wait_that_grows() -> None:
    shadow = replace(POLICY, only_ask=True)
    for tries in (0, 1, 4):
        record = held()._replace(tries=tries)
        after = decide(record, Answer(NotFound(), "w1", asked=True), START, shadow)
        assert after.next_attempt_at == START + POLICY.backoff(tries + 1, 0.5)


@pytest.mark.parametrize(("ahead", "sent"), [(1, 1), (2, 2), (2.001, 0), (3600, 0)])
def test_the_grace_period_counts_from_the_last_send_unless_that_lies_ahead_of_any_clock(
    ahead: float, sent: float
) -> None:
    record = held()._replace(last_sent_at=START + timedelta(seconds=ahead))
    after = answered(NotFound(), 0, record, asked=True)
    assert after.next_attempt_at == START + timedelta(seconds=sent) + POLICY.grace


def test_a_call_that_is_answered_not_found_is_an_attempt_that_may_have_been_sent() -> None:
    after = answered(NotFound(), 1)
    assert (after.status, after.cause) == (Status.PENDING, Cause.UNKNOWN_OUTCOME)
    assert (after.attempt, after.last_sent_at) == (1, START + timedelta(seconds=1))


@pytest.mark.parametrize(
    "event", [Claim("t1", "w1"), Redrive("ana", "ben", "why"), SetAside("w1", because(Cause.CLAIM_FAILED, error="x"))]
)
def test_an_event_cannot_be_changed(event: Claim | Redrive | SetAside) -> None:
    with pytest.raises(FrozenInstanceError):
        event.by = "another"  # type: ignore[misc]


def test_a_redrive_takes_two_people_and_keeps_the_key() -> None:
    record = answered(NotFound(), 1001, held(1000, answered(Unknown("?"), 1, held()._replace(attempt=3))), asked=True)
    assert record.status is Status.REVIEW
    for by, approver in [("ana", "ana"), ("ana", " Ana "), ("", "ben"), ("ana", "")]:
        with pytest.raises(Refused):
            decide(record, Redrive(by, approver, "asked the bank"), START, POLICY)
    again = decide(record, Redrive("ana", "ben", "asked the bank"), START, POLICY)
    assert (again.status, again.attempt, again.sent_earlier) == (Status.PENDING, 0, True)
    assert "ben" in again.history[-1].why


@pytest.mark.parametrize("status", [Status.CONFIRMED, Status.REJECTED])
@pytest.mark.parametrize("event", [Claim("t", "w"), Answer(DONE, "w"), Redrive("a", "b", "c")])
def test_final_is_final(status: Status, event: Event) -> None:
    with pytest.raises(Refused):
        decide(pending()._replace(status=status), event, START + timedelta(days=1), POLICY)


OUTCOMES = st.sampled_from(
    [
        DONE,
        Confirmed("x", 1, "USD"),
        Rejected("no"),
        Retryable("busy"),
        Retryable("429", counts=False),
        Unknown("?"),
        NotFound(),
        NotTried(Cause.STOPPING),
    ]
)
EVENTS = st.one_of(
    st.builds(Claim, st.uuids().map(str), st.sampled_from(["w1", "w2"])),
    st.builds(Answer, OUTCOMES, st.just("w1"), st.booleans()),
    st.builds(SetAside, st.just("w1"), st.just(because(Cause.WRITE_FAILED, status="REVIEW", error="too big"))),
    st.builds(Redrive, st.sampled_from(["ana", "ben"]), st.sampled_from(["ana", "ben"]), st.just("why")),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(EVENTS, st.integers(0, 100_000), st.floats(0, 0.999)), max_size=40))
def test_every_path_keeps_the_promises(steps: list[tuple[Event, int, float]]) -> None:
    allowed = {(was, event, to) for was, event, to, _ in TABLE}
    record, now = pending(), START
    for event, seconds, chance in steps:
        now += timedelta(seconds=seconds)
        before = record
        try:
            record = decide(record, event, now, POLICY, chance)
        except Refused:
            assert record == before
            continue
        assert (before.status, type(event), record.status) in allowed
        assert record.version == before.version + 1
        assert len(record.history) <= MOST_LINES + 1
        changes, changes_before = (sum(line.times for line in one.history) for one in (record, before))
        assert changes == changes_before + 1, "one line a change, or one more of the same counted"
        entry = record.history[-1]
        assert (entry.was, entry.now, entry.at) == (before.status, record.status, now)
        assert entry.why
        assert entry.cause is not None
        assert 0 <= record.attempt <= POLICY.most_claims + 1
        assert (record.token is not None) == (record.status is Status.PROCESSING)
        assert (record.next_attempt_at is not None) == (record.status in (Status.PENDING, Status.PROCESSING))
        assert (record.settled_at is not None) == record.status.is_final
        if record.status is Status.REVIEW:
            assert record.reason
            assert record.owner
            assert record.review_by
        if record.status in (Status.PENDING, Status.REVIEW):
            assert (record.first_sent_at is None) == (record.last_sent_at is None), "the evidence is whole"
        if record.status is Status.PENDING and before.sent_earlier:
            assert record.sent_earlier, "nothing moves towards never sent"
        assert (record.id, record.account, record.amount, record.currency) == (
            before.id,
            before.account,
            before.amount,
            before.currency,
        )


@given(st.integers(1, 60), st.floats(0, 0.999))
def test_back_off_grows_to_its_cap_and_is_never_immediate(attempt: int, chance: float) -> None:
    delay = POLICY.backoff(attempt, chance)
    step = min(POLICY.retry_base * 2 ** min(attempt - 1, 20), POLICY.retry_cap)
    assert step / 10 <= delay <= step
