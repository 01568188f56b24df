"""Every alarm and page of both alternatives on the local AWS: points of its metric raise it, and it ends with them.

The points are put by hand, where AWS or the workers would put them; what would make AWS put them is not played here.
Which of the metrics the local AWS makes itself, from what really happens in it, is held below; tests that play such
causes end to end are named there.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from analysis.graph import Record, Recorded, record
from local.emulator import REGION
from local.provider.session import Session
from tests.conftest import AwsAccount
from tests.local.provider.test_on_emulator import Stack

ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm"
COMPOSITE = "aws:cloudwatch/compositeAlarm:CompositeAlarm"
SPEED = 60.0  # of the emulator of the tests (tests/conftest.py): a minute of an alarm is a second
CANARY = {"canaryMinutes": "5", "canaryAccount": "test-account"}
PROD = {"environment": "prod", "alarmEmail": "on-call@example.com"}
STACKS: Mapping[str, tuple[str, dict[str, str]]] = {
    "serverless": ("serverless", PROD | CANARY),
    "fargate": ("fargate", PROD | CANARY),
    "asleep": ("fargate", {"minTasks": "0"}),
}
PATIENCE = 90.0

ONLY_AWS_EMITS = {
    # the local AWS has no such metric: on AWS itself alone these see a real cause
    "serverless": {"runs-throttled", "table-errors", "table-throttled"},
    "fargate": {
        "database-at-its-limit", "database-load", "deployment-failed", "replica-lag", "task-cpu", "task-memory",
    },
    "asleep": {"database-at-its-limit", "deployment-failed", "task-cpu", "task-memory"},
}  # fmt: skip
MADE_HERE: Mapping[str, set[str] | None] = {
    # namespace: the metrics that the local AWS makes of what happens in it, and who makes them
    "ConfirmTransactions": None,  # of the workers' lines: local/overlay/embedded_metrics.py
    "AWS/States": {  # local/overlay/execution_metrics.py
        "ExecutionsStarted", "ExecutionsSucceeded", "ExecutionsFailed", "ExecutionsTimedOut", "ExecutionsAborted",
        "ExecutionTime",
    },
    "AWS/Lambda": {  # local/overlay/lambda_metrics.py
        "ConcurrentExecutions", "Duration", "Errors", "Invocations", "Throttles",
    },
    "AWS/RDS": {"DatabaseConnections", "Deadlocks", "MaximumUsedTransactionIDs"},  # local/overlay/rds_metrics.py
    "AWS/Scheduler": {"InvocationAttemptCount", "InvocationDroppedCount"},  # local/overlay/scheduler.py
    "AWS/SQS": {"ApproximateNumberOfMessagesVisible"},  # local/overlay/queue_metrics.py
    "ECS/ContainerInsights": {"DesiredTaskCount", "RunningTaskCount"},  # local/overlay/ecs_tasks.py
}  # fmt: skip


@dataclass
class Watched:
    """One stack's alarms in an account of the emulator."""

    cloudwatch: Any
    prefix: str
    alarms: dict[str, Recorded]
    pages: dict[str, Recorded]

    def states(self) -> dict[str, str]:
        answer = self.cloudwatch.describe_alarms(
            AlarmNamePrefix=self.prefix, AlarmTypes=["MetricAlarm", "CompositeAlarm"], MaxRecords=100
        )
        both = [*answer["MetricAlarms"], *answer["CompositeAlarms"]]
        return {alarm["AlarmName"].removeprefix(self.prefix): alarm["StateValue"] for alarm in both}

    def raised(self) -> set[str]:
        return {name for name, state in self.states().items() if state == "ALARM"}

    def times_raised(self) -> Counter[str]:
        """How often each was raised so far."""
        items: list[dict[str, Any]] = []
        for kind in ("MetricAlarm", "CompositeAlarm"):
            pages = self.cloudwatch.get_paginator("describe_alarm_history").paginate(
                HistoryItemType="StateUpdate", AlarmTypes=[kind]
            )
            items += [item for page in pages for item in page["AlarmHistoryItems"]]
        mine = [item for item in items if item["AlarmName"].startswith(self.prefix)]
        return Counter(item["AlarmName"].removeprefix(self.prefix) for item in mine if _became(item) == "ALARM")

    def put(self, *names: str) -> None:
        """A point in each period of each alarm: at the threshold, or one report where there was silence."""
        for name in names:
            inputs = self.alarms[name].inputs
            # of a formula the first term is the one that counts up; the others stay without data, which FILL makes 0
            metric = next((q["metric"] for q in inputs.get("metricQueries") or () if "metric" in q), inputs)
            seconds, now = float(metric["period"]) / SPEED, datetime.now(UTC)
            leaves_in = min(0.8 * seconds, 3)  # so they end by themselves, soon
            ages = [seconds * (n + 1) - leaves_in for n in range(int(inputs["evaluationPeriods"]))]
            dimensions = [{"Name": key, "Value": value} for key, value in (metric.get("dimensions") or {}).items()]
            datum = {"MetricName": metric["metricName"], "Dimensions": dimensions, "Value": float(inputs["threshold"])}
            self.cloudwatch.put_metric_data(
                Namespace=metric["namespace"],
                MetricData=[{**datum, "Timestamp": now - timedelta(seconds=age)} for age in ages],
            )


def _became(item: Mapping[str, Any]) -> str:
    return str(json.loads(item["HistoryData"])["newState"]["stateValue"])


def whole(value: Any) -> Any:
    """A record has all numbers as floats; the engine gives the provider integers where the SDK has them."""
    if isinstance(value, dict):
        return {key: whole(one) for key, one in value.items()}
    if isinstance(value, list):
        return [whole(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def until(what: Callable[[], object], hint: Callable[[], object]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < give_up, f"it did not come about in time: {hint()}"
        time.sleep(0.3)


@pytest.fixture(scope="module")
def graphs() -> dict[str, Record]:
    return {name: record(stack, as_stack=name, **changes) for name, (stack, changes) in STACKS.items()}


@pytest.fixture
def watched(
    graphs: dict[str, Record], aws: AwsAccount, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Watched]:
    """The alarms and pages of a stack as its program declares them, made by the local AWS's provider."""
    for key, value in aws.environment.items():
        monkeypatch.setenv(key, value)
    graph: Record = graphs[request.param]
    stack = Stack(Session(REGION))
    alarms = {alarm.name: alarm for alarm in graph.all(ALARM) if alarm.name != "scale-out"}
    pages = {page.name: page for page in graph.all(COMPOSITE)}
    for one in (*alarms.values(), *pages.values()):
        inputs = {key: whole(value) for key, value in one.inputs.items() if not key.endswith("Actions")}
        stack.make(one.type, **inputs)
    found = Watched(aws.client("cloudwatch"), f"{graph.outputs['dashboardName']}-", alarms, pages)
    yield found
    for name in pages:  # CloudWatch deletes one of them at a time
        found.cloudwatch.delete_alarms(AlarmNames=[found.prefix + name])
    found.cloudwatch.delete_alarms(AlarmNames=[found.prefix + name for name in alarms])


@pytest.mark.parametrize("watched", STACKS, indirect=True)
def test_each_fires_on_points_of_its_metric_and_ends_with_them(watched: Watched) -> None:
    quiet = {name for name, alarm in watched.alarms.items() if alarm.inputs["treatMissingData"] == "breaching"}
    told = {page for page in ("work-stands-still", "nothing-comes-through") if page in watched.pages}
    until(lambda: {*quiet, *told} <= watched.raised(), watched.raised)  # nobody has said anything
    assert watched.raised() == {*quiet, *told}

    gateway = {"breaker-open", "gateway-down"}  # in a round of their own
    first = {*watched.alarms, *watched.pages} - gateway

    def missing() -> set[str]:
        return first - set(watched.times_raised())

    def first_round() -> bool:
        watched.put(*(missing() & set(watched.alarms)))
        return not missing()

    until(first_round, missing)

    def calm() -> bool:
        watched.put(*quiet)  # reports come in again
        return not watched.raised()

    until(calm, watched.raised)

    def second_round() -> bool:
        watched.put("breaker-open", *quiet)
        return gateway <= watched.raised()

    until(second_round, watched.raised)

    def late_as_well() -> bool:
        watched.put("breaker-open", *quiet)
        if "gateway-down" not in (raised := watched.raised()) or "oldest-pending" in raised:
            return False
        before = watched.times_raised()
        watched.put("breaker-open", "oldest-pending", *quiet)
        after, raised = watched.times_raised(), watched.raised()
        if not {"gateway-down", "oldest-pending"} <= raised or after["gateway-down"] > before["gateway-down"]:
            return False  # the machine paused, and the gateway's points were over meanwhile
        assert after["transactions-late"] == before["transactions-late"], "the page on the gateway says it all"
        return True

    until(late_as_well, watched.raised)
    until(calm, watched.raised)
    assert set(watched.states().values()) == {"OK"}


def not_made_here(graph: Record) -> set[str]:
    """The alarms whose metric the local AWS does not make."""
    found = set()
    for alarm in graph.all(ALARM):
        inputs = alarm.inputs
        for metric in [q["metric"] for q in inputs.get("metricQueries") or () if "metric" in q] or [inputs]:
            here = MADE_HERE.get(metric["namespace"], set())
            if here is not None and metric["metricName"] not in here:
                found.add(alarm.name)
    return found


@pytest.mark.parametrize("stack", STACKS)
def test_these_see_their_real_cause_on_aws_alone(graphs: dict[str, Record], stack: str) -> None:
    assert not_made_here(graphs[stack]) == ONLY_AWS_EMITS[stack]
