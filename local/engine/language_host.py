"""A Pulumi language host for Python, in Python: what the engine needs to run a program and a policy pack, no more.

The official distribution brings one as a Go binary; this one makes a `pulumi` built from its Go module complete.
The engine starts it, reads the port that it prints, and calls it over gRPC. It ends with the engine.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from importlib.metadata import version
from typing import Any

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2

from local.engine import program
from local.processes import HOST, hold_to_lifeline


class LanguageHost(language_pb2_grpc.LanguageRuntimeServicer):
    """The engine's calls. Dependencies are the virtual environment's business, so there are none to install here."""

    def __init__(self, engine_address: str | None) -> None:
        self._engine = engine_address
        self._running: set[subprocess.Popen[str]] = set()

    def Handshake(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002 - gRPC's names
        """The engine says where it listens."""
        self._engine = request.engine_address
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        """Our version is the SDK's."""
        return plugin_pb2.PluginInfo(version=version("pulumi"))

    def About(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        """For `pulumi about`."""
        return language_pb2.AboutResponse(executable=sys.executable, version=sys.version.split()[0])

    def GetRequiredPlugins(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        """None to download: the providers are in the private PULUMI_HOME."""
        return language_pb2.GetRequiredPluginsResponse()

    def GetRequiredPackages(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        """As GetRequiredPlugins."""
        return language_pb2.GetRequiredPackagesResponse()

    def GetProgramDependencies(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        """For `pulumi about`."""
        return language_pb2.GetProgramDependenciesResponse()

    def RuntimeOptionsPrompts(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        """Nothing to ask."""
        return language_pb2.RuntimeOptionsResponse()

    def InstallDependencies(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802, ARG002
        """For `pulumi install`: make does it."""
        yield language_pb2.InstallDependenciesResponse(stdout=b"The packages are in the virtual environment.\n")

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        """End what runs."""
        for process in list(self._running):
            _end(process)
        return empty_pb2.Empty()

    def Run(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Run the program to its end."""
        folder = request.info.program_directory
        task = {
            "settings": {
                "monitor": request.monitor_address,
                "engine": self._engine,
                "project": request.project,
                "stack": request.stack,
                "parallel": request.parallel,
                "dry_run": request.dryRun,
                "organization": request.organization,
                "root_directory": request.info.root_directory,
            },
            "config": dict(request.config),
            "secret_keys": list(request.configSecretKeys),
            "folder": folder,
            "arguments": list(request.args),
        }
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", program.__name__],
            cwd=request.pwd or folder,
            stdin=subprocess.PIPE,  # the program's lifeline: it ends when this process ends
            text=True,
        )
        with self._ends_with(process, context):
            with contextlib.suppress(BrokenPipeError):
                print(json.dumps(task), file=process.stdin, flush=True)
            code = process.wait()
        # `bail`: it has told the user itself. Anything else is told by the engine.
        error = "" if code in (0, program.LOGGED) else f"the program ended with exit code {code}"
        return language_pb2.RunResponse(error=error, bail=code == program.LOGGED)

    def RunPlugin(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        """Run a policy pack (kind "analyzer") or a provider in Python, and hand on what it writes."""
        folder = request.info.program_directory
        if request.kind == "analyzer":
            command, where = ["-m", "pulumi.policy", *request.args, "."], folder
        else:
            command, where = [folder, *request.args], request.pwd or folder
        process = subprocess.Popen(
            [sys.executable, "-u", *command],
            cwd=where,
            env={**os.environ, **dict(pair.split("=", 1) for pair in request.env)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        with self._ends_with(process, context):
            for line in process.stdout or ():
                yield language_pb2.RunPluginResponse(stdout=line.encode())
            yield language_pb2.RunPluginResponse(exitcode=process.wait())

    @contextlib.contextmanager
    def _ends_with(self, process: subprocess.Popen[str], context: Any) -> Iterator[None]:
        """The process ends when the engine gives the call up."""
        self._running.add(process)
        context.add_callback(lambda: _end(process))
        try:
            yield
        finally:
            self._running.discard(process)
            _end(process)

    def shut_down(self) -> None:
        """End what runs, then this process."""
        for process in list(self._running):
            _end(process)
        os._exit(0)


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            process.kill()


def main(arguments: list[str]) -> None:
    """Serve until the engine ends us. The engine's address is the argument that holds a colon."""
    engine = next((item for item in arguments if ":" in item and not item.startswith("-")), None)
    host = LanguageHost(engine)
    server = grpc.server(futures.ThreadPoolExecutor(8))
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server)
    # The engine starts plugins in process groups of their own, so a Ctrl-C in the terminal does not reach us: SIGINT is
    # how the engine says that it needs us no more.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: threading.Thread(target=host.shut_down).start())
    hold_to_lifeline()  # our stdin is a pipe that the engine holds
    print(server.add_insecure_port(f"{HOST}:0"), flush=True)
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main(sys.argv[1:])
