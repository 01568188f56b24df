"""A state machine's `TimeoutSeconds` ends an execution that takes longer.

Gap: ministack ignores it. The state under way goes on to its end, as a Lambda does on AWS; no further one starts.
"""

from __future__ import annotations

import contextvars
import json
import threading
from typing import Any


def apply() -> None:
    """Run a timer beside each execution whose definition has a time-out."""
    from ministack.core.responses import now_iso
    from ministack.services import stepfunctions

    original = stepfunctions._run_execution

    def run(arn: str) -> None:
        execution = stepfunctions._executions.get(arn)
        limit = _limit(stepfunctions._state_machines.get(execution["stateMachineArn"])) if execution else None
        if execution is None or limit is None:
            original(arn)
            return

        def expire() -> None:
            if execution["status"] != "RUNNING":
                return
            execution.update(status="TIMED_OUT", error="States.Timeout", stopDate=now_iso())
            stepfunctions._add_event(
                execution, "ExecutionTimedOut", {"executionTimedOutEventDetails": {"error": "States.Timeout"}}
            )
            stepfunctions._emit_execution_status_event(execution)

        # a new thread has none of the request's account and region
        timer = threading.Timer(limit, contextvars.copy_context().run, (expire,))
        timer.daemon = True
        timer.start()
        try:
            original(arn)
        finally:
            timer.cancel()

    def fail(execution: dict[str, Any], error: str, cause: str) -> None:
        if execution["status"] == "RUNNING":  # it has not timed out or been stopped meanwhile
            original_fail(execution, error, cause)

    original_fail = stepfunctions._fail_execution
    stepfunctions._fail_execution = fail
    stepfunctions._run_execution = run


def _limit(machine: dict[str, Any] | None) -> float | None:
    """Seconds, or None."""
    if machine is None:
        return None
    try:
        seconds = json.loads(machine["definition"]).get("TimeoutSeconds")
    except ValueError:
        return None
    return float(seconds) if seconds else None
