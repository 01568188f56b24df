"""A stack's dashboard as a picture: what is deployed, drawn from its JSON with the metrics of the local AWS.

Each widget is drawn as CloudWatch does: its lines, its alarms' thresholds, the states of the alarms, its text. What
only AWS measures (Aurora's capacity, a task's CPU, the bill) has no data here, and the picture says so.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

COLUMN, UNIT = 0.78, 0.44
"""Inches of a column and of a unit of height."""
SECONDS = 5
"""Of a point: a minute is shorter on the local AWS."""
INK, PALE, GRID, LIMIT = "#16191f", "#687078", "#e3e6e8", "#d62728"
STATES = {"OK": "#2ca02c", "ALARM": LIMIT, "INSUFFICIENT_DATA": "#9aa5ad"}
LINES = ("#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#17becf", "#bcbd22")
_SEARCH = re.compile(r"SEARCH\('\{(?P<schema>[^}]+)\} (?P<given>[^']+)', '(?P<stat>\w+)', \d+\)")


@dataclass(frozen=True)
class Line:
    """One line of a graph: seconds from the start, and values."""

    label: str
    colour: str | None
    times: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True)
class Source:
    """Where the figures come from."""

    cloudwatch: Any
    """boto3's client."""
    began: datetime
    ended: datetime

    def body(self, name: str) -> list[dict[str, Any]]:
        """The widgets of a dashboard, as deployed."""
        answer = self.cloudwatch.get_dashboard(DashboardName=name)
        widgets: list[dict[str, Any]] = json.loads(answer["DashboardBody"])["widgets"]
        return widgets

    def states(self, arns: Sequence[str]) -> list[tuple[str, str]]:
        """Name and state of each alarm."""
        names = [arn.rpartition(":alarm:")[2] for arn in arns]
        answer = self.cloudwatch.describe_alarms(AlarmNames=names, AlarmTypes=["MetricAlarm", "CompositeAlarm"])
        found = {one["AlarmName"]: one["StateValue"] for one in (*answer["MetricAlarms"], *answer["CompositeAlarms"])}
        return [(name, found.get(name, "INSUFFICIENT_DATA")) for name in names]

    def lines(self, widget: Mapping[str, Any]) -> Iterator[Line]:
        """What a graph shows; a search gives a line for each metric that it finds."""
        for metric in widget["properties"]["metrics"]:
            options = metric[-1] if isinstance(metric[-1], dict) else {}
            if "expression" in options:
                yield from self._found(options["expression"])
            else:
                names = [part for part in metric if isinstance(part, str)]
                dimensions = dict(zip(names[2::2], names[3::2], strict=True))
                times, values = self._points(names[0], names[1], dimensions, options["stat"])
                yield Line(options.get("label", names[1]), options.get("color"), times, values)

    def _found(self, expression: str) -> Iterator[Line]:
        search = _SEARCH.fullmatch(expression)
        if search is None:
            raise ValueError(f"{expression!r} is no search that is known here")
        namespace, *schema = search["schema"].split(",")
        given = dict(re.findall(r'(\w+)="([^"]*)"', search["given"]))
        name, (by,) = given.pop("MetricName"), [one for one in schema if one not in given]
        pages = self.cloudwatch.get_paginator("list_metrics").paginate(Namespace=namespace, MetricName=name)
        for metric in (metric for page in pages for metric in page["Metrics"]):
            dimensions = {one["Name"]: one["Value"] for one in metric["Dimensions"]}
            if set(dimensions) == set(schema) and given.items() <= dimensions.items():
                yield Line(dimensions[by], None, *self._points(namespace, name, dimensions, search["stat"]))

    def _points(
        self, namespace: str, name: str, dimensions: Mapping[str, str], stat: str
    ) -> tuple[list[float], list[float]]:
        given = [{"Name": key, "Value": value} for key, value in dimensions.items()]
        metric = {"Namespace": namespace, "MetricName": name, "Dimensions": given}
        query = {"Id": "m", "MetricStat": {"Metric": metric, "Period": SECONDS, "Stat": stat}}
        answer = self.cloudwatch.get_metric_data(
            MetricDataQueries=[query], StartTime=self.began, EndTime=self.ended, ScanBy="TimestampAscending"
        )
        (result,) = answer["MetricDataResults"]
        at = [(moment.astimezone(UTC) - self.began).total_seconds() for moment in result["Timestamps"]]
        return at, list(result["Values"])


def draw(name: str, source: Source, file: Path) -> int:
    """Write the picture of the dashboard; returns how many of its graphs have data."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyBboxPatch

    widgets = source.body(name)
    height = max(widget["y"] + widget["height"] for widget in widgets) + 2
    figure = Figure(figsize=(24 * COLUMN, height * UNIT), facecolor="#f2f3f3")
    figure.text(0.012, 1 - 0.9 / height, name, fontsize=19, fontweight="bold", color=INK, va="center")
    when = f"{source.began:%Y-%m-%d %H:%M:%S} to {source.ended:%H:%M:%S} UTC, a point every {SECONDS} s"
    figure.text(0.988, 1 - 0.9 / height, when, fontsize=11, color=PALE, va="center", ha="right")
    drawn = 0
    for widget in widgets:
        left, width = widget["x"] / 24, widget["width"] / 24
        tall = widget["height"] / height
        bottom = 1 - (widget["y"] + 2) / height - tall + 0.2 / height
        card = FancyBboxPatch(
            (left + 0.004, bottom + 0.0008),
            width - 0.008,
            tall - 0.25 / height,
            boxstyle="square,pad=0",
            transform=figure.transFigure,
            facecolor="white",
            edgecolor="#d5dbdb",
            zorder=-1,
            linewidth=0.8,
        )
        figure.patches.append(card)
        top = bottom + tall - 0.25 / height
        title = widget["properties"].get("title", "")
        figure.text(left + 0.012, top - 0.55 / height, title, fontsize=11.5, fontweight="bold", color=INK, va="center")
        if widget["type"] == "metric":
            area = (left + 0.035, bottom + 1.65 / height, width - 0.055, tall - 3.15 / height)
            drawn += _graph(figure, area, widget["properties"], list(source.lines(widget)), source)
        elif widget["type"] == "alarm":
            _states(figure, widget, bottom, tall, height, source.states(widget["properties"]["alarms"]), name)
        else:
            _text(figure, left, top, height, widget["properties"]["markdown"])
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=80)
    return drawn


def _graph(figure: Any, area: Any, properties: Mapping[str, Any], lines: Sequence[Line], source: Source) -> bool:
    axes = figure.add_axes(area)
    axes.set_facecolor("white")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#aab7b8")
    axes.tick_params(colors=PALE, labelsize=8.5, length=0)
    axes.tick_params(axis="x", pad=6)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlim(0, (source.ended - source.began).total_seconds())
    unit = properties["yAxis"]["left"]["label"]
    axes.set_title(unit, loc="left", fontsize=8.5, color=PALE, pad=4)
    colours = iter(LINES * 3)
    shown = [line for line in lines if line.values]
    for line in shown:
        colour = line.colour or next(colours)
        mark = "o" if len(line.values) < 3 else None
        axes.plot(line.times, line.values, color=colour, linewidth=1.7, label=line.label, marker=mark, markersize=4)
    if not shown:
        axes.set_yticks([])
        words = "no data: nothing of the kind happened, or AWS alone measures it"
        axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", color=PALE, fontsize=9.5)
        for line in lines:
            axes.plot([], [], color=line.colour or next(colours), linewidth=1.7, label=line.label)
    highest = max((value for line in shown for value in line.values), default=0)
    if shown:
        axes.set_ylim(0, max(highest * 1.18, 1e-9) if highest else 1)
        axes.yaxis.set_major_formatter(_short)
    limits = properties.get("annotations", {}).get("horizontal", ())
    for limit in limits:
        label = f"{limit['label']}: {_short(limit['value'])}"
        if shown and limit["value"] <= axes.get_ylim()[1]:
            axes.axhline(limit["value"], color=LIMIT, linewidth=1.1, linestyle=(0, (5, 3)), label=label)
        else:
            axes.plot([], [], color=LIMIT, linewidth=1.1, linestyle=(0, (5, 3)), label=f"{label} (above)")
    ticks = axes.get_xticks()
    axes.set_xticks([tick for tick in ticks if 0 <= tick <= axes.get_xlim()[1]])
    axes.xaxis.set_major_formatter(lambda seconds, _: f"{source.began + timedelta(seconds=seconds):%M:%S}")
    if labels := axes.get_legend_handles_labels()[1]:
        _legend(figure, axes, area, labels)
    return bool(shown)


def _legend(figure: Any, axes: Any, area: Any, labels: Sequence[str]) -> None:
    """Below the graph, in as many columns as its longest label leaves room for; a third row takes it from the graph."""
    points = 7 if len(labels) > 4 and area[2] < 0.4 else 8.3
    inches = area[2] * figure.get_figwidth()
    each = max(map(len, labels)) * points * 0.0083 + 0.4
    columns = min(4, len(labels), max(int(inches / each), 1))
    rows = -(-len(labels) // columns)
    left, bottom, width, height = area
    more = max(rows - 2, 0) * points * 1.45 / 72 / figure.get_figheight()
    axes.set_position((left, bottom + more, width, height - more))
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(-0.01, -0.18 * height / (height - more)),
        ncol=columns,
        frameon=False,
        fontsize=points,
        labelcolor=INK,
        handlelength=1.2,
        columnspacing=1.2,
    )


def _states(
    figure: Any, widget: Mapping[str, Any], bottom: float, tall: float, height: float, states: Any, prefix: str
) -> None:
    """The alarms' states as chips, the pages first."""
    columns = 9
    rows = -(-len(states) // columns)
    high = min(1.0, (widget["height"] - 1.6) / rows) / height
    for number, (name, state) in enumerate(states):
        x = 0.014 + (number % columns) * (0.974 / columns)
        y = bottom + tall - (1.75 / height) - (number // columns) * high
        figure.text(x, y, "■", color=STATES[state], fontsize=13, va="center")
        figure.text(x + 0.013, y, name.removeprefix(f"{prefix}-"), color=INK, fontsize=9.5, va="center")


def _text(figure: Any, left: float, top: float, height: float, markdown: str) -> None:
    for number, line in enumerate(markdown.splitlines()):
        heading = line.startswith("#")
        words = textwrap.shorten(line.lstrip("#* ").replace("`", ""), 190)
        figure.text(
            left + 0.012,
            top - (0.45 + 0.56 * number) / height,
            words if heading else f"•  {words}",
            fontsize=11.5 if heading else 9.5,
            fontweight="bold" if heading else "normal",
            parse_math=False,
            color=INK,
            va="center",
        )


def _short(value: float, _: object = None) -> str:
    """1,234,567 as 1.2M, as axes have it."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"
