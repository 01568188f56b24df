"""What a marked function builds is what it would build as it is written, and a forgotten field fails the import."""

from __future__ import annotations

import inspect
import traceback
from typing import Any, NamedTuple, get_type_hints

import pytest

from workers.domain.inlined import NotBuilt, inlined
from workers.domain.transaction import Transaction
from workers.domain.transitions import _confirmed
from workers.stores import postgres


class Point(NamedTuple):
    x: int
    y: int = 0
    name: str = "p"


@inlined
def built(x: int, *, y: int) -> Point:
    """Says what it does."""
    return Point(name=f"{x}", y=y + 1, x=x)


@inlined
def moved(point: Point, by: int) -> tuple[Point, Point]:
    return point._replace(x=point.x + by), Point(point.x, point.y)


@inlined
async def later(point: Point) -> list[Point]:
    return [one for one in [point._replace(name="later")] if one.x]


@inlined
def failing(point: Point) -> Point:
    return point._replace(
        name="a",
        x=point.x // 0,
    )


class Kept(NamedTuple):
    kept: Any

    @inlined
    def of(self, point: Point) -> Point:
        return point._replace(name=str(self.kept))


def test_what_is_built_is_what_is_written() -> None:
    point = Point(1, 2, "one")
    assert built(3, y=4) == Point(3, 5, "3")
    assert type(built(3, y=4)) is Point
    assert moved(point, 5) == (Point(6, 2, "one"), Point(1, 2))
    assert Kept(7).of(point) == Point(1, 2, "7")
    with pytest.raises(StopIteration) as stopped:
        later(point).send(None)
    assert stopped.value.value == [Point(1, 2, "later")]
    for function, arguments in ((built, {"x": 3, "y": 4}), (moved, {"point": point, "by": 5})):
        assert function(**arguments) == inspect.unwrap(function)(**arguments)


def test_it_calls_no_constructor() -> None:
    assert "_replace" in inspect.unwrap(moved).__code__.co_names
    assert "_replace" not in moved.__code__.co_names


def test_it_keeps_its_name_its_words_and_its_lines() -> None:
    assert (built.__name__, built.__doc__, built.__module__) == ("built", "Says what it does.", __name__)
    assert Kept.of.__qualname__ == "Kept.of"
    with pytest.raises(ZeroDivisionError) as failed:
        failing(Point(1))
    last = traceback.extract_tb(failed.value.__traceback__)[-1]
    assert (last.name, last.line) == ("failing", "x=point.x // 0,")
    assert last.filename == __file__


def test_a_field_that_is_left_out_or_unknown_fails_the_import() -> None:
    def short(x: int) -> Point:
        return Point(x=x, y=1)  # its name has a default: a new field has one too

    with pytest.raises(NotBuilt, match=r"short builds a Point, and leaves out or does not know name: give each of"):
        inlined(short)

    def unknown(point: Point) -> Point:
        return point._replace(z=1)  # type: ignore[call-arg]

    with pytest.raises(NotBuilt, match=r"unknown builds a Point, and leaves out or does not know z: .* x, y, name"):
        inlined(unknown)


def test_without_its_source_a_function_stays_as_it_is() -> None:
    made: dict[str, Any] = {}
    exec("def unseen(x):\n    return Point(x=x)", globals(), made)  # noqa: S102 - code that stands in no file
    assert inlined(made["unseen"]) is made["unseen"]


def test_a_new_field_of_a_transaction_is_asked_for_wherever_a_row_becomes_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be it one with a default, of which a type checker says nothing."""
    fields = [*get_type_hints(Transaction).items(), ("colour", str)]
    wider: Any = NamedTuple("Transaction", fields)  # type: ignore[misc]
    wider.__new__.__defaults__ = ("",)
    monkeypatch.setattr(postgres, "Transaction", wider)
    for function in (postgres._claimed, postgres._to_review, postgres._record):
        assert function is not inspect.unwrap(function), "it is marked, so the import does the same"
        with pytest.raises(NotBuilt, match="builds a Transaction, and leaves out or does not know colour: give each"):
            inlined(inspect.unwrap(function))


def test_a_change_of_a_record_carries_a_new_field_over() -> None:
    assert "_replace" in inspect.unwrap(_confirmed).__code__.co_names
    assert "_replace" not in _confirmed.__code__.co_names
    assert set(Transaction._fields) - set(_confirmed.__code__.co_names) <= set(CHANGED_BY_THE_END)


CHANGED_BY_THE_END = {
    *("next_attempt_at", "lease_until", "settled_at", "gateway_reference", "reason", "owner", "review_by", "desk_by"),
}
"""Of a record that is confirmed, what is replaced without a look at it."""
