"""What docs/capacity.md says that a database holds, measured."""

from __future__ import annotations

import re
from typing import Any, cast

import pytest

from components.aurora import capacity
from tests.contract.conftest import Database
from tests.docs.markdown import ROOT
from tests.fakes import run
from workers.service import __main__ as service

ROWS = 20_000


def test_an_open_transaction_takes_as_much_memory_as_we_say(database: Database) -> None:
    async def measure() -> float:
        async with database.pool.acquire() as connection:
            await connection.execute(
                "INSERT INTO transactions (id, account, amount, currency) SELECT 'order-2026-11-24-' || n, "
                f"'DE89370400440532013000', n, 'EUR' FROM generate_series(1, {ROWS}) n"
            )
            size = await connection.fetchval("SELECT pg_total_relation_size('transactions')")
        return cast(int, size) / ROWS

    measured: Any = run(measure())
    assert measured == pytest.approx(capacity.OPEN_ROW_BYTES, rel=0.1), measured


def test_a_worker_opens_as_many_connections_as_the_settings_count_with() -> None:
    assert service.CONNECTIONS == capacity.CONNECTIONS_PER_TASK


def test_connections_are_those_of_awss_table() -> None:
    found = {size: capacity.connections(*size) for size in ((0.5, 1), (0.5, 16), (1, 16), (2, 32), (0, 64), (8, 12))}
    assert found == {(0.5, 1): 189, (0.5, 16): 2000, (1, 16): 3360, (2, 32): 5000, (0, 64): 2000, (8, 12): 1669}


def test_the_page_says_what_the_code_counts_with() -> None:
    text = " ".join((ROOT / "docs/capacity.md").read_text().split())
    for figure in (
        f"opens up to {capacity.CONNECTIONS_PER_TASK} connections",
        f"at {capacity.OPEN_ROW_BYTES} bytes each",
        f"allows {capacity.SMALL_CONNECTIONS:,} at most",
    ):
        assert re.search(re.escape(figure), text), figure
