"""What every datastore promises: one suite, the same cases for each adapter and for the model."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest

from tests.contract.conftest import POLICY, SHARDS, bring_in, rewrite_rows
from tests.fakes import START, Even, FakeClock, LedgerGateway, payment, payments, run
from tests.memory_store import MemoryStore
from workers.domain.causes import Cause, because
from workers.domain.confirming import Confirmer
from workers.domain.exits import Redrive, Refused
from workers.domain.outcomes import Confirmed, NotFound, NotTried, Outcome, Rejected, Retryable, Unknown
from workers.domain.ports import Claimed, Move, ReviewBacklog, Store
from workers.domain.transaction import HistoryEntry, Status, Transaction, to_text
from workers.domain.transitions import Answer, decide
from workers.stores.dynamodb import DynamoDbStore
from workers.stores.postgres import PostgresStore

LEASE_OVER = POLICY.lease.total_seconds() + 3


def claim(store: Store, token: str = "t1", limit: int = 100, ids: list[str] | None = None) -> list[Transaction]:
    return run(store.claim(token=token, by="w1", limit=limit, ids=ids)).held


def answer(record: Transaction, clock: FakeClock, outcome: Any) -> Move:
    return Move(record, decide(record, Answer(outcome, "w1"), clock.now(), POLICY))


def done(record: Transaction) -> Confirmed:
    return Confirmed("ref", record.amount, record.currency)


def find(store: Store, id_: str = "p-0") -> Transaction:
    found = run(store.find(id_))
    assert found is not None
    return found


def test_added_is_found_whole(store: Store) -> None:
    assert run(store.add([payment()])).new == ("p-1",)
    record = find(store, "p-1")
    assert (record.account, record.amount, record.currency, record.status) == ("acct-1", 2933, "USD", Status.PENDING)
    assert (record.created_at, record.deadline) == (START, START + timedelta(hours=24))
    assert [(entry.was, entry.now) for entry in record.history] == [(None, Status.PENDING)]
    assert run(store.find("nobody")) is None


def test_adding_twice_adds_nothing_and_never_overwrites(store: Store) -> None:
    run(store.add([payment("a"), payment("b")]))
    added = run(store.add([payment("a"), payment("b", amount=1), payment("c"), payment("c"), payment("c", amount=5)]))
    assert added.new == ("c",)
    assert added.already == ("a", "c")
    assert added.conflicting == ("b", "c")
    assert find(store, "b").amount == 2933


def test_adding_more_than_one_call_holds(store: Store) -> None:
    assert len(run(store.add(list(payments(130)))).new) == 130
    assert run(store.backlog()).open == 130


def test_a_settled_transaction_added_again_stays_settled(store: Store, clock: FakeClock) -> None:
    run(store.add([payment("p-0")]))
    [record] = claim(store)
    run(store.settle([answer(record, clock, done(record))]))
    assert run(store.add([payment("p-0")])).already == ("p-0",)
    assert find(store).status is Status.CONFIRMED


def test_claims_share_no_transaction(store: Store) -> None:
    run(store.add(list(payments(30))))
    first, second = claim(store, "t1", limit=20), claim(store, "t2", limit=20)
    assert (len(first), len(second)) == (20, 10)
    assert not {r.id for r in first} & {r.id for r in second}
    assert {find(store, r.id).token for r in second} == {"t2"}
    assert claim(store, "t3") == []


def test_racing_claims_share_no_transaction(store: Store) -> None:
    run(store.add(list(payments(40))))

    async def race() -> list[Claimed]:
        return await asyncio.gather(*(store.claim(token=f"t{n}", by=f"w{n}", limit=40) for n in range(4)))

    held = [record.id for claims in run(race()) for record in claims.held]
    assert sorted(held) == sorted(set(held))
    assert len(held) == 40


def test_a_claim_by_id_takes_only_these(store: Store) -> None:
    run(store.add(list(payments(5))))
    assert {r.id for r in claim(store, ids=["p-3", "p-1", "nobody", "p-1"])} == {"p-1", "p-3"}
    assert claim(store, "t2", ids=["p-1"]) == []


def test_the_longest_due_come_first(store: Store, clock: FakeClock) -> None:
    for n in range(6, 0, -1):
        run(store.add([payment(f"p-{n}")]))
        clock.advance(1)
    assert [r.id for r in claim(store, limit=3)] == ["p-6", "p-5", "p-4"]


def test_a_claim_takes_as_many_as_it_may_and_no_more(store: Store, clock: FakeClock) -> None:
    """Some of what it comes by is held by others, and some goes to a desk in passing."""
    run(store.add(list(payments(4))))
    assert len(claim(store, "theirs", limit=2)) == 2
    run(store.add([payment("late", hours=0.01)]))
    clock.advance(60)
    run(store.add([payment(f"z-{n}") for n in range(9)]))
    held, to_review = run(store.claim(token="t2", by="w1", limit=5))
    assert (len(held), [one.id for one in to_review]) == (4, ["late"])
    assert len(claim(store, "t3", limit=4)) == 4


def test_a_line_says_who_brought_it_and_what_came_last(store: Store, clock: FakeClock) -> None:
    """Of a record as it is stored, with all its history, too."""
    run(store.add(list(payments(2))))
    claim(store)
    clock.advance(1)
    stored = [find(store, f"p-{n}") for n in range(2)]
    ends = [decide(one, Answer(done(one), "w2"), clock.now(), POLICY) for one in stored]
    assert run(store.settle([Move(*both) for both in zip(stored, ends, strict=True)])) == [True, True]
    for one in ends:
        assert find(store, one.id) == one
        assert [line.by for line in one.history[1:]] == ["w1", "w2"]


def test_what_is_not_due_waits(store: Store, clock: FakeClock) -> None:
    run(store.add([payment("p-0")]))
    [record] = claim(store)
    run(store.settle([answer(record, clock, Retryable("busy"))]))
    assert claim(store, "t2") == []
    due = find(store).next_attempt_at
    assert due is not None
    clock.time = due
    assert [r.attempt for r in claim(store, "t2")] == [2]


def test_settling_is_final_and_keeps_the_history(store: Store, clock: FakeClock) -> None:
    run(store.add(list(payments(2))))
    records = claim(store)
    clock.advance(1)
    moves = [answer(records[0], clock, done(records[0])), answer(records[1], clock, Rejected("no"))]
    assert run(store.settle(moves)) == [True, True]
    for move in moves:
        record = find(store, move.before.id)
        assert record._replace(history=()) == move.after._replace(history=())
        assert record.history[-1] == move.after.history[-1]
        assert [line.now for line in record.history] == [Status.PENDING, Status.PROCESSING, record.status]
    backlog = run(store.backlog())
    assert (backlog.open, backlog.due, backlog.oldest_due_at, backlog.review) == (0, 0, None, 0)
    clock.advance(LEASE_OVER)
    assert claim(store, "t2") == []


def test_a_settle_is_not_repeated(store: Store, clock: FakeClock) -> None:
    run(store.add([payment("p-0")]))
    [record] = claim(store)
    assert run(store.settle([answer(record, clock, done(record))])) == [True]
    clock.advance(1)
    assert run(store.settle([answer(record, clock, Rejected("late"))])) == [False]
    assert find(store).status is Status.CONFIRMED


def test_an_expired_lease_is_taken_over_and_the_old_holder_can_do_nothing(store: Store, clock: FakeClock) -> None:
    run(store.add([payment("p-0")]))
    [old] = claim(store, "old")
    clock.advance(LEASE_OVER)
    [new] = claim(store, "new")
    assert (new.token, new.attempt, new.sent_earlier) == ("new", 1, True)
    assert run(store.extend([old])) == []
    assert run(store.settle([answer(old, clock, done(old))])) == [False]
    assert run(store.settle([answer(old, clock, Retryable("release"))])) == [False]
    assert find(store).token == "new"
    assert run(store.settle([answer(new, clock, done(new))])) == [True]


def test_a_lease_holds_for_every_clock_within_the_allowed_skew(store: Store, clock: FakeClock) -> None:
    """Whoever looks may be ahead by so much of whoever holds it, and still may not take it."""
    run(store.add([payment("p-0")]))
    [held] = claim(store, "ours")
    assert held.lease_until is not None
    clock.time = held.lease_until + POLICY.clock_skew
    assert claim(store, "theirs") == []
    clock.advance(0.001)
    assert [one.token for one in claim(store, "theirs")] == ["theirs"]


def test_a_takeover_keeps_the_claim_before_it_in_the_history(store: Store, clock: FakeClock) -> None:
    run(store.add([payment("p-0")]))
    [old] = claim(store, "old")
    clock.advance(LEASE_OVER)
    [new] = claim(store, "new")
    run(store.settle([answer(new, clock, done(new))]))
    lines = find(store).history
    assert [(line.now, line.token, line.attempt) for line in lines] == [
        (Status.PENDING, None, 0),
        (Status.PROCESSING, "old", 1),
        (Status.PROCESSING, "new", 1),
        (Status.CONFIRMED, "new", 1),
    ]
    assert lines[1].at == old.history[-1].at


def test_what_was_not_tried_comes_back_with_its_attempt(store: Store, clock: FakeClock) -> None:
    run(store.add([payment("p-0")]))
    [record] = claim(store)
    assert record.attempt == 1
    run(store.settle([answer(record, clock, NotTried(Cause.STOPPING))]))
    back = find(store)
    assert (back.status, back.attempt, back.first_sent_at) == (Status.PENDING, 0, None)
    assert back.history[-1].attempt == 0
    assert [r.attempt for r in claim(store, "t2")] == [1]


def test_one_lost_fence_fails_alone(store: Store, clock: FakeClock) -> None:
    run(store.add(list(payments(30))))
    records = claim(store)
    clock.advance(LEASE_OVER)
    [taken] = claim(store, "thief", ids=[records[7].id])
    won = run(store.settle([answer(record, clock, done(record)) for record in records]))
    assert won.count(False) == 1
    assert not won[7]
    assert find(store, taken.id).token == "thief"


def test_a_heartbeat_keeps_the_lease(store: Store, clock: FakeClock) -> None:
    run(store.add([payment("p-0")]))
    [record] = claim(store)
    clock.advance(100)
    [renewed] = run(store.extend([record]))
    assert renewed.lease_until == clock.now() + POLICY.lease
    assert find(store).lease_until == renewed.lease_until
    clock.advance(100)
    assert claim(store, "t2") == []
    assert run(store.settle([answer(record, clock, done(record))])) == [True], "a call under way may settle as it began"


def test_backlog_tells_due_from_waiting(store: Store, clock: FakeClock) -> None:
    run(store.add(list(payments(5))))
    records = claim(store, limit=2)
    run(store.settle([answer(record, clock, Retryable("busy")) for record in records]))
    clock.advance(0.5)
    backlog = run(store.backlog())
    assert (backlog.open, backlog.due, backlog.oldest_due_at, backlog.review) == (5, 3, START, 0)


def test_the_desk_and_the_way_back(store: Store, clock: FakeClock) -> None:
    run(store.add(list(payments(3))))
    records = claim(store)
    moves = [answer(record, clock, Confirmed("ref", 1, "USD")) for record in records[:2]]
    assert run(store.desk()) == ReviewBacklog()
    run(store.settle(moves))
    waiting = run(store.review())
    assert {record.id for record in waiting} == {"p-0", "p-1"}
    assert all(record.reason and record.owner and record.review_by for record in waiting)
    assert run(store.backlog()).review == 2
    desk = run(store.desk())
    assert (desk.count, desk.first_review_by) == (2, waiting[0].review_by)
    assert desk.at_risk == {"USD": sum(record.amount for record in waiting)}
    assert len(run(store.review(limit=1))) == 1
    clock.advance(LEASE_OVER)
    assert {r.id for r in claim(store, "t2")} == {"p-2"}, "what is on the desk is not claimed"
    for id_, by, approver in [("p-0", "ana", "ana"), ("p-2", "ana", "ben"), ("nobody", "ana", "ben")]:
        with pytest.raises(Refused):
            run(store.leave(id_, Redrive(by, approver, "asked")))
    again = run(store.leave("p-0", Redrive("ana", "ben", "asked the bank")))
    assert find(store) == again
    assert {r.id for r in claim(store, "t3")} == {"p-0"}


def test_what_may_not_be_tried_again_goes_to_the_desk_in_passing_and_is_told(store: Store, clock: FakeClock) -> None:
    run(store.add([payment("used-up"), payment("late", hours=1), payment("fine")]))
    for n in range(POLICY.most_lost):
        assert len(claim(store, f"crash-{n}", ids=["used-up"])) == 1
        clock.advance(LEASE_OVER)
    clock.advance(3600)
    held, to_review = run(store.claim(token="t1", by="w2", limit=100))
    assert [record.id for record in held] == ["fine"]
    said = {record.id: (record.cause, record.history[-1].why) for record in to_review}
    assert said == {  # the table's words, which SQL has too
        "used-up": because(Cause.WORKERS_LOST, attempts=8),
        "late": because(Cause.DEADLINE_PASSED, rest=" before it could be sent"),
    }
    for record in to_review:
        stored = find(store, record.id)
        assert record._replace(history=()) == stored._replace(history=())
        assert record.history[-1] == stored.history[-1]
    assert {record.id for record in run(store.review())} == {"used-up", "late"}
    assert run(store.claim(token="t2", by="w2", limit=100)) == ([], [])


def test_the_line_that_brings_it_to_a_desk_says_what_the_desk_says(store: Store, clock: FakeClock) -> None:
    run(store.add([payment("late", hours=1)]))
    clock.advance(7200)
    claim(store, "t1")
    stored = find(store, "late")
    assert (stored.history[-1].now, stored.history[-1].why) == (Status.REVIEW, stored.reason)


def test_each_line_of_history_keeps_its_cause(store: Store, clock: FakeClock) -> None:
    run(store.add([payment("p-0"), payment("late", hours=1)]))
    outcomes = [Retryable("busy"), Retryable("off", counts=False, cause=Cause.RATE_LIMITED), Unknown("500")]
    for n, outcome in enumerate([*outcomes, *outcomes, NotTried(Cause.STOPPING)]):
        run(store.settle([answer(record, clock, outcome) for record in claim(store, f"t{n}", ids=["p-0"])]))
        clock.advance(900)
    claim(store, "crash", ids=["p-0"])
    clock.advance(LEASE_OVER)
    run(store.settle([answer(record, clock, Confirmed("ref", 1, "USD")) for record in claim(store, "t", ids=["p-0"])]))
    run(store.leave("p-0", Redrive("ana", "ben", "asked the bank")))
    [record] = claim(store, "last", ids=["p-0"])
    run(store.settle([answer(record, clock, Rejected("no"))]))
    assert [line.cause for line in find(store).history] == [
        Cause.ADDED,
        *(Cause.CLAIMED, Cause.NOT_DONE, Cause.CLAIMED, Cause.RATE_LIMITED, Cause.CLAIMED, Cause.UNKNOWN_OUTCOME),
        *(Cause.CLAIMED, Cause.NOT_DONE, Cause.CLAIMED, Cause.RATE_LIMITED, Cause.CLAIMED, Cause.UNKNOWN_OUTCOME),
        *(Cause.CLAIMED, Cause.STOPPING, Cause.CLAIMED, Cause.TAKEN_OVER, Cause.AMOUNT_MISMATCH, Cause.REDRIVEN),
        *(Cause.CLAIMED, Cause.REFUSED),
    ]
    _, to_review = run(store.claim(token="t9", by="w2", limit=100))
    assert [(one.id, one.cause) for one in to_review] == [("late", Cause.DEADLINE_PASSED)]
    assert find(store, "late").cause is Cause.DEADLINE_PASSED


def test_a_claim_of_what_is_late_takes_only_what_no_call_helps(store: Store, clock: FakeClock) -> None:
    """While the gateway can't be called: never sent by its deadline, or asked about for `patience` after it."""
    patience = POLICY.patience.total_seconds()
    run(store.add([payment("sent", hours=1), payment("crashed", hours=1)]))
    [crashed] = claim(store, ids=["crashed"])
    [record] = claim(store, ids=["sent"])
    run(store.settle([answer(record, clock, Unknown("no answer"))]))
    run(store.add([payment("never", hours=1), payment("never-2", hours=1), payment("young", hours=24)]))

    def late(limit: int = 9) -> tuple[set[str], set[str]]:
        held, to_review = run(store.claim(token="late", by="w1", limit=limit, late=True))
        return {one.id for one in held}, {one.id for one in to_review}

    clock.advance(3599)
    assert late() == (set(), set())
    clock.advance(1)
    held, to_review = late(limit=1)
    assert (len(held), len(to_review)) == (0, 1), "a limit holds for them too"
    assert late()[1] | to_review == {"never", "never-2"}
    clock.advance(patience - 1)
    assert late() == (set(), set())
    clock.advance(1)
    assert late() == ({"sent", "crashed"}, set())
    assert find(store, "young").attempt == 0
    assert run(store.settle([answer(crashed, clock, done(crashed))])) == [False]


FOREVER = datetime(9998, 12, 31, tzinfo=UTC)


async def rewrite(store: Store, id_: str, **times: Any) -> None:
    """What a worker leaves behind whose clock was wrong."""
    match store:
        case MemoryStore():
            store.records[id_] = store.records[id_]._replace(**times)
        case DynamoDbStore():
            for name, time in times.items():
                store.client.update_item(
                    TableName=store.table,
                    Key={"id": {"S": id_}},
                    UpdateExpression=f"SET {name} = :time",
                    ExpressionAttributeValues={":time": {"S": to_text(time)}},
                )
        case PostgresStore():
            await rewrite_rows(
                store, id_, **{"due_at" if name == "next_attempt_at" else name: time for name, time in times.items()}
            )


async def look_ahead(store: Store) -> Claimed:
    """What each alternative's workers do once a minute."""
    match store:
        case PostgresStore():
            await store.recall()
        case DynamoDbStore():
            ids = set((await store.due(9)).ids)
            for minutes in range(2 * SHARDS):  # another shard in another minute
                later = FakeClock(store.clock.now() + timedelta(minutes=minutes))
                ids |= set(await replace(store, clock=later).never_due())
            return await store.claim(token="t2", by="w2", limit=9, ids=sorted(ids))
    return await store.claim(token="t2", by="w2", limit=9)


async def recall(store: Store) -> None:
    """The part of it that is done while the gateway can't be called, too."""
    match store:
        case PostgresStore() | MemoryStore():
            await store.recall()
        case DynamoDbStore():
            for minutes in range(2 * SHARDS):  # another shard in another minute
                later = FakeClock(store.clock.now() + timedelta(minutes=minutes))
                await store.recall(await replace(store, clock=later).never_due())


@pytest.mark.parametrize("seen", [True, False], ids=["while it waits", "by a claim"])
def test_a_first_send_that_a_wrong_clock_dated_is_not_sent_again_past_the_key_window(
    store: Store, clock: FakeClock, *, seen: bool
) -> None:
    """The clock was hours ahead when it was sent. It was disbelieved only for as long as it lay ahead."""

    def script(verb: str, _: Transaction, calls: int) -> tuple[bool, Outcome] | None:
        if calls == 0:
            return True, Unknown("timed out")
        return (False, NotFound()) if verb == "ask" else None

    gateway = LedgerGateway(script)
    confirmer = Confirmer(store, gateway, clock, Even(), lambda: f"t{clock.now()}", POLICY, "w2")
    run(store.add([payment("p-0", hours=60)]))
    clock.advance(5 * 3600)
    run(confirmer.confirm_batch(9))
    clock.time = START + timedelta(minutes=1)
    if seen:
        run(recall(store))
    else:
        [held] = run(look_ahead(store)).held
        back = decide(held, Answer(NotTried(Cause.STOPPING), "w2"), clock.now(), POLICY)
        assert run(store.settle([Move(held, back)])) == [True]
    assert find(store).first_sent_at == START
    clock.time = START + POLICY.key_window + timedelta(hours=2)
    for _ in range(4):
        run(confirmer.confirm_batch(9))
        clock.advance(POLICY.grace.total_seconds() + 1)
    assert gateway.effects == {"p-0": 1}
    assert find(store).status is Status.REVIEW


@pytest.mark.parametrize("ahead", [timedelta(hours=5), timedelta(days=3650)], ids=["hours", "years"])
def test_what_a_dead_worker_holds_whose_turn_a_wrong_clock_dated_is_taken_over(
    store: Store, clock: FakeClock, ahead: timedelta
) -> None:
    clock.time += ahead
    run(bring_in(store, [payment("p-0", created_at=clock.now())]))  # the check of inserts goes by that clock too
    assert len(claim(store, "dead")) == 1
    clock.time = START + timedelta(minutes=10)
    [taken] = run(look_ahead(store)).held
    assert taken.token == "t2"


@pytest.mark.parametrize("ahead", [FOREVER, START + timedelta(hours=5)], ids=["for ever", "hours"])
def test_a_turn_or_a_lease_that_a_wrong_clock_dated_is_not_waited_for(
    store: Store, clock: FakeClock, ahead: datetime
) -> None:
    run(store.add([payment("turn", hours=48), payment("lease", hours=48), payment("fine", hours=48)]))
    [held] = claim(store, ids=["lease"])
    [fine] = claim(store, ids=["fine"])
    run(rewrite(store, "turn", next_attempt_at=ahead))
    run(rewrite(store, "lease", lease_until=ahead, first_sent_at=ahead))
    taken = run(look_ahead(store)).held
    assert {one.id for one in taken} == {"turn", "lease"}, "and a lease that stands is left alone"
    assert find(store, "fine").token == fine.token
    assert run(store.settle([answer(held, clock, done(held))])) == [False], "the fence holds"
    assert [one.sent_earlier for one in sorted(taken)] == [True, False], "what was held is asked about first"

    gateway, by_id = LedgerGateway(), {one.id: one for one in taken}
    confirmer = Confirmer(store, gateway, clock, Even(), lambda: "t3", POLICY, "w2")
    moves = [run(confirmer.conclude(record)) for record in by_id.values()]
    assert run(store.settle(moves)) == [True, True]
    assert find(store, "turn").status is Status.CONFIRMED
    assert gateway.effects == {"turn": 1}
    for _ in range(3):  # the grace period begins when it was asked, not in the year of that clock
        clock.advance(POLICY.grace.total_seconds() + 1)
        run(store.settle([run(confirmer.conclude(record)) for record in claim(store, "t4", ids=["lease"])]))
    assert find(store, "lease").status is Status.CONFIRMED
    assert gateway.effects == {"turn": 1, "lease": 1}


def test_a_worker_whose_clock_is_behind_takes_no_lease_that_stands(store: Store, clock: FakeClock) -> None:
    run(store.add([payment("p-0")]))
    clock.advance(3_700)
    [record] = claim(store)
    clock.advance(-3_600)
    assert run(look_ahead(store)) == ([], [])
    clock.advance(3_600)
    assert run(store.settle([answer(record, clock, done(record))])) == [True]


def test_a_worker_whose_clock_is_hours_behind_doubles_nothing(store: Store, clock: FakeClock) -> None:
    """It takes a lease that stands for one that nobody writes. Whoever held it has called already, and settles late."""
    gateway = LedgerGateway()
    confirmer = Confirmer(store, gateway, clock, Even(), lambda: "t9", POLICY, "w2")
    run(store.add([payment("p-0", hours=48)]))
    clock.advance(36_000)
    [record] = claim(store)
    called = run(confirmer.conclude(record))
    clock.advance(-30_000)
    [taken] = run(look_ahead(store)).held
    assert run(store.settle([run(confirmer.conclude(taken))])) == [True]
    clock.advance(30_000)
    assert run(store.settle([called])) == [False]
    assert (gateway.effects, find(store).status) == ({"p-0": 1}, Status.CONFIRMED)


def test_text_of_any_kind_comes_back_as_it_went(store: Store, clock: FakeClock) -> None:
    odd = payment("p-0")._replace(account="Ünï|çødé 'quoted' \"more\" \n line")
    run(store.add([odd]))
    [record] = claim(store)
    run(store.settle([answer(record, clock, Rejected("a|b 'c' \"d\" ✓"))]))
    assert (find(store).account, find(store).reason) == (odd.account, "a|b 'c' \"d\" ✓")
    assert find(store).history[-1].why.endswith("a|b 'c' \"d\" ✓")


class Crash(BaseException):
    """The process is gone; nothing of it handles this."""


class Crashing:
    """Passes calls on to what it wraps, until the process dies before or after the nth call."""

    def __init__(self, wrapped: Any, counter: list[int], fatal: int, after: bool) -> None:
        self._wrapped, self._counter, self._fatal, self._after = wrapped, counter, fatal, after

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._wrapped, name)
        if name not in ("claim", "settle", "confirm", "ask"):
            return method

        async def call(*args: Any, **kwargs: Any) -> Any:
            self._counter[0] += 1
            if self._counter[0] == self._fatal and not self._after:
                raise Crash
            result = await method(*args, **kwargs)
            if self._counter[0] >= self._fatal and self._after:
                raise Crash
            return result

        return call


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fatal", range(1, 6))
def test_a_crash_between_any_two_calls_loses_and_doubles_nothing(
    store: Store, clock: FakeClock, fatal: int, after: bool
) -> None:
    """Calls of a batch of three: claim, three confirms (one times out after its effect), settle."""
    run(store.add(list(payments(3))))

    def fault(verb: str, transaction: Transaction, _: int) -> tuple[bool, Any] | None:
        first = gateway.effects.get(transaction.id, 0) == 0
        return (True, Unknown("timed out")) if verb == "confirm" and transaction.id == "p-1" and first else None

    gateway = LedgerGateway(fault)
    counter, tokens = [0], iter(range(1000))

    def worker(store: Any, gateway: Any) -> Confirmer:
        return Confirmer(store, gateway, clock, Even(), lambda: f"t{next(tokens)}", POLICY, "w")

    with pytest.raises(Crash):
        run(worker(Crashing(store, counter, fatal, after), Crashing(gateway, counter, fatal, after)).confirm_batch(100))
    for _ in range(6):
        clock.advance(LEASE_OVER)
        run(worker(store, gateway).confirm_batch(100))
    assert gateway.effects == {"p-0": 1, "p-1": 1, "p-2": 1}
    assert {find(store, id_).status for id_ in gateway.effects} == {Status.CONFIRMED}


SEEDS = (1, 2)
LIVES = 40
FAULTS = (
    (0.15, False, Retryable("busy")),
    (0.25, False, Rejected("refused")),
    (0.45, True, Unknown("timed out")),
    (0.80, False, Unknown("timed out")),
)
"""Up to which fate, whether money moves, and what is said; beyond all it goes well."""
Lives = dict[str, tuple[Transaction, tuple[HistoryEntry, ...]]]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_seed_ends_the_same_in_each_store(store: Store, clock: FakeClock, seed: int) -> None:
    """Final states, times and histories, entry by entry, are those of the model: whichever alternative it was."""
    assert lives(store, clock, seed) == lives_of_the_model(seed)


@cache
def lives_of_the_model(seed: int) -> Lives:
    clock = FakeClock()
    found = lives(MemoryStore(clock, POLICY), clock, seed)
    assert {Status.CONFIRMED, Status.REJECTED, Status.REVIEW} == {record.status for record, _ in found.values()}
    assert max(len(history) for _, history in found.values()) > 4, "some came round more than once"
    return found


def lives(store: Store, clock: FakeClock, seed: int) -> Lives:
    """All that is left when a faulty gateway, whose faults follow from the seed alone, has been through with them."""
    calls: dict[str, int] = {}

    def fault(verb: str, transaction: Transaction, _: int) -> tuple[bool, Outcome] | None:
        calls[transaction.id] = n = calls.get(transaction.id, 0) + 1
        fate = random.Random(f"{seed} {transaction.id} {verb} {n}").random()
        if verb == "ask":
            return (False, Unknown("no answer")) if fate < 0.5 else None
        for most, effect, outcome in FAULTS:
            if fate < most:
                return effect, outcome
        return None

    gateway, tokens = LedgerGateway(fault), iter(range(1000))
    run(store.add(list(payments(LIVES))))
    for _ in range(100):
        if not run(store.backlog()).open:
            break
        run(Confirmer(store, gateway, clock, Even(), lambda: f"t{next(tokens)}", POLICY, "w").confirm_batch(100))
        clock.advance(LEASE_OVER)
    found = (find(store, f"p-{n}") for n in range(LIVES))
    return {record.id: (record._replace(history=(), version=0), record.history) for record in found}


POISON = ("\x00", "\ud83d", "half \udc00", "line\nbreak\x1b[31m", "w" * 500_000, "")


def test_no_text_of_an_adapter_stops_the_others(store: Store, clock: FakeClock) -> None:
    """One statement settles all of a batch: what one adapter's answer holds must not fail it."""
    answers: list[Any] = [
        *(Confirmed(bad, 100 + n, "USD") for n, bad in enumerate(POISON)),
        *(kind(bad) for kind in (Rejected, Retryable, Unknown) for bad in POISON),
        Confirmed("ref", 5, "U\x00D"),
        Confirmed("ref", 10**5000, "USD"),
        None,
    ]
    run(store.add(list(payments(len(answers) + 1))))
    gateway = LedgerGateway(
        lambda _, one, __: (False, answers[n]) if (n := int(one.id.removeprefix("p-"))) < len(answers) else None
    )
    worker = Confirmer(store, gateway, clock, Even(), lambda: "t1", POLICY, "w1")
    tally = run(worker.confirm_batch(100)).tally
    assert (tally.claimed, tally.lost) == (len(answers) + 1, 0)
    assert find(store, f"p-{len(answers)}").status is Status.CONFIRMED
    for n in range(len(answers)):
        record = find(store, f"p-{n}")
        assert record.status is (Status.CONFIRMED if n < len(POISON) else record.status)
        assert record.status is not Status.PROCESSING
        assert len(record.reason or "") < 500
        assert len(record.gateway_reference or "") < 500


def test_no_word_of_a_colleague_stops_a_redrive(store: Store, clock: FakeClock) -> None:
    run(store.add([payment("p-0")]))
    [record] = claim(store)
    run(store.settle([answer(record, clock, Confirmed("ref", 1, "USD"))]))
    assert find(store).status is Status.REVIEW
    after = run(store.leave("p-0", Redrive("a\ud83dnn", "bob\x00", "told\x00 by \udc00 phone")))
    assert find(store).history[-1] == after.history[-1]


@pytest.mark.parametrize("id_", ["x\ud800", "", "x" * 3_000], ids=("half a character", "none", "too long"))
def test_an_id_that_can_be_none_stops_nobody(store: Store, id_: str) -> None:
    """Whatever becomes of that one, the others are told to be in, and are."""
    odd = payment(id_)
    added = run(store.add([payment("a"), odd, payment("b")]))
    assert [id_ for id_ in added.new if id_ != odd.id] == ["a", "b"]
    assert added.new[1:-1] == (odd.id,) or added.refused == (odd.id,)
    assert run(store.find("a")) is not None
