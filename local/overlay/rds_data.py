"""The Data API asks the real PostgreSQL behind an Aurora cluster (local/overlay/rds_postgres.py).

Gap: without Docker ministack's Data API answers a few statements by heart and refuses all others. Here a statement runs
on the cluster's server, as the user of the secret, with parameters that are texts. What nobody here uses is refused by
name: parameters of other kinds, transactions.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from local.overlay.rds_postgres import FOLDER, POSTGRES

CONNECT_SECONDS = 5.0
MISSING = ("transactionId",)
_NAME = re.compile(r"(?<![:\w]):([A-Za-z_]\w*)")
"""Of a parameter: no cast (`::`)."""


def apply() -> None:
    """Wrap the service's one entrance; it refuses as before: no cluster, no instance, no endpoint, no secret."""
    if not os.environ.get(FOLDER):
        return
    from ministack.services import rds_data

    original = rds_data.handle_request

    async def handle_request(method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:
        try:
            given = json.loads(body or b"{}")
        except ValueError:
            given = {}
        instance, engine, cluster = rds_data._resolve_target(given.get("resourceArn") or "")
        ready = instance and cluster and cluster.get("HttpEndpointEnabled") and str(engine).endswith(POSTGRES)
        if path != "/Execute" or not ready or not given.get("sql") or not given.get("secretArn"):
            return await original(method, path, headers, body, query)
        user, password, refusal = rds_data._require_secret_credentials(given["secretArn"])
        if refusal:
            return refusal
        if missing := [name for name in MISSING if given.get(name)]:
            return rds_data._error("BadRequestException", f"The local AWS runs statements without {missing[0]}.")
        try:
            sql, texts = numbered(given["sql"], given.get("parameters") or [])
        except (KeyError, TypeError) as error:
            return rds_data._error("BadRequestException", f"The local AWS takes texts for parameters alone: {error}")
        where = cluster["Endpoint"], cluster["Port"], given.get("database") or "postgres"
        return await answer(sql, user, password, *where, texts=texts)

    rds_data.handle_request = handle_request


def numbered(sql: str, parameters: Sequence[Mapping[str, Any]]) -> tuple[str, list[str]]:
    """The statement as PostgreSQL takes it, and the texts in their order.

    Raises:
        KeyError: a parameter is missing, or no text.
    """
    given = {str(one["name"]): str(one["value"]["stringValue"]) for one in parameters}
    names = list(dict.fromkeys(_NAME.findall(sql)))
    return _NAME.sub(lambda found: f"${names.index(found[1]) + 1}::text", sql), [given[name] for name in names]


async def answer(
    sql: str, user: str, password: str, host: str, port: int, database: str, *, texts: Sequence[str] = ()
) -> Any:
    """One statement on a connection of its own, as on AWS without a transaction."""
    import asyncpg
    from ministack.core.responses import json_response
    from ministack.services import rds_data

    try:
        connection = await asyncpg.connect(
            host=host, port=port, user=user, password=password, database=database, timeout=CONNECT_SECONDS
        )
        try:
            statement = await connection.prepare(sql)
            rows = await statement.fetch(*texts)
            return json_response(fields(rows, statement.get_statusmsg()))
        finally:
            await connection.close()
    except asyncpg.PostgresConnectionError as error:
        return rds_data._transient_database_error(str(error))
    except asyncpg.PostgresError as error:
        return rds_data._sql_execution_error(error)
    except OSError as error:  # TimeoutError too
        return rds_data._transient_database_error(f"Database endpoint is not available: {error}")


def fields(rows: list[Mapping[str, Any]], status: str) -> dict[str, Any]:
    """The API's answer; `status` is PostgreSQL's, as `INSERT 0 3`."""
    from ministack.services import rds_data

    verb, _, count = status.rpartition(" ")
    return {
        "numberOfRecordsUpdated": int(count) if count.isdigit() and verb != "SELECT" else 0,
        "generatedFields": [],
        "records": [[rds_data._field_value(value) for value in row.values()] for row in rows],
    }
