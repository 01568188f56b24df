"""Child processes that never outlive their parent.

Every server of the local AWS (the emulator, the simulated gateway) is a `Child`. Three things end it: `stop()`,
the end of the parent for whatever reason (`kill -9` included), and the next run, which finds what is left.

The parent holds the write end of a pipe that is the child's stdin: the *lifeline*. When the parent dies, the kernel
closes it, and the child, which runs `hold_to_lifeline()` (local/child.py), ends itself. It works on every POSIX
system, needs no polling, and is not disturbed by which thread started the child (`PR_SET_PDEATHSIG` is).
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from local.errors import LocalError

ROOT = Path(__file__).resolve().parent.parent
"""The repository."""

HOST = "127.0.0.1"
"""Nothing of the local AWS listens anywhere else: the emulator runs uploaded code."""

STOP_SECONDS = 12.0  # the emulator writes its state on SIGTERM; a big one takes seconds
_GRACE_AFTER_LIFELINE_SECONDS = 12.0


OURS = range(20_000, 32_000)
"""Below the ports that Linux (32768 and up) and macOS (49152 and up) give to outgoing connections."""


def free_port(preferred: int | None = None) -> int:
    """A port of 127.0.0.1 that nobody uses: `preferred` if it is free, else one by chance, else one of the system's.

    Ports are kept across runs where possible because URLs with a port in them end up in the stack's state. The system's
    own are the last choice: it gives the same to outgoing connections, and may do so before our server has started.
    """
    for port in (preferred, *random.SystemRandom().sample(OURS, 20), 0):
        if port is None:
            continue
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise LocalError(f"No free port on {HOST}: end some of the programs that listen there, then run this again.")


def kept_port(file: Path) -> int:
    """The port noted in `file` if it is still free, else a new one, noted there."""
    noted = file.read_text().strip() if file.exists() else ""
    port = free_port(int(noted) if noted.isdigit() and 1024 <= int(noted) <= 65535 else None)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{port}\n")
    return port


def hold_to_lifeline(stream: int = 0) -> None:
    """In a child: end this process when the parent's end of the pipe on `stream` closes.

    SIGTERM first, so that state is saved; SIGKILL if that takes longer than 12 seconds.
    """

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(stream, 1024):
                pass
        _end_self()

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


def _end_self() -> NoReturn:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_AFTER_LIFELINE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def command_of(pid: int) -> str:
    """The command line of a living process, "" when there is none. A zombie counts as none."""
    answer = subprocess.run(
        ["ps", "-o", "stat=,args=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
    state, _, command = answer.partition(" ")
    return "" if state.startswith("Z") else command.strip()


def end(pid: int, *, seconds: float = STOP_SECONDS) -> None:
    """SIGTERM, then SIGKILL after `seconds`, and wait for the end. For processes that are not our children."""
    for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 5.0)):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        until = time.monotonic() + patience
        while time.monotonic() < until:
            if not command_of(pid):
                return
            time.sleep(0.05)


class Child:
    """One server of the local AWS: the module, as by `python -m`, healthy when `health_url` answers 200, or when
    `healthy` says so."""

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        health_url: str = "",
        healthy: Callable[[], bool] | None = None,
    ) -> None:
        """`folder` takes the log (`<name>.log`) and the pid file (`<name>.pid`); name is the module's last part."""
        self.module = module
        self.name = module.rpartition(".")[2]
        self.log = folder / f"{self.name}.log"
        self.pid_file = folder / f"{self.name}.pid"
        self.health_url = health_url
        self._healthy = healthy or self._answers
        self._command = [sys.executable, "-m", "local.child", module, *arguments]
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Start it and wait until it is healthy; a former run that is still there is ended first."""
        self.launch()
        self.await_health()

    def launch(self) -> None:
        """Start it, without waiting."""
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            self.end_former()
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    self._command,
                    cwd=ROOT,
                    env=self._environment,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # a Ctrl-C is for the parent, which then stops us in good order
                )
            self.pid_file.write_text(f"{self._process.pid}\n")
        except OSError as error:
            self.stop()
            raise LocalError(explain(error, f"start the local AWS's {self.name}")) from error

    def await_health(self, *, seconds: float = 60.0) -> None:
        """Wait until it answers; stop it when it does not within `seconds`."""
        try:
            self._await_health(seconds)
        except BaseException:
            self.stop()
            raise

    def stop(self, *, seconds: float = STOP_SECONDS) -> None:
        """SIGTERM, then SIGKILL after so many seconds. Does nothing when it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stdin:
            process.stdin.close()
        self.pid_file.unlink(missing_ok=True)

    def end_former(self) -> None:
        """End what a former run left behind. A pid that now belongs to another program is left alone."""
        noted = self.pid_file.read_text().strip() if self.pid_file.exists() else ""
        if noted.isdigit() and f"-m local.child {self.module} " in command_of(int(noted)) + " ":
            end(int(noted))
        self.pid_file.unlink(missing_ok=True)

    def _await_health(self, seconds: float) -> None:
        process = self._process
        if process is None:
            raise LocalError(f"The local AWS's {self.name} was not started.")
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if process.poll() is not None:
                raise LocalError(
                    f"The local AWS's {self.name} ended while starting ({self.log}): {last_line(self.log)}"
                )
            if self._healthy():
                return
            time.sleep(0.03)
        raise LocalError(f"The local AWS's {self.name} did not answer within {seconds:.0f} s; its log is {self.log}.")

    def _answers(self) -> bool:
        # never through a proxy: HTTP_PROXY of a company must not see the local AWS
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with contextlib.suppress(urllib.error.URLError, OSError), opener.open(self.health_url, timeout=2):
            return True
        return False


def last_line(file: Path) -> str:
    """The last line of a log that says something."""
    lines = file.read_text(errors="replace").splitlines() if file.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def explain(error: OSError, attempt: str) -> str:
    """One sentence for a user: what could not be done, why, and what to do."""
    where = f" at {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full{where}: free some space, then run this again (needed to {attempt})."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"No permission to write{where}: make the folder writable (needed to {attempt})."
    if error.errno == errno.EADDRINUSE:
        return f"A port is taken: run this again, another one is chosen then (needed to {attempt})."
    return f"Could not {attempt}: {error.strerror or error}{where}."
