"""Each overlay closes the gap that its docstring names."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import pytest

from analysis.watched import settings
from components.observability.drawing import search_expression
from components.observability.table import Metric, Search, ours
from demo.dashboard import Source
from local import overlay
from local.errors import LocalError
from local.overlay import alarms, embedded_metrics, lambda_errors, saving, scheduler
from tests.conftest import AwsAccount
from workers.domain.ports import ReviewBacklog
from workers.measures import by_currency
from workers.telemetry import Telemetry

T = TypeVar("T")
ROLE = "arn:aws:iam::000000000000:role/any"


def until(look: Callable[[], T | None], seconds: float = 60) -> T:
    """Look again and again until there is something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError(f"nothing within {seconds} s")


def function(aws: AwsAccount, name: str, code: str) -> str:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("code.py", code)
    made = aws.client("lambda").create_function(
        FunctionName=name,
        Runtime="python3.11",
        Handler="code.handler",
        Role=ROLE,
        Code={"ZipFile": archive.getvalue()},
        Timeout=10,
    )
    return str(made["FunctionArn"])


def machine(aws: AwsAccount, name: str, definition: dict[str, Any]) -> str:
    made = aws.client("stepfunctions").create_state_machine(name=name, definition=json.dumps(definition), roleArn=ROLE)
    return str(made["stateMachineArn"])


def run(aws: AwsAccount, arn: str, given: object = None) -> dict[str, Any]:
    states = aws.client("stepfunctions")
    started = states.start_execution(stateMachineArn=arn, input=json.dumps(given or {}))["executionArn"]

    def ended() -> dict[str, Any] | None:
        seen: dict[str, Any] = states.describe_execution(executionArn=started)
        return seen if seen["status"] != "RUNNING" else None

    return until(ended)


def total(aws: AwsAccount, namespace: str, name: str, dimensions: Mapping[str, Any]) -> float:
    points = aws.client("cloudwatch").get_metric_statistics(
        Namespace=namespace,
        MetricName=name,
        Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
        StartTime=time.time() - 600,
        EndTime=time.time() + 60,
        Period=60,
        Statistics=["Sum"],
    )["Datapoints"]
    return sum(float(point["Sum"]) for point in points)


def _reads(aws: AwsAccount, metric: Metric, wanted: float) -> bool:
    return total(aws, metric.namespace, metric.name, metric.dimensions) == wanted


def test_a_state_that_changes_while_it_is_saved_is_saved_all_the_same() -> None:
    groups = {"a": 1}
    looks = 0

    def get_state() -> dict[str, int]:
        nonlocal looks
        looks += 1
        copied = {}
        for name, value in groups.items():
            copied[name] = value
            if looks < 3:
                groups[f"new-{looks}"] = value  # somebody writes
        return copied

    assert set(saving.patient(get_state)()) == {"a", "new-1", "new-2"}
    assert looks == 3


def test_a_service_that_has_no_state_to_tell_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "TRIES", 2)
    with pytest.raises(RuntimeError, match="broken"):
        saving.patient(lambda: (_ for _ in ()).throw(RuntimeError("broken")))()


def test_every_overlay_refuses_another_version_by_name() -> None:
    for name in overlay.NAMES:
        with pytest.raises(LocalError, match=rf"overlay {name} is written for ministack 1\.5\.33, found 9\.9"):
            overlay.apply((name,), installed="9.9")


def test_a_handlers_exception_class_reaches_catch(aws: AwsAccount) -> None:
    arn = function(aws, "raises", "class TooBusy(Exception): pass\ndef handler(e, c): raise TooBusy('later')")
    ended = run(
        aws,
        machine(
            aws,
            "catches",
            {
                "StartAt": "Call",
                "States": {
                    "Call": {
                        "Type": "Task",
                        "Resource": "arn:aws:states:::lambda:invoke",
                        "Parameters": {"FunctionName": arn},
                        "Catch": [{"ErrorEquals": ["TooBusy"], "Next": "Caught"}],
                        "End": True,
                    },
                    "Caught": {"Type": "Pass", "Result": "caught", "End": True},
                },
            },
        ),
    )
    assert json.loads(ended["output"]) == "caught"


def test_a_lambda_leaves_its_metrics_whoever_calls_it(aws: AwsAccount) -> None:
    arn = function(aws, "called", "def handler(e, c): return 1 / e['by']")
    call = {"Type": "Task", "Resource": arn, "End": True}
    assert (
        run(aws, machine(aws, "calls", {"StartAt": "Call", "States": {"Call": call}}), {"by": 0})["status"] == "FAILED"
    )
    client = aws.client("lambda")
    client.invoke(FunctionName="called", Payload=b'{"by": 1}')
    client.put_function_concurrency(FunctionName="called", ReservedConcurrentExecutions=0)
    with pytest.raises(client.exceptions.TooManyRequestsException):
        client.invoke(FunctionName="called", Payload=b'{"by": 1}')

    def seen(name: str) -> float:
        return total(aws, "AWS/Lambda", name, {"FunctionName": "called"})

    counts = {name: seen(name) for name in ("Invocations", "Errors", "Throttles", "ConcurrentExecutions")}
    assert counts == {"Invocations": 2, "Errors": 1, "Throttles": 1, "ConcurrentExecutions": 2}  # one, twice
    assert seen("Duration") > 0


def test_the_name_is_the_last_exceptions() -> None:
    log = (
        "Traceback (most recent call last):\n  File ...\nValueError: a\n\nDuring handling of the above exception:\n\n"
        "Traceback (most recent call last):\n  File ...\nworkers.transport.http.Broken: odd\n"
    )
    assert lambda_errors.exception_name(log) == "Broken"
    assert lambda_errors.exception_name("START\nKey: value") is None


def test_emf_in_a_lambdas_output_becomes_a_metric(aws: AwsAccount) -> None:
    line = {
        "_aws": {
            "Timestamp": int(time.time() * 1000),
            "CloudWatchMetrics": [
                {
                    "Namespace": "ConfirmTransactions",
                    "Dimensions": [["Alternative"]],
                    "Metrics": [{"Name": "Confirmed", "Unit": "Count"}, {"Name": "Ms", "Unit": "Milliseconds"}],
                }
            ],
        },
        "Alternative": "serverless",
        "Confirmed": 7,
        "Ms": [1, 2, 4],
    }
    function(aws, "counts", f"def handler(e, c): print({json.dumps(line)!r})")
    aws.client("lambda").invoke(FunctionName="counts")
    dimensions = {"Alternative": "serverless"}
    until(lambda: total(aws, "ConfirmTransactions", "Confirmed", dimensions) == 7)
    assert total(aws, "ConfirmTransactions", "Ms", dimensions) == 7


def test_a_stack_reads_its_own_metrics_and_not_those_of_one_beside_it(
    aws: AwsAccount, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of one alternative and environment, as docs/restore.md makes them; also where a search finds the metrics."""
    told = {"fargate": 7, "fargate-beside": 90_000}
    at = datetime.now(UTC)
    for stack, amount in told.items():
        telemetry = Telemetry("ConfirmTransactions", stack, "fargate", "dev")
        telemetry.metrics({"Backlog": (amount, "Count")}, at)
        by_currency(telemetry, ReviewBacklog(1, None, {"EUR": amount}), at)
    function(aws, "beside", f"def handler(e, c): print({capsys.readouterr().out!r})")
    aws.client("lambda").invoke(FunctionName="beside")
    source = Source(aws.client("cloudwatch"), at - timedelta(minutes=5), at + timedelta(minutes=1))
    for stack, amount in told.items():
        mine = replace(settings("fargate"), stack=stack)
        backlog = ours(mine, "Backlog", "Maximum")
        until(partial(_reads, aws, backlog, amount))
        search = Search(ours(mine, "MoneyAtRisk", "Maximum", "None"), "Currency")
        (line,) = source.lines({"properties": {"metrics": [[{"expression": search_expression(search)}]]}})
        assert (line.label, list(line.values)) == ("EUR", [amount])


@pytest.mark.parametrize(
    "line",
    [
        "REPORT RequestId: 1",
        '{"_aws": {"CloudWatchMetrics": "no"}}',
        '{"_aws": {"CloudWatchMetrics": [{"Namespace": "n", "Metrics": [{"Name": "gone"}]}]}}',
    ],
)
def test_a_line_that_is_no_emf_is_no_metric(line: str) -> None:
    assert list(embedded_metrics.read(line)) == []


def test_executions_leave_metrics_and_raise_an_alarm_that_clears(aws: AwsAccount) -> None:
    good = machine(aws, "good", {"StartAt": "A", "States": {"A": {"Type": "Pass", "End": True}}})
    bad = machine(aws, "bad", {"StartAt": "A", "States": {"A": {"Type": "Fail", "Error": "E", "Cause": "c"}}})
    watch = aws.client("cloudwatch")
    for name, arn in (("on-good", good), ("on-bad", bad)):
        watch.put_metric_alarm(
            AlarmName=name,
            Namespace="AWS/States",
            MetricName="ExecutionsFailed",
            Dimensions=[{"Name": "StateMachineArn", "Value": arn}],
            Statistic="Sum",
            Period=60,  # 1 s here: the emulator of the tests runs 60 times as fast
            EvaluationPeriods=1,
            Threshold=1,
            ComparisonOperator="GreaterThanOrEqualToThreshold",
            TreatMissingData="notBreaching",
        )

    def state(name: str) -> str:
        return str(watch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]["StateValue"])

    def was(name: str) -> set[str]:
        """The states that it has taken: it may be over before one looks."""
        items = watch.describe_alarm_history(AlarmName=name, HistoryItemType="StateUpdate")["AlarmHistoryItems"]
        return {json.loads(item["HistoryData"])["newState"]["stateValue"] for item in items}

    assert run(aws, good)["status"] == "SUCCEEDED"
    assert run(aws, bad)["status"] == "FAILED"
    until(lambda: "ALARM" in was("on-bad"))
    assert "ALARM" not in was("on-good")  # another machine's failure is none of its business
    for arn, ended in ((good, "ExecutionsSucceeded"), (bad, "ExecutionsFailed")):
        for metric in ("ExecutionsStarted", ended):
            assert total(aws, "AWS/States", metric, {"StateMachineArn": arn}) == 1
        assert total(aws, "AWS/States", "ExecutionTime", {"StateMachineArn": arn}) > 0
    until(lambda: state("on-bad") == "OK")


@pytest.mark.parametrize(
    ("values", "extra", "state"),
    [
        ([3], {}, "ALARM"),
        ([2], {}, "OK"),
        ([None], {}, "INSUFFICIENT_DATA"),
        ([None], {"TreatMissingData": "ignore"}, None),
        ([None], {"TreatMissingData": "breaching"}, "ALARM"),
        ([None], {"TreatMissingData": "notBreaching"}, "OK"),
        ([3, 2, 3], {"DatapointsToAlarm": 2}, "ALARM"),
        ([3, 2, 3], {}, "OK"),
        ([3, None], {}, "ALARM"),
        ([3, None], {"TreatMissingData": "notBreaching"}, "OK"),
    ],
)
def test_judgement_of_an_alarm(values: list[float | None], extra: dict[str, Any], state: str | None) -> None:
    assert alarms.judge(values, {"ComparisonOperator": "GreaterThanThreshold", "Threshold": 2, **extra}) == state


def test_points_fall_into_their_periods() -> None:
    points = [{"Timestamp": at} for at in (100.0, 95.0, 89.0, 60.0)]
    groups = [[point["Timestamp"] for point in group] for group in alarms.grouped(points, 100, 10, 3)]
    assert groups == [[100.0, 95.0], [89.0], []]


def test_an_execution_times_out(aws: AwsAccount) -> None:
    slow = {"StartAt": "W", "TimeoutSeconds": 1, "States": {"W": {"Type": "Wait", "Seconds": 3, "Next": "End"}}}
    slow["States"]["End"] = {"Type": "Succeed"}  # type: ignore[index]
    arn = machine(aws, "slow", slow)
    assert run(aws, arn)["status"] == "TIMED_OUT"
    assert total(aws, "AWS/States", "ExecutionsTimedOut", {"StateMachineArn": arn}) == 1


def schedule(aws: AwsAccount, name: str, target: str, queue: str, given: str, retries: int) -> None:
    aws.client("scheduler").create_schedule(
        Name=name,
        ScheduleExpression="rate(1 minute)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={
            "Arn": target,
            "RoleArn": ROLE,
            "Input": given,
            "RetryPolicy": {"MaximumRetryAttempts": retries, "MaximumEventAgeInSeconds": 3600},
            "DeadLetterConfig": {"Arn": queue},
        },
    )


def test_a_fast_minute_and_the_schedulers_context(aws: AwsAccount) -> None:
    arn = machine(aws, "echo", {"StartAt": "A", "States": {"A": {"Type": "Pass", "End": True}}})
    began = time.monotonic()
    schedule(aws, "minutely", arn, "arn:aws:sqs:us-east-1:0:none", '{"at":"<aws.scheduler.scheduled-time>"}', 0)
    states = aws.client("stepfunctions")
    until(lambda: len(states.list_executions(stateMachineArn=arn)["executions"]) >= 2)
    assert time.monotonic() - began > 1  # two minutes at 60 times the speed are 2 s, and `until` waits for 60
    aws.client("scheduler").delete_schedule(Name="minutely")
    first = states.list_executions(stateMachineArn=arn)["executions"][0]["executionArn"]
    given = json.loads(states.describe_execution(executionArn=first)["input"])
    assert time.strptime(given["at"], "%Y-%m-%dT%H:%M:%SZ")


def test_a_target_that_cannot_start_ends_in_the_dead_letter_queue(aws: AwsAccount) -> None:
    queues = aws.client("sqs")
    url = queues.create_queue(QueueName="dead")["QueueUrl"]
    arn = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    gone = f"arn:aws:states:us-east-1:{aws.id}:stateMachine:gone"
    schedule(aws, "broken", gone, arn, '{"try":"<aws.scheduler.attempt-number>"}', 2)
    message = until(
        lambda: queues.receive_message(QueueUrl=url, MessageAttributeNames=["All"], VisibilityTimeout=0).get("Messages")
    )[0]
    aws.client("scheduler").delete_schedule(Name="broken")
    attributes = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    assert json.loads(message["Body"]) == {"try": "3"}
    assert attributes["ERROR_CODE"] == "StateMachineDoesNotExist"
    assert attributes["RETRY_ATTEMPTS"] == "2"
    assert attributes["EXHAUSTED_RETRY_CONDITION"] == "MaximumRetryAttempts"
    assert total(aws, "AWS/Scheduler", "InvocationsSentToDeadLetterCount", {"ScheduleGroup": "default"}) >= 1
    until(lambda: total(aws, "AWS/SQS", "ApproximateNumberOfMessagesVisible", {"QueueName": "dead"}) >= 1)


def test_context_attributes_are_filled_in() -> None:
    text = "<aws.scheduler.schedule-arn> <aws.scheduler.execution-id> <aws.scheduler.attempt-number> <other>"
    assert scheduler.fill(text, "arn", "t", "e", 4) == "arn e 4 <other>"
