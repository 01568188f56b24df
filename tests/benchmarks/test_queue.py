"""The pure helpers of the PostgreSQL benchmarks."""

from __future__ import annotations

import pytest

import benchmarks.__main__ as benchmarks
from benchmarks.postgres import Figure, at_least
from benchmarks.samples import Samples
from benchmarks.sql_bound import loop, with_values


def test_a_median_is_given_with_its_spread() -> None:
    assert Samples.of([3, 1, 2]).text("{:.1f}") == "2.0 (1.0..3.0)"
    with pytest.raises(ValueError, match="at least one"):
        Samples.of([])


def test_ratios_are_made_pair_by_pair() -> None:
    assert Samples.of([2, 9]).over(Samples.of([1, 3])).values == (2, 3)
    with pytest.raises(ValueError, match="argument"):
        Samples.of([1]).over(Samples.of([1, 2]))


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (0.999, 100), (1.0, 100), (0.0, 1)])
def test_a_percentile_is_one_of_the_values(share: float, value: float) -> None:
    assert Samples.of(range(1, 101)).percentile(share) == value


def test_the_median_decides() -> None:
    samples = Samples.of([0.1, 0.9, 0.9])
    assert at_least("", 0.9, samples).kept
    assert not at_least("", 0.91, samples).kept


@pytest.mark.parametrize(
    ("kept", "informs", "fails", "fails_if_strict"),
    [
        (True, True, False, False),
        (True, False, False, False),
        (False, True, False, True),  # a busy machine spoils what is timed
        (False, False, True, True),
        (None, True, False, False),  # a figure without a target
    ],
)
def test_what_is_missed_shows_and_counts_only_where_it_should(
    kept: bool | None, informs: bool, fails: bool, fails_if_strict: bool
) -> None:
    figure = Figure("what", "0.84", ">= 0.85", kept, informs)
    assert (figure.fails(), figure.fails(strict=True)) == (fails, fails_if_strict)
    marks = [figure.row(strict)[-1] for strict in (False, True)]
    assert ["MISSED" in mark for mark in marks] == [fails, fails_if_strict]
    assert all(("kept" in mark) == (kept is True) for mark in marks)


@pytest.mark.parametrize(
    ("arguments", "ran"),
    [
        ([], ["serverless", "fargate"]),
        (["--alternative", "serverless"], ["serverless"]),
        (["--alternative", "fargate"], ["fargate"]),
        (["--only", "price"], ["serverless"]),
    ],
)
def test_both_alternatives_are_measured_or_one(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], ran: list[str]
) -> None:
    called: list[str] = []

    def serverless(*_: object) -> list[str]:
        called.append("serverless")
        return []

    def fargate(*_: object, **__: object) -> list[str]:
        called.append("fargate")
        return ["a target"]

    monkeypatch.setattr(benchmarks, "_serverless", serverless)
    monkeypatch.setattr("benchmarks.postgres.report", fargate)
    monkeypatch.setattr("benchmarks.rate_limit.report", lambda *_, **__: [])
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert benchmarks.main(arguments) == ("fargate" in ran)  # what one of them missed fails the whole
    assert called == ran


def test_values_take_the_places_of_parameters() -> None:
    given = {"one": "a", "two": "b"}
    assert with_values("SELECT :two, :one::text, :two -- but not :three", given) == "SELECT b, a::text, b"
    with pytest.raises(ValueError, match=r"parameters are \['one', 'three'\], the values \['one', 'two'\]"):
        with_values("SELECT :one, :three", given)


def test_the_bound_is_made_of_the_workers_own_statements() -> None:
    statement = loop(100, limit=300)
    for part in (
        "FOR UPDATE OF t SKIP LOCKED",
        "LIMIT 100::int",
        "json_to_recordset(a_document",
        "INSERT INTO history",
    ):
        assert part in statement
    assert statement.count("COMMIT;") == 2
    assert "$1" not in statement
    assert "done >= 300" in statement
    assert "done >= done + 1" in loop(100), "without a limit it ends when nothing is due"
