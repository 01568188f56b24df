"""The desk on AWS, on the emulator: the same commands on a real table and real executions; AWS's errors in words."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ProfileNotFound,
)

from cli.aws import Table, TableCensus, explained, open_aws, totals
from cli.desk import Target
from cli.exits import Exit
from tests.cli.conftest import TARGET, Confirm
from tests.conftest import AwsAccount
from tests.contract.conftest import SHARDS, make_table
from workers.stores.dynamodb import DynamoDbStore, StoreError

HEADER = "id,account,amount_minor,currency"
REPORT = {"confirmed": 7, "rejected": 1, "retried": 2, "failed": 0, "loop.$": "States.MathAdd($.loop, 1)"}


@pytest.fixture
def stack(aws: AwsAccount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A table and a state machine that reports twice, and the environment that points at them."""
    definition = {
        "StartAt": "Plan",
        "States": {
            "Plan": {"Type": "Pass", "Result": {"loop": 0}, "Next": "Report"},
            "Report": {"Type": "Pass", "Parameters": REPORT, "Next": "MoreWork"},
            "MoreWork": {
                "Type": "Choice",
                "Choices": [{"Variable": "$.loop", "NumericLessThan": 2, "Next": "Report"}],
                "Default": "Release",
            },
            "Release": {"Type": "Succeed"},
        },
    }
    machine = aws.client("stepfunctions").create_state_machine(
        name=f"m-{uuid.uuid4().hex[:8]}",
        definition=json.dumps(definition),
        roleArn=f"arn:aws:iam::{aws.id}:role/x",
    )
    outputs = {
        "alternative": "serverless",
        "environment": "dev",
        "region": "us-east-1",
        "tableName": make_table(aws.client("dynamodb")),
        "pendingIndexName": "pending",
        "pendingShards": SHARDS,
        "stateMachineArn": machine["stateMachineArn"],
    }
    (tmp_path / "outputs.json").write_text(json.dumps(outputs))
    monkeypatch.setenv("CONFIRM_OUTPUTS", str(tmp_path / "outputs.json"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name, value in aws.environment.items():
        monkeypatch.setenv(name, value)
    return outputs


def test_import_status_and_show_on_a_real_table(stack: dict[str, Any], run: Confirm, tmp_path: Path) -> None:
    file = tmp_path / "pay.csv"
    file.write_text("\n".join([HEADER, *[f"order-{n},acc-{n:08d},{n},EUR" for n in range(600)], "bad id,x,1,EUR"]))
    code, out, err = run("import", str(file))
    assert (code, "600 new, 0 already there, 1 refused" in out) == (Exit.ROWS_REFUSED, True), err
    code, out, _ = run("import", str(file), "--json")
    assert (json.loads(out)["new"], json.loads(out)["already"]) == (0, 600)

    code, out, _ = run("status", "--json", "--all")
    value = json.loads(out)
    assert (code, value["open"], value["due"], value["final"]) == (Exit.NOT_YET_FINAL, 600, 600, False)
    assert value["states"]["PENDING"] == {"count": 600, "amounts_minor": {"EUR": sum(range(600))}}

    code, out, _ = run("show", "order-599")
    assert code == Exit.NOT_YET_FINAL
    assert "5.99 EUR" in out
    code, out, err = run("show", "order-6OO")
    assert (code, "nearest ids are order-" in err) == (Exit.ERROR, True)


def test_status_counts_what_came_under_more_shards(
    stack: dict[str, Any], aws: AwsAccount, run: Confirm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They were lowered since: the run lock's item remembers, and nothing is called final that is open."""
    file = tmp_path / "pay.csv"
    file.write_text("\n".join([HEADER, *[f"order-{n},acc-1,{n},EUR" for n in range(20)]]))
    outputs = Path(os.environ["CONFIRM_OUTPUTS"])
    outputs.write_text(json.dumps({**stack, "pendingShards": 50}))
    assert run("import", str(file))[0] == Exit.OK
    outputs.write_text(json.dumps(stack))
    item = {"id": {"S": "#run"}, "shards": {"N": "50"}}
    aws.client("dynamodb").put_item(TableName=stack["tableName"], Item=item)
    code, out, _ = run("status", "--json")
    assert (code, json.loads(out)["open"]) == (Exit.NOT_YET_FINAL, 20)


@pytest.mark.parametrize(("off", "said"), [(600, "600 s ahead of AWS's"), (-600, "600 s behind AWS's")])
def test_a_machine_with_a_wrong_clock_brings_nothing_in(
    stack: dict[str, Any],
    aws: AwsAccount,
    run: Confirm,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    off: int,
    said: str,
) -> None:
    """It would be due by that clock: one that is fast hides it from the workers and from every alarm."""
    file = tmp_path / "pay.csv"
    file.write_text(f"{HEADER}\norder-1,acc-1,1,EUR\n")
    with monkeypatch.context() as patch:
        patch.setattr("cli.aws.SystemClock.now", lambda _: datetime.now(UTC) + timedelta(seconds=off))
        code, _, err = run("import", str(file))
    assert code == Exit.ERROR
    assert re.search(said.replace("600", r"(599|600|601)"), err), err
    assert "NTP" in err
    assert aws.client("dynamodb").scan(TableName=stack["tableName"])["Count"] == 0
    assert run("import", str(file))[0] == Exit.OK


def test_the_last_run_and_all_that_its_loops_did(stack: dict[str, Any], aws: AwsAccount, run: Confirm) -> None:
    value = json.loads(run("status", "--json")[1])
    assert (value["last_run"], value["last_run_with_work"]) == (None, None)
    steps, table = aws.client("stepfunctions"), aws.client("dynamodb")
    arn = steps.start_execution(stateMachineArn=stack["stateMachineArn"], name="one", input="{}")["executionArn"]
    until = time.monotonic() + 60
    while steps.describe_execution(executionArn=arn)["status"] == "RUNNING" and time.monotonic() < until:
        time.sleep(0.05)
    table.put_item(TableName=stack["tableName"], Item={"id": {"S": "#run"}, "last_run": {"M": {"run": {"S": "one"}}}})
    value = json.loads(run("status", "--json", "--all")[1])
    assert value["last_run"]["status"] == "SUCCEEDED"
    assert value["last_run_with_work"]["name"] == "one"
    assert value["last_run_with_work"]["counts"]["confirmed"] == 14
    assert value["last_run_with_work"]["settled_per_second"] > 0
    assert value["states"]["REVIEW"]["count"] == 0, "the run lock was counted as a transaction"


def test_an_item_that_something_else_wrote_is_counted_for_review(stack: dict[str, Any], aws: AwsAccount) -> None:
    client = aws.client("dynamodb")
    client.put_item(TableName=stack["tableName"], Item={"id": {"S": "strange"}, "status": {"S": "DONE"}})
    tally = asyncio.run(TableCensus(client, stack["tableName"]).tally())
    assert {status.value: state.count for status, state in tally.items() if state.count} == {"REVIEW": 1}


def test_a_table_that_is_gone(stack: dict[str, Any], aws: AwsAccount, run: Confirm) -> None:
    aws.client("dynamodb").delete_table(TableName=stack["tableName"])
    code, _, err = run("status")
    assert code == Exit.NO_ACCESS
    assert "names a table or state machine that is not there" in err


def test_a_local_aws_that_does_not_run(stack: dict[str, Any], run: Confirm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    code, _, err = run("status")
    assert code == Exit.NO_ACCESS
    assert "the local AWS at http://127.0.0.1:9 does not answer" in err
    assert "make shell" in err


@pytest.mark.parametrize(("endpoint", "attempts"), [("http://127.0.0.1:9", 1), (None, 4)])
def test_only_the_real_aws_is_worth_another_try(endpoint: str | None, attempts: int, stack: dict[str, Any]) -> None:
    async def config() -> Any:
        assert isinstance(TARGET.data, Table)
        async with open_aws(replace(TARGET, endpoint=endpoint), TARGET.data) as desk:
            assert isinstance(desk.store, DynamoDbStore)
            return desk.store.client.meta.config

    assert asyncio.run(config()).retries["total_max_attempts"] == attempts


def client_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "arn secret"}}, "Query")


AWS = Target("prod", "serverless", "prod", "eu-west-1", TARGET.policy, Table("t", "i", 4, None))


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (EndpointConnectionError(endpoint_url="https://x"), Exit.NO_ACCESS, "AWS in eu-west-1 does not answer"),
        (NoCredentialsError(), Exit.NO_ACCESS, "there are no AWS credentials"),
        (client_error("AccessDeniedException"), Exit.NO_ACCESS, "AWS refused Query on stack prod"),
        (client_error("ExpiredTokenException"), Exit.NO_ACCESS, "ExpiredTokenException"),
        (client_error("ResourceNotFoundException"), Exit.NO_ACCESS, "not there"),
        (client_error("ThrottlingException"), Exit.ERROR, "AWS failed Query (ThrottlingException)"),
        (ConnectTimeoutError(endpoint_url="https://x"), Exit.NO_ACCESS, "ConnectTimeoutError"),
        (ProfileNotFound(profile="x"), Exit.NO_ACCESS, "ProfileNotFound"),
        (StoreError("t left keys unread 6 times"), Exit.ERROR, "t left keys unread 6 times"),
    ],
)
def test_errors_of_aws_in_words(error: Exception, code: Exit, said: str) -> None:
    wrapped = StoreError("t: x")
    wrapped.__cause__ = error
    for either in (error, wrapped) if not isinstance(error, StoreError) else (error,):
        trouble = explained(either, AWS)
        assert trouble.code is code
        assert said in trouble.what
        assert trouble.fix
        assert "secret" not in str(trouble)


def test_what_is_no_error_of_aws_is_not_blamed_on_it() -> None:
    with pytest.raises(ZeroDivisionError):
        explained(ZeroDivisionError(), AWS)


def test_totals_of_nothing_are_none() -> None:
    assert totals([]) == {}
    assert totals([{"type": "ExecutionStarted"}, {"stateExitedEventDetails": {"name": "Plan", "output": "{}"}}]) == {}


def test_help_does_not_wait_for_a_driver() -> None:
    import subprocess

    code = "import sys, cli.main; sys.exit(bool({'boto3', 'botocore', 'asyncpg'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
