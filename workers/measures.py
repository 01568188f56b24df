"""What both alternatives measure, under the same names: components/observability/ draws it and raises alarms on it.

A test holds the table of alarms and graphs to these names and units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from workers.domain.confirming import Tally
from workers.domain.pause import Pause
from workers.domain.ports import Calls, ReviewBacklog
from workers.domain.transaction import Transaction
from workers.telemetry import Metrics, Telemetry

T = TypeVar("T")
MOST = 100
"""Values that a metric of one line takes."""


def happened(metrics: Metrics) -> Metrics:
    """Those that are not zero: a metric is paid for in each hour in which it is sent, zeros too."""
    return {name: metric for name, metric in metrics.items() if metric[0]}


def of_tally(tally: Tally) -> Metrics:
    """What became of claimed transactions."""
    return happened(
        {
            "Confirmed": (tally.confirmed, "Count"),
            "Rejected": (tally.rejected, "Count"),
            "Retried": (tally.retried, "Count"),
            "Review": (tally.review, "Count"),
            "NotTried": (tally.not_tried, "Count"),
            "LostFences": (tally.lost, "Count"),
        }
    )


def of_gateway(calls: Calls, *, ready: bool, most: int = MOST) -> Metrics:
    """How long calls took (of a sample of `most`), how many went wrong, and whether the circuit breaker is open."""
    return happened(
        {
            "GatewayMs": ([round(one, 1) for one in thinned(calls.milliseconds, most)], "Milliseconds"),
            "GatewayErrors": (sum(calls.errors.values()), "Count"),
            "BreakerOpen": (0 if ready else 1, "Count"),
        }
    )


def of_desk(desk: ReviewBacklog, now: datetime, review_within: timedelta) -> Metrics:
    """How many wait for a person, and for how long the first of them has; nothing of an empty desk."""
    if not desk.count:
        return {}
    since = desk.first_review_by - review_within if desk.first_review_by else now
    return {
        "InReview": (desk.count, "Count"),
        "OldestReviewAge": (max(round((now - since).total_seconds(), 3), 0), "Seconds"),
    }


def of_orders(event: str, fields: Mapping[str, object]) -> Metrics:
    """What people have had done at the desk, and what was refused them, by the desk function's own events."""
    match event:
        case "desk exits":
            return happened({"DeskExits": (int(str(fields["newly"])), "Count")})
        case "desk refused":
            return {"DeskRefusals": (1, "Count")}
        case _:
            return {}


def of_pause(pause: Pause | None, now: datetime) -> Metrics:
    """For how long people have stopped the workers; nothing while they have not."""
    return (
        {} if pause is None else {"PausedSeconds": (max(round((now - pause.since).total_seconds(), 3), 0), "Seconds")}
    )


def of_finals(times: Sequence[float], most: int = MOST) -> Metrics:
    """How long transactions took from their creation to their end, of a sample of `most`."""
    return {"TimeToFinal": ([round(one, 2) for one in thinned(times, most)], "Seconds")}


def by_kind(telemetry: Telemetry, calls: Calls, at: datetime) -> None:
    """A line for each kind of error that there was."""
    for kind, count in calls.errors.items():
        telemetry.metrics({"GatewayErrors": (count, "Count")}, at, dimension="Kind", Kind=kind)


def by_currency(telemetry: Telemetry, desk: ReviewBacklog, at: datetime) -> None:
    """A line for each currency of the money that waits for a person: in minor units, for CloudWatch knows no money."""
    for currency, amount in desk.at_risk.items():
        telemetry.metrics({"MoneyAtRisk": (amount, "None")}, at, dimension="Currency", Currency=currency)


def seconds_to_final(records: Sequence[Transaction], most: int) -> list[float]:
    """From creation to the end, of up to `most` of a batch: each as likely as any other, for the order says nothing."""
    return [
        (record.settled_at - record.created_at).total_seconds()
        for record in thinned(records, most)
        if record.settled_at is not None and not record.is_canary
    ]


def thinned(values: Sequence[T], most: int) -> Sequence[T]:
    """Up to `most` of them, evenly spaced."""
    return values if len(values) <= most else [values[n * len(values) // most] for n in range(most)]
