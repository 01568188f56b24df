"""The process that runs a Pulumi program: started by the language host, one per preview or update.

It does what the official host's executor does, with one difference: an error that was written for the user (settings
that contradict each other, say) is shown as it was written, without a stack trace.
"""

from __future__ import annotations

import asyncio
import gc
import json
import runpy
import signal
import sys
import traceback
from typing import Any

import grpc
import pulumi
from pulumi.runtime import Settings, configure, run_in_stack, set_all_config

from local.processes import hold_to_lifeline

LOGGED = 32
"""Exit code: it failed, and the user has been told why. The same number as in the official host."""


def main() -> int:
    """Run the program that the first line of stdin describes; stdin stays open as long as the host lives."""
    request: dict[str, Any] = json.loads(sys.stdin.readline())
    # Goes to the host's whole process group when the engine ends it; the host ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    hold_to_lifeline()
    gc.disable()  # it ends in seconds, and a third of its time would go into looking for garbage among its resources
    configure(Settings(**request["settings"]))
    set_all_config(request["config"], request["secret_keys"])
    folder: str = request["folder"]
    sys.path.insert(0, folder)
    sys.argv = [folder, *request["arguments"]]

    async def run() -> None:
        await run_in_stack(lambda: _ignore(runpy.run_path(folder, run_name="__main__")))

    try:
        asyncio.run(run())
    except Exception as error:
        if isinstance(error, grpc.RpcError) and error.code() in _ENGINE_GONE:
            return LOGGED  # the engine ended first: it was cancelled, or has told about the failure itself
        pulumi.log.error(message_of(error))
        return LOGGED
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


_ENGINE_GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def message_of(error: Exception) -> str:
    """What the user reads: the message alone of errors written for him, else the program's own stack trace."""
    settings = sys.modules.get("components.settings")
    for_users = (pulumi.RunError, getattr(settings, "SettingsError", pulumi.RunError))
    if isinstance(error, for_users):
        return str(error)
    stack = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in stack if not _plumbing(frame.filename)]
    lines = traceback.format_list(own or list(stack)) + traceback.format_exception_only(error)
    return "The program failed:\n" + "".join(lines)


def _plumbing(file: str) -> bool:
    return file == __file__ or file.startswith("<frozen") or "/asyncio/" in file or "/pulumi/runtime/" in file


def _ignore(_: object) -> None:
    """A program's globals are not its outputs."""


if __name__ == "__main__":
    sys.exit(main())
