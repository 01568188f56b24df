"""Deadlines pass in every moment of a life, and it is counted in which."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from simulation.journal import Journal
from simulation.life import START
from simulation.moments import deadlines

STORY = (
    (10, "adds"), (20, "PENDING -> PROCESSING"), (21, "FAULT pause"), (28, "asks"), (30, "ask: NotFound"),
    (35, "sends"), (40, "confirm: Unknown"), (45, "PROCESSING -> PENDING"), (50, "PENDING -> PROCESSING"),
    (60, "ask: Confirmed"),
    (70, "PROCESSING -> CONFIRMED"),
)  # fmt: skip


@pytest.mark.parametrize(("second", "phase"), [
    (5, "it has not come yet"), (15, "it waits"), (25, "it is held"), (29, "it is asked about"), (38, "it is sent"),
    (42, "an answer is on its way to the datastore"), (47, "it waits"), (80, "it is final"),
])  # fmt: skip
def test_the_moment_of_a_deadline_is_told(second: float, phase: str) -> None:
    seconds = 0.0
    journal = Journal(lambda: seconds)
    for seconds, what in STORY:  # noqa: B007 - the journal's clock
        journal.tell("w", what, "t0")
        journal.tell("w", "sends", "t1")
    due = START + timedelta(seconds=second)
    assert deadlines(journal, [("t0", due)], START) == Counter({f"deadline passes while {phase}": 1})
