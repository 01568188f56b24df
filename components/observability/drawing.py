"""The dashboard, drawn from the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi

from components.observability.table import MINUTE, Formula, Metric, Search, Signal, Table
from components.settings import Settings

COLOURS = {
    # the same thing has the same colour everywhere; CloudWatch chooses the others
    "Confirmed": "#2ca02c", "ExecutionsSucceeded": "#2ca02c", "Rejected": "#ff7f0e", "Retried": "#1f77b4",
    "Review": "#d62728", "InReview": "#d62728", "Errors": "#d62728", "ExecutionsFailed": "#d62728",
}  # fmt: skip


def _line(metric: Metric, label: str | None = None) -> list[Any]:
    dimensions = (part for pair in metric.dimensions.items() for part in pair)
    options = {"stat": metric.statistic, "label": label or metric.label}
    if metric.name in COLOURS:
        options["color"] = COLOURS[metric.name]
    return [metric.namespace, metric.name, *dimensions, options]


def _lines(row: Signal) -> list[list[Any]]:
    """The row as lines of a graph."""
    if isinstance(row.metric, Formula):
        return [_line(term, f"{term.label} ({name})") for name, term in row.metric.terms.items()]
    if isinstance(row.metric, Search):
        return [[{"expression": search_expression(row.metric), "label": f"${{PROP('Dim.{row.metric.by}')}}"}]]
    return [_line(row.metric)]


def search_expression(search: Search) -> pulumi.Input[str]:
    """The search as CloudWatch writes it."""
    metric = search.metric
    schema = ",".join([metric.namespace, *metric.dimensions, search.by])
    given = [f'MetricName="{metric.name}"', *(f'{name}="{value}"' for name, value in metric.dimensions.items())]
    return f"SEARCH('{{{schema}}} {' '.join(given)}', '{metric.statistic}', {MINUTE})"


def _metrics(row: Signal) -> list[Metric]:
    if isinstance(row.metric, Formula):
        return list(row.metric.terms.values())
    return [row.metric.metric if isinstance(row.metric, Search) else row.metric]


STATES, HEIGHT, NOTES = 4, 6, 4
"""Of the alarms' states, a graph and the notes, in the dashboard's units."""


def dashboard(
    table: Table, settings: Settings, region: str, alarm_arns: Sequence[pulumi.Input[str]], notes: str
) -> dict[str, object]:
    """The dashboard's body: the alarms' state, the graphs from left to right in rows of 24 columns, where to go on.

    The last graph of a row takes what the others leave of it.
    """
    bodies = [_across("alarm", 0, STATES, {"title": "Alarms", "alarms": alarm_arns})]
    x, y = 0, STATES
    for graph in table.graphs:
        if x + graph.width > 24:
            bodies[-1]["width"] += 24 - x
            x, y = 0, y + HEIGHT
        rows = table.drawn(graph)
        units = {metric.unit for row in rows for metric in _metrics(row)} - {"None"}
        limits = [
            {"label": alarm.name, "value": alarm.level(settings.environment), "color": "#d62728"}
            for row in rows
            if (alarm := row.alarm) and isinstance(row.metric, Metric) and not alarm.below
        ]
        properties: dict[str, object] = {
            "title": graph.title,
            "region": graph.region or region,
            "view": "timeSeries",
            "period": graph.period,
            "stacked": False,
            "metrics": [line for row in rows for line in _lines(row)],
            "yAxis": {"left": {"min": 0, "showUnits": False, "label": units.pop() if len(units) == 1 else ""}},
        }
        if limits:
            properties["annotations"] = {"horizontal": limits}
        bodies.append(
            {"type": "metric", "x": x, "y": y, "width": graph.width, "height": HEIGHT, "properties": properties}
        )
        x += graph.width
    bodies[-1]["width"] += 24 - x
    bodies.append(_across("text", y + HEIGHT, NOTES, {"markdown": notes}))
    return {"widgets": bodies}


def _across(kind: str, y: int, height: int, properties: dict[str, object]) -> dict[str, Any]:
    return {"type": kind, "x": 0, "y": y, "width": 24, "height": height, "properties": properties}
