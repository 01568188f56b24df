"""The tables of what is watched, as tests and docs need them: with settings, and names in place of resources."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

from alternatives import ALTERNATIVES
from alternatives.settings import parse
from components.observability.table import Alarm, Formula, Metric, Search, Signal, Table
from components.settings import CanarySettings, Environment, Settings

CONFIG = {
    "owner": "payments",
    "costCenter": "cc-1",
    "gatewayUrl": "https://payments.example.com",
    "alarmEmail": "on-call@example.com",
}
CANARY: dict[str, Any] = {"canaryMinutes": 5, "canaryAccount": "test-account"}


class Watched(Protocol):
    """The table of an alternative for these settings, with names in place of resources."""

    def __call__(self, settings: Settings, /) -> Table: ...


def settings(alternative: str, **changes: object) -> Settings:
    return parse(CONFIG | {"alternative": alternative} | changes)


def everything(alternative: str) -> Table:
    """With every row that there is. Canaries in a stack that may sleep as well, though no config has both."""
    chosen = settings(alternative, **ALTERNATIVES[alternative].stacks().watched)
    return _table(replace(chosen, canary=CanarySettings(5, "test-account")))


def in_prod(alternative: str) -> Table:
    """That of production, with canaries."""
    return table(alternative, environment="prod", **CANARY)


def table(alternative: str, **changes: object) -> Table:
    return _table(settings(alternative, **changes))


def _table(chosen: Settings) -> Table:
    return ALTERNATIVES[chosen.alternative].watched()(chosen)


def metrics_of(row: Signal) -> list[Metric]:
    if isinstance(row.metric, Formula):
        return list(row.metric.terms.values())
    return [row.metric.metric if isinstance(row.metric, Search) else row.metric]


def alarm_cells(watched: Table, row: Signal, alarm: Alarm) -> tuple[str, ...]:
    """An alarm as a line of docs/operations.md."""
    metrics = metrics_of(row)
    names = " + ".join(dict.fromkeys(f"`{metric.name}`" for metric in metrics))
    statistic = row.metric.label.lower() if isinstance(row.metric, Formula) else metrics[0].statistic
    levels = list(dict.fromkeys(f"{alarm.level(environment):,g}" for environment in Environment))
    sign = "under " if alarm.below else ""
    pages = [f"**{page.name}**" for page in watched.pages_of(alarm)]
    return (
        f"`{alarm.name}`",
        f"{names}, {statistic}",
        f"{sign}{' / '.join(levels)} {metrics[0].unit.lower()}".replace(" none", "").replace(" count", ""),
        f"{alarm.periods} x {alarm.period // 60} min",
        "alarming" if alarm.missing.value == "breaching" else "fine",
        ", ".join(pages) or "informs",
        f"[{alarm.runbook}](runbooks/{alarm.runbook}.md)",
        row.graph,
    )
