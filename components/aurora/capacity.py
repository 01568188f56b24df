"""What a size of Aurora Serverless v2 holds; docs/capacity.md shows it as a table."""

from __future__ import annotations

CONNECTIONS = {1: 189, 4: 823, 8: 1_669, 16: 3_360, 32: 5_000}
"""Most capacity in ACU -> connections: AWS's table of `max_connections` in "Performance and scaling for Aurora
Serverless v2". It follows the highest capacity, not that of the moment; sizes between two have the lower's at least."""
SMALL, SMALL_CONNECTIONS = 0.5, 2_000
"""A least capacity of so many ACU, or of fewer, allows so many connections at most (AWS, the same page)."""
CONNECTIONS_PER_TASK = 6
"""What a worker opens at most (`CONNECTIONS` of workers/service/__main__.py; a test holds both together)."""
SPARE_CONNECTIONS = 20
"""For migrations, operators, and AWS's own."""
CACHE_BYTES = 1_500_000_000
"""Of the 2 GiB of each ACU, what PostgreSQL keeps pages in."""
OPEN_ROW_BYTES = 570
"""Of an open transaction with its entries in three indexes; a test measures it on PostgreSQL."""


def connections_per_task(canaries: bool) -> int:
    """Those of a worker, and where there are canaries one more, for these come as another user."""
    return CONNECTIONS_PER_TASK + canaries


def connections(least: float, most: float) -> int:
    """How many connections a database between `least` and `most` ACU accepts."""
    fit = max((number for size, number in CONNECTIONS.items() if size <= most), default=int(CONNECTIONS[1] * most))
    return min(fit, SMALL_CONNECTIONS) if least <= SMALL else fit


def tasks(least: float, most: float, each: int = CONNECTIONS_PER_TASK) -> int:
    """How many tasks with `each` so many connections it has room for; a deployment runs twice as many for a while."""
    return max(0, connections(least, most) - SPARE_CONNECTIONS) // (2 * each)


def open_rows(units: float) -> int:
    """How many open transactions half of the cache of so many ACU holds; the other half is for what was settled."""
    return int(units * CACHE_BYTES / 2 / OPEN_ROW_BYTES)
