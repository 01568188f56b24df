"""Queues leave their length in AWS/SQS, so that an alarm on a dead-letter queue works.

Gap: ministack has no metrics of queues. AWS has a point per queue and minute; so has this, by the Scheduler's clock.
Only `ApproximateNumberOfMessagesVisible`, the one that alarms are put on.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Any

logger = logging.getLogger("overlay.queue_metrics")


def apply() -> None:
    """Count the messages of all queues every minute."""
    from ministack.services import cloudwatch, sqs

    seconds = 60 / float(os.environ.get("CONFIRM_SCHEDULER_SPEED", "1"))
    threading.Thread(target=_count_forever, args=(cloudwatch, sqs, seconds), name="queue-metrics", daemon=True).start()


def _count_forever(cloudwatch: Any, sqs: Any, seconds: float) -> None:
    from ministack.core.responses import set_request_account_id, set_request_region

    while True:
        time.sleep(seconds)
        try:
            for (account, region, _), queue in list(sqs._queues._data.items()):
                set_request_account_id(account)
                set_request_region(region)
                now = time.time()
                visible = sum(message["visible_at"] <= now for message in list(queue["messages"]))
                dimensions = {"QueueName": queue["name"]}
                name = "ApproximateNumberOfMessagesVisible"
                cloudwatch.record_metric("AWS/SQS", name, visible, "Count", dimensions)
        except Exception:
            logger.exception("counting messages")
