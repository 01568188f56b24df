"""An Aurora PostgreSQL cluster has a real PostgreSQL behind it: the local one, which starts with the first cluster.

Gap: without Docker a cluster of ministack is a name without a server. Here its endpoint is the server of
local/postgres.py; its database and its master user are there, the latter with the password in the managed secret and
without the rights of a superuser, as on RDS; so is the role `rds_iam`. They go with the cluster. The server is a child
of this process. Only where CONFIRM_POSTGRES names the server's folder.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

from local import postgres
from local.errors import LocalError
from local.postgres import Postgres
from local.processes import HOST, Child

logger = logging.getLogger("overlay.rds_postgres")

FOLDER = "CONFIRM_POSTGRES"
POSTGRES = "postgresql"


class Server:
    """The one server of this emulator."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._child: Child | None = None
        self._lock = threading.Lock()

    def start(self, port: int | None = None) -> Postgres:
        """Start it where it does not run; its description. A new one takes `port` if that is free."""
        with self._lock:
            if self._child is None or self._child.pid is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                # TMPDIR is the emulator's own and is emptied at each start
                environment = {name: value for name, value in os.environ.items() if name != "TMPDIR"}
                self._child = postgres.child(self.folder, environment, port)
                self._child.start()
            return Postgres.running(self.folder)

    def stop(self) -> None:
        if self._child:
            self._child.stop()

    def make(self, database: str | None, user: str, password: str, port: int) -> None:
        """Database and master user of a cluster, as RDS makes them. What is there already gets this password."""
        self._run(self._make(self.start(port), database, user, password))

    def drop(self, database: str | None, user: str) -> None:
        """The database, whoever is connected to it, and its owner."""
        self._run(self._drop(self.start(), database, user))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run(work)  # requests come in threads of their own

    async def _make(self, server: Postgres, database: str | None, user: str, password: str) -> None:
        import asyncpg

        name = quoted(user)
        connection = await asyncpg.connect(server.url(database="postgres"))
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = 'rds_iam'"):
                await connection.execute("CREATE ROLE rds_iam NOLOGIN")
            if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", user):
                await connection.execute(f"CREATE ROLE {name}")
            secret = password.replace("'", "''")
            await connection.execute(f"ALTER ROLE {name} LOGIN CREATEDB CREATEROLE PASSWORD '{secret}'")
            await connection.execute(f"GRANT rds_iam, pg_monitor, pg_signal_backend TO {name} WITH ADMIN OPTION")
            if database is None:
                return
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database):
                await connection.execute(f"CREATE DATABASE {quoted(database)}")
            await connection.execute(f"ALTER DATABASE {quoted(database)} OWNER TO {name}")
        finally:
            await connection.close()
        connection = await asyncpg.connect(server.url(database=database))
        try:  # on RDS its master user may make it himself; here only a superuser may
            await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        finally:
            await connection.close()

    async def _drop(self, server: Postgres, database: str | None, user: str) -> None:
        import asyncpg

        connection = await asyncpg.connect(server.url(database="postgres"))
        try:
            if database:
                await connection.execute(f"DROP DATABASE IF EXISTS {quoted(database)} WITH (FORCE)")
            clusters = "SELECT 1 FROM pg_database WHERE NOT datistemplate AND datname <> ALL ($1)"
            if not await connection.fetchval(clusters, ["postgres", postgres.DATABASE]):
                # the last one is gone: so are the roles that the migrations made
                others = "SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_' AND rolname <> current_user"
                for row in await connection.fetch(others):
                    await connection.execute(f"DROP OWNED BY {quoted(row['rolname'])}")
                    await connection.execute(f"DROP ROLE {quoted(row['rolname'])}")
            else:
                await connection.execute(f"ALTER ROLE {quoted(user)} NOLOGIN")
        finally:
            await connection.close()


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


_server: Server | None = None


def stop() -> None:
    """With the emulator. Without a cluster nobody knows the port any more."""
    from ministack.services import rds

    if _server:
        _server.stop()
        if not rds._clusters.has_any():
            (_server.folder / "port").unlink(missing_ok=True)


def apply() -> None:
    """Wrap the making and the removing of clusters, and their coming back from a saved state."""
    global _server
    folder = os.environ.get(FOLDER)
    if not folder:
        return
    from ministack.services import rds

    server = _server = Server(Path(folder))
    create, delete, instance, restore = (
        rds._create_db_cluster_impl,
        rds._delete_db_cluster,
        rds._create_db_instance,
        rds.load_persisted_state,
    )

    def behind(cluster: Mapping[str, Any]) -> bool:
        return str(cluster.get("Engine", "")).endswith(POSTGRES)

    def answer(kind: str, cluster: dict[str, Any]) -> Any:
        xml = f"<{kind}DBClusterResult><DBCluster>{rds._cluster_xml(cluster)}</DBCluster></{kind}DBClusterResult>"
        return rds._xml(200, f"{kind}DBClusterResponse", xml)

    def create_cluster(p: dict[str, Any]) -> Any:
        result = create(p)
        cluster = rds._clusters.get(rds._p(p, "DBClusterIdentifier"))
        if result[0] >= 400 or not cluster or not behind(cluster):
            return result
        try:
            user, password = cluster["MasterUsername"], cluster["_MasterUserPassword"]
            server.make(cluster["DatabaseName"], user, password, cluster["Port"])
        except LocalError as error:
            del rds._clusters[cluster["DBClusterIdentifier"]]
            return rds._error("InternalFailure", str(error), 500)
        cluster.update(Endpoint=HOST, ReaderEndpoint=HOST, Port=server.start().port)
        return answer("Create", cluster)

    def delete_cluster(p: dict[str, Any]) -> Any:
        cluster = rds._clusters.get(rds._p(p, "DBClusterIdentifier"))
        result = delete(p)
        if cluster and result[0] < 400 and behind(cluster):
            server.drop(cluster["DatabaseName"], cluster["MasterUsername"])
        return result

    def create_instance(p: dict[str, Any]) -> Any:
        result = instance(p)
        made = rds._instances.get(rds._p(p, "DBInstanceIdentifier"))
        if result[0] < 400 and made and made.get("DBClusterIdentifier") and behind(made):
            made["Endpoint"].update(Address=HOST, Port=server.start().port)
            cluster = rds._clusters[made["DBClusterIdentifier"]]
            cluster["_shared_endpoint"] = dict(made["Endpoint"])  # or the cluster would move to ministack's "localhost"
            rds._sync_cluster_endpoints(cluster)
            xml = f"<CreateDBInstanceResult><DBInstance>{rds._instance_xml(made)}</DBInstance></CreateDBInstanceResult>"
            return rds._xml(200, "CreateDBInstanceResponse", xml)
        return result

    def load(data: Any) -> None:
        restore(data)
        clusters = [cluster for cluster in rds._clusters._data.values() if behind(cluster)]
        if clusters:
            port = server.start().port
            for cluster in clusters:
                cluster.update(Endpoint=HOST, ReaderEndpoint=HOST, Port=port)

    rds._create_db_cluster_impl = create_cluster
    rds._delete_db_cluster = rds._ACTION_MAP["DeleteDBCluster"] = delete_cluster
    rds._create_db_instance = rds._ACTION_MAP["CreateDBInstance"] = create_instance
    rds.load_persisted_state = load
