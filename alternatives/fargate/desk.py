"""The way of the command `confirm` to the transactions of a fargate stack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cli.desk import DeskOf
from cli.postgres import OPERATOR, VIEWER, DatabaseAccess


def _way(outputs: Mapping[str, Any], environment: Mapping[str, str]) -> DatabaseAccess:
    return DatabaseAccess(
        host=str(outputs["databaseHost"]),
        port=int(outputs["databasePort"]),
        name=str(outputs["databaseName"]),
        user=environment.get("CONFIRM_DATABASE_USER") or VIEWER,
        importer=environment.get("CONFIRM_DATABASE_USER") or OPERATOR,
        url=environment.get("CONFIRM_DATABASE_URL") or None,
        ca_file=environment.get("CONFIRM_DATABASE_CA") or None,
    )


DESK = DeskOf(("databaseHost", "databasePort", "databaseName"), _way)
