"""The table of diagnoses: a row for all that transitions can reach, and no advice that the rules refuse."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from tests.fakes import START, payment
from workers.domain.causes import TROUBLES, Cause, because
from workers.domain.desk import EXITS, Order, Wants
from workers.domain.diagnosis import COMMANDS, DESK, TABLE, Case, Heard, Who, command, diagnosed
from workers.domain.exits import Evidence, Refused
from workers.domain.outcomes import Confirmed, NotFound, NotTried, Outcome, Rejected, Retryable, Unknown
from workers.domain.policy import Policy
from workers.domain.transaction import MOST_KEYS, Status, Transaction
from workers.domain.transitions import Answer, Claim, Event, SetAside, decide
from workers.stores.common import arrived

POLICY = Policy(max_attempts=2)
SHADOW = Policy(max_attempts=2, only_ask=True)
STEPS = tuple(timedelta(seconds=count) for count in (70, 400, 50 * 3600))
"""Past the grace period; past a lease and a call too; past every deadline and the key window."""
ANSWERS: tuple[Outcome | NotTried, ...] = (
    Confirmed("ref", payment().amount, "USD"),
    Confirmed("ref", 999, "USD"),
    Rejected("no funds"),
    Retryable("busy"),
    Retryable("no key", counts=False, cause=Cause.KEY_REFUSED),
    Retryable("slow down", counts=False, cause=Cause.THROTTLED),
    Unknown("time-out"),
    NotFound(),
    NotTried(Cause.BREAKER_OPEN, unreachable=True),
    NotTried(Cause.SUSPECTED),
)


def event(kind: str, record: Transaction) -> Any:
    """That exit of that record, with all the evidence that it takes."""
    wants = EXITS[kind].proof
    sent = record.first_sent_at is not None or record.last_sent_at is not None
    evidence = None
    if wants is Wants.MONEY:
        moved = record.amount + (kind == "accept-amount")
        evidence = Evidence("gateway's console", "case 7", moved, record.currency)
    elif wants is Wants.SOURCE or (wants is Wants.IF_SENT and sent):
        evidence = Evidence("gateway's console", "case 7")
    return EXITS[kind].event(Order(kind, "looked into it", evidence), "ana", "ben")


def events(record: Transaction) -> Iterator[Event]:
    """All that may happen to it, as far as its state takes it."""
    if record.status is Status.PROCESSING:
        asked = record.sent_earlier
        for outcome in ANSWERS:
            if asked or not isinstance(outcome, NotFound):
                yield Answer(outcome, "w", asked=asked and not isinstance(outcome, NotTried))
        yield Answer(ANSWERS[-2], "w", away=True)
        yield SetAside("w", because(Cause.WRITE_FAILED, status="CONFIRMED", error="e"))
    if record.status in (Status.PENDING, Status.PROCESSING):
        yield Claim("t", "w")
    if record.status is Status.PENDING:
        yield SetAside("w", because(Cause.CLAIM_FAILED, error="e"))
    if record.status is Status.REVIEW:
        yield from (event(kind, record) for kind in EXITS)


class Seen(NamedTuple):
    record: Transaction
    now: datetime
    policy: Policy


def shape(seen: Seen) -> tuple[object, ...]:
    """What a row may ask for, but for the time, and what the transitions count: two of one shape go on alike."""
    record, now, policy = seen
    if record.status.is_final:
        return record.status, record.cause, record.moved
    case = Case(record, policy, now, record.cause)
    trouble = next((line.cause for line in reversed(record.history) if line.cause in TROUBLES), None)
    counts = (min(record.attempt, 2), record.tries > 1, min(record.lost, 4)) if not case.on_desk else ()
    return (
        policy.only_ask, record.status, record.cause, case.origin, case.heard, case.sent, trouble is Cause.KEY_REFUSED,
        *counts, record.new_keys > 0,
        record.gateway_reference is None, record.desk_by is None, now >= record.deadline,
    )  # fmt: skip


def moments(record: Transaction, now: datetime, policy: Policy) -> Iterator[datetime]:
    """From now on, on both sides of all that its row may ask the time for."""
    yield now
    known = [
        record.deadline,
        record.next_attempt_at,
        record.lease_until,
        record.review_by,
        *(time and time + policy.lease + policy.call_timeout + policy.grace for time in (record.last_sent_at,)),
        *(time and time + policy.key_window - policy.lease - policy.call_timeout for time in (record.first_sent_at,)),
    ]
    around = (-timedelta(hours=1), timedelta(seconds=5), 2 * policy.patience)
    yield from (time + off for time in known if time for off in around if time + off > now)


@cache
def reached() -> tuple[Seen, ...]:
    """One of each shape that the transitions lead to, at all of its moments."""
    found: dict[tuple[object, ...], Seen] = {}
    for policy in (POLICY, SHADOW):
        todo = deque([Seen(arrived(payment(), START), START, policy)])
        while todo:
            seen = todo.popleft()
            if shape(seen) in found:
                continue
            found[shape(seen)] = seen
            for now in (seen.now + step for step in STEPS):
                for one in events(seen.record):
                    with suppress(Refused):
                        todo.append(Seen(decide(seen.record, one, now, policy), now, policy))
    return tuple(
        Seen(record, moment, policy)
        for record, now, policy in found.values()
        for moment in moments(record, now, policy)
    )


@cache
def examples() -> dict[str, list[Seen]]:
    """By row: what is reached, and the few that no worker of ours leads to."""
    never = next(one for one in reached() if named(one) == "never-sent-too-late")
    nothing = next(one for one in reached() if named(one) == "nothing-of-it-key-over")
    others = [
        never._replace(record=never.record._replace(id="canary-20260105T090000Z", amount=1)),
        never._replace(record=written(never.record, Cause.UNREADABLE)),
        never._replace(record=written(never.record, None)),
        never._replace(record=never.record._replace(first_sent_at=START, last_sent_at=START)),  # by `Store.doubt`
        never._replace(policy=SHADOW),
        Seen(arrived(payment(), START + timedelta(hours=24)), START + timedelta(hours=24), POLICY),
        nothing._replace(record=nothing.record._replace(new_keys=MOST_KEYS)),
    ]
    rows: dict[str, list[Seen]] = {}
    for one in (*reached(), *others):
        rows.setdefault(named(one), []).append(one)
    return rows


def named(seen: Seen) -> str:
    return diagnosed(*seen_by(seen)).name


def seen_by(seen: Seen) -> tuple[Transaction, Policy, datetime]:
    return seen.record, seen.policy, seen.now


def written(record: Transaction, cause: Cause | None) -> Transaction:
    return record._replace(history=(*record.history[:-1], record.history[-1]._replace(cause=cause)))


def test_each_row_has_an_example() -> None:
    assert [cell.name for cell in TABLE if cell.name not in examples()] == []
    assert len(TABLE) >= 40
    assert len({cell.name for cell in TABLE}) == len(TABLE)


def test_what_transitions_reach_has_a_row_of_its_own_state() -> None:
    desk = {cell.name for cell in DESK}
    for seen in reached():
        cell = diagnosed(*seen_by(seen))
        assert cell.name not in ("cause-not-known", "possibly-sent"), seen
        assert (seen.record.status is Status.REVIEW) is (cell.name in desk), (cell.name, seen)
        assert not (seen.record.status.is_final and cell.todo.startswith("See")), cell.name


def test_no_row_advises_what_the_rules_refuse() -> None:
    for name, ones in examples().items():
        for record, now, policy in ones:
            for kind in diagnosed(record, policy, now).exits:
                assert decide(record, event(kind, record), now, policy).status is not Status.REVIEW, name


def test_what_moved_otherwise_is_sent_by_no_advice_and_no_key_is_left_early() -> None:
    for name, ones in examples().items():
        for record, now, policy in ones:
            case, cell = Case(record, policy, now, record.cause), diagnosed(record, policy, now)
            again = {"redrive", "new-key"} & set(cell.exits)
            assert not (again and any(line.cause is Cause.AMOUNT_MISMATCH for line in record.history[-2:])), name
            assert not ("new-key" in again and (case.key_left > timedelta() or case.may_still_show)), name
            assert not ("cancel" in cell.exits and case.sent and case.heard is not Heard.NOTHING_OF_IT), name


def test_a_command_asks_for_the_evidence_that_its_exit_takes() -> None:
    assert COMMANDS.keys() == EXITS.keys()
    for kind, exit_ in EXITS.items():
        for sent in (True, False):
            line = command(kind, "p-1", sent=sent)
            proven = exit_.needs_evidence or (exit_.proof is Wants.IF_SENT and sent)
            assert ("--source" in line, "--amount" in line) == (proven, exit_.proof is Wants.MONEY), kind
            assert "--amount" not in command(kind, "--from -", sent=sent, many=True)


def test_who_may_is_who_the_exit_takes() -> None:
    for cell in TABLE:
        if cell.exits:
            assert cell.who is (Who.CHECKER if cell.exits[0] == "ask" else Who.TWO), cell.name
        elif cell in DESK:
            assert cell.who is Who.ADMINISTRATOR, cell.name


def test_credentials_are_known_by_the_last_trouble_alone() -> None:
    """The reason ends with its words; what a gateway says otherwise makes no credentials of it."""
    seen = examples()["credentials"][0]
    assert Case(seen.record, seen.policy, seen.now, seen.record.cause).heard is Heard.CREDENTIALS
    other = seen.record._replace(reason="deadline passed; last: gateway knows nothing of it")
    assert Case(other, seen.policy, seen.now, other.cause).heard is Heard.NOT_NOW
