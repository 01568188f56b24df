"""The run as data: valid for an independent linter, within AWS's limits, as cheap as promised, and alive."""

from __future__ import annotations

import io
import json
import operator
import re
import time
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from statelint.linter import Linter

from alternatives.settings import parse
from analysis.graph import Record
from components.serverless import state_machine
from components.serverless.rules import (
    BATCH_OVERHEAD,
    ID_BYTES,
    LAMBDA_RETRY_WAITS,
    PAYLOAD_LIMIT,
    RUN_OVERHEAD,
)
from components.serverless.settings import RunSettings
from components.serverless.state_machine import LOCK_ID, MAX_LOOPS, Parts, definition
from components.settings import Settings
from tests.conftest import AwsAccount
from tests.docs.markdown import ROOT
from workers.domain.confirming import Tally

State = dict[str, Any]
CONFIG = {"owner": "payments", "costCenter": "cc-1", "gatewayUrl": "https://payments.example.com"}
TOO_NEW = {
    # statelint 3.1.0 does not know them yet; AWS wants both for a Distributed Map over JSON Lines
    'Field "Label" not allowed in State Machine.States.Confirm',
    'Field "InputType" not allowed in State Machine.States.Confirm.ItemReader.ReaderConfig',
}
EVENTS_LIMIT = 25_000  # of a Standard execution's history
CAUSE_LIMIT = 32_768  # characters of an error's cause


def settings(**changes: object) -> Settings:
    return parse(CONFIG | changes)


def machine(table: str = "transactions", prefix: str = "arn:aws:lambda:us-east-1:123456789012:function:") -> State:
    return definition(Parts(table, f"{prefix}plan", f"{prefix}confirm", f"{prefix}report"), settings())


def states(asl: Mapping[str, Any]) -> Iterator[tuple[str, State]]:
    """Every state, those of the children too."""
    for name, state in asl["States"].items():
        yield name, state
        if "ItemProcessor" in state:
            yield from states(state["ItemProcessor"])


# -- its shape


def test_an_independent_linter_finds_only_what_it_does_not_know() -> None:
    assert set(Linter.validate(machine())) == TOO_NEW


@pytest.mark.parametrize(
    ("state", "key", "value"),
    [
        ("Plan", "Next", "Nowhere"),
        ("Plan", "Type", "Chore"),
        ("Plan", "Catch", [{"Next": "RunFailed"}]),
        ("AnyWork", "Choices", []),
        ("Release", "ResultPath", "error"),
    ],
)
def test_the_linter_notices_what_is_wrong(state: str, key: str, value: object) -> None:
    asl = machine()
    asl["States"][state][key] = value
    assert not set(Linter.validate(asl)) <= TOO_NEW


def test_the_program_deploys_this_definition(records: dict[str, Record]) -> None:
    (resource,) = records["dev"].all("aws:sfn/stateMachine:StateMachine")
    deployed = json.loads(resource.inputs["definition"])
    prefix = "arn:aws:lambda:us-east-1:123456789012:function:"
    parts = Parts("transactions-1234567", *(f"{prefix}{name}-1234567" for name in ("plan", "confirm", "report")))
    assert deployed == definition(parts, settings())


def test_every_state_is_reached() -> None:
    asl = machine()
    reached, todo = set(), [asl["StartAt"]]
    while todo:
        name = todo.pop()
        if name in reached:
            continue
        reached.add(name)
        state = asl["States"][name]
        todo += [state[key] for key in ("Next", "Default") if key in state]
        todo += [option["Next"] for key in ("Choices", "Catch") for option in state.get(key, ())]
    assert reached == set(asl["States"])


def test_every_task_ends_somewhere_when_it_fails() -> None:
    for name, state in states(machine()):
        if state["Type"] in ("Task", "Map"):
            assert "States.ALL" in [error for catch in state["Catch"] for error in catch["ErrorEquals"]], name


def test_the_map_is_not_retried_and_its_tasks_are_only_for_faults_of_the_service() -> None:
    asl = machine()
    assert "Retry" not in asl["States"]["Confirm"]  # it would run every batch again
    errors = {e for _, state in states(asl) for retry in state.get("Retry", ()) for e in retry["ErrorEquals"]}
    assert all(error.startswith(("Lambda.", "DynamoDB.")) for error in errors)
    # AWS writes this one both ways: what it means must not depend on which of them a state is given
    assert {"DynamoDB.RequestLimitExceeded", "DynamoDB.RequestLimitExceededException"} <= errors


def test_the_retries_wait_as_long_as_settings_count_on() -> None:
    (retry,) = state_machine.RETRY
    waits = [min(2**n, int(str(retry["MaxDelaySeconds"]))) for n in range(int(str(retry["MaxAttempts"])))]
    assert sum(waits) == LAMBDA_RETRY_WAITS


# -- AWS's limits


def test_definition_names_and_label_fit() -> None:
    asl = machine("t" * 255, "arn:aws:lambda:us-east-1:123456789012:function:" + "f" * 64)
    assert len(json.dumps(asl)) < 1_000_000
    assert all(len(name) <= 80 for name, _ in states(asl))
    assert len(asl["States"]["Confirm"]["Label"]) <= 40
    assert 0 < asl["TimeoutSeconds"] < 99_999_999


def test_a_run_of_all_its_loops_fits_into_the_history() -> None:
    asl = machine()
    loop = ["Plan", "AnyWork", "Confirm", "Report", "MoreWork"]
    # entered and exited; a task is scheduled, started, succeeded; a map run started, running, succeeded
    events = sum(2 + (3 if asl["States"][name]["Type"] in ("Task", "Map") else 0) for name in loop)
    assert events * MAX_LOOPS + 100 < EVENTS_LIMIT


def size(value: object) -> int:
    return len(json.dumps(value, separators=(",", ":")))


def test_payloads_fit_at_the_settings_limits() -> None:
    batch = (PAYLOAD_LIMIT - BATCH_OVERHEAD) // ID_BYTES
    fast = {"gatewayConcurrency": 500, "gatewayRateLimit": 100_000, "lambdaTimeoutSeconds": 200, "leaseSeconds": 300}
    batches = 806
    settings(
        **fast, batchSize=batch, batchesPerPlan=batches, lambdaMemoryMb=10_240
    )  # the largest that settings let pass
    run = "r" * 80
    trace = f"00-{'t' * 32}-{'s' * 16}-01"
    item = {
        "run": run,
        "trace": trace,
        "planned": "2026-01-05T09:00:00.000Z",
        "batch": batches,
        "ids": ["i" * 128] * batch,
    }
    assert size(item) <= PAYLOAD_LIMIT
    tally = dict.fromkeys(Tally.__slots__, batch)
    failed = {"failed": 1, "batch": batches, "error": "Lambda.ClientExecutionTimeoutException"}
    plan = {"loop": MAX_LOOPS, "batches": batches, "transactions": batch * batches, "more": True, "shards": 100}
    for result in (tally, failed):
        report = {"run": run, "plan": plan, "results": [result] * batches}
        assert size(report) <= PAYLOAD_LIMIT
        state = {"run": run, **plan, "bucket": "b" * 63, "key": "k" * 120, "results": [result] * batches}
        assert size(state) <= PAYLOAD_LIMIT
    assert size({"Error": "e" * 256, "Cause": "c" * CAUSE_LIMIT}) <= PAYLOAD_LIMIT
    assert size({**plan, "run": run, "bucket": "b" * 63, "key": "k" * 120}) <= RUN_OVERHEAD


def test_report_is_handed_what_it_reads_of_its_plan() -> None:
    """It looks at every shard that Plan knew of: a backlog under more shards than are written to now loops as well."""
    handler = (ROOT / "workers/serverless/handlers.py").read_text()
    read = {one or other for one, other in re.findall(r'event\["plan"\](?:\["(\w+)"\]|\.get\("(\w+)")', handler)}
    handed_on = machine()["States"]["Report"]["Parameters"]["Payload"]["plan"]
    assert read == {"loop", "shards"}
    assert read - {name.removesuffix(".$") for name in handed_on} == set()


def test_no_error_is_kept_beside_what_may_be_large() -> None:
    """The cause of an error (32 KiB) beside ids or results could exceed the limit, and no Catch sees that."""
    for name, state in states(machine()):
        for catch in state.get("Catch", ()):
            assert catch.get("ResultPath", "$") in ("$", "$.ids", None), name


# -- what a run costs, in transitions


@dataclass
class Walk:
    """Follows the definition with answers in place of AWS: transitions are the start, each state, each child."""

    asl: State
    backlog: list[int]
    """Batches that each Plan finds."""
    locked: bool = False

    def transitions(self) -> int:
        loops = iter(self.backlog)
        data: dict[str, Any] = {"loop": 0}
        name, count = self.asl["StartAt"], 1
        while True:
            state = self.asl["States"][name]
            count += 1
            if name == "Plan":
                data["locked_out"] = self.locked
                data["batches"] = 0 if self.locked else next(loops, 0)
                data["more"] = data["loop"] + 1 < len(self.backlog)
            elif name == "Confirm":
                assert state["ItemProcessor"]["ProcessorConfig"]["ExecutionType"] == "EXPRESS"
                count += data["batches"]  # one each, whatever states the Express child has
            elif name == "Report":
                data["loop"] += 1
            if state["Type"] == "Choice":
                name = next((c["Next"] for c in state["Choices"] if self._holds(c, data)), state["Default"])
            elif state.get("End") or state["Type"] in ("Succeed", "Fail"):
                return count
            else:
                name = state["Next"]

    def _holds(self, rule: Mapping[str, Any], data: Mapping[str, Any]) -> bool:
        if "And" in rule:
            return all(self._holds(part, data) for part in rule["And"])
        value = data[rule["Variable"].removeprefix("$.")]
        holds = {
            "NumericGreaterThan": operator.gt,
            "NumericLessThan": operator.lt,
            "BooleanEquals": operator.is_,
        }
        ((test, wanted),) = ((key, wanted) for key, wanted in rule.items() if key not in ("Variable", "Next"))
        return bool(holds[test](value, wanted))


def test_an_idle_run_is_4_transitions() -> None:
    assert Walk(machine(), []).transitions() == 4


def test_a_run_that_finds_the_lock_taken_is_4() -> None:
    assert Walk(machine(), [1], locked=True).transitions() == 4


def test_a_run_with_work_is_3_more_beside_its_children() -> None:
    assert Walk(machine(), [1]).transitions() == 4 + 3 + 1


def test_a_backlog_costs_at_most_12_transitions_per_thousand() -> None:
    run = settings().part(RunSettings)
    for loops in (1, 5, MAX_LOOPS):
        transactions = loops * run.batches_per_plan * settings().work.batch_size
        spent = Walk(machine(), [run.batches_per_plan] * loops).transitions()
        assert spent / transactions <= 0.012


def test_a_run_ends_after_its_loops_though_work_is_left() -> None:
    endless = Walk(machine(), [1] * (MAX_LOOPS + 1))
    assert endless.transitions() == 1 + 1 + MAX_LOOPS * (5 + 1)  # the start and Release, and the loops


# -- alive, on the local AWS

FAKE = """
import json, os, boto3

def plan(event, context):
    script, loop = os.environ["SCRIPT"], event["last"].get("loop", 0)
    if script == "locked-out":
        return {"batches": 0, "locked_out": True}
    if script == "fails-before-the-lock":
        raise ValueError("no lock")
    if script != "idle":
        lock = {"id": {"S": "#run"}, "run": {"S": event["run"]}, "lease_until": {"S": "2999-01-01T00:00:00.000Z"}}
        boto3.client("dynamodb").put_item(TableName="transactions", Item=lock)
    if script == "plan-fails":
        raise ValueError("no plan")
    batches = 0 if script == "idle" else 3
    key = "plans/" + event["run"] + ".jsonl"
    lines = [json.dumps({"run": event["run"], "batch": n, "ids": ["a", "b"]}) for n in range(batches)]
    boto3.client("s3").put_object(Bucket=os.environ["BUCKET"], Key=key, Body="\\n".join(lines).encode())
    return {"run": event["run"], "loop": loop, "trace": "", "bucket": os.environ["BUCKET"], "key": key,
            "batches": batches, "transactions": 2 * batches, "more": False, "shards": 1,
            "locked_out": False}

def confirm(event, context):
    if event["batch"] == 1:
        raise ValueError("batch one breaks")
    return {"claimed": len(event["ids"]), "confirmed": 2}

def report(event, context):
    return {"run": event["run"], "loop": event["plan"]["loop"] + 1, "more": event["plan"]["loop"] < 1,
            "failed": sum(r.get("failed", 0) for r in event["results"]),
            "confirmed": sum(r.get("confirmed", 0) for r in event["results"]),
            "errors": [[r["batch"], r["error"]] for r in event["results"] if "failed" in r]}
"""


@dataclass
class Living:
    """The definition on the emulator, with small functions in place of the workers."""

    aws: AwsAccount
    arn: str
    table: str

    def script(self, name: str) -> None:
        client = self.aws.client("lambda")
        for function in ("plan", "confirm", "report"):
            client.update_function_configuration(
                FunctionName=function, Environment={"Variables": {"SCRIPT": name, "BUCKET": "plans"}}
            )

    def run(self) -> tuple[dict[str, Any], list[str]]:
        """One execution to its end: its description and the states that it entered."""
        client = self.aws.client("stepfunctions")
        arn = client.start_execution(stateMachineArn=self.arn, input="{}")["executionArn"]
        for _ in range(300):
            result: dict[str, Any] = client.describe_execution(executionArn=arn)
            if result["status"] != "RUNNING":
                break
            time.sleep(0.1)
        events = client.get_execution_history(executionArn=arn, maxResults=1000)["events"]
        return result, [e["stateEnteredEventDetails"]["name"] for e in events if "stateEnteredEventDetails" in e]

    def lock(self) -> dict[str, Any]:
        answer = self.aws.client("dynamodb").get_item(TableName=self.table, Key={"id": {"S": LOCK_ID}})
        return dict(answer.get("Item", {}))


@pytest.fixture(scope="module")
def living(aws: AwsAccount) -> Living:
    aws.client("s3").create_bucket(Bucket="plans")
    aws.client("dynamodb").create_table(
        TableName="transactions",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("fake.py", FAKE)
    for name in ("plan", "confirm", "report"):
        aws.client("lambda").create_function(
            FunctionName=name,
            Runtime="python3.13",
            Handler=f"fake.{name}",
            Role=f"arn:aws:iam::{aws.id}:role/any",
            Code={"ZipFile": code.getvalue()},
            Timeout=20,
        )
    asl = machine(prefix=f"arn:aws:lambda:us-east-1:{aws.id}:function:")
    arn = aws.client("stepfunctions").create_state_machine(
        name="run", definition=json.dumps(asl), roleArn=f"arn:aws:iam::{aws.id}:role/any"
    )["stateMachineArn"]
    return Living(aws, arn, "transactions")


def test_an_idle_run_lives_through_3_states(living: Living) -> None:
    living.script("idle")
    result, entered = living.run()
    assert (result["status"], entered) == ("SUCCEEDED", ["Plan", "AnyWork", "Idle"])
    assert json.loads(result["output"])["run"] == result["name"]


def test_a_broken_batch_is_counted_and_the_others_go_on(living: Living) -> None:
    living.script("work")
    result, entered = living.run()
    assert result["status"] == "SUCCEEDED"
    loop = ["Plan", "AnyWork", "Confirm", "Report", "MoreWork"]
    assert [name for name in entered if name not in ("ConfirmBatch", "BatchFailed")] == [
        *loop, *loop, "Release",
    ]  # fmt: skip
    assert living.lock()["run"] == {"S": result["name"]}
    assert "lease_until" not in living.lock()
    output = json.loads(result["output"])
    assert (output["failed"], output["confirmed"], output["loop"]) == (1, 4, 2)
    assert output["errors"] == [[1, "ValueError"]]


def test_an_error_gives_the_lock_back_and_fails_the_run_by_its_name(living: Living) -> None:
    living.script("plan-fails")
    result, entered = living.run()
    assert (result["status"], result["error"]) == ("FAILED", "ValueError")
    assert "no plan" in result["cause"]
    assert entered == ["Plan", "Abandon", "RunFailed"]
    assert living.lock()["run"] == {"S": result["name"]}
    assert "lease_until" not in living.lock()


def test_a_run_that_is_locked_out_says_so(living: Living) -> None:
    living.script("locked-out")
    result, entered = living.run()
    assert (result["status"], entered) == ("SUCCEEDED", ["Plan", "AnyWork", "AlreadyRunning"])


def test_a_run_that_fails_before_it_holds_the_lock_leaves_it_alone(living: Living) -> None:
    item = {"id": {"S": LOCK_ID}, "run": {"S": "another"}, "lease_until": {"S": "2999-01-01T00:00:00.000Z"}}
    living.aws.client("dynamodb").put_item(TableName=living.table, Item=item)
    living.script("fails-before-the-lock")
    result, entered = living.run()
    assert (result["status"], entered) == ("FAILED", ["Plan", "Abandon", "RunFailed"])
    assert living.lock() == item
