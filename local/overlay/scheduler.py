"""EventBridge Scheduler: faster minutes, punctual starts, its context in the input, retries and the dead-letter queue.

Gaps: ministack fires up to 10 s late, sends `<aws.scheduler.scheduled-time>` and its like as they stand, forgets a
target that could not be started, and has no metrics in AWS/Scheduler. And a demo cannot wait for minutes: with
CONFIRM_SCHEDULER_SPEED=6 a `rate(1 minute)` fires every 10 s, and so do the waits between retries shrink. `cron` and
`at` keep to the clock on the wall.
"""

from __future__ import annotations

import contextvars
import json
import logging
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from local.overlay import access
from local.overlay.clock import SPEED

logger = logging.getLogger("overlay.scheduler")

TICK_SECONDS = 0.5
"""Between two looks at what is due."""

DEFAULT_RETRIES, DEFAULT_AGE = 185, 86_400
"""AWS's own: attempts after the first, and seconds."""


STARTS = {"lambda": "lambda:InvokeFunction", "sqs": "sqs:SendMessage", "states": "states:StartExecution"}
"""What a schedule's role needs for its target, by service."""


class TargetError(Exception):
    """A target that could not be started; `code` is the error code that AWS puts into the dead letter."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def apply() -> None:
    """Change the Scheduler's clock and the way it calls targets; EventBridge's rules keep theirs."""
    from ministack.services import eventbridge, scheduler

    ticking = threading.local()
    tick, rate, invoke = scheduler._tick_schedules, eventbridge._parse_rate_seconds, eventbridge._invoke_target

    def tick_schedules() -> None:
        ticking.here = True
        try:
            tick()
        finally:
            ticking.here = False

    def parse_rate(expression: str) -> float | None:
        seconds: float | None = rate(expression)
        return seconds / SPEED if seconds is not None and getattr(ticking, "here", False) else seconds

    def invoke_target(target: dict[str, Any], event: dict[str, Any], rule: dict[str, Any], view: Any = None) -> None:
        if not getattr(ticking, "here", False):
            invoke(target, event, rule, view)
            return
        delivery = contextvars.copy_context().run  # a new thread has none of the schedule's account and region
        threading.Thread(target=delivery, args=(deliver, target, rule["Arn"], SPEED), daemon=True).start()

    scheduler._SCHEDULE_TICK_INTERVAL = TICK_SECONDS
    scheduler._tick_schedules = tick_schedules
    eventbridge._parse_rate_seconds = parse_rate
    eventbridge._invoke_target = invoke_target


def deliver(target: Mapping[str, Any], schedule_arn: str, speed: float = 1.0) -> None:
    """Start the target; try again with growing waits as its RetryPolicy says; give up into its dead-letter queue."""
    from ministack.core.responses import new_uuid
    from ministack.services import cloudwatch

    policy = target.get("RetryPolicy") or {}
    retries = int(policy.get("MaximumRetryAttempts", DEFAULT_RETRIES))
    age = float(policy.get("MaximumEventAgeInSeconds", DEFAULT_AGE)) / speed
    began, execution = time.monotonic(), new_uuid()
    group = schedule_arn.split("/")[-2]

    def count(metric: str) -> None:
        cloudwatch.record_metric("AWS/Scheduler", metric, 1, "Count", {"ScheduleGroup": group})
        cloudwatch._evaluate_all_alarms()

    scheduled = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    attempt = 0
    while True:
        attempt += 1
        count("InvocationAttemptCount")
        payload = fill(str(target.get("Input") or ""), schedule_arn, scheduled, execution, attempt)
        try:
            ask(target, STARTS.get(str(target["Arn"]).split(":")[2], ""), str(target["Arn"]))
            start(str(target["Arn"]), payload)
            return
        except TargetError as error:
            count("TargetErrorCount")
            wait = min(2.0 ** (attempt - 1), 60.0) / speed
            too_old = time.monotonic() - began + wait > age
            if attempt > retries or too_old:
                exhausted = "MaximumEventAgeInSeconds" if too_old else "MaximumRetryAttempts"
                logger.warning("schedule %s gave up after %d attempts: %s", schedule_arn, attempt, error)
                buried = bury(target, payload, schedule_arn, error, attempt, exhausted)
                count("InvocationsSentToDeadLetterCount" if buried else "InvocationDroppedCount")
                return
            time.sleep(wait)
        except Exception:
            logger.exception("schedule %s: fault in the local AWS", schedule_arn)
            return


def ask(target: Mapping[str, Any], action: str, resource: str) -> None:
    """May the target's role? Raises TargetError if not."""
    try:
        access.require(str(target.get("RoleArn") or ""), action, resource)
    except access.Denied as denied:
        raise TargetError("AccessDeniedException", str(denied)) from None


def fill(text: str, schedule_arn: str, scheduled: str, execution: str, attempt: int) -> str:
    """The input with Scheduler's context attributes in their places."""
    for name, value in (
        ("schedule-arn", schedule_arn),
        ("scheduled-time", scheduled),
        ("execution-id", execution),
        ("attempt-number", str(attempt)),
    ):
        text = text.replace(f"<aws.scheduler.{name}>", value)
    return text


def start(arn: str, payload: str) -> None:
    """Start a target. Raises TargetError when it cannot be."""
    from ministack.services import eventbridge, lambda_svc, stepfunctions

    service = arn.split(":")[2]
    if service == "states":
        status, _, body = stepfunctions._start_execution({"stateMachineArn": arn, "input": payload or "{}"})
        if status >= 400:
            answer = json.loads(body)
            raise TargetError(
                str(answer.get("__type", "ServiceException")).rpartition("#")[2], str(answer.get("message"))
            )
    elif service == "lambda":
        func, config, name = lambda_svc._get_func_record_for_ref(arn)
        if not func or not config:
            raise TargetError("ResourceNotFoundException", f"Function not found: {name}")
        eventbridge._dispatch_to_lambda(arn, payload or "{}")
    elif service == "sqs":
        put(arn, payload, {})
    else:
        raise TargetError("ValidationException", f"The local AWS cannot start {arn}: states, lambda and sqs are known.")


def bury(
    target: Mapping[str, Any], payload: str, schedule_arn: str, error: TargetError, attempts: int, exhausted: str
) -> bool:
    """Send what could not be delivered to the dead-letter queue, with AWS's attributes. Did it get there?"""
    queue = (target.get("DeadLetterConfig") or {}).get("Arn")
    if not queue:
        return False
    attributes = {
        "SCHEDULE_ARN": schedule_arn,
        "TARGET_ARN": str(target["Arn"]),
        "ERROR_CODE": error.code,
        "ERROR_MESSAGE": str(error),
        "EXHAUSTED_RETRY_CONDITION": exhausted,
        "RETRY_ATTEMPTS": str(attempts - 1),
        "IS_PAYLOAD_TRUNCATED": "false",
    }
    try:
        ask(target, "sqs:SendMessage", str(queue))
        put(str(queue), payload, attributes)
    except TargetError as failure:
        logger.warning("schedule %s: its dead letter is lost: %s", schedule_arn, failure)
        return False
    return True


def put(queue_arn: str, body: str, attributes: Mapping[str, str]) -> None:
    """A message into a queue. Raises TargetError when there is no such queue."""
    from ministack.services import sqs

    queue = sqs._queue_by_arn(queue_arn)
    if not queue:
        raise TargetError("AWS.SimpleQueueService.NonExistentQueue", f"The queue {queue_arn} does not exist.")
    described = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
    message = {"QueueUrl": queue["url"], "MessageBody": body or "{}", "MessageAttributes": described}
    try:
        sqs._act_send_message(message, queue["url"])
    except sqs._Err as error:  # its policy forbids it, or it is too long
        raise TargetError(error.code, error.message) from error
