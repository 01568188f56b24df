"""Which of those that wait are shown, and page by page: pure, with as many as a bad day brings."""

from __future__ import annotations

import pytest

from cli.console.queue import MOST, PAGE, Filter, Queue, part, sums
from tests.console.world import NOW, waiting
from workers.domain.finding import Found
from workers.domain.transaction import Transaction


def queue(count: int) -> Queue:
    return of(*(waiting(number) for number in range(count)))


def of(*records: Transaction) -> Queue:
    return Queue.of([Found(record, record.cause) for record in records], NOW)


@pytest.mark.parametrize(
    ("given", "numbers"),
    [
        ({}, {0, 1, 2, 3, 4, 5, 6, 7}),
        ({"text": "ORDER-00003"}, {3}),
        ({"text": "key window"}, {2, 7}),
        ({"text": "6819"}, {3, 7}),
        ({"cause": "deadline-passed"}, {0, 5}),
        ({"currency": "JPY"}, {2, 5}),
        ({"owner": "night-desk"}, {4}),
        ({"late": "1"}, {0, 1, 3, 4, 6, 7}),
        ({"least": "375.19", "currency": "EUR"}, {6}),
        ({"most": "195.96", "currency": "JPY"}, set()),
        ({"least": "19596", "most": "19596"}, {2}),
        ({"least": "562.88", "most": "562.88"}, {6}),
        ({"cause": "no-such-cause"}, set()),
    ],
)
def test_a_filter_lets_through_what_it_says(given: dict[str, str], numbers: set[int]) -> None:
    rows = Filter.of(given).apply(queue(8), NOW)
    assert {row.name for row in rows} == {f"order-{number:05d}" for number in numbers}


def test_amounts_are_those_of_each_currency() -> None:
    """12.50 is 1250 minor units of EUR, and no amount of JPY, whose 12 are 12."""
    ours = [waiting(0, amount=1250, currency="EUR"), waiting(1, amount=12, currency="JPY"), waiting(2, currency="?")]
    rows = Filter.of({"least": "12", "most": "12.50"}).apply(of(*ours), NOW)
    assert {row.record.currency for row in rows} == {"EUR", "JPY"}


def test_ten_thousand_are_turned_through_one_by_one() -> None:
    whole = queue(MOST)
    assert whole.is_cut
    seen, after = [], ""
    for turned in range(MOST // PAGE):
        page = part(whole.rows, after)
        assert page.first == turned * PAGE + 1
        seen += [row.name for row in page.rows]
        after = page.after or ""
    assert after == ""
    assert len(seen) == len(set(seen)) == MOST


def test_what_is_decided_meanwhile_shifts_no_other() -> None:
    """A number as the place would leave out as many as went."""
    before = queue(3 * PAGE)
    first = part(before.rows, "")
    gone = {row.name for row in first.rows[::2]} | {first.rows[-1].name}
    left = Queue([row for row in before.rows if row.name not in gone], NOW)
    second = part(left.rows, first.after or "")
    assert [row.name for row in second.rows] == [row.name for row in before.rows[PAGE : 2 * PAGE]]


def test_sums_are_by_currency() -> None:
    assert sums(queue(4).rows) == {"EUR": 1250 + 1250 + 3 * 9173, "JPY": 1250 + 2 * 9173, "USD": 1250 + 9173}
