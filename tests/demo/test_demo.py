"""What `make demo` shows beside the runs themselves: what was done to them, and both alternatives side by side."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

import demo
from alternatives import ALTERNATIVES
from alternatives.fargate.costs import fargate
from alternatives.fargate.demo import Fargate
from alternatives.serverless.costs import serverless
from analysis.costs import models
from demo import comparison, screen
from demo.scenario import Outcome, Watch
from demo.verdict import Check, Verdict
from tests.fakes import payment
from workers.domain.ports import Backlog
from workers.domain.transaction import Status

MODELS: dict[str, models.Model] = {"serverless": serverless, "fargate": fargate}


def outcome(alternative: str, *against: str) -> Outcome:
    verdict = Verdict((), (Check("no effect happened twice", against), Check("every one is final", ())))
    slow = {"serverless": 12.5, "fargate": 0.06}[alternative]
    times = tuple(n / 100 for n in range(1_000))
    ends = (Status.CONFIRMED, Status.REJECTED, Status.REVIEW if alternative == "fargate" else Status.CONFIRMED)
    records = tuple(payment(f"p-{n}")._replace(status=end) for n, end in enumerate(ends))
    return Outcome(alternative, verdict, records, times, (slow, slow, slow * 9), Path("x.png"))


@pytest.fixture
def shows(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Runs `main` with these outcomes instead of runs; its exit code and what it printed."""
    monkeypatch.setattr(comparison, "bill_of", lambda alternative: MODELS[alternative])

    def run(*outcomes: Outcome) -> tuple[int, str]:
        out = io.StringIO()
        coming = iter(outcomes)
        monkeypatch.setattr(screen, "console", lambda: Console(file=out, width=160))
        monkeypatch.setattr(demo, "_show", lambda *_: next(coming))
        return demo.main([one.alternative for one in outcomes]), out.getvalue()

    return run


def test_it_ends_with_both_side_by_side(shows: Callable[..., tuple[int, str]]) -> None:
    code, text = shows(outcome("serverless"), outcome("fargate"))
    assert code == 0
    lines = (re.split(" {2,}", line.strip()) for line in text.splitlines())
    rows = {line[0]: line[1:] for line in lines if len(line) > 1}
    assert rows["serverless"] == ["fargate"]
    assert rows["promises kept"] == ["2 of 2", "2 of 2"]
    assert rows["best 5 seconds here, final per second"] == ["100", "100"]
    assert rows["insert to final when quiet, median here"] == ["12.50 s", "0.06 s"]
    both = (serverless, fargate)
    assert rows["US$ a month on AWS, prod: fixed"] == [f"{models.month(model, 0).fixed:,.0f}" for model in both]
    for volume, name in ((100_000, "0.1"), (10_000_000, "10"), (100_000_000, "100")):
        assert rows[f"with {name} M transactions"] == [f"{models.month(model, volume).total:,.0f}" for model in both]
    assert all(one.scenario().better_for.split(",")[0] in text for one in ALTERNATIVES.values())
    assert "M transactions a month serverless is cheaper" in text
    assert "2 of 3 transactions ended the same way in both" in text


def test_a_broken_promise_is_counted_and_fails_the_command(shows: Callable[..., tuple[int, str]]) -> None:
    code, text = shows(outcome("serverless"), outcome("fargate", "p-1"))
    assert code == 1
    assert "1 of 2" in text


def test_one_alone_is_compared_with_nothing(shows: Callable[..., tuple[int, str]]) -> None:
    code, text = shows(outcome("fargate"))
    assert code == 0
    assert "side by side" not in text


class Rough(Fargate):
    """The scenario of the fargate demo, its deeds noted instead of done; no worker is there to kill at first."""

    pause = 0.0

    def __init__(self) -> None:
        self.left, self.tries = 100, 0
        self._plan = self.plan()

    def backlog(self) -> Backlog:
        self.left -= 1
        return Backlog(self.left, 0, None, 0)

    def tasks(self) -> int:
        return 2

    def _kill(self) -> str | None:
        self.tries += 1
        return "killed" if self.tries > 1 else None

    def _crash(self) -> str:
        return "crashed"

    def roll(self) -> str:
        return "rolled"


def test_a_kill_a_crash_and_a_roll_are_done_once_each_and_marked() -> None:
    watch = Watch()
    demo._watch(Console(file=io.StringIO()), Rough(), 100, watch)
    assert [mark.text for mark in watch.marks] == ["killed", "crashed", "rolled"]
    assert [sample.backlog for sample in watch.samples] == list(range(99, -1, -1))
    assert {sample.tasks for sample in watch.samples} == {2}
