"""An Aurora cluster leaves in AWS/RDS what its real PostgreSQL knows: connections, deadlocks, transaction ids in use.

Gap: ministack has no metrics of databases. AWS has a point per cluster and minute; so has this, by the Scheduler's
clock, except while the server is down. What only Aurora has (capacity, the time of a commit, readers) is not there.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local.overlay.clock import MINUTE, every
from local.overlay.rds_postgres import FOLDER, POSTGRES
from local.postgres import Postgres

logger = logging.getLogger("overlay.rds_metrics")

LOOK = """
SELECT numbackends, deadlocks, (SELECT max(age(datfrozenxid)) FROM pg_database)
FROM pg_stat_database WHERE datname = $1
"""


def apply() -> None:
    """Look at the database of each cluster every minute."""
    if not (folder := os.environ.get(FOLDER)):
        return
    from ministack.services import cloudwatch, rds

    deadlocks: dict[str, int] = {}

    def look(name: str, cluster: Mapping[str, Any]) -> None:
        if not str(cluster.get("Engine", "")).endswith(POSTGRES):
            return
        try:
            found = asyncio.run(_look(Path(folder), cluster))
        except Exception as error:  # it is down, or just begins
            logger.debug("%s: %s", name, error)
            return
        if found is None:
            return
        connections, ended, ids = found
        for metric, value, unit in (
            ("DatabaseConnections", connections, "Count"),
            ("MaximumUsedTransactionIDs", ids, "Count"),
            ("Deadlocks", max(ended - deadlocks.get(name, ended), 0) / MINUTE, "Count/Second"),
        ):
            cloudwatch.record_metric("AWS/RDS", metric, value, unit, {"DBClusterIdentifier": name})
        deadlocks[name] = ended

    every(MINUTE, "rds-metrics", lambda: rds._clusters, look)


async def _look(folder: Path, cluster: Mapping[str, Any]) -> Any:
    """From another database, so that this look counts as no connection of the cluster's."""
    import asyncpg

    connection = await asyncpg.connect(Postgres.running(folder).url(database="postgres"), timeout=5)
    try:
        return await connection.fetchrow(LOOK, cluster["DatabaseName"])
    finally:
        await connection.close()
