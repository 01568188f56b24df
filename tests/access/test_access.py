"""Least privilege, proven: under enforced IAM both alternatives work, what they call is granted, what is granted is
called, and without any one statement the system is refused."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.exceptions import ClientError

from analysis.graph import ACCOUNT, REGION
from analysis.permissions import grants, unseen
from local.overlay.access import Check, statements
from tests.access.alternatives import Fargate, Serverless
from tests.access.authorization import Principal, Question, ask
from tests.access.desk import order
from tests.access.world import CHECKER, MAKER, OPERATORS, VIEWER, World, until
from tests.fakes import run
from tests.service.conftest import store_in
from tests.telemetry.gateway import LeakyGateway, Reply
from workers.database.login import iam_token
from workers.domain.desk import Role
from workers.domain.transaction import CANARY, Transaction

Statements = Sequence[dict[str, Any]]

SERVERLESS = (
    ("confirm", "ClaimAndSettle"),
    ("confirm", "GatewayKey"),
    ("confirm", "WriteLogs"),
    ("plan", "MarkAsPossiblySent"),
    ("plan", "ReadTheDesk"),
    ("plan", "ReadTheIndex"),
    ("plan", "RunLock"),
    ("plan", "SendCanaries"),
    ("plan", "WriteLogs"),
    ("plan", "WritePlans"),
    ("report", "ReadTheIndex"),
    ("report", "RunLock"),
    ("report", "WriteLogs"),
    ("state-machine", "CallFunctions"),
    ("state-machine", "ReadPlans"),
    ("state-machine", "RunLock"),
    ("state-machine", "StartBatches"),
)
OPERATING = (
    ("ReadTransactions", ("show", "one"), "BatchGetItem"),
    ("ReadTransactions", ("status", "--all"), "GetItem"),
    ("ReadTransactions", ("find", "--reference", "ref-one", "--all"), "DescribeTable"),
    ("ReadTheIndex", ("review",), "Query"),
    ("Import", ("import", "rows.csv"), "PartiQLInsert"),
    ("FindTheLastRun", ("status",), "ListExecutions"),
    ("ReadRuns", ("status",), "DescribeExecution"),
)
STARTING = (
    ("worker-execution", "LogInToTheRegistry"),
    ("worker-execution", "PullTheImage"),
    ("worker-execution", "WriteLogs"),
    ("migrations-execution", "LogInToTheRegistry"),
    ("migrations-execution", "MastersPassword"),
    ("migrations-execution", "PullTheImage"),
    ("migrations-execution", "WriteLogs"),
)
DESK = ("KnowIdentityCenter", "WriteLogs")
LOOKING = ("ReadTransactions", "ReadTheIndex", "FindTheLastRun", "ReadRuns")
AFTER_A_FAILURE = ("scheduler", "BuryDeadLetters")
"""Nothing asks for it while all is well."""
ELSEWHERE = {
    # proven by tests of their own, below
    "serverless": {("scheduler", "StartRun"), ("scheduler", "BuryDeadLetters"), ("confirm", "RunLock")}
    | {("confirm", "ShareTheRateLimit")}
    # tests/access/test_desk.py
    | {(f"desk-{role}", sid) for role in ("maker", "checker") for sid in (*DESK, "ReadTheTable", "KeepRequests")}
    | {("desk-maker", "ReadTheIndex"), ("desk-checker", "MakeExits"), (MAKER, "CallTheDesk"), (CHECKER, "CallTheDesk")}
    # the same as the operators'
    | {(role, sid) for role in (VIEWER, MAKER, CHECKER) for sid in LOOKING},
    "fargate": {
        ("migrations", "RenewLogins"),
        ("worker-payments", "GatewayKey"),
        ("worker-payments", "LogInToTheDatabase"),
        ("worker-task", "BecomeTheWorker"),
        ("operators", "LogInToTheDatabase"),
        ("scheduler", "Publish"),
        ("scheduler", "BuryDeadLetters"),
        ("publisher", "AskTheDatabase"),
        ("publisher", "WriteLogs"),
        *((f"desk-{role}", sid) for role in ("maker", "checker") for sid in (*DESK, "AskTheDatabase")),
        *((role, "LogInToTheDatabase") for role in (VIEWER, MAKER, CHECKER)),
        (MAKER, "CallTheDesk"),
        (CHECKER, "CallTheDesk"),
    },
}


# --- what stands in for AWS's own checks


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ('UPDATE "t-1" SET a = ? WHERE "id" = ?', ("dynamodb:PartiQLUpdate", "t-1", None)),
        ("INSERT INTO \"t-1\" VALUE {'id': ?}", ("dynamodb:PartiQLInsert", "t-1", None)),
        ('delete from t WHERE "id" = ?', ("dynamodb:PartiQLDelete", "t", None)),
        ('SELECT "id", from_where FROM "t"."pending"', ("dynamodb:PartiQLSelect", "t", "pending")),
        ("EXISTS(nothing)", ("dynamodb:PartiQLSelect", "?", None)),  # denied: no table is called so
    ],
)
def test_a_statement_of_partiql_is_asked_for_as_on_aws(text: str, asked: tuple[str, str, str | None]) -> None:
    assert list(statements({"Statements": [{"Statement": text}]})) == [asked]
    assert list(statements({"Statement": text})) == [asked]
    assert list(statements({"TableName": "t"})) == []


# --- both at work, once


@pytest.fixture(scope="session")
def worked(serverless: Serverless, gateway: LeakyGateway) -> list[Check]:
    """Transactions from an operator's file through a scheduled run to their ends; what roles asked for meanwhile."""
    gateway.replies["odd"] = [Reply(200, {"amount": 99}), Reply(200)]
    gateway.replies["desk"] = [Reply(200, {"amount": 99})]  # stays with a person
    assert "4 new" in serverless.add("one", "two", "odd", "desk")
    serverless.schedule()
    until(serverless.executions)
    serverless.unschedule()
    assert {serverless.ended(arn)["status"] for arn in serverless.executions()} == {"SUCCEEDED"}
    assert [serverless.state(id_) for id_ in ("one", "two", "odd")] == ["CONFIRMED", "CONFIRMED", "REVIEW"]
    assert "CONFIRMED" in serverless.confirm("status", "--all")
    assert "ref-one" in serverless.confirm("show", "one")
    assert "odd" in serverless.confirm("review")
    assert "ref-one" in serverless.confirm("find", "--reference", "ref-one", "--all")
    serverless.put("waits")
    with serverless.in_shadow():
        assert serverless.run()["status"] == "SUCCEEDED", "its plan looks at what waits, and marks it"
    serverless.remove("waits")
    serverless.batch_of_a_lost_run()
    two_people(serverless, "odd")
    return serverless.checks()


def two_people(serverless: Serverless, id_: str) -> None:
    """Each with all that the command does for him."""
    for role in (VIEWER, MAKER, CHECKER):
        assert "CONFIRMED" in serverless.confirm("status", "--all", role=role)
        assert id_ in serverless.confirm("review", role=role)
        assert id_ in serverless.confirm("find", "--amount-from", "1", "--all", role=role)
    asked = serverless.confirm(
        "redrive", id_, "--why", "the books agree", "--json", role=MAKER, person="ana@example.com"
    )
    request = json.loads(asked)["id"]
    assert request[:12] in serverless.confirm("requests", role=VIEWER)
    done = serverless.confirm("approve", request[:12], role=CHECKER, person="ben@example.com")
    assert "1 of 1 done, 0 left out" in done, done


def sit_down(fargate: Fargate) -> None:
    """One asks, another approves: of what is not there, which is enough for all that the functions call."""
    item = {"id": "gone", "version": 1, "amount": 1, "currency": "USD"}
    payload = {"id": "0" * 32, "order": {"kind": "redrive", "why": "w"}, "items": [item]}
    asked = order(fargate, MAKER, "ana@example.com", Role.MAKER, "ask", payload)
    assert asked == {"refused": "there is no transaction gone"}
    approval = {"id": "0" * 32, "digest": "0" * 64}
    decided = order(fargate, CHECKER, "ben@example.com", Role.CHECKER, "approve", approval)
    assert "there is no request" in decided["refused"]


@pytest.fixture(scope="session")
def served(fargate: Fargate) -> list[Check]:
    """Migrations, a worker that confirms, the publisher by its schedule; what roles asked for meanwhile."""
    before = len(fargate.checks())
    assert fargate.place
    migrated = fargate.ended(fargate.start("migrations"))
    assert migrated["containers"][0]["exitCode"] == 0, migrated
    now = datetime.now(UTC)
    with store_in(fargate.place) as store, fargate.running("worker"):
        run(store.add([Transaction("served-1", "acct-1", 100, "USD", now, now + timedelta(hours=2))]))
        until(lambda: not run(store.backlog()).open)
    fargate.schedule()
    until(lambda: used(fargate.checks()[before:], fargate, "publisher", "logs:PutLogEvents"))
    fargate.unschedule()
    sit_down(fargate)
    return fargate.checks()[before:]


def used(checks: Sequence[Check], world: World, role: str, action: str) -> list[Check]:
    """The role's checks of that action."""
    return [check for check in checks if check.role == world.role_name(role) and check.action == action]


def test_the_scheduled_run_works_and_everything_it_calls_is_granted(worked: list[Check]) -> None:
    assert len(worked) > 20
    assert [check for check in worked if not check.allowed] == []


def test_the_service_works_and_everything_it_calls_is_granted(served: list[Check]) -> None:
    assert len(served) > 10
    assert [check for check in served if not check.allowed] == []


# --- every grant is used, and none is there twice


def test_every_grant_of_the_scheduled_run_is_used(serverless: Serverless, worked: list[Check]) -> None:
    seen = {*SERVERLESS, *ELSEWHERE["serverless"], *((OPERATORS, sid) for sid, _, _ in OPERATING)}
    _each_is_used(serverless, worked, seen)


def test_every_grant_of_the_service_is_used(fargate: Fargate, served: list[Check]) -> None:
    tokens = [
        Check(fargate.role_name(role), "rds-db:connect", connects_to(fargate, role), {}, True)
        for role in ("worker-payments", OPERATORS, VIEWER, MAKER, CHECKER)
    ]
    _each_is_used(fargate, [*served, *tokens], {*STARTING, *ELSEWHERE["fargate"]})


def _each_is_used(world: World, checks: Sequence[Check], proven: set[tuple[str, str]]) -> None:
    """Each action on each resource of each statement, and each statement has a check that no other one allows."""
    given = [grant for grant in grants(world.record) if grant.statement["Effect"] == "Allow"]
    table = {(grant.role, grant.sid) for grant in given if not grant.unseen}
    assert table == proven, "a statement without a test that takes it away, or a test of one that is gone"
    idle = []
    for role, granted in world.policies().items():
        own = [check for check in checks if check.role == world.role_name(role)]
        for statement in granted:
            hits = [check for check in own if allows([statement], check)]
            rest = [one for one in granted if one is not statement]
            if (role, statement["Sid"]) == AFTER_A_FAILURE or statement["Effect"] == "Deny":
                continue
            if unseen(role, statement["Sid"]):
                assert not hits, f"{role} {statement['Sid']} is used: take it from UNSEEN in analysis/permissions.py"
                continue
            idle += [(role, action) for action in set(statement["Action"]) - {check.action for check in hits}]
            idle += [(role, one) for one in statement["Resource"] if not any(on(one, check) for check in hits)]
            assert any(not allows(rest, check) for check in hits), f"{role} may do without {statement['Sid']}"
    assert idle == []


def allows(granted: Statements, check: Check) -> bool:
    """Whether these statements alone let the check pass."""
    question = Question(check.action, check.resource, check.context)
    return ask(Principal(check.role, [{"Statement": list(granted)}]), question).allowed


def on(resource: str, check: Check) -> bool:
    return fnmatchcase(check.resource, resource)


# --- without any one statement the system is refused: the scheduled run


@pytest.fixture
def refused(serverless: Serverless, worked: list[Check]) -> Callable[[str], list[Check]]:
    """What the role was refused since the test began."""
    before = len(serverless.checks())
    return lambda role: [
        check
        for check in serverless.checks()[before:]
        if check.role == serverless.role_name(role) and not check.allowed
    ]


@pytest.mark.parametrize(("role", "sid"), SERVERLESS)
def test_the_scheduled_run_needs(
    serverless: Serverless, refused: Callable[[str], list[Check]], role: str, sid: str
) -> None:
    id_ = f"{role}-{sid}"
    serverless.put(id_)
    if sid == "GatewayKey":  # a warm function keeps the key
        name = serverless.record.one("aws:lambda/function:Function", role).outputs["name"]
        serverless.client("lambda").update_function_configuration(FunctionName=name, Timeout=119)
    if sid == "SendCanaries":
        time.sleep(1.1)  # the turn of the one that was sent is over
    logged = serverless.logged(role) if sid == "WriteLogs" else 0
    in_shadow = serverless.in_shadow() if sid == "MarkAsPossiblySent" else contextlib.nullcontext()
    with serverless.without(role, sid), in_shadow:
        ended = serverless.run()
    (statement,) = [one for one in serverless.policies()[role] if one["Sid"] == sid]
    assert {check.action for check in refused(role)} & set(statement["Action"])
    serverless.free()
    if sid == "WriteLogs":
        assert ended["status"] == "SUCCEEDED", "payments go on without logs"
        assert serverless.logged(role) == logged
    elif sid == "SendCanaries":
        assert (ended["status"], serverless.state(id_)) == ("SUCCEEDED", "CONFIRMED"), "payments go on without canaries"
    elif role == "report":
        assert ended["status"] == "FAILED"
    else:
        assert ended["status"] == "FAILED" or serverless.state(id_) != "CONFIRMED"
    serverless.free()


def test_a_batch_needs_to_renew_the_run_lock(
    serverless: Serverless, worked: list[Check], refused: Callable[[str], list[Check]]
) -> None:
    with serverless.without("confirm", "RunLock"):
        serverless.batch_of_a_lost_run()
    assert {check.action for check in refused("confirm")} == {"dynamodb:UpdateItem"}


def test_a_batch_waits_for_its_shares_of_the_rate_limit(
    serverless: Serverless, worked: list[Check], refused: Callable[[str], list[Check]]
) -> None:
    serverless.put("without-shares")
    with serverless.without("confirm", "ShareTheRateLimit"):
        serverless.begin_batch("without-shares")
        until(lambda: refused("confirm"))
        assert serverless.state("without-shares") == "PROCESSING", "no share, no call"
    assert {check.action for check in refused("confirm")} == {"dynamodb:UpdateItem"}
    until(lambda: serverless.state("without-shares") == "CONFIRMED")


def test_a_schedule_that_may_not_start_a_run_leaves_a_dead_letter_and_one_that_may_not_bury_leaves_none(
    serverless: Serverless, refused: Callable[[str], list[Check]]
) -> None:
    with serverless.without("scheduler", "StartRun"):
        serverless.schedule()
        (code,) = until(serverless.dead_letters)[:1]
        serverless.unschedule()
    assert code == "AccessDeniedException"
    assert {check.action for check in refused("scheduler")} == {"states:StartExecution"}
    serverless.grant("scheduler", [])
    serverless.schedule()
    until(lambda: "sqs:SendMessage" in {check.action for check in refused("scheduler")})
    serverless.unschedule()
    serverless.grant("scheduler", serverless.policies()["scheduler"])


def test_plan_and_report_may_write_the_lock_and_no_transaction(serverless: Serverless, worked: list[Check]) -> None:
    table = serverless.record.outputs["tableName"]
    for role in ("plan", "report"):
        with serverless.as_role(role), pytest.raises(ClientError, match="AccessDenied"):
            boto3.client("dynamodb").put_item(TableName=table, Item={"id": {"S": "of-a-producer"}})
        with serverless.as_role(role), pytest.raises(ClientError, match="AccessDenied"):
            boto3.client("dynamodb").update_item(
                TableName=table,
                Key={"id": {"S": "two"}},
                UpdateExpression="SET #status = :confirmed",
                ExpressionAttributeNames={"#status": "status"},
                ExpressionAttributeValues={":confirmed": {"S": "CONFIRMED"}},
            )


@pytest.mark.parametrize(("sid", "arguments", "action"), OPERATING)
def test_operators_need(
    serverless: Serverless, refused: Callable[[str], list[Check]], sid: str, arguments: Sequence[str], action: str
) -> None:
    """A command asks for several things at once, and tells of whichever is refused first."""
    if arguments[0] == "import":
        arguments = ("import", str(serverless.folder / "rows.csv"))
    with serverless.without(OPERATORS, sid):
        for _ in range(50):  # the first refusal ends it, often before the others were asked for
            assert "AWS refused " in serverless.confirm(*arguments)
            if action in {check.action.partition(":")[2] for check in refused(OPERATORS)}:
                break
        else:
            raise AssertionError(f"{action} is asked for without {sid}")


@pytest.mark.parametrize("id_", [f"{CANARY}20260105T090000Z", "#run-2"])
def test_operators_bring_in_nothing_under_the_systems_own_ids(
    serverless: Serverless, worked: list[Check], id_: str
) -> None:
    def bring_in(*ids: str) -> None:
        with serverless.as_role(OPERATORS):
            table = serverless.record.outputs["tableName"]
            statements = [
                {
                    "Statement": f"INSERT INTO \"{table}\" VALUE {{'account': ?, 'id': ?}}",
                    "Parameters": [{"S": "a"}, {"S": one}],
                }
                for one in ids
            ]
            boto3.client("dynamodb").batch_execute_statement(Statements=statements)

    bring_in(f"order{id_}")
    with pytest.raises(ClientError, match="AccessDenied"):
        bring_in(f"order-2{id_}", id_)
    with serverless.without(OPERATORS, "NotTheSystemsOwn"):
        bring_in(id_)
    serverless.remove(f"order{id_}", id_)


# --- and the service


@pytest.mark.parametrize(("role", "sid"), STARTING)
def test_a_task_needs_to_start(fargate: Fargate, served: list[Check], role: str, sid: str) -> None:
    with fargate.without(role, sid):
        task = fargate.ended(fargate.start(role.removesuffix("-execution")))
    assert task["stopCode"] == "TaskFailedToStart"
    assert f"{fargate.role(role)} is not authorized to perform" in task["stoppedReason"]


def test_the_migrations_need_to_renew_the_publishers_login(fargate: Fargate, served: list[Check]) -> None:
    secrets = fargate.client("secretsmanager")
    (name,) = [one["ARN"] for one in secrets.list_secrets()["SecretList"] if "publisher-login" in one["Name"]]
    login = json.loads(secrets.get_secret_value(SecretId=name)["SecretString"])
    assert login["username"] == "confirm_publisher"
    with fargate.without("migrations", "RenewLogins"):
        task = fargate.ended(fargate.start("migrations"))
    assert task["containers"][0]["exitCode"] == 1
    assert json.loads(secrets.get_secret_value(SecretId=name)["SecretString"]) == login
    assert fargate.ended(fargate.start("migrations"))["containers"][0]["exitCode"] == 0, "and again, as it should be"


def test_a_worker_needs_the_gateways_key(fargate: Fargate, served: list[Check]) -> None:
    before = len(fargate.checks())

    def refused() -> list[Check]:
        found = used(fargate.checks()[before:], fargate, "worker-payments", "secretsmanager:GetSecretValue")
        return [check for check in found if not check.allowed]

    with fargate.without("worker-payments", "GatewayKey"), fargate.running("worker"):
        until(refused)


def test_a_worker_needs_to_become_itself(fargate: Fargate, served: list[Check]) -> None:
    with fargate.without("worker-task", "BecomeTheWorker"):
        task = fargate.ended(fargate.start("worker"))
    assert next(one for one in task["containers"] if one["name"] == "worker")["exitCode"] == 1
    refused = used(fargate.checks(), fargate, "worker-task", "sts:AssumeRole")
    assert not refused[-1].allowed


def test_a_neighbour_in_the_task_cannot_become_the_worker(fargate: Fargate, served: list[Check]) -> None:
    """As the collector: the task's credentials, which every container has, and all that they give."""
    key = next(arn for arn in fargate.secrets if "gateway-key" in arn)
    with fargate.as_role("worker-task"):
        for word in ({}, {"ExternalId": "guessed"}):
            with pytest.raises(ClientError, match="AccessDenied"):
                boto3.client("sts").assume_role(RoleArn=fargate.role("worker-payments"), RoleSessionName="me", **word)
        with pytest.raises(ClientError, match="AccessDenied"):
            boto3.client("secretsmanager").get_secret_value(SecretId=fargate.here(key))
    user = Check("worker-task", "rds-db:connect", connects_to(fargate, "worker-payments"), {}, True)
    assert not allows(fargate.policies()["worker-task"], user)


def connects_to(fargate: Fargate, role: str) -> str:
    """The database user that the role's own token asks for. The database checks it on AWS; here we read it."""
    user = {"worker-payments": "confirm_service", OPERATORS: "confirm_operator"}.get(role, "confirm_viewer")
    cluster = fargate.record.one("aws:rds/cluster:Cluster", "database").outputs["clusterResourceId"]
    with fargate.as_role(role):
        token = iam_token(SimpleNamespace(host="db", port=5433, user=user), boto3.client("rds"))()  # type: ignore[arg-type]
    asked = {key: value for key, (value,) in parse_qs(urlsplit(f"https://{token}").query).items()}
    assert (asked["Action"], asked["DBUser"]) == ("connect", user)
    return f"arn:aws:rds-db:{REGION}:{ACCOUNT}:dbuser:{cluster}/{asked['DBUser']}"


@pytest.mark.parametrize("role", ["worker-payments", OPERATORS, VIEWER, MAKER, CHECKER])
def test_each_logs_in_to_the_database_as_its_own_user_alone(fargate: Fargate, role: str) -> None:
    granted = fargate.policies()[role]
    own = Check(role, "rds-db:connect", connects_to(fargate, role), {}, True)
    rest = [one for one in granted if one["Sid"] != "LogInToTheDatabase"]
    assert allows(granted, own)
    assert not allows(rest, own)
    for user in {"confirm_service", "confirm_operator", "confirm_viewer", "confirm_desk", "confirm_admin"} - {
        own.resource.rpartition("/")[2]
    }:
        other = f"{own.resource.rpartition('/')[0]}/{user}"
        assert not allows(granted, Check(role, "rds-db:connect", other, {}, True))


@pytest.mark.parametrize(
    ("role", "sid"),
    [
        ("scheduler", "Publish"),
        ("scheduler", "BuryDeadLetters"),
        ("publisher", "AskTheDatabase"),
        ("publisher", "WriteLogs"),
    ],
)
def test_the_publisher_needs(fargate: Fargate, served: list[Check], role: str, sid: str) -> None:
    before = len(fargate.checks())
    (statement,) = [one for one in fargate.policies()[role] if one["Sid"] == sid]

    def refused() -> set[str]:
        found = [check for check in fargate.checks()[before:] if check.role == fargate.role_name(role)]
        return {check.action for check in found if not check.allowed} & set(statement["Action"])

    with fargate.without(role, sid):
        if sid == "BuryDeadLetters":  # asked only when a start fails
            fargate.grant(role, [])
        fargate.schedule()
        until(refused)
        fargate.unschedule()
