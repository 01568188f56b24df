"""Metric alarms as AWS evaluates them.

Gaps: ministack compares the points of *all* dimensions of a metric, looks only on a PutMetricData, knows neither
DatapointsToAlarm nor TreatMissingData, and so never leaves ALARM by itself; it forgets metric math. Here an alarm sees
the points of its own dimensions, in `EvaluationPeriods` periods that end now, and is looked at whenever a metric
arrives and every 2 s. Periods are divided by the Scheduler's speed, so that an alarm of minutes clears within a demo's
seconds. Metric math is that of scaling.py. Composite alarms are ministack's own. Alarms on anomaly bands stay as
ministack has them.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from local.overlay.clock import SPEED, every
from local.overlay.scaling import compute

LOOK_SECONDS = 2.0

_BREACHES: Mapping[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}


def apply() -> None:
    """Replace the evaluation, and look at all alarms now and then."""
    from ministack.services import cloudwatch

    original = cloudwatch._evaluate_alarm

    def values_of(metric: Mapping[str, Any], statistic: str, period: float, count: int) -> list[float | None]:
        key = (metric["Namespace"], metric["MetricName"], cloudwatch._dims_key(dimensions_of(metric)))
        points = cloudwatch._metrics.get(key) or []
        return [
            cloudwatch._stat_value(cloudwatch._calc_stats(group), statistic, group) if group else None
            for group in grouped(points, time.time(), period / SPEED, count)
        ]

    def evaluate(alarm: dict[str, Any]) -> None:
        if not (alarm.get("MetricName") or alarm.get("Metrics")) or alarm.get("ComparisonOperator") not in _BREACHES:
            original(alarm)
            return
        count = int(alarm.get("EvaluationPeriods", 1))
        if queries := alarm.get("Metrics"):
            statistic = next(query["Expression"] for query in queries if query.get("ReturnData", True))
            terms = {
                query["Id"]: values_of(stat["Metric"], stat["Stat"], float(stat["Period"]), count)
                for query in queries
                if (stat := query.get("MetricStat"))
            }
            values = [compute(statistic, {name: periods[n] for name, periods in terms.items()}) for n in range(count)]
        else:
            statistic = alarm.get("ExtendedStatistic") or alarm.get("Statistic", "Average")
            values = values_of(alarm, statistic, float(alarm.get("Period", 60)), count)
        state = judge(values, alarm)
        if state is None or state == alarm["StateValue"]:
            return
        before, seen = alarm["StateValue"], [value for value in values if value is not None]
        sign, threshold = alarm["ComparisonOperator"], alarm.get("Threshold", 0)
        reason = f"{statistic} of the last {count} periods, {seen or 'no data'}, is judged {state} ({sign} {threshold})"
        alarm.update(StateValue=state, StateReason=reason, StateUpdatedTimestamp=int(time.time()))
        cloudwatch._record_history(alarm["AlarmName"], before, state, reason)
        cloudwatch._dispatch_alarm_actions(alarm, before, state, reason)
        cloudwatch._evaluate_parent_alarms(alarm)

    put = cloudwatch._put_metric_alarm

    def put_metric_alarm(params: Any, data: Any, is_cbor: bool, is_json: bool = False) -> Any:
        answer = put(params, data, is_cbor, is_json)
        if (is_cbor or is_json) and data.get("Metrics") and (alarm := cloudwatch._alarms.get(data.get("AlarmName"))):
            alarm["Metrics"] = data["Metrics"]
            evaluate(alarm)
        return answer

    cloudwatch._evaluate_alarm = evaluate
    cloudwatch._put_metric_alarm = put_metric_alarm
    every(LOOK_SECONDS, "alarms", lambda: cloudwatch._alarms, lambda _, alarm: evaluate(alarm))


def grouped(
    points: Sequence[Mapping[str, Any]], now: float, period: float, count: int
) -> Iterator[list[Mapping[str, Any]]]:
    """The points of each of the last `count` periods, newest first."""
    for number in range(count):
        end = now - number * period
        yield [point for point in points if end - period < point["Timestamp"] <= end]


def judge(values: Sequence[float | None], alarm: Mapping[str, Any]) -> str | None:
    """OK, ALARM or INSUFFICIENT_DATA for the values of the periods (None: no data); None to stay as it is."""
    missing = alarm.get("TreatMissingData", "missing")
    breaches, threshold = _BREACHES[alarm["ComparisonOperator"]], float(alarm.get("Threshold", 0))
    needed = int(alarm.get("DatapointsToAlarm") or len(values))
    if all(value is None for value in values) and missing in ("missing", "ignore"):
        return "INSUFFICIENT_DATA" if missing == "missing" else None
    breaching = sum(missing == "breaching" if value is None else breaches(value, threshold) for value in values)
    if missing in ("missing", "ignore"):  # the periods that there are decide
        needed = min(needed, sum(value is not None for value in values))
    return "ALARM" if breaching >= needed else "OK"


def dimensions_of(metric: Mapping[str, Any]) -> dict[str, str]:
    """Of an alarm or a metric, whichever of its two ways ministack keeps them in."""
    raw = metric.get("Dimensions") or {}
    return dict(raw) if isinstance(raw, Mapping) else {item["Name"]: item["Value"] for item in raw}
