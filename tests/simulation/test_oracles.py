"""Each oracle acquits what is sound, and convicts each fault that it is for: none of them is asleep."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from simulation import oracles
from simulation.oracles import Effect, Finding, Operation, Turn
from tests.fakes import START, payment
from workers.domain.causes import Cause
from workers.domain.exits import Redrive
from workers.domain.outcomes import Confirmed, Rejected, Unknown
from workers.domain.policy import Policy
from workers.domain.transaction import HistoryEntry, Status, Transaction
from workers.domain.transitions import TABLE, Answer, Claim, decide
from workers.stores.common import arrived

POLICY = Policy()
SECOND = timedelta(seconds=1)
DONE = Confirmed("r", 2933, "USD")


def later(seconds: int) -> datetime:
    return START + seconds * SECOND


def came(id_: str) -> Transaction:
    return arrived(payment(id_), START)


def held(id_: str, token: str = "first") -> Transaction:
    return decide(came(id_), Claim(token, "w"), START, POLICY)


def tried_twice(id_: str) -> Transaction:
    """Taken over from a worker that died, asked about, and brought to its end."""
    waits = decide(held(id_), Answer(Unknown("no answer"), "w"), START, POLICY)
    dead = decide(waits, Claim("second", "v"), later(900), POLICY)
    return decide(dead, Claim("third", "w"), later(2000), POLICY)


def on_a_desk(id_: str) -> Transaction:
    return decide(held(id_), Answer(Confirmed("r", 1, "USD"), "w"), START, POLICY)


def redriven(id_: str) -> Transaction:
    again = decide(on_a_desk(id_), Redrive("ana", "ben", "looked into it"), later(10), POLICY)
    return decide(
        decide(again, Claim("second", "w"), later(20), POLICY), Answer(DONE, "w", asked=True), later(20), POLICY
    )


CAME = [came(id_) for id_ in "abcde"]
RECORDS = {
    "a": decide(held("a"), Answer(DONE, "w"), START, POLICY),
    "b": decide(held("b"), Answer(Rejected("no"), "w"), START, POLICY),
    "c": on_a_desk("c"),
    "d": decide(tried_twice("d"), Answer(DONE, "w", asked=True), later(2001), POLICY),
    "e": redriven("e"),
}
EFFECTS = [Effect(id_, 2933, "USD") for id_ in "acde"]


def test_a_sound_run_is_acquitted() -> None:
    assert oracles.at_end(CAME, RECORDS.values(), EFFECTS) == []
    on_their_way = [*RECORDS.values(), held("f"), tried_twice("g"), came("h")]
    assert oracles.at_any_time(on_their_way, EFFECTS) == []


def line(record: Transaction, number: int, **changes: object) -> Transaction:
    lines = list(record.history)
    lines[number] = lines[number]._replace(**changes)  # type: ignore[arg-type]
    return record._replace(history=tuple(lines))


def without(record: Transaction, first: int, last: int) -> Transaction:
    return record._replace(history=record.history[:first] + record.history[last:])


Books = dict[str, Transaction]
Change = Callable[[Books, list[Effect]], object]


def edited(id_: str, change: Callable[[Transaction], Transaction]) -> Change:
    return lambda books, _: books.update({id_: change(books[id_])})


FAULTS: dict[str, tuple[set[str], Change]] = {
    "doubled": ({"two effects"}, lambda _, effects: effects.append(effects[0])),
    "doubled on a desk": ({"two effects"}, lambda _, effects: effects.append(effects[1])),
    "confirmed without": ({"ledger", "money"}, lambda _, effects: effects.pop(0)),
    "a cent less": ({"ledger", "money"}, lambda _, effects: effects.__setitem__(0, Effect("a", 2932, "USD"))),
    "other money": ({"ledger", "money"}, lambda _, effects: effects.__setitem__(0, Effect("a", 2933, "EUR"))),
    "rejected, moved": ({"ledger"}, lambda _, effects: effects.append(Effect("b", 2933, "USD"))),
    "moved for nobody": ({"ledger"}, lambda _, effects: effects.append(Effect("x", 1, "USD"))),
    "open, moved": ({"ledger", "open"}, edited("a", lambda _: held("a"))),
    "gone": ({"lost", "money"}, lambda books, _: books.pop("b")),
    "from nowhere": ({"lost", "money"}, lambda books, _: books.update(x=books["b"]._replace(id="x"))),
    "another account": ({"lost"}, edited("b", lambda one: one._replace(account="x"))),
    "another amount": ({"lost", "money"}, edited("b", lambda one: one._replace(amount=1))),
    "another currency": ({"lost", "money"}, edited("b", lambda one: one._replace(currency="EUR"))),
    "pending": ({"open"}, edited("b", lambda _: came("b"))),
    "processing": ({"open"}, edited("b", lambda _: held("b"))),
    "no reason": ({"desk"}, edited("c", lambda one: one._replace(reason=None))),
    "no owner": ({"desk"}, edited("c", lambda one: one._replace(owner=None))),
    "no deadline": ({"desk"}, edited("c", lambda one: one._replace(review_by=None))),
    "no history": ({"history", "lines"}, edited("b", lambda one: one._replace(history=()))),
    "the first line gone": ({"history", "lines"}, edited("b", lambda one: without(one, 0, 1))),
    "the claim's line gone": ({"history", "lines", "one token"}, edited("b", lambda one: without(one, 1, 2))),
    "the last line gone": ({"history", "lines", "one token"}, edited("b", lambda one: without(one, 2, 3))),
    "a whole try gone": ({"lines"}, edited("d", lambda one: without(one, 1, 3))),
    "a line twice": ({"lines"}, edited("d", lambda one: line(one, 1, times=2))),
    "back in time": ({"history"}, edited("d", lambda one: line(one, 2, at=later(-1)))),
    "moved on from a final state": (
        {"history"},
        edited(
            "b", lambda one: line(line(one, 1, now=Status.CONFIRMED, cause=Cause.CONFIRMED), 1, now=Status.REJECTED)
        ),
    ),
    "no cause": ({"cause"}, edited("b", lambda one: line(one, 2, cause=None))),
    "a cause of another change": ({"cause"}, edited("b", lambda one: line(one, 2, cause=Cause.CONFIRMED))),
    "no words": ({"cause"}, edited("b", lambda one: line(one, 2, why=""))),
    "by nobody": ({"cause"}, edited("b", lambda one: line(one, 2, by=""))),
    "a token twice": ({"one token"}, edited("d", lambda one: line(one, 3, token="first"))),
    "settled under another token": ({"one token"}, edited("b", lambda one: line(one, 2, token="other"))),
    "claimed without a token": ({"one token"}, edited("b", lambda one: line(one, 1, token=None))),
    "a token left": ({"one token"}, edited("b", lambda one: one._replace(token="first"))),
    "a lease left": ({"one token"}, edited("b", lambda one: one._replace(lease_until=START))),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_convicted_by_its_oracles(fault: str) -> None:
    expected, change = FAULTS[fault]
    books, effects = dict(RECORDS), list(EFFECTS)
    change(books, effects)
    assert {one.oracle for one in oracles.at_end(CAME, books.values(), effects)} >= expected


def test_each_oracle_has_a_fault_that_it_convicts() -> None:
    convicted = {name for expected, _ in FAULTS.values() for name in expected}
    of_their_own = {"final moved", "order", "starved", "secret", "attempts", "long history", "words"}
    assert convicted | of_their_own == set(oracles.ORACLES)


def test_attempts_that_are_miscounted_are_convicted() -> None:
    assert oracles.attempts(RECORDS.values(), [8]) == []
    assert set(oracles.LINES) >= oracles.TAKES_BACK
    wrong = [
        line(RECORDS["d"], 3, attempt=1),  # a crash that is none
        line(RECORDS["b"], 1, attempt=2),
        line(RECORDS["d"], 2, cause=Cause.THROTTLED),
    ]
    assert [len(oracles.attempts([one], [8])) for one in wrong] == [1, 1, 1]


def test_a_history_without_a_bound_and_words_that_cannot_be_shown_are_convicted() -> None:
    one = RECORDS["b"]
    assert oracles.long_history([one]) == []
    assert len(oracles.long_history([one._replace(history=one.history * 30)])) == 1
    assert oracles.unfit_words([("b", "no funds")]) == []
    assert len(oracles.unfit_words([("b", "a\x00b"), ("b", "y" * 2001)])) == 2


def test_every_cause_leads_where_the_table_of_transitions_says() -> None:
    assert {*oracles.LINES, oracles.LEFT_OUT} == set(Cause)
    pairs = {(was, now) for was, _, now, _ in TABLE} | {(None, Status.PENDING)}
    assert {pair for led in oracles.LINES.values() for pair in led} == pairs


def test_lines_that_were_left_out_are_counted_and_no_gap() -> None:
    one = RECORDS["d"]
    gap = HistoryEntry(
        START, "history", Status.PROCESSING, Status.PROCESSING, 2, None, "3 changes left out", 3, START, Cause.LEFT_OUT
    )  # fmt: skip
    short = one._replace(history=(*one.history[:2], gap, *one.history[5:]))
    assert oracles.at_any_time([short], []) == []
    assert {found.oracle for found in oracles.at_any_time([line(short, 2, times=2)], [])} == {"lines"}


def test_clocks_may_be_apart_as_far_as_said() -> None:
    one = line(RECORDS["d"], 2, at=later(-2))
    assert oracles.history([one], apart=2 * SECOND) == []
    assert [found.oracle for found in oracles.history([one], apart=SECOND)] == ["history"]


CHANGES: tuple[dict[str, object], ...] = (
    {"status": Status.PENDING}, {"reason": "x"}, {"version": 9}, {"history": ()}, {"gateway_reference": "other"},
)  # fmt: skip


def test_a_mark_raises_the_version_without_a_line() -> None:
    one = RECORDS["a"]._replace(version=9)
    assert {found.oracle for found in oracles.at_any_time([one], [])} == {"lines"}
    assert oracles.at_any_time([one], [], marked=True) == []
    assert oracles.lines([one._replace(version=1)], marked=True) != []


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_final_never_changes(change: dict[str, object]) -> None:
    one = RECORDS["a"]
    assert oracles.final_moved([one, held("f")], [one, RECORDS["b"]]) == []
    moved = one._replace(**change)  # type: ignore[arg-type]
    assert [found.oracle for found in oracles.final_moved([one], [moved])] == ["final moved"]
    assert [found.found for found in oracles.final_moved([one], [])] == ["is gone"]


def op(
    who: str, began: float, ended: float | None, saw: int | None, wrote: int | None = None, *, refused: bool = False
) -> Operation:
    return Operation("t", who, began, ended, saw, wrote, refused)


SOUND = [op("add", 0, 1, None, 1), op("w", 2, 4, 1, 2), op("v", 3, None, 2, 3), op("u", 5, 6, 3, 4)]


def test_operations_in_one_order_are_acquitted() -> None:
    reads = [op("r", 2, 3, 1), op("r", 2, 3, 2), op("late", 3.5, 9, 2, refused=True), op("r", 7, 8, 4)]
    assert oracles.order([*SOUND, *reads]) == []
    assert oracles.order([op("w", 0, 1, 7, 8), op("r", 0, 1, 7)], {"t": 7}) == []


@pytest.mark.parametrize("wrong", [
    op("two over one", 5, 6, 3, 5),
    op("over what never was", 7, 8, 9, 10),
    op("no new version", 7, 8, 4, 4),
    op("read what nobody wrote", 7, 8, 9),
    op("read what was replaced", 5, 6, 1),
    op("read before it was written", 0, 1, 2),
    op("refused what stood", 7, 8, 4, refused=True),
    op("refused before it was replaced", 2, 3, 3, refused=True),
    op("wrote before it could see that", 0.1, 0.2, 4, 5),
], ids=lambda one: one.who)  # fmt: skip
def test_operations_in_no_order_are_convicted(wrong: Operation) -> None:
    assert {found.oracle for found in oracles.order([*SOUND, wrong])} == {"order"}


def test_the_healthy_wait_no_longer_than_the_bound() -> None:
    turns = [Turn("sick", START, None), Turn("well", START, later(5)), Turn("new", later(90), None)]
    assert oracles.starved(turns, ["sick"], 10 * SECOND, later(100)) == []
    assert [one.id for one in oracles.starved(turns, ["sick"], 4 * SECOND, later(100))] == ["well", "new"]
    assert [one.id for one in oracles.starved(turns, [], 10 * SECOND, later(100))] == ["sick"]


CARD = "4111111111111111"


SHOWN = (
    CARD, "4%31111%31111", "\\u0034\\u00311111\\u003111", "411&#49;1111", "4111-1111 1111/1111", "no 41111111...",
    "\u0664\u0661\u0661\u0661\u0661\u0661\u0661\u0661", "4\u200b1111111", '{"pan": "4111\\t1111"}',
)  # fmt: skip


@pytest.mark.parametrize("shown", SHOWN)
def test_a_secret_is_found_however_it_is_written(shown: str) -> None:
    assert oracles.secrets_out([CARD], [("the log", shown)]) == [
        Finding("secret", "the log", "shows a part of planted secret 0")
    ]


@pytest.mark.parametrize("shown", ["", "****1111", "4111 of 1111", "amount 411.11", "411111x1111"])
def test_what_is_no_secret_is_none(shown: str) -> None:
    assert oracles.secrets_out([CARD, ""], [("the log", shown)]) == []


def test_a_short_secret_is_found_whole() -> None:
    assert oracles.secrets_out(["hunter2"], [("a", "password=hunter2"), ("b", "hunter")]) == [
        Finding("secret", "a", "shows a part of planted secret 0")
    ]
