"""What is watched of the serverless alternative, with names in place of resources."""

from __future__ import annotations

from components.observability.table import Table
from components.serverless import observability
from components.settings import Settings


def table(settings: Settings) -> Table:
    functions = {name: name for name in ("plan", "confirm", "report")}
    sources = observability.Sources("arn:run", "group", "queue", "table", "pending", functions)
    return observability.table(settings, sources)
