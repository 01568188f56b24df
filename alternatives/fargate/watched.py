"""What is watched of the fargate alternative, with names in place of resources."""

from __future__ import annotations

from components.fargate import observability
from components.fargate.settings import ServiceSettings
from components.observability.table import Table
from components.settings import Settings


def table(settings: Settings) -> Table:
    asleep = ("publisher", "queue", "group") if settings.part(ServiceSettings).min_tasks == 0 else ()
    sources = observability.Sources("cluster", "service", "database", ["one"], "rule", *asleep)
    return observability.table(settings, observability.Metrics(settings, sources), 15)
