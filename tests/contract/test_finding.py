"""What every store finds of what people look for: the same, whatever was typed; and by which way."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from tests.cli.conftest import finder_of
from tests.contract.conftest import POLICY, Database, bring_in, make_table
from tests.fakes import START, FakeClock, payment, run
from tests.memory_store import MemoryStore
from workers.domain.causes import Cause, because
from workers.domain.finding import DESK, OPEN, Finder, Route, Where, is_open, on_desk, parts, plan
from workers.domain.outcomes import Confirmed, Outcome, Rejected, Retryable
from workers.domain.ports import Move, Store
from workers.domain.transaction import Status, Transaction
from workers.domain.transitions import Answer, SetAside, decide
from workers.stores.dynamodb import DynamoDbStore
from workers.stores.postgres import PostgresStore
from workers.stores.postgres_find import asking

ODD = "Zo\N{LATIN SMALL LETTER E WITH DIAERESIS}' OR 1=1 --"
"""An account that means something to SQL."""
HOUR = timedelta(hours=1)


@pytest.fixture(params=["memory", "dynamodb", "postgres"])
def store(request: pytest.FixtureRequest, clock: FakeClock) -> Store:
    if request.param == "memory":
        return MemoryStore(clock, POLICY)
    if request.param == "postgres":
        database: Database = request.getfixturevalue("database")
        return PostgresStore(database.pool, POLICY, clock)
    client = request.getfixturevalue("aws").client("dynamodb")
    return DynamoDbStore(client, make_table(client), "pending", 3, clock, POLICY)


def one(id_: str, amount: int, currency: str = "EUR", account: str = "acct-1", hour: int = 0) -> Transaction:
    made = payment(id_, amount, START - hour * HOUR, hours=1000)
    return made._replace(currency=currency, account=account)


def answered(store: Store, id_: str, outcome: Outcome) -> None:
    [held], _ = run(store.claim(token="t", by="w", limit=1, ids=[id_]))
    run(store.settle([Move(held, decide(held, Answer(outcome, "w"), START, POLICY))]))


def set_aside(store: Store, id_: str, words: str) -> None:
    [held], _ = run(store.claim(token="t", by="w", limit=1, ids=[id_]))
    failed = because(Cause.WRITE_FAILED, status=words, error="e")
    run(store.settle([Move(held, decide(held, SetAside("w", failed), START, POLICY))]))


def filled(store: Store) -> Finder:
    """Of each state one at least."""
    rows = [
        one("new", 100),
        one("odd", 200, account=ODD, hour=1),
        one("held", 300, hour=2),
        one("again", 400, "USD", hour=3),
        one("done", 500, hour=4),
        one("refused", 600, "USD", hour=5),
        one("desk-1", 700, hour=6),
        one("desk-2", 800, "USD", account="acct-23000", hour=7),
    ]
    run(store.add(rows))
    run(bring_in(store, [one("canary-20260105T090000Z", 1, "USD")]))
    run(store.claim(token="t", by="w", limit=1, ids=["held"]))
    answered(store, "again", Retryable("busy"))
    answered(store, "done", Confirmed("pay_%_1", 500, "EUR"))
    answered(store, "refused", Rejected("No Funds"))
    set_aside(store, "desk-1", "100%_ of '; DROP TABLE transactions")
    set_aside(store, "desk-2", "\N{LATIN CAPITAL LETTER A WITH DIAERESIS}rger")
    return finder_of(store)


def at(hour: int) -> datetime:
    return START - hour * HOUR


ALL = {"new", "odd", "held", "again", "done", "refused", "desk-1", "desk-2"}
SOUGHT = [
    (Where(), ALL),
    (Where(states=DESK), {"desk-1", "desk-2"}),
    (Where(states=OPEN), {"new", "odd", "held", "again"}),
    (Where(states=frozenset([Status.PROCESSING])), {"held"}),
    (Where(states=DESK | {Status.PENDING}), {"desk-1", "desk-2", "new", "odd", "again"}),
    (Where(states=frozenset([Status.CONFIRMED, Status.REVIEW])), {"done", "desk-1", "desk-2"}),
    (Where(causes=frozenset([Cause.ADDED])), {"new", "odd"}),
    (Where(causes=frozenset([Cause.CLAIMED, Cause.NOT_DONE])), {"held", "again"}),
    (Where(causes=frozenset([Cause.WRITE_FAILED]), states=DESK, currency="USD"), {"desk-2"}),
    (Where(causes=frozenset([Cause.REFUSED])), {"refused"}),
    (Where(account=ODD), {"odd"}),
    (Where(account="acct-1") , ALL - {"odd", "desk-2"}),
    (Where(account="****3000"), {"desk-2"}),
    (Where(account="****%"), set()),
    (Where(account="acct-_"), set()),
    (Where(reference="pay_%_1"), {"done"}),
    (Where(reference="pay_%"), set()),
    (Where(amount_from=300, amount_to=500), {"held", "again", "done"}),
    (Where(amount_from=801), set()),
    (Where(created_from=at(3), created_to=at(1)), {"odd", "held", "again"}),
    (Where(created_to=at(7)), {"desk-2"}),
    (Where(created_from=at(1), states=OPEN), {"new", "odd"}),
    (Where(currency="USD"), {"again", "refused", "desk-2"}),
    (Where(reason="no funds"), {"refused"}),
    (Where(reason="NO FUNDS", currency="EUR"), set()),
    (Where(reason="100%_ OF ';"), {"desk-1"}),
    (Where(reason="%"), {"desk-1"}),
    (Where(reason="\N{LATIN CAPITAL LETTER A WITH DIAERESIS}RGER"), {"desk-2"}),
    (Where(reason="\N{LATIN SMALL LETTER A WITH DIAERESIS}rger"), set()),
]  # fmt: skip


def test_each_store_finds_the_same(store: Store) -> None:
    finder = filled(store)

    async def look(where: Where, expected: int) -> list[str]:
        found = [one async for one in finder.find(where, expected)]
        assert all(where.matches(one) for one in found)
        return [one.record.id for one in found]

    for where, ids in SOUGHT:
        found = run(look(where, 100))
        assert sorted(found) == sorted(ids), where
        assert run(look(where, 1)) == found, "page by page, in the same order"
    read = run(finder.read(["desk-2", "nowhere", "new", "desk-2"]))
    assert [(one.id, one.amount, one.version > 1) for one in read] == [("desk-2", 800, True), ("new", 100, False)]
    size = run(finder.size())
    assert size.reads
    if not isinstance(store, PostgresStore):  # who has not looked at the table yet
        assert size.rows == 9


def test_a_place_without_end_ends(database: Database, clock: FakeClock) -> None:
    """An administrator's hand has written times that Python does not have."""
    store = PostgresStore(database.pool, POLICY, clock)
    finder = filled(store)
    run(database.pool.execute("UPDATE transactions SET review_by = 'infinity' WHERE status = 'REVIEW'"))

    async def look() -> list[str]:
        return [one.record.id async for one in finder.find(Where(states=DESK), 1)]

    assert run(look()) == ["desk-1", "desk-2"]


def test_by_an_index_means_by_an_index(database: Database) -> None:
    """The planner believes that an index of ranges finds nearly all of the table, and would rather read all of it."""
    ask, question = (
        asking(database.pool),
        "SELECT concat_ws(' ', current_setting('enable_seqscan'), current_setting('enable_bitmapscan'))",
    )
    answers = [run(ask(question, timeout=9, by_index=by_index))[0][0] for by_index in (True, False)]
    assert answers == ["off on", "on off"]


DESK_WAY, OPEN_WAY = Route("desk", on_desk, ""), Route("open", is_open, "")


@pytest.mark.parametrize(
    ("where", "ways"),
    [
        (Where(), ()),
        (Where(states=DESK), (DESK_WAY,)),
        (Where(states=OPEN, currency="EUR"), (OPEN_WAY,)),
        (Where(states=frozenset([Status.PENDING])), (OPEN_WAY,)),
        (Where(states=DESK | OPEN), (DESK_WAY, OPEN_WAY)),
        (Where(states=DESK | {Status.CONFIRMED}), ()),
        (Where(states=frozenset([Status.REJECTED])), ()),
        (Where(account="a", amount_from=1, reason="x"), ()),
    ],
)
def test_the_whole_table_is_read_where_no_index_has_all(where: Where, ways: tuple[Route, ...]) -> None:
    assert plan(where, (DESK_WAY, OPEN_WAY)) == ways


def test_parts_are_all_of_it_and_no_more() -> None:
    states = DESK | {Status.PENDING}
    assert parts(Where(states=states, currency="EUR")) == (
        Where(states=DESK, currency="EUR"),
        Where(states=frozenset([Status.PENDING]), currency="EUR"),
    )
    assert parts(Where()) == parts(replace(Where(), states=states | {Status.CONFIRMED})) == ()
