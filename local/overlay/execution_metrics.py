"""Step Functions executions leave metrics in AWS/States.

Gap: ministack has none, so an alarm on failed executions would never fire. AWS/States has, per state machine:
ExecutionsStarted, ExecutionsSucceeded, ExecutionsFailed, ExecutionsTimedOut, ExecutionsAborted, and ExecutionTime in
milliseconds when an execution ends. Children of a Distributed Map leave none here, as on AWS for the parent's ARN.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

METRIC_OF = {
    "RUNNING": "ExecutionsStarted",
    "SUCCEEDED": "ExecutionsSucceeded",
    "FAILED": "ExecutionsFailed",
    "TIMED_OUT": "ExecutionsTimedOut",
    "ABORTED": "ExecutionsAborted",
}


def apply() -> None:
    """Wrap the event that ministack sends at each change of an execution's status."""
    from ministack.services import cloudwatch, stepfunctions

    original = stepfunctions._emit_execution_status_event

    def emit(execution: dict[str, Any]) -> None:
        original(execution)
        if execution.get("sync"):
            return
        dimensions = {"StateMachineArn": execution["stateMachineArn"]}
        cloudwatch.record_metric("AWS/States", METRIC_OF[execution["status"]], 1, "Count", dimensions)
        if execution.get("stopDate"):
            milliseconds = (_moment(execution["stopDate"]) - _moment(execution["startDate"])).total_seconds() * 1000
            cloudwatch.record_metric("AWS/States", "ExecutionTime", milliseconds, "Milliseconds", dimensions)
        cloudwatch._evaluate_all_alarms()

    stepfunctions._emit_execution_status_event = emit


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
