"""A history stays short and loses nothing that counts: how often, since when, until when, and what people did."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.fakes import START
from workers.domain.causes import Cause, because
from workers.domain.history import History, with_line
from workers.domain.transaction import HistoryEntry, Status
from workers.stores.common import arrival

PENDING, PROCESSING, REVIEW = Status.PENDING, Status.PROCESSING, Status.REVIEW


def line(second: int, was: Status, now: Status, attempt: int = 1, why: str = "so") -> HistoryEntry:
    at = START + timedelta(seconds=second)
    return HistoryEntry(at, f"w{second}", was, now, attempt, f"t{second}", why, cause=Cause.CLAIMED)


def tries(count: int) -> list[HistoryEntry]:
    """The lines of a life, each other than the one before."""
    ways = (PENDING, PROCESSING), (PROCESSING, PENDING)
    return [arrival(START), *(line(n, *ways[n % 2 == 0], attempt=n) for n in range(1, count))]


def of(lines: list[HistoryEntry]) -> History:
    history: History = ()
    for one in lines:
        history = with_line(history, one)
    return history


@pytest.mark.parametrize("count", [59, 60])
def test_up_to_sixty_lines_a_history_is_whole(count: int) -> None:
    assert of(tries(count)) == tuple(tries(count))


@pytest.mark.parametrize("count", [61, 62, 200])
def test_beyond_sixty_lines_one_stands_for_those_between_the_first_ten_and_the_last(count: int) -> None:
    lines = tries(count)
    first, last = lines[10], lines[-50]
    gap = HistoryEntry(
        last.at,
        "history",
        first.was,
        last.now,
        last.attempt,
        None,
        because(Cause.LEFT_OUT, count=count - 59).sentence,
        count - 59,
        first.at,
        Cause.LEFT_OUT,
    )
    assert of(lines) == (*lines[:10], gap, *lines[-49:])
    assert with_line(tuple(lines[:-1]), lines[-1]) == of(lines), "as long a one as was written before there was a bound"


def test_what_is_left_out_counts_as_often_as_it_was_and_since_it_was() -> None:
    lines = tries(61)
    lines[10] = lines[10]._replace(times=5, since=START)
    assert of(lines)[10][7:9] == (6, START)


@pytest.mark.parametrize("before", [[arrival(START)], []], ids=["whole", "without its beginning"])
def test_a_try_like_the_one_before_is_counted(before: list[HistoryEntry]) -> None:
    claims = [line(10 * n, PENDING, PROCESSING) for n in range(3)]
    ends = [line(10 * n + 1, PROCESSING, PENDING) for n in range(3)]
    history = of([*before, *(one for both in zip(claims, ends, strict=True) for one in both)])
    assert history == (
        *before,
        claims[2]._replace(times=3, since=claims[0].at),
        ends[2]._replace(times=3, since=ends[0].at),
    )


@pytest.mark.parametrize(
    "way",
    [
        pytest.param([(PENDING, PROCESSING), (PROCESSING, PROCESSING)], id="a takeover is none"),
        pytest.param([(PENDING, REVIEW), (REVIEW, PENDING)], id="what people did is none"),
    ],
)
def test_nothing_is_counted_but_a_claim_and_its_end(way: list[tuple[Status, Status]]) -> None:
    lines = [line(n, *way[n % 2]) for n in range(6)]
    assert of(lines) == tuple(lines)
