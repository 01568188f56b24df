"""Which metrics there are at all: those that the workers emit, and those of AWS that the tables name."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from alternatives import ALTERNATIVES
from analysis.graph import ROOT

UNITS = {"Count", "Seconds", "Milliseconds", "None"}


def emitted(alternative: str) -> dict[str, str]:
    """What the workers emit: name -> unit, read off the code of those that run in this alternative."""
    files = (*ALTERNATIVES[alternative].stacks().emitting, "workers/measures.py", "workers/canary.py")
    return dict(pair for file in files for pair in _metrics_in((ROOT / file).read_text()))


def _metrics_in(source: str) -> Iterator[tuple[str, str]]:
    """Each `"Name": (value, "Unit")` in a dict."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(value, ast.Tuple) and len(value.elts) == 2:
                    unit = value.elts[1]
                    if isinstance(unit, ast.Constant) and unit.value in UNITS:
                        yield str(key.value), str(unit.value)


def _aws(*counts: str, **others: str) -> dict[str, str]:
    """Name -> unit: of those that count something, and of the others."""
    return {**dict.fromkeys(counts, "Count"), **others}


AWS = {
    # as AWS documents them: a name that is wrong would never have data, and a unit tells what a threshold means
    "AWS/Billing": _aws(EstimatedCharges="None"),
    "AWS/DynamoDB": _aws(
        "ConsumedReadCapacityUnits", "ConsumedWriteCapacityUnits", "ReadThrottleEvents", "SystemErrors",
        "WriteAccountLimitThrottleEvents", "WriteKeyRangeThroughputThrottleEvents", "WriteThrottleEvents",
    ),
    "AWS/ECS": _aws(CPUUtilization="Percent", MemoryUtilization="Percent"),
    "AWS/Events": _aws("TriggeredRules"),
    "AWS/Lambda": _aws("ConcurrentExecutions", "Errors", "Invocations", "Throttles", Duration="Milliseconds"),
    "AWS/RDS": _aws(
        "DBLoad", "DatabaseConnections", "MaximumUsedTransactionIDs", "ServerlessDatabaseCapacity",
        ACUUtilization="Percent", AuroraReplicaLag="Milliseconds", CommitLatency="Milliseconds",
        Deadlocks="Count/Second",
    ),
    "AWS/SQS": _aws("ApproximateNumberOfMessagesVisible"),
    "AWS/Scheduler": _aws("InvocationAttemptCount", "InvocationDroppedCount", "TargetErrorCount"),
    "AWS/States": _aws(
        "ExecutionThrottled", "ExecutionsAborted", "ExecutionsFailed", "ExecutionsStarted", "ExecutionsSucceeded",
        "ExecutionsTimedOut", ExecutionTime="Milliseconds",
    ),
    "ECS/ContainerInsights": _aws("DesiredTaskCount", "RunningTaskCount"),
}  # fmt: skip
