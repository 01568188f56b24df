"""The pure helpers of the benchmark of the rate limit."""

from __future__ import annotations

import pytest

from benchmarks.rate_limit import Calls, fair, kept, used


def test_the_most_of_any_second_wherever_it_begins() -> None:
    steady = [(n / 8, "w") for n in range(50)]
    assert Calls(steady).most() == 8
    assert Calls([*steady, (2.999, "w")]).most() == 9
    assert Calls([(0.0, "a"), (0.999, "b"), (1.0, "c"), (1.998, "d")]).most() == 3
    assert Calls([]).most() == 0


def test_more_than_the_limit_fails_and_the_gateways_clock_may_be_off_by_two_per_cent() -> None:
    calls = Calls([(n / 128, "w") for n in range(400)])
    assert kept("", calls, 126).kept
    missed = kept("", calls, 125)
    assert missed.fails(), "counted: it decides the exit code"


def test_use_and_fairness_are_of_the_time_looked_at() -> None:
    calls = Calls([(n / 100, "a" if n % 3 else "b") for n in range(1000)])
    assert calls.used(100, 2, 8) == pytest.approx(1)
    assert used("", calls, 103, 2, 8).kept
    assert not used("", calls, 104, 2, 8).kept
    assert not used("", calls, 104, 2, 8).fails(), "timed: it informs"
    assert calls.unfair(0, 10) == pytest.approx(1 / 3, abs=0.01)
    assert not fair("", calls, 0, 10).kept
    assert calls.first() == {"b": 0, "a": 0.01}
