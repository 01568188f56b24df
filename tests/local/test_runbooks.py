"""Each command of the runbooks runs: those of `aws` and `confirm` on the local AWS, SQL on PostgreSQL.

`local/aws_cli.py` says how `aws` is run. What `pulumi` is asked is held to the program's keys and outputs;
tests/local/test_plain_cli.py runs `pulumi` itself.
"""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from alternatives.settings import parse
from analysis.graph import ROOT, Record, record
from analysis.watched import CONFIG
from cli import aws as aws_desk
from cli import main
from cli.exits import Exit
from local.aws_cli import call_of, filled
from local.emulator import REGION
from local.postgres import Postgres
from local.provider.session import Session
from tests.conftest import AwsAccount
from tests.fakes import payment, run
from tests.local.provider.test_on_emulator import Stack
from tests.local.test_alarms import whole
from workers.clock import SystemClock
from workers.desk.service import FourEyes
from workers.domain.desk import Limits, Role
from workers.domain.policy import Policy
from workers.domain.transaction import Status
from workers.migrations import migrate
from workers.stores.dynamodb import DynamoDbStore
from workers.stores.dynamodb_desk import DynamoDbDesk

RUNBOOKS = sorted((ROOT / "docs/runbooks").glob("*.md"))
MACHINE = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 60, "End": True}}}
FOR_PEOPLE = {"refresh --yes", "up --yes"}
"""What is asked of `pulumi` besides config and outputs."""
_FENCE = re.compile(r"^```([a-z ]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


# -- what stands in a runbook


def blocks(path: Path) -> list[tuple[str, str]]:
    """Language (with the alternative that it is for, where it is for one) and text of each block."""
    return _FENCE.findall(path.read_text())


def commands(path: Path, *kinds: str) -> list[str]:
    """The commands of the blocks of these kinds, a line each."""
    return [line for kind, text in blocks(path) if kind in kinds for line in text.splitlines() if line.strip()]


def test_all_blocks_are_of_a_kind_that_is_run() -> None:
    kinds = {kind for path in RUNBOOKS for kind, _ in blocks(path)}
    assert kinds == {"bash", "bash serverless", "bash fargate", "sql"}
    assert all(path.read_text().count("```") == 2 * len(blocks(path)) for path in RUNBOOKS)


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_it_has_all_its_parts(path: Path) -> None:
    text = path.read_text()
    assert re.match(rf"# {path.stem}\n\n\*\*(Pages|Informs)", text)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["First look", "Likely causes", "Repair", "Verify"]
    first = text.partition("## First look")[2].partition("## ")[0]
    assert "```" in first, "the first look is a command"


# -- a stack to look at


class World:
    """What the commands of a runbook meet."""

    def __init__(self, aws: AwsAccount, graph: Record, outputs: Mapping[str, Any], words: Mapping[str, str]) -> None:
        self.aws, self.graph, self.outputs, self.words = aws, graph, outputs, words

    def filled(self, line: str) -> str:
        return filled(line, self.outputs, self.words)


@pytest.fixture(scope="module")
def graphs() -> dict[str, Record]:
    return {name: record(name) for name in ("serverless", "fargate")}


@pytest.fixture
def stack(aws: AwsAccount, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stack:
    for key, value in aws.environment.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("CONFIRM_RECORDED_ONLY", str(tmp_path / "recorded.jsonl"))
    return Stack(Session(REGION))


def made(stack: Stack, graph: Record, type_: str, logical: str, **changes: Any) -> dict[str, Any]:
    """One of the program's resources, as it declares it; returns its outputs."""
    one = graph.one(type_, logical)
    return dict(stack.make(type_, **{**whole(one.inputs), **changes})[1])


@pytest.fixture
def serverless(
    stack: Stack, aws: AwsAccount, graphs: dict[str, Record], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> World:
    graph = graphs["serverless"]
    table = made(stack, graph, "aws:dynamodb/table:Table", "transactions", name="transactions")
    queue = made(stack, graph, "aws:sqs/queue:Queue", "dead-letters", kmsMasterKeyId=None)
    secret = made(stack, graph, "aws:secretsmanager/secret:Secret", "gateway-key", kmsKeyId=None)
    group = made(stack, graph, "aws:scheduler/scheduleGroup:ScheduleGroup", "schedules")
    for name in ("plan", "confirm"):
        made(stack, graph, "aws:cloudwatch/logGroup:LogGroup", name)
    states = aws.client("stepfunctions")
    role = "arn:aws:iam::000000000000:role/r"
    machine = states.create_state_machine(name="run", definition=json.dumps(MACHINE), roleArn=role)["stateMachineArn"]
    execution = states.start_execution(stateMachineArn=machine)["executionArn"]
    aws.client("scheduler").create_schedule(
        Name="run",
        GroupName=group["name"],
        ScheduleExpression="rate(1 minute)",
        State="DISABLED",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": machine, "RoleArn": role},
    )
    outputs = {
        **graph.outputs,
        "tableName": table["name"],
        "stateMachineArn": machine,
        "scheduleGroup": group["name"],
        "scheduleName": "run",
        "deadLetterQueueUrl": queue["url"],
        "gatewayKeySecretArn": secret["arn"],
    }
    file = tmp_path / "outputs.json"
    file.write_text(json.dumps(outputs))
    monkeypatch.setenv("CONFIRM_OUTPUTS", str(file))
    words = {"EXECUTION": execution, "file:///dev/stdin": "new-key"}
    return World(aws, graph, outputs, words)


@pytest.fixture
def fargate(stack: Stack, aws: AwsAccount, graphs: dict[str, Record]) -> World:
    graph = graphs["fargate"]
    made(stack, graph, "aws:cloudwatch/logGroup:LogGroup", "worker")
    made(stack, graph, "aws:ecs/cluster:Cluster", "workers")
    cluster = str(graph.outputs["databaseClusterId"])
    aws.client("rds").create_db_cluster(
        DBClusterIdentifier=cluster, Engine="aurora-postgresql", MasterUsername="m", ManageMasterUserPassword=True
    )
    return World(aws, graph, graph.outputs, {})


# -- running


def execute(world: World, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    line = world.filled(line)
    words = shlex.split(line)
    match words[0]:
        case "aws":
            call_of(world.aws.client, line).made()
        case "confirm":
            monkeypatch.setattr(sys, "argv", words)
            with pytest.raises(SystemExit) as ended:
                main.run(words[1:])
            # it also says by its code that work is open, or waits for a person: that is what one wants to know
            assert ended.value.code in (0, None, Exit.NOT_YET_FINAL), capsys.readouterr()
        case "pulumi":
            match words[1:]:
                case ["config", "set", key, value]:
                    parse(CONFIG | {"alternative": world.graph.alternative, key: value})
                case ["stack", "output", name]:
                    assert name in world.outputs
                case others:
                    assert " ".join(others) in FOR_PEOPLE
        case other:
            raise AssertionError(f"{other} is no command of ours: {line}")


def put_on_desk(world: World, id_: str) -> None:
    """A transaction that a person must decide."""
    shards, clock = int(world.outputs["pendingShards"]), SystemClock()
    client = world.aws.client("dynamodb")
    index = str(world.outputs["pendingIndexName"])
    store = DynamoDbStore(client, str(world.outputs["tableName"]), index, shards, clock, Policy())
    run(store.add([payment(id_, created_at=clock.now() - timedelta(days=2), hours=1)]))
    run(store.claim(token="t", by="w", limit=1, ids=[id_]))
    found = run(store.find(id_))
    assert found is not None
    assert found.status is Status.REVIEW


def desk(world: World) -> DynamoDbDesk:
    client, index = world.aws.client("dynamodb"), str(world.outputs["pendingIndexName"])
    shards = int(world.outputs["pendingShards"])
    return DynamoDbDesk(DynamoDbStore(client, str(world.outputs["tableName"]), index, shards, SystemClock(), Policy()))


def waiting(world: World) -> str:
    """The request that the command before has made."""
    return str(run(desk(world).requests())[-1].id)


class TwoPeople:
    """What the desk's functions do, for whoever comes as the one or the other (tests/access has them as they are)."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def order(self, role: Role, action: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        here = FourEyes("dev", desk(self.world), SystemClock(), Policy(), Limits(), lambda *_, **__: None)
        return await here.do(role, {Role.MAKER: "ana", Role.CHECKER: "ben"}[role], action, payload)


def test_their_commands_run(
    serverless: World, fargate: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed: dict[str, str] = {}
    monkeypatch.setattr(aws_desk, "DeskCalls", lambda _: TwoPeople(serverless))
    for path in RUNBOOKS:
        put_on_desk(serverless, f"late-{path.stem}")
        lines = [(serverless, line) for line in commands(path, "bash", "bash serverless")]
        # the operator's command is the same; tests/cli/test_postgres.py runs it on the other datastore
        mine = commands(path, "bash fargate")
        lines += [(serverless if line.startswith("confirm") else fargate, line) for line in mine]
        assert lines
        for world, line in lines:
            try:
                if "REQUEST" in line:
                    line = line.replace("REQUEST", waiting(serverless))
                execute(world, line.replace("TRANSACTION", f"late-{path.stem}"), monkeypatch, capsys)
            except Exception as error:
                failed[f"{path.stem}: {line}"] = f"{type(error).__name__}: {error}"
    assert failed == {}


def test_a_flag_that_does_not_exist_fails(aws: AwsAccount) -> None:
    with pytest.raises(KeyError, match="state-vale"):
        call_of(aws.client, "aws cloudwatch describe-alarms --state-vale ALARM")
    with pytest.raises(KeyError, match="describe_alarm"):
        call_of(aws.client, "aws cloudwatch describe-alarm --state-value ALARM")


def test_its_sql_runs(postgres: Postgres) -> None:
    statements = [
        statement
        for path in RUNBOOKS
        for kind, text in blocks(path)
        if kind == "sql"
        for statement in text.split(";")
        if statement.strip()
    ]
    assert len(statements) > 5

    async def ask() -> None:
        connection = await asyncpg.connect(postgres.url())
        try:
            await connection.execute("DROP SCHEMA IF EXISTS runbooks CASCADE; CREATE SCHEMA runbooks")
            await connection.execute("SET search_path = runbooks")
            await migrate(connection)
            for statement in statements:
                await connection.fetch(statement)
        finally:
            await connection.execute("DROP SCHEMA runbooks CASCADE")
            await connection.close()

    asyncio.run(ask())
