"""Tells CloudWatch how much is due while no task of the service runs, so that scaling starts one.

A Lambda on a schedule, of fargate stacks with minTasks 0 only. It asks through the Data API: no driver, no connection
that would keep Aurora awake.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import boto3

from workers.config import Values
from workers.telemetry import Telemetry, told

RESUMING = "DatabaseResumingException"
PATIENCE = 40.0  # seconds; a paused database takes 15 to resume, 30 after a day
WAIT_SECONDS = 3.0

# As workers/stores/sql/backlog.sql has it, without what the age needs beside.
QUERY = """
SELECT count(*) FILTER (WHERE due_at <= now()) AS due,
       coalesce(extract(epoch FROM now() - min(due_at) FILTER (WHERE due_at <= now())), 0)::float8 AS age,
       (SELECT count(*) FROM transactions WHERE review_by IS NOT NULL) AS review
FROM transactions WHERE due_at IS NOT NULL
"""


@told
def publish(event: object, context: object) -> dict[str, float]:  # noqa: ARG001 - the Lambda's signature
    """The handler: one line of metrics, under the same names as the service's.

    Raises:
        ConfigError: the environment is not complete.
        botocore.exceptions.ClientError: the database cannot be asked; Lambda counts it, and an alarm sees it.
    """
    values = Values(os.environ)
    telemetry = Telemetry(values.text("METRIC_NAMESPACE"), values.text("ALTERNATIVE"), values.text("ENVIRONMENT"))
    request = {
        "resourceArn": values.text("CLUSTER_ARN"),
        "secretArn": values.text("MASTER_SECRET_ARN"),
        "database": values.text("DATABASE_NAME"),
        "sql": QUERY,
    }
    values.check()
    due, age, review = measure(boto3.client("rds-data"), request)
    telemetry.metrics(
        {
            "Backlog": (due, "Count"),
            "OldestPendingAge": (round(age, 3), "Seconds"),
            "InReview": (review, "Count"),
        },
        datetime.now(UTC),
        run="publisher",
    )
    return {"due": due, "age": age, "review": review}


def measure(
    client: Any, request: Mapping[str, str], sleep: Callable[[float], None] = time.sleep
) -> tuple[int, float, int]:
    """How many are due, the age of the oldest in seconds, and how many wait on a desk. Waits for a paused database."""
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
    due, age, review = answer["records"][0]
    return int(due["longValue"]), float(age["doubleValue"]), int(review["longValue"])
