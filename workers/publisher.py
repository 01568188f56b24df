"""Tells CloudWatch how much is due while no task of the service runs, so that scaling starts one.

A Lambda on a schedule, of fargate stacks with minTasks 0 only. It asks through the Data API: no driver, no connection
that would keep Aurora awake. It comes as confirm_publisher, a role that sees what is counted here and no more.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import boto3

from workers import measures
from workers.config import Values
from workers.config import telemetry as telemetry_of
from workers.domain.ports import ReviewBacklog
from workers.telemetry import failures_logged

RESUMING = "DatabaseResumingException"
PATIENCE = 40.0  # seconds; a paused database takes 15 to resume, 30 after a day
WAIT_SECONDS = 3.0

# As workers/stores/sql/backlog.sql and desk.sql have it, in one look.
QUERY = """
WITH desk AS (
    SELECT review_by, currency, amount
    FROM payments
    WHERE review_by IS NOT NULL
)
SELECT count(*) FILTER (WHERE due_at <= now()) AS due,
       coalesce(extract(epoch FROM now() - min(due_at) FILTER (WHERE due_at <= now() AND due_at > '0001-01-02')),
                0)::float8 AS age,
       (SELECT count(*) FROM desk) AS review,
       (SELECT coalesce(extract(epoch FROM now() - min(review_by)), 0)::float8
        FROM desk WHERE review_by BETWEEN '0001-01-02' AND '9999-01-01') AS overdue,
       (SELECT coalesce(json_object_agg(currency, amount), '{}')::text
        FROM (SELECT currency, sum(amount) AS amount FROM desk GROUP BY 1) AS sums) AS at_risk
FROM transactions WHERE due_at IS NOT NULL
"""


class Measured(NamedTuple):
    """What is due, the age of the oldest in seconds, and what waits for a person."""

    due: int
    age: float
    review: int
    overdue: float
    """Seconds since the nearest deadline of those; negative before it."""
    at_risk: Mapping[str, int]


@failures_logged
def publish(event: object, context: object) -> dict[str, float]:  # noqa: ARG001 - the Lambda's signature
    """The handler: one line of metrics, under the same names as the service's.

    Raises:
        ConfigError: the environment is not complete.
        botocore.exceptions.ClientError: the database cannot be asked; Lambda counts it, and an alarm sees it.
    """
    values = Values(os.environ)
    telemetry = telemetry_of(values)
    request = {
        "resourceArn": values.text("CLUSTER_ARN"),
        "secretArn": values.text("PUBLISHER_SECRET_ARN"),
        "database": values.text("DATABASE_NAME"),
        "sql": QUERY,
    }
    review_within = values.seconds("REVIEW_SECONDS")
    values.check()
    found, now = measure(boto3.client("rds-data"), request), datetime.now(UTC)
    first = now - timedelta(seconds=found.overdue) if found.review else None
    desk = ReviewBacklog(found.review, first, found.at_risk)
    telemetry.metrics(
        {
            "Backlog": (found.due, "Count"),
            "OldestPendingAge": (round(found.age, 3), "Seconds"),  # zeros too: scaling ends on them
            **measures.of_desk(desk, now, review_within),
        },
        now,
        run="publisher",
    )
    measures.by_currency(telemetry, desk, now)
    return {"due": found.due, "age": found.age, "review": found.review}


def measure(client: Any, request: Mapping[str, str], sleep: Callable[[float], None] = time.sleep) -> Measured:
    """Ask the database. Waits for a paused one."""
    waited = 0.0
    while True:
        try:
            answer = client.execute_statement(**request)
            break
        except client.exceptions.ClientError as error:
            if error.response["Error"]["Code"] != RESUMING or waited >= PATIENCE:
                raise
        sleep(WAIT_SECONDS)
        waited += WAIT_SECONDS
    due, age, review, overdue, at_risk = answer["records"][0]
    return Measured(
        int(due["longValue"]),
        float(age["doubleValue"]),
        int(review["longValue"]),
        float(overdue["doubleValue"]),
        json.loads(at_risk["stringValue"]),
    )
