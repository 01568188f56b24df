"""An Aurora cluster on the emulator has a real PostgreSQL behind it, which ends with the emulator."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from botocore.exceptions import ClientError

from local.emulator import Emulator
from local.errors import LocalError
from local.postgres import MASTER, TRUSTED, Postgres, crash, require_port, take
from local.processes import HOST, command_of
from local.stack import clean
from tests.local.test_overlays import until

CLUSTER = {
    "DBClusterIdentifier": "db",
    "Engine": "aurora-postgresql",
    "EngineVersion": "17.7",
    "DatabaseName": "confirm",
    "MasterUsername": "confirm_admin",
    "ManageMasterUserPassword": True,
}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """As `.local`: cleaned up whatever the test leaves behind."""
    yield tmp_path
    clean(tmp_path)


def emulator(folder: Path, **options: Any) -> Emulator:
    return Emulator(folder / "aws", postgres=folder / "postgres", **options)


def ask(port: int, sql: str, user: str, password: str = "", database: str = "confirm") -> Any:
    """The first value of a query, or None of a command."""

    async def run() -> Any:
        connection = await asyncpg.connect(host=HOST, port=port, user=user, password=password, database=database)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(run())


def refused(call: Callable[[], object], kind: type[Exception]) -> bool:
    with pytest.raises(kind):
        call()
    return True


def postmaster(folder: Path) -> int:
    server = Postgres.running(folder / "postgres")
    return int((server.data / "postmaster.pid").read_text().split()[0])


def deadlock(url: str) -> None:
    """Two sessions, each of which waits for what the other holds; one of them is refused."""

    async def run() -> None:
        one, other = await asyncpg.connect(url), await asyncpg.connect(url)
        try:
            for number, session in ((1, one), (2, other)):
                await session.execute("SET deadlock_timeout = '50ms'")
                await session.execute(f"BEGIN; SELECT pg_advisory_xact_lock({number})")
            crossed = (session.execute(f"SELECT pg_advisory_xact_lock({n})") for n, session in ((2, one), (1, other)))
            ended = await asyncio.gather(*crossed, return_exceptions=True)
            assert sum(isinstance(one, asyncpg.DeadlockDetectedError) for one in ended) == 1
        finally:
            await asyncio.gather(one.close(), other.close())

    asyncio.run(run())


def points(aws: Emulator, metric: str) -> list[float]:
    """Of the cluster, the highest of each second."""
    found = aws.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/RDS",
        MetricName=metric,
        Dimensions=[{"Name": "DBClusterIdentifier", "Value": "db"}],
        StartTime=time.time() - 600,
        EndTime=time.time() + 60,
        Period=1,
        Statistics=["Maximum"],
    )["Datapoints"]
    return [float(point["Maximum"]) for point in found]


def data_api(aws: Emulator, cluster: Mapping[str, Any]) -> None:
    """It asks the cluster's own database, once its endpoint is enabled."""
    where = {
        "resourceArn": cluster["DBClusterArn"],
        "secretArn": cluster["MasterUserSecret"]["SecretArn"],
        "database": "confirm",
    }

    def execute(sql: str, **more: Any) -> dict[str, Any]:
        return dict(aws.client("rds-data").execute_statement(**where, sql=sql, **more))

    def refusal(sql: str, **more: Any) -> str:
        with pytest.raises(ClientError) as error:
            execute(sql, **more)
        return str(error.value)

    assert "HttpEndpointNotEnabled" in refusal("SELECT 1")
    aws.client("rds").modify_db_cluster(DBClusterIdentifier="db", EnableHttpEndpoint=True)
    execute("CREATE TABLE asked (name text, at numeric)")
    assert execute("INSERT INTO asked VALUES ('a', 1.5), (NULL, 2)")["numberOfRecordsUpdated"] == 2
    found = execute("SELECT count(*), 0.5::float8, current_user::text, max(at), min(name), true FROM asked")
    assert found["numberOfRecordsUpdated"] == 0
    assert found["records"] == [
        [
            {"longValue": 2},
            {"doubleValue": 0.5},
            {"stringValue": "confirm_admin"},
            {"stringValue": "2"},
            {"stringValue": "a"},
            {"booleanValue": True},
        ]
    ]
    assert 'relation "nothing" does not exist' in refusal("SELECT * FROM nothing")
    named = [{"name": name, "value": {"stringValue": text}} for name, text in (("more", "2"), ("n", "40"))]
    sql = "SELECT CAST(:n AS integer) + :more::integer + CAST(:n AS integer)"
    assert execute(sql, parameters=named)["records"] == [[{"longValue": 82}]]
    assert "texts for parameters alone" in refusal("SELECT :n", parameters=[{"name": "n", "value": {"longValue": 1}}])
    where["database"] = "other"
    assert 'database "other" does not exist' in refusal("SELECT 1")


def test_who_looks_for_a_server_that_just_begins_notes_nothing(tmp_path: Path) -> None:
    """Metrics are looked for from the first moment on: once that noted a place where the server could not be."""
    (tmp_path / "port").write_text("5432\n")
    with pytest.raises(LocalError, match="never started"):
        Postgres.running(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["port"]


def test_the_cluster_its_master_its_users_and_its_end(folder: Path) -> None:
    with emulator(folder, scheduler_speed=60) as aws:  # a point of its metrics each second
        assert not (folder / "postgres" / "ready").exists(), "no server without a cluster"
        rds, secrets = aws.client("rds"), aws.client("secretsmanager")
        made = rds.create_db_cluster(**CLUSTER)["DBCluster"]
        assert made["Endpoint"] == made["ReaderEndpoint"] == HOST
        port = made["Port"]
        assert rds.describe_db_clusters()["DBClusters"][0]["Port"] == port
        instance = rds.create_db_instance(
            DBInstanceIdentifier="db-1",
            DBClusterIdentifier="db",
            Engine="aurora-postgresql",
            DBInstanceClass="db.serverless",
        )["DBInstance"]
        assert instance["Endpoint"]["Address"] == HOST
        assert instance["Endpoint"]["Port"] == port
        (cluster,) = rds.describe_db_clusters()["DBClusters"]
        assert (cluster["Endpoint"], cluster["ReaderEndpoint"], cluster["Port"]) == (HOST, HOST, port)

        secret = json.loads(secrets.get_secret_value(SecretId=made["MasterUserSecret"]["SecretArn"])["SecretString"])
        assert secret["username"] == "confirm_admin"
        master: tuple[str, str] = (secret["username"], secret["password"])
        assert ask(port, "SELECT current_database()", *master) == "confirm"
        assert ask(port, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user", *master) is False
        assert ask(port, "SELECT count(*) FROM pg_stat_statements", *master) >= 0
        wrong = asyncpg.InvalidPasswordError
        assert refused(lambda: ask(port, "SELECT 1", "confirm_admin", "wrong"), wrong)
        for user in TRUSTED:
            ask(port, f"CREATE ROLE {user} LOGIN", *master)
            ask(port, f"GRANT rds_iam TO {user}", *master)
            assert ask(port, "SELECT current_user", user, "a-token-that-only-AWS-can-check") == user
        ask(port, "CREATE ROLE other LOGIN PASSWORD 'x'", *master)
        assert refused(lambda: ask(port, "SELECT 1", "other", "y"), wrong)

        data_api(aws, made)

        server = Postgres.running(folder / "postgres")
        until(lambda: points(aws, "Deadlocks"))
        assert min(points(aws, "MaximumUsedTransactionIDs")) > 0
        until(lambda: 0 in points(aws, "DatabaseConnections"))  # who looks is none
        deadlock(server.url(database="confirm"))
        until(lambda: max(points(aws, "Deadlocks")) > 0)

        before = postmaster(folder)
        crash(folder / "postgres")
        assert postmaster(folder) != before
        assert ask(port, "SELECT 1", *master) == 1
        os.kill(postmaster(folder), signal.SIGKILL)  # nobody asked for that
        until(lambda: refuses_nothing(lambda: ask(port, "SELECT 1", *master)))

        assert refused(lambda: rds.delete_db_cluster(DBClusterIdentifier="db", SkipFinalSnapshot=True), ClientError)
        rds.delete_db_instance(DBInstanceIdentifier="db-1", SkipFinalSnapshot=True)
        rds.delete_db_cluster(DBClusterIdentifier="db", SkipFinalSnapshot=True)
        left = "SELECT string_agg(rolname, ',') FROM pg_roles WHERE rolname !~ '^pg_'"
        assert ask(port, left, MASTER, server.password, "postgres") == MASTER
        assert not ask(
            port, "SELECT count(*) FROM pg_database WHERE datname = 'confirm'", MASTER, server.password, "postgres"
        )
    assert refused(lambda: ask(port, "SELECT 1", MASTER, server.password, "postgres"), OSError)


def refuses_nothing(call: Callable[[], object]) -> bool:
    try:
        call()
    except (OSError, asyncpg.PostgresError):
        return False
    return True


def test_it_comes_back_with_the_state_and_ends_with_a_killed_emulator(folder: Path) -> None:
    with emulator(folder) as first:
        made = first.client("rds").create_db_cluster(**CLUSTER)["DBCluster"]
        secret = first.client("secretsmanager").get_secret_value(SecretId=made["MasterUserSecret"]["SecretArn"])
        password = json.loads(secret["SecretString"])["password"]
        ask(made["Port"], "CREATE TABLE kept ()", "confirm_admin", password)
    with emulator(folder) as second:
        assert ask(made["Port"], "SELECT to_regclass('kept')::text", "confirm_admin", password) == "kept"
        pid = postmaster(folder)
        assert second.pid
        os.kill(second.pid, signal.SIGKILL)
        until(lambda: not command_of(pid))
    home = Postgres.running(folder / "postgres").data.parent
    clean(folder)
    assert not home.exists()


def test_a_taken_port_is_another_for_a_new_cluster_and_refused_for_one_that_is_known(folder: Path) -> None:
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        taken = int(other.getsockname()[1])
        with emulator(folder) as aws:
            rds = aws.client("rds")
            port = rds.create_db_cluster(**CLUSTER, Port=taken)["DBCluster"]["Port"]
            assert port != taken
            assert rds.describe_db_clusters()["DBClusters"][0]["Port"] == port
    require_port(folder / "postgres")
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((HOST, port))
        other.listen()
        with pytest.raises(LocalError, match=rf"Port {port} .* is taken by another program"):
            require_port(folder / "postgres", seconds=0.2)
    with emulator(folder) as aws:
        aws.client("rds").delete_db_cluster(DBClusterIdentifier="db", SkipFinalSnapshot=True)
    assert not (folder / "postgres" / "port").exists(), "nobody knows it any more"


def test_without_a_server_there_is_nothing_to_crash(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="PostgreSQL does not run"):
        crash(tmp_path)


def test_a_home_is_ours_or_refused(tmp_path: Path) -> None:
    """It lies where everybody may write: run as root, what lies there already would be handed to the server's user."""
    mine, other, elsewhere = tmp_path / "mine", tmp_path / "other", tmp_path / "elsewhere"
    take(mine, {os.getuid()})
    assert mine.stat().st_mode & 0o777 == 0o700
    take(mine, {os.getuid()})  # again, at the next start
    elsewhere.mkdir(mode=0o755)
    other.symlink_to(elsewhere)
    with pytest.raises(LocalError, match="somebody else's"):
        take(other, {os.getuid()})
    with pytest.raises(LocalError, match="somebody else's"):
        take(mine, {os.getuid() + 1})
    assert elsewhere.stat().st_mode & 0o777 == 0o755


def test_nobody_can_tell_where_a_home_will_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (tmp_path / "postgres").mkdir()
    homes = set()
    for _ in range(3):
        homes.add(Postgres(tmp_path / "postgres", port=1).data.parent)
        (tmp_path / "postgres" / "home").unlink()
    assert len(homes) == 3
    assert all(len(home.name.rpartition("-")[2]) == 16 for home in homes)


def test_what_is_written_into_the_data_follows_no_link(tmp_path: Path) -> None:
    """The data are the server's, which another of its user's processes may have laid a link into."""
    target = tmp_path / "target"
    target.write_text("another's")
    link = tmp_path / "pg_hba.conf"
    link.symlink_to(target)
    (tmp_path / "postgres").mkdir()
    Postgres(tmp_path / "postgres", port=1)._write(link, "ours")
    assert (target.read_text(), link.read_text(), link.is_symlink()) == ("another's", "ours", False)
    assert link.stat().st_mode & 0o777 == 0o600


def test_a_port_that_another_takes_first_is_given_up_for_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at a port and the server's own start; and whoever answers there is not taken for ours."""
    with Postgres(tmp_path / "first") as first:
        (tmp_path / "second").mkdir()
        monkeypatch.setattr("local.postgres.kept_port", lambda _: first.port)
        second = Postgres(tmp_path / "second")
        monkeypatch.undo()
        try:
            assert second.port == first.port
            assert second.start().port != first.port
            assert second.pid is not None
        finally:
            second.remove()
