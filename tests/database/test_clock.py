"""The worker's clock is the database's: whatever somebody does to the machine's own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import time

import pytest

from tests.contract.conftest import Database, database
from tests.fakes import run
from workers.database import clock as module
from workers.database.clock import DatabaseClock

__all__ = ["database"]


@pytest.mark.parametrize("jump", [3600, -3600, 86_400 * 365])
def test_a_clock_that_jumps_moves_no_lease(database: Database, monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    monkeypatch.setattr(module, "time", lambda: time() + jump)  # wrong before it starts
    clock = DatabaseClock()
    run(clock.synchronise(database.pool))
    monkeypatch.setattr(module, "time", lambda: time() - jump)  # and set again while it runs
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(minutes=1)
    earlier = clock.now()
    run(clock.synchronise(database.pool))
    assert abs(clock.now() - earlier) < timedelta(minutes=1)
