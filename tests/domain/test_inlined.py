"""What a marked function builds is what it would build as it is written, and a forgotten field fails the import."""

from __future__ import annotations

import inspect
import traceback
from typing import Any, NamedTuple

import pytest

from workers.domain.inlined import NotBuilt, inlined
from workers.domain.transitions import _confirmed


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


def test_the_step_that_every_transaction_takes_is_marked() -> None:
    assert "_replace" in inspect.unwrap(_confirmed).__code__.co_names
    assert "_replace" not in _confirmed.__code__.co_names
