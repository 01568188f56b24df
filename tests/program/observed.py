"""What the tests know of the two tables: how to make one, and which metrics there are at all."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from typing import Any

from components.fargate import observability as fargate
from components.observability.table import Formula, Metric, Row, Search, Table
from components.serverless import observability as serverless
from components.settings import Settings, parse

CONFIG = {
    "owner": "payments",
    "costCenter": "cc-1",
    "gatewayUrl": "https://payments.example.com",
    "alarmEmail": "on-call@example.com",
}


def settings(alternative: str, **changes: object) -> Settings:
    return parse(CONFIG | {"alternative": alternative} | changes)


def table(alternative: str, **changes: object) -> Table:
    chosen = settings(alternative, **changes)
    if alternative == "serverless":
        functions = {name: name for name in ("plan", "confirm", "report")}
        return serverless.table(chosen, serverless.Sources("arn:run", "group", "queue", "table", "pending", functions))
    asleep = chosen.service.min_tasks == 0
    sources = fargate.Sources(
        "cluster", "service", "database", ["one"], "rule", *(("publisher", "queue", "group") if asleep else ())
    )
    return fargate.table(chosen, fargate.Metrics(chosen, sources), 15)


def metrics_of(row: Row) -> list[Metric]:
    if isinstance(row.metric, Formula):
        return list(row.metric.terms.values())
    return [row.metric.metric if isinstance(row.metric, Search) else row.metric]


UNITS = {"Count", "Seconds", "Milliseconds", "None"}


def emitted(alternative: str) -> dict[str, str]:
    """What the workers emit: name -> unit, read off the code of those that run in this alternative."""
    from workers import measures, publisher
    from workers.serverless import handlers
    from workers.service import __main__ as service

    modules: dict[str, list[Any]] = {"serverless": [handlers, measures], "fargate": [service, publisher, measures]}
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
        "WriteThrottleEvents",
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
