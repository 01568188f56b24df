"""Leaving shadow mode: of what was there by then others may have sent until then, and no store has to find it first.

The old job pays under a key of its own. Our question finds its payment, by our id, but only a while later; and a call
of ours would be a second payment. So each must end with one effect in the gateway's ledger.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.contract.conftest import POLICY, Database, rewrite_rows
from tests.contract.test_evidence import SHADOW, under, work, work_until
from tests.contract.test_store import LEASE_OVER, claim, find
from tests.fakes import Even, FakeClock, LedgerGateway, payment, payments, run
from workers.clock import SystemClock
from workers.domain.confirming import Confirmer
from workers.domain.exits import Redrive
from workers.domain.outcomes import NotFound, Outcome, Retryable, Unknown
from workers.domain.policy import CLOCKS_APART
from workers.domain.ports import Move, Store
from workers.domain.transaction import Status, Transaction
from workers.domain.transitions import Answer, decide
from workers.migrations import migrate, migrations
from workers.stores.dynamodb import DynamoDbStore
from workers.stores.postgres import PostgresStore
from workers.stores.statements import ENTER_SHADOW, Since

SHOWS_AFTER = timedelta(seconds=50)
"""Less than the grace period."""


@dataclass
class OldJob(LedgerGateway):
    """The gateway, and the old job that pays there."""

    clock: FakeClock = field(default_factory=FakeClock)
    shows: dict[str, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.script = self._script

    def pays(self, id_: str = "p-0") -> None:
        self.effects[id_] = self.effects.get(id_, 0) + 1
        self.shows[id_] = self.clock.now() + SHOWS_AFTER

    def _script(self, verb: str, transaction: Transaction, _: int) -> tuple[bool, Outcome] | None:
        hidden = self.clock.now() < self.shows.get(transaction.id, self.clock.now())
        return (False, NotFound()) if verb == "ask" and hidden else None


@pytest.fixture
def gateway(clock: FakeClock) -> OldJob:
    return OldJob(clock=clock)


def enter(store: Store) -> Store:
    """As a worker in shadow mode has it, before it has looked at anything."""
    shadow = under(SHADOW, store)
    if isinstance(shadow, PostgresStore):
        run(shadow.enter_shadow())
    return shadow


def leave(store: Store, clock: FakeClock) -> Store:
    """As the first worker that sends has it, from its start on."""
    if isinstance(store, PostgresStore):
        assert run(store.leave_shadow()) == clock.now()
        return store
    return under(replace(POLICY, others_until=clock.now()), store)


def test_what_a_dead_worker_in_shadow_mode_holds_is_paid_once(store: Store, clock: FakeClock, gateway: OldJob) -> None:
    """Its claim was marked, but for its own time alone: the old job went on after its lease was over."""
    run(store.add([payment("p-0")]))
    shadow = enter(store)
    assert len(claim(shadow, "dead")) == 1
    clock.advance(3600)
    gateway.pays()
    clock.advance(1)
    sending = leave(store, clock)
    work_until(sending, gateway, clock, Status.CONFIRMED)
    assert gateway.effects == {"p-0": 1}


def test_what_a_living_worker_in_shadow_mode_holds_is_paid_once(
    store: Store, clock: FakeClock, gateway: OldJob
) -> None:
    """A deployment lets it end what it has begun: it releases what it asked about before the old job's last call."""
    run(store.add([payment("p-0")]))
    shadow = enter(store)
    [held] = claim(shadow, "living")
    assert run(gateway.ask(held, "p-0")) == NotFound()
    clock.advance(100)
    gateway.pays()
    clock.advance(1)
    sending = leave(store, clock)
    back = decide(held, Answer(NotFound(), "w0", asked=True), clock.now(), SHADOW)
    assert run(shadow.settle([Move(held, back)])) == [True]
    assert find(store).status is Status.PENDING
    clock.advance(30)
    work_until(sending, gateway, clock, Status.CONFIRMED)
    assert gateway.effects == {"p-0": 1}


def test_what_nobody_had_looked_at_when_shadow_mode_was_left_is_paid_once(
    store: Store, clock: FakeClock, gateway: OldJob
) -> None:
    enter(store)
    run(store.add([payment("p-0")]))
    gateway.pays()
    sending = leave(store, clock)
    work(sending, gateway, clock)
    early = find(store)
    assert (early.status, early.first_sent_at, early.last_sent_at) == (Status.PENDING, early.created_at, clock.now())
    work_until(sending, gateway, clock, Status.CONFIRMED)
    assert gateway.effects == {"p-0": 1}


def test_what_was_marked_before_may_have_been_sent_until_shadow_mode_was_left(
    store: Store, clock: FakeClock, gateway: OldJob
) -> None:
    run(store.add([payment("p-0")]))
    assert run(enter(store).doubt()) == (0 if isinstance(store, PostgresStore) else 1)
    clock.advance(3600)
    gateway.pays()
    clock.advance(1)
    sending = leave(store, clock)
    work(sending, gateway, clock)
    assert find(store).status is Status.PENDING, "it may still appear"
    work_until(sending, gateway, clock, Status.CONFIRMED)
    assert gateway.effects == {"p-0": 1}


def test_what_nobody_has_paid_is_paid_once_the_grace_period_is_over(
    store: Store, clock: FakeClock, gateway: OldJob
) -> None:
    run(store.add([payment("p-0")]))
    enter(store)
    clock.advance(1800)
    sending, left = leave(store, clock), clock.now()
    work_until(sending, gateway, clock, Status.CONFIRMED)
    assert clock.now() >= left + POLICY.grace
    assert gateway.effects == {"p-0": 1}


def test_what_comes_in_after_shadow_mode_is_sent_without_a_question(
    store: Store, clock: FakeClock, gateway: OldJob
) -> None:
    enter(store)
    sending = leave(store, clock)
    clock.advance(CLOCKS_APART.total_seconds() + 1)
    run(store.add([payment("p-0", created_at=clock.now())]))
    work(sending, gateway, clock)
    assert find(store).status is Status.CONFIRMED
    assert gateway.calls == [("confirm", "p-0")]


def test_what_others_clocks_may_say_a_little_later_is_asked_about(
    store: Store, clock: FakeClock, gateway: OldJob
) -> None:
    enter(store)
    sending = leave(store, clock)
    clock.advance(CLOCKS_APART.total_seconds())
    run(store.add([payment("p-0", created_at=clock.now())]))
    gateway.pays()
    clock.advance(SHOWS_AFTER.total_seconds())
    work_until(sending, gateway, clock, Status.CONFIRMED)
    assert gateway.effects == {"p-0": 1}


def test_what_was_created_long_ago_and_is_brought_in_after_shadow_mode_is_asked_about(
    store: Store, clock: FakeClock, gateway: OldJob
) -> None:
    """With its true `created_at`: the old job had it, and may have paid it until shadow mode was left."""
    enter(store)
    created = clock.now() - timedelta(hours=20)
    gateway.pays()
    sending = leave(store, clock)
    clock.advance(10)
    run(store.add([payment("p-0", created_at=created)]))
    work(sending, gateway, clock)
    assert (find(store).status, find(store).first_sent_at) == (Status.PENDING, created)
    work_until(sending, gateway, clock, Status.CONFIRMED)
    assert gateway.effects == {"p-0": 1}


def test_what_says_that_it_is_created_in_the_future_counts_from_when_it_came_in(
    store: Store, clock: FakeClock, gateway: OldJob
) -> None:
    enter(store)
    came = clock.now()
    run(store.add([payment("p-0", created_at=came + timedelta(hours=30))]))
    gateway.pays()
    clock.advance(10)
    sending = leave(store, clock)
    work(sending, gateway, clock)
    assert (find(store).status, find(store).first_sent_at) == (Status.PENDING, came)
    work_until(sending, gateway, clock, Status.CONFIRMED)
    assert gateway.effects == {"p-0": 1}


def test_an_attempt_of_our_own_since_then_is_not_forgotten(store: Store, clock: FakeClock) -> None:
    """It reaches the gateway, and shows only a grace period later."""
    sent: list[datetime] = []

    def script(verb: str, _: Transaction, __: int) -> tuple[bool, Outcome] | None:
        if verb == "confirm":
            sent.append(clock.now())
            return True, Unknown("timed out")
        return (False, NotFound()) if not sent or clock.now() < sent[0] + SHOWS_AFTER else None

    gateway = LedgerGateway(script)
    run(store.add([payment("p-0")]))
    enter(store)
    sending = leave(store, clock)
    clock.advance(7200)
    work(sending, gateway, clock)
    assert (find(store).last_sent_at, len(sent)) == (clock.now(), 1)
    created = find(store).created_at
    clock.time = find(store).next_attempt_at or clock.now()
    [again] = claim(sending)
    assert (again.first_sent_at, again.last_sent_at) == (created, sent[0])
    clock.advance(LEASE_OVER)
    work_until(sending, gateway, clock, Status.CONFIRMED)
    assert gateway.effects == {"p-0": 1}


def test_a_holder_that_died_since_then_may_have_sent_until_its_lease_was_over(store: Store, clock: FakeClock) -> None:
    run(store.add([payment("p-0")]))
    enter(store)
    sending = leave(store, clock)
    clock.advance(7200)
    [held] = claim(sending, "dead")
    clock.advance(LEASE_OVER)
    [taken] = claim(sending, "next")
    assert (taken.first_sent_at, taken.last_sent_at) == (held.created_at, held.lease_until)


def test_a_redrive_after_shadow_mode_of_what_lay_on_a_desk_all_the_while_asks(
    store: Store, clock: FakeClock, gateway: OldJob
) -> None:
    """Nobody marked it: it says of itself that it was never sent."""
    run(store.add([payment("p-0")]))
    [held] = claim(store)
    busy = held._replace(attempt=POLICY.max_attempts)
    run(store.settle([Move(held, decide(busy, Answer(Retryable("busy"), "w1"), clock.now(), POLICY))]))
    assert (find(store).status, find(store).sent_earlier) == (Status.REVIEW, False)
    if isinstance(store, PostgresStore):
        run(ENTER_SHADOW.all(store.pool, Since(None)))
    gateway.pays()
    sending = leave(store, clock)
    clock.advance(3600)
    run(store.leave("p-0", Redrive("ana", "ben", "asked the bank")))
    work(sending, gateway, clock)
    assert find(store).status is Status.CONFIRMED
    assert gateway.effects == {"p-0": 1}


def test_past_its_deadline_it_is_asked_about_before_it_lies_on_a_desk(
    store: Store, clock: FakeClock, gateway: OldJob
) -> None:
    run(store.add([payment("p-0", hours=1), payment("never", hours=1)]))
    enter(store)
    gateway.pays()
    clock.advance(3600)
    sending = leave(store, clock)
    clock.advance(POLICY.grace.total_seconds())
    work(sending, gateway, clock)
    assert find(store).status is Status.CONFIRMED
    assert (find(store, "never").reason or "").endswith("gateway knows nothing of it")


def test_past_its_deadline_it_waits_for_a_gateway_that_can_be_asked(
    store: Store, clock: FakeClock, gateway: OldJob
) -> None:
    """What was never sent goes to a desk without one; of this nobody knows that."""
    run(store.add([payment("p-0", hours=1)]))
    enter(store)
    if isinstance(store, PostgresStore):
        run(rewrite_rows(store, first_sent_at=None, last_sent_at=None))
    gateway.pays()
    sending = leave(store, clock)
    clock.advance(3600)
    gateway.is_ready = False
    work(sending, gateway, clock)
    assert (find(store).status, find(store).version) == (Status.PENDING, 1), "no claim in vain"
    gateway.is_ready = True
    work(sending, gateway, clock)
    assert find(store).status is Status.CONFIRMED
    assert gateway.effects == {"p-0": 1}


def test_what_is_brought_in_again_is_counted_from_the_restores_moment_after_shadow_mode_too(
    store: Store, clock: FakeClock
) -> None:
    """The settings have forgotten it by then; the old job, or we ourselves, may have paid past the key window."""
    restored = clock.now()
    clock.advance(POLICY.key_window.total_seconds() + 3600)
    run(store.add([payment("p-0", created_at=clock.now())]))
    if isinstance(store, PostgresStore):
        run(under(replace(SHADOW, restored_to=restored), store).enter_shadow())  # type: ignore[attr-defined]
        run(rewrite_rows(store, first_sent_at=None, last_sent_at=None))
        run(under(SHADOW, store).enter_shadow())  # type: ignore[attr-defined]
        sending = leave(store, clock)
    else:
        sending = under(replace(POLICY, others_until=clock.now(), restored_to=restored), store)
    clock.advance(POLICY.grace.total_seconds())
    gateway = LedgerGateway()
    work(sending, gateway, clock)
    record = find(store)
    assert (record.status, record.first_sent_at) == (Status.REVIEW, restored)
    assert gateway.effects == {}, "nobody knows whether it was sent, and the gateway may have forgotten"


def test_what_came_in_by_a_producers_clock_that_was_ahead_is_asked_about(
    store: Store, clock: FakeClock, gateway: OldJob
) -> None:
    """AWS lets in whoever is five minutes off: by its own word it came after shadow mode was left."""
    enter(store)
    clock.advance(240)
    run(store.add([payment("p-0", created_at=clock.now())]))
    clock.advance(-240)
    gateway.pays()
    clock.advance(60)
    sending = leave(store, clock)
    clock.advance(240)
    work_until(sending, gateway, clock, Status.CONFIRMED)
    assert gateway.effects == {"p-0": 1}


@pytest.mark.parametrize("paid", [True, False])
def test_shadow_mode_that_was_left_by_a_clock_that_was_ahead_stops_no_payment(
    store: Store, clock: FakeClock, gateway: OldJob, *, paid: bool
) -> None:
    """Each claim counted it as sent until just now, so the grace period never ended."""
    run(store.add([payment("p-0", hours=4)]))
    enter(store)
    clock.advance(5 * 3600)
    left = leave(store, clock).policy.others_until  # type: ignore[attr-defined]
    clock.advance(-5 * 3600)
    if paid:
        gateway.pays()
    if isinstance(store, PostgresStore):
        assert run(store.leave_shadow()) == left, "of what was there by then"
        run(store.add([payment("dated", created_at=clock.now() + timedelta(hours=3))]))
        sending: Store = store
    else:
        sending = under(replace(POLICY, others_until=left, others_stopped=clock.now()), store)
    work_until(sending, gateway, clock, Status.CONFIRMED)
    assert clock.now() < find(store).created_at + timedelta(minutes=5)
    assert gateway.effects["p-0"] == 1


# --- PostgreSQL


def test_what_a_producer_commits_after_shadow_mode_and_began_before_is_paid_once(database: Database) -> None:
    store, gateway = PostgresStore(database.pool, POLICY), LedgerGateway()

    async def check() -> None:
        async with database.pool.acquire() as producer:
            transaction = producer.transaction()
            await transaction.start()
            await producer.execute(
                "INSERT INTO transactions (id, account, amount, currency) VALUES ('p-0', 'a', 1, 'USD')"
            )
            await PostgresStore(database.pool, SHADOW).enter_shadow()
            await gateway.confirm(payment("p-0", 1), "p-0")  # the old job, whose own table has it already
            left = await store.leave_shadow()
            assert left is not None
            await transaction.commit()
        await Confirmer(store, gateway, SystemClock(), Even(), lambda: "t", POLICY, "w1").confirm_batch(9)

    run(check())
    assert find(store).status is Status.CONFIRMED
    assert gateway.effects == {"p-0": 1}


def test_leaving_touches_no_row_however_many_there_are(database: Database) -> None:
    """It was one statement for each 5,000, none of which a worker that was cut off had not to do again."""
    run(
        database.pool.execute(
            "INSERT INTO transactions (id, account, amount, currency)"
            " SELECT 'p-' || n, 'a', 1, 'USD' FROM generate_series(0, 20000) AS n"
        )
    )
    store = PostgresStore(database.pool, POLICY)
    run(database.pool.execute("INSERT INTO shadow_mode DEFAULT VALUES"))
    assert run(store.leave_shadow()) is not None
    untouched = "SELECT count(*) FROM transactions WHERE first_sent_at IS NULL AND last_sent_at IS NULL"
    assert run(database.pool.fetchval(untouched)) == 20001
    assert run(store.claim(token="t", by="w1", limit=1, ids=["p-9"])).held[0].sent_earlier


def test_each_worker_that_sends_learns_the_moment_until_shadow_mode_is_left_again(
    database: Database, clock: FakeClock
) -> None:
    first, second, shadow = (PostgresStore(database.pool, policy, clock) for policy in (POLICY, POLICY, SHADOW))
    assert run(first.leave_shadow()) is None, "there was none"
    run(shadow.enter_shadow())
    left = clock.now()
    assert run(first.leave_shadow()) == left
    clock.advance(60)
    assert run(second.leave_shadow()) == left
    run(shadow.enter_shadow())  # it lives on until the deployment ends it
    assert run(first.leave_shadow()) == clock.now()
    assert run(second.leave_shadow()) == clock.now()
    assert second.policy.others_until == clock.now()


def test_a_worker_of_the_version_before_leaves_the_moment_too(database: Database) -> None:
    """It deletes the note, with the rights of its role; so does this version, with the same."""

    async def delete() -> None:
        async with database.pool.acquire() as connection:
            await connection.execute("SET ROLE confirm_worker")
            try:
                await connection.execute("INSERT INTO shadow_mode DEFAULT VALUES ON CONFLICT DO NOTHING")
                await connection.execute("DELETE FROM shadow_mode")
                store = PostgresStore(connection, replace(SHADOW, restored_to=before))
                await store.enter_shadow()
                await store.enter_shadow()
                assert (left := await PostgresStore(connection, POLICY).leave_shadow()) is not None
                assert left >= before
            finally:
                await connection.execute("RESET ROLE")

    before = run(database.pool.fetchval("SELECT date_trunc('milliseconds', now())"))
    run(delete())
    store = PostgresStore(database.pool, POLICY)
    assert run(store.leave_shadow()) is not None
    assert store.policy.restored_to == before


def test_back_at_the_version_before_a_worker_still_finds_that_shadow_mode_was_here(
    database: Database, clock: FakeClock
) -> None:
    """It marks what waits where it finds the note, and deletes that; in shadow mode it only puts it there."""
    sending, shadow = (PostgresStore(database.pool, policy, clock) for policy in (POLICY, SHADOW))
    run(shadow.enter_shadow())
    run(sending.add([payment("p-0")]))  # after its last look
    left = run(sending.leave_shadow())
    clock.advance(60)
    assert run(database.pool.fetchval("SELECT EXISTS (SELECT FROM shadow_mode)"))
    assert run(sending.leave_shadow()) == left, "and for this version it is left"
    run(database.pool.execute("INSERT INTO shadow_mode DEFAULT VALUES ON CONFLICT DO NOTHING"))
    assert run(sending.leave_shadow()) == clock.now()
    clock.advance(60)
    run(database.pool.execute("DELETE FROM shadow_mode"))
    assert run(sending.leave_shadow()) == clock.now() - timedelta(seconds=60), "it was left already"


@pytest.mark.parametrize("again", ["another shadow mode", "a worker that ends late"])
def test_a_restores_moment_survives_that_shadow_mode_is_left_a_second_time(
    database: Database, clock: FakeClock, again: str
) -> None:
    """A payment from just after the moment; past its key window the gateway has no word of it, and pays anew."""
    gateway = LedgerGateway(lambda verb, *_: (False, NotFound()) if verb == "ask" else None)
    restored = clock.now()
    gateway.effects["p-0"] = 1
    clock.advance(POLICY.key_window.total_seconds() + 3600)
    run(PostgresStore(database.pool, replace(SHADOW, restored_to=restored), clock).enter_shadow())
    shadow = PostgresStore(database.pool, SHADOW, clock)
    if again == "a worker that ends late":
        run(shadow.enter_shadow())
    run(shadow.add([payment("p-0", created_at=clock.now())]))
    run(PostgresStore(database.pool, POLICY, clock).leave_shadow())
    clock.advance(60)
    run(shadow.enter_shadow())
    assert find(shadow).first_sent_at == restored, "its marks count from there too"
    sending = PostgresStore(database.pool, POLICY, clock)
    run(sending.leave_shadow())
    assert sending.policy.restored_to == restored
    for _ in range(3):
        clock.advance(POLICY.grace.total_seconds() + 1)
        work(sending, gateway, clock)
    assert find(sending).status is Status.REVIEW
    assert gateway.effects == {"p-0": 1}


def test_a_shadow_mode_that_left_no_note_is_known_by_what_it_wrote(database: Database) -> None:
    """Its version had no note: after an upgrade from it straight to sending there would be none."""

    async def upgraded(reason: str) -> datetime | None:
        async with database.pool.acquire() as connection:
            await connection.execute("CREATE SCHEMA before; SET search_path TO before")
            try:
                await migrate(connection, migrations()[:11])
                insert = "INSERT INTO transactions (id, account, amount, currency) VALUES ('p-0', 'a', 1, 'USD')"
                await connection.execute(insert)
                await connection.execute("UPDATE transactions SET reason = $1", reason)
                await migrate(connection)
                return await PostgresStore(connection, POLICY).leave_shadow()
            finally:
                await connection.execute(f'DROP SCHEMA before CASCADE; SET search_path TO "{database.schema}"')

    assert run(upgraded("shadow: the gateway does not know it yet")) is not None
    assert run(upgraded("unknown: shadow: the gateway does not know it yet")) is not None
    assert run(upgraded("gateway busy")) is None


# --- DynamoDB


@dataclass
class Lagging:
    """An index that does not show an item yet."""

    client: Any
    hidden: set[str] = field(default_factory=set)

    def query(self, **arguments: Any) -> Any:
        page = self.client.query(**arguments)
        return page | {"Items": [item for item in page["Items"] if item["id"]["S"] not in self.hidden]}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)


def test_what_the_index_shows_only_after_shadow_mode_is_paid_once(
    dynamodb: Callable[[Any], DynamoDbStore], clock: FakeClock, gateway: OldJob
) -> None:
    store = dynamodb(Lagging)
    run(store.add([payment("p-0")]))
    store.client.hidden.add("p-0")
    assert run(under(SHADOW, store).doubt()) == 0
    gateway.pays()
    clock.advance(1)
    sending = leave(store, clock)
    work(sending, gateway, clock)
    store.client.hidden.clear()
    work_until(sending, gateway, clock, Status.CONFIRMED)
    assert gateway.effects == {"p-0": 1}


@pytest.mark.parametrize("calls", [0, 1, 2])
def test_marking_ends_in_time_and_goes_on_the_next_time(
    dynamodb: Callable[[Any], DynamoDbStore], clock: FakeClock, calls: int
) -> None:
    """Those on a desk first, and each hundred that was marked stays so."""

    class Slow(Lagging):
        def batch_get_item(self, **arguments: Any) -> Any:
            clock.advance(10)
            return self.client.batch_get_item(**arguments)

    store = under(SHADOW, dynamodb(Slow))
    assert isinstance(store, DynamoDbStore)
    run(store.add([payment("desk"), *payments(130)]))
    [held] = claim(under(POLICY, store), ids=["desk"])
    busy = held._replace(attempt=POLICY.max_attempts)
    run(store.settle([Move(held, decide(busy, Answer(Retryable("busy"), "w1"), clock.now(), POLICY))]))
    until = clock.now() + timedelta(seconds=10 * calls)
    assert run(store.doubt(until=until)) == [0, 1, 101][calls]
    assert find(store, "desk").sent_earlier is bool(calls)
    assert run(store.doubt()) == 131 - [0, 1, 101][calls]


def test_an_item_that_does_not_say_when_it_came_in_is_asked_about(
    dynamodb: Callable[[Any], DynamoDbStore], clock: FakeClock, gateway: OldJob
) -> None:
    store = dynamodb(lambda client: client)
    run(store.add([payment("p-0", created_at=clock.now() + timedelta(hours=1))]))
    store.client.update_item(TableName=store.table, Key={"id": {"S": "p-0"}}, UpdateExpression="REMOVE history")
    gateway.pays()
    work_until(leave(store, clock), gateway, clock, Status.CONFIRMED)
    assert gateway.effects == {"p-0": 1}
