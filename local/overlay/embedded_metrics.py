"""Log lines in CloudWatch's embedded metric format (EMF) become metrics.

Gap: ministack stores such lines as any other, so alarms and dashboards on them would see nothing. Covers the output of
Lambdas and PutLogEvents, since both go through one function.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

logger = logging.getLogger("overlay.embedded_metrics")


@dataclass(frozen=True)
class Datum:
    """Values of one metric from one line; `at` in seconds since 1970."""

    namespace: str
    name: str
    dimensions: dict[str, str]
    unit: str
    at: float
    values: list[float]


def apply() -> None:
    """Wrap the storing of log events."""
    from ministack.services import cloudwatch, cloudwatch_logs

    original = cloudwatch_logs._append_log_events

    def append(stream: Any, events: list[dict[str, Any]]) -> None:
        original(stream, events)
        data = [datum for event in events for datum in read(str(event.get("message", "")))]
        for datum in data:
            cloudwatch._store_datum(
                *(datum.namespace, datum.name, datum.dimensions, datum.at, datum.unit, None, datum.values, None, None)
            )
        if data:
            cloudwatch._evaluate_all_alarms()

    cloudwatch_logs._append_log_events = append


def read(line: str) -> Iterator[Datum]:
    """The metrics of a line; none of a line in any other format, or of one that breaks the format (as on AWS)."""
    if '"_aws"' not in line or '"CloudWatchMetrics"' not in line:
        return
    try:
        document = json.loads(line[line.index("{") :])
        at = float(document["_aws"].get("Timestamp", time.time() * 1000)) / 1000
        for directive in document["_aws"]["CloudWatchMetrics"]:
            for metric in directive["Metrics"]:
                raw = document[metric["Name"]]
                values = [float(value) for value in (raw if isinstance(raw, list) else [raw])]
                for names in directive.get("Dimensions") or [[]]:
                    dimensions = {name: str(document[name]) for name in names}
                    unit = metric.get("Unit", "None")
                    yield Datum(directive["Namespace"], metric["Name"], dimensions, unit, at, values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        logger.warning("not valid EMF (%s: %s): %.200s", type(error).__name__, error, line)
