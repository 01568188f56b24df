"""Each call of a Lambda leaves metrics in AWS/Lambda, whoever makes it.

Gap: ministack counts the calls that come over its API alone, and so none of a state machine; it has no
ConcurrentExecutions, and counts what it throttles as a call. Here each call is counted, where they all pass through.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any


def apply() -> None:
    """Wrap the one way to all executors, and silence the counting at the API."""
    from ministack.services import cloudwatch, lambda_svc

    original = lambda_svc._execute_function_dispatch
    at_work: Counter[str] = Counter()
    counting = threading.Lock()

    def record(function: str, name: str, value: float, unit: str = "Count") -> None:
        cloudwatch.record_metric("AWS/Lambda", name, value, unit, {"FunctionName": function})

    def execute(func: Any, config: dict[str, Any], *others: Any) -> Any:
        function, key, began = config["FunctionName"], config["FunctionArn"], time.monotonic()
        with counting:
            at_work[key] += 1
            record(function, "ConcurrentExecutions", at_work[key])
        try:
            result = original(func, config, *others)
        finally:
            with counting:
                at_work[key] -= 1
        record(function, "Invocations", 1)
        record(function, "Errors", 1 if isinstance(result, dict) and result.get("error") else 0)
        record(function, "Duration", (time.monotonic() - began) * 1000, "Milliseconds")
        return result

    def throttled(function: str, *, duration_ms: float, throttle: bool, **_: Any) -> None:
        if throttle and not duration_ms:  # where it is refused; the API tells it once more, with a time
            record(function, "Throttles", 1)

    lambda_svc._execute_function_dispatch = execute
    lambda_svc._emit_lambda_metrics = throttled
