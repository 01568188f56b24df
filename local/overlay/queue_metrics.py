"""Queues leave their length in AWS/SQS, so that an alarm on a dead-letter queue works.

Gap: ministack has no metrics of queues. AWS has a point per queue and minute; so has this, by the Scheduler's clock.
Only `ApproximateNumberOfMessagesVisible`, the one that alarms are put on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from local.overlay.clock import MINUTE, every


def apply() -> None:
    """Count the messages of all queues every minute."""
    from ministack.services import cloudwatch, sqs

    def count(_: str, queue: Mapping[str, Any]) -> None:
        now = time.time()
        visible = sum(message["visible_at"] <= now for message in list(queue["messages"]))
        dimensions = {"QueueName": queue["name"]}
        cloudwatch.record_metric("AWS/SQS", "ApproximateNumberOfMessagesVisible", visible, "Count", dimensions)

    every(MINUTE, "queue-metrics", lambda: sqs._queues, count)
