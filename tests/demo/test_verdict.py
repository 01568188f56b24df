"""The judge convicts each kind of fault, and acquits a clean run."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from demo.picture import Mark, Sample, draw
from demo.verdict import Effect, judge, reasons
from tests.fakes import START, payment
from workers.domain.causes import Cause
from workers.domain.outcomes import Confirmed, Rejected
from workers.domain.policy import Policy
from workers.domain.transaction import Status, Transaction
from workers.domain.transitions import Answer, Claim, decide
from workers.stores.common import arrived

POLICY = Policy(max_attempts=1)


def settled(id_: str, outcome: Confirmed | Rejected, amount: int = 2933) -> Transaction:
    record = decide(arrived(payment(id_, amount), START), Claim("t", "w"), START, POLICY)
    return decide(record, Answer(outcome, "w"), START, POLICY)


BROUGHT = [payment("a"), payment("b"), payment("c"), payment("d")]
RECORDS = {
    "a": settled("a", Confirmed("r", 2933, "USD")),
    "b": settled("b", Confirmed("r", 2933, "USD")),
    "c": settled("c", Rejected("no")),
    "d": settled("d", Confirmed("r", 1, "USD")),
}
EFFECTS = [Effect("a", 2933, "USD"), Effect("b", 2933, "USD"), Effect("d", 2933, "USD")]


def test_a_clean_run_holds_and_adds_up() -> None:
    verdict = judge(BROUGHT, list(RECORDS.values()), EFFECTS)
    assert verdict.holds
    rows = {row.status: row for row in verdict.rows}
    confirmed = rows[Status.CONFIRMED]
    assert (confirmed.count, confirmed.amount, confirmed.effects, confirmed.moved) == (2, 5866, 2, 5866)
    assert (rows[Status.REJECTED].count, rows[Status.REVIEW].count) == (1, 1)
    assert sum(row.count for row in verdict.rows) == 4


def test_once_people_have_decided_nothing_may_be_left_on_a_desk() -> None:
    left = judge(BROUGHT, list(RECORDS.values()), EFFECTS, decided=True)
    assert [check.promise for check in left.checks if not check.kept] == ["nothing is left on a desk"]
    ended = RECORDS["d"]._replace(status=Status.REJECTED)
    decided = judge(BROUGHT, [*list(RECORDS.values())[:3], ended], EFFECTS, decided=True)
    assert "nothing is left on a desk" in {check.promise for check in decided.checks if check.kept}


def test_canaries_are_in_no_book() -> None:
    canary = settled("canary-20260105T090000Z", Confirmed("r", 1, "USD"), amount=1)
    effects = [*EFFECTS, Effect(canary.id, 1, "USD"), Effect("canary-20260105T090500Z", 1, "USD")]
    assert judge(BROUGHT, [*RECORDS.values(), canary], effects) == judge(BROUGHT, list(RECORDS.values()), EFFECTS)


def test_what_only_bears_a_canarys_name_is_in_every_book() -> None:
    false = settled("canary-20260105T090000Z", Confirmed("r", 2933, "USD"))
    verdict = judge(BROUGHT, [*RECORDS.values(), false], [*EFFECTS, Effect("canary-1", 1, "USD")])
    against = {check.promise: check.against for check in verdict.checks if not check.kept}
    assert "canary-20260105T090000Z" in str(against["nothing is here that did not come in"])
    assert "canary-1" in str(against["no effect is unexplained"])


Change = Callable[[dict[str, Transaction], list[Effect]], object]
FAULTS: dict[str, tuple[str, Change]] = {
    "lost": ("every transaction that came in is here", lambda r, _: r.pop("a")),
    "foreign": ("nothing is here that did not come in", lambda r, _: r.update(x=r["a"]._replace(id="x"))),
    "changed": ("every amount is the one that came in", lambda r, _: r.update(c=r["c"]._replace(amount=1))),
    "open": ("every one is final", lambda r, _: r.update(c=arrived(payment("c"), START))),
    "doubled": ("no effect happened twice", lambda _, e: e.append(e[0])),
    "no effect": ("each confirmed one has its effect", lambda _, e: e.pop(0)),
    "a cent less": ("each confirmed one has its effect", lambda _, e: e.__setitem__(0, Effect("a", 2932, "USD"))),
    "other money": ("each confirmed one has its effect", lambda _, e: e.__setitem__(0, Effect("a", 2933, "EUR"))),
    "rejected, moved": ("no rejected one has an effect", lambda _, e: e.append(Effect("c", 2933, "USD"))),
    "unexplained": ("no effect is unexplained", lambda _, e: e.append(Effect("z", 1, "USD"))),
    "no reason": ("each one on a desk has a reason", lambda r, _: r.update(d=r["d"]._replace(reason=None))),
    "no deadline": ("each one on a desk has a reason", lambda r, _: r.update(d=r["d"]._replace(review_by=None))),
    "gap": ("every history is whole", lambda r, _: r.update(a=r["a"]._replace(history=r["a"].history[::2]))),
    "no history": ("every history is whole", lambda r, _: r.update(a=r["a"]._replace(history=()))),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_convicted_by_name(fault: str) -> None:
    promise, change = FAULTS[fault]
    records, effects = dict(RECORDS), list(EFFECTS)
    change(records, effects)
    verdict = judge(BROUGHT, list(records.values()), effects)
    assert not verdict.holds
    assert any(check.promise.startswith(promise) for check in verdict.checks if not check.kept)


def test_a_violation_at_the_gateway_is_convicted() -> None:
    assert not judge(BROUGHT, list(RECORDS.values()), EFFECTS, violations=1).holds


def test_the_most_frequent_reason_comes_first() -> None:
    odd = RECORDS["d"]
    late = odd._replace(history=(*odd.history[:-1], odd.history[-1]._replace(cause=Cause.DEADLINE_PASSED)))
    desk = [late, odd, odd._replace(reason="in other words"), odd._replace(history=())]
    assert list(reasons(desk).items()) == [("amount-mismatch", 2), ("deadline-passed", 1), ("no cause", 1)]


def test_the_picture_shows_backlog_workers_and_what_was_done(tmp_path: Path) -> None:
    file = tmp_path / "run.svg"  # which holds its texts in words
    samples = [Sample(0, 6_919, 0, 2), Sample(5, 0, 10, 3)]
    draw(samples, [1, 2, 2, 3], [Mark(2, "SIGKILL to a worker"), Mark(3, "service rolled")], "A run", file)
    words = set(re.findall(r"<!-- (.*?) -->", file.read_text()))
    assert {"SIGKILL to a worker", "service rolled", "open 6,919", "final 4", "workers", "final per second"} <= words


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    file = tmp_path / "new" / "run.png"
    draw([Sample(0, 10, 0), Sample(5, 0, 10)], [1, 2, 2, 3], [Mark(2, "killed")], "A run", file)
    assert file.read_bytes().startswith(b"\x89PNG")
    assert file.stat().st_size > 10_000
