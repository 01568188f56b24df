"""Which metrics there are at all: those that the workers emit, and those of AWS that the tables name."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from typing import Any

UNITS = {"Count", "Seconds", "Milliseconds", "None"}


def emitted(alternative: str) -> dict[str, str]:
    """What the workers emit: name -> unit, read off the code of those that run in this alternative."""
    from workers import canary, measures, publisher
    from workers.serverless import handlers
    from workers.service import __main__ as service

    modules: dict[str, list[Any]] = {
        "serverless": [handlers, measures, canary],
        "fargate": [service, publisher, measures, canary],
    }
    return dict(pair for module in modules[alternative] for pair in _metrics_in(inspect.getsource(module)))


def _metrics_in(source: str) -> Iterator[tuple[str, str]]:
    """Each `"Name": (value, "Unit")` in a dict."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(value, ast.Tuple) and len(value.elts) == 2:
                    unit = value.elts[1]
                    if isinstance(unit, ast.Constant) and unit.value in UNITS:
                        yield str(key.value), str(unit.value)


AWS = {
    # as AWS documents them: a name that is wrong would never have data
    "AWS/Billing": {"EstimatedCharges"},
    "AWS/DynamoDB": {
        "ConsumedReadCapacityUnits", "ConsumedWriteCapacityUnits", "ReadThrottleEvents", "SystemErrors",
        "WriteAccountLimitThrottleEvents", "WriteKeyRangeThroughputThrottleEvents", "WriteThrottleEvents",
    },
    "AWS/ECS": {"CPUUtilization", "MemoryUtilization"},
    "AWS/Events": {"TriggeredRules"},
    "AWS/Lambda": {"ConcurrentExecutions", "Duration", "Errors", "Invocations", "Throttles"},
    "AWS/RDS": {
        "ACUUtilization", "AuroraReplicaLag", "CommitLatency", "DBLoad", "DatabaseConnections", "Deadlocks",
        "MaximumUsedTransactionIDs", "ServerlessDatabaseCapacity",
    },
    "AWS/SQS": {"ApproximateNumberOfMessagesVisible"},
    "AWS/Scheduler": {"InvocationAttemptCount", "InvocationDroppedCount", "TargetErrorCount"},
    "AWS/States": {
        "ExecutionThrottled", "ExecutionTime", "ExecutionsAborted", "ExecutionsFailed", "ExecutionsStarted",
        "ExecutionsSucceeded", "ExecutionsTimedOut",
    },
    "ECS/ContainerInsights": {"DesiredTaskCount", "RunningTaskCount"},
}  # fmt: skip
