"""The publisher: what it asks, what it reports, and how it waits for a database that sleeps."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from typing import Any

import asyncpg
import boto3
import pytest
from botocore.exceptions import ClientError

from local.postgres import Postgres
from local.processes import HOST
from workers import publisher
from workers.config import ConfigError, DatabaseConfig
from workers.migrations import migrate
from workers.migrations.__main__ import run as migrate_and_let_in
from workers.migrations.__main__ import scram

ENVIRONMENT = {
    "STACK": "fargate",
    "ALTERNATIVE": "fargate",
    "ENVIRONMENT": "dev",
    "METRIC_NAMESPACE": "ConfirmTransactions",
    "CLUSTER_ARN": "arn:cluster",
    "PUBLISHER_SECRET_ARN": "arn:secret",
    "DATABASE_NAME": "confirm",
    "REVIEW_SECONDS": "3600",
}


class Data:
    """The Data API, in front of prepared answers."""

    class exceptions:  # noqa: N801 - boto3's name
        ClientError = ClientError

    def __init__(self, *answers: str | tuple[int, float, int]) -> None:
        self.answers = list(answers)
        self.requests: list[dict[str, Any]] = []

    def execute_statement(self, **request: Any) -> dict[str, Any]:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, str):
            raise ClientError({"Error": {"Code": answer, "Message": ""}}, "ExecuteStatement")
        due, age, review = answer
        desk = [{"longValue": review}, {"doubleValue": -600.0}, {"stringValue": '{"USD": 1950, "EUR": 7}'}]
        return {"records": [[{"longValue": due}, {"doubleValue": age}, *desk]]}


def test_it_reports_what_scaling_reads(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    data = Data((7, 61.25, 2))
    monkeypatch.setattr(boto3, "client", lambda service: {"rds-data": data}[service])
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    assert publisher.publish({}, None) == {"due": 7, "age": 61.25, "review": 2}
    line, *money = map(json.loads, capsys.readouterr().out.splitlines())
    assert line["OldestReviewAge"] == 3_000  # ten minutes before the hour is over
    assert [(one["Currency"], one["MoneyAtRisk"]) for one in money] == [("USD", 1950), ("EUR", 7)]
    assert (line["Backlog"], line["OldestPendingAge"], line["InReview"]) == (7, 61.25, 2)
    assert (line["Alternative"], line["Environment"]) == ("fargate", "dev")
    assert line["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "ConfirmTransactions"
    (request,) = data.requests
    assert {key: request[key] for key in ("resourceArn", "secretArn", "database")} == {
        "resourceArn": "arn:cluster",
        "secretArn": "arn:secret",
        "database": "confirm",
    }


def test_of_nothing_due_and_an_empty_desk_it_tells_what_scaling_reads(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(boto3, "client", lambda _: Data((0, 0.0, 0)))
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    publisher.publish({}, None)
    line = json.loads(capsys.readouterr().out.splitlines()[0])
    [block] = line["_aws"]["CloudWatchMetrics"]
    assert {metric["Name"]: line[metric["Name"]] for metric in block["Metrics"]} == {
        "Backlog": 0,
        "OldestPendingAge": 0,
    }


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=r"CLUSTER_ARN is missing; PUBLISHER_SECRET_ARN is missing"):
        publisher.publish({}, None)


def test_it_waits_for_a_paused_database_and_for_no_other_trouble() -> None:
    waits: list[float] = []
    data = Data(publisher.RESUMING, publisher.RESUMING, (0, 0.0, 0))
    assert publisher.measure(data, {}, waits.append)[:3] == (0, 0.0, 0)
    assert waits == [publisher.WAIT_SECONDS] * 2
    with pytest.raises(ClientError):
        publisher.measure(Data("BadRequestException"), {}, waits.append)
    assert len(waits) == 2
    with pytest.raises(ClientError):
        publisher.measure(Data(publisher.RESUMING), {}, waits.append)
    assert publisher.PATIENCE <= sum(waits[2:]) < publisher.PATIENCE + publisher.WAIT_SECONDS


def test_the_database_understands_the_question(postgres: Postgres) -> None:
    async def ask() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(postgres.url())
        try:
            await connection.execute("DROP SCHEMA IF EXISTS publisher CASCADE")
            await connection.execute("CREATE SCHEMA publisher")
            await connection.execute("SET search_path = publisher")
            await migrate(connection)
            before = await connection.fetchrow(publisher.QUERY)
            await connection.execute(
                "INSERT INTO transactions (id, account, amount, currency, created_at, deadline) "
                "SELECT 'p' || n, 'a', 1, 'EUR', now() - interval '1 minute', now() + interval '1 day' "
                "FROM generate_series(1, 3) AS n"
            )
            await connection.execute("UPDATE transactions SET due_at = now() - interval '90 seconds' WHERE id = 'p1'")
            await connection.execute("UPDATE transactions SET due_at = now() + interval '1 hour' WHERE id = 'p3'")
            await connection.execute(
                "UPDATE transactions SET status = 'REVIEW', due_at = NULL, reason = 'r', owner = 'o', "
                "review_by = now() - interval '5 minutes' WHERE id = 'p2'"
            )
            await connection.execute("SET session_replication_role = replica")  # past the check of who inserts
            await connection.execute(  # a canary: on no desk; and what only bears a canary's name
                "INSERT INTO transactions (id, account, amount, currency) "
                "VALUES ('canary-20260105T090000Z', 'a', 1, 'USD'), ('canary-1', 'a', 700, 'EUR')"
            )
            await connection.execute(
                "UPDATE transactions SET status = 'REVIEW', due_at = NULL, reason = 'r', owner = 'o', "
                "review_by = now() - interval '1 hour' WHERE id = 'canary-20260105T090000Z'"
            )
            await connection.execute(
                "UPDATE transactions SET status = 'REVIEW', due_at = NULL, reason = 'r', owner = 'o', "
                "review_by = now() + interval '1 hour' WHERE id = 'canary-1'"
            )
            return [before, await connection.fetchrow(publisher.QUERY)]
        finally:
            await connection.execute("DROP SCHEMA publisher CASCADE")
            await connection.close()

    before, after = asyncio.run(ask())
    assert tuple(before) == (0, 0.0, 0, 0.0, "{}")
    assert (after["due"], after["review"]) == (1, 2)
    assert json.loads(after["at_risk"]) == {"EUR": 701}
    assert 300 <= after["overdue"] < 360  # a machine may take a while to ask
    assert 90 <= after["age"] < 150
    assert isinstance(after["age"], float)  # the Data API gives a numeric as text, and a float as doubleValue


def test_it_logs_in_with_what_the_migrations_made_last_and_sees_what_it_counts_alone(
    service_postgres: Postgres,
) -> None:
    user, password = service_postgres.url().split("//")[1].split("@")[0].split(":")
    name = f"publisher_{uuid.uuid4().hex[:10]}"
    config = DatabaseConfig(HOST, service_postgres.port, name, "confirm_service")
    logins: list[str] = []

    async def ask(login: str, statement: str) -> Any:
        given = json.loads(login)
        connection = await asyncpg.connect(
            host=HOST, port=config.port, database=name, user=given["username"], password=given["password"]
        )
        try:
            return await connection.fetchrow(statement)
        finally:
            await connection.close()

    async def play() -> None:
        await migrate_and_let_in(config, user, password, logins.append)
        await migrate_and_let_in(config, user, password, logins.append)
        old, new = logins
        assert tuple(await ask(new, publisher.QUERY)) == (0, 0.0, 0, 0.0, "{}")
        with pytest.raises(asyncpg.InvalidPasswordError):
            await ask(old, "SELECT 1")
        for refused in ("SELECT account FROM transactions", "SELECT * FROM history", "DELETE FROM transactions"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await ask(new, refused)
        await migrate_and_let_in(config, user, password)  # a stack that no longer has a publisher
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
            await ask(new, "SELECT 1")

    async def around(statement: str) -> None:
        connection = await asyncpg.connect(service_postgres.url(database="postgres"))
        await connection.execute(statement)
        await connection.close()

    asyncio.run(around(f'CREATE DATABASE "{name}"'))
    try:
        asyncio.run(play())
    finally:
        asyncio.run(around(f'DROP DATABASE "{name}" WITH (FORCE)'))


def test_the_server_hears_no_password() -> None:
    """It logs each ALTER ROLE. The example is that of RFC 7677, whose server signature follows from the keys."""
    proof = scram("pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="))
    assert proof == (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
        "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )
