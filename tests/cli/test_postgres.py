"""The desk on PostgreSQL: the same commands, as the operator's own role; what that may not do; errors in words."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest
from botocore.exceptions import NoCredentialsError

from cli import postgres as desk
from cli.desk import Target
from cli.exits import Exit, Trouble
from cli.orders import DeskCalls
from cli.postgres import DatabaseAccess, asking
from local.postgres import Postgres
from local.processes import ROOT
from tests.cli.conftest import TARGET, Confirm, make_database
from tests.contract.conftest import bring_in
from workers.clock import SystemClock
from workers.desk.service import FourEyes
from workers.domain.causes import Cause, because
from workers.domain.desk import Limits, Role
from workers.domain.outcomes import Confirmed, Outcome, Rejected, Retryable
from workers.domain.policy import Policy
from workers.domain.ports import Move
from workers.domain.transaction import Status, Transaction
from workers.domain.transitions import Answer, decide
from workers.stores.postgres import SESSION, PostgresStore
from workers.stores.postgres_desk import PostgresDesk

HEADER = "id,account,amount_minor,currency"
PASSWORD = "of-the-operator"
T = TypeVar("T")


class Stack:
    """A stack that is up, by its outputs, on a database of its own; and a way to it behind the command's back."""

    def __init__(self, postgres: Postgres, outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.master = asyncio.run(make_database(postgres))
        self.name = self.master.rpartition("/")[2]
        self._postgres, self._monkeypatch, self._file = postgres, monkeypatch, outputs
        self.outputs: dict[str, Any] = {
            "alternative": "fargate",
            "stack": "fargate",
            "environment": "dev",
            "region": "us-east-1",
            "databaseHost": "127.0.0.1",
            "databasePort": postgres.port,
            "databaseName": self.name,
        }
        monkeypatch.setenv("CONFIRM_OUTPUTS", str(outputs))
        for name in ("AWS_ENDPOINT_URL", "CONFIRM_DATABASE_USER", "CONFIRM_DATABASE_CA"):
            monkeypatch.delenv(name, raising=False)
        self.come("confirm_operator", "no one asks for it here")
        self.write()

    def write(self, **changes: object) -> None:
        self._file.write_text(json.dumps({**self.outputs, **changes}))

    def come(self, user: str, password: str) -> None:
        self._monkeypatch.setenv("CONFIRM_DATABASE_URL", self._postgres.url(user, password, self.name))

    def do(self, work: Callable[[Any], Awaitable[T]]) -> T:
        async def connect_and_work() -> T:
            async with asyncpg.create_pool(self.master, min_size=0, max_size=2) as pool:
                return await work(pool)

        return asyncio.run(connect_and_work())

    def make_login(self, user: str, member_of: str = "confirm_operator") -> None:
        async def make(pool: Any) -> None:
            await pool.execute(f"DROP ROLE IF EXISTS {user}")
            await pool.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}' IN ROLE {member_of}")

        self.do(make)

    def settle(self, outcomes: dict[str, Outcome], policy: Policy = TARGET.policy) -> None:
        """Let a worker claim these and get these answers."""

        async def work(pool: Any) -> None:
            store = PostgresStore(pool, policy)
            held, _ = await store.claim(token="t", by="task-1", limit=100, ids=list(outcomes))
            assert len(held) == len(outcomes)
            now = datetime.now(UTC)
            await store.settle([Move(r, decide(r, Answer(outcomes[r.id], "task-1"), now, policy)) for r in held])

        self.do(work)

    def bring_in(self, id_: str, amount: int) -> None:
        now = datetime.now(UTC)
        rows = [Transaction(id_, "acc-1", amount, "USD", now, now + timedelta(days=1))]
        self.do(lambda pool: bring_in(PostgresStore(pool, TARGET.policy), rows))

    def add(self, *ids: str) -> None:
        now = datetime.now(UTC)
        rows = [Transaction(id_, "acc-1", 1250, "EUR", now, now + timedelta(days=1)) for id_ in ids]
        self.do(lambda pool: PostgresStore(pool, TARGET.policy).add(rows))


@pytest.fixture
def stack(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    return Stack(postgres, tmp_path / "outputs.json", monkeypatch)


def done(amount: int = 1250) -> Confirmed:
    return Confirmed("ref", amount, "EUR")


# --- the commands


def test_import_status_and_show_as_the_operator(stack: Stack, run: Confirm, tmp_path: Path) -> None:
    file = tmp_path / "pay.csv"
    file.write_text("\n".join([HEADER, *[f"order-{n},acc-{n:08d},{n},EUR" for n in range(600)], "bad id,x,1,EUR"]))
    code, out, err = run("import", str(file))
    assert (code, "600 new, 0 already there, 1 refused" in out) == (Exit.ROWS_REFUSED, True), err
    code, out, _ = run("import", str(file), "--json")
    assert (json.loads(out)["new"], json.loads(out)["already"]) == (0, 600)

    code, out, err = run("status", "--json", "--all")
    value = json.loads(out)
    assert (code, value["open"], value["due"], value["final"]) == (Exit.NOT_YET_FINAL, 600, 600, False), err
    assert (value["stack"], value["alternative"], value["last_run"]) == ("fargate", "fargate", None)
    assert value["states"]["PENDING"] == {"count": 600, "amounts_minor": {"EUR": sum(range(600))}}
    assert "it has not done anything yet" in run("status")[1]

    code, out, _ = run("show", "order-599")
    assert code == Exit.NOT_YET_FINAL
    assert "5.99 EUR" in out

    code, out, err = run("find", "--account", "acc-00000599", "--json")
    value = json.loads(out)
    assert (code, [one["id"] for one in value["found"]]) == (Exit.OK, ["order-599"]), err
    assert value["by"] == ["the index by account"]
    assert "pages of 8 KB" in run("find", "--reference", "none")[2]
    code, out, err = run("show", "order-6OO")
    assert (code, "nearest ids are order-" in err) == (Exit.ERROR, True)


def test_canaries_come_as_their_own_role(stack: Stack, run: Confirm) -> None:
    order = ("canary", "--account", "test-account", "--within", "0", "--json")
    code, _, err = run(*order)
    assert (code, "refused a row (CheckViolationError)" in err) == (Exit.ERROR, True), "an operator brings in none"
    stack.make_login("canaries", member_of="confirm_canary")
    stack.come("canaries", PASSWORD)
    assert "CheckViolationError" in run(*order)[2], "who is of the role comes as it"
    stack.come("confirm_canary", "")
    code, out, err = run(*order)
    assert (code, json.loads(out)["status"]) == (Exit.NOT_YET_FINAL, "PENDING"), err


def test_what_the_service_did_lately(stack: Stack, run: Confirm) -> None:
    stack.add(*(f"p-{n}" for n in range(8)))
    stack.bring_in("canary-20260105T090000Z", 1)
    stack.settle({"canary-20260105T090000Z": Confirmed("ref", 1, "USD")})  # in no count
    answers: list[Outcome] = [done(), done(), done(), Rejected("no"), Retryable("busy"), done(7)]
    stack.settle({f"p-{n}": outcome for n, outcome in enumerate(answers)})
    off = because(Cause.BREAKER_OPEN)
    stack.settle({"p-6": Retryable(off.sentence, counts=False, cause=off.cause)})
    stack.do(lambda pool: pool.execute("UPDATE history SET at = at - interval '20 s' WHERE transaction_id = 'p-0'"))
    last = json.loads(run("status", "--json")[1])["last_run"]
    assert (last["name"], last["status"], last["error"]) == ("service", "WORKING", None)
    assert last["counts"] == {"confirmed": 3, "rejected": 1, "retried": 1, "review": 1, "not_tried": 1}
    assert 20 <= last["seconds"] < 21
    assert last["settled_per_second"] == pytest.approx(4 / 20, abs=0.02)
    assert "service" in (out := run("status")[1])
    assert "0.2 settled per second: 3 confirmed, 1 rejected, 1 retried, 1 review, 1 not tried" in out
    for why, cause, not_tried in (("es begab sich", "cause", 1), (off.sentence, "NULL", 0)):
        # no sentence is read, not even in lines of before there were causes
        stack.do(partial(_reword, why=why, cause=cause))
        counts = json.loads(run("status", "--json")[1])["last_run"]["counts"]
        assert (counts["not_tried"], counts["retried"]) == (not_tried, 2 - not_tried)
    assert json.loads(run("show", "p-6", "--json")[1])["history"][-1]["cause"] is None

    # what is older than the last stretch of work is not counted; and a service that rests says so
    stack.do(lambda pool: pool.execute("UPDATE history SET at = at - interval '6 min' WHERE transaction_id = 'p-0'"))
    assert json.loads(run("status", "--json")[1])["last_run"]["counts"]["confirmed"] == 2
    stack.do(lambda pool: pool.execute("UPDATE history SET at = at - interval '10 min'"))
    assert json.loads(run("status", "--json")[1])["last_run"]["status"] == "IDLE"

    # what only bears a canary's name is
    for id_, amount in (("canary-1", 1), ("canary-20260105T090500Z", 7)):
        stack.bring_in(id_, amount)
        stack.settle({id_: Confirmed("ref", amount, "USD")})
    assert json.loads(run("status", "--json")[1])["last_run"]["counts"]["confirmed"] == 2


async def _reword(pool: Any, *, why: str, cause: str) -> None:
    await pool.execute(f"UPDATE history SET why = $1, cause = {cause}", why)


def test_only_the_end_of_the_history_is_read(stack: Stack, run: Confirm, monkeypatch: pytest.MonkeyPatch) -> None:
    """A week of work must not be walked through to tell of its last minute."""
    stack.do(
        lambda pool: pool.execute(
            "INSERT INTO history (transaction_id, version, at, by, was, now, attempt, why) "
            "SELECT 'old-' || n, 2, now(), 'w', 'PROCESSING', 'CONFIRMED', 1, 'done' FROM generate_series(1, 2000) n"
        )
    )
    counts = json.loads(run("status", "--json")[1])["last_run"]["counts"]
    assert counts["confirmed"] == 2000
    monkeypatch.setattr(desk, "TAIL_PAGES", 3)
    counts = json.loads(run("status", "--json")[1])["last_run"]["counts"]
    assert 0 < counts["confirmed"] < 500
    query = "EXPLAIN " + desk._LATELY.replace("$1", "'(9,0)'").replace("$2", "'5 min'").replace("$3", "'1 min'")
    query = query.replace("$4", "'{}'")
    plan = stack.do(lambda pool: pool.fetch(query))
    assert any("Tid Range Scan on history" in row[0] for row in plan), plan
    assert not any("Seq Scan on history" in row[0] for row in plan)


def test_review_and_redrive(stack: Stack, run: Confirm, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the command's own way to the database; the functions are played here (tests/access has them as they are)."""

    async def order(_: DeskCalls, role: Role, action: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        async with asyncpg.create_pool(stack.master, min_size=0, server_settings=SESSION) as pool:
            desk = FourEyes("s", PostgresDesk(asking(pool)), SystemClock(), Policy(), Limits(), lambda *_, **__: None)
            return await desk.do(role, {Role.MAKER: "ana", Role.CHECKER: "ben"}[role], action, payload)

    monkeypatch.setattr(DeskCalls, "order", order)
    stack.add("lost")
    stack.settle({"lost": done(amount=7)})
    code, out, err = run("review", "--json")
    assert [row["id"] for row in json.loads(out)["review"]] == ["lost"], err
    code, out, err = run("redrive", "lost", "--why", "amount was mended", "--json")
    assert code == Exit.OK, err
    request = json.loads(out)["id"]
    assert request[:12] in run("requests")[1]
    code, out, err = run("approve", request[:12])
    assert code == Exit.OK, err
    value = json.loads(run("show", "lost", "--json")[1])
    assert value["status"] == "PENDING"
    assert (value["history"][-1]["by"], value["history"][-1]["from"]) == ("ana", "REVIEW")
    stack.settle({"lost": done()})
    assert run("show", "lost")[0] == Exit.OK
    assert run("status")[0] == Exit.OK


def test_nothing_stays_connected(stack: Stack, run: Confirm) -> None:
    assert run("status")[0] == Exit.OK
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'confirm' AND datname = $1"
    assert stack.do(lambda pool: pool.fetchval(query, stack.name)) == 0


# --- who may do what


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE transactions SET status = 'CONFIRMED', settled_at = now(), due_at = NULL WHERE id = 'open'",
        "UPDATE transactions SET status = 'CONFIRMED', due_at = NULL WHERE id = 'open'",
        "UPDATE transactions SET status = 'PENDING', due_at = now() WHERE id = 'done'",
        "UPDATE transactions SET status = 'REVIEW', reason = 'x', owner = 'x', review_by = now() WHERE id = 'done'",
        "UPDATE transactions SET status = 'PROCESSING' WHERE id = 'open'",
        "UPDATE transactions SET amount = 1",
        "UPDATE transactions SET account = 'mine'",
        "INSERT INTO transactions (id, account, amount, currency, status) VALUES ('x', 'x', 1, 'EUR', 'CONFIRMED')",
        "DELETE FROM transactions",
        "UPDATE history SET why = 'rewritten'",
        "DELETE FROM history",
        "INSERT INTO history (transaction_id, version, token) VALUES ('open', 9, 't')",
        "TRUNCATE transactions",
        "CREATE TABLE mine (x int)",
    ],
)
def test_the_operator_can_do_no_more_than_the_commands_need(stack: Stack, statement: str) -> None:
    stack.add("open", "done")
    stack.settle({"done": done()})

    async def attempt(pool: Any) -> None:
        async with pool.acquire() as connection:
            await connection.execute("SET ROLE confirm_operator")
            await connection.execute(statement)

    with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.CheckViolationError)):
        stack.do(attempt)


def test_a_person_may_have_a_login_of_his_own(stack: Stack, run: Confirm) -> None:
    stack.make_login("ana")
    stack.come("ana", PASSWORD)
    stack.add("a")
    assert run("status")[0] == Exit.NOT_YET_FINAL


# --- how it comes in


def test_without_a_url_it_comes_by_an_iam_token(stack: Stack, run: Confirm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONFIRM_DATABASE_URL")
    asked: list[tuple[str, int, str]] = []

    def token(config: Any, client: Any) -> Callable[[], str]:
        assert client.meta.service_model.service_name == "rds"
        asked.append((config.host, config.port, config.user))
        return lambda: PASSWORD

    monkeypatch.setattr(desk, "iam_token", token)
    assert run("status")[0] == Exit.OK
    assert set(asked) == {("127.0.0.1", stack.outputs["databasePort"], "confirm_viewer")}
    stack.make_login("bea")
    monkeypatch.setenv("CONFIRM_DATABASE_USER", "bea")
    assert run("status")[0] == Exit.OK, "the token was not sent"
    monkeypatch.setenv("CONFIRM_DATABASE_USER", "nobody_here")
    code, _, err = run("status")
    assert (code, "refused the login of nobody_here" in err) == (Exit.NO_ACCESS, True)
    assert "rds-db:connect" in err


def test_the_token_is_for_that_database_and_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    token = desk._token(TARGET, DatabaseAccess("db.example.com", 5432, "transactions", "ana"))()
    assert token.startswith("db.example.com:5432/?Action=connect&DBUser=ana&")


def test_tls_checks_the_servers_name_everywhere_but_here() -> None:
    away = DatabaseAccess("db.example.com", 5432, "t", "ana")
    context = desk._login(TARGET, away)["ssl"]
    assert isinstance(context, ssl.SSLContext)
    assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)
    by_url = DatabaseAccess("ignored", 1, "t", "ana", "postgresql://ana:x@db.example.com/t")
    assert isinstance(desk._login(TARGET, by_url)["ssl"], ssl.SSLContext)
    assert desk._login(TARGET, DatabaseAccess("127.0.0.1", 5432, "t", "ana"))["ssl"] is False
    with pytest.raises(Trouble, match="CONFIRM_DATABASE_CA"):
        desk._login(TARGET, DatabaseAccess("db.example.com", 5432, "t", "ana", ca_file="none.pem"))


# --- errors in words


@pytest.mark.parametrize("url", ["mysql://x", "postgresql:///t", "postgresql://h:port/t", "nonsense"])
def test_a_url_that_is_none(url: str, stack: Stack, run: Confirm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFIRM_DATABASE_URL", url)
    code, _, err = run("status")
    assert (code, "CONFIRM_DATABASE_URL is no address" in err) == (Exit.USAGE, True)


def test_a_database_that_does_not_answer(stack: Stack, run: Confirm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONFIRM_DATABASE_URL")
    monkeypatch.setattr(desk, "iam_token", lambda *_: lambda: PASSWORD)
    stack.write(databasePort=9)
    code, _, err = run("status")
    assert (code, "does not answer" in err, "security group" in err) == (Exit.NO_ACCESS, True, True)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert "make shell" in run("status")[2]


def test_a_wrong_password_is_not_shown(stack: Stack, run: Confirm) -> None:
    stack.make_login("ana")
    stack.come("ana", "hunter2")
    code, out, err = run("status")
    assert (code, "refused the login of the user of CONFIRM_DATABASE_URL" in err) == (Exit.NO_ACCESS, True)
    assert "hunter2" not in out + err
    assert err.count("\n") == 1


def test_a_role_without_the_right(stack: Stack, run: Confirm, tmp_path: Path) -> None:
    stack.make_login("looker", member_of="confirm_reader")
    stack.come("looker", PASSWORD)
    assert run("status")[0] == Exit.OK
    file = tmp_path / "pay.csv"
    file.write_text(f"{HEADER}\na,x,1,EUR\n")
    code, _, err = run("import", str(file))
    assert (code, "may not do this" in err, "confirm_operator" in err) == (Exit.NO_ACCESS, True, True)


def test_a_database_without_the_schema(stack: Stack, run: Confirm) -> None:
    stack.do(lambda pool: pool.execute("DROP TABLE transactions, history CASCADE"))
    code, _, err = run("status")
    assert (code, "has not the schema" in err, "pulumi up --stack fargate" in err) == (Exit.NO_ACCESS, True, True)


def test_a_database_that_is_read_only_loads_nothing_and_says_how_to_go_on(
    stack: Stack, run: Confirm, tmp_path: Path
) -> None:
    stack.do(lambda pool: pool.execute(f"ALTER DATABASE {stack.name} SET default_transaction_read_only = on"))
    file = tmp_path / "pay.csv"
    file.write_text(f"{HEADER}\na,x,1,EUR\n")
    code, _, err = run("import", str(file))
    assert (code, "is read-only" in err, "run the same command again" in err) == (Exit.ERROR, True, True)


AWAY = Target("prod", "fargate", "prod", "eu-west-1", TARGET.policy, DatabaseAccess("db", 5432, "t", "ana"))


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ssl.SSLCertVerificationError("x"), Exit.NO_ACCESS, "could not prove who it is"),
        (TimeoutError(), Exit.NO_ACCESS, "does not answer"),
        (asyncpg.ConnectionDoesNotExistError("x"), Exit.NO_ACCESS, "does not answer"),
        (asyncpg.InvalidCatalogNameError("secret"), Exit.NO_ACCESS, "has not the schema"),
        (asyncpg.NumericValueOutOfRangeError("secret"), Exit.ERROR, "refused a row"),
        (asyncpg.DiskFullError("secret"), Exit.ERROR, "failed (DiskFullError)"),
    ],
)
def test_errors_of_the_database_in_words(error: Exception, code: Exit, said: str) -> None:
    assert isinstance(AWAY.data, DatabaseAccess)
    trouble = desk.explained(error, AWAY, AWAY.data)
    assert (trouble.code, said in trouble.what) == (code, True)
    assert trouble.fix
    assert "secret" not in str(trouble)


def test_what_aws_says_of_the_token_is_in_aws_words_and_the_rest_is_raised() -> None:
    """Each way explains its own errors; of PostgreSQL's the module for AWS knows nothing."""
    assert "no AWS credentials" in AWAY.data.explained(NoCredentialsError(), AWAY).what
    with pytest.raises(asyncpg.DiskFullError):
        AWAY.data.explained(asyncpg.DiskFullError("x"), AWAY)


def test_the_desk_on_postgresql_needs_no_aws() -> None:
    script = (
        "import sys, cli.postgres; print(sorted({'boto3', 'botocore', 'cli.aws', 'cli.target'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_status_names_are_the_domains(stack: Stack) -> None:
    """A census has every state, also those that nothing is in."""

    async def tally(pool: Any) -> Any:
        return await desk.DatabaseCensus(pool).tally()

    assert set(stack.do(tally)) == set(Status)
