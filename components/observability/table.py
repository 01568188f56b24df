"""What the table of an alternative consists of: rows, graphs, pages; and what may not stand in one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import pulumi

from components.settings import Environment, Settings
from components.worker import METRIC_NAMESPACE

Dimensions = Mapping[str, pulumi.Input[str]]
Statistic = Literal["Sum", "Maximum", "Minimum", "Average", "SampleCount", "p50", "p90", "p99"]
MINUTE = 60
DAY = 86_400
RUNBOOKS = "docs/runbooks"
"""Where an alarm's text sends its reader."""


class Severity(StrEnum):
    PAGE = "page"
    """The promise is at risk: somebody gets up. Only composite alarms do this."""
    INFORM = "inform"
    """Somebody looks on the next working day."""


class Missing(StrEnum):
    """What no data means."""

    FINE = "notBreaching"
    ALARMING = "breaching"


@dataclass(frozen=True, slots=True)
class Levels:
    """A threshold by environment."""

    dev: float
    staging: float
    prod: float

    def of(self, environment: Environment) -> float:
        return float(getattr(self, environment.value))


@dataclass(frozen=True, slots=True)
class Metric:
    name: str
    namespace: str
    dimensions: Dimensions
    statistic: Statistic
    unit: str

    @property
    def is_percentile(self) -> bool:
        return self.statistic.startswith("p")

    @property
    def label(self) -> str:
        if self.statistic == "SampleCount":
            return f"reports of {self.name}"
        if "GlobalSecondaryIndexName" in self.dimensions:
            return f"{self.name} of the index"
        return f"{self.name} {self.statistic}" if self.is_percentile else self.name


@dataclass(frozen=True, slots=True)
class Formula:
    """A metric that CloudWatch computes of others. Drawn are the others."""

    label: str
    expression: str
    terms: Mapping[str, Metric]
    """By the name that the expression gives them (a lower-case letter first)."""


@dataclass(frozen=True, slots=True)
class Search:
    """A line for each value that a dimension has: nobody knows them beforehand, so no alarm can be put on them."""

    metric: Metric
    by: str
    """The dimension, beside those of the metric."""


def ours(settings: Settings, name: str, statistic: Statistic, unit: str = "Count") -> Metric:
    """A metric from the workers' logs (embedded metric format); the same names in every alternative.

    The stack is what tells it from those of another of the same alternative and environment in the account.
    """
    dimensions = {
        "Stack": settings.stack,
        "Alternative": settings.alternative,
        "Environment": settings.environment.value,
    }
    return Metric(name, METRIC_NAMESPACE, dimensions, statistic, unit)


def billing() -> Metric:
    """What the whole account's month will cost. CloudWatch has it in us-east-1 alone, where the account has switched
    billing alerts on."""
    return Metric("EstimatedCharges", "AWS/Billing", {"Currency": "USD"}, "Maximum", "None")


@dataclass(frozen=True, slots=True)
class Alarm:
    """Raised when the row's metric is at or over the threshold (under it, where `below`) in each period."""

    name: str
    threshold: float | Levels
    period: int
    """Seconds, a multiple of 60."""
    description: str
    """What it means and what to do first; goes into the notification."""
    runbook: str
    """A file of docs/runbooks, without its `.md`."""
    periods: int = 1
    below: bool = False
    missing: Missing = Missing.FINE

    def level(self, environment: Environment) -> float:
        return self.threshold.of(environment) if isinstance(self.threshold, Levels) else self.threshold


@dataclass(frozen=True, slots=True)
class Signal:
    """What is measured, the graph that shows it, and the alarm on it."""

    metric: Metric | Formula | Search
    graph: str
    """The title of its graph."""
    alarm: Alarm | None = None


@dataclass(frozen=True, slots=True)
class Graph:
    """One graph of the dashboard; `width` of 24 columns."""

    title: str
    width: int = 8
    period: int = MINUTE
    region: str | None = None
    """Where its metrics are, if not with the stack."""


@dataclass(frozen=True, slots=True)
class Page:
    """What gets a person up: any of some alarms, unless another page tells of the cause already."""

    name: str
    any_of: tuple[str, ...]
    description: str
    """What it means and what to do first; its runbook has the page's name."""
    unless: str | None = None
    """A page."""


class TableError(ValueError):
    """The table contradicts itself; says in which rows."""


@dataclass(frozen=True, slots=True)
class Table:
    """All that one alternative watches.

    Raises:
        TableError: names each row, graph or page that cannot work.
    """

    graphs: tuple[Graph, ...]
    rows: tuple[Signal, ...]
    pages: tuple[Page, ...]

    def __post_init__(self) -> None:
        if wrong := list(self._contradictions()):
            raise TableError("; ".join(wrong))

    @property
    def alarms(self) -> tuple[tuple[Signal, Alarm], ...]:
        return tuple((row, row.alarm) for row in self.rows if row.alarm)

    def drawn(self, graph: Graph) -> list[Signal]:
        return [row for row in self.rows if row.graph == graph.title]

    def pages_of(self, alarm: Alarm) -> list[Page]:
        return [page for page in self.pages if alarm.name in page.any_of]

    def _contradictions(self) -> Iterator[str]:
        titles = {graph.title for graph in self.graphs}
        for row in self.rows:
            what = row.alarm.name if row.alarm else row.metric
            if row.graph not in titles:
                yield f"row {what}: there is no graph {row.graph!r}"
            if row.alarm and isinstance(row.metric, Search):
                yield f"alarm {row.alarm.name}: CloudWatch takes no alarm on a search"
            if row.alarm and not row.alarm.runbook:
                yield f"alarm {row.alarm.name}: has no runbook"
        for graph in self.graphs:
            if not self.drawn(graph):
                yield f"graph {graph.title!r}: has no data, for no row is placed there"
        names = Counter([alarm.name for _, alarm in self.alarms] + [page.name for page in self.pages])
        for name in (name for name, count in names.items() if count > 1):
            yield f"alarm {name}: the name is taken twice"
        known = {alarm.name for _, alarm in self.alarms}
        for page in self.pages:
            for name in page.any_of:
                if name not in known:
                    yield f"page {page.name}: there is no alarm {name}"
            if not page.any_of:
                yield f"page {page.name}: has no alarm, so it never fires"
            if page.unless == page.name:
                yield f"page {page.name}: waits for itself, so it never fires"
            if page.unless is not None and page.unless not in {other.name for other in self.pages}:
                yield f"page {page.name}: there is no page {page.unless}"
