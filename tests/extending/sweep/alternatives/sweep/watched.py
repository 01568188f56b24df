"""What is watched of the sweep alternative, with names in place of resources."""

from __future__ import annotations

from components.sweep import observability  # type: ignore[import-not-found, import-untyped, unused-ignore]

from components.observability.table import Table
from components.settings import Settings


def table(settings: Settings) -> Table:
    watched: Table = observability.table(settings, observability.Sources("function", "group", "queue"))
    return watched
