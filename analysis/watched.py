"""The two tables of what is watched, as tests and docs need them: with settings, and names in place of resources."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from alternatives.settings import parse
from components.fargate import observability as fargate
from components.fargate.settings import ServiceSettings
from components.observability.table import Alarm, Formula, Metric, Row, Search, Table
from components.serverless import observability as serverless
from components.settings import CanarySettings, Environment, Settings

CONFIG = {
    "owner": "payments",
    "costCenter": "cc-1",
    "gatewayUrl": "https://payments.example.com",
    "alarmEmail": "on-call@example.com",
}
CANARY: dict[str, Any] = {"canaryMinutes": 5, "canaryAccount": "test-account"}
EVERYTHING: dict[str, dict[str, Any]] = {
    "serverless": {"schedule": "rate(1 minute)"},
    "fargate": {"databaseInstances": 2, "databaseInsights": "standard", "minCapacityUnits": "2", "minTasks": 0},
}
"""Config with which a table has every row that there is, but for canaries."""


def settings(alternative: str, **changes: object) -> Settings:
    return parse(CONFIG | {"alternative": alternative} | changes)


def everything(alternative: str) -> Table:
    """With every row that there is. Canaries in a stack that may sleep as well, though no config has both."""
    chosen = settings(alternative, **EVERYTHING[alternative])
    return _table(replace(chosen, canary=CanarySettings(5, "test-account")))


def in_prod(alternative: str) -> Table:
    """That of production, with canaries."""
    return table(alternative, environment="prod", **CANARY)


def table(alternative: str, **changes: object) -> Table:
    return _table(settings(alternative, **changes))


def _table(chosen: Settings) -> Table:
    if chosen.alternative == "serverless":
        functions = {name: name for name in ("plan", "confirm", "report")}
        return serverless.table(chosen, serverless.Sources("arn:run", "group", "queue", "table", "pending", functions))
    asleep = ("publisher", "queue", "group") if chosen.part(ServiceSettings).min_tasks == 0 else ()
    sources = fargate.Sources("cluster", "service", "database", ["one"], "rule", *asleep)
    return fargate.table(chosen, fargate.Metrics(chosen, sources), 15)


def metrics_of(row: Row) -> list[Metric]:
    if isinstance(row.metric, Formula):
        return list(row.metric.terms.values())
    return [row.metric.metric if isinstance(row.metric, Search) else row.metric]


def alarm_cells(watched: Table, row: Row, alarm: Alarm) -> tuple[str, ...]:
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
